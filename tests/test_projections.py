"""The runner: every event folded once, in any batches, by any number of runners; and what makes it fold anew."""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from time import monotonic
from uuid import UUID

import pytest
from eventsourcing.persistence import OperationalError as LogOperationalError
from hypothesis import given
from hypothesis import strategies as st

from domain.dialogue import Dialogue, Kind
from domain.measures import EmergenceSettings
from domain.message import Message
from projections import runner as runner_module
from projections.consciousness import Consciousness
from projections.errors import (
    ProjectionFailedError,
    ProjectionStoppedError,
    ViewsFileError,
)
from projections.feed import MOST_MESSAGES, Feed
from projections.fold import Recorded, Unread, version_of, weight
from projections.folding import Folding, OnError
from projections.model import Checkpoint, CheckpointMovedError
from projections.models import ReadModels
from projections.runner import Runner
from projections.states import CHUNK
from tests.examples import few
from tests.memory_log import (
    NOON,
    MemoryLog,
    answer,
    ask,
    closed,
    conveyed,
    opened,
    queries,
    runner_of,
    running,
)
from tests.memory_log import dump as dump_of

A, B, C = (UUID(int=number) for number in (1, 2, 3))
SMALL = EmergenceSettings(window=4, minimum=0, threshold=0.5)

Happening = tuple[UUID, list[Message] | None]
"""Messages of a dialogue, or its end."""


def small() -> Consciousness:
    """With episodes within reach, and a cache that is always too small."""
    return Consciousness(SMALL, cached_dialogues=1)


def dump(models: ReadModels) -> dict[str, list[tuple[object, ...]]]:
    return dump_of(models, small())


def folded(log: MemoryLog, head: int) -> dict[str, list[tuple[object, ...]]]:
    """What a fold from scratch makes of the log."""
    models = ReadModels()
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(head, 20)
    rows = dump(models)
    models.close()
    return rows


messages = st.builds(
    lambda out, sent_at, payload: (ask if out else answer)(sent_at, payload),
    st.booleans(),
    st.none() | st.integers(0, 10**9),
    st.integers(0, 3),
)
histories = st.lists(
    st.tuples(st.sampled_from([A, B, C]), st.none() | st.lists(messages, min_size=1, max_size=9)), max_size=12
)


def written(history: list[Happening], log: MemoryLog) -> int:
    """Append it, as the domain would; returns the head."""
    said = {A: 0, B: 0, C: 0}
    head = log.append(opened(A), opened(B), opened(C, Kind.RECORDED, run=1))
    over = set()
    for dialogue, what in history:
        if dialogue in over:
            continue
        if what is None:
            over.add(dialogue)
            head = log.append(closed(dialogue))
        else:
            head = log.append(conveyed(dialogue, said[dialogue] + 1, *what))
            said[dialogue] += len(what)
    return head


@pytest.fixture(params=["file", "memory"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModels]:
    models = ReadModels(tmp_path / "views.db" if request.param == "file" else None)
    yield models
    models.close()


@few
@given(histories, st.integers(1, 5))
def test_fold_is_the_same_in_batches_of_any_size(history: list[Happening], page: int) -> None:
    whole, pages = MemoryLog(), MemoryLog(page=page)
    head = written(history, whole)
    assert written(history, pages) == head
    assert folded(pages, head) == folded(whole, head)


@few
@given(histories, st.integers(1, 5), st.integers(1, 30))
def test_fold_of_whole_runs_is_that_of_one_message_after_the_other(
    history: list[Happening], page: int, at_once: int
) -> None:
    single, whole = MemoryLog(page=1), MemoryLog(page=page)
    head = written(history, single)
    written(history, whole)
    expected = folded(single, head)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.runs.FEWEST", 1)
        patch.setattr("projections.runs.FEWEST_OF_RUN", 1)
        patch.setattr("projections.consciousness._AT_ONCE", at_once)
        assert folded(whole, head) == expected


def test_runner_that_follows_a_growing_log_agrees_with_a_fold_from_scratch(models: ReadModels) -> None:
    log = MemoryLog()
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(opened(A), opened(B)), 20)
        for number in range(1, 20):
            for dialogue, message in ((A, ask(number)), (B, answer(number))):
                runner.wait_for(log.append(conveyed(dialogue, number, message)), 20)
    assert dump(models) == folded(log, 40)


