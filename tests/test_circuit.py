"""The circuit by scenarios: what resilience4j's documentation says of its breaker, and what differs here."""

from collections.abc import Iterator

import pytest

from domain.circuit import TRANSITIONS, Circuit, CircuitState, Reason, Transition
from domain.errors import InvalidCommandError
from domain.windows import CountWindow, TimeWindow
from tests.circuits import (
    CLOSED,
    DISABLED,
    ERROR,
    FORCED_OPEN,
    HALF_OPEN,
    NOON,
    OPEN,
    QUICK,
    SLOW,
    SMALL,
    TIMED,
    changed,
    half_opened,
    in_state,
    opened,
    stored,
    tell,
    wait_over,
)


class TestClosed:
    def test_it_begins_so_with_an_empty_window_and_no_rates(self) -> None:
        circuit = Circuit(SMALL, since=NOON)
        assert (circuit.state, circuit.generation, circuit.since, circuit.retry_at) == (CLOSED, 0, NOON, None)
        assert (circuit.calls, circuit.failure_rate, circuit.slow_call_rate) == (0, None, None)

    def test_it_has_no_rates_below_the_minimum_number_of_calls_even_if_all_fail(self) -> None:
        circuit = Circuit(SMALL)
        assert tell(circuit, "XXX") == []
        assert (circuit.calls, circuit.failure_rate, circuit.slow_call_rate) == (3, None, None)

    def test_it_opens_when_the_failure_rate_equals_the_threshold(self) -> None:
        circuit = Circuit(SMALL)
        assert tell(circuit, "..xx", at=NOON) == [
            Transition(OPEN, 1, NOON, Reason.FAILURE_RATE, NOON + 30_000, 50.0, 0.0, 4, openings=1)
        ]
        assert (circuit.state, circuit.generation, circuit.since) == (OPEN, 1, NOON)
        assert circuit.retry_at == NOON + 30_000

    def test_it_stays_closed_just_below_the_threshold(self) -> None:
        circuit = Circuit(changed(failure_rate_threshold=50.001))
        assert tell(circuit, "..xx") == []
        assert circuit.failure_rate == 50.0

    def test_it_opens_though_no_two_calls_in_a_row_fail(self) -> None:
        assert [opening.calls for opening in tell(Circuit(changed(minimum_number_of_calls=10)), ".x" * 5)] == [10]

    def test_it_looks_at_the_last_calls_only(self) -> None:
        circuit = Circuit(SMALL)
        tell(circuit, "...x" + "..x." + "..")
        assert (circuit.calls, circuit.failure_rate) == (10, 20.0)
        tell(circuit, "....")
        assert (circuit.calls, circuit.failure_rate) == (10, 10.0)
        tell(circuit, "...")
        assert (circuit.calls, circuit.failure_rate) == (10, 0.0)

    def test_it_does_not_ask_for_more_calls_than_a_count_based_window_holds(self) -> None:
        circuit = Circuit(changed(minimum_number_of_calls=1000))
        assert tell(circuit, "x" * 9) == []
        assert [opening.calls for opening in tell(circuit, "x")] == [10]

    def test_it_opens_by_a_rate_that_goes_up_because_a_good_call_leaves_the_window(self) -> None:
        circuit = Circuit(changed(minimum_number_of_calls=10))
        assert tell(circuit, "......xxxx") == []
        assert [opening.failure_rate for opening in tell(circuit, "x")] == [50.0]

    def test_it_opens_when_the_slow_call_rate_equals_its_threshold(self) -> None:
        circuit = Circuit(changed(slow_call_rate_threshold=75.0))
        assert tell(circuit, ".sss") == [
            Transition(OPEN, 1, NOON, Reason.SLOW_CALL_RATE, NOON + 30_000, 0.0, 75.0, 4, openings=1)
        ]

    def test_it_takes_no_call_for_slow_that_takes_just_the_duration(self) -> None:
        circuit = Circuit(SMALL)
        for _ in range(4):
            circuit.record(0, None, 2_000_000, NOON)
        assert circuit.slow_call_rate == 0.0

    def test_it_counts_a_slow_failure_as_both(self) -> None:
        circuit = Circuit(changed(failure_rate_threshold=60.0))
        tell(circuit, "..sX")
        assert (circuit.failure_rate, circuit.slow_call_rate) == (25.0, 50.0)

    def test_it_names_the_failures_when_both_rates_are_at_their_thresholds(self) -> None:
        assert [opening.reason for opening in tell(Circuit(SMALL), "XXXX")] == [Reason.FAILURE_RATE]

    def test_it_does_nothing_by_time_alone(self) -> None:
        circuit = Circuit(SMALL)
        assert circuit.due_at() is None
        assert circuit.due(NOON * 2) is None

    @pytest.mark.parametrize("generation", [0, 2, 4])
    def test_it_does_not_count_a_call_of_another_generation(self, generation: int) -> None:
        circuit = half_opened()
        tell(circuit, "...")
        assert (circuit.state, circuit.generation) == (CLOSED, 3)
        before = stored(circuit)
        assert [circuit.record(generation, ERROR, SLOW, NOON) for _ in range(20)] == [None] * 20
        assert circuit == before


