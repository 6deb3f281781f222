"""A process is killed at a chosen moment: what was not settled comes again, what was settled never does.

It kills itself (SIGKILL), and says first in which window: between which two steps of a delivery or of a send.
"""

import asyncio
import signal
from collections import Counter
from time import monotonic
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, DeliverySettings, Message, Outcome, Priority, Receipt, Result, Tract
from tests.deliveries import following, message, outcomes, say, settled
from tests.processes import start
from tests.test_delivery_processes import killed_at_the_end, service

DEATH = """
import asyncio, itertools, os, signal, sys, time
from corpus_callosum import CorpusCallosum, DeliverySettings, Settings, Tract

def die(window):
    print(window, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def service(url):
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://"))
"""

VICTIM = (
    DEATH
    + """
class Agent:
    def __init__(self, answer):
        self.answer = answer

    async def handle(self, message):
        print("handled", flush=True)
        return self.answer or None

def die_in(window, recorder):
    inbox = recorder.inbox
    take, insert = inbox.take, recorder.insert_events
    looks = itertools.count()

    def taking(asked):
        if next(looks) and window == "bell and take":
            while not inbox.level(asked.tract).backlog:
                time.sleep(0.005)  # something else rang; what is said from now on must not be taken
            die(window)
        taken = take(asked)
        if window == "take and handler" and taken.handed:
            die(window)
        if not taken.handed:
            print("looked", flush=True)
        return taken

    def inserting(events, **more):
        if window == "handler and settle" and more["settlements"]:
            die(window)
        positions = insert(events, **more)
        if window == "settle and its reply" and more["settlements"]:
            die(window)
        return positions

    inbox.take, recorder.insert_events = taking, inserting

async def main(url, window, answer):
    async with service(url) as callosum:
        die_in(window, callosum._open.log.recorder)
        async with callosum.attach(Agent(answer), Tract.EXTERNAL, "tool"):
            await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""
)

SENDER = (
    DEATH
    + """
from uuid import UUID

async def main(url, window, dialogue):
    async with service(url) as callosum:
        recorder = callosum._open.log.recorder
        insert = recorder.insert_events

        def inserting(events, **more):
            if window == "send and append" and more["keyed"]:
                die(window)
            positions = insert(events, **more)
            if window == "append and receipt" and more["keyed"]:
                die(window)
            return positions

        recorder.insert_events = inserting
        await callosum.send(
            UUID(dialogue),
            source=Tract.INTERNAL,
            target=Tract.EXTERNAL,
            sender="planner",
            payload="x",
            idempotency_key="k",
        )

asyncio.run(main(*sys.argv[1:]))
"""
)

DYING = (
    DEATH
    + """
class Agent:
    begun = 0

    async def handle(self, message):
        self.begun += 1
        if self.begun == 300:
            die("message 300")

async def main(url):
    async with service(url) as callosum:
        delivery = DeliverySettings(ack_wait=1.0)
        async with callosum.attach(Agent(), Tract.EXTERNAL, "tool", concurrency=8, delivery=delivery):
            await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""
)


async def last_words(script: str, *arguments: str) -> list[str]:
    """What a process says before it kills itself."""
    with killed_at_the_end(start("-c", script, *arguments)) as process:
        said, complaint = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == -signal.SIGKILL, complaint
    return said.splitlines()


async def killed_in(window: str, callosum: CorpusCallosum, url: str, dialogue: UUID, answer: str = "") -> bool:
    """A consumer waits, "x" is said, and it is killed in this window. Whether its handler had been there."""
    with killed_at_the_end(start("-c", VICTIM, url, window, answer)) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "looked\n"
        await say(callosum, dialogue, "x")
        said, complaint = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == -signal.SIGKILL, complaint
    *before, last = [line for line in said.splitlines() if line != "looked"]
    assert last == window
    assert before in ([], ["handled"])
    return bool(before)


async def delivered_until_the_last(callosum: CorpusCallosum, dialogue: UUID) -> list[tuple[object, int]]:
    """What the next of the name is handed, with the attempts, until it comes to what goes after all else."""
    await say(callosum, dialogue, "last", priority=Priority.LOW)
    handed: list[tuple[object, int]] = []
    async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
        while ("last", 1) not in handed:
            delivery = await following(subscription)
            handed.append((delivery.message.payload, delivery.attempt))
            await delivery.ack()
    return handed


async def acked(callosum: CorpusCallosum) -> list[int]:
    """The sequences, one for each time that a message was acked."""
    return sorted(outcome.sequence for outcome in await outcomes(callosum) if outcome.result is Result.ACKED)


async def said_in(callosum: CorpusCallosum, dialogue: UUID) -> list[object]:
    return [said.payload async for said in callosum.transcript(dialogue)]


