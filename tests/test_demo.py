"""The demo loses and repeats nothing whenever its bridge is killed, and would say so if it did."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from itertools import count
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest
from msgspec.structs import replace
from rich.console import Console

from application.callosum import CorpusCallosum
from application.reading import RecordedMessage
from domain.message import Message, content_digest
from domain.tract import Tract
from interface.agents import PLANNER, Acknowledgement
from interface.audit import audit
from interface.demo import MOST_CRASHES, BridgeDownError, DemoResult, Scene, run_demo
from interface.screen import Screen
from interface.session import CommandError
from interface.survey import LineCount, Question, Report, Said, Tool, payload_of, said_in
from tests.processes import start

TREE = {
    f"part{number // 5}/file{number}.py": f"class Thing{number % 3}:\n    pass  # TODO\n" for number in range(20)
}

UNHURRIED = 0.005
"""A pace at which the demo comes to the kill long before the dialogue is over, however busy the machine is."""


def planted(directory: Path) -> Path:
    root = directory / "tree"
    for name, text in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path)


def paper() -> Console:
    return Console(file=StringIO(), width=100)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


Played = tuple[DemoResult, str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One demo, and what it wrote."""
    directory = tmp_path_factory.mktemp("played")
    console = paper()
    root, url = planted(directory), f"sqlite:///{directory}/callosum.db"
    return asyncio.run(run_demo(root, url, console=console, pace=UNHURRIED)), written(console)


def test_the_demo_loses_and_repeats_nothing(played: Played) -> None:
    result, text = played
    assert result.exit_status == 0
    assert result.evidence is not None
    assert result.evidence.audit.acknowledged >= len(result.evidence.transcript) - 4, "each agent is in one send"
    assert "0 lost, 0 repeated; chain verified." in text


def test_the_demo_kills_its_bridge_once_and_shows_it(played: Played) -> None:
    result, text = played
    [kill] = result.kills
    assert result.evidence is not None
    assert 0 < kill.after < len(result.evidence.transcript)
    assert f"Process {kill.pid} was killed (SIGKILL) after message {kill.after}" in text
    assert f"▲ {kill.after}: process {kill.pid} killed" in text


def test_the_demo_reports_what_is_in_the_directory(played: Played) -> None:
    result, text = played
    report = report_of(result)
    assert (report.directories, report.files, report.counted, report.lines) == (5, 20, 20, 40)
    assert ("TODO", 20, 20) in report.found
    assert ("Thing1", 7, 7) in report.found
    assert "TODO: 20 matches in 20 files" in text


def test_what_is_no_terminal_gets_no_control_codes(played: Played) -> None:
    _, text = played
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize("seed", range(3))
async def test_a_kill_at_any_moment_loses_and_repeats_nothing(tree: Path, lasting_url: str, seed: int) -> None:
    kill_after = Random(seed).randint(1, 40)
    result = await run_demo(tree, lasting_url, console=paper(), pace=UNHURRIED, kill_after=kill_after)

    assert len(result.kills) == 1
    assert result.exit_status == 0
    assert report_of(result).lines == 40


async def test_an_empty_directory_gives_a_short_dialogue_that_cannot_be_assessed(
    tmp_path: Path, lasting_url: str
) -> None:
    (tmp_path / "empty").mkdir()
    console = paper()
    result = await run_demo(tmp_path / "empty", lasting_url, console=console, pace=0)

    assert result.exit_status == 0
    assert result.evidence is not None
    assert len(result.evidence.transcript) == 4
    assert report_of(result).files == 0
    assert "not assessable: 4 of 101 messages" in written(console)


async def test_two_demos_in_one_log_do_not_mix(tree: Path, lasting_url: str) -> None:
    first = await run_demo(tree, lasting_url, console=paper(), pace=0)
    second = await run_demo(tree, lasting_url, console=paper(), pace=0)

    assert first.exit_status == second.exit_status == 0
    assert first.dialogue != second.dialogue


async def test_a_terminal_gets_a_scrolling_view(tree: Path, lasting_url: str) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100, height=20, _environ={"TERM": "xterm"})
    await run_demo(tree, lasting_url, console=console, pace=UNHURRIED)

    assert "planner (internal) · tools (external)" in written(console)
    assert "· bridge: held by process" in written(console)
    assert "· bridge: down, process" in written(console)


def report_of(result: DemoResult) -> Report:
    assert result.evidence is not None
    said = [said_in(message.payload) for message in result.evidence.transcript]
    [report] = [one for one in said if isinstance(one, Report)]
    return report


# What it refuses


async def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path, lasting_url: str) -> None:
    with pytest.raises(CommandError, match="There is no directory"):
        await run_demo(tmp_path / "nowhere", lasting_url, console=paper(), pace=0)


async def test_a_file_is_no_directory(tmp_path: Path, lasting_url: str) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(CommandError, match="is a file"):
        await run_demo(tmp_path / "file", lasting_url, console=paper(), pace=0)


async def test_a_log_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="in memory"):
        await run_demo(tmp_path, "sqlite://", console=paper(), pace=0)


# What it leaves behind


