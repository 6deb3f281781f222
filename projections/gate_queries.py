"""Reading what the gates did."""

from typing import Final

from sqlalchemy import Connection, func, select

from domain.circuit import Circuit, CircuitState, Reason
from domain.gate_settings import GateSettings
from domain.times import log_time
from domain.tract import Tract
from projections.answers import CircuitTransition, GateMetrics, RefusalMinute, TractGateMetrics
from projections.database import plain
from projections.deliveries import deliveries
from projections.gates import ADMISSIONS, TractGate, admissions, gate_of, gates, transitions

__all__ = ["gate_metrics"]

_MINUTE: Final = 60_000
_MOST: Final = 60
"""Of each tract so many minutes with refusals and so many transitions, the last ones."""


def gate_metrics(connection: Connection, position: int) -> GateMetrics:
    """The gates as of this position."""
    found = {row["tract"]: gate_of(row) for row in connection.execute(select(gates)).mappings()}
    flow = deliveries(connection, position)
    backlogs = {Tract.INTERNAL: flow.internal.backlog, Tract.EXTERNAL: flow.external.backlog}
    return GateMetrics(
        position, *(_told(connection, tract, found.get(tract) or _fresh(), backlogs[tract]) for tract in Tract)
    )


def _fresh() -> TractGate:
    return TractGate(Circuit(GateSettings().circuit))


def _told(connection: Connection, tract: Tract, gate: TractGate, backlog: int) -> TractGateMetrics:
    circuit, last = gate.circuit, gate.last
    sums = [func.coalesce(func.sum(admissions.c[name]), 0).label(name) for name in ADMISSIONS]
    totals = connection.execute(select(*sums).where(admissions.c.tract == tract.value)).mappings().one()
    return TractGateMetrics(
        **plain(totals),
        state=circuit.state,
        generation=circuit.generation,
        since=_time(last.since) if last else None,
        reason=last.reason if last else None,
        by=gate.by,
        why=gate.why,
        retry_at=_time(circuit.retry_at),
        calls=circuit.calls,
        failure_rate=circuit.failure_rate,
        slow_call_rate=circuit.slow_call_rate,
        share_of_time=_shares(gate),
        backlog=backlog,
        backpressure=gate.pressure.engaged,
        settings=gate.settings,
        refusals=_refusals(connection, tract),
        transitions=_transitions(connection, tract),
    )


def _shares(gate: TractGate) -> dict[CircuitState, float]:
    whole = sum(gate.spent.values())
    return {state: spent / whole for state, spent in sorted(gate.spent.items())} if whole else {}


def _refusals(connection: Connection, tract: Tract) -> list[RefusalMinute]:
    query = select(admissions).where(admissions.c.tract == tract.value).order_by(admissions.c.minute.desc())
    rows = connection.execute(query.limit(_MOST)).mappings().all()
    return [
        RefusalMinute(_time(row["minute"] * _MINUTE) or "", *(row[name] for name in ADMISSIONS))
        for row in reversed(rows)
    ]


def _transitions(connection: Connection, tract: Tract) -> list[CircuitTransition]:
    query = select(transitions).where(transitions.c.tract == tract.value)
    rows = connection.execute(query.order_by(transitions.c.generation.desc()).limit(_MOST)).mappings().all()
    return [
        CircuitTransition(
            position=row["position"],
            state=CircuitState(row["state"]),
            since=_time(row["entered_at"]) or "",
            reason=Reason(row["reason"]),
            retry_at=_time(row["retry_at"]),
            calls=row["calls"],
            failure_rate=row["failure_rate"],
            slow_call_rate=row["slow_call_rate"],
            cause=row["cause"],
            by=row["by"],
            why=row["why"],
        )
        for row in reversed(rows)
    ]


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else log_time(milliseconds)
