"""Tests and effect sizes agree with enumeration by brute force and with published examples."""

from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.relations import Exactness, Interval
from application.significance import (
    cliffs_delta,
    fisher,
    holm,
    least_correlation,
    least_delta,
    least_difference,
    mann_whitney,
    odds_ratio,
    partial_correlation,
    rank_correlation,
    share_difference,
    spearman,
    spread,
)

VALUES = st.integers(0, 4)
"""Few, so that most are tied."""


def p_by_enumeration(found: float, statistics: Sequence[float]) -> float:
    below = sum(one <= found + 1e-9 for one in statistics) / len(statistics)
    above = sum(one >= found - 1e-9 for one in statistics) / len(statistics)
    return min(1.0, 2 * min(below, above))


def midranks(values: Sequence[float]) -> list[float]:
    return [sum(other < one for other in values) + (values.count(one) + 1) / 2 for one in values]


@settings(max_examples=25, deadline=None)
@given(st.lists(VALUES, min_size=3, max_size=5), st.lists(VALUES, min_size=3, max_size=5))
def test_u_is_that_of_every_partition(first: list[float], second: list[float]) -> None:
    ranks = midranks([*first, *second])
    sums = [sum(ranks[place] for place in chosen) for chosen in combinations(range(len(ranks)), len(second))]
    tested = mann_whitney(first, second)
    assert tested.method is Exactness.EXACT
    assert tested.p == pytest.approx(p_by_enumeration(sum(ranks[len(first) :]), sums))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=5, max_size=6))
def test_rho_is_tested_over_every_order(pairs: list[tuple[float, float]]) -> None:
    xs, ys = ([pair[place] for pair in pairs] for place in (0, 1))
    of_xs, of_ys = midranks(xs), midranks(ys)
    products = [sum(x * y for x, y in zip(order, of_ys, strict=True)) for order in permutations(of_xs)]
    tested = spearman(xs, ys)
    assert tested.method is Exactness.EXACT
    found = sum(x * y for x, y in zip(of_xs, of_ys, strict=True))
    assert tested.p == pytest.approx(p_by_enumeration(found, products))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_fisher_is_that_of_every_table(first: int, second: int, of: st.DataObject) -> None:
    found = of.draw(st.integers(0, first)), of.draw(st.integers(0, second))
    all_found = sum(found)

    def chance(of_second: int) -> float:
        return comb(second, of_second) * comb(first, all_found - of_second) / comb(first + second, all_found)

    tables = [chance(one) for one in range(max(0, all_found - first), min(second, all_found) + 1)]
    expected = sum(one for one in tables if one <= chance(found[1]) * (1 + 1e-7))
    assert fisher(found, (first, second)).p == pytest.approx(expected)


def test_the_lady_who_tasted_tea() -> None:
    """Fisher's own example, The Design of Experiments (1935): all cups told right is one table in 70."""
    assert fisher((0, 4), (4, 4)).p == pytest.approx(2 / 70)
    assert fisher((1, 3), (4, 4)).p == pytest.approx(34 / 70)


def test_an_odds_ratio_is_that_of_r() -> None:
    """What R's fisher.test prints of the table with three of four cups told right."""
    ratio = odds_ratio((1, 3), (4, 4))
    assert ratio.estimate == pytest.approx(6.408309, rel=1e-4)
    assert ratio.low == pytest.approx(0.2117329, rel=1e-4)
    assert ratio.high == pytest.approx(621.9337505, rel=0.01)


@pytest.mark.parametrize(("found", "bounded"), [((0, 4), True), ((4, 0), False)])
def test_an_odds_ratio_may_be_beyond_all_numbers(found: tuple[int, int], bounded: bool) -> None:
    ratio = odds_ratio(found, (4, 4))
    assert (ratio.estimate is None, ratio.high is None) == (bounded, bounded)
    assert ratio.low is not None


def test_a_difference_of_shares_is_newcombes() -> None:
    """56 of 70 and 48 of 80, method 10: 0.0524 to 0.3339 (Statistics in Medicine 17, 1998, table II a)."""
    difference = share_difference((48, 56), (80, 70))
    assert difference.estimate == pytest.approx(0.2)
    assert (round(difference.low or 0, 4), round(difference.high or 0, 4)) == (0.0524, 0.3339)


