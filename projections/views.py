"""The read models' database: its transactions, and the checkpoint that guards them.

It is a cache of the log: a SQLite file of its own, or in memory. Any number of processes may share a file.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from time import monotonic, sleep
from typing import Any, Final
from uuid import uuid4

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    QueuePool,
    RowMapping,
    create_engine,
    event,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from projections.errors import ViewsFileError
from projections.tables import LAYOUT, checkpoints, metadata

__all__ = [
    "Checkpoint",
    "CheckpointMovedError",
    "Views",
    "advance_checkpoint",
    "plain",
    "read_checkpoint",
    "replace_checkpoint",
]

_APPLICATION_ID: Final = 0x43435657
_LOCK_TIMEOUT: Final = 30.0


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a projection has folded, in which log, by which definition.

    Attributes:
        chain: the log's chain at `position`.
    """

    version: str
    position: int
    chain: bytes
    epoch: str


class CheckpointMovedError(Exception):
    """Another process's runner was faster; what was folded or read for this checkpoint is void."""


class Views:
    """One database of read models.

    Args:
        path: the file, made if missing; None: in memory, gone when closed.

    Raises:
        ViewsFileError: the file is no database, or not one of this layout.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = None if path is None else fspath(path)
        self._engine = _in_memory() if self.path is None else _on_file(self.path)
        try:
            self._claim()
        except DatabaseError as error:
            self.close()
            # Of this class itself: "file is not a database". Its subclasses are other things, such as a lock.
            if type(error.orig) is not sqlite3.DatabaseError:
                raise
            raise ViewsFileError(str(self.path), "is not a SQLite database") from error
        except ViewsFileError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that has the write lock from the start; rolled back on any exception."""
        with self._engine.connect() as connection:
            connection.execution_options(callosum_begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    def checkpoint(self, projection: str) -> Checkpoint | None:
        with self.reading() as connection:
            return read_checkpoint(connection, projection)

    def close(self) -> None:
        self._engine.dispose()

    def _claim(self) -> None:
        """Make the tables in an empty database. Of several processes that do it at once, the first one does."""
        with self.writing() as connection:
            if connection.exec_driver_sql("PRAGMA application_id").scalar_one() != _APPLICATION_ID:
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {LAYOUT}")


def _check_owner(connection: sqlite3.Connection, path: str) -> None:
    """Raise unless the database is empty or ours. Only reads."""
    # The tables first: whoever makes them has set the other two when they can be seen.
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [layout] = connection.execute("PRAGMA user_version").fetchone()
    if tables and application != _APPLICATION_ID:
        raise ViewsFileError(path, "belongs to another program")
    if tables and layout != LAYOUT:
        raise ViewsFileError(path, f"has layout {layout}; this program knows layout {LAYOUT}")


def read_checkpoint(connection: Connection, projection: str) -> Checkpoint | None:
    table = checkpoints.c
    row = connection.execute(
        select(table.version, table.position, table.chain, table.epoch).where(table.projection == projection)
    ).one_or_none()
    return None if row is None else Checkpoint(*row)


def advance_checkpoint(connection: Connection, projection: str, old: Checkpoint, new: Checkpoint) -> None:
    """Move it, if it is still where it was.

    Raises:
        CheckpointMovedError: it is not.
    """
    moved = connection.execute(
        update(checkpoints)
        .where(
            checkpoints.c.projection == projection, *(checkpoints.c[name] == value for name, value in _row(old))
        )
        .values(dict(_row(new)))
    )
    if moved.rowcount != 1:
        raise CheckpointMovedError


def replace_checkpoint(connection: Connection, projection: str, checkpoint: Checkpoint) -> None:
    values = dict(_row(checkpoint))
    statement = insert(checkpoints).values(projection=projection, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["projection"], set_=values))


def _row(checkpoint: Checkpoint) -> list[tuple[str, Any]]:
    return list(msgspec.structs.asdict(checkpoint).items())


def plain(row: RowMapping) -> dict[str, Any]:
    """A row for msgspec, which takes no keys of SQLAlchemy's subclass of str."""
    return {str(name): value for name, value in row.items()}


def _on_file(path: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=path),
        poolclass=QueuePool,
        connect_args={"timeout": _LOCK_TIMEOUT, "check_same_thread": False},
    )
    return _with_own_begin(engine, path)


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
    return _with_own_begin(engine, None)


def _with_own_begin(engine: Engine, path: str | None) -> Engine:
    """Let SQLAlchemy emit BEGIN instead of the driver, which begins late or not at all.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes-with-the-sqlite3-or-aiosqlite-driver
    """

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        if path is not None:
            _check_owner(connection, path)
            _use_wal(connection)
            connection.execute("PRAGMA synchronous=NORMAL")

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
