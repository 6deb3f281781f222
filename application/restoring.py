"""The events of an export back into a log: history, with its ids, versions and times.

Nothing of it is delivered. What the log has already and what is equal is passed over, so an import that was killed
is made again, and a later export of the same log adds what is new. The gates follow their events, as they did when
these were recorded: log and store never say two things of a circuit. See docs/adr/0027.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import accumulate
from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.application import project_aggregate
from eventsourcing.domain import CanInitAggregate
from eventsourcing.persistence import StoredEvent

from application.entries import Entry
from application.exporting import Exported, LineError, read_line
from application.log import DialogueLog
from application.recorder import AppendRefusedError, KeyedMessage
from application.round import gate_change
from application.transcripts import BrokenLine
from domain.circuit import CircuitState
from domain.dialogue import MOST_MESSAGES_PER_EVENT, Dialogue
from domain.gate import Gate
from domain.message import content_digest

__all__ = ["RestoreReport", "RestoredGate", "restore"]

_MOST_EVENTS: Final = 256
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a batch, about: a line more than that ends it."""

_MOST_KNOWN: Final = 50_000
"""Aggregates whose last version is remembered; of others the log is asked."""

_ATTEMPTS: Final = 5
"""Times that a batch is decided anew because somebody else appends to the same aggregates."""


class RestoredGate(msgspec.Struct, frozen=True):
    """How a gate stands by what was restored, where that is not as if nothing had ever been decided."""

    tract: str
    state: CircuitState
    capacity: int
    by: str
    why: str


class RestoreReport(msgspec.Struct):
    """What came of an import of an export.

    Attributes:
        events, messages: added to the log.
        present: events that were in the log already, with the same content.
        moved: events whose time would have been before that of the entry before them, and is that one's now.
        position: of the last event added; 0 when there was none.
        broken: the line at which the import stopped, with the reason; None: it came to the end.
        gates: those that are set otherwise than as usual now.
    """

    events: int = 0
    messages: int = 0
    present: int = 0
    moved: int = 0
    position: int = 0
    broken: BrokenLine | None = None
    gates: list[RestoredGate] = msgspec.field(default_factory=list)


class _Line(msgspec.Struct, frozen=True):
    number: int
    exported: Exported
    stored: StoredEvent


