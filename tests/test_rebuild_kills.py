"""Rebuilds that are killed with -9, and read models kept current by two processes at once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.measuring import fill
from corpus_callosum import CorpusCallosum, Settings, Tract, Verdict
from tests.processes import ROOT
from tests.terminal import environment

MODEL = "consciousness"

PROJECTOR = """
import asyncio, sys
from corpus_callosum import CorpusCallosum

async def main(url):
    async with CorpusCallosum.open(url) as callosum:
        print("started", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(sys.argv[1]))
"""


def _filled(directory: Path, events: int) -> str:
    url = f"sqlite:///{directory}/callosum.db"
    log = DialogueLog(store_environment(url))
    fill(log, events, dialogues=20, messages=100)
    log.close()
    return url


def _rebuild(url: str) -> subprocess.Popen[str]:
    """The command, in a group of its own, so that its worker can be killed with it."""
    return subprocess.Popen(
        [sys.executable, "-m", "interface.cli", "projections", "rebuild", MODEL, "--url", url],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


async def _killed(directory: Path, *, events: int, kills: int, longest: float) -> None:
    url = _filled(directory, events)
    chance = random.Random(7)  # a test's seed, no secret
    late = {"stall_seconds": 24 * 3600}  # or what is found in dialogues that are over would grow meanwhile
    async with CorpusCallosum.open(settings=Settings(url=url, patterns=late)) as callosum:
        before = await callosum.consciousness_metrics()
        [clean] = await callosum.projections.verify(MODEL)
        middle = 0
        for _ in range(kills):
            process = _rebuild(url)
            await asyncio.sleep(chance.uniform(0.5, longest))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            [status] = await callosum.projections.status(MODEL)
            middle += status.rebuilding is not None and status.rebuilding > 0
            assert await callosum.consciousness_metrics() == before
        [rebuilt] = await callosum.projections.rebuild(MODEL)
        assert (rebuilt.verdict, rebuilt.digest) == (Verdict.IDENTICAL, clean.digest)
        [verified] = await callosum.projections.verify(MODEL)
        assert (verified.verdict, verified.digest) == (Verdict.IDENTICAL, clean.digest)
        assert await callosum.consciousness_metrics() == before
    print(f"{kills} kills, of which {middle} left a rebuild in the middle")


@pytest.mark.slow
async def test_killed_rebuild_is_gone_on_with_and_its_digest_is_the_same(tmp_path: Path) -> None:
    await _killed(tmp_path, events=25, kills=2, longest=2.0)


@pytest.mark.stress
async def test_rebuild_survives_20_kills(tmp_path: Path) -> None:
    await _killed(tmp_path, events=500, kills=20, longest=6.0)


def _projector(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROJECTOR, url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def _two_runners(url: str, seconds: float) -> None:
    projectors = [_projector(url) for _ in range(2)]
    async with CorpusCallosum.open(settings=Settings(url=url, project=False, deliver=False)) as callosum:
        for projector in projectors:
            assert projector.stdout is not None
            await asyncio.to_thread(projector.stdout.readline)
        dialogues = [await callosum.open_dialogue(f"shared {n}") for n in range(8)]
        deadline = asyncio.get_running_loop().time() + seconds
        sent = 0

        async def speak(number: int) -> None:
            nonlocal sent
            while asyncio.get_running_loop().time() < deadline:
                source, target = (Tract.INTERNAL, Tract.EXTERNAL)[:: 1 if sent % 3 else -1]
                await callosum.send(
                    dialogues[number], source=source, target=target, sender="speaker", payload=sent % 50
                )
                sent += 1

        await asyncio.gather(*map(speak, range(8)))
        assert (await callosum.consciousness_metrics()).total_messages == sent
        verified = await callosum.projections.verify()
        assert [one.verdict for one in verified] == [Verdict.IDENTICAL] * len(callosum.projections.names)
    for projector in projectors:
        projector.kill()
        projector.communicate()
    print(f"{sent} messages, folded once by two processes")


@pytest.mark.slow
async def test_two_runners_on_one_database_fold_every_event_once(lasting_url: str) -> None:
    await _two_runners(lasting_url, 0.7)


@pytest.mark.stress
async def test_two_runners_fold_every_event_of_a_minute_once(lasting_url: str) -> None:
    await _two_runners(lasting_url, 60.0)