def test_runner_goes_on_where_another_one_stopped(models: ReadModels) -> None:
    log = MemoryLog()
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(opened(A), conveyed(A, 1, ask(1, "x"), answer(5))), 20)
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(conveyed(A, 3, ask(9, "x")), closed(A)), 20)
        assert runner.refolds == []
    assert dump(models) == folded(log, 4)


def test_two_runners_on_one_file_fold_every_event_once(tmp_path: Path) -> None:
    log = MemoryLog(page=2)
    files = [ReadModels(tmp_path / "views.db"), ReadModels(tmp_path / "views.db")]
    runners = [runner_of(log, models, small) for models in files]
    with running(runners[0], log), running(runners[1], log):
        head = log.append(opened(A), opened(B))
        for number in range(1, 150):
            head = log.append(conveyed(A, number, ask(number)), conveyed(B, number, answer(number)))
        for runner in runners:
            runner.wait_for(head, 30)
    assert dump(files[0]) == dump(files[1]) == folded(log, head)
    for models in files:
        models.close()


def test_event_whose_rows_cannot_be_written_leaves_the_read_model_as_it_was(models: ReadModels) -> None:
    log = MemoryLog()
    rows_after(models, log, log.append(opened(A), conveyed(A, 1, ask())))
    before = dump(models)
    [generation] = models.generations("consciousness")
    model = models.model(generation, small())
    with model.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full AFTER INSERT ON dialogues BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    head = log.append(conveyed(A, 2, answer()), opened(B))
    with pytest.raises(ProjectionFailedError, match="no room"):
        rows_after(models, log, head)
    assert dump(models)["dialogues"] == before["dialogues"]
    assert dump(models)["checkpoint"] == [(3, log.chain_at(3), "first")]
    with model.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert rows_after(models, log, head).refolds == []
    assert dump(models) == folded(log, head)


def rows_after(models: ReadModels, log: MemoryLog, head: int) -> Runner:
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(head, 20)
    return runner


def other_epoch() -> MemoryLog:
    log = MemoryLog(epoch="second")
    log.append(opened(A), conveyed(A, 1, ask()))
    return log


def other_history() -> MemoryLog:
    log = MemoryLog()
    log.append(opened(A), conveyed(A, 1, answer()))
    return log


def shorter() -> MemoryLog:
    return MemoryLog()


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        (other_epoch, "of another log (first; this is second)"),
        (other_history, "another history at position 2"),
        (shorter, "position 2, which the log does not have"),
    ],
)
def test_read_model_of_another_log_is_folded_anew_and_says_so(
    models: ReadModels, caplog: pytest.LogCaptureFixture, replaced: Callable[[], MemoryLog], reason: str
) -> None:
    log = MemoryLog()
    rows_after(models, log, log.append(opened(A), conveyed(A, 1, ask())))
    other = replaced()
    head = other.append(opened(B))
    with caplog.at_level(logging.WARNING, "callosum.projections"):
        runner = rows_after(models, other, head)
    assert [reason in refold for refold in runner.refolds] == [True]
    assert reason in caplog.text
    assert dump(models) == folded(other, head)


def test_program_of_another_definition_builds_a_read_model_of_its_own(models: ReadModels) -> None:
    log = MemoryLog()
    head = log.append(opened(A), conveyed(A, 1, *[ask(), answer()] * 3))
    with running(runner_of(log, models), log) as runner:
        runner.wait_for(head, 20)
    assert rows_after(models, log, head).refolds == []
    assert dump(models) == folded(log, head)
    with queries(models, small()) as asked:
        assert asked.consciousness_metrics(A).episodes != []
    with queries(models, Consciousness()) as asked:
        assert asked.consciousness_metrics(A).episodes == []


class Earlier(Consciousness):
    """By the code of an earlier program."""

    version = "2"


