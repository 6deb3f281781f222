"""A study finds what was planted, nothing where there is nothing, and says what it could not test."""

import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from application.conclusions import sentence
from application.relations import LEVEL, Relation, Share, Study, StudyVerdict
from application.study import study
from corpus_callosum import CorpusCallosum, InvalidCommandError, Kind, Tract
from projections.states import Status
from projections.studied import NAMES, Studied, StudiedSet

FEW, MANY = 66, 200
"""Studies of noise."""
PATTERN, OTHER = NAMES[0], NAMES[1]


def dialogues(
    outcomes: Sequence[object],
    measures: Callable[[int], dict[str, float | None]],
    patterns: Callable[[int], set[str]] = lambda _: set(),
) -> StudiedSet:
    """One dialogue for each outcome; `measures` and `patterns` say what the n-th has."""
    found = [
        Studied(UUID(int=n + 1), Status.CLOSED, value, measures(n), frozenset(patterns(n)))
        for n, value in enumerate(outcomes)
    ]
    return StudiedSet(7, found, frozenset({"won"}))


def of(told: Study, name: str) -> Relation:
    [relation] = [one for one in told.relations if one.name == name]
    return relation


def asked(found: StudiedSet, positive: object = None) -> Study:
    return study(found, Kind.RECORDED, "won", positive)


def lengths(values: Sequence[float | None]) -> Callable[[int], dict[str, float | None]]:
    return lambda n: {"total_messages": values[n]}


class TestPlanted:
    """60 dialogues; where it was won the pattern is in half of them, else in none. Nothing else is related."""

    def told(self, seed: int) -> Study:
        rng = random.Random(seed)
        won = [n % 2 == 0 for n in range(60)]
        noise = [{name: rng.random() for name in ("total_messages", "coordination_z")} for _ in won]
        other = {n for n in range(60) if rng.random() < 0.3}

        def patterns(n: int) -> set[str]:
            return ({PATTERN} if n % 4 == 0 else set()) | ({OTHER} if n in other else set())

        return asked(dialogues(won, lambda n: dict(noise[n]), patterns))

    def test_the_relation_is_found_and_no_other(self) -> None:
        told = self.told(0)
        assert [one.name for one in told.relations if one.verdict is StudyVerdict.RELATED] == [PATTERN]
        relation = told.relations[0]
        assert relation.groups == [Share(30, 0), Share(30, 15)]
        assert relation.effect.estimate == pytest.approx(0.5)
        assert relation.odds_ratio is not None
        assert relation.odds_ratio.high is None
        assert relation.p < relation.corrected_p < 0.0001
        assert relation.sentence.startswith(
            f"{PATTERN} goes with won: in 0 of 30 (0 %) where won is false, in 15 of 30 (50 %) where won is true;"
        )
        assert [example.outcome for example in relation.examples] == [True] * 3
        assert f"stands after correction for all of them (Holm, 0.05): {PATTERN}." in told.conclusions[1]

    def test_the_same_dialogues_give_the_same_study(self) -> None:
        assert self.told(1) == self.told(1)


def finds_something(rng: random.Random, number: int, measures: int, patterns: set[str]) -> bool:
    """Whether something is found in so many dialogues where nothing has to do with the outcome."""
    won = [n % 2 == 0 for n in range(number)]
    rng.shuffle(won)
    names = ["total_messages", *map(str, range(1, measures))]
    rows: list[dict[str, float | None]] = [{name: rng.randrange(30) for name in names} for _ in won]
    found = [{name for name in patterns if rng.random() < 0.4} for _ in won]
    told = asked(dialogues(won, rows.__getitem__, found.__getitem__))
    assert len(told.relations) == measures + len(patterns)
    return any(one.corrected_p <= LEVEL for one in told.relations)


def check_found_seldom(found: Sequence[bool]) -> None:
    """At most 5 %, and two standard deviations of what so many studies may have by chance."""
    assert sum(found) <= len(found) * LEVEL + 2 * (len(found) * LEVEL * (1 - LEVEL)) ** 0.5


