"""Several processes on one log, and processes that die in the middle."""

import asyncio
import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum
from tests.processes import start

SENDER = """
import asyncio, json, sys
from uuid import UUID
from corpus_callosum import CorpusCallosum, Tract

async def main(url, name, dialogues):
    async with CorpusCallosum.open(url) as callosum:
        async def one(dialogue, task):
            for number in range(10):
                receipt = await callosum.send(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL,
                                              sender=name, payload=[task, number])
                print(json.dumps([str(dialogue), receipt.sequence, [task, number]]))
        await asyncio.gather(*(one(dialogue, task) for dialogue in dialogues for task in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2], [UUID(text) for text in sys.argv[3:]]))
"""

SPEAKER = """
import asyncio, json, sys
from itertools import count
from uuid import UUID
from corpus_callosum import CorpusCallosum, Tract

async def main(url, dialogue):
    async with CorpusCallosum.open(url) as callosum:
        for number in count(1):
            receipt = await callosum.send(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL,
                                          sender="speaker", payload=number)
            print(json.dumps([receipt.sequence, number]), flush=True)

asyncio.run(main(sys.argv[1], UUID(sys.argv[2])))
"""

IMPORTER = """
import asyncio, sys
from corpus_callosum import CorpusCallosum

async def main(url, file):
    async with CorpusCallosum.open(url) as callosum:
        print("started", flush=True)
        await callosum.import_transcripts(file)
        print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

RUNS = 200
MESSAGES_A_RUN = 40


@pytest.mark.slow
async def test_two_processes_in_the_same_dialogues_lose_and_repeat_nothing(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        dialogues = [await callosum.open_dialogue(f"shared {n}") for n in range(3)]
        ids = [str(dialogue) for dialogue in dialogues]
        senders = {name: start("-c", SENDER, lasting_url, name, *ids) for name in ("left", "right")}
        outputs = {name: await asyncio.to_thread(sender.communicate) for name, sender in senders.items()}
        acknowledged = {
            (UUID(dialogue), sequence): (name, payload)
            for name, (out, _) in outputs.items()
            for dialogue, sequence, payload in map(json.loads, out.splitlines())
        }
        assert {name: sender.returncode for name, sender in senders.items()} == {"left": 0, "right": 0}, outputs
        recorded = {
            (spoken.dialogue, spoken.sequence): (spoken.sender, spoken.payload)
            for dialogue in dialogues
            async for spoken in callosum.transcript(dialogue)
        }
        checked = await callosum.verify()
    assert recorded == acknowledged
    assert len(recorded) == 2 * 3 * 4 * 10
    assert sorted(recorded) == sorted((d, n) for d in dialogues for n in range(1, 81))
    assert checked.problem is None


async def test_every_message_acknowledged_before_a_kill_is_there(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("killed")
    speaker = start("-c", SPEAKER, lasting_url, str(dialogue))
    assert speaker.stdout is not None
    before = [await asyncio.to_thread(speaker.stdout.readline) for _ in range(100)]
    speaker.kill()
    rest = await asyncio.to_thread(speaker.stdout.read)  # not communicate(): it reads past what is buffered
    speaker.communicate()
    assert before[-1]
    # The last line may be cut off; what it would have said was not acknowledged.
    acknowledged = [
        json.loads(line) for line in "".join([*before, rest]).splitlines(keepends=True) if line[-1] == "\n"
    ]
    async with CorpusCallosum.open(lasting_url) as callosum:
        recorded = [[spoken.sequence, spoken.payload] async for spoken in callosum.transcript(dialogue)]
        assert (await callosum.verify()).problem is None
    assert acknowledged == recorded[: len(acknowledged)]
    assert len(recorded) <= len(acknowledged) + 1


def _transcripts(path: Path) -> None:
    """RUNS distinct dialogues of MESSAGES_A_RUN messages each."""
    with path.open("w") as file:
        for run in range(RUNS):
            messages = [
                {"role": "assistant" if n % 2 else "user", "content": f"run {run} message {n} {'x' * 200}"}
                for n in range(MESSAGES_A_RUN)
            ]
            file.write(json.dumps({"run": run, "messages": messages}) + "\n")


async def _imported(url: str, file: Path) -> tuple[int, int]:
    async with CorpusCallosum.open(url) as callosum:
        report = await callosum.import_transcripts(file)
        assert report.broken == []
        checked = await callosum.verify()
        assert checked.problem is None
        assert checked.dialogues == RUNS
        return checked.messages, report.dialogues


async def _killed_imports(directory: Path, kills: int, seed: int) -> list[int]:
    """Import, killed with -9 at a random moment, then again; how many dialogues the second one had to record."""
    file = directory / "runs.jsonl"
    _transcripts(file)
    chance = random.Random(seed)  # a test's seed, no secret
    left: list[int] = []
    for kill in range(kills):
        url = f"sqlite:///{directory}/{kill}.db"
        importer = start("-c", IMPORTER, url, str(file))
        assert importer.stdout is not None
        assert await asyncio.to_thread(importer.stdout.readline) == "started\n"
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(importer.wait, chance.uniform(0.0, 0.4))
        importer.kill()
        importer.communicate()
        messages, dialogues = await _imported(url, file)
        assert messages == RUNS * MESSAGES_A_RUN
        left.append(dialogues)
    return left


@pytest.mark.slow
async def test_an_import_killed_in_the_middle_and_repeated_has_every_message_once(tmp_path: Path) -> None:
    left = await _killed_imports(tmp_path, kills=3, seed=1)
    assert any(0 < dialogues < RUNS for dialogues in left), f"no kill hit the middle: {left}"


@pytest.mark.stress
async def test_an_import_killed_at_20_random_moments_and_repeated_has_every_message_once(tmp_path: Path) -> None:
    left = await _killed_imports(tmp_path, kills=20, seed=2)
    print(f"dialogues left for the second import, of {RUNS}: {left}")
    assert sum(0 < dialogues < RUNS for dialogues in left) >= 5
