"""The contract of a store's inbox: what arrives is handed out in order, held, settled, and never twice."""

from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic
from typing import ClassVar, TypeVar

import pytest

from application.inbox import Arrival, Handed, Inbox, Level, ReplacedError, Settlement, Taken, Then
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract import Settings, Store, opened_log
from tests.contract.log_recorder import A, B, events

__all__ = ["InboxContract"]

OUT = "external"
LONG = 60_000

T = TypeVar("T")


class InboxContract:
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

    def test_what_arrives_is_handed_out_by_priority_then_by_place(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2, priority=2), run(2, 1, priority=5))
        arrive(log, 2, run(0, 1, priority=5), run(1, 3, priority=1))
        assert slots(take(inbox, 1, "first")) == [1002]
        assert slots(take(inbox, 100, "rest")) == [2000, 1000, 1001, 2001, 2002, 2003]

    def test_no_more_is_handed_out_than_was_asked_for(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 5))
        first, second = take(inbox, 2, "a"), take(inbox, 2, "b")
        assert (slots(first), first.left) == ([1000, 1001], True)
        assert (slots(second), second.left) == ([1002, 1003], True)
        third = take(inbox, 2, "c")
        assert (slots(third), third.left) == ([1004], False)
        assert slots(take(inbox, 2, "d")) == []

    def test_a_take_that_is_repeated_gives_the_same(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 5))
        assert take(inbox, 3, "same").handed == take(inbox, 3, "same").handed
        assert slots(take(inbox, 9, "other")) == [1003, 1004]

    def test_what_is_not_settled_in_time_is_handed_out_again(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        taken = take(inbox, 9, "short", ack_wait=30)
        assert [handed.attempt for handed in taken.handed] == [1, 1]
        assert taken.next_due is not None
        assert 0 <= taken.next_due <= 30
        again = until(lambda: take(inbox, 9, "next"), lambda taken: taken.handed)
        assert again.handed == [Handed(1000, 2, 2), Handed(1001, 2, 2)]
        lost = settling(log, 1, done("short", 1000), done("short", 1001))
        assert lost == (done("short", 1000), done("short", 1001))

    def test_a_late_settlement_does_not_take_the_holders_down_with_it(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "late", ack_wait=30)
        until(lambda: take(inbox, 1, "holder"), lambda taken: taken.handed)
        late, held = done("late", 1000), done("holder", 1000, attempt=2)
        assert settling(log, 1, late, held) == (late,)
        settle(log, 1, held)

    def test_a_message_for_one_consumer_comes_back_to_that_one_when_its_lease_ends(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        arrive(log, 1, run(0, 1, recipient="other"))
        generation = inbox.join(OUT, "other")

        def theirs(lease: str, ack_wait: int) -> Taken:
            return inbox.take(
                OUT, consumer="other", generation=generation, lease=lease, demand=1, ack_wait=ack_wait
            )

        assert slots(theirs("first", 30)) == [1000]
        until(lambda: take(inbox, 1, "mine"), lambda taken: taken.next_due is None)  # it has been released
        assert theirs("second", LONG).handed == [Handed(1000, 2, 2)]

    def test_a_lease_can_be_made_longer_while_it_lasts(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "kept", ack_wait=200)
        assert inbox.extend(OUT, "kept", LONG)
        assert (take(inbox, 1, "other").next_due or 0) > 1000
        assert not inbox.extend(OUT, "unknown", LONG)

    def test_what_is_settled_never_comes_back(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3))
        take(inbox, 3, "short", ack_wait=30)
        settle(log, 1, done("short", 1000), done("short", 1002))
        again = until(lambda: take(inbox, 9, "next"), lambda taken: taken.handed)
        assert slots(again) == [1001]
        assert inbox.level(OUT).backlog == 1

    def test_a_delivery_is_settled_once(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "lease")
        assert settling(log, 1, done("lease", 1000), done("lease", 1000)) == (done("lease", 1000),)
        assert settling(log, 1, done("lease", 1000, attempt=2)) == (done("lease", 1000, attempt=2),)
        settle(log, 1, done("lease", 1000))
        assert settling(log, 2, done("lease", 1000)) == (done("lease", 1000),)

    def test_a_lease_ends_with_the_last_that_it_holds(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        assert take(inbox, 2, "lease").next_due is not None
        settle(log, 1, done("lease", 1000))
        assert take(inbox, 2, "other").next_due is not None
        settle(log, 2, done("lease", 1001))
        assert take(inbox, 2, "other").next_due is None
        assert not inbox.extend(OUT, "lease", LONG)

    def test_a_refused_settlement_refuses_its_events(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 2, "lease")
        assert settling(log, 1, done("lease", 1000), done("none", 1001)) == (done("none", 1001),)
        assert log.max_notification_id() == 1
        assert inbox.level(OUT).backlog == 2
        settle(log, 1, done("lease", 1000), done("lease", 1001))

    def test_a_message_may_be_given_back_at_once(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 1, "lease")
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN))
        assert take(inbox, 9, "next").handed == [Handed(1000, 2, 2), Handed(1001, 2, 1)]
        assert inbox.level(OUT).backlog == 2

    def test_a_message_that_nobody_saw_goes_back_without_an_attempt(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "lease")
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.BACK))
        assert take(inbox, 1, "next").handed == [Handed(1000, 2, 1)]
        assert inbox.level(OUT).backlog == 1

    def test_a_message_may_be_given_back_for_later(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "lease")
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN, delay=60))
        began, waiting = monotonic(), take(inbox, 9, "early")
        assert waiting.handed == []
        assert waiting.next_due is not None
        assert 0 < waiting.next_due <= 60
        assert until(lambda: take(inbox, 9, "late"), lambda t: t.handed).handed == [Handed(1000, 2, 2)]
        assert monotonic() - began > 0.05

    def test_a_dead_letter_makes_room_and_is_handed_out_no_more(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.configure(OUT, 1)
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "lease")
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.DEAD))
        assert inbox.level(OUT) == Level(0, 1)
        assert take(inbox, 9, "next").handed == []

    def test_more_than_the_capacity_is_refused_whole(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.configure(OUT, 3)
        arrive(log, 1, run(0, 2))
        with pytest.raises(AppendRefusedError) as refused:
            arrive(log, 2, run(0, 1), run(1, 1))
        assert (refused.value.full, refused.value.lost) == ({OUT: Level(2, 3)}, ())
        assert log.max_notification_id() == 1
        arrive(log, 2, run(0, 1))
        assert inbox.level(OUT) == Level(3, 3)
        arrive(log, 3, Arrival(0, 0, 4, OUT, 2, exempt=True))
        assert inbox.level(OUT) == Level(7, 3)

    def test_another_tract_is_another_inbox(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.configure("internal", 1)
        arrive(log, 1, run(0, 2), Arrival(0, 2, 1, "internal", 2))
        generation = inbox.join("internal", "thinker")
        theirs = inbox.take(
            "internal", consumer="thinker", generation=generation, lease="t", demand=9, ack_wait=LONG
        )
        assert (slots(take(inbox, 9)), slots(theirs)) == ([1000, 1001], [1002])

    def test_a_message_for_one_consumer_is_handed_to_that_one_alone(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1), run(1, 1, recipient="other"), run(2, 1))
        generation = inbox.join(OUT, "other")
        assert slots(take(inbox, 1, "a")) == [1000]
        other = inbox.take(OUT, consumer="other", generation=generation, lease="o", demand=9, ack_wait=LONG)
        assert slots(other) == [1001, 1002]
        settle(log, 1, Settlement(OUT, "o", 1001, 1, Then.AGAIN))
        assert slots(take(inbox, 9, "b")) == []
        again = inbox.take(OUT, consumer="other", generation=generation, lease="p", demand=9, ack_wait=LONG)
        assert again.handed == [Handed(1001, 2, 2)]

    def test_what_is_for_all_and_what_is_for_one_come_in_their_common_order(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        arrive(
            log,
            1,
            run(0, 1),
            run(1, 1, recipient="tester"),
            run(2, 1),
            run(3, 1, priority=5, recipient="tester"),
            run(4, 1, priority=4),
        )
        order = [slot for lease in "abcde" for slot in slots(take(inbox, 1, lease))]
        assert order == [1003, 1004, 1000, 1001, 1002]

    def test_a_newer_consumer_of_the_same_name_takes_over(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 1, "old")
        assert inbox.join(OUT, "tester") == 2
        with pytest.raises(ReplacedError):
            take(inbox, 1, "older")
        assert settling(log, 1, done("old", 1000)) == (done("old", 1000),)
        taken = inbox.take(OUT, consumer="tester", generation=2, lease="new", demand=9, ack_wait=LONG)
        assert taken.handed == [Handed(1000, 2, 2), Handed(1001, 2, 1)]

    def test_a_stranger_takes_nothing(self, inbox: Inbox) -> None:
        with pytest.raises(ReplacedError):
            inbox.take(OUT, consumer="stranger", generation=1, lease="x", demand=1, ack_wait=LONG)

    def test_the_bell_rings_for_what_arrives_and_what_is_given_back(self, log: LogRecorder, inbox: Inbox) -> None:
        rung = Event()
        inbox.listen(lambda tract: rung.set() if tract == OUT else None)
        until(lambda: rung.wait(0.05) or log.wait_beyond(0, timeout=0), lambda _: True)
        rung.clear()
        arrive(log, 1, run(0, 1))
        assert rung.wait(2)
        take(inbox, 1)
        rung.clear()
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN))
        assert rung.wait(2)

    def test_messages_of_conflicting_events_do_not_arrive(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        with pytest.raises(AppendRefusedError) as refused:
            arrive(log, 1, run(0, 1))
        assert (refused.value.conflicts, refused.value.full) == ((A,), {})
        assert inbox.level(OUT).backlog == 1


def run(first: int, count: int, *, priority: int = 2, recipient: str | None = None) -> Arrival:
    return Arrival(0, first, count, OUT, priority, recipient)


def arrive(log: LogRecorder, version: int, *arrivals: Arrival) -> None:
    log.insert_events(events(A, version), arrivals=arrivals)


def take(inbox: Inbox, demand: int, lease: str = "lease", *, ack_wait: int = LONG) -> Taken:
    return inbox.take(OUT, consumer="tester", generation=1, lease=lease, demand=demand, ack_wait=ack_wait)


def slots(taken: Taken) -> list[int]:
    return [handed.slot for handed in taken.handed]


def done(lease: str, slot: int, *, attempt: int = 1) -> Settlement:
    return Settlement(OUT, lease, slot, attempt, Then.DONE)


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
