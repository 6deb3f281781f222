"""Circuits in each state, and outcomes told to them in short."""

from typing import TypeVar

import msgspec

from domain.circuit import Circuit, CircuitSettings, CircuitState, Transition, WindowType

__all__ = [
    "CLOSED",
    "DISABLED",
    "ERROR",
    "FORCED_OPEN",
    "HALF_OPEN",
    "NOON",
    "OPEN",
    "QUICK",
    "SLOW",
    "SMALL",
    "TIMED",
    "changed",
    "half_opened",
    "in_state",
    "opened",
    "stored",
    "tell",
    "wait_over",
]

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState
NOON = 1_700_000_000_000
QUICK, SLOW = 1_000, 2_000_001
ERROR = "TimeoutError: no answer"

SMALL = CircuitSettings(
    slow_call_duration=2.0,
    sliding_window_size=10,
    minimum_number_of_calls=4,
    wait_in_open=30.0,
    permitted_calls_in_half_open=3,
)
TIMED = msgspec.structs.replace(SMALL, sliding_window_type=WindowType.TIME_BASED)

T = TypeVar("T")


def changed(settings: CircuitSettings = SMALL, /, **changes: object) -> CircuitSettings:
    return msgspec.structs.replace(settings, **changes)


def stored(state: T) -> T:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


def tell(circuit: Circuit, outcomes: str, at: int = NOON) -> list[Transition]:
    """Outcomes of the circuit's own generation: . good, s slow, x failed, X slow and failed."""
    told = (
        circuit.record(circuit.generation, ERROR if how in "xX" else None, SLOW if how in "sX" else QUICK, at)
        for how in outcomes
    )
    return [transition for transition in told if transition]


def opened(settings: CircuitSettings = SMALL) -> Circuit:
    circuit = Circuit(settings)
    assert [transition.state for transition in tell(circuit, "xxxx")] == [OPEN]
    return circuit


def half_opened(settings: CircuitSettings = SMALL) -> Circuit:
    circuit = opened(settings)
    return wait_over(circuit)


def wait_over(circuit: Circuit) -> Circuit:
    transition = circuit.due(circuit.retry_at or 0)
    assert transition
    circuit.enter(transition)
    assert circuit.state is HALF_OPEN
    return circuit


def in_state(state: CircuitState) -> Circuit:
    if state is OPEN:
        return opened()
    if state is HALF_OPEN:
        return half_opened()
    circuit = Circuit(SMALL)
    if state is not CLOSED:
        circuit.enter(circuit.by_hand(state, NOON))
    return circuit
