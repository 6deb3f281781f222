"""The page: what was gathered, as one document that needs nothing beside it and lets nothing of it run.

What agents said is in it in two ways. As text, through a template that escapes it; and as JSON, in which "<" is
written as an escape, so that it cannot end the element that holds it. Policy lets only the page's own script and
style run, by their digests, and load nothing.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

import msgspec
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from domain.detectors import PATTERNS
from domain.dialogue import Kind
from domain.measures import ASSESSABLE_ABOVE
from domain.times import log_time
from domain.tract import Tract
from interface.encoding import as_json
from interface.report.figures import scope_figures
from interface.report.flow_figures import flow_figures
from interface.report.material import Material, Scope
from interface.report.transcripts import CHUNK, Place, compressed
from interface.text import duration, many, visible
from projections.answers import DialogueSummary, FindingSummary, TractDeliveries, TractGateMetrics

__all__ = ["page"]

MOST_ATTRIBUTE: Final = 100
"""Characters of an attribute's value to be found by; longer ones stand with their dialogue only."""

_HERE: Final = files("interface.report")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A dialogue in the list; see `DialogueSummary`.

    Attributes:
        attributes: those to be found by.
        patterns: findings by their names; one of a stronger form counts for the general one, too.
        places: of its messages.
        details: the chunk in which its `Details` are, and its place there.
    """

    id: UUID
    kind: str
    status: str
    subject: str
    opened: str
    last: str
    messages: int
    out: int
    back: int
    balance: float
    coordination: float | None
    emergence: float | None
    findings: int
    patterns: dict[str, int]
    attributes: dict[str, str]
    places: Sequence[Place]
    details: tuple[int, int]


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a dialogue beside its messages. `attributes` are JSON, `facts` names and values."""

    attributes: str
    facts: Sequence[tuple[str, str]]
    findings: Sequence[FindingSummary]


