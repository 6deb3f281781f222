"""The charts of a scope's messages, and what is said where there is nothing to draw."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec
from markupsafe import Markup

from domain.detectors import PATTERNS
from domain.dialogue import Kind
from domain.response_times import ResponseTimes
from domain.tract import Direction, Tract
from interface.report.charts import FULL, NARROW, WIDE, Band, Bar, Dot, Line, bands, bars, dots, lines
from interface.report.folding import RECENT, ScopeFold
from interface.report.material import Scope, Span
from interface.report.scales import bin_seconds, linear, logarithmic, number, ordinals, times
from interface.text import duration, many

__all__ = ["Figure", "drawn_across", "scope_figures"]

BINS: Final = 60
ORDINAL: Final = "message, by its place in the log"

_WAYS: Final = {
    Direction.INTERNAL_TO_EXTERNAL: ("out", "internal → external"),
    Direction.EXTERNAL_TO_INTERNAL: ("back", "external → internal"),
    Direction.INTRA: ("intra", "within a tract"),
}
# A tract's answers have the colour of what it sends.
_ANSWERS: Final = {Tract.INTERNAL: "out", Tract.EXTERNAL: "back"}


Draw: TypeAlias = Callable[[Callable[[int], Markup]], Mapping[str, Markup]]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A chart with what belongs to it.

    Attributes:
        drawn: its forms, by the place that they are for; none where there is nothing to draw, and `note` says why.
        key: what the classes in it mean.
    """

    title: str
    note: str
    drawn: Mapping[str, Markup] = MappingProxyType({})
    key: Sequence[tuple[str, str]] = ()


def _drawn(draw: Callable[[int], Markup]) -> dict[str, Markup]:
    return {"wide": draw(WIDE), "narrow": draw(NARROW)}


def drawn_across(draw: Callable[[int], Markup]) -> dict[str, Markup]:
    """For a row of its own, where there is room for two beside each other."""
    return {"full": draw(FULL), **_drawn(draw)}


def scope_figures(scope: Scope) -> list[Figure]:
    fold = scope.fold
    times = _response_times(scope)
    draw = _drawn if times.drawn else drawn_across
    return [*_measures(fold), _messages(fold, draw), times, _findings(scope)]


def _measures(fold: ScopeFold) -> list[Figure]:
    total = fold.balance.total_messages
    x = ordinals(ORDINAL, total)
    sampled = "" if len(fold.points) == total else f" Drawn at {len(fold.points):,} of {total:,} messages."
    balance = [
        Line("all", [(point.ordinal, point.balance) for point in fold.points]),
        Line("recent", [(point.ordinal, point.recent_balance) for point in fold.points]),
    ]
    coordination = [
        Line("all", [(point.ordinal, point.coordination) for point in fold.points]),
        Line("recent", [(point.ordinal, point.recent_coordination) for point in fold.points]),
    ]
    share = linear("balance (0 to 1)", 0, 1)
    figures = [
        Figure(
            title="Balance over time",
            note=f"How evenly the two tracts take part: 1 is evenly, 0 is one alone.{sampled}",
            drawn=_drawn(lambda width: lines(width, x, share, balance, _told("Balance", balance, ".3f"))),
            key=_key(balance),
        )
    ]
    known = [value for line in coordination for _, value in line.points if value is not None]
    title = "Coordination over time"
    if not known:
        note = "Not assessable: it takes 20 messages between the tracts, and both directions."
        return [*figures, Figure(title=title, note=note)]
    z = linear("coordination (standard deviations from chance)", min(0.0, *known), max(1.0, *known))
    note = f"Far above 0 the tracts take turns, near 0 is chance, far below 0 are monologues.{sampled}"
    told = _told("Coordination", coordination, "+.2f")
    drawn = _drawn(lambda width: lines(width, x, z, coordination, told))
    return [*figures, Figure(title=title, note=note, drawn=drawn, key=_key(coordination))]


_OVER: Final = {"all": "over all messages so far", "recent": f"over the last {RECENT}"}


