"""Who sends something urgent into a full tract may have the least urgent there given up, and never in silence."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from threading import Event
from uuid import UUID

import pytest

from application.inbox import Handed, Inbox
from corpus_callosum import (
    BackpressureError,
    CallNotPermittedError,
    CircuitState,
    CorpusCallosum,
    Delivery,
    DialogueClosedError,
    Gate,
    Happening,
    Message,
    Priority,
    Receipt,
    ReplyTimeoutError,
    Settings,
    ShedLowest,
    State,
    Tract,
)
from tests.deliveries import bounded, following, message, say
from tests.gates import gate_events, until
from tests.processes import start

LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH


@pytest.fixture
async def callosum(url: str) -> AsyncIterator[CorpusCallosum]:
    async with bounded(url, 3) as opened:
        yield opened


@pytest.fixture
async def dialogue(callosum: CorpusCallosum) -> UUID:
    return await full(callosum)


async def full(callosum: CorpusCallosum) -> UUID:
    """A dialogue with two messages of low priority and one of normal priority, as many as there may be."""
    dialogue = await callosum.open_dialogue("full")
    await say(callosum, dialogue, "a", "b", priority=LOW)
    await say(callosum, dialogue, "c")
    return dialogue


async def urge(
    callosum: CorpusCallosum, dialogue: UUID, *payloads: object, priority: Priority = HIGH, **fields: object
) -> list[Receipt]:
    messages = [message(payload, priority=priority, **fields) for payload in payloads]
    return await callosum.send_many(dialogue, messages, when_full=ShedLowest())


async def shed(callosum: CorpusCallosum) -> list[tuple[UUID, int]]:
    """Those that were given up, as the log names them."""
    return [
        (one.dialogue, one.sequence)
        for recorded in await gate_events(callosum, Gate.MessagesShed)
        if isinstance(recorded.event, Gate.MessagesShed)
        for one in recorded.event.messages
    ]


async def left(callosum: CorpusCallosum, tract: Tract = Tract.EXTERNAL) -> list[object]:
    """What is delivered, in its order, and acked."""
    said: list[object] = []
    async with callosum.subscribe(tract, "tool") as subscription:
        while (await callosum.inbox())[tract is Tract.EXTERNAL].backlog:
            delivery = await following(subscription)
            assert delivery.attempt == 1
            said.append(delivery.message.payload)
            await delivery.ack()
    return said


async def untouched(callosum: CorpusCallosum) -> bool:
    """Whether all is there, held by nobody, and nothing was given up."""
    external = (await callosum.inbox())[1]
    pending = sum(each.count for each in external.pending)
    return (external.backlog, pending, await shed(callosum)) == (3, 3, [])


@contextmanager
def between(
    callosum: CorpusCallosum, patch: pytest.MonkeyPatch, happens: Callable[[Inbox, str], None]
) -> Iterator[None]:
    """When the least urgent are held, and before they are given up, this happens, once; in another thread."""
    inbox = callosum._open.log.recorder.inbox
    take_lowest, happened = inbox.take_lowest, Event()

    def and_then(tract: str, lease: str, *, count: int, below: int, ack_wait: int) -> Sequence[Handed]:
        held = take_lowest(tract, lease, count=count, below=below, ack_wait=ack_wait)
        if not happened.is_set():
            happened.set()
            happens(inbox, lease)
        return held

    with patch.context() as patched:
        patched.setattr(inbox, "take_lowest", and_then)
        yield


class Pause:
    """Of the thread that has taken the least urgent."""

    def __init__(self) -> None:
        self._begun, self._over = Event(), Event()

    def __call__(self, _inbox: Inbox, _lease: str) -> None:
        self._begun.set()
        assert self._over.wait(10)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 10)

    def end(self) -> None:
        self._over.set()


class TestMakingRoom:
    async def test_the_latest_of_the_least_urgent_is_given_up(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await urge(callosum, dialogue, "now")
        assert await shed(callosum) == [(dialogue, 2)]
        assert (await callosum.inbox())[1].backlog == 3
        assert await left(callosum) == ["now", "c", "a"]

    async def test_as_many_as_are_needed(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).ack()
        await urge(callosum, dialogue, "x", "y", "z")
        assert await shed(callosum) == [(dialogue, 2), (dialogue, 1)]
        assert await left(callosum) == ["x", "y", "z"]

    async def test_where_there_is_room_nothing_is_given_up(self, url: str) -> None:
        async with bounded(url, 3) as callosum:
            dialogue = await callosum.open_dialogue("roomy")
            await say(callosum, dialogue, "a", "b", priority=LOW)
            await urge(callosum, dialogue, "now")
            assert await shed(callosum) == []

    async def test_in_both_tracts_for_one_batch(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        back = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", priority=LOW)
        await callosum.send_many(dialogue, [back] * 3)
        urgent = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", priority=NORMAL)
        await callosum.send_many(dialogue, [urgent, message("now", priority=HIGH)], when_full=ShedLowest())
        assert sorted(await shed(callosum)) == [(dialogue, 2), (dialogue, 6)]
        assert [inbox.backlog for inbox in await callosum.inbox()] == [3, 3]

    async def test_a_message_is_given_up_wherever_its_dialogue_stands(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await callosum.close_dialogue(dialogue, "done")
        other = await callosum.open_dialogue("another")
        await urge(callosum, other, "now")
        assert await shed(callosum) == [(dialogue, 2)]

    async def test_a_question_that_is_given_up_is_never_answered(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("asking")
            ends = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "p"}
            question = asyncio.create_task(callosum.ask(dialogue, **ends, priority=LOW, timeout=0.5))  # type: ignore[arg-type]

            async def asked() -> bool:
                return (await callosum.inbox())[1].backlog == 1

            await until(asked)
            await urge(callosum, dialogue, "now")
            with pytest.raises(ReplyTimeoutError):
                await question

    async def test_an_answer_goes_to_who_asked_and_needs_no_room(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        asked = asyncio.create_task(
            callosum.ask(dialogue, source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", timeout=10)
        )

        async def said() -> bool:
            return (await callosum.inbox())[0].backlog == 1

        await until(said)
        answer = message("answer", in_reply_to=4, priority=HIGH)
        await callosum.send_many(dialogue, [answer, message("now", priority=HIGH)], when_full=ShedLowest())
        assert (await asked).payload == "answer"
        assert await shed(callosum) == [(dialogue, 2)]


class TestBeingRefused:
    async def test_where_nothing_is_less_urgent(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(BackpressureError) as refused:
            await urge(callosum, dialogue, "as urgent", priority=LOW)
        assert (refused.value.backlog, refused.value.capacity) == (3, 3)
        assert await untouched(callosum)
        assert await left(callosum) == ["c", "a", "b"]

    async def test_where_there_is_too_little(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(BackpressureError):
            await urge(callosum, dialogue, "x", "y", "z", priority=NORMAL)
        assert await untouched(callosum)

    async def test_the_least_urgent_of_a_batch_decides(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        batch = [message("high", priority=HIGH), message("low", priority=LOW)]
        with pytest.raises(BackpressureError):
            await callosum.send_many(dialogue, batch, when_full=ShedLowest())
        assert await untouched(callosum)

    async def test_more_than_the_capacity(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(BackpressureError):
            await urge(callosum, dialogue, *range(4))
        assert await untouched(callosum)

    async def test_in_an_ordered_tract(self, url: str) -> None:
        settings = Settings(url=url, capacity=1, ordered=frozenset({Tract.EXTERNAL}))
        async with CorpusCallosum.open(settings=settings) as callosum:
            dialogue = await callosum.open_dialogue("ordered")
            await say(callosum, dialogue, "a", priority=LOW)
            with pytest.raises(BackpressureError):
                await urge(callosum, dialogue, "now")
            assert await shed(callosum) == []

    async def test_while_the_circuit_is_open(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="ann", why="a pause")
        with pytest.raises(CallNotPermittedError):
            await urge(callosum, dialogue, "now")
        assert await untouched(callosum)

    async def test_is_counted_once(self, url: str) -> None:
        async with bounded(url, 3, project=True) as callosum:
            dialogue = await full(callosum)
            with pytest.raises(BackpressureError):
                await urge(callosum, dialogue, "as urgent", priority=LOW)
            await urge(callosum, dialogue, "now")

            async def counted() -> bool:
                return (await callosum.gates.metrics()).external.refused_by_capacity > 0

            await until(counted)
            external = (await callosum.gates.metrics()).external
        assert (external.refused_by_capacity, external.shed) == (1, 1)


class TestKeys:
    async def test_what_is_recorded_gets_its_receipt_and_nothing_is_given_up(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        first = await urge(callosum, dialogue, "now", idempotency_key="one")
        assert await urge(callosum, dialogue, "now", idempotency_key="one") == first
        assert await shed(callosum) == [(dialogue, 2)]

    async def test_of_a_batch_only_what_is_new_needs_room(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        [first] = await urge(callosum, dialogue, "now", idempotency_key="one")
        batch = [message("now", priority=HIGH, idempotency_key="one"), message("then", priority=HIGH)]
        receipts = await callosum.send_many(dialogue, batch, when_full=ShedLowest())
        assert receipts[0] == first
        assert await shed(callosum) == [(dialogue, 2), (dialogue, 1)]

    async def test_what_becomes_known_meanwhile_is_not_said_again(
        self, lasting_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bounded(lasting_url, 2) as callosum, CorpusCallosum.open(lasting_url) as other:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, "a", "b", priority=LOW)
            pause = Pause()
            with between(callosum, monkeypatch, pause):
                urging = asyncio.create_task(urge(callosum, dialogue, "now", idempotency_key="one"))
                await pause.begun()
                theirs = await urge(other, dialogue, "now", idempotency_key="one")
                pause.end()
                assert await urging == theirs
            assert await shed(callosum) == [(dialogue, 1)]
            assert await left(callosum) == ["now", "b"]


class TestInBetween:
    async def test_what_is_refused_meanwhile_puts_all_back(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pause = Pause()
        with between(callosum, monkeypatch, pause):
            urging = asyncio.create_task(urge(callosum, dialogue, "now"))
            await pause.begun()
            assert (await callosum.explain(dialogue, 2)).state is State.PAUSED
            await callosum.close_dialogue(dialogue, "done")
            pause.end()
            with pytest.raises(DialogueClosedError):
                await urging
        assert await untouched(callosum)
        assert await left(callosum) == ["c", "a", "b"]

    async def test_whose_lease_is_lost_tries_again(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with between(callosum, monkeypatch, lambda inbox, lease: inbox.put_back(Tract.EXTERNAL, lease)):
            await urge(callosum, dialogue, "now")
        assert await shed(callosum) == [(dialogue, 2)]
        assert (await callosum.inbox())[1].backlog == 3

    async def test_who_is_cancelled_leaves_all_as_it_was(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pause = Pause()
        with between(callosum, monkeypatch, pause):
            urging = asyncio.create_task(urge(callosum, dialogue, "now"))
            await pause.begun()
            urging.cancel()
            pause.end()
            with pytest.raises(asyncio.CancelledError):
                await urging
        assert await untouched(callosum)
        assert await left(callosum) == ["c", "a", "b"]

    async def test_cancelled_at_any_moment_nothing_is_lost(self, url: str) -> None:
        chance = random.Random(5)
        async with bounded(url, 4) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(4), priority=LOW)
            for number in range(4, 24):
                urging = asyncio.create_task(urge(callosum, dialogue, number, priority=NORMAL))
                await asyncio.sleep(chance.uniform(0, 0.012))
                urging.cancel()
                await asyncio.gather(urging, return_exceptions=True)
                await callosum.gates.configure(Tract.EXTERNAL, by="ann", why="a round", capacity=4)
            given_up = {sequence for _, sequence in await shed(callosum)}
            said = [one.sequence async for one in callosum.transcript(dialogue)]
            delivered = await left(callosum)
            assert len(given_up) + len(delivered) == len(said)

    async def test_what_others_take_the_room_of_is_made_again(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).ack()
        pause = Pause()
        with between(callosum, monkeypatch, pause):
            urging = asyncio.create_task(urge(callosum, dialogue, "x", "y"))
            await pause.begun()
            await say(callosum, dialogue, "faster", priority=HIGH)
            pause.end()
            await urging
        assert await shed(callosum) == [(dialogue, 2), (dialogue, 1)]
        assert await left(callosum) == ["faster", "x", "y"]

    async def test_what_a_killed_sender_held_is_delivered(self, lasting_url: str) -> None:
        async with bounded(lasting_url, 2) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, "a", "b", priority=LOW)
            sender = start("-c", _HANGS, lasting_url, str(dialogue))
            assert sender.stdout is not None
            try:
                assert await asyncio.to_thread(sender.stdout.readline) == "held\n"
                assert (await callosum.inbox())[1].paused == 1
            finally:
                sender.kill()
                await asyncio.to_thread(sender.communicate)
            assert await left(callosum) == ["a", "b"]
            assert await shed(callosum) == []


_HANGS = """
import asyncio, sys, time
from uuid import UUID
from application import shedding
from corpus_callosum import *

