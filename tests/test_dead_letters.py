"""What was given up is kept with its reason, and can be delivered again, or given up for good."""

import asyncio
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.bells import Offers
from application.commands import Command
from application.dead_letters import DeadLetters
from corpus_callosum import (
    BackpressureError,
    CorpusCallosum,
    DeadLetter,
    Dialogue,
    InvalidCommandError,
    Tract,
)
from tests.deliveries import bounded, following, message, nothing_comes, say


async def bury(callosum: CorpusCallosum, count: int, *, tract: Tract = Tract.EXTERNAL) -> None:
    async with callosum.subscribe(tract, "tool") as subscription:
        for _ in range(count):
            delivery = await following(subscription)
            await delivery.term(f"no use of {delivery.message.payload}")


def told(letters: list[DeadLetter]) -> list[tuple[object, int, str, str]]:
    return [(each.message.payload, each.attempts, each.consumer, each.error) for each in letters]


class TestFinding:
    async def test_each_has_its_message_its_attempts_and_the_reason(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a", "b")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            a, b = await following(subscription), await following(subscription)
            await a.nak("not now", delay=0)
            await b.term("never")
            await (await following(subscription)).term("not now either")
        letters = await callosum.dead_letters.find()
        assert told(letters) == [("a", 2, "tool", "not now either"), ("b", 1, "tool", "never")]
        assert [(each.tract, each.message.dialogue, each.message.sequence) for each in letters] == [
            (Tract.EXTERNAL, dialogue, 1),
            (Tract.EXTERNAL, dialogue, 2),
        ]
        assert letters[1].at <= letters[0].at

    async def test_by_tract_dialogue_and_sequence(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        other = await callosum.open_dialogue("another")
        await say(callosum, dialogue, 1, 2)
        await say(callosum, other, 3)
        back = message(4).__class__(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=4)
        await callosum.send_many(dialogue, [back])
        await bury(callosum, 3)
        await bury(callosum, 1, tract=Tract.INTERNAL)

        async def found(**which: object) -> set[object]:
            return {each.message.payload for each in await callosum.dead_letters.find(**which)}  # type: ignore[arg-type]  # each call says which

        assert await found() == {1, 2, 3, 4}
        assert await found(tract=Tract.INTERNAL) == {4}
        assert await found(tract="external") == {1, 2, 3}
        assert await found(dialogue=other) == {3}
        assert await found(dialogue=dialogue, sequence=2) == {2}
        assert await found(dialogue=uuid4()) == set()
        assert len(await callosum.dead_letters.find(limit=2)) == 2

    async def test_a_sequence_without_its_dialogue_is_refused(self, callosum: CorpusCallosum) -> None:
        for call in (callosum.dead_letters.find(sequence=1), callosum.dead_letters.redrive(sequence=1)):
            with pytest.raises(InvalidCommandError, match="only together with its dialogue"):
                await call


class TestRedriving:
    async def test_it_is_delivered_as_if_for_the_first_time(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).nak("not now", delay=0)
            await (await following(subscription)).term("never")
            assert await callosum.dead_letters.redrive(reason="the disk is back") == 1
            again = await following(subscription)
            assert (again.message.payload, again.attempt) == ("a", 1)
            await again.ack()
        assert await callosum.dead_letters.find() == []
        [event] = [r.event async for r in callosum.replay() if isinstance(r.event, Dialogue.Redriven)]
        assert (event.originator_id, event.sequences, event.reason) == (dialogue, [1], "the disk is back")

    async def test_only_what_was_meant(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, 1, 2, 3)
        await bury(callosum, 3)
        assert await callosum.dead_letters.redrive(dialogue=dialogue, sequence=2) == 1
        assert await callosum.dead_letters.redrive(dialogue=dialogue, sequence=2) == 0
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            assert (await following(subscription)).message.payload == 2
            assert await nothing_comes(subscription)
        assert {each.message.payload for each in await callosum.dead_letters.find()} == {1, 3}

    async def test_of_a_closed_dialogue_too(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, 1)
        await bury(callosum, 1)
        await callosum.close_dialogue(dialogue, "done")
        assert await callosum.dead_letters.redrive() == 1

    async def test_many_in_chunks_of_a_hundred(self, callosum: CorpusCallosum) -> None:
        dialogues = [await callosum.open_dialogue(f"number {number}") for number in range(3)]
        for number in range(250):
            await say(callosum, dialogues[number % 3], number)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=250) as subscription:
            await asyncio.gather(*[(await following(subscription)).term("no") for _ in range(250)])
        counts: list[int] = []
        assert await callosum.dead_letters.redrive(progress=counts.append) == 250
        assert counts == [100, 200, 250]
        sequences = [
            (r.event.originator_id, n)
            async for r in callosum.replay()
            if isinstance(r.event, Dialogue.Redriven)
            for n in r.event.sequences
        ]
        assert len(set(sequences)) == len(sequences) == 250

    async def test_what_has_no_room_is_refused_and_stays(self, url: str) -> None:
        async with bounded(url, 2) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1)
            await bury(callosum, 1)
            await say(callosum, dialogue, 2, 3)
            with pytest.raises(BackpressureError):
                await callosum.dead_letters.redrive()
            assert [each.message.payload for each in await callosum.dead_letters.find()] == [1]

    @pytest.mark.parametrize("count", [1, 20])
    async def test_several_at_once_redrive_each_letter_once(
        self, callosum: CorpusCallosum, dialogue: UUID, count: int
    ) -> None:
        await say(callosum, dialogue, *range(count))
        await bury(callosum, count)
        assert sum(await asyncio.gather(*(callosum.dead_letters.redrive() for _ in range(6)))) == count
        events = [r.event async for r in callosum.replay() if isinstance(r.event, Dialogue.Redriven)]
        assert sorted(sequence for event in events for sequence in event.sequences) == list(range(1, count + 1))

    async def test_two_in_one_round_redrive_a_letter_once(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await say(callosum, dialogue, 1)
        await bury(callosum, 1)
        writer, begun, both_wait = callosum._open.writer, Event(), Event()
        commit = writer._commit

        def later(commands: list[Command[Any]], offers: Offers) -> list[object]:
            begun.set()
            assert both_wait.wait(10)
            return commit(commands, offers)

        monkeypatch.setattr(writer, "_commit", later)
        opening = asyncio.create_task(callosum.open_dialogue("the round before"))
        assert await asyncio.to_thread(begun.wait, 10)
        redriving = [asyncio.create_task(callosum.dead_letters.redrive()) for _ in range(2)]
        async with asyncio.timeout(10):
            while writer._queue.qsize() < 2:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        both_wait.set()
        assert sorted(await asyncio.gather(*redriving)) == [0, 1]
        await opening

    async def test_a_reason_is_text(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError, match="reason"):
            await callosum.dead_letters.redrive(reason="")


class TestDiscarding:
    async def test_it_never_comes_back(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, 1, 2)
        await bury(callosum, 2)
        assert await callosum.dead_letters.discard(dialogue=dialogue, sequence=1, reason="obsolete") == 1
        assert await callosum.dead_letters.redrive() == 1
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            assert (await following(subscription)).message.payload == 2
            assert await nothing_comes(subscription)
        [event] = [r.event async for r in callosum.replay() if isinstance(r.event, Dialogue.Discarded)]
        assert (event.originator_id, event.sequences, event.reason) == (dialogue, [1], "obsolete")


async def test_a_closed_service_has_none(url: str) -> None:
    async with CorpusCallosum.open(url) as callosum:
        letters = callosum.dead_letters
    assert isinstance(letters, DeadLetters)
    with pytest.raises(Exception, match="is not open"):
        _ = callosum.dead_letters
