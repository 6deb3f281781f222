"""Dialogues made up at random of what the rules of the patterns are about, labelled with what is to be found.

Nothing here counts windows or compares messages: each part is built so that it is just within a rule or just
outside of it, and its label follows from how it was built. Four kinds of parts decide the directions, one in each
dialogue: turns of 18 to 22 messages for monologues, blocks of 39 to 42 of 50 for dominance, 98 and more messages
in balance or nearly, and plain talk. Over any of them the same is said twice and more often, up to 21 messages
apart, or in the other direction; and messages within a tract stand in between.
"""

from random import Random
from typing import Final

import msgspec

from domain.message import Message, Payload
from domain.tract import Direction, Tract

__all__ = ["Dialogue", "Label", "dialogue"]

INTRA, OUT, BACK = Direction
_OTHER: Final = {OUT: BACK, BACK: OUT}

Label = tuple[str, int, int, int]
"""Pattern, first and last sequence, and count."""


class Dialogue(msgspec.Struct):
    messages: list[Message]
    labels: set[Label]


class _Said:
    """A message that is not numbered yet."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.payload: Payload = None


class _Label(msgspec.Struct):
    pattern: str
    first: _Said
    last: _Said
    count: int


Part = tuple[list[_Said], list[_Label]]


def dialogue(seed: int) -> Dialogue:
    """The same one for the same seed."""
    random = Random(seed)
    said, labels = random.choice((_monologues, _dominance, _balance, _talk))(random)
    places = {message: sequence for sequence, message in enumerate(said, 1)}
    found = {(label.pattern, places[label.first], places[label.last], label.count) for label in labels}
    found |= _repeat(said, random)
    return Dialogue([_message(one, sequence) for one, sequence in places.items()], found)


def _ways(directions: list[Direction]) -> list[_Said]:
    return [_Said(direction) for direction in directions]


def _turns(count: int, first: Direction) -> list[Direction]:
    return [first if number % 2 == 0 else _OTHER[first] for number in range(count)]


def _within(said: list[_Said], random: Random, most: int) -> list[_Said]:
    """With up to so many messages within a tract anywhere in between."""
    for _ in range(random.randint(0, most)):
        said.insert(random.randint(0, len(said)), _Said(INTRA))
    return said


def _talk(random: Random) -> Part:
    """Turns of one to three messages, too few for emergence."""
    directions: list[Direction] = []
    way = random.choice((OUT, BACK))
    while len(directions) < random.randint(1, 70):
        directions += [way] * random.randint(1, 3)
        way = _OTHER[way]
    return _within(_ways(directions), random, 20), []


def _monologues(random: Random) -> Part:
    """One or two turns, each of 18 to 22 messages, amid others of one: 41 of 50 are not within reach."""
    said, labels = _ways(_turns(random.randint(0, 9), OUT)), []
    way = _OTHER[said[-1].direction] if said else random.choice((OUT, BACK))
    for _ in range(random.randint(1, 2)):
        length = random.choice((18, 19, 20, 21, 22))
        turn = _ways([way] * length)
        if length >= 20:
            labels.append(_Label("monologue", turn[0], turn[-1], length))
        said += turn + _ways(_turns(8, _OTHER[way]))
        way = _OTHER[said[-1].direction]
    return _within(said, random, 15), labels


def _dominance(random: Random) -> Part:
    """50 messages between others of alternating direction, with 39 to 42 in one.

    Its ends are of that direction. So a window further on or back by n messages has n fewer of the block and half
    as many, rounded down, of what is beside it: with 42 it holds two messages further to either side, with 41 not.
    """
    much, way = random.choice((39, 40, 41, 42)), random.choice((OUT, BACK))
    few = 50 - much
    middle = [_OTHER[way]] * few + [way] * (much - 16)
    spread = random.sample(middle, len(middle))
    while _longest(spread, way) > 7:  # with an end that is no monologue
        random.shuffle(spread)
    before, block = _ways(_turns(30, way)), _ways([way] * 8 + spread + [way] * 8)
    after = _ways(_turns(30, _OTHER[way]))
    said, further = before + block + after, 2 * (much - 41)
    labels = []
    if much > 40:
        first, last = said[30 - further], said[79 + further]
        labels.append(_Label("dominance", first, last, 50 + 2 * further))
    return _within(said, random, 25), labels


def _longest(directions: list[Direction], way: Direction) -> int:
    """The longest turn that goes this way."""
    return max(map(len, "".join("x" if one is way else " " for one in directions).split()), default=0)


def _balance(random: Random) -> Part:
    """98 to 120 messages in balance or nearly, or of which the last go one way until it is balanced no more.

    After 100 in turns, n more in one direction leave 50 - n/2 of the other, rounded down: 42 to 58 at the
    sixteenth, which is above 0.7, and then 41 to 59.
    """
    shape = random.choice(("turns", "shares", "end"))
    if shape == "turns":
        length = random.choice((98, 99, 100, 101, 120))
        said = _ways(_turns(length, OUT))
        labels = [_Label("balanced_dialogue", said[99], said[-1], length - 99)] if length >= 100 else []
        return said, labels
    if shape == "end":
        more = random.randint(14, 18)
        said = _ways(_turns(100, OUT) + [BACK] * more)
        lasts = min(more, 16)
        return said, [_Label("balanced_dialogue", said[99], said[99 + lasts], 1 + lasts)]
    few, many, is_balanced = random.choice(
        ((35, 50, False), (36, 50, True), (10, 10, False), (11, 11, True), (10, 14, False), (11, 15, True))
    )
    directions = [OUT] * few + [BACK] * many + [INTRA] * (100 - few - many)
    # Each way evenly over the whole, so that neither dominates a part of it.
    counts = {way: directions.count(way) for way in set(directions)}
    placed = sorted((place / count, way) for way, count in counts.items() for place in range(count))
    said = _ways([way for _, way in placed])
    return said, [_Label("balanced_dialogue", said[99], said[99], 1)] if is_balanced else []


def _repeat(said: list[_Said], random: Random) -> set[Label]:
    """Say some things again, each at chosen distances; all else is said once."""
    labels: set[Label] = set()
    free = set(range(len(said)))
    for number in range(random.randint(0, 4)):
        words = f"again {number}"
        place = random.choice(sorted(free)) if free else 0
        places = _places(said, free, place, random)
        free -= {*places}
        for one in places:
            said[one].payload = words
        if random.random() < 0.3:  # what is said in the other direction is something else
            other = [one for one in free if said[one].direction is not said[place].direction]
            if other:
                one = random.choice(sorted(other))
                said[one].payload = words
                free.remove(one)
        labels |= _labels([place + 1 for place in places])
    return labels


def _places(said: list[_Said], free: set[int], place: int, random: Random) -> list[int]:
    places = [place] if place in free else []
    for _ in range(random.randint(1, 3) if places else 0):
        distance = random.choice((1, 2, 5, 9, 10, 17, 18, 19, 20, 21))
        place = places[-1] + distance
        if place not in free or said[place].direction is not said[places[0]].direction:
            break
        places.append(place)
    return places


def _labels(sequences: list[int]) -> set[Label]:
    """One finding for those that follow each other within 20 messages; a loop where three are within 20."""
    groups: list[list[int]] = []
    for sequence in sequences:
        if groups and sequence - groups[-1][-1] <= 19:
            groups[-1].append(sequence)
        else:
            groups.append([sequence])
    labels = set()
    for group in groups:
        loop = any(third - first <= 19 for first, third in zip(group, group[2:], strict=False))
        if len(group) > 1:
            labels.add(("echo_loop" if loop else "repetition", group[0], group[-1], len(group)))
    return labels


def _message(said: _Said, sequence: int) -> Message:
    source = Tract.EXTERNAL if said.direction is BACK else Tract.INTERNAL
    target = Tract.EXTERNAL if said.direction is OUT else Tract.INTERNAL
    words = said.payload or f"only {sequence}"
    # In chat format the same words with another call's id are the same; `id` is made of the sequence.
    call = {"id": str(sequence), "function": {"name": "look", "arguments": words}}
    is_call = isinstance(words, str) and sum(map(ord, words)) % 3 == 0
    payload: Payload = {"role": "assistant", "content": None, "tool_calls": [call]} if is_call else {"text": words}
    return Message(source=source, target=target, sender="somebody", payload=payload)
