"""Recorders on Redis: a log in a stream, an index of versions for each aggregate, and what hangs on them."""

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    DataError,
    IntegrityError,
    Notification,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from application.recorder import (
    AppendRefusedError,
    Duplicate,
    Entry,
    KeyedMessage,
    LogLostError,
    LogRecorder,
    stored_digest,
)
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.connection import Connection, ConnectionLostError, Script, Word
from infrastructure.redis_streams.datastore import Datastore, stored_id
from infrastructure.subscription import LogSubscription

__all__ = [
    "RedisAggregateRecorder",
    "RedisLogRecorder",
    "RedisProcessRecorder",
    "RedisTrackingRecorder",
]

_APPEND: Final = Script("append")
_INSERT: Final = Script("insert")
_TRACK: Final = Script("track")

_PAGE: Final = 256
_VERSIONS: Final = 4096
"""Versions whose places are read at once."""

_HIGHEST_VERSION: Final = 64 * 1024 * 1024 - 1
"""An index is a string of 8 bytes a version, and the server's strings end at 512 MB."""


class RedisAggregateRecorder(AggregateRecorder):
    """For snapshots: a sorted set for each aggregate, by version."""

    def __init__(self, datastore: Datastore, purpose: str) -> None:
        self.datastore = datastore
        self._purpose = purpose

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        numbers = _numbered(stored_events)
        arguments: list[Word] = []
        for stored in stored_events:
            topic = stored.topic.encode()
            packed = b"%d %d %b%b" % (stored.originator_version, len(topic), topic, stored.state)
            arguments += (numbers[stored.originator_id], stored.originator_version, packed)
        keys = [self.datastore.keys.of(self._purpose, originator_id) for originator_id in numbers]
        [outcome] = self.datastore.connections.run(_INSERT, keys, arguments)
        if outcome != b"OK":
            raise IntegrityError("A version of these events is stored already.")
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        low, high = "-inf" if gt is None else f"({gt}", "+inf" if lte is None else str(lte)
        key = self.datastore.keys.of(self._purpose, originator_id)
        ends = ("ZREVRANGEBYSCORE", key, high, low) if desc else ("ZRANGEBYSCORE", key, low, high)
        bounds = () if limit is None else ("LIMIT", 0, limit)
        found = wire.versioned(self.datastore.connections.call(*ends, "WITHSCORES", *bounds))
        return [_unpacked(originator_id, version, packed) for version, packed in found]


def _unpacked(originator_id: UUID | str, version: int, packed: bytes) -> StoredEvent:
    _, length, rest = packed.split(b" ", 2)
    return StoredEvent(originator_id, version, rest[: int(length)].decode(), rest[int(length) :])


class RedisTrackingRecorder(TrackingRecorder):
    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def insert_tracking(self, tracking: Tracking) -> None:
        self.track(tracking)

    def track(self, tracking: Tracking, *commands: Sequence[Word]) -> None:
        """Record the position and carry out commands on keys of this namespace (`Keys.own`), in one step.

        Args:
            tracking: must be beyond what is recorded for its application.
            commands: each a Redis command whose second word is the key that it writes; they must not fail.

        Raises:
            IntegrityError: the position is not beyond what is recorded; nothing was carried out.
        """
        keys = [self.datastore.keys.tracking, *(command[1] for command in commands)]
        arguments: list[Word] = [tracking.application_name, tracking.notification_id]
        for command in commands:
            arguments += (len(command), *command)
        outcome, *rest = self.datastore.connections.run(_TRACK, keys, arguments)
        if outcome != b"OK":
            raise _not_beyond(tracking, wire.integer(rest[0]))

    def max_tracking_id(self, application_name: str) -> int | None:
        reached = self.datastore.connections.call("HGET", self.datastore.keys.tracking, application_name)
        return None if reached is None else wire.integer(reached)


def _not_beyond(tracking: Tracking, reached: int) -> IntegrityError:
    return IntegrityError(
        f"Position {tracking.notification_id} of {tracking.application_name!r} is not beyond {reached}."
    )


