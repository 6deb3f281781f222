"""What the service is made of: put together when it is opened, taken apart, the last first, when it is closed."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Self

from eventsourcing.persistence import InfrastructureFactoryError
from eventsourcing.utils import TopicError

from application.admission import Admission
from application.asking import Answers
from application.bells import Bells
from application.commit import Writer
from application.dead_letters import DeadLetters
from application.errors import StoreSettingsError
from application.gates import Gates
from application.inbox import Inbox, NotEmptyError
from application.log import DialogueLog
from application.projections import Projections
from application.read_side import ReadSide
from application.reading import Reader
from application.settings import Settings, emergence, patterns, store_environment, views_path
from application.shedding import Shedding
from domain.gate_settings import USUAL_CAPACITY
from domain.tract import Tract
from projections.errors import UnknownProjectionError
from projections.models import ReadModels
from projections.registry import projections

__all__ = ["Parts"]


class Parts:
    """All of it works until `close`. Made on the event loop that it works on."""

    def __init__(self, log: DialogueLog, models: ReadModels, settings: Settings) -> None:
        self.log = log
        self.reader = Reader(log)
        makers = projections(emergence(settings), patterns(settings))
        for name in settings.on_error:
            if name not in makers:
                raise UnknownProjectionError(name, list(makers))
        self.read_side = ReadSide(
            log,
            self.reader,
            models,
            makers=makers,
            on_error=settings.policy_of if settings.project else None,
            patience=settings.fold_timeout,
            stall_seconds=patterns(settings).stall_seconds,
        )
        self.projections = Projections(log, self.reader, self.read_side, settings)
        self.bells = Bells(log.recorder.inbox)
        self.writer = Writer(log, self.bells, clock=lambda: datetime.now(UTC))
        self.gates = Gates(log, self.writer, self.reader, self.read_side)
        self.admission = Admission(
            self.writer,
            self.reader,
            log.recorder.inbox,
            Shedding(log, self.writer, self.reader),
            self.gates.settings_now,
        )
        self.answers = Answers(log, self.reader)
        self.dead_letters = DeadLetters(log, self.writer, self.reader)

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Open the log and the read models, and watch the gates, if so said.

        Raises:
            StoreSettingsError: the settings cannot be used.
            PersistenceError, ViewsFileError: a store cannot be opened.
        """
        try:
            log = await asyncio.to_thread(_open_log, settings)
        except (TopicError, InfrastructureFactoryError, NotEmptyError, ValueError) as error:
            raise StoreSettingsError(str(error)) from error
        try:
            models = await asyncio.to_thread(lambda: ReadModels(views_path(settings, log.epoch)))
            parts = cls(log, models, settings)
        except BaseException:  # cancelled too: nobody else will close it
            await asyncio.to_thread(log.close)
            raise
        try:
            await parts.gates.open(settings.gate_of, watches=settings.watch_gates)
        except BaseException:  # likewise
            await parts.close()
            raise
        return parts

    async def close(self) -> None:
        """Answer the commands that were taken, let everything that waits come to its end, and close the stores."""
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(asyncio.to_thread, self.log.close)
            last_first.push_async_callback(self.read_side.close)
            last_first.push_async_callback(self.reader.close)
            last_first.push_async_callback(self.read_side.end)
            last_first.callback(self.log.recorder.interrupt)
            last_first.callback(self.reader.end)
            last_first.push_async_callback(self.writer.close)
            last_first.push_async_callback(self.admission.close)
            last_first.push_async_callback(self.gates.close)
            last_first.push_async_callback(self.bells.end)


def _open_log(settings: Settings) -> DialogueLog:
    environment = store_environment(settings.url)
    environment["AGGREGATE_CACHE_MAXSIZE"] = str(settings.cached_dialogues)
    log = DialogueLog(environment)
    log.delivers = settings.deliver
    try:
        for tract in Tract:
            _configure(log.recorder.inbox, tract, settings)
    except BaseException:  # whatever it is, nobody else will close it
        log.close()
        raise
    return log


def _configure(inbox: Inbox, tract: Tract, settings: Settings) -> None:
    """Unless it is said, what was set stays: other processes have opened the log, too."""
    if inbox.level(tract).capacity is None:
        inbox.configure(tract, USUAL_CAPACITY)
    if settings.ordered is not None:
        inbox.order(tract, tract in settings.ordered)
