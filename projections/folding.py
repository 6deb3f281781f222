"""Folding a projection into its read model, batch by batch; and what becomes of an event that cannot be folded."""

from collections.abc import Sequence
from enum import StrEnum
from time import monotonic
from typing import Final
from uuid import UUID

from eventsourcing.persistence import OperationalError as LogOperationalError
from msgspec.structs import replace
from sqlalchemy.exc import OperationalError

from projections.errors import ProjectionFailedError
from projections.feed import Feed
from projections.fold import Projection, Recorded, Unread, version_of, weight
from projections.model import (
    Checkpoint,
    CheckpointMovedError,
    Model,
    Parked,
    Trouble,
    read_checkpoint,
    read_parked,
    read_trouble,
)
from projections.tables import Rows

__all__ = ["Folding", "OnError"]

_PASSING: Final = (LogOperationalError, OperationalError, CheckpointMovedError)
"""No event is at fault: a lock, a full disk, a server that is away, another process that was faster."""


class OnError(StrEnum):
    """What becomes of an event that cannot be folded.

    FAIL: the projection stands before it until somebody resumes it. RETRY: it is tried again, ever more seldom.
    PARK: it is left out and listed, and with it what follows in its dialogue; all others go on.
    """

    FAIL = "fail"
    RETRY = "retry"
    PARK = "park"


class Folding:
    """One projection and one generation of its read model. Belongs to one thread.

    An error in a batch does not tell which event is at fault: the batch is folded again one event at a time.

    Attributes:
        checkpoint: how far it has come; as of `resume` at the earliest.
        until: up to this position it folds one event at a time.
        under_way: since when (of `time.monotonic`) which batch is being folded; None: none is. Reading and writing
            it do not count: what they wait for passes, or is an error of its own.
        weight: of the last batch that was folded, see `fold.weight`.
    """

    def __init__(self, feed: Feed, model: Model, projection: Projection, on_error: OnError) -> None:
        self.model = model
        self.projection = projection
        self.checkpoint = Checkpoint(version_of(projection), 0, b"", "")
        self.until = 0
        self.under_way: tuple[float, Sequence[Recorded | Unread]] | None = None
        self.abandoned = False
        self.weight = 0
        self._feed = feed
        self._on_error = on_error
        self._parked: dict[UUID, int] = {}

    def resume(self) -> str | None:
        """Go on from the stored checkpoint, or from the beginning when it is not of this log and definition.

        Returns:
            Why it begins anew; None when it goes on, or when there was nothing.
        """
        self.projection.forget()
        fresh = Checkpoint(version_of(self.projection), 0, b"", self._feed.epoch)
        with self.model.writing() as connection:
            stored = read_checkpoint(connection)
            reason = None if stored is None else self._mismatch(stored, fresh)
            if reason is not None:
                self._feed.forget()
            if stored is None or reason is not None:
                self.model.begin(connection, fresh)
                stored = fresh
            parked = read_parked(connection)
        self._parked = {UUID(event.dialogue): event.position for event in reversed(parked) if event.dialogue}
        self.checkpoint = stored
        return reason

    def is_of_another_log(self) -> bool:
        """To be asked at position 0, where no entry's chain tells."""
        return self.checkpoint.position == 0 and self.checkpoint.epoch != self._feed.epoch

    def step(self, stop: int | None = None) -> bool:
        """Fold the next batch, up to position `stop` at most; False: there is nothing to fold.

        Raises:
            ProjectionFailedError: at the event that is next, which is not parked.
            CheckpointMovedError: another process was faster; `resume`.
            OperationalError: the log, or the library's: the database is away for now.
        """
        page = self._feed.after(self.checkpoint)
        if stop is not None:
            page = page[: max(0, stop - self.checkpoint.position)]
        if page and self.checkpoint.position < self.until:
            page = page[:1]
        if not page:
            return False
        try:
            self._fold(page)
        except _PASSING:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a projection raises
            self.projection.forget()
            if len(page) > 1:
                self.until = page[-1].position
                return True
            self.refuse(page[0], error)
        return True

    def _fold(self, page: Sequence[Recorded | Unread]) -> None:
        behind: list[Parked] = []
        events: list[Recorded] = []
        for event in page:
            first = None if event.dialogue is None else self._parked.get(event.dialogue)
            if first is not None:
                behind.append(_parked(event, f"what comes before it, at position {first}, is parked", first))
            elif isinstance(event, Unread):
                raise event.error
            else:
                events.append(event)
        self.under_way = monotonic(), page
        try:
            rows = self.projection.fold(events, self.model.stored(self.checkpoint)) if events else Rows()
        finally:
            self.under_way = None
        self._advance(page, rows, behind)

    def refuse(self, event: Recorded | Unread, error: Exception) -> None:
        """Park the event that is next, or raise."""
        reason = str(error) if isinstance(event, Unread) else f"{type(error).__name__}: {error}"
        if self._on_error is OnError.PARK:
            self._advance([event], Rows(), [_parked(event, reason, None)])
            if event.dialogue is not None:
                self._parked.setdefault(event.dialogue, event.position)
            return
        with self.model.reading() as connection:
            before = read_trouble(connection)
        attempts = before.attempts + 1 if before is not None and before.position == event.position else 1
        trouble = Trouble(event.position, reason, attempts, failed=self._on_error is OnError.FAIL)
        self.model.report_trouble(self.checkpoint, trouble)
        raise ProjectionFailedError(self.projection.NAME, event.position, reason, attempts) from error

    def _advance(self, page: Sequence[Recorded | Unread], rows: Rows, parked: Sequence[Parked]) -> None:
        if self.abandoned:
            raise CheckpointMovedError  # its runner has given it up; what it folded in the end is void
        last = page[-1]
        reached = replace(self.checkpoint, position=last.position, chain=last.chain, at=last.at)
        self.weight = sum(map(weight, page))
        self.checkpoint = self.model.advance(self.checkpoint, reached, self.weight, rows, parked)

    def _mismatch(self, stored: Checkpoint, ours: Checkpoint) -> str | None:
        if stored.version != ours.version:
            return f"they are of version {stored.version!r}, which is now {ours.version!r}"
        if stored.epoch != ours.epoch:
            return f"they are of another log ({stored.epoch}; this is {ours.epoch})"
        if stored.position == 0:
            return None
        chain = self._feed.chain_at(stored.position)
        if chain is None:
            return f"they include position {stored.position}, which the log does not have"
        return None if chain == stored.chain else f"the log holds another history at position {stored.position}"


def _parked(event: Recorded | Unread, error: str, behind: int | None) -> Parked:
    dialogue = None if event.dialogue is None else str(event.dialogue)
    return Parked(event.position, event.topic, dialogue, error, behind, discarded=False)
