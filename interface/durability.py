"""The command that kills servers under load and counts what they lost."""

from typing import Final

from eventsourcing.utils import resolve_topic
from rich.console import RenderableType

from application.durability import Durability, ModeOutcome, Trial, TryDurability
from interface.encoding import as_json
from interface.session import console, print_table, progress
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import many

__all__ = ["durability_table", "show_durability"]

TRY_DURABILITY: Final = "infrastructure.redis_streams.durability:try_durability"
"""Named, as persistence modules are, and never imported."""

COLUMNS: Final = (
    "appendfsync",
    "acknowledged",
    "stored",
    "lost",
    "lost %",
    "kills\nwith loss",
    "stored, not\nacknowledged",
    "p50 ms",
    "p99 ms",
    "messages\na second",
)
DISPENSABLE: Final = (COLUMNS[6], COLUMNS[2], COLUMNS[5])
MEANING: Final = (
    "Lost is what a sender holds a receipt for and the log does not hold after the restart. What is stored and not"
    " acknowledged was on its way when the kill came. p50 and p99 are of acknowledged sends."
)
BOUNDS: Final = (
    "This is what happened here, not the most that can happen. A kill takes what the server has not written yet:"
    " with everysec, what came while a sync was under way, so the moment and the disk decide. A power cut was not"
    " tried: it takes what was written and not synced as well."
)


async def show_durability(trial: Trial, *, json: bool) -> int:
    """Try it and print what was found; the status is 1 when `always` lost a message."""
    try_durability: TryDurability = resolve_topic(TRY_DURABILITY)
    with progress() as bar:
        task = bar.add_task("Killing servers", total=len(trial.fsync) * trial.kills)
        found = await try_durability(trial, lambda kills: bar.update(task, completed=kills))
    if json:
        console().print(as_json(found, indent=2), soft_wrap=True)
    else:
        print_table(durability_table(found))
    return 1 if any(mode.fsync == "always" and mode.lost for mode in found.modes) else 0


def durability_table(found: Durability) -> RenderableType:
    kills = many(len(found.modes[0].kills), "kill")
    load = f"{many(found.senders, 'sender')} for up to {found.seconds:g} s"
    return stacked(
        f"{found.server}: {kills} (SIGKILL) in each mode, under {load}.",
        FittedTable(COLUMNS, map(_row, found.modes), dispensable=DISPENSABLE),
        notes=[MEANING, BOUNDS],
    )


def _row(mode: ModeOutcome) -> list[str]:
    return [
        mode.fsync,
        str(mode.acknowledged),
        str(mode.stored),
        str(mode.lost),
        UNKNOWN if mode.lost_percent is None else f"{mode.lost_percent:.3f}",
        f"{mode.kills_with_loss} of {len(mode.kills)}",
        str(mode.unacknowledged),
        UNKNOWN if mode.p50 is None else f"{mode.p50:.2f}",
        UNKNOWN if mode.p99 is None else f"{mode.p99:.2f}",
        f"{mode.messages_a_second:.0f}",
    ]
