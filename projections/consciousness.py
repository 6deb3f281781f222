"""The projection behind the consciousness metrics: all measures and findings, by dialogue and by kind.

Live and recorded dialogues are never mixed: each kind is a scope of its own.
"""

from collections.abc import Sequence
from time import sleep
from typing import Final
from uuid import UUID

import msgspec

from domain.consumer import Consumer
from domain.dialogue import Dialogue, Kind
from domain.measures import EmergenceSettings
from domain.patterns import PATTERNS
from domain.response_times import Said
from domain.tract import Direction, Tract
from projections.cache import StateCache
from projections.changes import Changes
from projections.consciousness_tables import TABLES
from projections.fold import Projection, Recorded
from projections.model import Stored
from projections.states import CHUNK, DialogueState, MessageTimes, Status
from projections.tables import Rows

__all__ = ["Consciousness"]

_VERSION: Final = 1
"""Counted up when the same log would give other rows or states."""

_INTERNAL: Final = Tract.INTERNAL
_INTRA: Final = Direction.INTRA
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL
_DELIVERY: Final = (Consumer.Event, Dialogue.Redriven, Dialogue.Discarded)
"""How messages were delivered is not what was said."""


class Consciousness(Projection):
    """Folds batches of events into rows. Not thread-safe: it belongs to its runner."""

    NAME = "consciousness"
    TABLES = TABLES

    def __init__(self, settings: EmergenceSettings | None = None, *, cached_dialogues: int = 2000) -> None:
        self._settings = settings or EmergenceSettings()
        self._cache = StateCache(self._settings, cached_dialogues)
        self._changes = Changes()
        self._stored: Stored | None = None

    @property
    def version(self) -> str:
        settings = " ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(self._settings).items())
        return f"{_VERSION} {settings} detectors={','.join(PATTERNS)}"

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        self._stored = stored
        self._changes = Changes()
        self._cache.load({event.dialogue for event in events if event.dialogue is not None}, stored)
        for event in events:
            self._apply(event)
            sleep(0)  # offers the interpreter to the event loop, which must wait 5 ms to force it
        return self._changes.rows(self._cache)

    def forget(self) -> None:
        self._cache.forget()

    def _apply(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Dialogue.Conveyed):
            self._convey(recorded, event)
        elif isinstance(event, Dialogue.Opened):
            self._open(recorded, event)
        elif isinstance(event, Dialogue.Closed):
            self._close(recorded, event)
        elif not isinstance(event, _DELIVERY):
            raise TypeError(f"no rule for {recorded.topic}")

    def _open(self, recorded: Recorded, event: Dialogue.Opened) -> None:
        status = Status.OPEN if event.kind is Kind.LIVE else Status.CLOSED
        self._cache.open(event.originator_id, DialogueState(event.kind, status, recorded.at, recorded.position))
        self._changes.opened(recorded, event)

    def _close(self, recorded: Recorded, event: Dialogue.Closed) -> None:
        state, _ = self._cache.dialogue(event.originator_id)
        self._touch(state, recorded, event)
        state.status = Status.CLOSED
        state.close_reason = event.reason

    def _touch(self, state: DialogueState, recorded: Recorded, event: Dialogue.Event) -> None:
        state.last_activity = recorded.at
        state.last_position = recorded.position
        self._changes.dialogues.add(event.originator_id)

    def _convey(self, recorded: Recorded, event: Dialogue.Conveyed) -> None:
        dialogue, position = event.originator_id, recorded.position
        state, measures = self._cache.dialogue(dialogue)
        kind = state.kind
        whole = self._cache.kind(kind)
        detectors = state.detectors.each()
        self._touch(state, recorded, event)
        self._changes.kinds.add(kind)
        for sequence, message in enumerate(event.messages, event.first_sequence):
            source = message.source
            direction = _INTRA if source is message.target else _OUT if source is _INTERNAL else _BACK
            sent_at, reply = message.sent_at, message.in_reply_to
            replied_to = None if reply is None else self._said(dialogue, state, sequence, reply)
            response = state.turns.add(direction, sent_at, replied_to)
            ended = measures.add(direction, position, sent_at, response)
            if ended is not None:
                self._changes.ended(dialogue, ended)
            ended = whole.add(direction, position, sent_at, response)
            if ended is not None:
                self._changes.ended(kind, ended)
            for name, detector in detectors:
                finding = detector.add(sequence, direction, message.payload)
                if finding is not None:
                    self._changes.found(dialogue, kind, name, finding)
            state.times.directions.append(direction)
            state.times.sent_at.append(sent_at)
            if sequence % CHUNK == 0:
                self._fill_chunk(dialogue, state, sequence // CHUNK - 1)

    def _said(self, dialogue: UUID, state: DialogueState, sequence: int, earlier: int) -> Said:
        chunk, place = divmod(earlier - 1, CHUNK)
        if chunk == (sequence - 1) // CHUNK:
            return state.times.said(place)
        assert self._stored is not None, "events are being folded"
        return self._cache.chunk(dialogue, chunk, self._stored).said(place)

    def _fill_chunk(self, dialogue: UUID, state: DialogueState, chunk: int) -> None:
        self._cache.fill(dialogue, chunk, state.times)
        self._changes.filled(dialogue, chunk, state.times)
        state.times = MessageTimes()
