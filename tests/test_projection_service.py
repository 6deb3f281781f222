"""The read models through the service: how they fare, rebuilt while it runs, paused, as of any moment."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from corpus_callosum import (
    CorpusCallosum,
    DialogueNotFoundError,
    InvalidCommandError,
    NoEarlierGenerationError,
    OnError,
    ProjectionPausedError,
    ProjectionState,
    RebuildUnderWayError,
    Settings,
    Tract,
    UnknownProjectionError,
    Verdict,
)
from tests.scenario import message

OUT: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}
MODEL = "consciousness"


@pytest.fixture
def callosum(projecting: CorpusCallosum) -> CorpusCallosum:
    return projecting


async def until(holds: Callable[[], bool]) -> None:
    """Nothing tells of it."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_status_tells_how_far_each_read_model_is(callosum: CorpusCallosum) -> None:
    await callosum.send_many(await callosum.open_dialogue("status"), [message(n) for n in range(5)])
    await callosum.consciousness_metrics()
    found = {one.name: one for one in await callosum.projections.status()}
    one = found[MODEL]
    assert list(found) == callosum.projections.names
    assert (one.state, one.position, one.head, one.lag_events, one.lag_seconds) == ("current", 2, 2, 0, 0.0)
    assert (one.error, one.parked, one.discarded, one.previous, one.rebuilding) == (None, 0, 0, None, None)
    assert one.generation == one.serving is not None


async def test_lag_is_in_events_and_in_seconds_and_unknown_is_none(tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}/callosum.db", project=False)
    async with CorpusCallosum.open(settings=settings) as callosum:
        [one] = await callosum.projections.status(MODEL)
        assert (one.state, one.lag_events, one.lag_seconds, one.generation) == ("absent", None, None, None)
        dialogue = await callosum.open_dialogue("lag")
        async with CorpusCallosum.open(settings.url) as projecting:
            await projecting.consciousness_metrics()
        for number in range(3):
            await callosum.send(dialogue, **OUT, payload=number)
        [one] = await callosum.projections.status(MODEL)
        assert (one.state, one.position, one.lag_events) == (ProjectionState.BEHIND, 1, 3)
        assert one.lag_seconds is not None
        assert 0 <= one.lag_seconds < 60


