"""The projection behind the consciousness metrics: all measures and findings, by dialogue and by kind.

Live and recorded dialogues are never mixed: each kind is a scope of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from threading import active_count
from time import monotonic, sleep
from typing import Final
from uuid import UUID

import msgspec

from domain.consumer import Consumer
from domain.detectors import PATTERNS, Detectors
from domain.dialogue import Dialogue, Kind
from domain.gate import Gate
from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from domain.patterns import detect
from domain.response_times import Said, total
from domain.tract import Direction, Tract
from projections.cache import StateCache
from projections.changes import Changes
from projections.consciousness_tables import TABLES
from projections.fold import Projection, Recorded
from projections.model import Stored
from projections.runs import Answers, DialogueRun, Run, add_runs, answers
from projections.states import CHUNK, DialogueState, Measures, MessageTimes, Status
from projections.tables import Rows

__all__ = ["Consciousness"]

_VERSION: Final = 5
"""Counted up when the same log would give other rows or states."""

_AT_ONCE: Final = 5000
"""Messages, about: each step of taking them in then takes two milliseconds at most."""

_OFFER_EVERY: Final = 0.001

_INTERNAL: Final = Tract.INTERNAL
_INTRA: Final = Direction.INTRA.value
_WITHIN: Final = bytes([_INTRA])
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL.value
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL.value
_DELIVERY: Final = (Consumer.Event, Gate.Event, Dialogue.Redriven, Dialogue.Discarded)
"""How messages were delivered is not what was said."""


class Consciousness(Projection):
    """Folds batches of events into rows. Not thread-safe: it belongs to its runner."""

    NAME = "consciousness"
    TABLES = TABLES

    def __init__(
        self,
        settings: EmergenceSettings | None = None,
        patterns: PatternSettings | None = None,
        *,
        cached_dialogues: int = 2000,
    ) -> None:
        self._settings = settings or EmergenceSettings()
        self._patterns = patterns or PatternSettings()
        self._cache = StateCache(self._settings, cached_dialogues)
        self._changes = Changes()
        self._stored: Stored | None = None
        self._said: dict[UUID, DialogueRun] = {}
        self._of_kind: dict[Kind, Run] = {}
        self._offered = 0.0

    @property
    def version(self) -> str:
        return f"{_VERSION}"

    @property
    def settings(self) -> str:
        values = msgspec.structs.asdict(self._settings) | msgspec.structs.asdict(self._patterns)
        del values["stall_seconds"]  # by which no row is made; who asks goes by it
        settings = " ".join(f"{name}={value}" for name, value in values.items())
        return f"{settings} detectors={','.join(PATTERNS)}"

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        self._stored = stored
        self._changes = Changes()
        self._cache.load({event.dialogue for event in events if event.dialogue is not None}, stored)
        self._offered = monotonic()
        for event in events:
            self._apply(event)
            if sum(map(len, self._of_kind.values())) >= _AT_ONCE:
                self._take_in()
            self._offer()
        self._take_in()
        return self._changes.rows(self._cache)

    def forget(self) -> None:
        self._cache.forget()
        self._said.clear()
        self._of_kind.clear()

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
        state = DialogueState(event.kind, status, recorded.at, recorded.position)
        state.detectors = Detectors.of(self._patterns)
        self._cache.open(event.originator_id, state)
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
        dialogue = event.originator_id
        state, _ = self._cache.dialogue(dialogue)
        self._touch(state, recorded, event)
        run = self._said.get(dialogue)
        if run is None:
            run = self._said[dialogue] = DialogueRun(first_sequence=event.first_sequence)
        messages = event.messages
        run.replies += [
            (place, message.in_reply_to)
            for place, message in enumerate(messages, len(run))
            if message.in_reply_to is not None
        ]
        run.payloads += [message.payload for message in messages]
        directions = bytes(
            [_INTRA if m.source is m.target else _OUT if m.source is _INTERNAL else _BACK for m in messages]
        )
        if across := directions.rstrip(_WITHIN):
            state.asked_sequence = event.first_sequence + len(across) - 1
            state.asked_at, state.asked_position = recorded.at, recorded.position
        sent_at = [message.sent_at for message in messages]
        run.extend(recorded.position, directions, sent_at)
        whole = self._of_kind.setdefault(state.kind, Run())
        whole.extend(recorded.position, directions, sent_at)

    def _take_in(self) -> None:
        """What was said since this was done the last time."""
        if not self._said:
            return
        dialogues = {dialogue: self._cache.dialogue(dialogue) for dialogue in self._said}
        self._time_answers(dialogues)
        self._offer()
        scopes: dict[UUID | Kind, tuple[Measures, Run]] = {
            dialogue: (measures, self._said[dialogue]) for dialogue, (_, measures) in dialogues.items()
        }
        scopes |= {kind: (self._cache.kind(kind), run) for kind, run in self._of_kind.items()}
        for scope, episodes in zip(scopes, add_runs(list(scopes.values())), strict=True):
            for episode in episodes:
                kind = scope if isinstance(scope, Kind) else dialogues[scope][0].kind
                self._changes.lasted(scope, kind, episode)
        self._offer()
        for dialogue, (state, _) in dialogues.items():
            self._detect(dialogue, state, self._said[dialogue])
            self._remember(dialogue, state, self._said[dialogue])
            self._offer()
        self._changes.kinds.update(self._of_kind)
        self._said.clear()
        self._of_kind.clear()

    def _time_answers(self, dialogues: Mapping[UUID, tuple[DialogueState, Measures]]) -> None:
        said = []
        for dialogue, (state, _) in dialogues.items():
            run = self._said[dialogue]
            replied_to = {place: self._replied_to(dialogue, state, run, earlier) for place, earlier in run.replies}
            said.append((state.turns, run, replied_to))
        of_kind: dict[Kind, list[Answers]] = defaultdict(list)
        for (state, measures), response_times in zip(dialogues.values(), answers(said), strict=True):
            measures.respond(*response_times)
            of_kind[state.kind].append(response_times)
        for kind, told in of_kind.items():
            self._cache.kind(kind).respond(*map(total, zip(*told, strict=True)))

    def _detect(self, dialogue: UUID, state: DialogueState, run: DialogueRun) -> None:
        for name, detector in state.detectors.each():
            for finding in detect(detector, run.first_sequence, run.directions, run.payloads):
                position = run.position(finding.last_sequence - run.first_sequence)
                self._changes.found(dialogue, state.kind, name, finding, position)

    def _replied_to(self, dialogue: UUID, state: DialogueState, run: DialogueRun, earlier: int) -> Said:
        if earlier >= run.first_sequence:
            return run.said(earlier - run.first_sequence)
        chunk, place = divmod(earlier - 1, CHUNK)
        if chunk == (run.first_sequence - 1) // CHUNK:
            return state.times.said(place)
        assert self._stored is not None, "events are being folded"
        return self._cache.chunk(dialogue, chunk, self._stored).said(place)

    def _remember(self, dialogue: UUID, state: DialogueState, run: DialogueRun) -> None:
        """The times of the run, for replies to come."""
        place, sequence = 0, run.first_sequence
        while place < len(run):
            chunk, filled = divmod(sequence - 1, CHUNK)
            stop = place + CHUNK - filled
            state.times.directions += run.directions[place:stop]
            state.times.sent_at += run.sent_at[place:stop]
            sequence += stop - place
            place = stop
            if place <= len(run):
                self._fill_chunk(dialogue, state, chunk)

    def _fill_chunk(self, dialogue: UUID, state: DialogueState, chunk: int) -> None:
        self._cache.fill(dialogue, chunk, state.times)
        self._changes.filled(dialogue, chunk, state.times)
        state.times = MessageTimes()

    def _offer(self) -> None:
        """Let the event loop have the interpreter, for which it would wait 5 ms before it forces it.

        Now and then only: a sleep of 0 seconds takes 60 µs and more. Not at all where nobody else is, in a process
        that rebuilds.
        """
        now = monotonic()
        if now - self._offered >= _OFFER_EVERY:
            if active_count() > 1:
                sleep(0)
            self._offered = now
