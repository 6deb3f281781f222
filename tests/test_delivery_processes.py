"""Producers and consumers that are killed: what they were told is stored is delivered, and settled once.

What a killed consumer held goes to others, and what it settled never comes back.
"""

import asyncio
import random
import signal
import subprocess
import sys
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Final, Protocol
from uuid import UUID

import pytest

from corpus_callosum import (
    BackpressureError,
    Consumer,
    CorpusCallosum,
    Dialogue,
    Message,
    Outcome,
    Priority,
    Receipt,
    Recorded,
    Result,
    Settings,
    Tract,
)
from tests.deliveries import say
from tests.processes import start

BATCH: Final = 50
HELD: Final = 8
"""The most that one consumer holds."""
PRODUCERS: Final = [f"producer {number}" for number in range(4)]
CONSUMERS: Final = [f"consumer {number}" for number in range(4)]

Place = tuple[UUID, int]
"""A message's dialogue and sequence."""

CONSUMER = """
import asyncio, sys
from corpus_callosum import CorpusCallosum, DeliverySettings, Settings, Tract

class Agent:
    async def handle(self, message):
        if message.payload == "deadly":
            print("handling", flush=True)
            await asyncio.Event().wait()
        await asyncio.sleep(0.005)  # its work
        return None

async def main(url, name, concurrency, ack_wait):
    settings = Settings(url=url, project=False, views="sqlite://")
    async with CorpusCallosum.open(settings=settings) as callosum:
        delivery = DeliverySettings(ack_wait=ack_wait, max_deliver=50)
        async with callosum.attach(Agent(), Tract.EXTERNAL, name, concurrency=concurrency, delivery=delivery):
            print("ready", flush=True)
            await asyncio.Event().wait()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
"""

PRODUCER = """
import asyncio, sys
from uuid import UUID
from tests.test_delivery_processes import produce, service

def tell(receipts):
    print(*(f"{receipt.dialogue} {receipt.sequence}" for receipt in receipts), sep="\\n", flush=True)

async def main(url, name, count, *dialogues):
    async with service(url, capacity=None) as callosum:
        print("ready", flush=True)
        await produce(callosum, name, int(count), [UUID(dialogue) for dialogue in dialogues], tell)

asyncio.run(main(*sys.argv[1:]))
"""


def consumer(url: str, name: str) -> subprocess.Popen[str]:
    process = start("-c", CONSUMER, url, name, str(HELD), "1")
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


def service(url: str, capacity: int | None = 0) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://", capacity=capacity))


async def hold_and_die(callosum: CorpusCallosum, url: str, name: str) -> None:
    """A consumer of this name is handed a message, and is killed with it."""
    dialogue = await callosum.open_dialogue("deadly")
    with killed_at_the_end(await asyncio.to_thread(consumer, url, name)) as victim:
        await say(callosum, dialogue, "deadly")
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


# Many messages, and many deaths


