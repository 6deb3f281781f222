"""Connections and transactions: what the library's SQLite datastore does not do.

A writer takes the write lock when its transaction begins, so it waits for another process instead of failing
with "database is locked" between its first read and its first write. Every error is the library's PEP 249 tree
and names the database. A database that this program did not make is refused before anything is written to it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Literal, cast
from uuid import uuid4

from eventsourcing import persistence
from eventsourcing import sqlite as library

from infrastructure.growth import Growth
from infrastructure.sqlite.layout import LAYOUT, bring_up_to_date, check_layout

__all__ = ["ConnectionPool", "Datastore"]

CHECKPOINT_PAGES: Final = 8000
"""Pages in the write-ahead file before it is folded into the database, 32 MiB: an append that does it waits."""

LOOK_EVERY: Final = 0.03
"""Seconds between looks for other processes' appends; SQLite tells nobody of them, and 50 ms are promised."""


def _translated(error: sqlite3.Error, db_name: str) -> persistence.PersistenceError:
    # Both trees are PEP 249's, name by name.
    kind: type[persistence.PersistenceError] = getattr(
        persistence, type(error).__name__, persistence.PersistenceError
    )
    return kind(f"SQLite database {db_name!r}: {error}")


class Connection(library.SQLiteConnection):
    def __init__(self, connection: sqlite3.Connection, max_age: float | None, db_name: str) -> None:
        super().__init__(connection, max_age)
        self.db_name = db_name

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[library.SQLiteCursor]:
        with Transaction(self, commit=commit) as cursor, cursor:
            yield cursor

    def commit(self) -> None:
        try:
            super().commit()
        except sqlite3.Error:
            self.rollback()  # a COMMIT that finds the file busy leaves the transaction open
            raise


class Transaction(library.SQLiteTransaction):
    connection: Connection

    def __enter__(self) -> library.SQLiteCursor:
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        except sqlite3.Error as error:
            raise _translated(error, self.connection.db_name) from error
        return cursor

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if self.commit and exc_val is None:
                self.connection.commit()
            else:
                self.connection.rollback()
        except sqlite3.Error as error:
            raise _translated(error, self.connection.db_name) from error
        if isinstance(exc_val, sqlite3.Error):
            raise _translated(exc_val, self.connection.db_name) from exc_val


class ConnectionPool(library.SQLiteConnectionPool):
    def __init__(self, db_name: str, lock_timeout: int | None, synchronous: str) -> None:
        super().__init__(db_name=db_name, lock_timeout=lock_timeout)
        self.synchronous = synchronous
        self._turn = local()

    # The library keeps the writer's lock for ever when the connection it was taken for cannot be had.
    def get_connection(self, timeout: float | None = None, *, is_writer: bool | None = None) -> Connection:
        self._turn.is_writer = is_writer
        return cast("Connection", super().get_connection(timeout, is_writer=is_writer))

    def _get_connection(self, timeout: float = 0.0) -> library.SQLiteConnection:
        try:
            return super()._get_connection(timeout)
        except BaseException:  # whatever it is, the next writer must get its turn
            self._end_turn(self._turn.is_writer)
            self._turn.is_writer = None  # the library calls this method again from within
            raise

    # The library closes connections that are at work in other threads, which crashes the interpreter; here such
    # a connection finishes its transaction and is closed when it comes back.
    def close(self) -> None:
        with self._put_condition:
            self._in_use.clear()
            super().close()

    def put_connection(self, conn: library.SQLiteConnection) -> None:
        with self._put_condition:
            if not self.closed:
                super().put_connection(conn)
                return
            conn.close()
            self._end_turn(conn.is_writer)

    def _end_turn(self, is_writer: bool | None) -> None:
        if is_writer is True:
            self._num_writers -= 1
            self._writer_lock.release()
        elif is_writer is False:
            with self._no_readers:
                self._num_readers -= 1
                if self._num_readers == 0:
                    self._no_readers.notify()

    def _create_connection(self) -> Connection:
        if self.closed:
            raise persistence.ConnectionPoolClosedError
        try:
            connection = self._connect()
            try:
                check_layout(connection, self.db_name)
                self._set_durability(connection)
            except BaseException:  # whatever it is, nobody else will close it
                connection.close()
                raise
        except sqlite3.Error as error:
            raise _translated(error, self.db_name) from error
        return Connection(connection, self.max_age, self.db_name)

    @property
    def _patience(self) -> int:
        return library.SQLITE3_DEFAULT_LOCK_TIMEOUT if self.lock_timeout is None else self.lock_timeout

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.db_name, timeout=self._patience, uri=True, check_same_thread=False, isolation_level=None
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _set_durability(self, connection: sqlite3.Connection) -> None:
        if not self.is_sqlite_memory_mode:
            self._use_wal(connection)
            connection.execute(f"PRAGMA synchronous={self.synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """SQLite does not wait for locks here, which several processes meet that open a new database at once."""
        deadline = monotonic() + self._patience
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                    raise
                sleep(0.005)
            else:
                return


class Datastore(library.SQLiteDatastore):
    """One database: its connections, its identity, and who waits for its log to grow."""

    pool: ConnectionPool

    def __init__(
        self,
        db_name: str,
        *,
        lock_timeout: int | None = None,
        synchronous: str = "FULL",
        single_row_tracking: bool = True,
        originator_id_type: Literal["uuid", "text"] = "uuid",
    ) -> None:
        self.growth = Growth(LOOK_EVERY)
        super().__init__(db_name, single_row_tracking=single_row_tracking, originator_id_type=originator_id_type)
        self.pool = ConnectionPool(db_name, lock_timeout, synchronous)

    def claim(self, c: library.SQLiteCursor) -> None:
        """Make an empty database this program's; of several that do it at once, the first one's epoch stays.

        One of the layout before is brought to this one.
        """
        c.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        c.execute("INSERT OR IGNORE INTO meta VALUES ('layout', ?), ('epoch', ?)", (LAYOUT, uuid4().hex))
        bring_up_to_date(c)

    def epoch(self) -> str:
        with self.transaction(commit=False) as c:
            c.execute("SELECT value FROM meta WHERE name = 'epoch'")
            epoch: str = c.fetchone()["value"]
            return epoch

    def close(self) -> None:
        self.growth.interrupt()
        super().close()
