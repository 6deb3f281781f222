"""What rebuilding the read models costs, beside only reading and decoding the same log.

Question: how soon is a read model there again, after a change of its definition, and how much of that is the fold?
On a SQLite log of dialogues that alternate, in events of 100 messages: its pages read and decoded; each projection
rebuilt by itself; and all of them from one reading.

    python benchmarks/bench_fold.py [--messages 1000000] [--dialogues 100] [--rounds 3] [--json]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.measuring import Measure, Report, fill, in_turns, report, show
from corpus_callosum import Message, Tract
from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from projections.feed import Feed
from projections.fold import Projection
from projections.model import Checkpoint
from projections.models import ReadModels
from projections.rebuild import rebuild
from projections.registry import projections

EVENT = 100
READ = "read and decode"
ALL = "all projections"


def conversation(seed: int) -> Callable[[], Message]:
    """Messages in both directions, a millisecond apart, each of which says something else."""
    random = Random(seed)
    ways = [(Tract.INTERNAL, Tract.EXTERNAL), (Tract.EXTERNAL, Tract.INTERNAL)]
    sent_at = 1_700_000_000_000_000

    def say() -> Message:
        nonlocal sent_at
        sent_at += random.randrange(2000)
        source, target = random.choice(ways)
        payload = {"text": f"step {random.randrange(10**9)} of the plan ".ljust(100, "x")}
        return Message(source=source, target=target, sender="planner", payload=payload, sent_at=sent_at)

    return say


def reading(log: DialogueLog) -> Callable[[], Awaitable[float]]:
    """Seconds for the whole log in the pages in which it is folded."""

    async def measured() -> float:
        started = time.perf_counter()
        feed, reached = Feed(log), Checkpoint("", 0, b"", log.epoch)
        while page := feed.after(reached):
            reached = msgspec.structs.replace(reached, position=page[-1].position, chain=page[-1].chain)
        return time.perf_counter() - started

    return measured


def rebuilding(log: DialogueLog, makers: Sequence[Callable[[], Projection]]) -> Callable[[], Awaitable[float]]:
    """Seconds for read models on files, from nothing until they serve."""

    async def measured() -> float:
        with TemporaryDirectory() as directory, closing(ReadModels(f"{directory}/views.db")) as models:
            started = time.perf_counter()
            rebuild(log, models, [make() for make in makers])
            return time.perf_counter() - started

    return measured


def folds(messages: int, dialogues: int, rounds: int) -> Report:
    makers = projections(EmergenceSettings(), PatternSettings())
    events = max(1, messages // (EVENT * dialogues))
    with (
        TemporaryDirectory() as directory,
        closing(DialogueLog(store_environment(f"sqlite:///{directory}/callosum.db"))) as log,
    ):
        fill(log, events + 1, dialogues=dialogues, messages=EVENT, say=conversation(1))
        said = events * EVENT * dialogues
        measures: dict[str, Measure] = {READ: (reading(log), said)}
        measures |= {name: (rebuilding(log, [make]), said) for name, make in makers.items()}
        measures[ALL] = (rebuilding(log, list(makers.values())), said)
        return report(asyncio.run(in_turns(measures, rounds)), [(name, READ) for name in (*makers, ALL)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the log, about (default 1000000)")
    parser.add_argument("--dialogues", type=int, default=100, help="whose events alternate (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    results = folds(asked.messages, asked.dialogues, asked.rounds)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
        return
    show(f"SQLite, a log of {asked.messages:,} messages in events of {EVENT}", results)


if __name__ == "__main__":
    main()
