"""Transcript files: what they become, and that nothing in them is lost or changed without a word."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from application.transcripts import NAMESPACE, BrokenLine, Transcript, read_transcripts
from domain.message import MOST_PAYLOAD_BYTES, Message
from domain.tract import Direction

AIRLINE = Path(__file__).parents[2] / "shared" / "data" / "airline-dialogues.jsonl"

USER = {"role": "user", "content": "Book a flight."}
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function": {"name": "search"}}]}
FOUND = {"role": "tool", "tool_call_id": "call_1", "name": "search", "content": "HAT069"}
DIALOGUE = {"messages": [USER, ASKED, FOUND]}

Read = Callable[[bytes], list[Transcript | BrokenLine]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def content(text: bytes) -> list[Transcript | BrokenLine]:
        path = tmp_path / "runs.jsonl"
        path.write_bytes(text)
        return list(read_transcripts(path))

    return content


@pytest.fixture
def transcript(read: Read) -> Callable[[object], Transcript]:
    def only(value: object) -> Transcript:
        [one] = read(json.dumps(value).encode())
        assert isinstance(one, Transcript), one
        return one

    return only


@pytest.fixture
def refusal(read: Read) -> Callable[[object], str]:
    """Why a line is refused, given as it is written or as a value; a whole one before and after must be read."""

    def reason(line: object) -> str:
        written = line if isinstance(line, bytes) else json.dumps(line).encode()
        whole = json.dumps(DIALOGUE).encode()
        before, broken, after = read(b"\n".join([whole, written, whole]))
        assert isinstance(before, Transcript)
        assert isinstance(after, Transcript)
        assert isinstance(broken, BrokenLine)
        assert (Path(broken.file).name, broken.line) == ("runs.jsonl", 2)
        assert broken.reason.endswith("."), "a reason is a sentence"
        return broken.reason

    return reason


Only = Callable[[object], Transcript]
Refusal = Callable[[object], str]


def say(**fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "hello", **fields}]}


# What a dialogue becomes


def test_an_assistant_speaks_outward_and_everyone_else_inward(transcript: Only) -> None:
    roles = ["assistant", "user", "tool", "function"]
    messages = transcript([{"role": role, "content": "x"} for role in roles]).messages
    inward = Direction.EXTERNAL_TO_INTERNAL
    assert [m.direction for m in messages] == [Direction.INTERNAL_TO_EXTERNAL, inward, inward, inward]


def test_the_payload_is_the_message_object_whole(transcript: Only) -> None:
    said = {**USER, "refusal": None, "nested": {"a": [1, 2.5, True]}}
    assert transcript([said]).messages[0].payload == said


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
def test_the_sender_is_the_name_or_else_the_role(transcript: Only, fields: dict[str, Any], sender: str) -> None:
    assert transcript(say(**fields)).messages[0].sender == sender


def test_instructions_are_kept_with_the_attributes(transcript: Only) -> None:
    system, developer = {"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be short."}
    read = transcript({"messages": [system, USER, developer], "reward": 1.0, "title": "a run", "task": {"id": 3}})
    assert read.attributes == {
        "reward": 1.0,
        "title": "a run",
        "task": {"id": 3},
        "system_messages": [system, developer],
    }
    assert [m.payload for m in read.messages] == [USER]


def test_without_instructions_the_attributes_are_the_other_keys_alone(transcript: Only) -> None:
    assert transcript([USER]).attributes == {}
    assert transcript({**DIALOGUE, "system_messages": "mine"}).attributes == {"system_messages": "mine"}


@pytest.mark.parametrize("key", ["messages", "traj", "history"])
def test_the_messages_stand_under_one_of_three_keys(transcript: Only, key: str) -> None:
    read = transcript({key: [USER], "info": 1})
    assert (len(read.messages), read.attributes) == (1, {"info": 1})


def test_the_first_key_with_messages_counts_and_the_others_are_attributes(transcript: Only) -> None:
    read = transcript({"history": [USER, USER], "traj": [USER], "messages": []})
    assert (len(read.messages), read.attributes) == (1, {"history": [USER, USER], "messages": []})


@pytest.mark.parametrize(
    ("keys", "subject"),
    [
        ({"subject": "Flights"}, "Flights"),
        ({"title": "Flights"}, "Flights"),
        ({"title": "Flights", "subject": "Seattle"}, "Seattle"),
        ({"title": "Flights", "subject": 7}, "Flights"),
        ({"title": "x" * 200}, "x" * 200),
        ({"title": "x" * 201}, "runs.jsonl:1"),
        ({"title": " "}, "runs.jsonl:1"),
        ({}, "runs.jsonl:1"),
    ],
)
def test_the_subject_is_short_text_of_the_object_or_file_and_line(
    transcript: Only, keys: dict[str, Any], subject: str
) -> None:
    assert transcript({**DIALOGUE, **keys}).subject == subject


def test_a_file_name_that_is_not_utf_8_is_shown_as_well_as_can_be(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.jsonl"
    path.write_text(json.dumps(DIALOGUE))
    [read] = read_transcripts(path)
    assert isinstance(read, Transcript)
    assert (read.subject, read.file.encode().decode()) == ("caf\ufffd.jsonl:1", f"{tmp_path}/caf\ufffd.jsonl")


# Replies


def replies(read: Transcript) -> list[int | None]:
    return [message.in_reply_to for message in read.messages]


def test_a_tool_replies_to_the_latest_earlier_message_that_called_it(transcript: Only) -> None:
    system = {"role": "system", "content": "Be kind."}
    read = transcript([system, USER, ASKED, FOUND, ASKED, system, FOUND, FOUND])
    assert replies(read) == [None, None, 2, None, 4, 4], "instructions are not counted"


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
def test_what_no_earlier_assistant_called_replies_to_nothing(transcript: Only, messages: list[object]) -> None:
    assert replies(transcript(messages)) == [None] * len(messages)


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
        (-(10**11) - 1, None),  # beyond 10^11 in either direction: milliseconds, and 3169 years before 1970
        (2**63, None),
        (1e300, None),
        (True, None),
        (None, None),
        ([1772366400], None),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["timestamp", "created_at", "ts"])
def test_a_time_is_microseconds_or_unknown(transcript: Only, key: str, value: object, sent_at: int | None) -> None:
    assert transcript(say(**{key: value})).messages[0].sent_at == sent_at


def test_the_first_readable_time_counts(transcript: Only) -> None:
    assert transcript(say(ts=3, created_at=2, timestamp=1)).messages[0].sent_at == 1_000_000
    assert transcript(say(ts=3, created_at="noon", timestamp=True)).messages[0].sent_at == 3_000_000
    assert transcript(say()).messages[0].sent_at is None


# What is refused

deep = b'{"messages": [{"role": "user", "content": %s}]}'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"messages": [', "not JSON: expecting value at column 15"),
        (b'{"messages": [NaN]}', "holds NaN"),
        (b'{"messages": [-Infinity]}', "holds -Infinity"),
        (b'{"messages": []} x', "extra data at column 18"),
        (b'{"messages": [], "x": 1e999}', "no 64-bit number can: Number out of range - at `$.x`"),
        (b'{"messages": [], "x": 1%s}' % (b"0" * 5000), "no 64-bit number can: Integer value out of range"),
        (b'{"messages": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"messages": ["\\udc00 \\ud83d\\ude00"]}', "half of a surrogate pair"),
        (b'{"messages": ["\\ud800", 1%s]}' % (b"0" * 5000), "half of a surrogate pair"),
        (b'{"messages": [{"role": "user", "role": "tool"}]}', "has the key 'role' twice"),
        (b'{"messages": [], "messages": []}', "has the key 'messages' twice"),
        (b'{"messages": ["\xff"]}', "not UTF-8: byte 16 is 0xff"),
        (b"\xff", "not UTF-8: byte 1 is 0xff"),
        (b"[" * 100_000, "nested too deep"),
        (b'["\\ud800", ' + b"[" * 100_000, "nested too deep"),
        (deep % (b"[" * 5000 + b"]" * 5000), "nested too deep"),
        (deep % (b"[" * 500 + b"]" * 500), "Message 1: its content[0] is a list; expected text or an object"),
        (b'{"messages": [{"role": "user", "x": %s}]}' % (b"[" * 500 + b"]" * 500), "nested more than 100 deep"),
    ],
    ids=lambda value: value[:30],
)
def test_json_that_is_broken_or_would_change_is_refused(refusal: Refusal, line: bytes, says: str) -> None:
    assert says in refusal(line)


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
def test_what_is_not_chat_format_is_refused_with_its_place(refusal: Refusal, value: object, says: str) -> None:
    assert says in refusal(value)


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
def test_what_real_exports_hold_is_accepted_unchanged(transcript: Only, fields: dict[str, Any]) -> None:
    said = say(**fields)
    assert [transcript(said).messages[0].payload] == said["messages"]


def test_content_may_be_missing(transcript: Only) -> None:
    assert transcript([{"role": "assistant"}]).messages[0].payload == {"role": "assistant"}


# Ids


def test_an_id_is_of_the_canonical_json_and_the_occurrence(read: Read) -> None:
    line = b'{"messages": [{"role": "user", "content": "\\u00e9"}], "a": 1.0}'
    canonical = '{"a":1.0,"messages":[{"content":"é","role":"user"}]}'
    ids = [one.id for one in read(b"\n".join([line, b"broken", line, line])) if isinstance(one, Transcript)]
    assert ids == [uuid5(NAMESPACE, f"{canonical}\n{occurrence}") for occurrence in range(3)]
    assert ids[0] == UUID("00000000-0000-0000-0000-000000000000"), "ids once given are kept for ever"


# Forms of files


def places(found: list[Transcript | BrokenLine]) -> list[tuple[type, int]]:
    return [(type(one), one.line) for one in found]


@pytest.mark.parametrize("text", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_yields_nothing(read: Read, text: bytes) -> None:
    assert read(text) == []


def test_empty_lines_are_skipped_and_counted(read: Read) -> None:
    line = json.dumps(DIALOGUE).encode()
    found = read(b"\xef\xbb\xbf\r\n" + line + b"\r\n\r\n \n" + line + b"\n\nbroken\n")
    assert places(found) == [(Transcript, 2), (Transcript, 5), (BrokenLine, 7)]


def test_a_byte_order_mark_is_tolerated_at_the_start_alone(read: Read) -> None:
    line = b"\xef\xbb\xbf" + json.dumps(DIALOGUE).encode()
    assert places(read(line)) == [(Transcript, 1)]
    assert places(read(line + b"\n" + line)) == [(Transcript, 1), (BrokenLine, 2)]


@pytest.mark.parametrize("indent", [None, 1], ids=["one line", "many lines"])
def test_a_document_holds_one_dialogue_or_a_list_of_them(read: Read, indent: int | None) -> None:
    def document(value: object) -> list[tuple[type, int]]:
        return places(read(b"\n" + json.dumps(value, indent=indent).encode()))

    assert document(DIALOGUE) == [(Transcript, 2)]
    assert document(DIALOGUE["messages"]) == [(Transcript, 2)]
    assert document([DIALOGUE, {"traj": [USER]}]) == [(Transcript, 1), (Transcript, 2)]
    assert document([None, DIALOGUE, {"messages": []}, USER, DIALOGUE]) == [
        (BrokenLine, 1),
        (Transcript, 2),
        (BrokenLine, 3),
        (BrokenLine, 4),
        (Transcript, 5),
    ]


def test_a_dialogue_has_the_same_id_in_every_form(read: Read) -> None:
    forms = [
        json.dumps(DIALOGUE),
        json.dumps(DIALOGUE, indent=2),
        json.dumps([DIALOGUE]),
        f"[\n{json.dumps(DIALOGUE)}\n]",
        f"[\n{json.dumps(DIALOGUE)},\n{json.dumps(DIALOGUE)}\n]",
        f"[{json.dumps(DIALOGUE)}\n,{json.dumps(DIALOGUE)}]",
        f"{json.dumps(DIALOGUE)}\nbroken",
    ]
    firsts = [read(form.encode())[0] for form in forms]
    assert len({one.id for one in firsts if isinstance(one, Transcript)}) == 1
    assert all(isinstance(one, Transcript) for one in firsts)


@pytest.mark.parametrize("fault", [b'"\xff"', b'{"a": 1, "a": 2}', b"1e999"])
def test_a_fault_in_one_dialogue_of_a_document_breaks_that_one_alone(read: Read, fault: bytes) -> None:
    whole = json.dumps(DIALOGUE).encode()
    found = read(b'[\n%s,\n{"messages": [%s]},\n%s]' % (whole, fault, whole))
    assert places(found) == [(Transcript, 1), (BrokenLine, 2), (Transcript, 3)]


def test_a_document_that_is_not_json_is_one_broken_line_with_the_place(read: Read) -> None:
    text = json.dumps([DIALOGUE, DIALOGUE], indent=1).replace("null,", "null")
    [broken] = read(b"\n" + text.encode())
    assert isinstance(broken, BrokenLine)
    assert (broken.line, broken.reason) == (2, "It is not JSON: expecting ',' delimiter at line 11, column 5.")


@pytest.mark.parametrize("broken", [b'{"messages": [{"role": "user", "content": "cut o', b'{"messages": [', b"["])
def test_a_first_line_that_is_cut_off_does_not_hide_the_others(read: Read, broken: bytes) -> None:
    whole = json.dumps(DIALOGUE).encode()
    found = read(b"\n" + broken + b"\n\n" + whole + b"\n" + whole)
    assert places(found) == [(BrokenLine, 2), (Transcript, 4), (Transcript, 5)]


def test_lines_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    line = json.dumps(DIALOGUE).encode() + b"\n"
    path.write_bytes(line * 5000)
    found = read_transcripts(path)
    next(found)
    path.write_bytes(line * 3)  # what was not read yet is gone
    assert sum(1 for _ in found) < 4000


def test_what_cannot_be_opened_raises_what_the_system_says(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(read_transcripts(tmp_path / "nowhere.jsonl"))
    with pytest.raises(IsADirectoryError):
        next(read_transcripts(tmp_path))


if AIRLINE.exists():  # real runs of an agent, which are not a part of the project

    def test_the_airline_dialogues_are_read_whole() -> None:
        read = [one for one in read_transcripts(AIRLINE) if isinstance(one, Transcript)]
        messages = [message for one in read for message in one.messages]
        outward = sum(message.direction is Direction.INTERNAL_TO_EXTERNAL for message in messages)
        assert (len(read), len(messages), outward) == (100, 2558, 1229)
        assert sum(one.attributes["reward"] for one in read) == 43.0
        lines = [json.loads(line) for line in AIRLINE.read_text().splitlines()]
        assert [[message.payload for message in one.messages] for one in read] == [
            line["messages"] for line in lines
        ]
        assert all(message.in_reply_to for message in messages if message.payload["role"] == "tool")


# Laws

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(st.text(), json_values, max_size=3)
chat_messages = st.builds(
    lambda extra, fields: {**extra, **fields},
    extras,
    st.fixed_dictionaries(
        {"role": st.sampled_from(["assistant", "user", "tool", "function"])},
        optional={
            "content": st.none() | st.text() | st.lists(st.text() | extras, max_size=3),
            "tool_calls": st.none() | st.lists(st.fixed_dictionaries({"id": st.sampled_from("abc")}), max_size=2),
            "tool_call_id": st.none() | st.sampled_from("abc"),
            "name": st.none() | st.text(max_size=200),
        },
    ),
)
chats = st.builds(
    lambda extra, messages: {**extra, "messages": messages},
    extras,
    st.lists(chat_messages, min_size=1, max_size=6),
)
several = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(inner) for key, inner in reversed(value.items())}
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


def no_later(messages: list[Message]) -> bool:
    return all(m.in_reply_to is None or m.in_reply_to < sequence for sequence, m in enumerate(messages, 1))


@several
@given(chats, st.booleans())
def test_payloads_come_back_unchanged_and_ids_do_not_depend_on_order(
    transcript: Only, chat: dict[str, Any], escaped: bool
) -> None:
    one = transcript(chat)
    assert repr([message.payload for message in one.messages]) == repr(chat["messages"]), "types and order too"
    assert one.attributes == {key: value for key, value in chat.items() if key != "messages"}
    assert no_later(one.messages)
    other = transcript(reordered(chat))
    assert (other.id, other.messages) == (one.id, one.messages)
    assert transcript({**chat, "messages": [*chat["messages"], USER]}).id != one.id


fragments = st.sampled_from(
    [
        b"\n",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"messages":',
        b'"role":"user"',
        b'"\\ud800"',
        b"\xff",
        b"1e999",
        b"NaN",
    ]
    + [json.dumps(DIALOGUE).encode(), json.dumps(DIALOGUE, indent=1).encode(), b"\xef\xbb\xbf", b'"', b"\\"]
)


@several
@given(st.binary(max_size=200) | st.lists(fragments, max_size=12).map(b"".join))
@example(b"[" * 3000 + b"\n" + b"]" * 3000)
@example(b"[\n" + b"[" * 100_000)
def test_no_bytes_whatever_raise(read: Read, text: bytes) -> None:
    for one in read(text):
        assert isinstance(one, Transcript) or one.reason
