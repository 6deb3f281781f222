"""Building a read model anew beside the one that serves, proving that they are equal, and putting it in its place.

::

    claim --> fold up to where the serving one stands --> compare, both at that position --> fold the rest --> swap
      ^                      |
      '--- killed: goes on --'

Readers are answered from the serving one until the swap, and it is kept for a rollback. The swap holds back its
runners, folds the few events that they have folded meanwhile, and retires it, so that no answer is older than one
before it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from time import monotonic
from typing import Final

import msgspec
from sqlalchemy import Connection

from projections.feed import Feed
from projections.fold import EventLog, Projection, version_of
from projections.folding import Folding, OnError
from projections.model import (
    Checkpoint,
    CheckpointMovedError,
    Difference,
    Model,
    digest,
    discard,
    first_difference,
    read_checkpoint,
    read_parked,
    set_active,
)
from projections.models import Generation, ReadModels, State

__all__ = ["Progress", "Rebuilt", "Verdict", "rebuild", "rollback"]

_TELL_EVERY: Final = 0.1


class Verdict(StrEnum):
    """IDENTICAL, DIFFERENT: the two read models at one position. NOTHING_TO_COMPARE: no other of this version."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    NOTHING_TO_COMPARE = "nothing_to_compare"


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is.

    Attributes:
        began: the position from which it goes on; 0 for one from the beginning.
        position, head: folded so far, and what there is to fold.
        messages: folded since it began, other events included.
        seconds: since it began.
    """

    projection: str
    began: int
    position: int
    head: int
    messages: int
    seconds: float


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild came to.

    Attributes:
        generation: the new one, which serves now, unless it was only to be verified.
        position: at which the two were compared; else up to where it is folded.
        resumed_at: where one that was begun earlier had stopped; 0 for one from the beginning.
        digest: of the rebuilt rows at that position, in hexadecimal digits.
        difference: the first one, when they are different.
        parked: events that could not be folded and are left out.
    """

    projection: str
    verdict: Verdict
    generation: int
    position: int
    resumed_at: int
    digest: str
    difference: Difference | None
    parked: int
    messages: int
    seconds: float


def rebuild(
    log: EventLog,
    models: ReadModels,
    projections: Sequence[Projection],
    *,
    swap: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Rebuilt]:
    """Rebuild the read models of projections, all from one reading of the log.

    Blocks. Killed at any time, it can be called again and goes on.

    Args:
        log: what they are folded from.
        models: where they are.
        projections: instances of its own.
        swap: let the rebuilt ones serve; False: only compare, and delete them.
        progress: called now and then.

    Raises:
        RebuildUnderWayError: somebody else rebuilds one of them.
    """
    with ExitStack() as held:
        for projection in projections:
            held.enter_context(models.rebuilding(projection.NAME))
        feed, clock = Feed(log), _Clock(log, progress)
        shadows = [_Shadow(feed, models, projection) for projection in projections]
        _fold_together(shadows, clock)
        return [shadow.compare_and_end(clock, swap=swap) for shadow in shadows]


def rollback(log: EventLog, models: ReadModels, projection: Projection) -> Generation:
    """Answer from the generation before again, folded up to where the one that serves now stands.

    Raises:
        NoEarlierGenerationError: there is none of this version.
        RebuildUnderWayError: somebody rebuilds it.
    """
    with models.rebuilding(projection.NAME):
        previous = models.previous(projection.NAME, version_of(projection))
        with models.model(previous, projection).writing() as connection:
            set_active(connection, active=True)
        shadow = _Shadow(Feed(log), models, projection, previous)
        return shadow.swap(_Clock(log, lambda _: None))


class _Clock:
    """Tells of the progress, not too often."""

    def __init__(self, log: EventLog, tell: Callable[[Progress], None]) -> None:
        self._log = log
        self._tell = tell
        self._begun = monotonic()
        self._told = 0.0

    @property
    def seconds(self) -> float:
        return monotonic() - self._begun

    def tick(self, shadow: "_Shadow") -> None:
        if self.seconds - self._told >= _TELL_EVERY:
            self._told = self.seconds
            checkpoint = shadow.folding.checkpoint
            place = shadow.resumed_at, checkpoint.position, self._log.head()
            self._tell(Progress(shadow.name, *place, shadow.messages, self.seconds))


