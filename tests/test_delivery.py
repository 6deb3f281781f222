"""Messages reach consumers: as many as they ask for, in order, until they are settled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import (
    BackpressureError,
    Consumer,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    DialogueClosedError,
    InvalidCommandError,
    LeaseLostError,
    Message,
    Outcome,
    Priority,
    ReplacedError,
    Result,
    Settings,
    Subscription,
    Tract,
)
from interface.lines import event_lines

SHORT = DeliverySettings(ack_wait=0.4, backoff=0.01)


def message(payload: object, **fields: Any) -> Message:
    return Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=payload, **fields)


@pytest.fixture
async def dialogue(callosum: CorpusCallosum) -> UUID:
    return await callosum.open_dialogue("deliveries")


async def say(callosum: CorpusCallosum, dialogue: UUID, *payloads: object, **fields: Any) -> None:
    await callosum.send_many(dialogue, [message(payload, **fields) for payload in payloads])


async def following(subscription: Subscription) -> Delivery:
    return await asyncio.wait_for(anext(subscription), 5)


async def nothing_comes(subscription: Subscription) -> bool:
    """A pause that is long for what is to be delivered at once."""
    task = asyncio.ensure_future(anext(subscription))
    done, _ = await asyncio.wait({task}, timeout=0.15)
    task.cancel()
    return not done


async def settled(callosum: CorpusCallosum, count: int) -> list[Outcome]:
    """Follow the log until there are so many outcomes."""
    ended: list[Outcome] = []
    async with asyncio.timeout(10):
        async for recorded in callosum.follow():
            if isinstance(recorded.event, Consumer.Settled):
                ended += recorded.event.outcomes
            if len(ended) >= count:
                return ended
    raise AssertionError("the service was closed before")


async def filled(subscription: Subscription, count: int) -> None:
    """Wait until so many are in the subscription's hands, and nobody has asked for them."""
    async with asyncio.timeout(10):
        while len(subscription._ready) < count:
            await subscription._filled.wait()
            subscription._filled.clear()


async def outcomes(callosum: CorpusCallosum) -> list[Outcome]:
    return [
        outcome
        async for recorded in callosum.replay()
        if isinstance(recorded.event, Consumer.Settled)
        for outcome in recorded.event.outcomes
    ]