@pytest.mark.slow
def test_of_pure_noise_hardly_more_than_one_study_of_twenty_finds_something() -> None:
    check_found_seldom([finds_something(random.Random(seed), 10, 5, set()) for seed in range(FEW)])


@pytest.mark.stress
def test_nor_of_many_of_them() -> None:
    check_found_seldom([finds_something(random.Random(seed), 10, 5, set()) for seed in range(MANY)])


@pytest.mark.stress
def test_nor_of_more_noise_with_patterns_and_drawn_partitions() -> None:
    check_found_seldom([finds_something(random.Random(seed), 60, 4, {PATTERN, OTHER}) for seed in range(MANY)])


class TestOutcomes:
    @pytest.mark.parametrize(
        ("values", "labels"),
        [
            ([0.0, 1.0], ["won is 0.0", "won is 1.0"]),
            ([1, 0], ["won is 0", "won is 1"]),
            ([True, False], ["won is false", "won is true"]),
            (["да", "нет"], ["won is да", "won is нет"]),
            (["1", "x"], ['won is "1"', "won is x"]),
            (["lost", 1], ["won is 1", "won is lost"]),
            ([[1], {"a": 2}], ["won is [1]", 'won is {"a":2}']),
        ],
    )
    def test_of_two_values_the_greater_is_the_second_group(self, values: list[Any], labels: list[str]) -> None:
        told = asked(dialogues(values * 10, lengths(list(range(20)))))
        assert [group.label for group in told.groups] == labels
        assert told.outcomes is None

    def test_one_and_one_point_nought_are_the_same_and_true_is_another(self) -> None:
        told = asked(dialogues([1, 1.0, True] * 5, lengths(list(range(15)))))
        assert [group.dialogues for group in told.groups] == [5, 10]

    def test_the_second_group_may_be_chosen(self) -> None:
        found = dialogues([0.0, 1.0] * 6, lengths([1, 2] * 6))
        assert of(asked(found), "total_messages").effect.estimate == 1
        assert of(asked(found, 0), "total_messages").effect.estimate == -1
        assert of(asked(found, "0"), "total_messages").effect.estimate == -1

    def test_text_of_many_values_needs_one_to_be_named(self) -> None:
        found = dialogues(["красный", "blue", "green"] * 5, lengths(list(range(15))))
        with pytest.raises(InvalidCommandError, match=r"has 3 values \(blue, green, красный\); say with positive"):
            asked(found)
        told = asked(found, "красный")
        assert [group.label for group in told.groups] == ["won is not красный", "won is красный"]
        assert [group.dialogues for group in told.groups] == [10, 5]
        with pytest.raises(
            InvalidCommandError, match="is yellow, which is no value of 'won'; there are blue, green"
        ):
            asked(found, "yellow")

    def test_a_number_of_many_values_is_taken_as_it_is(self) -> None:
        patterns = [{PATTERN} if n % 3 == 0 else set[str]() for n in range(30)]
        told = asked(dialogues([n / 2 for n in range(30)], lengths(list(range(30))), patterns.__getitem__))
        assert told.groups == []
        assert told.outcomes is not None
        assert (told.outcomes.least, told.outcomes.greatest) == (0, 14.5)
        length, pattern = of(told, "total_messages"), of(told, PATTERN)
        assert length.test == "spearman"
        assert length.effect.estimate == pytest.approx(1)
        assert (pattern.test, pattern.verdict) == ("mann_whitney", StudyVerdict.NONE)
        assert "won is at the median 7.5 without it, 6.75 with it" in pattern.sentence
        assert told.detectable is not None
        assert told.detectable.rank_correlation == pytest.approx(0.55, abs=0.01)
        assert len(asked(dialogues([1, 2, 3] * 5, lengths(list(range(15)))), 2).groups) == 2

    def test_a_missing_outcome_is_counted_and_left_out(self) -> None:
        told = asked(dialogues([1, 0, None] * 6, lengths(list(range(18)))))
        assert (told.dialogues, told.missing) == (18, 6)
        assert told.conclusions[1] == "6 of 18 do not say won and are left out."
        assert [group.known for group in of(told, "total_messages").groups if not isinstance(group, Share)] == [
            6,
            6,
        ]

    @pytest.mark.parametrize(
        ("outcomes", "says"),
        [
            ([], "there are no recorded dialogues"),
            ([1, 1], "is 1 wherever it is known"),
            ([None], "is null wherever"),
        ],
    )
    def test_nothing_to_compare_is_an_error(self, outcomes: list[object], says: str) -> None:
        with pytest.raises(InvalidCommandError, match=says):
            asked(dialogues(outcomes, lengths([1, 2])))

    def test_an_attribute_that_none_has_is_an_error_that_names_others(self) -> None:
        with pytest.raises(
            InvalidCommandError, match="is no attribute of any recorded dialogue, their attributes"
        ):
            study(dialogues([1, 0], lengths([1, 2])), Kind.RECORDED, "lost")


