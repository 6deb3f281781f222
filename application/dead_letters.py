"""Dead letters: what was given up and why, and the way back or out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from application.commands import Discard, Redrive
from application.commit import Writer
from application.inbox import DEAD_LETTERS, Buried, Settlement, Then
from application.log import DialogueLog
from application.reading import Reader, RecordedMessage, messages_at
from application.validation import check_id, check_text, member
from domain.consumer import Consumer, Result
from domain.errors import DeadLetterGoneError, InvalidCommandError
from domain.tract import Tract
from projections.fold import Recorded

__all__ = ["DeadLetter", "DeadLetters"]

_CHUNK: Final = 100
"""Dead letters that are looked at, and settled, together."""

_PAGE: Final = 64


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was given up.

    Attributes:
        attempts: how often it was delivered since it was sent, or last redriven.
        consumer: who gave it up.
        error: why.
        at: when, by the log's time, in milliseconds since 1970.
        slot: its place in the inbox.
    """

    tract: Tract
    message: RecordedMessage
    attempts: int
    consumer: str
    error: str
    at: int
    slot: int


@dataclass(frozen=True)
class _Which:
    """The dead letters of a tract, of a dialogue, of one sequence in it; None: of any."""

    tract: Tract | None
    dialogue: UUID | None
    sequence: int | None

    def __post_init__(self) -> None:
        if self.dialogue is not None:
            check_id(self.dialogue)
        elif self.sequence is not None:
            raise InvalidCommandError("sequence", "names a message only together with its dialogue")

    def has(self, letter: DeadLetter) -> bool:
        message = letter.message
        return self.dialogue in {None, message.dialogue} and self.sequence in {None, message.sequence}


class DeadLetters:
    """Those of a log, by tract and place.

    Every call is about those that match all that is given: a `tract`, a `dialogue`, a `sequence` in it; without
    any, about all.
    """

    def __init__(self, log: DialogueLog, writer: Writer, reader: Reader) -> None:
        self._log = log
        self._writer = writer
        self._reader = reader

    async def find(
        self,
        *,
        tract: Tract | None = None,
        dialogue: UUID | None = None,
        sequence: int | None = None,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """At most `limit` messages that were given up and neither redriven nor discarded since."""
        found: list[DeadLetter] = []
        async for page in self._pages(_Which(member(Tract, tract), dialogue, sequence)):
            found += page
            if len(found) >= limit:
                break
        return found[:limit]

    async def redrive(
        self,
        *,
        tract: Tract | None = None,
        dialogue: UUID | None = None,
        sequence: int | None = None,
        reason: str = "redriven",
        progress: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Have them delivered again, as if for the first time, in chunks; how many were.

        The `reason`, 1 to 2000 characters, is recorded. `progress` is called after each chunk with how many were
        redriven by then.

        Raises:
            BackpressureError: there is no room for more of them; those before stay redriven.
        """
        which = _Which(member(Tract, tract), dialogue, sequence)
        return await self._settle(Redrive, Then.AGAIN, which, reason, progress)

    async def discard(
        self,
        *,
        reason: str,
        tract: Tract | None = None,
        dialogue: UUID | None = None,
        sequence: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Give them up for good, in chunks; how many were. Otherwise like `redrive`."""
        which = _Which(member(Tract, tract), dialogue, sequence)
        return await self._settle(Discard, Then.DONE, which, reason, progress)

    async def _pages(self, which: _Which) -> AsyncIterator[list[DeadLetter]]:
        for tract in Tract if which.tract is None else (which.tract,):
            after = 0
            while letters := await self._reader.call(_letters, self._log, tract, after):
                after = letters[-1].slot
                yield [letter for letter in letters if which.has(letter)]

    async def _settle(
        self,
        command: type[Redrive] | type[Discard],
        then: Then,
        which: _Which,
        reason: str,
        progress: Callable[[int], None],
    ) -> int:
        """How many were settled. A page is one append as a rule; each letter is looked at once."""
        check_text("reason", reason)
        count = 0
        async for page in self._pages(which):
            of: dict[UUID, list[DeadLetter]] = {}
            for letter in page:
                of.setdefault(letter.message.dialogue, []).append(letter)
            settled = await asyncio.gather(
                *(self._settle_some(command, then, letters, reason) for letters in of.values()),
                return_exceptions=True,
            )
            count += sum(number for number in settled if isinstance(number, int))
            progress(count)
            for failure in settled:
                if isinstance(failure, BaseException):
                    raise failure
        return count

    async def _settle_some(
        self, command: type[Redrive] | type[Discard], then: Then, letters: Sequence[DeadLetter], reason: str
    ) -> int:
        """Of one dialogue. What another has settled meanwhile is passed over."""
        dialogue = letters[0].message.dialogue
        settlements = {
            letter.message.sequence: Settlement(
                letter.tract, DEAD_LETTERS, letter.slot, letter.attempts, then, line=dialogue.hex
            )
            for letter in letters
        }
        try:
            await self._writer.submit(command(dialogue, settlements, reason))
        except DeadLetterGoneError:
            if len(letters) == 1:
                return 0
            return sum([await self._settle_some(command, then, [letter], reason) for letter in letters])
        return len(letters)


def _letters(log: DialogueLog, tract: Tract, after: int) -> list[DeadLetter]:
    buried = log.recorder.inbox.dead(tract, after=after, limit=_CHUNK)
    messages = messages_at(log, [one.slot for one in buried])
    return [_letter(log, tract, one, messages[one.slot]) for one in buried]


def _letter(log: DialogueLog, tract: Tract, buried: Buried, message: RecordedMessage) -> DeadLetter:
    """The outcome that made it one stands in the append that did."""
    place = (message.dialogue, message.sequence)
    for recorded in _events_from(log, buried.near):
        for outcome in recorded.event.outcomes if isinstance(recorded.event, Consumer.Settled) else ():
            if (outcome.dialogue, outcome.sequence) == place and outcome.result is Result.DEAD_LETTERED:
                name, error = log.consumer_name(recorded.event.originator_id), outcome.error or ""
                return DeadLetter(tract, message, buried.attempt, name, error, recorded.at, buried.slot)
    raise AssertionError(f"the log does not tell of the end of message {place}, as the inbox does")


def _events_from(log: DialogueLog, position: int) -> Iterator[Recorded]:
    after = position - 1
    while page := log.read(after=after, limit=_PAGE):
        yield from page
        after = page[-1].position
