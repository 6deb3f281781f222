"""Where values lie on an axis, and what is written at its ticks."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Final

import msgspec

__all__ = ["Axis", "bin_seconds", "linear", "logarithmic", "number", "ordinals", "times"]

_SECONDS: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
"""Round spans of time: seconds to a year."""


_EARLIEST: Final = -62_135_596_800
_LATEST: Final = 253_402_300_799
"""The years 1 to 9999, which a datetime can tell."""


class Axis(msgspec.Struct, frozen=True):
    """A direction of a chart.

    Attributes:
        label: what it measures, with the unit.
        low, high: its ends, low < high.
        ticks: values and what to write there.
        place: of a value, 0.0 at the low end and 1.0 at the high one.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    place: Callable[[float], float]


def _straight(label: str, low: float, high: float, ticks: Sequence[tuple[float, str]]) -> Axis:
    return Axis(label, low, high, ticks, lambda value: (value - low) / (high - low))


def number(value: float) -> str:
    """``12,000`` or ``0.25``: as many digits as it needs, at most four."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"


def _step(span: float, most: int) -> float:
    """The least of 1, 2, 5, 10, 20 … (and 0.5, 0.2 …) of which at most so many make up the span."""
    rough = span / most
    power = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def linear(label: str, low: float, high: float, *, most: int = 5) -> Axis:
    """Round ends and round ticks around a range of values, about `most` of them."""
    if high <= low:
        high = low + 1
    step = _step(high - low, most)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = [(n * step, number(round(n * step, 10))) for n in range(first, last + 1)]
    return _straight(label, first * step, last * step, ticks)


def ordinals(label: str, total: int, *, room: int = 0, most: int = 6) -> Axis:
    """Messages 1 to `total`, where the axis ends, or so much after it; ticks are at messages that there are."""
    high = max(2, total + room)
    step = max(1, int(_step(high, most)))
    ticks = [(1.0, "1"), *((float(n), f"{n:,}") for n in range(step, total + 1, step) if n > max(1, high / 20))]
    return _straight(label, 1, high, ticks)


def logarithmic(label: str, low: float, high: float, say: Callable[[float], str]) -> Axis:
    """Powers of ten around a range of values above 0; every other one, or every third, where there are many."""
    first = floor(log10(low))
    last = max(first + 1, ceil(log10(high)))
    every = ceil((last - first) / 6)
    ticks = [(10.0**n, say(10.0**n)) for n in range(first, last + 1, every)]
    return Axis(label, 10.0**first, 10.0**last, ticks, lambda value: (log10(value) - first) / (last - first))


def bin_seconds(span: float, most: int) -> int:
    """The shortest round span of time of which at most `most` cover so many seconds."""
    return next((size for size in _SECONDS if span / size <= most), ceil(span / most))


def times(low: float, high: float, *, most: int = 5) -> Axis:
    """A stretch of time in seconds since 1970, of the years 1 to 9999; low < high.

    The label has the day where the ticks have not.
    """
    low, high = max(low, _EARLIEST), min(high, _LATEST)
    size = bin_seconds(high - low, most)
    ticks = [(float(at), _tick(at, size)) for at in range(ceil(low / size) * size, floor(high) + 1, size)]
    label = "time (UTC)" if size >= 86_400 else f"time (UTC), {_days(low, high)}"
    return _straight(label, low, high, ticks)


def _tick(at: int, size: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if size >= 86_400:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%H:%M}" if size >= 60 else f"{moment:%H:%M:%S}"


def _days(low: float, high: float) -> str:
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in (low, high))
    return first if first == last else f"{first} to {last}"
