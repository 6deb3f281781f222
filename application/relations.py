"""What a study answers: how each measure and pattern goes with an outcome. Plain figures; p is two-sided."""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.dialogue import Kind

__all__ = [
    "FEWEST",
    "LEVEL",
    "MANY",
    "PERMUTATIONS",
    "SEED",
    "Aspect",
    "Detectable",
    "Exactness",
    "Example",
    "Interval",
    "OutcomeGroup",
    "Pairs",
    "Relation",
    "Share",
    "Spread",
    "Study",
    "StudyVerdict",
    "Tested",
    "Untested",
]

LEVEL: Final = 0.05
"""Of all tests of a study together."""
FEWEST: Final = 5
"""Dialogues in a group below which nothing is tested."""
PERMUTATIONS: Final = 9_999
MANY: Final = 2_000
"""Dialogues beyond which normal approximations are used, where every group has at least 50."""
SEED: Final = 20_260_301
"""Where drawing begins; each test begins there anew, so that none depends on which others are made."""


class Aspect(StrEnum):
    MEASURE = "measure"
    PATTERN = "pattern"


class StudyVerdict(StrEnum):
    """RELATED: stands after the correction. UNCERTAIN: only without it. NONE: no relation was found."""

    RELATED = "related"
    UNCERTAIN = "uncertain"
    NONE = "no relation found"


class Interval(msgspec.Struct, frozen=True):
    """An estimate and its interval of 95 %; None: beyond all numbers."""

    estimate: float | None
    low: float | None
    high: float | None


class Pairs(msgspec.Struct, frozen=True):
    """Of all pairs of a dialogue of either group: in what shares the second's has more, fewer, or the same."""

    more: float
    fewer: float
    same: float


class Exactness(StrEnum):
    """EXACT: over all cases. PERMUTATION: over drawn ones. NORMAL: approximated, of very many dialogues."""

    EXACT = "exact"
    PERMUTATION = "permutation"
    NORMAL = "normal approximation"


class Tested(msgspec.Struct, frozen=True):
    """A two-sided p-value, and how it was come by."""

    p: float
    method: Exactness


class Spread(msgspec.Struct, frozen=True):
    """How values are distributed: `known` is how many there are."""

    known: int
    mean: float
    least: float
    lower_quartile: float
    median: float
    upper_quartile: float
    greatest: float


class Share(msgspec.Struct, frozen=True):
    """In how many dialogues of a group a pattern was found."""

    dialogues: int
    found: int

    @property
    def share(self) -> float:
        return self.found / self.dialogues


class OutcomeGroup(msgspec.Struct, frozen=True):
    """Dialogues that are compared with others: `label` says which, as in ``reward is 1.0``."""

    label: str
    dialogues: int


class Example(msgspec.Struct, frozen=True):
    """A dialogue that shows a relation: its outcome, and what it has of the measure or pattern (found: 1)."""

    dialogue: UUID
    outcome: Any
    value: float


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """A measure or pattern and the outcome.

    Attributes:
        test: ``mann_whitney``, ``fisher`` or ``spearman``; `method`: how its p-value was come by.
        groups: one for each group of the outcome, in that order. With a number as the outcome: of a measure, its
            spread; of a pattern, the outcome's spread without it and with it.
        effect: ``cliffs_delta``, ``share_difference`` or ``rank_correlation``, each −1 to 1: above 0 where the
            second group, or the greater outcome, has more.
        pairs: of ``cliffs_delta``: what it is the balance of.
        odds_ratio: of a pattern and two groups: the second's odds over the first's.
        p, corrected_p: alone, and corrected for all tests of the study (Holm).
        like_length: its rank correlation with total_messages, over the same dialogues (a pattern: 1 where found).
        beyond_length: its rank correlation with the outcome at a like number of messages (the partial one).
        sentence: what follows.
        examples: dialogues to read, where it is related.
    """

    name: str
    aspect: Aspect
    test: str
    method: Exactness
    groups: list[Spread] | list[Share]
    effect_name: str
    effect: Interval
    pairs: Pairs | None = None
    odds_ratio: Interval | None = None
    p: float
    corrected_p: float = 1.0
    verdict: StudyVerdict = StudyVerdict.NONE
    like_length: float | None = None
    beyond_length: Interval | None = None
    sentence: str = ""
    examples: list[Example] = []


class Untested(msgspec.Struct, frozen=True):
    """A measure or pattern that was not tested, and why."""

    name: str
    aspect: Aspect
    why: str


class Detectable(msgspec.Struct, frozen=True):
    """How strong a relation must be to be found after correction with a probability of 80 %.

    Of two groups `cliffs_delta`, and `share_difference` for shares about one half; None: none is strong enough,
    where groups are small and tests are many. Of a number `rank_correlation`.
    """

    cliffs_delta: float | None = None
    share_difference: float | None = None
    rank_correlation: float | None = None


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What an attribute of dialogues has to do with what was measured and found in them.

    Attributes:
        position: of the log, up to which it holds.
        dialogues: of this kind in all; `missing` of them do not have the attribute and are left out, and `open` of
            those that are not left out are still going on.
        groups: the two that are compared; none when the outcome is a number of more than two values.
        outcomes: that number's spread.
        relations: the least corrected p first.
        detectable: what could have been found; None where nothing was tested.
        conclusions: what follows from all of it, in sentences.
    """

    position: int
    kind: Kind
    outcome: str
    dialogues: int
    missing: int
    open: int
    groups: list[OutcomeGroup]
    outcomes: Spread | None
    relations: list[Relation]
    untested: list[Untested]
    detectable: Detectable | None
    conclusions: list[str] = []
    level: float = LEVEL
    correction: str = "holm"
    permutations: int = PERMUTATIONS
    seed: int = SEED
