"""What the demo shows at its end: the claim, what the planner learned, the measures, balance over time."""

import shlex
from collections.abc import Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from application.reading import RecordedMessage
from application.verification import Verification
from domain.measures import Balance
from interface.audit import Audit
from interface.planner import MARKS
from interface.plot import plot
from interface.survey import Report, said_in
from interface.text import one_line

__all__ = ["Kill", "balance_over_time", "learned", "show_ending", "verdict"]

MOST_SHOWN: Final = 8


class Kill(msgspec.Struct, frozen=True):
    """The bridge's process was killed; `after` that many messages of the dialogue were recorded."""

    pid: int
    after: int


def show_ending(
    console: Console,
    transcript: Sequence[RecordedMessage],
    audited: Audit,
    verification: Verification,
    kills: Sequence[Kill],
    url: str,
) -> None:
    dialogue = transcript[0].dialogue
    _show(console, "", *learned(transcript), "")
    _show(console, balance_plot(transcript, kills, min(60, max(console.width - 6, 20))), "")
    good = audited.passed and verification.problem is None
    _show(console, *verdict(audited, verification, kills), style="bold green" if good else "bold red")
    where = f"--url {shlex.quote(url)}"
    _show(console, "", f"The log stays. Look at it with: callosum transcript {dialogue} {where}")
    _show(console, f"                            or: callosum metrics {dialogue} {where}")


def verdict(audited: Audit, verification: Verification, kills: Sequence[Kill]) -> list[str]:
    """The claim, and everything that speaks against it."""
    claim = (
        f"{audited.acknowledged} messages acknowledged, {len(audited.lost)} lost, {len(audited.repeated)} repeated;"
        f" chain {'verified' if verification.problem is None else 'broken'}."
    )
    against = [
        f"{what}: messages {', '.join(map(str, sequences))}."
        for what, sequences in (
            ("Lost", audited.lost),
            ("Repeated", audited.repeated),
            ("Missing from the log", audited.missing),
            ("Questions without an answer", audited.unanswered),
        )
        if sequences
    ]
    if verification.problem is not None:
        against.append(f"Position {verification.problem.position} {verification.problem.reason}.")
    if not kills:
        against.append("The dialogue was over before the bridge's process could be killed.")
    return [claim, *against]


def learned(transcript: Sequence[RecordedMessage]) -> list[str]:
    """The planner's report in sentences."""
    reports = [said for message in transcript if isinstance(said := said_in(message.payload), Report)]
    return [line for report in reports for line in _sentences(report)]


def _sentences(report: Report) -> list[str]:
    lines = [
        "What the planner learned:",
        f"  {report.files} text files in {report.directories} directories; {report.passed_over} entries passed over"
        " (hidden, links, binary or large)",
        f"  {report.lines} lines in the {report.counted} files that were counted",
    ]
    if report.longest is not None:
        lines.append("  the longest is {} with {} lines".format(*report.longest))
    found = sorted(report.found, key=lambda one: (one[0] not in MARKS, -one[1]))[:MOST_SHOWN]
    lines += [f"  {word} stands {matches} times in {files} files" for word, matches, files in found]
    lines += [f"  not read: {failure}" for failure in report.unread[:MOST_SHOWN]]
    return [one_line(line) for line in lines]


def balance_over_time(transcript: Sequence[RecordedMessage]) -> list[float]:
    """The dialogue's balance ratio after each message."""
    balance, ratios = Balance(), []
    for message in transcript:
        balance.add(message.direction, message.sent_at)
        ratios.append(balance.dialogue_balance_ratio)
    return ratios


def balance_plot(transcript: Sequence[RecordedMessage], kills: Sequence[Kill], width: int) -> str:
    marks = [(kill.after, f"process {kill.pid} killed") for kill in kills]
    return plot(balance_over_time(transcript), title="balance", label="message number", width=width, marks=marks)


def _show(console: Console, *lines: str, style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
