"""The inbox in SQLite: tables beside the log's, so that an append's transaction covers both."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from eventsourcing import sqlite as library

from application.entries import Entry
from application.inbox import (
    DEAD_LETTERS,
    Arrival,
    Buried,
    Handed,
    Holding,
    Inbox,
    InboxState,
    InFlight,
    Level,
    NotEmptyError,
    Pending,
    ReplacedError,
    Settlement,
    Take,
    Taken,
    Then,
    slot_of,
)
from application.recorder import AppendRefusedError
from infrastructure.sqlite.datastore import Datastore
from infrastructure.sqlite.lines import CREATE_LINES, is_ordered, line_up, next_head

__all__ = ["CREATE_INBOX", "SQLiteInbox"]

# A run is of neighbouring slots. A pause before a message is handed out again is a lease of nobody; dead letters
# are held under one that never ends.
_TABLES: Final = {
    "inbox_ready": "recipient TEXT, urgency INTEGER, slot INTEGER, count INTEGER, attempts INTEGER, "
    "PRIMARY KEY (tract, recipient, urgency, slot)",
    "inbox_leases": "lease TEXT, consumer TEXT, due INTEGER, PRIMARY KEY (tract, lease)",
    "inbox_held": "lease TEXT, slot INTEGER, priority INTEGER, attempt INTEGER, recipient TEXT, near INTEGER, "
    "PRIMARY KEY (tract, lease, slot)",
    "inbox_level": "backlog INTEGER DEFAULT 0, capacity INTEGER, ordered INTEGER DEFAULT 0, PRIMARY KEY (tract)",
    "inbox_generations": "consumer TEXT, generation INTEGER, PRIMARY KEY (tract, consumer)",
    **CREATE_LINES,
}
CREATE_INBOX: Final = [
    f"CREATE TABLE IF NOT EXISTS {name} (tract TEXT, {columns}) WITHOUT ROWID" for name, columns in _TABLES.items()
]
_READY: Final = (
    "SELECT urgency, slot, count, attempts, recipient FROM inbox_ready "
    "WHERE tract = ? AND recipient = ? ORDER BY urgency, slot LIMIT ?"
)
_TAKE_READY: Final = "DELETE FROM inbox_ready WHERE tract = ? AND recipient = ? AND urgency = ? AND slot = ?"
_MAKE_READY: Final = "INSERT INTO inbox_ready VALUES (?,?,?,?,?,?)"
_HELD: Final = "SELECT slot, priority, attempt, recipient FROM inbox_held WHERE tract = ? AND lease = ?"
_HOLD: Final = "INSERT INTO inbox_held VALUES (?,?,?,?,?,?,?)"
_BACKLOG: Final = (
    "INSERT INTO inbox_level (tract, backlog) VALUES (?1, ?2) "
    "ON CONFLICT (tract) DO UPDATE SET backlog = backlog + ?2"
)
_LEASE: Final = "INSERT INTO inbox_leases VALUES (?,?,?,?)"
_DEAD: Final = (
    "SELECT slot, attempt, near FROM inbox_held WHERE tract = ? AND lease = ? AND slot > ? ORDER BY slot LIMIT ?"
)
_PENDING: Final = (
    "SELECT 9 - urgency, recipient, sum(count), min(slot) FROM inbox_ready WHERE tract = ? "
    "GROUP BY urgency, recipient ORDER BY urgency, recipient"
)
_IN_FLIGHT: Final = (
    "SELECT consumer, count(*), min(slot), max(attempt) FROM inbox_leases JOIN inbox_held USING (tract, lease) "
    "WHERE tract = ? GROUP BY consumer ORDER BY consumer"
)
_HOLDING: Final = (
    "SELECT consumer, attempt, due FROM inbox_held JOIN inbox_leases USING (tract, lease) "
    "WHERE tract = ? AND slot = ?"
)


class SQLiteInbox(Inbox):
    """`clock`: milliseconds since 1970."""

    look_every = 0.05  # SQLite tells nobody of other processes' appends

    def __init__(self, datastore: Datastore, clock: Callable[[], int]) -> None:
        self._datastore = datastore
        self._clock = clock
        self._rings: list[Callable[[str], None]] = []

    def configure(self, tract: str, capacity: int) -> None:
        with self._datastore.transaction(commit=True) as c:
            c.execute(
                "INSERT INTO inbox_level (tract, capacity) VALUES (?1, ?2) "
                "ON CONFLICT (tract) DO UPDATE SET capacity = ?2",
                (tract, capacity),
            )

    def order(self, tract: str, ordered: bool) -> None:
        with self._datastore.transaction(commit=True) as c:
            if is_ordered(c, tract) == ordered:
                return
            c.execute(_DEAD, (tract, DEAD_LETTERS, 0, 1))
            if c.fetchone() or _level(c, tract).backlog:
                raise NotEmptyError(tract)
            c.execute(
                "INSERT INTO inbox_level (tract, ordered) VALUES (?1, ?2) "
                "ON CONFLICT (tract) DO UPDATE SET ordered = ?2",
                (tract, ordered),
            )

    def level(self, tract: str) -> Level:
        with self._datastore.transaction(commit=False) as c:
            return _level(c, tract)

    def join(self, tract: str, consumer: str) -> int:
        with self._datastore.transaction(commit=True) as c:
            c.execute("SELECT lease FROM inbox_leases WHERE tract = ? AND consumer = ?", (tract, consumer))
            for (lease,) in c.fetchall():
                _release(c, tract, lease)
            c.execute(
                "INSERT INTO inbox_generations VALUES (?, ?, 1) "
                "ON CONFLICT (tract, consumer) DO UPDATE SET generation = generation + 1 RETURNING generation",
                (tract, consumer),
            )
            generation: int = c.fetchone()[0]
        self.ring({tract})
        return generation

    def take(self, take: Take) -> Taken:
        with self._datastore.transaction(commit=True) as c:
            if not _is_newest(c, take):
                raise ReplacedError(take.tract, take.consumer)
            return self._take(c, take)

    def _take(self, c: library.SQLiteCursor, take: Take) -> Taken:
        now, tract = self._clock(), take.tract
        c.execute("SELECT lease FROM inbox_leases WHERE tract = ? AND due <= ?", (tract, now))
        for (ended,) in c.fetchall():
            _release(c, tract, ended)
        c.execute(_HELD, (tract, take.lease))
        handed = [Handed(slot, priority, attempt) for slot, priority, attempt, _ in c.fetchall()]
        if not handed:
            handed = _fill(c, tract, take.consumer, take.lease, take.demand)
            if handed:
                c.execute(_LEASE, (tract, take.lease, take.consumer, now + take.ack_wait))
        left = bool(_ready(c, tract, take.consumer, 1))
        c.execute("SELECT min(due) FROM inbox_leases WHERE tract = ?", (tract,))
        due = c.fetchone()[0]
        handed.sort(key=lambda message: (-message.priority, message.slot))
        return Taken(handed, (), left, None if due is None else max(0, due - now))

    def accept(self, c: library.SQLiteCursor, take: Take, fresh: Iterable[Entry]) -> Taken | None:
        """Carry out what is offered to an append of these entries, if there is something for it."""
        if not (_ready(c, take.tract, take.consumer, 1) and _is_newest(c, take)):
            return None
        taken = self._take(c, take)
        positions = {handed.position for handed in taken.handed}
        return replace(taken, entries=[entry for entry in fresh if entry.id in positions])

    def left(self, c: library.SQLiteCursor, tract: str) -> bool:
        """Whether there is anything to take, for anybody."""
        c.execute("SELECT 1 FROM inbox_ready WHERE tract = ? LIMIT 1", (tract,))
        return c.fetchone() is not None

    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        now = self._clock()
        with self._datastore.transaction(commit=True) as c:
            c.execute(
                "UPDATE inbox_leases SET due = ? WHERE tract = ? AND lease = ? AND due > ? RETURNING lease",
                (now + ack_wait, tract, lease, now),
            )
            return c.fetchone() is not None

    def dead(self, tract: str, *, after: int, limit: int) -> Sequence[Buried]:
        with self._datastore.transaction(commit=False) as c:
            c.execute(_DEAD, (tract, DEAD_LETTERS, after, limit))
            return [Buried(*row) for row in c.fetchall()]

    def state(self, tract: str) -> InboxState:
        with self._datastore.transaction(commit=False) as c:
            c.execute(_PENDING, (tract,))
            pending = [Pending(priority, to or None, *rest) for priority, to, *rest in c.fetchall()]
            c.execute(_IN_FLIGHT, (tract,))
            in_flight = [InFlight(consumer or None, *row) for consumer, *row in c.fetchall()]
            c.execute("SELECT count(*) FROM inbox_held WHERE tract = ? AND lease = ?", (tract, DEAD_LETTERS))
            dead: int = c.fetchone()[0]
            return InboxState(_level(c, tract), is_ordered(c, tract), pending, in_flight, dead)

    def holding(self, tract: str, slot: int) -> Holding | None:
        with self._datastore.transaction(commit=False) as c:
            c.execute(_HOLDING, (tract, slot))
            found = c.fetchone()
        if found is None:
            return None
        consumer, attempt, due = found
        return Holding(consumer or None, attempt, max(0, due - self._clock()))

    def listen(self, ring: Callable[[str], None]) -> None:
        self._rings.append(ring)

    def ring(self, tracts: Iterable[str]) -> None:
        for tract in tracts:
            for ring in self._rings:
                ring(tract)

    def check(
        self, c: library.SQLiteCursor, arrivals: Sequence[Arrival], settlements: Sequence[Settlement]
    ) -> None:
        """Raise AppendRefusedError unless there is room for what arrives, and what is settled is held."""
        arriving = Counter[str]()
        for arrival in arrivals:
            arriving[arrival.tract] += 0 if arrival.exempt else arrival.count
        for settlement in settlements:
            arriving[settlement.tract] += _redrives(settlement)
        levels = {tract: _level(c, tract) for tract, count in arriving.items() if count}
        full = {t: level for t, level in levels.items() if not level.has_room_for(arriving[t])}
        lost, seen = [], set()
        for settlement in settlements:
            c.execute(
                "SELECT attempt FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ?",
                (settlement.tract, settlement.lease, settlement.slot),
            )
            held, slot = c.fetchone(), (settlement.tract, settlement.slot)
            if held is None or held[0] != settlement.attempt or slot in seen:
                lost.append(settlement)
            else:
                seen.add(slot)  # by who holds it: a late one must not take this one down with it
        if full or lost:
            raise AppendRefusedError((), (), full, lost)

    def write(
        self,
        c: library.SQLiteCursor,
        head: int,
        lines: Sequence[str],
        arrivals: Sequence[Arrival],
        settlements: Sequence[Settlement],
    ) -> set[str]:
        """What `check` has let pass; the append's first event is at head + 1, `lines` has its events' dialogues.

        Returns the tracts where there may be something to take now.
        """
        for arrival in arrivals:
            _arrive(c, arrival, slot_of(head + 1 + arrival.event, arrival.first), lines[arrival.event])
        freed = {settlement.tract for settlement in settlements if self._settle(c, settlement, head + 1)}
        return freed | {arrival.tract for arrival in arrivals}

    def _settle(self, c: library.SQLiteCursor, s: Settlement, near: int) -> bool:
        """Whether there is something to take by it, now or later."""
        c.execute(
            "DELETE FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ? RETURNING priority, recipient",
            (s.tract, s.lease, s.slot),
        )
        priority, recipient = c.fetchone()
        c.execute(
            "DELETE FROM inbox_leases WHERE tract = ?1 AND lease = ?2 AND NOT EXISTS "
            "(SELECT 1 FROM inbox_held WHERE tract = ?1 AND lease = ?2)",
            (s.tract, s.lease),
        )
        was_dead = s.lease == DEAD_LETTERS
        c.execute(_BACKLOG, (s.tract, (s.then in {Then.AGAIN, Then.BACK}) - (not was_dead)))
        if s.then is Then.DEAD:
            c.execute(_HOLD, (s.tract, DEAD_LETTERS, s.slot, priority, s.attempt, recipient, near))
            return False
        if s.then is Then.DONE:
            return _follow(c, s)
        if s.then is Then.BACK or s.delay == 0:
            attempts = 0 if was_dead else s.attempt - (s.then is Then.BACK)
            c.execute(_MAKE_READY, (s.tract, recipient, 9 - priority, s.slot, 1, attempts))
        else:
            pause = f"pause:{s.slot}:{s.attempt}"
            c.execute(_LEASE, (s.tract, pause, "", self._clock() + s.delay))
            c.execute(_HOLD, (s.tract, pause, s.slot, priority, s.attempt, recipient, None))
        return True


def _redrives(settlement: Settlement) -> bool:
    return settlement.lease == DEAD_LETTERS and settlement.then is Then.AGAIN


def _arrive(c: library.SQLiteCursor, a: Arrival, slot: int, line: str) -> None:
    c.execute(_BACKLOG, (a.tract, a.count))
    ready = line_up(c, a, line, slot) if is_ordered(c, a.tract) else a.count
    if ready:
        c.execute(_MAKE_READY, (a.tract, a.recipient or "", 9 - a.priority, slot, ready, 0))


def _follow(c: library.SQLiteCursor, s: Settlement) -> bool:
    """Whether another message is out, now that this one is done with."""
    head = next_head(c, s.tract, s.line, s.slot)
    if head is not None:
        c.execute(_MAKE_READY, (s.tract, head.recipient, 9 - head.priority, head.slot, 1, 0))
    return head is not None


def _is_newest(c: library.SQLiteCursor, take: Take) -> bool:
    c.execute(
        "SELECT generation FROM inbox_generations WHERE tract = ? AND consumer = ?", (take.tract, take.consumer)
    )
    newest = c.fetchone()
    return newest is not None and newest[0] == take.generation


def _level(c: library.SQLiteCursor, tract: str) -> Level:
    c.execute("SELECT backlog, capacity FROM inbox_level WHERE tract = ?", (tract,))
    return Level(*(c.fetchone() or (0, None)))


def _release(c: library.SQLiteCursor, tract: str, lease: str) -> None:
    """What a lease still holds is to be had again."""
    c.execute(_HELD, (tract, lease))
    for slot, priority, attempt, recipient in c.fetchall():
        c.execute(_MAKE_READY, (tract, recipient, 9 - priority, slot, 1, attempt))
    c.execute("DELETE FROM inbox_held WHERE tract = ? AND lease = ?", (tract, lease))
    c.execute("DELETE FROM inbox_leases WHERE tract = ? AND lease = ?", (tract, lease))


def _ready(c: library.SQLiteCursor, tract: str, consumer: str, demand: int) -> list[Any]:
    """Runs for all and for this consumer, in their common order. One query would pass over the others'."""
    runs = []
    for recipient in ("", consumer):
        c.execute(_READY, (tract, recipient, demand))
        runs += c.fetchall()
    return sorted(runs, key=lambda run: (run[0], run[1]))


def _fill(c: library.SQLiteCursor, tract: str, consumer: str, lease: str, demand: int) -> list[Handed]:
    handed: list[Handed] = []
    for urgency, slot, count, attempts, recipient in _ready(c, tract, consumer, demand):
        many = min(count, demand - len(handed))
        if many == 0:
            break
        c.execute(_TAKE_READY, (tract, recipient, urgency, slot))
        if many < count:
            rest = (tract, recipient, urgency, slot + many, count - many, attempts)
            c.execute(_MAKE_READY, rest)
        handed += (Handed(place, 9 - urgency, attempts + 1) for place in range(slot, slot + many))
        c.executemany(
            _HOLD,
            [(tract, lease, one.slot, one.priority, one.attempt, recipient, None) for one in handed[-many:]],
        )
    return handed
