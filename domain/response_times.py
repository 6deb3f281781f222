"""How long a tract takes to answer: which messages are answers, and the distribution of their times.

Times are UTC microseconds since 1970, durations are microseconds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, log
from typing import Final

import msgspec

from domain.tract import Direction, Tract

__all__ = ["BOUNDS", "RELATIVE_ERROR", "Response", "ResponseTimes", "Said", "Turns", "total"]

RELATIVE_ERROR: Final = 0.01
_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA: Final = log(_GAMMA)

_BUCKETS: Final = 2185
"""The last one reaches beyond 2^63."""

_INTRA: Final = Direction.INTRA
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL


def _bucket(duration: int) -> int:
    return ceil(log(duration) / _LOG_GAMMA)


def _bound(bucket: int) -> int:
    """The longest duration of a bucket, or of those before it when no whole number falls into it."""
    near = _GAMMA**bucket
    shortest = max(1, int(near * (1 - 1e-12)))
    return shortest + bisect_right(range(shortest, int(near * (1 + 1e-12)) + 2), bucket, key=_bucket) - 1


BOUNDS: Final = [_bound(bucket) for bucket in range(_BUCKETS)]
"""By bucket its longest duration. Looked up instead of calculated, so that whoever looks finds the same bucket."""


class ResponseTimes(msgspec.Struct, array_like=True):
    """Durations of one tract's answers as counts in logarithmic buckets, so that every rebuild agrees.

    The buckets of DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
    relative-error guarantees", VLDB 2019): γ = (1 + α)/(1 − α), a duration x > 0 falls into ⌈log_γ x⌉, and
    bucket i stands for 2γ^i/(γ + 1), which is within α = 1 % of everything in it. 0 has a bucket of its own.

    Attributes:
        count: answers whose time is known.
        unknown: answers whose time is not: one of the two times is missing, or the clock went backwards.
        longest: exact.
        buckets: the numbers of those that hold any, ascending, so that the same answers are stored alike in
            whatever order.
        counts: how many each of them holds.
    """

    count: int = 0
    unknown: int = 0
    longest: int = 0
    zeros: int = 0
    buckets: list[int] = msgspec.field(default_factory=list)
    counts: list[int] = msgspec.field(default_factory=list)

    def add(self, duration: int | None) -> None:
        if duration is None or duration < 0:
            self.unknown += 1
            return
        self.count += 1
        if duration == 0:
            self.zeros += 1
            return
        if duration > self.longest:  # noqa: PLR1730  # max() takes twice as long, and this is done for most messages
            self.longest = duration
        bucket = bisect_left(BOUNDS, duration)
        place = bisect_left(self.buckets, bucket)
        if place < len(self.buckets) and self.buckets[place] == bucket:
            self.counts[place] += 1
        else:
            self.buckets.insert(place, bucket)
            self.counts.insert(place, 1)

    def merge(self, other: "ResponseTimes") -> None:
        """Take in what another one was told."""
        self.count += other.count
        self.unknown += other.unknown
        self.longest = max(self.longest, other.longest)
        self.zeros += other.zeros
        buckets, counts, place = self.buckets, self.counts, 0
        for bucket, count in zip(other.buckets, other.counts, strict=True):
            place = bisect_left(buckets, bucket, place)
            if place < len(buckets) and buckets[place] == bucket:
                counts[place] += count
            else:
                buckets.insert(place, bucket)
                counts.insert(place, count)

    def percentile(self, percent: int) -> float | None:
        """The nearest-rank percentile in milliseconds, within 1 %; None without answers.

        Args:
            percent: 1 to 100.
        """
        if not self.count:
            return None
        rank = ceil(percent * self.count / 100)
        if rank <= self.zeros:
            return 0.0
        passed = list(accumulate(self.counts, initial=self.zeros))
        bucket = self.buckets[bisect_left(passed, rank) - 1]
        # A bucket's value may be 1 % beyond the longest of it; p99 above max would only confuse.
        return min(2 * _GAMMA**bucket / (_GAMMA + 1), self.longest) / 1000

    @property
    def p50(self) -> float | None:
        return self.percentile(50)

    @property
    def p95(self) -> float | None:
        return self.percentile(95)

    @property
    def p99(self) -> float | None:
        return self.percentile(99)

    @property
    def max(self) -> float | None:
        """In milliseconds, exact; None without answers."""
        return self.longest / 1000 if self.count else None


def total(times: Sequence[ResponseTimes]) -> ResponseTimes:
    """What one has that is told all that these were told: `merge` for many at once."""
    counts: dict[int, int] = {}
    for each in times:
        for bucket, count in zip(each.buckets, each.counts, strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
    buckets = sorted(counts)
    return ResponseTimes(
        count=sum(each.count for each in times),
        unknown=sum(each.unknown for each in times),
        longest=max((each.longest for each in times), default=0),
        zeros=sum(each.zeros for each in times),
        buckets=buckets,
        counts=[counts[bucket] for bucket in buckets],
    )


class Said(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of an earlier message."""

    direction: Direction
    sent_at: int | None


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer: who gave it, after how long; None when unknown, negative when the clock went backwards."""

    tract: Tract
    duration: int | None


class Turns(msgspec.Struct, array_like=True):
    """The turns of one dialogue: maximal runs of one direction among its cross-tract messages.

    Attributes:
        last: the direction of the last cross-tract message; INTRA before the first.
        last_sent_at: when that one was sent.
    """

    last: Direction = _INTRA
    last_sent_at: int | None = None

    def add(self, direction: Direction, sent_at: int | None, replied_to: Said | None) -> Response | None:
        """Take a message in; returns the answer that it is, if it is one.

        A message that names the one it replies to (`replied_to`) answers that, if it has the opposite
        direction. One that names none (None) answers the last message of the turn that it ends.
        """
        if direction is _INTRA:
            return None
        if replied_to is None:
            asked, asked_at = self.last, self.last_sent_at
        else:
            asked, asked_at = replied_to.direction, replied_to.sent_at
        self.last = direction
        self.last_sent_at = sent_at
        if asked is direction or asked is _INTRA:
            return None
        tract = Tract.INTERNAL if direction is _OUT else Tract.EXTERNAL
        return Response(tract, None if sent_at is None or asked_at is None else sent_at - asked_at)

    @property
    def awaiting(self) -> Tract | None:
        """The target of the last cross-tract message; None before the first."""
        if self.last is _INTRA:
            return None
        return Tract.EXTERNAL if self.last is _OUT else Tract.INTERNAL
