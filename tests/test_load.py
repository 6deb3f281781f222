"""Many senders at once: every receipt is right, order holds, and the event loop stays free."""

import asyncio
import gc
import random
import re
import sqlite3
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Message, Receipt, ReplyToUnknownMessageError, Settings, Tract
from tests.processes import ROOT, start

SENDERS = 64
DIALOGUES = 100
MOST_LAG = 0.010
"""Seconds."""


class LagWatch:
    """Looks at the clock every 2 ms and notes by how much the loop is late."""

    def __init__(self) -> None:
        self.lags: list[float] = []

    async def __aenter__(self) -> "LagWatch":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        due = asyncio.Event()
        while True:
            expected = loop.time() + 0.002
            loop.call_at(expected, due.set)
            await due.wait()
            due.clear()
            self.lags.append(loop.time() - expected)

    def percentile(self, share: float) -> float:
        return sorted(self.lags)[int(share * (len(self.lags) - 1))]


def _says(dialogues: list[UUID], seed: int, messages: int) -> Iterator[tuple[UUID, dict[str, Any]]]:
    """What one sender says where; the same again for the same seed, so that nobody has to keep it."""
    chance = random.Random(seed)  # a test's seed, no secret
    for number in range(messages // SENDERS):
        yield chance.choice(dialogues), {"number": number, "noise": chance.random()}


async def _sender(
    callosum: CorpusCallosum, name: str, says: Iterator[tuple[UUID, dict[str, Any]]]
) -> list[Receipt]:
    return [
        await callosum.send(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender=name, payload=payload)
        for dialogue, payload in says
    ]


async def _mistaken(callosum: CorpusCallosum, dialogues: list[UUID], stop: asyncio.Event) -> int:
    """Sends what must be refused, all the while."""
    refused = 0
    while not stop.is_set():
        message = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="mistaken", in_reply_to=10**6)
        [outcome] = await asyncio.gather(
            callosum.send_many(dialogues[refused % DIALOGUES], [message]), return_exceptions=True
        )
        assert isinstance(outcome, ReplyToUnknownMessageError)
        refused += 1
    return refused


class Traffic:
    """What came of so many messages of 64 senders over 100 dialogues, with refused ones in between."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.dialogues: list[UUID] = []
        self.receipts: list[list[Receipt]] = []
        self.refused = 0
        self.watch = LagWatch()

    async def run(self, callosum: CorpusCallosum) -> None:
        opened = (callosum.open_dialogue(f"dialogue {n}") for n in range(DIALOGUES))
        self.dialogues = list(await asyncio.gather(*opened))
        stop = asyncio.Event()
        mistaken = asyncio.create_task(_mistaken(callosum, self.dialogues, stop))
        async with self.watch:
            senders = (_sender(callosum, f"sender {n}", self.says(n)) for n in range(SENDERS))
            self.receipts = await asyncio.gather(*senders)
        stop.set()
        self.refused = await mistaken

    def says(self, sender: int) -> Iterator[tuple[UUID, dict[str, Any]]]:
        return _says(self.dialogues, sender, self.messages)


@pytest.mark.parametrize("messages", [1920, pytest.param(10_048, marks=pytest.mark.stress)])
async def test_messages_of_64_senders_are_each_where_the_receipt_says(lasting_url: str, messages: int) -> None:
    traffic = Traffic(messages)
    async with CorpusCallosum.open(settings=Settings(url=lasting_url, capacity=0)) as callosum:
        await traffic.run(callosum)
        recorded = {
            (spoken.dialogue, spoken.sequence): spoken
            for dialogue in traffic.dialogues
            async for spoken in callosum.transcript(dialogue)
        }
        checked = await callosum.verify()
    assert len(recorded) == checked.messages == messages
    assert checked.problem is None
    assert traffic.refused > 0
    for seed, receipts in enumerate(traffic.receipts):
        for receipt, (dialogue, payload) in zip(receipts, traffic.says(seed), strict=True):
            spoken = recorded[dialogue, receipt.sequence]
            assert receipt == Receipt(dialogue, spoken.sequence, spoken.position)
            assert (spoken.sender, spoken.payload) == (f"sender {seed}", payload)
        assert all(one.position <= next_.position for one, next_ in pairwise(receipts))


async def test_between_the_answers_of_a_round_the_loop_gets_to_other_things(tmp_path: Path) -> None:
    turn, told = 0, Counter[int]()

    async def other_things() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def say() -> None:
        await callosum.send(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="one of many")
        told[turn] += 1

    path = tmp_path / "callosum.db"
    async with CorpusCallosum.open(settings=Settings(url=f"sqlite:///{path}", project=False)) as callosum:
        dialogue = await callosum.open_dialogue("crowded")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # the first round has to wait, and all others are one
            saying = asyncio.gather(*(say() for _ in range(SENDERS)))
            await asyncio.sleep(0.1)
            connection.execute("COMMIT")
        others = asyncio.create_task(other_things())
        await saying
        others.cancel()
    assert told.total() == SENDERS
    assert max(told.values()) <= SENDERS / 4


async def test_all_of_a_round_hear_of_it_whatever_one_of_them_does(callosum: CorpusCallosum) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("as it may")

    writer, heard = callosum._open.writer, list[object]()
    with pytest.raises(RuntimeError, match="as it may"):
        writer._tell(deque([(fails, 1), *((heard.append, number) for number in range(SENDERS))]), lambda: None)
    writer.when_told(lambda: heard.append("all"))
    await asyncio.sleep(0.1)
    assert heard == [*range(SENDERS), "all"]


async def test_who_waits_until_a_round_has_heard_waits_for_no_later_one(callosum: CorpusCallosum) -> None:
    writer, heard = callosum._open.writer, list[object]()
    for name, count in (("first", SENDERS), ("second", 2 * SENDERS)):
        writer._tell(deque((heard.append, name) for _ in range(count)), lambda: None)
        writer.when_told(partial(heard.append, f"all of the {name}"))
    assert len(heard) < SENDERS
    await asyncio.sleep(0.1)
    [first, second] = (heard.index(f"all of the {name}") for name in ("first", "second"))
    assert heard[:first].count("first") == SENDERS
    assert heard[first:second].count("second") > 0
    assert heard[:second].count("second") == 2 * SENDERS
    writer.when_told(partial(heard.append, "soon"))
    await asyncio.sleep(0)
    assert heard[-1] == "soon"


@contextmanager
def garbage() -> Iterator[list[object]]:
    """What cannot be reached any more at its end, and was not freed, because it refers to itself."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


