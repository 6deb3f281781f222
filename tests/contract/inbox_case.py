"""A log with one consumer at its inbox, and short ways to have messages arrive, taken and settled."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event
from time import monotonic
from typing import ClassVar, TypeVar

import pytest

from application.inbox import DEAD_LETTERS, Arrival, Inbox, Offer, Settlement, Take, Taken, Then
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract import Settings, Store, opened_log
from tests.contract.log_recorder import A, B, events

__all__ = [
    "LONG",
    "OUT",
    "InboxCase",
    "arrive",
    "dead",
    "done",
    "given",
    "offer",
    "redriven",
    "run",
    "settle",
    "settling",
    "slots",
    "take",
    "until",
]

OUT = "external"
LONG = 60_000

T = TypeVar("T")


class InboxCase:
    store: ClassVar[Store]

    @pytest.fixture
    def settings(self, tmp_path: object) -> Settings:
        return self.store.new(tmp_path)  # type: ignore[arg-type]  # pytest's own

    @pytest.fixture
    def log(self, settings: Settings) -> Iterator[LogRecorder]:
        with opened_log(settings) as log:
            yield log

    @pytest.fixture
    def inbox(self, log: LogRecorder) -> Inbox:
        log.inbox.join(OUT, "tester")
        return log.inbox

    def bell(self, log: LogRecorder, inbox: Inbox) -> Event:
        """What is set when there may be something to take from now on."""
        rung = Event()
        inbox.listen(lambda tract: rung.set() if tract == OUT else None)
        until(lambda: rung.wait(0.05) or log.wait_beyond(0, timeout=0), lambda _: True)
        rung.clear()
        return rung


def run(first: int, count: int, *, priority: int = 2, recipient: str | None = None) -> Arrival:
    return Arrival(0, first, count, OUT, priority, recipient)


def arrive(log: LogRecorder, version: int, *arrivals: Arrival, offers: Sequence[Offer] = ()) -> Taken | None:
    """What the first of the offers gave."""
    log.insert_events(events(A, version), arrivals=arrivals, offers=offers)
    return offers[0].taken if offers else None


def offer(demand: int, lease: str = "offered") -> Offer:
    return Offer(Take(OUT, "tester", 1, lease, demand, LONG))


def given(taken: Taken | None) -> Taken:
    assert taken is not None
    return taken


def take(inbox: Inbox, demand: int, lease: str = "lease", *, ack_wait: int = LONG) -> Taken:
    return inbox.take(Take(OUT, "tester", 1, lease, demand, ack_wait))


def slots(taken: Taken) -> list[int]:
    return [handed.slot for handed in taken.handed]


def done(lease: str, slot: int, *, attempt: int = 1, line: str = "") -> Settlement:
    return Settlement(OUT, lease, slot, attempt, Then.DONE, line=line)


def dead(slot: int, *, attempt: int = 1, line: str = "") -> Settlement:
    return Settlement(OUT, "lease", slot, attempt, Then.DEAD, line=line)


def redriven(slot: int, *, attempt: int = 1) -> Settlement:
    return Settlement(OUT, DEAD_LETTERS, slot, attempt, Then.AGAIN)


def settle(log: LogRecorder, version: int, *settlements: Settlement) -> None:
    log.insert_events(events(B, version), settlements=settlements)


def settling(log: LogRecorder, version: int, *settlements: Settlement) -> tuple[Settlement, ...]:
    """Settle what is lost; the refusal names it."""
    with pytest.raises(AppendRefusedError) as refused:
        settle(log, version, *settlements)
    assert (refused.value.conflicts, refused.value.full) == ((), {})
    return refused.value.lost


def until(ask: Callable[[], T], satisfied: Callable[[T], object]) -> T:
    """Ask again and again, for a few seconds: a lease ends by the store's clock, and nothing tells of it."""
    deadline = monotonic() + 5
    while not satisfied(answer := ask()):
        assert monotonic() < deadline
    return answer
