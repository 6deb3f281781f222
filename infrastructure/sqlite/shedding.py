"""Holding the least urgent messages of a tract, for who may give them up."""

from typing import Final

from eventsourcing import sqlite as library

from application.inbox import Handed
from infrastructure.sqlite.leases import again, hold, lend, make_ready, remove_ready
from infrastructure.sqlite.lines import is_ordered

__all__ = ["take_lowest"]

_NEXT_RECIPIENT: Final = (
    "SELECT recipient FROM inbox_ready WHERE tract = ? AND recipient > ? ORDER BY recipient LIMIT 1"
)
_LOWEST: Final = (
    "SELECT urgency, slot, count, attempts, recipient FROM inbox_ready "
    "WHERE tract = ? AND recipient = ? AND urgency > ? ORDER BY urgency DESC, slot DESC LIMIT ?"
)
_Run = tuple[int, int, int, int, str]


def take_lowest(
    c: library.SQLiteCursor, tract: str, lease: str, *, count: int, below: int, due: int
) -> list[Handed]:
    handed, _ = again(c, tract, lease)
    runs = [] if handed or is_ordered(c, tract) else _lowest(c, tract, count, below)
    if sum(run[2] for run in runs) >= count:
        for run in runs:
            handed += _hold_last(c, tract, lease, run, count - len(handed))
        lend(c, tract, lease, "", due=due)
    return sorted(handed, key=lambda message: (message.priority, -message.slot))


def _lowest(c: library.SQLiteCursor, tract: str, count: int, below: int) -> list[_Run]:
    """Runs of so many messages, if there are. One query over all recipients would have to sort all runs."""
    runs: list[_Run] = []
    recipient: str | None = ""
    while recipient is not None:
        c.execute(_LOWEST, (tract, recipient, 9 - below, count))
        runs += map(tuple, c.fetchall())
        c.execute(_NEXT_RECIPIENT, (tract, recipient))
        found = c.fetchone()
        recipient = found[0] if found else None
    return sorted(runs, reverse=True)


def _hold_last(c: library.SQLiteCursor, tract: str, lease: str, run: _Run, most: int) -> list[Handed]:
    urgency, slot, count, attempts, recipient = run
    many = min(count, most)
    if many == 0:
        return []
    priority, first = 9 - urgency, slot + count - many
    remove_ready(c, tract, recipient, priority, slot)
    if many < count:
        make_ready(c, tract, recipient, priority, slot, count=count - many, attempts=attempts)
    held = [Handed(place, priority, attempts) for place in range(first, first + many)]
    hold(c, tract, lease, held, recipient)
    return held
