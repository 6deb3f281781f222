"""What a durable message costs, beside a bare loop that writes the same bytes.

Question: how much of what the store can do is left when it goes through the service?

SQLite: the service and a bare sqlite3 loop write to files on one disk, in write-ahead mode with synchronous FULL.
The bare loop writes the very rows that the service stored, into a table of the same kind, one transaction a batch:
as one row a batch, which is the least that SQLite can do, and as one row a message.

Redis: the service and a bare redis-py client append on one private server, with fsync always and everysec, in
commands of 1 to 1000 messages. The bare client has one command on its way at a time, beside 64 senders too: an
XADD of the very entry that the service stored for a command, and an XADD of one field for every message. Then
what a message weighs in memory and file and, with --growth, whether an append to a long log takes longer.

    python benchmarks/bench_append.py [--store sqlite|redis|all] [--rounds 9] [--growth 1000000] [--json]
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from benchmarks import append_redis, append_sqlite, log_growth
from benchmarks.measuring import Report, private_server, report, show


def sqlite(rounds: int) -> Iterator[tuple[str, Report]]:
    for beside, project in (("commands alone", False), ("with the read models kept current beside", True)):
        with tempfile.TemporaryDirectory() as directory:
            figures = asyncio.run(append_sqlite.appends(Path(directory), rounds, project=project))
        yield f"SQLite, {beside}", report(figures, append_sqlite.AGAINST)


def redis(rounds: int) -> Iterator[tuple[str, Report]]:
    for fsync in ("always", "everysec"):
        for count in append_redis.COMMANDS:
            with private_server(fsync) as server:
                figures = asyncio.run(append_redis.appends(server.url, count, rounds))
                title = f"{server.binary.name}, fsync {fsync}, messages a command: {count}"
            yield title, report(figures, append_redis.AGAINST)


def weights() -> tuple[str, dict[str, log_growth.Weight]]:
    with private_server("everysec") as server:
        found = asyncio.run(log_growth.weights(server.url))
        return f"{server.binary.name}, bytes a message", found


def growth(messages: int, rounds: int) -> tuple[str, Report]:
    with private_server("everysec") as server:
        figures = asyncio.run(log_growth.growth(server.url, messages, rounds))
        title = f"{server.binary.name}, fsync everysec, a long log and a new one"
    return title, report(figures, log_growth.growth_against(messages), "commands")


def show_weights(title: str, found: dict[str, log_growth.Weight]) -> None:
    print(title)
    for name, weight in found.items():
        print(f"  {name:<44}{weight.memory:>12,.0f} in memory{weight.file:>12,.0f} in the append-only file")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["sqlite", "redis", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds (default 9)")
    parser.add_argument("--growth", type=int, default=0, metavar="N", help="measure on a log of N messages too")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


def measured(asked: argparse.Namespace) -> Iterator[tuple[str, Report]]:
    if asked.store != "redis":
        yield from sqlite(asked.rounds)
    if asked.store != "sqlite":
        yield from redis(asked.rounds)
        if asked.growth:
            yield growth(asked.growth, asked.rounds)


def main() -> None:
    asked = arguments()
    results: dict[str, Report | dict[str, log_growth.Weight]] = {}
    for title, figures in measured(asked):
        results[title] = figures
        if not asked.json:
            show(title, figures)
    if asked.store != "sqlite":
        title, found = weights()
        results[title] = found
        if not asked.json:
            show_weights(title, found)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())


if __name__ == "__main__":
    main()
