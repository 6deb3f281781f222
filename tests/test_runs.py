"""Whole runs of messages leave the states that their messages leave one by one, to the last bit."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.measures import EmergenceSettings, Episode
from domain.response_times import BOUNDS, ResponseTimes, Said, Turns
from domain.tract import Direction, Tract
from projections.runs import Run, add_runs, answers
from projections.states import Measures, encode

OUT, BACK = Direction.INTERNAL_TO_EXTERNAL, Direction.EXTERNAL_TO_INTERNAL
SCOPES = 3
YEAR_1, YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999

Told = tuple[Direction, int | None]

times = st.none() | st.integers(YEAR_1, YEAR_9999) | st.integers(0, 2000)
told = st.tuples(st.sampled_from([OUT, BACK, OUT, BACK, Direction.INTRA]), times)
turns_taken = st.lists(st.sampled_from([(OUT, 1000), (BACK, 2000)]), max_size=40)
events = st.lists(
    st.tuples(st.integers(0, SCOPES - 1), st.lists(told, min_size=1, max_size=30) | turns_taken), max_size=12
)
emergence = st.builds(
    EmergenceSettings, st.integers(1, 30), st.integers(0, 3), st.sampled_from([0.0, 0.5, 0.7, 0.9])
)


@pytest.fixture(autouse=True, scope="module", params=[1, 6], ids=["all joined", "short ones by themselves"])
def _few_are_many(request: pytest.FixtureRequest) -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projections.runs.FEWEST", 1)
        patch.setattr("projections.runs.FEWEST_OF_RUN", request.param)
        yield


def run_of(numbered: Iterable[tuple[int, Sequence[Told]]]) -> Run:
    run = Run()
    for position, messages in numbered:
        run.extend(position, bytes(direction for direction, _ in messages), [at for _, at in messages])
    return run


Batch = list[tuple[int, Run]]
"""Scopes by their numbers, each at most once."""


def batches_of(events: Sequence[tuple[int, Sequence[Told]]], sizes: Sequence[int]) -> list[Batch]:
    """Events of scopes at positions 10, 20 and so on, so many of them in each batch, and the rest in the last."""
    numbered = [(scope, (10 * number, messages)) for number, (scope, messages) in enumerate(events, 1) if messages]
    bounds = [0, *accumulate(sizes), max(len(numbered), sum(sizes))]
    batches = []
    for start, stop in pairwise(bounds):
        scopes = dict.fromkeys(scope for scope, _ in numbered[start:stop])
        batch = [(scope, run_of([event for of, event in numbered[start:stop] if of == scope])) for scope in scopes]
        if batch:
            batches.append(batch)
    return batches


@given(events, st.lists(st.integers(1, 4), max_size=5), emergence)
def test_measures_of_runs_are_those_of_their_messages(
    events: list[tuple[int, list[Told]]], sizes: list[int], rules: EmergenceSettings
) -> None:
    whole, single = ([Measures.empty(rules) for _ in range(SCOPES)] for _ in range(2))
    for batch in batches_of(events, sizes):
        ended = [
            [
                episode
                for place, (direction, at) in enumerate(zip(run.directions, run.sent_at, strict=True))
                if (episode := single[scope].add(Direction(direction), run.position(place), at))
            ]
            for scope, run in batch
        ]
        assert add_runs([(whole[scope], run) for scope, run in batch]) == ended
        assert list(map(encode, whole)) == list(map(encode, single))


@given(events, st.lists(st.integers(1, 4), max_size=5), st.data())
def test_answers_of_runs_are_those_of_their_messages(
    events: list[tuple[int, list[Told]]], sizes: list[int], data: st.DataObject
) -> None:
    whole, single = ([Turns() for _ in range(SCOPES)] for _ in range(2))
    earlier = st.builds(Said, st.sampled_from(Direction), times)
    for batch in batches_of(events, sizes):
        replies = [
            data.draw(st.dictionaries(st.integers(0, len(run) - 1), earlier, max_size=4)) for _, run in batch
        ]
        found = answers(
            [(whole[scope], run, replied) for (scope, run), replied in zip(batch, replies, strict=True)]
        )
        for (scope, run), replied_to, response_times in zip(batch, replies, found, strict=True):
            taken = {tract: ResponseTimes() for tract in Tract}
            for place, (direction, at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
                response = single[scope].add(Direction(direction), at, replied_to.get(place))
                if response is not None:
                    taken[response.tract].add(response.duration)
            assert list(map(encode, response_times)) == list(map(encode, taken.values()))
        assert list(map(encode, whole)) == list(map(encode, single))


def test_episodes_that_begin_and_end_within_one_run_are_all_told() -> None:
    directions = [OUT, BACK, BACK, BACK, OUT, OUT, BACK]
    measures = Measures.empty(EmergenceSettings(window=2, minimum=0, threshold=0.5))
    first = [(direction, at) for at, direction in enumerate(directions[:4])]
    second = [(direction, 9) for direction in directions[4:]]
    [ended] = add_runs([(measures, run_of([(10, first), (20, second)]))])
    assert ended == [Episode(2, 2, 10, 10, 1.0, 1, 1), Episode(5, 5, 20, 20, 1.0, 9, 9)]
    assert measures.episodes.under_way == Episode(7, 7, 20, 20, 1.0, 9, 9)


@pytest.mark.parametrize("bucket", [0, 1, 35, 700, 2000, 2183])
def test_duration_at_the_bound_of_a_bucket_is_the_last_one_in_it(bucket: int) -> None:
    for duration in (BOUNDS[bucket], min(BOUNDS[bucket] + 1, 2**63 - 1)):
        single = ResponseTimes()
        single.add(duration)
        [(_, external)] = answers([(Turns(), run_of([(1, [(OUT, 0), (BACK, duration)])]), {})])
        assert encode(external) == encode(single)
