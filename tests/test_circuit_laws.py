"""Whatever happens, the circuit is what its definitions say, written down a second time as plainly as possible.

Deliveries are handed out by a store that counts permits, end in any order, late or never; the clock steps, also
back; somebody decides by hand; settings change. Beside the circuit run one that is stored and loaded again at any
moment, one that follows the log behind the others, and one that starts from the last transition alone.
"""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.circuit import (
    TRANSITIONS,
    Circuit,
    CircuitSettings,
    CircuitState,
    Reason,
    Transition,
    WindowType,
)
from tests.circuits import CLOSED, DISABLED, HALF_OPEN, NOON, OPEN, stored

ERRORS = st.sampled_from([None, None, "OSError: disk", "ValueError: no", "KeyError"])
MICROSECONDS = st.sampled_from([10, 1_000_000, 1_000_001])
ENDS = st.tuples(ERRORS, MICROSECONDS)
RUNS = st.lists(ENDS, min_size=1, max_size=8) | st.builds(
    lambda end, times: [end] * times, ENDS, st.integers(1, 8)
)
"""How calls end one after the other: each by itself, or all alike."""

PERCENT = st.sampled_from([1.0, 100 / 3, 50.0, 60.0, 100.0])

SETTINGS = st.builds(
    CircuitSettings,
    failure_rate_threshold=PERCENT,
    slow_call_rate_threshold=PERCENT,
    slow_call_duration=st.just(1.0),
    sliding_window_type=st.sampled_from(WindowType),
    sliding_window_size=st.integers(1, 9),
    minimum_number_of_calls=st.integers(1, 6),
    wait_in_open=st.sampled_from([0.5, 3.0]),
    wait_multiplier=st.sampled_from([1.0, 1.5, 4.0]),
    longest_wait_in_open=st.sampled_from([3.0, 10.0]),
    permitted_calls_in_half_open=st.integers(1, 4),
    max_wait_in_half_open=st.sampled_from([0.0, 2.0]),
    recorded_errors=st.sampled_from([(), ("OSError", "ValueError")]),
    ignored_errors=st.sampled_from([(), ("ValueError",)]),
)


@dataclass(frozen=True)
class Outcome:
    generation: int
    error: str | None
    microseconds: int
    at: int


