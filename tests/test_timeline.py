"""What happened in each minute of the log's time."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_callosum import CorpusCallosum, InvalidCommandError, Minute, MinuteList, Tract
from domain.consumer import Consumer, Result
from domain.dialogue import Dialogue, Kind
from domain.message import Message
from projections import known
from projections.errors import ProjectionFailedError
from projections.models import ReadModels
from projections.timeline import Timeline, minute_of, timeline
from tests.deliveries import following, say
from tests.examples import few
from tests.memory_log import (
    NOON,
    MemoryLog,
    answer,
    ask,
    closed,
    conveyed,
    discarded,
    dump,
    joined,
    opened,
    outcome,
    reading,
    redriven,
    runner_of,
    running,
    settled,
)

INTERNAL, EXTERNAL = Tract
A, B, RECORDED, TOOL = (UUID(int=number) for number in range(1, 5))
MINUTE = 60_000
THOUGHT = Message(source=INTERNAL, target=INTERNAL, sender="planner")
ACTION = Message(source=EXTERNAL, target=EXTERNAL, sender="tool")

Happening = tuple[int, Dialogue.Event | Consumer.Event]
"""The log's time of an event, in milliseconds, and the event."""


@pytest.fixture
def callosum(projecting: CorpusCallosum) -> CorpusCallosum:
    return projecting


def folded(
    *happenings: Happening,
    page: int = 1000,
    kind: Kind = Kind.LIVE,
    start: int | None = None,
    stop: int | None = None,
    limit: int = 100,
    filled: bool = False,
) -> tuple[MinuteList, dict[str, list[tuple[object, ...]]]]:
    """What is answered, and the rows."""
    log, models = MemoryLog(page=page), ReadModels()
    with ExitStack() as last, running(runner_of(log, models, Timeline), log) as runner:
        last.callback(models.close)
        for at, event in happenings:
            log.append(event, at=at)
        runner.wait_for(log.head(), 20)
        with reading(models, Timeline()) as connection:
            told = timeline(connection, log.head(), kind=kind, start=start, stop=stop, limit=limit, filled=filled)
        return told, dump(models, Timeline())


def shown(told: MinuteList) -> list[tuple[str, dict[str, int]]]:
    """What is not 0."""
    return [
        (
            minute.at[11:],
            {name: count for name, count in msgspec.structs.asdict(minute).items() if count and name != "at"},
        )
        for minute in told.minutes
    ]


def test_nothing_folded_is_no_minute() -> None:
    assert folded()[0].minutes == folded(filled=True)[0].minutes == []


def test_messages_count_in_their_minute_by_direction() -> None:
    told, _ = folded(
        (0, opened(A)),
        (MINUTE - 1, conveyed(A, 1, ask(), ask(), answer(), THOUGHT)),
        (MINUTE, conveyed(A, 5, answer(), THOUGHT, ACTION, ACTION, ACTION)),
    )
    assert told.minutes[0].at == "1970-01-01T00:00:00Z"
    assert shown(told) == [
        ("00:00:00Z", {"internal_to_external": 2, "external_to_internal": 1, "intra": 1, "opened": 1}),
        ("00:01:00Z", {"external_to_internal": 1, "intra": 4}),
    ]


def test_kinds_are_never_mixed() -> None:
    happenings = (
        (0, opened(A)),
        (0, opened(RECORDED, Kind.RECORDED)),
        (0, conveyed(RECORDED, 1, ask(), answer())),
        (0, conveyed(A, 1, ask())),
        (MINUTE, conveyed(RECORDED, 3, ask())),
    )
    live, recorded = (folded(*happenings, kind=kind)[0] for kind in Kind)
    assert (live.kind, recorded.kind) == (Kind.LIVE, Kind.RECORDED)
    assert shown(live) == [("00:00:00Z", {"internal_to_external": 1, "opened": 1})]
    assert [minute.internal_to_external for minute in recorded.minutes] == [1, 1]


