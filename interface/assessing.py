"""How many dialogues of a kind are long enough for what is said of all of them."""

from typing import Any

import msgspec

from application.callosum import CorpusCallosum
from application.read_side import Moment
from domain.dialogue import Kind
from interface.addressing import EVERY
from interface.encoding import plain
from projections.answers import ConsciousnessMetrics
from projections.queries import DialogueSort

__all__ = ["Assessed", "assessed", "with_assessed"]


class Assessed(msgspec.Struct, frozen=True):
    """Of a kind: how many dialogues there are, and how many have enough messages for emergence."""

    dialogues: int
    assessable_dialogues: int


async def assessed(callosum: CorpusCallosum, kind: Kind, as_of: Moment | None = None) -> Assessed:
    """Asks for all dialogues only when the longest one can be assessed."""
    listed = await callosum.dialogues(kind=kind, sort=DialogueSort.TOTAL_MESSAGES, limit=1, as_of=as_of)
    if not any(longest.emergence_assessable for longest in listed.dialogues):
        return Assessed(listed.total, 0)
    listed = await callosum.dialogues(kind=kind, limit=EVERY, as_of=as_of)
    return Assessed(listed.total, sum(dialogue.emergence_assessable for dialogue in listed.dialogues))


def with_assessed(metrics: ConsciousnessMetrics, count: Assessed) -> dict[str, Any]:
    """The metrics of a kind as JSON has them."""
    return {**plain(metrics), **plain(count)}
