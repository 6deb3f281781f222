"""The rules of a gate: decisions follow on each other, and each is recorded once."""

from datetime import timedelta

import pytest

from domain.circuit import CircuitState, Reason, Transition
from domain.circuit_settings import CircuitSettings
from domain.errors import InvalidCommandError
from domain.gate import Gate, ShedMessage, gate_id
from domain.gate_settings import SETTINGS, GateSettings
from domain.tract import Tract
from tests.scenario import DIALOGUE, NOON

SINCE = int(NOON.timestamp() * 1000)
OPENED = Transition(
    CircuitState.OPEN,
    1,
    SINCE,
    Reason.FAILURE_RATE,
    SINCE + 60_000,
    failure_rate=62.5,
    slow_call_rate=0.0,
    calls=8,
)
HALF_OPENED = Transition(CircuitState.HALF_OPEN, 2, SINCE + 60_000, Reason.WAIT_OVER)
CLOSED = Transition(CircuitState.CLOSED, 3, SINCE + 61_000, Reason.PROBES_PASSED)


@pytest.fixture
def gate() -> Gate:
    built = Gate.build(Tract.EXTERNAL, now=NOON)
    assert [type(event).__name__ for event in built.collect_events()] == ["Built"]
    return built


def told(gate: Gate) -> list[str]:
    return [type(event).__name__ for event in gate.collect_events()]


def test_each_tract_has_one() -> None:
    assert Gate.build(Tract.EXTERNAL, now=NOON).id == gate_id(Tract.EXTERNAL) != gate_id(Tract.INTERNAL)


def test_a_circuit_s_course_is_recorded(gate: Gate) -> None:
    for moved in (OPENED, HALF_OPENED, CLOSED):
        gate.move(moved, 7, now=NOON)
    assert gate.state is CircuitState.CLOSED
    opened, half_opened, closed = gate.collect_events()
    assert opened == Gate.CircuitOpened(gate.id, 2, NOON, OPENED, 7)
    assert half_opened == Gate.CircuitHalfOpened(gate.id, 3, NOON, HALF_OPENED, 10)
    assert closed == Gate.CircuitClosed(gate.id, 4, NOON, CLOSED, 7)


def test_what_is_recorded_already_is_not_again(gate: Gate) -> None:
    gate.move(OPENED, 7, now=NOON)
    gate.move(OPENED, 7, now=NOON)
    gate.move(CLOSED, 9, now=NOON)  # of a generation that is not the next
    assert told(gate) == ["CircuitOpened"]


def test_one_that_somebody_was_faster_than_is_not_recorded(gate: Gate) -> None:
    gate.force(CircuitState.DISABLED, by="ann", why="an experiment", now=NOON)
    gate.move(OPENED, 7, now=NOON)
    assert told(gate) == ["CircuitForced"]
    assert gate.state is CircuitState.DISABLED


def test_half_open_comes_by_itself(gate: Gate) -> None:
    with pytest.raises(InvalidCommandError):
        gate.force(CircuitState.HALF_OPEN, by="ann", why="curious", now=NOON)
    assert told(gate) == []


def test_opened_by_hand_it_is_tried_again_after_its_wait(gate: Gate) -> None:
    gate.configure(GateSettings(CircuitSettings(wait_in_open=5, wait_multiplier=3)), by="ann", why="now", now=NOON)
    gate.force(CircuitState.OPEN, by="ann", why="a pause", now=NOON)
    gate.force(CircuitState.OPEN, by="ann", why="a longer one", now=NOON)
    assert gate.last.retry_at == SINCE + 15_000
    assert "ann has set it so: a longer one; it is tried again" in str(gate.refusal())


def test_who_is_refused_is_told_why_and_until_when(gate: Gate) -> None:
    gate.move(OPENED, 7, now=NOON)
    refusal = gate.refusal()
    assert (refusal.tract, refusal.state, refusal.retry_at) == (Tract.EXTERNAL, "open", SINCE + 60_000)
    assert str(refusal) == (
        "The circuit of the external tract is open: of 8 deliveries 62.5 % failed; "
        "it is tried again from 2026-03-01T12:01:00.000Z on."
    )
    gate.force(CircuitState.FORCED_OPEN, by="ann", why="the tool is replaced", now=NOON + timedelta(minutes=1))
    assert str(gate.refusal()) == (
        "The circuit of the external tract is forced_open: ann has set it so: the tool is replaced."
    )


def test_settings_that_hold_already_are_not_recorded(gate: Gate) -> None:
    gate.configure(GateSettings(), by="ann", why="to be sure", now=NOON)
    gate.configure(GateSettings(capacity=5), by="ann", why="it is small", now=NOON)
    [configured] = gate.collect_events()
    assert configured == Gate.Configured(gate.id, 2, NOON, GateSettings(capacity=5), "ann", "it is small")


def test_backpressure_begins_and_ends_in_turn(gate: Gate) -> None:
    gate.press(engaged=False, backlog=0, cause=3, now=NOON)
    gate.press(engaged=True, backlog=9, cause=5, now=NOON)
    gate.press(engaged=True, backlog=9, cause=6, now=NOON)
    gate.press(engaged=False, backlog=1, cause=8, now=NOON)
    gate.press(engaged=True, backlog=9, cause=5, now=NOON)  # somebody who is behind
    assert told(gate) == ["BackpressureEngaged", "BackpressureRelieved"]


def test_counts_and_what_was_shed_are_recorded(gate: Gate) -> None:
    gate.count(refused_by_circuit=1, refused_by_capacity=2, waited=3, now=NOON)
    gate.shed([ShedMessage(DIALOGUE, 4)], now=NOON)
    assert told(gate) == ["AdmissionCounted", "MessagesShed"]


class TestSettings:
    def test_are_changed_by_name_be_they_text_or_not(self) -> None:
        changed = GateSettings().changed(capacity="7", failure_rate_threshold="30", ignored_errors=["A", "B"])
        assert changed == GateSettings(CircuitSettings(failure_rate_threshold=30, ignored_errors=("A", "B")), 7)
        assert changed.changed() == changed
        assert "circuit" not in SETTINGS

    @pytest.mark.parametrize(
        ("change", "value"),
        [
            ("capcity", 1),
            ("circuit", {}),
            ("capacity", -1),
            ("capacity", "many"),
            ("high_watermark", 0),
            ("high_watermark", 1.1),
            ("low_watermark", 0.95),
            ("failure_rate_threshold", 101),
            ("sliding_window_type", "neither"),
        ],
    )
    def test_outside_their_range_are_refused(self, change: str, value: object) -> None:
        with pytest.raises(InvalidCommandError):
            GateSettings().changed(**{change: value})

    @pytest.mark.parametrize(
        ("capacity", "high", "low"), [(10_000, 9000, 7000), (10, 9, 7), (2, 2, 1), (1, 1, 0), (0, None, 0)]
    )
    def test_watermarks_in_messages(self, capacity: int, high: int | None, low: int) -> None:
        settings = GateSettings(capacity=capacity)
        assert (settings.high, settings.low) == (high, low)
