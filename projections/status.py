"""How a projection fares, as an operator looks at it."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from projections.fold import Projection, version_of
from projections.model import Parked, Trouble, read_checkpoint, read_parked, read_trouble
from projections.models import Generation, ReadModels, State

__all__ = ["ProjectionState", "ProjectionStatus", "parked_events", "status"]


class ProjectionState(StrEnum):
    """CURRENT: all that is stored is folded. BEHIND: not yet.

    BUILDING: another one answers until this one has caught up. PAUSED: by an operator. FAILED: it stands before an
    event until somebody resumes it. RETRYING: it tries an event again by itself. ABSENT: nothing is folded yet.
    """

    CURRENT = "current"
    BEHIND = "behind"
    BUILDING = "building"
    PAUSED = "paused"
    FAILED = "failed"
    RETRYING = "retrying"
    ABSENT = "absent"


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One projection, as this program's version defines it.

    Attributes:
        version: all that its rows depend on beside the log.
        position, head: up to where the log is folded, and where it ends.
        lag_events: between the two; None when it is not known, as of a read model of another log.
        lag_seconds: how long the first event that is not folded has been stored; 0 when all are, None likewise.
        error, error_position, attempts: of the event that it stands before.
        parked: events that are left out, those behind others included; `discarded` are left out for good.
        generation: the read model's number; None before there is one.
        file: where it is; None: in memory.
        serving: the generation that answers, another one while this one is built.
        rebuilding: up to where a rebuild that was begun and has not ended is folded.
        previous: the generation that a rollback would go back to.
    """

    name: str
    state: ProjectionState
    version: str
    position: int
    head: int
    lag_events: int | None
    lag_seconds: float | None
    error: str | None = None
    error_position: int | None = None
    attempts: int = 0
    parked: int = 0
    discarded: int = 0
    generation: int | None = None
    file: str | None = None
    serving: int | None = None
    rebuilding: int | None = None
    previous: int | None = None


def status(
    models: ReadModels, projection: Projection, *, head: int, epoch: str, age: Callable[[int], float | None]
) -> ProjectionStatus:
    """What there is to know about a projection.

    Args:
        models: where its read models are.
        projection: an instance.
        head: the log's last position.
        epoch: the log's.
        age: seconds since the entry at a position was stored.
    """
    known = _generations(models, projection)
    current = models.current(projection.NAME, version_of(projection))
    if current is None:
        absent = ProjectionState.ABSENT
        return ProjectionStatus(**known, head=head, state=absent, position=0, lag_events=None, lag_seconds=None)
    model = models.model(current, projection)
    with model.reading() as connection:
        checkpoint, trouble = read_checkpoint(connection), read_trouble(connection)
        parked = read_parked(connection)
    position = checkpoint.position if checkpoint else 0
    ours = checkpoint is not None and checkpoint.epoch == epoch and position <= head
    return ProjectionStatus(
        **known,
        head=head,
        state=_state(models, current, trouble, is_current=ours and position == head),
        position=position,
        lag_events=head - position if ours else None,
        lag_seconds=None if not ours else 0.0 if position == head else age(position + 1),
        error=trouble.error if trouble else None,
        error_position=trouble.position if trouble else None,
        attempts=trouble.attempts if trouble else 0,
        parked=sum(not event.discarded for event in parked),
        discarded=sum(event.discarded for event in parked),
        generation=current.id,
        file=model.path,
    )


def _state(
    models: ReadModels, current: Generation, trouble: Trouble | None, *, is_current: bool
) -> ProjectionState:
    if models.orders(current.projection).paused:
        return ProjectionState.PAUSED
    if trouble is not None:
        return ProjectionState.FAILED if trouble.failed else ProjectionState.RETRYING
    if current.state is State.BUILDING:
        return ProjectionState.BUILDING
    return ProjectionState.CURRENT if is_current else ProjectionState.BEHIND


def _generations(models: ReadModels, projection: Projection) -> dict[str, Any]:
    """The fields that tell of its generations."""
    name, version = projection.NAME, version_of(projection)
    own = [generation for generation in models.generations(name) if generation.version == version]
    of_state = {generation.state: generation for generation in reversed(own)}  # the youngest of each
    rebuilding, previous = of_state.get(State.REBUILDING), of_state.get(State.PREVIOUS)
    checkpoint = models.model(rebuilding, projection).checkpoint() if rebuilding else None
    serving = models.serving(name, version)
    return {
        "name": name,
        "version": version,
        "serving": serving.id if serving else None,
        "rebuilding": None if rebuilding is None else checkpoint.position if checkpoint else 0,
        "previous": previous.id if previous else None,
    }


def parked_events(models: ReadModels, projection: Projection) -> list[Parked]:
    """In position order."""
    current = models.current(projection.NAME, version_of(projection))
    if current is None:
        return []
    with models.model(current, projection).reading() as connection:
        return read_parked(connection)
