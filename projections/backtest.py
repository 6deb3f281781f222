"""Recorded traffic through other gate settings: what would they have decided?

Nothing is written. As long as the circuit comes to the very transitions that are recorded, the back-test is exact;
with the settings that were in force it is so to the end. From the first transition that is another one it is an
estimate, because what would have happened then did not happen. It guesses that

- a message that was accepted would have been sent at the same moment, and not again when it is refused;
- one that is let in is handled as it was, at the same moment and with the same outcome;
- what was handled before the circuit entered its state, by the recorded times, does not count for that state;
- what was shed would have been shed, and what took its room sent;
- a message that replies to another is an agent's answer, which is let in whatever the gate says.

What was refused at the time is not in the log, but for its number, and is not sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection, select

from domain.circuit import Circuit, CircuitState, Reason, Transition
from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue, Kind
from domain.gate import TRACTS, Gate
from domain.gate_settings import GateSettings
from domain.tract import Tract
from projections.fold import Recorded
from projections.gates import error_of, transition_in, transition_of, transitions

__all__ = ["Backtest", "BacktestedTract", "Course", "Decided", "Simulation", "recorded_transitions"]

_SHUT: Final = (CircuitState.OPEN, CircuitState.FORCED_OPEN)
_BY_TIME: Final = (Reason.WAIT_OVER, Reason.HALF_OPEN_TOO_LONG)


class Decided(msgspec.Struct, frozen=True):
    """A transition, and the position of what brought it: an outcome, or an event that told what time it is."""

    position: int
    transition: Transition


class Course(msgspec.Struct):
    """What a gate did in the range.

    Attributes:
        transitions: in order.
        spent: milliseconds in each state.
        accepted: messages let in.
        refused_by_circuit, refused_by_capacity: messages; `waited`: for room.
        backlog_peak: the most messages on their way.
    """

    transitions: list[Decided] = msgspec.field(default_factory=list)
    spent: dict[CircuitState, int] = msgspec.field(default_factory=dict)
    accepted: int = 0
    refused_by_circuit: int = 0
    refused_by_capacity: int = 0
    waited: int = 0
    backlog_peak: int = 0

    def spend(self, state: CircuitState, milliseconds: int) -> None:
        if milliseconds:
            self.spent[state] = self.spent.get(state, 0) + milliseconds

    @property
    def trips(self) -> int:
        """How often it opened, but for what was done by hand."""
        return sum(
            decided.transition.state is CircuitState.OPEN and decided.transition.reason is not Reason.BY_HAND
            for decided in self.transitions
        )


class BacktestedTract(msgspec.Struct):
    """One tract.

    Attributes:
        settings: that were tried, as of the end of the range.
        happened: what is recorded.
        simulated: what these settings would have done.
        exact: whether it came to the very transitions that are recorded, all through the range.
        guesses_from: the position from which it is an estimate; None: it is none.
        not_told: outcomes that were left out, because what they are of would not have been handled then.
    """

    settings: GateSettings
    happened: Course
    simulated: Course
    exact: bool
    guesses_from: int | None
    not_told: int


class Backtest(msgspec.Struct):
    """From position `start` to `stop`, both included."""

    start: int
    stop: int
    internal: BacktestedTract
    external: BacktestedTract


class Simulation:
    """Fed with the log's events from position 1 on, in order; up to `start` the recorded settings hold.

    Args:
        changes: settings to try, by tract, by their names in `GateSettings` and `CircuitSettings`.
        start: the position from which on they hold and what happens is reported.
        recorded: the transitions that the whole log tells of, by tract and generation.
    """

    def __init__(
        self,
        changes: Mapping[Tract, Mapping[str, Any]],
        start: int,
        recorded: Mapping[Tract, Mapping[int, Decided]],
    ) -> None:
        self._start = start
        self._tracts = {tract: _Lane(changes.get(tract, {}), recorded.get(tract, {})) for tract in Tract}
        self._kinds: dict[UUID, Kind] = {}
        self._questions: dict[UUID, set[int]] = {}
        self._consumers: dict[UUID, Tract] = {}
        self._begun = False
        self._position = 0

    def feed(self, recorded: Recorded) -> None:
        if not self._begun and recorded.position >= self._start:
            self._begun = True
            for lane in self._tracts.values():
                lane.begin()
        self._position = recorded.position
        for lane in self._tracts.values():
            lane.pass_to(recorded)
        match recorded.event:
            case Dialogue.Opened(originator_id=dialogue, kind=kind):
                self._kinds[dialogue] = kind
            case Dialogue.Conveyed() as event:
                if self._kinds[event.originator_id] is Kind.LIVE and not event.kept:
                    self._convey(event)
            case Consumer.Joined(originator_id=consumer, tract=tract):
                self._consumers[consumer] = tract
            case Consumer.Settled(originator_id=consumer, outcomes=outcomes):
                self._tracts[self._consumers[consumer]].settle(recorded, outcomes)
            case Gate.Event() as event:
                self._tracts[TRACTS[event.originator_id]].decided(recorded, event)
            case _:
                pass

    def _convey(self, event: Dialogue.Conveyed) -> None:
        questions = self._questions.setdefault(event.originator_id, set())
        questions.update(event.asked)
        arriving: dict[Tract, list[tuple[int, bool]]] = {}
        for sequence, message in enumerate(event.messages, event.first_sequence):
            if message.in_reply_to in questions:
                questions.discard(message.in_reply_to)  # who asked gets it
            else:
                arriving.setdefault(message.target, []).append((sequence, message.in_reply_to is not None))
        for tract, messages in arriving.items():
            self._tracts[tract].arrive(event.originator_id, messages)

    def result(self) -> Backtest:
        told = {tract: lane.result() for tract, lane in self._tracts.items()}
        return Backtest(self._start, self._position, told[Tract.INTERNAL], told[Tract.EXTERNAL])


class _Lane:
    """One tract in the simulation."""

    def __init__(self, changes: Mapping[str, Any], recorded: Mapping[int, Decided]) -> None:
        self._changes = changes
        self._recorded = recorded
        self._in_force = GateSettings()
        self._settings = GateSettings()
        self._circuit = Circuit(self._settings.circuit)
        self._actual = Circuit(self._settings.circuit)  # its state, by what is recorded
        self._begun = False
        self._guesses_from: int | None = None
        self._happened, self._simulated = Course(), Course()
        self._refused: set[tuple[UUID, int]] = set()
        self._backlog = self._actual_backlog = 0
        self._not_told = 0
        self._at: int | None = None

    def begin(self) -> None:
        self._begun = True
        self._happened, self._simulated = Course(), Course()
        self._configure()

    def _configure(self) -> None:
        self._settings = self._in_force.changed(**self._changes) if self._begun else self._in_force
        self._circuit.configure(self._settings.circuit)

    @property
    def _exact(self) -> bool:
        return self._guesses_from is None

    def pass_to(self, recorded: Recorded) -> None:
        """Time goes by in the states as they are; where it is an estimate, it may bring a transition."""
        before, self._at = self._at, recorded.at
        if before is not None:
            self._happened.spend(self._actual.state, recorded.at - before)
        while before is not None:
            due_at = None if self._exact else self._circuit.due_at()
            until = recorded.at if due_at is None else min(max(due_at, before), recorded.at)
            self._simulated.spend(self._circuit.state, until - before)
            before = until
            moved = None if due_at is None else self._circuit.due(until)
            if moved is None:
                break
            self._enter(recorded.position, moved, late=0)

    def _enter(self, position: int, transition: Transition, *, late: int) -> None:
        """So many milliseconds after it took effect."""
        _enter(self._circuit, self._simulated, transition, late)
        self._simulated.transitions.append(Decided(position, transition))

    def arrive(self, dialogue: UUID, messages: Sequence[tuple[int, bool]]) -> None:
        """Messages of one event, by sequence; and whether each is a reply."""
        count = len(messages)
        self._happened.accepted += count
        self._actual_backlog += count
        self._happened.backlog_peak = max(self._happened.backlog_peak, self._actual_backlog)
        sent = [sequence for sequence, is_reply in messages if not is_reply]
        refused = 0
        if not self._exact and self._circuit.state in _SHUT:
            refused = len(sent)
            self._simulated.refused_by_circuit += refused
        elif self._lacks_room(len(sent)):
            refused = len(sent)
            self._simulated.refused_by_capacity += refused
        if refused:
            self._refused.update((dialogue, sequence) for sequence in sent)
        self._simulated.accepted += count - refused
        self._backlog += count - refused
        self._simulated.backlog_peak = max(self._simulated.backlog_peak, self._backlog)

    def _lacks_room(self, count: int) -> bool:
        """By another capacity: by the one that was in force it was let in."""
        capacity = self._settings.capacity
        if not count or not capacity or capacity == self._in_force.capacity:
            return False
        return self._backlog + count > capacity

    def settle(self, recorded: Recorded, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            ends = outcome.result is not Result.RETRIED
            self._actual_backlog -= ends
            place = (outcome.dialogue, outcome.sequence)
            if place in self._refused:
                self._not_told += 1
                if ends:
                    self._refused.discard(place)
                continue
            self._backlog -= ends
            if outcome.generation is not None:
                self._record(recorded, outcome)

    def _record(self, recorded: Recorded, outcome: Outcome) -> None:
        circuit = self._circuit
        generation = outcome.generation or 0
        if not self._exact:
            began = recorded.at - outcome.handled_in / 1000
            if circuit.state in _SHUT or began < circuit.since:
                self._not_told += 1
                return
            generation = circuit.generation
        error = error_of(outcome, circuit.state, self._in_force)
        moved = circuit.record(generation, error, outcome.handled_in, recorded.at)
        if moved is not None:
            self._simulated.transitions.append(Decided(recorded.position, moved))
            self._compare(recorded.position, moved)

    def _compare(self, position: int, moved: Transition) -> None:
        if not self._exact:
            return
        told = self._recorded.get(moved.generation)
        if told is not None and told.transition.reason is Reason.BY_HAND:
            self._simulated.transitions.pop()  # somebody was faster, and what was decided had no effect
        elif told is None or told.transition != moved or told.position != position:
            self._guess(position)

    def _guess(self, position: int) -> None:
        if self._guesses_from is None:
            self._guesses_from = position

    def decided(self, recorded: Recorded, event: Gate.Event) -> None:
        if isinstance(event, Gate.Configured):
            self._in_force = event.settings
            self._configure()
        elif isinstance(event, Gate.AdmissionCounted):
            self._happened.refused_by_circuit += event.refused_by_circuit
            self._happened.refused_by_capacity += event.refused_by_capacity
            self._happened.waited += event.waited
        elif isinstance(event, Gate.MessagesShed):
            self._actual_backlog -= len(event.messages)
            self._backlog -= sum((one.dialogue, one.sequence) not in self._refused for one in event.messages)
        elif (told := transition_of(event)) is not None:
            self._moved(recorded, told[0], told[1]["cause"])

    def _moved(self, recorded: Recorded, transition: Transition, cause: int | None) -> None:
        late = max(0, recorded.at - transition.since)
        _enter(self._actual, self._happened, transition, late)
        self._happened.transitions.append(Decided(cause or recorded.position, transition))
        if transition.reason is Reason.BY_HAND:  # somebody would have done it all the same
            generation = transition.generation if self._exact else self._circuit.generation + 1
            by_hand = msgspec.structs.replace(transition, generation=generation)
            self._enter(recorded.position, by_hand, late=late)
        elif self._exact and transition.generation == self._circuit.generation + 1:
            if transition.reason in _BY_TIME and self._would_come(transition):
                self._enter(recorded.position, transition, late=late)
            else:
                self._guess(cause or recorded.position)

    def _would_come(self, transition: Transition) -> bool:
        """Whether time brings this transition by the settings that are tried as well."""
        if self._circuit.due(transition.since) != transition:
            return False
        mine, theirs = self._settings.circuit, self._in_force.circuit
        return mine.permitted_calls_in_half_open == theirs.permitted_calls_in_half_open or (
            transition.state is not CircuitState.HALF_OPEN
        )

    def result(self) -> BacktestedTract:
        return BacktestedTract(
            self._settings, self._happened, self._simulated, self._exact, self._guesses_from, self._not_told
        )


def _enter(circuit: Circuit, course: Course, transition: Transition, late: int) -> None:
    course.spend(circuit.state, -late)
    circuit.enter(transition)
    course.spend(circuit.state, late)


def recorded_transitions(connection: Connection, _position: int) -> dict[Tract, dict[int, Decided]]:
    """What the read model `deliveries` has of them, by tract and generation."""
    found: dict[Tract, dict[int, Decided]] = {tract: {} for tract in Tract}
    for row in connection.execute(select(transitions)).mappings():
        transition = transition_in(row)
        found[Tract(row["tract"])][transition.generation] = Decided(row["cause"] or row["position"], transition)
    return found
