"""What goes wrong around a gate: nobody waits for ever, no permit is lost, and nothing is recorded twice."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from traceback import walk_tb
from uuid import UUID, uuid4

import pytest

from application.inbox import Inbox
from corpus_callosum import (
    BackpressureError,
    CallNotPermittedError,
    CallosumClosedError,
    CircuitSettings,
    CircuitState,
    Consumer,
    CorpusCallosum,
    DeliverySettings,
    Gate,
    GateSettings,
    Outcome,
    Recorded,
    Result,
    Settings,
    Subscription,
    Tract,
)
from domain.circuit import Circuit
from projections.gates import TractGate
from tests.deliveries import bounded, following, nothing_comes, say
from tests.gates import (
    FAST,
    PATIENT,
    ScriptedAgent,
    counting,
    fail,
    gate_events,
    guarded,
    put,
    succeed,
    transitions,
    until,
    until_state,
    waiting,
)


def onlooker(url: str) -> CorpusCallosum:
    """A process that keeps no read models current, and so decides nothing."""
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://"))


async def opened_by_failures(callosum: CorpusCallosum, messages: int = 30) -> UUID:
    """A dialogue, so many messages of which are left but for those whose failing has opened the circuit."""
    dialogue = await callosum.open_dialogue("failing")
    await say(callosum, dialogue, *range(messages))
    async with callosum.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
        await until_state(callosum, CircuitState.OPEN)
    return dialogue


async def forced(callosum: CorpusCallosum, state: CircuitState) -> None:
    await callosum.gates.force(Tract.EXTERNAL, state, by="ann", why="a test")


async def acked(subscription: Subscription, count: int) -> None:
    for _ in range(count):
        await (await following(subscription)).ack()


class TestWhoWaits:
    async def test_closing_the_service_ends_the_waiting(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            senders = [asyncio.create_task(put(callosum, dialogue, number, patience=60)) for number in range(2)]
            await waiting(callosum, 2)
        async with asyncio.timeout(5):
            ended = await asyncio.gather(*senders, return_exceptions=True)
        assert [type(error) for error in ended] == [CallosumClosedError] * 2

    async def test_one_that_fits_no_more_is_refused_and_holds_up_nobody(self, url: str) -> None:
        async with bounded(url, 4) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1, 2, 3, 4)
            large = asyncio.create_task(put(callosum, dialogue, 1, 2, 3, patience=60))
            await waiting(callosum, 1)
            small = asyncio.create_task(put(callosum, dialogue, "small", patience=60))
            await waiting(callosum, 2)
            await callosum.gates.configure(Tract.EXTERNAL, by="ann", why="it is small", capacity=2)
            async with asyncio.timeout(5):
                with pytest.raises(BackpressureError):
                    await large
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await acked(subscription, 3)
                await asyncio.wait_for(small, 5)

    async def test_they_are_told_at_once_that_the_circuit_has_opened(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            senders = [asyncio.create_task(put(callosum, dialogue, number, patience=60)) for number in range(3)]
            await waiting(callosum, 3)
            await forced(callosum, CircuitState.FORCED_OPEN)
            async with asyncio.timeout(5):
                ended = await asyncio.gather(*senders, return_exceptions=True)
            assert [type(error) for error in ended] == [CallNotPermittedError] * 3

    async def test_an_error_of_many_refusals_does_not_grow(self, url: str) -> None:
        async with onlooker(url) as callosum:
            dialogue = await callosum.open_dialogue("shut")
            await forced(callosum, CircuitState.FORCED_OPEN)
            depths = []
            for _ in range(20):
                with pytest.raises(CallNotPermittedError) as refused:
                    await say(callosum, dialogue, 1)
                depths.append(len(list(walk_tb(refused.value.__traceback__))))
            assert max(depths) <= depths[1]  # the first was refused by the store


class TestWhoConsumes:
    async def test_what_an_open_circuit_holds_back_is_not_asked_for_again_and_again(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with guarded(url, wait_in_open=60.0) as callosum:
            dialogue = await opened_by_failures(callosum)
            calls = Counter[str]()
            counting(Inbox, callosum._open.log.recorder.inbox, calls, monkeypatch)
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=8, delivery=PATIENT) as subscription:
                assert await nothing_comes(subscription)
                assert calls["take"] < 10  # SQLite is looked at every 50 ms
                await forced(callosum, CircuitState.CLOSED)
                assert (await following(subscription)).message.dialogue == dialogue


class TestPermits:
    async def test_a_subscription_that_is_cancelled_gives_back_those_that_it_has_not_used(self, url: str) -> None:
        async with guarded(url) as callosum:
            await opened_by_failures(callosum)
            async with callosum.subscribe(
                Tract.EXTERNAL, "gone", demand=3, delivery=DeliverySettings(ack_wait=0.5, max_deliver=1000)
            ) as gone:
                await until_state(callosum, CircuitState.HALF_OPEN)
                await following(gone)  # in its hands until its lease ends; the others were not seen
            async with callosum.subscribe(Tract.EXTERNAL, "heir", demand=3, delivery=PATIENT) as heir:
                await acked(heir, 3)
                await until_state(callosum, CircuitState.CLOSED)

    async def test_a_result_after_it_was_set_by_hand_counts_for_nothing(self, url: str) -> None:
        async with guarded(url) as callosum:
            await opened_by_failures(callosum)
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3, delivery=PATIENT) as subscription:
                await until_state(callosum, CircuitState.HALF_OPEN)
                probes = [await following(subscription) for _ in range(3)]
                await forced(callosum, CircuitState.CLOSED)
                for probe in probes:
                    await probe.nak("ConnectionError: away", delay=60)
                metrics = (await callosum.gates.metrics()).external
                assert (metrics.state, metrics.calls) == (CircuitState.CLOSED, 0)
                await acked(subscription, 1)
                assert (await callosum.gates.metrics()).external.calls == 1

    async def test_an_error_that_is_ignored_since_then_does_not_use_one_up(self, lasting_url: str) -> None:
        async with guarded(lasting_url) as callosum, onlooker(lasting_url) as probing:
            await opened_by_failures(callosum)
            await callosum.gates.configure(Tract.EXTERNAL, by="ann", why="mine", ignored_errors=["OSError"])
            async with probing.subscribe(Tract.EXTERNAL, "tool", demand=3, delivery=PATIENT) as subscription:
                await until_state(callosum, CircuitState.HALF_OPEN)
                await (await following(subscription)).nak("OSError: it is mine", delay=0)
                await acked(subscription, 3)
                await until_state(callosum, CircuitState.CLOSED)

    def test_one_that_was_used_up_by_who_did_not_know_of_ignoring_it_counts(self) -> None:
        settings = CircuitSettings(permitted_calls_in_half_open=2, ignored_errors=("OSError",))
        circuit = Circuit(settings, state=CircuitState.HALF_OPEN, generation=2)
        gate = TractGate(circuit, GateSettings(settings))
        ended = [
            Outcome(uuid4(), 1, 1, Result.RETRIED, waited=0, handled_in=0, error="OSError: away", generation=2),
            Outcome(uuid4(), 1, 1, Result.ACKED, waited=0, handled_in=0, generation=2),
        ]
        told = Consumer.Settled(
            originator_id=uuid4(), originator_version=2, timestamp=datetime.now(UTC), outcomes=ended
        )
        gate.settled(Recorded(1, 0, b"", "", None, told), ended)
        assert gate.circuit.state is not CircuitState.HALF_OPEN


class TestServices:
    async def test_closing_while_circuits_move_leaves_nothing_undone_and_says_nothing(
        self, lasting_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "callosum")
        for fewest in range(8, 14):
            async with guarded(lasting_url, wait_in_open=0.01) as callosum:
                await forced(callosum, CircuitState.CLOSED)
                dialogue = await callosum.open_dialogue("failing")
                await say(callosum, dialogue, *range(10))
                agent = ScriptedAgent(fail)
                async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=4):
                    await until(partial(_handled, agent, fewest))
        async with CorpusCallosum.open(lasting_url) as later:
            told = await transitions(later)
        assert [moved.generation for moved in told] == list(range(1, len(told) + 1))
        assert caplog.messages == []

    async def test_two_with_other_settings_do_not_fight(self, lasting_url: str) -> None:
        async with guarded(lasting_url, capacity=5) as one, guarded(lasting_url, capacity=7) as other:
            dialogue = await one.open_dialogue("busy")
            async with other.subscribe(Tract.EXTERNAL, "tool") as subscription:
                for number in range(5):
                    await say(one, dialogue, number)
                    await acked(subscription, 1)
            await one.gates.metrics()
            await until(lambda: _has_capacity(one, 7))
            told = [recorded.event for recorded in await gate_events(one, Gate.Configured)]
        capacities = [event.settings.capacity for event in told if isinstance(event, Gate.Configured)]
        assert capacities == [5, 5, 7, 7]  # each, once for each tract

    async def test_one_that_decides_nothing_is_refused_and_probes(self, lasting_url: str) -> None:
        async with guarded(lasting_url) as callosum, onlooker(lasting_url) as other:
            dialogue = await other.open_dialogue("failing")
            await say(other, dialogue, *range(30))
            agent = ScriptedAgent(fail)
            async with other.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
                opened = await until_state(callosum, CircuitState.OPEN)
                with pytest.raises(CallNotPermittedError) as refused:
                    await say(other, dialogue, "more")
                assert refused.value.retry_at == opened.retry_at
                agent.act = succeed
                await until_state(callosum, CircuitState.CLOSED)
                await say(other, dialogue, "welcome again")

    async def test_one_that_decides_nothing_goes_by_the_settings_of_now(self, lasting_url: str) -> None:
        async with guarded(lasting_url, capacity=10) as callosum, onlooker(lasting_url) as other:
            dialogue = await other.open_dialogue("full")
            await say(other, dialogue, *range(10))
            changes = {"low_watermark": 0.1, "ignored_errors": ["OSError"]}
            await callosum.gates.configure(Tract.EXTERNAL, by="ann", why="a change", **changes)
            sender = asyncio.create_task(put(other, dialogue, 10))
            await waiting(other, 1)
            async with other.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).nak("OSError: it is mine", delay=0)
                await acked(subscription, 8)
                await asyncio.sleep(0.2)  # more than between two looks
                assert not sender.done()
                await acked(subscription, 1)
                await asyncio.wait_for(sender, 5)
            assert (await callosum.gates.metrics()).external.calls == 9


class TestReadModels:
    async def test_folded_anew_while_it_is_open_nothing_is_recorded_twice(
        self, lasting_url: str, tmp_path: Path
    ) -> None:
        def service(views: str) -> CorpusCallosum:
            url = f"sqlite:///{tmp_path}/{views}.db"
            gate = {**FAST, "wait_in_open": 60.0, "capacity": 40}
            return CorpusCallosum.open(settings=Settings(url=lasting_url, views=url, gate=gate))

        async with service("lost") as callosum:
            await opened_by_failures(callosum, 40)
            await forced(callosum, CircuitState.CLOSED)
            async with callosum.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
                await until_state(callosum, CircuitState.OPEN, beyond=1)
            before = await gate_events(callosum)
        async with service("anew") as callosum:
            assert (await callosum.gates.metrics()).external.state is CircuitState.OPEN
            await callosum.open_dialogue("goes on")
            assert (await callosum.gates.metrics()).external.state is CircuitState.OPEN
            after = await gate_events(callosum)
        assert [recorded.position for recorded in after] == [recorded.position for recorded in before]

    @pytest.mark.slow
    async def test_a_rebuild_while_it_trips_comes_to_the_same(self, lasting_url: str) -> None:
        async with guarded(lasting_url, wait_in_open=0.05) as callosum:
            dialogue = await callosum.open_dialogue("failing")
            await say(callosum, dialogue, *range(30))
            async with callosum.attach(
                ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=8
            ):
                [rebuilt] = await callosum.projections.rebuild("deliveries")
                moved = len(await transitions(callosum))
                await until(lambda: _as_many(callosum, moved + 3))
            await forced(callosum, CircuitState.DISABLED)
            told = [each.generation for each in await transitions(callosum)]
            assert rebuilt.difference is None
            assert told == list(range(1, len(told) + 1))
            assert (await callosum.gates.metrics()).external.generation == told[-1]


async def _handled(agent: ScriptedAgent, count: int) -> bool:
    return agent.handled >= count


async def _has_capacity(callosum: CorpusCallosum, capacity: int) -> bool:
    return callosum.gates.settings(Tract.EXTERNAL).capacity == capacity


async def _as_many(callosum: CorpusCallosum, count: int) -> bool:
    moved: Sequence[object] = await transitions(callosum)
    return len(moved) >= count
