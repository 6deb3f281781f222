"""A read model as it stood at any earlier position."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from domain.dialogue import Kind
from projections import model as model_module
from projections.as_of import as_of
from projections.errors import ReadModelTakenError
from projections.feed import Feed
from projections.findings import Judged
from projections.fold import version_of
from projections.folding import Folding, OnError
from projections.models import ReadModels
from projections.queries import Queries
from tests.examples import few
from tests.memory_log import MemoryLog, ask, conveyed, folded_up_to, opened, rows_of, runner_of, running
from tests.test_projections import Happening, histories, small, written

A = UUID(int=1)


@contextmanager
def earlier(models: ReadModels, log: MemoryLog, position: int) -> Iterator[Connection]:
    [generation] = models.generations("consciousness")
    with as_of(models.model(generation, small()), small(), log, position) as connection:
        yield connection


@pytest.mark.parametrize(
    "boundary_every",
    [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(10_000, marks=pytest.mark.slow)],
)
@few
@given(history=histories, page=st.integers(1, 4), positions=st.sets(st.integers(1, 12), max_size=3))
def test_every_earlier_moment_equals_a_fold_up_to_there(
    boundary_every: int, history: list[Happening], page: int, positions: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model_module, "BOUNDARY_EVERY", boundary_every)
        log, models = MemoryLog(page=page), ReadModels()
        head = written(history, log)
        with running(runner_of(log, models, small), log) as runner:
            runner.wait_for(head, 20)
        for position in {0, *positions, head}:
            if position <= head:
                with earlier(models, log, position) as connection:
                    assert rows_of(connection, small()) == folded_up_to(log, position, small())
        models.close()


@few
@given(pages=st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_no_moment_is_further_from_a_boundary_than_so_many_messages(pages: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(model_module, "BOUNDARY_EVERY", 6)
        log, models = MemoryLog(), ReadModels()
        log.append(*[opened(UUID(int=number)) for number in range(sum(pages))])
        model = models.model(models.claim("consciousness", version_of(small())), small())
        folding = Folding(Feed(log), model, small(), OnError.FAIL)
        folding.resume()
        for events in pages:
            folding.step(folding.checkpoint.position + events)
            assert folding.checkpoint.position - folding.checkpoint.boundary <= 6
        models.close()


@pytest.mark.parametrize("query", ["SELECT * FROM activities", "SELECT * FROM activities WHERE dialogue IN ('a')"])
def test_rows_of_other_moments_are_passed_over_in_an_index(query: str) -> None:
    log, models = MemoryLog(), ReadModels()
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(opened(A), conveyed(A, 1, ask())), 20)
    with earlier(models, log, 1) as connection:
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    of_earlier = [step for step in steps if "activities_earlier" in step]
    assert len(of_earlier) == 1
    assert "until>?" in of_earlier[0] or "since<?" in of_earlier[0]
    models.close()


def test_earlier_moment_leaves_the_read_model_as_it_is(tmp_path: Path) -> None:
    log, models = MemoryLog(), ReadModels(tmp_path / "views.db")
    head = log.append(opened(A), *[conveyed(A, number, ask()) for number in range(1, 6)])
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(head, 20)
    for position, messages in ((1, 0), (3, 2), (6, 5), (2, 1)):
        with earlier(models, log, position) as connection:
            assert Queries(connection, Judged(position, 0)).consciousness_metrics(A).total_messages == messages
            assert (
                Queries(connection, Judged(position, 0)).consciousness_metrics(Kind.LIVE).total_messages
                == messages
            )
    [generation] = models.generations("consciousness")
    with models.model(generation, small()).reading() as connection:
        assert Queries(connection, Judged(head, 0)).consciousness_metrics(A).total_messages == 5
    models.close()


def test_earlier_moment_of_a_log_that_has_lost_it_is_an_error() -> None:
    log, models = MemoryLog(), ReadModels()
    head = log.append(opened(A), *[conveyed(A, number, ask()) for number in range(1, 6)])
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(head, 20)
    log.lose(3)
    with (
        pytest.raises(ReadModelTakenError, match="position 5, which the log does not have"),
        earlier(models, log, 5),
    ):
        pass
    models.close()


def test_parked_events_are_left_out_of_earlier_moments_too() -> None:
    log, models = MemoryLog(unreadable=3), ReadModels()
    head = log.append(opened(A), opened(UUID(int=2)), conveyed(A, 1, ask()), conveyed(A, 2, ask()))
    with running(runner_of(log, models, small, OnError.PARK), log) as runner:
        runner.wait_for(head, 20)
    with earlier(models, log, head) as connection:
        assert Queries(connection, Judged(head, 0)).consciousness_metrics(A).total_messages == 0
    models.close()
