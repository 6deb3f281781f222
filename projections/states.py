"""What the consciousness projection knows of a scope and of a dialogue.

States are stored with the read model, so folding goes on where it stopped without reading the log again.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from domain.detectors import Detectors
from domain.dialogue import Kind
from domain.measures import Balance, Coordination, EmergenceSettings, Episode, Episodes
from domain.response_times import ResponseTimes, Said, Turns
from domain.tract import Direction, Tract

__all__ = [
    "CHUNK",
    "DialogueState",
    "Measures",
    "MessageTimes",
    "Status",
    "decode_dialogue",
    "decode_measures",
    "decode_times",
    "encode",
]

CHUNK: Final = 64
"""Messages in a chunk of times: what a commit writes again for every message of a dialogue is at most this."""


class Status(StrEnum):
    """OPEN: messages may follow. CLOSED: none will; so is a recorded dialogue from birth."""

    OPEN = "open"
    CLOSED = "closed"


class Measures(msgspec.Struct, array_like=True):
    """All measures of one scope."""

    episodes: Episodes
    balance: Balance = msgspec.field(default_factory=Balance)
    coordination: Coordination = msgspec.field(default_factory=Coordination)
    internal: ResponseTimes = msgspec.field(default_factory=ResponseTimes)
    external: ResponseTimes = msgspec.field(default_factory=ResponseTimes)

    @classmethod
    def empty(cls, settings: EmergenceSettings) -> "Measures":
        return cls(Episodes(settings))

    def add(self, direction: Direction, position: int, sent_at: int | None) -> Episode | None:
        """Take a message in; returns the episode that it ended, if it ended one."""
        self.balance.add(direction, sent_at)
        self.coordination.add(direction)
        return self.episodes.add(direction, position, sent_at)

    def figures(self) -> dict[str, Any]:
        """Those that answers tell, by their names there."""
        balance, coordination = self.balance, self.coordination
        return {
            "total_messages": balance.total_messages,
            "internal_to_external": balance.internal_to_external,
            "external_to_internal": balance.external_to_internal,
            "dialogue_balance_ratio": balance.dialogue_balance_ratio,
            "balanced_dialogue_events": balance.balanced_dialogue_events,
            "emergence_score": balance.emergence_score,
            "emergence_assessable": balance.emergence_assessable,
            "runs": coordination.runs,
            "coordination_z": coordination.coordination_z,
        }

    def respond(self, internal: ResponseTimes, external: ResponseTimes) -> None:
        """Take in how long the tracts took for answers."""
        self.internal.merge(internal)
        self.external.merge(external)


class MessageTimes(msgspec.Struct, array_like=True):
    """Direction and `sent_at` of consecutive messages, to measure replies to any of them."""

    directions: bytearray = msgspec.field(default_factory=bytearray)
    sent_at: list[int | None] = msgspec.field(default_factory=list)

    def said(self, place: int) -> Said:
        return Said(Direction(self.directions[place]), self.sent_at[place])


class DialogueState(msgspec.Struct, array_like=True):
    """One dialogue.

    Attributes:
        asked_sequence, asked_at, asked_position: of the last cross-tract message, and of its event in the log; 0
            before the first.
        times: of the messages since the last full chunk.
    """

    kind: Kind
    status: Status
    last_activity: int
    last_position: int
    close_reason: str | None = None
    asked_sequence: int = 0
    asked_at: int = 0
    asked_position: int = 0
    turns: Turns = msgspec.field(default_factory=Turns)
    detectors: Detectors = msgspec.field(default_factory=Detectors)
    times: MessageTimes = msgspec.field(default_factory=MessageTimes)

    @property
    def awaiting(self) -> Tract | None:
        return self.turns.awaiting if self.status is Status.OPEN else None


encode: Final = msgspec.msgpack.Encoder().encode
decode_measures: Final = msgspec.msgpack.Decoder(Measures).decode
decode_dialogue: Final = msgspec.msgpack.Decoder(DialogueState).decode
decode_times: Final = msgspec.msgpack.Decoder(MessageTimes).decode
