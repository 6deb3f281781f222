"""The detectors against their rules, with cases just inside and just outside of each."""

from itertools import pairwise
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.detectors import PATTERNS, Detectors
from domain.message import Payload
from domain.patterns import Finding, detect, fingerprint
from domain.repetition import Repetition
from domain.tract import Direction

INTRA, OUT, BACK = Direction


def found(places: dict[int, Payload], length: int) -> list[tuple[str, int, int, int]]:
    """The findings of a dialogue that says these payloads at these sequences and otherwise never the same."""
    detector = Repetition()
    findings: dict[int, Finding] = {}
    for sequence in range(1, length + 1):
        finding = detector.add(sequence, OUT, places.get(sequence, f"only {sequence}"))
        if finding:
            findings[finding.first_sequence] = finding
    return [(f.pattern, f.first_sequence, f.last_sequence, f.count) for f in findings.values()]


def test_repetition_is_the_same_twice_within_twenty_messages() -> None:
    assert found({1: "x", 20: "x"}, 30) == [("repetition", 1, 20, 2)]
    assert found({1: "x", 21: "x"}, 30) == []


def test_echo_loop_is_the_same_three_times_within_twenty_messages() -> None:
    assert found({1: "x", 2: "x", 20: "x"}, 30) == [("echo_loop", 1, 20, 3)]
    assert found({1: "x", 2: "x", 21: "x"}, 30) == [("repetition", 1, 21, 3)]


def test_echo_loop_stays_one_when_the_same_follows_more_slowly() -> None:
    assert found({1: "x", 2: "x", 3: "x", 20: "x"}, 30) == [("echo_loop", 1, 20, 4)]


def test_repetition_that_paused_beyond_the_window_is_a_new_finding() -> None:
    assert found({1: "x", 2: "x", 22: "x", 23: "x"}, 30) == [("repetition", 1, 2, 2), ("repetition", 22, 23, 2)]


def test_repetitions_of_two_things_are_two_findings() -> None:
    assert found({1: "x", 2: "y", 3: "x", 4: "y"}, 5) == [("repetition", 1, 3, 2), ("repetition", 2, 4, 2)]


def test_repetition_in_the_other_direction_is_none() -> None:
    detector = Repetition()
    assert detector.add(1, OUT, "x") is None
    assert detector.add(2, BACK, "x") is None
    assert detector.add(3, INTRA, "x") is None


def test_finding_says_why_in_a_sentence() -> None:
    detector = Repetition()
    detector.add(4, OUT, "x")
    finding = detector.add(9, OUT, "x")
    assert finding is not None
    assert finding.why == "The same was said 2 times from internal to external, from message 4 to 9."


def test_slow_repetition_says_why_it_is_no_echo_loop() -> None:
    detector = Repetition()
    detector.add(1, OUT, "x")
    detector.add(11, OUT, "x")
    finding = detector.add(21, OUT, "x")
    assert finding is not None
    assert finding.why == (
        "The same was said 3 times from internal to external, from message 1 to 21,"
        " but never 3 times within 20 messages."
    )
    finding = detector.add(22, OUT, "x")
    assert finding is not None
    assert finding.why.endswith("from message 1 to 22."), "now it is one"


