"""Many senders at once: every receipt is right, order holds, and the event loop stays free."""

import asyncio
import gc
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Message, Receipt, ReplyToUnknownMessageError, Settings, Tract

SENDERS = 64
DIALOGUES = 100
MESSAGES = 10_000
MOST_LAG = 0.010
"""Seconds."""
ROUNDS = 3


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


async def _sender(
    callosum: CorpusCallosum, name: str, dialogues: list[UUID], seed: int
) -> list[tuple[Receipt, str, dict[str, Any]]]:
    chance = random.Random(seed)  # a test's seed, no secret
    sent: list[tuple[Receipt, str, dict[str, Any]]] = []
    for number in range(MESSAGES // SENDERS + 1):
        payload = {"number": number, "noise": chance.random()}
        receipt = await callosum.send(
            chance.choice(dialogues), source=Tract.INTERNAL, target=Tract.EXTERNAL, sender=name, payload=payload
        )
        sent.append((receipt, name, payload))
    return sent


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
    """What came of 10,000 messages of 64 senders over 100 dialogues, with refused ones in between."""

    def __init__(self) -> None:
        self.dialogues: list[UUID] = []
        self.sent: list[list[tuple[Receipt, str, dict[str, Any]]]] = []
        self.refused = 0
        self.watch = LagWatch()

    async def run(self, callosum: CorpusCallosum) -> None:
        opened = (callosum.open_dialogue(f"dialogue {n}") for n in range(DIALOGUES))
        self.dialogues = list(await asyncio.gather(*opened))
        stop = asyncio.Event()
        mistaken = asyncio.create_task(_mistaken(callosum, self.dialogues, stop))
        async with self.watch:
            senders = (_sender(callosum, f"sender {n}", self.dialogues, seed=n) for n in range(SENDERS))
            self.sent = await asyncio.gather(*senders)
        stop.set()
        self.refused = await mistaken


async def test_ten_thousand_messages_of_64_senders_are_each_where_the_receipt_says(lasting_url: str) -> None:
    traffic = Traffic()
    async with CorpusCallosum.open(settings=Settings(url=lasting_url, capacity=0)) as callosum:
        await traffic.run(callosum)
        recorded = {
            (spoken.dialogue, spoken.sequence): spoken
            for dialogue in traffic.dialogues
            async for spoken in callosum.transcript(dialogue)
        }
        checked = await callosum.verify()
    assert len(recorded) == checked.messages == SENDERS * (MESSAGES // SENDERS + 1)
    assert checked.problem is None
    assert traffic.refused > 0
    for of_one in traffic.sent:
        for receipt, name, payload in of_one:
            spoken = recorded[receipt.dialogue, receipt.sequence]
            assert (spoken.sender, spoken.payload, spoken.position) == (name, payload, receipt.position)
        assert all(one.position <= next_.position for (one, *_), (next_, *_) in pairwise(of_one))


@pytest.fixture
def only_our_garbage() -> Iterator[None]:
    """A full collection of all that pytest holds stops every thread for 50 ms; that is not what is looked at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.timing
@pytest.mark.usefixtures("only_our_garbage")
async def test_99_looks_of_100_find_the_event_loop_less_than_10_ms_late(tmp_path: Path) -> None:
    lags = []
    for round_ in range(ROUNDS):
        traffic = Traffic()
        settings = Settings(url=f"sqlite:///{tmp_path}/{round_}.db", capacity=0)
        async with CorpusCallosum.open(settings=settings) as callosum:
            await traffic.run(callosum)
        watch = traffic.watch
        lags.append(watch.percentile(0.99))
        print(
            f"loop lag: p50 {watch.percentile(0.5) * 1e3:.2f} ms, p99 {lags[-1] * 1e3:.2f} ms,"
            f" max {max(watch.lags) * 1e3:.2f} ms over {len(watch.lags)} looks"
        )
    # What else the machine does makes a round worse, never better.
    assert min(lags) < MOST_LAG
