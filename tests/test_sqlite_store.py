"""SQLite keeps the contract of a store, in files and in memory."""

from pathlib import Path
from uuid import uuid4

from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import SQLiteCursor
from eventsourcing.tests.projection import EventCountersView

from infrastructure.sqlite.recorders import SQLiteTrackingRecorder
from tests.contract import Settings, Store
from tests.contract.differential import DifferentialContract
from tests.contract.gates import GateContract
from tests.contract.inbox import InboxContract
from tests.contract.library_cases import library_cases
from tests.contract.log_recorder import ClockContract, LogRecorderContract
from tests.contract.rooms import RoomContract
from tests.contract.shared_log import SharedLogContract
from tests.contract.shedding import SheddingContract


class SQLiteEventCounters(SQLiteTrackingRecorder, EventCountersView):
    def _create_table(self, c: SQLiteCursor) -> None:
        super()._create_table(c)
        c.execute("CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, count INTEGER)")

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.datastore.transaction(commit=False) as c:
            c.execute("SELECT COALESCE(SUM(count), 0) FROM counters WHERE name = ?", (name,))
            count: int = c.fetchone()[0]
            return count

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as c:
            self._insert_tracking(c, tracking)
            c.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = count + 1", (name,)
            )


def in_a_file(directory: Path) -> Settings:
    return {"SQLITE_DBNAME": str(directory / f"{uuid4().hex}.db")}


def in_memory(_: Path) -> Settings:
    return {"SQLITE_DBNAME": ":memory:"}


FILE = Store("in_a_file", "infrastructure.sqlite", in_a_file, SQLiteEventCounters)
MEMORY = Store("in_memory", "infrastructure.sqlite", in_memory, SQLiteEventCounters)

globals().update(library_cases(FILE) | library_cases(MEMORY))  # pytest collects a module's globals


class TestFileAgainstReference(DifferentialContract):
    store = FILE


class TestMemoryAgainstReference(DifferentialContract):
    store = MEMORY


class TestFileLog(LogRecorderContract, ClockContract, SharedLogContract):
    store = FILE


class TestMemoryLog(LogRecorderContract, ClockContract):
    store = MEMORY


class TestFileInbox(InboxContract):
    store = FILE


class TestMemoryInbox(InboxContract):
    store = MEMORY


class TestFileGates(GateContract, RoomContract):
    store = FILE


class TestMemoryGates(GateContract, RoomContract):
    store = MEMORY


class TestFileShedding(SheddingContract):
    store = FILE


class TestMemoryShedding(SheddingContract):
    store = MEMORY
