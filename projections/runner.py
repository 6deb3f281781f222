"""The thread that keeps a read model current.

It takes batches from the log, folds them, and commits rows and checkpoint in one transaction, guarded by the
checkpoint: when another process's runner was faster, its own work is dropped and it goes on from there. So any
number of processes may run it, and every event is folded once.

::

    start --> claim a generation --> fold a batch --> commit --> fold ...          stop --> stopped
                 ^        ^                |             |
                 |        '- moved, or replaced by another                 paused --> until it is resumed
                 |
                 '-- resumed, or tried again -- standing before an event that cannot be folded
"""

import ctypes
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Event, Thread
from time import monotonic
from typing import Final

import msgspec
from eventsourcing.persistence import OperationalError as LogOperationalError
from sqlalchemy.exc import OperationalError

from projections.errors import ProjectionError, ProjectionFailedError, ProjectionStoppedError
from projections.feed import Feed
from projections.fold import Projection, Recorded, Unread, version_of
from projections.folding import Folding, OnError
from projections.model import Checkpoint, CheckpointMovedError
from projections.models import Generation, ReadModels, State

__all__ = ["Runner", "Watch"]

_REST: Final = 0.05
"""Seconds in which events that come so soon after a fold gather, unless somebody waits for them. All runners of a
process go on at the same multiples of it, so that what they read is read once."""

_RETRIES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before a database in trouble is tried again; the last one from then on."""

_RETRIES_OF_EVENT: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before an event is tried again that could not be folded."""

_WAIT: Final = 0.25
"""Seconds of one wait for the log, or for an operator: how long `stop` takes at most when nothing happens."""

_logger = logging.getLogger("callosum.projections")


