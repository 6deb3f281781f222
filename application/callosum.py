"""Corpus Callosum: the service through which two groups of agents talk, durably."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypedDict, Unpack, cast
from uuid import UUID, uuid4

import msgspec

from application.commands import Close, Convey, Open, Receipt
from application.commit import Writer
from application.errors import CallosumClosedError
from application.importing import ImportReport, import_transcripts
from application.log import DialogueLog
from application.reading import Reader, RecordedMessage
from application.settings import Settings, store_environment
from application.verification import Verification, verify
from domain.dialogue import Dialogue
from domain.errors import BatchTooLargeError, EmptyBatchError, InvalidCommandError, InvalidMessageError
from domain.message import Message, Payload, check_payload, encoded_size, well_formed
from domain.tract import Priority, Tract
from projections.fold import Recorded

__all__ = ["MOST_BATCH_BYTES", "MOST_BATCH_MESSAGES", "CorpusCallosum"]

MOST_BATCH_MESSAGES: Final = 1000
MOST_BATCH_BYTES: Final = 8 * 1024 * 1024
MOST_TEXT: Final = 2000
_AT_ONCE: Final = 50
_LARGE: Final = 256 * 1024


class MessageFields(TypedDict, total=False):
    """The fields of a `Message` that may be left out."""

    priority: Priority
    recipient: str | None
    in_reply_to: int | None
    correlation_id: str | None
    causation_id: str | None
    deadline: datetime | None
    headers: dict[str, str] | None
    idempotency_key: str | None


class CorpusCallosum:
    """The bridge between the internal and the external tract.

    Open it with ``async with CorpusCallosum.open(url) as callosum`` and use it on that event loop. A message is
    stored durably when `send` returns. Cancelling a command that is on its way does not undo it: the append may
    still happen; an `idempotency_key` makes it safe to send again. Closing answers every command that was taken,
    ends every `follow`, and refuses what comes later with `CallosumClosedError`.

    Errors: `domain.errors.CallosumError` for what is refused, `eventsourcing.persistence.PersistenceError` for
    what the store cannot do; in both cases nothing of that command is stored.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = False

    @classmethod
    def open(cls, url: str | None = None, *, settings: Settings | None = None) -> Self:
        """Name the store: a URL, or full settings; without either the environment's (`Settings`)."""
        if settings is None:
            settings = Settings() if url is None else Settings(url=url)
        return cls(settings)

    async def __aenter__(self) -> Self:
        environment = store_environment(self._settings.url)
        environment["AGGREGATE_CACHE_MAXSIZE"] = str(self._settings.cached_dialogues)
        self._log = await asyncio.to_thread(DialogueLog, environment)
        self._writer = Writer(self._log, clock=lambda: datetime.now(UTC))
        self._reader = Reader(self._log)
        self._opened = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Answer the commands that were taken, end every `follow`, and close the store. May be called again."""
        if self._opened:
            self._opened = False
            await self._writer.close()
            self._reader.end()
            self._log.recorder.interrupt()
            await self._reader.close()
            await asyncio.to_thread(self._log.close)

    # Commands

    async def open_dialogue(self, subject: str, *, attributes: dict[str, Payload] | None = None) -> UUID:
        """Begin a live dialogue.

        Args:
            subject: what it is about, 1 to 2000 characters.
            attributes: values to find and group it by; a payload.
        """
        _check_text("subject", subject)
        checked = _checked_attributes(attributes or {})
        dialogue = uuid4()

        def create(now: datetime) -> Dialogue:
            return Dialogue.open(dialogue, subject, checked, now=now)

        await self._open_writer.submit(Open(dialogue, create, lambda _: False, encoded_size(checked)))
        return dialogue

    async def send(
        self,
        dialogue: UUID,
        *,
        source: Tract,
        target: Tract,
        sender: str,
        payload: Payload = None,
        **fields: Unpack[MessageFields],
    ) -> Receipt:
        """Say one message; `Message` tells what each field may be. It is durable when this returns.

        Raises:
            InvalidMessageError: a field or the payload is outside its definition.
            DialogueNotFoundError, DialogueClosedError, DialogueRecordedError
            ReplyToUnknownMessageError: `in_reply_to` names no earlier message of the dialogue.
            IdempotencyConflictError: the key belongs to another message of the dialogue.
        """
        message = Message(source=source, target=target, sender=sender, payload=payload, **fields)
        return (await self.send_many(dialogue, [message]))[0]

    async def send_many(self, dialogue: UUID, messages: Sequence[Message]) -> list[Receipt]:
        """Say 1 to 1000 messages of at most 8 MiB together: all are stored, in order, or none is.

        Raises:
            EmptyBatchError, BatchTooLargeError: and all that `send` raises, for the first message at fault.
        """
        writer = self._open_writer
        _check_id(dialogue)
        if not messages:
            raise EmptyBatchError
        if len(messages) > MOST_BATCH_MESSAGES:
            raise _too_large(len(messages), 0)
        copies, size = await _well_formed(messages)
        return await writer.submit(Convey(dialogue, copies, size))

    async def close_dialogue(self, dialogue: UUID, reason: str) -> int:
        """Nothing more will be said in it. The position of the event; `reason` has 1 to 2000 characters."""
        _check_id(dialogue)
        _check_text("reason", reason)
        return await self._open_writer.submit(Close(dialogue, reason))

    async def import_transcripts(
        self, *paths: str | Path, progress: Callable[[ImportReport], None] = lambda _: None
    ) -> ImportReport:
        """Record the dialogues of transcript files, each whole or not at all, and none twice.

        Args:
            paths: JSON Lines or JSON files in chat format.
            progress: called now and then with the report so far.

        Raises:
            OSError: a file cannot be read; what was imported before it stays.
        """
        files = [Path(path) for path in paths]
        return await import_transcripts(self._log, self._open_writer, self._reader, files, progress)

    # The log

    async def transcript(self, dialogue: UUID) -> AsyncIterator[RecordedMessage]:
        """What was said in a dialogue up to now, in order. Raises DialogueNotFoundError."""
        _check_id(dialogue)
        async for message in self._open_reader.transcript(dialogue):
            yield message

    async def follow(self, after: int = 0) -> AsyncIterator[Recorded]:
        """Every event beyond position `after`, in order: history first, then live, until the service is closed.

        To resume, pass the position of the last event that was handled.
        """
        async for event in self._open_reader.follow(after):
            yield event

    async def replay(
        self, start: int | datetime = 1, stop: int | datetime | None = None
    ) -> AsyncIterator[Recorded]:
        """The events of a range of positions or of times, both ends included; without `stop`, up to now.

        Times are the log's own (`at`), in whole milliseconds, and must have a time zone.
        """
        reader = self._open_reader
        after, last = await reader.bounds(start, stop)
        async for event in reader.pages(after, last):
            yield event

    async def verify(self, progress: Callable[[int, int], None] = lambda _position, _head: None) -> Verification:
        """Recompute every digest and link of the chain and read every event, up to the first problem.

        Args:
            progress: called now and then, from another thread, with (position, head).
        """
        return await self._open_reader.call(verify, self._log, progress)

    @property
    def _open_writer(self) -> Writer:
        if not self._opened:
            raise CallosumClosedError
        return self._writer

    @property
    def _open_reader(self) -> Reader:
        if not self._opened:
            raise CallosumClosedError
        return self._reader


async def _well_formed(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """Copies as they will be stored, stamped, and their size in bytes."""
    copies: list[Message] = []
    size, now = 0, time.time_ns() // 1000
    for start in range(0, len(messages), _AT_ONCE):
        some, encoded = well_formed(messages[start : start + _AT_ONCE])
        size += encoded
        if size > MOST_BATCH_BYTES:
            raise _too_large(len(messages), size)
        for copy in some:
            if copy.sent_at is not None:
                raise InvalidMessageError("sent_at", "is stamped by the service and cannot be given")
            # The copy is ours alone; making another one only to set a field would double the cost of a message.
            msgspec.structs.force_setattr(copy, "sent_at", now)
        copies += some
        if encoded > _LARGE:
            await asyncio.sleep(0)  # a large batch must not hold up the loop
    return copies, size


def _too_large(messages: int, size: int) -> BatchTooLargeError:
    return BatchTooLargeError(messages, size, most_messages=MOST_BATCH_MESSAGES, most_bytes=MOST_BATCH_BYTES)


def _checked_attributes(attributes: object) -> dict[str, Payload]:
    """A copy that the caller's later changes cannot reach."""
    if not isinstance(attributes, dict):
        raise InvalidCommandError("attributes", f"must be a dict, not {type(attributes).__name__}")
    check_payload(attributes)
    return cast("dict[str, Payload]", msgspec.msgpack.decode(msgspec.msgpack.encode(attributes)))


def _check_text(argument: str, text: object) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= MOST_TEXT:
        raise InvalidCommandError(argument, f"must be text of 1 to {MOST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidCommandError(argument, "holds a lone surrogate, which UTF-8 cannot carry")


def _check_id(dialogue: object) -> None:
    if not isinstance(dialogue, UUID):
        raise InvalidCommandError("dialogue", f"must be a UUID, not {type(dialogue).__name__}")
