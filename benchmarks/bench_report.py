"""What a report costs, and how soon a browser shows it.

Question: how long does `callosum report` take on a log of 100,000 messages, how large is the page, when is it
first painted, and how long do sorting the list and opening a transcript take? The read models are built before,
and are not measured. A browser is asked where there is one.

    python benchmarks/bench_report.py [--messages 100000] [--dialogues 1000]
"""

import argparse
import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

from corpus_callosum import CorpusCallosum, Kind, Message, Settings, Tract
from domain.message import Payload
from tests.browser import MISSING, browsing
from tests.terminal import ROOT, environment

BATCH = 100
WORDS = (
    "parser",
    "token",
    "stream",
    "fails",
    "when",
    "early",
    "retry",
    "the",
    "fix",
    "of",
    "branch",
    "merged",
    "is",
)
PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
SORT = """
  const began = performance.now();
  document.querySelector('[data-key=coordination]').click();
  document.body.offsetHeight;
  return performance.now() - began"""
OPEN = """
  const done = arguments[0], began = performance.now();
  document.querySelector('#dialogues tbody a').click();
  const look = () =>
    document.querySelector('.transcript li') ? done(performance.now() - began) : setTimeout(look, 1);
  look()"""


def said(chance: random.Random) -> Message:
    """A fifth is text, the rest objects; the tracts speak by chance."""
    text = " ".join(chance.choices(WORDS, k=15))
    source, target = chance.sample(list(Tract), 2)
    payload: Payload = text if chance.random() < 0.2 else {"task": text, "number": chance.randrange(50)}
    return Message(source=source, target=target, sender=f"the {source} agent", payload=payload)


async def fill(url: str, messages: int, dialogues: int) -> None:
    chance = random.Random(7)
    async with CorpusCallosum.open(settings=Settings(url=url, deliver=False)) as callosum:
        opened = [await callosum.open_dialogue(f"errand {n}") for n in range(dialogues)]
        for _ in range(0, messages, BATCH):
            await callosum.send_many(chance.choice(opened), [said(chance) for _ in range(BATCH)])
        await callosum.consciousness_metrics(Kind.LIVE)


def written(url: str, page: Path) -> float:
    """Seconds that the command takes, all of its process."""
    command = [sys.executable, "-m", "interface.cli", "report", "--out", str(page), "--url", url]
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def looked_at(page: Path) -> None:
    if MISSING:
        print(f"  not looked at: {MISSING}")
        return
    with browsing() as browser:
        browser.get(page.as_uri())
        browser.ask("return new Promise(painted => requestAnimationFrame(() => setTimeout(painted, 100)))")
        print(f"  first paint after       {browser.ask(PAINTED):>8.0f} ms")
        print(f"  sorting takes           {browser.ask(SORT):>8.0f} ms")
        print(f"  opening a dialogue      {browser.execute_async_script(OPEN):>8.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--dialogues", type=int, default=1000)
    asked = parser.parse_args()
    with TemporaryDirectory() as directory:
        url, page = f"sqlite:///{directory}/log.db", Path(directory) / "report.html"
        asyncio.run(fill(url, asked.messages, asked.dialogues))
        print(f"A report of {asked.messages:,} messages in {asked.dialogues:,} dialogues")
        print(f"  written in              {written(url, page):>8.1f} s")
        print(f"  size                    {page.stat().st_size / 1e6:>8.1f} MB")
        looked_at(page)


if __name__ == "__main__":
    main()
