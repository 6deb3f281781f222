"""The commands that look after the read models."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.text import Text

from application.callosum import CorpusCallosum
from interface.encoding import as_json, plain
from interface.session import Command, console, errors, print_lines, print_table, progress
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import many, one_line, shortened
from projections.model import Difference, Parked
from projections.rebuild import Progress, Rebuilt, Verdict
from projections.status import ProjectionState, ProjectionStatus

__all__ = [
    "discard_event",
    "pause_projection",
    "rebuild_models",
    "resume_projection",
    "retry_projection",
    "roll_back",
    "show_generations",
    "show_status",
]

MOST_VALUE: Final = 200
MOST_PARKED: Final = 20
LINE_EVERY: Final = 5.0
"""Seconds between two lines of progress where there is no terminal."""

_STANDING: Final = {ProjectionState.FAILED, ProjectionState.RETRYING}


def show_generations(*, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        generations = await callosum.projections.generations()
        if json:
            console().print(as_json(generations, indent=2), soft_wrap=True)
        else:
            rows = [[one.projection, str(one.id), one.state.value, Text(one.version)] for one in generations]
            table = FittedTable(
                ("projection", "generation", "state", "version"), rows, texts={"version": (20, 60)}
            )
            print_table(table if rows else Text("Nothing is folded yet."))
        return 0

    return command


def show_status(names: Sequence[str], *, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        found = await callosum.projections.status(*names)
        parked = {one.name: await callosum.projections.parked(one.name) for one in found}
        if json:
            document = [{**plain(one), "left_out": plain(parked[one.name])} for one in found]
            console().print(as_json(document, indent=2), soft_wrap=True)
        else:
            notes = [line for one in found for line in _notes(one, parked[one.name])]
            print_table(stacked(_status_table(found), notes=notes))
        return int(any(one.state in _STANDING or one.parked for one in found))

    return command


def _status_table(found: Sequence[ProjectionStatus]) -> FittedTable:
    columns = ("projection", "state", "position", "behind,\nevents", "behind,\nseconds", "left\nout", "generation")
    rows = [
        [
            one.name,
            one.state.value,
            str(one.position),
            UNKNOWN if one.lag_events is None else str(one.lag_events),
            UNKNOWN if one.lag_seconds is None else f"{one.lag_seconds:.1f}",
            str(one.parked),
            UNKNOWN if one.generation is None else str(one.generation),
        ]
        for one in found
    ]
    return FittedTable(columns, rows, dispensable=("generation", "position"))


def _notes(one: ProjectionStatus, parked: Sequence[Parked]) -> Iterator[str]:
    if one.error is not None:
        tried = f"tried {many(one.attempts, 'time')}" if one.attempts > 1 else "tried once"
        yield f"{one.name} stands before position {one.error_position}, {tried}: {one_line(one.error)}"
    if one.rebuilding is not None:
        yield f"{one.name} is being rebuilt, or was and can go on: up to position {one.rebuilding}"
    left_out = [event for event in parked if not event.discarded]
    for event in left_out[:MOST_PARKED]:
        yield f"{one.name} has left out position {event.position} ({event.topic}): {one_line(event.error)}"
    if len(left_out) > MOST_PARKED:
        yield f"{one.name} has left out {many(len(left_out) - MOST_PARKED, 'event')} more; --json lists all."


def rebuild_models(names: Sequence[str], *, swap: bool, json: bool) -> Command:
    """With `swap` they serve then; else they are only compared."""

    async def command(callosum: CorpusCallosum) -> int:
        projections = callosum.projections
        with _rates() as show:
            rebuilt = await (projections.rebuild if swap else projections.verify)(*names, progress=show)
        _show(rebuilt, json=json, swapped=swap)
        return int(any(one.verdict is Verdict.DIFFERENT for one in rebuilt))

    return command


def retry_projection(name: str, *, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        with _rates() as show:
            rebuilt = await callosum.projections.retry(name, progress=show)
        if not rebuilt:
            if json:
                console().print(as_json([], indent=2), soft_wrap=True)
            else:
                console().print("No event is left out; it goes on with the one that it stands before, if any.")
            return 0
        _show(rebuilt, json=json, swapped=True)
        return int(any(one.parked for one in rebuilt))

    return command


def roll_back(name: str) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        generation = await callosum.projections.rollback(name)
        console().print(f"{name}: generation {generation.id} serves again.")
        return 0

    return command


def pause_projection(name: str) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        await callosum.projections.pause(name)
        console().print(f"{name} is paused.")
        return 0

    return command


def resume_projection(name: str) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        await callosum.projections.resume(name)
        console().print(f"{name} goes on, in each process that keeps it current.")
        return 0

    return command


def discard_event(name: str, position: int) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        count = await callosum.projections.discard(name, position)
        console().print(f"{name}: {many(count, 'event')} left out for good.")
        return 0

    return command


@contextmanager
def _rates() -> Iterator[Callable[[Progress], None]]:
    """Show progress on standard error: a bar on a terminal, else a line now and then."""
    with progress() as bar:
        task = bar.add_task("Reading the log …", total=None)
        due = LINE_EVERY

        def show(told: Progress) -> None:
            nonlocal due
            line = _rate(told)
            bar.update(task, description=line, completed=told.position, total=told.head)
            if bar.disable and told.seconds >= due:
                due = told.seconds + LINE_EVERY
                errors().print(line)

        yield show


def _rate(told: Progress) -> str:
    left = (told.head - told.position) * told.seconds / max(1, told.position - told.began)
    rate = f"{told.messages / told.seconds:,.0f} a second" if told.seconds else ""
    return f"{told.projection}: position {told.position} of {told.head}, {rate}, {left:.0f} s left"


def _show(rebuilt: Sequence[Rebuilt], *, json: bool, swapped: bool) -> None:
    if json:
        console().print(as_json(rebuilt, indent=2), soft_wrap=True)
        return
    for one in rebuilt:
        print_lines(console(), Text("\n".join(_lines(one, swapped=swapped))))


def _lines(one: Rebuilt, *, swapped: bool) -> Iterator[str]:
    done = f"rebuilt, and serves now as generation {one.generation}" if swapped else "built anew and compared"
    begun = f", gone on with from position {one.resumed_at}" if one.resumed_at else ""
    rate = f", {one.messages / one.seconds:,.0f} a second" if one.seconds else ""
    yield f"{one.projection}: {done}{begun}; {one.messages:,} messages and other events{rate}."
    if one.verdict is Verdict.IDENTICAL:
        yield f"  IDENTICAL at position {one.position}, digest {one.digest[:16]}."
    elif one.verdict is Verdict.NOTHING_TO_COMPARE:
        yield f"  Nothing to compare with. Digest {one.digest[:16]} at position {one.position}."
    elif one.difference is not None:
        yield f"  DIFFERENT at position {one.position}: {_difference(one.difference)}"
    if one.parked:
        yield f"  {many(one.parked, 'event')} left out; `callosum projections status` lists them."


def _difference(found: Difference) -> str:
    row = f"{found.table} {', '.join(f'{name}={value}' for name, value in found.key.items())}"
    if found.column is None:
        where = "only the rebuilt one has it" if found.served is None else "only the one that served has it"
        return f"{row}: {where}."
    return f"{row}, {found.column}: served {_value(found.served)}, rebuilt {_value(found.rebuilt)}."


def _value(value: Any) -> str:
    return one_line(shortened(value if isinstance(value, str) else as_json(value), MOST_VALUE))
