"""Stall: an open dialogue whose awaited tract does not answer.

Nothing happens when a dialogue stalls, so no fold can find it: it depends on when it is asked. Times are the
log's, milliseconds since 1970.
"""

from typing import Final

from domain.patterns import Finding
from domain.tract import Tract

__all__ = ["STALL", "silent_since", "stall"]

STALL: Final = "stall"


def silent_since(now: int, seconds: float) -> int:
    """A dialogue has stalled when its last cross-tract message was said at this time or before."""
    return now - round(seconds * 1000)


def stall(sequence: int, awaited: Tract, waited: int) -> Finding:
    """The finding that a message is which had no answer for so many milliseconds."""
    why = f"The {awaited} tract has not answered message {sequence} for {waited / 1000:.1f} s."
    return Finding(STALL, sequence, sequence, 1, why)
