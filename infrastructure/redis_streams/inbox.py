"""The inbox on Redis: each step is one script, so that no two consumers get the same message."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from application.inbox import Handed, Inbox, Level, ReplacedError, Taken
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.connection import Script, Word
from infrastructure.redis_streams.datastore import Datastore

__all__ = ["RedisInbox"]

_TAKE: Final = Script("inbox", "take")
_JOIN: Final = Script("inbox", "join")
_EXTEND: Final = Script("inbox", "extend")


class RedisInbox(Inbox):
    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore

    def configure(self, tract: str, capacity: int) -> None:
        self._datastore.connections.call("HSET", self._datastore.keys.level(tract), "capacity", capacity)

    def level(self, tract: str) -> Level:
        found = self._datastore.connections.call("HMGET", self._datastore.keys.level(tract), "backlog", "capacity")
        backlog, capacity = found
        return Level(wire.integer(backlog), None if capacity is None else wire.integer(capacity))

    def join(self, tract: str, consumer: str) -> int:
        return wire.integer(self._run(_JOIN, tract, consumer))

    def take(self, tract: str, *, consumer: str, generation: int, lease: str, demand: int, ack_wait: int) -> Taken:
        outcome, *told = self._run(_TAKE, tract, consumer, generation, lease, demand, ack_wait)
        if outcome != b"OK":
            raise ReplacedError(tract, consumer)
        left, next_due, handed = told
        return Taken(_handed(handed), bool(left), int(next_due) if next_due else None)

    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        return bool(self._run(_EXTEND, tract, lease, ack_wait))

    def listen(self, ring: Callable[[str], None]) -> None:
        self._datastore.listener.add_ring(ring)
        self._datastore.listener.start()

    def _run(self, script: Script, tract: str, *arguments: Word) -> Any:
        # A plain string: the client takes no enum's member for one.
        return self._datastore.connections.run(script, [self._datastore.keys.log], (str(tract), *arguments))


def _handed(told: Sequence[Any]) -> list[Handed]:
    numbers = [int(number) for number in told]
    handed = map(Handed, numbers[::3], numbers[1::3], numbers[2::3])
    return sorted(handed, key=lambda message: (-message.priority, message.slot))
