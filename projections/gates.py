"""What the gates of the tracts did: their circuits, their backpressure, whom they refused.

The circuit is folded here, from the outcomes of deliveries in log order. Where the fold comes to a transition that
the log does not tell of yet, somebody has to record it (`TractGate.unrecorded`): recorded, it takes effect. A
transition that time brings is folded when it is recorded.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, RowMapping, Text

from domain.circuit import Circuit, CircuitState, Transition
from domain.consumer import Outcome, Result
from domain.gate import BackpressureChanged, CircuitMoved, Gate
from domain.gate_settings import GateSettings
from domain.tract import Tract
from projections.fold import Recorded
from projections.tables import Row, model_table

__all__ = [
    "ADMISSIONS",
    "Pressure",
    "TractGate",
    "Unrecorded",
    "admissions",
    "error_of",
    "gate_of",
    "gate_row",
    "gates",
    "transition_in",
    "transition_of",
    "transition_row",
    "transitions",
]


class Pressure(msgspec.Struct):
    """Whether there is backpressure.

    Attributes:
        cause: the position at which it began or ended.
        backlog: the messages on their way then.
        told: whether there was some by what is recorded.
    """

    engaged: bool = False
    cause: int = 0
    backlog: int = 0
    told: bool = False

    def note(self, backlog: int, position: int, settings: GateSettings) -> bool:
        """Whether it has begun or ended, now that so many messages are on their way."""
        high = settings.high
        turned = backlog <= settings.low if self.engaged else high is not None and backlog >= high
        if turned:
            self.engaged, self.cause, self.backlog = not self.engaged, position, backlog
        return turned


class TractGate(msgspec.Struct):
    """A gate as of a position of the log.

    Attributes:
        cause: the position of the outcome that brought the circuit where it is; None: time or somebody did.
        recorded: the generation of the circuit that is recorded.
        last: the last transition; None: there was none.
        by, why: of the last transition, when it was set by hand.
        spent: milliseconds in each state, up to `at`.
        at: the log's time of the last event about the gate or its deliveries; None: there was none.
    """

    circuit: Circuit
    settings: GateSettings = GateSettings()
    cause: int | None = None
    recorded: int = 0
    last: Transition | None = None
    by: str | None = None
    why: str | None = None
    pressure: Pressure = msgspec.field(default_factory=Pressure)
    spent: dict[CircuitState, int] = msgspec.field(default_factory=dict)
    at: int | None = None

    def settled(self, recorded: Recorded, outcomes: Sequence[Outcome]) -> None:
        """Deliveries ended. One that was handed out under another generation, or was no call, does not count."""
        self._pass(recorded.at)
        for outcome in outcomes:
            if outcome.generation is None:
                continue
            error = error_of(outcome, self.circuit.state, self.settings)
            moved = self.circuit.record(outcome.generation, error, outcome.handled_in, recorded.at)
            if moved is not None:
                self.last, self.cause, self.by, self.why = moved, recorded.position, None, None

    def happened(self, recorded: Recorded, event: Gate.Event) -> None:
        self._pass(recorded.at)
        moved = transition_of(event)
        if moved is not None:
            self.last, more = moved
            self.circuit.enter(self.last)
            self.recorded = self.last.generation
            self.cause, self.by, self.why = more["cause"], more["by"], more["why"]
        elif isinstance(event, Gate.Configured):
            self.settings = event.settings
            self.circuit.configure(event.settings.circuit)
        elif isinstance(event, BackpressureChanged):
            self.pressure.told = isinstance(event, Gate.BackpressureEngaged)

    def _pass(self, at: int) -> None:
        """Time goes by in the state as it is."""
        if self.at is not None:
            state = self.circuit.state
            self.spent[state] = self.spent.get(state, 0) + at - self.at
        self.at = at

    @property
    def is_news(self) -> bool:
        """Whether there is something to record."""
        return self.circuit.generation > self.recorded or self.pressure.engaged != self.pressure.told

    @property
    def unrecorded(self) -> "Unrecorded":
        """What is to be recorded."""
        moved = self.last if self.circuit.generation > self.recorded else None
        pressure = self.pressure if self.pressure.engaged != self.pressure.told else None
        return Unrecorded(moved, self.cause, pressure)


def error_of(outcome: Outcome, state: CircuitState, in_force: GateSettings) -> str | None:
    """What a circuit in that state is told of a delivery that counts; None: it went well.

    Who did not know yet that such an error is ignored has used up a permit of HALF_OPEN, and it does not come
    back. So it must decide with the others, as an error of no name, or the circuit would wait for it for ever.
    """
    if outcome.result is Result.ACKED:
        return None
    ignored = state is CircuitState.HALF_OPEN and in_force.circuit.ignores(outcome.error)
    return "" if ignored else outcome.error or ""


class Unrecorded(msgspec.Struct, frozen=True):
    """A transition with the position of its cause, and a change of backpressure; each None when there is none."""

    transition: Transition | None
    cause: int | None
    pressure: Pressure | None


# Times are the log's, milliseconds.
gates = model_table(
    "gates",
    Column("tract", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("entered_at", Integer),
    Column("retry_at", Integer),
    Column("failure_rate", Float),
    Column("slow_call_rate", Float),
    Column("engaged", Boolean, nullable=False),
    Column("gate", LargeBinary, nullable=False),
)
ADMISSIONS: Final = ("refused_by_circuit", "refused_by_capacity", "waited", "shed")
admissions = model_table(
    "admissions",
    Column("tract", Text, primary_key=True),
    Column("minute", Integer, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in ADMISSIONS),
)
# What is recorded, by the generation that it brought.
transitions = model_table(
    "transitions",
    Column("tract", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("entered_at", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("retry_at", Integer),
    Column("failure_rate", Float),
    Column("slow_call_rate", Float),
    Column("calls", Integer, nullable=False),
    Column("openings", Integer, nullable=False),
    Column("cause", Integer),
    Column("by", Text),
    Column("why", Text),
)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(TractGate).decode


def gate_row(tract: Tract, gate: TractGate) -> Row:
    last, circuit = gate.last, gate.circuit
    return {
        "tract": tract.value,
        "state": circuit.state.value,
        "generation": circuit.generation,
        "entered_at": last.since if last else None,
        "retry_at": last.retry_at if last else None,
        "failure_rate": circuit.failure_rate,
        "slow_call_rate": circuit.slow_call_rate,
        "engaged": gate.pressure.engaged,
        "gate": _encode(gate),
    }


def gate_of(row: Row | RowMapping) -> TractGate:
    return _decode(row["gate"])


def transition_row(tract: Tract, position: int, transition: Transition, more: Row) -> Row:
    values = msgspec.structs.asdict(transition)
    return {"tract": tract.value, "position": position, "entered_at": values.pop("since"), **values, **more}


def transition_in(row: RowMapping) -> Transition:
    values = {**row, "since": row["entered_at"]}
    return msgspec.convert([values[name] for name in Transition.__struct_fields__], Transition)


def transition_of(event: Gate.Event) -> tuple[Transition, dict[str, Any]] | None:
    """The transition that an event tells of, and what else it says; None: of none."""
    if not isinstance(event, CircuitMoved):
        return None
    return event.transition, {name: getattr(event, name, None) for name in ("cause", "by", "why")}