async def test_rebuild_of_all_read_models_while_the_service_runs(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("rebuilt")
    await callosum.send_many(dialogue, [message(n) for n in range(300)])
    before = await callosum.consciousness_metrics(dialogue)
    told: list[int] = []
    [first] = await callosum.projections.status(MODEL)
    rebuilt = await callosum.projections.rebuild(progress=lambda progress: told.append(progress.position))
    assert [one.projection for one in rebuilt] == callosum.projections.names
    assert {one.verdict for one in rebuilt} == {Verdict.IDENTICAL}
    assert await callosum.consciousness_metrics(dialogue) == before
    await callosum.send(dialogue, **OUT)
    assert (await callosum.consciousness_metrics(dialogue)).total_messages == 301
    assert {one.verdict for one in await callosum.projections.verify()} == {Verdict.IDENTICAL}
    [status] = await callosum.projections.status(MODEL)
    assert (status.generation, status.previous) == (rebuilt[0].generation, first.generation)


async def test_rollback_serves_the_former_one(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("rolled back")
    await callosum.consciousness_metrics()
    with pytest.raises(NoEarlierGenerationError):
        await callosum.projections.rollback(MODEL)
    [first] = await callosum.projections.status(MODEL)
    await callosum.projections.rebuild(MODEL)
    await callosum.send(dialogue, **OUT)
    assert (await callosum.projections.rollback(MODEL)).id == first.generation
    assert (await callosum.consciousness_metrics(dialogue)).total_messages == 1
    await callosum.send(dialogue, **OUT)
    assert (await callosum.consciousness_metrics(dialogue)).total_messages == 2


async def test_second_rebuild_in_another_process_is_refused(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        await callosum.open_dialogue("rebuilt twice")
        await callosum.consciousness_metrics()
        with callosum._open.read_side.models.rebuilding(MODEL), pytest.raises(RebuildUnderWayError, match=MODEL):
            await callosum.projections.rebuild(MODEL)


@pytest.mark.slow
async def test_cancelled_rebuild_leaves_no_process_and_can_be_gone_on_with(lasting_url: str) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum:
        await callosum.open_dialogue("cancelled")
        await callosum.consciousness_metrics()
        read_side = callosum._open.read_side
        generation = read_side.models.current(MODEL, read_side._versions[MODEL])
        assert generation is not None
        model = read_side.models.model(generation, read_side._kinds[MODEL])
        with model.writing():  # the swap waits for this
            task = asyncio.create_task(callosum.projections.rebuild(MODEL))
            while (await callosum.projections.status(MODEL))[0].rebuilding != 1:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            task.cancel()
            async with asyncio.timeout(10):
                with pytest.raises(asyncio.CancelledError):
                    await task
        [rebuilt] = await callosum.projections.rebuild(MODEL)
        assert (rebuilt.verdict, rebuilt.resumed_at) == (Verdict.IDENTICAL, 1)


async def test_paused_projection_says_so_and_goes_on_when_it_is_resumed(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("paused")
    await callosum.consciousness_metrics()
    await callosum.projections.pause(MODEL)
    runner = callosum._open.read_side.runner(MODEL)
    assert runner is not None
    await until(lambda: runner.paused)
    await callosum.send(dialogue, **OUT)
    with pytest.raises(ProjectionPausedError, match="resume consciousness"):
        await callosum.consciousness_metrics(dialogue)
    assert (await callosum.consciousness_metrics(dialogue, at_least=0)).total_messages == 0
    assert [one.state for one in await callosum.projections.status(MODEL)] == [ProjectionState.PAUSED]
    await callosum.projections.resume(MODEL)
    await until(lambda: not runner.paused)
    assert (await callosum.consciousness_metrics(dialogue)).total_messages == 1


async def test_names_of_projections_that_are_not_there_are_refused(callosum: CorpusCallosum) -> None:
    with pytest.raises(UnknownProjectionError, match="known are consciousness"):
        await callosum.projections.status("nope")
    with pytest.raises(UnknownProjectionError):
        await callosum.projections.rebuild("nope")
    with pytest.raises(UnknownProjectionError):
        await callosum.projections.pause("nope")


async def test_every_answer_can_be_had_as_of_an_earlier_position(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("as of", attributes={"reward": 1.0})
    receipts = [await callosum.send(dialogue, **OUT, payload="again") for _ in range(4)]
    await callosum.close_dialogue(dialogue, "done")
    for messages, receipt in enumerate(receipts, 1):
        metrics = await callosum.consciousness_metrics(dialogue, as_of=receipt.position)
        assert (metrics.position, metrics.total_messages) == (receipt.position, messages)
        assert (await callosum.consciousness_metrics(as_of=receipt.position)).total_messages == messages
        assert (await callosum.findings(as_of=receipt.position)).total == (messages > 1)
        assert (await callosum.dialogue(dialogue, as_of=receipt.position)).status == "open"
        [listed] = (await callosum.dialogues(as_of=receipt.position)).dialogues
        assert listed.total_messages == messages
    [group] = (await callosum.grouped("reward", "live", as_of=1)).groups  # type: ignore[arg-type]  # by name
    assert (group.value, group.mean_total_messages) == (1.0, 0.0)
    assert (await callosum.dialogues(as_of=0)).total == 0
    with pytest.raises(DialogueNotFoundError):
        await callosum.dialogue(dialogue, as_of=0)


async def test_every_answer_can_be_had_as_of_a_time(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("as of a time")
    at: list[datetime] = []
    for number in range(3):
        await callosum.send(dialogue, **OUT, payload=number)
        at.append(datetime.now(UTC) + timedelta(milliseconds=1))
        await asyncio.sleep(0.005)
    for messages, moment in enumerate(at, 1):
        assert (await callosum.consciousness_metrics(dialogue, as_of=moment)).total_messages == messages
    assert (await callosum.consciousness_metrics(as_of=at[0] - timedelta(hours=1))).total_messages == 0


@pytest.mark.parametrize("moment", [-1, 3, datetime(2026, 1, 1)])  # noqa: DTZ001  # refused
async def test_a_moment_that_cannot_be_is_refused(callosum: CorpusCallosum, moment: int | datetime) -> None:
    await callosum.open_dialogue("refused")
    with pytest.raises(InvalidCommandError):
        await callosum.consciousness_metrics(as_of=moment)


@pytest.fixture
async def poisoned(tmp_path: Path) -> str:
    """A log whose second of three dialogues has an event that cannot be read, at position 5."""
    url = f"sqlite:///{tmp_path}/callosum.db"
    async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
        dialogues = [await callosum.open_dialogue(name) for name in "abc"]
        for dialogue in dialogues:
            await callosum.send(dialogue, **OUT)
        await callosum.send(dialogues[1], **OUT)
    return url


def alter(url: str, state: bytes) -> bytes:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        [before] = connection.execute("SELECT state FROM stored_events WHERE position = 5").fetchone()
        connection.execute("UPDATE stored_events SET state = ? WHERE position = 5", [state])
    connection.close()
    return bytes(before)


async def test_parked_events_are_listed_tried_again_and_discarded(poisoned: str) -> None:
    before = alter(poisoned, b"\xc1")
    async with CorpusCallosum.open(poisoned) as callosum:
        assert (await callosum.consciousness_metrics()).total_messages == 2
        assert [(event.position, event.behind) for event in await callosum.projections.parked(MODEL)] == [
            (5, None),
            (7, 5),
        ]
        [status] = await callosum.projections.status(MODEL)
        assert (status.state, status.parked, status.discarded) == ("current", 2, 0)
        with pytest.raises(InvalidCommandError):
            await callosum.projections.discard(MODEL, 4)
        assert await callosum.projections.discard(MODEL, 5) == 2
        [rebuilt] = await callosum.projections.rebuild(MODEL)
        assert (rebuilt.verdict, rebuilt.parked) == (Verdict.IDENTICAL, 2)
        [status] = await callosum.projections.status(MODEL)
        assert (status.parked, status.discarded) == (0, 2)
        assert await callosum.projections.retry(MODEL) == []
        alter(poisoned, before)
        assert (await callosum.projections.rebuild(MODEL))[0].verdict is Verdict.DIFFERENT
        assert (await callosum.consciousness_metrics()).total_messages == 4


async def test_retry_after_the_fault_was_mended_gives_what_a_full_rebuild_gives(poisoned: str) -> None:
    before = alter(poisoned, b"\xc1")
    async with CorpusCallosum.open(poisoned) as callosum:
        await callosum.consciousness_metrics()
        alter(poisoned, before)
        [retried] = await callosum.projections.retry(MODEL)
        assert retried.parked == 0
        [verified] = await callosum.projections.verify(MODEL)
        assert (verified.verdict, verified.digest) == (Verdict.IDENTICAL, retried.digest)
        assert (await callosum.consciousness_metrics()).total_messages == 4


async def test_retry_lets_a_projection_go_on_that_stood_before_an_event(poisoned: str) -> None:
    before = alter(poisoned, b"\xc1")
    settings = Settings(url=poisoned, on_error={MODEL: OnError.FAIL})
    async with CorpusCallosum.open(settings=settings) as callosum:
        runner = callosum._open.read_side.runner(MODEL)
        assert runner is not None
        await until(lambda: runner.error is not None)
        [status] = await callosum.projections.status(MODEL)
        assert (status.state, status.error_position, status.attempts) == (ProjectionState.FAILED, 5, 1)
        alter(poisoned, before)
        assert await callosum.projections.retry(MODEL) == []
        await until(lambda: runner.checkpoint.position == 7)
        assert (await callosum.consciousness_metrics()).total_messages == 4
        [status] = await callosum.projections.status(MODEL)
        assert (status.state, status.error) == (ProjectionState.CURRENT, None)
