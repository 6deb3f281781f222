"""The commands that ask the read side: metrics, dialogues, findings."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import RenderableType

from application.attributes import is_what_was_typed
from application.callosum import CorpusCallosum
from application.read_side import Moment
from domain.dialogue import Kind
from interface.addressing import EVERY, dialogue_named
from interface.assessing import assessed, with_assessed
from interface.attributes import check_attribute_known
from interface.encoding import as_json
from interface.lines import finding_line
from interface.listing import dialogues_table, findings_table, groups_table
from interface.render import metrics_table
from interface.session import Command, console, print_lines, print_table
from projections.answers import DialogueList
from projections.queries import DialogueSort
from projections.states import Status

__all__ = ["Selection", "follow_findings", "show_dialogues", "show_findings", "show_groups", "show_metrics"]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which dialogues to list, and how.

    Attributes:
        where: attributes that a dialogue must have: value by name, as they were typed.
    """

    kind: Kind | None
    status: Status | None
    pattern: str | None
    where: Mapping[str, str]
    sort: DialogueSort
    descending: bool
    limit: int
    as_of: Moment | None


def show_metrics(name: str | None, kind: Kind | None, as_of: Moment | None, *, json: bool) -> Command:
    """Of a dialogue, of all of a kind, or of each kind that has messages; as of a moment, or now."""

    async def command(callosum: CorpusCallosum) -> int:
        if name is not None:
            metrics = await callosum.consciousness_metrics(await dialogue_named(callosum, name), as_of=as_of)
            _show(metrics, metrics_table([metrics]), json)
        elif kind is not None:
            metrics = await callosum.consciousness_metrics(kind, as_of=as_of)
            count = await assessed(callosum, kind, as_of)
            _show(with_assessed(metrics, count), metrics_table([metrics], [count]), json)
        else:
            scopes = {kind: await callosum.consciousness_metrics(kind, as_of=as_of) for kind in Kind}
            scopes = {kind: metrics for kind, metrics in scopes.items() if metrics.total_messages}
            counts = {kind: await assessed(callosum, kind, as_of) for kind in scopes}
            measured = list(scopes.values())
            table = metrics_table(measured, list(counts.values())) if scopes else "No messages yet."
            _show({kind: with_assessed(scopes[kind], counts[kind]) for kind in scopes}, table, json)
        return 0

    return command


def show_dialogues(selection: Selection, *, json: bool) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        listed = await _selected(callosum, selection)
        _show(listed, dialogues_table(listed), json)
        return 0

    return command


async def _selected(callosum: CorpusCallosum, selection: Selection) -> DialogueList:
    """The service filters by all but attributes; with those, it is asked for every dialogue."""
    listed = await callosum.dialogues(
        kind=selection.kind,
        status=selection.status,
        pattern=selection.pattern,
        sort=selection.sort,
        descending=selection.descending,
        limit=EVERY if selection.where else selection.limit,
        as_of=selection.as_of,
    )
    if not selection.where:
        return listed
    found = [dialogue for dialogue in listed.dialogues if _has(dialogue.attributes, selection.where)]
    if not found:
        for name in selection.where:
            await check_attribute_known(callosum, name)
    return DialogueList(listed.position, len(found), found[: selection.limit])


def _has(attributes: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    return all(is_what_was_typed(attributes.get(name), typed) for name, typed in where.items())


def show_groups(by: str, kind: Kind | None, as_of: Moment | None, *, json: bool) -> Command:
    """Of the dialogues of a kind, or of each kind that has dialogues."""

    async def command(callosum: CorpusCallosum) -> int:
        await check_attribute_known(callosum, by, kind)
        if kind is not None:
            grouping = await callosum.grouped(by, kind, as_of=as_of)
            _show(grouping, groups_table([grouping]), json)
        else:
            groupings = {kind: await callosum.grouped(by, kind, as_of=as_of) for kind in Kind}
            groupings = {kind: grouping for kind, grouping in groupings.items() if grouping.groups}
            _show(groupings, groups_table(list(groupings.values())), json)
        return 0

    return command


def show_findings(
    name: str | None, pattern: str | None, limit: int, as_of: Moment | None, *, json: bool
) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        dialogue = None if name is None else await dialogue_named(callosum, name)
        found = await callosum.findings(dialogue=dialogue, pattern=pattern, limit=limit, as_of=as_of)
        _show(found, findings_table(found), json)
        return 0

    return command


def follow_findings(name: str | None, pattern: str | None, after: int | None, *, json: bool) -> Command:
    """Those beyond a position, or from now on, then each as it begins or grows."""

    async def command(callosum: CorpusCallosum) -> int:
        out = console()
        dialogue = None if name is None else await dialogue_named(callosum, name)
        async for finding in callosum.follow_findings(after, dialogue=dialogue, pattern=pattern):
            if json:
                out.print(as_json(finding), soft_wrap=True)
            else:
                print_lines(out, finding_line(finding))
        return 0

    return command


def _show(answer: object, table: RenderableType, json: bool) -> None:
    if json:
        console().print(as_json(answer, indent=2), soft_wrap=True)
    else:
        print_table(table)
