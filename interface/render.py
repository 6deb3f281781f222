"""Answers of the read side as tables."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from domain.measures import ASSESSABLE_ABOVE
from domain.tract import Tract
from interface.encoding import as_json
from interface.text import duration, one_line, shortened
from projections.answers import (
    ConsciousnessMetrics,
    DialogueList,
    DialogueSummary,
    FindingList,
    Grouping,
    PatternCount,
    ResponseTime,
)

__all__ = ["dialogues_table", "findings_table", "groups_table", "metrics_summary", "metrics_table"]

INTERLEAVED: Final = "Figures over all dialogues of a kind also reflect how the dialogues are interleaved."
BALANCE: Final = "balance, 0 to 1"
COORDINATION: Final = "coordination, σ from chance"
EMERGENCE: Final = "emergence, 0 to 1"
MOST_SUBJECT: Final = 40
MOST_EPISODES: Final = 20
TEXTS: Final = frozenset({"subject", "why"})
UNKNOWN: Final = "–"


def metrics_table(scopes: Sequence[ConsciousnessMetrics], *, of_kinds: bool) -> RenderableType:
    """The measures as rows, a column for each scope; response times and episodes below.

    Args:
        scopes: at least one.
        of_kinds: whether the scopes are all dialogues of a kind, which needs a note.
    """
    tables = [_measures(scopes, _rows(scopes)), *map(_response_times, scopes)]
    episodes = [line for metrics in scopes for line in _episodes(metrics)]
    notes = [Text(INTERLEAVED, "dim")] if of_kinds else []
    return Stack(*tables, *map(Text, episodes), *notes)


def metrics_summary(metrics: ConsciousnessMetrics) -> RenderableType:
    """The few measures to begin with, of all dialogues of a kind."""
    rows = _rows([metrics])
    few = {name: rows[name] for name in (BALANCE, COORDINATION, EMERGENCE, "findings")}
    return Stack(_measures([metrics], few), Text(INTERLEAVED, "dim"))


def _measures(scopes: Sequence[ConsciousnessMetrics], rows: Mapping[str, Sequence[str]]) -> Table:
    table = _table("measure", *(_short(metrics.scope) for metrics in scopes))
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _rows(scopes: Sequence[ConsciousnessMetrics]) -> dict[str, Sequence[str]]:
    """What is shown of each scope, by what it is called. Coordination stands beside balance, always."""
    return {
        "messages": [str(metrics.total_messages) for metrics in scopes],
        "internal → external": [str(metrics.internal_to_external) for metrics in scopes],
        "external → internal": [str(metrics.external_to_internal) for metrics in scopes],
        BALANCE: [f"{metrics.dialogue_balance_ratio:.3f}" for metrics in scopes],
        COORDINATION: [_coordination(metrics) for metrics in scopes],
        EMERGENCE: [_emergence(metrics) for metrics in scopes],
        "balanced messages": [str(metrics.balanced_dialogue_events) for metrics in scopes],
        "last of these at": [_last_emergence(metrics) for metrics in scopes],
        "episodes": [str(len(metrics.episodes)) for metrics in scopes],
        "findings": [str(metrics.findings) for metrics in scopes],
    }


def _coordination(metrics: ConsciousnessMetrics) -> str:
    if metrics.coordination_z is not None:
        return f"{metrics.coordination_z:+.2f}"
    between = metrics.internal_to_external + metrics.external_to_internal
    if between < 20:
        return f"not assessable: {between} of 20 messages between the tracts"
    return "not assessable: all messages go one way"


def _emergence(metrics: ConsciousnessMetrics) -> str:
    if metrics.emergence_assessable:
        return f"{metrics.emergence_score:.3f}"
    return f"not assessable: {metrics.total_messages} of {ASSESSABLE_ABOVE + 1} messages"


def _last_emergence(metrics: ConsciousnessMetrics) -> str:
    if metrics.balanced_dialogue_events == 0:
        return UNKNOWN
    return metrics.last_emergence_at or "unknown"


def _response_times(metrics: ConsciousnessMetrics) -> Table:
    table = _table(
        f"{_short(metrics.scope)}: answers by",
        "answers",
        "p50",
        "p95",
        "p99",
        "max",
        "of unknown time",
        "unanswered",
    )
    for tract in Tract:
        times: ResponseTime = getattr(metrics.response_time, tract.value)
        spread = [
            duration(value) if times.count else UNKNOWN for value in (times.p50, times.p95, times.p99, times.max)
        ]
        table.add_row(tract.value, str(times.count), *spread, str(times.unknown), str(times.unanswered))
    return table


def _episodes(metrics: ConsciousnessMetrics) -> list[str]:
    lines = [
        f"Emergence episode of {_short(metrics.scope)}:"
        f" messages {episode.first_message} to {episode.last_message}, peak ratio {episode.peak_ratio:.3f}."
        for episode in metrics.episodes[:MOST_EPISODES]
    ]
    left = len(metrics.episodes) - len(lines)
    return lines if not left else [*lines, f"{left} more episodes of {_short(metrics.scope)}; --json has all."]


def dialogues_table(listed: DialogueList) -> RenderableType:
    table = _table(
        "dialogue",
        "subject",
        "kind",
        "status",
        "messages",
        "balance",
        "coordination",
        "findings",
        "awaiting",
        "last activity (UTC)",
    )
    for dialogue in listed.dialogues:
        table.add_row(*_dialogue_row(dialogue))
    return Stack(table, Text(f"{len(listed.dialogues)} of {listed.total} shown."))


def _dialogue_row(dialogue: DialogueSummary) -> list[str | Text]:
    return [
        str(dialogue.dialogue)[:8],
        Text(one_line(shortened(dialogue.subject, MOST_SUBJECT))),
        dialogue.kind.value,
        dialogue.status.value,
        str(dialogue.total_messages),
        f"{dialogue.dialogue_balance_ratio:.2f}",
        _signed(dialogue.coordination_z),
        str(dialogue.findings),
        dialogue.awaiting.value if dialogue.awaiting else UNKNOWN,
        dialogue.last_activity[:16].replace("T", " "),
    ]


def findings_table(found: FindingList) -> RenderableType:
    table = _table("dialogue", "subject", "pattern", "messages", "times", "why")
    for finding in found.findings:
        table.add_row(
            str(finding.dialogue)[:8],
            Text(one_line(shortened(finding.subject, MOST_SUBJECT))),
            finding.pattern,
            f"{finding.first_sequence} to {finding.last_sequence}",
            str(finding.count),
            Text(one_line(finding.why)),
        )
    return Stack(table, Text(f"{len(found.findings)} of {found.total} shown."))


def groups_table(groupings: Sequence[Grouping]) -> RenderableType:
    """A table for each kind; without dialogues, a sentence."""
    return Stack(*map(_groups, groupings)) if groupings else Text("No dialogues yet.")


def _groups(grouping: Grouping) -> Table:
    patterns = list(grouping.groups[0].patterns) if grouping.groups else []
    names = (f"{name.replace('_', ' ')}" for name in patterns)
    table = _table(
        f"{one_line(grouping.by)}, {grouping.kind}",
        "dialogues",
        "mean messages",
        "mean balance",
        "mean coordination",
        *names,
    )
    for group in grouping.groups:
        known = f" (known for {group.coordination_known})"
        table.add_row(
            Text(_value(group.value)),
            str(group.dialogues),
            f"{group.mean_total_messages:.1f}",
            f"{group.mean_dialogue_balance_ratio:.3f}",
            _signed(group.mean_coordination_z) + known,
            *(_pattern(group.patterns[name]) for name in patterns),
        )
    return table


def _pattern(count: PatternCount) -> str:
    return f"{count.findings} in {count.dialogues} dialogues" if count.findings else "0"


def _value(value: object) -> str:
    if value is None:
        return "(none)"
    return one_line(shortened(value if isinstance(value, str) else as_json(value), MOST_SUBJECT))


def _short(scope: str) -> str:
    """The beginning of a dialogue's id, which names it; a kind as it is."""
    return scope.partition("-")[0]


def _signed(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:+.2f}"


def _table(*columns: str) -> Table:
    """The first column names the row. Texts wrap where the terminal is narrow, figures do not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, style="bold" if place == 0 else "", no_wrap=column not in TEXTS)
    return table
