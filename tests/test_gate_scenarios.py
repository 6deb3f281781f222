"""How tracts fail, and what their circuits come to: on real stores, with agents at work."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from time import monotonic

import pytest

from corpus_callosum import (
    CallNotPermittedError,
    CircuitState,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    Message,
    Reason,
    Result,
    Subscription,
    Tract,
    Transition,
)
from tests.deliveries import SHORT, following, outcomes, say, settled
from tests.gates import (
    FAST,
    PATIENT,
    ScriptedAgent,
    fail,
    guarded,
    state_of,
    succeed,
    transitions,
    until_state,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
Act = Callable[[Message], Awaitable[object]]

MARGIN = 2.0
"""Seconds for what has to be folded, recorded and handed out on the way, on a busy machine."""


def failing(of: int, every: int) -> Act:
    """The first `every` of each so many calls fail."""
    numbers = count()

    async def act(message: Message) -> object:
        return await (fail if next(numbers) % of < every else succeed)(message)

    return act


async def hang(_message: Message) -> object:
    await asyncio.Event().wait()
    return None


async def dawdle(_message: Message) -> object:
    await asyncio.sleep(0.02)
    return None


async def handled(callosum: CorpusCallosum, act: Act, messages: int) -> None:
    """One at a time, until so many calls are settled."""
    dialogue = await callosum.open_dialogue("handled")
    await say(callosum, dialogue, *range(messages))
    async with callosum.attach(ScriptedAgent(act), Tract.EXTERNAL, "tool", delivery=PATIENT):
        await settled(callosum, messages)


async def opening(callosum: CorpusCallosum, act: Act, messages: int = 30) -> Transition:
    """Until its circuit is open."""
    dialogue = await callosum.open_dialogue("opening")
    await say(callosum, dialogue, *range(messages))
    async with callosum.attach(ScriptedAgent(act), Tract.EXTERNAL, "tool", delivery=PATIENT):
        return await until_state(callosum, OPEN)


async def test_all_fail_and_it_opens_with_the_first_full_window(url: str) -> None:
    async with guarded(url, wait_in_open=60) as callosum:
        opened = await opening(callosum, fail)
        assert (opened.reason, opened.failure_rate, opened.calls) == (Reason.FAILURE_RATE, 100, 10)


async def test_just_below_the_threshold_it_never_opens(url: str) -> None:
    async with guarded(url, sliding_window_size=20, minimum_number_of_calls=20) as callosum:
        await handled(callosum, failing(20, 9), 100)
        metrics = (await callosum.gates.metrics()).external
        assert (metrics.state, metrics.failure_rate) == (CLOSED, 45)
        assert await transitions(callosum) == []


async def test_just_above_the_threshold_it_opens(url: str) -> None:
    async with guarded(url, sliding_window_size=20, minimum_number_of_calls=20, wait_in_open=60) as callosum:
        opened = await opening(callosum, failing(20, 11))
        assert (opened.failure_rate, opened.calls) == (55, 20)


async def test_half_of_them_fail_in_turn_and_it_opens(url: str) -> None:
    """Where failures in a row are counted, there is never more than one."""
    async with guarded(url, wait_in_open=60) as callosum:
        opened = await opening(callosum, failing(2, 1))
        assert (opened.failure_rate, opened.calls) == (50, 10)


async def test_handlers_that_hang_open_it_by_their_timeout(url: str) -> None:
    async with guarded(url, wait_in_open=60) as callosum:
        dialogue = await callosum.open_dialogue("hanging")
        await say(callosum, dialogue, *range(20))
        attached = callosum.attach(
            ScriptedAgent(hang), Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=10, handler_timeout=0.05
        )
        async with attached:
            opened = await until_state(callosum, OPEN)
        assert (opened.reason, opened.failure_rate) == (Reason.FAILURE_RATE, 100)
        told = await outcomes(callosum)
        assert "TimeoutError: no answer within 0.05 s" in {outcome.error for outcome in told}


async def test_a_lease_that_ends_is_no_call_and_its_permit_comes_back(url: str) -> None:
    async with guarded(url) as callosum:
        await opening(callosum, fail)
        lasting = DeliverySettings(ack_wait=0.3, max_deliver=1000)
        async with callosum.subscribe(Tract.EXTERNAL, "hanging", demand=3, delivery=lasting) as hanging:
            await until_state(callosum, HALF_OPEN)
            lost = [await following(hanging) for _ in range(3)]  # all permits there are
            async with callosum.subscribe(Tract.EXTERNAL, "heir", delivery=PATIENT) as heir:
                for _ in range(3):
                    await (await following(heir)).ack()
                closed = await until_state(callosum, CLOSED)
        places = {(each.message.dialogue, each.sequence, each.attempt) for each in lost}
        assert closed.calls == 3
        assert not places & {(told.dialogue, told.sequence, told.attempt) for told in await outcomes(callosum)}


async def test_leases_that_are_lost_do_not_open_it(url: str) -> None:
    async with guarded(url, sliding_window_size=2, minimum_number_of_calls=2) as callosum:
        dialogue = await callosum.open_dialogue("hanging")
        await say(callosum, dialogue, *range(4))
        async with callosum.subscribe(Tract.EXTERNAL, "hanging", demand=4, delivery=SHORT) as hanging:
            for _ in range(4):
                await following(hanging)
            async with callosum.subscribe(Tract.EXTERNAL, "heir") as heir:
                assert [(await _acked(heir)).attempt for _ in range(4)] == [2] * 4
        metrics = (await callosum.gates.metrics()).external
        assert (metrics.state, metrics.failure_rate) == (CLOSED, 0)


async def _acked(subscription: Subscription) -> Delivery:
    delivery = await following(subscription)
    await delivery.ack()
    return delivery


async def test_slow_handlers_open_it_though_all_goes_well(url: str) -> None:
    async with guarded(url, slow_call_duration=0.01, slow_call_rate_threshold=80, wait_in_open=60) as callosum:
        opened = await opening(callosum, dawdle)
        assert opened.reason is Reason.SLOW_CALL_RATE
        assert opened.failure_rate == 0
        assert {told.result for told in await outcomes(callosum)} == {Result.ACKED}


async def test_from_recovery_to_closed_it_takes_the_wait_the_probes_and_no_more(url: str) -> None:
    async with guarded(url) as callosum:
        dialogue = await callosum.open_dialogue("recovering")
        await say(callosum, dialogue, *range(30))
        agent = ScriptedAgent(fail)
        async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
            await until_state(callosum, OPEN)
            agent.act, recovered = dawdle, monotonic()
            closed = await until_state(callosum, CLOSED)
            took = monotonic() - recovered
        [opened, half_opened, *_] = await transitions(callosum)
        assert took < FAST["wait_in_open"] + 3 * 0.02 + MARGIN
        assert opened.retry_at is not None
        assert 0 <= half_opened.since - opened.retry_at < MARGIN * 1000
        assert (closed.reason, closed.calls) == (Reason.PROBES_PASSED, 3)


async def test_one_that_flaps_opens_and_closes_each_time(url: str) -> None:
    async with guarded(url, wait_in_open=0.1, wait_multiplier=2) as callosum:
        dialogue = await callosum.open_dialogue("flapping")
        await say(callosum, dialogue, *range(200))
        agent, generation = ScriptedAgent(fail), 0
        async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
            for state, act in [(OPEN, succeed), (CLOSED, fail)] * 2:
                generation = (await until_state(callosum, state, beyond=generation)).generation
                agent.act = act
        told = await transitions(callosum)
        assert [moved.generation for moved in told] == list(range(1, len(told) + 1))
        for before, after in pairwise(told):
            assert (before.state, after.state) in {
                (OPEN, HALF_OPEN),
                (HALF_OPEN, CLOSED),
                (HALF_OPEN, OPEN),
                (CLOSED, OPEN),
            }
        waits = {moved.openings: (moved.retry_at or 0) - moved.since for moved in told if moved.state is OPEN}
        assert waits[1] == 100  # in a row; one that has closed begins anew


async def test_the_other_tract_goes_on(url: str) -> None:
    async with guarded(url, wait_in_open=60) as callosum:
        await opening(callosum, fail)
        dialogue = await callosum.open_dialogue("answers")
        with pytest.raises(CallNotPermittedError):
            await say(callosum, dialogue, 1)
        async with callosum.subscribe(Tract.INTERNAL, "planner") as planner:
            await callosum.send(dialogue, source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=1)
            await _acked(planner)
        assert await state_of(callosum, Tract.INTERNAL) is CLOSED
