"""Recorded transcripts into the log: every dialogue one atomic append, and never twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from application.commands import Open
from application.commit import MOST_BYTES, Writer
from application.log import DialogueLog
from application.reading import Reader
from application.transcripts import BrokenLine, Transcript, read_transcripts
from domain.dialogue import Dialogue
from domain.errors import CallosumError, DialogueExistsError
from domain.message import encoded_size

__all__ = ["ImportReport", "import_transcripts"]

_AT_ONCE: Final = 64


class ImportReport(msgspec.Struct):
    """What came of an import.

    Attributes:
        dialogues, messages: recorded by this import.
        present: dialogues that were in the log already.
        broken: lines that could not be read, with reasons; everything else was recorded.
        position: of the last event recorded, 0 when there was none.
    """

    dialogues: int = 0
    messages: int = 0
    present: int = 0
    broken: list[BrokenLine] = msgspec.field(default_factory=list)
    position: int = 0


class _Import:
    def __init__(self, log: DialogueLog, writer: Writer, reader: Reader) -> None:
        self._log = log
        self._writer = writer
        self._reader = reader
        self.report = ImportReport()

    async def file(self, path: Path | BinaryIO, progress: Callable[[ImportReport], None]) -> None:
        lines = read_transcripts(path)
        while batch := await self._reader.call(_take, lines):
            await asyncio.gather(*(self._line(line, size) for line, size in batch))
            progress(self.report)

    async def _line(self, line: Transcript | BrokenLine, size: int) -> None:
        if isinstance(line, BrokenLine):
            self.report.broken.append(line)
            return
        try:
            position = await self._record(line, size)
        except DialogueExistsError:
            self.report.present += 1
        except CallosumError as error:
            self.report.broken.append(BrokenLine(file=line.file, line=line.line, reason=str(error)))
        else:
            self.report.dialogues += 1
            self.report.messages += len(line.messages)
            self.report.position = max(self.report.position, position)

    def _record(self, line: Transcript, size: int) -> Awaitable[int]:
        create = partial(_recorded, line)
        return self._writer.submit(Open(line.id, create, self._log.exists, size))


def _recorded(line: Transcript, now: datetime) -> Dialogue:
    return Dialogue.record(line.id, line.subject, line.attributes, line.messages, now=now)


def _take(lines: Iterator[Transcript | BrokenLine]) -> list[tuple[Transcript | BrokenLine, int]]:
    """The next lines with their sizes in bytes: as many as are worth one append, and never much more than that."""
    taken: list[tuple[Transcript | BrokenLine, int]] = []
    held = 0
    for line in islice(lines, _AT_ONCE):
        messages = line.messages if isinstance(line, Transcript) else []
        size = sum(encoded_size(message.payload) for message in messages)
        taken.append((line, size))
        held += size
        if held > MOST_BYTES:
            break
    return taken


async def import_transcripts(
    log: DialogueLog,
    writer: Writer,
    reader: Reader,
    paths: Sequence[Path | BinaryIO],
    progress: Callable[[ImportReport], None],
) -> ImportReport:
    """Record the dialogues of these files, in order.

    Raises:
        OSError: a file cannot be opened; those before it are recorded.
    """
    task = _Import(log, writer, reader)
    for path in paths:
        await task.file(path, progress)
    return task.report
