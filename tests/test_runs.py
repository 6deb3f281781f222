"""Whole runs of messages leave the states that their messages leave one by one, to the last bit."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import projections.runs
from domain.measures import EmergenceSettings, Episode
from domain.response_times import BOUNDS, ResponseTimes, Said, Turns
from domain.tract import Direction, Tract
from projections.runs import Run, add_run, answers
from projections.states import Measures, encode

OUT, BACK = Direction.INTERNAL_TO_EXTERNAL, Direction.EXTERNAL_TO_INTERNAL
YEAR_1, YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999

Told = tuple[Direction, int | None]

times = st.none() | st.integers(YEAR_1, YEAR_9999) | st.integers(0, 2000)
told = st.tuples(st.sampled_from([OUT, BACK, OUT, BACK, Direction.INTRA]), times)
turns_taken = st.lists(st.sampled_from([(OUT, 1000), (BACK, 2000)]), max_size=40)
events = st.lists(st.lists(told, min_size=1, max_size=30) | turns_taken, max_size=12)
emergence = st.builds(
    EmergenceSettings, st.integers(1, 30), st.integers(0, 3), st.sampled_from([0.0, 0.5, 0.7, 0.9])
)


@pytest.fixture(autouse=True, scope="module")
def _short_runs_too() -> Iterable[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projections.runs, "FEWEST", 1)
        yield


def run_of(numbered: Iterable[tuple[int, Sequence[Told]]]) -> Run:
    run = Run()
    for position, messages in numbered:
        run.extend(position, bytes(direction for direction, _ in messages), [at for _, at in messages])
    return run


def runs_of(events: Sequence[Sequence[Told]], sizes: Sequence[int]) -> list[Run]:
    """Events at positions 10, 20 and so on, so many of them in each run, and the rest in the last."""
    numbered = [(10 * number, event) for number, event in enumerate(events, 1) if event]
    bounds = [0, *accumulate(sizes), max(len(numbered), sum(sizes))]
    return [run for start, stop in pairwise(bounds) if (run := run_of(numbered[start:stop]))]


@given(events, st.lists(st.integers(1, 4), max_size=5), emergence)
def test_measures_of_runs_are_those_of_their_messages(
    events: list[list[Told]], sizes: list[int], settings: EmergenceSettings
) -> None:
    whole, single = Measures.empty(settings), Measures.empty(settings)
    for run in runs_of(events, sizes):
        ended = [
            episode
            for place, (direction, at) in enumerate(zip(run.directions, run.sent_at, strict=True))
            if (episode := single.add(Direction(direction), run.position(place), at))
        ]
        assert add_run(whole, run) == ended
        assert encode(whole) == encode(single)


@given(events, st.lists(st.integers(1, 4), max_size=5), st.data())
def test_answers_of_runs_are_those_of_their_messages(
    events: list[list[Told]], sizes: list[int], data: st.DataObject
) -> None:
    whole, single = Turns(), Turns()
    for run in runs_of(events, sizes):
        earlier = st.builds(Said, st.sampled_from(Direction), times)
        replied_to = data.draw(st.dictionaries(st.integers(0, len(run) - 1), earlier, max_size=4))
        taken = {tract: ResponseTimes() for tract in Tract}
        for place, (direction, at) in enumerate(zip(run.directions, run.sent_at, strict=True)):
            response = single.add(Direction(direction), at, replied_to.get(place))
            if response is not None:
                taken[response.tract].add(response.duration)
        assert list(map(encode, answers(whole, run, replied_to))) == list(map(encode, taken.values()))
        assert encode(whole) == encode(single)


def test_episodes_that_begin_and_end_within_one_run_are_all_told() -> None:
    settings = EmergenceSettings(window=2, minimum=0, threshold=0.5)
    directions = [OUT, BACK, BACK, BACK, OUT, OUT, BACK]
    measures = Measures.empty(settings)
    ended = add_run(
        measures,
        run_of([(10, [(d, at) for at, d in enumerate(directions[:4])]), (20, [(d, 9) for d in directions[4:]])]),
    )
    assert ended == [Episode(2, 2, 10, 10, 1.0, 1, 1), Episode(5, 5, 20, 20, 1.0, 9, 9)]
    assert measures.episodes.under_way == Episode(7, 7, 20, 20, 1.0, 9, 9)


@pytest.mark.parametrize("bucket", [0, 1, 35, 700, 2000, 2183])
def test_duration_at_the_bound_of_a_bucket_is_the_last_one_in_it(bucket: int) -> None:
    durations = [at for at in (BOUNDS[bucket], BOUNDS[bucket] + 1) if at < 2**63]
    turn: list[Told] = [(OUT, 0)]
    for duration in durations:
        single = ResponseTimes()
        single.add(duration)
        _, external = answers(Turns(), run_of([(1, [*turn, (BACK, duration)])]), {})
        assert encode(external) == encode(single)
