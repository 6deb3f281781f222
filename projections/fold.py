"""What the read side reads: decoded events in position order, and the log that they come from."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from domain.consumer import Consumer
from domain.dialogue import Dialogue

__all__ = ["EventLog", "Recorded"]


class Recorded(msgspec.Struct, frozen=True):
    """One event with its place in the log.

    Attributes:
        position: dense from 1.
        at: the log's time, milliseconds since 1970, never decreasing.
        chain: 20 bytes that depend on this entry and on every one before it.
        topic: the event's versioned name, ``dialogue.conveyed.v1``.
        dialogue: the dialogue it belongs to, or None.
    """

    position: int
    at: int
    chain: bytes
    topic: str
    dialogue: UUID | None
    event: Dialogue.Event | Consumer.Event


class EventLog(Protocol):
    """The log as a projection sees it. All calls block; they are made from the runner's thread."""

    @property
    def epoch(self) -> str:
        """Random text, made when the log was created; another log in its place has another one."""
        ...

    def chain_at(self, position: int) -> bytes | None:
        """The chain of the entry at this position, or None when the log has no such entry."""
        ...

    def read(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded]:
        """Events at positions after + 1 and on, at most `limit`, in order.

        Raises:
            OperationalError: the log is away for now, or the entry at `after` has not this chain any more.
        """
        ...

    def wait_beyond(self, position: int, timeout: float) -> bool:
        """Block until the log's head is beyond `position`: True, or False after `timeout` seconds.

        Returns at once for an entry appended by this process, within 50 ms for another's.
        """
        ...
