"""Transcript files: what they become, and that nothing in them is lost or changed without a word."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from application.transcripts import NAMESPACE, BrokenLine, Transcript, read_transcripts
from domain.message import Message
from domain.tract import Direction

AIRLINE = Path(__file__).parents[2] / "shared" / "data" / "airline-dialogues.jsonl"

USER = {"role": "user", "content": "Book a flight."}
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function": {"name": "search"}}]}
FOUND = {"role": "tool", "tool_call_id": "call_1", "name": "search", "content": "HAT069"}
DIALOGUE = {"messages": [USER, ASKED, FOUND]}

Read = Callable[[bytes], list[Transcript | BrokenLine]]
Only = Callable[..., Transcript]
Refusal = Callable[[bytes], str]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def content(text: bytes) -> list[Transcript | BrokenLine]:
        path = tmp_path / "runs.jsonl"
        path.write_bytes(text)
        return list(read_transcripts(path))

    return content


@pytest.fixture
def transcript(read: Read) -> Only:
    def only(value: object, *, ascii_only: bool = True) -> Transcript:
        [one] = read(json.dumps(value, ensure_ascii=ascii_only).encode())
        assert isinstance(one, Transcript), one
        return one

    return only


@pytest.fixture
def refusal(read: Read) -> Refusal:
    """Why a line is refused; whole ones before and after it must be read."""

    def reason(line: bytes) -> str:
        whole = json.dumps(DIALOGUE).encode()
        before, broken, after = read(b"\n".join([whole, line, whole]))
        assert isinstance(before, Transcript)
        assert isinstance(after, Transcript)
        assert isinstance(broken, BrokenLine)
        assert (Path(broken.file).name, broken.line) == ("runs.jsonl", 2)
        assert broken.reason.endswith("."), "a reason is a sentence"
        return broken.reason

    return reason


# JSON that is refused

deep = b'{"messages": [{"role": "user", "content": %s}]}'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"messages": [', "not JSON: expecting value at column 15"),
        (b'{"messages": [NaN]}', "holds NaN"),
        (b'{"messages": [-Infinity]}', "holds -Infinity"),
        (b'{"messages": []} x', "extra data at column 18"),
        (b'{"messages": [], "x": 1e999}', "a number beyond the range of 64 bits"),
        (b'{"messages": [], "x": 1%s}' % (b"0" * 5000), "a number beyond the range of 64 bits"),
        (b'{"messages": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"messages": ["\\udc00 \\ud83d\\ude00"]}', "half of a surrogate pair"),
        (b'{"messages": ["\\ud800", 1%s]}' % (b"0" * 5000), "half of a surrogate pair"),
        (b'{"messages": [{"role": "user", "role": "tool"}]}', "has the key 'role' twice"),
        (b'{"messages": [], "messages": []}', "has the key 'messages' twice"),
        (b'{"messages": ["\xff"]}', "not UTF-8: byte 16 is 0xff"),
        (b"\xff", "not UTF-8: byte 1 is 0xff"),
        (b"[" * 100_000, "nested too deep"),
        (b'["\\ud800", ' + b"[" * 100_000, "nested too deep"),
        (deep % (b"[" * 100_000 + b"]" * 100_000), "nested too deep"),
        (deep % (b"[" * 500 + b"]" * 500), "Message 1: its content[0] is a list; expected text or an object"),
        (b'{"messages": [{"role": "user", "x": %s}]}' % (b"[" * 500 + b"]" * 500), "nested more than 100 deep"),
    ],
    ids=lambda value: value[:30],
)
def test_json_that_is_broken_or_would_change_is_refused(refusal: Refusal, line: bytes, says: str) -> None:
    assert says in refusal(line)


# Subject and id


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


@pytest.mark.parametrize("made", [BytesIO, TemporaryFile])
def test_a_file_without_a_path_is_read_like_any(made: Callable[[], BinaryIO]) -> None:
    with made() as file:
        file.write(json.dumps(DIALOGUE).encode() + b"\n{}")
        file.seek(0)
        transcript, broken = read_transcripts(file)
    assert isinstance(transcript, Transcript)
    assert isinstance(broken, BrokenLine)
    assert (transcript.subject, broken.file) == ("<stream>:1", "<stream>")


def test_a_file_name_that_is_not_utf_8_is_shown_as_well_as_can_be(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.jsonl"
    path.write_text(json.dumps(DIALOGUE))
    [read] = read_transcripts(path)
    assert isinstance(read, Transcript)
    assert (read.subject, read.file.encode().decode()) == ("caf\ufffd.jsonl:1", f"{tmp_path}/caf\ufffd.jsonl")


def test_an_id_is_of_the_canonical_json_and_the_occurrence(read: Read) -> None:
    line = b'{"messages": [{"role": "user", "content": "\\u00e9"}], "a": 1.0}'
    canonical = '{"a":1.0,"messages":[{"content":"é","role":"user"}]}'
    ids = [one.id for one in read(b"\n".join([line, b"broken", line, line])) if isinstance(one, Transcript)]
    assert ids == [uuid5(NAMESPACE, f"{canonical}\n{occurrence}") for occurrence in range(3)]
    assert ids[0] == UUID("5617eb41-0738-58e2-8080-8b6b3fc89372"), "ids once given are kept for ever"


# Forms of files


def places(found: list[Transcript | BrokenLine]) -> list[tuple[type, int]]:
    return [(type(one), one.line) for one in found]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"messages": []}{}', "extra data at column 17; expected one document in a file, or one on a line."),
        ('{"messages": "x', "unterminated string starting at column 14."),
    ],
)
def test_a_syntax_error_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "broken.jsonl").write_text(text)
    [broken] = read_transcripts(tmp_path / "broken.jsonl")
    assert isinstance(broken, BrokenLine)
    assert broken.reason == f"It is not JSON: {reason}"


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
    broken = b'{"messages": [%s]}' % fault
    assert places(read(b"[\n%s,\n%s]" % (broken, whole))) == [(BrokenLine, 1), (Transcript, 2)]
    assert places(read(b"[\n%s,\n%s]" % (whole, broken))) == [(Transcript, 1), (BrokenLine, 2)]


def test_a_document_that_is_not_json_is_one_broken_line_with_the_place(read: Read) -> None:
    text = json.dumps([DIALOGUE, DIALOGUE], indent=1).replace("null,", "null").replace("{", "\n{", 1)
    [broken] = read(b"\n" + text.encode())
    assert isinstance(broken, BrokenLine)
    assert (broken.line, broken.reason) == (2, "It is not JSON: expecting ',' delimiter at line 13, column 5.")


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
several = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(inner) for key, inner in reversed(value.items())}
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


def no_later(messages: list[Message]) -> bool:
    return all(m.in_reply_to is None or m.in_reply_to < sequence for sequence, m in enumerate(messages, 1))


@several
@given(chats, st.booleans())
def test_payloads_come_back_unchanged_and_ids_do_not_depend_on_order(
    transcript: Only, chat: dict[str, Any], ascii_only: bool
) -> None:
    one = transcript(chat, ascii_only=ascii_only)
    assert repr([message.payload for message in one.messages]) == repr(chat["messages"]), "types and order too"
    assert one.attributes == {key: value for key, value in chat.items() if key != "messages"}
    assert no_later(one.messages)
    other = transcript(reordered(chat))
    assert (other.id, other.messages) == (one.id, one.messages)
    assert transcript({**chat, "messages": [*chat["messages"], USER]}).id != one.id


tokens = b'[ ] { } , " \\ "messages": "role":"user" "\\ud800" \xff 1e999 NaN \xef\xbb\xbf'
fragments = st.sampled_from(
    [b"\n", *tokens.split(), json.dumps(DIALOGUE).encode(), json.dumps(DIALOGUE, indent=1).encode()]
)


@several
@given(st.binary(max_size=200) | st.lists(fragments, max_size=12).map(b"".join))
@example(b"[" * 3000 + b"\n" + b"]" * 3000)
@example(b"[\n" + b"[" * 100_000)
def test_no_bytes_whatever_raise(read: Read, text: bytes) -> None:
    for one in read(text):
        assert isinstance(one, Transcript) or one.reason
