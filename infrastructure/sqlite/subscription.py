"""Waiting for the log to grow, and the library's subscription built on it."""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Final

from eventsourcing.persistence import Notification, Subscription

if TYPE_CHECKING:
    from infrastructure.sqlite.recorders import SQLiteLogRecorder

__all__ = ["Growth", "SQLiteSubscription"]

LOOK_EVERY: Final = 0.04
"""Seconds between looks for other processes' appends; SQLite tells nobody of them, and 50 ms are promised."""

_BATCH: Final = 500


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


class SQLiteSubscription(Subscription["SQLiteLogRecorder"]):
    """Notifications from a position on, for ever: until `stop`, or until the store is closed.

    Unlike the library's own it has no thread. It reads up to a head that it knows, so that events of other
    topics are passed over once instead of being found again at every look.
    """

    def __init__(self, recorder: "SQLiteLogRecorder", gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        self._position = gt or 0
        self._notifications: deque[Notification] = deque()

    def stop(self) -> None:
        super().stop()
        self._recorder.datastore.growth.wake()

    def __next__(self) -> Notification:
        growth = self._recorder.datastore.growth
        while not self._is_stopped():
            if self._notifications:
                return self._notifications.popleft()
            if growth.wait(self._position, inf, self._recorder.head, self._is_stopped):
                self._read()
        raise StopIteration

    def _is_stopped(self) -> bool:
        return self._has_been_stopped or self._recorder.datastore.growth.interrupted

    def _read(self) -> None:
        head = self._recorder.head()
        found = self._recorder.select_notifications(
            self._position, _BATCH, stop=head, topics=self._topics, inclusive_of_start=False
        )
        self._notifications.extend(found)
        self._position = found[-1].id if len(found) == _BATCH else head
