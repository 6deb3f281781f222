"""The contract of giving up what is less urgent: held, then put back, or settled by what takes its room."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from application.inbox import Arrival, Handed, Inbox, Level, Pending, Settlement, Then
from application.passage import GateChange, Passage
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract.inbox_case import LONG, OUT, InboxCase, arrive, done, run, settle, settling, slots, take, until
from tests.contract.log_recorder import A, B, C, events
from tests.contract.rooms import listening

__all__ = ["SheddingContract"]


class SheddingContract(InboxCase):
    # Holding the least urgent.

    def test_the_least_urgent_come_first_and_the_latest_among_equals(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2, priority=2), run(2, 2, priority=1), run(4, 1, priority=3))
        arrive(log, 2, run(0, 1, priority=1), run(1, 1, priority=2))
        assert lowest(inbox, 6, below=3) == [2000, 1003, 1002, 2001, 1001, 1000]
        assert slots(take(inbox, 9)) == [1004]

    def test_a_run_is_split_and_its_beginning_stays(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 10, priority=1))
        assert lowest(inbox, 3) == [1009, 1008, 1007]
        assert inbox.state(OUT).pending == [Pending(1, None, 7, 1000)]
        assert slots(take(inbox, 9)) == [1000, 1001, 1002, 1003, 1004, 1005, 1006]

    @pytest.mark.parametrize("below", [1, 2])
    def test_what_is_as_urgent_is_left_alone(self, log: LogRecorder, inbox: Inbox, below: int) -> None:
        arrive(log, 1, run(0, 3, priority=2))
        assert lowest(inbox, 1, below=below) == []
        assert lowest(inbox, 1, below=3) == [1002]

    def test_where_there_are_fewer_none_is_held(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3, priority=1), run(3, 5, priority=4))
        assert lowest(inbox, 4) == []
        assert (inbox.state(OUT).in_flight, inbox.state(OUT).level) == ([], Level(8, None))
        assert lowest(inbox, 3) == [1002, 1001, 1000]

    def test_whoever_they_are_for(self, log: LogRecorder, inbox: Inbox) -> None:
        for_some = [run(0, 1, priority=2, recipient="x"), run(1, 2, priority=1, recipient="y")]
        arrive(log, 1, *for_some, run(3, 1, priority=1), run(4, 1, priority=1, recipient="x"))
        assert lowest(inbox, 5, below=3) == [1004, 1003, 1002, 1001, 1000]

    def test_of_the_tract_that_is_named(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, Arrival(0, 0, 3, "internal", 1))
        assert lowest(inbox, 1) == []

    @pytest.mark.parametrize("passage", Passage)
    def test_whatever_the_gate_lets_out_and_without_a_permit(
        self, log: LogRecorder, inbox: Inbox, passage: Passage
    ) -> None:
        arrive(log, 1, run(0, 3, priority=1))
        log.insert_events(events(B, 1), gates=[GateChange(OUT, passage, 1, permits=2)])
        before = inbox.level(OUT).permits
        assert lowest(inbox, 2) == [1002, 1001]
        settle(log, 2, *shed(1002))
        inbox.put_back(OUT, "shed")
        assert inbox.level(OUT).permits == before

    def test_what_is_held_or_pauses_is_left_alone(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3, priority=1))
        take(inbox, 2)
        settle(log, 1, Settlement(OUT, "lease", 1001, 1, Then.AGAIN, delay=LONG))
        assert lowest(inbox, 2) == []
        assert lowest(inbox, 1) == [1002]

    def test_what_a_dead_consumer_held_waits_again(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1, priority=1))
        take(inbox, 1, ack_wait=30)
        assert until(lambda: lowest(inbox, 1), len) == [1000]

    def test_nothing_of_an_ordered_tract(self, log: LogRecorder, inbox: Inbox) -> None:
        inbox.order(OUT, ordered=True)
        arrive(log, 1, run(0, 3, priority=1))
        assert lowest(inbox, 1) == []

    def test_asking_again_under_the_same_lease_gives_the_same(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 4, priority=1))
        assert lowest(inbox, 2) == lowest(inbox, 2) == [1003, 1002]

    def test_two_who_race_are_never_given_the_same(self, log: LogRecorder, inbox: Inbox) -> None:
        for version in range(1, 11):
            arrive(log, version, run(0, 4, priority=1))
        together = Barrier(2)

        def racer(who: str) -> list[int]:
            together.wait(5)
            return [slot for number in range(20) for slot in lowest(inbox, 1, lease=f"{who}{number}")]

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(racer, "ab")
        assert len({*one, *other}) == len(one) + len(other) == 40

    @pytest.mark.parametrize("seed", range(3))
    def test_at_any_time_it_is_what_sorting_all_that_waits_gives(
        self, log: LogRecorder, inbox: Inbox, seed: int
    ) -> None:
        chance, waiting = random.Random(seed), dict[int, int]()
        for version in range(1, 80):
            waiting |= arriving(log, version, chance)
            count, below = chance.randint(1, 12), chance.randint(1, 6)
            matching = sorted((waiting[slot], -slot) for slot in waiting if waiting[slot] < below)[:count]
            held = lowest(inbox, count, below=below)
            assert held == ([-slot for _, slot in matching] if len(matching) == count else [])
            if chance.random() < 0.5:
                log.insert_events(events(B, version), settlements=shed(*held))
                waiting = {slot: waiting[slot] for slot in waiting if slot not in held}
            else:
                inbox.put_back(OUT, "shed")
        assert inbox.level(OUT).backlog == len(waiting) > 50

    # Giving back.

    def test_what_is_put_back_is_as_it_was(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 3, priority=1))
        take(inbox, 1)
        settle(log, 1, Settlement(OUT, "lease", 1000, 1, Then.AGAIN))
        assert lowest(inbox, 3) == [1002, 1001, 1000]
        rung = self.bell(log, inbox)
        inbox.put_back(OUT, "shed")
        assert rung.wait(2)
        assert take(inbox, 9).handed == [Handed(1000, 1, 2), Handed(1001, 1, 1), Handed(1002, 1, 1)]
        assert inbox.level(OUT).backlog == 3

    def test_what_nobody_puts_back_comes_back_when_its_lease_ends(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2, priority=1))
        lowest(inbox, 2, ack_wait=30)
        again = until(lambda: take(inbox, 9), lambda taken: taken.handed)
        assert again.handed == [Handed(1000, 1, 1), Handed(1001, 1, 1)]
        assert settling(log, 1, *shed(1001)) == shed(1001)

    def test_who_looks_meanwhile_is_told_when_it_may_come_back(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1, priority=1))
        lowest(inbox, 1, ack_wait=500)
        looked = take(inbox, 1)
        assert (looked.handed, looked.next_due is not None) == ([], True)

    def test_what_has_ended_is_put_back_in_vain(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 1, priority=1))
        lowest(inbox, 1)
        settle(log, 1, *shed(1000))
        inbox.put_back(OUT, "shed")
        inbox.put_back(OUT, "never")
        assert (take(inbox, 9).handed, inbox.level(OUT).backlog) == ([], 0)

    # The append that takes their room.

    def test_what_arrives_takes_the_room_of_what_is_shed(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        log.insert_events(events(B, 1), arrivals=[run(0, 2, priority=5)], settlements=shed(1002, 1001))
        assert inbox.level(OUT) == Level(3, 3)
        assert slots(take(inbox, 9)) == [2000, 2001, 1000]

    def test_more_than_what_is_shed_needs_room_of_its_own(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        with pytest.raises(AppendRefusedError) as refused:
            log.insert_events(events(B, 1), arrivals=[run(0, 3, priority=5)], settlements=shed(1002, 1001))
        assert (refused.value.full, refused.value.lost) == ({OUT: Level(3, 3)}, ())
        inbox.configure(OUT, 4)
        log.insert_events(events(B, 1), arrivals=[run(0, 3, priority=5)], settlements=shed(1002, 1001))
        assert inbox.level(OUT) == Level(4, 4)

    def test_a_tract_beyond_its_capacity_is_not_made_fuller(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        inbox.configure(OUT, 1)
        with pytest.raises(AppendRefusedError):
            log.insert_events(events(B, 1), arrivals=[run(0, 2, priority=5)], settlements=shed(1002))
        log.insert_events(events(B, 1), arrivals=[run(0, 1, priority=5)], settlements=shed(1002))
        assert inbox.level(OUT) == Level(3, 1)

    def test_what_is_acked_makes_room_for_a_later_append_only(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        inbox.put_back(OUT, "shed")
        take(inbox, 1)
        with pytest.raises(AppendRefusedError):
            log.insert_events(events(B, 1), arrivals=[run(0, 1)], settlements=[done("lease", 1000)])

    def test_what_is_held_no_more_refuses_all_of_it(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        inbox.put_back(OUT, "shed")
        with pytest.raises(AppendRefusedError) as refused:
            log.insert_events(events(B, 1), arrivals=[run(0, 2, priority=5)], settlements=shed(1002, 1001))
        assert (refused.value.full, refused.value.lost) == ({}, shed(1002, 1001))
        assert inbox.level(OUT) == Level(3, 3)

    def test_a_shut_gate_lets_nothing_in_for_it(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        log.insert_events(events(C, 1), gates=[GateChange(OUT, Passage.SHUT, 1)])
        with pytest.raises(AppendRefusedError) as refused:
            log.insert_events(events(B, 1), arrivals=[run(0, 2, priority=5)], settlements=shed(1002, 1001))
        assert (list(refused.value.shut), refused.value.full) == ([OUT], {})

    def test_room_is_told_of_as_it_is_then(self, log: LogRecorder, inbox: Inbox) -> None:
        self.full(log, inbox)
        told = listening(log)
        log.insert_events(events(B, 1), arrivals=[run(0, 1, priority=5)], settlements=shed(1002, 1001))
        assert told() == (OUT, 2)

    def full(self, log: LogRecorder, inbox: Inbox) -> None:
        """Three messages, as many as there may be, of which two are held to be shed."""
        inbox.configure(OUT, 3)
        log.insert_events(events(A, 1), arrivals=[run(0, 3, priority=1)])
        assert lowest(inbox, 2) == [1002, 1001]


def arriving(log: LogRecorder, version: int, chance: random.Random) -> dict[int, int]:
    """The priorities of some messages, by their slots."""
    runs, first, position = [], 0, log.tip()[0] + 1
    priorities: dict[int, int] = {}
    for _ in range(chance.randint(1, 3)):
        count, priority = chance.randint(1, 5), chance.randint(1, 5)
        runs.append(run(first, count, priority=priority, recipient=chance.choice([None, "x", "y"])))
        priorities |= {position * 1000 + first + index: priority for index in range(count)}
        first += count
    arrive(log, version, *runs)
    return priorities


def lowest(inbox: Inbox, count: int, *, below: int = 2, lease: str = "shed", ack_wait: int = LONG) -> list[int]:
    handed = inbox.take_lowest(OUT, lease, count=count, below=below, ack_wait=ack_wait)
    return [one.slot for one in handed]


def shed(*slots: int) -> Sequence[Settlement]:
    return tuple(Settlement(OUT, "shed", slot, 0, Then.SHED) for slot in slots)
