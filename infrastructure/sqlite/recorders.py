"""The library's SQLite recorders, and what they lack: a log with times, a chain, an epoch and keys."""

import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from eventsourcing import sqlite as library
from eventsourcing.persistence import IntegrityError, Notification, ProgrammingError, StoredEvent

from application.entries import Entry
from application.inbox import Arrival, Offer, Settlement
from application.passage import GateChange
from application.recorder import (
    FIRST_CHAIN,
    AppendRefusedError,
    Duplicate,
    KeyedMessage,
    LogRecorder,
    next_chain,
    stored_digest,
)
from infrastructure.sqlite.appending import InboxChanges, check, write
from infrastructure.sqlite.datastore import Datastore
from infrastructure.sqlite.inbox import CREATE_INBOX, SQLiteInbox
from infrastructure.sqlite.layout import columns
from infrastructure.subscription import LogSubscription

__all__ = [
    "SQLiteAggregateRecorder",
    "SQLiteLogRecorder",
    "SQLiteProcessRecorder",
    "SQLiteTrackingRecorder",
]

_COLUMNS: Final = {"position", "originator_id", "originator_version", "topic", "at", "chain", "state"}

# `position` is an alias of rowid, and as such kept by VACUUM. The state comes last: SQLite walks through all
# pages of a large one to reach what stands behind it, and every append reads the last entry's time and chain.
_CREATE_EVENTS: Final = (
    "CREATE TABLE IF NOT EXISTS stored_events (position INTEGER PRIMARY KEY, originator_id TEXT, "
    "originator_version INTEGER, topic TEXT, at INTEGER, chain BLOB, state BLOB, "
    "UNIQUE (originator_id, originator_version))"
)
_CREATE_KEYS: Final = (
    "CREATE TABLE IF NOT EXISTS idempotency (originator_id TEXT, key TEXT, sequence INTEGER, position INTEGER, "
    "digest BLOB, PRIMARY KEY (originator_id, key)) WITHOUT ROWID"
)
_LAST: Final = "SELECT position, at, chain FROM stored_events ORDER BY position DESC LIMIT 1"
_INSERT_EVENT: Final = "INSERT INTO stored_events VALUES (?,?,?,?,?,?,?)"
_INSERT_KEY: Final = "INSERT INTO idempotency VALUES (?,?,?,?,?)"
_VERSION: Final = "SELECT 1 FROM stored_events WHERE originator_id = ? AND originator_version = ?"
_KEY: Final = "SELECT sequence, position, digest FROM idempotency WHERE originator_id = ? AND key = ?"
_AT: Final = "SELECT at FROM stored_events WHERE position = ?"
_STREAM: Final = (
    "SELECT * FROM stored_events WHERE originator_id = ? AND originator_version > ? "
    "ORDER BY originator_version LIMIT ?"
)
_LOG: Final = "SELECT * FROM stored_events WHERE position > ? AND position <= ? "
_IN_ORDER: Final = "ORDER BY position LIMIT ?"


def _stored(originator_id: UUID | str) -> str:
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


class SQLiteAggregateRecorder(library.SQLiteAggregateRecorder):
    """For snapshots; the library's table."""

    datastore: Datastore

    def _create_table(self, c: library.SQLiteCursor) -> None:
        self.datastore.claim(c)
        super()._create_table(c)


class SQLiteTrackingRecorder(library.SQLiteTrackingRecorder):
    datastore: Datastore

    def _create_table(self, c: library.SQLiteCursor) -> None:
        self.datastore.claim(c)
        # The library looks for the table before this transaction; another process may have made it since.
        self.tracking_table_exists = bool(columns(c, "tracking"))
        if self.tracking_table_exists:
            migrated = self._max_tracking_id(self.table_migration_identifier, c)
            self.tracking_migration_previous = self.tracking_migration_current = migrated
        super()._create_table(c)


