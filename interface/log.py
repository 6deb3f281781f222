"""The commands that read the log itself: transcript, follow, verify."""

from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from application.callosum import CorpusCallosum
from application.errors import NotReachedError
from application.reading import RecordedMessage, messages_of
from application.recorder import LogLostError
from application.verification import Verification
from domain.dialogue import Dialogue
from domain.times import log_time
from interface.addressing import dialogue_named
from interface.encoding import as_json, plain
from interface.lines import event_lines, message_lines
from interface.session import Command, console, print_lines, progress
from interface.text import many, one_line, sent_time
from projections.fold import Recorded

__all__ = ["message_fields", "show_events", "show_transcript", "verify_log"]


def show_transcript(name: str, *, full: bool, json: bool) -> Command:
    """What was said in a dialogue, in order."""

    async def command(callosum: CorpusCallosum) -> int:
        out = console()
        async for message in callosum.transcript(await dialogue_named(callosum, name)):
            if json:
                out.print(as_json(message_fields(message)), soft_wrap=True)
            else:
                print_lines(out, message_lines(message, full=full))
        return 0

    return command


def show_events(after: int | None, chain: bytes | None, name: str | None, *, full: bool, json: bool) -> Command:
    """Events beyond a position, or from now on, and each as it comes; or the gap where that cannot be, at last."""

    async def command(callosum: CorpusCallosum) -> int:
        out = console()
        dialogue = None if name is None else await dialogue_named(callosum, name)
        try:
            async for recorded in callosum.follow(after, chain=chain):
                if dialogue is not None and recorded.dialogue != dialogue:
                    continue
                if json:
                    out.print(as_json(event_fields(recorded)), soft_wrap=True)
                else:
                    print_lines(out, event_lines(recorded, full=full))
        except LogLostError as lost:
            _show_gap(out, _Gap(lost.first, lost.seen, lost.head, str(lost)), json=json)
            raise
        except NotReachedError as beyond:
            _show_gap(out, _Gap(beyond.head + 1, beyond.after, beyond.head, str(beyond)), json=json)
            raise
        return 0

    return command


class _Gap(msgspec.Struct, frozen=True):
    """Positions whose events are not, or no longer, what was seen; and where the log ends.

    Attributes:
        first: None: which is the first one is not known.
    """

    first: int | None
    last: int
    head: int
    why: str


def _show_gap(out: Console, gap: _Gap, *, json: bool) -> None:
    if json:
        out.print(as_json({"gap": gap}), soft_wrap=True)
        return
    which = "up to" if gap.first is None else f"{gap.first} to"
    told = f"What stands at positions {which} {gap.last} is not what was seen, and what follows is unknown."
    print_lines(out, Text(f"   gap  {told} The log ends at position {gap.head}.", "bold red"))


def message_fields(message: RecordedMessage) -> dict[str, Any]:
    return {
        **plain(message),
        "direction": message.direction.name.lower(),
        "sent_at": sent_time(message.sent_at),
        "at": log_time(message.at),
    }


def event_fields(recorded: Recorded) -> dict[str, Any]:
    """An event as the log tells it, its messages each with its place."""
    event = plain(recorded.event)
    del event["originator_id"], event["timestamp"]  # `dialogue` and `at` say the same
    event.pop("originator_topic", None)
    if isinstance(recorded.event, Dialogue.Conveyed):
        event["messages"] = [message_fields(message) for message in messages_of(recorded)]
    return {
        "position": recorded.position,
        "at": log_time(recorded.at),
        "chain": recorded.chain.hex(),
        "topic": recorded.topic,
        "dialogue": plain(recorded.dialogue),
        "event": event,
    }


def verify_log(*, json: bool) -> Command:
    """Walk the log; the status is 1 when something is not as it was written."""

    async def command(callosum: CorpusCallosum) -> int:
        with progress() as bar:
            task = bar.add_task("Verifying")
            found = await callosum.verify(lambda position, head: bar.update(task, completed=position, total=head))
        console().print(as_json(found, indent=2) if json else _verdict(found), soft_wrap=True)
        return 1 if found.problem else 0

    return command


def _verdict(found: Verification) -> str:
    said = f"{many(found.messages, 'message')} in {many(found.dialogues, 'dialogue')}"
    seen = f"{many(found.events, 'event')}, {said}: as written"
    if found.problem is None:
        return f"{seen}; chain {found.chain}."
    return one_line(f"Position {found.problem.position}: {found.problem.reason}. Before it: {seen}.")
