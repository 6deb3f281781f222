"""What an append does to the inbox: what arrives, what is settled, what the gates let through from then on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from eventsourcing import sqlite as library

from application.inbox import DEAD_LETTERS, Arrival, Handed, Settlement, Taken, Then, slot_of
from application.passage import GateChange, Passage
from application.recorder import AppendRefusedError
from infrastructure.sqlite.gates import change, give_back, level
from infrastructure.sqlite.leases import drop_if_empty, hold, lend, make_ready
from infrastructure.sqlite.lines import is_ordered, line_up, next_head

__all__ = ["InboxChanges", "check", "write"]

_BACKLOG: Final = (
    "INSERT INTO inbox_level (tract, backlog) VALUES (?1, ?2) "
    "ON CONFLICT (tract) DO UPDATE SET backlog = backlog + ?2"
)


_STILL_TO_DO: Final = {Then.AGAIN, Then.BACK}


@dataclass
class InboxChanges:
    """What is to be told of an append once it is committed.

    Attributes:
        rung: tracts where there may be something to take.
        backlogs: of tracts where something was settled, or whose capacity was set.
        taken: what the offers gave, in their order.
    """

    rung: set[str] = field(default_factory=set)
    backlogs: dict[str, int] = field(default_factory=dict)
    taken: list[Taken | None] = field(default_factory=list)


def check(c: library.SQLiteCursor, arrivals: Sequence[Arrival], settlements: Sequence[Settlement]) -> None:
    """Raise AppendRefusedError unless what arrives is let in and has room, and what is settled is held."""
    arriving, shed = Counter[str](), Counter[str]()
    for arrival in arrivals:
        arriving[arrival.tract] += 0 if arrival.exempt else arrival.count
    for settlement in settlements:
        arriving[settlement.tract] += settlement.lease == DEAD_LETTERS and settlement.then is Then.AGAIN
        shed[settlement.tract] += settlement.then is Then.SHED
    full, shut = {}, {}
    for tract, count in arriving.items():
        if count == 0:
            continue
        before = level(c, tract)
        if not before.has_room_for(count - shed[tract]):
            full[tract] = before
        if before.passage is Passage.SHUT:
            shut[tract] = before
    lost, seen = [], set()
    for settlement in settlements:
        c.execute(
            "SELECT attempt FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ?",
            (settlement.tract, settlement.lease, settlement.slot),
        )
        held, slot = c.fetchone(), (settlement.tract, settlement.slot)
        if held is None or held[0] != settlement.attempt or slot in seen:
            lost.append(settlement)
        else:
            seen.add(slot)  # by who holds it: a late one must not take this one down with it
    if full or shut or lost:
        raise AppendRefusedError((), (), full, lost, shut)


def write(
    c: library.SQLiteCursor,
    changes: InboxChanges,
    head: int,
    lines: Sequence[str],
    now: int,
    *,
    arrivals: Sequence[Arrival],
    settlements: Sequence[Settlement],
    gates: Sequence[GateChange],
) -> None:
    """What `check` has let pass; the append's first event is at head + 1, `lines` has its events' dialogues."""
    more: dict[str, int] = {}
    for a in arrivals:
        _arrive(c, a, slot_of(head + 1 + a.event, a.first), lines[a.event])
        more[a.tract] = more.get(a.tract, 0) + a.count
        changes.rung.add(a.tract)
    roomy = set()
    for s in settlements:
        if _settle(c, s, head + 1, now):
            changes.rung.add(s.tract)
        more[s.tract] = more.get(s.tract, 0) + (s.then in _STILL_TO_DO) - (s.lease != DEAD_LETTERS)
        roomy.add(s.tract)
    for gate in gates:
        change(c, gate)
        if gate.passage is not Passage.SHUT:
            changes.rung.add(gate.tract)
        more.setdefault(gate.tract, 0)
        roomy.add(gate.tract)
    for tract, count in more.items():
        if tract not in roomy:
            c.execute(_BACKLOG, (tract, count))
            continue
        c.execute(f"{_BACKLOG} RETURNING backlog", (tract, count))
        changes.backlogs[tract] = c.fetchone()[0]


def _arrive(c: library.SQLiteCursor, a: Arrival, slot: int, line: str) -> None:
    count = line_up(c, a, line, slot) if is_ordered(c, a.tract) else a.count
    if count:
        make_ready(c, a.tract, a.recipient or "", a.priority, slot, count=count)


def _settle(c: library.SQLiteCursor, s: Settlement, near: int, now: int) -> bool:
    """Whether there is something to take by it, now or later."""
    c.execute(
        "DELETE FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ? RETURNING priority, recipient",
        (s.tract, s.lease, s.slot),
    )
    priority, recipient = c.fetchone()
    freed = not s.is_call and give_back(c, s.tract, s.lease, 1)
    drop_if_empty(c, s.tract, s.lease)
    handed = Handed(s.slot, priority, s.attempt)
    if s.then is Then.DEAD:
        hold(c, s.tract, DEAD_LETTERS, [handed], recipient, near=near)
        return freed
    if s.then is Then.SHED:
        return freed
    if s.then is Then.DONE:
        return _follow(c, s) or freed
    if s.then is Then.BACK or s.delay == 0:
        attempts = 0 if s.lease == DEAD_LETTERS else s.attempt - (s.then is Then.BACK)
        make_ready(c, s.tract, recipient, priority, s.slot, attempts=attempts)
    else:
        pause = f"pause:{s.slot}:{s.attempt}"
        lend(c, s.tract, pause, "", due=now + s.delay)
        hold(c, s.tract, pause, [handed], recipient)
    return True


def _follow(c: library.SQLiteCursor, s: Settlement) -> bool:
    """Whether another message is out, now that this one is done with."""
    head = next_head(c, s.tract, s.line, s.slot)
    if head is not None:
        make_ready(c, s.tract, head.recipient, head.priority, head.slot)
    return head is not None
