"""A tract whose deliveries fail is shut, tried again, and opened: decided once, recorded, and the same for all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from corpus_callosum import (
    CallNotPermittedError,
    CircuitState,
    CorpusCallosum,
    Gate,
    InvalidCommandError,
    Message,
    Reason,
    Result,
    Settings,
    Tract,
)
from tests.deliveries import filled, following, nothing_comes, outcomes, say
from tests.gates import (
    FAST,
    PATIENT,
    ScriptedAgent,
    fail,
    gate_events,
    guarded,
    state_of,
    succeed,
    transitions,
    until,
    until_state,
)


async def _is_empty(callosum: CorpusCallosum) -> bool:
    return (await callosum.inbox())[1].backlog == 0


async def _opened_thrice(callosum: CorpusCallosum) -> bool:
    return len(await gate_events(callosum, Gate.CircuitOpened)) >= 3


async def _handled(agent: ScriptedAgent, count: int) -> bool:
    return agent.handled >= count


async def _state_after_failures(callosum: CorpusCallosum) -> CircuitState:
    """Of the external circuit, after thrice as many as its window holds."""
    agent = ScriptedAgent(fail)
    async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
        await until(lambda: _handled(agent, 30))
    return await state_of(callosum)


@pytest.fixture
async def protected(url: str) -> AsyncIterator[CorpusCallosum]:
    async with guarded(url) as callosum:
        yield callosum


class TestCircuit:
    async def test_it_opens_when_too_many_fail_and_says_why(self, protected: CorpusCallosum) -> None:
        dialogue = await protected.open_dialogue("failing")
        await say(protected, dialogue, *range(10))
        async with protected.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
            opened = await until_state(protected, CircuitState.OPEN)
        assert (opened.reason, opened.failure_rate, opened.calls) == (Reason.FAILURE_RATE, 100.0, 10)
        assert opened.retry_at == opened.since + 300

    async def test_while_it_is_open_nothing_is_let_in_or_handed_out(self, url: str) -> None:
        async with guarded(url, wait_in_open=60.0) as callosum:
            dialogue = await callosum.open_dialogue("failing")
            await say(callosum, dialogue, *range(20))
            agent = ScriptedAgent(fail)
            async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
                opened = await until_state(callosum, CircuitState.OPEN)
                handled = agent.handled
                with pytest.raises(CallNotPermittedError) as refused:
                    await say(callosum, dialogue, "more")
                assert refused.value.retry_at == opened.retry_at
                assert (refused.value.tract, refused.value.state) == (Tract.EXTERNAL, "open")
                assert "100 % failed" in str(refused.value)
                with pytest.raises(CallNotPermittedError):  # by what this process knows
                    await say(callosum, dialogue, "more")
                await asyncio.sleep(0.2)
                assert agent.handled <= handled + 1
            await callosum.send(dialogue, source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=1)

    async def test_it_tries_with_its_permits_and_closes_when_these_go_well(
        self, protected: CorpusCallosum
    ) -> None:
        dialogue = await protected.open_dialogue("recovering")
        await say(protected, dialogue, *range(30))
        agent = ScriptedAgent(fail)
        async with protected.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=8):
            await until_state(protected, CircuitState.OPEN)
            agent.act = succeed
            await until_state(protected, CircuitState.CLOSED)
            await until(lambda: _is_empty(protected))
        assert [moved.state for moved in await transitions(protected)] == [
            CircuitState.OPEN,
            CircuitState.HALF_OPEN,
            CircuitState.CLOSED,
        ]
        await say(protected, dialogue, "welcome again")

    async def test_it_opens_again_when_these_fail(self, protected: CorpusCallosum) -> None:
        dialogue = await protected.open_dialogue("failing on")
        await say(protected, dialogue, *range(30))
        async with protected.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT, concurrency=8):
            await until(lambda: _opened_thrice(protected))
        told = await transitions(protected)
        assert [moved.generation for moved in told] == list(range(1, len(told) + 1))

    async def test_exactly_the_permits_are_handed_out(self, protected: CorpusCallosum) -> None:
        dialogue = await protected.open_dialogue("probing")
        await say(protected, dialogue, *range(30))
        async with protected.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
            await until_state(protected, CircuitState.OPEN)
        async with protected.subscribe(Tract.EXTERNAL, "tool", demand=20) as subscription:
            await until_state(protected, CircuitState.HALF_OPEN)
            probes = [await following(subscription) for _ in range(3)]
            assert await nothing_comes(subscription)
            await probes[0].nak("it was interrupted", delay=0, counts=False)
            await (await following(subscription)).ack()
            assert await nothing_comes(subscription)
            for probe in probes[1:]:
                await probe.ack()
            await until_state(protected, CircuitState.CLOSED)
            await following(subscription)

    async def test_slow_deliveries_open_it_too(self, url: str) -> None:
        async def dawdle(_message: Message) -> object:
            await asyncio.sleep(0.01)
            return None

        async with guarded(url, slow_call_duration=0.005, slow_call_rate_threshold=50) as callosum:
            dialogue = await callosum.open_dialogue("slow")
            await say(callosum, dialogue, *range(12))
            async with callosum.attach(ScriptedAgent(dawdle), Tract.EXTERNAL, "tool"):
                opened = await until_state(callosum, CircuitState.OPEN)
            assert opened.reason is Reason.SLOW_CALL_RATE

    async def test_an_ignored_error_counts_for_nothing(self, url: str) -> None:
        async with guarded(url, ignored_errors=["ConnectionError"]) as callosum:
            dialogue = await callosum.open_dialogue("ignored")
            await say(callosum, dialogue, *range(3))
            assert await _state_after_failures(callosum) is CircuitState.CLOSED

    async def test_what_nobody_has_tried_to_the_end_is_no_call(self, protected: CorpusCallosum) -> None:
        dialogue = await protected.open_dialogue("no calls")
        expired = datetime.now(UTC) - timedelta(seconds=1)
        await say(protected, dialogue, "expires", deadline=expired)
        await say(protected, dialogue, *range(3))
        async with protected.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            await (await following(subscription)).ack()
            await (await following(subscription)).nak("it was interrupted", delay=0, counts=False)
            await filled(subscription, 1)  # and is given back unseen
        ended = {(each.result, each.generation) for each in await outcomes(protected)}
        assert ended == {(Result.EXPIRED, None), (Result.ACKED, 0), (Result.RETRIED, None)}


class TestByHand:
    async def test_who_shut_it_and_why_is_told(self, protected: CorpusCallosum) -> None:
        dialogue = await protected.open_dialogue("by hand")
        await protected.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="ann", why="the tool is replaced")
        with pytest.raises(CallNotPermittedError, match="ann has set it so: the tool is replaced"):
            await say(protected, dialogue, 1)
        await protected.gates.force(Tract.EXTERNAL, CircuitState.CLOSED, by="ann", why="it is there")
        await say(protected, dialogue, 1)

    async def test_a_disabled_one_lets_everything_through(self, protected: CorpusCallosum) -> None:
        await protected.gates.force(Tract.EXTERNAL, CircuitState.DISABLED, by="ann", why="an experiment")
        dialogue = await protected.open_dialogue("disabled")
        await say(protected, dialogue, *range(3))
        assert await _state_after_failures(protected) is CircuitState.DISABLED

    async def test_half_open_is_refused(self, protected: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError):
            await protected.gates.force(Tract.EXTERNAL, CircuitState.HALF_OPEN, by="ann", why="curious")


class TestAcrossProcesses:
    async def test_one_that_opens_the_log_later_finds_it_open(self, lasting_url: str) -> None:
        async with guarded(lasting_url, wait_in_open=60.0) as callosum:
            dialogue = await callosum.open_dialogue("failing")
            await say(callosum, dialogue, *range(10))
            async with callosum.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
                opened = await until_state(callosum, CircuitState.OPEN)
        async with CorpusCallosum.open(lasting_url) as later:
            with pytest.raises(CallNotPermittedError) as refused:
                await say(later, dialogue, "more")
            assert refused.value.retry_at == opened.retry_at

    async def test_services_that_see_the_same_transition_record_it_once(self, lasting_url: str) -> None:
        async with guarded(lasting_url) as one, guarded(lasting_url) as other:
            dialogue = await one.open_dialogue("failing")
            await say(one, dialogue, *range(30))
            agents = [ScriptedAgent(fail), ScriptedAgent(fail)]
            async with (
                one.attach(agents[0], Tract.EXTERNAL, "tool 1", delivery=PATIENT),
                other.attach(agents[1], Tract.EXTERNAL, "tool 2", delivery=PATIENT),
            ):
                await until(lambda: _opened_thrice(one))
            told = await transitions(one)
            assert [moved.generation for moved in told] == list(range(1, len(told) + 1))


class TestSettings:
    async def test_they_are_recorded_once_and_hold_for_whoever_opens_the_log(self, lasting_url: str) -> None:
        for _ in range(2):
            async with guarded(lasting_url, capacity=5) as callosum:
                assert callosum.gates.settings(Tract.INTERNAL).capacity == 5
        async with CorpusCallosum.open(lasting_url) as later:
            assert later.gates.settings(Tract.EXTERNAL).circuit.sliding_window_size == FAST["sliding_window_size"]
            assert len(await gate_events(later, Gate.Configured)) == 2  # one for each tract

    async def test_they_can_be_changed_while_it_runs(self, protected: CorpusCallosum) -> None:
        changed = await protected.gates.configure(Tract.EXTERNAL, by="ann", why="it is small", capacity=1)
        assert changed.capacity == 1
        assert [tract.capacity for tract in await protected.inbox()] == [10_000, 1]
        with pytest.raises(InvalidCommandError, match="does not exist"):
            await protected.gates.configure(Tract.EXTERNAL, by="ann", why="a slip", capcity=1)
        with pytest.raises(InvalidCommandError):
            await protected.gates.configure(Tract.EXTERNAL, by="ann", why="a slip", failure_rate_threshold=101)

    def test_text_from_the_environment_and_a_file_are_understood(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: object
    ) -> None:
        monkeypatch.setenv("CALLOSUM_GATE", "failure_rate_threshold=30 external.capacity=50 ignored_errors=A,B")
        settings = Settings()
        assert settings.gate_of(Tract.INTERNAL) == {"failure_rate_threshold": "30", "ignored_errors": ["A", "B"]}
        assert settings.gate_of(Tract.EXTERNAL)["capacity"] == "50"
