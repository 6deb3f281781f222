"""SQLite's part of `bench_append`: the service beside a bare sqlite3 loop, on files of one disk."""

import sqlite3
import time
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from uuid import UUID

from benchmarks.measuring import BATCH, SENDERS, Figures, Measure, crowd, encoded, in_turns, message, timed
from corpus_callosum import CorpusCallosum, Settings

__all__ = ["AGAINST", "appends"]

BATCHES_A_ROUND = 40
LONE_A_ROUND = 200
CALLERS = 4
TURNS = BATCHES_A_ROUND // CALLERS
SENDS_OF_EACH = 30

AGAINST = [
    ("send_many of 1000", "bare, one row a batch"),
    ("send_many of 1000, 4 callers", "bare, one row a batch"),
    ("send_many of 1000", "bare, one row a message"),
    ("send, lone", "bare, lone"),
    ("send, 64 senders", "bare, lone"),
]


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

    async def write(self, states: list[bytes], times: int) -> float:
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


def _stored_states(path: Path, dialogue: UUID) -> tuple[bytes, bytes]:
    """What the service stored for a batch and for a lone message."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT state FROM stored_events WHERE originator_id = ? ORDER BY position LIMIT 2 OFFSET 1",
            (dialogue.hex,),
        ).fetchall()
    return rows[0][0], rows[1][0]


async def appends(directory: Path, rounds: int, *, project: bool) -> Figures:
    """Seconds a message, with the read models kept current beside or not."""
    path, batch = directory / "callosum.db", [message() for _ in range(BATCH)]
    asked = Settings(url=f"sqlite:///{path}", project=project, deliver=False)
    async with CorpusCallosum.open(settings=asked) as callosum:
        dialogue = await callosum.open_dialogue("bench")
        await callosum.send_many(dialogue, batch)
        await callosum.send_many(dialogue, batch[:1])
        whole, lone = _stored_states(path, dialogue)
        each = [encoded() for _ in batch]
        messages = BATCHES_A_ROUND * BATCH

        def many() -> Awaitable[object]:
            return callosum.send_many(dialogue, batch)

        def one() -> Awaitable[object]:
            return callosum.send_many(dialogue, batch[:1])

        with closing(Bare(directory / "bare.db")) as bare:
            measures: dict[str, Measure] = {
                "bare, one row a batch": (lambda: bare.write([whole], BATCHES_A_ROUND), messages),
                "send_many of 1000": (lambda: timed(many, BATCHES_A_ROUND), messages),
                "send_many of 1000, 4 callers": (lambda: crowd(many, TURNS, CALLERS), messages),
                "bare, one row a message": (lambda: bare.write(each, BATCHES_A_ROUND), messages),
                "bare, lone": (lambda: bare.write([lone], LONE_A_ROUND), LONE_A_ROUND),
                "send, lone": (lambda: timed(one, LONE_A_ROUND), LONE_A_ROUND),
                "send, 64 senders": (lambda: crowd(one, SENDS_OF_EACH), SENDERS * SENDS_OF_EACH),
            }
            return await in_turns(measures, rounds)
