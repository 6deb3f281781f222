"""The detectors that there are."""

from typing import Final

import msgspec

from domain.patterns import Detector
from domain.repetition import Repetition

__all__ = ["PATTERNS", "Detectors"]


class Detectors(msgspec.Struct):
    """The registry of detectors, and what they know of one dialogue: one line for each."""

    repetition: Repetition = msgspec.field(default_factory=Repetition)

    def each(self) -> tuple[tuple[str, Detector], ...]:
        """The detectors with their names."""
        return tuple((name, getattr(self, name)) for name in self.__struct_fields__)


PATTERNS: Final = {name: detector.PATTERNS for name, detector in Detectors().each()}
"""The names that each detector gives to its findings, by the detector's own name."""
