"""The gates of the tracts as a service has them: what they decide recorded, looked at, set by hand."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from eventsourcing.persistence import PersistenceError
from sqlalchemy import Connection, select

from application.commit import Writer
from application.errors import CallosumClosedError
from application.gate_commands import Tell
from application.log import DialogueLog
from application.read_side import Moment, ReadSide
from application.reading import Reader
from application.validation import check_text, member
from domain.circuit import CircuitState, Transition
from domain.errors import CallosumError, InvalidCommandError
from domain.gate import Gate
from domain.gate_settings import GateSettings
from domain.tract import Tract
from projections.answers import GateMetrics
from projections.backtest import Backtest, Simulation, recorded_transitions
from projections.deliveries import Deliveries
from projections.errors import ProjectionError
from projections.gate_queries import gate_metrics
from projections.gates import Pressure, TractGate, gate_of, gates
from projections.runner import Runner

__all__ = ["Gates"]

_MOST_NAME: Final = 200
_PAGE: Final = 500
_RETRY: Final = 1.0
"""Seconds before what could not be recorded is looked at again."""

_logger = logging.getLogger("callosum.gates")


class Gates:
    """Each tract has a gate: a circuit and a capacity. See docs/gates.md.

    What outcomes come to is folded with the read model `deliveries`; as soon as this process sees a transition
    there that is not recorded, it records it. A process that keeps no read models current leaves that to others.
    """

    def __init__(self, log: DialogueLog, writer: Writer, reader: Reader, read_side: ReadSide) -> None:
        self._log, self._writer, self._reader, self._read_side = log, writer, reader, read_side
        self._loop = asyncio.get_running_loop()
        self._settings = {tract: GateSettings() for tract in Tract}
        self._versions = dict.fromkeys(Tract, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._news: tuple[Deliveries, int] | None = None
        self._held = 0
        self._watches = self._closed = False

    def settings(self, tract: Tract) -> GateSettings:
        """As this process knows them."""
        return self._settings[tract]

    async def settings_now(self, tract: Tract) -> GateSettings:
        """A process that does not watch the circuits asks the log for them."""
        if not self._watches:
            await self._learn(tract)
        return self._settings[tract]

    async def ignores(self, tract: Tract, error: str) -> bool:
        """Whether such an error tells the circuit nothing."""
        return (await self.settings_now(tract)).circuit.ignores(error)

    async def open(self, wanted: Callable[[Tract], dict[str, Any]], *, watches: bool) -> None:
        """Learn the settings, set those that are wanted otherwise, and watch the circuits from now on, or not."""
        for tract in Tract:
            await self._learn(tract)
            changes = wanted(tract)
            if changes:
                await self._configure(tract, changes, by="a service's settings", why="it was opened with them")
        runner = self._read_side.runner(Deliveries.NAME)
        if runner is not None and watches:
            self._watches = True
            runner.add_listener(partial(self._tell, runner))
            self._look()

    async def _learn(self, tract: Tract) -> None:
        version, settings = await self._reader.call(self._log.configured, tract, self._versions[tract])
        if version > self._versions[tract]:
            self._versions[tract] = version
            self._settings[tract] = settings or self._settings[tract]

    async def configure(self, tract: Tract, *, by: str, why: str, **changes: Any) -> GateSettings:
        """Change some settings of a gate, for all processes, from now on; the settings as they are then.

        Args:
            tract: whose gate.
            by: who changes them, up to 200 characters.
            why: up to 2000 characters.
            changes: by their names in `GateSettings` and `CircuitSettings`.

        Raises:
            InvalidCommandError: there is no such setting, or a value is out of its range.
        """
        check_text("by", by, most=_MOST_NAME)
        check_text("why", why)
        return await self._configure(_named(tract), changes, by=by, why=why)

    async def _configure(self, tract: Tract, changes: dict[str, Any], *, by: str, why: str) -> GateSettings:
        def tell(gate: Gate, now: datetime) -> None:
            gate.configure(gate.settings.changed(**changes), by=by, why=why, now=now)

        await self._writer.submit(Tell(tract, tell))
        await self._learn(tract)
        return self._settings[tract]

    async def force(self, tract: Tract, state: CircuitState, *, by: str, why: str) -> None:
        """Set a circuit's state by hand.

        CLOSED has nothing held against it, OPEN ends after its usual wait, FORCED_OPEN and DISABLED by hand.

        Args:
            tract: whose circuit.
            state: the state.
            by: who does, up to 200 characters.
            why: up to 2000 characters.
        """
        check_text("by", by, most=_MOST_NAME)
        check_text("why", why)
        to = member(CircuitState, state)
        if to is None:
            raise InvalidCommandError("state", "must be named")
        await self._writer.submit(Tell(_named(tract), lambda gate, now: gate.force(to, by=by, why=why, now=now)))

    async def metrics(self, *, at_least: int | None = None, as_of: Moment | None = None) -> GateMetrics:
        """State, since when and why, share of time in each state, and whom they refused, for each tract.

        Args:
            at_least: a position that the answer includes.
            as_of: a position, or a time of the log's, to answer as of.
        """
        return await self._read_side.read(Deliveries.NAME, gate_metrics, at_least, as_of)

    async def backtest(
        self,
        *,
        start: int | datetime = 1,
        stop: int | datetime | None = None,
        changes: Mapping[Tract | None, Mapping[str, Any]] = MappingProxyType({}),
        progress: Callable[[int, int], None] = lambda _position, _head: None,
    ) -> Backtest:
        """Let recorded traffic through other settings; nothing is changed. See `projections.backtest`.

        Args:
            start: the first position, or time of the log's, of the range; earlier events are read, too.
            stop: the last one; None: up to now.
            changes: settings that are tried in place of those that were in force, by tract; None: of both.
            progress: called now and then, from another thread, with (position, last position).

        Raises:
            InvalidCommandError: there is no such setting, or a value is out of its range.
        """
        tried = {tract: {**changes.get(None, {}), **changes.get(tract, {})} for tract in Tract}
        for of_tract in tried.values():
            GateSettings().changed(**of_tract)
        after, last = await self._reader.bounds(start, stop)
        recorded = await self._read_side.read(Deliveries.NAME, recorded_transitions)
        simulation = Simulation(tried, after + 1, recorded)
        return await self._reader.call(self._simulate, simulation, last, progress)

    def _simulate(self, simulation: Simulation, last: int, progress: Callable[[int, int], None]) -> Backtest:
        position = 0
        while position < last and (page := self._log.read(after=position, limit=_PAGE, stop=last)):
            for event in page:
                simulation.feed(event)
            position = page[-1].position
            progress(position, last)
        return simulation.result()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Record nothing meanwhile: what is being imported tells itself what was decided."""
        self._held += 1
        try:
            if self._looking is not None:
                await asyncio.gather(self._looking, return_exceptions=True)
            yield
        finally:
            self._held -= 1
            await self._learn_again()
            if self._watches:
                self._look()

    async def _learn_again(self) -> None:
        """What came of the import is told, whatever becomes of this."""
        try:
            for tract in Tract:
                await self._learn(tract)
        except CallosumClosedError:
            return
        except PersistenceError as error:
            _logger.warning("How the gates are set is learned later: %s", error)

    def _tell(self, runner: Runner) -> None:
        """From the runner's thread, whenever it has folded something; most of it is of no matter here."""
        projection = runner.projection
        news = (projection, projection.news) if isinstance(projection, Deliveries) else None
        if news is not None and news != self._news and not self._loop.is_closed():
            self._news = news
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        if self._closed or self._held:
            return
        if self._looking is not None:
            self._again = True
            return
        self._looking = asyncio.create_task(self._record())
        self._looking.add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled() and (error := looking.exception()) is not None:
            _logger.error("What the gates decide could not be recorded.", exc_info=error)
        if self._again:
            self._again = False
            self._look()

    async def _record(self) -> None:
        """What the read model has come to, and the log does not tell of yet."""
        try:
            found = await self._read_side.read(Deliveries.NAME, _folded, at_least=0)
            for tract, gate in found.items():
                await self._record_of(tract, gate)
        except CallosumClosedError:
            return
        except ProjectionError:
            self._look_at(time.time() + _RETRY)  # whoever asks for the read model hears of it
        except (CallosumError, PersistenceError) as error:
            _logger.warning("What the gates decide is recorded later: %s", error)
            self._look_at(time.time() + _RETRY)

    async def _record_of(self, tract: Tract, gate: TractGate) -> None:
        if gate.settings != self._settings[tract]:  # either may be the newer one
            await self._learn(tract)
        unrecorded = gate.unrecorded
        if unrecorded.transition is not None:
            await self._writer.submit(Tell(tract, partial(_move, unrecorded.transition, unrecorded.cause)))
        elif (due := gate.circuit.due(int(time.time() * 1000))) is not None:
            await self._writer.submit(Tell(tract, partial(_move, due, None)))
        elif (due_at := gate.circuit.due_at()) is not None:
            self._look_at(due_at / 1000)
        if unrecorded.pressure is not None and await self._is_felt(tract, unrecorded.pressure):
            await self._writer.submit(Tell(tract, partial(_press, unrecorded.pressure)))

    async def _is_felt(self, tract: Tract, pressure: Pressure) -> bool:
        """What was on its way in a log that was imported stays so for the read model, and is in no inbox."""
        level = await self._reader.call(self._log.recorder.inbox.level, tract)
        return not pressure.engaged or level.backlog > self._settings[tract].low

    def _look_at(self, moment: float) -> None:
        """Of `time.time`."""
        at = self._loop.time() + max(0.0, moment - time.time()) + 0.001
        if self._timer is not None and self._loop.time() < self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)

    async def close(self) -> None:
        """Before the writer is closed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


def _named(tract: Tract) -> Tract:
    of = member(Tract, tract)
    if of is None:
        raise InvalidCommandError("tract", "must be named")
    return of


def _move(transition: Transition, cause: int | None, gate: Gate, now: datetime) -> None:
    gate.move(transition, cause, now=now)


def _press(pressure: Pressure, gate: Gate, now: datetime) -> None:
    gate.press(engaged=pressure.engaged, backlog=pressure.backlog, cause=pressure.cause, now=now)


def _folded(connection: Connection, _position: int) -> dict[Tract, TractGate]:
    return {Tract(row["tract"]): gate_of(row) for row in connection.execute(select(gates)).mappings()}
