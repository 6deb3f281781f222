"""The demo: a planner surveys a directory over a bridge whose process is killed half way, and nothing is lost.

This process only reads the log: it shows the conversation as it is recorded, kills the process that holds the
bridge (`interface.demo.agents`) once, starts it again, and at the end looks up in the log what became of every
message that the bridge had acknowledged.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from rich.console import Console

from application.callosum import CorpusCallosum
from application.reading import messages_of
from application.settings import IN_MEMORY
from domain.dialogue import Dialogue
from domain.errors import CallosumError
from interface.demo.agents import Acknowledgement
from interface.demo.audit import audit
from interface.demo.bridge import PROJECT, BridgeProcess, agents_command, bridge_process
from interface.demo.ending import Evidence, Kill, show_ending
from interface.demo.screen import Screen
from interface.demo.survey import Plan, said_in
from interface.options import IN_CHECKOUT
from interface.session import CommandError
from interface.text import many, one_line, shortened

__all__ = ["PACE", "BridgeDownError", "DemoResult", "Scene", "run_demo"]

PACE: Final = 0.2
"""Seconds before everything that is said, so that a person can follow."""

MOST_CRASHES: Final = 3


class BridgeDownError(CallosumError):
    """The bridge's process ended by itself once more than it is started again.

    Attributes:
        reason: why, the last time.
    """

    def __init__(self, reason: str) -> None:
        times = MOST_CRASHES + 1
        super().__init__(f"The bridge's process ended by itself {times} times, the last time because: {reason}")
        self.reason = reason


class DemoResult(msgspec.Struct, frozen=True):
    """How it ended.

    Attributes:
        url: the log, which stays.
        kills: one, unless the dialogue was over before.
        evidence: None when the bridge's process could not be kept up.
    """

    dialogue: UUID
    url: str
    kills: list[Kill]
    evidence: Evidence | None

    @property
    def exit_status(self) -> int:
        """0 when nothing is lost, repeated or left open and the log is as it was written, else 1."""
        return 0 if self.evidence is not None and self.evidence.passed else 1


class Scene:
    """The conversation from its beginning to its end, with a kill in between."""

    def __init__(
        self,
        callosum: CorpusCallosum,
        dialogue: UUID,
        screen: Screen,
        command: Sequence[str],
        *,
        kill_after: int | None = None,
        rest: float = 0.0,
    ) -> None:
        """Prepare it.

        Args:
            callosum: reads the log that the bridge writes.
            dialogue: open and without messages.
            screen: where to show it.
            command: starts the bridge's process.
            kill_after: acknowledgements before the kill; None: about half of what the planner plans.
            rest: seconds between the kill and the new start.
        """
        self.acknowledged: list[Acknowledgement] = []
        self.kills: list[Kill] = []
        self._callosum = callosum
        self._dialogue = dialogue
        self._screen = screen
        self._command = command
        self._kill_after = kill_after
        self._rest = rest
        self._process: BridgeProcess | None = None
        self._lives = 0
        self._shown = 0
        self._grown = asyncio.Condition()

    async def play(self) -> None:
        """Until the dialogue is closed.

        Raises:
            BridgeDownError: the process ended by itself too often.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self._keep_up())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the other task was cancelled for it

    async def _watch(self) -> None:
        async for recorded in self._callosum.follow():
            if recorded.dialogue != self._dialogue:
                continue
            if isinstance(recorded.event, Dialogue.Closed):
                return
            if isinstance(recorded.event, Dialogue.Conveyed):
                for message in messages_of(recorded):
                    self._screen.said(message)
                    said = said_in(message.payload)
                    if isinstance(said, Plan) and self._kill_after is None:
                        self._kill_after = said.half
                    await self._note_shown(message.sequence)

    async def _note_shown(self, sequence: int) -> None:
        self._kill_when_due()
        async with self._grown:
            self._shown = sequence
            self._grown.notify_all()

    def _kill_when_due(self) -> None:
        due = self._kill_after is not None and len(self.acknowledged) >= self._kill_after
        if due and not self.kills and self._process is not None and not self._process.killed:
            self._process.kill()

    async def _keep_up(self) -> None:
        crashes = 0
        while True:
            async with bridge_process(self._command) as process:
                reason = await self._listen(process)
            if process.killed:
                await self._tell_of_the_kill(process.pid)
            elif reason is None:
                self._screen.notice(f"The dialogue is closed; process {process.pid} ended.", bridge="closed")
                return
            else:
                crashes += 1
                if crashes > MOST_CRASHES:
                    raise BridgeDownError(reason)
                self._screen.notice(f"Process {process.pid} ended by itself: {reason}", bridge="down")

    async def _listen(self, process: BridgeProcess) -> str | None:
        """Take acknowledgements until it ends; why it ended."""
        self._lives += 1
        did = "holds the bridge" if self._lives == 1 else "holds the bridge now, reads the log and goes on"
        self._screen.notice(f"Process {process.pid} {did}.", bridge=f"held by process {process.pid}")
        self._process = process
        try:
            async for acknowledgement in process.acknowledgements():
                self.acknowledged.append(acknowledgement)
                self._kill_when_due()
            return await process.ended()
        finally:
            self._process = None

    async def _tell_of_the_kill(self, pid: int) -> None:
        said = [message async for message in self._callosum.transcript(self._dialogue)]
        async with self._grown:
            await self._grown.wait_for(lambda: self._shown >= len(said))
        self.kills.append(Kill(pid, len(said)))
        waiting = many(len(audit(said, ()).unanswered), "question")
        self._screen.notice(
            f"Process {pid} was killed (SIGKILL) after message {len(said)}, with {waiting} unanswered.",
            style="bold red",
            bridge=f"down, process {pid} was killed",
        )
        await asyncio.sleep(self._rest)


