"""One reading of the log for all projections of a process: each page is read and decoded once."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from threading import Lock
from typing import Final

from eventsourcing.persistence import OperationalError

from projections.fold import EventLog, Recorded, Unread, weight
from projections.model import Checkpoint

__all__ = ["MOST_MESSAGES", "Feed"]

MOST_EVENTS: Final = 1000
MOST_MESSAGES: Final = 3_000
"""In a page, unless its first event has more. How many events are read is guessed from the page before, never more
than twice as many: where many dialogues are opened, what is said in them follows, and would be read in vain."""

_FIRST: Final = 5
"""Events of the first page, when nothing is known of them."""

_PAGES: Final = 2

Page = Sequence[Recorded | Unread]


class Feed:
    """Pages of the log, for any number of threads. Who stands within a page that was read gets what follows there.

    Args:
        most_events: of a page.

    Attributes:
        end: where the log ended when it was last read to its end; 0: it was not.
    """

    def __init__(self, log: EventLog, most_events: int = MOST_EVENTS) -> None:
        self._log = log
        self._most_events = most_events
        self.end = 0
        self._limit = min(_FIRST, most_events)
        self._pages: OrderedDict[tuple[int, bytes], Page] = OrderedDict()
        self._reading = Lock()
        self.chain_at = log.chain_at
        self.wait_beyond = log.wait_beyond

    @property
    def epoch(self) -> str:
        return self._log.epoch

    def after(self, checkpoint: Checkpoint) -> Page:
        """What follows on a checkpoint; empty when there is nothing yet.

        Raises:
            OperationalError: the log is away, or is not the one that was folded.
        """
        place = checkpoint.position, checkpoint.chain
        with self._reading:
            page = self._kept(place)
            if not page and (page := self._read(place)):
                page = self._cut(page)
                self._keep(place, page)
            return page

    def _kept(self, place: tuple[int, bytes]) -> Page:
        """What follows there in memory, but for an event that could not be read: by now it may be readable."""
        page = self._pages.get(place) or self._rest_of_one(place)
        return () if page and isinstance(page[0], Unread) else page

    def _rest_of_one(self, place: tuple[int, bytes]) -> Page:
        position, chain = place
        for page in self._pages.values():
            index = position - page[0].position
            if 0 <= index < len(page) and page[index].chain == chain:
                return page[index + 1 :]
        return ()

    def forget(self) -> None:
        """The log is not what it was: it has lost its end, or is another one."""
        with self._reading:
            self._pages.clear()

    def _read(self, place: tuple[int, bytes]) -> Page:
        position, chain = place
        try:
            page = self._log.page(after=position, limit=self._limit, chain=chain if position else None)
        except OperationalError:
            self._pages.clear()  # they may hold what was lost, and another process may have begun anew before us
            raise
        if len(page) < self._limit:
            self.end = page[-1].position if page else position
        return page

    def _cut(self, page: Page) -> Page:
        """To so many messages: what follows on small events may be large ones."""
        reached = list(accumulate(map(weight, page)))
        most = min(self._most_events, 2 * self._limit)
        self._limit = max(1, min(most, MOST_MESSAGES * len(page) // reached[-1]))
        return page[: max(1, bisect_right(reached, MOST_MESSAGES))]

    def _keep(self, place: tuple[int, bytes], page: Page) -> None:
        self._pages[place] = page
        while len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
