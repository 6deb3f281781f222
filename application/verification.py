"""Whether the log is what was written: every digest and link of the chain recomputed, every event read."""

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from application.entries import Entry
from application.errors import LogError
from application.log import DialogueLog
from application.recorder import FIRST_CHAIN, next_chain, stored_digest
from domain.consumer import Consumer
from domain.dialogue import Dialogue
from domain.gate import Gate

__all__ = ["Problem", "Verification", "verify"]

_PAGE = 500


class Problem(msgspec.Struct, frozen=True):
    """The first position that is not as it was written, and why; 0 when the store's own check fails."""

    position: int
    reason: str


class Verification(msgspec.Struct, frozen=True):
    """What was looked at, up to the first problem if there is one.

    Attributes:
        chain: of the last good entry, hex: two logs with one chain hold the same.
    """

    events: int
    messages: int
    dialogues: int
    chain: str
    epoch: str
    problem: Problem | None


class _Walk:
    def __init__(self, log: DialogueLog) -> None:
        self._log = log
        self.position = 0
        self.chain = FIRST_CHAIN
        self.messages = 0
        self._at = 0
        self.dialogues: set[UUID] = set()
        self._aggregates: dict[UUID, tuple[int, int]] = {}

    def step(self, entry: Entry) -> str | None:
        """Take one entry in; what is wrong with it, if anything."""
        if entry.id != self.position + 1:
            return f"is missing; the next one is {entry.id}"
        try:
            if entry.at < self._at:
                return "has a time before the entry before it"
            chain = next_chain(self.chain, stored_digest(entry), entry.at)
        except (AttributeError, TypeError, ValueError):
            return "is damaged: a value is not of its kind"
        if chain != entry.chain:
            return "does not match the chain: it, or an entry before it, is not what was written"
        try:
            event = self._log.recorded(entry).event
        except LogError as error:
            return error.reason
        reason = self._follows(event, entry.topic)
        if reason is None:
            self.position, self.chain, self._at = entry.id, chain, entry.at
        return reason

    def _follows(self, event: Dialogue.Event | Consumer.Event | Gate.Event, topic: str) -> str | None:
        version, said = self._aggregates.get(event.originator_id, (0, 0))
        if event.originator_version != version + 1:
            kind = topic.partition(".")[0]
            return f"is version {event.originator_version} of its {kind}, after version {version}"
        if isinstance(event, Dialogue.Conveyed):
            if event.first_sequence != said + 1:
                return f"begins with message {event.first_sequence} of its dialogue, after message {said}"
            said += len(event.messages)
            self.messages += len(event.messages)
        self._aggregates[event.originator_id] = (event.originator_version, said)
        if isinstance(event, Dialogue.Event):
            self.dialogues.add(event.originator_id)
        return None


def verify(log: DialogueLog, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Walk the log from position 1 to its head as of now.

    Args:
        log: what to walk.
        progress: called now and then with (position, head).
    """
    walk, problem = _Walk(log), _damage(log)
    head = log.head() if problem is None else 0
    while walk.position < head and problem is None:
        entries = log.recorder.select_entries(after=walk.position, limit=_PAGE, stop=head)
        problem = _first_problem(walk, entries)
        if progress is not None:
            progress(walk.position, head)
    return Verification(walk.position, walk.messages, len(walk.dialogues), walk.chain.hex(), log.epoch, problem)


def _damage(log: DialogueLog) -> Problem | None:
    damage = log.recorder.check()
    return None if damage is None else Problem(0, f"the store's own check finds: {damage}")


def _first_problem(walk: _Walk, entries: Sequence[Entry]) -> Problem | None:
    if not entries:
        return Problem(walk.position + 1, "is missing; so is every one after it")
    for entry in entries:
        reason = walk.step(entry)
        if reason is not None:
            return Problem(walk.position + 1, reason)
    return None
