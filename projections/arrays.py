"""The measures of the domain as formulas over whole arrays, for many messages at once.

The messages of many scopes stand in one array, a run of each scope after the other, because each array operation
has its price, and most runs are short.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.measures import BALANCED_ABOVE, Balance, Coordination, Episode, Episodes
from domain.response_times import BOUNDS, ResponseTimes, Turns
from domain.tract import Direction
from projections.runs import Answers, Asked, Run
from projections.states import Measures

__all__ = ["add_joined", "join_answers"]

# The numbers, because arrays compare with a member of an enumeration ten times as slowly.
_INTRA: Final = Direction.INTRA.value
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL.value
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL.value
_DIRECTIONS: Final = tuple(Direction)
_LONGEST: Final = 2**63 - 1
_UNKNOWN: Final = -(2**63)
_BOUNDS: Final = np.array([min(bound, _LONGEST) for bound in BOUNDS])

_T = TypeVar("_T", np.uint8, np.int64)

Booleans = NDArray[np.bool_]
Directions = NDArray[np.uint8]
Integers = NDArray[np.int64]
Ratios = NDArray[np.float64]


def add_joined(scopes: Sequence[tuple[Measures, Run]]) -> list[list[Episode]]:
    joined = _Joined([run for _, run in scopes])
    _add_coordination([measures.coordination for measures, _ in scopes], joined)
    before = [_oldest_first(measures.episodes) for measures, _ in scopes]
    windowed = _Windowed(joined, before)
    _add_balance([measures.balance for measures, _ in scopes], windowed)
    return _add_episodes([measures.episodes for measures, _ in scopes], before, windowed)


def join_answers(dialogues: Sequence[Asked]) -> list[Answers]:
    joined = _Joined([run for _, run, _ in dialogues])
    directions, sent_at = joined.directions, _times(list(chain.from_iterable(run.sent_at for run in joined.runs)))
    asked, asked_at = _said_before([turns for turns, _, _ in dialogues], joined, sent_at)
    for first, (_, _, replied_to) in zip(joined.firsts.tolist(), dialogues, strict=True):
        for place, said in replied_to.items():
            asked[first + place] = said.direction.value
            asked_at[first + place] = _UNKNOWN if said.sent_at is None else said.sent_at
    answered = (directions != _INTRA) & (asked != _INTRA) & (asked != directions)
    known = (sent_at != _UNKNOWN) & (asked_at != _UNKNOWN)
    durations = np.where(known, sent_at - asked_at, -1)
    tracts = 2 * joined.owners + (directions == _BACK)
    sketches = _sketches(durations[answered], tracts[answered], 2 * len(dialogues))
    return list(zip(sketches[::2], sketches[1::2], strict=True))


class _Joined:
    """Runs one after the other.

    Attributes:
        lengths: of each run.
        firsts, lasts: where each run has its first and its last message.
        owners: for each message the number of its run.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.lengths = np.array([len(run) for run in runs])
        self.firsts = self.lengths.cumsum() - self.lengths
        self.lasts = self.firsts + self.lengths - 1
        self.owners = np.arange(len(runs)).repeat(self.lengths)
        self.directions = np.frombuffer(b"".join([run.directions for run in runs]), np.uint8)


class _Windowed:
    """Runs one after the other, each behind the window before it.

    Attributes:
        a, b: messages from internal to external and back, up to each message, the one before the first included.
        begins: where each window has its begin.
        befores: where the last message before each run is.
        places: where the messages of the runs are.
    """

    def __init__(self, joined: _Joined, before: Sequence[bytearray]) -> None:
        self.joined = joined
        pairs = zip(before, [run.directions for run in joined.runs], strict=True)
        directions = np.frombuffer(b"".join(chain.from_iterable(pairs)), np.uint8)
        self.a, self.b = _counts(directions == _OUT), _counts(directions == _BACK)
        windows = np.array([len(window) for window in before])
        self.befores = windows.cumsum() + joined.firsts
        self.begins = self.befores - windows
        self.places = np.arange(1, len(joined.owners) + 1) + windows.cumsum()[joined.owners]


def _counts(those: Booleans) -> Integers:
    """How many there are up to each place: one more than places, the first one 0."""
    counts = np.zeros(len(those) + 1, np.int64)
    np.cumsum(those, out=counts[1:])
    return counts


def _ratios(a: Integers, b: Integers) -> Ratios:
    """`balance_ratio`, place by place."""
    return np.minimum(a, b) / np.maximum(np.maximum(a, b), 1)


def _previous(values: NDArray[_T], owners: Integers, first: NDArray[_T]) -> NDArray[_T]:
    """What stands before each value; before the first one of an owner, what is given for that."""
    previous = np.empty_like(values)
    previous[1:] = values[:-1]
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    previous[begins] = first[owners[begins]]
    return previous


def _add_balance(balances: Sequence[Balance], windowed: _Windowed) -> None:
    joined, places = windowed.joined, windowed.places
    a_before = np.array([balance.internal_to_external for balance in balances]) - windowed.a[windowed.befores]
    b_before = np.array([balance.external_to_internal for balance in balances]) - windowed.b[windowed.befores]
    a, b = windowed.a[places] + a_before[joined.owners], windowed.b[places] + b_before[joined.owners]
    balanced = _ratios(a, b) > BALANCED_ABOVE
    numbers = np.add.reduceat(balanced, joined.firsts, dtype=np.int64)
    latest = np.maximum.reduceat(np.where(balanced, np.arange(len(balanced)), -1), joined.firsts) - joined.firsts
    columns = (column.tolist() for column in (a[joined.lasts], b[joined.lasts], numbers, latest))
    for balance, run, out, back, number, place in zip(balances, joined.runs, *columns, strict=True):
        balance.total_messages += len(run)
        balance.internal_to_external, balance.external_to_internal = out, back
        if number:
            balance.balanced_dialogue_events += number
            balance.last_emergence_at = run.sent_at[place]


