"""Which lines of an export a log has already, and whether the others can follow on what it has."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.domain import CanInitAggregate
from eventsourcing.persistence import StoredEvent

from application.entries import Entry
from application.exporting import Exported
from application.log import DialogueLog
from domain.consumer import Consumer, consumer_id
from domain.dialogue import MOST_MESSAGES_PER_EVENT, Dialogue
from domain.gate import Gate, gate_id

__all__ = ["BrokenLineError", "Line", "Streams"]

_MOST_KNOWN: Final = 50_000
"""Aggregates whose last version is remembered; of others the log is asked."""


class Line(msgspec.Struct, frozen=True):
    """An event of an export, and its line in the file."""

    number: int
    exported: Exported
    stored: StoredEvent

    @property
    def kind(self) -> str:
        """What the topics of its aggregate begin with."""
        return self.stored.topic.partition(".")[0]

    @property
    def named(self) -> str:
        return f"Version {self.stored.originator_version} of {self.kind} {self.stored.originator_id}"


class BrokenLineError(Exception):
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


class Streams:
    """What is known of the aggregates whose events a file has."""

    def __init__(self, log: DialogueLog) -> None:
        self._log = log
        self._known: OrderedDict[UUID, _Known] = OrderedDict()

    def forget(self) -> None:
        """What was only meant was not appended."""
        self._known.clear()

    def missing(self, batch: Sequence[Line], *, asks: bool) -> list[Line]:
        """The lines that the log does not have.

        Args:
            batch: the lines.
            asks: whether the log is asked of every aggregate, not only of those that nothing is known of.

        Raises:
            BrokenLineError: the log contradicts one of them, or it lacks what goes before.
        """
        there = self._at_the_same_place(batch)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        fresh: list[Line] = []
        before: set[UUID] = set()
        for line in batch:
            originator_id = line.exported.event.originator_id
            entry = there.get(line.exported.position)
            if entry is not None and _is_of(entry, line):
                self._compare(line, entry)
                self._learn(line)
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

    def _at_the_same_place(self, batch: Sequence[Line]) -> Mapping[int, Entry]:
        """What the log has at the positions of these lines. In a log that began so, it is just these."""
        first, last = batch[0].exported.position, batch[-1].exported.position
        if last < first:
            return {}
        entries = self._log.recorder.select_entries(after=first - 1, limit=len(batch), stop=last)
        return {entry.id: entry for entry in entries}

    def _look(self, line: Line, pending: _Known | None) -> _Known:
        """What the log has of the line's aggregate, up to its version; compared, if it has that one.

        `pending`: as far as it goes in the batch itself, where it is not in the log yet.
        """
        originator_id, version = line.exported.event.originator_id, line.stored.originator_version
        entries = self._log.recorder.select_stream(originator_id, after=max(0, version - 2), limit=2)
        for entry in entries:
            if entry.originator_version == version:
                self._compare(line, entry)
                return self._learn(line)
        if pending is not None:
            raise BrokenLineError(line.number, f"{line.named} comes twice, or after a later one of it.")
        if not entries or entries[0].originator_version != version - 1:
            return _NOTHING
        kind = entries[0].topic.partition(".")[0]
        return _Known(version - 1, self._said(originator_id, version - 1) if kind == Dialogue.TOPIC else 0, kind)

    def _said(self, dialogue: UUID, version: int) -> int:
        """How many messages its events up to that version have."""
        while version > 1:
            [recorded] = self._log.stream(dialogue, after=version - 1, limit=1)
            if isinstance(recorded.event, Dialogue.Conveyed):
                return recorded.event.first_sequence + len(recorded.event.messages) - 1
            version -= 1
        return 0

    def _compare(self, line: Line, entry: Entry) -> None:
        """Raise unless the event in the log is that of the line."""
        if entry.topic == line.stored.topic and entry.state == line.stored.state:
            return
        there, event = self._log.recorded(entry).event, line.exported.event
        mapper = self._log.mapper
        if type(there) is not type(event) or mapper.plain_state(there) != mapper.plain_state(event):
            raise BrokenLineError(
                line.number, f"{line.named} has another content in the log, where it is at position {entry.id}."
            )

    def _check(self, line: Line, known: _Known) -> None:
        """Raise unless the line's event can follow on what is known."""
        event, version = line.exported.event, line.stored.originator_version
        if version != known.version + 1:
            raise BrokenLineError(
                line.number,
                f"{line.named} comes without the events before it, which are neither in the log nor in the file:"
                f" the export begins in the middle of that {line.kind}.",
            )
        begins = isinstance(event, CanInitAggregate)
        if begins != (version == 1) or known.kind not in {"", line.kind} or _own_id(event) != event.originator_id:
            raise BrokenLineError(line.number, f"{line.named} cannot be a {line.stored.topic}.")
        reason = _fault(event, known.said) if isinstance(event, Dialogue.Conveyed) else None
        if reason is not None:
            raise BrokenLineError(line.number, f"{line.named} {reason}.")

    def _learn(self, line: Line, before: _Known | None = None) -> _Known:
        """Know the aggregate as of the line."""
        event, version = line.exported.event, line.stored.originator_version
        before = before or self._known.get(event.originator_id)
        if isinstance(event, Dialogue.Conveyed):
            said = event.first_sequence + len(event.messages) - 1
        elif before is not None and before.version == version - 1:
            said = before.said
        else:
            said = self._said(event.originator_id, version) if isinstance(event, Dialogue.Event) else 0
        learned = self._known[event.originator_id] = _Known(version, said, line.kind)
        self._known.move_to_end(event.originator_id)
        return learned


def _own_id(event: Any) -> UUID:
    """The id that the event's aggregate must have, where it is not any."""
    if isinstance(event, Gate.Built):
        return gate_id(event.tract)
    if isinstance(event, Consumer.Joined):
        return consumer_id(event.tract, event.name, event.generation)
    own: UUID = event.originator_id
    return own


def _fault(event: Dialogue.Conveyed, said: int) -> str | None:
    """Why these cannot be the messages after so many; None: they can."""
    if event.first_sequence != said + 1:
        return f"begins with message {event.first_sequence}, after message {said}"
    if not 1 <= len(event.messages) <= MOST_MESSAGES_PER_EVENT:
        return f"has {len(event.messages)} messages; 1 to {MOST_MESSAGES_PER_EVENT} are allowed"
    for sequence, message in enumerate(event.messages, event.first_sequence):
        if message.in_reply_to is not None and message.in_reply_to >= sequence:
            return f"has message {sequence} reply to message {message.in_reply_to}, which is no earlier one"
    return None


def _is_of(entry: Entry, line: Line) -> bool:
    return (entry.originator_id, entry.originator_version) == (
        line.stored.originator_id,
        line.stored.originator_version,
    )
