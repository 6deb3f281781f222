"""Balance, emergence and coordination of a scope: one dialogue, or all dialogues of a kind in log order.

Each measure is a mutable Struct that is told one message after the other in log order, and that can be stored
as MessagePack at any point. Within a scope, a is the number of messages from internal to external, b the number
from external to internal, n of all. The names are those of the published metrics.
"""

from math import sqrt
from typing import Final

import msgspec

from domain.tract import Direction

__all__ = [
    "ASSESSABLE_ABOVE",
    "Balance",
    "Coordination",
    "EmergenceSettings",
    "Episode",
    "Episodes",
    "balance_ratio",
]

BALANCED_ABOVE: Final = 0.7
ASSESSABLE_ABOVE: Final = 100
FEWEST_FOR_COORDINATION: Final = 20

_INTRA: Final = Direction.INTRA
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL


def balance_ratio(a: int, b: int) -> float:
    """The smaller count over the larger, 0.0 to 1.0; 0.0 while either is 0."""
    if a < b:
        return a / b
    return b / a if b else 0.0


class Balance(msgspec.Struct, array_like=True):
    """How evenly the two tracts take part.

    Attributes:
        balanced_dialogue_events: messages right after which the ratio of the scope was above 0.7.
        last_emergence_at: when the last of these was sent, UTC microseconds; None without one, or unknown.
    """

    total_messages: int = 0
    internal_to_external: int = 0
    external_to_internal: int = 0
    balanced_dialogue_events: int = 0
    last_emergence_at: int | None = None

    def add(self, direction: Direction, sent_at: int | None) -> None:
        self.total_messages += 1
        a = self.internal_to_external
        b = self.external_to_internal
        if direction is _OUT:
            self.internal_to_external = a = a + 1
        elif direction is _BACK:
            self.external_to_internal = b = b + 1
        # balance_ratio(a, b) > 0.7, without the call: this is done twice for every message of the log.
        if a and b and (a / b if a < b else b / a) > BALANCED_ABOVE:
            self.balanced_dialogue_events += 1
            self.last_emergence_at = sent_at

    @property
    def dialogue_balance_ratio(self) -> float:
        return balance_ratio(self.internal_to_external, self.external_to_internal)

    @property
    def emergence_assessable(self) -> bool:
        """Whether the scope is long enough for a score: more than 100 messages."""
        return self.total_messages > ASSESSABLE_ABOVE

    @property
    def emergence_score(self) -> float:
        """0.7 · ratio + 0.3 · min(1, balanced_dialogue_events / 100); 0.0 while it is not assessable."""
        if not self.emergence_assessable:
            return 0.0
        return 0.7 * self.dialogue_balance_ratio + 0.3 * min(1.0, self.balanced_dialogue_events / 100)


class Coordination(msgspec.Struct, array_like=True):
    """Whether the tracts take turns or hold two monologues; messages within a tract are passed over.

    Attributes:
        runs: maximal runs of one direction among the cross-tract messages.
        last: the direction of the last of them; INTRA before the first.
    """

    internal_to_external: int = 0
    external_to_internal: int = 0
    runs: int = 0
    last: Direction = _INTRA

    def add(self, direction: Direction) -> None:
        if direction is _OUT:
            self.internal_to_external += 1
        elif direction is _BACK:
            self.external_to_internal += 1
        else:
            return
        if direction is not self.last:
            self.runs += 1
            self.last = direction

    @property
    def coordination_z(self) -> float | None:
        """How many standard deviations the runs are from what chance gives (Wald and Wolfowitz, 1940).

        N = a + b, μ = 2ab/N + 1, σ² = (μ − 1)(μ − 2)/(N − 1), z = (runs − μ)/σ. Far above 0: turn-taking; near
        0: chance; far below: monologues. None below 20 messages or while one direction has none; from 20 on σ
        is above 0, because 2ab > N.
        """
        a, b = self.internal_to_external, self.external_to_internal
        total = a + b
        if total < FEWEST_FOR_COORDINATION or not (a and b):
            return None
        mean = 2 * a * b / total + 1
        return (self.runs - mean) / sqrt((mean - 1) * (mean - 2) / (total - 1))


class EmergenceSettings(msgspec.Struct, frozen=True, array_like=True):
    """What makes a message emergent.

    Attributes:
        window: the number of latest messages of the scope that are looked at, this one included.
        minimum: each direction has more than this many of them; at least 0.
        threshold: their balance ratio is above this.
    """

    window: int = 100
    minimum: int = 10
    threshold: float = 0.7


class Episode(msgspec.Struct):
    """A maximal run of emergent messages; both ends belong to it.

    Attributes:
        first_message, last_message: ordinals in the scope, from 1.
        first_position, last_position: their events' places in the log.
        peak_ratio: the highest balance ratio of a window in it.
        start_time, end_time: when its first and last message were sent, UTC microseconds; None where unknown.
    """

    first_message: int
    last_message: int
    first_position: int
    last_position: int
    peak_ratio: float
    start_time: int | None
    end_time: int | None


class Episodes(msgspec.Struct, array_like=True):
    """Finds emergence episodes over a sliding window, at the same cost for every message.

    Attributes:
        messages: how many it was told.
        begun: how many episodes there were, the one under way included.
        latest: the directions of the last `window` messages, a ring: message i stands at (i − 1) modulo window.
        under_way: the episode that the last message belongs to.
    """

    settings: EmergenceSettings = EmergenceSettings()
    messages: int = 0
    internal_to_external: int = 0
    external_to_internal: int = 0
    latest: bytearray = msgspec.field(default_factory=bytearray)
    under_way: Episode | None = None
    begun: int = 0

    def add(self, direction: Direction, position: int, sent_at: int | None) -> Episode | None:
        """Take a message in; returns the episode that it ended, if it ended one."""
        ordinal = self.messages = self.messages + 1
        settings = self.settings
        if ordinal <= settings.window:
            self.latest.append(direction)
            self._count(direction, 1)
        else:
            place = (ordinal - 1) % settings.window
            oldest = self.latest[place]
            if oldest != direction:  # most often they are equal where tracts take turns
                self.latest[place] = direction
                self._count(oldest, -1)
                self._count(direction, 1)
        a, b = self.internal_to_external, self.external_to_internal
        episode = self.under_way
        if a > settings.minimum < b and ordinal >= settings.window:
            ratio = a / b if a < b else b / a
            if ratio > settings.threshold:
                if episode is None:
                    self.begun += 1
                    self.under_way = Episode(ordinal, ordinal, position, position, ratio, sent_at, sent_at)
                else:
                    episode.last_message = ordinal
                    episode.last_position = position
                    episode.end_time = sent_at
                    if ratio > episode.peak_ratio:  # noqa: PLR1730  # max() takes twice as long
                        episode.peak_ratio = ratio
                return None
        if episode is not None:
            self.under_way = None
        return episode

    def _count(self, direction: int, change: int) -> None:
        if direction == _OUT:
            self.internal_to_external += change
        elif direction == _BACK:
            self.external_to_internal += change
