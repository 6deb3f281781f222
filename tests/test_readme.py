"""What the README shows is what happens."""

import re
import shlex
from pathlib import Path

from tests.processes import ROOT, python

README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    [program], [printed] = _blocks("python"), _blocks("text")
    done = python("-c", program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed


def test_every_command_that_the_readme_names_exists() -> None:
    commands = {
        words[1] for block in _blocks("console") for line in block.splitlines() if (words := _callosum(line))
    }
    assert {"import", "dialogues", "findings", "transcript"} <= commands
    for command in commands:
        assert python("-m", "interface.cli", command, "--help").returncode == 0


def _callosum(line: str) -> list[str]:
    words = shlex.split(line.removeprefix("$ "), comments=True)
    return words if words and words[0].endswith("callosum") else []


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", README)) <= targets


def test_every_file_that_the_readme_links_to_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