class _BrokenError(Exception):
    """The import ends at this line."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason


class _Known(msgspec.Struct, frozen=True):
    """An aggregate as far as it is in the log, or goes before in the batch.

    Attributes:
        version: of its last event; 0: there is none.
        said: messages up to there.
        kind: what its topics begin with.
    """

    version: int
    said: int
    kind: str


_NOTHING: Final = _Known(0, 0, "")


def restore(
    log: DialogueLog, name: str, file: Iterable[bytes], progress: Callable[[RestoreReport], None]
) -> RestoreReport:
    """Add the events of an export to the log, batch by batch. It blocks.

    Args:
        log: where to.
        name: of the file, for what is reported.
        file: its lines.
        progress: called after each batch with the report so far.

    Raises:
        PersistenceError: the store failed; what went before is stored, and the import can be made again.
    """
    task = _Restore(log)
    lines = _numbered(file)
    try:
        while batch := task.take(lines):
            task.store(batch)
            progress(task.report)
    except _BrokenError as broken:
        task.report.broken = BrokenLine(file=name, line=broken.number, reason=broken.reason)
    task.report.gates = list(task.set_gates())
    return task.report


def _numbered(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901  # it is the same line
        if line and not line.isspace():
            yield number, line


class _Restore:
    def __init__(self, log: DialogueLog) -> None:
        self.report = RestoreReport()
        self._log = log
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self._gates: dict[UUID, Gate] = {}
        self._last: tuple[int, int] = (0, 0)

    def take(self, lines: Iterator[tuple[int, bytes]]) -> list[_Line]:
        """The next lines: as many as are worth one append."""
        batch: list[_Line] = []
        size = 0
        for number, line in lines:
            batch.append(self._line(number, line))
            size += len(line)
            if len(batch) >= _MOST_EVENTS or size >= _MOST_BYTES:
                break
        return batch

    def _line(self, number: int, line: bytes) -> _Line:
        try:
            exported = read_line(line)
            return _Line(number, exported, self._log.mapper.to_stored_event(exported.event))
        except LineError as error:
            raise _BrokenError(number, str(error)) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise _BrokenError(number, f"It cannot be stored: {error}.") from None

    def store(self, batch: Sequence[_Line]) -> None:
        """Append what the log has not of these lines, all together."""
        for attempt in range(_ATTEMPTS):
            fresh = self._missing(batch, asks=attempt > 0)
            try:
                if fresh:
                    self._append(fresh)
            except AppendRefusedError as refusal:
                self._known.clear()  # some of it was only meant
                self._refused(fresh, refusal, last=attempt == _ATTEMPTS - 1)
            else:
                self.report.present += len(batch) - len(fresh)
                self._forget()
                return

    def _refused(self, fresh: Sequence[_Line], refusal: AppendRefusedError, *, last: bool) -> None:
        """Somebody else was faster, or part of it is there; deciding it again tells, unless it is of no use."""
        if refusal.duplicates and not refusal.conflicts:
            duplicate = refusal.duplicates[0]
            line = next(line for line in fresh if line.stored.originator_id == duplicate.originator_id)
            raise _BrokenError(
                line.number,
                f"The idempotency key {duplicate.key!r} belongs to message {duplicate.sequence} of dialogue "
                f"{duplicate.originator_id} already.",
            )
        if last:
            raise refusal

    def _forget(self) -> None:
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def _missing(self, batch: Sequence[_Line], *, asks: bool) -> list[_Line]:
        """The lines that the log does not have.

        Args:
            batch: the lines.
            asks: whether the log is asked of every aggregate, not only of those that nothing is known of.
        """
        there = self._at_the_same_place(batch)
        fresh: list[_Line] = []
        before: set[UUID] = set()
        for line in batch:
            originator_id = line.exported.event.originator_id
            entry = there.get(line.exported.position)
            if entry is not None and _is_of(entry, line):
                self._compare(line, entry)
                self._learn(line, None)
                continue
            known = self._known.get(originator_id)
            if known is None and line.stored.originator_version == 1 and not asks:
                known = _NOTHING  # most often it is new, and if not, the append is refused
            elif known is None or line.stored.originator_version <= known.version:
                known = self._look(line, None if originator_id not in before else known)
            elif asks and originator_id not in before:
                known = self._look(line, None)
            if line.stored.originator_version <= known.version:
                continue
            self._check(line, known)
            self._learn(line, known)
            before.add(originator_id)
            fresh.append(line)
        return fresh

    def _at_the_same_place(self, batch: Sequence[_Line]) -> Mapping[int, Entry]:
        """What the log has at the positions of these lines. In a log that began so, it is just these."""
        first, last = batch[0].exported.position, batch[-1].exported.position
        if last < first:
            return {}
        entries = self._log.recorder.select_entries(after=first - 1, limit=len(batch), stop=last)
        return {entry.id: entry for entry in entries}

    def _look(self, line: _Line, pending: _Known | None) -> _Known:
        """What the log has of the line's aggregate, up to its version; compared, if it has that one.

        `pending`: as far as it goes in the batch itself, where it is not in the log yet.
        """
        originator_id, version = line.exported.event.originator_id, line.stored.originator_version
        entries = self._log.recorder.select_stream(originator_id, after=max(0, version - 2), limit=2)
        for entry in entries:
            if entry.originator_version == version:
                self._compare(line, entry)
                return self._learn(line, None)
        if pending is not None:
            raise _BrokenError(line.number, f"{_named(line)} comes twice, or after a later one of it.")
        if not entries or entries[0].originator_version != version - 1:
            return _NOTHING
        kind = entries[0].topic.partition(".")[0]
        return _Known(version - 1, self._said(originator_id, version - 1) if kind == Dialogue.TOPIC else 0, kind)

    def _said(self, dialogue: UUID, version: int) -> int:
        """How many messages its events up to that version have."""
        while version > 0:
            [recorded] = self._log.stream(dialogue, after=version - 1, limit=1)
            if isinstance(recorded.event, Dialogue.Conveyed):
                return recorded.event.first_sequence + len(recorded.event.messages) - 1
            version -= 1
        return 0

    def _compare(self, line: _Line, entry: Entry) -> None:
        """Raise unless the event in the log is that of the line."""
        if entry.topic == line.stored.topic and entry.state == line.stored.state:
            return
        there, event = self._log.recorded(entry).event, line.exported.event
        mapper = self._log.mapper
        if type(there) is not type(event) or mapper.plain_state(there) != mapper.plain_state(event):
            raise _BrokenError(
                line.number, f"{_named(line)} has another content in the log, where it is at position {entry.id}."
            )

    def _check(self, line: _Line, known: _Known) -> None:
        """Raise unless the line's event can follow on what is known."""
        event, version = line.exported.event, line.stored.originator_version
        if version != known.version + 1:
            raise _BrokenError(
                line.number,
                f"{_named(line)} comes without the events before it, which are neither in the log nor in the file:"
                f" the export begins in the middle of that {_kind(line)}.",
            )
        if isinstance(event, CanInitAggregate) != (version == 1) or known.kind not in {"", _kind(line)}:
            raise _BrokenError(line.number, f"{_named(line)} cannot be a {line.stored.topic}.")
        if isinstance(event, Dialogue.Conveyed):
            if event.first_sequence != known.said + 1:
                raise _BrokenError(
                    line.number,
                    f"{_named(line)} begins with message {event.first_sequence}, after message {known.said}.",
                )
            if not 1 <= len(event.messages) <= MOST_MESSAGES_PER_EVENT:
                raise _BrokenError(
                    line.number,
                    f"It has {len(event.messages)} messages; 1 to {MOST_MESSAGES_PER_EVENT} are allowed.",
                )

    def _learn(self, line: _Line, known: _Known | None) -> _Known:
        """Know the aggregate as of the line. `known`: before it; None: it is in the log already."""
        event = line.exported.event
        if isinstance(event, Dialogue.Conveyed):
            said = event.first_sequence + len(event.messages) - 1
        elif known is not None or line.stored.originator_version == 1:
            said = known.said if known is not None else 0
        else:
            before = self._known.get(event.originator_id)
            follows = before is not None and before.version == line.stored.originator_version - 1
            if before is not None and follows:
                said = before.said
            elif isinstance(event, Dialogue.Event):
                said = self._said(event.originator_id, line.stored.originator_version)
            else:
                said = 0
        learned = _Known(line.stored.originator_version, said, _kind(line))
        self._known[event.originator_id] = learned
        self._known.move_to_end(event.originator_id)
        return learned

    def _append(self, fresh: Sequence[_Line]) -> None:
        gates = self._gates_after(fresh)
        times = [line.exported.at for line in fresh]
        positions = self._log.recorder.insert_events(
            [line.stored for line in fresh],
            keyed=[key for number, line in enumerate(fresh) for key in _keys(number, line.exported.event)],
            gates=[change for gate, events in gates.values() if (change := gate_change(gate, events)) is not None],
            times=times,
        )
        assert positions is not None, "this recorder tells where"
        self._gates |= {originator_id: gate for originator_id, (gate, _) in gates.items()}
        self.report.events += len(fresh)
        self.report.messages += sum(
            len(line.exported.event.messages)
            for line in fresh
            if isinstance(line.exported.event, Dialogue.Conveyed)
        )
        self.report.position = positions[-1]
        self._count_moved(positions, times)

    def _count_moved(self, positions: Sequence[int], times: Sequence[int]) -> None:
        position, at = self._last
        if position != positions[0] - 1:
            before = self._log.recorder.entries_at([positions[0] - 1])
            at = before[0].at if before else 0
        kept = list(accumulate(times, max, initial=at))[1:]
        self.report.moved += sum(given != now for given, now in zip(times, kept, strict=True))
        self._last = positions[-1], kept[-1]

    def _gates_after(self, fresh: Sequence[_Line]) -> dict[UUID, tuple[Gate, list[Gate.Event]]]:
        """The gates of which there are events, as they are after these, and the events."""
        gates: dict[UUID, tuple[Gate, list[Gate.Event]]] = {}
        for line in fresh:
            event = line.exported.event
            if not isinstance(event, Gate.Event):
                continue
            before, events = gates.get(event.originator_id) or (self._gate_before(event), [])
            gate = event.mutate(before)
            assert isinstance(gate, Gate), "only Built has none before it"
            gates[event.originator_id] = gate, [*events, event]
        return gates

    def _gate_before(self, event: Gate.Event) -> Gate | None:
        known = self._gates.get(event.originator_id)
        if known is not None and known.version == event.originator_version - 1:
            return copy(known)
        before = self._log.events.get(event.originator_id, lte=event.originator_version - 1)
        return project_aggregate(None, before)

    def set_gates(self) -> Iterator[RestoredGate]:
        """Those that the restored events have set otherwise than they are without any."""
        for gate in self._gates.values():
            usual = Gate.build(gate.tract, now=gate.created_on)
            if (gate.state, gate.settings) != (usual.state, usual.settings):
                yield RestoredGate(gate.tract.value, gate.state, gate.settings.capacity, gate.by, gate.why)


def _is_of(entry: Entry, line: _Line) -> bool:
    return (entry.originator_id, entry.originator_version) == (
        line.stored.originator_id,
        line.stored.originator_version,
    )


def _kind(line: _Line) -> str:
    return line.stored.topic.partition(".")[0]


def _named(line: _Line) -> str:
    return f"Version {line.stored.originator_version} of {_kind(line)} {line.stored.originator_id}"


def _keys(number: int, event: object) -> list[KeyedMessage]:
    """The keys that the event, number `number` of the append, brings."""
    if not isinstance(event, Dialogue.Conveyed):
        return []
    return [
        KeyedMessage(event.originator_id, message.idempotency_key, sequence, content_digest(message), number)
        for sequence, message in enumerate(event.messages, event.first_sequence)
        if message.idempotency_key is not None
    ]
