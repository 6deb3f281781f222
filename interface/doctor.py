"""What a store can lose, what it has room for, and why the service would refuse it."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from application.doctor import Examination, Fact, Finding, Severity, examine, size
from application.settings import Settings
from interface.encoding import as_json
from interface.session import console, print_table
from interface.tables import stacked
from interface.text import one_line

__all__ = ["diagnose", "shadows"]

_PACKAGES: Final = ("application", "domain", "infrastructure", "interface", "projections")
_ROOT: Final = Path(__file__).resolve().parents[1]
_STYLES: Final = {Severity.REFUSED: "bold red", Severity.WARNING: "yellow", Severity.OK: "green"}
"""Worst first."""


async def diagnose(url: str | None, *, json: bool) -> int:
    """Examine the store that the URL names, or the environment's; the status is 2 when it is refused."""
    mixed = shadows()
    if mixed:  # whatever these packages do, it is not what this program means
        found = Examination("This installation", {}, mixed)
    else:
        found = await examine(Settings().url if url is None else url)
    if json:
        console().print(as_json(found, indent=2), soft_wrap=True)
    else:
        print_table(_shown(found))
    return 2 if found.refused else 0


def shadows() -> list[Finding]:
    """The packages that another project's take the place of: their names are common ones."""
    return [
        Finding(Severity.REFUSED, name, f"another package of this name is imported, from {place}")
        for name, place in _places()
        if place != _ROOT / name
    ]


def _places() -> Iterator[tuple[str, Path]]:
    for name in _PACKAGES:
        spec = find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            yield name, Path(place).resolve()


def _shown(found: Examination) -> RenderableType:
    parts: list[RenderableType] = [Text(one_line(found.store), "bold"), _findings(found.findings)]
    return stacked(*parts, *([_facts(found.facts)] if found.facts else []))


def _findings(findings: Sequence[Finding]) -> Table:
    table = _grid()
    for severity, style in _STYLES.items():
        for finding in findings:
            if finding.severity is severity:
                table.add_row(Text(severity, style), Text(finding.subject), Text(one_line(finding.text)))
    return table


def _facts(facts: Mapping[str, Fact]) -> Table:
    table = _grid()
    for name, fact in facts.items():
        table.add_row(Text(name.removesuffix("_bytes").replace("_", " ")), Text(one_line(_told(name, fact))))
    return table


def _told(name: str, fact: Fact) -> str:
    if fact is None:
        return "unknown"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if name.endswith("_bytes") and isinstance(fact, int):
        return size(fact)
    return str(fact) or "none"


def _grid() -> Table:
    return Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
