"""Events to stored bytes and back; and every stored form ever released still loads."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.compressor import ZlibCompressor
from eventsourcing.domain import BaseAggregate, CanInitAggregate, event
from eventsourcing.persistence import JSONTranscoder, Notification, StoredEvent
from eventsourcing.utils import Environment

from application.codec import EventMapper, events_of, stored_fields
from application.errors import UnknownTopicError, UnreadableEventError
from application.upcasts import Upcast
from domain.dialogue import Dialogue, Kind
from tests.scenario import DIALOGUE, NOON, closed, conveyed, message, opened

CORPUS = Path(__file__).parent / "corpus" / "events.jsonl"
EVENTS = [
    opened()(1, 0),
    conveyed(message({"text": "a", "raw": b"\x00"}), message(None))(2, 0),
    closed("done")(3, 2),
]


def mapper(*, compressed: bool = False, key: str | None = None) -> EventMapper:
    return EventMapper(
        JSONTranscoder(),
        compressor=ZlibCompressor() if compressed else None,
        cipher=AESCipher(Environment(env={"CIPHER_KEY": key})) if key else None,
    )


CASES = [json.loads(line) for line in CORPUS.read_text().splitlines()]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TOPIC)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("key", [None, AESCipher.create_key(16)], ids=["plain", "encrypted"])
def test_an_event_comes_back_as_it_was(event: Dialogue.Event, compressed: bool, key: str | None) -> None:
    stored = mapper(compressed=compressed, key=key).to_stored_event(event)
    assert mapper(compressed=compressed, key=key).to_domain_event(stored) == event


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['topic']}-{case['case']}")
def test_every_released_stored_form_loads(case: dict[str, Any]) -> None:
    stored = StoredEvent(UUID(case["originator_id"]), case["version"], case["topic"], bytes.fromhex(case["state"]))
    loaded = mapper().to_domain_event(stored)
    assert json.loads(msgspec.json.encode(loaded)) == case["event"]


def test_every_topic_is_in_the_corpus() -> None:
    topics = {event_class.TOPIC for kind in EventMapper.aggregates for event_class in events_of(kind)}
    assert topics <= {case["topic"] for case in CASES}


def test_the_state_names_no_class_and_repeats_nothing_the_store_knows() -> None:
    for happened in EVENTS:
        stored = mapper().to_stored_event(happened)
        fields = msgspec.msgpack.decode(stored.state)
        assert len(fields) == len(stored_fields(type(happened)))
        assert b"domain" not in stored.state
        assert b"Dialogue" not in stored.state


def test_a_state_is_the_events_own_fields_and_nothing_else() -> None:
    states = [msgspec.msgpack.decode(mapper().to_stored_event(happened).state) for happened in EVENTS]
    assert states[0] == [NOON, "a subject", "live", {}]
    assert states[1][:2] == [NOON, 1]
    assert states[2] == [NOON, "done"]


def test_an_unknown_topic_is_an_error_that_names_the_position() -> None:
    stored = Notification(DIALOGUE, 1, "os:system", b"", id=42)
    with pytest.raises(UnknownTopicError, match=r"position 42 .*'os:system' is not known") as caught:
        mapper().to_domain_event(stored)
    assert (caught.value.position, caught.value.topic) == (42, "os:system")


@pytest.mark.parametrize(
    "state",
    [b"", b"\xc1", msgspec.msgpack.encode(["not a time", "done"]), msgspec.msgpack.encode({"reason": "done"})],
    ids=["empty", "garbage", "wrong type", "wrong shape"],
)
def test_a_state_that_does_not_decode_is_an_error_that_names_the_place(state: bytes) -> None:
    with pytest.raises(UnreadableEventError, match=f"version 3 of {DIALOGUE}") as caught:
        mapper().to_domain_event(StoredEvent(DIALOGUE, 3, "dialogue.closed.v1", state))
    assert caught.value.position is None


def test_a_changed_bit_of_an_encrypted_state_is_an_error() -> None:
    secret = mapper(key=AESCipher.create_key(32))
    stored = secret.to_stored_event(EVENTS[1])
    for place in range(0, len(stored.state), 7):
        state = bytearray(stored.state)
        state[place] ^= 1
        with pytest.raises(UnreadableEventError):
            secret.to_domain_event(StoredEvent(DIALOGUE, 2, stored.topic, bytes(state)))


def test_a_field_appended_with_a_default_reads_older_states() -> None:
    """What `Message` promises: a shorter array is an older message."""
    old = msgspec.msgpack.encode([NOON, 1, [["internal", "external", "planner", "hello", 2]]])
    loaded = mapper().to_domain_event(StoredEvent(DIALOGUE, 2, "dialogue.conveyed.v1", old))
    assert loaded.messages == [message("hello")]


class Ticket(BaseAggregate[UUID]):
    """An aggregate whose first event was once stored otherwise."""

    TOPIC = "test.ticket"

    class Event(Dialogue.Event, frozen=True):
        pass

    class Raised(Event, CanInitAggregate[UUID], frozen=True):
        TOPIC = "test.ticket.raised.v2"
        originator_topic: str
        minutes: int
        tags: list[str] = msgspec.field(default_factory=list)

    @event(Raised)
    def __init__(self, minutes: int) -> None:
        self.minutes = minutes


class RaisedV1(msgspec.Struct, array_like=True):
    timestamp: datetime
    hours: float


class TicketMapper(EventMapper):
    aggregates = (Ticket,)
    upcasts: ClassVar[tuple[Upcast, ...]] = (
        Upcast(
            "test.ticket.raised.v1",
            RaisedV1,
            Ticket.Raised,
            lambda old: {"timestamp": old.timestamp, "minutes": round(old.hours * 60)},
        ),
    )


def test_an_old_topic_is_read_as_todays_class() -> None:
    state = msgspec.msgpack.encode(RaisedV1(datetime(2026, 1, 1, tzinfo=UTC), 1.5))
    loaded = TicketMapper(JSONTranscoder()).to_domain_event(
        StoredEvent(DIALOGUE, 1, "test.ticket.raised.v1", state)
    )
    assert isinstance(loaded, Ticket.Raised)
    assert (loaded.minutes, loaded.originator_topic) == (90, "test.ticket")
    ticket: Ticket | None = loaded.mutate(None)
    assert ticket is not None
    assert (ticket.id, ticket.minutes) == (DIALOGUE, 90)


def test_a_field_appended_with_a_default_factory_reads_older_states() -> None:
    state = msgspec.msgpack.encode([NOON, 90])
    loaded = TicketMapper(JSONTranscoder()).to_domain_event(
        StoredEvent(DIALOGUE, 1, "test.ticket.raised.v2", state)
    )
    assert (loaded.minutes, loaded.tags) == (90, [])


def test_kinds_are_stored_by_name() -> None:
    stored = mapper().to_stored_event(opened(Kind.RECORDED)(1, 0))
    assert "recorded" in msgspec.msgpack.decode(stored.state)
