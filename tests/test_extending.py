"""What docs/extending.md shows is done in a copy of the project, and its tests pass there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

WALKS = (ROOT / "docs" / "extending.md").read_text().split("\n## ")[1:]
LEFT_OUT = shutil.ignore_patterns(".*", "*.pyc.*", "*.egg-info")
"""Compiled files come along, except what others are writing just now."""


def _parameter(walk: str) -> Any:
    title, _, _ = walk.partition("\n")
    return pytest.param(walk, id=title, marks=() if title == "A detector" else pytest.mark.slow)


def _blocks(walk: str) -> list[tuple[str, str, str]]:
    """Language, file and text of each."""
    return re.findall(r"```(python|diff) (\S+)\n(.*?)```", walk, re.DOTALL)


def _change(file: Path, change: str) -> None:
    """Put what is there and what comes in place of what is there and what goes; it must stand there once."""
    lines = [(line[0], line[1:]) for line in change.splitlines()]
    old, new = ("".join(text + "\n" for mark, text in lines if mark != other) for other in "+-")
    before = file.read_text()
    assert before.count(old) == 1, f"{file} has {before.count(old)} times:\n{old}"
    file.write_text(before.replace(old, new))


@pytest.mark.parametrize("walk", [_parameter(walk) for walk in WALKS])
def test_walk_leads_to_code_in_style_that_passes_its_test(walk: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=LEFT_OUT)
    tests = []
    for language, name, text in _blocks(walk):
        if language == "python":
            (project / name).write_text(text)
            tests += [name] if name.startswith("tests/") else []
        else:
            _change(project / name, text)
    changed = [name for _, name, _ in _blocks(walk)]
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", "-k", "not redis", *tests],
        ["ruff", "check", "--no-cache", *changed],
        ["ruff", "format", "--check", "--no-cache", *changed],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_detector_of_the_walk_has_at_most_thirty_lines() -> None:
    [detector] = [text for walk in WALKS for _, name, text in _blocks(walk) if name == "domain/refusal.py"]
    assert len(detector.splitlines()) <= 30
