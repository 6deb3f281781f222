"""What stops the read side, and why.

::

    CallosumError (domain)
    └── ProjectionError
        ├── ViewsFileError            the file is no database of read models, or of a later layout
        ├── ProjectionFailedError     an event cannot be read or folded; nothing after it is folded for now
        ├── ProjectionPausedError     an operator has paused it before the position that was waited for
        ├── ProjectionStoppedError    the runner was stopped before it came to that position
        ├── ReadModelsBehindError     this process leaves the folding to another one, and none does it
        ├── ReadModelTakenError       the read model is of another log
        ├── UnknownProjectionError    there is none of that name
        ├── RebuildUnderWayError      somebody else rebuilds it
        ├── RebuildFailedError        it could not be rebuilt
        └── NoEarlierGenerationError  there is nothing to roll back to

Errors of the database itself are SQLAlchemy's.
"""

from collections.abc import Sequence

from domain.errors import CallosumError

__all__ = [
    "NoEarlierGenerationError",
    "ProjectionError",
    "ProjectionFailedError",
    "ProjectionPausedError",
    "ProjectionStoppedError",
    "ReadModelTakenError",
    "ReadModelsBehindError",
    "RebuildFailedError",
    "RebuildUnderWayError",
    "UnknownProjectionError",
    "ViewsFileError",
]


class ProjectionError(CallosumError):
    """The root of what the read side raises."""


class ViewsFileError(ProjectionError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"The read models' file {path} {reason}; it is a cache and may be deleted or moved away.")
        self.path = path
        self.reason = reason


class ProjectionFailedError(ProjectionError):
    """The cause is the exception's `__cause__`.

    Attributes:
        position: of the event at fault; the events before it are folded.
        attempts: how often it was tried.
    """

    def __init__(self, projection: str, position: int, reason: str, attempts: int = 1) -> None:
        super().__init__(f"Projection {projection} stands before position {position}: {reason}")
        self.projection = projection
        self.position = position
        self.reason = reason
        self.attempts = attempts


class ProjectionPausedError(ProjectionError):
    def __init__(self, projection: str, position: int) -> None:
        super().__init__(
            f"Projection {projection} is paused at position {position}; "
            f"`callosum projections resume {projection}` lets it go on."
        )
        self.projection = projection
        self.position = position


class ProjectionStoppedError(ProjectionError):
    def __init__(self, projection: str, position: int) -> None:
        super().__init__(f"Projection {projection} was stopped at position {position}.")
        self.projection = projection
        self.position = position


class ReadModelsBehindError(ProjectionError):
    """Attributes: where the read models stand, and the position that was waited for."""

    def __init__(self, position: int, wanted: int) -> None:
        super().__init__(
            f"The read models stand at position {position} of {wanted} and do not move: "
            "this process leaves them to another one (CALLOSUM_PROJECT), and none keeps them current."
        )
        self.position = position
        self.wanted = wanted


class ReadModelTakenError(ProjectionError):
    def __init__(self, projection: str, reason: str) -> None:
        super().__init__(f"The read models of {projection} are another's: {reason}.")
        self.projection = projection
        self.reason = reason


class UnknownProjectionError(ProjectionError):
    def __init__(self, projection: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no projection {projection!r}; known are {', '.join(known)}.")
        self.projection = projection
        self.known = known


class RebuildUnderWayError(ProjectionError):
    def __init__(self, projection: str) -> None:
        super().__init__(f"Projection {projection} is being rebuilt already.")
        self.projection = projection


class RebuildFailedError(ProjectionError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The rebuild failed: {reason.rstrip('.')}.")
        self.reason = reason


class NoEarlierGenerationError(ProjectionError):
    def __init__(self, projection: str) -> None:
        super().__init__(f"Projection {projection} has no earlier generation of this version to go back to.")
        self.projection = projection
