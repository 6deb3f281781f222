"""Measures through the service: as current as they are asked to be, and honest when they cannot be."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from corpus_callosum import (
    CallosumClosedError,
    CorpusCallosum,
    DialogueNotFoundError,
    InvalidCommandError,
    Kind,
    ProjectionError,
    ProjectionFailedError,
    ReadModelsBehindError,
    Settings,
    Tract,
    ViewsFileError,
)
from projections.folding import OnError
from tests.scenario import message

OUT: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}
BACK: dict[str, Any] = {"source": Tract.EXTERNAL, "target": Tract.INTERNAL, "sender": "pytest"}


@pytest.fixture
def callosum(projecting: CorpusCallosum) -> CorpusCallosum:
    return projecting


async def test_metrics_include_what_was_stored_when_they_were_asked_for(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("current")
    for number in range(20):
        receipt = await callosum.send(dialogue, **OUT, payload=number)
        await callosum.send(dialogue, **BACK, payload=number, in_reply_to=receipt.sequence)
        assert (await callosum.consciousness_metrics(dialogue)).total_messages == 2 * (number + 1)
    metrics = await callosum.consciousness_metrics(dialogue)
    assert (metrics.internal_to_external, metrics.external_to_internal) == (20, 20)
    assert metrics.dialogue_balance_ratio == 1.0
    assert metrics.response_time.external.count == 20
    assert (await callosum.consciousness_metrics()).total_messages == 40
    assert (await callosum.consciousness_metrics(Kind.RECORDED)).total_messages == 0


async def test_metrics_include_the_position_that_is_named(callosum: CorpusCallosum) -> None:
    dialogue = await callosum.open_dialogue("named")
    receipts = await callosum.send_many(dialogue, [message(n) for n in range(10)])
    metrics = await callosum.consciousness_metrics(dialogue, at_least=receipts[-1].position)
    assert (metrics.position, metrics.total_messages) == (2, 10)


@pytest.mark.parametrize("at_least", [-1, 3])
async def test_a_position_beyond_the_log_is_refused(callosum: CorpusCallosum, at_least: int) -> None:
    dialogue = await callosum.open_dialogue("beyond")
    with pytest.raises(InvalidCommandError):
        await callosum.consciousness_metrics(dialogue, at_least=at_least)


async def test_fewer_than_no_episodes_are_refused(callosum: CorpusCallosum) -> None:
    assert (await callosum.consciousness_metrics(episodes=0)).episodes == []
    with pytest.raises(InvalidCommandError, match="episodes"):
        await callosum.consciousness_metrics(episodes=-1)


async def test_a_new_dialogue_is_known_even_to_whoever_does_not_care_how_current(callosum: CorpusCallosum) -> None:
    for _ in range(20):
        dialogue = await callosum.open_dialogue("young")
        assert (await callosum.consciousness_metrics(dialogue, at_least=0)).total_messages == 0
    with pytest.raises(DialogueNotFoundError):
        await callosum.consciousness_metrics(uuid4(), at_least=0)


async def test_an_unknown_dialogue_is_an_error(callosum: CorpusCallosum) -> None:
    with pytest.raises(DialogueNotFoundError):
        await callosum.consciousness_metrics(uuid4())
    with pytest.raises(InvalidCommandError):
        await callosum.consciousness_metrics("live")  # type: ignore[arg-type]  # on purpose


async def test_dialogues_and_findings_are_listed(callosum: CorpusCallosum) -> None:
    quiet = await callosum.open_dialogue("quiet", attributes={"reward": 1.0})
    loud = await callosum.open_dialogue("loud", attributes={"reward": 0.0})
    await callosum.send_many(loud, [message("again")] * 3)
    await callosum.close_dialogue(quiet, "nothing to say")
    listed = await callosum.dialogues(kind=Kind.LIVE)
    assert [(row.dialogue, row.status, row.findings) for row in listed.dialogues] == [
        (quiet, "closed", 0),
        (loud, "open", 1),
    ]
    assert (await callosum.dialogue(loud)).awaiting is Tract.EXTERNAL
    [finding] = (await callosum.findings(pattern="repetition")).findings
    assert (finding.dialogue, finding.pattern, finding.count) == (loud, "echo_loop", 3)
    grouped = await callosum.grouped("reward", Kind.LIVE)
    assert [(group.value, group.dialogues) for group in grouped.groups] == [(0.0, 1), (1.0, 1)]


async def test_read_models_are_a_cache_that_may_be_deleted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callosum.db"
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("cache")
        await callosum.send_many(dialogue, [message(n) for n in range(200)])
        before = await callosum.consciousness_metrics(dialogue)
    views = tmp_path / "callosum.views.db"
    assert views.exists()
    views.unlink()
    async with CorpusCallosum.open(url) as callosum:
        assert await callosum.consciousness_metrics(dialogue) == before


async def test_another_processs_read_models_serve_one_that_does_not_project(lasting_url: str) -> None:
    reading = Settings(url=lasting_url, project=False)
    async with CorpusCallosum.open(lasting_url) as writing, CorpusCallosum.open(settings=reading) as callosum:
        dialogue = await writing.open_dialogue("shared")
        await writing.send_many(dialogue, [message(n) for n in range(10)])
        assert (await callosum.consciousness_metrics(dialogue)).total_messages == 10


async def test_an_event_that_cannot_be_read_stops_the_read_side_with_its_position(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callosum.db"
    async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
        dialogue = await callosum.open_dialogue("poison")
        for number in range(4):
            await callosum.send(dialogue, **OUT, payload=number)
    with sqlite3.connect(tmp_path / "callosum.db") as connection:
        connection.execute("UPDATE stored_events SET state = x'c1' WHERE position = 4")
    connection.close()
    strict = Settings(url=url, on_error={"consciousness": OnError.FAIL})
    async with CorpusCallosum.open(settings=strict) as callosum:
        with pytest.raises(ProjectionFailedError, match="position 4"):
            await callosum.consciousness_metrics(dialogue)
        assert (await callosum.consciousness_metrics(dialogue, at_least=3)).total_messages == 2
        other = await callosum.open_dialogue("the command side goes on")
        assert (await callosum.send(other, **OUT)).sequence == 1


async def test_a_views_file_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE precious (thing)")
    connection.close()
    before = other.read_bytes()
    settings = Settings(url=f"sqlite:///{tmp_path}/callosum.db", views=f"sqlite:///{other}")
    with pytest.raises(ViewsFileError, match="belongs to another program"):
        async with CorpusCallosum.open(settings=settings):
            pass
    assert other.read_bytes() == before


async def test_closing_ends_a_query_that_waits(lasting_url: str) -> None:
    settings = Settings(url=lasting_url, project=False)
    async with CorpusCallosum.open(settings=settings) as callosum:
        await callosum.open_dialogue("nobody folds it")
        waiting = asyncio.create_task(callosum.consciousness_metrics())
        await asyncio.sleep(0)
    with pytest.raises(CallosumClosedError):
        await asyncio.wait_for(waiting, 2)


async def test_the_read_models_of_a_deleted_log_are_never_answered_with(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callosum.db"
    for _ in range(5):
        async with CorpusCallosum.open(url) as callosum:
            await callosum.send_many(await callosum.open_dialogue("old"), [message(n) for n in range(5)])
            assert (await callosum.consciousness_metrics()).total_messages == 5
        (tmp_path / "callosum.db").unlink()
        async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
            with pytest.raises(ProjectionError, match="another log"):
                await callosum.consciousness_metrics()
        async with CorpusCallosum.open(url) as callosum:
            assert (await callosum.consciousness_metrics()).total_messages == 0
            assert (await callosum.consciousness_metrics(at_least=0)).total_messages == 0
        (tmp_path / "callosum.db").unlink()


async def test_nobody_folding_is_said_after_a_while(lasting_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.read_side._PATIENCE", 0.1)
    async with CorpusCallosum.open(settings=Settings(url=lasting_url, project=False)) as callosum:
        await callosum.open_dialogue("nobody folds it")
        with pytest.raises(ReadModelsBehindError) as caught:
            await callosum.consciousness_metrics()
    assert (caught.value.position, caught.value.wanted) == (0, 1)


async def test_a_locked_database_makes_the_read_side_wait_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.database._LOCK_TIMEOUT", 0.05)
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/callosum.db") as callosum:
        dialogue = await callosum.open_dialogue("locked")
        await callosum.consciousness_metrics(dialogue)
        [file] = tmp_path.glob("callosum.views.consciousness.*.db")
        lock = sqlite3.connect(file, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        await callosum.send(dialogue, **OUT)
        waiting = asyncio.create_task(callosum.consciousness_metrics(dialogue))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        lock.execute("COMMIT")
        lock.close()
        assert (await asyncio.wait_for(waiting, 5)).total_messages == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.dialogues(kind="dead"),
        lambda c: c.dialogues(sort="beauty"),
        lambda c: c.dialogues(status="ajar"),
        lambda c: c.findings(kind="dead"),
        lambda c: c.findings(dialogue="x"),
        lambda c: c.grouped("reward", "dead"),
    ],
)
async def test_what_names_no_member_is_refused(callosum: CorpusCallosum, ask: Any) -> None:
    with pytest.raises(InvalidCommandError):
        await ask(callosum)


async def test_members_may_be_given_by_name(callosum: CorpusCallosum) -> None:
    await callosum.open_dialogue("named")
    listed = await callosum.dialogues(kind="live", status="open", sort="findings")  # type: ignore[arg-type]  # on purpose
    assert listed.total == 1


async def test_many_queries_at_close_leave_nothing_open(tmp_path: Path) -> None:
    for number in range(3):
        async with CorpusCallosum.open(f"sqlite:///{tmp_path}/{number}.db") as callosum:
            await callosum.consciousness_metrics()
            queries = [asyncio.create_task(callosum.consciousness_metrics(at_least=0)) for _ in range(40)]
            await asyncio.sleep(0)
        await asyncio.gather(*queries, return_exceptions=True)
    opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [file for file in opened if tmp_path in file.parents]
