"""A small plot for a terminal, drawn in braille: two dots wide and four dots high for every character."""

from collections.abc import Sequence
from typing import Final

__all__ = ["plot"]

_BLANK: Final = 0x2800
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character, by column and then row from the top."""

_MARGIN: Final = 4


def plot(
    values: Sequence[float],
    *,
    title: str,
    label: str,
    width: int = 60,
    height: int = 8,
    marks: Sequence[tuple[int, str]] = (),
) -> str:
    """Values of 0.0 to 1.0 over their numbers, which count from 1; what is outside is drawn at the edge.

    Where several values share a column of dots, the line covers all of them, so that no dip is lost. Without
    values it is an empty frame.

    Args:
        values: at number 1, 2, …
        title: what a value is.
        label: what a number counts.
        width: of the drawing, in characters.
        height: likewise.
        marks: numbers to point out below the axis, each with what to write beside it.
    """
    rows = _drawn(values, width, height)
    middle = height // 2
    ticks = {0: "1.0", middle: "0.5"}
    lines = [f"{ticks.get(place, ''):>3} │{row}".rstrip() for place, row in enumerate(rows)]
    axis, notes = _axis(len(values), width, marks)
    return "\n".join([title, *lines, f"0.0 └{axis}", _numbers(len(values), width, label), *notes])


def _drawn(values: Sequence[float], width: int, height: int) -> list[str]:
    cells = [[_BLANK] * width for _ in range(height)]
    columns, top = 2 * width, 4 * height - 1
    before = None
    for column in range(columns if values else 0):
        some = _share(values, column, columns)
        levels = [round(min(max(value, 0.0), 1.0) * top) for value in some]
        if before is not None:
            levels.append(before)  # so that a jump is drawn as a line
        before = levels[len(some) - 1]
        for level in range(min(levels), max(levels) + 1):
            row, dot = divmod(top - level, 4)
            cells[row][column // 2] |= _DOTS[column % 2][dot]
    return ["".join(map(chr, row)).replace(chr(_BLANK), " ") for row in cells]


def _share(values: Sequence[float], column: int, columns: int) -> Sequence[float]:
    """The values that fall into a column; with fewer values than columns, one value fills several."""
    first = column * len(values) // columns
    last = max((column + 1) * len(values) // columns, first + 1)
    return values[first:last]


def _axis(count: int, width: int, marks: Sequence[tuple[int, str]]) -> tuple[str, list[str]]:
    axis = ["─"] * width
    notes = []
    for number, text in marks:
        place = min((number - 1) * width // max(count, 1), width - 1)
        axis[place] = "▲"
        notes.append(f"{' ' * (_MARGIN + 1)}▲ {number}: {text}")
    return "".join(axis), notes


def _numbers(count: int, width: int, label: str) -> str:
    last = f"{count}"
    return f"{' ' * (_MARGIN + 1)}{'1' if count else ' '}{label:^{width - 1 - len(last)}}{last}"
