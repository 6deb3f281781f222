"""verify names the first position that is not what was written."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError

from corpus_callosum import (
    CorpusCallosum,
    Problem,
    Settings,
    Tract,
    UnknownTopicError,
    UnreadableEventError,
    Verification,
)
from tests.scenario import message

USUAL: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A log of 6 events: two dialogues, 5 messages."""
    path = tmp_path / "callosum.db"
    async with CorpusCallosum.open(f"sqlite:///{path}") as callosum:
        one, two = await callosum.open_dialogue("one"), await callosum.open_dialogue("two")
        await callosum.send_many(one, [message("a"), message("b")])
        await callosum.send(two, **USUAL, payload="c" * 100)
        await callosum.send_many(one, [message("d"), message("e")])
        await callosum.close_dialogue(two, "done")
    return path


async def verified(path: Path) -> Verification:
    async with CorpusCallosum.open(settings=Settings(url=f"sqlite:///{path}", project=False)) as callosum:
        return await callosum.verify()


def tamper(path: Path, statement: str, *parameters: Any) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, parameters).rowcount >= 1
    connection.close()


async def test_a_log_as_it_was_written_is_clean(file: Path) -> None:
    seen = await verified(file)
    assert (seen.events, seen.messages, seen.dialogues, seen.problem) == (6, 5, 2, None)
    assert len(seen.chain) == 40
    assert await verified(file) == seen


async def test_an_empty_log_is_clean(tmp_path: Path) -> None:
    seen = await verified(tmp_path / "new.db")
    assert (seen.events, seen.problem) == (0, None)


@pytest.mark.parametrize("position", range(1, 7))
async def test_a_state_altered_by_one_bit_is_found(file: Path, position: int) -> None:
    connection = sqlite3.connect(file)
    [state] = connection.execute("SELECT state FROM stored_events WHERE position = ?", (position,)).fetchone()
    connection.close()
    altered = bytearray(state)
    altered[len(altered) // 2] ^= 1
    tamper(file, "UPDATE stored_events SET state = ? WHERE position = ?", bytes(altered), position)
    seen = await verified(file)
    assert seen.events == position - 1
    assert seen.problem == Problem(
        position, "does not match the chain: it, or an entry before it, is not what was written"
    )


@pytest.mark.parametrize(
    ("statement", "position", "says"),
    [
        ("UPDATE stored_events SET chain = zeroblob(20) WHERE position = 4", 4, "does not match the chain"),
        ("UPDATE stored_events SET at = at + 1 WHERE position = 3", 3, "does not match the chain"),
        ("UPDATE stored_events SET at = at - 60000 WHERE position = 3", 3, "has a time before"),
        ("DELETE FROM stored_events WHERE position = 2", 2, "is missing"),
        ("UPDATE stored_events SET topic = 'x' WHERE position = 5", 5, "does not match the chain"),
        ("UPDATE stored_events SET originator_version = 9 WHERE position = 5", 5, "does not match the chain"),
        ("UPDATE stored_events SET position = 99 WHERE position = 6", 6, "is missing"),
    ],
)
async def test_whatever_else_was_altered_is_found(file: Path, statement: str, position: int, says: str) -> None:
    tamper(file, statement)
    problem = (await verified(file)).problem
    assert problem is not None
    assert (problem.position, says in problem.reason) == (position, True)


@pytest.mark.parametrize(
    "damage",
    [
        "originator_id = 'zz'",
        "originator_id = NULL",
        "state = NULL",
        "state = 'text'",
        "at = NULL",
        "at = 'x'",
        "topic = NULL",
        "topic = x'00'",
        "chain = NULL",
        "originator_version = 'x'",
    ],
)
async def test_a_value_of_another_kind_is_found_where_it_is(file: Path, damage: str) -> None:
    tamper(file, f"UPDATE stored_events SET {damage} WHERE position = 3")
    problem = (await verified(file)).problem
    assert problem is not None
    assert problem.position == 3


async def test_a_damaged_page_is_found_by_the_stores_own_check(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'stored_events'").fetchone()
    [size] = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = bytearray(file.read_bytes())
    data[(page - 1) * size] ^= 8
    file.write_bytes(bytes(data))
    problem = (await verified(file)).problem
    assert problem is not None
    assert (problem.position, "own check" in problem.reason) == (0, True)


async def test_reading_an_unknown_topic_names_its_position(file: Path) -> None:
    tamper(file, "UPDATE stored_events SET topic = 'os:system' WHERE position = 4")
    async with CorpusCallosum.open(f"sqlite:///{file}") as callosum:
        read = []
        with pytest.raises(UnknownTopicError, match="position 4"):
            async for event in callosum.replay():
                read.append(event.position)  # noqa: PERF401  # what came before the error counts
    assert read == [1, 2, 3]


async def test_reading_a_broken_state_names_its_position(file: Path) -> None:
    tamper(file, "UPDATE stored_events SET state = x'c1' WHERE position = 3")
    async with CorpusCallosum.open(f"sqlite:///{file}") as callosum:
        with pytest.raises(UnreadableEventError, match="position 3"):
            _ = [event async for event in callosum.replay()]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear reader, " * 100)
    with pytest.raises(Exception, match="not a database") as caught:
        await verified(path)
    assert "letter.txt" in str(caught.value)
    assert path.read_bytes() == b"Dear reader, " * 100


async def test_a_directory_that_does_not_exist_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="unable to open"):
        await verified(tmp_path / "nowhere" / "callosum.db")
