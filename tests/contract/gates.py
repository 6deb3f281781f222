"""The contract of a store's gates: what is refused, what is handed out under permits, and that no permit leaks."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from application.inbox import DEAD_LETTERS, Arrival, Handed, Inbox, Level, Settlement, Take, Taken, Then
from application.passage import GateChange, Passage
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract import Settings, opened_log
from tests.contract.inbox_case import (
    LONG,
    OUT,
    InboxCase,
    arrive,
    dead,
    done,
    given,
    offer,
    redriven,
    run,
    settle,
    settling,
    slots,
    take,
    until,
)
from tests.contract.log_recorder import A, B, C, events

__all__ = ["GateContract"]

FREE, PROBING, SHUT = Passage

ENDINGS = {
    "done": Settlement(OUT, "lease", 1000, 1, Then.DONE, uncounted=True),
    "again": Settlement(OUT, "lease", 1000, 1, Then.AGAIN, uncounted=True),
    "later": Settlement(OUT, "lease", 1000, 1, Then.AGAIN, delay=LONG, uncounted=True),
    "dead": Settlement(OUT, "lease", 1000, 1, Then.DEAD, uncounted=True),
    "back": Settlement(OUT, "lease", 1000, 1, Then.BACK),
}


class GateContract(InboxCase):
    def test_what_was_never_set_is_free(self, log: LogRecorder, inbox: Inbox) -> None:
        assert inbox.level(OUT) == Level(0, None, FREE, generation=0, permits=0, retry_at=None)
        arrive(log, 1, run(0, 1))
        assert take(inbox, 1).generation == 0

    def test_an_append_changes_what_is_let_through(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        change(log, 1, GateChange(OUT, SHUT, 1, retry_at=1_700_000_000_000, capacity=7))
        shut = Level(2, 7, SHUT, 1, 0, 1_700_000_000_000)
        assert (inbox.level(OUT), inbox.state(OUT).level) == (shut, shut)
        change(log, 2, GateChange(OUT, PROBING, 2, permits=3))
        assert inbox.level(OUT) == Level(2, 7, PROBING, 2, 3, None)
        change(log, 3, GateChange(OUT, FREE, 3, capacity=0), GateChange("internal", SHUT, 1))
        assert inbox.level(OUT) == Level(2, 0, FREE, 3)
        assert inbox.level("internal") == Level(0, None, SHUT, 1)

    def test_a_refused_append_changes_nothing(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        with pytest.raises(AppendRefusedError):
            log.insert_events(events(A, 1), gates=[GateChange(OUT, SHUT, 1)])
        assert inbox.level(OUT) == Level(1, None)

    def test_it_outlives_the_recorder(self, log: LogRecorder, settings: Settings) -> None:
        if ":memory:" in settings.values():
            pytest.skip("this store does not outlive it")
        change(log, 1, GateChange(OUT, SHUT, 4, retry_at=5))
        with opened_log(settings) as other:
            assert other.inbox.level(OUT) == Level(0, None, SHUT, 4, retry_at=5)

    # What is let in.

    def test_nothing_is_let_into_a_tract_that_is_shut(self, log: LogRecorder, inbox: Inbox) -> None:
        change(log, 1, GateChange(OUT, SHUT, 1, retry_at=9, capacity=5))
        refused = refusal(log, run(0, 1))
        assert (refused.shut, refused.full) == ({OUT: Level(0, 5, SHUT, 1, retry_at=9)}, {})
        refused = refusal(log, run(0, 6))
        assert set(refused.shut) == set(refused.full) == {OUT}
        assert (log.max_notification_id(), inbox.level(OUT).backlog) == (1, 0)

    def test_what_one_tract_refuses_is_refused_whole(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, Arrival(0, 0, 1, "internal", 2), run(1, 1))
        take(inbox, 1)
        change(log, 1, GateChange(OUT, SHUT, 1), GateChange("internal", FREE, 0, capacity=2))
        more = [Arrival(0, 0, 1, "internal", 2), run(1, 1)]
        with pytest.raises(AppendRefusedError) as refused:
            log.insert_events(events(A, 2), arrivals=more, settlements=[done("lease", 1001)])
        assert (set(refused.value.shut), refused.value.full, refused.value.lost) == ({OUT}, {}, ())
        assert (log.max_notification_id(), inbox.level("internal").backlog, inbox.level(OUT).backlog) == (2, 1, 1)
        both = refusal(log, Arrival(0, 0, 2, "internal", 2), run(2, 1))
        assert (set(both.shut), both.full) == ({OUT}, {"internal": Level(1, 2)})

    def test_what_is_exempt_is_let_in_all_the_same(self, log: LogRecorder, inbox: Inbox) -> None:
        change(log, 1, GateChange(OUT, SHUT, 1))
        arrive(log, 1, Arrival(0, 0, 2, OUT, 2, exempt=True))
        assert inbox.level(OUT).backlog == 2

    def test_a_redrive_waits_until_the_gate_is_open(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1)
        settle(log, 1, dead(1000))
        change(log, 2, GateChange(OUT, SHUT, 1))
        with pytest.raises(AppendRefusedError) as refused:
            settle(log, 3, redriven(1000))
        assert set(refused.value.shut) == {OUT}
        settle(log, 3, done(DEAD_LETTERS, 1000))

    def test_who_probes_lets_in_what_there_is_room_for(self, log: LogRecorder, inbox: Inbox) -> None:
        change(log, 1, GateChange(OUT, PROBING, 1, permits=1, capacity=2))
        arrive(log, 1, run(0, 2))
        assert refusal(log, run(0, 1)).full == {OUT: Level(2, 2, PROBING, 1, 1)}

    def test_an_append_is_judged_by_what_was_before_it(self, log: LogRecorder, inbox: Inbox) -> None:
        log.insert_events(events(A, 1), arrivals=[run(0, 2)], gates=[GateChange(OUT, SHUT, 1, capacity=1)])
        assert inbox.level(OUT) == Level(2, 1, SHUT, 1)
        with pytest.raises(AppendRefusedError):
            log.insert_events(events(A, 2), arrivals=[run(0, 1)], gates=[GateChange(OUT, FREE, 2, capacity=0)])
        assert inbox.level(OUT).passage is SHUT

    # What is handed out.

    def test_nothing_is_handed_out_of_a_tract_that_is_shut(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        change(log, 1, GateChange(OUT, SHUT, 1))
        nothing = take(inbox, 9)
        assert (nothing.handed, nothing.left, nothing.generation) == ([], True, 1)
        change(log, 2, GateChange(OUT, FREE, 2))
        taken = take(inbox, 9)
        assert (slots(taken), taken.generation) == ([1000], 2)

    def test_where_nothing_is_handed_out_leases_end_all_the_same(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1, "short", ack_wait=30)
        change(log, 1, GateChange(OUT, SHUT, 1))
        until(lambda: take(inbox, 9, "other"), lambda taken: taken.left)
        assert settling(log, 2, done("short", 1000)) == (done("short", 1000),)

    def test_a_take_that_is_repeated_is_given_the_same_whatever_the_gate_is(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        arrive(log, 1, run(0, 5))
        change(log, 1, GateChange(OUT, PROBING, 3, permits=2))
        first = take(inbox, 9)
        assert (slots(first), first.generation, inbox.level(OUT).permits) == ([1000, 1001], 3, 0)
        assert (take(inbox, 9).handed, take(inbox, 9).generation) == (first.handed, 3)
        change(log, 2, GateChange(OUT, SHUT, 4))
        again = take(inbox, 9)
        assert (again.handed, again.generation, again.left) == (first.handed, 3, True)
        settle(log, 3, done("lease", 1000), done("lease", 1001))

    def test_who_probes_hands_out_as_many_as_there_are_permits(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 5))
        change(log, 1, GateChange(OUT, PROBING, 1, permits=3))
        first, second, third = (take(inbox, 2, lease) for lease in "abc")
        assert (slots(first), slots(second), slots(third)) == ([1000, 1001], [1002], [])
        assert (second.left, third.left, inbox.level(OUT).permits) == (True, True, 0)
        change(log, 2, GateChange(OUT, FREE, 2))
        assert slots(take(inbox, 9, "d")) == [1003, 1004]

    def test_two_who_race_for_permits_are_given_no_more(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 100))
        together = Barrier(2)

        def racer(generation: int, who: str) -> int:
            together.wait(5)
            return len(take(inbox, 2, f"{who}{generation}").handed)

        with ThreadPoolExecutor(2) as pool:
            for generation in range(1, 21):
                change(log, generation, GateChange(OUT, PROBING, generation, permits=3))
                racing = [pool.submit(racer, generation, who) for who in "ab"]
                assert sum(future.result() for future in racing) == 3

    def test_an_offer_is_held_to_the_gate_as_the_append_leaves_it(self, log: LogRecorder, inbox: Inbox) -> None:
        offers = [offer(9, "a"), offer(9, "b")]
        probing = [GateChange(OUT, PROBING, 1, permits=2)]
        log.insert_events(events(A, 1), arrivals=[run(0, 5)], offers=offers, gates=probing)
        taken = given(offers[0].taken)
        assert (slots(taken), taken.left, taken.generation, offers[1].taken) == ([1000, 1001], True, 1, None)
        shut = offer(9, "c")
        log.insert_events(events(A, 2), offers=[shut], gates=[GateChange(OUT, SHUT, 2)])
        assert (shut.taken, inbox.level(OUT).backlog) == (None, 5)

    # Permits.

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_the_permit_of_what_was_no_call_is_there_again(
        self, log: LogRecorder, inbox: Inbox, ending: str
    ) -> None:
        self.probing(log, inbox)
        settle(log, 2, ENDINGS[ending])
        assert inbox.level(OUT).permits == 1
        assert len(take(inbox, 9, "next").handed) == 1
        assert inbox.level(OUT).permits == 0

    @pytest.mark.parametrize("then", [Then.DONE, Then.AGAIN, Then.DEAD])
    def test_a_call_uses_its_permit_up(self, log: LogRecorder, inbox: Inbox, then: Then) -> None:
        self.probing(log, inbox)
        settle(log, 2, Settlement(OUT, "lease", 1000, 1, then))
        assert (inbox.level(OUT).permits, take(inbox, 9, "next").handed) == (0, [])

    def test_the_permits_of_a_lease_that_ends_are_there_again(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox, 3, ack_wait=30)
        settle(log, 2, done("lease", 1001))
        again = until(lambda: take(inbox, 9, "next"), lambda taken: taken.handed)
        assert (again.handed, inbox.level(OUT).permits) == ([Handed(1000, 2, 2), Handed(1002, 2, 2)], 0)

    def test_the_permits_of_a_consumer_that_is_replaced_are_there_again(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        self.probing(log, inbox, 2)
        assert inbox.join(OUT, "tester") == 2
        assert inbox.level(OUT).permits == 2
        taken = inbox.take(Take(OUT, "tester", 2, "new", 9, LONG))
        assert (len(taken.handed), inbox.level(OUT).permits) == (2, 0)

    def test_a_lease_that_is_made_longer_keeps_its_permits(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox, 2)
        assert inbox.extend(OUT, "lease", LONG)
        assert inbox.level(OUT).permits == 0
        settle(log, 2, *(Settlement(OUT, "lease", slot, 1, Then.BACK) for slot in (1000, 1001)))
        assert inbox.level(OUT).permits == 2

    def test_a_pause_gives_no_permit_back_when_it_ends(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox, 2)
        called, not_called = (
            Settlement(OUT, "lease", slot, 1, Then.AGAIN, delay=1, uncounted=slot == 1001) for slot in (1000, 1001)
        )
        settle(log, 2, called, not_called)
        until(lambda: take(inbox, 0, "none"), lambda taken: taken.next_due is None)
        assert inbox.level(OUT).permits == 1

    @pytest.mark.parametrize("passage", Passage)
    def test_what_an_earlier_generation_handed_out_gives_no_permit_back(
        self, log: LogRecorder, inbox: Inbox, passage: Passage
    ) -> None:
        self.probing(log, inbox, 2)
        change(log, 2, GateChange(OUT, passage, 2, permits=1))
        before = inbox.level(OUT).permits
        settle(log, 3, ENDINGS["back"])
        assert inbox.level(OUT).permits == before
        inbox.join(OUT, "tester")
        assert inbox.level(OUT).permits == before
        change(log, 4, GateChange(OUT, PROBING, 3, permits=1))
        assert inbox.level(OUT).permits == 1

    def test_what_was_handed_out_freely_gives_no_permit_back(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 2)
        change(log, 1, GateChange(OUT, PROBING, 1, permits=1))
        settle(log, 2, ENDINGS["back"], Settlement(OUT, "lease", 1001, 1, Then.DEAD, uncounted=True))
        settle(log, 3, Settlement(OUT, DEAD_LETTERS, 1001, 1, Then.DONE, uncounted=True))
        assert inbox.level(OUT).permits == 1

    def test_no_permit_is_granted_twice_in_a_generation(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox, 2)
        change(log, 2, GateChange(OUT, PROBING, 1, permits=2, retry_at=9, capacity=50))
        assert inbox.level(OUT) == Level(5, 50, PROBING, 1, 0, 9)
        change(log, 3, GateChange(OUT, PROBING, 2, permits=2))
        assert inbox.level(OUT).permits == 2

    # Bells.

    @pytest.mark.parametrize(("passage", "rings"), [(FREE, True), (PROBING, True), (SHUT, False)])
    def test_the_bell_rings_when_a_gate_lets_something_out(
        self, log: LogRecorder, inbox: Inbox, passage: Passage, rings: bool
    ) -> None:
        change(log, 1, GateChange(OUT, SHUT, 1))
        rung = self.bell(log, inbox)
        change(log, 2, GateChange(OUT, passage, 2, permits=1))
        assert rung.is_set() is rings  # an append of this process rings before it returns

    def test_the_bell_rings_for_a_permit_that_is_there_again(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox)
        rung = self.bell(log, inbox)
        settle(log, 2, ENDINGS["done"])
        assert rung.is_set()

    def test_the_bell_rings_for_the_permits_of_a_lease_that_ends(self, log: LogRecorder, inbox: Inbox) -> None:
        self.probing(log, inbox, 2, ack_wait=30)
        rung = self.bell(log, inbox)
        until(lambda: take(inbox, 1, "one"), lambda taken: taken.handed)
        assert rung.wait(2)

    def test_an_ordered_tract_is_held_to_its_gate(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 2))
        log.insert_events(events(C, 1), arrivals=[run(0, 2)])
        change(log, 1, GateChange(OUT, PROBING, 1, permits=1))
        assert slots(take(inbox, 9)) == [1000]
        settle(log, 2, Settlement(OUT, "lease", 1000, 1, Then.DONE, line=A.hex, uncounted=True))
        assert slots(take(inbox, 9, "next")) == [1001]

    def probing(self, log: LogRecorder, inbox: Inbox, permits: int = 1, *, ack_wait: int = LONG) -> Taken:
        """Five messages, and so many of them handed out as there were permits."""
        arrive(log, 1, run(0, 5))
        change(log, 1, GateChange(OUT, PROBING, 1, permits=permits))
        taken = take(inbox, 9, ack_wait=ack_wait)
        assert (len(taken.handed), inbox.level(OUT).permits) == (permits, 0)
        return taken


def change(log: LogRecorder, version: int, *gates: GateChange) -> None:
    log.insert_events(events(B, version), gates=gates)


def refusal(log: LogRecorder, *arrivals: Arrival) -> AppendRefusedError:
    with pytest.raises(AppendRefusedError) as refused:
        log.insert_events(events(C, 1), arrivals=arrivals)
    return refused.value
