"""Asking, and waiting for the answer.

The answer is looked for in the log, not taken from the inbox: `Dialogue.open_questions` keeps it from everybody
else. So it is found whenever it comes, also by a process that asks the same again after a crash.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from application.errors import CallosumClosedError
from application.log import DialogueLog
from application.reading import Reader, RecordedMessage, messages_of
from application.round import Receipt
from domain.dialogue import Dialogue
from domain.errors import ReplyTimeoutError

__all__ = ["Answers"]


class _Watch:
    """The first replies that were seen in one dialogue, by what they reply to."""

    def __init__(self) -> None:
        self._seen: dict[int, RecordedMessage] = {}
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    def note(self, message: RecordedMessage) -> None:
        if message.in_reply_to is not None:
            self._seen.setdefault(message.in_reply_to, message)
            self._changed.set()

    def end(self, error: BaseException) -> None:
        self._error = error
        self._changed.set()

    async def answer(self, sequence: int) -> RecordedMessage:
        while (found := self._seen.get(sequence)) is None:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return found


class Answers:
    """Who waits for an answer in this process. While anybody does, one task follows the log for all of them."""

    def __init__(self, log: DialogueLog, reader: Reader) -> None:
        self._log = log
        self._reader = reader
        self._watches: dict[UUID, list[_Watch]] = {}
        self._following: asyncio.Task[None] | None = None
        self._since: asyncio.Future[int] | None = None

    async def ask(self, dialogue: UUID, say: Callable[[], Awaitable[Receipt]], within: float) -> RecordedMessage:
        """Say something, and wait for the answer.

        Raises:
            ReplyTimeoutError: none came within so many seconds from when it was said.
        """
        async with self._watching(dialogue) as (watch, since):
            said = await say()
            try:
                async with asyncio.timeout(within):
                    if said.position <= since:  # said before, so it may be answered already
                        async for message in self._reader.transcript(dialogue):
                            watch.note(message)
                    return await watch.answer(said.sequence)
            except TimeoutError:
                raise ReplyTimeoutError(dialogue, said.sequence, within) from None

    @asynccontextmanager
    async def _watching(self, dialogue: UUID) -> AsyncIterator[tuple[_Watch, int]]:
        """A watch, and the position beyond which it sees everything."""
        watch = _Watch()
        self._watches.setdefault(dialogue, []).append(watch)
        try:
            if self._following is None:
                self._since = asyncio.get_running_loop().create_future()
                self._following = asyncio.create_task(self._follow(self._since), name="callosum-answers")
            assert self._since is not None, "made together"
            yield watch, await asyncio.shield(self._since)
        finally:
            self._watches[dialogue].remove(watch)
            if not self._watches[dialogue]:
                del self._watches[dialogue]
            if not self._watches and self._following is not None:
                self._following.cancel()
                self._following = None

    async def _follow(self, since: asyncio.Future[int]) -> None:
        try:
            head = await self._reader.call(self._log.head)
            since.set_result(head)
            async for recorded in self._reader.follow(head):
                watches = self._watches.get(recorded.dialogue) if recorded.dialogue is not None else None
                if watches and isinstance(recorded.event, Dialogue.Conveyed):
                    for message in messages_of(recorded):
                        for watch in watches:
                            watch.note(message)
            self._end(since, CallosumClosedError())
        except Exception as error:  # noqa: BLE001  # a task's edge: everybody who waits hears of it
            self._end(since, error)

    def _end(self, since: asyncio.Future[int], error: Exception) -> None:
        if not since.done():
            since.set_exception(error)
        for watches in self._watches.values():
            for watch in watches:
                watch.end(error)
        self._following = None
