"""The measures of dialogues message by message: as they were right after each, without a query.

What is told here after the last message of an event is what every query answers as of that event's position.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec

from domain.balanced_dialogue import BALANCED_DIALOGUE, balanced_dialogue
from domain.detectors import Detectors
from domain.dialogue import Dialogue, Kind
from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from domain.patterns import Finding
from domain.tract import Tract
from projections.fold import Recorded
from projections.states import DialogueState, Measures, Status

__all__ = ["Measured", "SteppedFinding", "Steps"]


_MOST_RECORDED: Final = 256
"""Recorded dialogues that are remembered: each is whole from birth, and others hardly come in between."""


class SteppedFinding(msgspec.Struct, frozen=True):
    """A finding that a message begins or makes grow, as it was then.

    Attributes:
        begins: whether the message makes it one.
    """

    pattern: str
    first_sequence: int
    last_sequence: int
    count: int
    why: str
    begins: bool


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A dialogue right after a message; the fields that `ConsciousnessMetrics` has too mean the same.

    Attributes:
        awaiting: the tract whose answer it awaits, while it is open.
        episode_since: the first message of the emergence episode that this one belongs to, or None.
        findings: those that this message begins or makes grow.
    """

    subject: str
    kind: Kind
    total_messages: int
    internal_to_external: int
    external_to_internal: int
    dialogue_balance_ratio: float
    balanced_dialogue_events: int
    emergence_score: float
    emergence_assessable: bool
    runs: int
    coordination_z: float | None
    awaiting: Tract | None
    episode_since: int | None
    findings: list[SteppedFinding]


class _Stepped(msgspec.Struct):
    """A dialogue so far."""

    subject: str
    state: DialogueState
    measures: Measures
    found: set[tuple[str, int]] = msgspec.field(default_factory=set)

    def stepped(self, detector: str, finding: Finding) -> SteppedFinding:
        key = detector, finding.first_sequence
        begins = key not in self.found
        self.found.add(key)
        return SteppedFinding(**msgspec.structs.asdict(finding), begins=begins)


class Steps:
    """Is told events in position order, from the first one of each dialogue on."""

    def __init__(self, settings: EmergenceSettings | None = None, patterns: PatternSettings | None = None) -> None:
        self._settings = settings or EmergenceSettings()
        self._patterns = patterns or PatternSettings()
        self._dialogues: dict[UUID, _Stepped] = {}
        self._recorded: deque[UUID] = deque()

    def add(self, recorded: Recorded) -> Iterator[Measured]:
        """The measures after each of its messages; the iterator must be used up before the next event."""
        event = recorded.event
        if isinstance(event, Dialogue.Opened):
            self._open(recorded, event)
        elif isinstance(event, Dialogue.Closed):
            self._dialogues.pop(event.originator_id)  # nothing more is said in it
        elif isinstance(event, Dialogue.Conveyed):
            yield from self._convey(recorded.position, event)

    def _open(self, recorded: Recorded, event: Dialogue.Opened) -> None:
        if event.kind is Kind.RECORDED:
            self._recorded.append(event.originator_id)
            if len(self._recorded) > _MOST_RECORDED:
                del self._dialogues[self._recorded.popleft()]
        status = Status.OPEN if event.kind is Kind.LIVE else Status.CLOSED
        state = DialogueState(event.kind, status, recorded.at, recorded.position)
        state.detectors = Detectors.of(self._patterns)
        self._dialogues[event.originator_id] = _Stepped(event.subject, state, Measures.empty(self._settings))

    def _convey(self, position: int, event: Dialogue.Conveyed) -> Iterator[Measured]:
        dialogue = self._dialogues[event.originator_id]
        for sequence, message in enumerate(event.messages, event.first_sequence):
            direction = message.direction
            dialogue.measures.add(direction, position, message.sent_at)
            dialogue.state.turns.add(direction, message.sent_at, None)  # of a reply only the time would differ
            found = [
                (name, detector.add(sequence, direction, message.payload))
                for name, detector in dialogue.state.detectors.each()
            ]
            if (episode := dialogue.measures.episodes.under_way) is not None:
                found.append((BALANCED_DIALOGUE, balanced_dialogue(episode)))
            findings = [dialogue.stepped(name, finding) for name, finding in found if finding is not None]
            yield _measured(dialogue, findings)


def _measured(dialogue: _Stepped, findings: list[SteppedFinding]) -> Measured:
    under_way = dialogue.measures.episodes.under_way
    return Measured(
        subject=dialogue.subject,
        kind=dialogue.state.kind,
        **dialogue.measures.figures(),
        awaiting=dialogue.state.awaiting,
        episode_since=None if under_way is None else under_way.first_message,
        findings=findings,
    )
