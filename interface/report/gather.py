"""What the report needs of a log: asked of the service, all as of one position, and one pass over the messages."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from application.callosum import CorpusCallosum
from application.read_side import Moment
from domain.dialogue import Dialogue, Kind
from domain.errors import CallosumError
from domain.gate import TRACTS, CircuitMoved
from domain.times import EPOCH, in_milliseconds
from domain.tract import Tract
from interface.addressing import EVERY
from interface.report.backlog import BacklogFold
from interface.report.folding import DialogueFold, ScopeFold
from interface.report.material import Flow, Material, Scope, Span
from interface.report.transcripts import Packer, shown
from projections.answers import (
    DialogueList,
    DialogueSummary,
    FindingList,
    FindingSummary,
    TractGateMetrics,
)
from projections.fold import Recorded

__all__ = ["NoSuchDialogueError", "gather"]


class NoSuchDialogueError(CallosumError):
    """A dialogue was asked for that is not in the log, or was not at that moment."""

    def __init__(self, dialogue: UUID, position: int) -> None:
        self.dialogue = dialogue
        self.position = position
        super().__init__(f"There is no dialogue {dialogue} in the log as of position {position}.")


async def gather(
    callosum: CorpusCallosum,
    *,
    chosen: Collection[UUID],
    kind: Kind | None,
    as_of: Moment | None,
    progress: Callable[[int, int], None],
) -> Material:
    """Ask for everything.

    Args:
        callosum: the service.
        chosen: the dialogues that it is to be about; none: all.
        kind: of them; None: both.
        as_of: the moment; None: now.
        progress: called now and then with (position, last position).

    Raises:
        NoSuchDialogueError
    """
    moment = await _fixed(callosum, as_of)
    listed, found = await _listed(callosum, kind, moment)
    position = listed.position
    dialogues = _about(listed, chosen)
    findings = _by_dialogue(dialogues, found)
    reading = _Reading(dialogues, findings)
    first, last = _range(dialogues, position) if chosen else (1, position)
    async for event in callosum.replay(first, last):
        reading.take(event)
        if event.position % 1000 == 0:
            progress(event.position, last)
    scopes = [
        await _scope(callosum, reading, of_kind, bool(chosen), position)
        for of_kind, fold in reading.scopes.items()
        if fold.balance.total_messages
    ]
    flow = None if chosen or kind is Kind.RECORDED else reading.flow
    if flow is not None and flow.began is not None:
        await _complete(callosum, flow, reading.backlog, position)
        flow.ended = await _milliseconds(callosum, moment)
    return Material(
        position=position,
        at=await _time_of(callosum, position),
        chosen=bool(chosen),
        dialogues=dialogues,
        findings=findings,
        folds=reading.folds,
        packed=reading.packer.packed(),
        scopes=scopes,
        flow=flow,
    )


async def _listed(callosum: CorpusCallosum, kind: Kind | None, moment: Moment) -> tuple[DialogueList, FindingList]:
    """Dialogues and findings, of one position."""
    while True:
        listed = await callosum.dialogues(kind=kind, limit=EVERY, as_of=moment)
        found = await callosum.findings(kind=kind, limit=EVERY, as_of=moment)
        if found.position == listed.position:  # nothing was appended within the millisecond of that moment
            return listed, found


def _range(dialogues: Sequence[DialogueSummary], position: int) -> tuple[int, int]:
    """The positions of all that was said in some dialogues, up to this one."""
    first = min(summary.first_position for summary in dialogues)
    return first, min(position, max(summary.last_position for summary in dialogues))


async def _time_of(callosum: CorpusCallosum, position: int) -> int | None:
    """The log's time of a position; None for 0."""
    times = [event.at async for event in callosum.replay(max(1, position), position)]
    return times[0] if times else None


async def _fixed(callosum: CorpusCallosum, as_of: Moment | None) -> Moment:
    """That moment, as one at which nothing changes any more: stalls depend on when it is asked.

    Now, or what is yet to come, is the present time; or the time of the log's last entry, if by the clock of who
    wrote that it is later.
    """
    if isinstance(as_of, int):
        return as_of
    last = (await callosum.dialogues(limit=1)).position
    now = max(datetime.now(UTC), EPOCH + timedelta(milliseconds=await _time_of(callosum, last) or 0))
    return now if as_of is None else min(as_of, now)


async def _complete(callosum: CorpusCallosum, flow: Flow, backlog: BacklogFold, position: int) -> None:
    """What the read models say of it, if there is anything to say."""
    flow.backlog = backlog.history
    gates = await callosum.gates.metrics(as_of=position)
    if (
        any(backlog.history.values())
        or any(flow.circuits.values())
        or any(map(_held_up, (gates.internal, gates.external)))
    ):
        flow.gates = gates
        flow.metrics = await callosum.deliveries(as_of=position)


