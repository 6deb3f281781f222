"""What only SQLite does: whose file it is, what can go wrong with one, and how it is opened."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import time_ns
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import DatabaseError, OperationalError, PersistenceError, ProgrammingError

from infrastructure.sqlite import SQLiteFactory
from infrastructure.sqlite.recorders import SQLiteLogRecorder, SQLiteTrackingRecorder
from tests.contract import opened
from tests.contract.log_recorder import events

A = UUID(int=1)


def settings(path: Path | str, **more: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "infrastructure.sqlite", "SQLITE_DBNAME": str(path), **more}


@contextmanager
def log_at(path: Path | str, **more: str) -> Iterator[SQLiteLogRecorder]:
    with opened(settings(path, **more)) as factory:
        log = factory.application_recorder()
        assert isinstance(log, SQLiteLogRecorder)
        yield log


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def refused(path: Path | str, kind: type[PersistenceError], reason: str) -> None:
    with pytest.raises(kind, match=re.escape(reason)) as caught, log_at(path):
        pass
    assert type(caught.value) is kind
    assert repr(str(path)) in str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


# Files that this program did not make.


def made_by_another_program(path: Path) -> None:
    run(path, "CREATE TABLE meta (id INTEGER, value TEXT)", "INSERT INTO meta VALUES (1, 'theirs')")


def made_by_the_librarys_own_recorder(path: Path) -> None:
    with opened({"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}) as factory:
        factory.application_recorder().insert_events(events(A, 1))


@pytest.mark.parametrize("make", [made_by_another_program, made_by_the_librarys_own_recorder])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    before = path.read_bytes()
    refused(path, ProgrammingError, "belongs to another program: it has tables, but no layout version.")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_database_of_a_newer_layout_is_refused_and_left_as_it_is(path: Path) -> None:
    with log_at(path):
        pass
    run(path, "UPDATE meta SET value = 4 WHERE name = 'layout'")
    before = path.read_bytes()
    refused(path, ProgrammingError, "has layout 4; this program knows layout 3.")
    assert path.read_bytes() == before


def test_a_table_without_the_logs_columns_is_refused_and_left_as_it_is(path: Path) -> None:
    with opened(settings(path)) as factory:
        factory.aggregate_recorder()  # makes the library's table of the same name
    before = path.read_bytes()
    refused(path, ProgrammingError, "has a table stored_events of another layout, without at, chain, position.")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)
    before = path.read_bytes()
    refused(path, DatabaseError, "file is not a database")
    assert path.read_bytes() == before


# Places where a file cannot be, or not be written.


def test_a_missing_directory_is_an_operational_error(path: Path) -> None:
    refused(path.parent / "missing" / "log.db", OperationalError, "unable to open database file")


def test_a_database_that_could_not_be_opened_is_opened_once_it_can_be(path: Path) -> None:
    directory = path.parent / "later"
    with opened(settings(directory / "log.db")) as factory:
        for _ in range(2):
            with pytest.raises(OperationalError, match="unable to open database file"):
                factory.application_recorder()
        directory.mkdir()
        assert factory.application_recorder().insert_events(events(A, 1)) == [1]


def test_a_directory_in_place_of_the_file_is_an_operational_error(path: Path) -> None:
    refused(path.parent, OperationalError, "unable to open database file")


def test_a_read_only_log_is_read_and_refuses_appends(path: Path) -> None:
    with log_at(path) as log:
        log.insert_events(events(A, 1))
    read_only = f"file:{path}?mode=ro"
    with log_at(read_only, CREATE_TABLE="n") as log:
        assert log.max_notification_id() == 1
        with pytest.raises(OperationalError, match="attempt to write a readonly database"):
            log.insert_events(events(A, 2))
    refused(read_only, OperationalError, "attempt to write a readonly database")


def test_a_full_database_refuses_an_append_whole_and_goes_on_when_there_is_room(path: Path) -> None:
    with log_at(path) as log:
        log.insert_events(events(A, 1))
        limit_pages(log, 20)
        with pytest.raises(OperationalError, match="database or disk is full"):
            log.insert_events(events(A, *range(2, 2000)))
        assert log.max_notification_id() == 1
        limit_pages(log, 2000)
        assert log.insert_events(events(A, 2)) == [2]


def limit_pages(log: SQLiteLogRecorder, pages: int) -> None:
    with log.datastore.transaction(commit=False) as c:
        c.execute(f"PRAGMA max_page_count = {pages}")


FULL_DISK = """
import resource, sys
from eventsourcing.persistence import OperationalError
from tests.test_sqlite_files import A, events, log_at

