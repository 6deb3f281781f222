"""Monologue and dominance against their definitions, and told in runs of any length."""

from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.balanced_dialogue import balanced_dialogue
from domain.detectors import Detectors
from domain.dominance import Dominance
from domain.errors import InvalidCommandError
from domain.measures import Episode
from domain.monologue import Monologue
from domain.pattern_settings import PatternSettings
from domain.patterns import Finding, detect
from domain.tract import Direction

INTRA, OUT, BACK = Direction

Facts = list[tuple[int, int, int]]
"""First and last sequence, and count."""


def found(detector: Monologue | Dominance, directions: list[Direction]) -> Facts:
    findings: dict[int, Finding] = {}
    for sequence, direction in enumerate(directions, 1):
        finding = detector.add(sequence, direction, None)
        if finding:
            findings[finding.first_sequence] = finding
    return [(one.first_sequence, one.last_sequence, one.count) for one in findings.values()]


@pytest.mark.parametrize(("count", "facts"), [(19, []), (20, [(2, 21, 20)]), (21, [(2, 22, 21)])])
def test_monologue_is_twenty_messages_in_one_direction(count: int, facts: Facts) -> None:
    assert found(Monologue(), [BACK] + [OUT] * count + [BACK]) == facts


def test_monologue_passes_over_what_is_said_within_a_tract() -> None:
    assert found(Monologue(), [OUT] * 10 + [INTRA] * 5 + [OUT] * 10 + [INTRA]) == [(1, 25, 20)]
    assert found(Monologue(), [INTRA] * 50) == []
    assert found(Monologue(), [OUT] * 10 + [BACK] + [OUT] * 19) == []


def test_monologue_is_over_when_the_other_tract_says_something() -> None:
    detector = Monologue()
    assert detector.add_run(1, bytes([BACK] * 19), []) == []
    assert detector.add_run(20, bytes([OUT, BACK]), []) == []
    assert (detector.first_sequence, detector.count) == (21, 1)


def test_monologue_says_why() -> None:
    detector = Monologue(messages=2)
    detector.add(4, BACK, None)
    finding = detector.add(6, BACK, None)
    assert finding is not None
    assert finding.why == "2 messages in a row went from external to internal, from message 4 to 6."


