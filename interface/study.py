"""The command `study`: a table of what goes with an outcome, and below it what follows, in sentences."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from application.attributes import written
from application.callosum import CorpusCallosum
from application.conclusions import interval, is_like_length, number, p_value, percent, points, unit
from application.read_side import Moment
from application.relations import Aspect, Example, Relation, Share, Spread, Study
from domain.dialogue import Kind
from interface.encoding import as_json
from interface.session import Command, console, print_table
from interface.tables import FittedTable, stacked
from interface.text import duration, one_line

__all__ = [
    "KNOWN",
    "effect",
    "figure",
    "figures",
    "left_out",
    "sentences",
    "show_study",
    "strip",
    "study_table",
    "to_read",
]

STRIP: Final = 12
STRIPS: Final = "strips"
MOST_NAME: Final = 15
PS: Final = (
    "p alone, and below it corrected for all tests (Holm): what stands is at most 0.05 there."
    " Effects with intervals of 95 %."
)
PICTURE: Final = (
    "Strips: ─ from the least to the greatest, ━ between the quartiles, ┃ the median, all of a row on one scale;"
    " of shares █ of all."
)

KNOWN: Final = "A figure of fewer dialogues than there are says of how many, as in: 5 (4 to 6), of 43."


def show_study(
    outcome: str, kind: Kind, positive: str | None, as_of: Moment | None, *, json: bool, markdown: bool
) -> Command:
    async def command(callosum: CorpusCallosum) -> int:
        study = await callosum.study(outcome, kind, positive=positive, as_of=as_of)
        if json:
            console().print(as_json(study, indent=2), soft_wrap=True)
        elif markdown:
            from interface.study_document import study_document  # noqa: PLC0415  # it needs what this file has

            console().print(study_document(study), soft_wrap=True, end="")
        else:
            print_table(study_table(study))
        return 0

    return command


def study_table(study: Study) -> RenderableType:
    columns = ("measure\nor pattern", "median (quartiles)\nor share", STRIPS, "effect", "p alone,\nof all")
    rows = (_row(relation, study) for relation in study.relations)
    parts: list[RenderableType] = []
    if study.relations:
        table = FittedTable(columns, rows, dispensable=(STRIPS,))
        parts.append(stacked(table, notes=[*_lines(study), PS, PICTURE]))
    parts.append(_paragraphs(study.conclusions))
    parts += [_paragraphs(said) for said in (sentences(study), left_out(study), to_read(study)) if said]
    return stacked(*parts)


def _paragraphs(lines: Sequence[str]) -> Text:
    return Text("\n".join(map(one_line, lines)))


def _lines(study: Study) -> Iterator[str]:
    """What the lines of a row are."""
    if study.groups:
        first, second = (one_line(group.label) for group in study.groups)
        yield f"Upper line: {first}; lower line: {second}."
    elif any(relation.aspect is Aspect.PATTERN for relation in study.relations):
        yield f"Of a pattern the upper line is {one_line(study.outcome)} without it, the lower line with it."
    if any(", of " in one for relation in study.relations for one in figures(relation, study)):
        yield KNOWN


def _row(relation: Relation, study: Study) -> list[str | Text]:
    groups = relation.groups
    return [
        in_two(relation.name),
        "\n".join(figures(relation, study)),
        Text("\n".join(strip(relation, group) for group in groups)),
        "\n".join(effect(relation)),
        f"{p_value(relation.p)}\n{p_value(relation.corrected_p)}",
    ]


def in_two(name: str, most: int = MOST_NAME) -> str:
    """A long name on two lines, broken behind the last dot or underscore for which there is room."""
    if len(name) <= most:
        return name
    place = max(name.rfind(".", 0, most), name.rfind("_", 0, most)) + 1 or most
    return f"{name[:place]}\n{name[place:]}"


def figures(relation: Relation, study: Study) -> list[str]:
    """One for each of its groups; where it is not known of all, of how many."""
    told = [figure(relation, group) for group in relation.groups]
    if relation.aspect is Aspect.PATTERN:
        return told
    sizes = [group.dialogues for group in study.groups] or [study.dialogues - study.missing]
    knowns = [group.known for group in relation.groups if isinstance(group, Spread)]
    return [
        f"{one}, of {known}" if known < size else one for one, known, size in zip(told, knowns, sizes, strict=True)
    ]


def figure(relation: Relation, group: Spread | Share) -> str:
    if isinstance(group, Share):
        return f"{group.found} of {group.dialogues}, {percent(group.share)}"
    told = duration if unit(relation) and relation.aspect is Aspect.MEASURE else number
    return f"{told(group.median)} ({told(group.lower_quartile)} to {told(group.upper_quartile)})"


def strip(relation: Relation, group: Spread | Share, width: int = STRIP) -> str:
    """A picture of a group's values, on the scale of all groups of its row; of a share, how much of all it is."""
    if isinstance(group, Share):
        return ("█" * round(group.share * width)).ljust(width, "░")
    spreads = [one for one in relation.groups if isinstance(one, Spread)]
    least, greatest = min(one.least for one in spreads), max(one.greatest for one in spreads)

    def place(value: float) -> int:
        return round((value - least) / (greatest - least) * (width - 1))

    drawn = [" "] * width
    for low, high, mark in (
        (group.least, group.greatest, "─"),
        (group.lower_quartile, group.upper_quartile, "━"),
        (group.median, group.median, "┃"),
    ):
        drawn[place(low) : place(high) + 1] = mark * (place(high) + 1 - place(low))
    return "".join(drawn)


def effect(relation: Relation) -> tuple[str, str]:
    """The estimate, and its interval."""
    if relation.test == "fisher":
        estimate, _, between = points(relation.effect).partition(" (")
    else:
        letter = "ρ" if relation.test == "spearman" else "δ"
        estimate, _, between = f"{letter} {interval(relation.effect)}".partition(" (")
    return estimate, between.rstrip(")")


def sentences(study: Study) -> list[str]:
    return [f"• {relation.sentence}" for relation in study.relations]


def left_out(study: Study) -> list[str]:
    """What was not tested, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for one in study.untested:
        reasons.setdefault(one.why, []).append(one.name)
    return [f"Not tested, because {why}: {', '.join(names)}." for why, names in reasons.items()]


def to_read(study: Study) -> list[str]:
    """Dialogues that show what was related, but for what says the same as the number of messages."""
    shown = [one for one in study.relations if one.examples and not is_like_length(one)]
    lines = [f"{one.name}: {', '.join(_example(study, one, each) for each in one.examples)}." for one in shown]
    return ["To read with `callosum transcript`:", *lines] if lines else []


def _example(study: Study, relation: Relation, example: Example) -> str:
    has = "" if relation.aspect is Aspect.PATTERN else f"{number(example.value)}{unit(relation)}, "
    return f"{str(example.dialogue)[:8]} ({has}{study.outcome} {written(example.outcome)})"
