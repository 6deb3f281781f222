"""What is found out about a store before messages are entrusted to it, and which stores the service refuses."""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from eventsourcing.persistence import OperationalError, ProgrammingError

from application.callosum import CorpusCallosum
from application.doctor import Examination, Severity, examine, size
from application.errors import StoreSettingsError
from application.settings import IN_MEMORY, Settings
from domain.tract import Tract
from infrastructure.redis_streams.factory import RedisStreamsFactory
from infrastructure.redis_streams.fitness import Server, advice, vital
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.sqlite import checks as sqlite_checks
from tests.servers import PrivateServerFactory
from tests.terminal import asked, asked_on_a_terminal, callosum

OK, WARNING, REFUSED = Severity.OK, Severity.WARNING, Severity.REFUSED

_WITHOUT_DIALOGUES = [f"~{{callosum}}:{name}" for name in ("log", "head", "meta", "tracking")]


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What the Redis store warns of. The handler is the logger's own: the command line stops propagation."""
    heard: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, handler = logging.getLogger("callosum.redis"), Heard(logging.WARNING)
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


def texts(examination: Examination, severity: Severity) -> str:
    found = [finding for finding in examination.findings if finding.severity is severity]
    return "\n".join(f"{finding.subject}: {finding.text}" for finding in found)


def service(url: str) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views=IN_MEMORY))


async def fill(url: str, messages: int = 1) -> None:
    async with service(url) as opened:
        dialogue = await opened.open_dialogue("a subject")
        for number in range(messages):
            await opened.send(
                dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=number
            )


def client(server: PrivateServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket))


def user(server: PrivateServer, *rules: str) -> str:
    """The URL of a user with these rights."""
    with client(server) as connection:
        connection.execute_command("ACL", "SETUSER", "ann", "on", ">secret", "~{callosum}:*", *rules)
    return f"redis://ann:secret@127.0.0.1:{server.port}"