@dataclass
class Plain:
    """The definitions: it keeps every call of the state and looks at all of them each time."""

    settings: CircuitSettings
    state: CircuitState = CLOSED
    generation: int = 0
    since: int = NOON
    retry_at: int | None = None
    openings: int = 0
    permitted: int = 0
    calls: list[tuple[int, bool, bool]] = field(default_factory=list)

    def window(self) -> list[tuple[int, bool, bool]]:
        size = self.settings.sliding_window_size
        if self.state is HALF_OPEN or not self.calls:
            return self.calls
        if self.settings.sliding_window_type is WindowType.COUNT_BASED:
            return self.calls[-size:]
        return [call for call in self.calls if call[0] > self.calls[-1][0] - size]

    def rates(self) -> tuple[float, float] | None:
        window = self.window()
        least = self.settings.minimum_number_of_calls
        if self.state is HALF_OPEN:
            least = self.permitted
        elif self.settings.sliding_window_type is WindowType.COUNT_BASED:
            least = min(least, self.settings.sliding_window_size)
        if len(window) < least:
            return None
        failed, slow = (sum(call[which] for call in window) for which in (1, 2))
        return 100 * failed / len(window), 100 * slow / len(window)

    def ignores(self, error: str | None) -> bool:
        return error is not None and error.split(":")[0] in self.settings.ignored_errors

    def record(self, told: Outcome) -> tuple[CircuitState, Reason] | None:
        if told.generation != self.generation or self.state not in {CLOSED, HALF_OPEN} or self.ignores(told.error):
            return None
        recorded = self.settings.recorded_errors
        failed = told.error is not None and (not recorded or told.error.split(":")[0] in recorded)
        second = max([told.at // 1000, *(call[0] for call in self.calls[-1:])])
        self.calls.append((second, failed, told.microseconds > self.settings.slow_call_duration * 1_000_000))
        rates = self.rates()
        if rates is None:
            return None
        if rates[0] >= self.settings.failure_rate_threshold:
            return OPEN, Reason.FAILURE_RATE
        if rates[1] >= self.settings.slow_call_rate_threshold:
            return OPEN, Reason.SLOW_CALL_RATE
        return (CLOSED, Reason.PROBES_PASSED) if self.state is HALF_OPEN else None

    def due(self, now: int) -> tuple[CircuitState, Reason] | None:
        if self.state is OPEN and self.retry_at is not None and now >= self.retry_at:
            return HALF_OPEN, Reason.WAIT_OVER
        longest = self.settings.max_wait_in_half_open
        if self.state is HALF_OPEN and longest and now >= self.since + longest * 1000:
            return OPEN, Reason.HALF_OPEN_TOO_LONG
        return None

    def transition(self, state: CircuitState, reason: Reason, now: int) -> Transition:
        """Enter the state; the transition that this is."""
        calls, (failed, slow) = len(self.window()), self.rates() or (None, None)
        if state is not HALF_OPEN:
            self.openings = self.openings + 1 if state is OPEN else 0
        self.retry_at = None
        if state is OPEN:
            wait = self.settings.wait_in_open
            for _ in range(self.openings - 1):
                wait = min(wait * self.settings.wait_multiplier, self.settings.longest_wait_in_open)
            self.retry_at = now + round(min(wait, self.settings.longest_wait_in_open) * 1000)
        self.state, self.since, self.generation, self.calls = state, now, self.generation + 1, []
        self.permitted = self.settings.permitted_calls_in_half_open
        return Transition(state, self.generation, now, reason, self.retry_at, failed, slow, calls, self.openings)

    def configure(self, settings: CircuitSettings) -> None:
        before, self.settings = self.settings, settings
        same_type = settings.sliding_window_type is before.sliding_window_type
        if self.state is not HALF_OPEN and not (
            same_type and settings.sliding_window_size == before.sliding_window_size
        ):
            self.calls = []


@dataclass
class Store:
    """Hands out deliveries, of a half-open circuit no more than are permitted, and takes permits back."""

    held: list[int] = field(default_factory=list)
    """The generations in which they were handed out."""
    permits: int = 0

    def admits(self, plain: Plain) -> bool:
        return plain.state in {CLOSED, DISABLED} or (plain.state is HALF_OPEN and self.permits > 0)

    def take(self, plain: Plain) -> None:
        self.held.append(plain.generation)
        if plain.state is HALF_OPEN:
            self.permits -= 1

    def give_back(self, generation: int, plain: Plain) -> None:
        if plain.state is HALF_OPEN and generation == plain.generation:
            self.permits += 1


def fold(circuit: Circuit, entry: "Entry") -> Transition | None:
    if isinstance(entry, Outcome):
        return circuit.record(entry.generation, entry.error, entry.microseconds, entry.at)
    if isinstance(entry, Transition):
        circuit.enter(entry)
    else:
        circuit.configure(entry)
    return None


Entry = Outcome | Transition | CircuitSettings


class CircuitLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.log: list[Entry] = []
        self.store = Store()

    @initialize(settings=SETTINGS)
    def begin(self, settings: CircuitSettings) -> None:
        self.plain = Plain(settings)
        self.circuit = Circuit(settings, since=NOON)
        self.following = Circuit(settings, since=NOON)
        self.followed = 0
        self.started = stored(self.circuit)
        """As it was at the last transition, but for what nobody needs to know."""

    def tell(self, entry: Entry) -> Transition | None:
        self.log.append(entry)
        fold(self.started, entry)
        return fold(self.circuit, entry)

    def expect(
        self, wanted: tuple[CircuitState, Reason] | None, came: Transition | None, now: int, *, was: CircuitState
    ) -> None:
        """Either both or none; if both, it is recorded, and everybody enters it."""
        if wanted is None:
            assert came is None
            return
        assert came == self.plain.transition(*wanted, now)
        assert (was, came.state, came.reason) in TRANSITIONS
        self.started = Circuit(self.plain.settings)
        self.tell(stored(came))
        self.store.permits = self.circuit.permitted_calls or 0

    def admits(self) -> bool:
        return self.store.admits(self.plain)

    @precondition(admits)
    @rule()
    def take(self) -> None:
        self.store.take(self.plain)

    @precondition(lambda self: self.store.held)
    @rule(
        which=st.integers(0),
        end=ENDS,
        after=st.integers(-1500, 1500),
    )
    def settle(self, which: int, end: tuple[str | None, int], after: int) -> None:
        generation = self.store.held.pop(which % len(self.store.held))
        self.tell_outcome(Outcome(generation, *end, self.now + after))

    @precondition(admits)
    @rule(run=RUNS, apart=st.sampled_from([0, 400, 3000]))
    def take_and_settle(self, run: list[tuple[str | None, int]], apart: int) -> None:
        for end in run:
            if self.store.admits(self.plain):
                self.now += apart
                self.store.take(self.plain)
                self.tell_outcome(Outcome(self.store.held.pop(), *end, self.now))

    @precondition(lambda self: self.plain.state is OPEN)
    @rule(run=RUNS)
    def probe_when_it_is_time(self, run: list[tuple[str | None, int]]) -> None:
        self.clock_reaches_what_is_due(early=False)
        self.take_and_settle(run, apart=10)

    def tell_outcome(self, outcome: Outcome) -> None:
        if self.plain.ignores(outcome.error):
            assert self.circuit.settings.ignores(outcome.error)
            self.store.give_back(outcome.generation, self.plain)
        was, came = self.plain.state, self.tell(outcome)
        assert came is None or came.generation == self.circuit.generation  # it has entered that
        self.expect(self.plain.record(outcome), came, outcome.at, was=was)

    @precondition(lambda self: self.store.held)
    @rule(which=st.integers(0))
    def cancel_or_crash(self, which: int) -> None:
        """No outcome: it was cancelled, or its lease ended with its process."""
        self.store.give_back(self.store.held.pop(which % len(self.store.held)), self.plain)

    @rule(step=st.integers(-2_000, 12_000))
    def clock_steps(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.circuit.due_at() is not None)
    @rule(early=st.booleans())
    def clock_reaches_what_is_due(self, early: bool) -> None:
        due_at = self.circuit.due_at()
        assert due_at is not None
        self.now = due_at - early
        assert (self.circuit.due(self.now) is None) == early
        self.look_what_is_due()

    @rule()
    def look_what_is_due(self) -> None:
        before, was = stored(self.circuit), self.plain.state
        due = self.circuit.due(self.now)
        assert self.circuit == before
        self.expect(self.plain.due(self.now), due, self.now, was=was)

    @rule(
        state=st.sampled_from([state for state in CircuitState if state is not HALF_OPEN]),
        seldom=st.integers(0, 3),
    )
    def decide_by_hand(self, state: CircuitState, seldom: int) -> None:
        if seldom and self.plain.state is CLOSED:
            return
        before, was = stored(self.circuit), self.plain.state
        decided = self.circuit.by_hand(state, self.now)
        assert self.circuit == before
        self.expect((state, Reason.BY_HAND), decided, self.now, was=was)

    @rule(settings=SETTINGS)
    def configure(self, settings: CircuitSettings) -> None:
        self.plain.configure(settings)
        self.tell(settings)

    @rule(
        setting=st.sampled_from(["failure_rate_threshold", "minimum_number_of_calls", "wait_in_open"]),
        settings=SETTINGS,
    )
    def change_one_setting(self, setting: str, settings: CircuitSettings) -> None:
        self.configure(msgspec.structs.replace(self.plain.settings, **{setting: getattr(settings, setting)}))

    @rule()
    def store_and_load(self) -> None:
        self.circuit = stored(self.circuit)

    @rule(entries=st.integers(1, 20))
    def follow(self, entries: int) -> None:
        """Each transition of the log is what the follower, too, has found by then, or learns from the log."""
        for entry in self.log[self.followed :][:entries]:
            fold(self.following, entry)
            self.followed += 1
        self.following = stored(self.following)

    @precondition(lambda self: self.log)
    @rule()
    def hear_it_all_again(self) -> None:
        for entry in self.log:
            if isinstance(entry, Transition):
                self.circuit.enter(entry)

    @invariant()
    def it_is_what_the_definitions_say(self) -> None:
        circuit, plain = self.circuit, self.plain
        assert (circuit.state, circuit.generation, circuit.since) == (plain.state, plain.generation, plain.since)
        assert (circuit.retry_at, circuit.openings) == (plain.retry_at, plain.openings)
        assert circuit.calls == len(plain.window())
        assert (circuit.failure_rate, circuit.slow_call_rate) == (plain.rates() or (None, None))
        assert (circuit.retry_at is not None) == (circuit.state is OPEN)

    @invariant()
    def no_transition_is_lost(self) -> None:
        generations = [entry.generation for entry in self.log if isinstance(entry, Transition)]
        assert generations == list(range(1, self.circuit.generation + 1))

    @invariant()
    def permits_are_neither_exceeded_nor_leaked(self) -> None:
        """Each is free, held by a delivery under way, or used by a call that is in the window."""
        if self.plain.state is HALF_OPEN:
            held = self.store.held.count(self.plain.generation)
            assert self.store.permits + held + self.circuit.calls == self.circuit.permitted_calls
            assert self.store.permits + held > 0  # so that there is always something that will decide

    @invariant()
    def who_starts_from_the_last_transition_is_in_the_same_state(self) -> None:
        assert self.started == self.circuit

    def teardown(self) -> None:
        if hasattr(self, "circuit"):
            self.follow(len(self.log))
            assert self.following == self.circuit


TestCircuitLaws = pytest.mark.hypothesis(CircuitLaws.TestCase)
TestCircuitLaws.settings = examples(stateful_step_count=60)