def test_dialogues_and_outcomes_count_in_the_minute_they_ended_in() -> None:
    ended = [outcome(A, number, result) for number, result in enumerate(Result, 1)]
    told, _ = folded(
        (0, opened(A)),
        (0, joined(TOOL, EXTERNAL)),
        (0, conveyed(A, 1, *[ask()] * 4)),
        (MINUTE, settled(TOOL, *ended, *ended[:1])),
        (2 * MINUTE, closed(A)),
        (3 * MINUTE, redriven(A, 4)),
        (3 * MINUTE, discarded(A, 4)),
    )
    assert shown(told)[1:] == [
        ("00:01:00Z", {"acked": 2, "retried": 1, "expired": 1, "dead_lettered": 1}),
        ("00:02:00Z", {"closed": 1}),
    ]


EVERY_THIRD = [(0, opened(A)), *((n * MINUTE, conveyed(A, n, ask())) for n in (3, 6, 9))]


def minutes(told: MinuteList) -> list[int]:
    return [int(minute.at[14:16]) for minute in told.minutes]


def test_a_range_has_both_its_ends_and_no_gaps() -> None:
    told, _ = folded(*EVERY_THIRD, start=3, stop=6)
    assert (minutes(told), told.total) == ([3, 6], 2)
    assert minutes(folded(*EVERY_THIRD, start=4)[0]) == [6, 9]
    assert minutes(folded(*EVERY_THIRD, stop=5)[0]) == [0, 3]


def test_the_last_minutes_of_a_range_are_shown_where_there_are_too_many() -> None:
    told, _ = folded(*EVERY_THIRD, limit=2)
    assert (minutes(told), told.total) == ([6, 9], 4)
    filled, _ = folded(*EVERY_THIRD, limit=5, filled=True)
    assert (minutes(filled), filled.total) == ([5, 6, 7, 8, 9], 10)


