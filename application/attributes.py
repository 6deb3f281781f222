"""Values of attributes as people write them."""

from typing import Final

import msgspec

__all__ = ["is_what_was_typed", "written"]

MOST_CHARACTERS: Final = 40


def is_what_was_typed(value: object, typed: str) -> bool:
    """Whether a value is what was typed: as text or, if it is something else, as JSON; ``null`` for none."""
    if isinstance(value, str):
        return value == typed
    try:
        meant = msgspec.json.decode(typed)
    except msgspec.DecodeError:
        return False
    return value == meant and isinstance(value, bool) == isinstance(meant, bool)


def written(value: object) -> str:
    """A value in a sentence, cut where it is long: text as it is, unless that reads as JSON; all else as JSON."""
    text = value if isinstance(value, str) and not _is_json(value) else msgspec.json.encode(value).decode()
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return not text.strip()
    return True
