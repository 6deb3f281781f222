"""The log as lines to read: messages, events, and what was found."""

from typing import Final

from rich.text import Text

from application.reading import RecordedMessage, messages_of
from domain.circuit import Transition
from domain.consumer import Consumer, Outcome
from domain.dialogue import Dialogue
from domain.gate import BackpressureChanged, CircuitMoved, Gate
from domain.message import Message
from domain.times import log_time
from domain.tract import Direction
from interface.text import MOST_CHARACTERS, one_line, said, sent_time, shortened, visible
from projections.answers import FindingSummary
from projections.fold import Recorded

__all__ = ["event_lines", "finding_line", "message_lines"]

MOST_ON_A_LINE: Final = 120
_STYLES: Final = {
    Direction.INTRA: "magenta",
    Direction.INTERNAL_TO_EXTERNAL: "cyan",
    Direction.EXTERNAL_TO_INTERNAL: "green",
}


def message_lines(message: RecordedMessage, *, full: bool) -> Text:
    """A message as a paragraph: who to whom and when, then what was said, indented."""
    text = Text.assemble(
        (f"#{message.sequence}", "bold"), "  ", (_sent(message), "dim"), "  ", _way(message), "  ", _names(message)
    )
    payload = visible(_cut(said(message.payload), MOST_CHARACTERS, full))
    for line in payload.split("\n"):
        text.append(f"\n    {line}" if line else "\n")
    return text


def event_lines(recorded: Recorded, *, full: bool) -> Text:
    """An event as one line for each thing that happened."""
    happened = _happened(recorded, full)
    whose = "" if recorded.dialogue is None else str(recorded.dialogue)[:8]
    place = f"{recorded.position:>6}  {log_time(recorded.at)}  {whose:<8}  "
    return Text("\n").join(Text.assemble((place, "dim"), line) for line in happened)


def finding_line(finding: FindingSummary) -> Text:
    place = f"{finding.position:>6}  {str(finding.dialogue)[:8]}  "
    what = (one_line(finding.pattern.replace("_", " ")), "bold")
    return Text.assemble((place, "dim"), what, f": {one_line(finding.why)}")


def _happened(recorded: Recorded, full: bool) -> list[Text]:
    event = recorded.event
    if isinstance(event, Dialogue.Conveyed):
        return [_message_line(message, full) for message in messages_of(recorded)]
    if isinstance(event, Consumer.Settled):
        return [_outcome_line(outcome, full) for outcome in event.outcomes]
    match event:
        case Dialogue.Opened():
            line = f"opened, {event.kind}: {_short(event.subject, full)}"
        case Dialogue.Closed():
            line = f"closed: {_short(event.reason, full)}"
        case Dialogue.Redriven() | Dialogue.Discarded():
            what = "redriven" if isinstance(event, Dialogue.Redriven) else "discarded"
            which = ", ".join(f"#{sequence}" for sequence in event.sequences)
            line = f"dead letters {_short(which, full)} {what}: {_short(event.reason, full)}"
        case Consumer.Joined():
            line = f"{_short(event.name, full)} joined the {event.tract} tract"
        case Consumer.Left():
            line = f"left: {_short(event.reason, full)}"
        case Gate.Event():
            line = _short(_gate_line(event), full)
        case _:
            line = one_line(recorded.topic)
    return [Text(line)]


def _gate_line(event: Gate.Event) -> str:  # noqa: PLR0911  # a line for each event
    match event:
        case Gate.Built():
            return f"the {event.tract} tract has a gate"
        case Gate.Configured():
            return f"gate configured by {event.by}: {event.why}"
        case Gate.CircuitForced():
            return f"circuit {_state(event.transition)} by {event.by}: {event.why}"
        case CircuitMoved():
            return f"circuit {_state(event.transition)}: {event.transition.reason.replace('_', ' ')}"
        case BackpressureChanged():
            what = "begins" if isinstance(event, Gate.BackpressureEngaged) else "ends"
            return f"backpressure {what}: {event.backlog} messages on their way, room for {event.capacity}"
        case Gate.AdmissionCounted():
            refused = (
                f"{event.refused_by_circuit} refused by the circuit, {event.refused_by_capacity} for want of room"
            )
            return f"messages: {refused}, {event.waited} waited"
        case Gate.MessagesShed():
            return f"{len(event.messages)} messages shed"
    return type(event).__name__


def _state(transition: Transition) -> str:
    return transition.state.replace("_", " ")


def _short(text: str, full: bool) -> str:
    return one_line(_cut(text, MOST_ON_A_LINE, full))


def _outcome_line(outcome: Outcome, full: bool) -> Text:
    what = f"attempt {outcome.attempt} {outcome.result.replace('_', ' ')}"
    why = "" if outcome.error is None else f": {_short(outcome.error, full)}"
    return Text.assemble((f"#{outcome.sequence}", "bold"), f" of {str(outcome.dialogue)[:8]}  {what}{why}")


def _message_line(message: RecordedMessage, full: bool) -> Text:
    words = _short(said(message.payload), full)
    return Text.assemble((f"#{message.sequence}", "bold"), "  ", _way(message), "  ", _names(message), ": ", words)


def _way(message: Message) -> Text:
    return Text(f"{message.source} → {message.target}", _STYLES[message.direction])


def _names(message: Message) -> str:
    names = one_line(message.sender)
    if message.recipient is not None:
        names += f" to {one_line(message.recipient)}"
    if message.in_reply_to is not None:
        names += f", in reply to #{message.in_reply_to}"
    return names


def _sent(message: Message) -> str:
    return sent_time(message.sent_at) or "time unknown"


def _cut(text: str, most: int, full: bool) -> str:
    return text if full else shortened(text, most)
