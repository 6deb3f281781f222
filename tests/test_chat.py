"""Chat format: who speaks to whom, what replies to what, when it was said, and what is refused."""

from typing import Any

import pytest

from application.chat import UnreadableError, read_chat
from domain.message import MOST_PAYLOAD_BYTES
from domain.tract import Direction

USER = {"role": "user", "content": "Book a flight."}
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function": {"name": "search"}}]}
FOUND = {"role": "tool", "tool_call_id": "call_1", "name": "search", "content": "HAT069"}
DIALOGUE = {"messages": [USER, ASKED, FOUND]}


def say(**fields: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello", **fields}]}


# What a dialogue becomes


def test_an_assistant_speaks_outward_and_everyone_else_inward() -> None:
    roles = ["assistant", "user", "tool", "function"]
    messages = read_chat([{"role": role, "content": "x"} for role in roles]).messages
    inward = Direction.EXTERNAL_TO_INTERNAL
    assert [m.direction for m in messages] == [Direction.INTERNAL_TO_EXTERNAL, inward, inward, inward]


def test_the_payload_is_the_message_object_whole() -> None:
    said = {**USER, "refusal": None, "nested": {"a": [1, 2.5, True]}}
    assert read_chat([said]).messages[0].payload == said


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ({}, "user"),
        ({"name": "Mia"}, "Mia"),
        ({"name": ""}, "user"),
        ({"name": None}, "user"),
        ({"name": 7}, "user"),
    ],
    ids=str,
)
def test_the_sender_is_the_name_or_else_the_role(fields: dict[str, Any], sender: str) -> None:
    assert read_chat(say(**fields)).messages[0].sender == sender


def test_instructions_are_kept_with_the_attributes() -> None:
    system, developer = {"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be short."}
    read = read_chat({"messages": [system, USER, developer], "reward": 1.0, "title": "a run", "task": {"id": 3}})
    assert read.attributes == {
        "reward": 1.0,
        "title": "a run",
        "task": {"id": 3},
        "system_messages": [system, developer],
    }
    assert [m.payload for m in read.messages] == [USER]


def test_without_instructions_the_attributes_are_the_other_keys_alone() -> None:
    assert read_chat([USER]).attributes == {}
    assert read_chat({**DIALOGUE, "system_messages": "mine"}).attributes == {"system_messages": "mine"}


@pytest.mark.parametrize("key", ["messages", "traj", "history"])
def test_the_messages_stand_under_one_of_three_keys(key: str) -> None:
    read = read_chat({key: [USER], "info": 1})
    assert (len(read.messages), read.attributes) == (1, {"info": 1})


def test_the_first_key_with_messages_counts_and_the_others_are_attributes() -> None:
    read = read_chat({"history": [USER, USER], "traj": [USER], "messages": []})
    assert (len(read.messages), read.attributes) == (1, {"history": [USER, USER], "messages": []})


def test_a_message_may_have_a_history_of_its_own() -> None:
    said = [{**USER, "history": [USER]}, ASKED]
    assert [m.payload for m in read_chat(said).messages] == said


# Replies


def replies(messages: list[Any]) -> list[int | None]:
    return [message.in_reply_to for message in read_chat(messages).messages]


def test_a_tool_replies_to_the_latest_earlier_message_that_called_it() -> None:
    system = {"role": "system", "content": "Be kind."}
    said = [system, USER, ASKED, FOUND, ASKED, system, FOUND, FOUND]
    assert replies(said) == [None, None, 2, None, 4, 4], "instructions are not counted"


@pytest.mark.parametrize(
    "messages",
    [
        [FOUND, ASKED],
        [ASKED, {**FOUND, "tool_call_id": "call_2"}],
        [ASKED, {**FOUND, "tool_call_id": None}],
        [{**ASKED, "tool_calls": [{"id": None}, {}]}, {**FOUND, "tool_call_id": None}],
        [{**ASKED, "role": "user"}, FOUND],
        [ASKED, {**FOUND, "role": "function"}],
        [ASKED, {**FOUND, "role": "user"}],
    ],
)
def test_what_no_earlier_assistant_called_replies_to_nothing(messages: list[Any]) -> None:
    assert replies(messages) == [None] * len(messages)


# Times

MARCH = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z


