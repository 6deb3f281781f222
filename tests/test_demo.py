"""The demo loses and repeats nothing whenever its bridge is killed, and would say so if it did."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from application.callosum import CorpusCallosum
from interface.demo.ending import command_name
from interface.demo.scene import MOST_CRASHES, BridgeDownError, DemoResult, Scene, run_demo
from interface.demo.screen import Screen
from interface.demo.survey import Report, Said, said_in
from interface.session import CommandError
from tests.processes import start
from tests.terminal import ROOT, asked, environment

TREE = {
    f"part{number // 5}/file{number}.py": f"class Thing{number % 3}:\n    pass  # TODO\n" for number in range(20)
}

UNHURRIED = 0.02
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


@pytest.fixture
def url(tmp_path: Path) -> str:
    """For what does not depend on the store."""
    return f"sqlite:///{tmp_path}/callosum.db"


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


def test_the_demo_ends_with_commands_to_copy(played: Played) -> None:
    result, text = played
    where = f"{str(result.dialogue)[:8]} --url {result.url}"
    for line, command in zip(text.splitlines()[-2:], ("transcript", "metrics"), strict=True):
        assert line == f"  python -m interface.cli {command} {where}"


@pytest.mark.parametrize(
    ("started", "named"),
    [
        (".venv/bin/callosum", ".venv/bin/callosum"),
        ("/a b/callosum", "'/a b/callosum'"),
        ("/project/interface/cli.py", "python -m interface.cli"),
    ],
)
def test_a_command_is_named_as_it_was_started(monkeypatch: pytest.MonkeyPatch, started: str, named: str) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert command_name() == named


def test_a_command_on_the_path_needs_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "callosum"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert command_name() == "callosum"


def test_without_a_checkout_the_demo_is_of_the_current_directory(tmp_path: Path) -> None:
    for package in ("application", "domain", "infrastructure", "interface", "projections"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-P", "-m", "interface.cli", "demo", "--help"]
    installed = {**environment(), "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    shown = subprocess.run(command, env=installed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "current directory" in shown
    assert "this project" in asked("demo", "--help").out


@pytest.mark.slow
def test_every_message_of_the_demo_may_be_sent_again_or_is_said_with_an_ack(played: Played) -> None:
    result, _ = played
    assert result.evidence is not None
    sent = [message for message in result.evidence.transcript if message.in_reply_to is None]
    keys = {message.idempotency_key for message in sent}
    assert None not in keys
    assert len(keys) == len(sent)


async def test_the_demo_leaves_nothing_to_be_delivered(played: Played) -> None:
    result, _ = played
    async with CorpusCallosum.open(result.url) as callosum:
        assert [(tract.backlog, tract.dead_letters) for tract in await callosum.inbox()] == [(0, 0), (0, 0)]


def test_what_is_no_terminal_gets_no_control_codes(played: Played) -> None:
    _, text = played
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.stress) for seed in range(1, 10))])
async def test_a_kill_at_any_moment_loses_and_repeats_nothing(tree: Path, lasting_url: str, seed: int) -> None:
    kill_after = Random(seed).randint(1, 40)
    result = await run_demo(tree, lasting_url, console=paper(), pace=UNHURRIED, kill_after=kill_after)

    assert len(result.kills) == 1
    assert result.exit_status == 0
    assert report_of(result).lines == 40


@pytest.mark.slow
async def test_an_empty_directory_gives_a_short_dialogue_that_cannot_be_assessed(tmp_path: Path, url: str) -> None:
    (tmp_path / "empty").mkdir()
    console = paper()
    result = await run_demo(tmp_path / "empty", url, console=console, pace=0)

    assert result.exit_status == 0
    assert result.evidence is not None
    assert len(result.evidence.transcript) == 4
    assert report_of(result).files == 0
    assert "not assessable: 4 of 101 messages" in written(console)


@pytest.mark.slow
async def test_two_demos_in_one_log_do_not_mix(tree: Path, played: Played) -> None:
    first, _ = played
    second = await run_demo(tree, first.url, console=paper(), pace=0)

    assert second.url == first.url
    assert first.exit_status == second.exit_status == 0
    assert first.dialogue != second.dialogue


@pytest.mark.slow
async def test_a_terminal_gets_a_scrolling_view(tree: Path, url: str) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100, height=20, _environ={"TERM": "xterm"})
    await run_demo(tree, url, console=console, pace=UNHURRIED)

    assert "planner (internal) · tools (external)" in written(console)
    assert "· bridge: held by process" in written(console)
    assert "· bridge: down, process" in written(console)


def test_a_screen_shows_control_characters_as_escapes() -> None:
    console = paper()
    with Screen(console) as screen:
        screen.notice("\x1b]0;owned\x07")
    assert "\\x1b]0;owned\\x07" in written(console)


def report_of(result: DemoResult) -> Report:
    assert result.evidence is not None
    said = [said_in(message.payload) for message in result.evidence.transcript]
    [report] = [one for one in said if isinstance(one, Report)]
    return report


# What it refuses


async def test_a_directory_that_does_not_exist_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(CommandError, match="There is no directory"):
        await run_demo(tmp_path / "nowhere", url, console=paper(), pace=0)


async def test_a_file_is_no_directory(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(CommandError, match="is a file"):
        await run_demo(tmp_path / "file", url, console=paper(), pace=0)


async def test_a_log_in_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="in memory"):
        await run_demo(tmp_path, "sqlite://", console=paper(), pace=0)


# What it leaves behind


async def test_a_bridge_that_ends_by_itself_is_started_again_three_times(url: str) -> None:
    console = paper()
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("never said a word")
        command = [sys.executable, "-c", "raise SystemExit('no bridge today')"]
        with Screen(console) as screen, pytest.raises(BridgeDownError) as caught:
            await Scene(callosum, dialogue, screen, command).play()

    assert caught.value.reason == "no bridge today"
    assert written(console).count("ended by itself: no bridge today") == MOST_CRASHES


class Ringing(StringIO):
    """Tells when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


async def test_cancelling_the_demo_ends_its_bridge(tree: Path, url: str) -> None:
    out = Ringing()
    demo = asyncio.create_task(run_demo(tree, url, console=Console(file=out, width=100), pace=1))
    await out.written.wait()
    demo.cancel()
    with pytest.raises(asyncio.CancelledError):
        await demo

    bridge = int(out.getvalue().split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(bridge, 0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_no_process_outlives_the_demo(tree: Path, url: str, ending: signal.Signals) -> None:
    demo = start("-u", "-c", PLAY, str(tree), url)
    with demo:
        bridge = pid_in(demo)
        with watched(bridge) as bridges_end:
            demo.send_signal(ending)
            demo.communicate(timeout=20)
            assert select.select([bridges_end], [], [], 20)[0], "the bridge's process goes on"

    assert asyncio.run(last_said(url)) is not Report, "it ended before its work was done"


PLAY = """
import asyncio, sys
from pathlib import Path
from rich.console import Console
from interface.demo.ending import command_name
from interface.demo.scene import run_demo
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
        [dialogue] = {recorded.dialogue async for recorded in callosum.replay() if recorded.dialogue is not None}
        said = [said_in(message.payload) async for message in callosum.transcript(dialogue)]
    return type(said[-1])
