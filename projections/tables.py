"""How the tables of read models are declared, and the rows that a fold puts into them.

Every table has a column `since` beside those that are declared: the boundary after which the row was last
written. With it and a table of earlier rows, which the database keeps by itself, a read model can be read as it
stood at any boundary (see `model`).
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final
from zlib import crc32

from sqlalchemy import JSON, Column, Connection, Index, Integer, MetaData, Table, bindparam
from sqlalchemy.dialects.sqlite import insert

from projections.database import Prepared

__all__ = ["SINCE", "Row", "Rows", "keys", "model_table", "rows_with", "tables_version", "values"]

SINCE: Final = "since"

Row = Mapping[str, Any]


def model_table(name: str, *columns: Column[Any] | Index) -> Table:
    """A table of a read model; at least one column is its primary key. Rows are put, never deleted."""
    table = Table(name, MetaData(), *columns, Column(SINCE, Integer, nullable=False))
    if not table.primary_key.columns:
        raise ValueError(f"The table {name} has no primary key.")
    return table


def keys(table: Table) -> list[str]:
    return [str(column.name) for column in table.primary_key.columns]


def values(table: Table) -> list[str]:
    """The columns that were declared, in order."""
    return [str(column.name) for column in table.columns if column.name != SINCE]


@cache
def tables_version(tables: tuple[Table, ...]) -> str:
    """Changes with the columns of the tables, so that a read model of others is never written into."""
    declared = [(table.name, [repr(column) for column in table.columns]) for table in tables]
    return f"{crc32(repr(declared).encode()):08x}"


class Rows:
    """What a batch of events changes in a read model: whole rows, each in place of the one that has its key."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[Row]] = defaultdict(list)

    def put(self, table: Table, rows: Iterable[Row]) -> None:
        """Of rows with one key, the last one stays."""
        self._rows[table].extend(rows)

    def write(self, connection: Connection, since: int, *, suffix: str = "") -> None:
        """Write them as rows of this boundary, into the tables whose names end so."""
        for table, rows in self._rows.items():
            if rows:
                of_json = _of_json(table)
                given = (
                    {**row, SINCE: since, **{name: json.dumps(row[name]) for name in of_json}} for row in rows
                )
                _upsert(table, suffix).run_many(connection, given)


def rows_with(connection: Connection, table: Table, wanted: Mapping[str, Collection[Any]]) -> Sequence[Row]:
    """The rows, as they were put, whose columns have one of the values wanted, of each column that is named.

    Without SQLAlchemy's query, which would be compiled anew in each database: that takes longer than what it asks.
    """
    names = values(table)
    columns = ", ".join(f'"{name}"' for name in names)
    where = " AND ".join(f'"{name}" IN ({", ".join("?" * len(of))})' for name, of in wanted.items())
    text = f'SELECT {columns} FROM "{table.name}" WHERE {where}'  # noqa: S608  # names of our own
    asked = connection.exec_driver_sql(text, tuple(chain.from_iterable(wanted.values())))
    found = [dict(zip(names, row, strict=True)) for row in asked]
    for name in _of_json(table):
        for row in found:
            row[name] = json.loads(row[name])
    return found


@cache
def _of_json(table: Table) -> frozenset[str]:
    return frozenset(str(column.name) for column in table.columns if isinstance(column.type, JSON))


@cache
def _upsert(table: Table, suffix: str) -> Prepared:
    target = table.to_metadata(MetaData(), name=table.name + suffix) if suffix else table
    of_key = keys(table)
    columns = [*values(table), SINCE]
    statement = insert(target).values({name: bindparam(name) for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name not in of_key}
    return Prepared(statement.on_conflict_do_update(index_elements=of_key, set_=changed))
