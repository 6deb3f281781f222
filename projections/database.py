"""SQLite databases of the read side: files, or in memory. Any number of processes may share a file."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from os import PathLike, fspath
from time import monotonic, sleep
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ClauseElement,
    Connection,
    CursorResult,
    Engine,
    QueuePool,
    RowMapping,
    Table,
    create_engine,
    event,
)
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateIndex, CreateTable

from projections.errors import ViewsFileError

__all__ = ["Database", "Prepared", "definitions", "plain"]

_LOCK_TIMEOUT: Final = 30.0


class Database:
    """One database.

    Args:
        path: the file, made if missing; None: in memory, gone when closed.
        application: what tells its files from all others, SQLite's `application_id`.
        layout: version of its tables. One of an earlier layout is emptied first: it is a cache.
        create: the statements that make the tables in an empty database.

    Raises:
        ViewsFileError: the file is no database, not ours, or of a later layout.
    """

    def __init__(
        self,
        path: str | PathLike[str] | None,
        *,
        application: int,
        layout: int,
        create: Sequence[str],
    ) -> None:
        self.path = None if path is None else fspath(path)
        self._application = application
        self._layout = layout
        self._engine = _in_memory() if self.path is None else _on_file(self.path, application, layout)
        try:
            self._claim(create)
        except DatabaseError as error:
            self.close()
            # Of this class itself: "file is not a database". Its subclasses are other things, such as a lock.
            if type(error.orig) is not sqlite3.DatabaseError:
                raise
            raise ViewsFileError(str(self.path), "is not a SQLite database") from error
        except BaseException:  # whatever it is, nobody else will close it
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout; nothing of it stays."""
        with self._engine.connect() as connection:
            transaction = connection.begin()
            try:
                yield connection
            finally:
                transaction.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that has the write lock from the start; rolled back on any exception."""
        with self._engine.connect() as connection:
            connection.execution_options(callosum_begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()

    def _claim(self, create: Sequence[str]) -> None:
        """Make the tables in an empty database. Of several processes that do it at once, the first one does."""
        made = (self._application, self._layout)
        with self.reading() as connection:  # as a rule they are there, and nobody need be waited for
            if _owner(connection) == made:
                return
        with self.writing() as connection:
            owner, layout = _owner(connection)
            if (owner, layout) == made:
                return
            if owner == self._application:
                _empty(connection)
            for statement in create:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA application_id = {self._application}")
            connection.exec_driver_sql(f"PRAGMA user_version = {self._layout}")


class Prepared:
    """A statement that is compiled once for all databases; SQLAlchemy does it anew for each, and there are many.

    What it returns are SQLite's values: 0 and 1 for booleans.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=dialect())
        self._text = str(compiled)
        self._names: Sequence[str] = getattr(compiled, "positiontup", None) or ()

    def run(self, connection: Connection, **values: Any) -> CursorResult[*tuple[Any, ...]]:
        return connection.exec_driver_sql(self._text, tuple([values[name] for name in self._names]))

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        connection.exec_driver_sql(self._text, [tuple([row[name] for name in self._names]) for row in rows])


@cache
def definitions(*tables: Table) -> tuple[str, ...]:
    """The statements that make tables with their indexes. Every database begins with the same ones."""
    made: list[CreateTable | CreateIndex] = []
    for table in tables:
        made += [CreateTable(table), *map(CreateIndex, table.indexes)]
    return tuple(str(statement.compile(dialect=dialect())) for statement in made)


def plain(row: RowMapping) -> dict[str, Any]:
    """A row for msgspec, which takes no keys of SQLAlchemy's subclass of str."""
    return {str(name): value for name, value in row.items()}


def _owner(connection: Connection) -> tuple[int, int]:
    """Whose it is, and of which layout."""
    names = ("application_id", "user_version")
    application, layout = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names)
    return application, layout


def _empty(connection: Connection) -> None:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for [name] in connection.exec_driver_sql(tables).all():
        connection.exec_driver_sql(f'DROP TABLE "{name}"')


def _check_owner(connection: sqlite3.Connection, path: str, application: int, layout: int) -> None:
    """Raise unless the database is empty or ours. Only reads."""
    # The tables first: whoever makes them has set the other two when they can be seen.
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    [owner] = connection.execute("PRAGMA application_id").fetchone()
    [found] = connection.execute("PRAGMA user_version").fetchone()
    if tables and owner != application:
        raise ViewsFileError(path, "belongs to another program")
    if tables and found > layout:
        raise ViewsFileError(path, f"has layout {found}; this program knows layout {layout}")


def _on_file(path: str, application: int, layout: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=path),
        poolclass=QueuePool,
        connect_args={"timeout": _LOCK_TIMEOUT, "check_same_thread": False},
    )

    def connected(connection: sqlite3.Connection) -> None:
        _check_owner(connection, path, application, layout)
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=8000")  # pages; at each checkpoint it waits for the disk

    return _with_own_begin(engine, connected)


def _in_memory() -> Engine:
    """One connection that reader and writer take in turns: with a shared cache they would lock tables instead."""
    query = {"mode": "memory", "cache": "shared", "uri": "true"}
    engine = create_engine(
        URL.create("sqlite", database=f"file:callosum-views-{uuid4().hex}", query=query),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    return _with_own_begin(engine, lambda _connection: None)


def _with_own_begin(engine: Engine, prepare: Callable[[sqlite3.Connection], None]) -> Engine:
    """Let SQLAlchemy emit BEGIN instead of the driver, which begins late or not at all.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes-with-the-sqlite3-or-aiosqlite-driver
    """

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        prepare(connection)

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("callosum_begin", "BEGIN"))

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite's lock timeout does not cover this pragma; it fails at once while another process opens the file."""
    deadline = monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(0.01)
        else:
            return
