"""`callosum findings` as a person or a script asks for what was found, or watches it."""

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from select import select
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum
from tests.scenario import message
from tests.terminal import asked, asked_on_a_terminal, started

LOOP = [message("again")] * 2


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/callosum.db"


async def _say(url: str, messages: Sequence[Any], dialogue: UUID | None = None) -> UUID:
    async with CorpusCallosum.open(url) as callosum:
        one = dialogue or await callosum.open_dialogue("say \x1b[31mred")
        await callosum.send_many(one, messages)
    return one


def say(url: str, messages: Sequence[Any], dialogue: UUID | None = None) -> UUID:
    return asyncio.run(_say(url, messages, dialogue))


def test_why_is_there_on_a_usual_terminal(url: str) -> None:
    say(url, LOOP)
    lines = asked_on_a_terminal("findings", "--url", url, columns=80)
    assert "why" in lines[0]
    assert "The same was said 2 times" in " ".join(lines)
    assert "Left out on this narrow terminal: subject." in lines


def test_every_pattern_is_known_by_name(url: str) -> None:
    say(url, [message(number) for number in range(60)])
    found = asked("findings", "--json", "--url", url).json()
    assert {one["pattern"] for one in found["findings"]} == {"monologue", "dominance"}
    assert {one["position"] for one in found["findings"]} == {2}
    for pattern, total in (("monologue", 1), ("dominance", 1), ("balanced_dialogue", 0), ("stall", 0)):
        assert asked("findings", "--pattern", pattern, "--json", "--url", url).json()["total"] == total
        listed = asked("dialogues", "--pattern", pattern, "--json", "--url", url).json()
        assert listed["total"] == total
    assert asked("findings", "--pattern", "stall", "--as-of", "2100-01-01T00:00:00Z", "--url", url).out.count(
        "stall"
    )


def test_following_tells_history_and_then_each_as_it_grows(tmp_path: Path, url: str) -> None:
    dialogue = say(url, LOOP)
    with started("findings", "--follow", directory=tmp_path) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.split()[:3] == ["2", str(dialogue)[:8], "repetition:"]
        assert "from message 1 to 2." in first
        say(url, LOOP, dialogue)
        assert process.stdout.readline().split()[:4] == ["3", str(dialogue)[:8], "echo", "loop:"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


@pytest.mark.slow
def test_following_as_json_lines_tells_stalls_once(tmp_path: Path, url: str) -> None:
    dialogue = say(url, LOOP)
    impatient = {"CALLOSUM_PATTERNS": "stall_seconds=0.5"}
    with started("findings", "--follow", "--json", "--after", "2", directory=tmp_path, **impatient) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["pattern"], first["first_sequence"], first["dialogue"]) == ("stall", 2, str(dialogue))
        other = say(url, [message("go")])
        assert json.loads(process.stdout.readline())["dialogue"] == str(other)


@pytest.mark.slow
def test_following_from_now_on_leaves_history_out(tmp_path: Path, url: str) -> None:
    dialogue = say(url, LOOP)
    with started("findings", "--follow", "--json", "--after", "now", directory=tmp_path) as process:
        assert process.stdout is not None
        while not select([process.stdout], [], [], 0.2)[0]:  # nobody tells since when it follows
            say(url, LOOP, dialogue)
        assert json.loads(process.stdout.readline())["count"] > 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--after", "3"], "goes with --follow."),
        (["--follow", "--as-of", "3"], "--as-of"),
        (["--follow", "--limit", "3"], "--limit"),
        (["--follow", "--after", "-1"], "'-1' is no position from 0 on, and not now."),
        (["--follow", "--after", "soon"], "'soon' is no position from 0 on, and not now."),
        (["--pattern", "beauty"], "repetition, echo_loop, monologue, dominance, balanced_dialogue, stall"),
    ],
)
def test_what_does_not_go_together_is_refused(url: str, arguments: list[str], says: str) -> None:
    refused = asked("findings", *arguments, "--url", url)
    assert (refused.status, refused.out) == (2, "")
    assert says in " ".join(refused.err.replace("│", " ").split())


def test_no_text_of_an_agent_reaches_the_terminal(tmp_path: Path, url: str) -> None:
    say(url, LOOP)
    assert "\x1b" not in asked("findings", "--url", url).out