async def produce(
    callosum: CorpusCallosum,
    name: str,
    count: int,
    dialogues: Sequence[UUID],
    tell: Callable[[list[Receipt]], object],
) -> None:
    """Send a share of messages: all of it, under keys, so that whoever begins again sends none twice."""
    for first in range(0, count, BATCH):
        batch = [
            Message(
                source=Tract.INTERNAL,
                target=Tract.EXTERNAL,
                sender=name,
                payload=number,
                priority=Priority(1 + number % 5),
                idempotency_key=f"{name} {number}",
            )
            for number in range(first, min(first + BATCH, count))
        ]
        tell(await said(callosum, dialogues[first // BATCH % len(dialogues)], batch))


async def said(callosum: CorpusCallosum, dialogue: UUID, batch: list[Message]) -> list[Receipt]:
    while True:
        try:
            return await callosum.send_many(dialogue, batch)
        except BackpressureError as full:
            await asyncio.sleep(full.retry_after)


async def consume(callosum: CorpusCallosum, name: str) -> None:
    async with callosum.subscribe(Tract.EXTERNAL, name, demand=HELD) as subscription:
        async for delivery in subscription:
            await asyncio.sleep(0.002)  # its work
            await delivery.ack()


class Life:
    """What the log tells of every message, and where it ended when consumers were killed."""

    def __init__(self) -> None:
        self.conveyed: dict[Place, int] = {}
        self.ended: defaultdict[Place, list[tuple[int, Outcome]]] = defaultdict(list)
        self.acked = 0
        self.deaths: list[int] = []
        """The log's heads after a consumer was killed and before it was started again."""

    def note(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Dialogue.Conveyed):
            for sequence in range(event.first_sequence, event.first_sequence + len(event.messages)):
                self.conveyed[event.originator_id, sequence] = recorded.position
        elif isinstance(event, Consumer.Settled):
            for outcome in event.outcomes:
                self.ended[outcome.dialogue, outcome.sequence].append((recorded.position, outcome))
                self.acked += outcome.result is Result.ACKED

    def check_ends(self, receipts: set[Place]) -> None:
        """Every acknowledged one was acked, once, and then no more was heard of it."""
        assert self.conveyed.keys() == receipts
        assert self.ended.keys() == receipts
        assert {ended[-1][1].result for ended in self.ended.values()} == {Result.ACKED}
        assert {outcome.result for ended in self.ended.values() for _, outcome in ended[:-1]} <= {Result.RETRIED}

    def check(self, receipts: set[Place], messages: int) -> int:
        """So it is, and attempts have no gaps of their own; how many were lost with a consumer."""
        assert len(receipts) == messages
        self.check_ends(receipts)
        lost = sum(self._lost(place) for place in receipts)
        assert lost <= HELD * len(self.deaths)
        return lost

    def _lost(self, place: Place) -> int:
        """Attempts without an outcome. In each, a consumer was killed that could have held the message."""
        lost, attempt, since = 0, 1, self.conveyed[place]
        for position, outcome in self.ended[place]:
            without = outcome.attempt - attempt
            deaths = bisect_left(self.deaths, position) - bisect_left(self.deaths, since)
            assert 0 <= without <= deaths, (place, self.ended[place], self.deaths)
            lost, since = lost + without, position
            unseen = outcome.error == "it was given back unseen"
            attempt = outcome.attempt + (not unseen)
        return lost

    def attempts(self) -> dict[int, int]:
        """How many messages were acked at which attempt."""
        return dict(sorted(Counter(ended[-1][1].attempt for ended in self.ended.values()).items()))


class Crowd(Protocol):
    """Producers and consumers at work. Who is killed can be started again under its name."""

    @property
    def receipts(self) -> set[Place]:
        """Of what was acknowledged."""
        ...

    def start(self, name: str) -> None: ...

    async def kill_one(self, names: Sequence[str]) -> str | None:
        """The first of these that is at work; None: all have come to their end."""
        ...

    async def end(self) -> None:
        """Let the producers come to their end, and kill the consumers."""


class Heard:
    """A process that tells when it is ready, and then of its receipts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ready = Event()
        self.receipts: set[Place] = set()

    @contextmanager
    def killed_at_the_end(self) -> Iterator[None]:
        thread = Thread(target=self._hear)
        with killed_at_the_end(self.process):
            thread.start()
            try:
                yield
            finally:
                self.process.kill()
                thread.join()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                self.ready.set()
            elif line.endswith("\n"):  # the last one may be cut
                dialogue, sequence = line.split()
                self.receipts.add((UUID(dialogue), int(sequence)))

    async def kill(self) -> bool:
        """Once it is ready; whether it was at work until then."""
        assert await asyncio.to_thread(self.ready.wait, 20)
        self.process.kill()
        return await asyncio.to_thread(self.process.wait) == -signal.SIGKILL


class Processes:
    def __init__(self, stack: ExitStack, url: str, share: int, dialogues: Sequence[UUID]) -> None:
        self._stack = stack
        self._url = url
        self._share = (str(share), *map(str, dialogues))
        self._running: dict[str, Heard] = {}
        self._all: list[Heard] = []

    @property
    def receipts(self) -> set[Place]:
        return set[Place]().union(*(each.receipts for each in self._all))

    def start(self, name: str) -> None:
        if name in PRODUCERS:
            process = start("-c", PRODUCER, self._url, name, *self._share)
        else:
            process = start("-c", CONSUMER, self._url, name, str(HELD), "30")
        self._running[name] = Heard(process)
        self._all.append(self._running[name])
        self._stack.enter_context(self._running[name].killed_at_the_end())

    async def kill_one(self, names: Sequence[str]) -> str | None:
        for name in sorted(names, key=lambda name: not self._running[name].ready.is_set()):
            if await self._running[name].kill():
                return name
        return None

    async def end(self) -> None:
        for name, running in self._running.items():
            if name in PRODUCERS:
                assert await asyncio.to_thread(running.process.wait) == 0
        self._stack.close()


class Tasks:
    def __init__(self, callosum: CorpusCallosum, share: int, dialogues: Sequence[UUID]) -> None:
        self.receipts: set[Place] = set()
        self._callosum = callosum
        self._share = (share, dialogues, self._hear)
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        work = produce(self._callosum, name, *self._share) if name in PRODUCERS else consume(self._callosum, name)
        self._running[name] = asyncio.create_task(work)

    def _hear(self, receipts: list[Receipt]) -> None:
        self.receipts |= {(receipt.dialogue, receipt.sequence) for receipt in receipts}

    async def kill_one(self, names: Sequence[str]) -> str | None:
        for name in names:
            task = self._running[name]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if task.cancelled():
                return name
        return None

    async def end(self) -> None:
        for name, task in self._running.items():
            if name in PRODUCERS:
                await task
            else:
                assert await self.kill_one([name])


async def disturbed(
    callosum: CorpusCallosum, life: Life, messages: int, kills: int, kill: Callable[[], Awaitable[None]]
) -> None:
    """Follow the log until all is acked; kill when so many are, at random."""
    moments = random.Random(messages).sample(range(messages * 6 // 10), kills)  # a test's seed, no secret
    waiting = deque(sorted(moments))
    async for recorded in callosum.follow():
        life.note(recorded)
        if waiting and life.acked >= waiting[0]:
            waiting.popleft()
            await kill()
        if life.acked >= messages:
            break
    assert not waiting


async def survive(callosum: CorpusCallosum, crowd: Crowd, *, messages: int, each: int, kills: int) -> Life:
    """So many producers and as many consumers; producers and consumers are killed in turn."""
    life, chance = Life(), random.Random(kills)  # a test's seed, no secret
    kinds = deque([PRODUCERS[:each], CONSUMERS[:each]])

    async def kill() -> None:
        names = kinds[0]
        kinds.rotate()
        killed = await crowd.kill_one(chance.sample(names, each))
        assert killed is not None, "nobody was at work any more"
        if killed in CONSUMERS:
            life.deaths.append(await callosum._open.reader.call(callosum._open.log.head))
        crowd.start(killed)

    for name in (*kinds[0], *kinds[1]):
        crowd.start(name)
    async with asyncio.timeout(30 + messages / 200):
        await disturbed(callosum, life, messages, kills, kill)
        await crowd.end()
    assert len(life.deaths) == kills // 2
    assert (await callosum.verify()).problem is None
    state = callosum._open.log.recorder.inbox.state(Tract.EXTERNAL)
    assert (state.level.backlog, state.pending, state.in_flight, state.dead) == (0, [], [], 0)
    return life


async def opened(callosum: CorpusCallosum) -> list[UUID]:
    return [await callosum.open_dialogue(f"dialogue {number}") for number in range(10)]


async def survived_by_processes(url: str, *, messages: int, each: int, kills: int) -> tuple[Life, int]:
    """What became of the messages, and the attempts that were lost."""
    async with service(url, capacity=messages // 5) as callosum:
        with ExitStack() as stack:
            processes = Processes(stack, url, messages // each, await opened(callosum))
            life = await survive(callosum, processes, messages=messages, each=each, kills=kills)
        return life, life.check(processes.receipts, messages)


@pytest.mark.slow
async def test_every_message_is_acked_once_however_many_consumers_are_killed(lasting_url: str) -> None:
    """Producers, too."""
    await survived_by_processes(lasting_url, messages=400, each=2, kills=2)


async def test_every_message_is_acked_once_however_many_tasks_are_cancelled(lasting_url: str) -> None:
    async with service(lasting_url, capacity=60) as callosum:
        tasks = Tasks(callosum, 100, await opened(callosum))
        life = await survive(callosum, tasks, messages=400, each=4, kills=10)
    life.check(tasks.receipts, 400)


@pytest.mark.stress
async def test_fifty_thousand_messages_are_acked_once_over_20_kills(lasting_url: str) -> None:
    began = monotonic()
    life, lost = await survived_by_processes(lasting_url, messages=50_000, each=4, kills=20)
    assert lost > 0
    sys.stdout.write(
        f"\n50,000 messages acked once over 10 kills of producers and {len(life.deaths)} of consumers "
        f"in {monotonic() - began:.1f} s; {lost} attempts were lost with a consumer; "
        f"acked at attempt: {life.attempts()}\n"
    )