class TestOpen:
    def test_it_records_nothing(self) -> None:
        circuit = opened()
        before = stored(circuit)
        assert tell(circuit, "." * 100) == []
        assert [circuit.record(0, None, QUICK, NOON) for _ in range(100)] == [None] * 100
        assert circuit == before

    def test_it_has_an_empty_window_as_its_transition_says_the_rates(self) -> None:
        circuit = opened()
        assert (circuit.calls, circuit.failure_rate, circuit.slow_call_rate) == (0, None, None)

    def test_it_is_due_for_probes_at_the_time_it_said_and_not_before(self) -> None:
        circuit = opened()
        assert circuit.due_at() == circuit.retry_at == NOON + 30_000
        assert circuit.due(NOON + 29_999) is None
        assert circuit.due(NOON + 30_000) == Transition(HALF_OPEN, 2, NOON + 30_000, Reason.WAIT_OVER, openings=1)

    def test_it_changes_nothing_by_saying_what_is_due(self) -> None:
        circuit = opened()
        before = stored(circuit)
        assert circuit.due(NOON + 30_000)
        assert circuit == before

    def test_it_is_half_open_from_when_that_is_seen_not_from_when_it_could_have_been(self) -> None:
        transition = opened().due(NOON + 99_000)
        assert transition
        assert transition.since == NOON + 99_000

    def test_it_waits_longer_with_every_opening_in_a_row_up_to_the_longest(self) -> None:
        circuit = opened(changed(wait_multiplier=2.0, longest_wait_in_open=100.0))
        waits = [30_000]
        for _ in range(4):
            wait_over(circuit)
            [again] = tell(circuit, "xxx", at=circuit.since)
            assert again.retry_at
            waits.append(again.retry_at - again.since)
        assert waits == [30_000, 60_000, 100_000, 100_000, 100_000]

    def test_it_waits_as_at_first_once_it_has_been_closed(self) -> None:
        circuit = half_opened(changed(wait_multiplier=2.0))
        tell(circuit, "xxx")
        tell(wait_over(circuit), "...")
        [opening] = tell(circuit, "xxxx")
        assert (opening.openings, opening.retry_at) == (1, NOON + 30_000)

    def test_it_has_a_longest_wait_after_however_many_openings(self) -> None:
        settings = changed(wait_multiplier=1000.0)
        assert [settings.wait(openings) for openings in (1, 2, 100, 10**6)] == [30_000] + [3_600_000] * 3


