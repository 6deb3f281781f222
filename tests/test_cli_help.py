"""Every command and every option says what it is for."""

import re
from typing import Any

import pytest
import typer

from interface.cli import app
from interface.options import Sort
from projections.queries import DialogueSort
from tests.terminal import asked

GROUP: Any = typer.main.get_command(app)
COMMANDS = {
    "import",
    "metrics",
    "dialogues",
    "findings",
    "transcript",
    "follow",
    "verify",
    "durability",
    "demo",
    "doctor",
}


def test_what_can_be_sorted_by_is_what_the_read_side_knows() -> None:
    assert [field.value for field in Sort] == [field.value for field in DialogueSort]


PARAMETERS = [
    pytest.param(parameter, id=f"{name} {parameter.name}")
    for name, command in GROUP.commands.items()
    for parameter in command.params
]


def test_there_are_these_commands() -> None:
    assert set(GROUP.commands) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_says_what_it_does(command: str) -> None:
    first = GROUP.commands[command].help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z].{20,}\.", first, re.DOTALL)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_says_what_it_is(parameter: Any) -> None:
    assert re.fullmatch(r"[A-Z].{10,}\.", parameter.help)


@pytest.mark.parametrize("command", sorted(COMMANDS - {"demo", "durability"}))
def test_the_log_can_be_named_to_every_command_on_one(command: str) -> None:
    assert "--url" in {option for parameter in GROUP.commands[command].params for option in parameter.opts}


def test_alone_it_shows_its_help() -> None:
    shown = asked()
    output = shown.out + shown.err
    assert "Usage: callosum" in output
    assert all(command in output for command in COMMANDS)


def test_it_tells_its_version() -> None:
    told = asked("--version")
    assert told.status == 0
    assert told.out.startswith("callosum")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["metrics", "--kind", "dead"], "'dead' is none of live, recorded."),
        (["findings", "--pattern", "echo"], "repetition"),
        (["dialogues", "--sort", "length"], "'length' is none of opened_at"),
        (["dialogues", "--where", "reward"], "NAME=VALUE"),
        (["dialogues", "--limit", "0"], "'0' is no whole number from 1 on."),
        (["dialogues", "--limit", "all"], "'all' is no whole number from 1 on."),
        (["dialogues", "--by", ""], "'' is no attribute's name"),
        (["dialogues", "--by", "team", "--status", "open"], "--by"),
        (["metrics", "3f2a", "--kind", "live"], "--kind"),
        (["follow", "--after", "-1"], "'-1' is no whole number from 0 on."),
        (["transcript"], "DIALOGUE"),
        (["import"], "FILE"),
        (["sing"], "sing"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], says: str) -> None:
    refused = asked(*arguments)
    assert (refused.status, refused.out) == (2, "")
    assert says in refused.err
