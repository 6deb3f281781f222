"""Findings as they come: history, then live, each as it begins and as it grows; and stalls when they begin."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from application.following import FindingsFollower
from corpus_callosum import CorpusCallosum, FindingSummary, InvalidCommandError, ProjectionError, Settings, Tract
from projections.consciousness import Consciousness
from projections.models import Generation, ReadModels
from tests.scenario import message

OUT: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}
BACK: dict[str, Any] = {"source": Tract.EXTERNAL, "target": Tract.INTERNAL, "sender": "tester"}


async def told(coming: AsyncIterator[FindingSummary], count: int) -> list[tuple[str, int, int]]:
    """Pattern, first and last message of the next ones."""
    async with asyncio.timeout(20):
        found = [await anext(coming) for _ in range(count)]
    return [(finding.pattern, finding.first_sequence, finding.last_sequence) for finding in found]


async def looped(callosum: CorpusCallosum, times: int) -> UUID:
    dialogue = await callosum.open_dialogue("loop")
    for _ in range(times):
        await callosum.send(dialogue, **OUT, payload="again")
    return dialogue


async def test_history_comes_first_and_then_what_begins_and_grows(projecting: CorpusCallosum) -> None:
    first = await looped(projecting, 3)
    coming = projecting.follow_findings()
    assert await told(coming, 1) == [("echo_loop", 1, 3)]
    await projecting.send(first, **OUT, payload="again")
    assert await told(coming, 1) == [("echo_loop", 1, 4)]
    await projecting.send(first, **BACK, payload="no")
    await projecting.send(first, **BACK, payload="no")
    assert await told(coming, 1) == [("repetition", 5, 6)]


async def test_from_now_on_there_is_no_history(projecting: CorpusCallosum) -> None:
    dialogue = await looped(projecting, 3)
    coming = projecting.follow_findings(None)
    waiting = asyncio.ensure_future(told(coming, 1))
    while not waiting.done():  # nobody tells since when it follows
        await asyncio.wait({waiting}, timeout=0.1)
        await projecting.send(dialogue, **OUT, payload="again")
    [(pattern, first, last)] = await waiting
    assert (pattern, first) == ("echo_loop", 1)
    assert last > 3


async def test_resuming_at_the_position_before_misses_nothing(projecting: CorpusCallosum) -> None:
    dialogue = await projecting.open_dialogue("many")
    await projecting.send_many(dialogue, [message("x")] * 2 + [message("y")] * 2)
    await projecting.send_many(dialogue, [message("z")] * 2)
    coming = projecting.follow_findings()
    seen = [await anext(coming) for _ in range(3)]
    assert [finding.position for finding in seen] == [2, 2, 3]
    assert [finding.first_sequence for finding in seen] == [1, 3, 5]
    coming = projecting.follow_findings(seen[0].position - 1)
    assert [await anext(coming) for _ in range(3)] == seen
    coming = projecting.follow_findings(seen[1].position)
    assert await anext(coming) == seen[2]


async def test_history_of_any_length_is_told_in_order(
    projecting: CorpusCallosum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.findings._AT_ONCE", 2)
    dialogue = await projecting.open_dialogue("many")
    for number in range(4):
        await projecting.send_many(dialogue, [message(number)] * 2 + [message(-1 - number)] * 2)
    coming = projecting.follow_findings()
    found = await told(coming, 8)
    assert [first for _, first, _ in found] == list(range(1, 16, 2))


async def test_only_what_is_wanted_is_told(projecting: CorpusCallosum) -> None:
    await looped(projecting, 3)
    other = await looped(projecting, 2)
    coming = projecting.follow_findings(dialogue=other)
    assert (await anext(coming)).dialogue == other
    coming = projecting.follow_findings(pattern="echo_loop")
    assert await told(coming, 1) == [("echo_loop", 1, 3)]
    await projecting.send(other, **OUT, payload="again")
    assert (await anext(coming)).dialogue == other
    with pytest.raises(InvalidCommandError, match="known are"):
        await anext(projecting.follow_findings(pattern="beauty"))


@pytest.mark.parametrize(
    ("after", "reason"), [(-1, "at least 0"), (2, "has not reached"), (2**70, "has not reached")]
)
async def test_a_position_that_the_log_has_not_reached_is_refused(
    projecting: CorpusCallosum, after: int, reason: str
) -> None:
    await projecting.open_dialogue("one")
    with pytest.raises(InvalidCommandError, match=reason):
        await anext(projecting.follow_findings(after))


async def test_what_only_a_newer_program_finds_is_told_when_its_read_model_takes_over(
    lasting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("projections.consciousness._VERSION", "earlier")
        earlier.setattr(Consciousness, "_detect", lambda *_: None)
        async with CorpusCallosum.open(lasting_url) as callosum:
            await looped(callosum, 3)
            assert (await callosum.findings()).total == 0
    taking_over, asked = threading.Event(), threading.Event()
    serve, ask = ReadModels.serve, FindingsFollower._ask

    def late(models: ReadModels, generation: Generation) -> Generation:
        assert taking_over.wait(20)
        return serve(models, generation)

    def noted(follower: FindingsFollower, connection: Connection, position: int) -> object:
        answer = ask(follower, connection, position)
        asked.set()
        return answer

    monkeypatch.setattr(ReadModels, "serve", late)
    monkeypatch.setattr(FindingsFollower, "_ask", noted)
    async with CorpusCallosum.open(lasting_url) as callosum:
        waiting = asyncio.ensure_future(told(callosum.follow_findings(), 1))
        assert await asyncio.to_thread(asked.wait, 20)
        taking_over.set()
        await callosum.open_dialogue("another one")
        assert await waiting == [("echo_loop", 1, 3)]


async def test_it_ends_with_the_service(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        coming = callosum.follow_findings()
        waiting = asyncio.ensure_future(anext(coming, None))
        await looped(callosum, 1)
    assert await asyncio.wait_for(waiting, 5) is None


async def test_another_processs_findings_are_followed(lasting_url: str) -> None:
    reading = Settings(url=lasting_url, project=False)
    async with CorpusCallosum.open(lasting_url) as writing, CorpusCallosum.open(settings=reading) as callosum:
        dialogue = await looped(writing, 2)
        coming = callosum.follow_findings()
        assert await told(coming, 1) == [("repetition", 1, 2)]
        await writing.send(dialogue, **OUT, payload="again")
        assert await told(coming, 1) == [("echo_loop", 1, 3)]


async def test_a_pause_is_told(projecting: CorpusCallosum) -> None:
    await looped(projecting, 2)
    coming = projecting.follow_findings()
    assert await told(coming, 1) == [("repetition", 1, 2)]
    waiting = asyncio.ensure_future(anext(coming))
    await projecting.projections.pause("consciousness")
    with pytest.raises(ProjectionError, match="paused"):
        await asyncio.wait_for(waiting, 20)


class TestStalls:
    @pytest.fixture
    async def impatient(self, lasting_url: str) -> AsyncIterator[CorpusCallosum]:
        settings = Settings(url=lasting_url, patterns={"stall_seconds": 0.3})
        async with CorpusCallosum.open(settings=settings) as callosum:
            yield callosum

    async def test_a_stall_is_told_once_when_it_begins(self, impatient: CorpusCallosum) -> None:
        coming = impatient.follow_findings()
        dialogue = await impatient.open_dialogue("slow")
        await impatient.send(dialogue, **OUT, payload="go")
        assert await told(coming, 1) == [("stall", 1, 1)]
        other = await looped(impatient, 2)
        assert await told(coming, 2) == [("repetition", 1, 2), ("stall", 2, 2)]
        await impatient.send(dialogue, **BACK, payload="at last")
        await impatient.close_dialogue(other, "done")
        assert await told(coming, 1) == [("stall", 2, 2)]

    async def test_an_answer_in_time_is_none(self, impatient: CorpusCallosum) -> None:
        coming = impatient.follow_findings(pattern="stall")
        quick, slow = await impatient.open_dialogue("quick"), await impatient.open_dialogue("slow")
        await impatient.send(quick, **OUT, payload="go")
        await impatient.send(quick, **BACK, payload="done")
        await impatient.close_dialogue(quick, "done")
        await impatient.send(slow, **OUT, payload="go")
        async with asyncio.timeout(20):
            assert (await anext(coming)).dialogue == slow

    async def test_those_that_hold_are_told_with_history_but_not_from_now_on(
        self, impatient: CorpusCallosum
    ) -> None:
        await looped(impatient, 1)
        for _ in range(2):
            coming = impatient.follow_findings()
            assert (await anext(coming)).pattern == "stall"
        coming = impatient.follow_findings(None)
        waiting = asyncio.ensure_future(anext(coming))
        others = []
        while not waiting.done():
            others.append(await looped(impatient, 1))
            await asyncio.wait({waiting}, timeout=0.2)
        assert (await waiting).dialogue in others