class TestHalfOpen:
    def test_it_is_decided_by_exactly_its_permitted_calls(self) -> None:
        circuit = half_opened()
        assert tell(circuit, "xx") == []
        assert circuit.failure_rate is None
        [opening] = tell(circuit, "x", at=NOON + 31_000)
        assert opening == Transition(OPEN, 3, NOON + 31_000, Reason.FAILURE_RATE, NOON + 61_000, 100.0, 0.0, 3, 2)

    @pytest.mark.parametrize("minimum", [1, 1000])
    def test_it_does_not_ask_for_the_minimum_number_of_calls(self, minimum: int) -> None:
        circuit = half_opened()
        circuit.configure(changed(minimum_number_of_calls=minimum))
        assert tell(circuit, "..") == []
        assert [closing.state for closing in tell(circuit, ".")] == [CLOSED]

    def test_it_closes_below_both_thresholds_with_an_empty_window(self) -> None:
        circuit = half_opened()
        [closing] = tell(circuit, ".xs", at=NOON + 31_000)
        assert closing == Transition(
            CLOSED, 3, NOON + 31_000, Reason.PROBES_PASSED, None, 100 / 3, 100 / 3, 3, openings=0
        )
        assert (circuit.state, circuit.calls, circuit.openings) == (CLOSED, 0, 0)
        assert isinstance(circuit.window, CountWindow)

    def test_it_opens_again_when_its_probes_are_slow(self) -> None:
        assert [opening.reason for opening in tell(half_opened(), "sss")] == [Reason.SLOW_CALL_RATE]

    def test_it_counts_its_probes_whatever_the_type_of_the_window(self) -> None:
        circuit = half_opened(TIMED)
        tell(circuit, "..", at=NOON + 31_000)
        assert [closing.state for closing in tell(circuit, ".", at=NOON + 10**6)] == [CLOSED]
        assert isinstance(circuit.window, TimeWindow)

    def test_it_is_not_decided_by_an_ignored_error_whose_permit_goes_back(self) -> None:
        circuit = half_opened(changed(recorded_errors=("TimeoutError",), ignored_errors=("ValueError",)))
        assert [circuit.record(2, "ValueError: no", QUICK, NOON) for _ in range(9)] == [None] * 9
        assert circuit.calls == 0

    def test_it_does_not_count_a_call_that_was_let_through_while_closed(self) -> None:
        circuit = half_opened()
        assert [circuit.record(0, ERROR, SLOW, NOON) for _ in range(9)] == [None] * 9
        assert circuit.calls == 0

    def test_it_waits_for_its_probes_for_ever_by_default(self) -> None:
        circuit = half_opened()
        assert circuit.due_at() is None
        assert circuit.due(NOON * 2) is None

    def test_it_opens_again_when_its_probes_have_not_ended_in_the_longest_time(self) -> None:
        circuit = half_opened(changed(max_wait_in_half_open=5.0))
        tell(circuit, "..")
        assert circuit.due_at() == NOON + 35_000
        assert circuit.due(NOON + 34_999) is None
        opening = circuit.due(NOON + 36_000)
        assert opening == Transition(
            OPEN, 3, NOON + 36_000, Reason.HALF_OPEN_TOO_LONG, NOON + 66_000, None, None, 2, openings=2
        )

    def test_it_says_how_many_calls_it_permits_and_no_other_state_does(self) -> None:
        assert [in_state(state).permitted_calls for state in CircuitState] == [None, None, 3, None, None]


@pytest.mark.parametrize("state", [FORCED_OPEN, DISABLED])
class TestForced:
    def test_it_records_nothing(self, state: CircuitState) -> None:
        circuit = in_state(state)
        before = stored(circuit)
        assert tell(circuit, "X" * 200) == []
        assert circuit == before

    def test_it_does_nothing_by_time_alone(self, state: CircuitState) -> None:
        circuit = in_state(state)
        assert circuit.due_at() is None
        assert circuit.due(NOON * 2) is None


