"""What a person sees of the demo while it runs: a scrolling view on a terminal, plain lines elsewhere."""

from collections import deque
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from application.reading import RecordedMessage
from domain.measures import Balance
from domain.tract import Direction
from interface.demo.survey import Plan, Report, role_in, said_in
from interface.text import one_line, shortened

__all__ = ["Screen"]

MOST_ROWS: Final = 16
_PAUSE: Final = 0.25
"""Seconds between two messages shown where the lines cannot scroll away; notices are always shown."""

_ARROWS: Final = {
    Direction.INTERNAL_TO_EXTERNAL: ("→", "cyan"),
    Direction.EXTERNAL_TO_INTERNAL: ("←", "green"),
    Direction.INTRA: ("·", "magenta"),
}


class Screen:
    """Shows messages, notices, and the state of the bridge, from `with` to its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: deque[Text] = deque(maxlen=max(min(console.height - 6, MOST_ROWS), 4))
        self._balance = Balance()
        self._bridge = "starting"
        self._shown_at = 0.0
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def said(self, message: RecordedMessage) -> None:
        self._balance.add(message.direction, message.sent_at)
        said = said_in(message.payload)
        if self._live is not None or isinstance(said, Plan | Report) or monotonic() - self._shown_at >= _PAUSE:
            self._show(_row(message, str(said)))

    def notice(self, sentence: str, *, style: str = "bold yellow", bridge: str | None = None) -> None:
        """Something happened to the bridge; `bridge` is its state from now on."""
        self._bridge = bridge or self._bridge
        self._show(Text(f"  {one_line(sentence)}", style=style))

    def _show(self, row: Text) -> None:
        self._shown_at = monotonic()
        if self._live is None:
            self._console.print(row, soft_wrap=True)
            return
        self._rows.append(row)
        self._live.update(self._view(), refresh=True)

    def _view(self) -> Group:
        shown = Text("\n", overflow="ellipsis", no_wrap=True).join(self._rows)
        shown.append("\n" * ((self._rows.maxlen or 0) - len(self._rows)))
        panel = Panel(shown, title="planner (internal) · tools (external)", title_align="left", border_style="dim")
        return Group(panel, Text(self._status(), overflow="ellipsis", no_wrap=True))

    def _status(self) -> str:
        balance = self._balance
        return (
            f"  {balance.total_messages} messages · balance {balance.dialogue_balance_ratio:.2f}"
            f" · bridge: {self._bridge}"
        )


def _row(message: RecordedMessage, sentence: str) -> Text:
    """``  12  planner → count    how many lines has tests/test_cli.py?``; the planner stands on the left."""
    arrow, style = _ARROWS[message.direction]
    tool = message.sender if message.direction is Direction.EXTERNAL_TO_INTERNAL else message.recipient
    other = "" if message.direction is Direction.INTRA else role_in(tool or "")
    row = Text(f"{message.sequence:>5}  planner ")
    row.append(f"{arrow} {other:<8}", style=style)
    row.append(shortened(one_line(sentence), 100))
    return row
