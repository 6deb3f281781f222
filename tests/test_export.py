"""A log that is exported and imported again is the same log."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import UUID

import pytest
from eventsourcing.persistence import OperationalError

from corpus_callosum import (
    CallNotPermittedError,
    CallosumClosedError,
    CircuitState,
    CorpusCallosum,
    Format,
    Gate,
    InvalidCommandError,
    Message,
    RestoreReport,
    Settings,
    Tract,
)
from tests.conftest import STORES, url_of
from tests.deliveries import nothing_comes
from tests.gates import PATIENT, ScriptedAgent, fail, gate_events, guarded, put, until, until_state
from tests.history import digests, everything, lines, live_history, plain_settings

SAID = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(settings=plain_settings(url)) as callosum:
        yield callosum


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/elsewhere.db"


def other_store(name: str, directory: Path) -> str:
    directory.mkdir(exist_ok=True)
    return url_of(STORES[name], name, directory)


async def restored(callosum: CorpusCallosum, told: list[str], directory: Path) -> RestoreReport:
    file = directory / "log.jsonl"
    file.write_text("".join(f"{line}\n" for line in told))
    return await callosum.import_log(file)


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("target", STORES)
async def test_a_live_log_comes_back_whole(lasting_url: str, target: str, form: Format, tmp_path: Path) -> None:
    async with opened(lasting_url) as source, opened(other_store(target, tmp_path / "other")) as other:
        await live_history(source)
        told = await lines(source, form=form)
        report = await restored(other, told, tmp_path)
        assert (report.broken, report.events, report.present, report.moved) == (None, len(told), 0, 0)
        assert await everything(other) == await everything(source)
        assert await digests(other) == await digests(source)
        verified = await other.verify()
        assert (verified.problem, verified.chain) == (None, (await source.verify()).chain)
        assert await lines(other, form=Format.JSONL) == await lines(source, form=Format.JSONL)


async def test_history_is_not_delivered_and_what_is_said_after_it_is(
    lasting_url: str, elsewhere: str, tmp_path: Path
) -> None:
    async with opened(elsewhere) as source:
        dialogue = await live_history(source)
        first = await source.send(dialogue, **SAID, payload="last", idempotency_key="again")  # type: ignore[arg-type]
        told = await lines(source)
    async with opened(lasting_url) as callosum:
        await restored(callosum, told, tmp_path)
        assert all(tract.backlog == 0 for tract in await callosum.inbox())
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as taken:
            assert await nothing_comes(taken)
            again = await callosum.send(dialogue, **SAID, payload="last", idempotency_key="again")  # type: ignore[arg-type]
            assert again == first
            new = await callosum.send(dialogue, **SAID, payload="new")  # type: ignore[arg-type]
            assert new.sequence == first.sequence + 1
            delivery = await anext(taken)
            assert (delivery.message.payload, delivery.attempt) == ("new", 1)
            await delivery.ack()
        assert (await callosum.verify()).problem is None


async def test_the_gates_are_as_their_events_tell(lasting_url: str, elsewhere: str, tmp_path: Path) -> None:
    async with opened(elsewhere) as source:
        await live_history(source)
        told = await lines(source)
        levels = [await _level(source, tract) for tract in Tract]
    async with opened(lasting_url) as callosum:
        report = await restored(callosum, told, tmp_path)
        assert {(gate.tract, gate.state.value, gate.capacity, gate.why) for gate in report.gates} == {
            ("internal", "disabled", 10000, "night"),
            ("external", "closed", 77, ""),
        }
        assert [await _level(callosum, tract) for tract in Tract] == levels
        assert (await callosum.gates.metrics()).external.settings.capacity == 77


@pytest.mark.parametrize("settings", [{"capacity": 50}, {"gate": {"external": {"capacity": 50}}}])
async def test_a_service_with_gate_settings_of_its_own_takes_no_export(
    url: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    async with CorpusCallosum.open(settings=Settings(url=url, views="sqlite://", **settings)) as callosum:
        before = await everything(callosum)
        with pytest.raises(InvalidCommandError, match=r"open a service with `Settings\(…, capacity=None"):
            await restored(callosum, await lines(callosum), tmp_path)
        assert await everything(callosum) == before


async def test_what_is_restored_as_on_its_way_is_no_backpressure(
    lasting_url: str, elsewhere: str, tmp_path: Path
) -> None:
    async with opened(elsewhere) as source:
        await _dialogue(source, 12)
        told = await lines(source)
    async with opened(lasting_url) as callosum:
        assert (await restored(callosum, told, tmp_path)).broken is None
        await callosum.gates.configure(Tract.EXTERNAL, by="ops", why="less", capacity=10)
        dialogue = await callosum.open_dialogue("afterwards")
        await callosum.send(dialogue, **SAID, payload="x")  # type: ignore[arg-type]
        metrics = await callosum.deliveries()
        assert metrics.external.backlog == 13
        await callosum._open.gates._record()
        assert not await gate_events(callosum, Gate.BackpressureEngaged)
        for number in range(9):
            await callosum.send(dialogue, **SAID, payload=number)  # type: ignore[arg-type]
        await callosum.deliveries()
        await callosum._open.gates._record()
        assert await gate_events(callosum, Gate.BackpressureEngaged)


async def _level(callosum: CorpusCallosum, tract: Tract) -> tuple[object, ...]:
    level = callosum._open.log.recorder.inbox.level(tract)
    return level.capacity, level.passage, level.generation


class TestAnImportThatIsRepeated:
    async def test_changes_nothing(self, lasting_url: str, elsewhere: str, tmp_path: Path) -> None:
        async with opened(elsewhere) as source, opened(lasting_url) as callosum:
            await live_history(source)
            told = await lines(source)
            await restored(callosum, told[:7], tmp_path)
            report = await restored(callosum, told, tmp_path)
            assert (report.events, report.present, report.broken) == (len(told) - 7, 7, None)
            before = await everything(callosum)
            again = await restored(callosum, told, tmp_path)
            assert (again.events, again.present) == (0, len(told))
            assert await everything(callosum) == before == await everything(source)

    async def test_of_another_logs_events_adds_them_behind(
        self, lasting_url: str, elsewhere: str, tmp_path: Path
    ) -> None:
        async with opened(elsewhere) as source, opened(lasting_url) as callosum:
            dialogue = await _dialogue(source, 3)
            told = await lines(source)
            own = await _dialogue(callosum, 2)
            report = await restored(callosum, told, tmp_path)
            assert (report.events, report.present, report.moved) == (4, 0, 4)
            assert [m.payload async for m in callosum.transcript(dialogue)] == [0, 1, 2]
            assert [m.payload async for m in callosum.transcript(own)] == [0, 1]
            await source.send(dialogue, **SAID, payload=3)  # type: ignore[arg-type]
            report = await restored(callosum, await lines(source), tmp_path)
            assert (report.events, report.present) == (1, 4)
            assert [m.payload async for m in callosum.transcript(dialogue)] == [0, 1, 2, 3]
            assert (await callosum.verify()).problem is None


async def _dialogue(callosum: CorpusCallosum, messages: int) -> UUID:
    dialogue = await callosum.open_dialogue("counting")
    for number in range(messages):
        await callosum.send(dialogue, **SAID, payload=number)  # type: ignore[arg-type]
    return dialogue


class TestALineThatCannotBeRestored:
    @pytest.fixture
    async def told(self, elsewhere: str) -> list[str]:
        async with opened(elsewhere) as source:
            await _dialogue(source, 3)
            return await lines(source)

    async def refused(self, url: str, told: list[str], directory: Path) -> tuple[int, str]:
        """The line and why; nothing of the batch is stored."""
        async with opened(url) as callosum:
            before = await everything(callosum)
            report = await restored(callosum, told, directory)
            assert report.broken is not None
            assert await everything(callosum) == before
            assert report.broken.file.endswith("log.jsonl")
            return report.broken.line, report.broken.reason

    @pytest.mark.parametrize(
        ("was", "becomes", "reason"),
        [
            ('{"position"', "position", "It is not JSON"),
            ('"topic":', '"title":', "It is no event of an export"),
            ("dialogue.conveyed.v1", "dialogue.conveyed.v9", "'dialogue.conveyed.v9', which is unknown"),
            ('"sender":"planner"', '"sender":7', "Expected `str`, got `int` - at `$.messages[0].sender`"),
            ('"sender":"planner"', '"from":"planner"', "unknown field `from`"),
            ('"payload":1', '"payload":{"$base64":"?"}', "not base64"),
            ('"payload":1', '"payload":{"$base64":1}', "no text"),
            ('"payload":1', '"payload":18446744073709551616', "cannot be stored"),
            ('"payload":1', '"payload":1e999', "Number out of range"),
            ('"first_sequence":2', '"first_sequence":3', "begins with message 3, after message 1"),
            ('"version":3', '"version":4', "begins in the middle of that dialogue"),
            ('"at":"', '"at":"x', "RFC3339"),
            ('"position":3', f'"position":{2**63}', "both count from 1 on"),
            ('"in_reply_to":null', '"in_reply_to":2', "reply to message 2, which is no earlier one"),
            ('"messages":[', '"messages":[],"asked":[],"kept":[', "Expected `bool`"),
            ('"version":3', '"version":1', "comes twice"),
            ('"timestamp":"', '"timestamp":"x', "RFC3339"),
        ],
    )
    async def test_is_named_with_its_reason(  # noqa: PLR0917  # fixtures, and what is changed
        self, url: str, told: list[str], tmp_path: Path, was: str, becomes: str, reason: str
    ) -> None:
        assert was in told[2]
        line, said = await self.refused(url, [*told[:2], told[2].replace(was, becomes, 1), *told[3:]], tmp_path)
        assert line == 3
        assert reason in said

    async def test_has_another_content_than_the_log(
        self, lasting_url: str, told: list[str], tmp_path: Path
    ) -> None:
        async with opened(lasting_url) as callosum:
            await restored(callosum, told, tmp_path)
        for was, becomes in (('"payload":1', '"payload":1.0'), ('"payload":1', '"payload":true')):
            other = told[2].replace(was, becomes)
            line, reason = await self.refused(lasting_url, [*told[:2], other, *told[3:]], tmp_path)
            dialogue = json.loads(told[2])["id"]
            assert (line, reason) == (
                3,
                f"Version 3 of dialogue {dialogue} has another content in the log, where it is at position 3.",
            )

    async def test_has_a_time_far_ahead_of_the_clock(self, url: str, told: list[str], tmp_path: Path) -> None:
        now = datetime.now(UTC)
        allowed, refused = now + timedelta(hours=23), now + timedelta(hours=25)
        at = json.loads(told[2])["at"]
        ahead = refused.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line, reason = await self.refused(url, [*told[:2], told[2].replace(at, ahead), *told[3:]], tmp_path)
        assert line == 3
        begin, _, clock = reason.removesuffix(".").rpartition(" ")
        assert begin == f"Its time {ahead} is more than a day ahead of this machine's clock,"
        assert now - timedelta(milliseconds=1) <= datetime.fromisoformat(clock) <= datetime.now(UTC)
        async with opened(url) as callosum:
            report = await restored(
                callosum, [*told[:3], told[3].replace(json.loads(told[3])["at"], allowed.isoformat())], tmp_path
            )
            assert (report.broken, report.moved) == (None, 0)

    @pytest.mark.parametrize("batch", [1, 2, 256])
    async def test_has_an_idempotency_key_of_an_earlier_one(
        self, lasting_url: str, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
    ) -> None:
        monkeypatch.setattr("application.restoring._MOST_EVENTS", batch)
        async with opened(elsewhere) as source:
            dialogue = await source.open_dialogue("keys")
            for key in ("one", None, None, None, "two"):
                await source.send(dialogue, **SAID, idempotency_key=key)  # type: ignore[arg-type]
            told = [line.replace('"two"', '"one"') for line in await lines(source)]
        async with opened(lasting_url) as callosum:
            for _ in range(2):  # of what is there already, too
                report = await restored(callosum, told, tmp_path)
                assert report.broken is not None
                assert (report.broken.line, report.broken.reason) == (
                    6,
                    f"The idempotency key 'one' belongs to message 1 of dialogue {dialogue} already.",
                )
            assert len(await everything(callosum)) == {1: 5, 2: 4, 256: 0}[batch]

    async def test_is_of_an_aggregate_whose_beginning_is_missing(
        self, lasting_url: str, told: list[str], tmp_path: Path
    ) -> None:
        line, reason = await self.refused(lasting_url, told[2:], tmp_path)
        assert line == 1
        assert "neither in the log nor in the file" in reason


async def test_an_import_ends_after_a_batch_when_the_service_is_closed(
    lasting_url: str, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.restoring._MOST_EVENTS", 2)
    async with opened(elsewhere) as source:
        await _dialogue(source, 20)
        told = await lines(source)
    (tmp_path / "log").write_text("\n".join(told))
    async with opened(lasting_url) as callosum:
        loop, reader, reports = asyncio.get_running_loop(), callosum._open.reader, []

        def close(report: RestoreReport) -> None:
            reports.append(report.events)
            if len(reports) == 3:
                asyncio.run_coroutine_threadsafe(callosum.aclose(), loop)
                while not reader._closed:
                    time.sleep(0.01)

        with pytest.raises(CallosumClosedError):
            await callosum.import_log(tmp_path / "log", close)
    async with opened(lasting_url) as callosum:
        assert len(await everything(callosum)) == 6
        report = await callosum.import_log(tmp_path / "log")
        assert (report.events, report.present) == (15, 6)


async def test_what_came_of_an_import_is_told_though_the_store_is_away_then(
    url: str, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(elsewhere) as source, opened(url) as callosum:
        await live_history(source)
        told = await lines(source)
        (tmp_path / "log").write_text("\n".join(told))

        def away(*_: object) -> None:
            raise OperationalError("the store is away")

        def go(_: RestoreReport) -> None:
            monkeypatch.setattr(callosum._open.log, "configured", away)

        report = await callosum.import_log(tmp_path / "log", go)
        assert (report.events, report.broken) == (len(told), None)
        monkeypatch.undo()

        async def learned() -> bool:
            return callosum.gates.settings(Tract.EXTERNAL).capacity == 77

        await until(learned)


@pytest.mark.parametrize("made", [BytesIO, TemporaryFile])
async def test_a_file_without_a_path_is_read_like_any(
    url: str, elsewhere: str, made: Callable[[], BinaryIO]
) -> None:
    async with opened(elsewhere) as source, opened(url) as callosum:
        await _dialogue(source, 3)
        told = await lines(source)
        with made() as file:
            file.write("\n".join([*told, "broken"]).encode())
            file.seek(0)
            report = await callosum.import_log(file)
        assert report.broken is not None
        assert (report.broken.file, report.broken.line) == ("<stream>", len(told) + 1)
        with made() as file:
            file.write("\n".join(told).encode())
            file.seek(0)
            again = await callosum.import_log(file)
        assert again.present + again.events == len(told)


async def test_an_import_that_is_cancelled_ends_and_can_be_made_again(
    lasting_url: str, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.restoring._MOST_EVENTS", 2)
    async with opened(elsewhere) as source, opened(lasting_url) as callosum:
        await _dialogue(source, 20)
        told = await lines(source)
        (tmp_path / "log").write_text("\n".join(told))
        loop, reports = asyncio.get_running_loop(), []

        def cancel(report: RestoreReport) -> None:
            reports.append(report.events)
            if len(reports) == 3:
                loop.call_soon_threadsafe(task.cancel)
                time.sleep(0.5)  # until it was

        task = asyncio.create_task(callosum.import_log(tmp_path / "log", cancel))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await everything(callosum)) == 6
        report = await callosum.import_log(tmp_path / "log")
        assert (report.events, report.present) == (15, 6)


async def test_a_range_is_exported_by_positions_or_times(callosum: CorpusCallosum, tmp_path: Path) -> None:
    await _dialogue(callosum, 4)
    told = await lines(callosum)
    assert await lines(callosum, start=2, stop=3) == told[1:3]
    events = [event async for event in callosum.replay()]
    assert len(events) == len(told) == 5
    assert [json.loads(line)["version"] for line in told] == [1, 2, 3, 4, 5]


async def test_a_large_log_keeps_every_link_over_many_batches(
    lasting_url: str, elsewhere: str, tmp_path: Path
) -> None:
    async with opened(elsewhere) as source, opened(lasting_url) as callosum:
        for _ in range(3):
            dialogue = await source.open_dialogue("many")
            for _ in range(70):
                await source.send_many(dialogue, [Message(**SAID, payload=n) for n in range(3)])  # type: ignore[arg-type]
        told = await lines(source)
        assert len(told) == 213
        report = await restored(callosum, told, tmp_path)
        assert (report.events, report.messages) == (213, 630)
        assert await everything(callosum) == await everything(source)


class TestALogWhoseCircuitHasOpened:
    @pytest.fixture
    async def told(self, elsewhere: str) -> list[str]:
        async with guarded(elsewhere, wait_in_open=60.0) as source:
            agent = ScriptedAgent(fail)
            dialogue = await source.open_dialogue("fails")
            await put(source, dialogue, *range(30))
            async with source.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
                await until_state(source, CircuitState.OPEN)
            told = await lines(source)
            assert sum("gate.circuit_opened" in line for line in told) == 1
            return told

    async def test_is_restored_by_a_service_that_watches_its_gates(
        self, lasting_url: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each event by itself, so that the read models are current between the cause and the transition."""
        monkeypatch.setattr("application.restoring._MOST_EVENTS", 1)
        async with opened(lasting_url) as callosum:
            runner = callosum._open.read_side.runner("deliveries")
            assert runner is not None
            told_of: list[int] = []

            def fold(report: RestoreReport) -> None:
                told_of.append(report.position)
                runner.wait_for(report.position, 10)
                time.sleep(0.01)  # for the loop, which would record now what is not told yet

            (tmp_path / "log").write_text("\n".join(told))
            report = await callosum.import_log(tmp_path / "log", fold)
            assert (report.broken, report.events, len(told_of)) == (None, len(told), len(told))
            assert await lines(callosum) == told

    async def test_can_be_followed_up_where_no_service_watches_the_gates(
        self, elsewhere: str, lasting_url: str, tmp_path: Path
    ) -> None:
        async with guarded(elsewhere) as source:
            agent = ScriptedAgent(fail)
            dialogue = await source.open_dialogue("fails, and is tried again")
            await put(source, dialogue, *range(30))
            async with source.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
                await until_state(source, CircuitState.HALF_OPEN)
            told = await lines(source)
        begin = 1 + next(number for number, line in enumerate(told) if "gate.circuit_opened" in line)
        for part in (told[:begin], told):  # when its wait has been over for long
            settings = plain_settings(lasting_url).model_copy(update={"watch_gates": False})
            async with CorpusCallosum.open(settings=settings) as callosum:
                await callosum.gates.metrics()
                report = await restored(callosum, part, tmp_path)
                await callosum.gates.metrics()
                assert report.broken is None
                assert await lines(callosum) == part

    async def test_lets_nothing_in_until_its_wait_is_over(
        self, lasting_url: str, told: list[str], tmp_path: Path
    ) -> None:
        async with opened(lasting_url) as callosum:
            report = await restored(callosum, told, tmp_path)
            assert ("external", CircuitState.OPEN) in {(gate.tract, gate.state) for gate in report.gates}
            dialogue = await callosum.open_dialogue("afterwards")
            with pytest.raises(CallNotPermittedError):
                await callosum.send(dialogue, **SAID, payload="x")  # type: ignore[arg-type]
            await callosum.gates.force(Tract.EXTERNAL, CircuitState.CLOSED, by="ops", why="it is another one")
            agent = ScriptedAgent(fail)
            await put(callosum, dialogue, *range(30))
            async with callosum.attach(agent, Tract.EXTERNAL, "tool", delivery=PATIENT):
                await until_state(callosum, CircuitState.OPEN, beyond=2)  # it counts outcomes of its own
            assert (await callosum.verify()).problem is None
