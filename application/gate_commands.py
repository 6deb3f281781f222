"""What can be asked of the gates, as the writer sees it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from application.commands import Command
from application.round import Places, Round
from domain.gate import Gate, gate_id
from domain.tract import Tract

__all__ = ["Tell"]


class Tell(Command[None]):
    """Tell a gate something; what it knows already changes nothing.

    Args:
        tract: whose gate.
        tell: is given the gate, which is built if there is none, and the time.
    """

    def __init__(self, tract: Tract, tell: Callable[[Gate, datetime], None]) -> None:
        self.aggregates = (gate_id(tract),)
        self._tract = tract
        self._tell = tell

    def decide(self, round_: Round, now: datetime) -> None:
        self._tell(round_.gate(self._tract, now), now)

    def outcome(self, places: Mapping[UUID, Places]) -> None:
        del places
