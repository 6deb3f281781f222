"""Tables that fit the terminal they are shown on. A figure is never cut; the less important columns make room."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Stack
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["UNKNOWN", "FittedTable", "stacked"]

UNKNOWN: Final = "–"
_UNBOUNDED: Final = 10_000


class _Layout(NamedTuple):
    """Columns to leave out, the space between the others beyond one, and whether heads have several lines."""

    left_out: Sequence[str]
    gap: int
    tall: bool


class FittedTable:
    """A table with as many of its columns as the terminal has room for.

    The first column names the row. Texts wrap at words, figures do not wrap. Where even the columns that must
    stay have no room, the terminal wraps the lines.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        *,
        texts: Mapping[str, tuple[int, int]] | None = None,
        dispensable: Sequence[str] = (),
    ) -> None:
        """Take in what to show.

        Args:
            columns: their heads; a line feed in one is where it may be broken.
            rows: a cell for each column.
            texts: which columns wrap, and the fewest and most characters that their longest words may claim.
            dispensable: columns to leave out where there is no room, the first one first.
        """
        self._columns = columns
        self._rows = list(rows)
        self._texts = texts or {}
        self._dispensable = dispensable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        layout, width = self._fitted(console, options)
        yield from console.render(self._table(layout), options.update(width=max(width, options.max_width)))
        if layout.left_out:
            names = ", ".join(map(_on_one_line, layout.left_out))
            yield Text(f"Left out on this narrow terminal: {names}.", "dim")

    def _fitted(self, console: Console, options: ConsoleOptions) -> tuple[_Layout, int]:
        """The roomiest layout that fits, else the narrowest; and the width that it needs."""
        tried: list[tuple[_Layout, int]] = []
        for layout in self._layouts():
            table = self._table(layout, measured=True)
            width = Measurement.get(console, options.update(width=_UNBOUNDED), table).minimum
            tried.append((layout, width))
            if width <= options.max_width:
                break
        return tried[-1]

    def _layouts(self) -> Iterator[_Layout]:
        yield _Layout((), gap=1, tall=False)
        for number in range(len(self._dispensable) + 1):
            yield _Layout(self._dispensable[:number], gap=1, tall=True)
            yield _Layout(self._dispensable[:number], gap=0, tall=True)

    def _table(self, layout: _Layout, *, measured: bool = False) -> Table:
        """Measured, a text's longest word claims no more than it may; it is broken where it has to be."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, layout.gap, 0, 0))
        shown = [place for place, column in enumerate(self._columns) if column not in layout.left_out]
        for place in shown:
            column = self._columns[place]
            head = column if layout.tall else _on_one_line(column)
            # The library measures a column that does not wrap as if it did.
            whole = max(map(_width, (head, *(row[place] for row in self._rows))))
            fewest, most = self._texts.get(column, (whole, None))
            table.add_column(
                head,
                style="bold" if place == 0 else "",
                no_wrap=column not in self._texts,
                min_width=fewest,
                max_width=most if measured else None,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(row[place] for place in shown))
        return table


def _width(cell: str | Text) -> int:
    return max(map(cell_len, str(cell).split("\n")))


def _on_one_line(head: str) -> str:
    return head.replace("\n", " ")


def stacked(*parts: RenderableType, notes: Sequence[str] = ()) -> RenderableType:
    """Parts with an empty line between them, and below them notes, which wrap at words."""
    apart: list[RenderableType] = []
    for part in parts:
        apart += [Text(), part] if apart else [part]
    return Stack(*apart, *(Text(note, "dim") for note in notes))
