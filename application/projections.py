"""The read models as an operator handles them: how they fare, rebuilt, put back, paused, tried again."""

import asyncio
import time
from collections.abc import Callable, Sequence

from application.log import DialogueLog
from application.read_side import ReadSide
from application.reading import Reader
from application.rebuilding import rebuild_apart
from application.settings import Settings
from domain.errors import InvalidCommandError
from projections.errors import UnknownProjectionError
from projections.fold import version_of
from projections.model import Parked, discard
from projections.models import Generation
from projections.rebuild import Progress, Rebuilt, rebuild, rollback
from projections.status import ProjectionStatus, parked_events, status

__all__ = ["Projections"]


def _quiet(_progress: Progress) -> None:
    pass


class Projections:
    """Each method takes names of projections; the error for one that is not there names all that are."""

    def __init__(self, log: DialogueLog, reader: Reader, read_side: ReadSide, settings: Settings) -> None:
        self._log = log
        self._reader = reader
        self._read_side = read_side
        self._models = read_side.models
        self._settings = settings

    @property
    def names(self) -> list[str]:
        return list(self._read_side.makers)

    async def generations(self) -> list[Generation]:
        """All that there are, of other versions too; of each projection the youngest first."""
        found = await self._reader.call(self._models.generations)
        return sorted(found, key=lambda generation: generation.projection)

    async def status(self, *names: str) -> list[ProjectionStatus]:
        """Of these, or of all."""
        chosen = self._chosen(names)
        return await self._reader.call(lambda: [self._status(name) for name in chosen])

    def _status(self, name: str) -> ProjectionStatus:
        return status(
            self._models,
            self._read_side.makers[name](),
            head=self._log.head(),
            epoch=self._log.epoch,
            age=self._age,
        )

    def _age(self, position: int) -> float | None:
        events = self._log.page(after=position - 1, limit=1)
        return max(0.0, time.time() - events[0].at / 1000) if events else None

    async def rebuild(self, *names: str, progress: Callable[[Progress], None] = _quiet) -> list[Rebuilt]:
        """Build these read models, or all, anew beside those that serve, compare them, and let them serve.

        What they say meanwhile is current, and never older than what they said before. When it is cancelled or its
        process dies, the next one goes on from there.

        Args:
            names: of the projections.
            progress: called now and then.

        Raises:
            RebuildUnderWayError: somebody else rebuilds one of them.
            RebuildFailedError: it could not be done.
        """
        return await self._rebuild(names, swap=True, progress=progress)

    async def verify(self, *names: str, progress: Callable[[Progress], None] = _quiet) -> list[Rebuilt]:
        """The same, but only compare: the one that serves stays, and the rebuilt one is deleted."""
        return await self._rebuild(names, swap=False, progress=progress)

    async def _rebuild(
        self, names: Sequence[str], *, swap: bool, progress: Callable[[Progress], None]
    ) -> list[Rebuilt]:
        chosen = self._chosen(names)
        if self._models.path is not None and self._settings.on_disk:
            return await rebuild_apart(self._settings, chosen, swap=swap, progress=progress)
        # In memory there is nothing that another process could open.
        loop = asyncio.get_running_loop()

        def tell(told: Progress) -> None:
            loop.call_soon_threadsafe(progress, told)

        instances = [self._read_side.makers[name]() for name in chosen]
        return await self._reader.call(rebuild, self._log, self._models, instances, swap=swap, progress=tell)

    async def rollback(self, name: str) -> Generation:
        """Answer again from the generation before the one that serves; it is folded up to where that one is.

        Raises:
            NoEarlierGenerationError: there is none of this version.
            RebuildUnderWayError: somebody rebuilds it.
        """
        [name] = self._chosen([name])
        return await self._reader.call(rollback, self._log, self._models, self._read_side.makers[name]())

    async def pause(self, name: str) -> None:
        """Fold nothing more, in any process, until it is resumed. Queries that would wait for it fail."""
        [name] = self._chosen([name])
        await self._reader.call(self._models.order, name, paused=True)

    async def resume(self, name: str) -> None:
        """Go on, also with the event that it stands before."""
        [name] = self._chosen([name])
        await self._reader.call(self._models.order, name, paused=False)

    async def parked(self, name: str) -> list[Parked]:
        """The events that are left out, in position order."""
        [name] = self._chosen([name])
        return await self._reader.call(parked_events, self._models, self._read_side.makers[name]())

    async def retry(self, name: str, *, progress: Callable[[Progress], None] = _quiet) -> list[Rebuilt]:
        """Try again what could not be folded: the event that it stands before, and all that are parked.

        What is parked belongs between events that are folded already, so the read model is rebuilt. Without any
        parked event there is nothing to rebuild, and the list is empty.
        """
        await self.resume(name)
        if any(not event.discarded for event in await self.parked(name)):
            return await self.rebuild(name, progress=progress)
        return []

    async def discard(self, name: str, position: int) -> int:
        """Leave a parked event, and those behind it, out for good. Returns how many there are.

        Raises:
            InvalidCommandError: no event at this position is parked.
        """
        [name] = self._chosen([name])
        count = await self._reader.call(self._discard, name, position)
        if not count:
            raise InvalidCommandError("position to discard", f"is {position}, where no event is parked")
        return count

    def _discard(self, name: str, position: int) -> int:
        instance = self._read_side.makers[name]()
        generation = self._models.current(name, version_of(instance))
        if generation is None:
            return 0
        with self._models.model(generation, instance).writing() as connection:
            return discard(connection, [position])

    def _chosen(self, names: Sequence[str]) -> list[str]:
        for name in names:
            if name not in self._read_side.makers:
                raise UnknownProjectionError(name, self.names)
        return list(dict.fromkeys(names)) or self.names