@pytest.mark.parametrize(
    ("value", "sent_at"),
    [
        ("2026-03-01T12:00:00Z", MARCH),
        ("2026-03-01T13:00:00.000001+01:00", MARCH + 1),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("2026-03-01T12:00:00", None),
        ("2026-03-01", None),
        ("2026-02-30T12:00:00Z", None),
        ("1772366400", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        (1772366400, MARCH),
        (1772366400.123456, MARCH + 123_456),
        (1772366400123, MARCH + 123_000),
        (1772366400123.25, MARCH + 123_250),
        (MARCH + 1, MARCH + 1),
        (0, 0),
        (-1.5, -1_500_000),
        (10**11, 10**17),
        (10**11 + 1, 10**14 + 1000),
        (10**14, 10**17),
        (10**14 + 1, 10**14 + 1),
        (-(10**11) - 1, -(10**14) - 1000),
        (2**63, None),
        (1e300, None),
        (True, None),
        (None, None),
        ([1772366400], None),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["timestamp", "created_at", "ts"])
def test_a_time_is_microseconds_or_unknown(key: str, value: object, sent_at: int | None) -> None:
    assert read_chat(say(**{key: value})).messages[0].sent_at == sent_at


def test_the_first_readable_time_counts() -> None:
    assert read_chat(say(ts=3, created_at=2, timestamp=1)).messages[0].sent_at == 1_000_000
    assert read_chat(say(ts=3, created_at="noon", timestamp=True)).messages[0].sent_at == 3_000_000
    assert read_chat(say()).messages[0].sent_at is None


# What is refused, and what is not


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (7, "It is 7; expected an object with messages, or a list of messages."),
        ({}, "It holds no messages; expected a list of them under 'messages', 'traj' or 'history'."),
        ([], "It holds no messages"),
        ({"messages": []}, "It holds no messages"),
        ({"messages": "hello"}, "It holds no messages"),
        (USER, "It holds no messages"),
        ([{"role": "system", "content": "Be kind."}], "It holds no messages, only instructions."),
        ([DIALOGUE], "It is a list of dialogues; in JSON Lines each has a line of its own."),
        ([USER, "hello"], 'Message 2 is "hello"; expected an object.'),
        ([USER, {"content": "x"}], "Message 2: its role is missing."),
        (say(role="robot"), 'Message 1: its role is "robot"; expected assistant, user, tool, function'),
        (say(role=None), "Message 1: its role is null"),
        (say(role="x" * 1000), 'Message 1: its role is "' + "x" * 58 + "…; expected"),
        (say(content=5), "Message 1: its content is 5; expected text, a list of parts, or null."),
        (say(content={"parts": []}), "its content is an object; expected text, a list"),
        (say(content=["a", {"type": "text"}, 3]), "its content[2] is 3; expected text or an object."),
        (say(tool_calls={}), "its tool_calls is an object; expected a list."),
        (say(tool_calls=["search"]), 'its tool_calls[0] is "search"; expected an object.'),
        (say(tool_calls=[{"id": 1}]), "its tool_calls[0].id is 1; expected text."),
        (say(tool_calls=[{}, {"function": {}}]), "its tool_calls[1].function.name is missing."),
        (say(tool_call_id=1), "its tool_call_id is 1; expected text."),
        (say(name="x" * 201), "Message 1: its name is refused: expected `str` of length <= 200."),
        (say(n=[0, 2**64]), "Message 1: its payload['n'][1] is an integer beyond 64 bits."),
        (say(content="x" * MOST_PAYLOAD_BYTES), "Message 1: its payload is 262"),
        (
            {**DIALOGUE, "n": [-(2**63) - 1]},
            "Beside its messages, the object['n'][0] is an integer beyond 64 bits.",
        ),
        ({**DIALOGUE, "x": "x" * MOST_PAYLOAD_BYTES}, "Beside its messages, the object is 262"),
        ([USER, {"role": "system", "n": 2**64}], "Message 2: its payload['n'] is an integer beyond 64 bits."),
        (
            {"messages": [{"role": "system"}, USER], "system_messages": []},
            "It has a key 'system_messages', which is where its instructions would be kept.",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_chat_format_is_refused_with_its_place(value: object, says: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_chat(value)
    assert says in str(caught.value)
    assert str(caught.value).endswith("."), "a reason is a sentence"


@pytest.mark.parametrize(
    "fields",
    [
        {"content": None, "tool_calls": None, "tool_call_id": None},
        {"content": ["text", {"type": "image_url"}, {"type": "tool_use", "id": "t", "input": {}}]},
        {"content": []},
        {"tool_calls": []},
        {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f"}, "function": None}]},
        {"function_call": {"name": "f", "arguments": "{}"}},
        {"n": [2**64 - 1, -(2**63)], "x": "\u2028\x00😀"},
    ],
    ids=str,
)
def test_what_real_exports_hold_is_accepted_unchanged(fields: dict[str, Any]) -> None:
    said = say(**fields)
    assert [read_chat(said).messages[0].payload] == said["messages"]


def test_content_may_be_missing() -> None:
    assert read_chat([{"role": "assistant"}]).messages[0].payload == {"role": "assistant"}
