"""The library's subscription, built on waiting for the log to grow."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from eventsourcing.persistence import Notification, OperationalError, Subscription

from application.recorder import LogRecorder
from infrastructure.growth import Growth

__all__ = ["LogSubscription"]

_BATCH: Final = 500
_RETRY: Final = 0.2
"""Seconds before a store that is away is asked again."""

_logger = logging.getLogger("callosum.subscription")


class LogSubscription(Subscription[LogRecorder]):
    """Notifications from a position on, for ever: until `stop`, or until the store is closed.

    A store that is away for a while is waited for.

    Unlike the library's own it has no thread. It reads up to a head that it knows, so that events of other
    topics are passed over once instead of being found again at every look. It knows positions alone: of entries
    that a server loses and gives others the places of, it cannot tell.
    """

    def __init__(
        self,
        recorder: LogRecorder,
        gt: int | None,
        topics: Sequence[str],
        *,
        growth: Growth,
        look: Callable[[], int],
    ) -> None:
        """`look` reads the head from the store."""
        super().__init__(recorder, gt, topics)
        self._position = gt or 0
        self._growth = growth
        self._look = look
        self._notifications: deque[Notification] = deque()

    def stop(self) -> None:
        super().stop()
        self._growth.wake()

    def __next__(self) -> Notification:
        while not self._is_stopped():
            if self._notifications:
                return self._notifications.popleft()
            try:
                if self._growth.wait(self._position, inf, self._look, self._is_stopped):
                    self._read()
            except OperationalError as error:
                _logger.warning("A subscription waits for the store: %s", error)
                self._growth.rest(_RETRY, self._is_stopped)
        raise StopIteration

    def _is_stopped(self) -> bool:
        return self._has_been_stopped or self._growth.interrupted

    def _read(self) -> None:
        head = self._recorder.max_notification_id() or 0
        found = self._recorder.select_notifications(
            self._position, _BATCH, stop=head, topics=self._topics, inclusive_of_start=False
        )
        self._notifications.extend(found)
        self._position = found[-1].id if len(found) == _BATCH else max(self._position, head)
