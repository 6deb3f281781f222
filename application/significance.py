"""Tests, effect sizes and their intervals, on SciPy (the extra `study`).

Intervals are of 95 %. A test by permutation takes every partition of the dialogues where there are at most 9,999
of them, and is exact; otherwise it draws 9,999 with a fixed seed, and p is (b + 1)/(9,999 + 1) for b that are at
least as extreme (Phipson and Smyth, 2010). Two-sided p is twice the smaller of the one-sided ones, at most 1. Of
more than 2,000 dialogues, 50 or more in each group, normal approximations that allow for ties take its place:
drawing takes minutes there, and is no closer.
"""

from collections.abc import Sequence
from math import atanh, ceil, comb, sin, sqrt, tanh
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from application.relations import MANY, PERMUTATIONS, SEED, Exactness, Interval, Pairs, Spread, Tested

__all__ = [
    "cliffs_delta",
    "fisher",
    "holm",
    "least_correlation",
    "least_delta",
    "least_difference",
    "mann_whitney",
    "odds_ratio",
    "partial_correlation",
    "rank_correlation",
    "share_difference",
    "spearman",
    "spread",
]

_Floats = npt.NDArray[np.float64]

_CONFIDENCE: Final = 0.95
_NORMAL: Final = float(stats.norm.ppf(1 - (1 - _CONFIDENCE) / 2))
FEWEST_FOR_NORMAL: Final = 50
_POWER: Final = 0.8
_NOTHING: Final = 1e-9
_MOST_TABLES: Final = 250_000
"""As of two groups of 500: so many tables take a tenth of a second."""
_AT_ONCE: Final = 2_000_000
"""Values of permuted samples in memory at a time."""


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> Tested:
    """Whether the values of two groups are of one distribution (Mann and Whitney, 1947), by permutation.

    The statistic is the sum of the second group's ranks, of which U is a linear function; equal values share the
    mean of their ranks.
    """
    if _many(len(first), len(second)):
        return Tested(float(stats.mannwhitneyu(second, first, method="asymptotic").pvalue), Exactness.NORMAL)
    ranks = stats.rankdata([*first, *second])
    groups = (ranks[len(first) :], ranks[: len(first)])
    return _permuted(groups, lambda second, _first, axis: second.sum(axis=axis), "independent")


def spearman(xs: Sequence[float], ys: Sequence[float]) -> Tested:
    """Whether two values of each dialogue are independent (Spearman, 1904), by permutation of the pairs."""
    if _many(len(xs)):
        return Tested(float(stats.spearmanr(xs, ys).pvalue), Exactness.NORMAL)
    ranks = stats.rankdata(ys)
    return _permuted((stats.rankdata(xs),), lambda ranked, axis: (ranked * ranks).sum(axis=axis), "pairings")


