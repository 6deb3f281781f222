"""Over random histories in real stores a rebuild equals what was folded live, by digest and row for row."""

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from application.settings import IN_MEMORY
from corpus_callosum import CorpusCallosum, Message, Priority, Settings, Subscription, Tract, Verdict
from projections.fold import Projection
from tests.conftest import STORES, url_of
from tests.examples import few
from tests.memory_log import folded_up_to, rows_of

CHOICES = 12
numbers = st.integers(0, CHOICES - 1)
words = st.sampled_from(["open", "say", "say", "say", "ack", "nak", "term", "reply", "close", "configure", "look"])
histories = st.lists(st.tuples(words, numbers, numbers), min_size=5, max_size=40)


class Happenings:
    """What agents and operators do, as they are told: the dialogue, delivery or setting is chosen by a number."""

    def __init__(self, callosum: CorpusCallosum, subscriptions: dict[Tract, Subscription]) -> None:
        self._callosum = callosum
        self._subscriptions = subscriptions
        self._open: list[UUID] = []
        self._on_their_way: Counter[Tract] = Counter()

    async def happen(self, word: str, one: int, other: int) -> None:
        if word == "open" or not self._open:
            self._open.append(await self._callosum.open_dialogue(f"dialogue {one}"))
        elif word == "say":
            await self._say(self._open[one % len(self._open)], other)
        elif word == "close":
            await self._callosum.close_dialogue(self._open.pop(one % len(self._open)), "done")
        elif word == "configure":
            await self._callosum.gates.configure(
                list(Tract)[one % 2], by="ann", why="a test", capacity=1000 + other
            )
        elif word == "look":  # what was said by now is folded together
            await self._callosum.consciousness_metrics()
        else:
            await self._settle(list(Tract)[one % 2], word, other)

    async def _say(self, dialogue: UUID, number: int) -> None:
        messages = [_message(number + place) for place in range(1 + number % 4)]
        await self._callosum.send_many(dialogue, messages)
        self._on_their_way.update(message.target for message in messages)

    async def _settle(self, tract: Tract, word: str, number: int) -> None:
        if not self._on_their_way[tract]:
            return
        self._subscriptions[tract].request(1)
        async with asyncio.timeout(10):
            delivery = await anext(self._subscriptions[tract])
        if word == "nak" and delivery.attempt < 3:
            await delivery.nak("not yet", delay=0)
            return
        self._on_their_way[tract] -= 1
        said = delivery.message
        if word == "reply" and said.dialogue in self._open:
            answer = Message(
                source=said.target,
                target=said.source,
                sender="an agent",
                payload=number,
                in_reply_to=said.sequence,
            )
            await delivery.reply(answer)
            self._on_their_way[answer.target] += 1
        elif word == "term":
            await delivery.term("no")
        else:
            await delivery.ack()


def _message(number: int) -> Message:
    source, target = [(a, b) for a in Tract for b in Tract][number % 4]
    priority = Priority.HIGH if number % 5 == 0 else Priority.NORMAL
    return Message(source=source, target=target, sender="an agent", payload=number % 3, priority=priority)


def _rows(projection: Projection, connection: Connection, _position: int) -> dict[str, list[tuple[object, ...]]]:
    return rows_of(connection, projection)


async def rebuilt(url: str, history: list[tuple[str, int, int]]) -> None:
    async with CorpusCallosum.open(settings=Settings(url=url, views=IN_MEMORY)) as callosum:
        internal, external = (callosum.subscribe(tract, "an agent", demand=0) for tract in Tract)
        async with internal, external:
            happenings = Happenings(callosum, {Tract.INTERNAL: internal, Tract.EXTERNAL: external})
            for happening in history:
                await happenings.happen(*happening)
        compared = await callosum.projections.verify()
        assert {one.projection: one.verdict for one in compared} == dict.fromkeys(
            callosum.projections.names, Verdict.IDENTICAL
        )
        log, makers = callosum._open.log, callosum._open.read_side.makers
        head = log.head()
        for name, make in makers.items():
            live = await callosum.read_model(name, partial(_rows, make()))
            assert live == await asyncio.to_thread(folded_up_to, log, head, make())


@pytest.mark.parametrize("store", STORES)
@few
@given(history=histories)
def test_rebuild_of_a_random_history_equals_what_was_folded_live(
    store: str, history: list[tuple[str, int, int]]
) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(rebuilt(url_of(STORES[store], store, Path(directory)), history))