def page(material: Material, *, title: str, log: str, written: datetime) -> str:
    """The whole document.

    Args:
        material: what it shows.
        title: its title.
        log: how the log is called.
        written: when this is.
    """
    details = [_details(summary, material) for summary in material.dialogues]
    chunks, places = _chunked(details, len(material.packed.chunks))
    rows = [_row(summary, material, place) for summary, place in zip(material.dialogues, places, strict=True)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["visible"] = visible
    style, script = (_HERE.joinpath(name).read_text() for name in ("page.css", "page.js"))
    return environment.from_string(_HERE.joinpath("page.html").read_text()).render(
        title=title,
        log=log,
        about=_about(material),
        moment=_moment(material),
        written=_readable(written.astimezone(UTC).isoformat()),
        scopes=[{"name": scope.kind, **_scope(scope)} for scope in material.scopes],
        flow=flow_figures(material.flow) if material.flow else [],
        flow_says=_flow(material),
        chunks=[*material.packed.chunks, *chunks],
        index=_embedded(rows),
        style=Markup(style),  # noqa: S704  # a file of this package
        script=Markup(script),  # noqa: S704  # likewise
        policy=_policy(style, script),
    )


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs or styles but these two."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _embedded(value: object) -> Markup:
    r"""JSON that stands within an element: no "<" of it can end that, because each is written ``\u003c``."""
    return Markup(msgspec.json.encode(value).decode().replace("<", "\\u003c"))  # noqa: S704  # see above


def _chunked(details: Sequence[Details], first: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Chunks as transcripts have them, the first with this number, and the place of each in them."""
    chunks: list[str] = []
    places: list[tuple[int, int]] = []
    waiting: list[bytes] = []
    size = 0
    for detail in details:
        places.append((first + len(chunks), len(waiting)))
        waiting.append(msgspec.json.encode(detail))
        size += len(waiting[-1])
        if size >= CHUNK or detail is details[-1]:
            chunks.append(compressed(b"[" + b",".join(waiting) + b"]"))
            waiting, size = [], 0
    return chunks, places


def _row(summary: DialogueSummary, material: Material, details: tuple[int, int]) -> Row:
    found = material.findings.get(summary.dialogue, ())
    return Row(
        id=summary.dialogue,
        kind=summary.kind,
        status=summary.status,
        subject=summary.subject,
        opened=summary.opened_at,
        last=summary.last_activity,
        messages=summary.total_messages,
        out=summary.internal_to_external,
        back=summary.external_to_internal,
        balance=summary.dialogue_balance_ratio,
        coordination=summary.coordination_z,
        emergence=summary.emergence_score if summary.emergence_assessable else None,
        findings=len(found),
        patterns=_counted(finding.pattern for finding in found),
        attributes=_findable(summary.attributes),
        places=material.packed.places.get(summary.dialogue, ()),
        details=details,
    )


def _counted(found: Iterable[str]) -> dict[str, int]:
    """As `callosum dialogues --by` counts."""
    counts = Counter(found)
    by_name = {
        name: sum(counts[one] for one in names) if name == names[0] else counts[name]
        for names in PATTERNS.values()
        for name in names
    }
    return {name: count for name, count in by_name.items() if count}


def _findable(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The attributes with short values, as text."""
    texts = {name: value if isinstance(value, str) else as_json(value) for name, value in attributes.items()}
    return {name: text for name, text in texts.items() if len(text) <= MOST_ATTRIBUTE}


def _details(summary: DialogueSummary, material: Material) -> Details:
    facts = [
        ("dialogue", str(summary.dialogue)),
        ("kind", f"{summary.kind}, {summary.status}"),
        ("opened", _readable(summary.opened_at)),
        ("last activity", _readable(summary.last_activity)),
        *([("closed because", summary.close_reason)] if summary.close_reason else []),
        *([("awaits an answer of", f"the {summary.awaiting} tract")] if summary.awaiting else []),
        ("messages", f"{summary.total_messages:,}"),
        ("internal → external", f"{summary.internal_to_external:,}"),
        ("external → internal", f"{summary.external_to_internal:,}"),
        ("balance", f"{summary.dialogue_balance_ratio:.3f}"),
        ("coordination", _coordination(summary.coordination_z, summary)),
        ("emergence", _emergence(summary.emergence_score, summary.total_messages)),
        *_answers(material, summary.dialogue),
    ]
    found = material.findings.get(summary.dialogue, ())
    return Details(attributes=as_json(summary.attributes, indent=2), facts=facts, findings=found)


def _answers(material: Material, dialogue: UUID) -> list[tuple[str, str]]:
    times = material.folds[dialogue].times
    return [
        (
            f"{tract} answers",
            f"p50 {duration(of.p50)}, p95 {duration(of.p95)}, max {duration(of.max)} of {of.count:,}",
        )
        for tract, of in times.items()
        if of.count
    ]


class _Counts(msgspec.Struct, frozen=True):
    internal_to_external: int
    external_to_internal: int


def _coordination(z: float | None, counts: DialogueSummary | _Counts) -> str:
    if z is not None:
        return f"{z:+.2f}"
    between = counts.internal_to_external + counts.external_to_internal
    if between < 20:
        return f"not assessable: {between} of 20 messages between the tracts"
    return "not assessable: all messages go one way"


def _emergence(score: float, total: int) -> str:
    return (
        f"{score:.3f}"
        if total > ASSESSABLE_ABOVE
        else f"not assessable: {total} of {ASSESSABLE_ABOVE + 1} messages"
    )


def _scope(scope: Scope) -> dict[str, Any]:
    fold = scope.fold
    balance = fold.balance
    counts = _Counts(balance.internal_to_external, balance.external_to_internal)
    facts = [
        ("dialogues", f"{scope.dialogues:,}"),
        ("messages", f"{balance.total_messages:,}"),
        ("internal → external", f"{balance.internal_to_external:,}"),
        ("external → internal", f"{balance.external_to_internal:,}"),
        ("balance", f"{balance.dialogue_balance_ratio:.3f}"),
        ("coordination", _coordination(fold.coordination.coordination_z, counts)),
        ("emergence", _emergence(balance.emergence_score, balance.total_messages)),
        ("findings", f"{sum(map(len, scope.findings.values())):,}"),
    ]
    needs = f"the {ASSESSABLE_ABOVE + 1} messages that emergence needs"
    has = "dialogue has" if scope.dialogues == 1 else "dialogues have"
    note = f"{scope.assessable:,} of {scope.dialogues:,} {has} {needs}."
    if scope.dialogues > 1:
        note += " Figures over several dialogues also reflect how these were interleaved."
    if scope.kind is Kind.RECORDED and scope.dialogues > 1 and balance.emergence_assessable:
        note += " Runs are laid end to end here: the emergence over all is an artefact of that."
    return {"facts": facts, "note": note, "figures": scope_figures(scope)}


def _about(material: Material) -> list[tuple[str, int]]:
    messages = sum(summary.total_messages for summary in material.dialogues)
    findings = sum(map(len, material.findings.values()))
    return [("dialogue", len(material.dialogues)), ("message", messages), ("finding", findings)]


def _moment(material: Material) -> str:
    if material.at is None:
        return "as of its beginning"
    return f"as of position {material.position:,} at {_readable(log_time(material.at))}"


def _readable(time: str) -> str:
    """RFC 3339 in UTC, to the second."""
    return time[:19].replace("T", " ")


def _flow(material: Material) -> str:
    """What is said of delivery: that there is none, or what became of it."""
    flow = material.flow
    if flow is None:
        return ""
    if flow.metrics is None or flow.gates is None:
        return "Nothing was to be delivered: no circuits, no backlog." if material.dialogues else ""
    tracts = [tract.value for tract in Tract]
    return " ".join(_became(name, getattr(flow.metrics, name), getattr(flow.gates, name)) for name in tracts)


def _became(tract: str, of: TractDeliveries, gate: TractGateMetrics) -> str:
    return (
        f"To the {tract} tract: {many(of.accepted, 'message')} accepted, {of.acked:,} acked,"
        f" {of.retried:,} retried, {of.expired:,} expired, {of.dead_lettered:,} given up,"
        f" {of.shed:,} shed, {of.backlog:,} on their way; {gate.refused_by_circuit:,} refused by its circuit,"
        f" {gate.refused_by_capacity:,} refused by its capacity, {gate.waited:,} waited for room."
    )
