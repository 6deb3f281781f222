"""What the read side reads, decoded events in position order; and what folds them."""

from collections.abc import Sequence
from typing import ClassVar, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import Table

from domain.consumer import Consumer
from domain.dialogue import Dialogue
from domain.gate import Gate
from projections.model import Stored
from projections.tables import Rows, tables_version

__all__ = ["EventLog", "Projection", "Recorded", "Unread", "version_of", "weight"]


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
    event: Dialogue.Event | Consumer.Event | Gate.Event


class Unread(msgspec.Struct, frozen=True):
    """The place of an event that cannot be read, and why not. `dialogue`: the aggregate it belongs to, or None."""

    position: int
    at: int
    chain: bytes
    topic: str
    dialogue: UUID | None
    error: Exception


class EventLog(Protocol):
    """The log as a projection sees it. All calls block; they are made from the runners' threads."""

    @property
    def epoch(self) -> str:
        """Random text, made when the log was created; another log in its place has another one."""
        ...

    def head(self) -> int:
        """The last position; 0 when the log is empty."""
        ...

    def chain_at(self, position: int) -> bytes | None:
        """The chain of the entry at this position, or None when the log has no such entry."""
        ...

    def page(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded | Unread]:
        """Events at positions after + 1 and on, in order: `limit` of them, or as many as there are.

        Raises:
            OperationalError: the log is away for now, or the entry at `after` has not this chain any more.
        """
        ...

    def wait_beyond(self, position: int, timeout: float) -> bool:
        """Block until the log's head is beyond `position`: True, or False after `timeout` seconds.

        Returns at once for an entry appended by this process, within 50 ms for another's.
        """
        ...


class Projection(Protocol):
    """A summary of the log as tables. To make one, derive from this class and add it to the `registry`.

    An instance belongs to one thread and one read model. The same log must give the same rows, whatever the
    batches it comes in.

    Attributes:
        NAME: lower case letters and underscores.
        TABLES: made with `model_table`.
    """

    NAME: ClassVar[str]
    TABLES: ClassVar[tuple[Table, ...]]

    @property
    def version(self) -> str:
        """All that the rows depend on beside the log and the tables; with another one they are folded anew."""
        ...

    @property
    def settings(self) -> str:
        """What the rows depend on by somebody's choice; for another one they do not answer, not even meanwhile."""
        return ""

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        """The rows that these events change.

        Args:
            events: what follows on the events folded before, in order.
            stored: the rows after those.

        Raises:
            CheckpointMovedError: what is stored is of a later checkpoint.
            Exception: any other: one of the events cannot be folded. It is found by folding one after the other.
        """
        ...

    def forget(self) -> None:
        """The rows of the last `fold` were not written; what is kept in memory of them is void."""
        return


def version_of(projection: Projection) -> str:
    return f"{projection.version} [{projection.settings}] tables={tables_version(projection.TABLES)}"


def weight(event: Recorded | Unread) -> int:
    """What an event counts for the size of a batch: its messages, or 1."""
    if isinstance(event, Recorded) and isinstance(event.event, Dialogue.Conveyed):
        return len(event.event.messages)
    return 1
