"""From when on something is a pattern: the thresholds of the detectors."""

from typing import Any, Final

import msgspec

from domain.errors import InvalidCommandError

__all__ = ["PatternSettings"]

_RANGES: Final = {
    "repetition_window": (2, 1000),
    "monologue_messages": (2, 1000),
    "dominance_window": (2, 1000),
    "dominance_share": (0.5, 0.999),
    "stall_seconds": (0.001, 365 * 24 * 3600.0),
}
"""Lowest and highest of each."""


class PatternSettings(msgspec.Struct, frozen=True):
    """The thresholds of the patterns.

    Attributes:
        repetition_window: the same twice within so many messages of a dialogue is a repetition, three times an
            echo loop; 2 to 1000.
        monologue_messages: so many consecutive messages between the tracts in one direction are a monologue; 2 to
            1000.
        dominance_window: so many messages between the tracts are looked at for dominance; 2 to 1000.
        dominance_share: more than this part of them in one direction is dominance; 0.5 to 0.999.
        stall_seconds: so long without the awaited answer an open dialogue has stalled; from 0.001 on.
    """

    repetition_window: int = 20
    monologue_messages: int = 20
    dominance_window: int = 50
    dominance_share: float = 0.8
    stall_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Raise InvalidCommandError for a setting outside its range."""
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise InvalidCommandError(name, f"is {value}; it must be {lowest:g} to {highest:g}")

    def changed(self, **changes: Any) -> "PatternSettings":
        """The same with some others by their names; numbers may be text.

        Raises:
            InvalidCommandError: there is no such setting, or a value is out of its range.
        """
        unknown = sorted(changes.keys() - _RANGES.keys())
        if unknown:
            reason = f"{unknown[0]} does not exist; there are {', '.join(_RANGES)}"
            raise InvalidCommandError("setting of patterns", reason)
        numbers = {name: _number(name, told) for name, told in changes.items()}
        return PatternSettings(**{**msgspec.structs.asdict(self), **numbers})


def _number(name: str, told: object) -> int | float:
    whole = isinstance(_RANGES[name][0], int)
    try:
        return msgspec.convert(told, int if whole else float, strict=False)
    except msgspec.ValidationError:
        reason = f"is {told!r}, which is no {'whole ' if whole else ''}number"
        raise InvalidCommandError(name, reason) from None
