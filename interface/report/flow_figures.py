"""The charts of delivery: states of the circuits, and how many messages were on their way."""

from collections.abc import Mapping, Sequence
from typing import Final

from domain.circuit import CircuitState
from domain.tract import Tract
from interface.gates import reason_of
from interface.report.charts import Band, Line, bands, lines
from interface.report.figures import Figure, drawn_across
from interface.report.material import Flow
from interface.report.scales import Axis, linear, times
from interface.text import duration, many, shortened
from projections.answers import DeliveryMetrics, GateMetrics, TractGateMetrics

__all__ = ["flow_figures", "thinned"]

SPANS: Final = 300

_MOST_REASON: Final = 200
"""Characters of why somebody has set a circuit so."""

# A tract's backlog has the colour of what is sent to it.
_BACKLOGS: Final = {Tract.INTERNAL: "back", Tract.EXTERNAL: "out"}


def flow_figures(flow: Flow) -> list[Figure]:
    if flow.metrics is None or flow.gates is None or flow.began is None or flow.ended is None:
        return []
    began = flow.began / 1000
    ended = max(began + 1, flow.ended / 1000)
    return [_circuits(flow, flow.gates, began, ended), _backlog(flow, flow.metrics, times(began, ended))]


_STATES: Final[Mapping[CircuitState, str]] = {
    CircuitState.CLOSED: "all is let through",
    CircuitState.HALF_OPEN: "a few are tried",
    CircuitState.OPEN: "nothing is let through",
    CircuitState.FORCED_OPEN: "nothing, by hand",
    CircuitState.DISABLED: "everything, by hand",
}


_HEIGHTS: Final = {CircuitState.CLOSED: 0.3, CircuitState.HALF_OPEN: 0.65, CircuitState.DISABLED: 0.3}
"""What lets less through is taller, so that it is not told by colour alone."""


def _circuits(flow: Flow, gates: GateMetrics, began: float, ended: float) -> Figure:
    title = "Circuits over time"
    if not any(flow.circuits.values()):
        note = "Both were closed all the time."
        return Figure(title=title, note=note)
    moves = many(sum(map(len, flow.circuits.values())), "transition")
    rows = {f"to {tract}": _states(moved, began, ended) for tract, moved in flow.circuits.items()}
    seen = {band.name for row in rows.values() for band in row}
    x = times(began, ended)
    told = " ".join(
        _now(name, row, getattr(gates, tract.value))
        for tract, (name, row) in zip(Tract, rows.items(), strict=True)
    )
    return Figure(
        title=title,
        note=f"{told} {moves}, by the log's time; the taller, the less is let in.",
        drawn=drawn_across(lambda width: bands(width, x, rows, f"States of the circuits over time. {told}")),
        key=[(state, f"{_words(state)}: {said}") for state, said in _STATES.items() if state in seen],
    )


def _now(name: str, row: Sequence[Band], gate: TractGateMetrics) -> str:
    """What state it is in at the end, since when and why, and how long it was in others."""
    spent: dict[str, float] = {}
    for band in row:
        spent[band.name] = spent.get(band.name, 0) + band.last - band.first
    now = _words(gate.state)
    if not gate.transitions:
        return f"{name.capitalize()}: {now} all the time."
    last = gate.transitions[-1]
    since = last.since[:19].replace("T", " ")
    before = ", ".join(
        f"{_words(state)} {duration(spent[state] * 1000)}" for state in spent if state != gate.state
    )
    whole = duration(sum(spent.values()) * 1000)
    because = shortened(reason_of(last), _MOST_REASON)
    return f"{name.capitalize()}: {now} since {since} ({because}); {before or 'nothing else'} of {whole}."


def _words(state: str) -> str:
    return state.replace("_", " ")


def _states(moved: Sequence[tuple[int, CircuitState]], began: float, ended: float) -> list[Band]:
    entered = [(began, CircuitState.CLOSED), *((max(began, at / 1000), state) for at, state in moved)]
    left = [at for at, _ in entered[1:]] + [ended]
    return [
        Band(first, min(last, ended), state, _lasted(state, last - first), _HEIGHTS.get(state, 1.0))
        for (first, state), last in zip(entered, left, strict=True)
        if first <= ended
    ]


def _lasted(state: CircuitState, seconds: float) -> str:
    return f"{_words(state)} for {duration(seconds * 1000)}"


def _backlog(flow: Flow, metrics: DeliveryMetrics, x: Axis) -> Figure:
    title = "Backlog over time"
    if not any(flow.backlog.values()):
        return Figure(title=title, note="No message was ever on its way.")
    most = max(count for history in flow.backlog.values() for _, count in history)
    y = linear("messages on their way", 0, most)
    shown = [tract for tract in Tract if flow.backlog[tract]]
    curves = [Line(_BACKLOGS[tract], thinned(flow.backlog[tract], x), steps=True) for tract in shown]
    many_changes = any(len(history) > SPANS for history in flow.backlog.values())
    spans = f" Drawn is the most in each of {SPANS} spans of time." if many_changes else ""
    peaks = ", ".join(f"{getattr(metrics, tract.value).backlog_peak:,} to {tract}" for tract in Tract)
    left = ", ".join(f"{getattr(metrics, tract.value).backlog:,} to {tract}" for tract in Tract)
    told = f"Messages on their way to each tract: in the end {left}"
    return Figure(
        title=title,
        note=f"At most it was {peaks}. By the log's time.{spans}",
        drawn=drawn_across(lambda width: lines(width, x, y, curves, told)),
        key=[(_BACKLOGS[tract], f"to {tract}") for tract in shown],
    )


def thinned(history: Sequence[tuple[int, int]], x: Axis) -> list[tuple[float, float | None]]:
    """A curve in seconds up to the axis' end: all changes, or where they are many, the most in each span."""
    changes = [(at / 1000, count) for at, count in history]
    if len(changes) > SPANS:
        changes = _most(changes, x.low, (x.high - x.low) / SPANS)
    return [(x.low, 0), *changes, (x.high, changes[-1][1])]


def _most(changes: Sequence[tuple[float, int]], low: float, size: float) -> list[tuple[float, int]]:
    """Of each span in which something changed the most, what it began with included; and what it left then."""
    most: dict[int, int] = {}
    left: dict[int, int] = {}
    before = 0
    for at, count in changes:
        span = min(int((at - low) / size), SPANS - 1)
        most[span] = max(most.get(span, before), count)
        left[span + 1] = before = count
    return [(low + span * size, count) for span, count in sorted({**left, **most}.items())]