class TestNotTested:
    def why(self, told: Study, name: str) -> str:
        [one] = [one for one in told.untested if one.name == name]
        return one.why

    def test_too_few_in_a_group(self) -> None:
        told = asked(
            dialogues([1] * 4 + [0] * 20, lengths(list(range(24))), lambda n: {PATTERN} if n % 2 else set())
        )
        assert told.relations == []
        either = "it is known of 20 and 4 dialogues; either group needs 5"
        assert self.why(told, "total_messages") == self.why(told, PATTERN) == either
        assert "Nothing could be tested." in told.conclusions
        assert told.detectable is None

    def test_what_is_not_known(self) -> None:
        told = asked(dialogues([1, 0] * 10, lambda n: {"total_messages": n, "coordination_z": None}))
        assert self.why(told, "coordination_z") == "it is not known of any dialogue"

    def test_what_is_known_in_one_group_only(self) -> None:
        some = [float(n) if n % 2 else None for n in range(20)]
        told = asked(dialogues([1, 0] * 10, lambda n: {"total_messages": n, "coordination_z": some[n]}))
        why = "it is known of 10 and 0 dialogues; either group needs 5"
        assert self.why(told, "coordination_z") == why

    def test_what_is_known_of_too_few_for_a_correlation(self) -> None:
        some = [float(n) if n < 9 else None for n in range(20)]
        told = asked(dialogues(list(range(20)), lambda n: {"total_messages": n, "coordination_z": some[n]}))
        assert self.why(told, "coordination_z") == "it is known of 9 dialogues; 10 are needed"

    def test_what_is_the_same_in_all(self) -> None:
        told = asked(dialogues([1, 0] * 10, lengths([3] * 20)))
        assert self.why(told, "total_messages") == "it is 3 in every dialogue"
        assert asked(dialogues(list(range(20)), lengths([3] * 20))).relations == []

    @pytest.mark.parametrize(
        ("having", "why"),
        [
            (0, "it was found in no dialogue"),
            (20, "it was found in every dialogue"),
            (4, "it is found in 4 of 20 dialogues; 5 are needed"),
            (17, "it is missing in 3 of 20 dialogues; 5 are needed"),
        ],
    )
    @pytest.mark.parametrize("outcomes", [[1, 0] * 10, list(range(20))])
    def test_a_pattern_that_hardly_varies(self, outcomes: list[object], having: int, why: str) -> None:
        told = asked(dialogues(outcomes, lengths(list(range(20))), lambda n: {PATTERN} if n < having else set()))
        assert self.why(told, PATTERN) == why


