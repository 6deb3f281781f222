"""Following, replaying and transcribing: every event once, in order, from any position."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.read_side import Moment
from corpus_callosum import (
    CorpusCallosum,
    Dialogue,
    DialogueNotFoundError,
    InvalidCommandError,
    Recorded,
    Tract,
)
from tests.scenario import message

USUAL: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}


async def some_history(callosum: CorpusCallosum, messages: int) -> UUID:
    dialogue = await callosum.open_dialogue("history")
    for number in range(messages):
        await callosum.send(dialogue, **USUAL, payload=number)
    return dialogue


async def take(callosum: CorpusCallosum, after: int, count: int) -> list[Recorded]:
    taken: list[Recorded] = []
    async for event in callosum.follow(after):
        taken.append(event)
        if len(taken) == count:
            break
    return taken


class TestFollow:
    async def test_history_comes_first_then_what_happens_live(self, callosum: CorpusCallosum) -> None:
        dialogue = await some_history(callosum, 5)
        following = asyncio.create_task(take(callosum, 0, 9))
        await asyncio.sleep(0)
        for number in range(3):
            await callosum.send(dialogue, **USUAL, payload=number)
        events = await asyncio.wait_for(following, 5)
        assert [event.position for event in events] == list(range(1, 10))
        assert [event.topic for event in events[:2]] == ["dialogue.opened.v1", "dialogue.conveyed.v1"]
        assert {event.dialogue for event in events} == {dialogue}
        assert all(earlier.at <= later.at for earlier, later in pairwise(events))

    async def test_it_resumes_after_any_position(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 5)
        whole = await take(callosum, 0, 6)
        for after in range(6):
            assert await take(callosum, after, 6 - after) == whole[after:]

    async def test_it_may_begin_now(self, callosum: CorpusCallosum) -> None:
        dialogue = await some_history(callosum, 5)
        following = callosum.follow(None)
        first = asyncio.ensure_future(anext(following))
        async with asyncio.timeout(5):
            while not first.done():  # what is now, nobody else can tell
                await callosum.send(dialogue, **USUAL, payload="later")
                await asyncio.sleep(0.01)
        assert first.result().position > 6

    async def test_many_followers_each_see_everything(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("many")
        followers = [asyncio.create_task(take(callosum, 0, 21)) for _ in range(50)]
        for number in range(20):
            await callosum.send(dialogue, **USUAL, payload=number)
        seen = await asyncio.wait_for(asyncio.gather(*followers), 10)
        assert all([event.position for event in events] == list(range(1, 22)) for events in seen)

    async def test_history_of_many_pages_is_complete(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 700)
        assert [event.position for event in await take(callosum, 0, 701)] == list(range(1, 702))

    async def test_closing_the_service_ends_it(self, url: str) -> None:
        seen: list[int] = []
        both = asyncio.Event()

        async def follow(callosum: CorpusCallosum) -> None:
            async for event in callosum.follow():
                seen.append(event.position)
                if len(seen) == 2:
                    both.set()

        async with CorpusCallosum.open(url) as callosum:
            await some_history(callosum, 1)
            following = asyncio.create_task(follow(callosum))
            await asyncio.wait_for(both.wait(), 5)
        await asyncio.wait_for(following, 5)
        assert seen == [1, 2]

    async def test_it_can_be_cancelled(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 1)
        following = asyncio.create_task(take(callosum, 2, 1))
        await asyncio.sleep(0)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following

    @pytest.mark.parametrize("after", [-1, 7])
    async def test_a_position_that_the_log_has_not_reached_is_refused(
        self, callosum: CorpusCallosum, after: int
    ) -> None:
        await some_history(callosum, 5)
        with pytest.raises(InvalidCommandError):
            await take(callosum, after, 1)

    async def test_another_service_on_the_file_sees_it_within_a_moment(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as one, CorpusCallosum.open(lasting_url) as other:
            following = asyncio.create_task(take(other, 0, 3))
            await some_history(one, 2)
            assert len(await asyncio.wait_for(following, 2)) == 3


class TestReplay:
    async def test_a_range_of_positions_includes_both_ends(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 9)
        assert [event.position async for event in callosum.replay(3, 5)] == [3, 4, 5]
        assert [event.position async for event in callosum.replay()] == list(range(1, 11))
        assert [event.position async for event in callosum.replay(8, 99)] == [8, 9, 10]
        assert [event.position async for event in callosum.replay(5, 4)] == []

    async def test_a_range_of_times_is_by_the_logs_own(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 20)
        events = [event async for event in callosum.replay()]
        start, stop = (datetime.fromtimestamp(events[n].at / 1000, UTC) for n in (4, 12))
        expected = [event.position for event in events if events[4].at <= event.at <= events[12].at]
        assert [event.position async for event in callosum.replay(start, stop)] == expected
        assert [e async for e in callosum.replay(start + timedelta(hours=1))] == []
        assert len([e async for e in callosum.replay(start - timedelta(hours=1))]) == 21

    async def test_a_time_without_a_zone_is_refused(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError, match="no time zone"):
            _ = [e async for e in callosum.replay(datetime(2026, 1, 1))]  # noqa: DTZ001  # on purpose


class TestCheckRange:
    async def test_a_position_beyond_the_log_is_told(self, callosum: CorpusCallosum) -> None:
        await callosum.check_range()
        await some_history(callosum, 5)
        await callosum.check_range(6)
        for start, stop in [(1, 6), (6, 6), (0, 3)]:
            await callosum.check_range(start, stop)
        with pytest.raises(InvalidCommandError, match=r"The start of the range is 7; the log ends at 6\."):
            await callosum.check_range(7)
        with pytest.raises(InvalidCommandError, match=r"The end of the range is 7; the log ends at 6\."):
            await callosum.check_range(2, 7)

    async def test_a_range_that_ends_before_it_begins_is_told(self, callosum: CorpusCallosum) -> None:
        await some_history(callosum, 5)
        [at] = {datetime.fromtimestamp(e.at / 1000, UTC) async for e in callosum.replay(4, 4)}
        hour = timedelta(hours=1)
        allowed: list[tuple[Moment, Moment]] = [
            (at, at),
            (at - hour, 4),
            (4, at),
            (at + hour, at + hour),
            (1, at - hour),
        ]
        for start, stop in allowed:
            await callosum.check_range(start, stop)
        inverted: list[tuple[Moment, Moment]] = [(4, 3), (1, 0), (at, at - hour), (at + hour, 3), (4, at - hour)]
        for start, stop in inverted:
            with pytest.raises(InvalidCommandError, match=r"The range ends at \S+, before it begins at \S+\.$"):
                await callosum.check_range(start, stop)


class TestTranscript:
    async def test_sequences_are_dense_over_many_events(self, callosum: CorpusCallosum) -> None:
        dialogue = await some_history(callosum, 600)
        await callosum.send_many(dialogue, [message(number) for number in range(600, 1600)])
        spoken = [said async for said in callosum.transcript(dialogue)]
        assert [said.sequence for said in spoken] == list(range(1, 1601))
        assert [said.payload for said in spoken] == list(range(1600))

    async def test_a_dialogue_in_which_nothing_was_said_is_empty(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("silence")
        await callosum.close_dialogue(dialogue, "nothing to say")
        assert [said async for said in callosum.transcript(dialogue)] == []

    async def test_it_ends_with_what_had_been_said_when_it_began(self, callosum: CorpusCallosum) -> None:
        dialogue = await some_history(callosum, 3)
        spoken = []
        async for said in callosum.transcript(dialogue):
            spoken.append(said.payload)
            if len(spoken) < 10:
                await callosum.send(dialogue, **USUAL, payload="later")
        assert spoken == [0, 1, 2]

    async def test_an_unknown_dialogue_is_an_error(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(DialogueNotFoundError):
            _ = [said async for said in callosum.transcript(uuid4())]


async def test_a_reply_to_a_message_of_another_service_is_accepted(lasting_url: str) -> None:
    """What this process knows of a dialogue may be old; that is no reason to refuse."""
    async with CorpusCallosum.open(lasting_url) as one, CorpusCallosum.open(lasting_url) as other:
        dialogue = await one.open_dialogue("two processes")
        await one.send(dialogue, **USUAL)
        await other.send(dialogue, **USUAL)
        receipt = await other.send(dialogue, **USUAL)
        assert (await one.send(dialogue, **USUAL, in_reply_to=receipt.sequence)).sequence == 4
        await other.close_dialogue(dialogue, "done")
        events = [event async for event in one.replay()]
        assert isinstance(events[-1].event, Dialogue.Closed)
