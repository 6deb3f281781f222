"""A tract's circuit breaker: stops deliveries and sends while too many deliveries fail or are slow.

It protects one rule: into a tract whose deliveries fail nothing is sent, but for a few probes from time to time.

::

                 failure or slow-call rate at its threshold
        CLOSED ───────────────────────────────────────────────> OPEN <──────────┐
           ^                                                     │              │ a rate at its threshold,
           │                                             wait over│              │ or half-open too long
           │ probes passed                                       v              │
           └──────────────────────────────────────────────── HALF_OPEN ─────────┘

        by hand, from any state to CLOSED, OPEN, FORCED_OPEN, DISABLED;
        FORCED_OPEN lets nothing through and DISABLED everything, and neither ends by itself

States, settings and rates are those of resilience4j's circuit breaker (https://resilience4j.readme.io/docs/circuitbreaker).
What differs, because the calls are deliveries of a log that many processes read:

- An outcome says in which generation its delivery was handed out. One of an earlier generation changes nothing;
  there, a call that comes back late counts for whatever state it finds.
- What time brings is not done by a timer of its own but told by `due`, and recorded by who sees it first.
- HALF_OPEN is decided by exactly its permitted calls; there, by the minimum number of calls where that is less.
- Every transition empties the window; there, an OPEN breaker still shows the calls that opened it. Here the
  transition says their rates.
"""

from enum import StrEnum
from typing import Final

import msgspec

from domain.errors import InvalidCommandError
from domain.windows import CountWindow, TimeWindow, Window

__all__ = [
    "TRANSITIONS",
    "Circuit",
    "CircuitSettings",
    "CircuitState",
    "Reason",
    "Transition",
    "WindowType",
]

_MOST_CALLS: Final = 100_000
_LONGEST: Final = 365 * 24 * 3600.0

_RANGES: Final = {
    "failure_rate_threshold": (0.001, 100.0),
    "slow_call_rate_threshold": (0.001, 100.0),
    "slow_call_duration": (0.000_001, _LONGEST),
    "sliding_window_size": (1, _MOST_CALLS),
    "minimum_number_of_calls": (1, 1_000_000_000),
    "wait_in_open": (0.001, _LONGEST),
    "wait_multiplier": (1.0, 1000.0),
    "longest_wait_in_open": (0.001, _LONGEST),
    "permitted_calls_in_half_open": (1, _MOST_CALLS),
    "max_wait_in_half_open": (0.0, _LONGEST),
}
"""Lowest and highest of each setting."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


class WindowType(StrEnum):
    COUNT_BASED = "count_based"
    TIME_BASED = "time_based"


class Reason(StrEnum):
    """Why a circuit changed its state."""

    FAILURE_RATE = "failure_rate"
    SLOW_CALL_RATE = "slow_call_rate"
    WAIT_OVER = "wait_over"
    PROBES_PASSED = "probes_passed"
    HALF_OPEN_TOO_LONG = "half_open_too_long"
    BY_HAND = "by_hand"


_CLOSED: Final = CircuitState.CLOSED
_OPEN: Final = CircuitState.OPEN
_HALF_OPEN: Final = CircuitState.HALF_OPEN

TRANSITIONS: Final[tuple[tuple[CircuitState, CircuitState, Reason], ...]] = (
    (_CLOSED, _OPEN, Reason.FAILURE_RATE),
    (_CLOSED, _OPEN, Reason.SLOW_CALL_RATE),
    (_OPEN, _HALF_OPEN, Reason.WAIT_OVER),
    (_HALF_OPEN, _CLOSED, Reason.PROBES_PASSED),
    (_HALF_OPEN, _OPEN, Reason.FAILURE_RATE),
    (_HALF_OPEN, _OPEN, Reason.SLOW_CALL_RATE),
    (_HALF_OPEN, _OPEN, Reason.HALF_OPEN_TOO_LONG),
    *((old, new, Reason.BY_HAND) for old in CircuitState for new in CircuitState if new is not _HALF_OPEN),
)
"""Every transition there is: from, to, why."""


class CircuitSettings(msgspec.Struct, frozen=True):
    """When a circuit opens and for how long. Durations are seconds, rates percent.

    Attributes:
        failure_rate_threshold, slow_call_rate_threshold: at this rate it opens; 0.001 to 100.
        slow_call_duration: what takes longer is slow, whether it fails or not.
        sliding_window_size: calls, or seconds; 1 to 100,000.
        minimum_number_of_calls: with fewer in the window there is no rate. A count-based window never asks for
            more than it holds.
        wait_in_open: from opening to the first probe; at least a millisecond.
        wait_multiplier: every further opening in a row lasts this many times as long; at least 1.
        longest_wait_in_open: but never longer than this.
        permitted_calls_in_half_open: the probes that decide; a change counts from the next HALF_OPEN on.
        max_wait_in_half_open: after this it opens again without their results; 0: never.
        recorded_errors: names of the error types that are failures, any other one being a success; empty: all are.
        ignored_errors: names of those that are neither, whatever else names them.
    """

    failure_rate_threshold: float = 50.0
    slow_call_rate_threshold: float = 100.0
    slow_call_duration: float = 60.0
    sliding_window_type: WindowType = WindowType.COUNT_BASED
    sliding_window_size: int = 100
    minimum_number_of_calls: int = 100
    wait_in_open: float = 60.0
    wait_multiplier: float = 1.0
    longest_wait_in_open: float = 3600.0
    permitted_calls_in_half_open: int = 10
    max_wait_in_half_open: float = 0.0
    recorded_errors: tuple[str, ...] = ()
    ignored_errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InvalidCommandError for a setting outside its range."""
        for name, (lowest, highest) in _RANGES.items():
            if not lowest <= getattr(self, name) <= highest:
                raise InvalidCommandError(name, f"is not between {lowest:g} and {highest:g}")
        if self.longest_wait_in_open < self.wait_in_open:
            raise InvalidCommandError("longest_wait_in_open", "is shorter than wait_in_open")
        if any(not name or ":" in name for name in self.recorded_errors + self.ignored_errors):
            raise InvalidCommandError("name of an error", "is empty or has a colon, which no name of a type has")

    def ignores(self, error: str | None) -> bool:
        """Whether such an outcome counts for nothing; in HALF_OPEN its permit is to be given back."""
        return error is not None and bool(self.ignored_errors) and _type_of(error) in self.ignored_errors

    def fails(self, error: str | None) -> bool:
        """Whether it is a failure, provided that it is not ignored."""
        return error is not None and (not self.recorded_errors or _type_of(error) in self.recorded_errors)

    def wait(self, openings: int) -> int:
        """Milliseconds in OPEN after so many openings in a row, this one included."""
        try:
            seconds = self.wait_in_open * self.wait_multiplier ** (openings - 1)
        except OverflowError:
            seconds = self.longest_wait_in_open
        return round(min(seconds, self.longest_wait_in_open) * 1000)


