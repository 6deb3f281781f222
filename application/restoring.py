"""The events of an export back into a log: history, with its ids, versions and times.

Nothing of it is delivered. What the log has already and what is equal is passed over, so an import that was killed
is made again, and a later export of the same log adds what is new. The gates follow their events, as they did when
these were recorded: log and store never say two things of a circuit. See docs/adr/0027.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import accumulate
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final
from uuid import UUID

import msgspec
from eventsourcing.application import project_aggregate

from application.exporting import LineError, read_line
from application.log import DialogueLog
from application.reading import Reader
from application.recorder import AppendRefusedError, Duplicate, KeyedMessage
from application.restored_streams import BrokenLineError, Line, Streams
from application.round import gate_change
from application.transcripts import BrokenLine, name_of
from domain.circuit import CircuitState
from domain.dialogue import Dialogue
from domain.gate import Gate
from domain.message import content_digest
from domain.times import log_time

__all__ = ["RestoreReport", "RestoredGate", "import_log", "restore"]

_MOST_EVENTS: Final = 256
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a batch, about: a line more than that ends it."""

_MOST_AHEAD: Final = 24 * 60 * 60 * 1000
"""Milliseconds that a time may be ahead of this machine's clock."""

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


async def import_log(
    log: DialogueLog, reader: Reader, file: str | Path | BinaryIO, progress: Callable[[RestoreReport], None]
) -> RestoreReport:
    """Add the events of an export, in a thread of the reader's. Cancelled, it ends after a batch.

    Raises:
        CallosumClosedError: the service was closed meanwhile; what was stored before stays.
        OSError: the file cannot be read; what was stored before stays.
    """
    cancelled = Event()

    def tell(report: RestoreReport) -> None:
        progress(report)
        if cancelled.is_set():
            raise _CancelledError
        reader.check_open()

    def run() -> RestoreReport:
        if not isinstance(file, str | Path):
            return restore(log, name_of(file), file, tell)
        with Path(file).open("rb") as opened:
            return restore(log, name_of(file), opened, tell)

    work = asyncio.ensure_future(reader.call(run))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.gather(work, return_exceptions=True)  # or it would go on, and nobody know of it
        raise


class _CancelledError(Exception):
    """Nobody waits for the rest of the import."""


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
    except BrokenLineError as broken:
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
        self._streams = Streams(log)
        self._gates: dict[UUID, Gate] = {}
        self._last: tuple[int, int] = (0, 0)

    def take(self, lines: Iterator[tuple[int, bytes]]) -> list[Line]:
        """The next lines: as many as are worth one append."""
        batch: list[Line] = []
        size = 0
        for number, line in lines:
            batch.append(self._line(number, line))
            size += len(line)
            if len(batch) >= _MOST_EVENTS or size >= _MOST_BYTES:
                break
        return batch

    def _line(self, number: int, line: bytes) -> Line:
        try:
            exported = read_line(line)
            _check_time(exported.at)
            return Line(number, exported, self._log.mapper.to_stored_event(exported.event))
        except LineError as error:
            raise BrokenLineError(number, str(error)) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise BrokenLineError(number, f"It cannot be stored: {error}.") from None

    def store(self, batch: Sequence[Line]) -> None:
        """Append what the log has not of these lines, all together."""
        for attempt in range(_ATTEMPTS):
            fresh = self._streams.missing(batch, asks=attempt > 0)
            try:
                if fresh:
                    self._append(fresh)
            except AppendRefusedError as refusal:
                self._streams.forget()
                self._refused(fresh, refusal, last=attempt == _ATTEMPTS - 1)
            else:
                self.report.present += len(batch) - len(fresh)
                return

    def _refused(self, fresh: Sequence[Line], refusal: AppendRefusedError, *, last: bool) -> None:
        """Somebody else was faster, or part of it is there; deciding it again tells, unless it is of no use."""
        if refusal.duplicates and not refusal.conflicts:
            first = {(seen.originator_id, seen.key): seen for seen in refusal.duplicates}
            for keyed in _keyed(fresh):
                if (seen := first.get((keyed.originator_id, keyed.key))) is not None:
                    raise _repeated(fresh[keyed.event], seen)
        if last:
            raise refusal

    def _append(self, fresh: Sequence[Line]) -> None:
        gates = self._gates_after(fresh)
        times = [line.exported.at for line in fresh]
        positions = self._log.recorder.insert_events(
            [line.stored for line in fresh],
            keyed=_keyed(fresh),
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

    def _gates_after(self, fresh: Sequence[Line]) -> dict[UUID, tuple[Gate, list[Gate.Event]]]:
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


def _check_time(at: int) -> None:
    """The log's clock would stand still until then: no entry has a time before that of the one before it."""
    now = time.time_ns() // 1_000_000
    if at > now + _MOST_AHEAD:
        raise LineError(
            f"Its time {log_time(at)} is more than a day ahead of this machine's clock, {log_time(now)}."
        )


def _keyed(lines: Sequence[Line]) -> list[KeyedMessage]:
    """The keys that an append of these brings.

    Raises:
        BrokenLineError: one comes twice; not every store would refuse it.
    """
    known: dict[tuple[UUID, str], KeyedMessage] = {}
    for number, line in enumerate(lines):
        for keyed in _keys(number, line.exported.event):
            first = known.setdefault((keyed.originator_id, keyed.key), keyed)
            if first is not keyed:
                raise _repeated(line, first)
    return list(known.values())


def _repeated(line: Line, first: KeyedMessage | Duplicate) -> BrokenLineError:
    return BrokenLineError(
        line.number,
        f"The idempotency key {first.key!r} belongs to message {first.sequence} of dialogue "
        f"{first.originator_id} already.",
    )


def _keys(number: int, event: object) -> list[KeyedMessage]:
    """The keys that the event, number `number` of the append, brings."""
    if not isinstance(event, Dialogue.Conveyed):
        return []
    return [
        KeyedMessage(event.originator_id, message.idempotency_key, sequence, content_digest(message), number)
        for sequence, message in enumerate(event.messages, event.first_sequence)
        if message.idempotency_key is not None
    ]
