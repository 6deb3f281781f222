"""docs/guarantees.md, the tests that it names and the mutations that break them belong together."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from tests.mutate import copied, outcome
from tests.mutations import MUTATIONS, Mutation
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = dict(
    promise.split("\n", 1)
    for promise in re.split(r"^### ", PAGE.split("## What is not promised")[0], flags=re.MULTILINE)[1:]
)


def held_by(promise: str) -> list[str]:
    return re.findall(r"^- Held by `(.+)`$", PROMISES[promise], re.MULTILINE)


def broken_by(promise: str) -> list[str]:
    return re.findall(r"^- Broken by `([a-z0-9-]+)`: \S", PROMISES[promise], re.MULTILINE)


@pytest.mark.parametrize("promise", list(PROMISES))
def test_a_promise_is_held_by_tests_and_was_broken(promise: str) -> None:
    assert held_by(promise)
    assert broken_by(promise)
    assert PROMISES[promise].count("\n- ") == len(held_by(promise) + broken_by(promise)), "a line of another form"


@pytest.mark.parametrize("test", sorted({test for promise in PROMISES for test in held_by(promise)}))
def test_a_named_test_is_there(test: str) -> None:
    file, *names = test.split("::")
    found: object = import_module(file.removesuffix(".py").replace("/", "."))
    for name in names:
        found = getattr(found, name)
    assert callable(found)


def test_the_page_and_the_mutations_name_each_other() -> None:
    breaks = {name: promise for promise in PROMISES for name in broken_by(promise)}
    assert sorted(breaks) == sorted(mutation.name for mutation in MUTATIONS)
    for mutation in MUTATIONS:
        assert set(mutation.tests) <= set(held_by(breaks[mutation.name])), mutation.name


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_text_that_a_mutation_replaces_is_there_once(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project of one function and its test, and a file that git ignores."""
    files = {
        ".gitignore": "ignored.txt\n",
        "ignored.txt": "",
        "subject.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
        "test_subject.py": "import subject\n\ndef test_one():\n    assert subject.one() == 1\n",
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return 1", "return 3", "caught"),
        ("return 2", "return 3", "NOT CAUGHT: its tests pass"),
        ("return 1", "return (", "NOT CAUGHT: pytest ended with exit code 4"),
        ("def one", "import nowhere\ndef one", "NOT CAUGHT: pytest ended with exit code 4"),
        ("return", "", "NOT CAUGHT: the text to replace occurs 2 times in subject.py"),
    ],
)
def test_a_mutation_is_caught_only_by_a_test_that_fails(checkout: Path, old: str, new: str, said: str) -> None:
    before = (checkout / "subject.py").read_text()
    with copied(checkout) as copy:
        assert not (copy / "ignored.txt").exists()
        assert outcome(copy, Mutation("it", "subject.py", old, new, ("test_subject.py::test_one",)))[0] == said
        assert (copy / "subject.py").read_text() == before
    assert (checkout / "subject.py").read_text() == before


@pytest.mark.parametrize(("hangs", "said"), [(True, "caught"), (False, "NOT CAUGHT: no end after 1 seconds")])
@pytest.mark.slow
def test_a_mutation_that_hangs_is_caught_only_where_that_is_expected(
    checkout: Path, hangs: bool, said: str
) -> None:
    endless = Mutation("it", "subject.py", "return 1", "while True: pass", ("test_subject.py::test_one",), hangs)
    with copied(checkout) as copy:
        assert outcome(copy, endless, seconds=1)[0] == said
