"""The thread that keeps a read model current.

It takes batches from the log, folds them, and commits rows and checkpoint in one transaction, guarded by the
checkpoint: when another process's runner was faster, its own work is dropped and it goes on from there. So any
number of processes may run it, and every event is folded once.

::

    start --> resume --> fold a batch --> commit --> fold ...        stop --> stopped
                 ^            |              |
                 +-- checkpoint moved <------+     an event that cannot be read or folded --> failed
"""

import logging
from collections.abc import Callable, Sequence
from threading import Condition, Event, Thread
from time import monotonic
from typing import Final

from eventsourcing.persistence import OperationalError as LogOperationalError
from msgspec.structs import replace
from sqlalchemy import Connection, delete
from sqlalchemy.exc import OperationalError

from domain.dialogue import Dialogue
from projections.consciousness import Consciousness
from projections.errors import (
    ProjectionError,
    ProjectionFailedError,
    ProjectionStoppedError,
    ReadModelTakenError,
)
from projections.fold import EventLog, Recorded
from projections.tables import TABLES
from projections.views import (
    Checkpoint,
    CheckpointMovedError,
    Views,
    advance_checkpoint,
    read_checkpoint,
    replace_checkpoint,
)

__all__ = ["Runner"]

MOST_EVENTS: Final = 1000
MOST_MESSAGES: Final = 20_000
"""In a batch, more or less: how many events that is, is guessed from the batch before."""

_REST: Final = 0.02
"""Seconds in which new events gather before they are folded, unless somebody waits for them."""

