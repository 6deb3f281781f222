"""Our own contract of a log: `application.recorder.LogRecorder`."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from threading import Event
from time import monotonic, process_time
from typing import Any, ClassVar
from uuid import UUID

import pytest
from eventsourcing.persistence import DataError, StoredEvent

from application.entries import Entry
from application.recorder import (
    FIRST_CHAIN,
    AppendRefusedError,
    Duplicate,
    KeyedMessage,
    LogRecorder,
    next_chain,
    stored_digest,
)
from tests.contract import Settings, Store, opened_log

__all__ = [
    "A",
    "ClockContract",
    "LogContract",
    "LogRecorderContract",
    "duplicate",
    "entries",
    "events",
    "keyed",
    "refusal",
]

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def events(aggregate: UUID, *versions: int, topic: str = "conveyed") -> list[StoredEvent]:
    return [StoredEvent(aggregate, version, topic, b"said") for version in versions]


def keyed(key: str, *, event: int = 0, aggregate: UUID = A, sequence: int = 1) -> KeyedMessage:
    return KeyedMessage(aggregate, key, sequence, key.encode().ljust(20), event)


def duplicate(message: KeyedMessage, position: int) -> Duplicate:
    return Duplicate(message.originator_id, message.key, message.sequence, position, message.digest)


def refusal(log: LogRecorder, stored: Sequence[StoredEvent], *keys: KeyedMessage) -> AppendRefusedError:
    with pytest.raises(AppendRefusedError) as caught:
        log.insert_events(stored, keyed=keys)
    return caught.value


def entries(log: LogRecorder) -> Sequence[Entry]:
    return log.select_entries(after=0, limit=10_000)


class LogContract:
    store: ClassVar[Store]

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return self.store.new(tmp_path)

    @pytest.fixture
    def log(self, settings: Settings) -> Iterator[LogRecorder]:
        with opened_log(settings) as log:
            yield log


class LogRecorderContract(LogContract):
    def test_an_empty_log_has_an_epoch_and_nothing_else(self, log: LogRecorder) -> None:
        assert len(log.epoch) >= 32
        assert entries(log) == []
        assert log.position_at(2**60) == 0
        assert not log.wait_beyond(0, timeout=0)

    def test_positions_stay_dense_after_refused_appends(self, log: LogRecorder) -> None:
        assert log.insert_events(events(A, 1, 2)) == [1, 2]
        refusal(log, events(B, 1, 2) + events(A, 2))
        refusal(log, events(C, 1, 2, 2))
        assert log.insert_events(events(B, 1)) == [3]
        assert [entry.id for entry in entries(log)] == [1, 2, 3]

    def test_the_chain_can_be_recomputed_from_the_stored_events(self, log: LogRecorder) -> None:
        log.insert_events([*events(A, 1), StoredEvent(B, 1, "öffnen", bytes(range(256)))])
        log.insert_events(events(A, 2))
        chain = FIRST_CHAIN
        for entry in entries(log):
            chain = next_chain(chain, stored_digest(entry), entry.at)
            assert entry.chain == chain
        assert chain != FIRST_CHAIN

    def test_a_given_time_is_kept_unless_it_is_before_the_last_entrys(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1, 2), times=[1000, 2000])
        log.insert_events(events(A, 3, 4, 5), times=[1500, 3000, 2999])
        assert [entry.at for entry in entries(log)] == [1000, 2000, 2000, 3000, 3000]
        log.insert_events(events(A, 6))
        assert entries(log)[-1].at > 3000
        log.insert_events(events(A, 7), times=[1])
        assert entries(log)[-1].at == entries(log)[-2].at
        chain = FIRST_CHAIN
        for entry in entries(log):
            chain = next_chain(chain, stored_digest(entry), entry.at)
            assert entry.chain == chain
        assert log.tip() == (7, chain)

    @pytest.mark.parametrize("times", [[1000], [1000, 2000, 3000]])
    def test_times_are_given_for_every_event(self, log: LogRecorder, times: list[int]) -> None:
        with pytest.raises((DataError, ValueError)):
            log.insert_events(events(A, 1, 2), times=times)
        assert entries(log) == []

    def test_entries_are_selected_after_a_position_to_stop_within_the_limit(self, log: LogRecorder) -> None:
        log.insert_events(events(A, *range(1, 11)))
        everything = entries(log)
        assert log.select_entries(after=3, limit=4) == everything[3:7]
        assert log.select_entries(after=3, limit=4, stop=5) == everything[3:5]
        assert log.select_entries(after=8, limit=4, stop=20) == everything[8:]
        assert log.select_entries(after=10, limit=4) == []
        assert log.entries_at([2, 3, 7]) == [everything[1], everything[2], everything[6]]
        assert log.entries_at([10, 11]) == everything[9:]
        assert log.entries_at([]) == []

    def test_a_stream_is_read_page_by_page(self, log: LogRecorder) -> None:
        for version in range(1, 8):
            log.insert_events(events(A, version) + events(B, version))
        pages = [log.select_stream(A, after=after, limit=3) for after in (0, 3, 6, 7)]
        assert [[entry.originator_version for entry in page] for page in pages] == [[1, 2, 3], [4, 5, 6], [7], []]
        assert log.select_stream(A, limit=2) == [entries(log)[0], entries(log)[2]]
        assert log.select_stream(C, limit=2) == []

    def test_the_end_of_the_log_is_the_position_at_the_last_time(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1, 2))
        first, last = entries(log)
        assert log.position_at(first.at - 1) == 0
        assert log.position_at(last.at) == 2

    def test_a_refusal_names_every_aggregate_with_a_taken_version(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1, 2) + events(B, 1))
        refused = refusal(log, events(B, 1, 2) + events(C, 1) + events(A, 2, 3))
        assert (refused.conflicts, refused.duplicates) == ((B, A), ())
        assert refusal(log, events(C, 1, 1)).conflicts == (C,)

    def test_a_key_is_taken_once_and_the_refusal_tells_where(self, log: LogRecorder) -> None:
        log.insert_events(events(B, 1))
        keys = [keyed("k", event=0, sequence=4), keyed("l", event=1, sequence=7), keyed("new")]
        log.insert_events(events(A, 1, 2), keyed=keys[:2])
        refused = refusal(log, events(A, 3, 4), *keys)
        assert (refused.conflicts, refused.duplicates) == ((), (duplicate(keys[0], 2), duplicate(keys[1], 3)))

    def test_a_refusal_names_conflicts_and_duplicates_together(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1), keyed=[keyed("k")])
        refused = refusal(log, events(A, 1), keyed("k"))
        assert (refused.conflicts, refused.duplicates) == ((A,), (duplicate(keyed("k"), 1),))

    def test_a_refused_append_leaves_neither_events_nor_keys(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1), keyed=[keyed("k")])
        refusal(log, events(B, 1) + events(A, 1), keyed("new"))
        refusal(log, events(B, 1), keyed("new"), keyed("k"))
        assert log.insert_events(events(B, 1), keyed=[keyed("new")]) == [2]

    def test_a_key_belongs_to_its_aggregate(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1), keyed=[keyed("k")])
        assert log.insert_events(events(B, 1), keyed=[keyed("k", aggregate=B)]) == [2]

    def test_waiting_ends_after_its_timeout(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1))
        began = monotonic()
        assert not log.wait_beyond(1, timeout=0.1)
        assert 0.1 <= monotonic() - began < 1

    def test_waiting_ends_at_once_when_this_recorder_appends(self, log: LogRecorder) -> None:
        latencies = []
        for position in range(9):
            with waiting(log.wait_beyond, position, 5) as woken:
                let_it_block(log)
                log.insert_events(events(A, position + 1))
                appended = monotonic()
            grown, at = woken()
            assert grown
            latencies.append(at - appended)
        assert median(latencies) < 0.01

    def test_an_interrupt_ends_waiting_now_and_later(self, log: LogRecorder) -> None:
        with ExitStack() as stack:
            waits = [stack.enter_context(waiting(log.wait_beyond, 0, 60)) for _ in range(5)]
            let_it_block(log)
            log.interrupt()
            interrupted = monotonic()
            ended = [wait() for wait in waits]
        assert [grown for grown, _ in ended] == [False] * 5
        assert median(at for _, at in ended) - interrupted < 0.05
        assert not log.wait_beyond(0, timeout=60)

    def test_a_blocked_subscription_stops_within_50_ms(self, log: LogRecorder) -> None:
        latencies = []
        for _ in range(5):
            subscription = log.subscribe()
            with subscription, waiting(list, subscription) as ended:
                let_it_block(log)
                subscription.stop()
                stopped = monotonic()
                notifications, at = ended()
            assert notifications == []
            latencies.append(at - stopped)
        assert median(latencies) < 0.05

    def test_an_interrupt_ends_subscriptions(self, log: LogRecorder) -> None:
        with log.subscribe() as subscription, waiting(list, subscription) as ended:
            let_it_block(log)
            log.interrupt()
            assert ended()[0] == []

    def test_a_subscription_passes_over_other_topics(self, log: LogRecorder) -> None:
        for first in range(1, 1600, 100):
            log.insert_events(events(A, *range(first, first + 100)) + events(B, first, topic="closed"))
        with log.subscribe(gt=1, topics=["closed"]) as subscription:
            ids = [next(subscription).id for _ in range(16)]
            with waiting(next, subscription) as following:
                log.insert_events(events(A, 2000))
                log.insert_events(events(B, 2000, topic="closed"))
            assert ids == [101 * number for number in range(1, 17)]
            assert following()[0].id == 16 * 101 + 2

    def test_a_blocked_subscription_costs_next_to_nothing(self, log: LogRecorder) -> None:
        log.insert_events(events(A, 1, 2, 3))
        with log.subscribe(topics=["closed"]) as subscription, waiting(list, subscription):
            began = process_time()
            assert not log.wait_beyond(3, timeout=0.3)
            assert process_time() - began < 0.1
            subscription.stop()

    def test_a_subscription_misses_nothing_and_repeats_nothing(self, log: LogRecorder) -> None:
        with log.subscribe() as subscription, waiting(list, islice(subscription, 1200)) as received:
            for first in range(1, 1200, 300):
                log.insert_events(events(A, *range(first, first + 299)))
                log.insert_events(events(B, first))
            assert [notification.id for notification in received()[0]] == list(range(1, 1201))


@contextmanager
def waiting(blocking: Callable[..., Any], *arguments: Any) -> Iterator[Callable[[], tuple[Any, float]]]:
    """Call it in a thread while the body runs; then what it returned, and when, is there."""
    begun = Event()

    def call() -> tuple[Any, float]:
        begun.set()
        return blocking(*arguments), monotonic()

    executor = ThreadPoolExecutor(1)
    future = executor.submit(call)
    begun.wait()
    try:
        yield lambda: future.result(timeout=10)
    finally:
        executor.shutdown(wait=False)  # what still blocks after a failure ends when the log is closed


def let_it_block(log: LogRecorder) -> None:
    """Nothing shows that another thread waits for the log; this one waits as well, for a little.

    Not before the log is told of appends: on a busy machine it takes longer until a server is heard.
    """
    begun = monotonic()
    while not log.datastore.growth._told:  # type: ignore[attr-defined]  # every log under this contract has one
        assert monotonic() - begun < 5
        log.wait_beyond(log.max_notification_id() or 0, timeout=0.01)
    log.wait_beyond(log.max_notification_id() or 0, timeout=0.01)


class ClockContract(LogContract):
    """For stores whose time is the recorder's `clock`, in nanoseconds, not a server's."""

    def append_at(self, log: Any, version: int, milliseconds: int) -> None:
        log.clock = lambda: milliseconds * 1_000_000 + 999_999
        log.insert_events(events(A, version) + events(B, version))

    def test_times_never_decrease_when_the_clock_steps_back(self, log: LogRecorder) -> None:
        for version, now in enumerate((5000, 3000, 6000), 1):
            self.append_at(log, version, now)
        assert [entry.at for entry in entries(log)] == [5000, 5000, 5000, 5000, 6000, 6000]

    def test_the_position_at_a_time_is_the_last_that_is_not_later(self, log: LogRecorder) -> None:
        for version, now in enumerate((1000, 2000, 4000), 1):
            self.append_at(log, version, now)
        times = (999, 1000, 1001, 2000, 3999, 4000, 9999)
        assert [log.position_at(time) for time in times] == [0, 2, 2, 4, 4, 6, 6]
