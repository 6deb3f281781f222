"""Which tables a database has: whose it is, and how one of the layout before is brought to this one, in place."""

import sqlite3
from typing import Final

from eventsourcing import persistence
from eventsourcing import sqlite as library

__all__ = ["LAYOUT", "bring_up_to_date", "check_layout", "columns"]

LAYOUT: Final = 3
"""Version of the tables; counted up when they change."""

BEFORE: Final = 2
"""The layout that is brought to this one when a log is opened. Programs that know only that one refuse it then."""

_ADDED: Final = {
    "inbox_level": (
        "passage TEXT DEFAULT 'free'",
        "generation INTEGER DEFAULT 0",
        "permits INTEGER DEFAULT 0",
        "retry_at INTEGER",
    ),
    "inbox_leases": ("generation INTEGER DEFAULT 0",),
}
"""What this layout has that the one before had not, each at the end of its table."""


def check_layout(connection: sqlite3.Connection, db_name: str) -> None:
    """Raise unless the database is empty, or has tables of this layout or the one before. Only reads."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return
    layout = None
    if columns(connection.cursor(), "meta") == {"name", "value"}:
        layout = connection.execute("SELECT value FROM meta WHERE name = 'layout'").fetchone()
    if layout is None:
        raise persistence.ProgrammingError(
            f"SQLite database {db_name!r} belongs to another program: it has tables, but no layout version."
        )
    if layout["value"] not in {BEFORE, LAYOUT}:
        raise persistence.ProgrammingError(
            f"SQLite database {db_name!r} has layout {layout['value']}; this program knows layout {LAYOUT}."
        )


def bring_up_to_date(c: library.SQLiteCursor) -> None:
    """To this layout, if it is of the one before; within the transaction that opens it for writing."""
    c.execute("UPDATE meta SET value = ? WHERE name = 'layout' AND value = ? RETURNING value", (LAYOUT, BEFORE))
    if c.fetchone() is None:
        return
    for table, added in _ADDED.items():
        if columns(c, table):  # a database of snapshots or tracking records alone has no inbox
            for column in added:
                c.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def columns(cursor: sqlite3.Cursor | library.SQLiteCursor, table: str) -> set[str]:
    """The names of a table's columns; empty when there is no such table."""
    cursor.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {name for (name,) in cursor.fetchall()}