class RedisLogRecorder(LogRecorder):
    """The log is one stream whose entry ids are the positions.

    Its *anchor* is the last entry that this recorder's user has seen, by appending or by telling an aggregate.
    A server may lose entries that it has acknowledged, and then gives their positions to others. So before the
    anchor moves on, the log is asked whether it still is what it was.
    """

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore
        self._anchored = Lock()
        self._epoch, self._anchor = datastore.claim()

    @property
    def epoch(self) -> str:
        """As it is now: the log may be emptied and begun anew while this program runs."""
        return self.datastore.claim()[0]

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        keyed: Sequence[KeyedMessage] = (),
        tracking: Tracking | None = None,
        **_: Any,
    ) -> Sequence[int] | None:
        if not stored_events and tracking is None:
            return []
        numbers = _numbered(stored_events, keyed)
        epoch, anchor = self._epoch, self._anchor
        keys, arguments = self._words(numbers, stored_events, keyed, tracking)
        seen: tuple[Word, ...] = (epoch, anchor[0], anchor[1].hex())
        try:
            reply = self.datastore.connections.run(_APPEND, keys, (*seen, 0, *arguments))
        except ConnectionLostError as lost:
            reply = self._append_again(lost, keys, (*seen, 1, *arguments))
        first, chain = self._accepted(reply, anchor, stored_events, keyed, tracking)
        positions = list(range(first, first + len(stored_events)))
        if positions:
            self._move_anchor(positions[-1], chain)
            self.datastore.growth.reached(positions[-1])
        return positions

    def _append_again(self, lost: ConnectionLostError, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """The script tells whether the events stand already, so this never makes a second one."""
        try:
            return self.datastore.connections.run(_APPEND, keys, arguments)
        except OperationalError as error:
            raise ConnectionLostError(
                f"{error} (again, after: {lost}) Whether the append happened is not known."
            ) from error

    def _words(
        self,
        numbers: dict[UUID | str, int],
        stored_events: Sequence[StoredEvent],
        keyed: Sequence[KeyedMessage],
        tracking: Tracking | None,
    ) -> tuple[list[Word], list[Word]]:
        """The script's keys, and its arguments after the retry mark."""
        names = self.datastore.keys
        keys: list[Word] = [names.log, names.head, names.meta, names.tracking]
        keys += (names.of("stream", originator_id) for originator_id in numbers)
        keys += (names.of("idempotency", originator_id) for originator_id in numbers)
        application, tracked = (tracking.application_name, tracking.notification_id) if tracking else ("", 0)
        words: list[Word] = [len(numbers), len(stored_events), len(keyed), application, tracked]
        for s in stored_events:
            if not 0 <= s.originator_version <= _HIGHEST_VERSION:
                raise DataError(f"Version {s.originator_version} is not within 0 and {_HIGHEST_VERSION}.")
            number = numbers[s.originator_id]
            words += (
                number,
                stored_id(s.originator_id),
                s.originator_version,
                s.topic,
                stored_digest(s).hex(),
                s.state,
            )
        for k in keyed:
            words += (numbers[k.originator_id], k.event + 1, k.key, k.sequence, k.digest)
        return keys, words

    def _accepted(
        self,
        reply: Sequence[Any],
        anchor: tuple[int, bytes],
        stored_events: Sequence[StoredEvent],
        keyed: Sequence[KeyedMessage],
        tracking: Tracking | None,
    ) -> tuple[int, bytes]:
        """The first position and the last chain of what was appended; or the error that says why nothing was."""
        outcome, *values = reply
        if outcome == b"OK":
            return wire.tip(values)
        if outcome == b"TRACKED" and tracking is not None:
            raise _not_beyond(tracking, wire.integer(values[0]))
        if outcome == b"REFUSED":
            conflicts, duplicates = values
            refused = dict.fromkeys(stored_events[number - 1].originator_id for number in conflicts)
            pairs = zip(duplicates[::2], duplicates[1::2], strict=True)
            found = [wire.duplicate(k.originator_id, k.key, p) for n, p in pairs for k in [keyed[n - 1]]]
            raise AppendRefusedError(list(refused), found)
        raise LogLostError(anchor[0], wire.integer(values[0]) if outcome == b"LOST" else 0)

    def _move_anchor(self, position: int, chain: bytes) -> None:
        with self._anchored:
            if position > self._anchor[0]:
                self._anchor = (position, chain)

    def accept_loss(self) -> None:
        with self._anchored:
            self._epoch, self._anchor = self.datastore.claim()
        self.datastore.growth.restart()

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        with self.datastore.connections.borrowed() as connection:
            anchor = self._anchor
            tip = self._tip(connection)
            entries = self._told(connection, originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
            if tip != anchor and anchor[0] > 0:
                found = self._fetch(connection, [anchor[0]])
                if not found or found[0].chain != anchor[1]:
                    raise LogLostError(anchor[0], tip[0])
        self._move_anchor(*tip)
        return [StoredEvent(e.originator_id, e.originator_version, e.topic, e.state) for e in entries]

    def select_stream(self, originator_id: UUID | str, *, after: int = 0, limit: int) -> Sequence[Entry]:
        with self.datastore.connections.borrowed() as connection:
            return self._told(connection, originator_id, gt=after, lte=None, desc=False, limit=limit)

    def _told(
        self,
        connection: Connection,
        originator_id: UUID | str,
        *,
        gt: int | None,
        lte: int | None,
        desc: bool,
        limit: int | None,
    ) -> list[Entry]:
        """An aggregate's entries by version: first their places, then themselves."""
        first, last = 0 if gt is None else max(gt + 1, 0), _HIGHEST_VERSION if lte is None else lte
        places = islice(self._places(connection, originator_id, first, last, desc=desc), limit)
        entries: list[Entry] = []
        while page := list(islice(places, _PAGE)):
            entries += self._fetch(connection, page)
        return entries

    def _places(
        self, connection: Connection, originator_id: UUID | str, first: int, last: int, *, desc: bool
    ) -> Iterator[int]:
        """Positions of the versions first to last that there are."""
        index = self.datastore.keys.of("stream", originator_id)
        last = min(last, wire.integer(connection.call("STRLEN", index)) // 8 - 1)
        starts = range(first, last + 1, _VERSIONS)
        for start in reversed(starts) if desc else starts:
            end = min(start + _VERSIONS - 1, last)
            places = wire.positions(connection.call("GETRANGE", index, start * 8, end * 8 + 7))
            yield from (place for place in (reversed(places) if desc else places) if place)

    def _fetch(self, connection: Connection, places: Sequence[int]) -> list[Entry]:
        log = self.datastore.keys.log
        commands = [("XRANGE", log, f"{first}-0", f"{last}-0") for first, last in _runs(places)]
        return [entry for reply in connection.together(commands) for entry in self._entries(reply)]

    def _entries(self, reply: Sequence[Any]) -> list[Entry]:
        return wire.entries(reply, self.datastore.originator_id)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else start - inclusive_of_start
        chosen: list[Notification] = []
        while len(chosen) < limit:
            page = self.select_entries(after=after, limit=_PAGE if topics else limit, stop=stop)
            chosen += (_notification(entry) for entry in page if not topics or entry.topic in topics)
            if not topics or len(page) < _PAGE:
                break
            after = page[-1].id
        return chosen[:limit]

    def select_entries(self, *, after: int, limit: int, stop: int | None = None) -> Sequence[Entry]:
        last = "+" if stop is None else f"{max(stop, 0)}-0"
        first = f"{max(after + 1, 1)}-0"
        log = self.datastore.keys.log
        return self._entries(self.datastore.connections.call("XRANGE", log, first, last, "COUNT", limit))

    def select_keys(self, originator_id: UUID, keys: Sequence[str]) -> Sequence[Duplicate]:
        if not keys:
            return []
        table = self.datastore.keys.of("idempotency", originator_id)
        found = self.datastore.connections.call("HMGET", table, *keys)
        return [wire.duplicate(originator_id, k, p) for k, p in zip(keys, found, strict=True) if p is not None]

    def max_notification_id(self) -> int | None:
        return self.tip()[0] or None

    def tip(self) -> tuple[int, bytes]:
        with self.datastore.connections.borrowed() as connection:
            return self._tip(connection)

    def _tip(self, connection: Connection) -> tuple[int, bytes]:
        return wire.tip(connection.call("HMGET", self.datastore.keys.head, "position", "chain"))

    def position_at(self, time: int) -> int:
        with self.datastore.connections.borrowed() as connection:

            def at(position: int) -> int:
                return self._fetch(connection, [position])[0].at

            # Times never decrease along dense positions, so no index has to be kept for them.
            return bisect_right(range(1, self._tip(connection)[0] + 1), time, key=at)

    def wait_beyond(self, position: int, timeout: float) -> bool:
        def look() -> int:
            head = self._look()
            return head if head >= position else sys.maxsize  # shorter than it was: a reason to look, too

        return self.datastore.growth.wait(position, timeout, look)

    def _look(self) -> int:
        self.datastore.listener.ensure()
        return self.tip()[0]

    def check(self) -> str | None:
        """Whether the stream has as many entries as there are positions."""
        keys = self.datastore.keys
        entries, head = self.datastore.connections.together([("XLEN", keys.log), ("HGET", keys.head, "position")])
        if entries == wire.integer(head):
            return None
        return f"the stream {keys.log} has {entries} entries, and its head says {wire.integer(head)}"

    def interrupt(self) -> None:
        self.datastore.growth.interrupt()

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LogSubscription:
        return LogSubscription(self, gt, topics, growth=self.datastore.growth, look=self._look)


class RedisProcessRecorder(RedisTrackingRecorder, RedisLogRecorder, ProcessRecorder):
    """Tracking and the log's append in one step."""

    def __init__(self, datastore: Datastore) -> None:
        RedisLogRecorder.__init__(self, datastore)


def _numbered(stored_events: Sequence[StoredEvent], keyed: Sequence[KeyedMessage] = ()) -> dict[UUID | str, int]:
    """The aggregates of these events and keys, each with a number from 1 on."""
    ids = dict.fromkeys([*(s.originator_id for s in stored_events), *(k.originator_id for k in keyed)])
    return {originator_id: number for number, originator_id in enumerate(ids, 1)}


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges (inclusive) of ascending neighbours, in order."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def _notification(entry: Entry) -> Notification:
    return Notification(
        id=entry.id,
        originator_id=entry.originator_id,
        originator_version=entry.originator_version,
        topic=entry.topic,
        state=entry.state,
    )
