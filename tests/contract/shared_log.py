"""The contract of a log that outlives its recorder and serves several processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any
from uuid import uuid4

from application.recorder import LogRecorder
from tests.contract import Settings, opened_log
from tests.contract.log_recorder import A, LogContract, duplicate, entries, events, keyed, refusal

__all__ = ["SharedLogContract"]


class SharedLogContract(LogContract):
    def test_keys_and_epoch_outlive_the_recorder(self, settings: Settings) -> None:
        with opened_log(settings) as log:
            log.insert_events(events(A, 1), keyed=[keyed("k")])
            epoch = log.epoch
        with opened_log(settings) as log:
            assert log.epoch == epoch
            assert refusal(log, events(A, 2), keyed("k")).duplicates == (duplicate(keyed("k"), 1),)

    def test_another_log_has_another_epoch(self, log: LogRecorder, tmp_path: Path) -> None:
        with opened_log(self.store.new(tmp_path)) as other:
            assert other.epoch != log.epoch

    def test_a_subscription_goes_on_where_one_before_a_restart_ended(self, settings: Settings) -> None:
        with opened_log(settings) as log:
            log.insert_events(events(A, 1, 2, 3))
            with log.subscribe() as subscription:
                seen = [next(subscription).id for _ in range(2)]
        with opened_log(settings) as log, log.subscribe(gt=seen[-1]) as subscription:
            log.insert_events(events(A, 4))
            assert [next(subscription).id for _ in range(2)] == [3, 4]

    def test_two_processes_make_one_log_and_append_to_it_without_loss(self, settings: Settings) -> None:
        with process(append_many, settings, 300) as first, process(append_many, settings, 300) as second:
            for pipe in (first, second):
                assert pipe.recv() == "ready"
            for pipe in (first, second):
                pipe.send("go")
            (epoch, some), (other_epoch, others) = first.recv(), second.recv()
        assert epoch == other_epoch
        assert sorted(some + others) == list(range(1, 601))
        with opened_log(settings) as log:
            assert [entry.id for entry in entries(log)] == list(range(1, 601))

    def test_appends_of_another_process_wake_within_50_ms(self, log: LogRecorder, settings: Settings) -> None:
        waits: list[Callable[[int], object]] = [lambda position: log.wait_beyond(position, timeout=5)]
        with process(append_when_told, settings) as pipe, log.subscribe() as subscription:
            waits.append(lambda _: next(subscription))
            assert pipe.recv() == "ready"
            position = 0
            for wait in waits:
                latencies = []
                for _ in range(7):
                    pipe.send("append")
                    assert wait(position)
                    woken = monotonic()
                    position += 1
                    latencies.append(woken - pipe.recv())
                assert median(latencies) < 0.05
            pipe.send("end")


@contextmanager
def process(work: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """A process of its own that has one end of a pipe; the body has the other."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=work, args=(theirs, *arguments))
    child.start()
    theirs.close()  # so that a child that dies ends our reading
    try:
        yield ours
        child.join(10)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        ours.close()


def append_many(pipe: Connection, settings: Settings, count: int) -> None:
    pipe.send("ready")
    pipe.recv()
    aggregate = uuid4()
    with opened_log(settings) as log:
        positions = [p for version in range(count) for p in log.insert_events(events(aggregate, version)) or ()]
        pipe.send((log.epoch, positions))


def append_when_told(pipe: Connection, settings: Settings) -> None:
    aggregate, version = uuid4(), 0
    with opened_log(settings) as log:
        pipe.send("ready")
        while pipe.recv() == "append":
            version += 1
            log.insert_events(events(aggregate, version))
            pipe.send(monotonic())
