"""The process of the demo that holds the bridge, seen from outside: started, listened to, killed."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from interface.demo.agents import Acknowledgement

__all__ = ["PROJECT", "BridgeProcess", "agents_command", "bridge_process"]

PROJECT: Final = Path(__file__).resolve().parents[2]

SILENCE: Final = 30.0
"""Seconds without an acknowledgement after which the process counts as hung."""

_decoder = msgspec.json.Decoder(Acknowledgement)


def agents_command(url: str, dialogue: UUID, directory: Path, pace: float) -> list[str]:
    # -P: a package of our names in the current directory must not take the place of ours.
    agents = [sys.executable, "-P", "-m", "interface.demo.agents"]
    return [*agents, "--url", url, "--dialogue", str(dialogue), "--directory", str(directory), "--pace", str(pace)]


class BridgeProcess:
    """One life of it; see `bridge_process`."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None, "it was made with pipes"
        assert process.stderr is not None, "likewise"
        self._process = process
        self._stdout = process.stdout
        self._complaints = asyncio.create_task(process.stderr.read())
        self._hung = False
        self.killed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    async def acknowledgements(self) -> AsyncIterator[Acknowledgement]:
        """What the bridge says it has accepted, until the process ends; one that hangs is ended."""
        try:
            while line := await asyncio.wait_for(self._stdout.readline(), SILENCE):
                if line.endswith(b"\n"):  # a line that a kill has cut off says nothing
                    yield _decoder.decode(line)
        except TimeoutError:
            self._hung = True
            self._process.kill()

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self._process.returncode is None:
            self.killed = True
            self._process.kill()

    async def ended(self) -> str | None:
        """Wait for its end: why it ended, or None when its work was done."""
        status = await self._process.wait()
        complaints = (await self._complaints).decode(errors="replace").strip().splitlines()
        if status == 0:
            return None
        if self._hung:
            return f"it said nothing for {SILENCE:.0f} s"
        return complaints[-1] if complaints else f"it ended with status {status}"

    async def clear(self) -> None:
        """Leave nothing of it behind."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._complaints


@asynccontextmanager
async def bridge_process(command: Sequence[str]) -> AsyncIterator[BridgeProcess]:
    """Start the process; however the block ends, it is gone afterwards."""
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = BridgeProcess(
        await asyncio.create_subprocess_exec(*command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    )
    try:
        yield process
    finally:
        await process.clear()
