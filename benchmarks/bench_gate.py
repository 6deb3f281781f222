"""What a tract's gate costs, and what one tract's trouble does to the other.

Can every send ask it, and every outcome be told to it, without either being felt? On a closed circuit of
which nearly half of the calls fail and some are slow: whether it lets a send pass; an outcome recorded in a window
of the last 100 calls, and in one of the last 100 seconds, of which each has a thousand or just one; and beside
them a call of a function that does nothing. The loop around them counts in all.

What does one tract's trouble do to the other one? Messages at a steady pace into both, of one service on SQLite,
and on a private Redis server with fsync everysec: from just before the send to the handler, in the one, while
the handler of the other fails at every message, or fails and recovers in turn, beside when both are well. The
second figure of a pair is by how much it takes longer.

How soon is who sends into a full tract, or one whose circuit is open, refused? By a process that knows of it.

    python benchmarks/bench_gate.py [--outcomes 100000] [--rounds 5] [--seconds 4] [--json]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from benchmarks.gate_neighbours import neighbours, refusals
from benchmarks.measuring import Measure, Report, in_turns, private_server, report, show
from domain.circuit import Circuit, CircuitSettings, CircuitState, Transition, WindowType

NOTHING = "a function that does nothing"
ADMISSION = "is the circuit closed?"
COUNTED = "outcome, last 100 calls"
TIMED = "outcome, last 100 s, a thousand a second"
SPARSE = "outcome, last 100 s, one a second"

Record = Callable[[int, str | None, int, int], Transition | None]
Recorded = tuple[str | None, int, int]
"""Error, microseconds, milliseconds since 1970."""


def circuit(window: WindowType) -> Circuit:
    return Circuit(CircuitSettings(sliding_window_type=window, failure_rate_threshold=100.0))


def outcomes(count: int, apart: int) -> list[Recorded]:
    """So many, so many milliseconds apart."""
    random = Random(1)
    return [
        (
            "TimeoutError: no answer" if random.random() < 0.45 else None,
            90_000_000 if random.random() < 0.1 else 20_000,
            1_700_000_000_000 + number * apart,
        )
        for number in range(count)
    ]


def recording(new: Callable[[], Record], told: list[Recorded]) -> Callable[[], Awaitable[float]]:
    async def measured() -> float:
        record = new()
        started = time.perf_counter()
        for error, microseconds, at in told:
            record(0, error, microseconds, at)
        return time.perf_counter() - started

    return measured


def asking(times: int) -> Callable[[], Awaitable[float]]:
    async def measured() -> float:
        asked, closed = circuit(WindowType.COUNT_BASED), CircuitState.CLOSED
        let_pass = 0
        started = time.perf_counter()
        for _ in repeat(None, times):
            if asked.state is closed:
                let_pass += 1
        took = time.perf_counter() - started
        assert let_pass == times
        return took

    return measured


def nothing(generation: int, error: str | None, microseconds: int, at: int) -> None:
    """What every record costs before it has done anything."""


def gates(count: int, rounds: int) -> Report:
    close, apart = outcomes(count, 1), outcomes(count, 1000)
    measures: dict[str, Measure] = {
        NOTHING: (recording(lambda: nothing, close), count),
        ADMISSION: (asking(count), count),
        COUNTED: (recording(lambda: circuit(WindowType.COUNT_BASED).record, close), count),
        TIMED: (recording(lambda: circuit(WindowType.TIME_BASED).record, close), count),
        SPARSE: (recording(lambda: circuit(WindowType.TIME_BASED).record, apart), count),
    }
    against = [(name, NOTHING) for name in measures if name != NOTHING]
    return report(asyncio.run(in_turns(measures, rounds)), against, unit="times")


def measured(count: int, rounds: int, seconds: float) -> dict[str, Report]:
    results = {f"One circuit, {count:,} outcomes a round": gates(count, rounds)}
    with TemporaryDirectory() as directory:
        results["SQLite, one tract, until it is handled"] = asyncio.run(
            neighbours(f"sqlite:///{directory}/bench.db", rounds, seconds)
        )
    with private_server("everysec") as server:
        where = f"{server.binary.name}, fsync everysec"
        results[f"{where}, one tract, until it is handled"] = asyncio.run(neighbours(server.url, rounds, seconds))
        results[f"{where}, a send that is refused"] = asyncio.run(
            refusals(f"{server.url}?namespace=refusals", rounds)
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=100_000, help="a round (default 100000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round of the latencies (default 4)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    results = measured(asked.outcomes, asked.rounds, asked.seconds)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
        return
    for title, found in results.items():
        show(title, found)


if __name__ == "__main__":
    main()
