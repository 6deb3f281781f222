"""`callosum replay`: by key on a terminal, all at once elsewhere."""

import asyncio
import signal
import termios
from pathlib import Path
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Tract
from tests.terminal import asked, at_a_terminal

WORDS = ["one", "two \x1b[31mred\x07", "one", "four", "one", "six"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("replay")
    asyncio.run(_write(f"sqlite:///{directory}/callosum.db"))
    return directory


@pytest.fixture(scope="module")
def url(directory: Path) -> str:
    return f"sqlite:///{directory}/callosum.db"


async def _write(url: str) -> UUID:
    """Positions 2 to 7 say the words; another dialogue follows."""
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("words \x1b]0;title\x07")
        for number, word in enumerate(WORDS):
            ways = (Tract.INTERNAL, Tract.EXTERNAL) if word == "one" else (Tract.EXTERNAL, Tract.INTERNAL)
            await callosum.send(dialogue, source=ways[0], target=ways[1], sender=f"s{number}", payload=word)
        other = await callosum.open_dialogue("other")
        await callosum.send(other, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="x", payload="last")
        return dialogue


class TestElsewhere:
    def test_every_message_is_printed_with_its_measures(self, url: str) -> None:
        ended = asked("replay", "--url", url)
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.count("balance ") == 7
        assert "emergence not assessable: 6 of 101 messages   awaits internal" in ended.out
        assert "repetition begins: The same was said 2 times" in ended.out
        assert "echo_loop goes on: The same was said 3 times" in ended.out
        assert "\x1b" not in ended.out

    def test_json_lines_have_the_figures(self, url: str) -> None:
        told = asked("replay", "--json", "--url", url).json_lines()
        assert [line["message"]["payload"] for line in told] == [*WORDS, "last"]
        assert [line["measures"]["total_messages"] for line in told] == [1, 2, 3, 4, 5, 6, 1]
        [loop] = told[4]["measures"]["findings"]
        assert (loop["pattern"], loop["begins"], loop["count"]) == ("echo_loop", False, 3)
        assert told[5]["measures"]["awaiting"] == "internal"

    def test_a_range_and_one_dialogue_can_be_asked_for(self, url: str) -> None:
        told = asked("replay", "--from", "4", "--to", "5", "--json", "--url", url).json_lines()
        assert [(line["message"]["position"], line["measures"]["total_messages"]) for line in told] == [
            (4, 3),
            (5, 4),
        ]
        one = asked("replay", told[0]["message"]["dialogue"][:8], "--json", "--url", url).json_lines()
        assert [line["message"]["payload"] for line in one] == WORDS

    @pytest.mark.parametrize("speed", ["0", "-1", "101", "nan", "fast"])
    def test_a_speed_is_a_number(self, speed: str) -> None:
        refused = asked("replay", "--speed", speed)
        assert refused.status == 2
        assert "is no number from 0.01 to 100." in refused.err


class TestARange:
    @pytest.mark.parametrize("command", ["replay", "export", "backtest"])
    @pytest.mark.parametrize(
        ("asked_for", "says"),
        [
            ("--from 9999", "The start of the range is 9999; the log ends at 9."),
            ("--to 99999", "The end of the range is 99999; the log ends at 9."),
            ("--from 5 --to 3", "The range ends at 3, before it begins at 5."),
            (
                "--from 2031-01-01T00:00Z --to 2030-01-01T00:00Z",
                "The range ends at 2030-01-01T00:00:00+00:00, before it begins at 2031-01-01T00:00:00+00:00.",
            ),
        ],
    )
    def test_that_cannot_be_is_told(self, command: str, asked_for: str, says: str, url: str) -> None:
        refused = asked(command, *asked_for.split(), "--url", url)
        assert (refused.status, refused.out, refused.err) == (2, "", f"callosum: {says}\n")

    @pytest.mark.parametrize(("command", "says"), [("replay", "No messages.\n"), ("export", "No events.\n")])
    @pytest.mark.parametrize("asked_for", [("--from", "2130-01-01T00:00Z"), ("--to", "2001-01-01T00:00Z")])
    def test_in_which_nothing_was_said_says_so(
        self, command: str, says: str, asked_for: tuple[str, str], url: str
    ) -> None:
        ended = asked(command, *asked_for, "--url", url)
        assert (ended.status, ended.out, ended.err) == (0, "", says)


class TestOnATerminal:
    def test_keys_go_forth_and_back(self, directory: Path) -> None:
        with at_a_terminal("replay", directory=directory) as screen:
            first = screen.until("position 2 ")
            assert "s0" in first
            for key, position in (("\r", 3), (" ", 4), ("\x1b[C", 5), ("b", 4), ("\x1b[D", 3), ("b", 2), ("b", 2)):
                screen.press(key)
                screen.until(f"position {position} ")
            screen.press("q")
            assert screen.process.wait(timeout=30) == 0

    @pytest.mark.slow
    def test_g_goes_to_a_position(self, directory: Path) -> None:
        with at_a_terminal("replay", directory=directory) as screen:
            screen.until("position 2 ")
            screen.press("g6\r")
            assert "echo_loop goes on" in screen.until("position 6 ")
            screen.press("g13\x7f\x7f3\r")
            screen.until("position 3 ")
            screen.press("g8\r")
            screen.until("position 9 ")
            screen.press("g10\r")
            screen.until("No message at position 10 or after it.")
            screen.press("g5\x1b")
            screen.until("position 9 ")
            screen.press("\r")
            screen.until("This is the last message.")
            screen.press("q")
            assert screen.process.wait(timeout=30) == 0

    @pytest.mark.slow
    def test_p_plays_to_the_end_and_pauses(self, directory: Path) -> None:
        with at_a_terminal("replay", "--speed", "50", directory=directory) as screen:
            screen.until("position 2 ")
            screen.press("p")
            played = screen.until("This is the last message.")
            assert all(f"position {position} " in played for position in (3, 4, 5, 6, 7, 9))
            screen.press("b")
            assert "playing" not in screen.until("position 7 ")
            screen.press("\x04")
            assert screen.process.wait(timeout=30) == 0

    def test_nothing_that_an_agent_said_reaches_it(self, directory: Path) -> None:
        with at_a_terminal("replay", directory=directory) as screen:
            screen.until("position 2 ")
            screen.press("\r")
            shown = screen.until("position 3 ")
            assert "\\x1b[31mred\\x07" in shown
            assert "\x07" not in shown

    def test_ctrl_c_leaves_and_the_terminal_is_as_it_was(self, directory: Path) -> None:
        with at_a_terminal("replay", directory=directory) as screen:
            screen.until("position 2 ")
            cbreak = termios.tcgetattr(screen._terminal.fileno())[3]
            screen.process.send_signal(signal.SIGINT)
            assert screen.process.wait(timeout=30) == 130
            after = termios.tcgetattr(screen._terminal.fileno())[3]
            assert not cbreak & termios.ICANON
            assert after & termios.ICANON


def test_a_log_without_messages_says_so(tmp_path: Path) -> None:
    async def open_only() -> None:
        async with CorpusCallosum.open(f"sqlite:///{tmp_path}/callosum.db") as callosum:
            await callosum.open_dialogue("silent")

    asyncio.run(open_only())
    with at_a_terminal("replay", directory=tmp_path) as screen:
        screen.until("No messages.")
        assert screen.process.wait(timeout=30) == 0
