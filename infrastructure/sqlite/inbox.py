"""The inbox in SQLite: tables beside the log's, so that an append's transaction covers both."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from eventsourcing import sqlite as library

from application.inbox import Arrival, Handed, Inbox, Level, ReplacedError, Settlement, Taken, Then, slot_of
from application.recorder import AppendRefusedError
from infrastructure.sqlite.datastore import Datastore

__all__ = ["CREATE_INBOX", "SQLiteInbox"]

# A run is of neighbouring slots. A pause before a message is handed out again is a lease of nobody.
_TABLES: Final = {
    "inbox_ready": "recipient TEXT, urgency INTEGER, slot INTEGER, count INTEGER, attempts INTEGER, "
    "PRIMARY KEY (tract, urgency, slot)",
    "inbox_leases": "lease TEXT, consumer TEXT, due INTEGER, PRIMARY KEY (tract, lease)",
    "inbox_held": "lease TEXT, slot INTEGER, priority INTEGER, attempt INTEGER, recipient TEXT, "
    "PRIMARY KEY (tract, lease, slot)",
    "inbox_dead": "slot INTEGER, priority INTEGER, attempt INTEGER, recipient TEXT, PRIMARY KEY (tract, slot)",
    "inbox_level": "backlog INTEGER DEFAULT 0, capacity INTEGER, PRIMARY KEY (tract)",
    "inbox_generations": "consumer TEXT, generation INTEGER, PRIMARY KEY (tract, consumer)",
}
CREATE_INBOX: Final = [
    f"CREATE TABLE IF NOT EXISTS {name} (tract TEXT, {columns}) WITHOUT ROWID" for name, columns in _TABLES.items()
]
_READY: Final = (
    "SELECT recipient, urgency, slot, count, attempts FROM inbox_ready "
    "WHERE tract = ? AND recipient IN ('', ?) ORDER BY urgency, slot LIMIT ?"
)
_MAKE_READY: Final = "INSERT INTO inbox_ready VALUES (?,?,?,?,?,?)"
_HELD: Final = "SELECT slot, priority, attempt, recipient FROM inbox_held WHERE tract = ? AND lease = ?"
_HOLD: Final = "INSERT INTO inbox_held VALUES (?,?,?,?,?,?)"
_BACKLOG: Final = (
    "INSERT INTO inbox_level (tract, backlog) VALUES (?1, ?2) "
    "ON CONFLICT (tract) DO UPDATE SET backlog = backlog + ?2"
)
_LEASE: Final = "INSERT INTO inbox_leases VALUES (?,?,?,?)"
_BURY: Final = "INSERT INTO inbox_dead VALUES (?,?,?,?,?)"


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

    def take(self, tract: str, *, consumer: str, generation: int, lease: str, demand: int, ack_wait: int) -> Taken:
        now = self._clock()
        with self._datastore.transaction(commit=True) as c:
            c.execute(
                "SELECT generation FROM inbox_generations WHERE tract = ? AND consumer = ?", (tract, consumer)
            )
            newest = c.fetchone()
            if newest is None or newest[0] != generation:
                raise ReplacedError(tract, consumer)
            c.execute("SELECT lease FROM inbox_leases WHERE tract = ? AND due <= ?", (tract, now))
            for (ended,) in c.fetchall():
                _release(c, tract, ended)
            c.execute(_HELD, (tract, lease))
            handed = [Handed(slot, priority, attempt) for slot, priority, attempt, _ in c.fetchall()]
            if not handed:
                handed = _fill(c, tract, consumer, lease, demand)
                if handed:
                    c.execute(_LEASE, (tract, lease, consumer, now + ack_wait))
            c.execute(_READY, (tract, consumer, 1))
            left = c.fetchone() is not None
            c.execute("SELECT min(due) FROM inbox_leases WHERE tract = ?", (tract,))
            due = c.fetchone()[0]
        handed.sort(key=lambda message: (-message.priority, message.slot))
        return Taken(handed, left, None if due is None else max(0, due - now))

    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        now = self._clock()
        with self._datastore.transaction(commit=True) as c:
            c.execute(
                "UPDATE inbox_leases SET due = ? WHERE tract = ? AND lease = ? AND due > ? RETURNING lease",
                (now + ack_wait, tract, lease, now),
            )
            return c.fetchone() is not None

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
        arrivals: Sequence[Arrival],
        settlements: Sequence[Settlement],
    ) -> None:
        """What `check` has let pass; the append's first event is at head + 1."""
        for a in arrivals:
            slot = slot_of(head + 1 + a.event, a.first)
            c.execute(_MAKE_READY, (a.tract, a.recipient or "", 9 - a.priority, slot, a.count, 0))
            c.execute(_BACKLOG, (a.tract, a.count))
        for settlement in settlements:
            self._settle(c, settlement)

    def _settle(self, c: library.SQLiteCursor, s: Settlement) -> None:
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
        if s.then in {Then.DONE, Then.DEAD}:
            c.execute(_BACKLOG, (s.tract, -1))
            if s.then is Then.DEAD:
                c.execute(_BURY, (s.tract, s.slot, priority, s.attempt, recipient))
        elif s.then is Then.BACK or s.delay == 0:
            attempts = s.attempt - (s.then is Then.BACK)
            c.execute(_MAKE_READY, (s.tract, recipient, 9 - priority, s.slot, 1, attempts))
        else:
            pause = f"pause:{s.slot}:{s.attempt}"
            c.execute(_LEASE, (s.tract, pause, "", self._clock() + s.delay))
            c.execute(_HOLD, (s.tract, pause, s.slot, priority, s.attempt, recipient))


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


def _fill(c: library.SQLiteCursor, tract: str, consumer: str, lease: str, demand: int) -> list[Handed]:
    c.execute(_READY, (tract, consumer, demand))
    handed: list[Handed] = []
    for recipient, urgency, slot, count, attempts in c.fetchall():
        many = min(count, demand - len(handed))
        if many == 0:
            break
        c.execute("DELETE FROM inbox_ready WHERE tract = ? AND urgency = ? AND slot = ?", (tract, urgency, slot))
        if many < count:
            rest = (tract, recipient, urgency, slot + many, count - many, attempts)
            c.execute(_MAKE_READY, rest)
        handed += (Handed(place, 9 - urgency, attempts + 1) for place in range(slot, slot + many))
        held = [(tract, lease, place, 9 - urgency, attempts + 1, recipient) for place in range(slot, slot + many)]
        c.executemany(_HOLD, held)
    return handed
