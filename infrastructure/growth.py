"""Waiting for a log to grow."""

from collections.abc import Callable
from threading import TIMEOUT_MAX, Condition
from time import monotonic

__all__ = ["Growth"]


class Growth:
    """Wakes who waits for the log to grow: at once for what it is told of, and by looking at the log itself.

    Args:
        look_every: seconds between looks, for a store that does not tell of other processes' appends.
    """

    def __init__(self, look_every: float = TIMEOUT_MAX) -> None:
        self._look_every = look_every
        self._changed = Condition()
        self._head = 0
        self._looks = 0
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
        """Let every waiter look at the log again, and ask again whether it was stopped."""
        with self._changed:
            self._looks += 1
            self._changed.notify_all()

    def restart(self) -> None:
        """The store came back: forget what was known of the head, which may be lower now, and look again."""
        with self._changed:
            self._head = 0
        self.wake()

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
            looks = self._looks
            if look() > position:
                return True
            remaining = deadline - monotonic()
            if remaining <= 0:
                return False
            with self._changed:
                self._changed.wait_for(
                    lambda looks=looks: over() or self._looks != looks,  # type: ignore[misc]  # bound in this turn
                    min(remaining, self._look_every),
                )
        return not (self.interrupted or stopped())
