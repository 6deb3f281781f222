"""A read model as it stood at an earlier position of the log.

From the last boundary before it, what is between the two is folded in the same way as ever, but into temporary
tables of the reading connection. SQLite finds a temporary table or view before a table of the same name: so the
queries, and the projection itself, read the earlier moment without knowing it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from sqlalchemy import Connection, MetaData, Table

from projections.database import definitions
from projections.errors import ProjectionFailedError, ReadModelTakenError
from projections.fold import EventLog, Projection, Recorded, Unread
from projections.model import EARLIER, Model, Stored, last_boundary, read_parked
from projections.tables import SINCE, Rows, keys, values

__all__ = ["as_of"]

_SINCE_THEN: Final = "_since_then"
"""The end of the name of the temporary table of the rows that were written after the boundary."""

_PAGE: Final = 500


@contextmanager
def as_of(model: Model, projection: Projection, log: EventLog, position: int) -> Iterator[Connection]:
    """A connection on which the tables are as of a position that the read model includes.

    Args:
        model: the read model.
        projection: an instance of its own.
        log: what it is folded from.
        position: not beyond its checkpoint.

    Raises:
        ProjectionFailedError: an event that was not parked cannot be folded.
        ReadModelTakenError: the log has lost its end meanwhile.
    """
    with model.reading() as connection:
        boundary = last_boundary(connection, position)
        parked = {event.position for event in read_parked(connection, position)}
        for table in model.tables:
            for statement in _statements(table):
                connection.exec_driver_sql(statement.format(boundary=boundary))
        events = _between(projection.NAME, log, boundary, position, parked)
        if events:
            rows = _folded(projection, events, connection)
            rows.write(connection, position, suffix=_SINCE_THEN)
        yield connection


def _between(name: str, log: EventLog, boundary: int, position: int, parked: set[int]) -> list[Recorded]:
    found: list[Recorded] = []
    while boundary < position:
        page = log.page(after=boundary, limit=min(_PAGE, position - boundary))
        if not page:
            raise ReadModelTakenError(name, f"they include position {position}, which the log does not have")
        for event in page:
            if event.position in parked:
                continue
            if isinstance(event, Unread):
                raise event.error
            found.append(event)
        boundary = page[-1].position
    return found


def _folded(projection: Projection, events: list[Recorded], connection: Connection) -> Rows:
    @contextmanager
    def reading() -> Iterator[Connection]:
        yield connection

    try:
        return projection.fold(events, Stored(reading))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ProjectionFailedError(projection.NAME, events[0].position, reason) from error


@cache
def _statements(table: Table) -> tuple[str, ...]:
    """Those that make what stands in for it, but for the number of the boundary."""
    newer = table.to_metadata(MetaData(), name=table.name + _SINCE_THEN)
    newer.schema = "temp"
    newer.indexes.clear()  # it has few rows
    return (*definitions(newer), _view(table))


def _view(table: Table) -> str:
    """The rows written since then, and of the others those that held at the boundary."""
    columns = ", ".join(f'"{name}"' for name in (*values(table), SINCE))
    newer = f'temp."{table.name}{_SINCE_THEN}"'
    same = " AND ".join(f'newer."{name}" = held."{name}"' for name in keys(table))
    not_newer = f"NOT EXISTS (SELECT 1 FROM {newer} AS newer WHERE {same})"  # noqa: S608  # names of our own
    held = f'SELECT {columns} FROM main."{table.name}" AS held WHERE {SINCE} < {{boundary}} AND {not_newer}'  # noqa: S608
    earlier = held.replace(f'main."{table.name}"', f'main."{table.name}{EARLIER}"') + ' AND {boundary} <= "until"'
    return f'CREATE TEMP VIEW "{table.name}" AS SELECT {columns} FROM {newer} UNION ALL {held} UNION ALL {earlier}'  # noqa: S608
