"""What a durable message costs, beside a bare sqlite3 loop that writes the same bytes.

Question: how much of what SQLite can do is left when it goes through the service? Both write to files on the same
disk, in write-ahead mode with synchronous FULL, in turns, round by round; what counts is the median of the rounds'
ratios, because the machine's speed drifts. The bare loop writes the very rows that the service stored,
into a table of the same kind, one transaction a batch: as one row a batch, which is the least that SQLite can do,
and as one row a message.

    python benchmarks/bench_append.py [--rounds 9] [--json]
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from corpus_callosum import CorpusCallosum, Message, Settings, Tract

BATCH = 1000
PAYLOAD = "x" * 100
BATCHES_A_ROUND = 40
LONE_A_ROUND = 200
CALLERS = 4
SENDERS = 64


def message() -> Message:
    return Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=PAYLOAD)


class Bare:
    """A bare sqlite3 loop: BEGIN IMMEDIATE, INSERT, COMMIT."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE log (position INTEGER PRIMARY KEY, id TEXT, version INTEGER, topic TEXT, state BLOB, "
            "at INTEGER, chain BLOB, UNIQUE (id, version))"
        )
        self._version = 0

    def write(self, states: list[bytes], times: int) -> float:
        """Write these as one transaction, so many times; the seconds it took."""
        started = time.perf_counter()
        for _ in range(times):
            rows = []
            for state in states:
                self._version += 1
                rows.append((self._version, "0" * 32, self._version, "dialogue.conveyed.v1", state, 0, b"0" * 20))
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?)", rows)
            self._connection.execute("COMMIT")
        return time.perf_counter() - started

    def close(self) -> None:
        self._connection.close()


async def timed(work: Callable[[], Awaitable[object]], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        await work()
    return time.perf_counter() - started


async def crowd(callosum: CorpusCallosum, dialogue: UUID, each: int) -> float:
    async def one(number: int) -> None:
        for _ in range(each):
            await callosum.send(
                dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender=f"agent {number}", payload=PAYLOAD
            )

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(SENDERS)))
    return time.perf_counter() - started


async def several(callosum: CorpusCallosum, dialogue: UUID, batch: list[Message], batches: int) -> float:
    """The batches shared out among a few callers, each waiting for its receipts before it sends again."""
    callers = (timed(lambda: callosum.send_many(dialogue, batch), batches // CALLERS) for _ in range(CALLERS))
    started = time.perf_counter()
    await asyncio.gather(*callers)
    return time.perf_counter() - started


def _stored_states(path: Path, dialogue: UUID) -> tuple[bytes, bytes]:
    """What the service stored for a batch and for a lone message."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT state FROM stored_events WHERE originator_id = ? ORDER BY position LIMIT 2 OFFSET 1",
            (dialogue.hex,),
        ).fetchall()
    return rows[0][0], rows[1][0]


async def rounds(directory: Path, count: int, *, project: bool) -> dict[str, list[float]]:
    """Seconds a message, by what was measured, one for each round."""
    bare, path = Bare(directory / "bare.db"), directory / "callosum.db"
    batch = [message() for _ in range(BATCH)]
    seen: dict[str, list[float]] = {}
    async with CorpusCallosum.open(settings=Settings(url=f"sqlite:///{path}", project=project)) as callosum:
        dialogue = await callosum.open_dialogue("bench")
        await callosum.send_many(dialogue, batch)
        await callosum.send_many(dialogue, [message()])
        whole, lone = _stored_states(path, dialogue)
        each = [msgspec.msgpack.encode(said) for said in batch]
        for _ in range(count + 1):
            batches, messages = BATCHES_A_ROUND, BATCHES_A_ROUND * BATCH
            figures = {
                "bare, one row a batch": bare.write([whole], batches) / messages,
                "send_many of 1000": await timed(lambda: callosum.send_many(dialogue, batch), batches) / messages,
                "send_many of 1000, 4 callers": await several(callosum, dialogue, batch, batches) / messages,
                "bare, one row a message": bare.write(each, batches) / messages,
                "bare, lone": bare.write([lone], LONE_A_ROUND) / LONE_A_ROUND,
                "send, lone": await timed(lambda: callosum.send_many(dialogue, batch[:1]), LONE_A_ROUND)
                / LONE_A_ROUND,
                "send, 64 senders": await crowd(callosum, dialogue, 30) / (SENDERS * 30),
            }
            for name, figure in figures.items():
                seen.setdefault(name, []).append(figure)
    bare.close()
    return {name: figures[1:] for name, figures in seen.items()}  # the first round warms up


RATIOS = [
    ("send_many of 1000", "bare, one row a batch"),
    ("send_many of 1000, 4 callers", "bare, one row a batch"),
    ("send_many of 1000", "bare, one row a message"),
    ("send, lone", "bare, lone"),
    ("send, 64 senders", "bare, lone"),
]


def report(seen: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Medians: messages a second, microseconds a message, and the rates' ratios round by round."""
    return {
        "messages_a_second": {name: 1 / median(figures) for name, figures in seen.items()},
        "microseconds_a_message": {name: median(figures) * 1e6 for name, figures in seen.items()},
        "rate_against": {
            f"{ours} / {theirs}": median(b / a for a, b in zip(seen[ours], seen[theirs], strict=True))
            for ours, theirs in RATIOS
        },
    }


def show(title: str, figures: dict[str, dict[str, float]]) -> None:
    print(title)
    for name, rate in figures["messages_a_second"].items():
        print(f"  {name:<28}{rate:>12,.0f} messages/s{figures['microseconds_a_message'][name]:>10.1f} µs")
    for name, ratio in figures["rate_against"].items():
        print(f"  {name:<52}{ratio:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds (default 9)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    results = {}
    for title, project in (("commands alone", False), ("with the read models kept current beside", True)):
        with tempfile.TemporaryDirectory() as directory:
            results[title] = report(asyncio.run(rounds(Path(directory), asked.rounds, project=project)))
        if not asked.json:
            show(title, results[title])
    if asked.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
