"""A server that had acknowledged more than it wrote comes back with less, and gives the positions to others.

Here it is made to: it is killed, and its directory is put back to what it was at an earlier moment.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import InfrastructureFactory

from application.entries import Entry
from application.recorder import LogLostError, LogRecorder
from corpus_callosum import CorpusCallosum, DialogueNotFoundError, Message, Receipt, Recorded, Tract
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.redis_streams.stream import Stream
from tests.contract import opened
from tests.contract.log_recorder import A, B, events
from tests.servers import PrivateServerFactory

SETTINGS = {"PERSISTENCE_MODULE": "infrastructure.redis_streams"}


class Forgetful:
    """A server with a moment to go back to."""

    def __init__(self, server: PrivateServer, backup: Path) -> None:
        self.server = server
        self.url = server.url
        self._backup = backup

    def remember(self) -> None:
        self._down()
        shutil.copytree(self.server.directory, self._backup, dirs_exist_ok=False, ignore=_sockets)
        self.server.start()

    def go_back(self) -> None:
        self._down()
        shutil.rmtree(self.server.directory / "appendonlydir")
        shutil.copytree(self._backup / "appendonlydir", self.server.directory / "appendonlydir")
        self.server.start()

    def _down(self) -> None:
        self.server.kill()


def _sockets(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_socket()]


@pytest.fixture
def server(private_server: PrivateServerFactory, tmp_path: Path) -> Forgetful:
    return Forgetful(private_server(), tmp_path / "backup")


@pytest.fixture
def factory(server: Forgetful) -> Iterator[InfrastructureFactory]:
    with opened({**SETTINGS, "REDIS_URL": server.url}) as factory:
        yield factory


@pytest.fixture
def log(factory: InfrastructureFactory, server: Forgetful) -> LogRecorder:
    """It has seen five entries, of which the server has lost two."""
    recorder = factory.application_recorder()
    assert isinstance(recorder, LogRecorder)
    recorder.insert_events(events(A, 1, 2, 3))
    server.remember()
    recorder.insert_events(events(A, 4, 5))
    server.go_back()
    return recorder


class TestARecorder:
    def test_refuses_to_append_until_the_loss_is_accepted(self, log: LogRecorder) -> None:
        for _ in range(2):
            with pytest.raises(LogLostError) as lost:
                log.insert_events(events(B, 1))
            assert (lost.value.seen, lost.value.head) == (5, 3)
        log.accept_loss()
        assert log.insert_events(events(B, 1)) == [4]

    def test_refuses_to_tell_an_aggregate(self, log: LogRecorder) -> None:
        with pytest.raises(LogLostError):
            log.select_events(A)
        log.accept_loss()
        assert [event.originator_version for event in log.select_events(A)] == [1, 2, 3]

    def test_is_not_deceived_by_others_at_the_same_positions(self, log: LogRecorder, server: Forgetful) -> None:
        with opened({**SETTINGS, "REDIS_URL": server.url}) as other:
            other.application_recorder().insert_events(events(B, *range(1, 10)))
        with pytest.raises(LogLostError, match="another history"):
            log.insert_events(events(A, 6))
        with pytest.raises(LogLostError, match="another history"):
            log.select_events(A)

    def test_stands_on_every_entry_that_it_told_of(
        self, server: Forgetful, factory: InfrastructureFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder = factory.application_recorder()
        recorder.insert_events(events(A, 1))
        server.remember()
        tell = Stream.of

        def tell_while_another_appends(stream: Stream, *args: Any, **kwargs: Any) -> list[Entry]:
            with opened({**SETTINGS, "REDIS_URL": server.url}) as other:
                other.application_recorder().insert_events(events(A, 2))
            return tell(stream, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(Stream, "of", tell_while_another_appends)
            assert len(recorder.select_events(A)) == 2
        server.go_back()
        with pytest.raises(LogLostError):
            recorder.insert_events(events(A, 3))

    def test_sees_that_the_whole_log_is_gone(self, log: LogRecorder, factory: InfrastructureFactory) -> None:
        epoch = log.epoch
        factory.datastore.connections.call("FLUSHALL")  # type: ignore[attr-defined]  # Redis' factory has one
        with pytest.raises(LogLostError) as lost:
            log.insert_events(events(B, 1))
        assert (lost.value.seen, lost.value.head) == (5, 0)
        log.accept_loss()
        assert log.epoch != epoch
        assert log.insert_events(events(B, 1)) == [1]

    def test_goes_on_when_nothing_that_it_saw_was_lost(
        self, server: Forgetful, factory: InfrastructureFactory
    ) -> None:
        recorder = factory.application_recorder()
        recorder.insert_events(events(A, 1, 2))
        server.remember()
        with opened({**SETTINGS, "REDIS_URL": server.url}) as other:
            other.application_recorder().insert_events(events(B, 1))
        server.go_back()
        assert recorder.insert_events(events(A, 3)) == [3]

    def test_ends_a_wait_that_the_log_would_not_reach(self, log: LogRecorder) -> None:
        assert log.wait_beyond(5, timeout=5)


@pytest.fixture
async def callosum(server: Forgetful) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(server.url) as callosum:
        yield callosum


async def say(callosum: CorpusCallosum, dialogue: UUID, *payloads: str) -> list[Receipt]:
    messages = [
        Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=payload)
        for payload in payloads
    ]
    return await callosum.send_many(dialogue, messages)


async def said(callosum: CorpusCallosum, dialogue: UUID) -> list[str]:
    return [message.payload async for message in callosum.transcript(dialogue)]


class TestTheService:
    @pytest.fixture
    async def dialogue(self, callosum: CorpusCallosum, server: Forgetful) -> UUID:
        """Its messages `c` and `d` were acknowledged, and lost."""
        dialogue = await callosum.open_dialogue("forgotten")
        await say(callosum, dialogue, "a", "b")
        await asyncio.to_thread(server.remember)
        await say(callosum, dialogue, "c", "d")
        assert (await callosum.consciousness_metrics(dialogue)).total_messages == 4
        await asyncio.to_thread(server.go_back)
        return dialogue

    async def test_tells_the_first_sender_and_goes_on(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(LogLostError):
            await say(callosum, dialogue, "e")
        [receipt] = await say(callosum, dialogue, "f")
        assert receipt.sequence == 3
        assert await said(callosum, dialogue) == ["a", "b", "f"]

    async def test_does_not_answer_from_what_was_lost(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        assert (await callosum.consciousness_metrics(dialogue)).total_messages == 2
        runner = callosum._open.read_side.runner("consciousness")
        assert runner is not None
        assert runner.refolds == ["they include position 3, which the log does not have"]

    async def test_knows_no_dialogue_that_never_was(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(DialogueNotFoundError):
            await callosum.consciousness_metrics(uuid4())

    @pytest.mark.parametrize("others", [1, 5], ids=["as many", "more"])
    async def test_does_not_pass_over_what_took_the_lost_ones_place(
        self, callosum: CorpusCallosum, dialogue: UUID, server: Forgetful, others: int
    ) -> None:
        async with CorpusCallosum.open(server.url) as other:
            for number in range(others):
                await say(other, dialogue, *[f"other {number}"] * 10)
            expected = 2 + 10 * others
            assert (await callosum.consciousness_metrics(dialogue)).total_messages == expected
            assert (await other.consciousness_metrics(dialogue)).total_messages == expected
        with pytest.raises(LogLostError):
            await say(callosum, dialogue, "e")
        [receipt] = await say(callosum, dialogue, "f")
        assert receipt.sequence == expected + 1

    async def test_begins_anew_with_a_log_that_was_emptied(
        self, callosum: CorpusCallosum, dialogue: UUID, server: Forgetful
    ) -> None:
        await asyncio.to_thread(_flush, server)
        with pytest.raises(LogLostError):
            await say(callosum, dialogue, "e")
        fresh = await callosum.open_dialogue("afterwards")
        await say(callosum, fresh, "g")
        assert [summary.dialogue for summary in (await callosum.dialogues()).dialogues] == [fresh]


def _flush(server: Forgetful) -> None:
    with opened({**SETTINGS, "REDIS_URL": server.url}) as factory:
        factory.datastore.connections.call("FLUSHALL")  # type: ignore[attr-defined]  # Redis' factory has one


async def waiting_for_more(callosum: CorpusCallosum, events: AsyncIterator[Recorded]) -> asyncio.Task[Recorded]:
    """Ask a follower for the next event, and return when it waits for the log to grow."""

    async def following() -> Recorded:
        return await anext(events)

    task = asyncio.create_task(following())
    while callosum._open.reader._tail._thread is None:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    return task


async def test_a_follower_is_told_instead_of_led_past_the_gap(callosum: CorpusCallosum, server: Forgetful) -> None:
    dialogue = await callosum.open_dialogue("forgotten")
    await asyncio.to_thread(server.remember)
    await say(callosum, dialogue, "c")
    events = callosum.follow()
    assert [(await anext(events)).position for _ in range(2)] == [1, 2]
    following = await waiting_for_more(callosum, events)
    await asyncio.to_thread(server.go_back)
    with pytest.raises(LogLostError):
        await asyncio.wait_for(following, 10)


async def test_a_follower_is_told_of_an_emptied_log_though_nobody_appends(
    callosum: CorpusCallosum, server: Forgetful
) -> None:
    await callosum.open_dialogue("forgotten")
    following = await waiting_for_more(callosum, callosum.follow(1))
    await asyncio.to_thread(_flush, server)
    with pytest.raises(LogLostError):
        await asyncio.wait_for(following, 10)


async def test_a_follower_is_told_when_others_took_the_place(callosum: CorpusCallosum, server: Forgetful) -> None:
    dialogue = await callosum.open_dialogue("forgotten")
    await asyncio.to_thread(server.remember)
    await say(callosum, dialogue, "c")
    following = await waiting_for_more(callosum, callosum.follow(2))
    await asyncio.to_thread(server.go_back)
    async with CorpusCallosum.open(server.url) as other:
        await say(other, dialogue, "x")
        await say(other, dialogue, "y")
    with pytest.raises(LogLostError):
        await asyncio.wait_for(following, 10)


async def test_a_follower_of_findings_is_told_too(callosum: CorpusCallosum, server: Forgetful) -> None:
    dialogue = await callosum.open_dialogue("a subject")
    await asyncio.to_thread(server.remember)
    await say(callosum, dialogue, "again", "again")
    findings = callosum.follow_findings()
    assert (await anext(findings)).pattern == "repetition"
    following = asyncio.ensure_future(anext(findings))
    await asyncio.to_thread(server.go_back)
    with pytest.raises(LogLostError):
        await asyncio.wait_for(following, 20)


async def test_a_follower_of_findings_outlasts_a_server_that_is_away(
    callosum: CorpusCallosum, server: Forgetful
) -> None:
    dialogue = await callosum.open_dialogue("a subject")
    await say(callosum, dialogue, "again", "again")
    findings = callosum.follow_findings()
    assert (await anext(findings)).pattern == "repetition"
    following = asyncio.ensure_future(anext(findings))
    await asyncio.to_thread(server.remember)
    await say(callosum, dialogue, "again")
    assert (await asyncio.wait_for(following, 20)).pattern == "echo_loop"
