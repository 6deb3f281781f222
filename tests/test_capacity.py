"""A tract takes what it has room for, and says so when it has none."""

import asyncio

import pytest

from application.inbox import Level
from corpus_callosum import BackpressureError, CorpusCallosum, Message, Result, Settings, Tract, Wait
from tests.deliveries import bounded, following, message, nothing_comes, say, settled


class TestCapacity:
    async def test_what_is_beyond_is_refused_with_the_level(self, url: str) -> None:
        async with bounded(url, 3) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1, 2)
            with pytest.raises(BackpressureError) as refused:
                await say(callosum, dialogue, 3, 4)
            assert (refused.value.tract, refused.value.backlog, refused.value.capacity) == (Tract.EXTERNAL, 2, 3)
            assert refused.value.retry_after > 0
            await say(callosum, dialogue, 3)
            assert [m.payload async for m in callosum.transcript(dialogue)] == [1, 2, 3]

    async def test_commands_of_one_round_are_let_in_while_there_is_room(self, url: str) -> None:
        async with bounded(url, 5) as callosum:
            dialogue = await callosum.open_dialogue("full")
            results = await asyncio.gather(
                *(say(callosum, dialogue, number) for number in range(8)), return_exceptions=True
            )
            assert [isinstance(result, BackpressureError) for result in results] == [False] * 5 + [True] * 3

    async def test_it_stays_when_others_open_the_log_without_saying_one(self, lasting_url: str) -> None:
        async with bounded(lasting_url, 3) as callosum, CorpusCallosum.open(lasting_url) as other:
            dialogue = await callosum.open_dialogue("full")
            for service in (callosum, other):
                with pytest.raises(BackpressureError):
                    await say(service, dialogue, 1, 2, 3, 4)
            async with bounded(lasting_url, 4):
                # Who knew of less room may believe it for a moment longer; who waits asks the store.
                await callosum.send_many(dialogue, [message(n) for n in range(4)], when_full=Wait(5))

    async def test_it_is_ten_thousand_at_first(self, callosum: CorpusCallosum) -> None:
        for tract in Tract:
            assert callosum._open.log.recorder.inbox.level(tract) == Level(0, 10_000)

    async def test_settling_makes_room(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).ack()
                await say(callosum, dialogue, 2)

    async def test_both_tracts_full_and_both_answering_do_not_block_each_other(self, url: str) -> None:
        class Ponder:
            async def handle(self, message: Message) -> object:
                return None if message.in_reply_to else f"re: {message.payload}"

        def back(*payloads: int) -> list[Message]:
            return [
                Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=n) for n in payloads
            ]

        async with bounded(url, 5) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(5))
            await callosum.send_many(dialogue, back(*range(5)))
            for beyond in (message(5), *back(5)):
                with pytest.raises(BackpressureError):
                    await callosum.send_many(dialogue, [beyond])
            async with (
                callosum.attach(Ponder(), Tract.EXTERNAL, "tool", concurrency=2),
                callosum.attach(Ponder(), Tract.INTERNAL, "thinker", concurrency=2),
            ):
                assert {outcome.result for outcome in await settled(callosum, 20)} == {Result.ACKED}
            assert [tract.backlog for tract in await callosum.inbox()] == [0, 0]
            answers = [said.in_reply_to async for said in callosum.transcript(dialogue) if said.in_reply_to]
            assert sorted(answers) == list(range(1, 11))
            await say(callosum, dialogue, "room again")
            await callosum.send_many(dialogue, back(6))

    async def test_nothing_is_delivered_where_only_recording_is_wanted(self, url: str) -> None:
        async with CorpusCallosum.open(settings=Settings(url=url, capacity=1, deliver=False)) as callosum:
            dialogue = await callosum.open_dialogue("recorded only")
            await say(callosum, dialogue, *range(10))
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                assert await nothing_comes(subscription)

    async def test_a_repeated_key_needs_no_room(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            first = await callosum.send_many(dialogue, [message("x", idempotency_key="k")])
            assert await callosum.send_many(dialogue, [message("x", idempotency_key="k")]) == first
