"""Recorded traffic through other settings: exact with those that were in force, and an estimate that says so."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from corpus_callosum import (
    BacktestedTract,
    CallNotPermittedError,
    CircuitState,
    CorpusCallosum,
    DeliverySettings,
    InvalidCommandError,
    Message,
    Priority,
    ShedLowest,
    Tract,
)
from tests.deliveries import message, say
from tests.gates import guarded, transitions, until

PATIENT = DeliverySettings(max_deliver=100, backoff=0.001, most_backoff=0.002)


class Flapping:
    """Of so many messages one after the other, fails as often as it is told to."""

    def __init__(self, seed: int) -> None:
        self.failing = 0.9
        self._chance = random.Random(seed)

    async def handle(self, message: Message) -> object:
        await asyncio.sleep(self._chance.uniform(0, 0.004))
        if self._chance.random() < self.failing:
            raise ConnectionError("away")
        return f"re: {message.payload}" if self._chance.random() < 0.3 else None


@asynccontextmanager
async def flapped(url: str) -> AsyncIterator[CorpusCallosum]:
    """A service whose external circuit has opened twice, failed a probe, and closed again."""
    async with guarded(url, wait_in_open=0.1, wait_multiplier=1.5) as callosum:
        dialogue = await callosum.open_dialogue("flapping")
        agent = Flapping(7)
        await say(callosum, dialogue, *range(60))
        async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=6):
            await until(lambda: _opened(callosum, 2))
            agent.failing = 0.0
            await until(lambda: _handled(callosum, dialogue))
        yield callosum


async def _opened(callosum: CorpusCallosum, times: int) -> bool:
    return [moved.state for moved in await transitions(callosum)].count(CircuitState.OPEN) >= times


async def _handled(callosum: CorpusCallosum, dialogue: UUID) -> bool:
    if (await callosum.inbox())[1].backlog > 0:
        return False
    try:
        await say(callosum, dialogue, "one more")
    except CallNotPermittedError:
        return False
    return True


class TestWithTheSettingsThatWereInForce:
    async def test_it_comes_to_the_very_transitions_that_are_recorded(self, url: str) -> None:
        async with flapped(url) as callosum:
            told = await callosum.gates.backtest()
            recorded = await transitions(callosum)
            await callosum.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="ann", why="a pause")
            by_hand = await callosum.gates.backtest()
        external = told.external
        assert external.exact
        assert external.guesses_from is None
        assert [one.transition for one in external.simulated.transitions] == recorded
        assert external.simulated.transitions == external.happened.transitions
        assert external.simulated == external.happened
        assert external.happened.trips >= 2
        assert told.internal.exact
        assert by_hand.external.simulated.transitions == by_hand.external.happened.transitions
        assert by_hand.external.simulated.transitions[-1].transition.state is CircuitState.FORCED_OPEN

    async def test_from_the_middle_on_it_is_the_same(self, url: str) -> None:
        async with flapped(url) as callosum:
            whole = (await callosum.gates.backtest()).external
            middle = whole.happened.transitions[2].position
            told = (await callosum.gates.backtest(start=middle)).external
        assert told.exact
        assert told.simulated.transitions == [one for one in whole.simulated.transitions if one.position >= middle]
        assert sum(told.happened.spent.values()) < sum(whole.happened.spent.values())

    async def test_what_was_shed_is_on_its_way_no_more(self, url: str) -> None:
        async with guarded(url, capacity=20, wait_in_open=0.1) as callosum:
            dialogue = await callosum.open_dialogue("pressed")
            await say(callosum, dialogue, *range(20), priority=Priority.LOW)
            for number in range(12):
                urgent = [message(number, priority=Priority.HIGH)] * (number % 3)
                if urgent:
                    await callosum.send_many(dialogue, urgent, when_full=ShedLowest())
            agent = Flapping(7)
            async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=6):
                await until(lambda: _opened(callosum, 1))
                agent.failing = 0.0
                await until(lambda: _handled(callosum, dialogue))
            told = (await callosum.gates.backtest()).external
            deliveries = (await callosum.deliveries()).external
            smaller = (await callosum.gates.backtest(changes={Tract.EXTERNAL: {"capacity": 19}})).external
        assert deliveries.shed == 12
        assert told.exact
        assert told.simulated == told.happened
        assert told.happened.backlog_peak == deliveries.backlog_peak == 20
        assert smaller.simulated.refused_by_capacity >= 20  # what was shed then was never let in
        assert 0 <= smaller.simulated.backlog_peak <= 19


class TestWithOtherSettings:
    @pytest.fixture
    async def callosum(self, url: str) -> AsyncIterator[CorpusCallosum]:
        async with flapped(url) as callosum:
            yield callosum

    async def external(self, callosum: CorpusCallosum, **changes: object) -> BacktestedTract:
        return (await callosum.gates.backtest(changes={Tract.EXTERNAL: changes})).external

    async def test_one_that_never_trips_says_from_where_it_is_a_guess(self, callosum: CorpusCallosum) -> None:
        told = await self.external(callosum, minimum_number_of_calls=10_000, sliding_window_size=10_000)
        assert told.simulated.trips == 0
        assert told.guesses_from == told.happened.transitions[0].position
        assert set(told.simulated.spent) == {CircuitState.CLOSED}
        assert told.settings.circuit.minimum_number_of_calls == 10_000

    async def test_a_touchier_one_trips_earlier(self, callosum: CorpusCallosum) -> None:
        told = await self.external(callosum, sliding_window_size=4, minimum_number_of_calls=4)
        assert told.guesses_from is not None
        assert told.simulated.transitions[0].position < told.happened.transitions[0].position

    async def test_what_is_sent_while_it_would_have_been_open_is_refused(self, callosum: CorpusCallosum) -> None:
        told = await self.external(callosum, wait_in_open=600.0)
        assert told.simulated.trips == 1
        assert told.simulated.refused_by_circuit >= 1
        assert told.not_told > 0
        assert told.simulated.accepted + told.simulated.refused_by_circuit == told.happened.accepted

    async def test_a_smaller_capacity_refuses_what_was_let_in(self, callosum: CorpusCallosum) -> None:
        told = await self.external(callosum, capacity=20)
        assert told.simulated.refused_by_capacity == 60  # they were sent together
        assert told.simulated.backlog_peak <= 20
        assert told.happened.backlog_peak >= 60

    async def test_nothing_is_changed_by_it(self, callosum: CorpusCallosum) -> None:
        before = await callosum.verify()
        await self.external(callosum, capacity=1, failure_rate_threshold=1)
        assert await callosum.verify() == before
        assert callosum.gates.settings(Tract.EXTERNAL).circuit.wait_in_open == 0.1

    async def test_a_slip_is_refused(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError):
            await self.external(callosum, failure_rate=20)
