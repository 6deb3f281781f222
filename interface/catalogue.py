"""The catalogue of stored events as Markdown, from the classes that store them: ``python -m interface.catalogue``.

It reads what a new event has to have anyway: the topic, the docstring, the typed fields; and for a struct inside
an event the Attributes section of its docstring. A field of such a struct without a meaning there is an error.
"""

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from application.codec import EventMapper, events_of, stored_fields

__all__ = ["catalogue", "meanings"]

_ABOUT: Final = """\
<!-- Generated from the code. Do not edit; `make docs` writes it anew. -->

# Events

Everything that is stored is one of these events. The log never changes: an event that was written stays as it is,
and every form that was ever released can be read (`tests/corpus/events.jsonl` keeps them).

An event's *state* is a MessagePack array of the fields below, in their order; structs inside it are arrays as
well. A shorter array is an older event: fields are only ever appended, and those that are missing have their
default. The state leaves out what stands beside it in the log or follows from the topic: the id of the aggregate
(a dialogue's id), the version (the event's place in its aggregate, dense from 1), the topic, and the names of
classes. Only the topics listed here are read; nothing in a state names code. A *payload* is null, a bool, an
integer of 64 bits, a finite float, text, bytes, or a list of, or a map from text to, these.

Beside the state an entry of the log has a *position* (its place in the log, dense from 1), *at* (the log's own
time in milliseconds, never decreasing) and its link of the *chain*. The *timestamp* in the state is the clock of
the process that decided the event. With `COMPRESSOR_TOPIC` or `CIPHER_KEY` set, the state is compressed, then
encrypted, as a whole. `callosum export` tells the same fields as JSON, structs as objects."""


def catalogue(mapper: type[EventMapper] = EventMapper) -> str:
    """All that this mapper reads and writes: the events by aggregate, in file order, then the structs in them."""
    structs: dict[type, None] = {}
    parts = [_ABOUT]
    for aggregate in mapper.aggregates:
        parts.append(f"## {aggregate.__name__}")
        parts.append(_as_markdown(sys.modules[aggregate.__module__].__doc__))
        for event_class in events_of(aggregate):
            parts += _event(event_class, mapper)
            structs |= dict.fromkeys(_structs(event_class))
    for struct in structs:
        parts += _struct(struct)
    return "\n\n".join(parts)


def meanings(documented: type) -> dict[str, str]:
    """What the Attributes section of a docstring says of each name; several names may share an entry."""
    _, _, section = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")
    entries: list[str] = []
    for line in section.splitlines():
        if line.startswith(" " * 5) and entries:
            entries[-1] += f" {line.strip()}"
        elif line.startswith(" " * 4):
            entries.append(line.strip())
    split = [entry.partition(": ") for entry in entries]
    return {name: meaning for names, _, meaning in split for name in names.split(", ")}


def _event(event_class: Any, mapper: type[EventMapper]) -> Iterator[str]:
    yield f"### {event_class.__name__}"
    yield f"Topic `{event_class.TOPIC}`. {_as_markdown(_docstring(event_class))}"
    older = [f"`{upcast.topic}`" for upcast in mapper.upcasts if upcast.event_class is event_class]
    if older:
        yield f"Older forms, which are read as this one: {', '.join(older)}."
    rows = [[f"`{field.name}`", _type(field.type), _default(field)] for field in stored_fields(event_class)]
    yield _table(["field", "type", "default"], rows)


def _docstring(event_class: Any) -> str:
    # The library puts a subclass without one in the place of a class that an applier is decorated with.
    written: list[str | None] = [b.__doc__ for b in event_class.__mro__ if b.__name__ == event_class.__name__]
    return next(filter(None, written))


def _structs(event_class: Any) -> Iterator[type]:
    """The structs that the fields of an event hold, each before those inside it; not those of a list inside."""
    for field in stored_fields(event_class):
        kind = types.type_info(field.type)
        yield from _structs_of(kind.item_type if isinstance(kind, types.ListType) else kind)


def _structs_of(kind: types.Type) -> Iterator[type]:
    if isinstance(kind, types.StructType):
        yield kind.cls
        for field in kind.fields:
            yield from _structs_of(field.type)


def _struct(struct: type) -> Iterator[str]:
    about = inspect.cleandoc(struct.__doc__ or "").partition("\n\nAttributes:")[0]
    means = meanings(struct)
    yield f"## {struct.__name__}"
    yield _as_markdown(about)
    rows = [
        [f"`{field.name}`", _type(field.type), _default(field), _as_markdown(means[field.name])]
        for field in msgspec.structs.fields(struct)
    ]
    yield _table(["field", "type", "default", "meaning"], rows)


def _type(annotation: Any) -> str:
    return _described(types.type_info(annotation))


def _described(kind: types.Type) -> str:
    """A type as it is stored, in words."""
    match kind:
        case types.UnionType():
            words = ", or ".join(_described(each) for each in kind.types)
        case types.EnumType():
            words = _members(kind.cls)
        case types.StrType():
            words = "text" + _length(kind)
        case types.IntType():
            words = "integer" + ("" if kind.ge is None else f" from {_number(kind.ge)} to {_number(kind.le)}")
        case types.ListType() | types.VarTupleType():
            words = f"list of {_described(kind.item_type)}"
        case types.DictType():
            words = f"map of {_described(kind.key_type)} to {_described(kind.value_type)}"
        case types.StructType():
            words = f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case _:
            words = _SIMPLE[type(kind)]
    return words


_SIMPLE: Final[dict[type[types.Type], str]] = {
    types.AnyType: "payload",
    types.BoolType: "bool",
    types.BytesType: "bytes",
    types.DateTimeType: "MessagePack timestamp",
    types.FloatType: "float",
    types.NoneType: "null",
    types.UUIDType: "UUID",
}


def _members(enum: type[Enum]) -> str:
    if issubclass(enum, str):
        return " or ".join(f'`"{member.value}"`' for member in enum)
    return ", ".join(f"{member.value} {member.name}" for member in enum)


def _length(kind: types.StrType) -> str:
    if kind.max_length is None:
        return ""
    return f" of {kind.min_length or 0} to {kind.max_length} characters"


def _number(number: int | None) -> str:
    if number is None:
        return "…"
    if number > 10**6 and number.bit_count() == 1:
        return f"2^{number.bit_length() - 1}"
    return f"{number:_}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if isinstance(field.default, Enum):
        return f"{field.default.value} {field.default.name}"
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(default).decode()}`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _as_markdown(docstring: str | None) -> str:
    """A docstring's few forms of reStructuredText: code in double backticks, a drawing after ``::``."""
    lines: list[str] = []
    drawing = False
    for line in inspect.cleandoc(docstring or "").replace("``", "`").splitlines():
        if line == "::":
            drawing = True
            lines.append("```text")
        elif drawing and line and not line.startswith(" "):
            drawing = False
            lines[-1:] = ["```", "", line]
        elif not drawing or line or lines[-1] != "```text":
            lines.append(line.removeprefix("    ") if drawing else line)
    return "\n".join([*lines, "```"] if drawing else lines)


if __name__ == "__main__":
    sys.stdout.write(catalogue() + "\n")
