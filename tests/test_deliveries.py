"""What became of the messages to each tract: counted from events, and on the service as by hand."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from math import isclose
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_callosum import CorpusCallosum, DeliveryMetrics, Durations, Settings, Tract, TractDeliveries
from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue, Kind
from domain.gate import Gate
from domain.message import Message
from domain.response_times import RELATIVE_ERROR
from projections import known
from projections.deliveries import Deliveries, deliveries
from projections.errors import ProjectionFailedError
from projections.folding import OnError
from projections.model import read_checkpoint
from projections.models import ReadModels
from tests.deliveries import SHORT, following, message, outcomes, say
from tests.deliveries import settled as until_settled
from tests.examples import few
from tests.memory_log import (
    NOON,
    MemoryLog,
    answer,
    ask,
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
    shed,
)

INTERNAL, EXTERNAL = Tract
ACKED, RETRIED, EXPIRED, DEAD_LETTERED = Result
A, B, RECORDED, PLANNER, TOOL = (UUID(int=number) for number in range(1, 6))

Event = Dialogue.Event | Consumer.Event | Gate.Event


@pytest.fixture
def callosum(projecting: CorpusCallosum) -> CorpusCallosum:
    return projecting


def folded(*events: Event, page: int = 1000) -> tuple[DeliveryMetrics, dict[str, list[tuple[object, ...]]]]:
    """What is answered, and the rows."""
    log, models = MemoryLog(page=page), ReadModels()
    with ExitStack() as last, running(runner_of(log, models, Deliveries, OnError.FAIL), log) as runner:
        last.callback(models.close)
        runner.wait_for(log.append(*events), 20)
        with reading(models, Deliveries()) as connection:
            checkpoint = read_checkpoint(connection)
            assert checkpoint is not None
            told = deliveries(connection, checkpoint.position)
        return told, dump(models, Deliveries())


def external(*events: Event) -> TractDeliveries:
    """With a live dialogue, and a consumer of the external tract."""
    return folded(opened(A), joined(TOOL, EXTERNAL), *events)[0].external


def test_nothing_folded_is_nothing() -> None:
    told, _ = folded(opened(A))
    nothing = Durations(0, None, None, None, None, 0)
    assert told.position == 1
    assert told.internal == told.external
    assert (told.internal.accepted, told.internal.backlog_peak, told.internal.wait_ms) == (0, 0, nothing)


def test_messages_are_accepted_by_the_tract_they_are_for() -> None:
    thought = Message(source=INTERNAL, target=INTERNAL, sender="planner")
    told, _ = folded(opened(A), conveyed(A, 1, ask(), thought, answer(), thought))
    assert (told.internal.accepted, told.external.accepted) == (3, 1)
    assert (told.internal.backlog, told.external.backlog) == (3, 1)


def test_recorded_messages_are_accepted_by_nobody() -> None:
    told, _ = folded(opened(RECORDED, Kind.RECORDED), conveyed(RECORDED, 1, ask(), answer()))
    assert (told.internal.accepted, told.external.accepted) == (0, 0)


def test_the_first_reply_to_a_question_is_for_who_asked() -> None:
    told, _ = folded(
        opened(A),
        conveyed(A, 1, ask(), ask(), asked=[1, 2]),
        conveyed(A, 3, answer(in_reply_to=1), answer(in_reply_to=1)),
        conveyed(A, 5, answer(), answer(in_reply_to=2)),
        conveyed(A, 7, answer(in_reply_to=2)),
        conveyed(A, 8, ask(), answer(in_reply_to=8), asked=[8]),
    )
    assert (told.internal.accepted, told.external.accepted) == (3, 3)


def test_each_outcome_counts_as_what_it_is() -> None:
    told = external(
        conveyed(A, 1, *[ask()] * 5),
        settled(TOOL, outcome(A, 1), outcome(A, 2, RETRIED), outcome(A, 3, EXPIRED), outcome(A, 4, DEAD_LETTERED)),
        settled(TOOL, outcome(A, 2, RETRIED, attempt=2), outcome(A, 2, attempt=3)),
    )
    assert (told.acked, told.retried, told.expired, told.dead_lettered) == (2, 2, 1, 1)
    assert told.delivered == 5, "what expired was not delivered"
    assert (told.accepted, told.backlog) == (5, 1)


def test_outcomes_are_of_their_consumers_tract() -> None:
    told, _ = folded(
        opened(A),
        joined(TOOL, EXTERNAL),
        joined(PLANNER, INTERNAL),
        conveyed(A, 1, ask(), answer()),
        settled(PLANNER, outcome(A, 2)),
        settled(TOOL, outcome(A, 1, RETRIED)),
    )
    assert (told.internal.acked, told.internal.backlog, told.external.acked, told.external.backlog) == (1, 0, 0, 1)


def test_a_redriven_dead_letter_is_in_the_backlog_again_and_a_discarded_one_is_not() -> None:
    given_up = [outcome(A, number, DEAD_LETTERED) for number in (1, 2, 3)]
    told = external(conveyed(A, 1, *[ask()] * 3), settled(TOOL, *given_up), redriven(A, 1, 3), discarded(A, 2))
    assert (told.dead_lettered, told.redriven, told.discarded, told.backlog) == (3, 2, 1, 2)
    again = external(
        conveyed(A, 1, ask()),
        settled(TOOL, outcome(A, 1, DEAD_LETTERED)),
        redriven(A, 1),
        settled(TOOL, outcome(A, 1, DEAD_LETTERED)),
        redriven(A, 1),
        settled(TOOL, outcome(A, 1)),
    )
    assert (again.dead_lettered, again.redriven, again.acked, again.backlog) == (2, 2, 1, 0)


def test_what_is_shed_is_in_the_backlog_no_more() -> None:
    told = external(conveyed(A, 1, *[ask()] * 3), shed(EXTERNAL, (A, 3), (A, 2)), conveyed(A, 4, ask()))
    assert (told.accepted, told.shed, told.backlog, told.backlog_peak) == (4, 2, 2, 3)


@pytest.mark.parametrize("page", [1, 100])
def test_dead_letters_of_both_tracts_are_redriven_each_to_its_own(page: int) -> None:
    told, _ = folded(
        opened(A),
        joined(TOOL, EXTERNAL),
        joined(PLANNER, INTERNAL),
        conveyed(A, 1, ask(), answer(), ask()),
        settled(TOOL, outcome(A, 1, DEAD_LETTERED), outcome(A, 3, DEAD_LETTERED)),
        settled(PLANNER, outcome(A, 2, DEAD_LETTERED)),
        redriven(A, 1, 2, 3),
        page=page,
    )
    assert (told.internal.redriven, told.external.redriven) == (1, 2)


def test_the_peak_is_the_most_that_was_ever_on_its_way() -> None:
    dead = [outcome(A, number, DEAD_LETTERED) for number in (1, 2)]
    up_and_down: list[Event] = [conveyed(A, 1, ask(), ask()), settled(TOOL, *dead), conveyed(A, 3, ask())]
    assert external(*up_and_down).backlog_peak == 2
    assert external(*up_and_down, redriven(A, 1, 2)).backlog_peak == 3


def test_times_are_from_acceptance_to_the_first_delivery_and_to_each_settlement() -> None:
    told = external(
        conveyed(A, 1, *[ask()] * 3),
        settled(TOOL, outcome(A, 1, waited=1_000_000, handled_in=500_000)),
        settled(TOOL, outcome(A, 2, RETRIED, waited=2_000_000, handled_in=9_000_000)),
        settled(TOOL, outcome(A, 2, DEAD_LETTERED, attempt=2, waited=20_000_000, handled_in=1_000_000)),
        settled(TOOL, outcome(A, 3, EXPIRED, waited=90_000_000)),
    )
    assert (told.wait_ms.count, told.wait_ms.max, told.wait_ms.unknown) == (2, 2000.0, 0)
    assert isclose(told.wait_ms.p50 or 0, 1000.0, rel_tol=RELATIVE_ERROR)
    assert (told.settle_ms.count, told.settle_ms.max) == (3, 90_000.0)
    assert isclose(told.settle_ms.p50 or 0, 21_000.0, rel_tol=RELATIVE_ERROR)


def test_counting_goes_on_where_another_runner_stopped() -> None:
    log, models = MemoryLog(), ReadModels()
    dead = settled(TOOL, outcome(A, 1, DEAD_LETTERED, waited=1000))
    for event in (opened(A), joined(TOOL, EXTERNAL), conveyed(A, 1, ask()), dead, redriven(A, 1)):
        with running(runner_of(log, models, Deliveries), log) as runner:
            runner.wait_for(log.append(event), 20)
    with reading(models, Deliveries()) as connection:
        told = deliveries(connection, 5).external
    models.close()
    assert (told.accepted, told.dead_lettered, told.redriven, told.backlog, told.backlog_peak) == (1, 1, 1, 1, 1)
    assert (told.wait_ms.max, told.settle_ms.max) == (1.0, 1.0)


class Unknown(Dialogue.Event, frozen=True):
    TOPIC = "dialogue.unknown.v1"


@pytest.mark.parametrize(
    "stray",
    [redriven(A, 1), discarded(A, 1), settled(TOOL, outcome(A, 1)), conveyed(B, 1, ask()), Unknown(A, 3, NOON)],
)
def test_an_event_that_cannot_be_counted_is_an_error(stray: Event) -> None:
    with pytest.raises(ProjectionFailedError, match="before position 3"):
        folded(opened(A), conveyed(A, 1, ask()), stray)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Dialogues with questions and answers, whose messages are delivered as the inbox would have it."""
    events: list[Event] = [opened(A), opened(B), opened(RECORDED, Kind.RECORDED)]
    events += [joined(PLANNER, INTERNAL), joined(TOOL, EXTERNAL)]
    said: dict[UUID, list[Message]] = {A: [], B: [], RECORDED: []}
    questions: set[tuple[UUID, int]] = set()
    on_their_way: dict[tuple[UUID, int], int] = {}
    dead: set[tuple[UUID, int]] = set()

    def say() -> None:
        dialogue = draw(st.sampled_from([A, B, RECORDED]))
        first, asked = len(said[dialogue]) + 1, list[int]()
        for sequence in range(first, first + draw(st.integers(1, 4))):
            reply = draw(st.none() | st.integers(1, sequence - 1)) if sequence > 1 else None
            source, target = draw(st.sampled_from(Tract)), draw(st.sampled_from(Tract))
            said[dialogue].append(Message(source=source, target=target, sender="x", in_reply_to=reply))
            if dialogue == RECORDED:
                continue
            if (dialogue, reply) in questions:
                questions.discard((dialogue, reply or 0))
            else:
                on_their_way[dialogue, sequence] = 1
            if draw(st.booleans()):
                asked.append(sequence)
                questions.add((dialogue, sequence))
        events.append(conveyed(dialogue, first, *said[dialogue][first - 1 :], asked=asked))

    def settle() -> None:
        consumer = draw(st.sampled_from([PLANNER, TOOL]))
        tract = INTERNAL if consumer == PLANNER else EXTERNAL
        places = [(d, n) for d, n in on_their_way if said[d][n - 1].target is tract]
        ended: list[Outcome] = []
        for place in draw(st.lists(st.sampled_from(places), unique=True, max_size=4)) if places else ():
            result, waited = draw(st.sampled_from(Result)), draw(st.integers(0, 10**9))
            attempt = on_their_way.pop(place) + draw(st.integers(0, 1))
            ended.append(outcome(*place, result, attempt=attempt, waited=waited, handled_in=waited // 3))
            if result is RETRIED:
                on_their_way[place] = attempt + 1
            if result is DEAD_LETTERED:
                dead.add(place)
        events.append(settled(consumer, *ended))

    def end() -> None:
        dialogue = draw(st.sampled_from([A, B]))
        some = sorted(n for d, n in dead if d == dialogue)[: draw(st.integers(1, 3))]
        again = draw(st.booleans())
        dead.difference_update((dialogue, n) for n in some)
        on_their_way.update({(dialogue, n): 1 for n in some if again})
        events.append((redriven if again else discarded)(dialogue, *some))

    def give_up() -> None:
        tract = draw(st.sampled_from(Tract))
        places = [(d, n) for d, n in on_their_way if said[d][n - 1].target is tract]
        some = draw(st.lists(st.sampled_from(places), unique=True, max_size=3)) if places else []
        for place in some:
            del on_their_way[place]
        events.append(shed(tract, *some))

    for step in draw(st.lists(st.sampled_from([say, say, settle, settle, end, give_up]), max_size=20)):
        step()
    return events


def recount(events: Sequence[Event], tract: Tract) -> dict[str, object]:
    """The definitions once more, message by message."""
    kinds = {e.originator_id: e.kind for e in events if isinstance(e, Dialogue.Opened)}
    targets: dict[tuple[UUID, int], Tract] = {}
    questions: set[tuple[UUID, int | None]] = set()
    counts, backlog, peak = Counter[str](), set[tuple[UUID, int]](), 0
    waits: list[int] = []
    settlements: list[int] = []
    for event in events:
        dialogue = event.originator_id
        if isinstance(event, Dialogue.Conveyed):
            questions |= {(dialogue, sequence) for sequence in event.asked}
            for sequence, said in enumerate(event.messages, event.first_sequence):
                targets[dialogue, sequence] = said.target
                if (dialogue, said.in_reply_to) in questions:
                    questions.remove((dialogue, said.in_reply_to))
                elif said.target is tract and kinds[dialogue] is Kind.LIVE:
                    counts["accepted"] += 1
                    backlog.add((dialogue, sequence))
        elif isinstance(event, Consumer.Settled):
            for each in event.outcomes:
                place = (each.dialogue, each.sequence)
                if targets[place] is not tract:
                    continue
                counts[each.result] += 1
                counts["delivered"] += each.result is not EXPIRED
                if each.result is not RETRIED:
                    backlog.remove(place)
                    settlements.append(each.waited + each.handled_in)
                if each.result is not EXPIRED and each.attempt == 1:
                    waits.append(each.waited)
        elif isinstance(event, Dialogue.Redriven | Dialogue.Discarded | Gate.MessagesShed):
            of_tract = {place for place in named(event) if targets[place] is tract}
            counts[type(event).__name__] += len(of_tract)
            backlog |= of_tract if isinstance(event, Dialogue.Redriven) else set()
            backlog -= of_tract if isinstance(event, Gate.MessagesShed) else set()
        peak = max(peak, len(backlog))
    ends = {"redriven": counts["Redriven"], "discarded": counts["Discarded"], "shed": counts["MessagesShed"]}
    names = ("accepted", "delivered", *Result)
    times = {
        "wait_ms": (len(waits), max(waits, default=None)),
        "settle_ms": (len(settlements), max(settlements, default=None)),
    }
    told = {**{str(name): counts[name] for name in names}, **ends, **times}
    return {**told, "backlog": len(backlog), "backlog_peak": peak}


def named(event: Dialogue.Redriven | Dialogue.Discarded | Gate.MessagesShed) -> list[tuple[UUID, int]]:
    if isinstance(event, Gate.MessagesShed):
        return [(one.dialogue, one.sequence) for one in event.messages]
    return [(event.originator_id, sequence) for sequence in event.sequences]


def flat(told: TractDeliveries) -> dict[str, object]:
    def times(of: Durations) -> tuple[int, int | None]:
        return of.count, None if of.max is None else round(of.max * 1000)

    fields: dict[str, object] = {name: getattr(told, name) for name in told.__struct_fields__}
    return {**fields, "wait_ms": times(told.wait_ms), "settle_ms": times(told.settle_ms)}


@few
@given(histories(), st.integers(1, 5))
def test_figures_are_those_of_a_recount_in_batches_of_any_size(history: list[Event], page: int) -> None:
    told, rows = folded(*history)
    assert flat(told.internal) == recount(history, INTERNAL)
    assert flat(told.external) == recount(history, EXTERNAL)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known, "_MOST", 0)  # nothing is known from the batch before
        assert folded(*history, page=page) == (told, rows)


async def told_of(callosum: CorpusCallosum, tract: Tract = EXTERNAL) -> TractDeliveries:
    told: TractDeliveries = getattr(await callosum.deliveries(), tract.value)
    levels = {each.tract: each.backlog for each in await callosum.inbox()}
    assert told.backlog == levels[tract], "as the inbox has it"
    return told


class TestOnTheService:
    async def test_a_run_with_every_outcome(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await say(callosum, dialogue, "good", "flaky", "bad", "worse")
        await say(callosum, dialogue, "stale", deadline=past)
        await say(callosum, dialogue, "last")
        assert (await told_of(callosum)).backlog == 6
        async with callosum.subscribe(EXTERNAL, "tool", demand=4) as subscription:
            good, flaky, bad, worse = [await following(subscription) for _ in range(4)]
            await good.reply(Message(source=EXTERNAL, target=INTERNAL, sender="tool", payload="done"))
            await bad.term("nobody can")
            await worse.term("nobody wants")
            await (await following(subscription)).ack()  # last; stale is passed over
            await flaky.nak("not now", delay=0)
            await (await following(subscription)).ack()
            told = await told_of(callosum)
            assert (told.accepted, told.acked, told.retried, told.expired, told.dead_lettered) == (6, 3, 1, 1, 2)
            assert (told.delivered, told.backlog, told.backlog_peak) == (6, 0, 6)
            assert await callosum.dead_letters.discard(reason="obsolete", dialogue=dialogue, sequence=4) == 1
            assert await callosum.dead_letters.redrive() == 1
            assert (await told_of(callosum)).backlog == 1
            await (await following(subscription)).ack()
        told = await told_of(callosum)
        assert (told.accepted, told.acked, told.dead_lettered, told.redriven, told.discarded) == (6, 4, 2, 1, 1)
        assert (told.delivered, told.backlog, told.backlog_peak) == (7, 0, 6)
        assert (told.wait_ms.count, told.settle_ms.count) == (6, 7)
        ended = await outcomes(callosum)
        assert told.settle_ms.max == max(o.waited + o.handled_in for o in ended if o.result is not RETRIED) / 1000
        back = await told_of(callosum, INTERNAL)
        assert (back.accepted, back.backlog, back.backlog_peak, back.delivered) == (1, 1, 1, 0)

    async def test_a_lost_lease_is_told_by_nothing_but_the_attempt_after(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(EXTERNAL, "tool", demand=2, delivery=SHORT) as subscription:
            await following(subscription)
            await (await following(subscription)).ack()
        told = await told_of(callosum)
        assert (told.delivered, told.acked, told.wait_ms.count, told.settle_ms.count) == (1, 1, 0, 1)

    async def test_an_answer_to_who_asked_is_accepted_by_no_tract(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        async with callosum.subscribe(EXTERNAL, "tool") as subscription:
            asking = asyncio.create_task(
                callosum.ask(dialogue, source=INTERNAL, target=EXTERNAL, sender="planner", payload="?")
            )
            delivery = await following(subscription)
            await delivery.reply(
                Message(source=EXTERNAL, target=INTERNAL, sender="tool", in_reply_to=delivery.sequence)
            )
            await asking
        assert (await told_of(callosum, INTERNAL)).accepted == 0
        assert (await told_of(callosum)).acked == 1

    async def test_as_it_was_and_at_least_as_it_is_known(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        receipts = await callosum.send_many(dialogue, [message("a"), message("b")])
        async with callosum.subscribe(EXTERNAL, "tool") as subscription:
            await (await following(subscription)).ack()
            await until_settled(callosum, 1)
        then = await callosum.deliveries(as_of=receipts[0].position)
        assert (then.position, then.external.acked, then.external.backlog) == (2, 0, 2)
        now = await callosum.deliveries(at_least=receipts[0].position)
        assert now.position >= 2
        assert (await callosum.deliveries()).external.backlog == 1

    async def test_what_is_sent_where_delivery_is_off_is_not_on_its_way(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(settings=Settings(url=lasting_url, deliver=False)) as callosum:
            await say(callosum, await callosum.open_dialogue("recorded only"), "x")
            assert (await callosum.deliveries()).external.accepted == 0
            assert [each.backlog for each in await callosum.inbox()] == [0, 0]
