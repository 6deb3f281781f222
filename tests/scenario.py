"""given(events).when(command).then(events): the rules of an aggregate as sentences.

::

    given(opened, conveyed(1)).when(lambda d: d.close("done", now=NOON)).then(closed("done"))
    given(opened, closed("done")).when(lambda d: d.close("again", now=NOON)).refused(DialogueClosedError)
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from eventsourcing.application import project_aggregate

from domain.dialogue import Dialogue, Kind
from domain.errors import CallosumError
from domain.message import Message, Payload
from domain.tract import Tract

__all__ = ["DIALOGUE", "NOON", "Scenario", "closed", "conveyed", "given", "message", "opened"]

DIALOGUE = UUID("6a1cd8a3-2f9f-4b6c-9d0e-0c1a2b3c4d5e")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Happening = Callable[[int, int], Dialogue.Event]
"""An event, given its version and the number of messages before it."""


def message(payload: Payload = "hello", *, in_reply_to: int | None = None, key: str | None = None) -> Message:
    return Message(
        source=Tract.INTERNAL,
        target=Tract.EXTERNAL,
        sender="planner",
        payload=payload,
        in_reply_to=in_reply_to,
        idempotency_key=key,
    )


def opened(kind: Kind = Kind.LIVE) -> Happening:
    return lambda version, _: Dialogue.Opened(DIALOGUE, version, NOON, Dialogue.TOPIC, "a subject", kind, {})


def conveyed(*messages: Message) -> Happening:
    return lambda version, said: Dialogue.Conveyed(DIALOGUE, version, NOON, said + 1, list(messages))


def closed(reason: str) -> Happening:
    return lambda version, _: Dialogue.Closed(DIALOGUE, version, NOON, reason)


def _happen(happenings: tuple[Happening, ...], version: int = 0, said: int = 0) -> list[Dialogue.Event]:
    events: list[Dialogue.Event] = []
    for happening in happenings:
        event = happening(version + len(events) + 1, said)
        said += len(event.messages) if isinstance(event, Dialogue.Conveyed) else 0
        events.append(event)
    return events


def given(*happenings: Happening) -> "Scenario":
    dialogue: Dialogue | None = project_aggregate(None, _happen(happenings))
    assert dialogue is not None
    return Scenario(dialogue)


@dataclass
class Scenario:
    dialogue: Dialogue
    command: Callable[[Dialogue], object] = lambda _: None

    def when(self, command: Callable[[Dialogue], object]) -> "Scenario":
        self.command = command
        return self

    def then(self, *happenings: Happening) -> None:
        version, said = self.dialogue.version, self.dialogue.message_count
        self.command(self.dialogue)
        assert self.dialogue.collect_events() == _happen(happenings, version, said)

    def refused(self, error: type[CallosumError]) -> CallosumError:
        with pytest.raises(error) as caught:
            self.command(self.dialogue)
        assert self.dialogue.collect_events() == [], "a refused command leaves no event"
        return caught.value
