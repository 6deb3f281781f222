"""A server that is killed (SIGKILL) again and again under a running service, and who is told when it forgets.

With `appendfsync always` nothing that was acknowledged is lost, and nobody has to do anything. With `everysec` the
end of the log may be lost; then nothing new is stored before a sender has been told.
"""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import monotonic_ns
from typing import Final
from uuid import UUID, uuid4

import pytest

from application.settings import IN_MEMORY
from corpus_callosum import CorpusCallosum, LogLostError, Settings
from infrastructure.redis_streams.private_server import PrivateServer
from projections.consciousness import Consciousness
from projections.runner import Runner
from tests.contract.shared_log import process
from tests.linearizability import Entry, Operation, Place, Refusal, Utterance, problems
from tests.memory_log import dump
from tests.processes import start
from tests.servers import PrivateServerFactory
from tests.test_linearizability import attempt, entry, service

SENDERS: Final = 8
MOST_AWAY: Final = 5.0
"""Seconds from a server's return to the first receipt."""
PAUSE: Final = 0.02
"""Seconds before a sender says again what was not acknowledged."""
PATIENCE: Final = 30.0

Links = list[tuple[int, bytes]]
"""Positions with their chains."""


class Senders:
    """They say one thing after the other, each again under its keys until it is acknowledged."""

    def __init__(self, callosum: CorpusCallosum, name: str, batch: int = 1, length: int = 0) -> None:
        self.history: list[Operation] = []
        self._callosum = callosum
        self._name = name
        self._batch = batch
        self._length = length
        self._changed = asyncio.Condition()
        self._ending = False

    @asynccontextmanager
    async def on(self, dialogues: Sequence[UUID]) -> AsyncIterator[None]:
        """One sender in each; in the end each goes on until its last message is acknowledged."""
        tasks = [asyncio.create_task(self._speak(dialogue, n)) for n, dialogue in enumerate(dialogues)]
        try:
            yield
            self._ending = True
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def told(self, number: int, begun: int) -> list[Operation]:
        """The first so many operations that began after this moment (nanoseconds) and were acknowledged."""
        await self._until(lambda: len(self._acknowledged(begun)) >= number)
        return self._acknowledged(begun)[:number]

    async def have_begun(self, dialogues: Sequence[UUID], moment: int) -> None:
        """Until each has been answered something that began after this moment: all before it are answered, too."""
        await self._until(lambda: len({o.dialogue for o in self._since(moment)}) == len(dialogues))

    def _acknowledged(self, begun: int) -> list[Operation]:
        return [operation for operation in self._since(begun) if operation.places]

    def _since(self, moment: int) -> list[Operation]:
        recent = takewhile(lambda operation: operation.completed > moment, reversed(self.history))
        return [operation for operation in recent if operation.invoked > moment][::-1]

    async def _until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(so)

    async def _speak(self, dialogue: UUID, number: int) -> None:
        for what in count():
            if self._ending:
                return
            names = [f"{self._name}.{number}.{what}.{part}" for part in range(self._batch)]
            said = [Utterance(name.ljust(self._length, "."), key=name) for name in names]
            while not (await self._say(dialogue, said)).places:  # noqa: ASYNC110  # a pause, not a wait for a state
                await asyncio.sleep(PAUSE)

    async def _say(self, dialogue: UUID, said: Sequence[Utterance]) -> Operation:
        operation = await attempt(self._callosum, dialogue, *said)
        self.history.append(operation)  # at once, so that it is in the order of the answers
        async with self._changed:
            self._changed.notify_all()
        return operation


class Follower:
    """What a `follow` of the whole log has yielded."""

    def __init__(self, callosum: CorpusCallosum) -> None:
        self.seen: Links = []
        self.lost = False
        self._ended = False
        self._grown = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(callosum))

    async def _follow(self, callosum: CorpusCallosum) -> None:
        try:
            async for event in callosum.follow():
                self.seen.append((event.position, event.chain))
                await self._tell()
        except LogLostError:
            self.lost = True
        finally:
            self._ended = True
            await self._tell()

    async def _tell(self) -> None:
        async with self._grown:
            self._grown.notify_all()

    async def grows(self, events: int) -> None:
        """Until it has seen so many more."""
        least = len(self.seen) + events
        await self._until(lambda: len(self.seen) >= least)

    async def check(self, links: Links) -> None:
        """It has seen just this log to its end; or something else, and was told so instead of led on."""
        await self._until(lambda: self.seen[-1] == links[-1])
        if self.lost:
            assert self.seen[-1] not in links
        else:
            assert self.seen == links
        assert [position for position, _ in self.seen] == list(range(1, len(self.seen) + 1))

    async def _until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._grown:
            await self._grown.wait_for(lambda: so() or self._ended)
        if self._ended:
            await self._task  # raises what ended it, but for a loss