class TestByHand:
    @pytest.mark.parametrize("new", [CLOSED, FORCED_OPEN, DISABLED])
    @pytest.mark.parametrize("old", CircuitState)
    def test_it_goes_from_any_state_into_one_that_lasts(self, old: CircuitState, new: CircuitState) -> None:
        circuit = in_state(old)
        before = stored(circuit)
        transition = circuit.by_hand(new, NOON + 1)
        assert circuit == before
        circuit.enter(transition)
        assert (circuit.state, circuit.since, circuit.retry_at, circuit.openings) == (new, NOON + 1, None, 0)
        assert (circuit.generation, circuit.calls) == (before.generation + 1, 0)

    @pytest.mark.parametrize("old", CircuitState)
    def test_it_opens_from_any_state_and_half_opens_after_the_wait(self, old: CircuitState) -> None:
        circuit = in_state(old)
        openings = circuit.openings
        circuit.enter(circuit.by_hand(OPEN, NOON + 1))
        assert (circuit.state, circuit.retry_at, circuit.openings) == (OPEN, NOON + 30_001, openings + 1)
        wait_over(circuit)

    @pytest.mark.parametrize("old", CircuitState)
    def test_it_never_half_opens(self, old: CircuitState) -> None:
        with pytest.raises(InvalidCommandError, match="half_open cannot be entered by hand"):
            in_state(old).by_hand(HALF_OPEN, NOON)

    def test_it_says_the_rates_of_what_it_ended(self) -> None:
        circuit = Circuit(SMALL)
        tell(circuit, "...xs")
        transition = circuit.by_hand(CLOSED, NOON)
        assert (transition.failure_rate, transition.slow_call_rate, transition.calls) == (20.0, 20.0, 5)


class TestEnter:
    def test_it_takes_in_what_another_process_has_decided(self) -> None:
        deciding, following = Circuit(SMALL), Circuit(SMALL)
        [opening] = tell(deciding, "xxxx")
        following.enter(stored(opening))
        assert following == deciding

    def test_it_changes_nothing_the_second_time(self) -> None:
        circuit = half_opened()
        [closing] = tell(circuit, "...")
        tell(circuit, "x.")
        before = stored(circuit)
        circuit.enter(closing)
        assert circuit == before

    def test_it_does_not_go_back_to_an_older_one(self) -> None:
        circuit = opened()
        opening = Transition(OPEN, 1, NOON, Reason.FAILURE_RATE, NOON + 30_000, 100.0, 0.0, 4, openings=1)
        wait_over(circuit)
        before = stored(circuit)
        circuit.enter(opening)
        assert circuit == before

    def test_it_holds_to_what_was_recorded_where_it_had_decided_otherwise(self) -> None:
        circuit, forced = opened(), Transition(FORCED_OPEN, 1, NOON - 5, Reason.BY_HAND)
        circuit.enter(forced)
        assert (circuit.state, circuit.generation, circuit.since, circuit.retry_at) == (
            FORCED_OPEN,
            1,
            NOON - 5,
            None,
        )

    def test_it_waits_as_long_as_was_recorded_where_it_had_decided_to_open_later(self) -> None:
        circuit = opened()
        circuit.enter(Transition(OPEN, 1, NOON - 5, Reason.BY_HAND, NOON + 29_995, openings=1))
        assert (circuit.since, circuit.retry_at) == (NOON - 5, NOON + 29_995)

    def test_it_needs_no_earlier_transition_to_know_how_long_to_wait_the_next_time(self) -> None:
        circuit = Circuit(changed(wait_multiplier=2.0))
        circuit.enter(Transition(HALF_OPEN, 40, NOON, Reason.WAIT_OVER, openings=3))
        [opening] = tell(circuit, "xxx")
        assert (opening.generation, opening.retry_at) == (41, NOON + 240_000)


def _found() -> Iterator[tuple[CircuitState, CircuitState, Reason]]:
    """Every transition that can be brought about from every state, by each of the ways there are."""
    for state in CircuitState:
        for outcomes in ("....", "xxxx", "ssss"):
            circuit = in_state(state)
            yield from ((state, new.state, new.reason) for new in tell(circuit, outcomes)[:1])
        circuit = in_state(state)
        circuit.configure(changed(max_wait_in_half_open=1.0))
        if due := circuit.due(NOON * 2):
            yield state, due.state, due.reason
        for new in CircuitState:
            if new is not HALF_OPEN:
                by_hand = in_state(state).by_hand(new, NOON)
                yield state, by_hand.state, by_hand.reason


def test_table_of_transitions_has_all_that_can_be_brought_about_once() -> None:
    assert sorted(_found()) == sorted(TRANSITIONS)