def held(log, slots):
    print("held", flush=True)
    time.sleep(60)

async def main():
    shedding._HELD_FOR, shedding.messages_at = 2000, held
    async with CorpusCallosum.open(sys.argv[1]) as callosum:
        ends = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "p"}
        await callosum.send(UUID(sys.argv[2]), **ends, priority=Priority.HIGH, when_full=ShedLowest())

asyncio.run(main())
"""


class TestTelling:
    async def test_explain_says_that_it_was_shed_and_when(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        [receipt] = await urge(callosum, dialogue, "now")
        explanation = await callosum.explain(dialogue, 2)
        [recorded] = await gate_events(callosum, Gate.MessagesShed)
        last = explanation.steps[-1]
        assert explanation.state is State.SHED
        assert (last.happening, last.position, last.at) == (Happening.SHED, recorded.position, recorded.at)
        assert receipt.position == recorded.position + 1, "room is made before it is taken"
        assert (await callosum.explain(dialogue, 1)).state is State.WAITING

    async def test_what_was_redriven_may_be_shed_and_that_is_its_end(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, "a", priority=LOW)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).nak("not now", delay=0)
                await (await following(subscription)).term("never")
            await callosum.dead_letters.redrive(reason="try again")
            await urge(callosum, dialogue, "now")
            explanation = await callosum.explain(dialogue, 1)
        happened = [step.happening.value for step in explanation.steps]
        assert happened == ["accepted", "retried", "dead_lettered", "redriven", "shed"]
        assert explanation.state is State.SHED

    async def test_the_read_models_count_it(self, url: str) -> None:
        async with bounded(url, 3, project=True) as callosum:
            await urge(callosum, await full(callosum), "now")
            deliveries = (await callosum.deliveries()).external
            gate = (await callosum.gates.metrics()).external
        assert (deliveries.accepted, deliveries.shed, deliveries.backlog, deliveries.backlog_peak) == (4, 1, 3, 3)
        assert (gate.shed, [minute.shed for minute in gate.refusals]) == (1, [1])


class TestManySenders:
    async def test_each_is_delivered_or_shed_and_there_is_never_too_much(self, lasting_url: str) -> None:
        """Senders of two services, of all priorities and with batches, into a tract that is always full."""
        capacity, delivered = 12, list[tuple[UUID, int]]()
        async with AsyncExitStack() as services:
            one = await services.enter_async_context(bounded(lasting_url, capacity, project=True))
            other = await services.enter_async_context(CorpusCallosum.open(lasting_url))
            dialogues = [await one.open_dialogue(f"sender {number}") for number in range(8)]
            senders = [
                asyncio.create_task(_flood((one, other)[number % 2], dialogue, random.Random(number)))
                for number, dialogue in enumerate(dialogues)
            ]
            async with one.subscribe(Tract.EXTERNAL, "slow", demand=2) as slow:
                consumer = asyncio.create_task(_consume(slow, delivered))
                accepted = sum(await asyncio.gather(*senders))
                given_up = await shed(one)
                assert len(given_up) > 30
                await until(lambda: _as_many(delivered, accepted - len(given_up)))
                consumer.cancel()
                await asyncio.gather(consumer, return_exceptions=True)
            assert (await one.inbox())[1].backlog == 0
            deliveries = (await one.deliveries()).external
        assert deliveries.backlog_peak == capacity
        assert len(set(given_up)) == len(given_up) == deliveries.shed
        assert not set(given_up) & set(delivered)
        assert len({*given_up, *delivered}) == accepted == deliveries.accepted


async def _as_many(delivered: list[tuple[UUID, int]], count: int) -> bool:
    return len(delivered) >= count


async def _flood(callosum: CorpusCallosum, dialogue: UUID, chance: random.Random) -> int:
    """How many messages were accepted."""
    accepted = 0
    for number in range(20):
        priority = chance.choice(list(Priority))
        batch = [message(number, priority=priority) for _ in range(chance.choice([1, 1, 1, 3]))]
        try:
            accepted += len(await callosum.send_many(dialogue, batch, when_full=ShedLowest()))
        except BackpressureError:
            await asyncio.sleep(0.002)
    return accepted


async def _consume(subscription: AsyncIterator[Delivery], delivered: list[tuple[UUID, int]]) -> None:
    async for delivery in subscription:
        await asyncio.sleep(0.005)
        await delivery.ack()
        delivered.append((delivery.message.dialogue, delivery.message.sequence))
