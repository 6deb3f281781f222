"""What a database can lose, what it has room for, and why it would be refused. Makes and changes nothing."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from eventsourcing.persistence import ProgrammingError

from application.doctor import Examination, Fact, Finding, Severity, size
from infrastructure.sqlite.datastore import Datastore
from infrastructure.sqlite.layout import check_layout, columns

__all__ = ["examine"]

_LITTLE: Final = 1024**3
"""Bytes that should be free on the disk."""

_VERSION: Final = f"SQLite {sqlite3.sqlite_version}"
_IN_MEMORY: Final = Finding(
    Severity.WARNING, "durability", "in memory: every message is lost when this process ends"
)
_FULL: Final = "synchronous FULL: nothing acknowledged is lost by a kill -9 or a power cut"
_NORMAL: Final = (
    "synchronous NORMAL: a kill -9 loses nothing acknowledged, a power cut may lose the last messages; with FULL "
    "it loses none"
)


def examine(datastore: Datastore) -> Examination:
    pool = datastore.pool
    if pool.is_sqlite_memory_mode:
        return Examination(f"{_VERSION} in memory", {"sqlite": sqlite3.sqlite_version}, [_IN_MEMORY])
    file = Path(pool.db_name)
    log, told = _log(file)
    facts: dict[str, Fact] = {"sqlite": sqlite3.sqlite_version, "file": str(file), "synchronous": pool.synchronous}
    facts |= {"log_bytes": _size(file), "wal_bytes": _size(Path(f"{file}-wal")), **log}
    findings = [_durability(pool.synchronous), *_access(file), told]
    if file.parent.is_dir():
        facts["free_bytes"] = shutil.disk_usage(file.parent).free
        findings.append(_room(shutil.disk_usage(file.parent).free))
    return Examination(f"{_VERSION} at {file}", facts, findings)


def _durability(synchronous: str) -> Finding:
    if synchronous == "FULL":
        return Finding(Severity.OK, "durability", _FULL)
    return Finding(Severity.WARNING, "durability", _NORMAL)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _access(file: Path) -> Iterator[Finding]:
    """A writer needs the directory too, for the files that SQLite keeps beside the database."""
    if not file.parent.is_dir():
        yield Finding(Severity.REFUSED, "directory", f"there is no directory {str(file.parent)!r}")
        return
    for subject, path in (("directory", file.parent), ("file", file)):
        if path.exists() and not os.access(path, os.W_OK):
            yield Finding(Severity.REFUSED, subject, f"{str(path)!r} cannot be written to")


def _room(free: int) -> Finding:
    severity = Severity.OK if free >= _LITTLE else Severity.WARNING
    return Finding(severity, "disk", f"{size(free)} are free")


def _log(file: Path) -> tuple[dict[str, Fact], Finding]:
    """Facts about the log, and whether it is one of this program's."""
    if not file.exists():
        return {}, Finding(Severity.OK, "log", "there is none yet")
    try:
        # A reader leaves SQLite's files behind, which "rw" takes away again; neither makes the database.
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True)) as connection:
            return _read(connection, str(file))
    except ProgrammingError as error:
        return {}, Finding(Severity.REFUSED, "log", str(error).rstrip("."))
    except sqlite3.Error as error:
        return {}, Finding(Severity.REFUSED, "log", f"it cannot be read: {error}")


def _read(connection: sqlite3.Connection, name: str) -> tuple[dict[str, Fact], Finding]:
    connection.row_factory = sqlite3.Row
    check_layout(connection, name)
    cursor = connection.cursor()
    if not columns(cursor, "meta") or not columns(cursor, "stored_events"):
        return {}, Finding(Severity.OK, "log", "there is none yet")
    meta = dict(cursor.execute("SELECT name, value FROM meta").fetchall())
    head, entries = cursor.execute("SELECT max(position), count(*) FROM stored_events").fetchone()
    facts: dict[str, Fact] = {"journal": cursor.execute("PRAGMA journal_mode").fetchone()[0]}
    facts |= {"layout": meta["layout"], "epoch": meta["epoch"], "head": head or 0, "entries": entries}
    return facts, Finding(Severity.OK, "log", f"{entries} entries")