class TestSentences:
    def test_a_measure_that_is_the_length_again_says_so(self) -> None:
        told = asked(
            dialogues([n < 15 for n in range(30)], lambda n: {"total_messages": n, "runs": 2 * n, "other": n % 7})
        )
        assert of(told, "runs").like_length == pytest.approx(1)
        assert of(told, "runs").beyond_length is None
        assert "orders the dialogues as total_messages does (rank correlation +1.00)" in of(told, "runs").sentence
        assert "Of these, runs orders the dialogues as total_messages does: what is seen" in told.conclusions[2]
        assert abs(of(told, "other").like_length or 1) < 0.5

    def test_what_goes_with_length_alone_does_not_remain_beyond_it(self) -> None:
        rng = random.Random(3)
        long = [n % 2 for n in range(200)]
        size = [20 * each + rng.randrange(20) for each in long]
        told = asked(
            dialogues(
                [rng.random() < 0.2 + 0.6 * each for each in long],
                lengths(size),
                lambda n: {PATTERN} if random.Random(n).random() < 0.1 + 0.7 * long[n] else set(),
            )
        )
        pattern = of(told, PATTERN)
        assert pattern.verdict is StudyVerdict.RELATED
        assert pattern.beyond_length is not None
        assert abs(pattern.beyond_length.estimate or 1.0) < 0.3 < abs(pattern.like_length or 0.0)
        assert "At a like number of messages there remains a rank correlation of" in pattern.sentence

    def test_what_only_stands_alone_is_said_to_be_uncertain(self) -> None:
        noise = random.Random(6)
        rows = [
            {"total_messages": float(noise.randrange(99)), "runs": float(noise.randrange(99))} for _ in range(30)
        ]
        found = dialogues(
            [n < 15 for n in range(30)],
            lambda n: dict(rows[n]),
            lambda n: {PATTERN} if n in {0, 1, 2, 3, 4, 5, 6, 20} else set(),
        )
        told = asked(found)
        relation = of(told, PATTERN)
        assert relation.p <= LEVEL < relation.corrected_p == pytest.approx(3 * relation.p)
        assert relation.verdict is StudyVerdict.UNCERTAIN
        assert relation.examples == []
        assert "may go with won, or not" in relation.sentence
        assert (
            "Among 3 tests, something as strong somewhere has a probability of up to"
            f" {relation.corrected_p:.4f} by chance."
        ) in relation.sentence
        weaker = msgspec.structs.replace(relation, p=0.04, corrected_p=0.08)
        assert "a probability of up to 0.1200 by chance." in sentence(weaker, told)

    def test_no_relation_is_said_as_plainly(self) -> None:
        told = asked(dialogues([1, 0] * 10, lengths([n // 2 for n in range(20)])))
        assert told.conclusions[1] == (
            "No relation found: one test was made, and none stands after correction for all of them (Holm, 0.05)."
        )
        assert told.relations[0].sentence.startswith(
            "No relation found between total_messages and won: median 4.5"
        )
        assert told.conclusions[2].startswith("With 10 and 10 dialogues and 1 test, a |δ| of 0.72")
        assert (
            "a relation says that two things go together here, not that one makes the other"
            in told.conclusions[-1]
        )

    @pytest.mark.parametrize(
        ("won", "tests", "says"),
        [
            (5, 7, "With 5 and 5 dialogues and 7 tests no difference, however great, could be found."),
            (6, 12, "to be found, but of a measure no difference, however great. Much weaker"),
        ],
    )
    def test_where_nothing_could_be_found_it_says_so(self, won: int, tests: int, says: str) -> None:
        """The groups do not overlap at all."""
        rows: list[dict[str, float | None]] = [
            {"total_messages": n, **{str(name): n for name in range(1, tests)}} for n in range(5 + won)
        ]
        told = asked(dialogues([0] * 5 + [1] * won, rows.__getitem__))
        assert [one for one in told.relations if one.verdict is StudyVerdict.RELATED] == []
        assert says in told.conclusions[2]

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ([0, 0, 0, 1] * 5, "the latter has more in 50 % of pairs, fewer in 0 %, the same in 50 %, δ +0.50"),
            ([1, 0, 0, 0] * 5, "the former has more in 50 % of pairs, fewer in 0 %, the same in 50 %, δ −0.50"),
            (list(range(20)), "the latter has more in 55 % of pairs, fewer in 45 %, δ +0.10"),
        ],
    )
    def test_pairs_are_counted_as_they_are(self, values: list[float], says: str) -> None:
        told = asked(dialogues([0, 1] * 10, lengths(values)))
        assert f"; {says} (" in told.relations[0].sentence

    def test_who_is_known_of_is_said_where_it_is_not_all(self) -> None:
        some = [float(n) if n > 5 else None for n in range(20)]
        told = asked(dialogues([1, 0] * 10, lambda n: {"total_messages": n % 6, "coordination_z": some[n]}))
        assert of(told, "coordination_z").sentence.count("(known of 7 of 10)") == 2


class TestExamples:
    """The two greatest of the group that has more, and the least of the other."""

    @pytest.mark.parametrize("more", [1, 0])
    def test_of_two_groups(self, more: int) -> None:
        told = asked(dialogues([more] * 10 + [1 - more] * 10, lengths([*range(10, 20), *range(10)])))
        examples = of(told, "total_messages").examples
        assert [(one.outcome, one.value) for one in examples] == [(more, 19), (more, 18), (1 - more, 0)]
        assert examples[0].dialogue == UUID(int=10)

    @pytest.mark.parametrize("more", [1, 0])
    def test_of_a_pattern_the_first_where_it_is_found_more_often(self, more: int) -> None:
        outcomes = [1 - more] * 20 + [more] * 20
        found = dialogues(outcomes, lengths([3] * 40), lambda n: {PATTERN} if n >= 22 or n == 0 else set())
        assert [one.dialogue.int for one in of(asked(found), PATTERN).examples] == [23, 24, 25]

    def test_of_a_number(self) -> None:
        told = asked(dialogues(list(range(20)), lengths(list(range(20)))))
        assert [one.value for one in of(told, "total_messages").examples] == [19, 18, 0]


class TestOnTheService:
    async def test_live_dialogues_are_studied_with_their_response_times_and_patterns(
        self, projecting: CorpusCallosum
    ) -> None:
        """Where it was lost the question is asked three times."""
        for n in range(12):
            dialogue = await projecting.open_dialogue(f"run {n}", attributes={"won": n % 2 == 0})
            for place in range(3):
                asks = "again" if n % 2 else f"{n} {place}"
                await _say(projecting, dialogue, Tract.INTERNAL, asks)
                await _say(projecting, dialogue, Tract.EXTERNAL, f"answer {n} {place}")
            if n == 0:
                await projecting.close_dialogue(dialogue, "done")
        told = await projecting.study("won", Kind.LIVE)
        assert (told.kind, told.dialogues, told.missing, told.open) == (Kind.LIVE, 12, 0, 11)
        repetition, loop = of(told, "repetition"), of(told, "echo_loop")
        assert repetition.groups == loop.groups == [Share(6, 6), Share(6, 0)]
        assert repetition.verdict is StudyVerdict.RELATED
        assert of(told, "findings").effect.estimate == -1
        assert "stall" not in {one.name for one in told.relations} | {one.name for one in told.untested}
        assert [said for said in told.conclusions if "tall" in said] == [
            "Stalls are not studied, nor counted as findings: they depend on when it is asked."
        ]
        times = of(told, "response_time.external.p50")
        assert [group.known for group in times.groups if not isinstance(group, Share)] == [6, 6]
        assert "11 of them are still open: their measures may change." in told.conclusions
        before = await projecting.study("won", Kind.LIVE, as_of=told.position - 1)
        assert (before.position, before.open) == (told.position - 1, 11)
        with pytest.raises(
            InvalidCommandError, match="there are no recorded dialogues; --kind live is for live ones"
        ):
            await projecting.study("won")


async def _say(callosum: CorpusCallosum, dialogue: UUID, source: Tract, payload: str) -> None:
    target = Tract.EXTERNAL if source is Tract.INTERNAL else Tract.INTERNAL
    await callosum.send(dialogue, source=source, target=target, sender="agent", payload=payload)
