"""Whether an outcome of dialogues has to do with what was measured and found in them: which test, of whom.

===================  ==========================  ================================
outcome              a measure                   a pattern
===================  ==========================  ================================
two values           Mann and Whitney's U        Fisher's exact test
a number, more       Spearman's ρ                U of the outcome with and without
===================  ==========================  ================================

An outcome of more than two values that are no numbers is one of them against all others.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from application.conclusions import conclusions, number, sentence
from application.outcomes import Group, groups_of
from application.relations import (
    FEWEST,
    LEVEL,
    Aspect,
    Detectable,
    Example,
    Interval,
    OutcomeGroup,
    Relation,
    Share,
    Study,
    StudyVerdict,
    Untested,
)
from application.significance import (
    cliffs_delta,
    fisher,
    holm,
    least_correlation,
    least_delta,
    least_difference,
    mann_whitney,
    odds_ratio,
    partial_correlation,
    rank_correlation,
    share_difference,
    spearman,
    spread,
)
from domain.dialogue import Kind
from projections.states import Status
from projections.studied import NAMES, Studied, StudiedSet

__all__ = ["study"]

LENGTH: Final = "total_messages"
NOT_KNOWN: Final = "it is not known of any dialogue"
MOST_EXAMPLES: Final = 3

Found = Relation | Untested
Valued = tuple[Studied, float]


def study(found: StudiedSet, kind: Kind, outcome: str, positive: object = None) -> Study:
    """Test everything against the outcome, correct for all tests, and say what follows.

    Args:
        found: the dialogues of this kind.
        kind: of them.
        outcome: the attribute whose values they have.
        positive: the value to compare with all others, as it is or as people write it; None: the greater of two.

    Raises:
        InvalidCommandError: there is nothing to compare, or more than two groups.
    """
    known = [dialogue for dialogue in found.dialogues if dialogue.value is not None]
    groups = groups_of(found, kind, outcome, positive)
    tried = list(_by_group(*(dialogues for _, dialogues in groups)) if groups else _by_number(known))
    untested = [one for one in tried if isinstance(one, Untested)]
    relations = _corrected([one for one in tried if isinstance(one, Relation)])
    named = [OutcomeGroup(label, len(dialogues)) for label, dialogues in groups]
    told = Study(
        position=found.position,
        kind=kind,
        outcome=outcome,
        dialogues=len(found.dialogues),
        missing=len(found.dialogues) - len(known),
        open=sum(dialogue.status is Status.OPEN for dialogue in known),
        groups=named,
        outcomes=None if groups else spread([dialogue.value for dialogue in known]),
        relations=relations,
        untested=untested,
        detectable=_detectable(groups, len(known), len(relations)),
    )
    with_sentences = [msgspec.structs.replace(one, sentence=sentence(one, told)) for one in relations]
    told = msgspec.structs.replace(told, relations=with_sentences)
    return msgspec.structs.replace(told, conclusions=conclusions(told))


# Two groups


def _by_group(first: Sequence[Studied], second: Sequence[Studied]) -> Iterable[Found]:
    for name in first[0].measures:
        yield _compared(name, Aspect.MEASURE, _known(name, first), _known(name, second))
    for name in NAMES:
        yield _shares(name, first, second)


def _known(name: str, dialogues: Iterable[Studied]) -> list[Valued]:
    return [(dialogue, value) for dialogue in dialogues if (value := dialogue.measures[name]) is not None]


def _compared(name: str, aspect: Aspect, first: Sequence[Valued], second: Sequence[Valued]) -> Found:
    """Values of two groups: of a measure, or the outcome's without and with a pattern."""
    values = [value for _, value in first], [value for _, value in second]
    why = _too_few(*map(len, values)) or _constant([*values[0], *values[1]])
    if why:
        return Untested(name, aspect, why)
    tested, (delta, pairs) = mann_whitney(*values), cliffs_delta(*values)
    in_second = [0.0] * len(first) + [1.0] * len(second)
    measured = aspect is Aspect.MEASURE
    of, outcomes = ([*values[0], *values[1]], in_second) if measured else (in_second, [*values[0], *values[1]])
    like, beyond = _lengths(name, [dialogue for dialogue, _ in [*first, *second]], of, outcomes)
    return Relation(
        name=name,
        aspect=aspect,
        test="mann_whitney",
        method=tested.method,
        groups=[spread(of_group) for of_group in values],
        effect_name="cliffs_delta",
        effect=delta,
        pairs=pairs,
        p=tested.p,
        like_length=like,
        beyond_length=beyond,
        examples=_extremes(first, second, delta.estimate or 0.0)
        if measured
        else _first([dialogue for dialogue, _ in second]),
    )


def _shares(name: str, first: Sequence[Studied], second: Sequence[Studied]) -> Found:
    found = [[dialogue for dialogue in group if name in dialogue.patterns] for group in (first, second)]
    counts, of = (len(found[0]), len(found[1])), (len(first), len(second))
    why = _too_few(*of) or _rare(sum(counts), sum(of))
    if why:
        return Untested(name, Aspect.PATTERN, why)
    tested, difference = fisher(counts, of), share_difference(counts, of)
    in_second = [0.0] * len(first) + [1.0] * len(second)
    like, beyond = _lengths(name, [*first, *second], _has(name, [*first, *second]), in_second)
    more = found[1] if (difference.estimate or 0.0) > 0 else found[0]
    return Relation(
        name=name,
        aspect=Aspect.PATTERN,
        test="fisher",
        method=tested.method,
        groups=[Share(number, dialogues) for number, dialogues in zip(of, counts, strict=True)],
        effect_name="share_difference",
        effect=difference,
        odds_ratio=odds_ratio(counts, of),
        p=tested.p,
        like_length=like,
        beyond_length=beyond,
        examples=_first(more),
    )


