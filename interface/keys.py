"""Keys of a terminal, one by one, on the event loop."""

import asyncio
import os
import re
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Keys", "pressed"]

_KEY: Final = re.compile(rb"\x1b[\[O][A-D]|.", re.DOTALL)
_MEANINGS: Final = {
    b"\r": "next",
    b"\n": "next",
    b" ": "next",
    b"\x1b[C": "next",
    b"\x1bOC": "next",
    b"b": "back",
    b"\x1b[D": "back",
    b"\x1bOD": "back",
    b"g": "go",
    b"p": "play",
    b"q": "quit",
    b"\x04": "quit",
}
_ERASE: Final = {b"\x7f": "erase", b"\x08": "erase", b"\x1b": "quit"}


class Keys:
    """What was pressed and not yet asked for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def take(self, some: bytes) -> None:
        """Of the terminal; nothing is its end."""
        for key in _KEY.findall(some) if some else [b"q"]:
            self._queue.put_nowait(key)

    async def get(self, *, digits: bool = False) -> str:
        """The next one that means something.

        Args:
            digits: whether digits do, the key that erases one, and Escape, to leave it at that.
        """
        while True:
            key = await self._queue.get()
            if digits and (key.isdigit() or key in _ERASE):
                return _ERASE.get(key) or key.decode()
            if key in _MEANINGS:
                return _MEANINGS[key]


@contextmanager
def pressed(terminal: int) -> Iterator[Keys]:
    """Hear of every key at once while the block lasts; Ctrl-C stays what it is."""
    keys, loop = Keys(), asyncio.get_running_loop()
    before = termios.tcgetattr(terminal)

    def read() -> None:
        some = os.read(terminal, 1024)
        if not some:
            loop.remove_reader(terminal)
        keys.take(some)

    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    try:
        yield keys
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
