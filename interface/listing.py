"""Lists of the read side as tables: dialogues, findings, groups."""

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from interface.encoding import as_json
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import one_line, shortened
from projections.answers import (
    DialogueList,
    DialogueSummary,
    FindingList,
    FindingSummary,
    Group,
    Grouping,
    PatternCount,
)
from projections.findings import PATTERN_NAMES

__all__ = ["dialogues_table", "findings_table", "groups_table"]

MOST_SUBJECT: Final = 40
SUBJECT_WIDTHS: Final = (14, 28)
WHY_WIDTHS: Final = (40, 40)
VALUE_WIDTHS: Final = (8, 20)
LAST_ACTIVITY: Final = "last activity\n(UTC)"
GROUPS_NOTE: Final = (
    "Messages, balance and coordination are means; coordination in standard deviations from chance, in brackets"
    " for how many dialogues it is known. A pattern: findings in dialogues; repetition includes echo loops. A"
    " pattern that was not found has no column."
)


def dialogues_table(listed: DialogueList) -> RenderableType:
    columns = (
        "dialogue",
        "subject",
        "kind",
        "status",
        "messages",
        "balance",
        "coordination",
        "emergence",
        "findings",
        "awaiting",
        LAST_ACTIVITY,
    )
    table = FittedTable(
        columns,
        map(_dialogue_row, listed.dialogues),
        texts={"subject": SUBJECT_WIDTHS},
        dispensable=("kind", "awaiting", "emergence", "status", LAST_ACTIVITY),
    )
    return stacked(table, notes=[f"{len(listed.dialogues)} of {listed.total} shown."])


def _dialogue_row(dialogue: DialogueSummary) -> list[str | Text]:
    return [
        str(dialogue.dialogue)[:8],
        _subject(dialogue.subject),
        dialogue.kind.value,
        dialogue.status.value,
        str(dialogue.total_messages),
        f"{dialogue.dialogue_balance_ratio:.2f}",
        _signed(dialogue.coordination_z),
        f"{dialogue.emergence_score:.2f}" if dialogue.emergence_assessable else UNKNOWN,
        str(dialogue.findings),
        dialogue.awaiting.value if dialogue.awaiting else UNKNOWN,
        dialogue.last_activity[:16].replace("T", " "),
    ]


def findings_table(found: FindingList) -> RenderableType:
    table = FittedTable(
        ("dialogue", "subject", "pattern", "messages", "times", "why"),
        map(_finding_row, found.findings),
        texts={"subject": SUBJECT_WIDTHS, "why": WHY_WIDTHS},
        dispensable=("subject", "why"),
    )
    return stacked(table, notes=[f"{len(found.findings)} of {found.total} shown."])


def _finding_row(finding: FindingSummary) -> list[str | Text]:
    return [
        str(finding.dialogue)[:8],
        _subject(finding.subject),
        finding.pattern,
        f"{finding.first_sequence} to {finding.last_sequence}",
        str(finding.count),
        Text(one_line(finding.why)),
    ]


def groups_table(groupings: Sequence[Grouping]) -> RenderableType:
    """A table for each kind; without dialogues, a sentence."""
    if not groupings:
        return Text("No dialogues yet.")
    return stacked(*map(_groups, groupings), notes=[GROUPS_NOTE])


def _groups(grouping: Grouping) -> FittedTable:
    found = [name for group in grouping.groups for name, count in group.patterns.items() if count.findings]
    patterns = [name for name in PATTERN_NAMES if name in found]
    named = f"{one_line(shortened(grouping.by, MOST_SUBJECT))},\n{grouping.kind}"
    columns = (named, "dialogues", "messages", "balance", "coordination", *(_words(name) for name in patterns))
    rows = (_group_row(group, patterns) for group in grouping.groups)
    return FittedTable(columns, rows, texts={named: VALUE_WIDTHS})


def _group_row(group: Group, patterns: Sequence[str]) -> list[str | Text]:
    return [
        Text(_value(group.value)),
        str(group.dialogues),
        f"{group.mean_total_messages:.1f}",
        f"{group.mean_dialogue_balance_ratio:.3f}",
        f"{_signed(group.mean_coordination_z)} ({group.coordination_known})",
        *(_pattern(group.patterns[name]) for name in patterns),
    ]


def _pattern(count: PatternCount) -> str:
    return f"{count.findings} in {count.dialogues}" if count.findings else "0"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: object) -> str:
    if value is None:
        return "(none)"
    return one_line(shortened(value if isinstance(value, str) else as_json(value), MOST_SUBJECT))


def _subject(subject: str) -> Text:
    return Text(one_line(shortened(subject, MOST_SUBJECT)))


def _signed(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:+.2f}"