with log_at(sys.argv[1]) as log:
    log.insert_events(events(A, 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        log.insert_events(events(A, *range(2, 3000)))
    except OperationalError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(log.max_notification_id(), log.insert_events(events(A, 2)))
"""


def test_a_commit_that_cannot_be_written_leaves_nothing_behind(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [f"SQLite database {str(path)!r}: disk I/O error", "1 [2]"]


def test_a_commit_that_finds_the_file_busy_leaves_the_connection_usable(path: Path) -> None:
    with log_at(path, SQLITE_LOCK_TIMEOUT="0") as log, closing(sqlite3.connect(path)) as reader:
        with log.datastore.get_connection(commit=False) as connection:
            connection.cursor().execute("PRAGMA journal_mode=DELETE")  # in which readers block a commit
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        with pytest.raises(OperationalError, match="database is locked"):
            log.insert_events(events(A, 1))
        reader.rollback()
        assert log.insert_events(events(A, 1)) == [1]


def test_a_lock_that_is_not_released_in_time_is_an_operational_error(path: Path) -> None:
    with log_at(path, SQLITE_LOCK_TIMEOUT="0") as log, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="database is locked"):
            log.insert_events(events(A, 1))
        assert log.max_notification_id() is None  # readers do not wait for the writer
        other.rollback()
        assert log.insert_events(events(A, 1)) == [1]


def test_an_append_has_the_lock_before_it_reads_the_last_position(path: Path) -> None:
    """Or another process could write between its reading and its writing, and SQLite would refuse it at once."""
    with log_at(path) as log, log_at(path, SQLITE_LOCK_TIMEOUT="0") as other:

        def clock() -> int:  # asked for after the reading and before the writing
            with pytest.raises(OperationalError, match="database is locked"):
                other.insert_events(events(UUID(int=2), 1))
            return time_ns()

        log.clock = clock
        assert log.insert_events(events(A, 1)) == [1]


# How a database is opened and closed.


@pytest.mark.parametrize(("synchronous", "level"), [("", 2), ("FULL", 2), ("normal", 1)])
def test_every_connection_writes_ahead_and_syncs_as_set(path: Path, synchronous: str, level: int) -> None:
    with log_at(path, SQLITE_SYNCHRONOUS=synchronous) as log, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(log.datastore.get_connection(commit=False))
            cursor = connection.cursor()
            assert pragma(cursor, "journal_mode") == "wal"
            assert pragma(cursor, "synchronous") == level


def pragma(cursor: Any, name: str) -> object:
    cursor.execute(f"PRAGMA {name}")
    return cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SQLITE_SYNCHRONOUS", "OFF"),
        ("SQLITE_LOCK_TIMEOUT", "soon"),
        ("ORIGINATOR_ID_TYPE", "integer"),
        ("SQLITE_DBNAME", ""),
        ("SQLITE_DBNAME", "file:a?mode=memory"),
    ],
)
def test_a_setting_outside_its_values_is_refused(path: Path, setting: str, value: str) -> None:
    with pytest.raises(OSError, match=setting if value != "file:a?mode=memory" else "cache=shared"):
        SQLiteFactory(settings(path, **{setting: value}))


def test_memory_databases_are_apart_unless_they_have_a_name() -> None:
    shared = "file:shared?mode=memory&cache=shared"
    with log_at(":memory:") as one, log_at(":memory:") as other:
        assert one.epoch != other.epoch
    with log_at(shared) as one, log_at(shared) as other:
        assert one.epoch == other.epoch


def test_closing_leaves_one_file_and_ends_subscriptions(path: Path) -> None:
    with log_at(path) as log:
        log.insert_events(events(A, 1))
        subscription = log.subscribe(gt=1)
        assert len(list(path.parent.iterdir())) == 3
    assert list(path.parent.iterdir()) == [path]
    assert list(subscription) == []


def test_closing_lets_a_transaction_in_another_thread_end(path: Path) -> None:
    with log_at(path) as log, log.datastore.transaction(commit=True) as c:
        log.datastore.close()
        c.execute("INSERT INTO meta VALUES ('late', 1)")
    assert list(path.parent.iterdir()) == [path]


def test_two_processes_may_make_the_tracking_table_at_once(path: Path) -> None:
    with opened(settings(path)) as factory, opened(settings(path, CREATE_TABLE="n")) as other:
        late = other.tracking_recorder()
        assert isinstance(late, SQLiteTrackingRecorder)
        assert not late.tracking_table_exists  # looked for before the first one makes it
        factory.tracking_recorder()
        with late.datastore.transaction(commit=True) as c:
            late._create_table(c)
        assert late.tracking_migration_current == 1


def test_a_position_is_the_rowid_so_that_vacuum_keeps_it(path: Path) -> None:
    with log_at(path) as log, log.datastore.transaction(commit=True) as c:
        c.execute("INSERT INTO stored_events (position) VALUES (7)")
        c.execute("SELECT _rowid_ FROM stored_events")
        assert c.fetchone()[0] == 7


class AppendedBetween(SQLiteLogRecorder):
    """Another append gets in right after the head was read."""

    def head(self) -> int:
        head = super().head()
        if head < 4:
            self.insert_events(events(A, head + 1))
        return head


def test_a_subscription_repeats_nothing_that_is_appended_while_it_reads(path: Path) -> None:
    with log_at(path) as log, AppendedBetween(log.datastore).subscribe() as subscription:
        assert [next(subscription).id for _ in range(4)] == [1, 2, 3, 4]
