"""The options that several commands share."""

from typing import Annotated, Final

import typer

from domain.dialogue import Kind
from domain.patterns import PATTERNS

__all__ = [
    "AsJson",
    "AsJsonLines",
    "Full",
    "MaybeDialogue",
    "OfKind",
    "OfPattern",
    "OneDialogue",
    "Url",
]

_NAMES: Final = tuple(name for names in PATTERNS.values() for name in names)


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
        help="The log: sqlite:///relative.db, sqlite:////absolute/path.db, or sqlite:// in memory.",
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
    typer.Option("--kind", help="Only live, or only recorded (imported) dialogues.", show_default="both"),
]
OfPattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="PATTERN",
        callback=_known_pattern,
        show_default="all",
        help=f"Only where this was found: {', '.join(_NAMES)}.",
    ),
]
OneDialogue = Annotated[str, typer.Argument(metavar="DIALOGUE", help="Its id, or the beginning of it.")]
MaybeDialogue = Annotated[
    str | None,
    typer.Argument(metavar="[DIALOGUE]", help="Its id, or the beginning of it.", show_default="all"),
]
