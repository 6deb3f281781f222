"""History message by message: every figure is what a query answers as of that position."""

import json
import random
from pathlib import Path
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, DialogueNotFoundError, Message, Replayed, Settings, Tract
from tests.processes import ROOT

AIRLINE = ROOT.parent / "shared" / "data" / "airline-dialogues.jsonl"
SHARED = ("total_messages", "internal_to_external", "external_to_internal", "dialogue_balance_ratio")
MEASURES = (
    *SHARED,
    "balanced_dialogue_events",
    "emergence_score",
    "emergence_assessable",
    "runs",
    "coordination_z",
)


async def _talk(callosum: CorpusCallosum, events: int = 60) -> list[UUID]:
    """Two dialogues in each other's way: turns, runs, echoes, messages within a tract, an end."""
    chance = random.Random(7)
    dialogues = [await callosum.open_dialogue(f"subject {number}") for number in range(2)]
    for number in range(events):
        batch = []
        for _ in range(chance.choice((1, 4, 4, 8))):
            source = chance.choice(tuple(Tract))
            target = (
                source if chance.random() < 0.1 else Tract.INTERNAL if source is Tract.EXTERNAL else Tract.EXTERNAL
            )
            batch.append(Message(source=source, target=target, sender="a", payload=chance.randrange(12)))
        await callosum.send_many(dialogues[number % 2], batch)
    await callosum.close_dialogue(dialogues[1], "done")
    return dialogues


async def _last_of_each_event(steps: list[Replayed]) -> list[Replayed]:
    return list({step.message.position: step for step in steps}.values())


async def _compare(callosum: CorpusCallosum, steps: list[Replayed]) -> None:
    """With the read models as of the position of each."""
    found: dict[tuple[UUID, str, int], tuple[int, int, str]] = {}
    told = {id(step): step for step in await _last_of_each_event(steps)}
    for step in steps:
        dialogue = step.message.dialogue
        for finding in step.measures.findings:
            grown = finding.last_sequence, finding.count, finding.why
            found[dialogue, finding.pattern, finding.first_sequence] = grown
            if finding.pattern == "echo_loop":
                found.pop((dialogue, "repetition", finding.first_sequence), None)
        if id(step) not in told:
            continue
        position = step.message.position
        metrics = await callosum.consciousness_metrics(dialogue, as_of=position)
        summary = await callosum.dialogue(dialogue, as_of=position)
        listed = await callosum.findings(dialogue=dialogue, as_of=position, limit=10**6)
        for name in MEASURES:
            assert getattr(step.measures, name) == getattr(metrics, name), (position, name)
        assert step.measures.awaiting == summary.awaiting
        under_way = metrics.episodes[-1:] if metrics.episodes else []
        now = [episode for episode in under_way if episode.last_message == metrics.total_messages]
        assert step.measures.episode_since == (now[0].first_message if now else None)
        assert {
            (one.pattern, one.first_sequence): (one.last_sequence, one.count, one.why) for one in listed.findings
        } == {(pattern, first): values for (of, pattern, first), values in found.items() if of == dialogue}


@pytest.mark.slow
async def test_every_step_has_the_figures_of_a_query_as_of_it(projecting: CorpusCallosum) -> None:
    await _talk(projecting)
    steps = [step async for step in projecting.steps()]
    assert max(step.measures.total_messages for step in steps) > 100
    assert any(not finding.begins for step in steps for finding in step.measures.findings)
    await _compare(projecting, steps)


async def test_steps_go_by_the_thresholds_that_are_set(tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}/callosum.db", patterns={"monologue_messages": 3})
    async with CorpusCallosum.open(settings=settings) as callosum:
        await _talk(callosum, events=20)
        steps = [step async for step in callosum.steps()]
        assert any(finding.pattern == "monologue" for step in steps for finding in step.measures.findings)
        await _compare(callosum, steps)


@pytest.mark.skipif(not AIRLINE.exists(), reason="the shared transcripts are not here")
@pytest.mark.slow
async def test_the_shared_transcripts_step_as_they_are_measured(tmp_path: Path) -> None:
    some = AIRLINE.read_text().splitlines()[:12]
    (tmp_path / "some.jsonl").write_text("\n".join(some))
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/callosum.db") as callosum:
        await callosum.import_transcripts(tmp_path / "some.jsonl")
        steps = [step async for step in callosum.steps()]
        assert len(steps) == (await callosum.verify()).messages
        await _compare(callosum, steps)


async def test_a_range_is_measured_from_the_beginning(callosum: CorpusCallosum) -> None:
    dialogues = await _talk(callosum)
    every = [step async for step in callosum.steps()]
    within = [step for step in every if 40 <= step.message.position <= 60]
    assert [step async for step in callosum.steps(start=40, stop=60)] == within
    of_one = [step for step in within if step.message.dialogue == dialogues[1]]
    assert [step async for step in callosum.steps(dialogues[1], start=40, stop=60)] == of_one


async def test_a_dialogue_that_is_none_has_no_steps(callosum: CorpusCallosum) -> None:
    with pytest.raises(DialogueNotFoundError):
        [step async for step in callosum.steps(UUID(int=7))]
    assert json.dumps([step async for step in callosum.steps()]) == "[]"
