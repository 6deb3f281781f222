"""Consumers that are killed: what they held goes to others, and what they settled never comes back."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

import pytest

from corpus_callosum import Consumer, CorpusCallosum, Message, Outcome, Priority, Result, Settings, Tract
from tests.processes import start

CONSUMER = """
import asyncio, sys
from corpus_callosum import CorpusCallosum, DeliverySettings, Settings, Tract

class Agent:
    async def handle(self, message):
        if message.payload == "deadly":
            print("handling", flush=True)
            await asyncio.Event().wait()
        return None

async def main(url, name, concurrency):
    settings = Settings(url=url, project=False, views="sqlite://", capacity=0)
    async with CorpusCallosum.open(settings=settings) as callosum:
        delivery = DeliverySettings(ack_wait=1.0, max_deliver=50)
        async with callosum.attach(Agent(), Tract.EXTERNAL, name, concurrency=concurrency, delivery=delivery):
            print("ready", flush=True)
            await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def consumer(url: str, name: str, concurrency: int = 8) -> subprocess.Popen[str]:
    process = start("-c", CONSUMER, url, name, str(concurrency))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def service(url: str) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://", capacity=0))


async def say(callosum: CorpusCallosum, dialogue: UUID, payloads: list[object]) -> None:
    await callosum.send_many(
        dialogue,
        [
            Message(
                source=Tract.INTERNAL,
                target=Tract.EXTERNAL,
                sender="planner",
                payload=payload,
                priority=Priority(1 + number % 5),
            )
            for number, payload in enumerate(payloads)
        ],
    )


async def hold_and_die(callosum: CorpusCallosum, url: str, name: str) -> None:
    """A consumer of this name is handed a message, and is killed with it."""
    dialogue = await callosum.open_dialogue("deadly")
    with killed_at_the_end(await asyncio.to_thread(consumer, url, name)) as victim:
        await say(callosum, dialogue, ["deadly"])
        assert victim.stdout is not None
        assert await asyncio.to_thread(victim.stdout.readline) == "handling\n"


async def test_what_a_killed_consumer_held_goes_to_another_when_its_lease_ends(lasting_url: str) -> None:
    async with service(lasting_url) as callosum:
        await hold_and_die(callosum, lasting_url, "victim")
        async with callosum.subscribe(Tract.EXTERNAL, "heir") as subscription:
            delivery = await asyncio.wait_for(anext(subscription), 5)
            assert (delivery.message.payload, delivery.attempt) == ("deadly", 2)
            await delivery.ack()


async def test_what_a_killed_consumer_held_goes_to_the_next_of_its_name_at_once(lasting_url: str) -> None:
    async with service(lasting_url) as callosum:
        await hold_and_die(callosum, lasting_url, "tool")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            assert (await asyncio.wait_for(anext(subscription), 0.9)).attempt == 2


async def until_acked(callosum: CorpusCallosum, messages: int) -> list[Outcome]:
    """Follow the log until so many are acked; every outcome, in its order."""
    outcomes: list[Outcome] = []
    acked = 0
    async for recorded in callosum.follow():
        if isinstance(recorded.event, Consumer.Settled):
            outcomes += recorded.event.outcomes
            acked += sum(outcome.result is Result.ACKED for outcome in recorded.event.outcomes)
        if acked >= messages:
            return outcomes
    raise AssertionError("the service was closed before")


async def rounds(url: str, *, messages: int, consumers: int, kills: int, seed: int) -> list[Outcome]:
    """Send, and kill consumers at random until all is acked; every outcome, in the log's order."""
    choice = random.Random(seed)
    with ExitStack() as processes:
        running = {
            f"tool {number}": processes.enter_context(
                killed_at_the_end(await asyncio.to_thread(consumer, url, f"tool {number}"))
            )
            for number in range(consumers)
        }
        async with service(url) as callosum:
            dialogues = [await callosum.open_dialogue(f"dialogue {number}") for number in range(10)]
            batches = [list(range(start, start + 50)) for start in range(0, messages, 50)]
            for number, batch in enumerate(batches):
                await say(callosum, dialogues[number % 10], list(batch))
                if kills and number % max(1, len(batches) // kills) == 0:
                    name = choice.choice(list(running))
                    running[name].kill()
                    fresh = await asyncio.to_thread(consumer, url, name)
                    running[name] = processes.enter_context(killed_at_the_end(fresh))
            async with asyncio.timeout(30 + messages / 200):
                outcomes = await until_acked(callosum, messages)
            assert (await callosum.verify()).problem is None
            assert callosum._open.log.recorder.inbox.level(Tract.EXTERNAL).backlog == 0
    return outcomes


def check(outcomes: list[Outcome], messages: int) -> None:
    acked = Counter((o.dialogue, o.sequence) for o in outcomes if o.result is Result.ACKED)
    assert len(acked) == messages
    assert set(acked.values()) == {1}
    last: dict[tuple[UUID, int], Outcome] = {}
    for outcome in outcomes:
        earlier = last.get((outcome.dialogue, outcome.sequence))
        if earlier is not None:
            assert earlier.result is not Result.ACKED
            assert outcome.attempt > earlier.attempt
        last[outcome.dialogue, outcome.sequence] = outcome


async def test_every_message_is_acked_once_however_many_consumers_are_killed(lasting_url: str) -> None:
    outcomes = await rounds(lasting_url, messages=1000, consumers=2, kills=4, seed=1)
    check(outcomes, 1000)


@pytest.mark.stress
async def test_fifty_thousand_messages_are_acked_once_over_20_kills(lasting_url: str) -> None:
    outcomes = await rounds(lasting_url, messages=50_000, consumers=4, kills=20, seed=2)
    check(outcomes, 50_000)
    attempts = Counter(outcome.attempt for outcome in outcomes if outcome.result is Result.ACKED)
    sys.stdout.write(f"\n50,000 messages acked once over 20 kills; by attempt: {dict(sorted(attempts.items()))}\n")
