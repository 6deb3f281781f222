"""What follows from a study, in plain sentences, and never more than its figures say."""

from collections.abc import Iterator, Sequence
from typing import Final

from application.relations import (
    Aspect,
    Detectable,
    Interval,
    OutcomeGroup,
    Pairs,
    Relation,
    Share,
    Spread,
    Study,
    StudyVerdict,
)

__all__ = [
    "LIKE_LENGTH",
    "conclusions",
    "interval",
    "is_like_length",
    "number",
    "p_value",
    "percent",
    "points",
    "sentence",
    "signed",
    "unit",
]

LIKE_LENGTH: Final = 0.95
"""The rank correlation from which a measure says the same as the number of messages."""

OBSERVED: Final = (
    "This is one set of dialogues, observed as it is: a relation says that two things go together here, not that"
    " one makes the other, nor that it would be so elsewhere. Dialogues are taken as independent of each other;"
    " where some are of the same task or by the same agent, p-values may be too small. The correction is for the"
    " tests of this study, and not for other outcomes that are tried."
)

STALLS: Final = "Stalls are not studied, nor counted as findings: they depend on when it is asked."


def number(value: float) -> str:
    """Three digits, whole numbers whole."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def p_value(p: float) -> str:
    return "<0.0001" if p < 0.00005 else f"{p:.4f}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def sentence(relation: Relation, study: Study) -> str:
    """What follows for one measure or pattern."""
    name, outcome = relation.name, study.outcome
    if is_like_length(relation):
        as_length = (
            f"orders the dialogues as total_messages does (rank correlation {signed(relation.like_length)})"
        )
        return f"{name} {as_length}: this is no relation of its own; {_chance(relation)}."
    figures = f"{_figures(relation, study)}; {_chance(relation)}."
    if relation.verdict is StudyVerdict.NONE:
        return f"No relation found between {name} and {outcome}: {figures}"
    if relation.verdict is StudyVerdict.RELATED:
        return f"{name} goes with {outcome}: {figures}{_beyond(relation)}"
    by_chance = min(1.0, len(study.relations) * relation.p)  # the corrected p of the strongest, more of the others
    chance = (
        f"Among {_tests(study)}, something as strong somewhere has a probability of up to {p_value(by_chance)}"
        " by chance."
    )
    return f"{name} may go with {outcome}, or not: {figures} {chance}{_beyond(relation)}"


def _beyond(relation: Relation) -> str:
    if relation.beyond_length is None:
        return ""
    return f" At a like number of messages there remains a rank correlation of {interval(relation.beyond_length)}."


def _chance(relation: Relation) -> str:
    return f"p {_p(relation.p)}, corrected {_p(relation.corrected_p)}"


def _figures(relation: Relation, study: Study) -> str:
    if relation.odds_ratio is not None:
        apart = f"{points(relation.effect)}, odds ratio {_ratio(relation.odds_ratio)}"
        return f"{_found(relation, study.groups)}; they differ by {apart}"
    if relation.pairs is None:
        return f"rank correlation {interval(relation.effect)}"
    named = [f"where {group.label}" for group in study.groups] or ["without it", "with it"]
    whose = f"{study.outcome} is at the median" if relation.aspect is Aspect.PATTERN else "median"
    return f"{whose} {_medians(relation, named, study)}; {_pairs(relation.pairs)}, δ {interval(relation.effect)}"


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.00005 else p_value(p)


def _medians(relation: Relation, named: Sequence[str], study: Study) -> str:
    spreads = [group for group in relation.groups if isinstance(group, Spread)]
    sizes = [group.dialogues for group in study.groups] or [spread.known for spread in spreads]
    return ", ".join(
        f"{number(spread.median)}{unit(relation)} {name}"
        + (f" (known of {spread.known} of {size})" if spread.known < size else "")
        for spread, name, size in zip(spreads, named, sizes, strict=True)
    )


def unit(relation: Relation) -> str:
    return " ms" if relation.name.startswith("response_time") else ""


def _pairs(pairs: Pairs) -> str:
    """Of which group more is said first, whichever has it in more pairs."""
    which, more, fewer = "latter", pairs.more, pairs.fewer
    if fewer > more:
        which, more, fewer = "former", fewer, more
    same = f", the same in {percent(pairs.same)}" if pairs.same else ""
    return f"the {which} has more in {percent(more)} of pairs, fewer in {percent(fewer)}{same}"


def _found(relation: Relation, groups: Sequence[OutcomeGroup]) -> str:
    shares = [group for group in relation.groups if isinstance(group, Share)]
    return ", ".join(
        f"in {share.found} of {share.dialogues} ({percent(share.share)}) where {group.label}"
        for share, group in zip(shares, groups, strict=True)
    )


def interval(effect: Interval) -> str:
    return f"{signed(effect.estimate)} ({signed(effect.low)} to {signed(effect.high)})"


def signed(value: float | None) -> str:
    return "∞" if value is None else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0: never −0.00


def points(effect: Interval) -> str:
    estimate, low, high = (f"{round(100 * (one or 0.0)):+d}".replace("-", "−") for one in _three(effect))
    return f"{estimate} points ({low} to {high})"


def _ratio(effect: Interval) -> str:
    estimate, low, high = ("∞" if one is None else f"{one:.2f}" for one in _three(effect))
    return f"{estimate} ({low} to {high})"


def _three(effect: Interval) -> tuple[float | None, float | None, float | None]:
    return effect.estimate, effect.low, effect.high


def is_like_length(relation: Relation) -> bool:
    return abs(relation.like_length or 0.0) >= LIKE_LENGTH


def conclusions(study: Study) -> list[str]:
    """What follows from the whole."""
    return [*_counted(study), _answer(study), *_lengths(study), *_detectable(study), STALLS, OBSERVED]


def _counted(study: Study) -> Iterator[str]:
    known = study.dialogues - study.missing
    if study.groups:
        parts = ", ".join(f"{group.dialogues} where {group.label}" for group in study.groups)
        yield f"{known} {study.kind} dialogues: {parts}."
    elif study.outcomes is not None:
        of = study.outcomes
        yield (
            f"{known} {study.kind} dialogues: {study.outcome} from {number(of.least)} to {number(of.greatest)},"
            f" median {number(of.median)}."
        )
    if study.missing:
        yield f"{study.missing} of {study.dialogues} do not say {study.outcome} and are left out."
    if study.open:
        yield f"{study.open} of them are still open: their measures may change."


def _answer(study: Study) -> str:
    related = [relation.name for relation in study.relations if relation.verdict is StudyVerdict.RELATED]
    number_of = len(study.relations)
    if not number_of:
        return "Nothing could be tested."
    tests = f"{_tests(study)} were made" if number_of > 1 else "one test was made"
    if not related:
        return (
            f"No relation found: {tests}, and none stands after correction for all of them (Holm, {study.level})."
        )
    stand = "stands" if len(related) == 1 else "stand"
    return (
        f"{tests[0].upper()}{tests[1:]}, and {len(related)} {stand} after correction for all of them"
        f" (Holm, {study.level}): {', '.join(related)}."
    )


def _tests(study: Study) -> str:
    number_of = len(study.relations)
    return f"{number_of} test{'s' if number_of > 1 else ''}"


def _lengths(study: Study) -> Iterator[str]:
    related = [one for one in study.relations if one.verdict is StudyVerdict.RELATED]
    same = [one.name for one in related if is_like_length(one)]
    if same:
        orders = "orders" if len(same) == 1 else "order"
        yield (
            f"Of these, {', '.join(same)} {orders} the dialogues as total_messages does: what is seen there is"
            " their length, and counts once."
        )


def _detectable(study: Study) -> Iterator[str]:
    """What was there to be found: without it, "no relation found" would say more than it knows."""
    least = study.detectable
    if least is None:
        return
    of = " and ".join(str(group.dialogues) for group in study.groups) or str(study.dialogues - study.missing)
    among = f"With {of} dialogues and {_tests(study)}"
    strong = list(_strong(least))
    if not strong:
        yield f"{among} no difference, however great, could be found."
        return
    no_measure = study.groups and least.cliffs_delta is None
    yield (
        f"{among}, {' or '.join(strong)} had a chance of 80 % to be found"
        f"{', but of a measure no difference, however great' if no_measure else ''}."
        " Much weaker relations are mostly missed: where none was found, there may be one."
    )


def _strong(least: Detectable) -> Iterator[str]:
    if least.rank_correlation is not None:
        yield f"a rank correlation of {least.rank_correlation:.2f}"
    if least.cliffs_delta is not None:
        yield f"a |δ| of {least.cliffs_delta:.2f}"
    if least.share_difference is not None:
        yield f"shares about one half that differ by {100 * least.share_difference:.0f} points"