def _held_up(gate: TractGateMetrics) -> int:
    """Messages that it did not let in at once."""
    return gate.refused_by_circuit + gate.refused_by_capacity + gate.waited


async def _milliseconds(callosum: CorpusCallosum, moment: Moment) -> int | None:
    if isinstance(moment, int):
        return await _time_of(callosum, moment)
    return in_milliseconds(moment)


def _about(listed: DialogueList, chosen: Collection[UUID]) -> list[DialogueSummary]:
    """The chosen dialogues, or all if none is; in the order of their first messages."""
    summaries = {summary.dialogue: summary for summary in listed.dialogues}
    for dialogue in chosen:
        if dialogue not in summaries:
            raise NoSuchDialogueError(dialogue, listed.position)
    wanted = [summaries[dialogue] for dialogue in dict.fromkeys(chosen)] if chosen else summaries.values()
    return sorted(wanted, key=lambda summary: summary.first_position)


def _by_dialogue(dialogues: Sequence[DialogueSummary], found: FindingList) -> dict[UUID, list[FindingSummary]]:
    """Of these dialogues, what was found in them."""
    findings: dict[UUID, list[FindingSummary]] = {summary.dialogue: [] for summary in dialogues}
    for finding in found.findings:
        if finding.dialogue in findings:
            findings[finding.dialogue].append(finding)
    return findings


class _Reading:
    """What is kept of the events that pass by."""

    def __init__(
        self, dialogues: Sequence[DialogueSummary], findings: Mapping[UUID, Sequence[FindingSummary]]
    ) -> None:
        totals = dict.fromkeys(Kind, 0)
        for summary in dialogues:
            totals[summary.kind] += summary.total_messages
        self.summaries = {summary.dialogue: summary for summary in dialogues}
        self.scopes = {kind: ScopeFold(total) for kind, total in totals.items()}
        self.folds = {dialogue: DialogueFold() for dialogue in self.summaries}
        self.findings = findings
        self.ordinals = {
            (dialogue, sequence): 0
            for dialogue, found in findings.items()
            for finding in found
            for sequence in (finding.first_sequence, finding.last_sequence)
        }
        self.packer = Packer()
        self.flow = Flow()
        self.backlog = BacklogFold()
        self._recorded: set[UUID] = set()

    def take(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, Dialogue.Opened) and event.kind is Kind.RECORDED:
            self._recorded.add(event.originator_id)
        if isinstance(event, Dialogue.Conveyed) and event.originator_id in self.folds:
            self._convey(recorded, event)
        if not isinstance(event, Dialogue.Event) or event.originator_id not in self._recorded:
            self._flow(recorded)

    def _convey(self, recorded: Recorded, event: Dialogue.Conveyed) -> None:
        dialogue = event.originator_id
        of_dialogue = self.folds[dialogue]
        scope = self.scopes[self.summaries[dialogue].kind]
        for sequence, message in enumerate(event.messages, event.first_sequence):
            direction = message.direction
            ordinal = scope.add(message, direction, of_dialogue.add(message, direction))
            if (dialogue, sequence) in self.ordinals:
                self.ordinals[dialogue, sequence] = ordinal
            self.packer.add(dialogue, shown(message, direction, sequence, recorded))

    def _flow(self, recorded: Recorded) -> None:
        event, flow = recorded.event, self.flow
        if flow.began is None:
            flow.began = recorded.at
        if isinstance(event, CircuitMoved):
            transition = event.transition
            flow.circuits[TRACTS[event.originator_id]].append((transition.since, transition.state))
        self.backlog.add(recorded)


async def _scope(callosum: CorpusCallosum, reading: "_Reading", kind: Kind, chosen: bool, position: int) -> Scope:
    of_kind = [summary for summary in reading.summaries.values() if summary.kind is kind]
    spans: dict[str, list[Span]] = {}
    for summary in of_kind:
        for finding in reading.findings.get(summary.dialogue, ()):
            first, last = finding.first_sequence, finding.last_sequence
            span = Span(reading.ordinals[summary.dialogue, first], reading.ordinals[summary.dialogue, last])
            spans.setdefault(finding.pattern, []).append(span)
    return Scope(
        kind=kind,
        dialogues=len(of_kind),
        assessable=sum(summary.emergence_assessable for summary in of_kind),
        unanswered={tract: sum(summary.awaiting is tract for summary in of_kind) for tract in Tract},
        fold=reading.scopes[kind],
        episodes=[] if chosen else await _episodes(callosum, kind, position),
        findings=dict(sorted(spans.items())),
    )


async def _episodes(callosum: CorpusCallosum, kind: Kind, position: int) -> list[Span]:
    metrics = await callosum.consciousness_metrics(kind, episodes=EVERY, as_of=position)
    return [Span(episode.first_message, episode.last_message) for episode in metrics.episodes]
