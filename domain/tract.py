"""The two sides of the bridge, and the ways a message can go between them."""

from enum import IntEnum, StrEnum

__all__ = ["Direction", "Priority", "Tract"]


class Tract(StrEnum):
    """One side of the bridge: agents that think (internal) or agents that act (external)."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Priority(IntEnum):
    """How urgent a message is; higher goes first."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4
    CRITICAL = 5


class Direction(IntEnum):
    """The way a message crosses the bridge; INTRA when it stays on its tract."""

    INTRA = 0
    INTERNAL_TO_EXTERNAL = 1
    EXTERNAL_TO_INTERNAL = 2

    @staticmethod
    def of(source: Tract, target: Tract) -> "Direction":
        if source is target:
            return Direction.INTRA
        return Direction.INTERNAL_TO_EXTERNAL if source is Tract.INTERNAL else Direction.EXTERNAL_TO_INTERNAL
