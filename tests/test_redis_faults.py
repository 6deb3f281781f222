"""Lost replies, servers that die, hang and come back, files that were cut: nothing is lost, doubled or halved."""

import asyncio
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from random import randbytes
from threading import Barrier
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from eventsourcing.persistence import OperationalError, StoredEvent, Tracking

from application.inbox import DEAD_LETTERS, Arrival, Settlement, Take, Then
from application.recorder import AppendRefusedError, LogRecorder, OutcomeUnknownError
from corpus_callosum import CorpusCallosum, Receipt, Tract
from infrastructure.redis_streams.append import Append
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.redis_streams.recorders import RedisProcessRecorder
from tests.contract import Settings, opened, opened_log
from tests.contract.log_recorder import (
    A,
    B,
    C,
    duplicate,
    entries,
    events,
    keyed,
    let_it_block,
    refusal,
    waiting,
)
from tests.proxy import Proxy
from tests.servers import PrivateServerFactory

ROUNDS = 300


def redis_settings(url: str, *, timeout: float = 5.0) -> Settings:
    """Of a log that is new."""
    return {
        "PERSISTENCE_MODULE": "infrastructure.redis_streams",
        "REDIS_URL": url,
        "REDIS_NAMESPACE": uuid4().hex,
        "REDIS_TIMEOUT": str(timeout),
    }


@contextmanager
def opened_process(settings: Settings) -> Iterator[RedisProcessRecorder]:
    with opened(settings) as factory:
        recorder = factory.process_recorder()
        assert isinstance(recorder, RedisProcessRecorder)
        yield recorder


def versions(log: LogRecorder) -> list[tuple[UUID | str, int]]:
    return [(entry.originator_id, entry.originator_version) for entry in entries(log)]


@pytest.fixture
def proxy(redis_server: PrivateServer) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def log(proxy: Proxy) -> Iterator[RedisProcessRecorder]:
    with opened_process(redis_settings(f"redis://127.0.0.1:{proxy.port}")) as log:
        # A server that does not know the script asks for it first, and that reply would be the one that is lost.
        log.datastore.connections.call("SCRIPT", "LOAD", Append.SCRIPT.text)
        yield log