def test_cliffs_delta_is_that_of_r() -> None:
    """The example of R's package effsize, and the interval that it prints."""
    treatment, control = [10, 10, 20, 20, 20, 30, 30, 30, 40, 50], [10, 20, 30, 40, 40, 50]
    delta, pairs = cliffs_delta(control, treatment)
    assert delta.estimate == -0.25
    assert (pairs.more, pairs.fewer, pairs.same) == pytest.approx((17 / 60, 32 / 60, 11 / 60))
    assert delta.low == pytest.approx(-0.7265846, abs=1e-7)
    assert delta.high == pytest.approx(0.3890062, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=5, max_size=9), st.lists(VALUES, min_size=5, max_size=9))
def test_cliffs_delta_counts_all_pairs_and_lies_in_its_interval(first: list[float], second: list[float]) -> None:
    delta, shares = cliffs_delta(first, second)
    pairs = [(y > x) - (y < x) for x in first for y in second]
    assert delta.estimate == pytest.approx(sum(pairs) / len(pairs))
    counted = [pairs.count(sign) / len(pairs) for sign in (1, -1, 0)]
    assert [shares.more, shares.fewer, shares.same] == pytest.approx(counted)
    low, estimate, high = delta.low or 0.0, delta.estimate or 0.0, delta.high or 0.0
    assert -1 - 1e-9 <= low <= estimate + 1e-9
    assert estimate - 1e-9 <= high <= 1 + 1e-9
    other, _ = cliffs_delta(second, first)
    assert (other.estimate, other.low, other.high) == pytest.approx((-estimate, -high, -low))


def test_groups_that_do_not_overlap_have_an_interval_too() -> None:
    delta, _ = cliffs_delta([1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11])
    assert (delta.estimate, delta.high) == (1.0, 1.0)
    assert delta.low is not None
    assert -1 < delta.low < 0.9


@pytest.mark.parametrize("interval_of", [lambda *of: cliffs_delta(*of)[0], rank_correlation])
def test_an_interval_holds_what_is_true_19_times_of_20(
    interval_of: Callable[[Sequence[float], Sequence[float]], Interval],
) -> None:
    """What is true is 0 here."""
    drawn = np.random.default_rng(1).integers(0, 12, (400, 2, 30)).tolist()
    intervals = [interval_of(*pair) for pair in drawn]
    held = sum((one.low or 0.0) <= 0 <= (one.high or 0.0) for one in intervals)
    assert 365 <= held <= 395


def test_rank_correlation_knows_a_perfect_order() -> None:
    assert rank_correlation([1, 2, 3, 9, 8], [0, 1, 2, 4, 3]).estimate == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4, 5], [9, 8, 7, 6, 5]).estimate == pytest.approx(-1)


def test_a_correlation_through_a_third_value_alone_does_not_remain() -> None:
    rng = np.random.default_rng(2)
    third = rng.normal(size=500)
    xs, ys = (third + rng.normal(scale=0.5, size=500) for _ in range(2))
    assert (rank_correlation(xs.tolist(), ys.tolist()).low or 0.0) > 0.6
    remains = partial_correlation(xs.tolist(), ys.tolist(), third.tolist())
    assert remains is not None
    assert (remains.low or 0.0) < 0 < (remains.high or 0.0)


def test_nothing_remains_to_say_where_the_third_value_is_one_of_both() -> None:
    xs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert partial_correlation(xs, [1, 3, 2, 6, 5, 4], [2 * x for x in xs]) is None
    assert partial_correlation(xs, [1, 3, 2, 6, 5, 4], [7.0] * 6) is None


def test_holm_corrects_step_by_step() -> None:
    """Worked by hand: 4 × 0.01, 3 × 0.03 (for the larger ones at least that), 2 × 0.04, 0.2."""
    assert holm([0.04, 0.2, 0.01, 0.03]) == pytest.approx([0.09, 0.2, 0.04, 0.09])
    assert holm([0.5, 0.4]) == [0.8, 0.8]
    assert holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_drawn_partitions_are_close_to_all_and_always_the_same() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=30).tolist(), rng.normal(0.6, size=25).tolist()
    drawn = mann_whitney(first, second)
    assert drawn.method is Exactness.PERMUTATION
    assert drawn == mann_whitney(first, second)
    from scipy.stats import mannwhitneyu  # noqa: PLC0415  # without ties it can enumerate

    exact = float(mannwhitneyu(second, first, method="exact").pvalue)
    assert abs(drawn.p - exact) < 4 * 2 * (exact / 2 / 9999) ** 0.5


