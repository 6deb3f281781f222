"""The inbox in SQLite: tables beside the log's, so that an append's transaction covers both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from eventsourcing import sqlite as library

from application.entries import Entry
from application.inbox import (
    DEAD_LETTERS,
    Buried,
    Handed,
    Holding,
    Inbox,
    InboxState,
    InFlight,
    Level,
    NotEmptyError,
    Offer,
    Pending,
    ReplacedError,
    Take,
    Taken,
)
from infrastructure.sqlite.appending import InboxChanges
from infrastructure.sqlite.datastore import Datastore
from infrastructure.sqlite.gates import level
from infrastructure.sqlite.leases import anything_waits, end_leases, is_newest, release, take_some, waits
from infrastructure.sqlite.lines import CREATE_LINES, is_ordered
from infrastructure.sqlite.shedding import take_lowest
from infrastructure.sqlite.waiting import CREATE_WAITING, WaitingRooms

__all__ = ["CREATE_INBOX", "SQLiteInbox"]

# A run is of neighbouring slots. A pause before a message is handed out again is a lease of nobody; dead letters
# are held under one that never ends.
_TABLES: Final = {
    "inbox_ready": "recipient TEXT, urgency INTEGER, slot INTEGER, count INTEGER, attempts INTEGER, "
    "PRIMARY KEY (tract, recipient, urgency, slot)",
    "inbox_leases": "lease TEXT, consumer TEXT, due INTEGER, generation INTEGER DEFAULT 0, "
    "PRIMARY KEY (tract, lease)",
    "inbox_held": "lease TEXT, slot INTEGER, priority INTEGER, attempt INTEGER, recipient TEXT, near INTEGER, "
    "PRIMARY KEY (tract, lease, slot)",
    "inbox_level": "backlog INTEGER DEFAULT 0, capacity INTEGER, ordered INTEGER DEFAULT 0, "
    "passage TEXT DEFAULT 'free', generation INTEGER DEFAULT 0, permits INTEGER DEFAULT 0, retry_at INTEGER, "
    "PRIMARY KEY (tract)",
    "inbox_generations": "consumer TEXT, generation INTEGER, PRIMARY KEY (tract, consumer)",
    **CREATE_LINES,
    **CREATE_WAITING,
}
CREATE_INBOX: Final = [
    f"CREATE TABLE IF NOT EXISTS {name} (tract TEXT, {columns}) WITHOUT ROWID" for name, columns in _TABLES.items()
]
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
        self._rooms: list[Callable[[str, int], None]] = []
        self._waiting = WaitingRooms(datastore, clock)

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
            if c.fetchone() or level(c, tract).backlog:
                raise NotEmptyError(tract)
            c.execute(
                "INSERT INTO inbox_level (tract, ordered) VALUES (?1, ?2) "
                "ON CONFLICT (tract) DO UPDATE SET ordered = ?2",
                (tract, ordered),
            )

    def level(self, tract: str) -> Level:
        with self._datastore.transaction(commit=False) as c:
            return level(c, tract)

    def join(self, tract: str, consumer: str) -> int:
        with self._datastore.transaction(commit=True) as c:
            c.execute("SELECT lease FROM inbox_leases WHERE tract = ? AND consumer = ?", (tract, consumer))
            for (lease,) in c.fetchall():
                release(c, tract, lease)
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
            if not is_newest(c, take):
                raise ReplacedError(take.tract, take.consumer)
            now = self._clock()
            freed = end_leases(c, take.tract, now)
            taken = take_some(c, take, now)
        if freed:
            self.ring({take.tract})
        return taken

    def accept(
        self, c: library.SQLiteCursor, changes: InboxChanges, offers: Sequence[Offer], fresh: Sequence[Entry]
    ) -> None:
        """Carry out what is offered to an append of these entries, as far as there is something for it.

        Nobody need be rung for what that takes all of.
        """
        changes.taken = [self._accept(c, changes, offer.take, fresh) for offer in offers]
        served = {offer.take.tract for offer, given in zip(offers, changes.taken, strict=True) if given}
        changes.rung -= {tract for tract in served if not anything_waits(c, tract)}

    def _accept(
        self, c: library.SQLiteCursor, changes: InboxChanges, take: Take, fresh: Sequence[Entry]
    ) -> Taken | None:
        if not (waits(c, take) and is_newest(c, take)):
            return None
        now = self._clock()
        if end_leases(c, take.tract, now):
            changes.rung.add(take.tract)
        taken = take_some(c, take, now)
        positions = {handed.position for handed in taken.handed}
        return replace(taken, entries=[entry for entry in fresh if entry.id in positions]) if positions else None

    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        now = self._clock()
        with self._datastore.transaction(commit=True) as c:
            c.execute(
                "UPDATE inbox_leases SET due = ? WHERE tract = ? AND lease = ? AND due > ? RETURNING lease",
                (now + ack_wait, tract, lease, now),
            )
            return c.fetchone() is not None

    def take_lowest(self, tract: str, lease: str, *, count: int, below: int, ack_wait: int) -> Sequence[Handed]:
        now = self._clock()
        with self._datastore.transaction(commit=True) as c:
            freed = end_leases(c, tract, now)
            held = take_lowest(c, tract, lease, count=count, below=below, due=now + ack_wait)
        if freed:
            self.ring({tract})
        return held

    def put_back(self, tract: str, lease: str) -> None:
        with self._datastore.transaction(commit=True) as c:
            release(c, tract, lease)
        self.ring({tract})

    def let_in(self, tract: str, room: str, wanted: int, waiting: int) -> int:
        return self._waiting.let_in(tract, room, wanted, waiting)

    def leave(self, tract: str, room: str) -> None:
        self._waiting.leave(tract, room)

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
            return InboxState(level(c, tract), is_ordered(c, tract), pending, in_flight, dead)

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

    def listen_for_room(self, told: Callable[[str, int], None]) -> None:
        self._rooms.append(told)

    def tell_room(self, backlogs: Mapping[str, int]) -> None:
        for tract, backlog in backlogs.items():
            for told in self._rooms:
                told(tract, backlog)

    def ring(self, tracts: Iterable[str]) -> None:
        for tract in tracts:
            for ring in self._rings:
                ring(tract)
