"""The commands about how messages flow: deliveries."""

from typing import Final

from rich.console import RenderableType

from application.callosum import CorpusCallosum
from domain.tract import Tract
from interface.encoding import as_json
from interface.session import Command, console, print_table
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import duration
from projections.answers import DeliveryMetrics, Durations, TractDeliveries

__all__ = ["deliveries_table", "show_deliveries"]

COUNTS: Final = {
    "accepted": "accepted",
    "delivered": "delivered",
    "acked": "acked",
    "retried": "retried",
    "expired": "expired",
    "dead_lettered": "dead-lettered",
    "redriven": "redriven",
    "discarded": "discarded",
    "backlog": "on their way now",
    "backlog_peak": "on their way at most",
}


def show_deliveries(*, json: bool) -> Command:
    """What became of the messages to each tract."""

    async def command(callosum: CorpusCallosum) -> int:
        metrics = await callosum.deliveries()
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


def _show(answer: object, table: RenderableType, json: bool) -> None:
    if json:
        console().print(as_json(answer, indent=2), soft_wrap=True)
    else:
        print_table(table)
