"""The lines of an ordered tract: a dialogue's head is out, its other messages stand behind it in their order."""

from typing import Final, NamedTuple

from eventsourcing import sqlite as library

from application.inbox import Arrival

__all__ = ["CREATE_LINES", "Head", "is_ordered", "line_up", "next_head"]

CREATE_LINES: Final = {
    "inbox_heads": "line TEXT, slot INTEGER, PRIMARY KEY (tract, line)",
    "inbox_lines": "line TEXT, slot INTEGER, count INTEGER, priority INTEGER, recipient TEXT, "
    "PRIMARY KEY (tract, line, slot)",
}
_ORDERED: Final = "SELECT ordered FROM inbox_level WHERE tract = ?"
_APPEND: Final = "INSERT INTO inbox_lines VALUES (?,?,?,?,?,?)"
_LEAD: Final = "INSERT OR REPLACE INTO inbox_heads VALUES (?,?,?)"
_HEAD: Final = "SELECT slot FROM inbox_heads WHERE tract = ? AND line = ?"
_END: Final = "DELETE FROM inbox_heads WHERE tract = ? AND line = ?"
_FIRST: Final = (
    "SELECT slot, count, priority, recipient FROM inbox_lines WHERE tract = ? AND line = ? ORDER BY slot LIMIT 1"
)
_LEAVE: Final = "DELETE FROM inbox_lines WHERE tract = ? AND line = ? AND slot = ?"


class Head(NamedTuple):
    slot: int
    priority: int
    recipient: str


def is_ordered(c: library.SQLiteCursor, tract: str) -> bool:
    c.execute(_ORDERED, (tract,))
    found = c.fetchone()
    return bool(found and found[0])


def line_up(c: library.SQLiteCursor, a: Arrival, line: str, slot: int) -> int:
    """Put a run at the end of its line. How many of it are out at once: its first one when there was no line."""
    c.execute(_HEAD, (a.tract, line))
    out = 0 if c.fetchone() else 1
    if out:
        c.execute(_LEAD, (a.tract, line, slot))
    if out < a.count:
        c.execute(_APPEND, (a.tract, line, slot + out, a.count - out, a.priority, a.recipient or ""))
    return out


def next_head(c: library.SQLiteCursor, tract: str, line: str, done: int) -> Head | None:
    """When what is done with was the head of its line, the next one is; None: it was not, or there is none."""
    c.execute(_HEAD, (tract, line))
    head = c.fetchone()
    if head is None or head[0] != done:
        return None
    c.execute(_FIRST, (tract, line))
    first = c.fetchone()
    if first is None:
        c.execute(_END, (tract, line))
        return None
    slot, count, priority, recipient = first
    c.execute(_LEAVE, (tract, line, slot))
    if count > 1:
        c.execute(_APPEND, (tract, line, slot + 1, count - 1, priority, recipient))
    c.execute(_LEAD, (tract, line, slot))
    return Head(slot, priority, recipient)
