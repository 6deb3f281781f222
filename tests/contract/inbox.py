"""The contract of a store's inbox: what arrives is handed out in order, held, settled, and never twice."""

from time import monotonic

import pytest

from application.inbox import (
    DEAD_LETTERS,
    Arrival,
    Buried,
    Handed,
    Inbox,
    InFlight,
    Level,
    NotEmptyError,
    Pending,
    ReplacedError,
    Settlement,
    Take,
    Taken,
    Then,
)
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

__all__ = ["InboxContract"]


class InboxContract(InboxCase):
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

    def test_who_asks_for_nothing_is_given_nothing(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 5))
        nothing = take(inbox, 0, "none")
        assert (nothing.handed, nothing.left) == ([], True)
        assert inbox.state(OUT).pending == [Pending(2, None, 5, 1000)]

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
            return inbox.take(Take(OUT, "other", generation, lease, 1, ack_wait))

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
        began = monotonic()
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN, delay=200))
        waiting = take(inbox, 9, "early")
        assert waiting.handed == []
        assert waiting.next_due is not None
        assert 0 < waiting.next_due <= 200
        assert until(lambda: take(inbox, 9, "late"), lambda t: t.handed).handed == [Handed(1000, 2, 2)]
        assert monotonic() - began > 0.19

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
        theirs = inbox.take(Take("internal", "thinker", generation, "t", 9, LONG))
        assert (slots(take(inbox, 9)), slots(theirs)) == ([1000, 1001], [1002])

    def test_a_message_for_one_consumer_is_handed_to_that_one_alone(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1), run(1, 1, recipient="other"), run(2, 1))
        generation = inbox.join(OUT, "other")
        assert slots(take(inbox, 1, "a")) == [1000]
        other = inbox.take(Take(OUT, "other", generation, "o", 9, LONG))
        assert slots(other) == [1001, 1002]
        settle(log, 1, Settlement(OUT, "o", 1001, 1, Then.AGAIN))
        assert slots(take(inbox, 9, "b")) == []
        again = inbox.take(Take(OUT, "other", generation, "p", 9, LONG))
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
        taken = inbox.take(Take(OUT, "tester", 2, "new", 9, LONG))
        assert taken.handed == [Handed(1000, 2, 2), Handed(1001, 2, 1)]

    def test_a_stranger_takes_nothing(self, inbox: Inbox) -> None:
        with pytest.raises(ReplacedError):
            inbox.take(Take(OUT, "stranger", 1, "x", 1, LONG))

    def test_the_bell_rings_for_what_arrives_and_what_is_given_back(self, log: LogRecorder, inbox: Inbox) -> None:
        rung = self.bell(log, inbox)
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

    def test_dead_letters_are_listed_by_their_place(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3))
        take(inbox, 3)
        settle(log, 1, dead(1002))
        settle(log, 2, done("lease", 1001), dead(1000))
        assert inbox.dead(OUT, after=0, limit=9) == [Buried(1000, 1, 3), Buried(1002, 1, 2)]
        assert inbox.dead(OUT, after=0, limit=1) == [Buried(1000, 1, 3)]
        assert inbox.dead(OUT, after=1000, limit=9) == [Buried(1002, 1, 2)]
        assert inbox.dead("internal", after=0, limit=9) == []

    def test_a_dead_letter_that_is_redriven_is_as_new(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1, priority=5, recipient="tester"))
        take(inbox, 1, "first")
        settle(log, 1, Settlement(OUT, "first", 1000, 1, Then.AGAIN))
        take(inbox, 1)
        settle(log, 2, dead(1000, attempt=2))
        assert inbox.level(OUT).backlog == 0
        settle(log, 3, redriven(1000, attempt=2))
        assert (inbox.dead(OUT, after=0, limit=9), inbox.level(OUT).backlog) == ([], 1)
        assert take(inbox, 1, "anew").handed == [Handed(1000, 5, 1)]

    def test_a_dead_letter_that_is_discarded_is_gone(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1)
        settle(log, 1, dead(1000))
        settle(log, 2, done(DEAD_LETTERS, 1000))
        assert (inbox.dead(OUT, after=0, limit=9), inbox.level(OUT).backlog) == ([], 0)
        assert take(inbox, 9, "next").handed == []
        assert settling(log, 3, redriven(1000)) == (redriven(1000),)

    def test_what_is_no_dead_letter_is_not_redriven(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 1)
        assert settling(log, 1, redriven(1000), redriven(1001)) == (redriven(1000), redriven(1001))

    def test_a_redrive_needs_room(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.configure(OUT, 1)
        arrive(log, 1, run(0, 1))
        take(inbox, 1)
        settle(log, 1, dead(1000))
        arrive(log, 2, run(0, 1))
        with pytest.raises(AppendRefusedError) as refused:
            settle(log, 2, redriven(1000))
        assert refused.value.full == {OUT: Level(1, 1)}
        assert inbox.dead(OUT, after=0, limit=9) == [Buried(1000, 1, 2)]

    def test_the_bell_rings_for_what_is_redriven(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        take(inbox, 1)
        settle(log, 1, dead(1000))
        rung = self.bell(log, inbox)
        settle(log, 2, redriven(1000))
        assert rung.wait(2)

    def test_dead_letters_stay_when_a_consumer_joins_and_when_leases_end(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 2, "short", ack_wait=30)
        settle(log, 1, Settlement(OUT, "short", 1000, 1, Then.DEAD))
        until(lambda: take(inbox, 2), lambda taken: taken.handed)
        inbox.join(OUT, "tester")
        assert inbox.dead(OUT, after=0, limit=9) == [Buried(1000, 1, 2)]

    def test_an_ordered_tract_hands_out_one_message_of_a_dialogue_after_the_other(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 2), run(2, 1, priority=5))
        arrive(log, 2, run(0, 1))
        assert inbox.level(OUT).backlog == 4
        for version, slot in enumerate([1000, 1001, 1002, 2000], 1):
            assert slots(take(inbox, 9)) == [slot]
            assert take(inbox, 9, "another").handed == []
            settle(log, version, done("lease", slot, line=A.hex))
        assert (take(inbox, 9).handed, inbox.level(OUT).backlog) == ([], 0)

    def test_in_an_ordered_tract_dialogues_compete_by_the_priority_of_their_heads(
        self, log: LogRecorder, inbox: Inbox
    ) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 1, priority=1), run(1, 1, priority=5))
        log.insert_events(events(C, 1), arrivals=[run(0, 1, priority=3)])
        assert slots(take(inbox, 1)) == [2000]
        assert slots(take(inbox, 1, "low")) == [1000]
        settle(log, 1, done("low", 1000, line=A.hex))
        assert slots(take(inbox, 1, "high")) == [1001]

    def test_the_next_of_a_line_follows_after_a_retry_too(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 2))
        take(inbox, 9)
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN, line=A.hex))
        assert take(inbox, 9, "again").handed == [Handed(1000, 2, 2)]
        settle(log, 2, done("again", 1000, attempt=2, line=A.hex))
        assert take(inbox, 9).handed == [Handed(1001, 2, 1)]

    @pytest.mark.parametrize("then", [Then.AGAIN, Then.DONE])
    def test_behind_a_dead_letter_its_dialogue_stands_still(
        self, log: LogRecorder, inbox: Inbox, then: Then
    ) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 1), run(1, 1, recipient="tester"))
        log.insert_events(events(C, 1), arrivals=[run(0, 1)])
        assert slots(take(inbox, 9)) == [1000, 2000]
        settle(log, 1, dead(1000, line=A.hex), done("lease", 2000, line=C.hex))
        arrive(log, 2, run(0, 1))
        assert (take(inbox, 9).handed, inbox.level(OUT).backlog) == ([], 2)
        rung = self.bell(log, inbox)
        settle(log, 2, Settlement(OUT, DEAD_LETTERS, 1000, 1, then, line=A.hex))
        assert rung.wait(2)
        assert slots(take(inbox, 9)) == [1000 if then is Then.AGAIN else 1001]

    def test_a_tract_becomes_ordered_only_while_it_is_empty(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.order(OUT, ordered=False)
        arrive(log, 1, run(0, 1))
        inbox.order(OUT, ordered=False)
        with pytest.raises(NotEmptyError):
            inbox.order(OUT, ordered=True)
        take(inbox, 1)
        settle(log, 1, dead(1000))
        with pytest.raises(NotEmptyError):
            inbox.order(OUT, ordered=True)
        settle(log, 2, done(DEAD_LETTERS, 1000))
        inbox.order(OUT, ordered=True)
        assert (inbox.state(OUT).ordered, inbox.state("internal").ordered) == (True, False)

    def test_an_append_carries_out_what_it_is_offered(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1, priority=1))
        taken = given(arrive(log, 2, run(0, 1), run(1, 3, priority=5), offers=[offer(3)]))
        assert taken.handed == [Handed(2001, 5, 1), Handed(2002, 5, 1), Handed(2003, 5, 1)]
        assert (taken.left, (taken.next_due or 0) > 1000) == (True, True)
        [held] = taken.entries
        assert held == log.entries_at([2])[0]
        assert slots(take(inbox, 9, "other")) == [2000, 1000]
        settle(log, 1, done("offered", 2001))

    def test_an_offer_is_a_take_that_may_be_repeated(self, log: LogRecorder, inbox: Inbox) -> None:
        first = given(arrive(log, 1, run(0, 2), offers=[offer(9)]))
        assert take(inbox, 9, "offered").handed == first.handed
        again = given(arrive(log, 2, run(0, 1), offers=[offer(9)]))
        assert (again.handed, again.left) == (first.handed, True)

    def test_offers_are_carried_out_in_their_order(self, log: LogRecorder, inbox: Inbox) -> None:
        first, second, third = offer(2, "first"), offer(2, "second"), offer(2, "third")
        arrive(log, 1, run(0, 3), offers=[first, second, third])
        assert (slots(given(first.taken)), slots(given(second.taken))) == ([1000, 1001], [1002])
        assert third.taken is None
        assert inbox.level(OUT).backlog == 3

    def test_nothing_is_given_that_is_not_for_who_offers(self, log: LogRecorder, inbox: Inbox) -> None:
        elsewhere = Arrival(0, 1, 1, "internal", 2)
        assert arrive(log, 1, run(0, 1, recipient="other"), elsewhere, offers=[offer(9)]) is None
        assert take(inbox, 9).next_due is None

    def test_a_refused_append_carries_out_nothing(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1))
        offered = offer(9)
        with pytest.raises(AppendRefusedError):
            arrive(log, 1, run(0, 1), offers=[offered])
        assert offered.taken is None
        assert inbox.state(OUT).pending == [Pending(2, None, 1, 1000)]

    def test_who_was_replaced_is_given_nothing(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.join(OUT, "tester")
        assert arrive(log, 1, run(0, 1), offers=[offer(9)]) is None
        assert inbox.state(OUT).pending == [Pending(2, None, 1, 1000)]

    def test_what_an_append_settles_makes_room_for_what_it_gives(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 2))
        take(inbox, 1)
        offered = offer(1)
        log.insert_events(events(B, 1), settlements=[done("lease", 1000, line=A.hex)], offers=[offered])
        assert slots(given(offered.taken)) == [1001]

    def test_the_bell_does_not_ring_here_for_what_an_append_gives(self, log: LogRecorder, inbox: Inbox) -> None:
        rung = self.bell(log, inbox)
        arrive(log, 1, run(0, 2), offers=[offer(2)])
        assert not rung.is_set()
        arrive(log, 2, run(0, 2), offers=[offer(1, "one of two")])
        assert rung.is_set()

    def test_the_bell_rings_elsewhere_for_what_an_append_gives(
        self, log: LogRecorder, inbox: Inbox, settings: Settings
    ) -> None:
        """Who waits there must know when that lease ends."""
        if inbox.look_every is not None:
            pytest.skip("this store tells no other process")
        with opened_log(settings) as other:
            rung = self.bell(other, other.inbox)
            arrive(log, 1, run(0, 1), offers=[offer(1)])
            assert rung.wait(2)

    def test_the_state_tells_what_there_is(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.configure(OUT, 100)
        arrive(log, 1, run(0, 2), run(2, 2, priority=5), run(4, 3, recipient="other"), run(7, 1))
        assert inbox.state(OUT).pending == [
            Pending(5, None, 2, 1002),
            Pending(2, None, 3, 1000),
            Pending(2, "other", 3, 1004),
        ]
        take(inbox, 5)
        settle(log, 1, dead(1002), Settlement(OUT, "lease", 1003, 1, Then.AGAIN, delay=LONG))
        settle(log, 2, Settlement(OUT, "lease", 1001, 1, Then.AGAIN))
        take(inbox, 1, "more")
        state = inbox.state(OUT)
        assert (state.level, state.dead, state.ordered) == (Level(7, 100), 1, False)
        assert state.pending == [Pending(2, "other", 3, 1004)]
        assert state.in_flight == [InFlight(None, 1, 1003, 1), InFlight("tester", 3, 1000, 2)]
        generation = inbox.join(OUT, "other")
        inbox.take(Take(OUT, "other", generation, "o", 2, LONG))
        assert inbox.state(OUT).pending == [Pending(2, "other", 1, 1006)]

    def test_who_holds_a_message_can_be_asked(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3))
        take(inbox, 2)
        settle(log, 1, Settlement(OUT, "lease", 1001, 1, Then.AGAIN, delay=LONG))
        held, paused = inbox.holding(OUT, 1000), inbox.holding(OUT, 1001)
        assert held is not None
        assert paused is not None
        assert (held.consumer, held.attempt, paused.consumer, paused.attempt) == ("tester", 1, None, 1)
        assert LONG - 5000 < held.until <= LONG
        assert LONG - 5000 < paused.until <= LONG
        settle(log, 2, dead(1000))
        assert (inbox.holding(OUT, 1000), inbox.holding(OUT, 1002)) == (None, None)
