"""The inbox on Redis: each step is one script, so that no two consumers get the same message."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from application.inbox import (
    DEAD_LETTERS,
    ROOM_LEASE,
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
    Take,
    Taken,
)
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.connection import Script, Word
from infrastructure.redis_streams.datastore import Datastore

__all__ = ["RedisInbox"]

_LEVEL: Final = ("backlog", "capacity", "passage", "generation", "permits", "retry_at")
_TAKE: Final = Script("inbox", "taking", "take")
_TAKE_LOWEST: Final = Script("inbox", "taking", "take_lowest")
_LEAVE: Final = Script("inbox", "leave")
_LET_IN: Final = Script("inbox", "let_in")
_PUT_BACK: Final = Script("inbox", "put_back")
_JOIN: Final = Script("inbox", "join")
_EXTEND: Final = Script("inbox", "extend")
_ORDER: Final = Script("inbox", "order")
_STATE: Final = Script("inbox", "state")
_HOLDING: Final = Script("inbox", "holding")


class RedisInbox(Inbox):
    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def configure(self, tract: str, capacity: int) -> None:
        self._datastore.connections.call("HSET", self._datastore.keys.level(tract), "capacity", capacity)

    def order(self, tract: str, ordered: bool) -> None:
        if not self._run(_ORDER, tract, int(ordered)):
            raise NotEmptyError(tract)

    def level(self, tract: str) -> Level:
        return wire.level(self._datastore.connections.call("HMGET", self._datastore.keys.level(tract), *_LEVEL))

    def join(self, tract: str, consumer: str) -> int:
        return wire.integer(self._run(_JOIN, tract, consumer))

    def take(self, take: Take) -> Taken:
        told = self._run(_TAKE, *wire.asked(take))
        if not told:
            raise ReplacedError(take.tract, take.consumer)
        return wire.taken(told, self._datastore.originator_id)

    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        return bool(self._run(_EXTEND, tract, lease, ack_wait))

    def take_lowest(self, tract: str, lease: str, *, count: int, below: int, ack_wait: int) -> Sequence[Handed]:
        held = wire.handed(self._run(_TAKE_LOWEST, tract, lease, count, int(below), ack_wait))
        return sorted(held, key=lambda message: (message.priority, -message.slot))

    def put_back(self, tract: str, lease: str) -> None:
        self._run(_PUT_BACK, tract, lease)

    def let_in(self, tract: str, room: str, wanted: int, waiting: int) -> int:
        return wire.integer(self._run(_LET_IN, tract, room, wanted, waiting, ROOM_LEASE))

    def leave(self, tract: str, room: str) -> None:
        self._run(_LEAVE, tract, room)

    def dead(self, tract: str, *, after: int, limit: int) -> Sequence[Buried]:
        keys = self._datastore.keys
        with self._datastore.connections.borrowed() as connection:
            slots = connection.call(
                "ZRANGEBYSCORE", keys.of("dead", str(tract)), f"({after}", "+inf", "LIMIT", 0, limit
            )
            if not slots:
                return []
            held = connection.call("HMGET", keys.of("lease", f"{tract}:{DEAD_LETTERS}"), *slots)
            near = connection.call("HMGET", keys.of("near", str(tract)), *slots)
        # What was redriven in between is a dead letter no more.
        return [
            Buried(int(slot), int(what.split(b" ", 2)[1]), int(position))
            for slot, what, position in zip(slots, held, near, strict=True)
            if what is not None and position is not None
        ]

    def state(self, tract: str) -> InboxState:
        level, ordered, dead, pending, flying = self._run(_STATE, tract)
        return InboxState(wire.level(level), ordered == b"1", _pending(pending), _in_flight(flying), dead)

    def holding(self, tract: str, slot: int) -> Holding | None:
        told = self._run(_HOLDING, tract, slot)
        if not told:
            return None
        consumer, attempt, until = told
        return Holding(wire.text(consumer) or None, int(attempt), int(until))

    def listen(self, ring: Callable[[str], None]) -> None:
        self._datastore.listener.add_ring(ring)
        self._datastore.listener.start()

    def listen_for_room(self, told: Callable[[str, int], None]) -> None:
        self._datastore.listener.add_room(told)
        self._datastore.listener.start()

    def _run(self, script: Script, tract: Word, *arguments: Word) -> Any:
        # A plain string: the client takes no enum's member for one.
        return self._datastore.connections.run(script, [self._datastore.keys.log], (str(tract), *arguments))


def _pending(told: Sequence[Any]) -> list[Pending]:
    found = [
        Pending(int(priority), wire.text(recipient) or None, int(count), int(oldest))
        for priority, recipient, count, oldest in zip(told[::4], told[1::4], told[2::4], told[3::4], strict=True)
    ]
    return sorted(found, key=lambda pending: (-pending.priority, pending.recipient or ""))


def _in_flight(told: Sequence[Any]) -> list[InFlight]:
    of: dict[str, list[tuple[int, int]]] = {}
    for consumer, slot, attempt in zip(told[::3], told[1::3], told[2::3], strict=True):
        of.setdefault(wire.text(consumer), []).append((int(slot), int(attempt)))
    return [
        InFlight(name or None, len(held), min(slot for slot, _ in held), max(attempt for _, attempt in held))
        for name, held in sorted(of.items())
    ]
