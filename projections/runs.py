"""Consecutive messages of a scope, taken in together.

What is done here to a state is what its `add` does with one message after the other: the state afterwards is the
same to the last bit. `domain.measures` and `domain.response_times` are the definition. Where there are enough
messages it is done as formulas over arrays (`arrays`), in a tenth of the time.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Final

import msgspec

from domain.measures import Episode
from domain.message import Payload
from domain.response_times import ResponseTimes, Said, Turns
from domain.tract import Direction, Tract
from projections.states import Measures

__all__ = ["Answers", "Asked", "DialogueRun", "Run", "add_runs", "answers"]

FEWEST: Final = 300
"""Messages for which arrays take less time than a loop,"""

FEWEST_OF_RUN: Final = 8
"""and messages of a run for which it pays to have it among others in an array."""

_DIRECTIONS: Final = tuple(Direction)


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


Asked = tuple[Turns, Run, Mapping[int, Said]]
"""Of a dialogue its turns, what is said next, and what that replies to where it says so, by places in the run."""

Answers = tuple[ResponseTimes, ResponseTimes]
"""What the internal and the external tract took."""


def add_runs(scopes: Sequence[tuple[Measures, Run]]) -> list[list[Episode]]:
    """Take in all but the answers; returns the episodes that ended, for each scope."""
    joined = _which_to_join([run for _, run in scopes])
    of_joined = iter(_add_joined(list(compress(scopes, joined))) if any(joined) else ())
    return [
        next(of_joined) if is_joined else _add(*scope) for scope, is_joined in zip(scopes, joined, strict=True)
    ]


def answers(dialogues: Sequence[Asked]) -> list[Answers]:
    """Take in the next messages of dialogues; returns the answers among them, for each dialogue."""
    joined = _which_to_join([run for _, run, _ in dialogues])
    of_joined = iter(_join_answers(list(compress(dialogues, joined))) if any(joined) else ())
    return [
        next(of_joined) if is_joined else _answers(*asked)
        for asked, is_joined in zip(dialogues, joined, strict=True)
    ]


def _which_to_join(runs: Sequence[Run]) -> list[bool]:
    long = [len(run) >= FEWEST_OF_RUN for run in runs]
    enough = sum(map(len, compress(runs, long))) >= FEWEST
    return long if enough else [False] * len(runs)


def _add_joined(scopes: Sequence[tuple[Measures, Run]]) -> list[list[Episode]]:
    from projections.arrays import add_joined  # noqa: PLC0415  # a command should not wait for numpy to begin

    return add_joined(scopes)


def _join_answers(dialogues: Sequence[Asked]) -> list[Answers]:
    from projections.arrays import join_answers  # noqa: PLC0415  # likewise

    return join_answers(dialogues)


def _add(measures: Measures, run: Run) -> list[Episode]:
    ended = []
    for place, (direction, sent_at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
        episode = measures.add(_DIRECTIONS[direction], run.position(place), sent_at)
        if episode is not None:
            ended.append(episode)
    return ended


def _answers(turns: Turns, run: Run, replied_to: Mapping[int, Said]) -> Answers:
    internal, external = ResponseTimes(), ResponseTimes()
    for place, (direction, sent_at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
        response = turns.add(_DIRECTIONS[direction], sent_at, replied_to.get(place))
        if response is not None:
            (internal if response.tract is Tract.INTERNAL else external).add(response.duration)
    return internal, external
