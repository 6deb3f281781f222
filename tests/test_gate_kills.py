"""Processes that are killed while they have to do with a circuit: its state and its permits outlive them."""

import asyncio
import subprocess

import pytest

from corpus_callosum import CallNotPermittedError, CircuitState, CorpusCallosum, Gate, Tract
from tests.deliveries import say
from tests.gates import FAST, PATIENT, ScriptedAgent, fail, gate_events, guarded, succeed, transitions, until_state
from tests.processes import start
from tests.test_delivery_processes import killed_at_the_end

AGENT = """
import asyncio, sys
from corpus_callosum import CircuitState, CorpusCallosum, DeliverySettings, Tract
from tests.gates import until_state

class Agent:
    async def handle(self, message):
        if sys.argv[2] == "fails":
            raise ConnectionError("the tool is away")
        print("has one", flush=True)
        await asyncio.Event().wait()

async def main():
    delivery = DeliverySettings(max_deliver=1000, backoff=0.001, most_backoff=0.001, ack_wait=1)
    async with CorpusCallosum.open(sys.argv[1]) as callosum:
        async with callosum.attach(Agent(), Tract.EXTERNAL, "victim", delivery=delivery, concurrency=3):
            opened = await until_state(callosum, CircuitState.OPEN)
            print(opened.retry_at, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 20)
    assert line, process.communicate()
    return line.strip()


def agent(url: str, what: str) -> subprocess.Popen[str]:
    return start("-c", AGENT, url, what)


@pytest.mark.slow
async def test_the_next_process_starts_open_with_the_same_retry_at_and_closes_by_itself(lasting_url: str) -> None:
    async with guarded(lasting_url, wait_in_open=2.0) as callosum:
        dialogue = await callosum.open_dialogue("failing")
        await say(callosum, dialogue, *range(30))
    with killed_at_the_end(agent(lasting_url, "fails")) as victim:
        retry_at = int(await told(victim))
    async with CorpusCallosum.open(lasting_url) as following:
        with pytest.raises(CallNotPermittedError) as refused:
            await say(following, dialogue, "more")
        assert refused.value.retry_at == retry_at
        async with following.attach(ScriptedAgent(succeed), Tract.EXTERNAL, "tool", delivery=PATIENT):
            half_opened = await until_state(following, CircuitState.HALF_OPEN)
            assert half_opened.since >= retry_at
            await until_state(following, CircuitState.CLOSED)
        assert [moved.generation for moved in await transitions(following)] == [1, 2, 3]


@pytest.mark.slow
async def test_permits_of_a_killed_process_come_back_with_its_lease_and_the_circuit_closes(
    lasting_url: str,
) -> None:
    async with guarded(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("failing")
        await say(callosum, dialogue, *range(30))
        async with callosum.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
            await until_state(callosum, CircuitState.OPEN)
        with killed_at_the_end(agent(lasting_url, "hangs")) as victim:
            assert sorted([await told(victim) for _ in range(4)])[1:] == ["has one"] * 3  # all permits there are
        async with callosum.attach(ScriptedAgent(succeed), Tract.EXTERNAL, "tool", delivery=PATIENT):
            closed = await until_state(callosum, CircuitState.CLOSED)
        assert closed.calls == FAST["permitted_calls_in_half_open"]
        assert len(await gate_events(callosum, Gate.CircuitHalfOpened)) == 1
