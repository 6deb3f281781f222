"""The gates of the tracts, beside their levels: what they let through, and the permits that are left."""

from typing import Final

from eventsourcing import sqlite as library

from application.inbox import Level
from application.passage import GateChange, Passage

__all__ = ["change", "give_back", "level", "spend"]

_LEVEL: Final = "SELECT backlog, capacity, passage, generation, permits, retry_at FROM inbox_level WHERE tract = ?"
# What is on the right of an assignment is as it was before the statement.
_CHANGE: Final = (
    "INSERT INTO inbox_level (tract, passage, generation, permits, retry_at, capacity) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tract) DO UPDATE SET passage = ?2, generation = ?3, "
    "permits = CASE WHEN passage = 'probing' AND generation = ?3 THEN permits ELSE ?4 END, "
    "retry_at = ?5, capacity = coalesce(?6, capacity)"
)
_SPEND: Final = "UPDATE inbox_level SET permits = permits - ? WHERE tract = ?"
_GIVE_BACK: Final = (
    "UPDATE inbox_level SET permits = permits + ?3 WHERE tract = ?1 AND passage = 'probing' AND generation = "
    "(SELECT generation FROM inbox_leases WHERE tract = ?1 AND lease = ?2) RETURNING permits"
)


def level(c: library.SQLiteCursor, tract: str) -> Level:
    c.execute(_LEVEL, (tract,))
    found = c.fetchone()
    if found is None:
        return Level(0, None)
    backlog, capacity, passage, *rest = found
    return Level(backlog, capacity, Passage(passage), *rest)


def change(c: library.SQLiteCursor, to: GateChange) -> None:
    c.execute(_CHANGE, (to.tract, to.passage, to.generation, to.permits, to.retry_at, to.capacity))


def spend(c: library.SQLiteCursor, tract: str, permits: int) -> None:
    c.execute(_SPEND, (permits, tract))


def give_back(c: library.SQLiteCursor, tract: str, lease: str, permits: int) -> bool:
    """Unless the circuit has moved on since the lease, which must be there yet; whether it is so."""
    c.execute(_GIVE_BACK, (tract, lease, permits))
    return c.fetchone() is not None