class TestASubscription:
    async def test_gets_the_most_urgent_first_then_the_earliest(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a", "b")
        await say(callosum, dialogue, "c", priority=Priority.CRITICAL)
        await say(callosum, dialogue, "d", priority=Priority.LOW)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=4) as subscription:
            assert [(await following(subscription)).message.payload for _ in range(4)] == ["c", "a", "b", "d"]

    async def test_gets_what_is_said_later(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            waiting = asyncio.create_task(following(subscription))
            await say(callosum, dialogue, "late")
            delivery = await waiting
        assert (delivery.message.payload, delivery.attempt) == ("late", 1)
        assert (delivery.message.dialogue, delivery.sequence, delivery.position) == (dialogue, 1, 2 + 1)

    async def test_never_holds_more_than_it_asked_for(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(10))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            first, second = await following(subscription), await following(subscription)
            assert await nothing_comes(subscription)
            await second.ack()
            assert (await following(subscription)).message.payload == 2
            assert await nothing_comes(subscription)
            await first.ack()

    async def test_gets_only_what_is_requested_when_it_demands_nothing(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, *range(5))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
            assert await nothing_comes(subscription)
            subscription.request(1)
            subscription.request(1)
            for _ in range(2):
                await (await following(subscription)).ack()
            assert await nothing_comes(subscription)
            with pytest.raises(InvalidCommandError):
                subscription.request(0)

    async def test_competes_with_others_for_each_message(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(60))
        got: list[object] = []

        async def consume(name: str) -> None:
            async with callosum.subscribe(Tract.EXTERNAL, name, demand=3) as subscription:
                while len(got) < 60:
                    try:
                        delivery = await asyncio.wait_for(anext(subscription), 0.3)
                    except TimeoutError:
                        return
                    got.append(delivery.message.payload)
                    await delivery.ack()

        async with asyncio.timeout(10):
            await asyncio.gather(*(consume(f"tool {number}") for number in range(4)))
        assert sorted(got, key=str) == sorted(range(60), key=str)

    async def test_leaves_messages_for_one_recipient_to_that_one(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "for the tester", recipient="tester")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as tool:
            assert await nothing_comes(tool)
            async with callosum.subscribe(Tract.EXTERNAL, "tester") as tester:
                assert (await following(tester)).message.payload == "for the tester"

    async def test_is_ended_by_a_newer_one_of_its_name(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as old:
            held = await following(old)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as new:
                again = await following(new)
                assert (again.message.payload, again.attempt) == ("x", 2)
                with pytest.raises(LeaseLostError):
                    await held.ack()
                with pytest.raises(ReplacedError):
                    await following(old)
                await again.ack()

    async def test_gives_back_what_nobody_was_given_when_it_is_cancelled(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, *range(3))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            await (await following(subscription)).ack()
            await subscription.cancel()
            await subscription.cancel()
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)
        async with callosum.subscribe(Tract.EXTERNAL, "other", demand=3) as other:
            assert [(await following(other)).message.payload for _ in range(2)] == [1, 2]

    async def test_delivers_no_imported_history(self, callosum: CorpusCallosum, tmp_path: Any) -> None:
        (tmp_path / "runs.jsonl").write_text(
            '[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]'
        )
        await callosum.import_transcripts(tmp_path / "runs.jsonl")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            assert await nothing_comes(subscription)


class TestSettling:
    async def test_what_is_acked_never_comes_back(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("once")
            await say(callosum, dialogue, "a", "b")
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).ack()
        async with (
            CorpusCallosum.open(lasting_url) as callosum,
            callosum.subscribe(Tract.EXTERNAL, "tool") as subscription,
        ):
            assert (await following(subscription)).message.payload == "b"

    async def test_each_outcome_is_an_event(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "good", "flaky", "bad")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            good, flaky, bad = [await following(subscription) for _ in range(3)]
            await good.ack()
            await flaky.nak("not now", delay=0)
            await bad.term("nobody can")
            again = await following(subscription)
            await again.ack()
        told = [(o.sequence, o.attempt, o.result, o.error, o.delay) for o in await outcomes(callosum)]
        assert told == [
            (1, 1, Result.ACKED, None, None),
            (2, 1, Result.RETRIED, "not now", 0),
            (3, 1, Result.DEAD_LETTERED, "nobody can", None),
            (2, 2, Result.ACKED, None, None),
        ]
        assert all(
            o.dialogue == dialogue and o.waited >= 0 and o.handled_in >= 0 for o in await outcomes(callosum)
        )

    async def test_a_delivery_is_settled_once(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            await delivery.ack()
            with pytest.raises(LeaseLostError):
                await delivery.nak("too late")
        assert len(await outcomes(callosum)) == 1

    async def test_a_message_comes_back_later_when_it_is_refused(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            began = asyncio.get_running_loop().time()
            await (await following(subscription)).nak("later", delay=0.2)
            again = await following(subscription)
            assert asyncio.get_running_loop().time() - began >= 0.2
            assert again.attempt == 2

    async def test_the_last_attempt_that_fails_makes_a_dead_letter(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        settings = DeliverySettings(max_deliver=3, backoff=0.001)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", delivery=settings) as subscription:
            for attempt in (1, 2, 3):
                delivery = await following(subscription)
                assert delivery.attempt == attempt
                await delivery.nak("no")
            assert await nothing_comes(subscription)
        assert [o.result for o in await outcomes(callosum)] == [
            Result.RETRIED,
            Result.RETRIED,
            Result.DEAD_LETTERED,
        ]

    async def test_what_is_not_settled_in_time_goes_to_another(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with (
            callosum.subscribe(Tract.EXTERNAL, "slow", delivery=SHORT) as slow,
            callosum.subscribe(Tract.EXTERNAL, "quick", delivery=SHORT) as quick,
        ):
            both = await asyncio.gather(following(slow), following(quick))
            first, again = sorted(both, key=lambda delivery: delivery.attempt)
            assert (again.message.payload, again.attempt) == ("x", 2)
            await again.ack()
            with pytest.raises(LeaseLostError):
                await first.ack()
        assert [(o.attempt, o.result) for o in await outcomes(callosum)] == [(2, Result.ACKED)]

    async def test_a_lease_is_kept_by_saying_so(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        patient = DeliverySettings(ack_wait=0.6)
        async with (
            callosum.subscribe(Tract.EXTERNAL, "thorough", delivery=patient) as thorough,
            callosum.subscribe(Tract.EXTERNAL, "rival", demand=0) as rival,
        ):
            delivery = await following(thorough)
            rival.request(1)
            for _ in range(6):
                assert await nothing_comes(rival)
                await delivery.in_progress()
            await delivery.ack()
        assert [o.attempt for o in await outcomes(callosum)] == [1]

    async def test_attempts_whose_leases_are_lost_count_too(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "deadly")
        settings = DeliverySettings(ack_wait=0.05, max_deliver=2)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=5, delivery=settings) as subscription:
            for attempt in (1, 2):
                assert (await following(subscription)).attempt == attempt
            ended = await settled(callosum, 1)
        assert [(o.attempt, o.result, o.error) for o in ended] == [
            (3, Result.DEAD_LETTERED, "its last lease was lost")
        ]

    async def test_a_message_beyond_its_deadline_is_not_delivered(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "stale", deadline=datetime.now(UTC) - timedelta(seconds=1))
        await say(callosum, dialogue, "fresh", deadline=datetime.now(UTC) + timedelta(hours=1))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            assert (await following(subscription)).message.payload == "fresh"
        assert (await outcomes(callosum))[0].result is Result.EXPIRED


@asynccontextmanager
async def bounded(url: str, capacity: int) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=capacity)) as callosum:
        yield callosum


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

        async with bounded(url, 5) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(5))
            back = [
                Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=n) for n in range(5)
            ]
            await callosum.send_many(dialogue, back)
            async with (
                callosum.attach(Ponder(), Tract.EXTERNAL, "tool", concurrency=2),
                callosum.attach(Ponder(), Tract.INTERNAL, "thinker", concurrency=2),
            ):
                assert {outcome.result for outcome in await settled(callosum, 20)} == {Result.ACKED}
            await say(callosum, dialogue, "room again")

    async def test_nothing_is_delivered_where_only_recording_is_wanted(self, url: str) -> None:
        async with CorpusCallosum.open(settings=Settings(url=url, capacity=1, deliver=False)) as callosum:
            dialogue = await callosum.open_dialogue("recorded only")
            await say(callosum, dialogue, *range(10))
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                assert await nothing_comes(subscription)


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


async def test_the_log_reads_as_what_happened(callosum: CorpusCallosum, dialogue: UUID) -> None:
    await say(callosum, dialogue, "x")
    async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
        await (await following(subscription)).nak("bad\x1b weather", delay=0)
        await (await following(subscription)).ack()
    lines = [event_lines(recorded, full=False).plain async for recorded in callosum.replay()]
    short = str(dialogue)[:8]
    told = [line[34:].strip() for line in lines[2:]]
    assert told == [
        "tool joined the external tract",
        f"#1 of {short}  attempt 1 retried: bad\\x1b weather",
        f"#1 of {short}  attempt 2 acked",
        "left: cancelled",
    ]


class TestTrouble:
    """What goes wrong around a delivery leaves the consumer able to go on."""

    async def test_a_late_ack_does_not_take_the_holders_down_with_it(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with (
            callosum.subscribe(Tract.EXTERNAL, "slow", delivery=SHORT) as slow,
            callosum.subscribe(Tract.EXTERNAL, "quick", demand=0) as quick,
        ):
            late = await following(slow)
            quick.request(1)
            held = await following(quick)
            results = await asyncio.gather(late.ack(), held.ack(), return_exceptions=True)
        assert [type(result) for result in results] == [LeaseLostError, type(None)]

    async def test_an_ack_whose_waiting_is_cancelled_gives_its_credit_back(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a", "b")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            acking = asyncio.create_task((await following(subscription)).ack())
            await asyncio.sleep(0)
            acking.cancel()
            assert (await following(subscription)).message.payload == "b"

    async def test_a_reply_that_is_refused_can_be_settled_otherwise(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        await callosum.close_dialogue(dialogue, "over")
        answer = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload="y")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with pytest.raises(DialogueClosedError):
                await delivery.reply(answer)
            await delivery.ack()

    async def test_what_nobody_saw_costs_no_attempt(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, 1, 2)
        settings = DeliverySettings(max_deliver=1)
        for _ in range(3):
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2, delivery=settings) as subscription:
                await filled(subscription, 2)
        async with callosum.subscribe(Tract.EXTERNAL, "other", demand=2, delivery=settings) as subscription:
            assert [(await following(subscription)).attempt for _ in range(2)] == [1, 1]

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
    async def test_an_agent_goes_on_whatever_a_handler_does(
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

    async def test_an_agent_that_is_stopped_late_gives_its_message_back(
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

    async def test_iterating_ends_when_the_service_is_closed(self, url: str) -> None:
        callosum = await CorpusCallosum.open(url).__aenter__()
        subscription = await callosum.subscribe(Tract.EXTERNAL, "tool", demand=0).__aenter__()
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await callosum.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)
        await subscription.cancel()

    async def test_the_bodys_error_is_not_hidden_by_leaving(self, url: str) -> None:
        with pytest.raises(KeyError, match="the body's"):
            async with CorpusCallosum.open(url) as callosum:
                dialogue = await callosum.open_dialogue("closing")
                await say(callosum, dialogue, "x")
                async with callosum.subscribe(Tract.EXTERNAL, "tool"):
                    await callosum.aclose()
                    raise KeyError("the body's")

    async def test_cancelling_twice_at_once_is_once(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(20))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=20) as subscription:
            await filled(subscription, 20)
            await asyncio.gather(subscription.cancel(), subscription.cancel())
        async with callosum.subscribe(Tract.EXTERNAL, "next", demand=20) as after:
            assert [(await following(after)).attempt for _ in range(20)] == [1] * 20

    async def test_a_repeated_key_needs_no_room(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            first = await callosum.send_many(dialogue, [message("x", idempotency_key="k")])
            assert await callosum.send_many(dialogue, [message("x", idempotency_key="k")]) == first

    @pytest.mark.parametrize(
        "settings", [{"ack_wait": 0}, {"max_deliver": 0}, {"backoff": -1}, {"most_backoff": 1e9}], ids=str
    )
    def test_settings_out_of_range_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InvalidCommandError):
            DeliverySettings(**settings)


def _fail(error: BaseException) -> object:
    raise error