def test_gaps_are_filled_where_that_is_asked_for() -> None:
    told, _ = folded(*EVERY_THIRD, filled=True)
    assert (minutes(told), told.total) == (list(range(10)), 10)
    assert [minute.internal_to_external for minute in told.minutes] == [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    assert minutes(folded(*EVERY_THIRD, start=8, stop=11, filled=True)[0]) == [8, 9, 10, 11]
    assert minutes(folded(*EVERY_THIRD, start=20, stop=21, filled=True)[0]) == [20, 21]
    assert minutes(folded(*EVERY_THIRD, start=20, filled=True)[0]) == []
    assert minutes(folded(*EVERY_THIRD, start=21, stop=20, filled=True)[0]) == []


def test_a_moment_is_in_the_minute_that_holds_it() -> None:
    ahead = timezone(timedelta(hours=2))
    assert minute_of(datetime(1970, 1, 1, 2, 1, 59, 999_999, tzinfo=ahead)) == 1
    assert minute_of(datetime(1969, 12, 31, 23, 59, 30, tzinfo=UTC)) == -1


def test_a_minute_goes_on_where_another_runner_stopped() -> None:
    log, models = MemoryLog(), ReadModels()
    for event in (opened(A), conveyed(A, 1, ask()), closed(A)):
        with running(runner_of(log, models, Timeline), log) as runner:
            runner.wait_for(log.append(event, at=0), 20)
    with reading(models, Timeline()) as connection:
        told = timeline(connection, 3, kind=Kind.LIVE, start=None, stop=None, limit=9, filled=False)
    models.close()
    assert shown(told) == [("00:00:00Z", {"internal_to_external": 1, "opened": 1, "closed": 1})]


class Unknown(Dialogue.Event, frozen=True):
    TOPIC = "dialogue.unknown.v1"


@pytest.mark.parametrize("stray", [conveyed(B, 1, ask()), closed(B), Unknown(A, 3, NOON)])
def test_an_event_that_cannot_be_counted_is_an_error(stray: Dialogue.Event) -> None:
    with pytest.raises(ProjectionFailedError, match="before position 2"):
        folded((0, opened(A)), (0, stray))


messages = st.sampled_from([ask(), answer(), THOUGHT, ACTION])
steps: st.SearchStrategy[Callable[[], Dialogue.Event | Consumer.Event]] = st.one_of(
    st.builds(
        lambda dialogue, said: lambda: conveyed(dialogue, 1, *said),
        st.sampled_from([A, B, RECORDED]),
        st.lists(messages, min_size=1, max_size=9),
    ),
    st.builds(
        lambda results: lambda: settled(TOOL, *(outcome(A, 1, each) for each in results)),
        st.lists(st.sampled_from(Result)),
    ),
    st.builds(lambda dialogue: lambda: closed(dialogue), st.sampled_from([A, B])),
)


@few
@given(st.lists(st.tuples(st.integers(0, 2 * MINUTE), steps), max_size=20), st.integers(1, 5))
def test_figures_are_those_of_a_recount_in_batches_of_any_size(
    history: list[tuple[int, Callable[[], Dialogue.Event | Consumer.Event]]], page: int
) -> None:
    happenings: list[Happening] = [(0, opened(A)), (0, opened(B)), (0, opened(RECORDED, Kind.RECORDED))]
    for later, make in history:
        happenings.append((happenings[-1][0] + later, make()))
    expected = {kind: Counter[tuple[int, str]]() for kind in Kind}
    for at, event in happenings:
        of = expected[Kind.RECORDED if event.originator_id == RECORDED else Kind.LIVE]
        match event:
            case Dialogue.Conveyed(messages=said):
                of.update((at // MINUTE, message.direction.name.lower()) for message in said)
            case Consumer.Settled(outcomes=ended):
                of.update((at // MINUTE, each.result.value) for each in ended)
            case Dialogue.Opened():
                of[at // MINUTE, "opened"] += 1
            case _:
                of[at // MINUTE, "closed"] += 1
    whole = {kind: folded(*happenings, kind=kind) for kind in Kind}
    for kind, (told, _) in whole.items():
        counted = {
            (minute_of(datetime.fromisoformat(minute.at)), name): getattr(minute, name)
            for minute in told.minutes
            for name in Minute.__struct_fields__[1:]
        }
        assert {place: count for place, count in counted.items() if count} == expected[kind]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known, "_MOST", 0)  # nothing is known from the batch before
        assert folded(*happenings, kind=Kind.RECORDED, page=page) == whole[Kind.RECORDED]


class TestOnTheService:
    async def test_a_run_is_told_by_the_minute(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        await say(callosum, dialogue, "a", "b", "c")
        async with callosum.subscribe(EXTERNAL, "tool", demand=3) as subscription:
            a, b, c = [await following(subscription) for _ in range(3)]
            await a.reply(Message(source=EXTERNAL, target=INTERNAL, sender="tool"))
            await b.nak("not now", delay=60)
            await c.term("never")
        position = await callosum.close_dialogue(dialogue, "done")
        told = await callosum.timeline(start=before)
        assert told.position == position
        sums = Counter[str]()
        for minute in told.minutes:
            sums.update({name: getattr(minute, name) for name in minute.__struct_fields__[1:]})
        assert +sums == {
            "internal_to_external": 3,
            "external_to_internal": 1,
            "opened": 1,
            "closed": 1,
            "acked": 1,
            "retried": 1,
            "dead_lettered": 1,
        }
        assert (await callosum.timeline(stop=before)).minutes == []
        assert (await callosum.timeline(Kind.RECORDED)).minutes == []
        first = await callosum.timeline(as_of=1)
        assert (first.position, [minute.opened for minute in first.minutes]) == (1, [1])

    async def test_gaps_are_filled_up_to_the_end_of_the_range(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        stop = datetime.now(UTC) + timedelta(minutes=30)
        told = await callosum.timeline(stop=stop, limit=20, filled=True)
        assert [minute.at for minute in told.minutes] == [
            f"{stop - timedelta(minutes=back):%Y-%m-%dT%H:%M}:00Z" for back in reversed(range(20))
        ]

    async def test_what_cannot_be_asked_is_refused(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError, match="time zone"):
            await callosum.timeline(start=datetime(2026, 3, 1))  # noqa: DTZ001  # that is what is refused
        with pytest.raises(InvalidCommandError, match="limit"):
            await callosum.timeline(limit=0)
