"""The log message by message, each with the measures of its dialogue as they were right after it."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from application.log import DialogueLog
from application.reading import Reader, RecordedMessage, messages_of
from domain.errors import DialogueNotFoundError
from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from projections.fold import Recorded
from projections.steps import Measured, Steps

__all__ = ["Replayed", "steps"]

_PAGE: Final = 64


class Replayed(msgspec.Struct, frozen=True):
    """A message, and its dialogue right after it."""

    message: RecordedMessage
    measures: Measured


async def steps(
    log: DialogueLog,
    reader: Reader,
    dialogue: UUID | None,
    after: int,
    last: int,
    *,
    settings: EmergenceSettings,
    patterns: PatternSettings,
) -> AsyncIterator[Replayed]:
    """The steps of the messages at positions after + 1 to `last`, of one dialogue or of all.

    What goes before is read, too: the measures depend on it.

    Raises:
        DialogueNotFoundError: there is no such dialogue.
    """
    fold = Steps(settings, patterns)
    seen: Recorded | None = None
    while events := await reader.call(_page, log, dialogue, seen, last):
        for event in events:
            if event.position > last:
                return
            for step in await reader.call(_steps, fold, event) if event.dialogue is not None else ():
                if event.position > after:
                    yield step
        seen = events[-1]
    if seen is None and dialogue is not None:
        raise DialogueNotFoundError(dialogue)


def _page(log: DialogueLog, dialogue: UUID | None, seen: Recorded | None, last: int) -> Sequence[Recorded]:
    if dialogue is not None:
        version = 0 if seen is None else seen.event.originator_version
        return log.stream(dialogue, after=version, limit=_PAGE)
    position, chain = (0, None) if seen is None else (seen.position, seen.chain)
    return log.read(after=position, limit=_PAGE, stop=last, chain=chain)


def _steps(fold: Steps, event: Recorded) -> list[Replayed]:
    measured = list(fold.add(event))
    messages = messages_of(event) if measured else []
    return [Replayed(*both) for both in zip(messages, measured, strict=True)]