_RETRIES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before a database in trouble is tried again; the last one from then on."""

_WAIT: Final = 0.25
"""Seconds of one wait for the log; how long `stop` takes at most when nothing happens."""

_logger = logging.getLogger("callosum.projections")


class Runner:
    """One projection, run in a thread of its own from `start` to `stop`. Neither may be called twice.

    It also ends when the log is interrupted, which counts as a stop.
    """

    def __init__(self, log: EventLog, views: Views, projection: Consciousness | None = None) -> None:
        self._log = log
        self._views = views
        self._projection = projection or Consciousness(views)
        self._checkpoint = Checkpoint(self._projection.version, 0, b"", "")
        self._limit = MOST_MESSAGES // 1000
        self._stopping = Event()
        self._hurried = Event()
        self._changed = Condition()
        self._ended = False
        self._error: ProjectionError | None = None
        self._refolds: list[str] = []
        self._listeners: list[Callable[[int], None]] = []
        self._thread = Thread(target=self._run, name=f"callosum-{self._projection.NAME}", daemon=True)

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def resumed(self) -> bool:
        """Whether the read models have been found to be of this log, or been emptied."""
        return self._checkpoint.epoch != ""

    @property
    def error(self) -> ProjectionError | None:
        """What ended it, unless it runs or was stopped."""
        return self._error

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def refolds(self) -> Sequence[str]:
        """Why it folded anew from position 1, each time; empty as a rule."""
        return self._refolds

    def add_listener(self, listener: Callable[[int], None]) -> None:
        """Have this called, in the runner's thread, with the position after every commit and once at the end.

        It must return soon and not raise. At the end, `ended` and `error` tell why.
        """
        self._listeners.append(listener)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch under way and end. Returns when the thread is gone."""
        self._stopping.set()
        self.hurry()
        self._thread.join()

    def hurry(self) -> None:
        """Fold what there is now: somebody waits for it."""
        self._hurried.set()

    def wait_for(self, position: int, timeout: float) -> None:
        """Block until the read model has folded up to `position`.

        Raises:
            TimeoutError: it has not after `timeout` seconds.
            ProjectionError: it never will, because the runner failed or was stopped.
        """
        self.hurry()
        with self._changed:
            if not self._changed.wait_for(lambda: self._checkpoint.position >= position or self._ended, timeout):
                raise TimeoutError(f"Position {position} was not folded within {timeout} seconds.")
        if self._checkpoint.position < position:
            raise self._error or ProjectionStoppedError(self._projection.NAME, self._checkpoint.position)

    def _run(self) -> None:
        error: ProjectionError | None = None
        try:
            self._fold_on()
        except ProjectionError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  # a thread's edge: this is where it is reported
            position = self._checkpoint.position + 1
            error = ProjectionFailedError(self._projection.NAME, position, f"{type(failure).__name__}: {failure}")
            error.__cause__ = failure
        self._end(error)

    def _fold_on(self) -> None:
        starting, failures = True, 0
        while not self._stopping.is_set():
            try:
                self._resume(starting=starting)
                starting = False
                while not self._stopping.is_set():
                    self._step()
                    failures = 0
            except (LogOperationalError, OperationalError) as trouble:
                # A lock, a full disk, a server that is away: it passes, and no event is at fault.
                _logger.warning("The read models wait for their database or the log: %s", trouble)
                self._projection.forget()
                self._stopping.wait(_RETRIES[min(failures, len(_RETRIES) - 1)])
                failures += 1

    def _step(self) -> None:
        here = self._checkpoint
        if here.position == 0 and self._log.epoch != here.epoch:  # no entry's chain tells yet
            self._resume(starting=False)
            return
        events = self._log.read(
            after=here.position, limit=self._limit, chain=here.chain if here.position else None
        )
        if not events:
            self._wait()
            return
        try:
            self._advance(events)
        except CheckpointMovedError:
            self._projection.forget()
            self._resume(starting=False)
            return
        messages = sum(len(e.event.messages) for e in events if isinstance(e.event, Dialogue.Conveyed))
        self._limit = max(1, min(MOST_EVENTS, MOST_MESSAGES * len(events) // max(1, messages)))

    def _wait(self) -> None:
        begun = monotonic()
        if self._log.wait_beyond(self._checkpoint.position, _WAIT):
            # A fold for every message would take the interpreter from who sends them.
            self._hurried.wait(_REST)
            self._hurried.clear()
        elif monotonic() - begun < _WAIT / 2:
            self._stopping.set()  # back before the time is over, and nothing came: the log was interrupted

    def _advance(self, events: Sequence[Recorded]) -> None:
        """Fold and commit these events, or those before the one that fails; then raise."""
        try:
            changes = self._projection.fold(events, self._checkpoint)
        except ProjectionFailedError as failure:
            self._projection.forget()
            before = [event for event in events if event.position < failure.position]
            if before:
                self._advance(before)
            raise
        last = events[-1]
        reached = replace(self._checkpoint, position=last.position, chain=last.chain)
        with self._views.writing() as connection:
            advance_checkpoint(connection, self._projection.NAME, self._checkpoint, reached)
            changes.write(connection)
        self._projection.committed()
        self._reach(reached)

    def _resume(self, *, starting: bool) -> None:
        """Go on from the stored checkpoint, or from the beginning when it is not of this log and projection.

        A log may also change under a running projection: when its server has lost the end of it, say.
        """
        fresh = Checkpoint(self._projection.version, 0, b"", self._log.epoch)
        reason = None
        with self._views.writing() as connection:
            stored = read_checkpoint(connection, self._projection.NAME)
            if stored is not None:
                reason = self._mismatch(stored, fresh)
            if stored is not None and reason is not None and not starting and not self._ours(stored):
                raise ReadModelTakenError(self._projection.NAME, reason)
            if stored is None or reason is not None:
                self._empty(connection, fresh)
        if reason is not None:
            self._refolds.append(reason)
            _logger.warning("The read models are built anew from position 1: %s.", reason)
        self._reach(fresh if stored is None or reason is not None else stored)

    def _ours(self, stored: Checkpoint) -> bool:
        return (stored.version, stored.epoch) == (self._checkpoint.version, self._checkpoint.epoch)

    def _mismatch(self, stored: Checkpoint, ours: Checkpoint) -> str | None:
        if stored.version != ours.version:
            return f"they are of version {stored.version!r}, which is now {ours.version!r}"
        if stored.epoch != ours.epoch:
            return f"they are of another log ({stored.epoch}; this is {ours.epoch})"
        if stored.position == 0:
            return None
        chain = self._log.chain_at(stored.position)
        if chain is None:
            return f"they include position {stored.position}, which the log does not have"
        return None if chain == stored.chain else f"the log holds another history at position {stored.position}"

    def _empty(self, connection: Connection, fresh: Checkpoint) -> None:
        for table in TABLES:
            connection.execute(delete(table))
        replace_checkpoint(connection, self._projection.NAME, fresh)

    def _reach(self, checkpoint: Checkpoint) -> None:
        with self._changed:
            self._checkpoint = checkpoint
            self._changed.notify_all()
        self._tell()

    def _end(self, error: ProjectionError | None) -> None:
        if error is not None:
            _logger.error("%s", error)
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self._checkpoint.position)
