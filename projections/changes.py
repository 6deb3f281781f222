"""The rows that a batch of events changes in the read model."""

from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Executable, Table, bindparam, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.sqlite import insert

from domain.dialogue import Dialogue, Kind
from domain.measures import Episode
from domain.patterns import Finding
from projections.cache import StateCache
from projections.fold import Recorded
from projections.states import DialogueState, Measures, MessageTimes, encode
from projections.tables import dialogues, episodes, findings, message_times, scopes

__all__ = ["Changes"]

_Rows = list[dict[str, Any]]


def _upsert(table: Table) -> Executable:
    statement = insert(table)
    keys = list(table.primary_key.columns)
    values = {column.name: statement.excluded[column.name] for column in table.columns if column not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)


_OPEN: Final = plain_insert(dialogues)
_UPDATE: Final = (
    update(dialogues)
    .where(dialogues.c.dialogue == bindparam("id"))
    .values({name: bindparam(name) for name in ("status", "close_reason", "awaiting")})
    .values({name: bindparam(name) for name in ("last_activity", "last_position", "state")})
)
_FILL: Final = plain_insert(message_times)
_SCOPE: Final = _upsert(scopes)
_EPISODE: Final = _upsert(episodes)
_FINDING: Final = _upsert(findings)


class Changes:
    """Collected while a batch is folded; `prepare` turns it into rows, `write` writes them."""

    def __init__(self) -> None:
        self.dialogues: set[UUID] = set()
        self.kinds: set[Kind] = set()
        self._opened: dict[UUID, dict[str, Any]] = {}
        self._findings: dict[tuple[UUID, str, int], tuple[Kind, Finding]] = {}
        self._episodes: _Rows = []
        self._chunks: _Rows = []
        self._prepared: list[tuple[Executable, _Rows]] = []

    def opened(self, recorded: Recorded, event: Dialogue.Opened) -> None:
        self._opened[event.originator_id] = {
            "dialogue": str(event.originator_id),
            "kind": event.kind.value,
            "subject": event.subject,
            # Through msgspec, because attributes may hold bytes; they become base64.
            "attributes": msgspec.to_builtins(event.attributes),
            "opened_at": recorded.at,
            "first_position": recorded.position,
        }

    def found(self, dialogue: UUID, kind: Kind, detector: str, finding: Finding) -> None:
        self._findings[dialogue, detector, finding.first_sequence] = kind, finding

    def ended(self, scope: UUID | Kind, episode: Episode) -> None:
        self._episodes.append({"scope": str(scope), **msgspec.structs.asdict(episode)})

    def filled(self, dialogue: UUID, chunk: int, times: MessageTimes) -> None:
        self._chunks.append({"dialogue": str(dialogue), "chunk": chunk, "times": encode(times)})

    def prepare(self, cache: StateCache) -> None:
        """Encode everything before the transaction, which then holds the write lock for the writes only."""
        opened: _Rows = []
        changed: _Rows = []
        measured: _Rows = []
        for dialogue in self.dialogues:
            state, measures = cache.dialogue(dialogue)
            row = self._opened.get(dialogue)
            if row is None:
                changed.append({"id": str(dialogue), **_current(state)})
            else:
                opened.append({**row, **_current(state)})
            measured.append(self._measured(dialogue, measures))
        measured += [self._measured(kind, cache.kind(kind)) for kind in self.kinds]
        statements = [(_OPEN, opened), (_UPDATE, changed), (_SCOPE, measured), (_FILL, self._chunks)]
        statements += [(_EPISODE, self._episodes), (_FINDING, self._found())]
        self._prepared = [(statement, rows) for statement, rows in statements if rows]

    def write(self, connection: Connection) -> None:
        for statement, rows in self._prepared:
            connection.execute(statement, rows)

    def _measured(self, scope: UUID | Kind, measures: Measures) -> dict[str, Any]:
        if measures.episodes.under_way is not None:
            self.ended(scope, measures.episodes.under_way)
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

    def _found(self) -> _Rows:
        return [
            {
                "dialogue": str(dialogue),
                "detector": detector,
                "kind": kind.value,
                **msgspec.structs.asdict(finding),
            }
            for (dialogue, detector, _), (kind, finding) in self._findings.items()
        ]


def _current(state: DialogueState) -> dict[str, Any]:
    return {
        "status": state.status.value,
        "close_reason": state.close_reason,
        "awaiting": state.awaiting,
        "last_activity": state.last_activity,
        "last_position": state.last_position,
        "state": encode(state),
    }
