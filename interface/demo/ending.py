"""What the demo shows at its end: what the planner learned, the measures, balance over time, and the verdict."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from application.reading import RecordedMessage
from application.verification import Verification
from domain.measures import ASSESSABLE_ABOVE, Balance
from interface.demo.audit import Audit
from interface.demo.planner import MARKS
from interface.demo.plot import plot
from interface.demo.survey import Report, said_in
from interface.render import BALANCE, BALANCED, COORDINATION, EMERGENCE
from interface.text import duration, many, one_line
from projections.answers import ConsciousnessMetrics, ResponseTime

__all__ = [
    "Evidence",
    "Kill",
    "balance_over_time",
    "command_name",
    "learned",
    "metrics_table",
    "show_ending",
    "verdict",
]

MOST_SHOWN: Final = 8


class Kill(msgspec.Struct, frozen=True):
    """The bridge's process was killed; `after` that many messages of the dialogue were recorded."""

    pid: int
    after: int


class Evidence(msgspec.Struct, frozen=True):
    """What the log and the read model say about the dialogue, once it is closed."""

    transcript: Sequence[RecordedMessage]
    audit: Audit
    verification: Verification
    metrics: ConsciousnessMetrics

    @property
    def passed(self) -> bool:
        """Nothing is lost, repeated or left open, and the log is as it was written."""
        return self.audit.passed and self.verification.problem is None


def show_ending(console: Console, dialogue: UUID, evidence: Evidence, kills: Sequence[Kill], *, url: str) -> None:
    transcript = evidence.transcript
    _show(console, "", *learned(transcript), "")
    console.print(metrics_table(evidence.metrics))
    _show(console, "", balance_plot(transcript, kills, width=min(60, max(console.width - 6, 20))), "")
    _show(console, *verdict(evidence, kills), style="bold green" if evidence.passed else "bold red")
    _show(console, "", "The log stays. To look further:")
    where = f"{str(dialogue)[:8]} --url {shlex.quote(url)}"
    _show(console, *(f"  {command_name()} {command} {where}" for command in ("transcript", "metrics")))


def command_name() -> str:
    """How to start the command line again in the way that this process was."""
    program = Path(sys.argv[0])
    if program.name != "callosum":
        return "python -m interface.cli"
    return program.name if shutil.which(program.name) == str(program) else shlex.quote(str(program))


def verdict(evidence: Evidence, kills: Sequence[Kill]) -> list[str]:
    """The claim, and everything that speaks against it."""
    audit, problem = evidence.audit, evidence.verification.problem
    chain = "verified" if problem is None else "broken"
    counts = f"{len(audit.lost)} lost, {len(audit.repeated)} repeated"
    lines = [f"{many(audit.acknowledged, 'message')} acknowledged, {counts}; chain {chain}."]
    failures = {
        "Lost": audit.lost,
        "Repeated": audit.repeated,
        "Missing from the log": audit.missing,
        "Questions without an answer": audit.unanswered,
    }
    lines += [f"{what}: messages {', '.join(map(str, found))}." for what, found in failures.items() if found]
    if problem is not None:
        lines.append(f"Position {problem.position} {problem.reason}.")
    if not kills:
        lines.append("The dialogue was over before the bridge's process could be killed.")
    return lines


def learned(transcript: Sequence[RecordedMessage]) -> list[str]:
    """The planner's report in sentences."""
    reports = [said for message in transcript if isinstance(said := said_in(message.payload), Report)]
    return [one_line(line) for report in reports for line in _sentences(report)]


def _sentences(report: Report) -> list[str]:
    lines = [
        "What the planner learned:",
        f"  {many(report.files, 'text file')} in {many(report.directories, 'directory', 'directories')}",
        f"  {many(report.passed_over, 'entry', 'entries')} passed over: hidden, links, binary or large",
        f"  {many(report.lines, 'line')} in {many(report.counted, 'file')} that it had counted",
    ]
    if report.longest is not None:
        path, count = report.longest
        lines.append(f"  the longest is {path} with {many(count, 'line')}")
    for word, matches, files in sorted(report.found, key=lambda one: (one[0] not in MARKS, -one[1]))[:MOST_SHOWN]:
        lines.append(f"  {word}: {many(matches, 'match', 'matches')} in {many(files, 'file')}")
    return lines + [f"  not read: {failure}" for failure in report.unread[:MOST_SHOWN]]


def metrics_table(metrics: ConsciousnessMetrics) -> Table:
    """The measures of one dialogue, each with what it says."""
    table = Table(title="consciousness metrics", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("meaning")
    total, z = metrics.total_messages, metrics.coordination_z
    directions = f"{metrics.internal_to_external} → and {metrics.external_to_internal} ←, the others on one tract"
    table.add_row("messages", str(total), directions)
    table.add_row(BALANCE, f"{metrics.dialogue_balance_ratio:.4f}", "1: both tracts say as much")
    balanced = "messages right after which balance was above 0.7"
    table.add_row(BALANCED, str(metrics.balanced_dialogue_events), balanced)
    if metrics.emergence_assessable:
        formula = "0.7 · balance + 0.3 · min(1, balanced messages / 100)"
        table.add_row(EMERGENCE, f"{metrics.emergence_score:.4f}", formula)
    else:
        table.add_row(EMERGENCE, "none", f"not assessable: {total} of {ASSESSABLE_ABOVE + 1} messages")
    turns = "above 0 they take turns, below 0 they hold monologues"
    table.add_row(COORDINATION, "unknown" if z is None else f"{z:.2f}", turns)
    table.add_row("external answers", *_response(metrics.response_time.external))
    table.add_row("internal answers", *_response(metrics.response_time.internal))
    table.add_row("findings", str(metrics.findings), "patterns: `callosum findings` tells which, where and why")
    return table


def _response(time: ResponseTime) -> tuple[str, str]:
    return duration(time.p50), f"median of {many(time.count, 'answer')}; 99 % within {duration(time.p99)}"


def balance_over_time(transcript: Sequence[RecordedMessage]) -> list[float]:
    """The dialogue's balance ratio after each message."""
    balance, ratios = Balance(), []
    for message in transcript:
        balance.add(message.direction, message.sent_at)
        ratios.append(balance.dialogue_balance_ratio)
    return ratios


def balance_plot(transcript: Sequence[RecordedMessage], kills: Sequence[Kill], *, width: int) -> str:
    marks = [(kill.after, f"process {kill.pid} killed") for kill in kills]
    ratios = balance_over_time(transcript)
    return plot(ratios, title="balance", label="message number", width=width, marks=marks)


def _show(console: Console, *lines: str, style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