# A number


def _by_number(dialogues: Sequence[Studied]) -> Iterable[Found]:
    for name in dialogues[0].measures:
        yield _correlated(name, _known(name, dialogues))
    for name in NAMES:
        with_it = [(dialogue, dialogue.value) for dialogue in dialogues if name in dialogue.patterns]
        without = [(dialogue, dialogue.value) for dialogue in dialogues if name not in dialogue.patterns]
        why = _rare(len(with_it), len(dialogues))
        yield Untested(name, Aspect.PATTERN, why) if why else _compared(name, Aspect.PATTERN, without, with_it)


def _correlated(name: str, known: Sequence[Valued]) -> Found:
    values, outcomes = [value for _, value in known], [dialogue.value for dialogue, _ in known]
    why = _few(len(known)) or _constant(values) or _one_outcome(outcomes)
    if why:
        return Untested(name, Aspect.MEASURE, why)
    tested, rho = spearman(values, outcomes), rank_correlation(values, outcomes)
    like, beyond = _lengths(name, [dialogue for dialogue, _ in known], values, outcomes)
    return Relation(
        name=name,
        aspect=Aspect.MEASURE,
        test="spearman",
        method=tested.method,
        groups=[spread(values)],
        effect_name="rank_correlation",
        effect=rho,
        p=tested.p,
        like_length=like,
        beyond_length=beyond,
        examples=_extremes([], known, 1.0),
    )


# What all have


def _corrected(relations: Sequence[Relation]) -> list[Relation]:
    """With their verdicts, the least p first; of equal ones the order is kept."""
    judged = [
        _judged(relation, corrected)
        for relation, corrected in zip(relations, holm([one.p for one in relations]), strict=True)
    ]
    return sorted(judged, key=lambda relation: (relation.corrected_p, relation.p))


def _judged(relation: Relation, corrected: float) -> Relation:
    if corrected <= LEVEL:
        return msgspec.structs.replace(relation, corrected_p=corrected, verdict=StudyVerdict.RELATED)
    verdict = StudyVerdict.UNCERTAIN if relation.p <= LEVEL else StudyVerdict.NONE
    return msgspec.structs.replace(relation, corrected_p=corrected, verdict=verdict, examples=[])


def _detectable(groups: Sequence[Group], known: int, tests: int) -> Detectable | None:
    if not tests:
        return None
    level = LEVEL / tests
    if not groups:
        return Detectable(rank_correlation=least_correlation(known, level))
    first, second = (len(dialogues) for _, dialogues in groups)
    return Detectable(least_delta(first, second, level), least_difference(first, second, level))


def _too_few(*known: int) -> str | None:
    if not any(known):
        return NOT_KNOWN
    if min(known) < FEWEST:
        return f"it is known of {known[0]} and {known[1]} dialogues; either group needs {FEWEST}"
    return None


def _few(known: int) -> str | None:
    if known >= 2 * FEWEST:
        return None
    return f"it is known of {known} dialogues; {2 * FEWEST} are needed" if known else NOT_KNOWN


def _one_outcome(outcomes: Sequence[float]) -> str | None:
    return "the outcome is the same wherever it is known" if len(set(outcomes)) == 1 else None


def _rare(found: int, of: int) -> str | None:
    for have, all_of, how in ((found, "no dialogue", "found"), (of - found, "every dialogue", "missing")):
        if have == 0:
            return f"it was found in {all_of}"
        if have < FEWEST:
            return f"it is {how} in {have} of {of} dialogues; {FEWEST} are needed"
    return None


def _constant(values: Sequence[float]) -> str | None:
    return f"it is {number(values[0])} in every dialogue" if len(set(values)) == 1 else None


def _extremes(first: Sequence[Valued], second: Sequence[Valued], effect: float) -> list[Example]:
    """The two greatest values of who has more, and the least of who has less."""
    more, less = (second, first) if effect > 0 else (first, second)
    greatest = sorted(more, key=lambda one: -one[1])[:2]
    least = sorted(less or more, key=lambda one: one[1])[:1]
    return [Example(dialogue.dialogue, dialogue.value, value) for dialogue, value in [*greatest, *least]]


def _first(found: Sequence[Studied]) -> list[Example]:
    return [Example(dialogue.dialogue, dialogue.value, 1.0) for dialogue in found[:MOST_EXAMPLES]]


def _has(name: str, dialogues: Sequence[Studied]) -> list[float]:
    return [float(name in dialogue.patterns) for dialogue in dialogues]


def _lengths(
    name: str, dialogues: Sequence[Studied], values: Sequence[float], outcomes: Sequence[float]
) -> tuple[float | None, Interval | None]:
    """How values go with the number of messages, and how with the outcome at a like number of them."""
    lengths = [dialogue.measures[LENGTH] or 0.0 for dialogue in dialogues]
    if name == LENGTH or len({*lengths}) == 1:
        return None, None
    return rank_correlation(values, lengths).estimate, partial_correlation(values, outcomes, lengths)
