"""What a message may hold: the definition, at its edges and one beyond."""

import math
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidMessageError, InvalidPayloadError
from domain.message import MOST_PAYLOAD_BYTES, MOST_PAYLOAD_DEPTH, Message, content_digest, well_formed
from domain.tract import Direction, Tract
from tests.scenario import message

payloads = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


def nested(depth: int) -> Any:
    payload: Any = "core"
    for level in range(depth):
        payload = [payload] if level % 2 else {"inner": payload}
    return payload


@given(payloads)
def test_a_payload_comes_back_as_it_was_given(payload: Any) -> None:
    [copy], size = well_formed([message(payload)])
    assert msgspec.msgpack.encode(copy.payload) == msgspec.msgpack.encode(payload)
    assert repr(copy.payload) == repr(payload), "types too: 1 is not True, and 1.0 is not 1"
    assert size > 0


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (math.nan, "payload is nan, which is not a finite number"),
        ({"x": [1.0, math.inf]}, r"payload\['x'\]\[1\] is inf"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (2**64, "beyond 64 bits"),
        (-(2**63) - 1, "beyond 64 bits"),
        (nested(1000), "nested more than 100 deep"),
        (nested(MOST_PAYLOAD_DEPTH + 1), "nested more than 100 deep"),
        ((1, 2), "is a tuple"),
        ({"a": {1, 2}}, r"payload\['a'\] is a set"),
        (object(), "is an object"),
        ({1: "a"}, "has the key 1; keys must be str"),
        (bytearray(b"x"), "is a bytearray"),
        (datetime(2026, 1, 1, tzinfo=UTC), "is a datetime"),
        (Colour.RED, "is a Colour"),
        ([Text("a")], r"payload\[0\] is a Text"),
        (message(), "is a Message"),
        ("x" * (MOST_PAYLOAD_BYTES - 4), "at most 262144 are allowed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_payload_outside_the_definition_is_refused_with_its_place(payload: Any, says: str) -> None:
    with pytest.raises(InvalidPayloadError, match=says):
        well_formed([message(), message(payload)])


@pytest.mark.parametrize(
    "payload",
    [2**64 - 1, -(2**63), nested(MOST_PAYLOAD_DEPTH), "x" * (MOST_PAYLOAD_BYTES - 5), b"", {"": None}, -0.0],
    ids=lambda value: type(value).__name__,
)
def test_a_payload_at_the_edge_of_the_definition_is_accepted(payload: Any) -> None:
    assert well_formed([message(payload)])[0][0].payload == payload


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"source": "elsewhere"}, "source"),
        ({"target": None}, "target"),
        ({"sender": ""}, "sender"),
        ({"sender": "x" * 201}, "sender"),
        ({"sender": 7}, "sender"),
        ({"recipient": ""}, "recipient"),
        ({"priority": 6}, "priority"),
        ({"priority": 0}, "priority"),
        ({"in_reply_to": 0}, "in_reply_to"),
        ({"in_reply_to": True}, "in_reply_to"),
        ({"deadline": datetime(2026, 1, 1)}, "deadline"),  # noqa: DTZ001  # it has no time zone on purpose
        ({"headers": {"traceparent": 1}}, "headers"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"correlation_id": "x" * 501}, "correlation_id"),
        ({"sender": "\ud800"}, "fields"),
    ],
    ids=str,
)
def test_a_field_outside_the_definition_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    usual = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}
    with pytest.raises(InvalidMessageError) as caught:
        well_formed([message(), Message(**{**usual, **fields})])
    assert caught.value.field.split("[")[0] == field


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="must be Message, not dict"):
        well_formed([{"payload": 1}])  # type: ignore[list-item]  # on purpose


def test_the_copy_is_out_of_reach_of_later_changes() -> None:
    payload = {"files": ["a"]}
    [copy], _ = well_formed([message(payload)])
    payload["files"].append("b")
    assert copy.payload == {"files": ["a"]}


def test_a_message_knows_its_direction() -> None:
    assert message().direction is Direction.INTERNAL_TO_EXTERNAL
    inside = Message(source=Tract.EXTERNAL, target=Tract.EXTERNAL, sender="pytest")
    assert inside.direction is Direction.INTRA
    back = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="pytest")
    assert back.direction is Direction.EXTERNAL_TO_INTERNAL


def test_the_digest_is_of_what_was_said_and_not_of_when() -> None:
    said = message({"b": 1, "a": [2]})
    assert content_digest(said) == content_digest(msgspec.structs.replace(message({"a": [2], "b": 1}), sent_at=5))
    assert content_digest(said) != content_digest(message({"b": 1, "a": [3]}))
    assert content_digest(said) != content_digest(message({"b": True, "a": [2]}))
