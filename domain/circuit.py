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

from domain.circuit_settings import CircuitSettings, WindowType
from domain.errors import InvalidCommandError
from domain.windows import CountWindow, Window

__all__ = [
    "TRANSITIONS",
    "Circuit",
    "CircuitSettings",
    "CircuitState",
    "Reason",
    "Transition",
    "WindowType",
]


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


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


class Transition(msgspec.Struct, frozen=True, array_like=True):
    """A circuit's entering a state.

    Attributes:
        state: the one that is entered.
        generation: counted up by every transition; that of a circuit's first CLOSED is 0.
        since: ms since 1970.
        reason: what brought it.
        retry_at: when the first probe may be sent, ms since 1970; of OPEN only.
        failure_rate, slow_call_rate: of the state that ended, percent of `calls`; None when those were too few.
        calls: in the window of the state that ended.
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
        failed = error is not None
        if failed and (settings.ignored_errors or settings.recorded_errors):
            if settings.ignores(error):
                return None
            failed = settings.fails(error)
        window = self.window
        window.add(failed, microseconds > settings.slow_call_duration * 1_000_000, at)
        calls = window.calls
        if calls < self.needed:
            return None
        if 100 * window.failures / calls >= settings.failure_rate_threshold:
            transition = self._transition(_OPEN, Reason.FAILURE_RATE, at)
        elif 100 * window.slow / calls >= settings.slow_call_rate_threshold:
            transition = self._transition(_OPEN, Reason.SLOW_CALL_RATE, at)
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
        return self._transition(_OPEN, Reason.HALF_OPEN_TOO_LONG, now)

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
        before, self.settings = self.settings, settings
        if self.state is _HALF_OPEN:
            return
        if settings.window() != before.window():
            self._begin_window()
        self.needed = settings.calls_for_rates

    @property
    def permitted_calls(self) -> int | None:
        """How many deliveries HALF_OPEN lets through in all; None in other states."""
        return self.needed if self.state is _HALF_OPEN else None

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

    def _transition(self, state: CircuitState, reason: Reason, now: int) -> Transition:
        openings, retry_at = 0, None
        if state is _OPEN:
            openings = self.openings + 1
            retry_at = now + self.settings.wait(openings)
        elif state is _HALF_OPEN:
            openings = self.openings
        return Transition(
            state,
            self.generation + 1,
            now,
            reason,
            retry_at,
            self.failure_rate,
            self.slow_call_rate,
            self.calls,
            openings,
        )

    def _begin_window(self) -> None:
        if self.state is _HALF_OPEN:
            self.needed = self.settings.permitted_calls_in_half_open
            self.window = CountWindow(self.needed)
        else:
            self.needed = self.settings.calls_for_rates
            self.window = self.settings.window()
