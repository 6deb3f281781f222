"""The commands about how messages flow: deliveries, timeline."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from application.callosum import CorpusCallosum
from application.read_side import Moment
from domain.dialogue import Kind
from domain.tract import Tract
from interface.encoding import as_json
from interface.session import Command, console, print_table
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import duration, many
from projections.answers import DeliveryMetrics, Durations, MinuteList, TractDeliveries

__all__ = ["deliveries_table", "show_deliveries", "show_timeline", "timeline_chart"]

COUNTS: Final = {
    "accepted": "accepted",
    "delivered": "delivered",
    "acked": "acked",
    "retried": "retried",
    "expired": "expired",
    "dead_lettered": "dead-lettered",
    "redriven": "redriven",
    "discarded": "discarded",
    "shed": "shed",
    "backlog": "on their way now",
    "backlog_peak": "on their way at most",
}
SERIES: Final = {
    "internal_to_external": "internal → external",
    "external_to_internal": "external → internal",
    "intra": "within a tract",
    "opened": "dialogues opened",
    "closed": "dialogues closed",
    "acked": "acked",
    "retried": "retried",
    "expired": "expired",
    "dead_lettered": "dead-lettered",
}
BARS: Final = " ▁▂▃▄▅▆▇█"
LEFT_OF_BARS: Final = 40
FEWEST_BARS: Final = 10


def show_deliveries(as_of: Moment | None, *, json: bool) -> Command:
    """What became of the messages to each tract."""

    async def command(callosum: CorpusCallosum) -> int:
        metrics = await callosum.deliveries(as_of=as_of)
        _show(metrics, deliveries_table(metrics), json)
        return 0

    return command


def deliveries_table(metrics: DeliveryMetrics) -> RenderableType:
    tracts: list[TractDeliveries] = [getattr(metrics, tract.value) for tract in Tract]
    counts = [[said, *(str(getattr(of, name)) for of in tracts)] for name, said in COUNTS.items()]
    times = [
        _times_row(f"{what}, {tract}", getattr(of, name))
        for name, what in (("wait_ms", "first delivery"), ("settle_ms", "settlement"))
        for tract, of in zip(Tract, tracts, strict=True)
    ]
    return stacked(
        FittedTable(("messages to", *Tract), counts),
        FittedTable(("from acceptance to", "how many", "p50", "p95", "p99", "max"), times),
    )


def _times_row(what: str, times: Durations) -> list[str]:
    values = (times.p50, times.p95, times.p99, times.max)
    return [what, str(times.count), *(UNKNOWN if value is None else duration(value) for value in values)]


def show_timeline(
    kind: Kind | None,
    start: datetime | None,
    stop: datetime | None,
    limit: int,
    as_of: Moment | None,
    *,
    filled: bool,
    json: bool,
) -> Command:
    """Of the dialogues of a kind, or of each kind in which something happened."""

    async def command(callosum: CorpusCallosum) -> int:
        lists = {
            each: await callosum.timeline(
                each, start=start, stop=stop, limit=limit, filled=filled or not json, as_of=as_of
            )
            for each in ([kind] if kind else Kind)
        }
        if kind is None:
            lists = {each: listed for each, listed in lists.items() if listed.minutes}
        _show(lists[kind] if kind else lists, timeline_chart(list(lists.values())), json)
        return 0

    return command


def timeline_chart(lists: Sequence[MinuteList]) -> RenderableType:
    """A chart for each kind; a sentence where there is nothing."""
    charts = [_Chart(listed) for listed in lists if listed.minutes]
    return stacked(*charts) if charts else "Nothing happened in these minutes."


class _Chart:
    """A line of bars for each measure, as many as there is room for; each line has its own scale."""

    def __init__(self, listed: MinuteList) -> None:
        self._listed = listed

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        minutes = self._listed.minutes
        room = max(FEWEST_BARS, options.max_width - LEFT_OF_BARS)
        together = -(-len(minutes) // room)
        rows = (self._row(name, said, together) for name, said in SERIES.items())
        columns = (self._listed.kind.value, "in all", "most\na minute", "minute by minute")
        first, last = (minutes[place].at[:16].replace("T", " ") for place in (0, -1))
        last = last[11:] if last[:11] == first[:11] else last
        left = f"{len(minutes)} of {self._listed.total} minutes" if len(minutes) < self._listed.total else ""
        note = f"{first} to {last} (UTC), {many(together, 'minute')} a bar; each line has its own scale."
        yield stacked(FittedTable(columns, rows), notes=[note, f"{left} shown."] if left else [note])

    def _row(self, name: str, said: str, together: int) -> list[str]:
        counts = [getattr(minute, name) for minute in self._listed.minutes]
        return [said, str(sum(counts)), str(max(counts)), bars(counts, together)]


def bars(counts: Sequence[int], together: int) -> str:
    """A bar for so many neighbours together, the last one whole; nothing for 0, and something for all else."""
    ends = range(len(counts), 0, -together)
    sums = [sum(counts[max(0, end - together) : end]) for end in reversed(ends)]
    most = max(sums, default=0)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] if most else BARS[0] for count in sums)


def _show(answer: object, table: RenderableType, json: bool) -> None:
    if json:
        console().print(as_json(answer, indent=2), soft_wrap=True)
    else:
        print_table(table)
