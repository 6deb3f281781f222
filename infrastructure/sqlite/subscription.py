"""The library's subscription, built on waiting for the log to grow."""

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final

from eventsourcing.persistence import Notification, Subscription

if TYPE_CHECKING:
    from infrastructure.sqlite.recorders import SQLiteLogRecorder

__all__ = ["SQLiteSubscription"]

_BATCH: Final = 500


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
