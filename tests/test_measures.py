"""The measures against their definitions, written down a second time as plainly as possible."""

from itertools import pairwise
from math import ceil, isclose, log, sqrt
from random import Random
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.measures import Balance, Coordination, EmergenceSettings, Episode, Episodes
from domain.response_times import BOUNDS, RELATIVE_ERROR, Response, ResponseTimes, Said, Turns, total
from domain.tract import Direction, Tract

INTRA, OUT, BACK = Direction
DIRECTIONS = st.lists(st.sampled_from(Direction), max_size=60)
TIMES = st.none() | st.integers(-(10**6), 10**16)
SMALL = EmergenceSettings(window=6, minimum=1, threshold=0.6)

T = TypeVar("T")


def stored(state: T) -> T:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


def ratio(directions: list[Direction]) -> float:
    a, b = directions.count(OUT), directions.count(BACK)
    return min(a, b) / max(a, b) if a and b else 0.0


def balance_of(directions: list[Direction]) -> Balance:
    balance = Balance()
    for number, direction in enumerate(directions, 1):
        balance.add(direction, number)
    return balance


def coordination_of(directions: list[Direction]) -> Coordination:
    coordination = Coordination()
    for direction in directions:
        coordination.add(direction)
    return coordination


def episodes_of(directions: list[Direction], settings: EmergenceSettings) -> list[Episode]:
    """All episodes, the one under way last; positions are ten times the ordinals, times a hundred."""
    episodes = Episodes(settings)
    found = [
        ended
        for number, direction in enumerate(directions, 1)
        if (ended := episodes.add(direction, 10 * number, 100 * number))
    ]
    return found if episodes.under_way is None else [*found, episodes.under_way]


def test_balance_of_nothing_is_zero_and_unknown() -> None:
    balance = Balance()
    assert balance.dialogue_balance_ratio == 0.0
    assert balance.emergence_score == 0.0
    assert balance.last_emergence_at is None
    assert not balance.emergence_assessable


def test_balance_counts_messages_within_a_tract_among_all_but_in_no_direction() -> None:
    balance = balance_of([OUT, BACK, INTRA])
    assert (balance.total_messages, balance.internal_to_external, balance.external_to_internal) == (3, 1, 1)
    assert balance.balanced_dialogue_events == 2
    assert balance.last_emergence_at == 3


def test_balance_of_exactly_seven_tenths_is_not_balanced() -> None:
    assert balance_of([OUT] * 10 + [BACK] * 7).balanced_dialogue_events == 0
    assert balance_of([OUT] * 10 + [BACK] * 8).balanced_dialogue_events == 1


def test_balance_last_emergence_is_unknown_when_its_time_is() -> None:
    balance = balance_of([OUT, BACK])
    balance.add(OUT, None)
    assert balance.last_emergence_at == 2  # 2 to 1 is not balanced
    balance.add(BACK, None)
    assert balance.last_emergence_at is None


def test_emergence_is_assessed_from_the_101st_message_on() -> None:
    balance = balance_of([OUT, BACK] * 50)
    assert (balance.emergence_assessable, balance.emergence_score) == (False, 0.0)
    balance.add(OUT, 101)
    assert balance.emergence_assessable
    # 1 to 1, then 2 to 1, then 2 to 2, 3 to 2, 3 to 3, 4 to 3 ... : unbalanced after messages 1, 3 and 5.
    assert balance.balanced_dialogue_events == 98
    assert isclose(balance.emergence_score, 0.7 * 50 / 51 + 0.3 * 0.98)


def test_emergence_score_takes_at_most_a_hundred_balanced_messages() -> None:
    assert balance_of([OUT, BACK] * 200).emergence_score == 1.0


@given(DIRECTIONS)
def test_balance_agrees_with_its_definition(directions: list[Direction]) -> None:
    balanced = [n for n in range(1, len(directions) + 1) if ratio(directions[:n]) > 0.7]
    assert balance_of(directions) == Balance(
        len(directions),
        directions.count(OUT),
        directions.count(BACK),
        len(balanced),
        balanced[-1] if balanced else None,
    )
    assert balance_of(directions).dialogue_balance_ratio == ratio(directions)


def test_coordination_is_unknown_below_twenty_cross_tract_messages() -> None:
    assert coordination_of([OUT, BACK] * 9 + [OUT] + [INTRA] * 5).coordination_z is None
    assert coordination_of([OUT, BACK] * 10).coordination_z is not None


