"""A log of the layout before is brought to this one when it is opened, with what is on its way."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from application.doctor import Severity, examine
from application.inbox import Handed, InFlight, Level, Pending, Settlement, Then
from application.passage import GateChange, Passage
from infrastructure.redis_streams.binaries import Binary
from tests.contract import Settings, opened, opened_log
from tests.contract.inbox_case import LONG, OUT, arrive, done, run, settle, take
from tests.contract.log_recorder import A, C, events
from tests.redis_stores import shared_server
from tests.servers import BINARIES, connected

DUMP = Path(__file__).parent / "corpus" / "layout_2.sql"
"""What the last program of layout 2 left behind: four messages, of which one is held and one waits for a delay."""


def goes_on(settings: Settings) -> None:
    """Two are ready, one is held, one waits for a delay to end; the first consumer's lease is settled."""
    with opened_log(settings) as log:
        inbox = log.inbox
        assert inbox.state(OUT).pending == [Pending(2, None, 2, 1002)]
        assert inbox.state(OUT).in_flight == [InFlight(None, 1, 1001, 1), InFlight("tester", 1, 1000, 1)]
        assert inbox.level(OUT) == Level(4, 10)
        held = take(inbox, 9)
        assert (held.handed, held.generation) == ([Handed(1000, 2, 1)], 0)
        log.insert_events(events(C, 1), gates=[GateChange(OUT, Passage.PROBING, 1, permits=1)])
        assert take(inbox, 9, "next").handed == [Handed(1002, 2, 1)]
        settle(log, 2, done("lease", 1000))
        assert inbox.level(OUT) == Level(3, 10, Passage.PROBING, 1)
        assert log.insert_events(events(A, 2)) == [5]


class TestSQLite:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "log.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(DUMP.read_text())
        return path

    def test_a_log_of_layout_2_goes_on(self, path: Path) -> None:
        goes_on(settings(path))

    def test_whoever_opens_it_first_brings_all_of_it(self, path: Path) -> None:
        with opened(settings(path)) as factory:
            factory.tracking_recorder()
        goes_on(settings(path))

    def test_its_tables_are_those_of_a_new_one(self, path: Path) -> None:
        new = path.parent / "new.db"
        for opening in (path, path, new):
            with opened_log(settings(opening)):
                pass
        assert tables(path) == tables(new)

    def test_one_without_an_inbox_is_brought_too(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TABLE inbox_level")
            connection.execute("DROP TABLE inbox_leases")
        with opened(settings(path)) as factory:
            factory.tracking_recorder()
        with opened_log(settings(path)) as log:
            assert log.inbox.level(OUT) == Level(0, None)

    async def test_the_doctor_leaves_it_as_it_is(self, path: Path) -> None:
        before = path.read_bytes()
        found = await examine(f"sqlite:///{path}")
        assert found.facts["layout"] == 2
        assert not found.refused
        assert path.read_bytes() == before


@pytest.mark.parametrize("binary", BINARIES, ids=lambda binary: binary.name)
class TestRedis:
    """It has the same keys in both layouts, unless a gate was ever set."""

    def test_a_log_of_layout_2_goes_on(self, binary: Binary) -> None:
        settings, namespace = self.log_of_layout_2(binary)
        goes_on(settings)
        with connected(shared_server(binary).url) as client:
            assert layout(client, namespace) == b"3"

    async def test_the_doctor_leaves_it_as_it_is(self, binary: Binary) -> None:
        _, namespace = self.log_of_layout_2(binary)
        found = await examine(f"{shared_server(binary).url}?namespace={namespace}")
        assert found.facts["layout"] == "2"
        assert Severity.REFUSED not in {finding.severity for finding in found.findings}
        with connected(shared_server(binary).url) as client:
            assert layout(client, namespace) == b"2"

    def log_of_layout_2(self, binary: Binary) -> tuple[Settings, str]:
        url, namespace = shared_server(binary).url, uuid4().hex
        settings = {"PERSISTENCE_MODULE": "infrastructure.redis_streams", "REDIS_URL": url}
        settings["REDIS_NAMESPACE"] = namespace
        with opened_log(settings) as log, connected(url) as client:
            log.inbox.configure(OUT, 10)
            log.inbox.join(OUT, "tester")
            arrive(log, 1, run(0, 4))
            take(log.inbox, 2)
            settle(log, 1, later(1001))
            assert client.keys(f"{{{namespace}}}:circuit:*") == []
            client.hset(f"{{{namespace}}}:meta", "layout", "2")
        return settings, namespace


def settings(path: Path) -> Settings:
    return {"PERSISTENCE_MODULE": "infrastructure.sqlite", "SQLITE_DBNAME": str(path)}


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The columns of each, and the layout."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
        return found | {"layout": connection.execute("SELECT value FROM meta WHERE name = 'layout'").fetchall()}


def layout(client: redis.Redis, namespace: str) -> object:
    return client.hget(f"{{{namespace}}}:meta", "layout")


def later(slot: int) -> Settlement:
    return Settlement(OUT, "lease", slot, 1, Then.AGAIN, delay=LONG)
