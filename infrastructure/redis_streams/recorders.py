"""Recorders on Redis: a log in a stream, an index of versions for each aggregate, and what hangs on them."""

import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    IntegrityError,
    Notification,
    PersistenceError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from application.entries import Entry
from application.inbox import Arrival, Offer, Settlement
from application.passage import GateChange
from application.recorder import Duplicate, KeyedMessage, LogLostError, LogRecorder, OutcomeUnknownError
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.append import Append, not_beyond, numbered
from infrastructure.redis_streams.connection import ConnectionLostError, Script, Word
from infrastructure.redis_streams.datastore import Datastore
from infrastructure.redis_streams.inbox import RedisInbox
from infrastructure.redis_streams.stream import Stream
from infrastructure.subscription import LogSubscription

__all__ = ["RedisAggregateRecorder", "RedisLogRecorder", "RedisProcessRecorder", "RedisTrackingRecorder"]

_INSERT: Final = Script("insert")
_TRACK: Final = Script("track")
_PAGE: Final = 256


class RedisAggregateRecorder(AggregateRecorder):
    """For snapshots: a sorted set for each aggregate, by version."""

    def __init__(self, datastore: Datastore, purpose: str) -> None:
        self.datastore = datastore
        self._purpose = purpose

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        numbers = numbered([stored.originator_id for stored in stored_events])
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
            commands: each a Redis command whose second word is the key that it writes. They must not fail, nor be
                forbidden to this user: what stands before a failure stays.

        Raises:
            IntegrityError: the position is not beyond what is recorded; nothing was carried out.
        """
        keys = [self.datastore.keys.tracking, *(command[1] for command in commands)]
        arguments: list[Word] = [tracking.application_name, tracking.notification_id]
        for command in commands:
            arguments += (len(command), *command)
        outcome, *rest = self.datastore.connections.run(_TRACK, keys, arguments)
        if outcome != b"OK":
            raise not_beyond(tracking, wire.integer(rest[0]))

    def max_tracking_id(self, application_name: str) -> int | None:
        reached = self.datastore.connections.call("HGET", self.datastore.keys.tracking, application_name)
        return None if reached is None else wire.integer(reached)


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

    @cached_property
    def inbox(self) -> RedisInbox:
        return RedisInbox(self.datastore)

    @property
    def epoch(self) -> str:
        """As it is now: the log may be emptied and begun anew, by another process, while this program runs."""
        return self.datastore.epoch() or self._epoch

    @contextmanager
    def _reading(self) -> Iterator[Stream]:
        with self.datastore.connections.borrowed() as connection:
            yield Stream(self.datastore, connection)

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
        tracking: Tracking | None = None,
        **_: Any,
    ) -> Sequence[int] | None:
        if not stored_events and tracking is None:
            return []
        append = Append(
            stored_events,
            keyed,
            arrivals,
            settlements,
            tracking,
            offers=offers,
            gates=gates,
            times=times,
            originator_id=self.datastore.originator_id,
        )
        (seen, chain), epoch = self._anchor, self._epoch
        reply = self._run(append.keys(self.datastore.keys), (epoch, seen, chain.hex()), append.words())
        first, chain, bells = append.outcome(reply, seen)
        positions = list(range(first, first + len(stored_events)))
        if positions:
            self._move_anchor(positions[-1], chain)
            self.datastore.growth.reached(positions[-1])
        for tract in bells:
            self.datastore.listener.ring(tract)
        return positions

    def _run(self, keys: Sequence[Word], known: Sequence[Word], words: Sequence[Word]) -> Any:
        """Run the script; once more when its reply is lost, and then it tells whether the events stand already."""
        who = self.datastore.listener.name
        try:
            return self.datastore.connections.run(Append.SCRIPT, keys, (*known, 0, who, *words))
        except ConnectionLostError as lost:
            try:
                return self.datastore.connections.run(Append.SCRIPT, keys, (*known, 1, who, *words))
            except PersistenceError as error:
                raise OutcomeUnknownError(f"{error} (again, after: {lost})") from error

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
        with self._reading() as stream:
            anchor = self._anchor
            entries = stream.of(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
            tip = stream.tip()  # after them, so that none of them lies beyond the anchor
            if tip != anchor and anchor[0] > 0 and [e.chain for e in stream.at([anchor[0]])] != [anchor[1]]:
                raise LogLostError(anchor[0], tip[0])
        self._move_anchor(*tip)
        return [StoredEvent(e.originator_id, e.originator_version, e.topic, e.state) for e in entries]

    def select_stream(self, originator_id: UUID | str, *, after: int = 0, limit: int) -> Sequence[Entry]:
        with self._reading() as stream:
            return stream.of(originator_id, gt=after, lte=None, desc=False, limit=limit)

    def select_entries(self, *, after: int, limit: int, stop: int | None = None) -> Sequence[Entry]:
        with self._reading() as stream:
            entries = stream.entries(after, limit, stop)
            if not entries:  # who reads on in vain must not be told again that there is more
                self.datastore.growth.looked(stream.tip()[0])
        return entries

    def entries_at(self, positions: Sequence[int]) -> Sequence[Entry]:
        with self._reading() as stream:
            return stream.at(positions)

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
        page = limit if not topics else _PAGE
        chosen: list[Entry] = []
        while len(chosen) < limit:
            entries = self.select_entries(after=after, limit=page, stop=stop)
            chosen += (entry for entry in entries if not topics or entry.topic in topics)
            if len(entries) < page:
                break
            after = entries[-1].id
        return [
            Notification(e.originator_id, e.originator_version, e.topic, e.state, e.id) for e in chosen[:limit]
        ]

    def select_keys(self, originator_id: UUID, keys: Sequence[str]) -> Sequence[Duplicate]:
        if not keys:
            return []
        table = self.datastore.keys.of("idempotency", originator_id)
        found = self.datastore.connections.call("HMGET", table, *keys)
        return [wire.duplicate(originator_id, k, p) for k, p in zip(keys, found, strict=True) if p is not None]

    def max_notification_id(self) -> int | None:
        return self.tip()[0] or None

    def tip(self) -> tuple[int, bytes]:
        with self._reading() as stream:
            tip = stream.tip()
        self.datastore.growth.looked(tip[0])
        return tip

    def position_at(self, time: int) -> int:
        with self._reading() as stream:
            # Times never decrease along dense positions, so no index has to be kept for them.
            positions = range(1, stream.tip()[0] + 1)
            return bisect_right(positions, time, key=lambda position: stream.at([position])[0].at)

    def wait_beyond(self, position: int, timeout: float) -> bool:
        def look() -> int:
            head = self._head()
            return head if head >= position else sys.maxsize  # shorter than it was: a reason to look, too

        self.datastore.listener.start()
        return self.datastore.growth.wait(position, timeout, look)

    def _head(self) -> int:
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
        self.datastore.listener.start()
        return LogSubscription(self, gt, topics, growth=self.datastore.growth, look=self._head)


class RedisProcessRecorder(RedisTrackingRecorder, RedisLogRecorder, ProcessRecorder):
    """Tracking and the log's append in one step."""

    def __init__(self, datastore: Datastore) -> None:
        RedisLogRecorder.__init__(self, datastore)
