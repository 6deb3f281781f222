"""What a server refuses, and how it is told: nothing is written, reading goes on, and no password is shown."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from eventsourcing.persistence import OperationalError, PersistenceError, ProgrammingError, Tracking

from application.inbox import Arrival, Offer, Settlement, Take, Then
from application.recorder import OutcomeUnknownError
from corpus_callosum import CorpusCallosum, InvalidURLError, StoreSettingsError
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.redis_streams.recorders import RedisProcessRecorder
from tests.contract import Settings, opened_log
from tests.contract.log_recorder import A, B, C, entries, events, keyed
from tests.servers import PrivateServerFactory, connected
from tests.test_redis_faults import opened_process, redis_settings, slow_to_load

PASSWORD = "swordfish /?#@:%"
QUOTED = quote(PASSWORD, safe="")


def append(log: RedisProcessRecorder) -> object:
    """Of all that an append can hold."""
    return log.insert_events(
        [*events(A, 1), *events(B, 0), *events(C, 0)],
        keyed=[keyed("new"), keyed("other", aggregate=C, event=2)],
        arrivals=[Arrival(0, 0, 1, "external", 2)],
        tracking=Tracking("upstream", 2),
    )


def assert_refused(log: RedisProcessRecorder, error: type[PersistenceError], text: str) -> None:
    """Neither the events nor the keys nor the tracking record are there."""
    with pytest.raises(error, match=text) as raised:
        append(log)
    assert type(raised.value) is error
    assert [(entry.originator_id, entry.originator_version) for entry in entries(log)] == [(A, 0)]
    assert [log.select_stream(aggregate, after=-1, limit=9) for aggregate in (A, B, C)] == [entries(log), [], []]
    assert [log.select_keys(aggregate, ["new", "other"]) for aggregate in (A, C)] == [[], []]
    assert log.max_tracking_id("upstream") == 1
    assert log.inbox.level("external").backlog == 0
    assert log.check() is None


@pytest.fixture
def server(private_server: PrivateServerFactory) -> PrivateServer:
    return private_server()


@pytest.fixture
def admin(server: PrivateServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as admin:
        yield admin


@pytest.fixture
def settings(server: PrivateServer) -> Settings:
    return redis_settings(server.url)


@pytest.fixture
def log(settings: Settings) -> Iterator[RedisProcessRecorder]:
    with opened_process(settings) as log:
        log.insert_events(events(A, 0), keyed=[keyed("old")], tracking=Tracking("upstream", 1))
        yield log


class TestServersInTrouble:
    """A refusal that may pass is an OperationalError; when it has passed, the same append goes through."""

    def test_without_memory(self, log: RedisProcessRecorder, admin: redis.Redis) -> None:
        admin.config_set("maxmemory", "1")
        assert_refused(log, OperationalError, "OOM command not allowed")
        admin.config_set("maxmemory", "0")
        assert append(log) == [2, 3, 4]

    def test_as_a_replica(self, log: RedisProcessRecorder, admin: redis.Redis) -> None:
        admin.replicaof("127.0.0.1", "1")
        assert_refused(log, OperationalError, "READONLY You can't write against a read only replica")
        admin.replicaof("NO", "ONE")
        assert append(log) == [2, 3, 4]

    def test_with_a_disk_that_cannot_be_written(
        self, log: RedisProcessRecorder, admin: redis.Redis, server: PrivateServer
    ) -> None:
        obstacle = server.directory / "dump.rdb"
        obstacle.mkdir()
        admin.config_set("save", "3600 1000000")
        save(admin, "err")
        assert_refused(log, OperationalError, "MISCONF")
        obstacle.rmdir()
        save(admin, "ok")
        assert append(log) == [2, 3, 4]

    def test_with_too_few_replicas(self, log: RedisProcessRecorder, admin: redis.Redis) -> None:
        admin.config_set("min-replicas-to-write", "1")
        assert_refused(log, OperationalError, "NOREPLICAS")
        admin.config_set("min-replicas-to-write", "0")
        assert append(log) == [2, 3, 4]

    def test_while_it_loads_its_file(self, private_server: PrivateServerFactory) -> None:
        server = slow_to_load(private_server, fillers=1500)
        with opened_log(redis_settings(server.url)) as log:
            log.insert_events(events(A, 0))
            server.kill()
            server.start(wait=False)
            refusals: list[OperationalError] = []
            positions = None
            while positions is None:
                try:
                    positions = log.insert_events(events(A, 1))
                except OperationalError as error:  # not there yet, or LOADING
                    refusals.append(error)
                    if "LOADING" in str(error):
                        load_the_rest_at_once(server)

            assert positions == [2]
            assert "LOADING" in str(refusals[-1])
            assert not isinstance(refusals[-1], OutcomeUnknownError)
            assert [entry.id for entry in entries(log)] == [1, 2]


def load_the_rest_at_once(server: PrivateServer) -> None:
    with connected(server.url) as client:
        client.config_set("key-load-delay", "0")


def save(admin: redis.Redis, outcome: str) -> None:
    """Save in the background, and wait for the outcome."""
    admin.bgsave()
    while True:
        state = admin.info("persistence")
        if not state["rdb_bgsave_in_progress"] and state["rdb_last_bgsave_status"] == outcome:
            return


class TestPermissions:
    """Of a user who loses some while its log is open; what it lacks before, opening the log refuses."""

    @pytest.fixture
    def limited(self, log: RedisProcessRecorder, server: PrivateServer, settings: Settings) -> Settings:
        grant(log, "reset", "on", ">pw", "~*", "&*", "+@all")
        return settings | {"REDIS_URL": f"unix://limited:pw@{server.socket}", "REDIS_TIMEOUT": "2"}

    @pytest.mark.parametrize(
        "rule", ["-xadd", "-setrange", "-hset", "-publish", "-zadd", "-hincrby", "resetchannels"]
    )
    def test_without_one_of_them_nothing_is_appended(
        self, log: RedisProcessRecorder, limited: Settings, rule: str
    ) -> None:
        with opened_process(limited) as limited_log:
            grant(log, rule)
            assert_refused(limited_log, ProgrammingError, "NOPERM this user needs XADD")
            grant(log, "+@all", "&*")
            assert append(limited_log) == [2, 3, 4]

    @pytest.mark.parametrize("kind", ["ready", "level", "pending", "heads", "line"])
    def test_without_a_key_of_the_inbox_nothing_is_appended(
        self, log: RedisProcessRecorder, limited: Settings, kind: str
    ) -> None:
        with opened_process(limited) as limited_log:
            grant_all_keys_but(log, kind)
            with pytest.raises(ProgrammingError, match=r"(?i)no *perm|can't"):
                append(limited_log)
            assert len(entries(log)) == 1
            assert log.check() is None
            grant(log, "allkeys")
            assert append(limited_log) == [2, 3, 4]

    @pytest.mark.parametrize("kind", ["due", "holder", "dead", "near", "lease", "circuit"])
    def test_without_a_key_of_the_leases_nothing_is_settled(
        self, log: RedisProcessRecorder, limited: Settings, kind: str
    ) -> None:
        with opened_process(limited) as limited_log:
            generation = limited_log.inbox.join("external", "tool")
            limited_log.insert_events(events(B, 1), arrivals=[Arrival(0, 0, 1, "external", 2)])
            [handed] = limited_log.inbox.take(Take("external", "tool", generation, "lease", 1, 60_000)).handed
            dead = Settlement("external", "lease", handed.slot, 1, Then.DEAD)
            grant_all_keys_but(log, kind)
            with pytest.raises(ProgrammingError, match=r"(?i)no *perm|can't"):
                limited_log.insert_events(events(B, 2), settlements=[dead])
            assert (len(entries(log)), log.inbox.level("external").backlog) == (2, 1)
            grant_all_keys_but(log, "none")
            limited_log.insert_events(events(B, 2), settlements=[dead])
            assert log.inbox.level("external").backlog == 0

    @pytest.mark.parametrize("rule", ["-hgetall", "-zrange", "-zrem", "-xrange"])
    def test_without_what_an_offer_needs_nothing_is_appended(
        self, log: RedisProcessRecorder, limited: Settings, rule: str
    ) -> None:
        with opened_process(limited) as limited_log:
            generation = limited_log.inbox.join("external", "tool")
            offer = Offer(Take("external", "tool", generation, "lease", 1, 1000))
            head = log.max_notification_id()
            arrival = Arrival(0, 0, 1, "external", 2)
            grant(log, rule)
            with pytest.raises(ProgrammingError, match=r"(?i)no *perm|can't"):
                limited_log.insert_events(events(A, 9), arrivals=[arrival], offers=[offer])
            assert (log.max_notification_id(), offer.taken) == (head, None)
            grant(log, "+@all")
            limited_log.insert_events(events(A, 9), arrivals=[arrival], offers=[offer])
            assert offer.taken is not None

    def test_without_the_bell_nothing_is_appended(self, log: RedisProcessRecorder, limited: Settings) -> None:
        with opened_process(limited) as limited_log:
            grant(log, "resetchannels", f"&{log.datastore.keys.log}")
            assert_refused(limited_log, ProgrammingError, "NOPERM this user needs XADD")

    def test_without_scripts_nothing_is_appended(self, log: RedisProcessRecorder, limited: Settings) -> None:
        with opened_process(limited) as limited_log:
            grant(log, "-evalsha")
            assert_refused(limited_log, ProgrammingError, "NOPERM.*evalsha")

    def test_a_wait_without_the_channel_says_what_is_missing(
        self, log: RedisProcessRecorder, limited: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened_process(limited) as limited_log:
            grant(log, "resetchannels")
            assert not limited_log.wait_beyond(0, timeout=0.2)
            assert re.search("(?i)no permissions to access .*channel", caplog.text)
            grant(log, "allchannels")
            append(log)
            assert limited_log.wait_beyond(0, timeout=5)


def grant(log: RedisProcessRecorder, *rules: str) -> None:
    log.datastore.connections.call("ACL", "SETUSER", "limited", *rules)


def grant_all_keys_but(log: RedisProcessRecorder, kind: str) -> None:
    prefix = log.datastore.keys.log.removesuffix("log")
    kinds = {"stream", "idempotency", "generations", "ready", "level", "pending", "heads", "line"}
    kinds |= {"due", "holder", "dead", "near", "lease", "circuit"}
    single = [f"~{prefix}{name}" for name in ("log", "head", "meta", "tracking")]
    grant(log, "resetkeys", *single, *(f"~{prefix}{other}:*" for other in kinds - {kind}))


@pytest.mark.parametrize("kind", ["log", "head", "meta", "tracking", "stream", "idempotency"])
def test_a_key_that_something_else_stands_at_is_told_and_nothing_is_written(
    log: RedisProcessRecorder, admin: redis.Redis, kind: str
) -> None:
    keys = log.datastore.keys
    key = keys.of(kind, A) if kind in {"stream", "idempotency"} else getattr(keys, kind)
    admin.rename(key, "aside")
    admin.sadd(key, "something else")
    with pytest.raises(ProgrammingError, match="WRONGTYPE"):
        append(log)
    admin.delete(key)
    admin.rename("aside", key)
    assert append(log) == [2, 3, 4]
    assert log.check() is None


class TestAuthentication:
    @pytest.fixture
    def server(self, private_server: PrivateServerFactory) -> PrivateServer:
        return private_server(password=PASSWORD)

    @pytest.mark.parametrize(
        ("credentials", "reason"),
        [
            ("", "NOAUTH Authentication required"),
            (f":{QUOTED}wrong@", "WRONGPASS invalid username-password pair"),
            (f"nobody:{QUOTED}@", "WRONGPASS invalid username-password pair"),
        ],
    )
    async def test_it_is_refused_without_telling_the_password(
        self, server: PrivateServer, credentials: str, reason: str
    ) -> None:
        with pytest.raises(OperationalError, match=reason) as raised:
            async with CorpusCallosum.open(f"redis://{credentials}127.0.0.1:{server.port}"):
                pass
        assert_silent(raised.value)

    def test_the_right_one_opens_and_is_not_told_when_the_server_is_gone(self, server: PrivateServer) -> None:
        for url in (server.url, server.tcp_url):
            server.start()
            with opened_process(redis_settings(url)) as log:
                append(log)
                server.kill()
                with pytest.raises(OperationalError) as raised:
                    log.tip()
            assert_silent(raised.value)


def assert_silent(error: BaseException) -> None:
    """No part of the password is in the error, its causes, or where it was raised."""
    told = "".join(traceback.format_exception(error))
    assert "swordfish" not in told


class TestTLS:
    def test_a_log_is_kept_over_a_connection_that_is_verified(self, tls_server: str, certificates: Path) -> None:
        url = f"{tls_server}?ssl_ca_certs={certificates / 'ca.crt'}"
        with opened_process(redis_settings(url)) as log:
            assert append(log) == [1, 2, 3]
            assert log.wait_beyond(2, timeout=0)

    @pytest.mark.parametrize(
        ("scheme", "query", "reason"),
        [
            ("rediss", "", "CERTIFICATE_VERIFY_FAILED"),
            ("rediss", "?ssl_ca_certs=/nowhere/ca.crt", "No such file"),
            ("redis", "", "Connection"),
        ],
    )
    def test_another_connection_is_refused(self, tls_server: str, scheme: str, query: str, reason: str) -> None:
        url = tls_server.replace("rediss", scheme) + query
        with pytest.raises(OperationalError, match=reason), opened_log(redis_settings(url)):
            pass


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:swordfish@host?timeout=3", "unknown in the URL's query: timeout; known are"),
        ("redis://:swordfish@host?ssl_ca_certs=ca.crt", "unknown in the URL's query: ssl_ca_certs"),
        ("redis://:swordfish@host?namespace=", "empty in the URL's query: namespace"),
        ("redis://:swordfish@host?namespace=a%20b", "the namespace 'a b' is not"),
        ("redis://:swordfish@host?namespace={a}", "the namespace '{a}' is not"),
        ("redis://:swordfish@host?db=first", "Invalid value for 'db'"),
        ("redis://:swordfish@host/first", "no number of a database"),
        ("redis://:swordfish@host/0/1", "no number of a database"),
        ("redis://:12/swordfish", "no number of a database"),
        ("redis://host?x=1&y=swordfish@z", "the URL is malformed"),
        ("user:swordfish@host:6379", "unknown scheme"),
        ("redis//:swordfish@host", "unknown scheme"),
        ("valkey://host?password=swordfish", "unknown scheme"),
        ("redis://:swordfish@host:port", "the URL is malformed"),
        ("redis://:swordfish@host:0", "the URL is malformed"),
        ("redis://:swordfish/x@host", "the URL is malformed"),
        ("redis://:swordfish?x@host", "the URL is malformed"),
        ("redis://:swordfish#x@host", "the URL is malformed"),
        ("redis://user:1/swordfish@host", "the URL is malformed"),
        ("redis://user:1?swordfish@host", "the URL is malformed"),
        ("redis://user:1#swordfish@host", "the URL is malformed"),
        ("unix://:swordfish@host/socket", "the URL is malformed"),
        ("unix://user:1/swordfish@/socket", "the URL is malformed"),
        ("redis2://:swordfish@host", "unknown scheme"),
        ("redis2://user:1/swordfish@host", "unknown scheme"),
        ("redis://user:sword[fish]@host", "the URL is malformed"),
        ("sqlite://user:swordfish@[host", "is not of the form"),
    ],
)
async def test_a_malformed_address_is_told_without_the_password(url: str, reason: str) -> None:
    with pytest.raises((StoreSettingsError, InvalidURLError)) as raised:
        async with CorpusCallosum.open(url):
            pass
    assert reason in str(raised.value)
    assert_silent(raised.value)
