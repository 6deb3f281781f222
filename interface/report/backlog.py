"""How many messages were on their way to each tract after each event, in one pass.

What is in a backlog says `projections.deliveries`, which knows it as of any position, at the cost of a query. This
follows the same rules over the whole log; a test holds the two against each other at every position.
"""

from collections import defaultdict
from typing import Final
from uuid import UUID

from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue
from domain.gate import TRACTS, Gate
from domain.tract import Tract
from projections.deliveries import delivered_to
from projections.fold import Recorded

__all__ = ["BacklogFold"]

_SETTLED: Final = frozenset({Result.ACKED, Result.EXPIRED, Result.DEAD_LETTERED})


class BacklogFold:
    """Takes the events that are not of recorded dialogues, in order.

    Attributes:
        now: messages on their way to each tract.
        history: of each tract, when that changed (the log's time, milliseconds) and to what.
    """

    def __init__(self) -> None:
        self.now = dict.fromkeys(Tract, 0)
        self.history: dict[Tract, list[tuple[int, int]]] = {tract: [] for tract in Tract}
        self._consumers: dict[UUID, Tract] = {}
        self._dead: dict[tuple[UUID, int], Tract] = {}
        self._questions: defaultdict[UUID, set[int]] = defaultdict(set)

    def add(self, recorded: Recorded) -> None:
        before = dict(self.now)
        match recorded.event:
            case Dialogue.Conveyed(kept=False) as event:
                self._convey(event)
            case Consumer.Joined(originator_id=consumer, tract=tract):
                self._consumers[consumer] = tract
            case Consumer.Settled() as event:
                for outcome in event.outcomes:
                    self._settle(self._consumers[event.originator_id], outcome)
            case Dialogue.Redriven() as event:
                for sequence in event.sequences:
                    self.now[self._dead[event.originator_id, sequence]] += 1
            case Gate.MessagesShed() as event:
                self.now[TRACTS[event.originator_id]] -= len(event.messages)
            case _:
                return
        for tract, count in self.now.items():
            if count != before[tract]:
                self.history[tract].append((recorded.at, count))

    def _convey(self, event: Dialogue.Conveyed) -> None:
        for target in delivered_to(event, self._questions[event.originator_id]):
            self.now[target] += 1

    def _settle(self, tract: Tract, outcome: Outcome) -> None:
        if outcome.result in _SETTLED:
            self.now[tract] -= 1
        if outcome.result is Result.DEAD_LETTERED:
            self._dead[outcome.dialogue, outcome.sequence] = tract
