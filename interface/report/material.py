"""What a report is made of: all as of one moment of the log."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from domain.circuit import CircuitState
from domain.dialogue import Kind
from domain.tract import Tract
from interface.report.folding import DialogueFold, ScopeFold
from interface.report.transcripts import Packed
from projections.answers import DeliveryMetrics, DialogueSummary, FindingSummary, GateMetrics

__all__ = ["Flow", "Material", "Scope", "Span"]


class Span(msgspec.Struct, frozen=True):
    """A stretch of messages, by their ordinals in the scope; both ends belong to it."""

    first: int
    last: int


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The dialogues of one kind that the report is about.

    Attributes:
        assessable: how many of them are long enough for emergence.
        unanswered: open dialogues that await a tract's answer.
        episodes: of all of the kind, one after the other; of chosen dialogues, those within each.
        findings: by pattern.
    """

    kind: Kind
    dialogues: int
    assessable: int
    unanswered: Mapping[Tract, int]
    fold: ScopeFold
    episodes: Sequence[Span]
    findings: Mapping[str, Sequence[Span]]


class Flow(msgspec.Struct):
    """Delivery over the whole log. Times are the log's, in milliseconds.

    Attributes:
        began: of the first event of a live dialogue, of a consumer or of a gate.
        ended: the moment of the report.
        circuits: what state each circuit entered, and when, in order; before, it was closed.
        backlog: of each tract, when the number of messages on their way changed, and to what.
        metrics, gates: None where nothing was ever to be delivered, no circuit moved, and nobody was refused.
    """

    began: int | None = None
    ended: int | None = None
    circuits: dict[Tract, list[tuple[int, CircuitState]]] = msgspec.field(
        default_factory=lambda: {tract: [] for tract in Tract}
    )
    backlog: Mapping[Tract, Sequence[tuple[int, int]]] = msgspec.field(default_factory=dict)
    metrics: DeliveryMetrics | None = None
    gates: GateMetrics | None = None


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page shows.

    Attributes:
        position: of the log, as of which all of it is.
        at: the log's time of that position, in milliseconds; None for an empty log.
        chosen: whether it is about some dialogues only.
        dialogues: in the order of their first messages.
        findings, folds: by dialogue.
        scopes: of each kind that has messages.
        flow: None where it is about some dialogues or recorded ones only, which tell nothing of it.
    """

    position: int
    at: int | None
    chosen: bool
    dialogues: Sequence[DialogueSummary]
    findings: Mapping[UUID, Sequence[FindingSummary]]
    folds: Mapping[UUID, DialogueFold]
    packed: Packed
    scopes: Sequence[Scope]
    flow: Flow | None
