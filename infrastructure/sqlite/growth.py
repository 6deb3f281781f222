"""Waiting for a log to grow."""

from collections.abc import Callable
from threading import Condition
from time import monotonic
from typing import Final

__all__ = ["Growth"]

LOOK_EVERY: Final = 0.03
"""Seconds between looks for other processes' appends; SQLite tells nobody of them, and 50 ms are promised."""


class Growth:
    """Wakes who waits for the log to grow: at once for appends made here, by looking for those made elsewhere."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._head = 0
        self.interrupted = False

    def reached(self, head: int) -> None:
        with self._changed:
            self._head = max(self._head, head)
            self._changed.notify_all()

    def interrupt(self) -> None:
        """End every wait, now and later."""
        self.interrupted = True
        self.wake()

    def wake(self) -> None:
        """Let every waiter ask again whether it was stopped."""
        with self._changed:
            self._changed.notify_all()

    def wait(
        self, position: int, timeout: float, look: Callable[[], int], stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Block until the head is beyond `position`: True, or False after `timeout` seconds or once stopped.

        `look` reads the head from the database. It is called without the lock, so that appends here do not
        wait for it; what they report meanwhile is seen before this thread sleeps.
        """
        deadline = monotonic() + timeout

        def over() -> bool:
            return self._head > position or self.interrupted or stopped()

        while not over():
            if look() > position:
                return True
            remaining = deadline - monotonic()
            if remaining <= 0:
                return False
            with self._changed:
                self._changed.wait_for(over, min(remaining, LOOK_EVERY))
        return not (self.interrupted or stopped())
