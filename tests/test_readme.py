"""What the README shows is what happens."""

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.measuring import settle_down
from tests.processes import ROOT, python
from tests.terminal import asked

README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(
    ("program", "printed"),
    list(zip([program for program in _blocks("python") if "main()" in program], _blocks("text"), strict=True)),
    ids=["dialogue", "agents", "gates"],
)
def test_the_examples_print_what_the_readme_says(program: str, printed: str, tmp_path: Path) -> None:
    done = python("-c", program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed


def test_the_three_minutes_are_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = [{"role": "user", "content": "Book a flight."}, {"role": "assistant", "content": "Where to?"}]
    runs = [{"reward": 1.0, "messages": said}, {"reward": 0.0, "messages": said * 3}]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    printed = {}
    for line in [line for block in _blocks("console") for line in block.splitlines() if "bin/callosum" in line]:
        words = shlex.split(line.partition("bin/callosum")[2])
        if words[0] == "transcript":
            words[1] = asked("dialogues", "--json").json()["dialogues"][0]["dialogue"][:4]
        ended = asked(*words)
        assert (ended.status, ended.err) == (0, ""), line
        printed[words[0]] = ended.out
    assert "2 dialogues with 8 messages" in printed["import"]
    assert "reward" in printed["dialogues"]
    assert "echo_loop" in printed["findings"]
    assert "Book a flight." in printed["transcript"]


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", README)) <= targets


def test_every_file_that_the_readme_links_to_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_benchmarks_settle_down_as_it_says() -> None:
    [said] = [program for program in _blocks("python") if program.startswith("gc.collect()")]
    _, _, done = inspect.getsource(settle_down).partition('"""\n')
    assert done.split() == re.sub(r"  #.*", "", said).split()
