"""What import-linter cannot say: which parts of an outside package a layer may use."""

import ast
import sys
from pathlib import Path

from tests.processes import ROOT

ALLOWED = {"domain", "eventsourcing.domain", "msgspec"}


def _imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


def test_the_domain_imports_the_standard_library_eventsourcing_domain_and_msgspec_only() -> None:
    files = sorted((ROOT / "domain").glob("*.py"))
    assert len(files) > 5
    for file in files:
        for name in _imported(file):
            allowed = name in ALLOWED or name.split(".")[0] in {"domain", "msgspec"} | sys.stdlib_module_names
            assert allowed, f"{file.name} imports {name}"


def test_application_and_interface_never_name_the_infrastructure_in_an_import() -> None:
    for layer in ("application", "projections", "interface"):
        for file in (ROOT / layer).glob("*.py"):
            assert not any(name.startswith("infrastructure") for name in _imported(file)), file