def _permuted(samples: tuple[_Floats, ...], statistic: Any, of: Any) -> Tested:
    found = stats.permutation_test(
        samples,
        statistic,
        permutation_type=of,
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=max(1, _AT_ONCE // sum(map(len, samples))),
        rng=np.random.default_rng(SEED),
    )
    drawn = len(found.null_distribution) == PERMUTATIONS  # no number of partitions or orders is just that
    return Tested(float(found.pvalue), Exactness.PERMUTATION if drawn else Exactness.EXACT)


def _many(*sizes: int) -> bool:
    return sum(sizes) > MANY and min(sizes) >= FEWEST_FOR_NORMAL


def fisher(found: tuple[int, int], of: tuple[int, int]) -> Tested:
    """Whether two groups' shares are equal: Fisher's exact test (1922), two-sided by the tables' probabilities."""
    return Tested(float(stats.fisher_exact(_table(found, of)).pvalue), Exactness.EXACT)


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> tuple[Interval, Pairs]:
    """P(second > first) − P(second < first), −1 to 1, over all pairs (Cliff, 1993), and the shares of these.

    The interval is Cliff's asymmetric one with his unbiased variance and a t quantile (Feng and Cliff, 2004; the
    same figures as R's effsize). At −1 and 1, where the variance is 0, it is theirs for that: its other end is
    (n − t²)/(n + t²) of δ, for n of the smaller group.
    """
    xs, ys = np.asarray(second, float), np.asarray(first, float)
    n, m = len(xs), len(ys)
    of_xs, of_ys = _dominances(xs, ys), -_dominances(ys, xs)
    delta, ties = float(of_xs.mean()), int(_ties(xs, ys).sum())
    more = (n * m - ties + round(delta * n * m)) // 2
    pairs = Pairs(more / (n * m), (n * m - ties - more) / (n * m), ties / (n * m))
    return _about(delta, ties, of_xs, of_ys), pairs


def _about(delta: float, ties: int, of_xs: _Floats, of_ys: _Floats) -> Interval:
    n, m = len(of_xs), len(of_ys)
    t = float(stats.t.ppf(1 - (1 - _CONFIDENCE) / 2, n + m - 2))
    if abs(delta) == 1:
        smaller = min(n, m)
        bound = delta * (smaller - t**2) / (smaller + t**2)
        return Interval(delta, min(bound, delta), max(bound, delta))
    untied = n * m - ties
    squares = untied - n * m * delta**2
    unbiased = m**2 * ((of_xs - delta) ** 2).sum() + n**2 * ((of_ys - delta) ** 2).sum() - squares
    variance = max(float(unbiased) / (n * m * (n - 1) * (m - 1)), (1 - delta**2) / (n * m - 1))
    half = t * sqrt(variance) * sqrt((1 - delta**2) ** 2 + t**2 * variance)
    middle, whole = delta - delta**3, 1 - delta**2 + t**2 * variance
    return Interval(delta, (middle - half) / whole, (middle + half) / whole)


def _dominances(xs: _Floats, ys: _Floats) -> _Floats:
    """For each of the xs the share of ys below it less the share above it."""
    ordered = np.sort(ys)
    below, upto = np.searchsorted(ordered, xs, "left"), np.searchsorted(ordered, xs, "right")
    return (below - (len(ys) - upto)) / len(ys)


def _ties(xs: _Floats, ys: _Floats) -> npt.NDArray[np.int64]:
    """For each of the xs, how many ys equal it."""
    ordered = np.sort(ys)
    return np.searchsorted(ordered, xs, "right") - np.searchsorted(ordered, xs, "left")


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> Interval:
    """Spearman's ρ; the interval by Fisher's z with the variance (1 + ρ²/2)/(n − 3) (Bonett and Wright, 2000)."""
    return _by_fishers_z(_rho(xs, ys), len(xs) - 3)


def partial_correlation(xs: Sequence[float], ys: Sequence[float], given: Sequence[float]) -> Interval | None:
    """Spearman's ρ of xs and ys where a third value is held fixed; the interval as above, with n − 4.

    None where the third leaves nothing open: it orders the dialogues as one of the others does, or not at all.
    """
    if len({*given}) == 1:
        return None
    of_xs, of_ys = _rho(xs, given), _rho(ys, given)
    open_to = (1 - of_xs**2) * (1 - of_ys**2)
    if open_to < _NOTHING:
        return None
    partial = (_rho(xs, ys) - of_xs * of_ys) / sqrt(open_to)
    return _by_fishers_z(max(-1.0, min(1.0, partial)), len(xs) - 4)


def _rho(xs: Sequence[float], ys: Sequence[float]) -> float:
    return float(np.clip(np.corrcoef(stats.rankdata(xs), stats.rankdata(ys))[0, 1], -1, 1))


def _by_fishers_z(rho: float, freedom: int) -> Interval:
    if abs(rho) > 1 - _NOTHING:
        return Interval(rho, rho, rho)
    half = _NORMAL * sqrt((1 + rho**2 / 2) / freedom)
    return Interval(rho, tanh(atanh(rho) - half), tanh(atanh(rho) + half))


def share_difference(found: tuple[int, int], of: tuple[int, int]) -> Interval:
    """The second share less the first; the interval from Wilson's of both (Newcombe, 1998, method 10)."""
    (low, high), (second_low, second_high) = (_wilson(*pair) for pair in zip(found, of, strict=True))
    first, second = (part / whole for part, whole in zip(found, of, strict=True))
    difference = second - first
    below = sqrt((second - second_low) ** 2 + (high - first) ** 2)
    above = sqrt((second_high - second) ** 2 + (first - low) ** 2)
    return Interval(difference, difference - below, difference + above)


def _wilson(found: int, of: int) -> tuple[float, float]:
    interval = stats.binomtest(found, of).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def odds_ratio(found: tuple[int, int], of: tuple[int, int]) -> Interval:
    """The odds in the second group over those in the first: the conditional estimate with its exact interval.

    None where it is beyond all numbers. Of very many dialogues it is the sample's, with a normal interval of its
    logarithm.
    """
    table = _table(found, of)
    kind: Literal["sample", "conditional"] = "sample" if _many(*map(int, table.flat)) else "conditional"
    ratio = stats.contingency.odds_ratio(table, kind=kind)
    interval = ratio.confidence_interval(_CONFIDENCE)
    return Interval(*(float(one) if np.isfinite(one) else None for one in (ratio.statistic, *interval)))


def _table(found: tuple[int, int], of: tuple[int, int]) -> npt.NDArray[np.int64]:
    return np.array([[found[1], of[1] - found[1]], [found[0], of[0] - found[0]]])


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for all of them (Holm, 1979), in the order given."""
    corrected, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected


def spread(values: Sequence[float]) -> Spread:
    low, lower, median, upper, high = (float(one) for one in np.percentile(values, [0, 25, 50, 75, 100]))
    return Spread(len(values), float(np.mean(values)), low, lower, median, upper, high)


def least_delta(first: int, second: int, level: float) -> float | None:
    """Cliff's delta that groups of this size show with a probability of 80 % (Noether, 1987); 1 at most.

    None where the p of two groups that do not overlap is above the level.
    """
    partitions = comb(first + second, first)
    if 2 / min(partitions, PERMUTATIONS + 1) > level:
        return None
    return min(1.0, 2 * _needed(level) * sqrt((first + second) / (12 * first * second)))


def least_difference(first: int, second: int, level: float) -> float | None:
    """The difference of shares about one half that Fisher's test finds with a probability of 80 %, in hundredths.

    Found by trying each; None where none will do. Of very many dialogues approximated (Cohen, 1988).
    """
    if first * second > _MOST_TABLES:
        return ceil(100 * sin(_needed(level) * sqrt(1 / first + 1 / second) / 2)) / 100
    significant = _significant(first, second, level)

    def power(difference: float) -> float:
        of_first = stats.binom.pmf(np.arange(first + 1), first, (1 - difference) / 2)
        of_second = stats.binom.pmf(np.arange(second + 1), second, (1 + difference) / 2)
        return float(of_first @ significant @ of_second)

    return next((points / 100 for points in range(1, 101) if power(points / 100) >= _POWER), None)


def _significant(first: int, second: int, level: float) -> _Floats:
    """1 where Fisher's p is at most the level, else 0, by how many are found in the first (row) and the second."""
    ways = [_log_ways(of) for of in (first, second)]
    found = np.zeros((first + 1, second + 1))
    for all_found in range(first + second + 1):
        in_first = np.arange(max(0, all_found - second), min(first, all_found) + 1)
        likely = ways[0][in_first] + ways[1][all_found - in_first]
        chances = np.exp(likely - likely.max())
        chances /= chances.sum()
        ordered = np.sort(chances)
        as_rare = np.searchsorted(ordered, chances * (1 + _NOTHING), "right")
        found[in_first, all_found - in_first] = ordered.cumsum()[as_rare - 1] <= level
    return found


def _log_ways(of: int) -> _Floats:
    """For none to all of so many, the logarithm of the number of ways to choose them."""
    chosen = np.arange(of + 1)
    # Less log(of + 1), which is the same for all.
    return -np.asarray(special.betaln(chosen + 1, of - chosen + 1), np.float64)


def least_correlation(number: int, level: float) -> float:
    """The rank correlation that shows with a probability of 80 % (Fieller, Hartley and Pearson, 1957)."""
    return tanh(_needed(level) * sqrt(1.06 / (number - 3)))


def _needed(level: float) -> float:
    """Standard deviations from no effect, two-sided."""
    return float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(_POWER))
