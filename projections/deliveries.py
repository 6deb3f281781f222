"""The projection behind `deliveries`: what became of the messages to each tract.

A message is in the *backlog* from its acceptance until it is settled for good, by an ack, by its deadline or as a
dead letter, or is shed to make room; a dead letter that is redriven is in it again. So for each tract, at every
position::

    delivered = acked + retried + dead_lettered
    backlog = accepted + redriven - acked - expired - dead_lettered - shed

What is not to be delivered is not accepted here: recorded dialogues, what is sent where delivery is off, and the
first reply to a question, which goes to who asked.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import JSON, Column, Connection, Integer, LargeBinary, RowMapping, Text, select

from domain.circuit import Circuit
from domain.consumer import Consumer, Result
from domain.dialogue import Dialogue, Kind
from domain.gate import TRACTS, Gate
from domain.gate_settings import GateSettings
from domain.response_times import ResponseTimes
from domain.tract import Tract
from projections.answers import DeliveryMetrics, Durations, TractDeliveries
from projections.fold import Projection, Recorded
from projections.gates import (
    ADMISSIONS,
    TractGate,
    admissions,
    gate_of,
    gate_row,
    gates,
    transition_of,
    transition_row,
    transitions,
)
from projections.known import Known
from projections.model import Stored
from projections.tables import Row, Rows, model_table

__all__ = ["Deliveries", "deliveries"]

_VERSION: Final = "3"
"""Counted up when the same log would give other rows."""

_MINUTE: Final = 60_000
_INTERNAL, _EXTERNAL = Tract


class _Measures(msgspec.Struct):
    """Of one tract.

    Attributes:
        wait: of each first attempt that was handed to an agent, from the acceptance of its message to it.
        settle: of each settlement for good, from the acceptance of its message to it.
    """

    accepted: int = 0
    acked: int = 0
    retried: int = 0
    expired: int = 0
    dead_lettered: int = 0
    redriven: int = 0
    discarded: int = 0
    shed: int = 0
    backlog_peak: int = 0
    wait: ResponseTimes = msgspec.field(default_factory=ResponseTimes)
    settle: ResponseTimes = msgspec.field(default_factory=ResponseTimes)

    @property
    def backlog(self) -> int:
        return self.accepted + self.redriven - self.acked - self.expired - self.dead_lettered - self.shed

    def note_peak(self) -> None:
        self.backlog_peak = max(self.backlog_peak, self.backlog)


class _Addressees(msgspec.Struct, frozen=True):
    """Who the messages of a dialogue are for: nobody, if it is recorded; who asked, if they answer a question.

    Attributes:
        questions: sequences of those that await their answer.
    """

    kind: Kind
    questions: Collection[int] = ()


_COUNTS: Final = tuple(name for name in _Measures.__struct_fields__ if name not in {"wait", "settle"})

tracts = model_table(
    "tracts",
    Column("tract", Text, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in _COUNTS),
    Column("wait", LargeBinary, nullable=False),
    Column("settle", LargeBinary, nullable=False),
)
dialogues = model_table(
    "dialogues",
    Column("dialogue", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("questions", JSON, nullable=False),
)
consumers = model_table(
    "consumers", Column("consumer", Text, primary_key=True), Column("tract", Text, nullable=False)
)
# Every message that ever was one: a redriving or discarding names it, but not its tract.
dead_letters = model_table(
    "dead_letters",
    Column("dialogue", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("tract", Text, nullable=False),
)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ResponseTimes).decode


class Deliveries(Projection):
    """Folds batches of events into rows. Not thread-safe: it belongs to its runner."""

    NAME = "deliveries"
    TABLES = (tracts, dialogues, consumers, dead_letters, gates, transitions, admissions)

    def __init__(self) -> None:
        self._measures: dict[Tract, _Measures] = {}
        self._gates: dict[Tract, TractGate] = {}
        self._dialogues = Known(dialogues, lambda row: _Addressees(Kind(row["kind"]), row["questions"]))
        self._consumers = Known(consumers, lambda row: Tract(row["tract"]))
        self._batch = _Batch()
        self.news = 0
        """Counted up by each batch after which there may be something to record, or gates are set otherwise."""

    @property
    def version(self) -> str:
        return _VERSION

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        self._batch = batch = _Batch(stored)
        if not self._measures:
            known = {row["tract"]: _measures(row) for row in stored.rows(tracts, tract=list(Tract))}
            self._measures = {tract: known.get(tract, _Measures()) for tract in Tract}
            built = {row["tract"]: gate_of(row) for row in stored.rows(gates, tract=list(Tract))}
            self._gates = {tract: built.get(tract) or _fresh_gate() for tract in Tract}
        self._dialogues.load(events, Dialogue.Conveyed, stored)
        self._consumers.load(events, Consumer.Settled, stored)
        for event in events:
            self._apply(event)
            self._press(event.position)
        batch.rows.put(gates, [gate_row(tract, self._gates[tract]) for tract in batch.moved])
        batch.put_counted(stored)
        self.news += any(self._gates[tract].is_news for tract in batch.moved)
        batch.rows.put(tracts, [_row(tract, self._measures[tract]) for tract in batch.changed])
        return batch.rows

    def forget(self) -> None:
        self._measures = {}
        self._gates = {}
        self._dialogues.forget()
        self._consumers.forget()

    def _apply(self, recorded: Recorded) -> None:
        match recorded.event:
            case Dialogue.Conveyed() as event:
                self._convey(event)
            case Consumer.Settled() as event:
                self._settle(recorded, event)
            case Gate.Event() as event:
                self._gate(recorded, event)
            case Dialogue.Opened(originator_id=dialogue, kind=kind):
                self._know(dialogue, _Addressees(kind))
            case Dialogue.Redriven() as event:
                for tract, count in self._batch.tracts_of(event.originator_id, event.sequences).items():
                    self._of(tract).redriven += count
                    self._of(tract).note_peak()
            case Dialogue.Discarded() as event:
                for tract, count in self._batch.tracts_of(event.originator_id, event.sequences).items():
                    self._of(tract).discarded += count
            case Consumer.Joined(originator_id=consumer, tract=tract):
                self._consumers[consumer] = tract
                self._batch.rows.put(consumers, [{"consumer": str(consumer), "tract": tract.value}])
            case Dialogue.Closed() | Consumer.Left():
                pass
            case _:
                raise TypeError(f"no rule for {recorded.topic}")

    def _of(self, tract: Tract) -> _Measures:
        """Those of a tract, to be changed."""
        self._batch.changed.add(tract)
        self._batch.touched.add(tract)
        return self._measures[tract]

    def _know(self, dialogue: UUID, addressees: _Addressees) -> None:
        self._dialogues[dialogue] = addressees
        row = {"dialogue": str(dialogue), "kind": addressees.kind.value, "questions": addressees.questions}
        self._batch.rows.put(dialogues, [row])

    def _convey(self, event: Dialogue.Conveyed) -> None:
        addressees = self._dialogues[event.originator_id]
        if addressees.kind is Kind.RECORDED or event.kept:
            return
        questions = set(addressees.questions)
        targets = delivered_to(event, questions)
        if event.asked or addressees.questions:
            self._know(event.originator_id, _Addressees(addressees.kind, sorted(questions)))
        internal = targets.count(_INTERNAL)
        for tract, count in ((_INTERNAL, internal), (_EXTERNAL, len(targets) - internal)):
            if count:
                measures = self._of(tract)
                measures.accepted += count
                measures.note_peak()

    def _press(self, position: int) -> None:
        """Whether there is backpressure, now that an event has changed what is on its way."""
        for tract in self._batch.touched:
            gate = self._gates[tract]
            if gate.pressure.note(self._measures[tract].backlog, position, gate.settings):
                self._batch.moved.add(tract)
        self._batch.touched.clear()

    def _gate(self, recorded: Recorded, event: Gate.Event) -> None:
        tract = TRACTS[event.originator_id]
        self._gates[tract].happened(recorded, event)
        self.news += 1
        self._batch.moved.add(tract)
        self._batch.touched.add(tract)
        if (moved := transition_of(event)) is not None:
            row = transition_row(tract, recorded.position, *moved)
            self._batch.rows.put(transitions, [row])
        elif isinstance(event, Gate.AdmissionCounted):
            counted = (event.refused_by_circuit, event.refused_by_capacity, event.waited, 0)
            self._batch.count(tract, recorded.at // _MINUTE, *counted)
        elif isinstance(event, Gate.MessagesShed):
            self._of(tract).shed += len(event.messages)
            self._batch.count(tract, recorded.at // _MINUTE, 0, 0, 0, len(event.messages))

    def _settle(self, recorded: Recorded, event: Consumer.Settled) -> None:
        tract = self._consumers[event.originator_id]
        self._gates[tract].settled(recorded, event.outcomes)
        self._batch.moved.add(tract)
        measures = self._of(tract)
        results = [outcome.result for outcome in event.outcomes]
        measures.acked += results.count(Result.ACKED)
        measures.retried += results.count(Result.RETRIED)
        measures.expired += results.count(Result.EXPIRED)
        measures.dead_lettered += results.count(Result.DEAD_LETTERED)
        for outcome in event.outcomes:
            result = outcome.result
            if outcome.attempt == 1 and result is not Result.EXPIRED:
                measures.wait.add(outcome.waited)
            if result is not Result.RETRIED:
                measures.settle.add(outcome.waited + outcome.handled_in)
            if result is Result.DEAD_LETTERED:
                self._batch.bury(outcome.dialogue, outcome.sequence, tract)


class _Batch:
    """What one batch changes.

    Attributes:
        changed: the tracts whose measures are others now.
        touched: those of them that the event under way has changed.
        moved: the tracts whose gates are others now.
    """

    def __init__(self, stored: Stored | None = None) -> None:
        self.rows = Rows()
        self.changed: set[Tract] = set()
        self.touched: set[Tract] = set()
        self.moved: set[Tract] = set()
        self._counted: dict[tuple[Tract, int], list[int]] = {}
        self._buried: dict[tuple[UUID, int], Tract] = {}
        self._stored = stored

    def count(self, tract: Tract, minute: int, *counts: int) -> None:
        """Of a gate, in a minute: refused by the circuit and for want of room, waited, shed."""
        before = self._counted.get((tract, minute), [0] * len(counts))
        self._counted[tract, minute] = [a + b for a, b in zip(before, counts, strict=True)]

    def put_counted(self, stored: Stored) -> None:
        for (tract, minute), counts in self._counted.items():
            before = stored.rows(admissions, tract=[tract.value], minute=[minute])
            sums = {
                name: count + sum(row[name] for row in before)
                for name, count in zip(ADMISSIONS, counts, strict=True)
            }
            self.rows.put(admissions, [{"tract": tract.value, "minute": minute, **sums}])

    def bury(self, dialogue: UUID, sequence: int, tract: Tract) -> None:
        self._buried[dialogue, sequence] = tract
        self.rows.put(dead_letters, [{"dialogue": str(dialogue), "sequence": sequence, "tract": tract.value}])

    def tracts_of(self, dialogue: UUID, sequences: Sequence[int]) -> Mapping[Tract, int]:
        """How many of these dead letters are of which tract.

        Raises:
            KeyError: one of them is none.
        """
        assert self._stored is not None, "events are being folded"
        missing = [sequence for sequence in sequences if (dialogue, sequence) not in self._buried]
        if missing:
            for row in self._stored.rows(dead_letters, sequence=missing, dialogue=[str(dialogue)]):
                self._buried[dialogue, row["sequence"]] = Tract(row["tract"])
        return Counter(self._buried[dialogue, sequence] for sequence in sequences)


def delivered_to(event: Dialogue.Conveyed, questions: set[int]) -> list[Tract]:
    """The targets of its messages, without the first reply to each question, which goes to who asked.

    `questions`: those of its dialogue that await an answer, to be changed by what is asked and answered.
    """
    questions.update(event.asked)
    if not questions:
        return [message.target for message in event.messages]
    targets: list[Tract] = []
    for message in event.messages:
        if message.in_reply_to in questions:
            questions.remove(message.in_reply_to)
        else:
            targets.append(message.target)
    return targets


def _fresh_gate() -> TractGate:
    settings = GateSettings()
    return TractGate(Circuit(settings.circuit), settings)


def deliveries(connection: Connection, position: int) -> DeliveryMetrics:
    """What became of the messages to each tract, up to this position."""
    known = {row["tract"]: _measures(row) for row in connection.execute(select(tracts)).mappings()}
    return DeliveryMetrics(position, *(_told(known.get(tract, _Measures())) for tract in Tract))


def _told(measures: _Measures) -> TractDeliveries:
    counts = {name: getattr(measures, name) for name in _COUNTS}
    return TractDeliveries(
        **counts,
        delivered=measures.acked + measures.retried + measures.dead_lettered,
        backlog=measures.backlog,
        wait_ms=_durations(measures.wait),
        settle_ms=_durations(measures.settle),
    )


def _durations(times: ResponseTimes) -> Durations:
    return Durations(times.count, times.p50, times.p95, times.p99, times.max, times.unknown)


def _row(tract: Tract, measures: _Measures) -> dict[str, Any]:
    counts = {name: getattr(measures, name) for name in _COUNTS}
    return {"tract": tract.value, **counts, "wait": _encode(measures.wait), "settle": _encode(measures.settle)}


def _measures(row: Row | RowMapping) -> _Measures:
    counts = {name: row[name] for name in _COUNTS}
    return _Measures(**counts, wait=_decode(row["wait"]), settle=_decode(row["settle"]))
