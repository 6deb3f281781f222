"""Waiting for a log to grow."""

from collections.abc import Callable
from threading import TIMEOUT_MAX, Condition
from time import monotonic

__all__ = ["Growth"]


class Growth:
    """Wakes who waits for the log to grow: at once for what it is told of, and by looking at the log itself.

    Args:
        look_every: seconds between looks, for a store that does not tell of other processes' appends.
        told: whether it is told of them, or need not be, from the beginning; else from `restart` on.
    """

    def __init__(self, look_every: float = TIMEOUT_MAX, *, told: bool = True) -> None:
        self._look_every = look_every
        self._told = told
        self._changed = Condition()
        self._head = 0
        self._restarts = 0
        self.interrupted = False

    def reached(self, head: int) -> None:
        with self._changed:
            self._head = max(self._head, head)
            self._changed.notify_all()

    def looked(self, head: int) -> None:
        """The store was read, and ends there. Should that be before what was known, what was known is void."""
        if head < self._head:
            self.restart()
        else:
            self.reached(head)

    def interrupt(self) -> None:
        """End every wait, now and later."""
        self.interrupted = True
        self.wake()

    def wake(self) -> None:
        """Let every waiter ask again whether it was stopped."""
        with self._changed:
            self._changed.notify_all()

    def pause(self) -> None:
        """Nobody tells of appends any more: all wait for `restart`, for as long as they may."""
        with self._changed:
            self._told = False

    def restart(self) -> None:
        """From now on it is told of every append. What was known of the head is void: it may be lower now."""
        with self._changed:
            self._head, self._told = 0, True
            self._restarts += 1
            self._changed.notify_all()

    def rest(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """Block for so long, or until stopped or interrupted."""
        with self._changed:
            self._changed.wait_for(lambda: self.interrupted or stopped(), seconds)

    def wait(
        self, position: int, timeout: float, look: Callable[[], int], stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Block until the head is beyond `position`: True, or False after `timeout` seconds or once stopped.

        `look` reads the head from the store. It is called without the lock, so that appends here do not wait for
        it; what is reported meanwhile is seen before this thread sleeps.
        """
        deadline = monotonic() + timeout

        def over() -> bool:
            return self._head > position or self.interrupted or stopped()

        while not over():
            with self._changed:
                self._changed.wait_for(lambda: over() or self._told, _until(deadline))
                restarts = self._restarts
            if over():
                break
            if self._told and look() > position:
                return True
            if monotonic() >= deadline:
                return False
            with self._changed:
                self._changed.wait_for(
                    lambda seen=restarts: over() or self._restarts != seen,  # type: ignore[misc]  # bound in this turn
                    min(_until(deadline), self._look_every),
                )
        return not (self.interrupted or stopped())


def _until(deadline: float) -> float:
    return min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