def _type_of(error: str) -> str:
    return error.partition(":")[0]


class Transition(msgspec.Struct, frozen=True):
    """A circuit's entering a state.

    Attributes:
        generation: counted up by every transition; that of a circuit's first CLOSED is 0.
        since: ms since 1970.
        retry_at: when the first probe may be sent, ms since 1970; of OPEN only.
        failure_rate, slow_call_rate: of the state that ended, percent of `calls`; None when those were too few.
        openings: times in a row that it has opened, without CLOSED, FORCED_OPEN or DISABLED in between.
    """

    state: CircuitState
    generation: int
    since: int
    reason: Reason
    retry_at: int | None = None
    failure_rate: float | None = None
    slow_call_rate: float | None = None
    calls: int = 0
    openings: int = 0


class Circuit(msgspec.Struct):
    """Told the outcomes of deliveries in log order; can be stored as MessagePack at any point.

    Attributes:
        generation: counted up by every transition. A delivery carries the one in which it was handed out.
        since: when the state was entered, ms since 1970; 0 for a first CLOSED of which nobody said it.
        retry_at: when the first probe may be sent, ms since 1970; in OPEN only.
        openings: times in a row that it has opened.
        window: the calls of this state; an empty one where none are recorded.
        needed: so many calls must be in the window for there to be rates.
    """

    settings: CircuitSettings = CircuitSettings()
    state: CircuitState = _CLOSED
    generation: int = 0
    since: int = 0
    retry_at: int | None = None
    openings: int = 0
    window: Window = msgspec.field(default_factory=lambda: CountWindow(0))
    needed: int = 0

    def __post_init__(self) -> None:
        if not self.needed:
            self._begin_window()

    def record(self, generation: int, error: str | None, microseconds: int, at: int) -> Transition | None:
        """Take in how a delivery of that generation ended; returns the transition that it has brought about.

        Args:
            generation: the circuit's when the delivery was handed out.
            error: None for a success; up to its first colon the name of the error's type.
            microseconds: from the delivery to its end.
            at: when it ended, ms since 1970.
        """
        state = self.state
        if generation != self.generation or (state is not _CLOSED and state is not _HALF_OPEN):
            return None
        settings = self.settings
        failed = False
        if error is not None:
            if settings.ignores(error):
                return None
            failed = settings.fails(error)
        window = self.window
        window.add(failed, microseconds > settings.slow_call_duration * 1_000_000, at)
        calls = window.calls
        if calls < self.needed:
            return None
        if 100 * window.failures / calls >= settings.failure_rate_threshold:
            transition = self._opened(Reason.FAILURE_RATE, at)
        elif 100 * window.slow / calls >= settings.slow_call_rate_threshold:
            transition = self._opened(Reason.SLOW_CALL_RATE, at)
        elif state is _HALF_OPEN:
            transition = self._transition(_CLOSED, Reason.PROBES_PASSED, at)
        else:
            return None
        self.enter(transition)
        return transition

    def due(self, now: int) -> Transition | None:
        """The transition that time alone brings by now; changes nothing."""
        due_at = self.due_at()
        if due_at is None or now < due_at:
            return None
        if self.state is _OPEN:
            return self._transition(_HALF_OPEN, Reason.WAIT_OVER, now)
        return self._opened(Reason.HALF_OPEN_TOO_LONG, now)

    def due_at(self) -> int | None:
        """When `due` will give something, ms since 1970; None: never, by time alone."""
        if self.state is _HALF_OPEN and self.settings.max_wait_in_half_open:
            return self.since + round(self.settings.max_wait_in_half_open * 1000)
        return self.retry_at

    def by_hand(self, state: CircuitState, now: int) -> Transition:
        """The transition to this state that somebody orders, from whichever state; changes nothing.

        Raises:
            InvalidCommandError: HALF_OPEN, which comes by time alone.
        """
        if state is _HALF_OPEN:
            raise InvalidCommandError("state", "half_open cannot be entered by hand")
        if state is _OPEN:
            return self._opened(Reason.BY_HAND, now)
        return self._transition(state, Reason.BY_HAND, now)

    def enter(self, transition: Transition) -> None:
        """Be in the state of a recorded transition; one that it has entered, or that is older, changes nothing.

        Of two that claim the same generation the recorded one holds, also over what `record` has decided here.
        """
        if transition.generation < self.generation:
            return
        again = transition.generation == self.generation and transition.state is self.state
        self.state = transition.state
        self.generation = transition.generation
        self.since = transition.since
        self.retry_at = transition.retry_at
        self.openings = transition.openings
        if not again:
            self._begin_window()

    def configure(self, settings: CircuitSettings) -> None:
        """Go by other settings from now on, in the same state.

        The window begins anew if its type or size has changed; the probes of a HALF_OPEN under way stay as many.
        """
        before = self.settings
        self.settings = settings
        if self.state is _HALF_OPEN:
            return
        if (settings.sliding_window_type, settings.sliding_window_size) != (
            before.sliding_window_type,
            before.sliding_window_size,
        ):
            self._begin_window()
        self.needed = _needed(settings)

    @property
    def calls(self) -> int:
        """In the window, by the time of its latest."""
        return self.window.calls

    @property
    def failure_rate(self) -> float | None:
        """In percent of the calls in the window; None when these are too few."""
        window = self.window
        return None if window.calls < self.needed else 100 * window.failures / window.calls

    @property
    def slow_call_rate(self) -> float | None:
        """Likewise."""
        window = self.window
        return None if window.calls < self.needed else 100 * window.slow / window.calls

    def _opened(self, reason: Reason, now: int) -> Transition:
        openings = self.openings + 1
        return self._transition(_OPEN, reason, now, retry_at=now + self.settings.wait(openings), openings=openings)

    def _transition(
        self, state: CircuitState, reason: Reason, now: int, *, retry_at: int | None = None, openings: int = 0
    ) -> Transition:
        return Transition(
            state,
            self.generation + 1,
            now,
            reason,
            retry_at,
            self.failure_rate,
            self.slow_call_rate,
            self.calls,
            self.openings if state is _HALF_OPEN else openings,
        )

    def _begin_window(self) -> None:
        settings = self.settings
        if self.state is _HALF_OPEN:
            self.needed = settings.permitted_calls_in_half_open
            self.window = CountWindow(self.needed)
            return
        self.needed = _needed(settings)
        counted = settings.sliding_window_type is WindowType.COUNT_BASED
        self.window = (CountWindow if counted else TimeWindow)(settings.sliding_window_size)


def _needed(settings: CircuitSettings) -> int:
    if settings.sliding_window_type is WindowType.COUNT_BASED:
        return min(settings.minimum_number_of_calls, settings.sliding_window_size)
    return settings.minimum_number_of_calls
