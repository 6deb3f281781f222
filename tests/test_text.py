"""What agents said, as text for a terminal and as JSON."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.times import log_time
from domain.tract import Priority, Tract
from interface.encoding import as_json
from interface.text import duration, one_line, said, sent_time, shortened, visible

HOSTILE = "a\x1b[31mred\x07\x9b2J\u202egnp.exe\x7f\r\x85"
HARMFUL = {"\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r", "\x85"}


class TestText:
    def test_nothing_that_a_terminal_acts_on_is_left(self) -> None:
        assert visible(HOSTILE) == r"a\x1b[31mred\x07\x9b2J\u202egnp.exe\x7f\r\x85"

    def test_other_scripts_and_joined_emoji_are_left_alone(self) -> None:
        assert visible("שלום 你好 👩\u200d🔬\tü\n") == "שלום 你好 👩\u200d🔬\tü\n"

    def test_one_line_has_no_line_ends(self) -> None:
        assert one_line("a\r\nb\tc") == r"a\nb\tc"

    def test_text_of_the_very_length_is_not_cut(self) -> None:
        assert shortened("abcd", 4) == "abcd"
        assert shortened("abcde", 4) == "abc…"

    def test_times_are_rfc_3339_in_utc_with_the_digits_they_have(self) -> None:
        assert sent_time(1_700_000_000_000_001) == "2023-11-14T22:13:20.000001Z"
        assert log_time(1_700_000_000_000) == "2023-11-14T22:13:20.000Z"
        assert sent_time(None) is None

    @pytest.mark.parametrize(
        ("milliseconds", "read"),
        [
            (None, "unknown"),
            (0.0, "0 ms"),
            (1.234, "1.23 ms"),
            (999.0, "999 ms"),
            (1500.0, "1.5 s"),
            (7.2e6, "2 h"),
        ],
    )
    def test_durations_have_a_unit_that_fits(self, milliseconds: float | None, read: str) -> None:
        assert duration(milliseconds) == read


class TestPayloads:
    def test_text_is_itself(self) -> None:
        assert said("run the tests") == "run the tests"

    def test_bytes_say_how_many_they_are(self) -> None:
        assert said(b"\x00\x01") == "2 bytes, base64 AAE="

    def test_anything_else_is_json(self) -> None:
        assert said({"a": [1, None, b"\x00"]}) == '{"a":[1,null,{"$base64":"AA=="}]}'
        assert said(None) == "null"

    def test_a_chat_message_is_its_text_and_its_calls(self) -> None:
        call = {"id": "call_1", "function": {"name": "get_user", "arguments": '{"id": 7}'}}
        assert said({"role": "assistant", "content": "One moment.", "tool_calls": [call]}) == (
            'One moment.\ncalls get_user({"id": 7})'
        )
        assert said({"role": "assistant", "content": None, "tool_calls": [call]}) == 'calls get_user({"id": 7})'

    def test_content_in_parts_is_their_text(self) -> None:
        parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": "x.png"}]
        assert said({"role": "user", "content": parts}) == 'Look:\n{"type":"image_url","image_url":"x.png"}'

    @pytest.mark.parametrize("calls", ["get", ["get"], [{"function": "get"}], {"name": "get"}, 7])
    def test_calls_of_an_unknown_form_are_shown_as_they_are(self, calls: object) -> None:
        assert said({"role": "assistant", "content": None, "tool_calls": calls}).startswith("calls ")


class TestJSON:
    def test_every_type_has_its_form(self) -> None:
        value = {
            "id": UUID(int=1),
            "time": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
            "tract": Tract.INTERNAL,
            "priority": Priority.HIGH,
            "ratio": 0.9247554552294958,
            "raw": b"\xff",
        }
        assert json.loads(as_json(value)) == {
            "id": "00000000-0000-0000-0000-000000000001",
            "time": "2026-01-02T03:04:05.000006Z",
            "tract": "internal",
            "priority": "high",
            "ratio": 0.9247554552294958,
            "raw": {"$base64": "/w=="},
        }

    def test_it_may_be_shown_on_a_terminal_and_still_says_the_same(self) -> None:
        encoded = as_json({"ü": HOSTILE})
        assert json.loads(encoded) == {"ü": HOSTILE}
        assert HARMFUL.isdisjoint(encoded)
        assert "ü" in encoded

    def test_one_document_is_on_one_line(self) -> None:
        assert as_json({"a": "\n\u2028"}).splitlines() == [r'{"a":"\n\u2028"}']

    def test_a_type_without_a_form_is_an_error(self) -> None:
        with pytest.raises(TypeError, match="object has no form in JSON"):
            as_json(object())
