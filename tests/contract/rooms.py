"""The contract of telling who waits for room in a tract, and of letting them in."""

from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic

import pytest

from application.inbox import ROOM_LEASE, Arrival, Inbox, Settlement, Then
from application.passage import GateChange, Passage
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract import Settings, opened_log
from tests.contract.inbox_case import OUT, InboxCase, arrive, dead, done, redriven, run, settle, take, until
from tests.contract.log_recorder import A, B, events

__all__ = ["RoomContract", "listening"]

Told = Callable[[], tuple[str, int]]
UNKNOWN = -1


class RoomContract(InboxCase):
    def test_every_append_that_settles_tells_the_backlog(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 6))
        take(inbox, 6)
        told = listening(log)
        settle(log, 1, done("lease", 1000), done("lease", 1001))
        assert told() == (OUT, 4)
        settle(log, 2, Settlement(OUT, "lease", 1002, 1, Then.AGAIN), Settlement(OUT, "lease", 1003, 1, Then.BACK))
        assert told() == (OUT, 4)
        settle(log, 3, dead(1004))
        assert told() == (OUT, 3)
        settle(log, 4, redriven(1004))
        assert told() == (OUT, 4)
        log.insert_events(events(A, 2), arrivals=[run(0, 3)], settlements=[done("lease", 1005)])
        assert told() == (OUT, 6)

    def test_what_only_arrives_is_not_told(self, log: LogRecorder, inbox: Inbox) -> None:
        told = listening(log)
        arrive(log, 1, run(0, 2))
        take(inbox, 1)
        settle(log, 1, done("lease", 1000))
        assert told() == (OUT, 1)

    def test_each_tract_is_told_of_its_own(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2), Arrival(0, 2, 5, "internal", 2))
        take(inbox, 2)
        told = listening(log)
        log.insert_events(
            events(B, 1),
            settlements=[done("lease", 1000)],
            gates=[GateChange("internal", Passage.FREE, 0, capacity=9)],
        )
        assert {told(), told()} == {(OUT, 1), ("internal", 5)}

    def test_every_change_of_a_gate_is_told(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        told = listening(log)
        log.insert_events(events(B, 1), gates=[GateChange(OUT, Passage.SHUT, 1)])
        assert told() == (OUT, 2)
        log.insert_events(events(B, 2), gates=[GateChange("internal", Passage.FREE, 1, capacity=9)])
        assert told() == ("internal", 0)

    def test_a_refused_append_is_not_told(self, log: LogRecorder, inbox: Inbox) -> None:
        arrive(log, 1, run(0, 2))
        take(inbox, 2)
        told = listening(log)
        with pytest.raises(AppendRefusedError):
            settle(log, 1, done("lease", 1000), done("none", 1001))
        settle(log, 1, done("lease", 1001))
        assert told() == (OUT, 1)

    def test_other_processes_are_told(self, log: LogRecorder, inbox: Inbox, settings: Settings) -> None:
        if inbox.look_every is not None:
            pytest.skip("this store tells no other process")
        arrive(log, 1, run(0, 2))
        take(inbox, 2)
        with opened_log(settings) as other:
            told = listening(other)
            settle(log, 1, done("lease", 1000))
            assert told() == (OUT, 1)

    # Letting in.

    def test_a_waiting_room_that_is_alone_lets_in_all_that_there_is_room_for(self, inbox: Inbox) -> None:
        assert [inbox.let_in(OUT, "a", wanted, 2) for wanted in (2, 0, 1, 9)] == [2, 0, 1, 9]

    def test_no_waiting_room_gets_ahead_by_more_than_once_for_each_of_its_senders(self, inbox: Inbox) -> None:
        assert inbox.let_in(OUT, "a", 0, 4) == inbox.let_in(OUT, "b", 0, 10) == 0
        assert [inbox.let_in(OUT, "a", 3, 4) for _ in range(3)] == [3, 1, 0]
        assert inbox.let_in(OUT, "b", 5, 10) == 5
        assert inbox.let_in(OUT, "a", 9, 4) == 2
        assert inbox.let_in(OUT, "b", 99, 10) == 20, "it was half a round behind, and may be half a round ahead"

    def test_the_one_that_is_behind_may_always_go(self, inbox: Inbox) -> None:
        rooms = {"a": 1, "b": 3, "c": 7}
        for room, waiting in rooms.items():
            inbox.let_in(OUT, room, 0, waiting)
        let_in = Counter[str]()
        for _ in range(300):
            gone = {room: inbox.let_in(OUT, room, 2, waiting) for room, waiting in rooms.items()}
            assert any(gone.values())
            let_in.update(gone)
        rounds = [let_in[room] / waiting for room, waiting in rooms.items()]
        assert max(rounds) - min(rounds) <= 1 + 1e-6

    def test_two_that_are_as_far_do_not_keep_each_other_back(self, inbox: Inbox) -> None:
        assert inbox.let_in(OUT, "a", 2, 7) == 2
        assert inbox.let_in(OUT, "b", 0, 1) == 0
        assert inbox.let_in(OUT, "b", 1, 1) == 1, "2/7 + 1 - 2/7 is less than 1 in floating point"

    def test_who_comes_later_has_missed_nothing(self, inbox: Inbox) -> None:
        inbox.let_in(OUT, "a", 50, 1)
        assert inbox.let_in(OUT, "b", 9, 1) == 1
        assert inbox.let_in(OUT, "a", 9, 1) == 2

    def test_nobody_waits_for_one_that_has_left(self, inbox: Inbox) -> None:
        inbox.let_in(OUT, "a", 0, 1)
        inbox.let_in(OUT, "b", 0, 1)
        assert inbox.let_in(OUT, "a", 5, 1) == 1
        inbox.leave(OUT, "b")
        assert inbox.let_in(OUT, "a", 5, 1) == 5

    def test_who_leaves_and_comes_again_is_as_far_ahead_as_before(self, inbox: Inbox) -> None:
        inbox.let_in(OUT, "a", 0, 1)
        inbox.let_in(OUT, "b", 0, 1)
        assert inbox.let_in(OUT, "a", 5, 1) == 1
        inbox.leave(OUT, "a")
        inbox.leave(OUT, "a")
        assert inbox.let_in(OUT, "a", 5, 1) == 0

    def test_who_leaves_and_comes_again_has_missed_nothing_meanwhile(self, inbox: Inbox) -> None:
        inbox.let_in(OUT, "a", 0, 1)
        inbox.leave(OUT, "a")
        inbox.let_in(OUT, "b", 5, 1)
        assert inbox.let_in(OUT, "a", 5, 1) == 1

    def test_nobody_waits_for_one_that_does_not_ask_any_more(self, inbox: Inbox) -> None:
        inbox.let_in(OUT, "a", 0, 1)
        inbox.let_in(OUT, "b", 0, 1)
        began = monotonic()
        until(lambda: inbox.let_in(OUT, "a", 5, 1), lambda allowed: allowed == 5)
        assert monotonic() - began >= ROOM_LEASE / 1000 - 0.1

    def test_waiting_rooms_of_another_tract_are_others(self, inbox: Inbox) -> None:
        inbox.let_in("internal", "b", 0, 1)
        assert inbox.let_in(OUT, "a", 5, 1) == 5


def listening(log: LogRecorder) -> Told:
    """The next that is told; waits for it. Nothing that was missed before it is known."""
    queue = SimpleQueue[tuple[str, int]]()
    log.inbox.listen_for_room(lambda tract, backlog: queue.put((tract, backlog)))
    if log.inbox.look_every is None:
        assert {queue.get(timeout=5) for _ in range(2)} == {("internal", UNKNOWN), (OUT, UNKNOWN)}
    return lambda: queue.get(timeout=5)