class TestAConsumerKilledBetween:
    @pytest.mark.parametrize(
        ("window", "handled", "attempt"),
        [("bell and take", False, 1), ("take and handler", False, 2), ("handler and settle", True, 2)],
    )
    async def test_leaves_its_message_to_the_next_of_its_name_at_once(
        self, lasting_url: str, window: str, handled: bool, attempt: int
    ) -> None:
        async with service(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue(window)
            assert await killed_in(window, callosum, lasting_url, dialogue) is handled
            assert await acked(callosum) == []
            assert await delivered_until_the_last(callosum, dialogue) == [("x", attempt), ("last", 1)]
            assert await acked(callosum) == [1, 2]

    async def test_settle_and_its_reply_has_settled_for_ever(self, lasting_url: str) -> None:
        async with service(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("settled")
            assert await killed_in("settle and its reply", callosum, lasting_url, dialogue)
            assert await acked(callosum) == [1]
            assert await delivered_until_the_last(callosum, dialogue) == [("last", 1)]
            assert await acked(callosum) == [1, 2]


class Answering:
    def __init__(self) -> None:
        self.handled: list[object] = []

    async def handle(self, message: Message) -> object:
        self.handled.append(message.payload)
        return f"second: {message.payload}"


class TestAnAnsweringAgentKilledBetween:
    async def test_handler_and_append_has_said_nothing_and_the_next_says_it_once(self, lasting_url: str) -> None:
        second = Answering()
        async with service(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("unsaid")
            assert await killed_in("handler and settle", callosum, lasting_url, dialogue, "first: x")
            assert await said_in(callosum, dialogue) == ["x"]
            async with callosum.attach(second, Tract.EXTERNAL, "tool"):
                await say(callosum, dialogue, "last", priority=Priority.LOW)
                assert [(o.sequence, o.attempt) for o in await settled(callosum, 2)] == [(1, 2), (2, 1)]
            assert await said_in(callosum, dialogue) == ["x", "last", "second: x", "second: last"]
            assert await acked(callosum) == [1, 2]

    async def test_append_and_its_reply_has_said_it_once_and_nobody_says_it_again(self, lasting_url: str) -> None:
        second = Answering()
        async with service(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("said")
            assert await killed_in("settle and its reply", callosum, lasting_url, dialogue, "first: x")
            async with callosum.attach(second, Tract.EXTERNAL, "tool"):
                await say(callosum, dialogue, "last", priority=Priority.LOW)
                await settled(callosum, 2)
            assert second.handled == ["last"]
            assert await said_in(callosum, dialogue) == ["x", "first: x", "last", "second: last"]
            assert await acked(callosum) == [1, 3]


class TestASenderKilledBetween:
    @pytest.mark.parametrize(("window", "stored"), [("send and append", False), ("append and receipt", True)])
    async def test_says_it_once_when_it_says_it_again(self, lasting_url: str, window: str, stored: bool) -> None:
        async with service(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue(window)
            assert await last_words(SENDER, lasting_url, window, str(dialogue)) == [window]
            before = [said async for said in callosum.transcript(dialogue)]
            assert len(before) == stored
            async with service(lasting_url) as again:
                [receipt] = await again.send_many(dialogue, [message("x", idempotency_key="k")])
            [said] = [said async for said in callosum.transcript(dialogue)]
            assert receipt == Receipt(dialogue, 1, said.position)
            assert before in ([], [said])
            assert await delivered_until_the_last(callosum, dialogue) == [("x", 1), ("last", 1)]
            assert await acked(callosum) == [1, 2]


class Silent:
    async def handle(self, message: Message) -> None:
        return None


@pytest.mark.timing
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tool", id="of its name"),
        pytest.param("another", id="of another name", marks=pytest.mark.slow),
    ],
)
async def test_what_a_consumer_leaves_in_its_300th_handler_is_handled_within_3_s(
    lasting_url: str, name: str
) -> None:
    """With another name it has to wait until the leases of a second end."""
    async with service(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("many")
        await say(callosum, dialogue, *range(1000))
        assert await last_words(DYING, lasting_url) == ["message 300"]
        async with callosum.attach(
            Silent(), Tract.EXTERNAL, name, concurrency=8, delivery=DeliverySettings(ack_wait=1.0)
        ):
            ready = monotonic()
            ended = await settled(callosum, 1000)
            assert monotonic() - ready < 3
    assert Counter(outcome.sequence for outcome in ended) == Counter(range(1, 1001))
    assert {outcome.result for outcome in ended} == {Result.ACKED}
    assert 1 <= attempts(ended)[2] <= 8
    assert attempts(ended).keys() == {1, 2}


def attempts(ended: list[Outcome]) -> Counter[int]:
    return Counter(outcome.attempt for outcome in ended)