class SQLiteLogRecorder(library.SQLiteApplicationRecorder, LogRecorder):
    """Positions are dense because they are counted here, in the append's transaction, not by SQLite.

    Attributes:
        clock: nanoseconds since 1970.
    """

    datastore: Datastore
    clock: Callable[[], int] = staticmethod(time.time_ns)

    def construct_create_table_statements(self) -> list[str]:
        return [_CREATE_EVENTS, _CREATE_KEYS, *CREATE_INBOX]

    @cached_property
    def inbox(self) -> SQLiteInbox:
        return SQLiteInbox(self.datastore, lambda: self.clock() // 1_000_000)

    def _create_table(self, c: library.SQLiteCursor) -> None:
        self.datastore.claim(c)
        super()._create_table(c)
        missing = _COLUMNS - columns(c, "stored_events")
        if missing:
            raise ProgrammingError(
                f"SQLite database {self.datastore.pool.db_name!r} has a table stored_events of another "
                f"layout, without {', '.join(sorted(missing))}."
            )

    def convert_originator_id(self, originator_id: object) -> UUID | str:
        try:
            return super().convert_originator_id(str(originator_id))
        except ValueError:
            return str(originator_id)  # a damaged row is for `verify` and for the mapper to tell of

    def check(self) -> str | None:
        with self.datastore.transaction(commit=False) as c:
            c.execute("PRAGMA quick_check(1)")
            found: str = c.fetchone()[0]
        return None if found == "ok" else " ".join(found.split())

    @cached_property
    def epoch(self) -> str:
        return self.datastore.epoch()

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        keyed: Sequence[KeyedMessage] = (),
        arrivals: Sequence[Arrival] = (),
        settlements: Sequence[Settlement] = (),
        offers: Sequence[Offer] = (),
        gates: Sequence[GateChange] = (),
        times: Sequence[int] = (),
        **kwargs: Any,
    ) -> Sequence[int] | None:
        changes = InboxChanges()
        more: dict[str, Any] = {"keyed": keyed, "arrivals": arrivals, "settlements": settlements}
        more |= {"offers": offers, "gates": gates, "times": times, "changes": changes}
        try:
            positions = super().insert_events(stored_events, **more, **kwargs)
        except AppendRefusedError as refused:  # by the inbox, of which a version or a key may be the reason
            conflicts, duplicates = self._conflicts(stored_events), self._duplicates(keyed)
            raise AppendRefusedError(conflicts, duplicates, refused.full, refused.lost, refused.shut) from None
        except IntegrityError as error:
            # The log never shrinks, so what was in the way is still there.
            conflicts, duplicates = self._conflicts(stored_events), self._duplicates(keyed)
            if not conflicts and not duplicates:
                raise
            raise AppendRefusedError(conflicts, duplicates) from error
        if positions:
            self.datastore.growth.reached(positions[-1])
        for offer, given in zip(offers, changes.taken, strict=False):  # now that it is committed
            offer.taken = given
        self.inbox.ring(changes.rung)
        self.inbox.tell_room(changes.backlogs)
        return positions

    def _insert_events(
        self,
        c: library.SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        *,
        keyed: Sequence[KeyedMessage] = (),
        arrivals: Sequence[Arrival] = (),
        settlements: Sequence[Settlement] = (),
        offers: Sequence[Offer] = (),
        gates: Sequence[GateChange] = (),
        times: Sequence[int] = (),
        changes: InboxChanges | None = None,
        **_: Any,
    ) -> Sequence[int] | None:
        """`changes` is told what is to be told on once this is committed."""
        if not stored_events:
            return []
        check(c, arrivals, settlements)
        c.execute(_LAST)
        head, at, chain = c.fetchone() or (0, 0, FIRST_CHAIN)
        now = self.clock() // 1_000_000
        times = times or [now] * len(stored_events)
        rows = []
        for position, (stored, time_) in enumerate(zip(stored_events, times, strict=True), head + 1):
            at = max(at, time_)
            chain = next_chain(chain, stored_digest(stored), at)
            originator_id = _stored(stored.originator_id)
            rows.append(
                (position, originator_id, stored.originator_version, stored.topic, at, chain, stored.state)
            )
        c.executemany(_INSERT_EVENT, rows)
        if keyed:
            keys = [(_stored(k.originator_id), k.key, k.sequence, rows[k.event][0], k.digest) for k in keyed]
            c.executemany(_INSERT_KEY, keys)
        changes = changes or InboxChanges()
        lines = [row[1] for row in rows]
        write(c, changes, head, lines, now, arrivals=arrivals, settlements=settlements, gates=gates)
        if offers:
            self.inbox.accept(c, changes, offers, [self._entry(row) for row in rows])
        return [row[0] for row in rows]

    def _conflicts(self, stored_events: Sequence[StoredEvent]) -> list[UUID | str]:
        """Ids of the aggregates of which a version is taken, in the log or by an earlier one of these events."""
        conflicts: dict[UUID | str, None] = {}
        seen: set[tuple[str, int]] = set()
        with self.datastore.transaction(commit=False) as c:
            for stored in stored_events:
                version = (_stored(stored.originator_id), stored.originator_version)
                c.execute(_VERSION, version)
                if version in seen or c.fetchone():
                    conflicts[stored.originator_id] = None
                seen.add(version)
        return list(conflicts)

    def _duplicates(self, keyed: Sequence[KeyedMessage]) -> list[Duplicate]:
        keys: dict[UUID, list[str]] = {}
        for k in keyed:
            keys.setdefault(k.originator_id, []).append(k.key)
        return [found for originator_id, some in keys.items() for found in self.select_keys(originator_id, some)]

    def select_keys(self, originator_id: UUID, keys: Sequence[str]) -> Sequence[Duplicate]:
        found = []
        with self.datastore.transaction(commit=False) as c:
            for key in keys:
                c.execute(_KEY, (_stored(originator_id), key))
                if first := c.fetchone():
                    found.append(Duplicate(originator_id, key, *first))
        return found

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        # The library's own reads a column `rowid`, which SQLite calls by its alias here.
        after = 0 if start is None else start - inclusive_of_start
        chosen = f"AND topic IN ({','.join('?' * len(topics))}) " if topics else ""
        with self.datastore.transaction(commit=False) as c:
            c.execute(_LOG + chosen + _IN_ORDER, (after, _through(stop), *topics, limit))
            return [
                Notification(
                    id=row["position"],
                    originator_id=self.convert_originator_id(row["originator_id"]),
                    originator_version=row["originator_version"],
                    topic=row["topic"],
                    state=row["state"],
                )
                for row in c.fetchall()
            ]

    def select_entries(self, *, after: int, limit: int, stop: int | None = None) -> Sequence[Entry]:
        return self._entries(_LOG + _IN_ORDER, (after, _through(stop), limit))

    def entries_at(self, positions: Sequence[int]) -> Sequence[Entry]:
        with self.datastore.transaction(commit=False) as c:
            rows = []
            for position in positions:
                c.execute(_LOG, (position - 1, position))
                rows += c.fetchall()
        return [self._entry(row) for row in rows]

    def select_stream(self, originator_id: UUID | str, *, after: int = 0, limit: int) -> Sequence[Entry]:
        return self._entries(_STREAM, (_stored(originator_id), after, limit))

    def _entries(self, statement: str, parameters: tuple[str | int, ...]) -> Sequence[Entry]:
        with self.datastore.transaction(commit=False) as c:
            c.execute(statement, parameters)
            return [self._entry(row) for row in c.fetchall()]

    def _entry(self, row: Sequence[Any]) -> Entry:
        position, originator_id, version, topic, at, chain, state = row
        return Entry(self.convert_originator_id(originator_id), version, topic, state, position, at, chain)

    def head(self) -> int:
        """The last position; 0 when the log is empty."""
        return self.max_notification_id() or 0

    def tip(self) -> tuple[int, bytes]:
        with self.datastore.transaction(commit=False) as c:
            c.execute(_LAST)
            head, _, chain = c.fetchone() or (0, 0, FIRST_CHAIN)
        return head, chain

    def accept_loss(self) -> None:
        """Nothing to do: a process that has seen an entry does not outlive its loss here."""

    def position_at(self, time: int) -> int:
        with self.datastore.transaction(commit=False) as c:

            def at(position: int) -> int:
                c.execute(_AT, (position,))
                found: int = c.fetchone()[0]
                return found

            # Times never decrease along dense positions, so no index has to be kept for them.
            return bisect_right(range(1, (self._max_notification_id(c) or 0) + 1), time, key=at)

    def wait_beyond(self, position: int, timeout: float) -> bool:
        return self.datastore.growth.wait(position, timeout, self.head)

    def interrupt(self) -> None:
        self.datastore.growth.interrupt()

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LogSubscription:
        return LogSubscription(self, gt, topics, growth=self.datastore.growth, look=self.head)


class SQLiteProcessRecorder(SQLiteTrackingRecorder, library.SQLiteProcessRecorder, SQLiteLogRecorder):
    """Tracking and the log's append in one transaction."""


def _through(stop: int | None) -> int:
    return sys.maxsize if stop is None else stop
