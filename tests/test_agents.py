"""An agent is handed messages, and what it answers is said."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from corpus_callosum import (
    Consumer,
    CorpusCallosum,
    DeliverySettings,
    InvalidCommandError,
    Message,
    Receipt,
    Result,
    Tract,
)
from tests.deliveries import following, outcomes, say, settled


class TestAnAgent:
    async def test_answers_and_acks_in_one_append(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        class Echo:
            async def handle(self, message: Message) -> object:
                return {"echo": message.payload}

        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo"):
            await say(callosum, dialogue, "hello", correlation_id="c")
            await settled(callosum, 1)
        [recorded] = [r async for r in callosum.replay() if isinstance(r.event, Consumer.Settled)]
        question, answer = [said async for said in callosum.transcript(dialogue)]
        assert (answer.source, answer.target, answer.sender) == (Tract.EXTERNAL, Tract.INTERNAL, "echo")
        assert (answer.payload, answer.in_reply_to, answer.correlation_id) == ({"echo": "hello"}, 1, "c")
        assert answer.at == recorded.at
        assert answer.position == recorded.position - 1
        assert question.position < answer.position

    async def test_what_it_said_is_told_with_its_receipt(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        class Echo:
            async def handle(self, message: Message) -> object:
                return message.payload

        told: list[tuple[Message, Receipt]] = []

        def note(message: Message, receipt: Receipt) -> None:
            told.append((message, receipt))

        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo", on_reply=note):
            await say(callosum, dialogue, "hello", None)
            await settled(callosum, 2)
        [(message, receipt)] = told
        said = [said async for said in callosum.transcript(dialogue)]
        assert (message.payload, message.sender) == ("hello", "echo")
        assert receipt == Receipt(dialogue, 3, said[2].position)

    async def test_goes_on_when_who_is_told_fails(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        class Echo:
            async def handle(self, message: Message) -> object:
                return message.payload

        def fail(_message: Message, _receipt: Receipt) -> None:
            raise RuntimeError("no paper")

        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo", on_reply=fail):
            await say(callosum, dialogue, "a", "b")
            assert {outcome.result for outcome in await settled(callosum, 2)} == {Result.ACKED}

    async def test_needs_at_least_one_worker(self, callosum: CorpusCallosum) -> None:
        class Idle:
            async def handle(self, message: Message) -> object:
                return None

        with pytest.raises(InvalidCommandError):
            async with callosum.attach(Idle(), Tract.EXTERNAL, "idle", concurrency=0):
                pass

    async def test_that_raises_is_asked_again(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        class Flaky:
            tries = 0

            async def handle(self, message: Message) -> object:
                self.tries += 1
                if self.tries < 3:
                    raise RuntimeError(f"try {self.tries}")
                return "done"

        settings = DeliverySettings(backoff=0.001)
        async with callosum.attach(Flaky(), Tract.EXTERNAL, "flaky", delivery=settings):
            await say(callosum, dialogue, "x")
            await settled(callosum, 3)
        assert [(o.attempt, o.result, o.error) for o in await outcomes(callosum)] == [
            (1, Result.RETRIED, "RuntimeError: try 1"),
            (2, Result.RETRIED, "RuntimeError: try 2"),
            (3, Result.ACKED, None),
        ]

    async def test_that_takes_too_long_is_interrupted(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        class Slow:
            async def handle(self, message: Message) -> object:
                await asyncio.Event().wait()
                return None

        settings = DeliverySettings(max_deliver=1)
        async with callosum.attach(Slow(), Tract.EXTERNAL, "slow", handler_timeout=0.05, delivery=settings):
            await say(callosum, dialogue, "x")
            [outcome] = await settled(callosum, 1)
        assert (outcome.result, outcome.error) == (Result.DEAD_LETTERED, "TimeoutError: no answer within 0.05 s")

    async def test_handles_as_many_at_once_as_it_was_told(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        four = asyncio.Barrier(4)

        class Counting:
            now = most = 0

            async def handle(self, message: Message) -> object:
                self.now += 1
                self.most = max(self.most, self.now)
                await four.wait()  # until there are four
                self.now -= 1
                return None

        agent = Counting()
        await say(callosum, dialogue, *range(20))
        async with callosum.attach(agent, Tract.EXTERNAL, "tool", concurrency=4):
            await settled(callosum, 20)
        assert agent.most == 4

    async def test_finishes_what_is_under_way_when_it_is_stopped(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        begun, released = asyncio.Event(), asyncio.Event()

        class Careful:
            async def handle(self, message: Message) -> object:
                begun.set()
                await released.wait()
                return "finished"

        await say(callosum, dialogue, *range(3))
        async with callosum.attach(Careful(), Tract.EXTERNAL, "careful") as attachment:
            await begun.wait()
            stopping = asyncio.create_task(attachment.stop())
            await attachment._subscription.drain()
            released.set()
            await stopping
        assert [said.payload async for said in callosum.transcript(dialogue)] == [0, 1, 2, "finished"]
        async with callosum.subscribe(Tract.EXTERNAL, "next", demand=2) as subscription:
            assert [(await following(subscription)).message.payload for _ in range(2)] == [1, 2]

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (lambda: {1, 2}, "InvalidPayloadError"),
            (lambda: _fail(asyncio.CancelledError("its own")), "CancelledError: its own"),
            (lambda: _fail(TimeoutError("its own")), "TimeoutError: its own"),
            (lambda: _fail(RuntimeError("\ud800" + "x" * 10_000)), "RuntimeError: ?xxx"),
        ],
        ids=["no payload", "cancelled", "timed out", "unspeakable"],
    )
    async def test_goes_on_whatever_a_handler_does(
        self, callosum: CorpusCallosum, dialogue: UUID, answer: Callable[[], object], told: str
    ) -> None:
        class Odd:
            async def handle(self, message: Message) -> object:
                return answer() if message.payload == "odd" else None

        settings = DeliverySettings(max_deliver=1)
        async with callosum.attach(Odd(), Tract.EXTERNAL, "odd", delivery=settings):
            await say(callosum, dialogue, "odd", "even")
            first, second = await settled(callosum, 2)
        assert (first.result, second.result) == (Result.DEAD_LETTERED, Result.ACKED)
        assert (first.error or "").startswith(told)
        assert len(first.error or "") <= 2000

    async def test_that_is_stopped_late_gives_its_message_back(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        begun = asyncio.Event()

        class Endless:
            async def handle(self, message: Message) -> object:
                begun.set()
                await asyncio.Event().wait()
                return None

        await say(callosum, dialogue, "x")
        async with callosum.attach(Endless(), Tract.EXTERNAL, "endless") as attachment:
            await begun.wait()
            await attachment.stop(deadline=0.01)
        async with callosum.subscribe(Tract.EXTERNAL, "next") as subscription:
            assert (await following(subscription)).attempt == 2


def _fail(error: BaseException) -> object:
    raise error
