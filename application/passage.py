"""What a tract's gate lets through, as the store holds all processes to it.

The circuit decides, and an append carries the decision to the store together with the event that tells of it. So
there is no moment at which the log says one thing and the store does another.
"""

from enum import StrEnum

import msgspec

__all__ = ["GateChange", "Passage"]


class Passage(StrEnum):
    """FREE: all. PROBING: so many deliveries as there are permits. SHUT: nothing is let in, nothing handed out."""

    FREE = "free"
    PROBING = "probing"
    SHUT = "shut"


class GateChange(msgspec.Struct, frozen=True):
    """What a gate lets through from an append on; what the append itself brings is judged by what was before.

    Attributes:
        generation: of the circuit: counted up by every transition, from 0, that of a tract that was never set.
        permits: with PROBING, deliveries that may be handed out. In a tract that is probing in this generation
            already they stay as they are, or those in flight could be granted twice.
        retry_at: milliseconds since 1970, told to who is refused; None: until somebody says otherwise.
        capacity: None: as it is.
    """

    tract: str
    passage: Passage
    generation: int
    permits: int = 0
    retry_at: int | None = None
    capacity: int | None = None
