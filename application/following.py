"""Findings as they come: when the read model has moved, and when a dialogue stalls, which only the clock tells."""

from collections.abc import AsyncIterator
from typing import Final

from eventsourcing.persistence import OperationalError
from sqlalchemy import Connection

from application.errors import CallosumClosedError
from application.log import DialogueLog
from application.read_side import ReadSide
from application.reading import Reader
from projections.answers import FindingSummary
from projections.consciousness import Consciousness
from projections.findings import Judged, News, Wanted, news
from projections.model import read_checkpoint

__all__ = ["FindingsFollower"]

_MOST: Final = 2**63 - 1
_SOONEST: Final = 0.001
"""Seconds: clocks tell milliseconds, so less would only be asked again."""


class FindingsFollower:
    """Follows findings from one position on, once. It ends with the service, and outlasts a store that is away."""

    def __init__(self, log: DialogueLog, reader: Reader, read_side: ReadSide, wanted: Wanted) -> None:
        self._log = log
        self._reader = reader
        self._read_side = read_side
        self._wanted = wanted
        self._epoch = self._version = ""
        self._after = 0
        self._told = 0
        self._judged = Judged(0, 0)
        self._chain = b""
        self._stalls_at: int | None = None
        self._waits = False

    async def follow(self, after: int | None) -> AsyncIterator[FindingSummary]:
        """See `CorpusCallosum.follow_findings`."""
        try:
            await self._begin(after)
            while True:
                for finding in await self._next():
                    yield finding
        except CallosumClosedError:
            return

    async def _begin(self, after: int | None) -> None:
        self._epoch = await self._reader.call(lambda: self._log.epoch)
        if after is None:
            self._told = _MOST
            await self._look()
            self._told = self._judged.position
        else:
            await self._reader.chain_after(after)
            self._told = after
        self._after = self._told

    async def _next(self) -> list[FindingSummary]:
        failures = 0
        while True:
            try:
                return await self._look()
            except OperationalError as error:
                await self._reader.outlast(error, failures, self._epoch)
                failures += 1

    async def _look(self) -> list[FindingSummary]:
        """Those there are, at first; then wait for what may bring others."""
        at_least: int | None = None
        if self._waits:
            at_least = self._judged.position
            at_least += await self._read_side.beyond(Consciousness.NAME, at_least, self._chain, self._patience())
        judged, chain, told = await self._read_side.read(Consciousness.NAME, self._ask, at_least)
        self._told, self._waits = told.reached, told.complete
        if told.complete:
            self._judged, self._chain, self._stalls_at = judged, chain, told.stalls_at
        return told.findings

    def _patience(self) -> float | None:
        """Seconds until the next dialogue will have stalled; None: for ever."""
        if self._stalls_at is None:
            return None
        return max(_SOONEST, (self._stalls_at - self._read_side.moment(None)) / 1000)

    def _ask(self, connection: Connection, position: int) -> tuple[Judged, bytes, News]:
        checkpoint = read_checkpoint(connection)
        assert checkpoint is not None, "there is a read model"
        if checkpoint.version != self._version and self._version:
            self._told, self._judged = self._after, Judged(0, 0)  # it was folded otherwise before
        self._version = checkpoint.version
        judged = Judged(position, self._read_side.moment(None))
        seconds = self._read_side.stall_seconds
        told = news(connection, judged, self._wanted, seconds, after=self._told, before=self._judged)
        return judged, checkpoint.chain, told