def test_read_model_of_an_earlier_program_serves_while_the_new_one_is_built(models: ReadModels) -> None:
    log = MemoryLog(page=1)
    head = log.append(opened(A), conveyed(A, 1, ask()))
    with running(runner_of(log, models, lambda: Earlier(SMALL)), log) as runner:
        runner.wait_for(head, 20)
    head = log.append(conveyed(A, 2, ask()), Unknown(A, 3, NOON), conveyed(A, 3, ask()))
    with running(runner_of(log, models, small), log) as runner, pytest.raises(ProjectionFailedError):
        runner.wait_for(head, 20)
    with queries(models, small()) as asked:
        assert asked.consciousness_metrics(A).position == 2
    with running(runner_of(log, models, small, OnError.PARK), log) as runner:
        runner.wait_for(head, 20)
    with queries(models, small()) as asked:
        assert asked.consciousness_metrics(A).position == head


def test_read_model_of_other_settings_serves_nobody_else(models: ReadModels) -> None:
    log = MemoryLog()
    head = log.append(opened(A), conveyed(A, 1, ask()))
    with running(runner_of(log, models), log) as runner:
        runner.wait_for(head, 20)
    assert models.serving("consciousness", version_of(Consciousness())) is not None
    assert models.serving("consciousness", version_of(small())) is None


def test_runners_of_two_definitions_do_not_disturb_each_other(tmp_path: Path) -> None:
    log = MemoryLog()
    older, newer = ReadModels(tmp_path / "views.db"), ReadModels(tmp_path / "views.db")
    with running(runner_of(log, older), log) as one, running(runner_of(log, newer, small), log) as other:
        head = log.append(opened(A))
        for number in range(1, 20):
            head = log.append(conveyed(A, number, ask()))
            one.wait_for(head, 20)
            other.wait_for(head, 20)
        assert one.refolds == other.refolds == []
    assert dump(newer) == folded(log, head)
    older.close()
    newer.close()


def test_pages_that_were_read_before_a_loss_are_read_again() -> None:
    log = MemoryLog(page=1)
    log.append(opened(A), conveyed(A, 1, ask()))
    feed, first, second = Feed(log, 1), checkpoint(log, 1), checkpoint(log, 2)
    assert feed.after(first) == log.page(after=1, limit=1)
    log.lose(1)
    with pytest.raises(LogOperationalError):
        feed.after(second)
    log.append(conveyed(A, 1, answer()))
    assert feed.after(first) == log.page(after=1, limit=1)


class Awaited(MemoryLog):
    """Tells beyond which positions it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Queue[int] = Queue()

    def wait_beyond(self, position: int, timeout: float) -> bool:
        self.waits.put(position)
        return super().wait_beyond(position, timeout)

    def is_waited_for(self, position: int) -> None:
        while self.waits.get(timeout=20) != position:
            pass


def positions_of(runner: Runner) -> Queue[int]:
    """Up to where it has folded, after every batch."""
    reached: Queue[int] = Queue()
    runner.add_listener(lambda: reached.put(runner.checkpoint.position))
    return reached


def next_after(position: int, reached: Queue[int]) -> int:
    while (now := reached.get(timeout=20)) == position:
        pass
    return now


def is_folded_no_further(reached: Queue[int]) -> bool:
    """For a while."""
    try:
        reached.get(timeout=0.3)
    except Empty:
        return True
    return False


def test_event_of_a_quiet_log_is_folded_at_once_and_those_after_it_together(
    models: ReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_REST", 1e6)
    log = Awaited()
    runner = runner_of(log, models)
    reached = positions_of(runner)
    with running(runner, log):
        log.is_waited_for(0)
        log.append(opened(A))
        assert next_after(0, reached) == 1
        log.is_waited_for(1)
        for number in range(1, 4):
            log.append(conveyed(A, number, ask()))
        assert is_folded_no_further(reached)
        runner.wait_for(4, 20)
        assert next_after(1, reached) == 4


class Read(MemoryLog):
    """Tells in which order it was read and waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Queue[str] = Queue()

    def page(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded | Unread]:
        self.calls.put(f"read after {after}")
        return super().page(after=after, limit=limit, chain=chain)

    def wait_beyond(self, position: int, timeout: float) -> bool:
        self.calls.put(f"wait beyond {position}")
        return super().wait_beyond(position, timeout)