class Runner:
    """One projection, run in a thread of its own from `start` to `stop`. Neither may be called twice.

    It also ends when the log is interrupted, which counts as a stop.

    Args:
        make: a new instance of the projection.
        gives_way: seconds that it leaves to others when something has happened, unless somebody waits for it.
    """

    def __init__(
        self,
        feed: Feed,
        models: ReadModels,
        make: Callable[[], Projection],
        on_error: OnError = OnError.PARK,
        *,
        gives_way: float = 0.0,
    ) -> None:
        self._feed = feed
        self._models = models
        self._make = make
        self._on_error = on_error
        self._gives_way = gives_way
        projection = make()
        self.name = projection.NAME
        self.version = version_of(projection)
        self._checkpoint = Checkpoint(self.version, 0, b"", "")
        self._generation: Generation | None = None
        self._folding: Folding | None = None
        self._stopping = Event()
        self._hurried = Event()
        self._changed = Condition()
        self._paused = False
        self._look_at = 0.0
        self._rests_until = 0.0
        self._resumes = 0
        self._ended = False
        self._error: ProjectionError | None = None
        self._refolds: list[str] = []
        self._listeners: list[Callable[[], None]] = []
        self._turn = 0
        self._thread = self._new_thread()

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def generation(self) -> Generation | None:
        """The one that it keeps current; None before it has one."""
        return self._generation

    @property
    def projection(self) -> Projection | None:
        """The instance that folds, in the runner's thread; None before it does."""
        return None if self._folding is None else self._folding.projection

    @property
    def resumed(self) -> bool:
        """Whether the read model has been found to be of this log, or been emptied."""
        return self._checkpoint.epoch != ""

    @property
    def error(self) -> ProjectionError | None:
        """What it stands before, or what ended it, unless it runs or was stopped."""
        return self._error

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def refolds(self) -> Sequence[str]:
        """Why it folded anew from position 1, each time; empty as a rule."""
        return self._refolds

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Have this called, in the runner's thread, after every commit and whenever its state changes.

        It must return soon and not raise.
        """
        self._listeners.append(listener)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch under way and end. Returns when the thread is gone, or was given up."""
        self._stopping.set()
        self.hurry()
        while (thread := self._thread).is_alive():
            thread.join(_WAIT)

    def hurry(self) -> None:
        """Fold what there is now: somebody waits for it."""
        self._hurried.set()

    def wait_for(self, position: int, timeout: float) -> None:
        """Block until the read model has folded up to `position`.

        Raises:
            TimeoutError: it has not after `timeout` seconds.
            ProjectionError: it does not, because it stands before an event or was stopped.
        """
        self.hurry()
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._checkpoint.position >= position or self._ended or self._error is not None, timeout
            ):
                raise TimeoutError(f"Position {position} was not folded within {timeout} seconds.")
        if self._checkpoint.position < position:
            raise self._error or ProjectionStoppedError(self.name, self._checkpoint.position)

    def give_up_after(self, seconds: float) -> None:
        """Let another thread go on when folding the batch under way takes longer than this.

        The one that hangs is interrupted, which works as soon as it runs Python code. What it has folded by then
        finds the checkpoint moved, or is as good as what the other one folds.
        """
        folding = self._folding
        if folding is None or folding.under_way is None:
            return
        begun, page = folding.under_way
        if monotonic() - begun < seconds:
            return
        self._turn += 1
        folding.abandoned = True
        _interrupt(self._thread)
        error = TimeoutError(f"it was not folded within {seconds:g} seconds")
        _logger.error("%s, positions %s to %s: %s.", self.name, page[0].position, page[-1].position, error)
        self._thread = self._new_thread(_Hung(page, error))
        self._thread.start()

    def _new_thread(self, hung: "_Hung | None" = None) -> Thread:
        return Thread(target=self._run, args=(self._turn, hung), name=f"callosum-{self.name}", daemon=True)

    def _run(self, turn: int, hung: "_Hung | None") -> None:
        error: ProjectionError | None = None
        try:
            self._work(turn, hung)
        except _AbandonedError:
            return
        except Exception as failure:  # noqa: BLE001  # a thread's edge: this is where it is reported
            position = self._checkpoint.position + 1
            error = ProjectionFailedError(self.name, position, f"{type(failure).__name__}: {failure}")
            error.__cause__ = failure
        if turn == self._turn:
            self._end(error)

    def _mine(self, turn: int) -> bool:
        return turn == self._turn and not self._stopping.is_set()

    def _work(self, turn: int, hung: "_Hung | None") -> None:
        failures = 0
        while self._mine(turn):
            try:
                folding = self._claim()
                if hung is not None:
                    told, hung = hung, None
                    told.resolve(folding)
                    self._reach(folding.checkpoint)
                while self._mine(turn) and self._step(folding):
                    failures = 0
            except CheckpointMovedError:
                pass
            except ProjectionFailedError as error:
                self._stand(turn, error)
            except (LogOperationalError, OperationalError) as trouble:
                # A lock, a full disk, a server that is away: it passes, and no event is at fault.
                _logger.warning("The read models wait for their database or the log: %s", trouble)
                self._stopping.wait(_RETRIES[min(failures, len(_RETRIES) - 1)])
                failures += 1

    def _claim(self) -> Folding:
        """The generation to keep current, gone on with from where it stands."""
        self._resumes = self._models.orders(self.name).resumed
        generation = self._models.claim(self.name, self.version)
        projection = self._make()
        model = self._models.model(generation, projection)
        folding = Folding(self._feed, model, projection, self._on_error)
        if self._folding is not None and self._folding.model is model:
            folding.until = self._folding.until
        reason = folding.resume()
        if reason is not None:
            self._refolds.append(reason)
            _logger.warning("The read model %s is built anew from position 1: %s.", self.name, reason)
        self._folding, self._generation = folding, generation
        self._reach(folding.checkpoint)
        return folding

    def _step(self, folding: Folding) -> bool:
        """Fold what is there, or wait for more; False: there may be another generation to keep current."""
        if folding.is_of_another_log() or not self._look():
            return False
        if self._paused:
            self._stopping.wait(_WAIT)
            return True
        if folding.step():
            self._rests_until = monotonic() + _REST
            self._reach(folding.checkpoint)
            if self._checkpoint.position != self._feed.end:
                return True
        assert self._generation is not None, "it was claimed"
        if self._generation.state is State.BUILDING:
            self._generation = self._models.serve(self._generation)
            self._reach(folding.checkpoint)
        self._wait()
        return True

    def _look(self) -> bool:
        """Now and then: is it paused, and does it still keep the right generation current?"""
        if monotonic() < self._look_at:
            return True
        self._look_at = monotonic() + _WAIT
        paused = self._models.orders(self.name).paused
        if paused != self._paused:
            self._paused = paused
            self._tell()
        return self._models.current(self.name, self.version) == self._generation

    def _stand(self, turn: int, error: ProjectionFailedError) -> None:
        """Wait before an event: until an operator says to go on, or it is time to try it again."""
        _logger.error("%s", error)
        with self._changed:
            self._error = error
            self._changed.notify_all()
        self._tell()
        until = None
        if self._on_error is OnError.RETRY:
            until = monotonic() + _RETRIES_OF_EVENT[min(error.attempts, len(_RETRIES_OF_EVENT)) - 1]
        while self._mine(turn) and (until is None or monotonic() < until):
            self._stopping.wait(_WAIT if until is None else min(_WAIT, until - monotonic()))
            with suppress(OperationalError):  # a lock: the next look tells
                if self._models.orders(self.name).resumed != self._resumes:
                    break
        if self._mine(turn):
            self._error = None

    def _wait(self) -> None:
        begun = monotonic()
        if self._feed.wait_beyond(self._checkpoint.position, _WAIT):
            # A fold for every one of many messages would take the interpreter from who sends them.
            now = monotonic()
            rest = _REST - now % _REST if now < self._rests_until else 0.0
            self._hurried.wait(rest + self._gives_way)
            self._hurried.clear()
        elif monotonic() - begun < _WAIT / 2:
            self._stopping.set()  # back before the time is over, and nothing came: the log was interrupted

    def _reach(self, checkpoint: Checkpoint) -> None:
        with self._changed:
            self._checkpoint = checkpoint
            self._changed.notify_all()
        self._tell()

    def _end(self, error: ProjectionError | None) -> None:
        if error is not None:
            _logger.error("%s", error)
        with self._changed:
            self._error = error or self._error
            self._ended = True
            self._changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


class _Hung(msgspec.Struct, frozen=True):
    """A batch that took too long."""

    page: Sequence[Recorded | Unread]
    error: TimeoutError

    def resolve(self, folding: Folding) -> None:
        """One event is at fault by itself; of several, it is found by folding one after the other."""
        if folding.checkpoint.position + 1 != self.page[0].position:
            return  # it was folded after all
        if len(self.page) == 1:
            folding.refuse(self.page[0], self.error)
        else:
            folding.until = self.page[-1].position


class _AbandonedError(BaseException):
    """Raised in a thread that hangs."""


def _interrupt(thread: Thread) -> None:
    assert thread.ident is not None, "it was started"
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_AbandonedError))


class Watch:
    """Looks after runners from a thread of its own, so that none hangs for longer than so many seconds."""

    def __init__(self, runners: Sequence[Runner], seconds: float) -> None:
        self._runners = runners
        self._seconds = seconds
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="callosum-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds / 4):
            for runner in self._runners:
                runner.give_up_after(self._seconds)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
