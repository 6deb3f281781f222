"""The commands about gates, and the back-test."""

import getpass
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from rich.console import RenderableType

from application.callosum import CorpusCallosum
from application.read_side import Moment
from domain.circuit import CircuitState
from domain.tract import Tract
from interface.encoding import as_json
from interface.session import Command, console, print_table, progress
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import duration, one_line
from projections.answers import CircuitTransition, GateMetrics, TractGateMetrics
from projections.backtest import Backtest, BacktestedTract, Course

__all__ = ["backtest_gates", "configure_gate", "force_gate", "gates_table", "reason_of", "show_gates"]

MOST_SHOWN: Final = 10
_COUNTS: Final = {
    "refused_by_circuit": "refused, circuit open",
    "refused_by_capacity": "refused, no room",
    "waited": "waited for room",
    "shed": "shed",
}


def show_gates(as_of: Moment | None, *, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        metrics = await callosum.gates.metrics(as_of=as_of)
        if json:
            console().print(as_json(metrics, indent=2), soft_wrap=True)
        else:
            print_table(gates_table(metrics))
        return 0

    return command


def gates_table(metrics: GateMetrics) -> RenderableType:
    tracts: list[TractGateMetrics] = [getattr(metrics, tract.value) for tract in Tract]
    rows = [
        ["circuit", *(of.state.value for of in tracts)],
        ["since", *(_or_unknown(of.since) for of in tracts)],
        ["because", *(_because(of) for of in tracts)],
        ["tried again at", *(_or_unknown(of.retry_at) for of in tracts)],
        ["failed", *(_rate(of.failure_rate, of.calls) for of in tracts)],
        ["slow", *(_rate(of.slow_call_rate, of.calls) for of in tracts)],
        ["on their way", *(_backlog(of) for of in tracts)],
        *([said, *(str(getattr(of, name)) for of in tracts)] for name, said in _COUNTS.items()),
        ["time in each state", *(_shares(of) for of in tracts)],
    ]
    history = [row for tract, of in zip(Tract, tracts, strict=True) for row in _history(tract, of.transitions)]
    tables: list[RenderableType] = [FittedTable(("gate of", *Tract), rows)]
    if history:
        columns = ("tract", "position", "state", "since", "because")
        tables.append(FittedTable(columns, history, texts={"because": (20, 60)}, dispensable=("position",)))
    return stacked(*tables)


def _history(tract: Tract, transitions: Sequence[CircuitTransition]) -> Iterator[list[str]]:
    for one in transitions[-MOST_SHOWN:]:
        yield [tract.value, str(one.position), one.state.value, one.since, reason_of(one)]


def reason_of(one: CircuitTransition) -> str:
    """Who set the circuit so and why, or what did, on one line that nothing acts on."""
    if one.by is not None:
        return one_line(f"{one.by}: {one.why}")
    rates = ((one.failure_rate, "failed"), (one.slow_call_rate, "slow"))
    told = ", ".join(f"{rate:g} % {what}" for rate, what in rates if rate is not None)
    return one.reason.value.replace("_", " ") + (f" ({told} of {one.calls})" if told else "")


def _because(of: TractGateMetrics) -> str:
    return reason_of(of.transitions[-1]) if of.transitions else UNKNOWN


def _or_unknown(text: str | None) -> str:
    return UNKNOWN if text is None else text


def _rate(rate: float | None, calls: int) -> str:
    return f"{UNKNOWN} (of {calls})" if rate is None else f"{rate:.1f} % of {calls}"


def _backlog(of: TractGateMetrics) -> str:
    capacity = of.settings.capacity or "any number"
    return f"{of.backlog} of {capacity}{', backpressure' if of.backpressure else ''}"


def _shares(of: TractGateMetrics) -> str:
    return ", ".join(f"{state.value} {share:.1%}" for state, share in of.share_of_time.items()) or UNKNOWN


def configure_gate(tract: Tract, settings: Sequence[str], by: str | None, why: str, *, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        now = await callosum.gates.configure(tract, by=by or getpass.getuser(), why=why, **named(settings))
        if json:
            console().print(as_json(now, indent=2), soft_wrap=True)
        else:
            rows = [[name, str(value)] for name, value in _flat(now)]
            print_table(FittedTable((f"gate of {tract}", "setting"), rows))
        return 0

    return command


def named(settings: Sequence[str]) -> dict[str, Any]:
    """From ``NAME=VALUE`` each; the names of errors have commas between them."""
    pairs = (setting.partition("=")[::2] for setting in settings)
    return {name: value.split(",") if name.endswith("_errors") else value for name, value in pairs}


def _flat(settings: Any) -> Iterator[tuple[str, Any]]:
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, msgspec.Struct):
            yield from _flat(value)
        else:
            yield name, value


def force_gate(tract: Tract, state: str, by: str | None, why: str) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        await callosum.gates.force(tract, CircuitState(state), by=by or getpass.getuser(), why=why)
        console().print(f"The circuit of the {tract} tract is {state.replace('_', ' ')}.")
        return 0

    return command


def backtest_gates(settings: Sequence[str], start: Moment | None, stop: Moment | None, *, json: bool) -> Command:
    """`settings` as ``NAME=VALUE``, or ``TRACT.NAME=VALUE`` for one tract alone."""

    async def command(callosum: CorpusCallosum) -> int:
        first = 1 if start is None else start
        await callosum.check_range(first, stop)
        with progress() as bar:
            task = bar.add_task("Reading the log …", total=None)

            def show(position: int, last: int) -> None:
                bar.update(task, completed=position, total=last)

            told = await callosum.gates.backtest(start=first, stop=stop, changes=by_tract(settings), progress=show)
        if json:
            console().print(as_json(told, indent=2), soft_wrap=True)
        else:
            print_table(_backtest_table(told))
        return 0

    return command


def by_tract(settings: Sequence[str]) -> dict[Tract | None, dict[str, Any]]:
    found: dict[Tract | None, dict[str, Any]] = {}
    for setting in settings:
        place, _, _ = setting.partition("=")
        prefix, dot, _ = place.partition(".")
        tract = Tract(prefix) if dot and prefix in set(Tract) else None
        found.setdefault(tract, {}).update(named([setting if tract is None else setting[len(prefix) + 1 :]]))
    return found


def _backtest_table(told: Backtest) -> RenderableType:
    tables: list[RenderableType] = []
    notes: list[str] = [f"Positions {told.start} to {told.stop}."]
    for tract in Tract:
        of: BacktestedTract = getattr(told, tract.value)
        tables.append(FittedTable((f"{tract} tract", "happened", "with these settings"), list(_courses(of))))
        notes.append(f"{tract}: {_trust(of)}")
    return stacked(*tables, notes=notes)


def _courses(of: BacktestedTract) -> Iterator[list[str]]:
    both = (of.happened, of.simulated)
    yield ["the circuit opened", *(_times(course.trips) for course in both)]
    yield ["accepted", *(str(course.accepted) for course in both)]
    yield ["refused, circuit open", *(str(course.refused_by_circuit) for course in both)]
    yield ["refused, no room", *(str(course.refused_by_capacity) for course in both)]
    yield ["waited for room", str(of.happened.waited), UNKNOWN]
    yield ["on their way at most", *(str(course.backlog_peak) for course in both)]
    for state in CircuitState:
        if any(state in course.spent for course in both):
            yield [f"time {state.value.replace('_', ' ')}", *(_spent(course, state) for course in both)]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _spent(course: Course, state: CircuitState) -> str:
    return duration(float(course.spent.get(state, 0)))


def _trust(of: BacktestedTract) -> str:
    if of.guesses_from is None:
        return "exact: the circuit comes to the transitions that are recorded."
    return (
        f"an estimate from position {of.guesses_from} on, where the circuit does what it did not do; "
        f"{of.not_told} outcomes of what would not have been handled are left out."
    )
