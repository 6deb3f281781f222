"""The generated parts of docs/gates.md, from the code: ``python -m interface.gate_document``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from domain.circuit import TRANSITIONS, CircuitState, Reason
from domain.circuit_settings import CircuitSettings
from domain.gate_settings import GateSettings
from interface.catalogue import meanings

__all__ = ["with_generated_parts"]

_UNITS: Final = {
    "failure_rate_threshold": "%",
    "slow_call_rate_threshold": "%",
    "slow_call_duration": "s",
    "sliding_window_size": "calls, or s",
    "minimum_number_of_calls": "calls",
    "wait_in_open": "s",
    "longest_wait_in_open": "s",
    "permitted_calls_in_half_open": "calls",
    "max_wait_in_half_open": "s",
    "capacity": "messages",
}


def with_generated_parts(document: str) -> str:
    """The document with what stands between its markers written anew."""
    for name, part in (("states", _drawing()), ("settings", _settings())):
        before, marker, rest = document.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        document = before + marker + part + end + after
    return document


def _drawing() -> str:
    """Every transition; those by hand, which lead from every state, are drawn from one box."""
    arrows: dict[tuple[CircuitState, CircuitState], list[Reason]] = {}
    for old, new, reason in TRANSITIONS:
        if reason is not Reason.BY_HAND:
            arrows.setdefault((old, new), []).append(reason)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> CLOSED"]
    for (old, new), reasons in arrows.items():
        told = " or ".join(reason.replace("_", " ") for reason in reasons)
        lines.append(f"    {old.name} --> {new.name}: {told}")
    by_hand = sorted({new.name for _, new, reason in TRANSITIONS if reason is Reason.BY_HAND})
    lines += ['    state "any state" as any', *(f"    any --> {name}: by hand" for name in by_hand), "```"]
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = ["| setting | unit | default | meaning |", "| --- | --- | --- | --- |", *_rows(CircuitSettings)]
    lines += [row for row in _rows(GateSettings) if not row.startswith("| `circuit`")]
    return "\n".join(lines) + "\n"


def _rows(settings: type[msgspec.Struct]) -> Iterator[str]:
    means = meanings(settings)
    for field in msgspec.structs.fields(settings):
        yield f"| `{field.name}` | {_UNITS.get(field.name, '')} | {_told(field.default)} | {means[field.name]} |"


def _told(default: Any) -> str:
    if default == ():
        return "none"
    return (
        f"{default:g}"
        if isinstance(default, float)
        else f"{default:,}"
        if isinstance(default, int)
        else str(default)
    )


if __name__ == "__main__":
    sys.stdout.write(with_generated_parts(Path("docs/gates.md").read_text()))
