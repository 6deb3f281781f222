"""The rows that a batch of events changes in the consciousness read model."""

from typing import Any
from uuid import UUID

import msgspec

from domain.balanced_dialogue import BALANCED_DIALOGUE, balanced_dialogue
from domain.dialogue import Dialogue, Kind
from domain.measures import Episode
from domain.patterns import Finding
from projections.cache import StateCache
from projections.consciousness_tables import activities, dialogues, episodes, findings, message_times, scopes
from projections.fold import Recorded
from projections.states import DialogueState, Measures, MessageTimes, encode
from projections.tables import Rows

__all__ = ["Changes"]


class Changes:
    """Collected while a batch is folded; `rows` turns it into rows."""

    def __init__(self) -> None:
        self.dialogues: set[UUID] = set()
        self.kinds: set[Kind] = set()
        self._rows = Rows()
        self._findings: dict[tuple[UUID, str, int], tuple[Kind, Finding, int]] = {}

    def opened(self, recorded: Recorded, event: Dialogue.Opened) -> None:
        self.dialogues.add(event.originator_id)
        row = {
            "dialogue": str(event.originator_id),
            "kind": event.kind.value,
            "subject": event.subject,
            # Through msgspec, because attributes may hold bytes; they become base64.
            "attributes": msgspec.to_builtins(event.attributes),
            "opened_at": recorded.at,
            "first_position": recorded.position,
        }
        self._rows.put(dialogues, [row])

    def found(self, dialogue: UUID, kind: Kind, detector: str, finding: Finding, position: int) -> None:
        """`position`: of the event that it last grew with."""
        self._findings[dialogue, detector, finding.first_sequence] = kind, finding, position

    def lasted(self, scope: UUID | Kind, kind: Kind, episode: Episode) -> None:
        """An episode has ended, or goes on."""
        self._rows.put(episodes, [{"scope": str(scope), **msgspec.structs.asdict(episode)}])
        if isinstance(scope, UUID):
            self.found(scope, kind, BALANCED_DIALOGUE, balanced_dialogue(episode), episode.last_position)

    def filled(self, dialogue: UUID, chunk: int, times: MessageTimes) -> None:
        self._rows.put(message_times, [{"dialogue": str(dialogue), "chunk": chunk, "times": encode(times)}])

    def rows(self, cache: StateCache) -> Rows:
        """Everything is encoded before the transaction, which then holds the write lock for the writes only."""
        for dialogue in self.dialogues:
            state, measures = cache.dialogue(dialogue)
            self._rows.put(activities, [_current(dialogue, state)])
            self._rows.put(scopes, [self._measured(dialogue, state.kind, measures)])
        self._rows.put(scopes, [self._measured(kind, kind, cache.kind(kind)) for kind in self.kinds])
        self._rows.put(findings, map(_found, self._findings.items()))
        return self._rows

    def _measured(self, scope: UUID | Kind, kind: Kind, measures: Measures) -> dict[str, Any]:
        if measures.episodes.under_way is not None:
            self.lasted(scope, kind, measures.episodes.under_way)
        balance = measures.balance
        return {
            "scope": str(scope),
            "total_messages": balance.total_messages,
            "internal_to_external": balance.internal_to_external,
            "external_to_internal": balance.external_to_internal,
            "dialogue_balance_ratio": balance.dialogue_balance_ratio,
            "emergence_score": balance.emergence_score,
            "runs": measures.coordination.runs,
            "coordination_z": measures.coordination.coordination_z,
            "state": encode(measures),
        }


def _found(item: tuple[tuple[UUID, str, int], tuple[Kind, Finding, int]]) -> dict[str, Any]:
    (dialogue, detector, _), (kind, finding, position) = item
    return {
        "dialogue": str(dialogue),
        "detector": detector,
        "kind": kind.value,
        "first_sequence": finding.first_sequence,
        "pattern": finding.pattern,
        "last_sequence": finding.last_sequence,
        "count": finding.count,
        "why": finding.why,
        "position": position,
    }


def _current(dialogue: UUID, state: DialogueState) -> dict[str, Any]:
    awaiting = state.awaiting
    return {
        "dialogue": str(dialogue),
        "kind": state.kind.value,
        "status": state.status.value,
        "close_reason": state.close_reason,
        "awaiting": awaiting,
        "asked_sequence": state.asked_sequence if awaiting else None,
        "asked_at": state.asked_at if awaiting else None,
        "asked_position": state.asked_position if awaiting else None,
        "last_activity": state.last_activity,
        "last_position": state.last_position,
        "state": encode(state),
    }