class TestLostReplies:
    @pytest.mark.parametrize("losses", [100, pytest.param(1000, marks=pytest.mark.stress)])
    def test_an_append_whose_reply_is_lost_is_stored_once_and_answered(
        self, proxy: Proxy, log: RedisProcessRecorder, losses: int
    ) -> None:
        keys = [keyed(f"key {number}", event=1, sequence=number) for number in range(losses)]
        for number in range(losses):
            stored = [*events(B, number), *events(A, 2 * number, 2 * number + 1)]
            proxy.cut_after_next_request()
            positions = log.insert_events(stored, keyed=[keys[number]], tracking=Tracking("upstream", number + 1))
            assert positions == [3 * number + 1, 3 * number + 2, 3 * number + 3]

        assert proxy.cuts == losses
        assert versions(log) == [
            place for number in range(losses) for place in ((B, number), (A, 2 * number), (A, 2 * number + 1))
        ]
        assert log.select_keys(A, [key.key for key in keys]) == [
            duplicate(key, 3 * number + 2) for number, key in enumerate(keys)
        ]
        assert log.max_tracking_id("upstream") == losses
        assert log.check() is None

    def test_a_tracking_record_without_events_is_no_conflict_with_itself(
        self, proxy: Proxy, log: RedisProcessRecorder
    ) -> None:
        for position in range(1, 20):
            proxy.cut_after_next_request()
            assert log.insert_events([], tracking=Tracking("upstream", position)) == []

        assert proxy.cuts == 19
        assert log.max_tracking_id("upstream") == 19

    def test_a_real_conflict_is_one_although_its_reply_is_lost(
        self, proxy: Proxy, log: RedisProcessRecorder
    ) -> None:
        log.insert_events(events(A, 1), keyed=[keyed("k")])
        proxy.cut_after_next_request()
        refused = refusal(log, [StoredEvent(A, 1, "conveyed", b"another")], keyed("k"))

        assert proxy.cuts == 1
        assert (refused.conflicts, refused.duplicates) == ((A,), (duplicate(keyed("k"), 1),))

    def test_when_the_server_is_gone_too_the_outcome_is_said_to_be_unknown(
        self, proxy: Proxy, log: RedisProcessRecorder
    ) -> None:
        proxy.cut_after_next_request()
        proxy.refuse()
        with pytest.raises(OutcomeUnknownError, match=r"refused.*Whether the append happened is not known"):
            log.insert_events(events(A, 1), keyed=[keyed("k")])
        proxy.accept()

        refused = refusal(log, events(A, 1), keyed("k"))
        assert (refused.conflicts, refused.duplicates) == ((A,), (duplicate(keyed("k"), 1),))
        assert versions(log) == [(A, 1)]

    def test_a_subscription_reads_later_what_it_cannot_read_at_first(
        self, proxy: Proxy, redis_server: PrivateServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = redis_settings(f"redis://127.0.0.1:{proxy.port}")
        with (
            opened_log(settings) as log,
            opened_log({**settings, "REDIS_URL": redis_server.url}) as other,
        ):
            other.insert_events(events(A, 1))
            assert log.wait_beyond(0, timeout=5)  # it is told from now on; else it might lose that connection
            with log.subscribe(gt=1) as subscription, waiting(next, subscription) as following:
                let_it_block(log)
                proxy.cut_after_next_request()
                proxy.refuse()
                other.insert_events(events(A, 2))  # the subscription is told, and asks
                told = monotonic()
                while "waits for the store" not in caplog.text:
                    assert monotonic() - told < 5
                proxy.accept()
                assert following()[0].id == 2

    def test_replies_later_than_the_timeout_leave_one_event(self, proxy: Proxy) -> None:
        with opened_log(redis_settings(f"redis://127.0.0.1:{proxy.port}", timeout=0.5)) as log:
            log.insert_events(events(B, 1))  # the server knows the script then
            proxy.delay(1.0)
            begun = monotonic()
            with pytest.raises(OutcomeUnknownError, match=r"Timeout.*Whether the append happened is not known"):
                log.insert_events(events(A, 1))
            assert 1.0 <= monotonic() - begun < 3
            proxy.delay(0)

            assert refusal(log, events(A, 1)).conflicts == (A,)
            assert versions(log) == [(B, 1), (A, 1)]


@pytest.mark.parametrize("recorders", [1, 2])
def test_one_of_two_writers_wins_each_version(redis_server: PrivateServer, recorders: int) -> None:
    settings = redis_settings(redis_server.url)
    together = Barrier(2, timeout=10)

    def write(log: LogRecorder, state: bytes) -> dict[int, bytes]:
        won = {}
        for version in range(ROUNDS):
            together.wait()
            with suppress(AppendRefusedError):
                log.insert_events([StoredEvent(A, version, "conveyed", state)])
                won[version] = state
        return won

    with opened_log(settings) as log, opened_log(settings) as other, ThreadPoolExecutor(2) as threads:
        first, second = threads.map(write, [log, log if recorders == 1 else other], [b"first", b"second"])
        stored = {entry.originator_version: entry.state for entry in entries(log)}

    assert len(first) + len(second) == ROUNDS
    assert stored == first | second


class TestCutFiles:
    """The file as a crash leaves it that wrote only a part of the last append."""

    def test_an_append_cut_at_or_beside_a_command_is_there_as_a_whole_or_not_at_all(
        self, private_server: PrivateServerFactory, tmp_path: Path
    ) -> None:
        cut = CutFile(private_server, tmp_path)
        commands = [match.start() for match in re.finditer(rb"\*\d+\r\n\$", cut.text[cut.before :])]
        log = 14  # MULTI and EXEC around 4 events, their 4 places, 2 keys, tracking and head
        inbox = 8 + 2 + 4 + 4 + 4  # 2 arrivals, one in line, and levels; 2 leases; redriven; buried; paused
        assert len(commands) == log + inbox
        beside = {cut.before + start + offset for start in commands for offset in (-1, 0, 1)}
        cut.try_at(sorted({*beside, cut.after - 1, cut.after} - {cut.before - 1}))

    @pytest.mark.stress
    def test_an_append_cut_at_any_byte_is_there_as_a_whole_or_not_at_all(
        self, private_server: PrivateServerFactory, tmp_path: Path
    ) -> None:
        cut = CutFile(private_server, tmp_path)
        cut.try_at(range(cut.before, cut.after + 1))


class CutFile:
    """Two appends in a server's file, of which the last one can be cut.

    Attributes:
        before, after: the file's length before and after the last append.
    """

    def __init__(self, private_server: PrivateServerFactory, directory: Path) -> None:
        self._start = private_server
        self._directory = directory
        server = private_server(directory / "whole")
        self._settings = redis_settings(server.url)
        [self._file] = server.directory.glob("appendonlydir/*.incr.aof")
        with opened_process(self._settings) as log:
            log.inbox.order("internal", ordered=True)
            log.insert_events(
                events(A, 0),
                keyed=[keyed("first")],
                arrivals=[Arrival(0, 0, 3, "external", 2)],
                tracking=Tracking("upstream", 1),
            )
            generation = log.inbox.join("external", "tool")
            log.inbox.take(Take("external", "tool", generation, "lease", 3, 600_000))
            buried = Settlement("external", "lease", 1002, 1, Then.DEAD)
            log.insert_events(events(B, 2), settlements=[buried])
            self._nothing = self._everything_of(log)
            self.before = self._file.stat().st_size
            log.insert_events(
                [*events(A, 1), *events(B, 0, 1), *events(C, 0)],
                keyed=[keyed("second"), keyed("third", aggregate=C, event=3)],
                arrivals=[Arrival(1, 0, 3, "external", 2), Arrival(3, 0, 2, "internal", 5, "planner")],
                settlements=[
                    Settlement("external", DEAD_LETTERS, 1002, 1, Then.AGAIN),
                    Settlement("external", "lease", 1000, 1, Then.DEAD),
                    Settlement("external", "lease", 1001, 1, Then.AGAIN, delay=1000),
                ],
                tracking=Tracking("upstream", 2),
            )
            self._all = self._everything_of(log)
        server.stop()
        self.text = self._file.read_bytes()
        self.after = len(self.text)

    def try_at(self, lengths: Sequence[int]) -> None:
        with ThreadPoolExecutor(4) as threads:
            found = dict(zip(lengths, threads.map(self._found_at, lengths), strict=True))
        whole = {length for length in lengths if found[length] == self._all}
        assert whole == {self.after}
        assert [length for length in lengths if found[length] not in (self._nothing, self._all)] == []

    def _found_at(self, length: int) -> Any:
        directory = self._directory / str(length)
        shutil.copytree(self._file.parent, directory / self._file.parent.name)
        (directory / self._file.parent.name / self._file.name).write_bytes(self.text[:length])
        server = self._start(directory, aof_load_truncated="yes")
        with opened_process({**self._settings, "REDIS_URL": server.url}) as log:
            found = self._everything_of(log)
        server.close()
        shutil.rmtree(directory)
        return found

    def _everything_of(self, log: RedisProcessRecorder) -> Any:
        return (
            log.epoch,
            log.tip(),
            entries(log),
            [log.select_stream(aggregate, after=-1, limit=10) for aggregate in (A, B, C)],
            [log.select_keys(aggregate, ["first", "second", "third"]) for aggregate in (A, B, C)],
            log.max_tracking_id("upstream"),
            log.check(),
            [log.inbox.level(tract) for tract in ("external", "internal")],
            self._inbox_of(log),
        )

    def _inbox_of(self, log: RedisProcessRecorder) -> Any:
        """All that the server keeps of it."""
        call, prefix = log.datastore.connections.call, log.datastore.keys.log.removesuffix("log")
        sets = (
            "ready:external",
            "ready:internal@planner",
            "due:external",
            "dead:external",
            f"line:internal:{C.hex}",
        )
        hashes = (
            *("lease:external:lease", "lease:external:pause:1001:1", "lease:external:dead", "holder:external"),
            *("near:external", "pending:external", "pending:internal", "heads:internal"),
        )
        return (
            [call("ZRANGE", prefix + name, 0, -1) for name in sets],
            [call("HGETALL", prefix + name) for name in hashes],
        )


class TestServersThatGoAway:
    def test_appends_fail_until_the_server_is_back(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        with opened_log(redis_settings(server.tcp_url)) as log:
            log.insert_events(events(A, 1))
            for version in (2, 3):
                server.kill()
                with pytest.raises(OperationalError, match="refused") as raised:
                    log.insert_events(events(A, version))
                assert not isinstance(raised.value, OutcomeUnknownError)
                server.start()
                assert log.insert_events(events(A, version)) == [version]

            assert versions(log) == [(A, 1), (A, 2), (A, 3)]

    def test_an_append_to_a_server_that_hangs_is_stored_once(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        with opened_log(redis_settings(server.tcp_url, timeout=0.2)) as log:
            server.pause()
            with pytest.raises(OutcomeUnknownError, match=r"Timeout.*not known"):
                log.insert_events(events(A, 1), keyed=[keyed("k")])
            server.resume()
            with suppress(AppendRefusedError):  # the server may carry out the first one now, or this one
                log.insert_events(events(A, 1), keyed=[keyed("k")])

            assert versions(log) == [(A, 1)]
            assert log.check() is None

    def test_a_blocked_subscription_goes_on_after_a_restart(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        settings = redis_settings(server.url)
        with opened_log(settings) as log, log.subscribe() as subscription, opened_log(settings) as other:
            other.insert_events(events(A, 1))
            seen = [next(subscription).id]
            for version in (2, 4):
                with waiting(next, subscription) as following:
                    let_it_block(log)
                    server.kill()
                    server.start()
                    back = monotonic()
                    other.insert_events(events(A, version, version + 1))
                    notification, at = following()
                assert at - back < 1.5
                seen += [notification.id, next(subscription).id]

            assert seen == [1, 2, 3, 4, 5]

    def test_a_blocked_subscription_outwaits_the_loading_of_the_file(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = slow_to_load(private_server)
        settings = redis_settings(server.url)
        with opened_log(settings) as log, log.subscribe(gt=1) as subscription, opened_log(settings) as other:
            other.insert_events(events(A, 1))
            with waiting(next, subscription) as following:
                let_it_block(log)
                server.kill()
                server.start(wait=False)
                server.start()
                other.insert_events(events(A, 2))

                assert following()[0].id == 2

    def test_a_subscription_stopped_while_the_server_is_away_ends_within_50_ms_and_alone(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server()
        with (
            opened_log(redis_settings(server.url)) as log,
            log.subscribe() as subscription,
            log.subscribe() as other,
            waiting(list, subscription) as ended,
            waiting(next, other) as following,
        ):
            let_it_block(log)
            server.kill()
            until_noticed(log)
            with log.subscribe() as late, waiting(list, late) as late_ended:
                late.stop()
                assert late_ended()[0] == []
            subscription.stop()
            stopped = monotonic()
            notifications, at = ended()
            server.start()
            log.insert_events(events(A, 1))

            assert notifications == []
            assert at - stopped < 0.05
            assert following()[0].id == 1

    def test_an_interrupt_ends_waiting_while_the_server_is_away(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server()
        with opened_log(redis_settings(server.url)) as log, waiting(log.wait_beyond, 0, 60) as ended:
            let_it_block(log)
            server.kill()
            until_noticed(log)
            with waiting(log.wait_beyond, 0, 60) as late:
                log.interrupt()
                interrupted = monotonic()
                assert (ended()[0], late()[0]) == (False, False)
                assert max(ended()[1], late()[1]) - interrupted < 0.05

    def test_a_wait_that_blocks_goes_on_and_one_that_begins_is_over_in_time_while_the_server_is_away(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server()
        with (
            opened_log(redis_settings(server.url, timeout=0.2)) as log,
            waiting(log.wait_beyond, 0, 60) as grown,
        ):
            let_it_block(log)
            server.kill()
            begun = monotonic()
            with suppress(OperationalError):  # as long as nobody has noticed
                assert not log.wait_beyond(0, timeout=0.1)
            assert monotonic() - begun < 1
            server.start()
            log.insert_events(events(A, 1))

            assert grown()[0] is True

    def test_who_waits_for_room_is_told_to_look_when_the_server_is_back(
        self, private_server: PrivateServerFactory
    ) -> None:
        server = private_server()
        told = SimpleQueue[tuple[str, int]]()
        unknown = {(tract.value, -1) for tract in Tract}
        with opened_log(redis_settings(server.url)) as log:
            log.inbox.listen_for_room(lambda tract, backlog: told.put((tract, backlog)))
            assert {told.get(timeout=5) for _ in unknown} == unknown
            server.kill()
            server.start()
            assert {told.get(timeout=5) for _ in unknown} == unknown


def until_noticed(log: LogRecorder) -> None:
    """Until the listener has noticed that the server is away."""
    while log.datastore.growth._told:  # type: ignore[attr-defined]  # Redis' log has one
        pass


def slow_to_load(private_server: PrivateServerFactory, fillers: int = 100) -> PrivateServer:
    """A server that takes 5 ms for each of the fillers to load its file, and answers meanwhile."""
    server = private_server(key_load_delay="5000", loading_process_events_interval_bytes="1024")
    with redis.Redis.from_url(server.url) as client:
        client.mset({f"filler {number}": randbytes(2000) for number in range(fillers)})
        client.bgrewriteaof()  # it answers while it loads a base file; while it repeats commands, hardly
        while (state := client.info("persistence"))["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]:
            pass
    return server


async def test_the_service_goes_on_when_its_server_is_back(private_server: PrivateServerFactory) -> None:
    server = private_server()
    async with asyncio.timeout(20), CorpusCallosum.open(server.url) as callosum:
        dialogue = await callosum.open_dialogue("a restart")
        followed: asyncio.Queue[int] = asyncio.Queue()
        following = asyncio.create_task(follow(callosum, followed))

        async def send(payload: int) -> Receipt:
            return await callosum.send(
                dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=payload
            )

        for number in range(1, 4):
            await send(2 * number - 1)
            while await followed.get() < 2 * number:
                pass
            await asyncio.to_thread(let_it_block, callosum._open.log.recorder)
            await asyncio.to_thread(server.kill)
            with pytest.raises(OperationalError):
                await send(0)
            await asyncio.to_thread(server.start)
            back = monotonic()
            receipt = await send(2 * number)
            assert monotonic() - back < 5
            assert receipt.position == 2 * number + 1

        while await followed.get() < 7:
            pass
        assert (await callosum.dialogue(dialogue)).total_messages == 6
        assert [spoken.payload async for spoken in callosum.transcript(dialogue)] == [1, 2, 3, 4, 5, 6]
        assert (await callosum.verify()).problem is None
    assert await following == [1, 2, 3, 4, 5, 6, 7]


async def follow(callosum: CorpusCallosum, followed: asyncio.Queue[int]) -> list[int]:
    positions = []
    async for event in callosum.follow():
        positions.append(event.position)
        followed.put_nowait(event.position)
    return positions
