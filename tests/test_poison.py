"""Events that cannot be folded: what raises, hangs or cannot be read, first, in the middle, last, by policy."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, Text, select

from domain.dialogue import Dialogue
from projections.errors import ProjectionFailedError
from projections.fold import Projection, Recorded, version_of
from projections.folding import OnError
from projections.model import Parked, Stored, read_parked, read_trouble
from projections.models import ReadModels
from projections.rebuild import rebuild
from projections.runner import Watch
from projections.tables import Rows, model_table
from tests.memory_log import MemoryLog, ask, closed, conveyed, dump, opened, reading, runner_of, running

A, B, C = (UUID(int=number) for number in (1, 2, 3))

closings = model_table("closings", Column("dialogue", Text, primary_key=True), Column("position", Integer))
subjects = model_table("subjects", Column("dialogue", Text, primary_key=True), Column("events", Integer))


class Counted(Projection):
    """Events by dialogue; raises or hangs at positions that are poison to it."""

    NAME = "counted"
    TABLES = (subjects,)
    version = "1"
    poison: ClassVar[frozenset[int]] = frozenset()
    hanging: ClassVar[frozenset[int]] = frozenset()

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        touched = {str(event.dialogue) for event in events}
        counts = {row["dialogue"]: row["events"] for row in stored.rows(subjects, dialogue=touched)}
        for event in events:
            if event.position in self.poison:
                raise ValueError("this one")
            while event.position in self.hanging:
                time.sleep(0.01)
            counts[str(event.dialogue)] = counts.get(str(event.dialogue), 0) + 1
        rows = Rows()
        rows.put(subjects, [{"dialogue": name, "events": count} for name, count in counts.items()])
        return rows


class Healthy(Counted):
    NAME = "healthy"
    poison = hanging = frozenset()


@pytest.fixture
def models(tmp_path: Path) -> Iterator[ReadModels]:
    models = ReadModels(tmp_path / "views.db")
    yield models
    models.close()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def poison(*positions: int, hangs: bool = False) -> None:
        monkeypatch.setattr(Counted, "hanging" if hangs else "poison", frozenset(positions))

    return poison


def written() -> MemoryLog:
    """Nine events of three dialogues in turns; A's are at 1, 4, 7."""
    log = MemoryLog()
    for dialogue in (A, B, C):
        log.append(opened(dialogue))
    for sequence in (1, 2):
        for dialogue in (A, B, C):
            log.append(conveyed(dialogue, sequence, ask()))
    return log


def left_out(models: ReadModels) -> list[tuple[int, int | None]]:
    with reading(models, Counted()) as connection:
        return [(event.position, event.behind) for event in read_parked(connection)]


def parked(models: ReadModels) -> list[Parked]:
    with reading(models, Counted()) as connection:
        return read_parked(connection)


def counts(models: ReadModels) -> dict[str, int]:
    with reading(models, Counted()) as connection:
        return {dialogue[-1]: events for dialogue, events, _ in connection.execute(select(subjects))}


@pytest.mark.parametrize("hangs", [False, True], ids=["raises", "hangs"])
@pytest.mark.parametrize(
    ("position", "behind", "expected"),
    [
        (1, [(1, None), (4, 1), (7, 1)], {"2": 3, "3": 3}),
        (5, [(5, None), (8, 5)], {"1": 3, "2": 1, "3": 3}),
        (9, [(9, None)], {"1": 3, "2": 3, "3": 2}),
    ],
    ids=["first", "middle", "last"],
)
def test_parked_event_stops_its_dialogue_and_no_other(
    models: ReadModels,
    poisoned: Callable[..., None],
    *,
    hangs: bool,
    position: int,
    behind: list[tuple[int, int | None]],
    expected: dict[str, int],
) -> None:
    poisoned(position, hangs=hangs)
    log = written()
    runner = runner_of(log, models, Counted, OnError.PARK)
    watch = Watch([runner], 0.2)
    with running(runner, log):
        runner.wait_for(9, 20)
        assert left_out(models) == behind
        assert counts(models) == expected
        assert ("TimeoutError" if hangs else "ValueError: this one") in parked(models)[0].error
    watch.stop()


@pytest.mark.parametrize("hangs", [False, True], ids=["raises", "hangs"])
def test_other_projections_stay_current(models: ReadModels, poisoned: Callable[..., None], hangs: bool) -> None:
    poisoned(1, hangs=hangs)
    log = written()
    stuck, healthy = (runner_of(log, models, make, OnError.FAIL) for make in (Counted, Healthy))
    watch = Watch([stuck], 0.5)
    with running(healthy, log), running(stuck, log):
        for _ in range(5):
            healthy.wait_for(log.append(conveyed(C, 3, ask())), 5)
    watch.stop()
    assert stuck.checkpoint.position == 0