def test_coordination_is_unknown_while_one_direction_has_no_message() -> None:
    assert coordination_of([OUT] * 50).coordination_z is None


def test_coordination_of_turns_by_hand() -> None:
    # a = b = 10: the mean is 11, the variance 10 * 9 / 19.
    assert isclose(coordination_of([OUT, BACK] * 10).coordination_z or 0, (20 - 11) / sqrt(90 / 19))
    assert isclose(coordination_of([OUT] * 10 + [BACK] * 10).coordination_z or 0, (2 - 11) / sqrt(90 / 19))


def test_coordination_is_known_for_the_most_lopsided_counts() -> None:
    # a = 1, b = 19: the mean is 2.9; 3 runs, as the one message stands in the middle.
    z = coordination_of([BACK] * 9 + [OUT] + [BACK] * 10).coordination_z
    assert isclose(z or 0, 0.1 / sqrt(1.9 * 0.9 / 19))


@given(DIRECTIONS)
def test_coordination_counts_runs_as_if_messages_within_a_tract_were_not_there(
    directions: list[Direction],
) -> None:
    cross = [direction for direction in directions if direction is not INTRA]
    changes = sum(before is not after for before, after in pairwise(cross))
    assert coordination_of(directions).runs == changes + bool(cross)


def test_episode_begins_when_the_window_is_full() -> None:
    assert episodes_of([OUT, BACK] * 49 + [OUT], EmergenceSettings()) == []
    assert episodes_of([OUT, BACK] * 50, EmergenceSettings()) == [Episode(100, 100, 1000, 1000, 1.0, 10000, 10000)]


def test_episode_needs_more_than_the_minimum_of_each_direction() -> None:
    assert episodes_of([OUT, BACK] * 10 + [INTRA] * 80, EmergenceSettings()) == []
    assert len(episodes_of([OUT, BACK] * 11 + [INTRA] * 78, EmergenceSettings())) == 1


def test_episode_ends_with_the_last_emergent_message() -> None:
    # Windows of 6: OBOBOB 3:3, BOBOBO 3:3, OBOBOO 4:2 (0.5) is over.
    episodes = Episodes(SMALL)
    ended = [episodes.add(way, 7, at) for at, way in enumerate([OUT, BACK, OUT, BACK, OUT, BACK, OUT, OUT], 1)]
    assert ended == [None] * 7 + [Episode(6, 7, 7, 7, 1.0, 6, 7)]
    assert episodes.under_way is None


@given(DIRECTIONS)
def test_episodes_agree_with_their_definition(directions: list[Direction]) -> None:
    expected: list[Episode] = []
    before = 0
    for number in range(SMALL.window, len(directions) + 1):
        window = directions[number - SMALL.window : number]
        if min(window.count(OUT), window.count(BACK)) <= 1 or ratio(window) <= SMALL.threshold:
            continue
        if number != before + 1 or not expected:
            expected.append(Episode(number, 0, 10 * number, 0, 0.0, 100 * number, 0))
        latest = expected[-1]
        latest.last_message, latest.last_position, latest.end_time = number, 10 * number, 100 * number
        latest.peak_ratio = max(latest.peak_ratio, ratio(window))
        before = number
    assert episodes_of(directions, SMALL) == expected


def test_response_times_of_nothing_are_unknown() -> None:
    times = ResponseTimes()
    assert (times.p50, times.p95, times.p99, times.max, times.count) == (None, None, None, None, 0)


def test_response_times_count_what_is_missing_or_negative_as_unknown() -> None:
    times = ResponseTimes()
    for duration in (None, -1, 0):
        times.add(duration)
    assert (times.count, times.unknown, times.p50, times.max) == (1, 2, 0.0, 0.0)


def test_response_times_are_told_in_milliseconds() -> None:
    times = ResponseTimes()
    times.add(1_500_000)
    assert times.max == 1500.0
    assert isclose(times.p50 or 0, 1500.0, rel_tol=RELATIVE_ERROR)


