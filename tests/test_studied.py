"""What a study is given: the dialogues of a kind, of one state of the read model."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import UUID

import pytest

from domain.dialogue import Dialogue, Kind
from projections.consciousness import Consciousness
from projections.models import ReadModels
from projections.states import Status
from projections.studied import StudiedSet, studied
from tests.memory_log import MemoryLog, answer, ask, closed, conveyed, opened, reading, runner_of, running

A, B, C, D = (UUID(int=number) for number in (1, 2, 3, 4))
MS = 1000

Given = Callable[..., StudiedSet]


@pytest.fixture
def given() -> Iterator[Given]:
    """What is studied of these events."""
    with ExitStack() as opened_ones:

        def fold(*events: Dialogue.Event, attribute: str = "won", kind: Kind = Kind.LIVE) -> StudiedSet:
            log, models = MemoryLog(), ReadModels()
            opened_ones.callback(models.close)
            with running(runner_of(log, models), log) as runner:
                position = log.append(*events)
                runner.wait_for(position, 20)
            connection = opened_ones.enter_context(reading(models, Consciousness()))
            return studied(connection, position, attribute=attribute, kind=kind)

        yield fold


def test_nothing_recorded_is_nothing_to_study(given: Given) -> None:
    assert given(opened(A), kind=Kind.RECORDED) == StudiedSet(1, [], frozenset())


def test_dialogues_of_the_kind_come_in_the_order_of_the_log_with_their_values(given: Given) -> None:
    found = given(
        opened(C, won=True, team="a"),
        opened(A, won=None),
        opened(B, Kind.RECORDED, won=False),
        opened(D),
        closed(C),
    )
    assert [(one.dialogue, one.value) for one in found.dialogues] == [(C, True), (A, None), (D, None)]
    assert [one.status for one in found.dialogues] == [Status.CLOSED, Status.OPEN, Status.OPEN]
    assert found.attributes == {"won", "team"}


@pytest.mark.parametrize("name", ['a "quoted" one', "$.a[0]", "да"])
def test_an_attribute_may_have_any_name(given: Given, name: str) -> None:
    [found] = given(opened(A, Kind.LIVE, **{name: "x"}), attribute=name).dialogues
    assert found.value == "x"


def test_measures_are_those_of_the_dialogue_alone(given: Given) -> None:
    turns = [ask(1 * MS), answer(4 * MS), ask(5 * MS), answer(16 * MS)]
    first, second = given(
        opened(A), opened(B), conveyed(A, 1, *turns), conveyed(B, 1, ask(), ask(), answer())
    ).dialogues
    assert first.measures == {
        "total_messages": 4,
        "internal_to_external": 2,
        "external_to_internal": 2,
        "dialogue_balance_ratio": 1.0,
        "balanced_dialogue_events": 2,
        "emergence_score": None,
        "runs": 4,
        "coordination_z": None,
        "response_time.internal.p50": 1.0,
        "response_time.internal.max": 1.0,
        "response_time.external.p50": pytest.approx(3, rel=0.01),
        "response_time.external.max": 11.0,
        "findings": 2,
    }
    assert second.measures["dialogue_balance_ratio"] == 0.5
    assert second.measures["response_time.external.max"] is None


@pytest.mark.parametrize(("messages", "known"), [(100, False), (101, True)])
def test_emergence_is_known_only_where_it_can_be_assessed(given: Given, messages: int, known: bool) -> None:
    turns = [ask(None, n) if n % 2 else answer(None, n) for n in range(messages)]
    [found] = given(opened(A), conveyed(A, 1, *turns)).dialogues
    assert (found.measures["emergence_score"] is not None) is known
    assert found.measures["coordination_z"] is not None


def test_a_stronger_form_counts_for_the_general_pattern_too(given: Given) -> None:
    once, twice, thrice = ([ask(None, 1)] * number for number in (1, 2, 3))
    found = given(
        opened(A), conveyed(A, 1, *once), opened(B), conveyed(B, 1, *twice), opened(C), conveyed(C, 1, *thrice)
    ).dialogues
    assert [one.patterns for one in found] == [set(), {"repetition"}, {"repetition", "echo_loop"}]
    assert [one.measures["findings"] for one in found] == [0, 1, 1]
