"""What can be asked of a dialogue, as the writer sees it: decide within a round, then tell the outcome.

A round decides many commands before it appends. What one dialogue has been asked for so far in the round is its
`Draft`; a command that is refused leaves the draft as it was.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import repeat
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec

from application.recorder import Duplicate, KeyedMessage
from domain.dialogue import Dialogue
from domain.errors import DialogueExistsError, IdempotencyConflictError
from domain.message import Message, content_digest

__all__ = ["Close", "Command", "Convey", "Draft", "Open", "Places", "Receipt", "RepeatedKeyError"]

Answer_co = TypeVar("Answer_co", covariant=True)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Proof that a message is recorded. Messages of one event share its position."""

    dialogue: UUID
    sequence: int
    position: int


class RepeatedKeyError(Exception):
    """Another command of the round brings the same key: decide this one again when that one is stored."""


class Draft:
    """What one round has decided for one dialogue: its working copy, and messages not yet made an event.

    Messages wait so that all of a round's become as few events as can be.
    """

    def __init__(self, load: Callable[[], Dialogue]) -> None:
        self._load = load
        self._dialogue: Dialogue | None = None
        self._waiting: list[Message] = []
        self._keys: dict[str, tuple[int, bytes]] = {}

    @property
    def dialogue(self) -> Dialogue:
        if self._dialogue is None:
            self._dialogue = self._load()
        return self._dialogue

    def open(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def convey(self, messages: Sequence[Message], keys: dict[str, tuple[int, bytes]]) -> int:
        """Take messages; the first one's sequence. `keys`: key -> (index in messages, content digest)."""
        if not messages:
            return 0
        if not self._keys.keys().isdisjoint(keys):
            raise RepeatedKeyError
        self.dialogue.check(messages, waiting=len(self._waiting))
        first = self.dialogue.message_count + len(self._waiting) + 1
        self._waiting.extend(messages)
        self._keys.update({key: (first + index, digest) for key, (index, digest) in keys.items()})
        return first

    def close(self, reason: str, now: datetime) -> None:
        self.flush(now)
        self.dialogue.close(reason, now=now)

    def flush(self, now: datetime) -> None:
        if self._waiting:
            self.dialogue.accept(self._waiting, now=now)
            self._waiting = []

    def stored(self) -> Dialogue | None:
        """The working copy when it has events to store."""
        return self._dialogue if self._dialogue is not None and self._dialogue.pending_events else None

    def keyed(self, first_event: int) -> list[KeyedMessage]:
        """The keys of this draft; its first event is number `first_event` of the append."""
        if not self._keys:
            return []
        conveyed = [
            (event.first_sequence + len(event.messages) - 1, number)
            for number, event in enumerate(self.dialogue.pending_events, first_event)
            if isinstance(event, Dialogue.Conveyed)
        ]
        return [
            KeyedMessage(
                self.dialogue.id, key, sequence, digest, conveyed[bisect_left(conveyed, (sequence, -1))][1]
            )
            for key, (sequence, digest) in self._keys.items()
        ]


class Places:
    """Where a dialogue's events of one append went."""

    def __init__(self) -> None:
        self.last = 0
        self._lasts: list[int] = []
        self._positions: list[int] = []

    def add(self, event: object, position: int) -> None:
        self.last = position
        if isinstance(event, Dialogue.Conveyed):
            self._lasts.append(event.first_sequence + len(event.messages) - 1)
            self._positions.append(position)

    def receipts(self, dialogue: UUID, first: int, count: int) -> list[Receipt]:
        """For `count` messages from the sequence `first` on."""
        receipts: list[Receipt] = []
        event, end = bisect_left(self._lasts, first), first + count
        while first < end:
            position, after = self._positions[event], min(self._lasts[event] + 1, end)
            receipts += map(Receipt, repeat(dialogue), range(first, after), repeat(position))
            first, event = after, event + 1
        return receipts


class Command(Protocol[Answer_co]):
    dialogue: UUID
    size: int
    """Roughly the bytes that it adds to the append."""

    def decide(self, draft: Draft, now: datetime) -> None:
        """Add to the draft, or raise and leave it as it was."""
        ...

    def unknown_keys(self) -> Sequence[str]:
        """Its idempotency keys that the store may have seen, as far as is known."""
        ...

    def repeated(self, duplicate: Duplicate) -> None:
        """The store has one of its keys: keep the first receipt, or raise when the content is another."""
        ...

    def outcome(self, places: Places) -> Answer_co:
        """The answer, when all that it added is stored."""
        ...


class Open:
    """Begin a dialogue, live or recorded. The outcome: the position of its last event."""

    def __init__(
        self,
        dialogue: UUID,
        create: Callable[[datetime], Dialogue],
        exists: Callable[[UUID], bool],
        size: int,
    ) -> None:
        self.dialogue = dialogue
        self.size = size
        self._create = create
        self._exists = exists

    def decide(self, draft: Draft, now: datetime) -> None:
        if draft.stored() is not None or self._exists(self.dialogue):
            raise DialogueExistsError(self.dialogue)
        draft.open(self._create(now))

    def unknown_keys(self) -> Sequence[str]:
        return ()

    def repeated(self, duplicate: Duplicate) -> None:
        raise AssertionError(f"opening a dialogue brings no key, yet {duplicate.key!r} was refused")

    def outcome(self, places: Places) -> int:
        return places.last


class Close:
    """End a dialogue. The outcome: the event's position."""

    size = 200

    def __init__(self, dialogue: UUID, reason: str) -> None:
        self.dialogue = dialogue
        self._reason = reason

    def decide(self, draft: Draft, now: datetime) -> None:
        draft.close(self._reason, now)

    def unknown_keys(self) -> Sequence[str]:
        return ()

    def repeated(self, duplicate: Duplicate) -> None:
        raise AssertionError(f"closing a dialogue brings no key, yet {duplicate.key!r} was refused")

    def outcome(self, places: Places) -> int:
        return places.last


class Convey:
    """Say messages. The outcome: a receipt for each, in order."""

    def __init__(self, dialogue: UUID, messages: Sequence[Message], size: int) -> None:
        self.dialogue = dialogue
        self.size = size
        self._messages = messages
        self._keyed = [message for message in messages if message.idempotency_key is not None]
        self._digests: dict[str, bytes] = {}
        self._known: dict[str, Receipt] = {}
        self._fresh: Sequence[Message] = messages
        self._first = 0

    def decide(self, draft: Draft, now: datetime) -> None:
        del now
        if not self._keyed:
            self._first = draft.convey(self._messages, {})
            return
        # In the writer's thread, because digests of a large batch would hold up the event loop.
        self._note_keys()
        fresh: list[Message] = []
        keys: dict[str, tuple[int, bytes]] = {}
        for message in self._messages:
            key = message.idempotency_key
            if key is not None:
                if key in self._known or key in keys:
                    continue
                keys[key] = (len(fresh), self._digests[key])
            fresh.append(message)
        self._first = draft.convey(fresh, keys)
        self._fresh = fresh

    def _note_keys(self) -> None:
        """Raises IdempotencyConflictError when two of the messages differ under one key."""
        if self._digests:
            return
        digests: dict[str, bytes] = {}
        for message in self._messages:
            key = message.idempotency_key
            if key is not None and digests.setdefault(key, digest := content_digest(message)) != digest:
                raise IdempotencyConflictError(self.dialogue, key, None)
        self._digests = digests

    def unknown_keys(self) -> Sequence[str]:
        return [key for key in self._digests if key not in self._known]

    def repeated(self, duplicate: Duplicate) -> None:
        if duplicate.key not in self._digests:
            return
        if self._digests[duplicate.key] != duplicate.digest:
            raise IdempotencyConflictError(self.dialogue, duplicate.key, duplicate.sequence)
        self._known[duplicate.key] = Receipt(self.dialogue, duplicate.sequence, duplicate.position)

    def outcome(self, places: Places) -> list[Receipt]:
        fresh = places.receipts(self.dialogue, self._first, len(self._fresh))
        if not self._keyed:
            return fresh
        return self._with_keys(fresh)

    def _with_keys(self, fresh: list[Receipt]) -> list[Receipt]:
        """One receipt for every message: its own, or the one that its key got first."""
        receipts: list[Receipt] = []
        own = iter(fresh)
        for message in self._messages:
            key = message.idempotency_key
            if key is None:
                receipts.append(next(own))
            else:
                if key not in self._known:
                    self._known[key] = next(own)
                receipts.append(self._known[key])
        return receipts
