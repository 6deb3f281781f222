"""What the read side answers, on small histories that can be counted by hand and on real ones."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest

from application.transcripts import Transcript, read_transcripts
from domain.dialogue import Dialogue, Kind
from domain.errors import DialogueNotFoundError, InvalidCommandError
from domain.message import Payload
from projections.answers import EpisodeSummary, PatternCount, ResponseTime
from projections.consciousness import Consciousness
from projections.models import ReadModels
from projections.queries import DialogueSort, Queries
from projections.states import Status
from tests.memory_log import MemoryLog, answer, ask, closed, conveyed, opened, queries, runner_of, running

AIRLINE = Path(__file__).parents[2] / "shared" / "data" / "airline-dialogues.jsonl"
A, B, C, D = (UUID(int=number) for number in (1, 2, 3, 4))

Told = Callable[..., Queries]


@pytest.fixture
def told() -> Iterator[Told]:
    """Queries on a read model of these events."""
    with ExitStack() as opened_ones:

        def fold(*events: Dialogue.Event) -> Queries:
            log, models = MemoryLog(), ReadModels()
            opened_ones.callback(models.close)
            with running(runner_of(log, models), log) as runner:
                runner.wait_for(log.append(*events), 20)
            return opened_ones.enter_context(queries(models, Consciousness()))

        yield fold


def test_nothing_folded_answers_with_nothing(told: Told) -> None:
    asked = told()
    metrics = asked.consciousness_metrics(Kind.LIVE)
    assert (metrics.position, metrics.total_messages, metrics.episodes, metrics.findings) == (0, 0, [], 0)
    assert metrics.response_time.internal == ResponseTime(0, None, None, None, None, 0, 0)
    assert asked.dialogues().dialogues == []
    assert asked.grouped("run").groups == []


def test_dialogue_that_is_not_known_is_an_error(told: Told) -> None:
    asked = told(opened(A))
    with pytest.raises(DialogueNotFoundError):
        asked.consciousness_metrics(B)
    with pytest.raises(DialogueNotFoundError):
        asked.dialogue(B)


def test_metrics_of_a_dialogue_and_of_all_of_its_kind(told: Told) -> None:
    asked = told(
        opened(A),
        opened(B),
        conveyed(A, 1, ask(1_000_000), answer(1_250_000)),
        conveyed(B, 1, ask(2_000_000)),
        opened(C, Kind.RECORDED),
        conveyed(C, 1, ask(), answer(), ask()),
    )
    one, live, recorded = (asked.consciousness_metrics(scope) for scope in (A, Kind.LIVE, Kind.RECORDED))
    assert (one.scope, live.scope, recorded.scope) == (str(A), "live", "recorded")
    assert (one.total_messages, live.total_messages, recorded.total_messages) == (2, 3, 3)
    assert (one.dialogue_balance_ratio, live.dialogue_balance_ratio) == (1.0, 0.5)
    assert one.last_emergence_at == live.last_emergence_at == "1970-01-01T00:00:01.250000Z"
    assert one.response_time.external == ResponseTime(1, 250.0, 250.0, 250.0, 250.0, 0, 0)
    assert recorded.response_time.external.unknown == recorded.response_time.internal.unknown == 1
    assert live.position == 6


@pytest.mark.parametrize(
    ("sent_at", "time"),
    [(1_700_000_000_000_000, "2023-11-14T22:13:20.000000Z"), (-1, "1969-12-31T23:59:59.999999Z"), (10**18, None)],
)
def test_times_are_rfc_3339_or_unknown(told: Told, sent_at: int, time: str | None) -> None:
    asked = told(opened(A), conveyed(A, 1, ask(sent_at), answer(sent_at)))
    assert asked.consciousness_metrics(A).last_emergence_at == time


def test_unanswered_counts_open_dialogues_that_await_the_tract(told: Told) -> None:
    asked = told(
        opened(A),
        conveyed(A, 1, ask()),
        opened(B),
        conveyed(B, 1, ask(), answer()),
        opened(C),
        conveyed(C, 1, ask()),
        closed(C),
        opened(D, Kind.RECORDED),
        conveyed(D, 1, ask()),
    )
    live = asked.consciousness_metrics(Kind.LIVE).response_time
    assert (live.internal.unanswered, live.external.unanswered) == (1, 1)
    assert asked.consciousness_metrics(A).response_time.external.unanswered == 1
    assert asked.consciousness_metrics(C).response_time.external.unanswered == 0
    assert asked.consciousness_metrics(Kind.RECORDED).response_time.external.unanswered == 0


def test_episode_under_way_and_ended_one_are_both_told(told: Told) -> None:
    turns = [ask(), answer()]
    events = [conveyed(A, 1, *turns * 51), conveyed(A, 103, *[ask()] * 40), conveyed(A, 143, *turns * 60)]
    metrics = told(opened(A), *events).consciousness_metrics(A)
    ended, under_way = metrics.episodes
    # Of 40 in one direction the window bears 17, with 58 to 42; with one more it is 59 to 41, below 0.7.
    assert (ended.first_message, ended.last_message, ended.first_position, ended.last_position) == (100, 119, 2, 3)
    assert (under_way.last_message, under_way.last_position, under_way.peak_ratio) == (262, 4, 1.0)


def test_the_last_episodes_are_told_and_all_are_counted(told: Told) -> None:
    turns, pause = [ask(), answer()] * 51, [ask()] * 60
    asked = told(opened(A), *[conveyed(A, 1 + 162 * number, *turns, *pause) for number in range(3)])
    every = asked.consciousness_metrics(A)
    assert every.episode_count == len(every.episodes) == 3
    assert every.episodes == sorted(every.episodes, key=lambda episode: episode.first_message)
    last = asked.consciousness_metrics(A, episodes=2)
    assert (last.episode_count, last.episodes) == (3, every.episodes[1:])
    assert asked.consciousness_metrics(Kind.LIVE, episodes=0).episodes == []


def test_dialogue_summary_tells_its_state(told: Told) -> None:
    asked = told(opened(A, task="x", raw=b"x"), conveyed(A, 1, ask(), answer(), ask()), closed(A, "solved"))
    summary = asked.dialogue(A)
    assert (summary.status, summary.close_reason, summary.awaiting) == (Status.CLOSED, "solved", None)
    assert summary.attributes == {"task": "x", "raw": "eA=="}
    assert (summary.opened_at, summary.last_activity) == (
        "1970-01-01T00:00:01.000000Z",
        "1970-01-01T00:00:03.000000Z",
    )
    assert (summary.first_position, summary.last_position, summary.total_messages) == (1, 3, 3)
    assert (summary.findings, summary.patterns) == (1, ["repetition"])


def test_dialogues_are_filtered_and_sorted_with_the_unknown_last(told: Told) -> None:
    asked = told(
        opened(A),
        conveyed(A, 1, *[ask(), answer()] * 10),
        opened(B),
        conveyed(B, 1, *[ask(None, n) for n in range(15)], *[answer(None, n) for n in range(15)]),
        opened(C, Kind.RECORDED),
        conveyed(C, 1, ask()),
        closed(B),
    )

    def listed(**which: object) -> list[UUID]:
        return [dialogue.dialogue for dialogue in asked.dialogues(**which).dialogues]  # type: ignore[arg-type]  # shorthand

    assert listed() == [B, C, A]
    assert listed(descending=False, limit=2) == [A, C]
    assert asked.dialogues(limit=2).total == 3
    assert listed(kind=Kind.LIVE, status=Status.OPEN) == [A]
    assert listed(sort=DialogueSort.COORDINATION_Z) == [A, B, C]
    assert listed(sort=DialogueSort.COORDINATION_Z, descending=False) == [B, A, C]
    assert listed(sort=DialogueSort.FINDINGS, limit=1) == [A]
    assert listed(pattern="echo_loop") == listed(pattern="repetition") == [A]


def test_findings_of_a_stronger_form_count_for_the_general_pattern(told: Told) -> None:
    asked = told(
        opened(A), conveyed(A, 1, ask(None, 1), ask(None, 1)), opened(B), conveyed(B, 1, *[ask(None, 2)] * 3)
    )
    assert [finding.pattern for finding in asked.findings().findings] == ["repetition", "echo_loop"]
    assert asked.findings(pattern="repetition").total == 2
    [loop] = asked.findings(pattern="echo_loop").findings
    assert (loop.dialogue, loop.first_sequence, loop.last_sequence, loop.count) == (B, 1, 3, 3)
    assert asked.findings(dialogue=A).total == asked.findings(kind=Kind.LIVE, limit=1).total - 1 == 1
    with pytest.raises(InvalidCommandError, match="known are repetition, echo_loop, monologue"):
        asked.findings(pattern="beauty")


@pytest.mark.parametrize("name", ["run", 'a "quoted" one', "$.a[0]", ""])
def test_grouping_takes_attributes_of_any_name_and_values_of_any_kind(told: Told, name: str) -> None:
    values: list[Payload] = [1, 1.0, True, None, "1", [1, 2]]
    ids = [UUID(int=number) for number in range(1, 8)]
    events = [opened(ids[at], Kind.RECORDED, **{name: value}) for at, value in enumerate(values)]
    live, without = opened(UUID(int=99), Kind.LIVE, **{name: 1}), opened(ids[-1], Kind.RECORDED)
    grouping = told(*events, without, live).grouped(name)
    found = {repr(group.value): group.dialogues for group in grouping.groups}
    found["1"] = found.pop("1", 0) or found.pop("1.0")
    assert found == {"1": 2, "True": 1, "None": 2, "'1'": 1, "[1, 2]": 1}


def airline() -> list[Dialogue.Event]:
    events: list[Dialogue.Event] = []
    for transcript in read_transcripts(AIRLINE):
        assert isinstance(transcript, Transcript)
        events += [
            opened(transcript.id, Kind.RECORDED, **transcript.attributes),
            conveyed(transcript.id, 1, *transcript.messages),
        ]
    return events


@pytest.mark.skipif(not AIRLINE.exists(), reason="the airline dialogues are not part of the project")
def test_airline_dialogues_give_the_published_figures(told: Told) -> None:
    asked = told(*airline())
    metrics = asked.consciousness_metrics(Kind.RECORDED)
    assert (metrics.total_messages, metrics.internal_to_external, metrics.external_to_internal) == (
        2558,
        1229,
        1329,
    )
    assert f"{metrics.dialogue_balance_ratio:.11f}" == "0.92475545523"
    assert (metrics.balanced_dialogue_events, metrics.runs) == (2555, 2459)
    assert f"{metrics.emergence_score:.10f} {metrics.coordination_z:.6f}" == "0.9473288187 46.780232"
    assert metrics.episodes == [EpisodeSummary(100, 2558, 8, 200, 1.0, None, None)]
    assert metrics.findings == asked.findings().total == 31
    assert asked.findings(pattern="repetition").total == 31

    dialogues = asked.dialogues(limit=200).dialogues
    assert len(dialogues) == 100
    assert max(dialogue.total_messages for dialogue in dialogues) == 61
    assert f"{sum(dialogue.dialogue_balance_ratio for dialogue in dialogues) / 100:.10f}" == "0.9072618473"
    known = [dialogue.coordination_z for dialogue in dialogues if dialogue.coordination_z is not None]
    assert (len(known), f"{sum(known) / 64:.7f}") == (64, "5.3614450")

    failed, succeeded = asked.grouped("reward").groups
    assert (failed.value, failed.dialogues, succeeded.value, succeeded.dialogues) == (0.0, 57, 1.0, 43)
    assert failed.coordination_known + succeeded.coordination_known == 64
    assert failed.mean_dialogue_balance_ratio > succeeded.mean_dialogue_balance_ratio
    none = dict.fromkeys(("monologue", "dominance", "balanced_dialogue", "stall"), PatternCount(0, 0))
    assert failed.patterns == {"repetition": PatternCount(26, 13), "echo_loop": PatternCount(9, 6), **none}
    assert succeeded.patterns == {"repetition": PatternCount(5, 4), "echo_loop": PatternCount(2, 2), **none}