def spread(out: int, back: int) -> list[Direction]:
    """With those that are fewer in the middle."""
    return [OUT] * (out // 2) + [BACK] * back + [OUT] * (out - out // 2)


def test_dominance_is_more_than_eighty_percent_of_fifty() -> None:
    assert found(Dominance(), spread(40, 10)) == []
    assert found(Dominance(), spread(41, 9)) == [(1, 50, 50)]
    assert found(Dominance(), spread(41, 8)) == [], "they are 49"
    assert found(Dominance(), [INTRA, *spread(20, 4), INTRA, *spread(21, 5)]) == [(2, 52, 50)]


def test_dominance_lasts_until_it_holds_no_more() -> None:
    assert found(Dominance(), [OUT] * 50 + [BACK] * 20) == [(1, 59, 59)]
    assert found(Dominance(), [BACK] * 20 + [OUT] * 50) == [(12, 70, 59)]


def test_dominance_of_the_other_direction_is_another_one() -> None:
    assert found(Dominance(), [OUT] * 50 + [BACK] * 50) == [(1, 59, 59), (42, 100, 59)]


def test_stretches_of_dominance_that_overlap_are_one() -> None:
    gap = [OUT] * 50 + [BACK] * 11 + [OUT] * 39
    assert found(Dominance(), gap) == [(1, 59, 59)]
    assert found(Dominance(), [*gap, OUT, OUT]) == [(1, 102, 102)]


def test_stretches_of_dominance_that_only_touch_are_two() -> None:
    small = Dominance(window=4, share=0.5)
    assert found(small, [OUT, OUT, OUT, BACK, BACK, OUT, OUT, OUT]) == [(1, 4, 4), (5, 8, 4)]


@pytest.mark.parametrize(("share", "told"), [(0.5, "50 %"), (0.745, "74.5 %")])
def test_dominance_says_why(share: float, told: str) -> None:
    detector = Dominance(window=4, share=share)
    [finding] = detector.add_run(1, bytes([OUT, OUT, INTRA, BACK, OUT]), [])
    assert finding.why == (
        f"More than {told} of the last 4 messages between the tracts went from internal to external,"
        " from message 1 to 5."
    )


def monologues(directions: list[Direction], messages: int) -> Facts:
    """By the definition."""
    across = [(sequence, way) for sequence, way in enumerate(directions, 1) if way is not INTRA]
    turns = [[sequence for sequence, _ in turn] for _, turn in groupby(across, key=lambda one: one[1])]
    return [(turn[0], turn[-1], len(turn)) for turn in turns if len(turn) >= messages]


def dominances(directions: list[Direction], window: int, share: float) -> Facts:
    """By the definition, window by window."""
    across = [(sequence, way) for sequence, way in enumerate(directions, 1) if way is not INTRA]
    found: list[tuple[Direction, int, int]] = []
    for end in range(window, len(across) + 1):
        ways = [way for _, way in across[end - window : end]]
        for way in (OUT, BACK):
            if ways.count(way) > share * window + 1e-9:
                first = end - window
                if found and found[-1][0] is way and found[-1][2] >= first:
                    found[-1] = (way, found[-1][1], end - 1)
                else:
                    found.append((way, first, end - 1))
    return [(across[first][0], across[last][0], last - first + 1) for _, first, last in found]


ways = st.lists(
    st.tuples(st.sampled_from([OUT, BACK, OUT, BACK, INTRA]), st.integers(1, 9)).map(lambda of: [of[0]] * of[1]),
    max_size=25,
).map(lambda runs: [way for run in runs for way in run])


@given(ways, st.integers(2, 12))
def test_monologue_agrees_with_its_definition(directions: list[Direction], messages: int) -> None:
    assert found(Monologue(messages=messages), directions) == monologues(directions, messages)


@given(ways, st.integers(2, 20), st.sampled_from([0.5, 0.57, 0.6, 0.8, 0.9]))
def test_dominance_agrees_with_its_definition(directions: list[Direction], window: int, share: float) -> None:
    assert found(Dominance(window=window, share=share), directions) == dominances(directions, window, share)


thresholds = st.builds(
    PatternSettings,
    repetition_window=st.integers(2, 30),
    monologue_messages=st.integers(2, 30),
    dominance_window=st.integers(2, 20),
    dominance_share=st.sampled_from([0.5, 0.6, 0.8, 0.9]),
)


@given(st.lists(ways, max_size=6), thresholds)
def test_run_in_any_split_is_found_in_as_its_messages_are(
    runs: list[list[Direction]], thresholds: PatternSettings
) -> None:
    whole, single = Detectors.of(thresholds), Detectors.of(thresholds)
    sequence = 1
    for directions in runs:
        said = [number % 7 for number in range(len(directions))]
        for (_, detector), (_, other) in zip(whole.each(), single.each(), strict=True):
            findings = detect(detector, sequence, bytearray(directions), said)
            one_by_one = [
                other.add(sequence + place, way, payload)
                for place, (way, payload) in enumerate(zip(directions, said, strict=True))
            ]
            assert {one.first_sequence: one for one in findings} == {
                one.first_sequence: one for one in one_by_one if one
            }
        assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(single)
        whole = msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=Detectors)
        sequence += len(directions)


def test_detectors_have_the_thresholds_that_are_set() -> None:
    detectors = Detectors.of(PatternSettings(5, 6, 7, 0.6))
    assert detectors.repetition.window == 5
    assert detectors.monologue.messages == 6
    assert (detectors.dominance.window, detectors.dominance.share) == (7, 0.6)
    assert Detectors.of(PatternSettings()) == Detectors()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"monologue_messages": "1"}, "The monologue_messages is 1; it must be 2 to 1000."),
        ({"dominance_share": 0.4}, "The dominance_share is 0.4; it must be 0.5 to 0.999."),
        ({"dominance_share": float("nan")}, "is nan"),
        ({"stall_seconds": 0}, "is 0.0; it must be 0.001"),
        ({"beauty": 3}, "The setting of patterns beauty does not exist; there are repetition_window,"),
        ({"stall_seconds": "soon"}, "The stall_seconds is 'soon', which is no number."),
    ],
)
def test_thresholds_out_of_range_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidCommandError) as refused:
        PatternSettings().changed(**changes)
    assert says in str(refused.value)


def test_episode_of_a_dialogue_is_a_finding() -> None:
    finding = balanced_dialogue(Episode(100, 120, 7, 9, 0.954, None, None))
    assert (finding.pattern, finding.first_sequence, finding.last_sequence, finding.count) == (
        "balanced_dialogue",
        100,
        120,
        21,
    )
    assert finding.why == "Both tracts took part evenly, from message 100 to 120: at best in a ratio of 0.95."