async def everything(callosum: CorpusCallosum) -> tuple[Links, list[Entry]]:
    recorded = [event async for event in callosum.replay()]
    return [(event.position, event.chain) for event in recorded], [entry(event) for event in recorded]


async def check_read_models(callosum: CorpusCallosum, url: str) -> None:
    """They hold what a fold from scratch makes of the log."""
    async with CorpusCallosum.open(settings=Settings(url=url, views=IN_MEMORY)) as fresh:
        for one in (callosum, fresh):
            await one.consciousness_metrics()
        assert dump(callosum._open.read_side.models, Consciousness()) == dump(
            fresh._open.read_side.models, Consciousness()
        )


async def check_all_is_there(
    callosum: CorpusCallosum, url: str, follower: Follower, history: Sequence[Operation]
) -> None:
    links, log = await everything(callosum)
    assert problems(history, log) == []
    assert {u for e in log for u in e.said} == {u for o in history if o.places for u in o.said}
    await follower.check(links)
    assert not follower.lost
    assert (await callosum.verify()).problem is None
    await check_read_models(callosum, url)
    assert runner_of(callosum).refolds == []


def runner_of(callosum: CorpusCallosum) -> Runner:
    runner = callosum._open.read_side.runner("consciousness")
    assert runner is not None
    return runner


async def opened(callosum: CorpusCallosum, number: int) -> list[UUID]:
    return [await callosum.open_dialogue(f"dialogue {n}") for n in range(number)]


# With `always`


async def survive(server: PrivateServer, kills: int) -> list[float]:
    """Kill the server so many times under load; seconds from each return to the first receipt."""
    chance, away = random.Random(kills), []  # a test's seed, no secret
    async with CorpusCallosum.open(settings=Settings(url=server.url, views=IN_MEMORY, capacity=0)) as callosum:
        dialogues = await opened(callosum, SENDERS)
        follower, senders = Follower(callosum), Senders(callosum, "sender")
        async with senders.on(dialogues):
            for _ in range(kills):
                await senders.told(chance.randint(1, 150), monotonic_ns())
                await asyncio.to_thread(server.kill)
                dead = monotonic_ns()
                await asyncio.to_thread(server.start)
                back = monotonic_ns()
                [first] = await senders.told(1, dead)
                away.append(max(0, first.completed - back) / 1e9)
        await check_all_is_there(callosum, server.url, follower, senders.history)
    unknown = sum(operation.outcome is None for operation in senders.history)
    print(f"{kills} kills, {len(senders.history) - unknown} receipts, {unknown} failures")
    assert unknown >= kills
    return away


class TestAlways:
    async def test_nothing_is_lost_or_doubled_over_3_kills(self, private_server: PrivateServerFactory) -> None:
        assert max(await survive(private_server(), 3)) < MOST_AWAY

    @pytest.mark.stress
    async def test_nothing_is_lost_or_doubled_over_100_kills(self, private_server: PrivateServerFactory) -> None:
        away = await survive(private_server(), 100)
        print(f"back to the first receipt: median {median(away):.3f} s, max {max(away):.3f} s")
        assert max(away) < MOST_AWAY

    @pytest.mark.stress
    async def test_processes_lose_and_double_nothing_over_10_kills(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server()
        async with CorpusCallosum.open(settings=Settings(url=server.url, views=IN_MEMORY, capacity=0)) as callosum:
            follower = Follower(callosum)
            histories = await _kill_under_processes(server, follower, await opened(callosum, SENDERS))
            history = [operation for of_one in histories for operation in of_one]
            await check_all_is_there(callosum, server.url, follower, history)
        failures = [sum(not operation.places for operation in of_one) for of_one in histories]
        print(f"{len(history)} operations, failures of each process: {failures}")
        assert min(failures) >= 10


async def _kill_under_processes(
    server: PrivateServer, follower: Follower, dialogues: list[UUID]
) -> list[list[Operation]]:
    chance = random.Random(10)  # a test's seed, no secret
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(process(send_until_told, server.url, f"process {number}", dialogues))
            for number in range(3)
        ]
        for pipe in pipes:
            assert await asyncio.to_thread(pipe.recv) == "ready"
        for _ in range(10):
            await follower.grows(chance.randint(5, 100))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await follower.grows(100)
        for pipe in pipes:
            pipe.send("end")
        return [await asyncio.to_thread(pipe.recv) for pipe in pipes]


