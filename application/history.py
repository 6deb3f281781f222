"""What can be read of the log, and how history gets into it."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from application.exporting import Format, export
from application.importing import ImportReport, import_transcripts
from application.reading import RecordedMessage
from application.restoring import RestoreReport, import_log
from application.service import Service
from application.settings import emergence, patterns
from application.steps import Replayed, steps
from application.validation import check_id, member
from application.verification import Verification, verify
from domain.errors import InvalidCommandError
from domain.tract import Tract
from projections.fold import Recorded

__all__ = ["History"]


class History(Service):
    """The part of `CorpusCallosum` that reads the log, carries it elsewhere, and takes history in."""

    async def import_transcripts(
        self, *paths: str | Path | BinaryIO, progress: Callable[[ImportReport], None] = lambda _: None
    ) -> ImportReport:
        """Record the dialogues of transcript files, each whole or not at all, and none twice.

        Args:
            paths: of JSON Lines or JSON files in chat format; or the files, opened to be read as bytes.
            progress: called now and then with the report so far.

        Raises:
            OSError: a file cannot be read; what was imported before it stays.
        """
        parts, files = self._open, [Path(path) if isinstance(path, str) else path for path in paths]
        return await import_transcripts(parts.log, parts.writer, parts.reader, files, progress)

    async def import_log(
        self, file: str | Path | BinaryIO, progress: Callable[[RestoreReport], None] = lambda _: None
    ) -> RestoreReport:
        """Add the events of an export (`export`, in either form) to the log: history, which is not delivered.

        They keep ids, versions and times. What the log has already is passed over. It stops at the first line that
        is no event of an export, has another content than the log, or lacks what goes before; what was stored
        until then stays. Nobody else should append meanwhile. Gates are set as the events tell. Cancelled, it ends
        after the batch that is under way.

        A service that watches the gates records what they decide from then on, as when a circuit is tried again: a
        later export of the same log can be imported only where none does (`Settings.watch_gates`).

        Args:
            file: its path, or the file, opened to be read as bytes.
            progress: called now and then, from another thread, with the report so far.

        Raises:
            CallosumClosedError: the service was closed meanwhile, after the batch that was under way.
            InvalidCommandError: the service was opened with gate settings, which the export's would contradict.
            OSError: the file cannot be read; what was stored before stays.
        """
        parts = self._open
        if any(map(self._settings.gate_of, Tract)):
            raise InvalidCommandError(
                "service",
                "was opened with gate settings, and an export brings its own; to import it, open a service with"
                " `Settings(…, capacity=None, gate={})`",
            )
        async with parts.gates.held():
            return await import_log(parts.log, parts.reader, file, progress)

    async def transcript(self, dialogue: UUID) -> AsyncIterator[RecordedMessage]:
        """What was said in a dialogue up to now, in order. Raises DialogueNotFoundError."""
        check_id(dialogue)
        async for message in self._open.reader.transcript(dialogue):
            yield message

    async def follow(self, after: int | None = 0, *, chain: bytes | None = None) -> AsyncIterator[Recorded]:
        """Every event beyond position `after`, in order: history first, then live, until the service is closed.

        To resume, pass the position of the last event that was handled, and its chain, if it was kept: then it is
        certain that it still stands there. None: from now on. It outlasts a store that is away.

        Raises:
            LogLostError: the store came back without events that were seen here, or the entry at `after` has
                another chain; what follows is unknown.
            NotReachedError: the log ends before `after`; it may have been restored to an earlier state.
        """
        parts = self._open
        if after is None:
            after = await parts.reader.call(parts.log.head)
        async for event in parts.reader.follow(after, chain):
            yield event

    async def replay(
        self, start: int | datetime = 1, stop: int | datetime | None = None
    ) -> AsyncIterator[Recorded]:
        """The events of a range of positions or of times, both ends included; without `stop`, up to now.

        Times are the log's own (`at`), in whole milliseconds, and must have a time zone. Of a range that goes
        beyond the log it gives what there is, and of an inverted one nothing (see `check_range`).
        """
        reader = self._open.reader
        after, last = await reader.bounds(start, stop)
        async for event in reader.pages(after, last):
            yield event

    async def check_range(self, start: int | datetime = 1, stop: int | datetime | None = None) -> None:
        """Refuse a range (see `replay`) that nobody can mean, which may be a slip. Times may lie anywhere.

        Raises:
            InvalidCommandError: a position is beyond the log's end, or the range ends before it begins.
        """
        await self._open.reader.check_range(start, stop)

    async def steps(
        self, dialogue: UUID | None = None, *, start: int | datetime = 1, stop: int | datetime | None = None
    ) -> AsyncIterator[Replayed]:
        """The messages of a range (see `replay`), each with its dialogue's measures as they were right after it.

        They are folded as they are read, so that a step costs no query; what goes before the range is read, too.

        Args:
            dialogue: only its messages.
            start: the first position, or the first time.
            stop: the last one, included; None: what there is now.

        Raises:
            DialogueNotFoundError
        """
        if dialogue is not None:
            check_id(dialogue)
        parts = self._open
        after, last = await parts.reader.bounds(start, stop)
        settings, thresholds = emergence(self._settings), patterns(self._settings)
        async for step in steps(
            parts.log, parts.reader, dialogue, after, last, settings=settings, patterns=thresholds
        ):
            yield step

    async def export(
        self,
        form: Format = Format.JSONL,
        *,
        start: int | datetime = 1,
        stop: int | datetime | None = None,
        progress: Callable[[int, int], None] = lambda _position, _last: None,
    ) -> AsyncIterator[str]:
        """The events of the log, or of a range of it (see `replay`), as lines of JSON, without their ends.

        Args:
            form: our own plain form, or CloudEvents.
            start: the first position, or the first time.
            stop: the last one, included; None: what there is now.
            progress: called with the position of each line before it is given, and the last position.
        """
        reader = self._open.reader
        of = member(Format, form) or Format.JSONL
        after, last = await reader.bounds(start, stop)
        async for position, line in export(self._open.log, reader, after, last, of):
            progress(position, last)
            yield line

    async def verify(self, progress: Callable[[int, int], None] = lambda _position, _head: None) -> Verification:
        """Recompute every digest and link of the chain and read every event, up to the first problem.

        Args:
            progress: called now and then, from another thread, with (position, head).
        """
        return await self._open.reader.call(verify, self._open.log, progress)
