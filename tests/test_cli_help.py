"""Every command and every option says what it is for."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from interface.cli import app

GROUP: Any = typer.main.get_command(app)
COMMANDS = {"import", "metrics", "dialogues", "findings", "transcript", "follow", "verify", "demo"}


def asked(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, prog_name="callosum")
    return result.exit_code, result.output


def parameters() -> Iterator[Any]:
    for name, command in GROUP.commands.items():
        for parameter in command.params:
            yield pytest.param(parameter, id=f"{name} {parameter.name}")


def test_there_are_these_commands() -> None:
    assert set(GROUP.commands) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_says_what_it_does(command: str) -> None:
    first = GROUP.commands[command].help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z].{20,}\.", first, re.DOTALL)


@pytest.mark.parametrize("parameter", parameters())
def test_a_parameter_says_what_it_is(parameter: Any) -> None:
    assert re.fullmatch(r"[A-Z].{10,}\.", parameter.help)


@pytest.mark.parametrize("command", sorted(COMMANDS - {"demo"}))
def test_the_log_can_be_named_to_every_command_on_one(command: str) -> None:
    assert "--url" in {option for parameter in GROUP.commands[command].params for option in parameter.opts}


def test_alone_it_shows_its_help() -> None:
    _, output = asked()
    assert "Usage: callosum" in output
    assert all(command in output for command in COMMANDS)


def test_it_tells_its_version() -> None:
    status, output = asked("--version")
    assert status == 0
    assert output.startswith("callosum")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["metrics", "--kind", "dead"], "dead"),
        (["findings", "--pattern", "echo"], "repetition"),
        (["dialogues", "--sort", "length"], "length"),
        (["dialogues", "--where", "reward"], "NAME=VALUE"),
        (["dialogues", "--limit", "0"], "limit"),
        (["follow", "--after", "-1"], "after"),
        (["transcript"], "DIALOGUE"),
        (["import"], "FILE"),
        (["sing"], "sing"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], says: str) -> None:
    status, output = asked(*arguments)
    assert status == 2
    assert says in output
