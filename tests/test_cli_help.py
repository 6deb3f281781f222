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
GROUPS: dict[str, Any] = {name: GROUP.commands[name] for name in ("dead", "gate", "projections")}
ALL: dict[str, Any] = {
    **{name: command for name, command in GROUP.commands.items() if name not in GROUPS},
    **{f"{name} {one}": command for name, group in GROUPS.items() for one, command in group.commands.items()},
}
COMMANDS = {
    "import",
    "export",
    "metrics",
    "dialogues",
    "study",
    "findings",
    "transcript",
    "replay",
    "follow",
    "verify",
    "durability",
    "demo",
    "doctor",
    "inbox",
    "explain",
    "deliveries",
    "timeline",
    "report",
    "dead list",
    "dead show",
    "dead redrive",
    "dead discard",
    "backtest",
    "gate show",
    "gate configure",
    "gate open",
    "gate close",
    "gate disable",
    "projections list",
    "projections status",
    "projections rebuild",
    "projections verify",
    "projections rollback",
    "projections pause",
    "projections resume",
    "projections retry",
    "projections discard",
}


def test_what_can_be_sorted_by_is_what_the_read_side_knows() -> None:
    assert [field.value for field in Sort] == [field.value for field in DialogueSort]


PARAMETERS = [
    pytest.param(parameter, id=f"{name} {parameter.name}")
    for name, command in ALL.items()
    for parameter in command.params
]


def test_there_are_these_commands() -> None:
    assert set(ALL) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_says_what_it_does(command: str) -> None:
    first = ALL[command].help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z].{20,}\.", first, re.DOTALL)


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_says_what_it_is(parameter: Any) -> None:
    assert re.fullmatch(r"[A-Z].{10,}\.", parameter.help)


@pytest.mark.parametrize("command", sorted(COMMANDS - {"demo", "durability"}))
def test_the_log_can_be_named_to_every_command_on_one(command: str) -> None:
    assert "--url" in {option for parameter in ALL[command].params for option in parameter.opts}


def test_alone_it_shows_its_help() -> None:
    shown = asked()
    output = shown.out + shown.err
    assert "Usage: callosum" in output
    assert all(command.split()[0] in output for command in COMMANDS)


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
        (["report", "3f2a", "--kind", "live"], "--kind"),
        (["dialogues", "--by", "team", "--status", "open"], "--by"),
        (["metrics", "3f2a", "--kind", "live"], "--kind"),
        (["follow", "--after", "-1"], "'-1' is no position from 0 on, and not now."),
        (["follow", "--after", "now", "--chain", "0" * 40], "goes with --after and a position."),
        (["transcript"], "DIALOGUE"),
        (["import"], "FILE"),
        (["sing"], "sing"),
        (["explain", "3f2a"], "SEQUENCE"),
        (["explain", "3f2a", "0"], "'0' is no whole number from 1 on."),
        (["dead", "list", "--tract", "extern"], "'extern' is none of internal, external."),
        (["dead", "redrive"], "is needed, or --all."),
        (["dead", "redrive", "--tract", "external"], "is needed, or --all."),
        (["dead", "redrive", "3f2a", "--all"], "--all"),
        (["dead", "discard", "--all"], "--reason"),
        (["timeline", "--start", "noon"], "'noon' is no time like 2026-03-01T12:00Z."),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], says: str) -> None:
    refused = asked(*arguments)
    assert (refused.status, refused.out) == (2, "")
    assert says in refused.err