def test_what_follows_in_a_page_that_was_read_is_not_read_again() -> None:
    log = Read()
    log.append(opened(A), *(conveyed(A, number, ask()) for number in range(1, 4)))
    feed = Feed(log)
    first, second, third, fourth = feed.after(checkpoint(log, 0))
    assert feed.after(checkpoint(log, 2)) == [third, fourth]
    assert feed.after(checkpoint(log, 1)) == [second, third, fourth]
    assert feed.after(checkpoint(log, 4)) == []
    assert list(log.calls.queue) == ["read after 0", "read after 4"]
    log.lose(1)
    log.append(conveyed(A, 1, answer()))
    assert feed.after(checkpoint(log, 2)) == []
    assert first.position == 1


def test_what_could_not_be_read_is_read_again() -> None:
    log = MemoryLog(unreadable=3)
    log.append(opened(A), *(conveyed(A, number, ask()) for number in range(1, 4)))
    feed = Feed(log)
    for position in (0, 2):
        assert isinstance(feed.after(checkpoint(log, position))[2 - position], Unread)
    log.unreadable = None
    third, _ = feed.after(checkpoint(log, 2))
    assert isinstance(third, Recorded)


def test_runner_that_has_read_the_log_to_its_end_waits_without_reading_again(models: ReadModels) -> None:
    log = Read()
    log.append(opened(A), conveyed(A, 1, ask()))
    with running(runner_of(log, models), log):
        assert [log.calls.get(timeout=20) for _ in range(2)] == ["read after 0", "wait beyond 2"]


