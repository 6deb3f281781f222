"""Handing out messages of a tract as a lease, and having them back when it ends."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from eventsourcing import sqlite as library

from application.inbox import Handed, Take, Taken
from application.passage import Passage
from infrastructure.sqlite.gates import give_back, level, spend

__all__ = [
    "again",
    "anything_waits",
    "drop_if_empty",
    "end_leases",
    "hold",
    "is_newest",
    "lend",
    "make_ready",
    "release",
    "remove_ready",
    "take_some",
    "waits",
]

_READY: Final = (
    "SELECT urgency, slot, count, attempts, recipient FROM inbox_ready "
    "WHERE tract = ? AND recipient = ? ORDER BY urgency, slot LIMIT ?"
)
_REMOVE_READY: Final = "DELETE FROM inbox_ready WHERE tract = ? AND recipient = ? AND urgency = ? AND slot = ?"
_MAKE_READY: Final = "INSERT INTO inbox_ready VALUES (?,?,?,?,?,?)"
_HELD: Final = "SELECT slot, priority, attempt, recipient FROM inbox_held WHERE tract = ? AND lease = ?"
_HOLD: Final = "INSERT INTO inbox_held VALUES (?,?,?,?,?,?,?)"
_LEND: Final = "INSERT INTO inbox_leases VALUES (?,?,?,?,?)"
_DROP_IF_EMPTY: Final = (
    "DELETE FROM inbox_leases WHERE tract = ?1 AND lease = ?2 AND NOT EXISTS "
    "(SELECT 1 FROM inbox_held WHERE tract = ?1 AND lease = ?2)"
)


def is_newest(c: library.SQLiteCursor, take: Take) -> bool:
    """Whether no other consumer of its name has joined since."""
    c.execute(
        "SELECT generation FROM inbox_generations WHERE tract = ? AND consumer = ?", (take.tract, take.consumer)
    )
    newest = c.fetchone()
    return newest is not None and newest[0] == take.generation


def waits(c: library.SQLiteCursor, take: Take) -> bool:
    """Whether there is something for this consumer, whatever the gate is."""
    return bool(_ready(c, take.tract, take.consumer, 1))


def anything_waits(c: library.SQLiteCursor, tract: str) -> bool:
    """Whether there is something for anybody, whatever the gate is."""
    c.execute("SELECT 1 FROM inbox_ready WHERE tract = ? LIMIT 1", (tract,))
    return c.fetchone() is not None


def take_some(c: library.SQLiteCursor, take: Take, now: int) -> Taken:
    tract = take.tract
    handed, generation = again(c, tract, take.lease)
    if not handed:
        gate = level(c, tract)
        generation = gate.generation
        handed = _fill(c, tract, take.consumer, take.lease, gate.lets_out(take.demand))
        if handed:
            lend(c, tract, take.lease, take.consumer, due=now + take.ack_wait, generation=generation)
        if gate.passage is Passage.PROBING:
            spend(c, tract, len(handed))
    left = waits(c, take)
    c.execute("SELECT min(due) FROM inbox_leases WHERE tract = ?", (tract,))
    due = c.fetchone()[0]
    handed.sort(key=lambda message: (-message.priority, message.slot))
    return Taken(handed, (), left, None if due is None else max(0, due - now), generation)


def end_leases(c: library.SQLiteCursor, tract: str, now: int) -> bool:
    """Those that are due; whether permits are there again."""
    c.execute("SELECT lease FROM inbox_leases WHERE tract = ? AND due <= ?", (tract, now))
    freed = [release(c, tract, ended) for (ended,) in c.fetchall()]
    return any(freed)


def release(c: library.SQLiteCursor, tract: str, lease: str) -> bool:
    """What a lease still holds is to be had again; whether permits are, too."""
    c.execute(_HELD, (tract, lease))
    held = c.fetchall()
    for slot, priority, attempt, recipient in held:
        make_ready(c, tract, recipient, priority, slot, attempts=attempt)
    freed = give_back(c, tract, lease, len(held))
    c.execute("DELETE FROM inbox_held WHERE tract = ? AND lease = ?", (tract, lease))
    c.execute("DELETE FROM inbox_leases WHERE tract = ? AND lease = ?", (tract, lease))
    return freed


def make_ready(
    c: library.SQLiteCursor,
    tract: str,
    recipient: str,
    priority: int,
    slot: int,
    *,
    count: int = 1,
    attempts: int = 0,
) -> None:
    c.execute(_MAKE_READY, (tract, recipient, 9 - priority, slot, count, attempts))


def remove_ready(c: library.SQLiteCursor, tract: str, recipient: str, priority: int, slot: int) -> None:
    c.execute(_REMOVE_READY, (tract, recipient, 9 - priority, slot))


def lend(c: library.SQLiteCursor, tract: str, lease: str, consumer: str, *, due: int, generation: int = 0) -> None:
    c.execute(_LEND, (tract, lease, consumer, due, generation))


def hold(
    c: library.SQLiteCursor,
    tract: str,
    lease: str,
    messages: Iterable[Handed],
    recipient: str,
    *,
    near: int | None = None,
) -> None:
    rows = [(tract, lease, one.slot, one.priority, one.attempt, recipient, near) for one in messages]
    c.executemany(_HOLD, rows)


def drop_if_empty(c: library.SQLiteCursor, tract: str, lease: str) -> None:
    c.execute(_DROP_IF_EMPTY, (tract, lease))


def again(c: library.SQLiteCursor, tract: str, lease: str) -> tuple[list[Handed], int]:
    """What a lease that there is already holds, and the circuit's generation under which it was given."""
    c.execute(_HELD, (tract, lease))
    handed = [Handed(slot, priority, attempt) for slot, priority, attempt, _ in c.fetchall()]
    if not handed:
        return [], 0
    c.execute("SELECT generation FROM inbox_leases WHERE tract = ? AND lease = ?", (tract, lease))
    return handed, c.fetchone()[0]


def _ready(c: library.SQLiteCursor, tract: str, consumer: str, demand: int) -> Sequence[Any]:
    """Runs for all and for this consumer, in their common order. One query would pass over the others'."""
    runs = []
    for recipient in ("", consumer):
        c.execute(_READY, (tract, recipient, demand))
        runs += c.fetchall()
    return sorted(runs, key=lambda run: (run[0], run[1]))


def _fill(c: library.SQLiteCursor, tract: str, consumer: str, lease: str, demand: int) -> list[Handed]:
    handed: list[Handed] = []
    for urgency, slot, count, attempts, recipient in _ready(c, tract, consumer, demand):
        many = min(count, demand - len(handed))
        if many == 0:
            break
        priority = 9 - urgency
        remove_ready(c, tract, recipient, priority, slot)
        if many < count:
            make_ready(c, tract, recipient, priority, slot + many, count=count - many, attempts=attempts)
        handed += (Handed(place, priority, attempts + 1) for place in range(slot, slot + many))
        hold(c, tract, lease, handed[-many:], recipient)
    return handed
