"""The command that steps through history: `replay`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from application.callosum import CorpusCallosum
from application.read_side import Moment
from application.steps import Replayed
from domain.times import log_time
from interface.addressing import dialogue_named
from interface.encoding import as_json, plain
from interface.keys import Keys, pressed
from interface.lines import message_lines
from interface.log import message_fields
from interface.render import coordination, emergence
from interface.session import Command, console, errors, print_lines
from interface.text import one_line, shortened

__all__ = ["replay_log"]

MOST_KEPT: Final = 1000
"""Steps to go back without folding again what goes before."""

NOTHING: Final = "No messages."
_BEGIN_LINE_ANEW: Final = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
_HELP: Final = "Enter next   b back   g go to a position   p play or pause   q quit"


def replay_log(
    name: str | None, first: Moment | None, last: Moment | None, *, speed: float, full: bool, json: bool
) -> Command:
    """Replayed through it by key where there is a terminal; else all steps at once."""

    async def command(callosum: CorpusCallosum) -> int:
        dialogue = None if name is None else await dialogue_named(callosum, name)
        start = 1 if first is None else first
        await callosum.check_range(start, last)

        def begin() -> AsyncIterator[Replayed]:
            return callosum.steps(dialogue, start=start, stop=last)

        if not json and sys.stdin.isatty() and sys.stdout.isatty():
            with pressed(sys.stdin.fileno()) as keys:
                await _Player(_History(begin), keys, speed=speed, full=full, of_all=dialogue is None).run()
        else:
            await _print_all(begin(), full=full, json=json, of_all=dialogue is None)
        return 0

    return command


async def _print_all(steps: AsyncIterator[Replayed], *, full: bool, json: bool, of_all: bool) -> None:
    out, nothing = console(), True
    async for step in steps:
        nothing = False
        if json:
            out.print(as_json(_step_fields(step)), soft_wrap=True)
        else:
            print_lines(out, step_lines(step, full=full, of_all=of_all))
    if nothing:
        errors().print(NOTHING)


def _step_fields(step: Replayed) -> dict[str, Any]:
    return {"message": message_fields(step.message), "measures": plain(step.measures)}


def step_lines(step: Replayed, *, full: bool, of_all: bool) -> Text:
    """The message as in a transcript, and below it the measures of its dialogue right after it."""
    text = Text("\n").join([*_heading(step, of_all), message_lines(step.message, full=full)])
    measures = step.measures
    balance = f"balance {measures.dialogue_balance_ratio:.3f}   coordination {coordination(measures)}"
    awaits = "" if measures.awaiting is None else f"   awaits {measures.awaiting}"
    text.append(f"\n    {balance}\n    emergence {emergence(measures)}{awaits}", "dim")
    if measures.episode_since is not None:
        text.append(f"\n    in an emergence episode since #{measures.episode_since}", "dim")
    for finding in measures.findings:
        what = "begins" if finding.begins else "goes on"
        text.append(f"\n    {finding.pattern} {what}: {one_line(finding.why)}", "yellow")
    return text


def _heading(step: Replayed, of_all: bool) -> list[Text]:
    """Of which dialogue it is, where it could be any."""
    if not of_all:
        return []
    message = step.message
    subject = one_line(shortened(step.measures.subject, 60))
    place = f"{message.position}  {log_time(message.at)}  {str(message.dialogue)[:8]}  {subject}"
    return [Text(place, "dim")]


class _History:
    """The steps by their numbers, from 0. The last ones are kept; for earlier ones it begins anew."""

    def __init__(self, begin: Callable[[], AsyncIterator[Replayed]]) -> None:
        self._begin = begin
        self._restart()

    def _restart(self) -> None:
        self._steps = self._begin()
        self._first = 0
        self._kept: list[Replayed] = []

    async def at(self, number: int) -> Replayed | None:
        """None: there are not so many."""
        if number < self._first:
            self._restart()
        while number >= self._first + len(self._kept):
            step = await anext(self._steps, None)
            if step is None:
                return None
            self._kept.append(step)
            if len(self._kept) > 2 * MOST_KEPT:
                del self._kept[:MOST_KEPT]
                self._first += MOST_KEPT
        return self._kept[number - self._first]

    async def reaching(self, position: int) -> int | None:
        """The first step at or beyond a position of the log; None: all are before it."""
        if not self._kept or self._kept[0].message.position >= position:
            self._restart()
        number = self._first
        while (step := await self.at(number)) is not None:
            if step.message.position >= position:
                return number
            number += 1
        return None


class _Player:
    """Shows one step at a time and does what keys ask for."""

    def __init__(self, history: _History, keys: Keys, *, speed: float, full: bool, of_all: bool) -> None:
        self._history, self._keys = history, keys
        self._pause, self._full, self._of_all = 1 / speed, full, of_all
        self._out: Console = console()
        self._number = 0
        self._playing = False

    async def run(self) -> None:
        if await self._history.at(0) is None:
            errors().print(NOTHING)
            return
        await self._show("")
        while (key := await self._key()) != "quit":
            await self._do(key)

    async def _key(self) -> str:
        try:
            async with asyncio.timeout(self._pause if self._playing else None):
                return await self._keys.get()
        except TimeoutError:
            return "next"

    async def _do(self, key: str) -> None:
        if key == "next":
            await self._move(self._number + 1)
        elif key == "back":
            self._playing = False
            await self._move(max(0, self._number - 1))
        elif key == "go":
            self._playing = False
            await self._go()
        elif key == "play":
            self._playing = not self._playing
            await self._show("")

    async def _move(self, number: int) -> None:
        if await self._history.at(number) is None:
            self._playing = False
            await self._show("This is the last message.")
            return
        self._number = number
        await self._show("")

    async def _go(self) -> None:
        typed = ""
        self._prompt(typed)
        while (key := await self._keys.get(digits=True)) not in {"next", "quit"}:
            typed = typed[:-1] if key == "erase" else typed + key if key.isdecimal() else typed
            self._prompt(typed)
        if key == "quit" or not typed:
            await self._show("")
            return
        number = await self._history.reaching(int(typed))
        if number is None:
            await self._show(f"No message at position {typed} or after it.")
        else:
            await self._move(number)

    def _prompt(self, typed: str) -> None:
        self._out.control(_BEGIN_LINE_ANEW)
        self._out.print(f"Go to position: {typed}", end="")

    async def _show(self, note: str) -> None:
        step = await self._history.at(self._number)
        assert step is not None, "it was shown or found before"
        self._out.clear()
        print_lines(self._out, step_lines(step, full=self._full, of_all=self._of_all))
        state = "   playing" if self._playing else ""
        said = f"{note}   " if note else ""
        self._out.print(Text(f"\n{said}position {step.message.position}{state}   {_HELP}", "dim"))
