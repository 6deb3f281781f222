"""What stops the read side, and why.

::

    CallosumError (domain)
    └── ProjectionError
        ├── ViewsFileError          the file is no database of read models of this layout
        ├── ProjectionFailedError   an event cannot be read or folded; nothing after it is folded
        ├── ProjectionStoppedError  the runner was stopped before it came to the position that was waited for
        ├── ReadModelsBehindError   this process leaves the folding to another one, and none does it
        └── ReadModelTakenError     a process with another log or another definition took the read model over

Errors of the database itself are SQLAlchemy's.
"""

from domain.errors import CallosumError

__all__ = [
    "ProjectionError",
    "ProjectionFailedError",
    "ProjectionStoppedError",
    "ReadModelTakenError",
    "ReadModelsBehindError",
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
    """

    def __init__(self, projection: str, position: int, reason: str) -> None:
        super().__init__(f"Projection {projection} stopped at position {position}: {reason}")
        self.projection = projection
        self.position = position
        self.reason = reason


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