def test_runner_goes_on_without_rest_until_the_log_ends(
    models: ReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_REST", 1e6)
    log = MemoryLog(page=2)
    log.append(opened(A), *(conveyed(A, number, ask()) for number in range(1, 6)))
    runner = runner_of(log, models)
    reached = positions_of(runner)
    with running(runner, log):
        while next_after(0, reached) != 6:
            pass


class Rests(Event):
    """Of a runner: notes until when it would rest, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.until: Queue[float] = Queue()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.until.put(monotonic() + timeout)
        return True


def test_runners_rest_until_the_same_moments(models: ReadModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_REST", 600.0)
    log = Awaited()
    runner, rests = runner_of(log, models), Rests()
    monkeypatch.setattr(runner, "_hurried", rests)
    with running(runner, log):
        for position in range(3):
            log.is_waited_for(position)
            assert log.append(opened(UUID(int=position))) == position + 1
        quiet, *rested = [rests.until.get(timeout=20) for _ in range(3)]
    assert quiet <= monotonic()
    for moment in rested:
        assert (moment + 1) % 600 < 6


def test_runner_gives_way_until_somebody_waits_for_it(models: ReadModels) -> None:
    log = Awaited()
    runner = Runner(Feed(log), models, Consciousness, gives_way=60.0)
    reached = positions_of(runner)
    with running(runner, log):
        log.is_waited_for(0)
        assert reached.get(timeout=20) == 0
        log.append(opened(A))
        assert is_folded_no_further(reached)
        runner.wait_for(1, 20)
        assert next_after(0, reached) == 1


def test_page_ends_where_small_events_are_followed_by_large_ones() -> None:
    log = MemoryLog()
    openings = [opened(UUID(int=number)) for number in range(1, 6)]
    large = [conveyed(UUID(int=1), 1 + 1000 * number, *[ask()] * 1000) for number in range(8)]
    log.append(*openings, *large)
    feed, reached, pages = Feed(log), 0, []
    while page := feed.after(checkpoint(log, reached)):
        reached = page[-1].position
        pages.append(sum(map(weight, page)))
    assert reached == 13
    assert max(pages) <= MOST_MESSAGES


def test_page_is_never_read_with_more_than_twice_the_events_of_the_one_before() -> None:
    limits: list[int] = []

    class Watched(MemoryLog):
        def page(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded | Unread]:
            limits.append(limit)
            return super().page(after=after, limit=limit, chain=chain)

    log = Watched()
    log.append(*[opened(UUID(int=number)) for number in range(1, 101)])
    feed, reached = Feed(log), 0
    while page := feed.after(checkpoint(log, reached)):
        reached = page[-1].position
    assert limits == [5, 10, 20, 40, 80, 160]


def test_event_larger_than_a_page_is_one_by_itself() -> None:
    log = MemoryLog()
    log.append(conveyed(A, 1, *[ask()] * (MOST_MESSAGES + 1)), conveyed(A, MOST_MESSAGES + 2, ask()))
    feed = Feed(log)
    assert [event.position for event in feed.after(checkpoint(log, 0))] == [1]
    assert [event.position for event in feed.after(checkpoint(log, 1))] == [2]


def test_pages_of_another_log_are_read_again(models: ReadModels) -> None:
    log = MemoryLog()
    feed = Feed(log)
    log.append(opened(A))
    model = models.model(models.claim("consciousness", version_of(small())), small())
    first = Folding(feed, model, small(), OnError.FAIL)
    first.resume()
    first.step()
    log.lose(0)
    log.epoch = "second"
    log.append(opened(B), conveyed(B, 1, ask()))
    again = Folding(feed, model, small(), OnError.FAIL)
    assert "of another log" in str(again.resume())
    again.step()
    assert dump(models) == folded(log, 2)


def checkpoint(log: MemoryLog, position: int) -> Checkpoint:
    return Checkpoint("", position, log.chain_at(position) or b"", log.epoch)


def test_runner_waits_for_the_file_that_tells_of_generations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("projections.database._LOCK_TIMEOUT", 0.01)
    log, models = MemoryLog(), ReadModels(tmp_path / "views.db")
    models.close()  # of its connections, which would keep others from locking the file
    lock = sqlite3.connect(tmp_path / "views.db", isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    with running(runner_of(log, models, small), log) as runner:
        head = log.append(opened(A))
        with pytest.raises(TimeoutError):
            runner.wait_for(head, 0.3)
        assert "wait for their database" in caplog.text
        lock.close()
        runner.wait_for(head, 20)
    models.close()


class Unknown(Dialogue.Event, frozen=True):
    TOPIC = "dialogue.unknown.v1"


@pytest.mark.parametrize("poison", [Unknown(A, 3, NOON), conveyed(C, 1, ask())])
def test_runner_stands_before_an_event_that_cannot_be_folded(models: ReadModels, poison: Dialogue.Event) -> None:
    log = MemoryLog()
    log.append(opened(A), conveyed(A, 1, ask()), poison, opened(B))
    runner = runner_of(log, models, small)
    with running(runner, log), pytest.raises(ProjectionFailedError, match="before position 3") as caught:
        runner.wait_for(4, 20)
    assert runner.error is caught.value
    assert caught.value.position == 3
    assert dump(models) == folded(log, 2)


def test_runner_stands_before_an_event_that_cannot_be_read(models: ReadModels) -> None:
    log = MemoryLog(unreadable=2)
    log.append(opened(A), opened(B))
    runner = runner_of(log, models)
    with running(runner, log), pytest.raises(ProjectionFailedError, match="before position 2: no such topic"):
        runner.wait_for(2, 20)
    assert runner.checkpoint.position == 1


def test_waiting_for_a_position_ends_when_time_is_over(models: ReadModels) -> None:
    runner = runner_of(MemoryLog(), models)
    runner.start()
    with pytest.raises(TimeoutError):
        runner.wait_for(1, 0.01)
    runner.stop()
    assert runner.ended
    assert runner.error is None


def test_waiting_for_a_position_ends_when_the_runner_is_stopped(models: ReadModels) -> None:
    log = MemoryLog()
    runner = rows_after(models, log, log.append(opened(A)))
    runner.wait_for(1, 0)
    with pytest.raises(ProjectionStoppedError):
        runner.wait_for(2, 20)
    assert runner.error is None


def test_runner_ends_when_the_log_is_interrupted(models: ReadModels) -> None:
    log, told = MemoryLog(), Queue[bool]()
    runner = runner_of(log, models)
    runner.add_listener(lambda: told.put(runner.ended))
    runner.start()
    assert told.get(timeout=20) is False
    log.interrupt()
    assert told.get(timeout=20) is True
    assert runner.error is None
    runner.stop()


def test_listener_hears_of_every_commit_and_of_the_end(models: ReadModels) -> None:
    log, told = MemoryLog(), Queue[tuple[int, bool]]()
    runner = runner_of(log, models)
    runner.add_listener(lambda: told.put((runner.checkpoint.position, runner.ended)))
    with running(runner, log):
        assert told.get(timeout=20) == (0, False)
        assert [told.get(timeout=20) for _ in range(log.append(opened(A)))] == [(1, False)]
    assert told.get(timeout=20) == (1, True)


def test_reply_is_measured_from_a_message_of_any_age(models: ReadModels) -> None:
    log = MemoryLog()
    head = log.append(opened(A), opened(B))
    with running(runner_of(log, models, small), log) as runner:
        for first in range(1, 3 * CHUNK, 16):
            head = log.append(conveyed(A, first, *[ask(number) for number in range(first, first + 16)]))
            runner.wait_for(head, 20)
    replies = [CHUNK, CHUNK + 1, 1, 3 * CHUNK]
    times = [answer(10**6 + reply, None, reply) for reply in replies]
    with running(runner_of(log, models, small), log) as runner:
        runner.wait_for(log.append(conveyed(B, 1, ask()), conveyed(A, 3 * CHUNK + 1, *times)), 20)
    with queries(models, small()) as asked:
        external = asked.consciousness_metrics(A).response_time.external
    assert (external.count, external.max, external.unknown) == (4, 1000.0, 0)


def test_states_of_a_later_checkpoint_are_never_folded_upon(models: ReadModels) -> None:
    log = MemoryLog()
    asked = [ask(number) for number in range(CHUNK + 1)]
    rows_after(models, log, log.append(opened(A), conveyed(A, 1, *asked)))
    [generation] = models.generations("consciousness")
    model, slow = models.model(generation, small()), small()
    checkpoint = model.checkpoint()
    assert checkpoint is not None
    slow.fold(whole(log, 2, 3), model.stored(checkpoint))
    rows_after(models, log, log.append(conveyed(A, CHUNK + 2, answer(9, None, 1))))
    with pytest.raises(CheckpointMovedError):
        small().fold(whole(log, 2, 3), model.stored(checkpoint))
    log.append(conveyed(A, CHUNK + 3, ask()))
    with pytest.raises(CheckpointMovedError):
        slow.fold(whole(log, 2, 3), model.stored(checkpoint))


def whole(log: MemoryLog, after: int, stop: int) -> list[Recorded]:
    return [event for event in log.page(after=after, limit=stop - after) if isinstance(event, Recorded)]


def test_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(ViewsFileError, match=r"notes\.txt is not a SQLite database"):
        ReadModels(path)
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TABLE theirs (x)", "belongs to another program"),
        ("PRAGMA user_version = 99", "has layout 99"),
    ],
)
def test_file_of_another_program_or_layout_is_refused_by_name(tmp_path: Path, statement: str, reason: str) -> None:
    path = tmp_path / "views.db"
    if "PRAGMA" in statement:
        ReadModels(path).close()
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    with pytest.raises(ViewsFileError, match=f"views.db {reason}"):
        ReadModels(path)


def test_one_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    opened_models: Queue[ReadModels] = Queue()
    threads = [Thread(target=lambda: opened_models.put(ReadModels(tmp_path / "views.db"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened_models.qsize() == 6
    while not opened_models.empty():
        opened_models.get().close()


def test_file_of_an_earlier_layout_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "views.db"
    ReadModels(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.execute("CREATE TABLE scopes (scope)")
    connection.close()
    models, log = ReadModels(path), MemoryLog()
    rows_after(models, log, log.append(opened(A)))
    assert dump(models) == folded(log, 1)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'scopes'").fetchone() == (0,)
    connection.close()
    models.close()
