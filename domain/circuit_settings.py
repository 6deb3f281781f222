"""What a circuit goes by: the settings of resilience4j's circuit breaker, with its defaults."""

from enum import StrEnum
from typing import Final

import msgspec

from domain.errors import InvalidCommandError
from domain.windows import CountWindow, TimeWindow, Window

__all__ = ["CircuitSettings", "WindowType"]

_MOST_CALLS: Final = 100_000
_LONGEST: Final = 365 * 24 * 3600.0

_RANGES: Final = {
    "failure_rate_threshold": (0.001, 100.0),
    "slow_call_rate_threshold": (0.001, 100.0),
    "slow_call_duration": (0.000_001, _LONGEST),
    "sliding_window_size": (1, _MOST_CALLS),
    "minimum_number_of_calls": (1, 1_000_000_000),
    "wait_in_open": (0.001, _LONGEST),
    "wait_multiplier": (1.0, 1000.0),
    "longest_wait_in_open": (0.001, _LONGEST),
    "permitted_calls_in_half_open": (1, _MOST_CALLS),
    "max_wait_in_half_open": (0.0, _LONGEST),
}
"""Lowest and highest of each setting."""


class WindowType(StrEnum):
    COUNT_BASED = "count_based"
    TIME_BASED = "time_based"


class CircuitSettings(msgspec.Struct, frozen=True, array_like=True):
    """When a circuit opens and for how long. Durations are seconds, rates percent.

    Attributes:
        failure_rate_threshold, slow_call_rate_threshold: at this rate it opens; 0.001 to 100.
        slow_call_duration: what takes longer is slow, whether it fails or not.
        sliding_window_type: what its size counts.
        sliding_window_size: calls, or seconds; 1 to 100,000.
        minimum_number_of_calls: with fewer in the window there is no rate. A count-based window never asks for
            more than it holds.
        wait_in_open: from opening to the first probe; at least a millisecond.
        wait_multiplier: every further opening in a row lasts this many times as long; at least 1.
        longest_wait_in_open: but never longer than this.
        permitted_calls_in_half_open: the probes that decide; a change counts from the next HALF_OPEN on.
        max_wait_in_half_open: after this it opens again without their results; 0: never.
        recorded_errors: names of the error types that are failures, any other one being a success; empty: all are.
        ignored_errors: names of those that are neither, whatever else names them.
    """

    failure_rate_threshold: float = 50.0
    slow_call_rate_threshold: float = 100.0
    slow_call_duration: float = 60.0
    sliding_window_type: WindowType = WindowType.COUNT_BASED
    sliding_window_size: int = 100
    minimum_number_of_calls: int = 100
    wait_in_open: float = 60.0
    wait_multiplier: float = 1.0
    longest_wait_in_open: float = 3600.0
    permitted_calls_in_half_open: int = 10
    max_wait_in_half_open: float = 0.0
    recorded_errors: tuple[str, ...] = ()
    ignored_errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InvalidCommandError for a setting outside its range."""
        for name, (lowest, highest) in _RANGES.items():
            if not lowest <= getattr(self, name) <= highest:
                raise InvalidCommandError(name, f"is not between {lowest:g} and {highest:g}")
        if 0 < self.max_wait_in_half_open < 0.001:
            raise InvalidCommandError("max_wait_in_half_open", "is neither 0 nor at least a millisecond")
        if self.longest_wait_in_open < self.wait_in_open:
            raise InvalidCommandError("longest_wait_in_open", "is shorter than wait_in_open")
        if any(not name or ":" in name for name in self.recorded_errors + self.ignored_errors):
            raise InvalidCommandError("name of an error", "is empty or has a colon, which no name of a type has")

    def ignores(self, error: str | None) -> bool:
        """Whether such an outcome counts for nothing; in HALF_OPEN its permit is to be given back."""
        return error is not None and bool(self.ignored_errors) and _type_of(error) in self.ignored_errors

    def fails(self, error: str | None) -> bool:
        """Whether it is a failure, provided that it is not ignored."""
        return error is not None and (not self.recorded_errors or _type_of(error) in self.recorded_errors)

    def wait(self, openings: int) -> int:
        """Milliseconds in OPEN after so many openings in a row, this one included."""
        try:
            seconds = self.wait_in_open * self.wait_multiplier ** (openings - 1)
        except OverflowError:
            seconds = self.longest_wait_in_open
        return round(min(seconds, self.longest_wait_in_open) * 1000)

    @property
    def calls_for_rates(self) -> int:
        """So many must be in the window of a closed circuit for there to be rates."""
        if self.sliding_window_type == WindowType.COUNT_BASED:
            return min(self.minimum_number_of_calls, self.sliding_window_size)
        return self.minimum_number_of_calls

    def window(self) -> Window:
        """An empty one for a closed circuit."""
        counted = self.sliding_window_type == WindowType.COUNT_BASED
        return (CountWindow if counted else TimeWindow)(self.sliding_window_size)


def _type_of(error: str) -> str:
    return error.partition(":")[0]