def send_until_told(pipe: Connection, url: str, name: str, dialogues: list[UUID]) -> None:
    asyncio.run(_send_until_told(pipe, url, name, dialogues))


async def _send_until_told(pipe: Connection, url: str, name: str, dialogues: list[UUID]) -> None:
    async with service(url) as callosum:
        senders = Senders(callosum, name)
        async with senders.on(dialogues):
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
    pipe.send(senders.history)


# With `everysec`


@dataclass(frozen=True)
class Load:
    senders: int
    batch: int
    length: int
    """Characters of a message."""


LIGHT: Final = Load(senders=8, batch=2, length=0)
HEAVY: Final = Load(senders=64, batch=4, length=500)

KILLS: Final = 20
LONGEST_LOAD: Final = 3.0
"""Seconds in which a server postpones a write, or is killed all the same."""

KILLER: Final = """
import os, signal, sys, threading, time, redis

socket, pid, seconds = sys.argv[1:]

def keep_the_disk_busy():
    with open(os.path.join(os.path.dirname(socket), "noise"), "wb") as noise:
        while True:
            os.pwrite(noise.fileno(), bytes(32 * 1024 * 1024), 0)
            os.fsync(noise.fileno())

threading.Thread(target=keep_the_disk_busy, daemon=True).start()
with redis.Redis(unix_socket_path=socket) as client:
    looks, deadline = 0, time.monotonic() + float(seconds)
    while looks < 5 and time.monotonic() < deadline:
        found = client.info("persistence")
        # Once is not enough: what came with this very look is not answered yet.
        looks = looks + 1 if found["aof_pending_bio_fsync"] and found["aof_buffer_length"] else 0
os.kill(int(pid), signal.SIGKILL)
"""
"""Slows a server's syncs, and kills it when one takes so long that it answers before it writes.

A process of its own, because the moment is over soon.
"""


class Victim:
    """A server with the moment before the load to go back to."""

    def __init__(self, start: PrivateServerFactory, directory: Path) -> None:
        self.server = start(directory / "server", fsync="everysec")
        self._start = start
        self._directory = directory

    @property
    def _files(self) -> Path:
        return self.server.directory / "appendonlydir"

    def remember(self) -> None:
        self.server.stop()
        shutil.copytree(self._files, self._directory / "before")
        self.server.start()

    def end(self) -> None:
        self.server.close()
        shutil.rmtree(self._directory)

    def kill(self) -> None:
        self.server.kill()

    def go_back(self) -> None:
        """Kill it, and let all be lost that came after `remember`."""
        self.server.kill()
        shutil.rmtree(self._files)
        shutil.move(self._directory / "before", self._files)

    def kill_when_it_postpones(self) -> None:
        """Kill it when it has answered for what it has not written: that will be lost."""
        with start("-c", KILLER, str(self.server.socket), str(self.server.pid), str(LONGEST_LOAD)) as killer:
            assert killer.communicate() == ("", "")
        self.server.kill()

    async def left(self) -> tuple[Links, list[Entry]]:
        """What the killed server has kept, as another one finds it in a copy of the files."""
        copy = self._directory / "copy"
        await asyncio.to_thread(shutil.copytree, self._files, copy / self._files.name)
        server = await asyncio.to_thread(self._start, copy)
        async with service(server.url) as callosum:
            found = await everything(callosum)
        server.close()
        shutil.rmtree(copy)
        return found


@dataclass(frozen=True)
class Fate:
    """How many acknowledged operations are missing, and who was told of a loss."""

    missing: int
    senders: int
    follower: bool
    refolds: int


