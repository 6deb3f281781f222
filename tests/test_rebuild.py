"""Rebuilding a read model beside the one that serves: compared, swapped, resumed, rolled back."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.consciousness import Consciousness
from projections.errors import NoEarlierGenerationError, RebuildUnderWayError
from projections.feed import Feed
from projections.fold import Recorded, Unread, version_of
from projections.folding import Folding, OnError
from projections.model import CheckpointMovedError, Stored
from projections.models import Generation, ReadModels, State
from projections.rebuild import Verdict, rebuild, rollback
from projections.tables import Rows
from tests.examples import few
from tests.memory_log import MemoryLog, answer, ask, conveyed, dump, opened, queries, runner_of, running
from tests.test_projections import Happening, folded, histories, small, written

A, B = UUID(int=1), UUID(int=2)


@pytest.fixture(params=["file", "memory"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModels]:
    models = ReadModels(tmp_path / "views.db" if request.param == "file" else None)
    yield models
    models.close()


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog(page=3)
    log.append(opened(A), opened(B))
    for number in range(1, 20, 2):
        log.append(conveyed(A, number, ask(number), answer(number + 1)), conveyed(B, number, ask(), ask()))
    return log


@few
@given(histories, st.integers(1, 5))
def test_rebuilt_read_model_equals_the_live_one_of_any_history(history: list[Happening], page: int) -> None:
    log, models = MemoryLog(page=page), ReadModels()
    head = written(history, log)
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(head, 20)
    [rebuilt] = rebuild(log, models, [small()])
    assert (rebuilt.verdict, rebuilt.difference, rebuilt.position) == (Verdict.IDENTICAL, None, head)
    assert dump(models, small()) == folded(log, head)
    models.close()


def test_rebuilt_one_serves_and_the_former_is_kept(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
        [first] = rebuild(log, models, [small()])
        assert states(models) == {first.generation: State.SERVING, 1: State.PREVIOUS}
        runner.wait_for(log.append(conveyed(A, 21, ask())), 20)
        [second] = rebuild(log, models, [small()])
        assert states(models) == {second.generation: State.SERVING, first.generation: State.PREVIOUS}
        assert second.verdict is Verdict.IDENTICAL
        runner.wait_for(log.append(conveyed(A, 22, ask())), 20)
    assert dump(models, small()) == folded(log, 24)


def states(models: ReadModels) -> dict[int, State]:
    return {generation.id: generation.state for generation in models.generations("consciousness")}


def test_first_row_that_differs_is_named_with_both_values(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
    [generation] = models.generations("consciousness")
    with models.model(generation, small()).writing() as connection:
        connection.exec_driver_sql("UPDATE scopes SET total_messages = 7 WHERE scope = 'live'")
    [rebuilt] = rebuild(log, models, [small()], swap=False)
    difference = rebuilt.difference
    assert rebuilt.verdict is Verdict.DIFFERENT
    assert difference is not None
    assert (difference.table, difference.key, difference.column) == ("scopes", {"scope": "live"}, "total_messages")
    assert (difference.served, difference.rebuilt) == (7, 40)
    assert states(models) == {1: State.SERVING}
    [mended] = rebuild(log, models, [small()])
    assert mended.verdict is Verdict.DIFFERENT
    assert dump(models, small()) == folded(log, 22)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM episodes", "INSERT INTO message_times VALUES ('x', 1, x'', 0)"]
)
def test_row_that_only_one_of_them_has_is_a_difference(models: ReadModels, log: MemoryLog, statement: str) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
    [generation] = models.generations("consciousness")
    with models.model(generation, small()).writing() as connection:
        connection.exec_driver_sql(statement)
    [rebuilt] = rebuild(log, models, [small()])
    assert rebuilt.difference is not None
    assert (rebuilt.difference.column, rebuilt.difference.served is None) == (None, "DELETE" in statement)


def test_rollback_answers_from_the_former_one_as_current_as_before(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
        [rebuilt] = rebuild(log, models, [small()])
        runner.wait_for(log.append(conveyed(A, 21, ask())), 20)
        back = rollback(log, models, small())
        assert back.id == 1
        assert states(models) == {1: State.SERVING, rebuilt.generation: State.PREVIOUS}
        with queries(models, small()) as asked:
            assert asked.consciousness_metrics(A).position == 23
        runner.wait_for(log.append(conveyed(A, 22, ask())), 20)
    assert dump(models, small()) == folded(log, 24)


def retired(models: ReadModels, log: MemoryLog) -> tuple[Generation, Folding]:
    """A read model that served until a rebuild, and who has not heard of that."""
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
    [former] = models.generations("consciousness")
    late = Folding(Feed(log), models.model(former, small()), small(), OnError.FAIL)
    late.resume()
    rebuild(log, models, [small()])
    return former, late


def test_retired_read_model_is_folded_no_further(models: ReadModels, log: MemoryLog) -> None:
    _, late = retired(models, log)
    log.append(conveyed(A, 21, ask()))
    with pytest.raises(CheckpointMovedError):
        late.step()


def test_rollback_goes_on_beside_a_runner_that_still_folds_the_former_one(
    models: ReadModels, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, late = retired(models, log)
    head = log.append(conveyed(A, 21, ask()))
    read, steps = log.page, [late.step]

    def overtaken(**asked: Any) -> Sequence[Recorded | Unread]:
        found = read(**asked)
        if steps:
            assert steps.pop()()
        return found

    monkeypatch.setattr(log, "page", overtaken)
    assert rollback(log, models, small()).id == former.id
    assert not steps
    assert dump(models, small()) == folded(log, head)


def test_rebuilds_leave_what_serves_another_definition(models: ReadModels, log: MemoryLog) -> None:
    for make in (Consciousness, small):
        with running(runner_of(log, models, make), log) as runner:
            runner.wait_for(22, 20)
    for _ in range(3):
        rebuild(log, models, [small()])
    with queries(models, Consciousness()) as asked:
        assert asked.consciousness_metrics(A).position == 22
    versions = [generation.version for generation in models.generations("consciousness")]
    assert versions.count(version_of(Consciousness())) == 1
    assert versions.count(version_of(small())) == 2


def test_nothing_to_roll_back_to_is_an_error(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
    with pytest.raises(NoEarlierGenerationError):
        rollback(log, models, small())


def test_second_rebuild_is_refused_while_one_is_under_way(models: ReadModels, log: MemoryLog) -> None:
    with models.rebuilding("consciousness"):
        with pytest.raises(RebuildUnderWayError):
            rebuild(log, models, [small()])
        with pytest.raises(RebuildUnderWayError):
            rollback(log, models, small())
    assert rebuild(log, models, [small()])[0].verdict is Verdict.NOTHING_TO_COMPARE


def test_rebuild_goes_on_where_an_earlier_one_stopped(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(22, 20)
    begun = models.claim_rebuild("consciousness", version_of(small()))
    folding = Folding(Feed(log), models.model(begun, small()), small(), OnError.FAIL)
    folding.resume()
    folding.step()
    [rebuilt] = rebuild(log, models, [small()])
    assert (rebuilt.generation, rebuilt.resumed_at) == (begun.id, folding.checkpoint.position)
    assert rebuilt.resumed_at > 0
    assert rebuilt.verdict is Verdict.IDENTICAL


def test_rebuild_of_another_log_begins_anew(models: ReadModels, log: MemoryLog) -> None:
    begun = models.claim_rebuild("consciousness", version_of(small()))
    other = MemoryLog(epoch="second")
    other.append(opened(A))
    folding = Folding(Feed(other), models.model(begun, small()), small(), OnError.FAIL)
    folding.resume()
    folding.step()
    [rebuilt] = rebuild(log, models, [small()])
    assert (rebuilt.resumed_at, rebuilt.verdict) == (0, Verdict.NOTHING_TO_COMPARE)
    assert dump(models, small()) == folded(log, 22)


def test_readers_never_see_an_older_or_a_partial_state(tmp_path: Path) -> None:
    log = MemoryLog(page=2)
    log.append(opened(A))
    models, done = ReadModels(tmp_path / "views.db"), threading.Event()
    seen: list[tuple[int, int]] = []

    def read() -> None:
        while not done.is_set():
            with queries(models, small()) as asked:
                metrics = asked.consciousness_metrics(A)
                seen.append((metrics.position, metrics.total_messages))

    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(conveyed(A, 1, ask())), 20)
        reader = threading.Thread(target=read)
        reader.start()
        for number in range(2, 40):
            runner.wait_for(log.append(conveyed(A, number, ask(number))), 20)
            if number % 12 == 0:
                [rebuilt] = rebuild(log, models, [small()])
                assert rebuilt.verdict is Verdict.IDENTICAL
        done.set()
        reader.join()
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert all(position == messages + 1 for position, messages in seen)
    models.close()


class Slow(Consciousness):
    """Lets the live one fold on while the rebuilt one is behind."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__()
        self._log = log
        self._added = 0

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        if self._added < 5:
            self._added += 1
            self._log.append(conveyed(A, 20 + self._added, ask()))
        return super().fold(events, stored)


def test_rebuild_catches_up_with_a_log_that_grows(models: ReadModels, log: MemoryLog) -> None:
    with running(runner_of(log, models), log) as runner:
        runner.wait_for(22, 20)
        [rebuilt] = rebuild(log, models, [Slow(log)])
        assert rebuilt.verdict is Verdict.IDENTICAL
        runner.wait_for(27, 20)
    assert rebuild(log, models, [Consciousness()])[0].verdict is Verdict.IDENTICAL
