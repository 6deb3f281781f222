"""Many consecutive messages taken in at once: the measures of the domain as formulas over whole arrays.

What is done here to a state is what its `add` does with one message after the other, in a tenth of the time: the
state afterwards is the same to the last bit. `domain.measures` and `domain.response_times` are the definition.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.measures import BALANCED_ABOVE, Balance, Coordination, Episode, Episodes
from domain.message import Payload
from domain.response_times import BOUNDS, ResponseTimes, Said, Turns
from domain.tract import Direction, Tract
from projections.states import Measures

__all__ = ["DialogueRun", "Run", "add_run", "answers"]

FEWEST: Final = 40
"""Messages of a run for which arrays take less time than a loop."""

# The numbers, because arrays compare with a member of an enumeration ten times as slowly.
_INTRA: Final = Direction.INTRA.value
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL.value
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL.value
_DIRECTIONS: Final = tuple(Direction)
_LONGEST: Final = 2**63 - 1
_UNKNOWN: Final = -(2**63)
_BOUNDS: Final = np.array([min(bound, _LONGEST) for bound in BOUNDS])

Booleans = NDArray[np.bool_]
Directions = NDArray[np.uint8]
Integers = NDArray[np.int64]
Ratios = NDArray[np.float64]


class Run(msgspec.Struct):
    """Consecutive messages of a scope.

    Attributes:
        directions: a `Direction` in each byte.
        sent_at: of each.
        starts: places of the first message of each event, from 0.
        positions: of each event in the log.
    """

    directions: bytearray = msgspec.field(default_factory=bytearray)
    sent_at: list[int | None] = msgspec.field(default_factory=list)
    starts: list[int] = msgspec.field(default_factory=list)
    positions: list[int] = msgspec.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.directions)

    def extend(self, position: int, directions: bytes, sent_at: list[int | None]) -> None:
        """By the messages of one event."""
        self.starts.append(len(self.directions))
        self.positions.append(position)
        self.directions += directions
        self.sent_at += sent_at

    def position(self, place: int) -> int:
        return self.positions[bisect_right(self.starts, place) - 1]


class DialogueRun(Run, kw_only=True):
    """Consecutive messages of a dialogue.

    Attributes:
        first_sequence: of the first one.
        payloads: of each.
        replies: places of those that name an earlier message, with its sequence.
    """

    first_sequence: int
    payloads: list[Payload] = msgspec.field(default_factory=list)
    replies: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def said(self, place: int) -> Said:
        return Said(_DIRECTIONS[self.directions[place]], self.sent_at[place])


def add_run(measures: Measures, run: Run) -> list[Episode]:
    """Take in all but the answers; returns the episodes that ended."""
    if len(run) < FEWEST:
        return _one_by_one(measures, run)
    latest = _oldest_first(measures.episodes)
    directions = np.frombuffer(latest + run.directions, np.uint8)
    a, b = _counts(directions == _OUT), _counts(directions == _BACK)
    before = len(latest)
    _add_balance(measures.balance, run, a[before + 1 :] - a[before], b[before + 1 :] - b[before])
    _add_coordination(measures.coordination, directions[before:])
    return _add_episodes(measures.episodes, run, latest, a, b)


def answers(turns: Turns, run: Run, replied_to: Mapping[int, Said]) -> tuple[ResponseTimes, ResponseTimes]:
    """Take in the next messages of a dialogue.

    Args:
        turns: of the dialogue.
        run: of the dialogue.
        replied_to: by its place in the run, what a message replies to that names it.

    Returns:
        What the internal and the external tract took for the answers among them.
    """
    if len(run) < FEWEST:
        return _answers_one_by_one(turns, run, replied_to)
    directions = np.frombuffer(run.directions, np.uint8)
    sent_at = _times(run.sent_at)
    asked, asked_at = _ended_turns(turns, directions, sent_at)
    for place, said in replied_to.items():
        asked[place] = said.direction
        asked_at[place] = _UNKNOWN if said.sent_at is None else said.sent_at
    answered = (directions != _INTRA) & (asked != _INTRA) & (asked != directions)
    known = (sent_at != _UNKNOWN) & (asked_at != _UNKNOWN)
    durations = np.where(known, sent_at - asked_at, -1)
    return _sketch(durations[answered & (directions == _OUT)]), _sketch(
        durations[answered & (directions == _BACK)]
    )


def _one_by_one(measures: Measures, run: Run) -> list[Episode]:
    ended = []
    for place, (direction, sent_at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
        episode = measures.add(_DIRECTIONS[direction], run.position(place), sent_at)
        if episode is not None:
            ended.append(episode)
    return ended


def _answers_one_by_one(
    turns: Turns, run: Run, replied_to: Mapping[int, Said]
) -> tuple[ResponseTimes, ResponseTimes]:
    internal, external = ResponseTimes(), ResponseTimes()
    for place, (direction, sent_at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
        response = turns.add(_DIRECTIONS[direction], sent_at, replied_to.get(place))
        if response is not None:
            (internal if response.tract is Tract.INTERNAL else external).add(response.duration)
    return internal, external


def _counts(those: Booleans) -> Integers:
    """How many there are up to each place: one more than places, the first one 0."""
    counts = np.zeros(len(those) + 1, np.int64)
    np.cumsum(those, out=counts[1:])
    return counts


def _ratios(a: Integers, b: Integers) -> Ratios:
    """`balance_ratio`, place by place."""
    larger = np.maximum(a, b)
    return np.minimum(a, b) / np.maximum(larger, 1)


def _add_balance(balance: Balance, run: Run, a: Integers, b: Integers) -> None:
    """a, b: messages of the run in each direction, up to each of its messages."""
    a, b = balance.internal_to_external + a, balance.external_to_internal + b
    balanced = np.flatnonzero(_ratios(a, b) > BALANCED_ABOVE)
    balance.total_messages += len(run)
    balance.internal_to_external, balance.external_to_internal = int(a[-1]), int(b[-1])
    if len(balanced):
        balance.balanced_dialogue_events += len(balanced)
        balance.last_emergence_at = run.sent_at[balanced[-1]]


def _add_coordination(coordination: Coordination, directions: Directions) -> None:
    cross = directions[directions != _INTRA]
    if not len(cross):
        return
    out = int(np.count_nonzero(cross == _OUT))
    coordination.internal_to_external += out
    coordination.external_to_internal += len(cross) - out
    coordination.runs += int(np.count_nonzero(cross[1:] != cross[:-1])) + int(cross[0] != coordination.last.value)
    coordination.last = _DIRECTIONS[cross[-1]]


def _oldest_first(episodes: Episodes) -> bytearray:
    """The window before the next message."""
    return _rotated(episodes.latest, episodes.messages % episodes.settings.window)


def _rotated(ring: bytearray, places: int) -> bytearray:
    return ring[places:] + ring[:places]


def _add_episodes(episodes: Episodes, run: Run, latest: bytearray, a: Integers, b: Integers) -> list[Episode]:
    """a, b: messages in each direction, up to each of `latest` and of the run."""
    window = episodes.settings.window
    # The first window that is full ends within the run, or, when it was full before, one message earlier.
    a_in, b_in = a[window:] - a[:-window], b[window:] - b[:-window]
    first = max(0, window - 1 - len(latest))
    if len(latest) == window:
        a_in, b_in = a_in[1:], b_in[1:]
    ratios = _ratios(a_in, b_in)
    emergent = (np.minimum(a_in, b_in) > episodes.settings.minimum) & (ratios > episodes.settings.threshold)
    changes = np.flatnonzero(emergent[1:] != emergent[:-1]) + 1
    ended = []
    for start, stop in pairwise([0, *changes.tolist(), len(emergent)]):
        if start == stop:
            continue
        if emergent[start]:
            _grow(episodes, run, range(first + start, first + stop), float(ratios[start:stop].max()))
        elif episodes.under_way is not None:
            ended.append(episodes.under_way)
            episodes.under_way = None
    _slide(episodes, latest, run)
    return ended


def _grow(episodes: Episodes, run: Run, places: range, peak: float) -> None:
    """By emergent messages, one after the other."""
    first, last = places[0], places[-1]
    episode = episodes.under_way
    if episode is None:
        episode = episodes.under_way = Episode(
            first_message=episodes.messages + first + 1,
            last_message=0,
            first_position=run.position(first),
            last_position=0,
            peak_ratio=peak,
            start_time=run.sent_at[first],
            end_time=None,
        )
    episode.last_message = episodes.messages + last + 1
    episode.last_position = run.position(last)
    episode.end_time = run.sent_at[last]
    episode.peak_ratio = max(episode.peak_ratio, peak)


def _slide(episodes: Episodes, latest: bytearray, run: Run) -> None:
    """Move the window to the end of the run."""
    episodes.messages += len(run)
    latest = (latest + run.directions)[-episodes.settings.window :]
    episodes.internal_to_external = latest.count(_OUT)
    episodes.external_to_internal = latest.count(_BACK)
    episodes.latest = _rotated(latest, -(episodes.messages % episodes.settings.window))


def _times(sent_at: Sequence[int | None]) -> Integers:
    try:
        return np.array(sent_at, np.int64)
    except TypeError:  # one of them is None
        return np.array([_UNKNOWN if at is None else at for at in sent_at], np.int64)


def _ended_turns(turns: Turns, directions: Directions, sent_at: Integers) -> tuple[Directions, Integers]:
    """For each cross-tract message direction and time of the one before it, which need not be of another turn."""
    asked, asked_at = np.zeros_like(directions), np.full_like(sent_at, _UNKNOWN)
    [cross] = directions.nonzero()
    if len(cross):
        asked[cross[0]] = turns.last.value
        asked_at[cross[0]] = _UNKNOWN if turns.last_sent_at is None else turns.last_sent_at
        asked[cross[1:]] = directions[cross[:-1]]
        asked_at[cross[1:]] = sent_at[cross[:-1]]
        turns.last = _DIRECTIONS[directions[cross[-1]]]
        last_sent_at = int(sent_at[cross[-1]])
        turns.last_sent_at = None if last_sent_at == _UNKNOWN else last_sent_at
    return asked, asked_at


def _sketch(durations: Integers) -> ResponseTimes:
    known = durations[durations >= 0]
    positive = known[known > 0]
    counts = np.bincount(np.searchsorted(_BOUNDS, positive))
    [buckets] = counts.nonzero()
    return ResponseTimes(
        count=len(known),
        unknown=len(durations) - len(known),
        longest=int(positive.max(initial=0)),
        zeros=len(known) - len(positive),
        buckets=dict(zip(buckets.tolist(), counts[buckets].tolist(), strict=True)),
    )