class TestNothingRefersToItself:
    """A search for what does holds up all threads, and is made the more often the more there is of it."""

    async def test_of_messages_that_are_said_and_handled(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        said = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="one")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=8) as subscription:
            with garbage() as found:
                for _ in range(100):
                    await callosum.send_many(dialogue, [said])
                    await (await anext(subscription)).ack()
        assert len(found) < 100

    async def test_of_a_round_in_which_one_is_refused(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        said = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="one")
        mistaken = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="one", in_reply_to=10**6)
        with garbage() as found:
            for _ in range(10):
                sends = (callosum.send_many(dialogue, [each]) for each in (said, mistaken, said))
                await asyncio.gather(*sends, return_exceptions=True)
        assert not [each for each in found if type(each).__module__ == "application.round"]


@pytest.fixture
def settle_down() -> Iterator[Callable[[], None]]:
    """What the README says of a loop that must not be late. A collection of pytest's heap takes 50 ms, too."""
    [lines] = re.findall(r"```python\n(gc\.collect.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    interval = sys.getswitchinterval()
    yield lambda: exec(lines, {"gc": gc, "sys": sys})  # our own README
    gc.unfreeze()
    sys.setswitchinterval(interval)


FOLDER = """
import asyncio, sys
from corpus_callosum import CorpusCallosum, Settings

async def main():
    async with CorpusCallosum.open(settings=Settings(url=sys.argv[1], capacity=0)) as callosum:
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print((await callosum.consciousness_metrics()).total_messages, flush=True)

asyncio.run(main())
"""


async def lags(url: str, settle_down: Callable[[], None], *, project: bool) -> LagWatch:
    traffic = Traffic(10_048)
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=0, project=project)) as callosum:
        settle_down()
        started = perf_counter()
        await traffic.run(callosum)
        rate = traffic.messages / (perf_counter() - started)
    watch = traffic.watch
    sys.stdout.write(
        f"loop lag: p50 {watch.percentile(0.5) * 1e3:.2f} ms, p99 {watch.percentile(0.99) * 1e3:.2f} ms,"
        f" p99.9 {watch.percentile(0.999) * 1e3:.2f} ms,"
        f" max {max(watch.lags) * 1e3:.2f} ms over {len(watch.lags)} looks, {rate:,.0f} messages/s\n"
    )
    return watch


async def least_lag(directory: Path, lag_of: Callable[[str], Awaitable[float]]) -> float:
    """Of the first good round. What else the machine does makes one worse, never better: one of six is enough."""
    found: list[float] = []
    while len(found) < 6 and min(found, default=MOST_LAG) >= MOST_LAG:
        found.append(await lag_of(f"sqlite:///{directory}/{len(found)}.db"))
    return min(found)


@pytest.mark.timing
async def test_99_looks_of_100_find_the_event_loop_less_than_10_ms_late(
    tmp_path: Path, settle_down: Callable[[], None]
) -> None:
    async def lag_of(url: str) -> float:
        return (await lags(url, settle_down, project=True)).percentile(0.99)

    assert await least_lag(tmp_path, lag_of) < MOST_LAG


@pytest.mark.slow
@pytest.mark.timing
async def test_every_look_does_when_another_process_keeps_the_read_models(
    tmp_path: Path, settle_down: Callable[[], None]
) -> None:
    async def lag_of(url: str) -> float:
        with start("-c", FOLDER, url) as another:
            assert another.stdout is not None
            assert another.stdout.readline() == "open\n", another.communicate()
            watch = await lags(url, settle_down, project=False)
            out, _ = another.communicate("\n")
        assert out == f"{10_048}\n"
        return max(watch.lags)

    assert await least_lag(tmp_path, lag_of) < MOST_LAG
