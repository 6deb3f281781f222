"""The measures as tables."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import RenderableType

from domain.dialogue import Kind
from domain.measures import ASSESSABLE_ABOVE
from domain.tract import Tract
from interface.assessing import Assessed
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import duration
from projections.answers import ConsciousnessMetrics, ResponseTime
from projections.steps import Measured

__all__ = [
    "BALANCE",
    "BALANCED",
    "COORDINATION",
    "EMERGENCE",
    "coordination",
    "emergence",
    "metrics_summary",
    "metrics_table",
]

BALANCE: Final = "balance"
BALANCED: Final = "balanced messages"
COORDINATION: Final = "coordination"
EMERGENCE: Final = "emergence"
SCALES: Final = "Balance and emergence go from 0 to 1; coordination is in standard deviations from chance."
PERCENTILES: Final = "Percentiles of response times are within 1 %."
INTERLEAVED: Final = "Figures over all dialogues of a kind also reflect how the dialogues are interleaved."
END_TO_END: Final = "Over all, runs are laid end to end: this figure and its episode are an artefact of that."
MOST_EPISODES: Final = 20
VALUE_WIDTHS: Final = (12, 20)


def metrics_table(scopes: Sequence[ConsciousnessMetrics], assessed: Sequence[Assessed] = ()) -> RenderableType:
    """The measures as rows, a column for each scope; response times and episodes below.

    Args:
        scopes: at least one.
        assessed: of each scope that is all dialogues of a kind, how many of these can be assessed.
    """
    tables = [_measures(scopes, _rows(scopes)), *map(_response_times, scopes)]
    episodes = [line for metrics in scopes for line in _episodes(metrics)]
    notes = _notes(scopes, assessed) if assessed else []
    return stacked(*tables, notes=[SCALES, PERCENTILES, *episodes, *notes])


def metrics_summary(metrics: ConsciousnessMetrics, assessed: Assessed) -> RenderableType:
    """The few measures to begin with, of all dialogues of a kind."""
    rows = _rows([metrics])
    few = {name: rows[name] for name in (BALANCE, COORDINATION, EMERGENCE, "findings")}
    return stacked(_measures([metrics], few), notes=[SCALES, *_notes([metrics], [assessed])])


def _notes(scopes: Sequence[ConsciousnessMetrics], assessed: Sequence[Assessed]) -> list[str]:
    """What figures over all dialogues of a kind cannot say."""
    notes = [INTERLEAVED]
    for metrics, count in zip(scopes, assessed, strict=True):
        needs = f"the {ASSESSABLE_ABOVE + 1} messages that emergence needs"
        has = "dialogue has" if count.dialogues == 1 else "dialogues have"
        note = f"{metrics.scope}: {count.assessable_dialogues} of {count.dialogues} {has} {needs}."
        artefact = metrics.scope == Kind.RECORDED and metrics.emergence_assessable
        notes.append(f"{note} {END_TO_END}" if artefact else note)
    return notes


def _measures(scopes: Sequence[ConsciousnessMetrics], rows: Mapping[str, Sequence[str]]) -> FittedTable:
    names = [_short(metrics.scope) for metrics in scopes]
    cells = ([name, *values] for name, values in rows.items())
    return FittedTable(["measure", *names], cells, texts=dict.fromkeys(names, VALUE_WIDTHS))


def _rows(scopes: Sequence[ConsciousnessMetrics]) -> dict[str, Sequence[str]]:
    """What is shown of each scope, by what it is called. Coordination stands beside balance, always."""
    return {
        "messages": [str(metrics.total_messages) for metrics in scopes],
        "internal → external": [str(metrics.internal_to_external) for metrics in scopes],
        "external → internal": [str(metrics.external_to_internal) for metrics in scopes],
        BALANCE: [f"{metrics.dialogue_balance_ratio:.3f}" for metrics in scopes],
        COORDINATION: [coordination(metrics) for metrics in scopes],
        EMERGENCE: [emergence(metrics) for metrics in scopes],
        BALANCED: [str(metrics.balanced_dialogue_events) for metrics in scopes],
        "last of these at": [_last_emergence(metrics) for metrics in scopes],
        "episodes": [str(metrics.episode_count) for metrics in scopes],
        "findings": [str(metrics.findings) for metrics in scopes],
    }


def coordination(metrics: ConsciousnessMetrics | Measured) -> str:
    if metrics.coordination_z is not None:
        return f"{metrics.coordination_z:+.2f}"
    between = metrics.internal_to_external + metrics.external_to_internal
    if between < 20:
        return f"not assessable: {between} of 20 messages between the tracts"
    return "not assessable: all messages go one way"


def emergence(metrics: ConsciousnessMetrics | Measured) -> str:
    if metrics.emergence_assessable:
        return f"{metrics.emergence_score:.3f}"
    return f"not assessable: {metrics.total_messages} of {ASSESSABLE_ABOVE + 1} messages"


def _last_emergence(metrics: ConsciousnessMetrics) -> str:
    if metrics.balanced_dialogue_events == 0:
        return UNKNOWN
    if metrics.last_emergence_at is None:
        return "unknown"
    return f"{metrics.last_emergence_at[:19]}Z"


def _response_times(metrics: ConsciousnessMetrics) -> FittedTable:
    columns = (
        f"{_short(metrics.scope)}:\nanswers by",
        "answers\ntimed",
        "p50",
        "p95",
        "p99",
        "max",
        "answers\nuntimed",
        "unanswered",
    )
    return FittedTable(columns, (_response_row(metrics, tract) for tract in Tract))


def _response_row(metrics: ConsciousnessMetrics, tract: Tract) -> list[str]:
    times: ResponseTime = getattr(metrics.response_time, tract.value)
    values = (times.p50, times.p95, times.p99, times.max)
    spread = [duration(value) if times.count else UNKNOWN for value in values]
    return [tract.value, str(times.count), *spread, str(times.unknown), str(times.unanswered)]


def _episodes(metrics: ConsciousnessMetrics) -> list[str]:
    """The last ones, in order."""
    name, shown = _short(metrics.scope), metrics.episodes[-MOST_EPISODES:]
    lines = [
        f"Emergence episode of {name}:"
        f" messages {episode.first_message} to {episode.last_message}, peak ratio {episode.peak_ratio:.3f}."
        for episode in shown
    ]
    left = metrics.episode_count - len(shown)
    plural = "episode" if left == 1 else "episodes"
    more = f"{left} earlier {plural} of {name}; --json tells the last {len(metrics.episodes)}."
    return [more, *lines] if left else lines


def _short(scope: str) -> str:
    """The beginning of a dialogue's id, which names it; a kind as it is."""
    return scope.partition("-")[0]
