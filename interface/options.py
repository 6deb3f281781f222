"""The options that several commands share."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from domain.detectors import PATTERNS
from domain.dialogue import Kind
from domain.tract import Tract
from projections.states import Status

__all__ = [
    "IN_CHECKOUT",
    "After",
    "AsJson",
    "AsJsonLines",
    "AsMarkdown",
    "By",
    "Capacity",
    "Chain",
    "DoneBy",
    "ExportFormat",
    "FailureRate",
    "Filled",
    "FindingsAfter",
    "Force",
    "Format",
    "From",
    "FsyncModes",
    "Full",
    "GateSettings",
    "Kills",
    "Limit",
    "MaybeDialogue",
    "MaybeSequence",
    "OfKind",
    "OfPattern",
    "OfStatus",
    "OfTract",
    "OneDialogue",
    "OneSequence",
    "OneTract",
    "Out",
    "Outcome",
    "Positive",
    "Seconds",
    "Senders",
    "ServerProgram",
    "SomeDialogues",
    "Sort",
    "SortedBy",
    "Speed",
    "Start",
    "Stop",
    "StudiedKind",
    "Title",
    "To",
    "Tried",
    "Url",
    "Where",
    "Why",
]

IN_CHECKOUT: Final = Path(__file__).parents[1].joinpath("pyproject.toml").exists()
"""Whether this runs from the project itself, rather than from where it was installed."""

FSYNC_MODES: Final = ("always", "everysec", "no")
"""The modes of `application.durability`, without its imports."""

LEAST_SECONDS: Final = 0.1
MOST_SECONDS: Final = 3600

_E = TypeVar("_E", bound=StrEnum)
_T = TypeVar("_T")
_NAMES: Final = tuple(name for names in PATTERNS.values() for name in names)


class Format(StrEnum):
    """That of `application.exporting`, without its imports."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


class Sort(StrEnum):
    """The fields of `projections.queries.DialogueSort`, without the import of a database library."""

    OPENED_AT = "opened_at"
    LAST_ACTIVITY = "last_activity"
    TOTAL_MESSAGES = "total_messages"
    DIALOGUE_BALANCE_RATIO = "dialogue_balance_ratio"
    COORDINATION_Z = "coordination_z"
    FINDINGS = "findings"


def _named_value(typed: str) -> str:
    name, equals, _ = typed.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{typed!r} is not of the form NAME=VALUE.")
    return typed


def _one_of(values: type[_E]) -> Callable[[str], _E]:
    def parse(typed: str) -> _E:
        try:
            return values(typed)
        except ValueError:
            raise typer.BadParameter(f"{typed!r} is none of {', '.join(values)}.") from None

    return parse


def _at_least(least: int) -> Callable[[str], int]:
    def parse(typed: str) -> int:
        try:
            number = int(typed)
        except ValueError:
            number = least - 1
        if number < least:
            raise typer.BadParameter(f"{typed!r} is no whole number from {least} on.")
        return number

    return parse


def _time(typed: str) -> datetime:
    try:
        time = datetime.fromisoformat(typed)
    except ValueError:
        raise typer.BadParameter(f"{typed!r} is no time like 2026-03-01T12:00Z.") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _fsync_mode(typed: str) -> str:
    if typed not in FSYNC_MODES:
        raise typer.BadParameter(f"{typed!r} is none of {', '.join(FSYNC_MODES)}.")
    return typed


def _seconds(typed: str) -> float:
    try:
        seconds = float(typed)
    except ValueError:
        seconds = 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:  # false for NaN, too
        raise typer.BadParameter(f"{typed!r} is no number of seconds from {LEAST_SECONDS} to {MOST_SECONDS}.")
    return seconds


def _speed(typed: str) -> float:
    try:
        speed = float(typed)
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 100:  # false for NaN, too
        raise typer.BadParameter(f"{typed!r} is no number from 0.01 to 100.")
    return speed


def moment(typed: str | None) -> int | datetime | None:
    """A position, or a time."""
    if typed is None or typed.isdecimal():
        return None if typed is None else int(typed)
    return datetime.fromisoformat(typed)


def _moment(typed: str | None) -> str | None:
    try:
        found = moment(typed)
    except ValueError:
        found = None
    if typed is None or isinstance(found, int) or (found is not None and found.tzinfo is not None):
        return typed
    raise typer.BadParameter(f"{typed!r} is no position, and no time with a zone like 2026-03-01T12:00:00Z.")


def position_after(typed: str) -> int | None:
    """A position; None: from now on."""
    return None if typed == "now" else _at_least(0)(typed)


