"""What is found in labelled dialogues is what their labels say: nothing is missed, and no near miss is taken."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Receipt, Settings, Tract
from domain.dialogue import Kind
from domain.message import Message
from projections.consciousness import Consciousness
from projections.models import ReadModels
from tests.labelled import Dialogue, Label, dialogue
from tests.memory_log import MemoryLog, conveyed, opened, queries, runner_of, running

SEEDS = range(300)
PATTERNS = {"repetition", "echo_loop", "monologue", "dominance", "balanced_dialogue"}
EVERY = 100_000
OUT: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}


def in_batches(messages: list[Message], random: Random, most: int) -> list[tuple[int, list[Message]]]:
    """With the sequence of the first message of each."""
    batches, begin = [], 0
    while begin < len(messages):
        size = random.randint(1, most)
        batches.append((begin + 1, messages[begin : begin + size]))
        begin += size
    return batches


def found(dialogues: dict[UUID, Dialogue], most: int, page: int) -> dict[UUID, set[Label]]:
    """What a read model finds in them, side by side in one log, in events of up to so many messages."""
    random = Random(most)
    log, models = MemoryLog(page=page), ReadModels()
    head = log.append(*[opened(one) for one in dialogues])
    said = {one: iter(in_batches(labelled.messages, random, most)) for one, labelled in dialogues.items()}
    while said:
        for one in random.sample(sorted(said), len(said)):
            if (batch := next(said[one], None)) is not None:
                head = log.append(conveyed(one, batch[0], *batch[1]))
            else:
                del said[one]
    with running(runner_of(log, models), log) as runner:
        runner.wait_for(head, 60)
    labels: dict[UUID, set[Label]] = {one: set() for one in dialogues}
    with queries(models, Consciousness()) as asked:
        for finding in asked.findings(limit=EVERY).findings:
            place = (finding.pattern, finding.first_sequence, finding.last_sequence, finding.count)
            labels[finding.dialogue].add(place)
    models.close()
    return labels


def labelled(seeds: range) -> dict[UUID, Dialogue]:
    return {UUID(int=seed + 1): dialogue(seed) for seed in seeds}


def expected(dialogues: dict[UUID, Dialogue]) -> dict[UUID, set[Label]]:
    return {one: labelled.labels for one, labelled in dialogues.items()}


def test_labels_are_of_every_pattern_and_of_none() -> None:
    counts = Counter(pattern for one in map(dialogue, SEEDS) for pattern in {label[0] for label in one.labels})
    assert set(counts) == PATTERNS
    assert min(counts.values()) >= 15
    assert sum(not dialogue(seed).labels for seed in SEEDS) >= 20


@pytest.mark.parametrize(
    ("seeds", "most", "page"), [(SEEDS[::4], 2, 1000), (SEEDS[1::4], 9, 40), (SEEDS, 150, 1000)]
)
def test_what_is_found_is_what_the_labels_say(seeds: range, most: int, page: int) -> None:
    dialogues = labelled(seeds)
    assert found(dialogues, most, page) == expected(dialogues)


@pytest.mark.parametrize("most", [20, 1000])
async def test_what_the_service_finds_is_what_the_labels_say(projecting: CorpusCallosum, most: int) -> None:
    random, named = Random(most), {}
    for seed in SEEDS[most % 7 :: 7]:
        one = await projecting.open_dialogue("labelled")
        named[one] = dialogue(seed)
        for _, messages in in_batches(named[one].messages, random, most):
            await projecting.send_many(one, messages)
    listed = (await projecting.findings(kind=Kind.LIVE, limit=EVERY)).findings
    labels: dict[UUID, set[Label]] = {one: set() for one in named}
    for finding in listed:
        labels[finding.dialogue].add(
            (finding.pattern, finding.first_sequence, finding.last_sequence, finding.count)
        )
    assert labels == expected(named)


WAITED = ((59.9, False), (60.0, True), (60.1, True))


@pytest.mark.parametrize(("seconds", "stalls"), WAITED)
async def test_a_dialogue_stalls_after_so_long_without_an_answer(
    projecting: CorpusCallosum, seconds: float, stalls: bool
) -> None:
    """The time is the log's own, of the question, and of the moment that is asked about."""
    silent = await projecting.open_dialogue("nobody answers")
    answered = await projecting.open_dialogue("it is answered")
    over = await projecting.open_dialogue("it is closed")
    asked: dict[UUID, Receipt] = {}
    for one in (silent, answered, over):
        asked[one] = await projecting.send(one, **OUT)
    await projecting.send(silent, source=Tract.EXTERNAL, target=Tract.EXTERNAL, sender="tester")
    replied = await projecting.send(answered, source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tester")
    await projecting.close_dialogue(over, "done")
    at = {event.position: event.at async for event in projecting.replay()}

    def after(position: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at[position], seconds=seconds)

    found = await projecting.findings(pattern="stall", as_of=after(asked[silent].position))
    told = [(one.dialogue, one.first_sequence, one.why) for one in found.findings]
    why = f"The external tract has not answered message 1 for {seconds:.1f} s."
    assert told[:1] == ([(silent, 1, why)] if stalls else [])
    later = after(replied.position)
    found = await projecting.findings(pattern="stall", as_of=later, dialogue=answered)
    assert [one.why for one in found.findings] == (
        [f"The internal tract has not answered message 2 for {seconds:.1f} s."] if stalls else []
    )
    assert (await projecting.findings(pattern="stall", as_of=later, dialogue=over)).total == 0


async def test_a_stall_is_told_wherever_findings_are(projecting: CorpusCallosum) -> None:
    silent = await projecting.open_dialogue("nobody answers", attributes={"team": "a"})
    await projecting.open_dialogue("nobody asks", attributes={"team": "b"})
    receipt = await projecting.send(silent, **OUT)
    late = datetime.now(UTC) + timedelta(hours=1)
    [finding] = (await projecting.findings(as_of=late)).findings
    assert (finding.pattern, finding.position, finding.count) == ("stall", receipt.position, 1)
    [listed] = (await projecting.dialogues(pattern="stall", as_of=late)).dialogues
    assert (listed.dialogue, listed.findings, listed.patterns) == (silent, 1, ["stall"])
    assert (await projecting.consciousness_metrics(as_of=late)).findings == 1
    assert (await projecting.consciousness_metrics(silent, as_of=late)).findings == 1
    groups = (await projecting.grouped("team", Kind.LIVE, as_of=late)).groups
    assert [(one.value, one.patterns["stall"].dialogues) for one in groups] == [("a", 1), ("b", 0)]
    assert (await projecting.findings()).total == (await projecting.findings(as_of=receipt.position)).total == 0


async def test_as_of_a_position_a_stall_is_judged_at_the_time_of_its_entry(lasting_url: str) -> None:
    settings = Settings(url=lasting_url, patterns={"stall_seconds": 0.001})
    async with CorpusCallosum.open(settings=settings) as callosum:
        silent = await callosum.open_dialogue("nobody answers")
        asked = await callosum.send(silent, **OUT)
        at, position = {asked.position: 0}, asked.position
        while at[position] < at[asked.position] + 1:  # until a millisecond has passed in the log
            await callosum.open_dialogue("something else")
            at = {event.position: event.at async for event in callosum.replay()}
            position = max(at)
        assert (await callosum.findings(pattern="stall", as_of=asked.position)).total == 0
        [finding] = (await callosum.findings(pattern="stall", as_of=position)).findings
        assert (finding.dialogue, finding.position) == (silent, position)
