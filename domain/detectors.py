"""The detectors that there are, and all patterns by name."""

from typing import Final

import msgspec

from domain.balanced_dialogue import BALANCED_DIALOGUE
from domain.dominance import Dominance
from domain.monologue import Monologue
from domain.pattern_settings import PatternSettings
from domain.patterns import Detector
from domain.repetition import Repetition
from domain.stall import STALL

__all__ = ["PATTERNS", "Detectors"]


class Detectors(msgspec.Struct, array_like=True):
    """The registry of detectors, and what they know of one dialogue: one line for each."""

    repetition: Repetition = msgspec.field(default_factory=Repetition)
    monologue: Monologue = msgspec.field(default_factory=Monologue)
    dominance: Dominance = msgspec.field(default_factory=Dominance)

    @classmethod
    def of(cls, settings: PatternSettings) -> "Detectors":
        """For a dialogue that begins, with these thresholds."""
        return cls(
            repetition=Repetition(window=settings.repetition_window),
            monologue=Monologue(messages=settings.monologue_messages),
            dominance=Dominance(window=settings.dominance_window, share=settings.dominance_share),
        )

    def each(self) -> tuple[tuple[str, Detector], ...]:
        """The detectors with their names."""
        return tuple((name, getattr(self, name)) for name in self.__struct_fields__)


PATTERNS: Final = {
    **{name: detector.PATTERNS for name, detector in Detectors().each()},
    BALANCED_DIALOGUE: (BALANCED_DIALOGUE,),
    STALL: (STALL,),
}
"""The names that are given to findings, by the detector's own name. The last two have none: what they are is found
from episodes, and when it is asked."""