def _fold_together(shadows: Sequence["_Shadow"], clock: _Clock) -> None:
    """Each up to where its read model serves, in turns, so that they share what is read."""
    behind = list(shadows)
    while behind:
        shadow = min(behind, key=lambda each: each.folding.checkpoint.position)
        if not shadow.step(shadow.served_position()):
            behind.remove(shadow)
        clock.tick(shadow)


class _Shadow:
    """A generation that is folded beside the one that serves."""

    def __init__(
        self, feed: Feed, models: ReadModels, projection: Projection, generation: Generation | None = None
    ) -> None:
        self.name = projection.NAME
        self._feed = feed
        self._models = models
        self._version = version_of(projection)
        self._generation = generation or models.claim_rebuild(projection.NAME, self._version)
        self._model = models.model(self._generation, projection)
        self._served = self._find_served(projection)
        self.folding = Folding(feed, self._model, projection, OnError.PARK)
        self.folding.resume()
        self.resumed_at = self.folding.checkpoint.position
        self.messages = 0
        served = self.served_position()
        if served is not None and self.resumed_at > served:
            self._begin_anew()  # it could not be compared

    def _find_served(self, projection: Projection) -> Model | None:
        """Of this version and this log: the one that serves, or that the runners build."""
        for generation in self._models.generations(self.name):
            if generation.version == self._version and generation.state in {State.SERVING, State.BUILDING}:
                model = self._models.model(generation, projection)
                checkpoint = model.checkpoint()
                if checkpoint is not None and self._is_of_this_log(checkpoint):
                    return model
        return None

    def _is_of_this_log(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.epoch == self._feed.epoch and (
            checkpoint.position == 0 or self._feed.chain_at(checkpoint.position) == checkpoint.chain
        )

    def _begin_anew(self) -> None:
        with self._model.writing() as connection:
            self._model.begin(connection, Checkpoint(self._version, 0, b"", self._feed.epoch))
        self.folding.resume()
        self.resumed_at = 0

    def served_position(self) -> int | None:
        """None: there is nothing to compare with, so it is folded as far as the log goes."""
        checkpoint = self._served.checkpoint() if self._served else None
        return None if checkpoint is None else checkpoint.position

    def step(self, stop: int | None) -> bool:
        before = self.folding.checkpoint.position
        try:
            folded = self.folding.step(stop)
        except CheckpointMovedError:  # a runner has not heard yet that this one serves no more, and folds it, too
            self.folding.resume()
            return True
        self.messages += self.folding.weight if self.folding.checkpoint.position > before else 0
        return folded

    def compare_and_end(self, clock: _Clock, *, swap: bool) -> Rebuilt:
        verdict, difference = Verdict.NOTHING_TO_COMPARE, None
        if self._served is not None:
            with self._served.reading() as served:
                at = read_checkpoint(served)
                assert at is not None, "it serves"
                while self.step(at.position):
                    clock.tick(self)
                verdict, difference, summed = self._compare(served)
        else:
            with self._model.reading() as rebuilt:
                summed = digest(rebuilt, self._model.tables)
        position = self.folding.checkpoint.position
        with self._model.reading() as connection:
            parked = sum(not event.discarded for event in read_parked(connection))
        if swap:
            self.swap(clock)
        else:
            self._models.drop(self._generation)
        return Rebuilt(
            projection=self.name,
            verdict=verdict,
            generation=self._generation.id,
            position=position,
            resumed_at=self.resumed_at,
            digest=summed.hex(),
            difference=difference,
            parked=parked,
            messages=self.messages,
            seconds=clock.seconds,
        )

    def _compare(self, served: Connection) -> tuple[Verdict, Difference | None, bytes]:
        tables = self._model.tables
        with self._model.reading() as rebuilt:
            summed = digest(rebuilt, tables)
            if digest(served, tables) == summed:
                return Verdict.IDENTICAL, None, summed
            return Verdict.DIFFERENT, first_difference(served, rebuilt, tables), summed

    def swap(self, clock: _Clock) -> Generation:
        """Let this one serve."""
        while self.step(None):  # as far as it goes while nobody is held back
            clock.tick(self)
        if self._served is None:
            return self._models.serve(self._generation)
        with self._served.writing() as served:  # its runners wait
            at = read_checkpoint(served)
            assert at is not None, "it serves"
            while self.step(at.position):
                clock.tick(self)
            discarded = {event.position for event in read_parked(served) if event.discarded}
            with self._model.writing() as connection:
                discard(connection, discarded)
            set_active(served, active=False)
            return self._models.serve(self._generation)
