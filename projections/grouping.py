"""Dialogues by the values of one of their attributes: what an analyst compares runs by."""

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Label, case, func, select
from sqlalchemy import types as column_types

from domain.dialogue import Kind
from domain.stall import STALL
from projections.answers import Group, PatternCount
from projections.consciousness_tables import activities, dialogues, findings, scopes
from projections.database import plain
from projections.findings import PATTERN_NAMES, named

__all__ = ["groups"]

_NAMES: Final = [name for name in PATTERN_NAMES if name != STALL]
"""Of what is stored."""


def groups(connection: Connection, by: str, kind: Kind, stalled: ColumnElement[bool]) -> list[Group]:
    """`stalled`: the activities of dialogues that have."""
    # json_each instead of a path, in which a name with quotes could not be written.
    attribute = func.json_each(dialogues.c.attributes, type_=column_types.JSON).table_valued(
        "key", "type", "value", name="attribute"
    )
    number = attribute.c.type.in_(("integer", "real"))
    form = func.coalesce(case((number, "number"), else_=attribute.c.type), "null").label("form")
    value = attribute.c.value.label("value")
    joined = dialogues.join(scopes, scopes.c.scope == dialogues.c.dialogue).join(
        activities, activities.c.dialogue == dialogues.c.dialogue
    )
    source = joined.outerjoin(attribute, attribute.c.key == by)
    rows = connection.execute(
        select(form, value, *_means(), func.count().filter(stalled).label("stalled"))
        .select_from(source)
        .where(dialogues.c.kind == kind.value)
        .group_by(form, value)
    ).mappings()
    found = connection.execute(
        select(form, value, *_counts())
        .select_from(source.join(findings, findings.c.dialogue == dialogues.c.dialogue))
        .where(dialogues.c.kind == kind.value)
        .group_by(form, value)
    )
    counts = {(form, value): _by_name(numbers) for form, value, *numbers in found}
    none = _by_name([0] * 2 * len(_NAMES))
    return [
        msgspec.convert(
            {
                **plain(row),
                "value": _value(row["form"], row["value"]),
                "patterns": {
                    **counts.get((row["form"], row["value"]), none),
                    STALL: PatternCount(row["stalled"], row["stalled"]),
                },
            },
            Group,
        )
        for row in rows.all()
    ]


def _means() -> list[Label[Any]]:
    """Under the names of the fields of `Group`."""
    return [
        func.count().label("dialogues"),
        func.avg(scopes.c.total_messages).label("mean_total_messages"),
        func.avg(scopes.c.dialogue_balance_ratio).label("mean_dialogue_balance_ratio"),
        func.count(scopes.c.coordination_z).label("coordination_known"),
        func.avg(scopes.c.coordination_z).label("mean_coordination_z"),
    ]


def _counts() -> list[ColumnElement[int]]:
    """Findings and dialogues with one, for one pattern after the other."""
    return [
        count.filter(named(name))
        for name in _NAMES
        for count in (func.count(), func.count(findings.c.dialogue.distinct()))
    ]


def _by_name(numbers: list[int]) -> dict[str, PatternCount]:
    pairs = zip(_NAMES, numbers[::2], numbers[1::2], strict=True)
    return {name: PatternCount(found, dialogues) for name, found, dialogues in pairs}


def _value(form: str, value: Any) -> Any:
    """Python's form of what json_each gives: true as 1, lists and objects as JSON."""
    if form in {"true", "false"}:
        return form == "true"
    return msgspec.json.decode(value) if form in {"array", "object"} else value