async def run_demo(
    directory: Path | None,
    url: str | None,
    *,
    console: Console,
    pace: float = PACE,
    kill_after: int | None = None,
) -> DemoResult:
    """Play the scene and show how it ended.

    Cancelling it ends the bridge's process too.

    Args:
        directory: what to survey; None: this project or, where that is only installed, the current directory.
        url: the log, in a file; None: a new one in a temporary directory, which stays.
        console: where to show it; what is no terminal gets plain lines.
        pace: seconds before everything that is said.
        kill_after: see `Scene`.

    Raises:
        CommandError: there is no such directory, or the log is not in a file.
    """
    root = _checked_directory(directory or (PROJECT if IN_CHECKOUT else Path()))
    log = _checked_url(url or f"sqlite:///{tempfile.mkdtemp(prefix='callosum-demo-')}/demo.db")
    async with CorpusCallosum.open(log) as callosum:
        dialogue = await callosum.open_dialogue(f"a survey of {shortened(one_line(str(root)))}")
        command = agents_command(log, dialogue, root, pace)
        with Screen(console) as screen:
            scene = Scene(callosum, dialogue, screen, command, kill_after=kill_after, rest=10 * pace)
            played = await _played(scene, screen)
        evidence = await _evidence(callosum, dialogue, scene.acknowledged) if played else None
    if evidence is not None:
        show_ending(console, dialogue, evidence, scene.kills, url=log)
    return DemoResult(dialogue, log, scene.kills, evidence)


async def _played(scene: Scene, screen: Screen) -> bool:
    try:
        await scene.play()
    except BridgeDownError as error:
        screen.notice(str(error), style="bold red")
        return False
    return True


async def _evidence(callosum: CorpusCallosum, dialogue: UUID, acknowledged: Sequence[Acknowledgement]) -> Evidence:
    transcript = [message async for message in callosum.transcript(dialogue)]
    return Evidence(
        transcript=transcript,
        audit=audit(transcript, acknowledged),
        verification=await callosum.verify(),
        metrics=await callosum.consciousness_metrics(dialogue),
    )


def _checked_directory(directory: Path) -> Path:
    if not directory.exists():
        raise CommandError(f"There is no directory {directory}.")
    if not directory.is_dir():
        raise CommandError(f"{directory} is a file; the demo surveys a directory.")
    return directory.resolve()


def _checked_url(url: str) -> str:
    if url == IN_MEMORY:
        raise CommandError(
            "A log in memory is seen by one process only; the demo has two and needs one in a file."
        )
    return url