def _position_after(typed: str) -> str:
    if typed != "now" and not typed.isdecimal():
        raise typer.BadParameter(f"{typed!r} is no position from 0 on, and not now.")
    return typed


def _attribute(name: str | None) -> str | None:
    if name == "":
        raise typer.BadParameter("'' is no attribute's name; expected one like reward.")
    return name


def _chain(typed: str | None) -> str | None:
    if typed is not None and re.fullmatch("[0-9a-f]{40}", typed) is None:
        raise typer.BadParameter(f"{typed!r} is no chain, which has 40 hexadecimal digits.")
    return typed


def _known_pattern(name: str | None) -> str | None:
    if name is not None and name not in _NAMES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(_NAMES)}.")
    return name


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        show_default="CALLOSUM_URL, else sqlite:///callosum.db",
        help="The log: sqlite:///relative.db, sqlite:////absolute/path.db, redis://host, rediss://host or unix:///socket.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON: durations in milliseconds, times as RFC 3339 in UTC, floats unrounded,"
        ' bytes as {"$base64": "…"}.',
    ),
]
AsJsonLines = Annotated[
    bool,
    typer.Option(
        "--json",
        help='Print JSON Lines: times as RFC 3339 in UTC, bytes as {"$base64": "…"}, nothing cut.',
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Print long payloads whole, instead of cut with an ellipsis.")]
OfKind = Annotated[
    Kind | None,
    typer.Option(
        "--kind",
        parser=_one_of(Kind),
        metavar="|".join(Kind),
        help="Only live, or only recorded (imported) dialogues.",
        show_default="both",
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print a document in Markdown.")]
Outcome = Annotated[
    str,
    typer.Option(
        "--outcome",
        metavar="ATTRIBUTE",
        callback=_attribute,
        help="What came of a dialogue: an attribute, as reward. Dialogues without it are left out, and counted.",
    ),
]
StudiedKind = Annotated[
    Kind,
    typer.Option(
        "--kind",
        parser=_one_of(Kind),
        metavar="|".join(Kind),
        help="Recorded (imported) dialogues, or live ones.",
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(
        "--positive",
        metavar="VALUE",
        show_default="the greater of two; a number of more values as it is",
        help="Compare dialogues with this outcome with all others.",
    ),
]
OfPattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="PATTERN",
        callback=_known_pattern,
        show_default="all",
        help=f"Only where this was found: {', '.join(_NAMES)}; repetition includes echo loops.",
    ),
]
OneDialogue = Annotated[str, typer.Argument(metavar="DIALOGUE", help="Its id, or the beginning of it.")]
MaybeDialogue = Annotated[
    str | None,
    typer.Argument(metavar="DIALOGUE", help="Its id, or the beginning of it.", show_default="all"),
]
SomeDialogues = Annotated[
    list[str] | None,
    typer.Argument(metavar="DIALOGUE…", help="Their ids, or the beginnings of them.", show_default="all"),
]
OneSequence = Annotated[
    int,
    typer.Argument(
        metavar="SEQUENCE", parser=_at_least(1), help="The message's place in the dialogue, from 1 on."
    ),
]
MaybeSequence = Annotated[
    int | None,
    typer.Argument(
        metavar="SEQUENCE",
        parser=_at_least(1),
        help="The message's place in it, from 1 on.",
        show_default="all",
    ),
]
OfTract = Annotated[
    Tract | None,
    typer.Option(
        "--tract",
        parser=_one_of(Tract),
        metavar="|".join(Tract),
        help="Only messages to this tract.",
        show_default="both",
    ),
]
OfStatus = Annotated[
    Status | None,
    typer.Option(
        "--status",
        parser=_one_of(Status),
        metavar="|".join(Status),
        help="Only open, or only closed dialogues; recorded ones are closed.",
        show_default="both",
    ),
]
SortedBy = Annotated[
    Sort,
    typer.Option("--sort", parser=_one_of(Sort), metavar="FIELD", help=f"What to order by: {', '.join(Sort)}."),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="ATTRIBUTE",
        callback=_attribute,
        show_default="no groups",
        help="Compare groups of dialogues instead: those with the same value of this; repetition includes echo"
        " loops. Goes with --kind only.",
    ),
]
OneTract = Annotated[
    Tract,
    typer.Argument(metavar="|".join(Tract), parser=_one_of(Tract), help="The tract that the gate protects."),
]
GateSettings = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME=VALUE…",
        parser=_named_value,
        help="Settings by their names in docs/gates.md, as in capacity=500; names of errors with commas between.",
    ),
]
Tried = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        parser=_named_value,
        show_default="as recorded",
        help="Another setting of docs/gates.md; internal.NAME=VALUE is for one tract alone. May be given again.",
    ),
]
FailureRate = Annotated[
    float | None,
    typer.Option(
        "--failure-rate",
        metavar="PERCENT",
        show_default="as recorded",
        help="The failure rate at which a circuit opens.",
    ),
]
Capacity = Annotated[
    int | None,
    typer.Option(
        "--capacity",
        parser=_at_least(0),
        metavar="NUMBER",
        show_default="as recorded",
        help="The most messages on their way to a tract; 0: any number.",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        callback=_moment,
        metavar="POSITION|TIME",
        show_default="the beginning",
        help="The first position, or the first time, as in 2026-03-01T12:00:00Z.",
    ),
]
To = Annotated[
    str | None,
    typer.Option("--to", callback=_moment, metavar="POSITION|TIME", show_default="now", help="The last one."),
]
ExportFormat = Annotated[
    Format,
    typer.Option(
        "--format",
        parser=_one_of(Format),
        metavar="|".join(Format),
        help="JSON Lines in our own plain form, or as CloudEvents 1.0.",
    ),
]
Speed = Annotated[
    float,
    typer.Option(
        "--speed",
        parser=_speed,
        metavar="NUMBER",
        help="Messages a second that are played, from 0.01 to 100.",
    ),
]
DoneBy = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", show_default="your user name", help="Who does it; it is recorded."),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why it is done; it is recorded.")]
Limit = Annotated[
    int, typer.Option("--limit", parser=_at_least(1), metavar="NUMBER", help="Show at most so many of them.")
]
After = Annotated[
    str,
    typer.Option(
        "--after",
        callback=_position_after,
        metavar="POSITION|now",
        help="Begin beyond this position of the log, or from now on.",
    ),
]
FindingsAfter = Annotated[
    str,
    typer.Option(
        "--after",
        callback=_position_after,
        metavar="POSITION|now",
        help="With --follow, begin with what began or grew beyond this position of the log, or from now on.",
    ),
]
Chain = Annotated[
    str | None,
    typer.Option(
        "--chain",
        metavar="HEX",
        callback=_chain,
        show_default="any",
        help="With --after: the chain of the event there, as --json tells it; if another stands there, say so.",
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        callback=_moment,
        metavar="POSITION|TIME",
        show_default="now",
        help="As it was at this position of the log, or at this time, as in 2026-03-01T12:00:00Z.",
    ),
]
OneParked = Annotated[
    int,
    typer.Argument(metavar="POSITION", parser=_at_least(1), help="Of an event that is left out."),
]
Start = Annotated[
    datetime | None,
    typer.Option(
        "--start",
        parser=_time,
        metavar="TIME",
        show_default="the first",
        help="The first minute, as 2026-03-01T12:00; in UTC unless it says otherwise.",
    ),
]
Stop = Annotated[
    datetime | None,
    typer.Option(
        "--stop", parser=_time, metavar="TIME", show_default="the last", help="The last minute, likewise."
    ),
]
Filled = Annotated[
    bool,
    typer.Option("--filled", help="With --json, give minutes in which nothing happened, too; the chart has them."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        parser=_named_value,
        show_default="all",
        help="Only with this attribute, as in reward=1.0; when given again, all must hold; null is for none.",
    ),
]
FsyncModes = Annotated[
    list[str] | None,
    typer.Option(
        "--fsync",
        metavar="|".join(FSYNC_MODES),
        parser=_fsync_mode,
        show_default="always and everysec",
        help="The server's appendfsync; when given again, each of them is tried.",
    ),
]
Senders = Annotated[
    int,
    typer.Option(
        "--senders",
        parser=_at_least(1),
        metavar="NUMBER",
        help="How many send at once, one message after the other, each in a dialogue of its own.",
    ),
]
Seconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        parser=_seconds,
        metavar="SECONDS",
        help="How long they send, at most; the kills fall on different moments of the last second.",
    ),
]
Kills = Annotated[
    int, typer.Option("--kills", parser=_at_least(1), metavar="NUMBER", help="How many kills in each mode.")
]
ServerProgram = Annotated[
    Path | None,
    typer.Option(
        "--server",
        metavar="PATH",
        show_default="REDIS_SERVER_BIN, else the first on the path",
        help="The program to try: a redis-server or a valkey-server.",
    ),
]
Out = Annotated[
    _T, typer.Option("--out", metavar="FILE", help="The file to write. It gets its name when all is written.")
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
Title = Annotated[
    str | None,
    typer.Option("--title", metavar="TEXT", help="What to call it.", show_default="the log's name"),
]
