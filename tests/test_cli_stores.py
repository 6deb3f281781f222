"""The command line says the same whatever store the log is in."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from tests.redis_stores import shared_server
from tests.servers import BINARIES, NO_SERVER
from tests.terminal import Ended, asked

RUNS = [
    {
        "run": number,
        "reward": number % 2,
        "messages": [
            {"role": "user", "content": f"Book flight {number}."},
            {"role": "assistant", "content": "Which one?"},
        ]
        * (1 + number % 4),
    }
    for number in range(20)
]
DIFFERENT = {"epoch", "chain", "at", "opened_at", "last_activity"}
"""What is of one log alone, or of the moment."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stores")
    (directory / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in RUNS))
    return directory


def said(directory: Path, url: str) -> list[object]:
    """What each command prints, and its status."""
    spoken: list[object] = []
    dialogue = ""
    for command in (
        ["import", f"{directory}/runs.jsonl"],
        ["import", f"{directory}/runs.jsonl"],
        ["dialogues"],
        ["dialogues", "--by", "reward"],
        ["findings"],
        ["metrics"],
        ["transcript"],
        ["verify"],
        ["inbox"],
        ["dead", "list"],
    ):
        more = [dialogue] if command == ["transcript"] else []
        ended = asked(*command, *more, "--json", "--url", url)
        assert ended.err == "", command
        spoken.append((ended.status, [_common(printed) for printed in _printed(ended)]))
        if command == ["dialogues"]:
            dialogue = ended.json()["dialogues"][0]["dialogue"]
    return spoken


def _printed(ended: Ended) -> list[object]:
    try:
        return [ended.json()]
    except json.JSONDecodeError:
        return ended.json_lines()


def _common(printed: object) -> object:
    if isinstance(printed, dict):
        return {name: _common(value) for name, value in printed.items() if name not in DIFFERENT}
    return [_common(value) for value in printed] if isinstance(printed, list) else printed


@pytest.fixture(scope="module")
def on_sqlite(directory: Path) -> list[object]:
    return said(directory, f"sqlite:///{directory}/callosum.db")


@pytest.mark.parametrize("binary", BINARIES or [None], ids=lambda binary: binary.name if binary else "no server")
def test_every_command_answers_as_on_sqlite(binary: object, directory: Path, on_sqlite: list[object]) -> None:
    assert binary is not None, NO_SERVER
    server = shared_server(binary)
    assert said(directory, f"{server.url}?namespace={uuid4().hex}") == on_sqlite