@pytest.mark.parametrize(
    ("first", "second", "method"),
    [
        pytest.param(1000, 1000, Exactness.PERMUTATION, marks=pytest.mark.slow),
        (1000, 1001, Exactness.NORMAL),
        (1960, 49, Exactness.PERMUTATION),
    ],
)
def test_of_very_many_dialogues_the_normal_approximation_is_taken(
    first: int, second: int, method: Exactness
) -> None:
    values = np.random.default_rng(4).integers(0, 40, first + second).tolist()
    tested = mann_whitney(values[:first], values[first:])
    assert tested.method is method
    assert 0 < tested.p <= 1


def test_what_can_be_found_is_found_four_times_of_five() -> None:
    """Two normal groups of 50 whose δ is the least: tests at 0.05 find 80 %."""
    from scipy.stats import mannwhitneyu, norm  # noqa: PLC0415  # as the reference

    delta = least_delta(50, 50, 0.05)
    assert delta is not None
    shift = 2**0.5 * float(norm.ppf((1 + delta) / 2))
    drawn = np.random.default_rng(5).normal(size=(600, 2, 50))
    found = mannwhitneyu(drawn[:, 0] + shift, drawn[:, 1], axis=1).pvalue < 0.05
    assert 0.74 < found.mean() < 0.86


def test_more_dialogues_find_weaker_relations_and_more_tests_only_stronger_ones() -> None:
    for least in (least_delta, least_difference):
        few, many, fewer_tests = least(20, 20, 0.005), least(200, 200, 0.005), least(20, 20, 0.05)
        assert few is not None
        assert many is not None
        assert fewer_tests is not None
        assert few > fewer_tests > many > 0
    assert least_correlation(20, 0.005) > least_correlation(20, 0.05) > least_correlation(200, 0.05)
    assert least_difference(100, 100, 0.05) == pytest.approx(0.2, abs=0.01), "as tables of power have it"


def power(of: tuple[int, int], level: float, difference: float) -> float:
    """Of Fisher's test, by SciPy's p of each table."""
    shares = (1 - difference) / 2, (1 + difference) / 2
    first, second = (
        [comb(all_of, x) * share**x * (1 - share) ** (all_of - x) for x in range(all_of + 1)]
        for all_of, share in zip(of, shares, strict=True)
    )
    return sum(
        p * q
        for x, p in enumerate(first)
        for y, q in enumerate(second)
        if p * q > 1e-9 and fisher((x, y), of).p <= level
    )


@pytest.mark.parametrize(("of", "tests"), [((10, 10), 10), ((9, 13), 1), ((5, 5), 6)])
def test_a_difference_of_shares_is_the_least_with_a_power_of_80(of: tuple[int, int], tests: int) -> None:
    least = least_difference(*of, 0.05 / tests)
    assert least is not None
    assert power(of, 0.05 / tests, least) >= 0.8 > power(of, 0.05 / tests, least - 0.01)


def test_the_approximation_goes_on_where_the_exact_power_ends() -> None:
    assert least_difference(500, 501, 0.005) == pytest.approx(least_difference(500, 500, 0.005), abs=0.011)


@pytest.mark.parametrize(
    ("of", "tests", "shares", "delta"),
    [((5, 5), 6, True, True), ((5, 5), 7, False, False), ((5, 6), 12, True, False)],
)
def test_of_few_dialogues_nothing_can_be_found(of: tuple[int, int], tests: int, shares: bool, delta: bool) -> None:
    """Groups that do not overlap have p 2/252 of 5 and 5, and 2/462 of 5 and 6; Fisher's is 1/462 there."""
    found = least_difference(*of, 0.05 / tests), least_delta(*of, 0.05 / tests)
    assert (found[0] is not None, found[1] is not None) == (shares, delta)
    apart = mann_whitney(list(range(of[0])), list(range(100, 100 + of[1])))
    assert (apart.p * tests <= 0.05) is delta
    assert (fisher((0, of[1]), of).p * tests <= 0.05) is shares


def test_a_spread_has_what_a_box_is_drawn_from() -> None:
    of = spread([1, 2, 3, 4, 10])
    assert (of.known, of.mean, of.least, of.lower_quartile, of.median, of.upper_quartile, of.greatest) == (
        5, 4, 1, 2, 3, 4, 10,
    )  # fmt: skip
