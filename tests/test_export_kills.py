"""An import that is killed with -9 and made again is complete, and nothing is there twice."""

import subprocess
import sys
from pathlib import Path

import pytest

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.measuring import fill
from corpus_callosum import CorpusCallosum
from tests.history import everything, lines, plain_settings
from tests.terminal import environment

IMPORTER = """
import asyncio, sys
from corpus_callosum import CorpusCallosum, Settings

async def main(url, file):
    settings = Settings(url=url, project=False, views="sqlite://")
    async with CorpusCallosum.open(settings=settings) as callosum:
        await callosum.import_log(file, lambda report: print(report.events + report.present, flush=True))

asyncio.run(main(*sys.argv[1:]))
"""


def killed_after(batches: int, url: str, file: Path) -> bool:
    """Run an import and kill it when it has told of so many batches; whether it was still under way then."""
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTER, url, str(file)], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(batches)]
        process.kill()
        return bool(told[-1])


@pytest.mark.parametrize(
    ("events", "least"),
    [pytest.param(30, 1, marks=pytest.mark.slow), pytest.param(360, 9, marks=pytest.mark.stress)],
)
async def test_a_killed_import_is_made_again(lasting_url: str, tmp_path: Path, events: int, least: int) -> None:
    source_url = f"sqlite:///{tmp_path}/source.db"
    log = DialogueLog(store_environment(source_url))
    fill(log, events, dialogues=20, messages=2)
    log.close()
    file = tmp_path / "log.jsonl"
    async with CorpusCallosum.open(settings=plain_settings(source_url)) as source:
        file.write_text("".join(f"{line}\n" for line in await lines(source)))
        kills = 0
        while killed_after(1 + 3 * kills, lasting_url, file):
            kills += 1
        assert kills >= least
        async with CorpusCallosum.open(settings=plain_settings(lasting_url)) as callosum:
            report = await callosum.import_log(file)
            assert (report.broken, report.events, report.present) == (None, 0, 20 * events)
            assert await everything(callosum) == await everything(source)
            assert (await callosum.verify()).problem is None
