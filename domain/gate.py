"""What a tract lets through: what its circuit and its capacity decided, and what was set by hand.

It protects one rule: decisions follow on each other. A transition has the next generation, or somebody has
recorded it already; so of all processes that come to the same decision, one records it.

::

    (nothing) --build--> CLOSED    then as the circuit moves (see `circuit`), or somebody forces it to
"""

from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID, uuid5

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, event

from domain.circuit import Circuit, CircuitState, Reason, Transition
from domain.errors import CallNotPermittedError
from domain.events import AggregateEvent
from domain.gate_settings import GateSettings
from domain.tract import Tract

__all__ = ["TRACTS", "BackpressureChanged", "CircuitMoved", "Gate", "ShedMessage", "gate_id"]

_NAMESPACE: Final = UUID("0d9d4a52-9b0b-5c4e-8c5d-6f3e64a5f1f7")


def gate_id(tract: Tract) -> UUID:
    return uuid5(_NAMESPACE, tract)


TRACTS: Final = {gate_id(tract): tract for tract in Tract}
"""By the ids of their gates."""


class ShedMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message that was given up for one of a higher priority.

    Attributes:
        dialogue, sequence: the message.
    """

    dialogue: UUID
    sequence: int


class GateEvent(AggregateEvent, frozen=True):
    """Of a gate."""


class CircuitMoved(GateEvent, frozen=True):
    """The circuit has entered a state."""

    transition: Transition


class BackpressureChanged(GateEvent, frozen=True):
    """At position `cause` it began or ended, with so many messages on their way."""

    backlog: int
    capacity: int
    cause: int


class Gate(BaseAggregate[UUID]):
    """Events that are of one form derive from one class outside: within, each must have a topic."""

    TOPIC = "gate"
    Event: TypeAlias = GateEvent

    class Built(GateEvent, CanInitAggregate[UUID], frozen=True):
        """Something was decided about a tract for the first time; before, all is as the defaults say."""

        TOPIC = "gate.built.v1"
        originator_topic: str
        tract: Tract

    class Configured(GateEvent, frozen=True):
        """From now on these settings hold; `by` says who set them, and `why`."""

        TOPIC = "gate.configured.v1"
        settings: GateSettings
        by: str
        why: str

    class CircuitOpened(CircuitMoved, frozen=True):
        """Too many of the deliveries failed or were slow: nothing is let in or handed out until `retry_at`.

        `cause` is the position of the outcome that decided it; None: time did.
        """

        TOPIC = "gate.circuit_opened.v1"
        cause: int | None

    class CircuitHalfOpened(CircuitMoved, frozen=True):
        """The wait is over: as many deliveries as there are permits are handed out, to see how they end."""

        TOPIC = "gate.circuit_half_opened.v1"
        permits: int

    class CircuitClosed(CircuitMoved, frozen=True):
        """The permitted deliveries went well: all is let through. `cause`: the position of the last outcome."""

        TOPIC = "gate.circuit_closed.v1"
        cause: int | None

    class CircuitForced(CircuitMoved, frozen=True):
        """Somebody (`by`) has set the circuit's state by hand, and said `why`."""

        TOPIC = "gate.circuit_forced.v1"
        by: str
        why: str

    class BackpressureEngaged(BackpressureChanged, frozen=True):
        """At position `cause` so many messages were on their way that the high watermark was reached."""

        TOPIC = "gate.backpressure_engaged.v1"

    class BackpressureRelieved(BackpressureChanged, frozen=True):
        """At position `cause` the messages on their way were down to the low watermark."""

        TOPIC = "gate.backpressure_relieved.v1"

    class AdmissionCounted(GateEvent, frozen=True):
        """How many messages one process refused, or let wait for room, since it counted the last time."""

        TOPIC = "gate.admission_counted.v1"
        refused_by_circuit: int
        refused_by_capacity: int
        waited: int

    class MessagesShed(GateEvent, frozen=True):
        """These were given up, to make room for messages of a higher priority."""

        TOPIC = "gate.messages_shed.v1"
        messages: list[ShedMessage]

    @event(Built)
    def __init__(self, id: UUID, tract: Tract, timestamp: datetime) -> None:  # noqa: A002  # the library's name
        del id, timestamp  # taken by the library's own initialiser
        self.tract = tract
        self.settings = GateSettings()
        self.last = Transition(CircuitState.CLOSED, 0, 0, Reason.BY_HAND)
        self.by = self.why = ""
        self.engaged = False
        self.pressed_at = 0

    @classmethod
    def build(cls, tract: Tract, *, now: datetime) -> "Gate":
        return cls._create(cls.Built, id=gate_id(tract), tract=tract, timestamp=now)

    @property
    def state(self) -> CircuitState:
        return self.last.state

    def refusal(self) -> CallNotPermittedError:
        """What is told to who sends into it while the circuit lets nothing in."""
        return CallNotPermittedError(
            self.tract, self.state, _reason(self.last, self.by, self.why), self.last.retry_at
        )

    def configure(self, settings: GateSettings, *, by: str, why: str, now: datetime) -> None:
        """Saying again what holds changes nothing."""
        if settings != self.settings:
            self.trigger_event(self.Configured, settings=settings, by=by, why=why, timestamp=now)

    def move(self, transition: Transition, cause: int | None, *, now: datetime) -> None:
        """Record what the circuit decided; one that is recorded already, or overtaken, changes nothing."""
        if transition.generation != self.last.generation + 1:
            return
        if transition.state is CircuitState.HALF_OPEN:
            permits = self.settings.circuit.permitted_calls_in_half_open
            self.trigger_event(self.CircuitHalfOpened, transition=transition, permits=permits, timestamp=now)
        else:
            moved = self.CircuitOpened if transition.state is CircuitState.OPEN else self.CircuitClosed
            self.trigger_event(moved, transition=transition, cause=cause, timestamp=now)

    def force(self, state: CircuitState, *, by: str, why: str, now: datetime) -> None:
        """Set the circuit's state by hand; CLOSED has nothing held against it, OPEN is tried again after its wait.

        Raises:
            InvalidCommandError: HALF_OPEN comes by time alone.
        """
        last = self.last
        circuit = Circuit(self.settings.circuit, last.state, last.generation, openings=last.openings)
        transition = circuit.by_hand(state, int(now.timestamp() * 1000))
        self.trigger_event(self.CircuitForced, transition=transition, by=by, why=why, timestamp=now)

    def press(self, *, engaged: bool, backlog: int, cause: int, now: datetime) -> None:
        """Record that backpressure began or ended; what is recorded already, or overtaken, changes nothing."""
        if engaged == self.engaged or cause <= self.pressed_at:
            return
        happened = self.BackpressureEngaged if engaged else self.BackpressureRelieved
        self.trigger_event(happened, backlog=backlog, capacity=self.settings.capacity, cause=cause, timestamp=now)

    def count(self, *, refused_by_circuit: int, refused_by_capacity: int, waited: int, now: datetime) -> None:
        self.trigger_event(
            self.AdmissionCounted,
            refused_by_circuit=refused_by_circuit,
            refused_by_capacity=refused_by_capacity,
            waited=waited,
            timestamp=now,
        )

    def shed(self, messages: list[ShedMessage], *, now: datetime) -> None:
        self.trigger_event(self.MessagesShed, messages=messages, timestamp=now)

    @event(Configured)
    def _apply_configured(self, settings: GateSettings) -> None:
        self.settings = settings

    @event(CircuitOpened)
    def _apply_opened(self, transition: Transition) -> None:
        self.last = transition

    @event(CircuitHalfOpened)
    def _apply_half_opened(self, transition: Transition) -> None:
        self.last = transition

    @event(CircuitClosed)
    def _apply_closed(self, transition: Transition) -> None:
        self.last = transition

    @event(CircuitForced)
    def _apply_forced(self, transition: Transition, by: str, why: str) -> None:
        self.last, self.by, self.why = transition, by, why

    @event(BackpressureEngaged)
    def _apply_engaged(self, cause: int) -> None:
        self.engaged, self.pressed_at = True, cause

    @event(BackpressureRelieved)
    def _apply_relieved(self, cause: int) -> None:
        self.engaged, self.pressed_at = False, cause

    @event(AdmissionCounted)
    def _apply_counted(self) -> None:
        """How many there were is for the read side."""

    @event(MessagesShed)
    def _apply_shed(self) -> None:
        """Likewise."""


def _reason(transition: Transition, by: str, why: str) -> str:
    match transition.reason:
        case Reason.FAILURE_RATE:
            return f"of {transition.calls} deliveries {transition.failure_rate:g} % failed"
        case Reason.SLOW_CALL_RATE:
            return f"of {transition.calls} deliveries {transition.slow_call_rate:g} % were slow"
        case Reason.HALF_OPEN_TOO_LONG:
            return "what was tried did not end in time"
        case _:
            return f"{by} has set it so: {why}"