def test_response_times_use_the_nearest_rank() -> None:
    times = ResponseTimes()
    for second in range(1, 101):
        times.add(second * 1_000_000)
    assert [round(value or 0, -3) for value in (times.p50, times.p95, times.p99)] == [50_000, 95_000, 99_000]
    assert times.max == 100_000.0


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=50), st.integers(1, 100))
def test_response_time_percentiles_are_within_one_percent(durations: list[int], percent: int) -> None:
    times = ResponseTimes()
    for duration in durations:
        times.add(duration)
    exact = sorted(durations)[ceil(percent * len(durations) / 100) - 1] / 1000
    assert isclose(times.percentile(percent) or 0, exact, rel_tol=RELATIVE_ERROR * 1.000001)
    assert (times.percentile(percent) or 0) <= (times.max or 0)


def test_turn_is_answered_by_the_first_message_of_the_next_one() -> None:
    turns = Turns()
    answers = [turns.add(way, at, None) for way, at in ((OUT, 10), (OUT, 20), (INTRA, 25), (BACK, 50), (BACK, 60))]
    assert answers == [None, None, None, Response(Tract.EXTERNAL, 30), None]
    assert turns.add(OUT, 100, None) == Response(Tract.INTERNAL, 40)


def test_reply_is_measured_from_the_message_that_it_names() -> None:
    turns = Turns(last=OUT, last_sent_at=100)
    assert turns.add(BACK, 150, Said(OUT, 20)) == Response(Tract.EXTERNAL, 130)
    assert turns.add(BACK, 160, Said(OUT, 100)) == Response(Tract.EXTERNAL, 60)


@pytest.mark.parametrize("asked", [BACK, INTRA])
def test_reply_to_a_message_that_did_not_come_across_is_no_answer(asked: Direction) -> None:
    assert Turns(last=OUT, last_sent_at=100).add(BACK, 150, Said(asked, 20)) is None


def test_answer_with_an_unknown_time_on_either_side_is_known_to_be_unknown() -> None:
    assert Turns(last=OUT, last_sent_at=None).add(BACK, 5, None) == Response(Tract.EXTERNAL, None)
    assert Turns(last=OUT, last_sent_at=5).add(BACK, None, None) == Response(Tract.EXTERNAL, None)


def test_dialogue_awaits_the_target_of_its_last_cross_tract_message() -> None:
    turns = Turns()
    awaited = [turns.awaiting]
    for direction in (INTRA, OUT, INTRA, BACK):
        turns.add(direction, None, None)
        awaited.append(turns.awaiting)
    assert awaited == [None, None, Tract.EXTERNAL, Tract.EXTERNAL, Tract.INTERNAL]


@given(st.lists(st.tuples(st.sampled_from(Direction), TIMES), max_size=40))
def test_measures_survive_being_stored_at_any_point(messages: list[tuple[Direction, int | None]]) -> None:
    kept = (Balance(), Coordination(), Episodes(SMALL), ResponseTimes(), Turns())
    reread = kept
    for position, (direction, sent_at) in enumerate(messages, 1):
        reread = stored(reread[0]), stored(reread[1]), stored(reread[2]), stored(reread[3]), stored(reread[4])
        for balance, coordination, episodes, times, turns in (kept, reread):
            balance.add(direction, sent_at)
            coordination.add(direction)
            episodes.add(direction, position, sent_at)
            times.add(sent_at)
            turns.add(direction, sent_at, None)
        assert reread == kept


@given(st.lists(st.integers(0, 2**63), max_size=50), st.randoms(use_true_random=False), st.data())
def test_response_times_are_stored_alike_in_any_order_and_merged_in_any_parts(
    durations: list[int], random: Random, data: st.DataObject
) -> None:
    whole = ResponseTimes()
    for duration in durations:
        whole.add(duration)
    shuffled = random.sample([*durations], len(durations))
    cut = data.draw(st.integers(0, len(shuffled)))
    one, other = ResponseTimes(), ResponseTimes()
    for times, part in ((one, shuffled[:cut]), (other, shuffled[cut:])):
        for duration in part:
            times.add(duration)
    assert msgspec.msgpack.encode(total([one, other])) == msgspec.msgpack.encode(whole)
    one.merge(other)
    assert msgspec.msgpack.encode(one) == msgspec.msgpack.encode(whole)


def test_response_time_buckets_end_where_the_formula_says() -> None:
    gamma = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
    for bucket, bound in enumerate(BOUNDS[:-1]):
        assert ceil(log(bound) / log(gamma)) <= bucket < ceil(log(bound + 1) / log(gamma))
    assert BOUNDS[-1] >= 2**63