def _key(curves: Sequence[Line]) -> list[tuple[str, str]]:
    """Of the curves that have a point."""
    return [
        (curve.name, _OVER[curve.name]) for curve in curves if any(value is not None for _, value in curve.points)
    ]


def _told(measure: str, curves: Sequence[Line], form: str) -> str:
    """What is drawn, with the last values."""
    ends = {curve.name: curve.points[-1][1] for curve in curves}
    last = [
        f"{'not assessable' if ends[name] is None else format(ends[name], form)} {over}"
        for name, over in _key(curves)
    ]
    return f"{measure}, message by message: in the end {', '.join(last)}"


def _messages(fold: ScopeFold, draw: Draw) -> Figure:
    total = fold.balance.total_messages
    ways = [way for way in _WAYS if any(block[way] for block in fold.blocks)]
    key = [_WAYS[way] for way in ways]
    if fold.untimed * 2 > total or _span(fold) < 1:
        return _by_ordinal(fold, ways, key, draw)
    first, last = _ends(fold)
    size = bin_seconds(last - first, BINS)
    counted = {way: Counter[int]() for way in ways}
    for way in ways:
        for second, count in fold.seconds[way].items():
            counted[way][second // size] += count
    places = sorted({place for counts in counted.values() for place in counts})
    rate = 60 / size
    x = times(places[0] * size, (places[-1] + 1) * size)
    stacks = [
        Bar(
            max(place * size, x.low),
            min((place + 1) * size, x.high),
            [(_WAYS[way][0], counted[way][place] * rate) for way in ways],
        )
        for place in places
    ]
    y = linear("messages per minute", 0, max(sum(height for _, height in stack.parts) for stack in stacks))
    told = _last_bar(stacks, ways)
    left_out = f" Of {many(fold.untimed, 'message')} it is not known." if fold.untimed else ""
    return Figure(
        title="Messages per minute, by direction",
        note=f"By the time they were sent; each bar is {duration(size * 1000)}.{left_out}",
        drawn=draw(lambda width: bars(width, x, y, stacks, f"Messages per minute, by direction: {told}")),
        key=key,
    )


def _ends(fold: ScopeFold) -> tuple[int, int]:
    seconds = [second for counts in fold.seconds.values() for second in counts]
    return min(seconds), max(seconds) + 1


def _span(fold: ScopeFold) -> int:
    first, last = _ends(fold)
    return last - first


def _by_ordinal(fold: ScopeFold, ways: Sequence[Direction], key: Sequence[tuple[str, str]], draw: Draw) -> Figure:
    total, size = fold.balance.total_messages, fold.block
    stacks = [
        Bar(
            n * size + 0.5,
            min((n + 1) * size, total) + 0.5,
            [(_WAYS[way][0], 100 * block[way] / block.total()) for way in ways],
        )
        for n, block in enumerate(fold.blocks)
    ]
    told = _last_bar(stacks, ways)
    x, y = ordinals(ORDINAL, total, room=1), linear("share of messages (%)", 0, 100)
    return Figure(
        title="Messages by direction",
        note=f"When they were sent is not known, so there is no rate; each bar is {many(size, 'message')}.",
        drawn=draw(lambda width: bars(width, x, y, stacks, f"Share of messages (%), by direction: {told}")),
        key=key,
    )


def _last_bar(stacks: Sequence[Bar], ways: Sequence[Direction]) -> str:
    parts = zip(stacks[-1].parts, ways, strict=True)
    return "in the end " + ", ".join(f"{number(height)} {_WAYS[way][1]}" for (_, height), way in parts)


def _response_times(scope: Scope) -> Figure:
    title = "Response times"
    fold = scope.fold
    rows = {
        f"{tract} answers": _quantiles(_ANSWERS[tract], fold.times[tract])
        for tract in Tract
        if fold.times[tract].longest
    }
    notes = [_answers(tract, fold.times[tract], scope.unanswered[tract]) for tract in Tract]
    note = " ".join(notes)
    if not rows:
        return Figure(title=title, note=note)
    values = [dot.value for row in rows.values() for dot in row]
    x = logarithmic("time to answer (logarithmic)", min(values), max(values), duration)
    told = f"Percentiles of response times of each tract. {note}"
    return Figure(
        title=title,
        note=f"{note} Percentiles are within 1 %.",
        drawn=_drawn(lambda width: dots(width, x, rows, told)),
        key=[(_ANSWERS[tract], f"the {tract} tract answers") for tract in Tract if fold.times[tract].longest],
    )


LEAST_MS: Final = 0.001
"""Where a time of 0 is drawn on a logarithmic axis: at a microsecond, which is as short as any other is."""


def _quantiles(name: str, answers: ResponseTimes) -> list[Dot]:
    values = (("p50", answers.p50), ("p95", answers.p95), ("p99", answers.p99), ("max", answers.max))
    return [
        Dot(max(LEAST_MS, value), name, what, f"{what} {duration(value)}")
        for what, value in values
        if value is not None
    ]


def _answers(tract: Tract, answers: ResponseTimes, unanswered: int) -> str:
    told = f"The {tract} tract: {many(answers.count, 'answer')}"
    if answers.count:
        told += f" (p50 {duration(answers.p50)}, p95 {duration(answers.p95)}, p99 {duration(answers.p99)},"
        told += f" at most {duration(answers.max)})"
    if answers.unknown:
        told += f", and {answers.unknown:,} whose time is not known" if answers.count else " whose time is known"
        told += "" if answers.count else f", {answers.unknown:,} where it is not"
    if unanswered:
        told += f"; {many(unanswered, 'open dialogue awaits', 'open dialogues await')} one"
    return told + "."


def _findings(scope: Scope) -> Figure:
    rows: dict[str, list[Band]] = {}
    lanes = _lanes(scope.findings)
    if scope.episodes:
        rows["emergence episode"] = [
            Band(span.first, span.last + 1, "episode", f"Emergent from message {span.first:,} to {span.last:,}")
            for span in scope.episodes
        ]
    for pattern, spans in scope.findings.items():
        name = lanes[pattern]
        rows[name] = [
            Band(span.first, span.last + 1, "finding", f"{name} from message {span.first:,} to {span.last:,}")
            for span in spans
        ]
    title = "Episodes and findings"
    if not rows:
        return Figure(title=title, note="No pattern was found, and no emergence episode.")
    told = ", ".join(f"{len(found):,} × {name}" for name, found in rows.items())
    x = ordinals(ORDINAL, scope.fold.balance.total_messages, room=1)
    note = " ".join([f"From its first message to its last: {told}.", *_together(scope.findings)])
    if scope.kind is Kind.RECORDED and scope.dialogues > 1 and scope.episodes:
        note += " Runs are laid end to end here: the episodes are an artefact of that."
    return Figure(
        title=title, note=note, drawn=drawn_across(lambda width: bands(width, x, rows, f"Where there are {told}"))
    )


def _lanes(found: Collection[str]) -> dict[str, str]:
    """What the lane of each pattern is called; in a general one are no findings that have a lane of their own."""
    lanes = {pattern: pattern.replace("_", " ") for pattern in found}
    for general, *stronger in PATTERNS.values():
        if general in found and not set(stronger).isdisjoint(found):
            lanes[general] = f"other {lanes[general]}"
    return lanes


def _together(found: Mapping[str, Sequence[Span]]) -> list[str]:
    """Of patterns with stronger forms, how many there are in all: so they are counted in the list."""
    told = []
    for general, *stronger in PATTERNS.values():
        forms = [name for name in stronger if name in found]
        if forms:
            total = sum(len(found.get(name, ())) for name in (general, *forms))
            named = " and ".join(f"{name.replace('_', ' ')}s" for name in forms)
            told.append(f"{named.capitalize()} count as {general.replace('_', ' ')}, too: {total:,} in all.")
    return told