class TestAServer:
    async def test_one_that_syncs_always_is_fit(
        self, private_server: PrivateServerFactory, warned: list[str]
    ) -> None:
        server = private_server()

        found = await examine(server.tcp_url)
        await fill(server.url)

        assert {finding.severity for finding in found.findings} == {OK}
        assert "appendfsync always: nothing acknowledged is lost" in texts(found, OK)
        assert found.store == f"{server.binary.name.capitalize()} at redis://127.0.0.1:{server.port}"
        assert found.facts["role"] == "master"
        assert found.facts["waitaof"] is server.binary.name.startswith("valkey")
        assert isinstance(found.facts["ping_ms"], float)
        assert warned == []

    async def test_it_is_examined_without_a_trace(self, private_server: PrivateServerFactory) -> None:
        server = private_server()

        found = await examine(f"{server.url}?namespace=mine")

        assert "there is none yet in the namespace 'mine'" in texts(found, OK)
        assert "epoch" not in found.facts
        with client(server) as connection:
            assert connection.dbsize() == 0

    async def test_its_log_is_told_of(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        await fill(server.url, messages=100)

        found = await examine(server.url)

        facts = found.facts
        assert (facts["namespace"], facts["layout"], facts["head"], facts["entries"]) == (
            "callosum",
            "3",
            101,
            101,
        )
        with client(server) as connection:
            assert facts["epoch"] == connection.hget("{callosum}:meta", "epoch").decode()
        assert isinstance(facts["entry_bytes"], int)
        assert 100 < facts["entry_bytes"] < 1000
        assert re.search(r"room for about [\d,]+ more entries of \d+ bytes", texts(found, OK))

    async def test_what_everysec_loses_is_for_those_who_ask(
        self, private_server: PrivateServerFactory, warned: list[str]
    ) -> None:
        server = private_server(fsync="everysec")

        await fill(server.url)

        assert warned == []
        assert "0 to 2.5 %" in texts(await examine(server.url), WARNING)

    async def test_one_that_never_syncs_is_warned_of_once(
        self, private_server: PrivateServerFactory, warned: list[str]
    ) -> None:
        server = private_server(fsync="no")

        await fill(server.url, messages=2)

        assert len(warned) == 1
        assert "about 30 s" in warned[0]
        assert "about 30 s" in texts(await examine(server.url), WARNING)

    def test_a_factory_warns_once(self, private_server: PrivateServerFactory, warned: list[str]) -> None:
        with closing(RedisStreamsFactory({"REDIS_URL": private_server(fsync="no").url})) as factory:
            factory.process_recorder()
            assert len(warned) == 1
            factory.application_recorder()
            assert len(warned) == 1

    async def test_one_that_cannot_be_reached_is_no_finding(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        server.kill()

        with pytest.raises(OperationalError):
            await examine(server.url)


class TestARefusedServer:
    async def test_all_reasons_are_told_and_nothing_is_written(self, private_server: PrivateServerFactory) -> None:
        server = private_server(appendonly="no", maxmemory="10mb", maxmemory_policy="allkeys-lru")

        found = await examine(server.url)
        with pytest.raises(ProgrammingError) as refused:
            await fill(server.url)

        for told in (texts(found, REFUSED), str(refused.value)):
            assert "loses every message, because there are no snapshots either; set `appendonly yes`" in told
            assert "allkeys-lru: the log is deleted once 10 MiB are full" in told
        with client(server) as connection:
            assert connection.dbsize() == 0

    async def test_without_a_file_it_says_what_the_snapshots_lack(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server(appendonly="no", save="3600 100")
        with client(server) as connection:
            connection.mset({"one": 1, "two": 2})

        told = texts(await examine(server.url), REFUSED)

        assert re.search(r"since the last snapshot \(\d+ s ago, 2 changes\)", told)

    async def test_without_a_file_it_will_do_when_the_url_says_so(
        self, private_server: PrivateServerFactory, warned: list[str]
    ) -> None:
        url = f"{private_server(appendonly='no').url}?durability=none"

        await fill(url)

        assert len(warned) == 1
        assert "loses every message" in warned[0]
        found = await examine(url)
        assert not found.refused
        assert "the URL accepts it" in texts(found, WARNING)

    async def test_durability_is_none_or_left_out(self, private_server: PrivateServerFactory) -> None:
        url = f"{private_server().url}?durability=some"

        with pytest.raises(StoreSettingsError, match="durability in the URL's query is 'some'"):
            await examine(url)
        with pytest.raises(StoreSettingsError, match="durability in the URL's query is 'some'"):
            await fill(url)

    async def test_a_replica_takes_no_log(self, private_server: PrivateServerFactory) -> None:
        server = private_server(replicaof="127.0.0.1 1")

        assert "its primary 127.0.0.1:1 takes appends" in texts(await examine(server.url), REFUSED)
        with pytest.raises(ProgrammingError, match="it is a replica"):
            await fill(server.url)

    @pytest.mark.parametrize(("layout", "says"), [("1", "holds layout 1"), (None, "holds a log without a layout")])
    async def test_a_strange_log_is_refused_by_both(
        self, private_server: PrivateServerFactory, layout: str | None, says: str
    ) -> None:
        server = private_server()
        with client(server) as connection:
            connection.xadd("{callosum}:log", {"some": "thing"})
            if layout:
                connection.hset("{callosum}:meta", "layout", layout)

        assert says in texts(await examine(server.url), REFUSED)
        with pytest.raises(ProgrammingError, match=says):
            await fill(server.url)

    async def test_a_key_of_another_kind_is_refused(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        with client(server) as connection:
            connection.set("{callosum}:meta", "something else")

        assert "log: WRONGTYPE" in texts(await examine(server.url), REFUSED)

    def test_one_older_than_redis_7_is_refused(self) -> None:
        [version, *_] = vital(Server({"redis_version": "6.2.14"}))
        assert (version.severity, version.subject) == (REFUSED, "version")
        assert vital(Server({"redis_version": "7.0.0"}))[0].severity is OK
        assert vital(Server({"redis_version": "10.0.0"}))[0].severity is OK

    def test_one_whose_last_write_failed_is_refused(self) -> None:
        told = {finding.subject: finding.severity for finding in vital(Server({"aof_last_write_status": "err"}))}
        assert told["append-only file"] is REFUSED


class TestAWarning:
    @pytest.mark.parametrize(
        ("setting", "value", "says"),
        [
            ("maxmemory-policy", "allkeys-lfu", "allkeys-lfu: the log would be deleted, were a maxmemory set"),
            ("no-appendfsync-on-rewrite", "yes", "nothing is synced during a rewrite"),
            ("aof-load-truncated", "no", "redis-check-aof --fix"),
            ("min-replicas-to-write", "2", "min-replicas-to-write 2: appends are refused, because 0"),
        ],
    )
    async def test_settings_that_weaken_it_are_told(
        self, private_server: PrivateServerFactory, setting: str, value: str, says: str
    ) -> None:
        server = private_server()
        with client(server) as connection:
            connection.config_set(setting, value)

        found = await examine(server.url)

        assert says in texts(found, WARNING)
        assert not found.refused

    async def test_keys_that_expire_may_be_evicted(self, private_server: PrivateServerFactory) -> None:
        server = private_server(maxmemory="50mb", maxmemory_policy="volatile-lru")

        assert "volatile-lru: nothing of the log is evicted" in texts(await examine(server.url), OK)

    async def test_little_memory_is_told(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        with client(server) as connection:
            used = connection.info("memory")["used_memory"]
            connection.config_set("maxmemory", str(int(used * 1.2)))

        assert "of maxmemory are used" in texts(await examine(server.url), WARNING)

    def test_a_failed_rewrite_is_told(self) -> None:
        [found] = advice(Server({"aof_last_bgrewrite_status": "err"}))
        assert (found.severity, found.subject) == (WARNING, "append-only file")


class TestAUserWithFewRights:
    async def test_what_it_may_not_ask_is_unknown_and_the_service_works(
        self, private_server: PrivateServerFactory, warned: list[str]
    ) -> None:
        url = user(private_server(), "&{callosum}:*", "+@all", "-info", "-config")

        await fill(url)
        found = await examine(url)

        assert not found.refused
        assert all(found.facts[name] is None for name in ("role", "append_only", "appendfsync", "used_bytes"))
        assert found.facts["head"] == 2
        assert "what a kill -9 or a power cut loses cannot be told" in texts(found, WARNING)
        assert "CONFIG is denied: NOPERM" in texts(found, WARNING)
        assert len(warned) == 2
        assert "INFO is denied: NOPERM" in warned[0]
        assert "cannot be told" in warned[1]

    async def test_without_info_the_configuration_tells(self, private_server: PrivateServerFactory) -> None:
        server = private_server(appendonly="no", maxmemory="10mb", maxmemory_policy="allkeys-lru")

        found = await examine(user(server, "&{callosum}:*", "+@all", "-info"))

        assert "appendonly no" in texts(found, REFUSED)
        assert "allkeys-lru" in texts(found, REFUSED)

    @pytest.mark.parametrize(
        ("rules", "says"),
        [
            (["resetchannels", "+@all"], "PUBLISH, SUBSCRIBE"),
            (["&{callosum}:*", "+@all", "-setrange"], "SETRANGE"),
            (["&{callosum}:*", "+@all", "-evalsha"], "scripts on the log's keys: NOPERM"),
            (["resetkeys", *_WITHOUT_DIALOGUES, "&{callosum}:*", "+@all"], "scripts on the log's keys: NOPERM"),
        ],
    )
    async def test_an_append_that_would_end_half_way_is_refused_before(
        self, private_server: PrivateServerFactory, rules: list[str], says: str
    ) -> None:
        server = private_server()
        url = user(server, *rules)

        assert says in texts(await examine(url), REFUSED)
        with pytest.raises(ProgrammingError, match=says):
            await fill(url)
        with client(server) as connection:
            assert connection.dbsize() == 0


class TestASQLiteFile:
    async def test_its_log_is_told_of_and_nothing_is_left_beside_it(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/a%20log%3F.db"
        await fill(url)

        found = await examine(url)

        assert {finding.severity for finding in found.findings} == {OK}
        assert (found.facts["layout"], found.facts["head"], found.facts["journal"]) == (3, 2, "wal")
        assert found.store.endswith("/a log?.db")
        assert [path.name for path in tmp_path.iterdir()] == ["a log?.db"]

    async def test_it_can_be_examined_while_it_is_open(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/log.db"
        async with service(url) as opened:
            await opened.open_dialogue("a subject")
            found = await examine(url)

        assert found.facts["head"] == 1
        assert isinstance(found.facts["wal_bytes"], int)
        assert found.facts["wal_bytes"] > 0

    async def test_one_that_is_missing_is_not_made(self, tmp_path: Path) -> None:
        found = await examine(f"sqlite:///{tmp_path}/log.db")

        assert "log: there is none yet" in texts(found, OK)
        assert not found.refused
        assert list(tmp_path.iterdir()) == []

    async def test_a_missing_directory_is_refused(self, tmp_path: Path) -> None:
        found = await examine(f"sqlite:///{tmp_path}/nowhere/log.db")

        assert texts(found, REFUSED) == f"directory: there is no directory '{tmp_path}/nowhere'"

    async def test_a_foreign_one_is_refused(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
            connection.execute("CREATE TABLE other (x)")
        before = (tmp_path / "log.db").read_bytes()

        found = await examine(f"sqlite:///{tmp_path}/log.db")

        assert "belongs to another program" in texts(found, REFUSED)
        assert (tmp_path / "log.db").read_bytes() == before

    async def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "log.db").write_text("a text" * 1000)

        assert "log: it cannot be read: file is not a database" in texts(
            await examine(f"sqlite:///{tmp_path}/log.db"), REFUSED
        )

    async def test_normal_loses_by_a_power_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SQLITE_SYNCHRONOUS", "NORMAL")

        found = await examine(f"sqlite:///{tmp_path}/log.db")

        assert "a power cut may lose the last messages" in texts(found, WARNING)

    async def test_a_disk_that_is_almost_full_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_checks, "_LITTLE", 2**80)

        assert "are free" in texts(await examine(f"sqlite:///{tmp_path}/log.db"), WARNING)

    async def test_in_memory_all_is_lost(self) -> None:
        assert "lost when this process ends" in texts(await examine(IN_MEMORY), WARNING)


class TestTheCommand:
    def test_it_lists_the_worst_first(self, private_server: PrivateServerFactory, tmp_path: Path) -> None:
        server = private_server(
            fsync="everysec", password="hidden", maxmemory="20mb", maxmemory_policy="allkeys-random"
        )

        ended = callosum("doctor", "--url", server.tcp_url, directory=tmp_path)

        assert (ended.status, ended.err) == (2, "")
        store, _, *lines = ended.out.splitlines()
        assert store == f"{server.binary.name.capitalize()} at redis://127.0.0.1:{server.port}"
        words = [line.split()[0] for line in lines[: lines.index("")]]
        assert words == sorted(words, key=["refused", "warning", "ok"].index)
        assert (words[0], words[1], words[2]) == ("refused", "warning", "ok")
        assert re.search(r"^append only +yes *$", ended.out, re.MULTILINE)
        assert re.search(r"^limit +20 MiB *$", ended.out, re.MULTILINE)
        assert "hidden" not in ended.out
        assert "\x1b" not in ended.out

    def test_warnings_are_no_failure(self) -> None:
        ended = asked("doctor", "--json", "--url", "sqlite://")

        assert (ended.status, ended.err) == (0, "")
        assert ended.json()["findings"][0]["severity"] == "warning"
        assert ended.json()["facts"] == {"sqlite": sqlite3.sqlite_version}

    def test_a_server_that_is_away_is_one_sentence(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        server.kill()

        ended = asked("doctor", CALLOSUM_URL=server.tcp_url)

        assert (ended.status, ended.out) == (2, "")
        assert ended.err.startswith(f"callosum: Redis at redis://127.0.0.1:{server.port}: ")
        assert ended.err.count("\n") == 1

    def test_long_findings_wrap_below_themselves(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        lines = asked_on_a_terminal("doctor", "--url", "sqlite:///log.db", columns=60)

        assert max(map(len, lines)) <= 60
        [first] = [number for number, line in enumerate(lines) if "durability" in line]
        assert lines[first + 1].startswith(" " * 16)
        assert list(tmp_path.iterdir()) == []

    def test_another_package_of_our_name_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "infrastructure").mkdir()
        (tmp_path / "infrastructure" / "__init__.py").touch()

        ended = callosum("doctor", directory=tmp_path)

        assert (ended.status, ended.err) == (2, "")
        assert f"another package of this name is imported, from {tmp_path}/infrastructure" in ended.out


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (1536, "1.5 KiB"), (25276502016, "23.5 GiB")]
)
def test_a_size_reads_well(number: int, shown: str) -> None:
    assert size(number) == shown
