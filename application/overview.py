"""What is on its way, tract by tract, with ages: the inbox as an operator looks at it."""

import time

import msgspec

from application.log import DialogueLog
from application.passage import Passage
from domain.tract import Priority, Tract

__all__ = ["InFlightCount", "PendingCount", "TractInbox", "inboxes"]


class PendingCount(msgspec.Struct, frozen=True):
    """Messages that can be taken now.

    Attributes:
        recipient: whom they are for; None: any consumer of the tract.
        oldest: milliseconds since the first of them was accepted.
    """

    priority: Priority
    recipient: str | None
    count: int
    oldest: int


class InFlightCount(msgspec.Struct, frozen=True):
    """Messages that a consumer holds.

    Attributes:
        oldest: milliseconds since the first of them was accepted.
        attempt: the highest of them.
    """

    consumer: str
    count: int
    oldest: int
    attempt: int


class TractInbox(msgspec.Struct, frozen=True):
    """One tract's messages that are on their way.

    Attributes:
        backlog: accepted and not settled: what is pending, in flight, paused and in line.
        capacity: the most that may be; None: any number.
        ordered: whether a dialogue's messages are handed out one after the other.
        gate: what its circuit lets through.
        pending: by priority, highest first, and recipient.
        paused: how many wait for a delay after a failed attempt, or are held to be shed.
        in_line: how many wait behind another one of their dialogue, in an ordered tract.
        dead_letters: how many were given up; they are not in the backlog.
    """

    tract: Tract
    backlog: int
    capacity: int | None
    ordered: bool
    gate: Passage
    pending: list[PendingCount]
    in_flight: list[InFlightCount]
    paused: int
    in_line: int
    dead_letters: int


def inboxes(log: DialogueLog) -> list[TractInbox]:
    return [_inbox(log, tract) for tract in Tract]


def _inbox(log: DialogueLog, tract: Tract) -> TractInbox:
    state = log.recorder.inbox.state(tract)

    def age(slot: int) -> int:
        [entry] = log.recorder.entries_at([slot // 1000])
        return max(0, time.time_ns() // 1_000_000 - entry.at)

    pending = [PendingCount(Priority(p.priority), p.recipient, p.count, age(p.oldest)) for p in state.pending]
    in_flight = [
        InFlightCount(held.consumer, held.count, age(held.oldest), held.attempt)
        for held in state.in_flight
        if held.consumer is not None
    ]
    paused = sum(held.count for held in state.in_flight if held.consumer is None)
    out = sum(p.count for p in pending) + sum(held.count for held in in_flight) + paused
    return TractInbox(
        tract=tract,
        backlog=state.level.backlog,
        capacity=state.level.capacity or None,
        ordered=state.ordered,
        gate=state.level.passage,
        pending=pending,
        in_flight=in_flight,
        paused=paused,
        in_line=state.level.backlog - out,
        dead_letters=state.dead,
    )
