"""What a study compares: the dialogues of a kind, each with an attribute, its measures and its patterns."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection, select

from domain.detectors import PATTERNS
from domain.dialogue import Kind
from domain.stall import STALL
from projections.consciousness_tables import activities, dialogues, findings, scopes
from projections.states import Measures, Status, decode_measures

__all__ = ["MEASURES", "NAMES", "Studied", "StudiedSet", "studied"]

MEASURES: Final[Mapping[str, Callable[[Measures], float | None]]] = {
    "total_messages": lambda of: of.balance.total_messages,
    "internal_to_external": lambda of: of.balance.internal_to_external,
    "external_to_internal": lambda of: of.balance.external_to_internal,
    "dialogue_balance_ratio": lambda of: of.balance.dialogue_balance_ratio,
    "balanced_dialogue_events": lambda of: of.balance.balanced_dialogue_events,
    "emergence_score": lambda of: of.balance.emergence_score if of.balance.emergence_assessable else None,
    "runs": lambda of: of.coordination.runs,
    "coordination_z": lambda of: of.coordination.coordination_z,
    # The middle and the slowest answer; of the few answers of one dialogue p95 and p99 are most often the slowest.
    "response_time.internal.p50": lambda of: of.internal.p50,
    "response_time.internal.max": lambda of: of.internal.max,
    "response_time.external.p50": lambda of: of.external.p50,
    "response_time.external.max": lambda of: of.external.max,
}
"""The measures of a dialogue by their published names; None: not known of it."""

NAMES: Final = [name for names in PATTERNS.values() for name in names if name != STALL]
"""Of all patterns but stalls, which are not of a dialogue: they come and go with the time at which it is asked."""


class Studied(msgspec.Struct, frozen=True):
    """One dialogue.

    Attributes:
        value: of the attribute; None: null, or it does not have it.
        measures: by name, and `findings`, the number of all findings but stalls; None: not known of this dialogue.
        patterns: those that were found in it; a stronger form counts for the general one, too.
    """

    dialogue: UUID
    status: Status
    value: Any
    measures: dict[str, float | None]
    patterns: frozenset[str]


class StudiedSet(msgspec.Struct, frozen=True):
    """All dialogues of a kind in the order of the log, and the names of all attributes that they have."""

    position: int
    dialogues: list[Studied]
    attributes: frozenset[str]


def studied(connection: Connection, position: int, *, attribute: str, kind: Kind) -> StudiedSet:
    """The dialogues of a kind with the values of an attribute, all of one state of the read model."""
    numbers: dict[str, int] = {}
    patterns: dict[str, set[str]] = {}
    of_kind = select(findings.c.dialogue, findings.c.detector, findings.c.pattern)
    for dialogue, detector, pattern in connection.execute(of_kind.where(findings.c.kind == kind.value)):
        numbers[dialogue] = numbers.get(dialogue, 0) + 1
        patterns.setdefault(dialogue, set()).update((PATTERNS[detector][0], pattern))
    joined = dialogues.join(activities, activities.c.dialogue == dialogues.c.dialogue).join(
        scopes, scopes.c.scope == dialogues.c.dialogue
    )
    rows = connection.execute(
        select(dialogues.c.dialogue, activities.c.status, dialogues.c.attributes, scopes.c.state)
        .select_from(joined)
        .where(dialogues.c.kind == kind.value)
        .order_by(dialogues.c.first_position)
    )
    found, names = [], set[str]()
    for dialogue, status, attributes, state in rows:
        names.update(attributes)
        measures = {**_measured(decode_measures(state)), "findings": numbers.get(dialogue, 0)}
        of_dialogue = frozenset(patterns.get(dialogue, ()))
        found.append(Studied(UUID(dialogue), Status(status), attributes.get(attribute), measures, of_dialogue))
    return StudiedSet(position, found, frozenset(names))


def _measured(measures: Measures) -> dict[str, float | None]:
    return {name: of(measures) for name, of in MEASURES.items()}