async def test_a_bridge_that_ends_by_itself_is_started_again_three_times(lasting_url: str) -> None:
    console = paper()
    async with CorpusCallosum.open(lasting_url) as callosum:
        dialogue = await callosum.open_dialogue("never said a word")
        command = [sys.executable, "-c", "raise SystemExit('no bridge today')"]
        with Screen(console) as screen, pytest.raises(BridgeDownError) as caught:
            await Scene(callosum, dialogue, screen, command).play()

    assert caught.value.reason == "no bridge today"
    assert written(console).count("ended by itself: no bridge today") == MOST_CRASHES


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo(tree: Path, lasting_url: str, ending: signal.Signals) -> None:
    demo = start("-u", "-c", PLAY, str(tree), lasting_url)
    with demo:
        bridge = pid_in(demo)
        with watched(bridge) as bridges_end:
            demo.send_signal(ending)
            demo.communicate(timeout=20)
            assert select.select([bridges_end], [], [], 20)[0], "the bridge's process goes on"

    assert asyncio.run(last_said(lasting_url)) is not Report, "it ended before its work was done"


PLAY = """
import asyncio, sys
from pathlib import Path
from rich.console import Console
from interface.demo import run_demo
asyncio.run(run_demo(Path(sys.argv[1]), sys.argv[2], console=Console(), pace=0.1))
"""


def pid_in(demo: "subprocess.Popen[str]") -> int:
    """The process that the demo says holds the bridge, once that has said something."""
    assert demo.stdout is not None
    first = demo.stdout.readline().split()
    assert first[0] == "Process"
    assert "what is in .?" in demo.stdout.readline()
    return int(first[1])


class watched:  # noqa: N801  # reads as a word in a with statement
    """A file descriptor that becomes readable when the process ends, whoever's child it is."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


async def last_said(url: str) -> type[Said]:
    async with CorpusCallosum.open(url) as callosum:
        dialogues = {recorded.dialogue async for recorded in callosum.replay()}
        [dialogue] = dialogues
        assert dialogue is not None
        said = [said_in(message.payload) async for message in callosum.transcript(dialogue)]
    return type(said[-1])


# Its audit


DIALOGUE = uuid4()


def recorded(*messages: Message) -> list[RecordedMessage]:
    return [
        RecordedMessage(
            **{field: getattr(message, field) for field in Message.__struct_fields__},
            dialogue=DIALOGUE,
            sequence=sequence,
            position=sequence + 1,
            at=0,
        )
        for sequence, message in zip(count(1), messages, strict=False)
    ]


def asked(path: str) -> Message:
    question = payload_of(Question(Tool.COUNT, path))
    return Message(
        source=Tract.INTERNAL, target=Tract.EXTERNAL, sender=PLANNER, recipient=Tool.COUNT.value, payload=question
    )


def answered(sequence: int, path: str, lines: int = 1) -> Message:
    return Message(
        source=Tract.EXTERNAL,
        target=Tract.INTERNAL,
        sender=Tool.COUNT.value,
        recipient=PLANNER,
        payload=payload_of(LineCount(path, lines, [], [])),
        in_reply_to=sequence,
    )


SAID = [asked("a"), answered(1, "a"), asked("b"), answered(3, "b")]


def acknowledgements(messages: Sequence[Message]) -> list[Acknowledgement]:
    return [
        Acknowledgement(sequence, sequence + 1, content_digest(message).hex())
        for sequence, message in enumerate(messages, 1)
    ]


def test_an_audit_passes_what_is_stored_as_it_was_acknowledged() -> None:
    found = audit(recorded(*SAID), acknowledgements(SAID))
    assert found.passed
    assert found.acknowledged == 4


def test_an_audit_passes_a_message_that_was_stored_and_not_acknowledged() -> None:
    assert audit(recorded(*SAID), acknowledgements(SAID)[:2]).passed


def test_an_audit_counts_a_message_that_was_acknowledged_twice_once() -> None:
    found = audit(recorded(*SAID), acknowledgements(SAID) * 2)
    assert found.passed
    assert found.acknowledged == 4


def test_an_audit_finds_an_acknowledged_message_that_is_not_stored() -> None:
    assert audit(recorded(*SAID[:3]), acknowledgements(SAID)).lost == [4]


def test_an_audit_finds_an_acknowledged_message_that_is_stored_with_other_content() -> None:
    assert audit(recorded(*SAID[:3], answered(3, "b", 7)), acknowledgements(SAID)).lost == [4]


def test_an_audit_finds_an_acknowledged_message_that_is_stored_elsewhere() -> None:
    moved = [replace(message, position=9) for message in recorded(*SAID)]
    assert audit(moved, acknowledgements(SAID)).lost == [1, 2, 3, 4]


def test_an_audit_finds_a_question_that_was_asked_twice() -> None:
    again = [*SAID, asked("a"), answered(5, "a")]
    assert audit(recorded(*again), acknowledgements(again)).repeated == [5]


def test_an_audit_finds_a_question_that_was_answered_twice() -> None:
    again = [*SAID, answered(1, "a", 2)]
    assert audit(recorded(*again), acknowledgements(again)).repeated == [5]


def test_an_audit_finds_a_sequence_that_stands_twice() -> None:
    first, *others = recorded(*SAID)
    assert audit([first, first, *others], acknowledgements(SAID)).repeated == [1]


def test_an_audit_finds_a_gap_in_the_sequences() -> None:
    assert audit(recorded(*SAID)[1:], ()).missing == [1]


def test_an_audit_finds_a_question_without_an_answer() -> None:
    assert audit(recorded(*SAID[:3]), ()).unanswered == [3]