async def live(victim: Victim, load: Load, kill: Callable[[], None]) -> Fate:
    """One life of a service under this load, whose server is killed like this and comes back."""
    async with CorpusCallosum.open(
        settings=Settings(url=victim.server.url, views=IN_MEMORY, capacity=0)
    ) as callosum:
        dialogues = await opened(callosum, load.senders)
        remembered, _ = await everything(callosum)
        await asyncio.to_thread(victim.remember)
        follower, senders = Follower(callosum), Senders(callosum, "sender", load.batch, load.length)
        async with senders.on(dialogues):
            await follower.grows(len(remembered) + 1)
            await callosum.consciousness_metrics()
            await asyncio.to_thread(kill)
            await senders.have_begun(dialogues, monotonic_ns())
            before, folded, restart = list(senders.history), runner_of(callosum).checkpoint, monotonic_ns()
            links, log = await victim.left()
            await asyncio.to_thread(victim.server.start)
            await senders.told(2 * load.senders, restart)
        missing = missing_of(before, log)
        told = check_senders(senders.history[len(before) :], missing=bool(missing))
        now, entries = await everything(callosum)
        assert now[: len(links)] == links
        kept = [o for o in senders.history if o not in missing and o.outcome is not Refusal.LOG_LOST]
        assert problems(kept, entries) == []
        await follower.check(now)
        await check_read_models(callosum, victim.server.url)
        refolds = runner_of(callosum).refolds
    assert refolds or (folded.position, folded.chain) in links
    assert all(int(reason.split("position ")[1].split(",")[0]) > len(links) for reason in refolds)
    return Fate(len(missing), told, follower.lost, len(refolds))


def missing_of(history: Sequence[Operation], log: Sequence[Entry]) -> set[Operation]:
    """What was acknowledged and is not where the receipts say."""
    there = {
        (e.dialogue, said, Place(sequence, e.position))
        for e in log
        for sequence, said in enumerate(e.said, e.first_sequence)
    }
    return {
        o
        for o in history
        if o.places and not there.issuperset((o.dialogue, *told) for told in zip(o.said, o.places, strict=True))
    }


def check_senders(after: Sequence[Operation], *, missing: bool) -> int:
    """A loss was told before anything new was stored, and only a loss. How many were told."""
    told = [operation for operation in after if operation.outcome is not None]
    lost = [operation for operation in told if operation.outcome is Refusal.LOG_LOST]
    assert (told[0] in lost) is bool(lost) is missing
    return len(lost)


@pytest.fixture
def victims(private_server: PrivateServerFactory, tmp_path: Path) -> Iterator[Callable[[], Victim]]:
    """Makes them, one after the other; the files of the one before are gone then."""
    victims: list[Victim] = []

    def make() -> Victim:
        for victim in victims:
            victim.end()
        victims[:] = [Victim(private_server, tmp_path / uuid4().hex)]
        return victims[0]

    yield make
    for victim in victims:
        victim.end()


class TestEverysec:
    async def test_a_loss_is_told_to_all_whom_it_concerns(self, victims: Callable[[], Victim]) -> None:
        victim = victims()
        fate = await live(victim, LIGHT, victim.go_back)
        assert fate.missing
        assert fate.senders
        assert fate.follower
        assert fate.refolds == 1

    async def test_no_loss_is_told_when_nothing_was_lost(self, victims: Callable[[], Victim]) -> None:
        victim = victims()
        assert await live(victim, LIGHT, victim.kill) == Fate(0, 0, follower=False, refolds=0)

    @pytest.mark.stress
    async def test_a_loss_under_heavy_load_is_told_to_all_whom_it_concerns(
        self, victims: Callable[[], Victim]
    ) -> None:
        for _ in range(3):
            victim = victims()
            fate = await live(victim, HEAVY, victim.go_back)
            print(fate)
            assert fate.missing
            assert fate.follower
            assert fate.refolds == 1

    @pytest.mark.stress
    async def test_kills_under_heavy_load_lose_nothing_unsaid(self, victims: Callable[[], Victim]) -> None:
        fates = []
        for _ in range(KILLS):
            victim = victims()
            fates.append(await live(victim, HEAVY, victim.kill_when_it_postpones))
            print(fates[-1])
        print(f"{sum(fate.missing > 0 for fate in fates)} of {KILLS} kills lost something")