def call(name: str, arguments: str, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


SAME: list[tuple[Payload, Payload]] = [
    ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
    (
        {"role": "assistant", "content": None, "tool_calls": [call("search", '{"q":1}', "call_1")]},
        {"role": "assistant", "content": None, "tool_calls": [call("search", '{"q":1}', "call_2")]},
    ),
    (
        {"role": "tool", "tool_call_id": "call_1", "content": "none"},
        {"role": "tool", "tool_call_id": "call_2", "content": "none"},
    ),
    (
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "none"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2", "content": "none"}]},
    ),
]
DIFFERENT: list[tuple[Payload, Payload]] = [
    ("x", b"x"),
    (1, True),
    (None, ""),
    ({"role": "planner", "step": 1}, {"role": "planner", "step": 2}),
    ({"role": "user", "content": "a"}, {"role": "user", "content": "b"}),
    (
        {"role": "assistant", "content": "x", "tool_calls": [call("search", '{"q":1}', "1")]},
        {"role": "assistant", "content": "x", "tool_calls": [call("search", '{"q":2}', "1")]},
    ),
    (
        {"role": "assistant", "content": "x", "tool_calls": [call("search", "{}", "1")]},
        {"role": "assistant", "content": "x", "tool_calls": [call("book", "{}", "1")]},
    ),
    (
        {"role": "assistant", "content": None, "function_call": {"name": "search", "arguments": "{}"}},
        {"role": "assistant", "content": None, "function_call": {"name": "book", "arguments": "{}"}},
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_fingerprint_is_the_same_for_what_says_the_same(one: Payload, other: Payload) -> None:
    assert fingerprint(OUT, one) == fingerprint(OUT, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_fingerprint_differs_for_what_says_something_else(one: Payload, other: Payload) -> None:
    assert fingerprint(OUT, one) != fingerprint(OUT, other)


@pytest.mark.parametrize("odd", [7, "search", [1, ["x"]], [{"function": 3}], {"function": {}}])
def test_fingerprint_takes_chat_messages_of_any_shape(odd: Payload) -> None:
    one = fingerprint(OUT, {"role": "user", "content": odd, "tool_calls": odd})
    assert one != fingerprint(OUT, {"role": "user", "content": odd, "tool_calls": None})


@given(st.lists(st.integers(0, 6), max_size=80))
def test_repetition_agrees_with_its_definition(said: list[int]) -> None:
    expected = []
    for what in set(said):
        places = [sequence for sequence, other in enumerate(said, 1) if other == what]
        groups = [[places[0]]]
        for before, place in pairwise(places):
            if place - before < 20:
                groups[-1].append(place)
            else:
                groups.append([place])
        expected += [group for group in groups if len(group) > 1]
    loops = [any(c - a < 20 for a, c in zip(group, group[2:], strict=False)) for group in expected]
    patterns = ["echo_loop" if loop else "repetition" for loop in loops]
    facts = [(p, g[0], g[-1], len(g)) for p, g in zip(patterns, expected, strict=True)]
    assert sorted(found(dict(enumerate(said, 1)), len(said))) == sorted(facts)


@given(st.lists(st.integers(0, 3), max_size=60))
def test_detectors_survive_being_stored_at_any_point(said: list[int]) -> None:
    kept, reread = Detectors(), Detectors()
    for sequence, what in enumerate(said, 1):
        payload = {"n": what} if what else sequence
        findings = [detector.add(sequence, BACK, payload) for _, detector in kept.each()]
        assert [detector.add(sequence, BACK, payload) for _, detector in reread.each()] == findings
        reread = msgspec.msgpack.decode(msgspec.msgpack.encode(reread), type=Detectors)
        assert reread == kept


def test_repetition_remembers_no_more_than_its_window() -> None:
    detector = Repetition()
    for sequence in range(1, 200):
        detector.add(sequence, OUT, sequence if sequence % 7 else "x")
    assert len(detector.last) <= 20
    assert len(detector.growing) == len(detector.before_last) == 1


def test_every_detector_has_named_its_patterns() -> None:
    assert PATTERNS == {
        "repetition": ("repetition", "echo_loop"),
        "monologue": ("monologue",),
        "dominance": ("dominance",),
        "balanced_dialogue": ("balanced_dialogue",),
        "stall": ("stall",),
    }


def told_singly(
    detector: Repetition, first_sequence: int, directions: bytes, payloads: list[Payload]
) -> list[Finding]:
    numbered = enumerate(zip(directions, payloads, strict=True), first_sequence)
    found = [detector.add(sequence, Direction(direction), payload) for sequence, (direction, payload) in numbered]
    return [finding for finding in found if finding]


def by_first(findings: list[Finding]) -> dict[int, Finding]:
    return {finding.first_sequence: finding for finding in findings}


def mirrored(said: list[int], places: set[int]) -> list[int]:
    """At these places what stands as far from the other end."""
    return [said[-1 - place] if place in places else what for place, what in enumerate(said)]


different = st.lists(st.integers(5, 10**9), min_size=35, max_size=100, unique=True)
runs_said = st.lists(
    st.lists(st.integers(0, 9), max_size=30)
    | different
    | st.builds(mirrored, different, st.sets(st.integers(0, 99))),
    max_size=4,
)


@given(runs_said, st.randoms(use_true_random=False))
def test_repetition_of_runs_is_that_of_their_messages(runs: list[list[int]], random: Any) -> None:
    whole, single = Repetition(), Repetition()
    sequence = 1
    for said in runs:
        payloads: list[Payload] = [{"n": what} for what in said]
        directions = bytes(random.choices(tuple(Direction), [1, 8, 1], k=len(said)))
        found = told_singly(single, sequence, directions, payloads)
        assert by_first(whole.add_run(sequence, directions, payloads)) == by_first(found)
        assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(single)
        sequence += len(said)


class EverySecond(msgspec.Struct):
    """Knows no shorter way."""

    PATTERNS: ClassVar[tuple[str, ...]] = ("second",)

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        return None if sequence % 2 else Finding("second", sequence, sequence, 1, f"{direction.name} {payload}")


def test_detector_that_knows_no_shorter_way_is_told_one_message_after_the_other() -> None:
    found = detect(EverySecond(), 3, bytes([OUT, BACK, INTRA, INTRA]), ["a", "b", "c", "d"])
    assert [(finding.first_sequence, finding.why) for finding in found] == [
        (4, "EXTERNAL_TO_INTERNAL b"),
        (6, "INTRA d"),
    ]


@pytest.mark.parametrize("before", [1, 19, 20, 21])
def test_repetition_is_found_across_the_begin_of_a_run(before: int) -> None:
    whole, single = Repetition(), Repetition()
    payloads: list[Payload] = [f"only {n}" for n in range(60)]
    for detector in (whole, single):
        detector.add(1, OUT, "x")
    payloads[before - 1] = "x"
    directions = bytes([OUT]) * 60
    found = told_singly(single, 2, directions, payloads)
    assert whole.add_run(2, directions, payloads) == found
    assert bool(found) is (before < 20)
    assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(single)