def _add_coordination(coordinations: Sequence[Coordination], joined: _Joined) -> None:
    [cross] = joined.directions.nonzero()
    directions, owners = joined.directions[cross], joined.owners[cross]
    last = np.array([coordination.last.value for coordination in coordinations], np.uint8)
    turned = directions != _previous(directions, owners, last)
    last[owners] = directions  # of each owner the last one stays
    number = len(coordinations)
    out, back, runs = (
        np.bincount(owners[those], minlength=number).tolist()
        for those in (directions == _OUT, directions == _BACK, turned)
    )
    for place, coordination in enumerate(coordinations):
        coordination.internal_to_external += out[place]
        coordination.external_to_internal += back[place]
        coordination.runs += runs[place]
        coordination.last = _DIRECTIONS[last[place]]


def _oldest_first(episodes: Episodes) -> bytearray:
    """The window before the next message."""
    return _rotated(episodes.latest, episodes.messages % episodes.settings.window)


def _rotated(ring: bytearray, places: int) -> bytearray:
    return ring[places:] + ring[:places]


def _add_episodes(
    all_episodes: Sequence[Episodes], before: Sequence[bytearray], windowed: _Windowed
) -> list[list[Episode]]:
    joined, settings = windowed.joined, all_episodes[0].settings
    first = windowed.places - settings.window
    full = first >= windowed.begins[joined.owners]
    first = np.maximum(first, 0)
    a, b = windowed.a[windowed.places] - windowed.a[first], windowed.b[windowed.places] - windowed.b[first]
    ratios = _ratios(a, b)
    emergent = full & (np.minimum(a, b) > settings.minimum) & (ratios > settings.threshold)
    starts = np.flatnonzero(np.diff(emergent, prepend=False) | np.diff(joined.owners, prepend=-1).astype(np.bool_))
    peaks = np.maximum.reduceat(ratios, starts)
    owners = joined.owners[starts]
    firsts = starts - joined.firsts[owners]
    lasts = np.append(starts[1:], len(emergent)) - joined.firsts[owners] - 1
    ended: list[list[Episode]] = [[] for _ in all_episodes]
    columns = (column.tolist() for column in (owners, emergent[starts], firsts, lasts, peaks))
    for owner, is_emergent, start, last, peak in zip(*columns, strict=True):
        episodes = all_episodes[owner]
        if is_emergent:
            _grow(episodes, joined.runs[owner], start, last, peak)
        elif episodes.under_way is not None:
            ended[owner].append(episodes.under_way)
            episodes.under_way = None
    for episodes, latest, run in zip(all_episodes, before, joined.runs, strict=True):
        _slide(episodes, latest, run)
    return ended


def _grow(episodes: Episodes, run: Run, first: int, last: int, peak: float) -> None:
    """By emergent messages, one after the other."""
    episode = episodes.under_way
    if episode is None:
        episodes.begun += 1
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


def _said_before(all_turns: Sequence[Turns], joined: _Joined, sent_at: Integers) -> tuple[Directions, Integers]:
    """For each cross-tract message direction and time of the one before it, which need not be of another turn."""
    [cross] = joined.directions.nonzero()
    directions, times, owners = joined.directions[cross], sent_at[cross], joined.owners[cross]
    last = np.array([turns.last.value for turns in all_turns], np.uint8)
    last_sent_at = _times([turns.last_sent_at for turns in all_turns])
    asked, asked_at = np.zeros_like(joined.directions), np.full_like(sent_at, _UNKNOWN)
    asked[cross] = _previous(directions, owners, last)
    asked_at[cross] = _previous(times, owners, last_sent_at)
    last[owners], last_sent_at[owners] = directions, times  # of each owner the last one stays
    for turns, direction, at in zip(all_turns, last.tolist(), last_sent_at.tolist(), strict=True):
        turns.last = _DIRECTIONS[direction]
        turns.last_sent_at = None if at == _UNKNOWN else at
    return asked, asked_at


def _sketches(durations: Integers, owners: Integers, number: int) -> list[ResponseTimes]:
    """Of each owner's durations; those below 0 are unknown."""
    unknown = np.bincount(owners[durations < 0], minlength=number)
    known = np.bincount(owners[durations >= 0], minlength=number)
    zeros = np.bincount(owners[durations == 0], minlength=number)
    longest = np.zeros(number, np.int64)
    np.maximum.at(longest, owners, durations)
    columns = (column.tolist() for column in (known, unknown, longest, zeros))
    sketches = [ResponseTimes(*values) for values in zip(*columns, strict=True)]
    positive = durations > 0
    buckets = np.searchsorted(_BOUNDS, durations[positive])
    found, counts = np.unique(owners[positive] * len(_BOUNDS) + buckets, return_counts=True)
    of, buckets = np.divmod(found, len(_BOUNDS))
    ends = np.searchsorted(of, np.arange(number), side="right").tolist()
    all_buckets, all_counts, begin = buckets.tolist(), counts.tolist(), 0
    for sketch, end in zip(sketches, ends, strict=True):
        sketch.buckets, sketch.counts = all_buckets[begin:end], all_counts[begin:end]
        begin = end
    return sketches
