"""An outcome of dialogues: which two groups it makes, or that it is a number of many values."""

from collections.abc import Sequence
from typing import Any, Final

from application.attributes import is_what_was_typed, written
from domain.dialogue import Kind
from domain.errors import InvalidCommandError
from projections.studied import Studied, StudiedSet

__all__ = ["Group", "groups_of"]

MOST_NAMED: Final = 5
"""Values that an error names."""

Group = tuple[str, list[Studied]]
"""What is said of its dialogues, as in ``reward is 1.0``, and the dialogues."""


def groups_of(found: StudiedSet, kind: Kind, outcome: str, positive: object) -> list[Group]:
    """Two groups of dialogues with their labels, the one asked about second; none for numbers of many values."""
    by_value: dict[tuple[str, Any], list[Studied]] = {}
    for dialogue in found.dialogues:
        if dialogue.value is not None:
            by_value.setdefault(_key(dialogue.value), []).append(dialogue)
    values = [dialogues[0].value for _, dialogues in sorted(by_value.items())]
    _check_several(found, kind, outcome, values)
    if positive is None and len(values) > 2:
        if all(_is_number(value) for value in values):
            return []
        raise InvalidCommandError(
            f"outcome {outcome!r}",
            f"has {len(values)} values ({_some(values)}); say with positive (--positive) which one to compare with"
            " all others",
        )
    chosen = values[-1] if positive is None else _chosen(outcome, values, positive)
    sides: tuple[list[Studied], list[Studied]] = ([], [])
    for dialogues in by_value.values():
        sides[_key(dialogues[0].value) == _key(chosen)].extend(dialogues)
    others = [value for value in values if _key(value) != _key(chosen)]
    rest = f"is {written(others[0])}" if len(others) == 1 else f"is not {written(chosen)}"
    return [(f"{outcome} {rest}", sides[0]), (f"{outcome} is {written(chosen)}", sides[1])]


def _check_several(found: StudiedSet, kind: Kind, outcome: str, values: Sequence[object]) -> None:
    if not found.dialogues:
        raise InvalidCommandError(
            f"outcome {outcome!r}", f"cannot be studied: there are no {kind} dialogues; {_other(kind)}"
        )
    if outcome not in found.attributes:
        there = ", ".join(sorted(found.attributes))
        has = f"their attributes are {there}" if there else "they have no attributes"
        raise InvalidCommandError(
            f"outcome {outcome!r}", f"is no attribute of any {kind} dialogue, {has}; {_other(kind)}"
        )
    if len(values) < 2:
        of = written(values[0]) if values else "null"
        raise InvalidCommandError(
            f"outcome {outcome!r}", f"is {of} wherever it is known; there is nothing to compare"
        )


def _other(kind: Kind) -> str:
    [other] = (one for one in Kind if one is not kind)
    return f"--kind {other} is for {other} ones"


def _chosen(outcome: str, values: Sequence[Any], positive: object) -> object:
    for value in values:
        if _key(value) == _key(positive) or (isinstance(positive, str) and is_what_was_typed(value, positive)):
            return value
    raise InvalidCommandError(
        "value to compare with all others",
        f"is {written(positive)}, which is no value of {outcome!r}; there are {_some(values)}",
    )


def _some(values: Sequence[Any]) -> str:
    more = ["…"] if len(values) > MOST_NAMED else []
    return ", ".join([*map(written, values[:MOST_NAMED]), *more])


def _key(value: object) -> tuple[str, Any]:
    """Equal for the same value, and in order for those of one form; 1 and 1.0 are the same, true is another."""
    if isinstance(value, bool):
        return "boolean", value
    if _is_number(value):
        return "number", value
    return "text", value if isinstance(value, str) else written(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
