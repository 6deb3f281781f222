"""From settings to recorders."""

from typing import ClassVar, cast
from uuid import uuid4

from eventsourcing import sqlite as library
from eventsourcing.utils import Environment, EnvType

from application.doctor import Examination
from infrastructure.sqlite.checks import examine
from infrastructure.sqlite.datastore import ConnectionPool, Datastore
from infrastructure.sqlite.recorders import (
    SQLiteAggregateRecorder,
    SQLiteLogRecorder,
    SQLiteProcessRecorder,
    SQLiteTrackingRecorder,
)

__all__ = ["SQLiteFactory"]


class SQLiteFactory(library.SQLiteFactory):
    """The library's factory, making this module's recorders.

    Beside the library's settings (SQLITE_DBNAME, SQLITE_LOCK_TIMEOUT in seconds, SINGLE_ROW_TRACKING,
    ORIGINATOR_ID_TYPE, CREATE_TABLE) it reads SQLITE_SYNCHRONOUS: FULL (default) or NORMAL, with which a power
    failure may take the last appends. ``:memory:`` is a database of this factory alone.
    """

    SQLITE_SYNCHRONOUS: ClassVar = "SQLITE_SYNCHRONOUS"

    aggregate_recorder_class = SQLiteAggregateRecorder
    application_recorder_class = SQLiteLogRecorder
    tracking_recorder_class = SQLiteTrackingRecorder
    process_recorder_class = SQLiteProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        settings = self.datastore  # the library's own reading of the environment; it has opened nothing yet
        settings.close()
        self.datastore = Datastore(
            _shared(settings.pool.db_name),
            lock_timeout=settings.pool.lock_timeout,
            synchronous=self._synchronous(),
            single_row_tracking=settings.single_row_tracking,
            originator_id_type="text" if settings.originator_id_type.lower() == "text" else "uuid",
        )

    def _synchronous(self) -> str:
        mode = self.env.get(self.SQLITE_SYNCHRONOUS, "").strip().upper() or "FULL"
        if mode not in {"FULL", "NORMAL"}:
            raise OSError(f"SQLite environment value for key '{self.SQLITE_SYNCHRONOUS}' is invalid: '{mode}'")
        return mode

    def examine(self) -> Examination:
        return examine(cast("Datastore", self.datastore))


def _shared(db_name: str) -> str:
    """A memory database belongs to one connection unless it has a name and a shared cache; a pool has many."""
    if db_name == ":memory:":
        return f"file:callosum-{uuid4().hex}?mode=memory&cache=shared"
    if ConnectionPool.detect_memory_mode(db_name) and "cache=shared" not in db_name:
        raise OSError(f"SQLite memory database '{db_name}' needs 'cache=shared'")
    return db_name