@pytest.mark.parametrize("position", [1, 5, 9])
def test_failed_projection_stands_until_it_is_resumed(
    models: ReadModels, poisoned: Callable[..., None], position: int
) -> None:
    poisoned(position)
    log = written()
    runner = runner_of(log, models, Counted, OnError.FAIL)
    with running(runner, log):
        with pytest.raises(ProjectionFailedError, match=f"before position {position}"):
            runner.wait_for(9, 20)
        with reading(models, Counted()) as connection:
            trouble = read_trouble(connection)
        assert trouble is not None
        assert (trouble.position, trouble.failed, trouble.attempts) == (position, True, 1)
        poisoned()
        assert runner.checkpoint.position == position - 1
        models.order("counted", paused=False)
        until(lambda: runner.error is None)
        runner.wait_for(9, 20)
        with reading(models, Counted()) as connection:
            assert read_trouble(connection) is None
    assert counts(models) == {"1": 3, "2": 3, "3": 3}


def test_event_is_tried_again_by_itself(models: ReadModels, poisoned: Callable[..., None]) -> None:
    poisoned(5)
    log = written()
    runner = runner_of(log, models, Counted, OnError.RETRY)
    with running(runner, log):
        until(lambda: runner.error is not None)
        until(lambda: trouble_attempts(models) >= 2)
        with pytest.raises(ProjectionFailedError, match="before position 5"):
            runner.wait_for(9, 20)
        poisoned()
        until(lambda: runner.checkpoint.position == 9)
    assert counts(models) == {"1": 3, "2": 3, "3": 3}


@pytest.mark.parametrize("position", [1, 5, 9])
def test_event_that_can_be_read_again_is_folded_when_it_is_tried_again(models: ReadModels, position: int) -> None:
    log = written()
    log.unreadable = position
    runner = runner_of(log, models, Counted, OnError.FAIL)
    with running(runner, log):
        with pytest.raises(ProjectionFailedError, match=f"before position {position}"):
            runner.wait_for(9, 20)
        log.unreadable = None
        models.order("counted", paused=False)
        until(lambda: runner.checkpoint.position == 9)
    assert counts(models) == {"1": 3, "2": 3, "3": 3}


def trouble_attempts(models: ReadModels) -> int:
    with reading(models, Counted()) as connection:
        trouble = read_trouble(connection)
        return trouble.attempts if trouble else 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("position", [1, 5, 9])
def test_event_that_cannot_be_read_is_parked_with_what_follows_in_its_dialogue(
    models: ReadModels, position: int
) -> None:
    log = written()
    log.unreadable = position
    runner = runner_of(log, models, Counted, OnError.PARK)
    with running(runner, log):
        runner.wait_for(9, 20)
    assert [place for place, _ in left_out(models)] == list(range(position, 10, 3))
    assert parked(models)[0].error == "no such topic"


def test_mended_projection_rebuilds_to_what_a_fold_of_everything_gives(
    models: ReadModels, poisoned: Callable[..., None]
) -> None:
    poisoned(4, 8)
    log = written()
    with running(runner_of(log, models, Counted, OnError.PARK), log) as runner:
        runner.wait_for(9, 20)
        assert left_out(models) == [(4, None), (7, 4), (8, None)]
        poisoned()
        [rebuilt] = rebuild(log, models, [Counted()])
        assert rebuilt.verdict == "different"
        assert rebuilt.difference is not None
        assert (rebuilt.difference.table, rebuilt.difference.column) == ("subjects", "events")
        assert (rebuilt.difference.served, rebuilt.difference.rebuilt) == (1, 3)
        assert left_out(models) == []
        fresh = ReadModels()
        with running(runner_of(log, fresh, Counted), log) as other:
            other.wait_for(9, 20)
        log.interrupted = False
        assert dump(models, Counted()) == dump(fresh, Counted())
        fresh.close()


def test_fold_that_waits_for_its_database_does_not_hang(models: ReadModels) -> None:
    log = written()
    runner = runner_of(log, models, Counted, OnError.PARK)
    watch = Watch([runner], 0.1)
    with running(runner, log):
        runner.wait_for(9, 20)
        [generation] = models.generations("counted")
        with models.model(generation, Counted()).writing():
            head = log.append(conveyed(A, 3, ask()))
            with pytest.raises(TimeoutError):
                runner.wait_for(head, 0.5)
        runner.wait_for(head, 20)
    watch.stop()
    assert left_out(models) == []
    assert counts(models) == {"1": 4, "2": 3, "3": 3}


def test_event_stays_parked_behind_after_a_restart(models: ReadModels, poisoned: Callable[..., None]) -> None:
    poisoned(1)
    log = written()
    with running(runner_of(log, models, Counted, OnError.PARK), log) as runner:
        runner.wait_for(9, 20)
    poisoned()
    with running(runner_of(log, models, Counted, OnError.PARK), log) as runner:
        runner.wait_for(log.append(closed(A), closed(B)), 20)
    assert left_out(models) == [(1, None), (4, 1), (7, 1), (10, 1)]
    assert counts(models) == {"2": 4, "3": 3}


def test_version_of_a_projection_changes_with_its_tables() -> None:
    class Wider(Counted):
        TABLES = (subjects, closings)  # type: ignore[assignment]  # another length

    assert version_of(Wider()) != version_of(Counted())
    assert isinstance(opened(A), Dialogue.Event)
