"""The commands about messages on their way: inbox, explain, dead."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from application.callosum import CorpusCallosum
from application.dead_letters import DeadLetter
from application.explanation import Explanation, Happening, State, Step
from application.overview import TractInbox
from application.passage import Passage
from domain.errors import BackpressureError, CallNotPermittedError
from domain.times import log_time
from domain.tract import Tract
from interface.addressing import dialogue_named
from interface.encoding import as_json, plain
from interface.lines import message_lines
from interface.log import message_fields
from interface.session import Command, CommandError, console, errors, print_table, progress
from interface.tables import UNKNOWN, FittedTable, stacked
from interface.text import duration, many, one_line, said, shortened

__all__ = ["discard_letters", "redrive_letters", "show_explanation", "show_inbox", "show_letter", "show_letters"]

INBOX: Final = ("tract", "messages", "how many", "priority", "consumer", "oldest", "attempt")
STEPS: Final = ("position", "at (UTC)", "what", "attempt", "who", "waited", "took", "why")
LETTERS: Final = ("dialogue", "message", "tract", "attempts", "given up\n(UTC)", "by", "why", "said")
MOST_SAID: Final = 80
_GATES: Final = {
    Passage.FREE: "",
    Passage.PROBING: "; its circuit is half open, and a few deliveries are tried",
    Passage.SHUT: "; its circuit is open, and nothing is let in or handed out (callosum gate show)",
}


def show_inbox(*, json: bool) -> Command:
    """What is on its way, tract by tract."""

    async def command(callosum: CorpusCallosum) -> int:
        tracts = await callosum.inbox()
        if json:
            console().print(as_json({"tracts": tracts}, indent=2), soft_wrap=True)
        else:
            print_table(inbox_table(tracts))
        return 0

    return command


def inbox_table(tracts: Sequence[TractInbox]) -> RenderableType:
    rows = [row for tract in tracts for row in _inbox_rows(tract)]
    table = FittedTable(INBOX, rows, texts={"consumer": (8, 30)}, dispensable=("attempt",))
    return stacked(table, notes=[_level(tract) for tract in tracts])


def _level(tract: TractInbox) -> str:
    room = "any number" if tract.capacity is None else str(tract.capacity)
    order = "; a dialogue's messages one after the other" if tract.ordered else ""
    return f"{tract.tract}: {tract.backlog} on their way of {room}{order}{_GATES[tract.gate]}."


def _inbox_rows(tract: TractInbox) -> Iterator[list[str]]:
    name = str(tract.tract)
    for pending in tract.pending:
        consumer = "any" if pending.recipient is None else one_line(pending.recipient)
        priority, oldest = pending.priority.name.lower(), duration(pending.oldest)
        yield [name, "pending", str(pending.count), priority, consumer, oldest, UNKNOWN]
    for held in tract.in_flight:
        oldest = duration(held.oldest)
        yield [name, "in flight", str(held.count), UNKNOWN, one_line(held.consumer), oldest, str(held.attempt)]
    counts = (("paused", tract.paused), ("in line", tract.in_line), ("dead letters", tract.dead_letters))
    for what, count in counts:
        if count:
            yield [name, what, str(count), *[UNKNOWN] * 4]


def show_explanation(name: str, sequence: int, *, json: bool) -> Command:
    """One message's whole life."""

    async def command(callosum: CorpusCallosum) -> int:
        _print_explanation(await callosum.explain(await dialogue_named(callosum, name), sequence), json=json)
        return 0

    return command


def show_letter(name: str, sequence: int, *, json: bool) -> Command:
    """The same of a dead letter."""

    async def command(callosum: CorpusCallosum) -> int:
        explanation = await callosum.explain(await dialogue_named(callosum, name), sequence)
        if explanation.state is not State.DEAD:
            raise CommandError(f"Message {sequence} of that dialogue is no dead letter: {_state(explanation)}")
        _print_explanation(explanation, json=json)
        return 0

    return command


def _print_explanation(explanation: Explanation, *, json: bool) -> None:
    if json:
        console().print(as_json(_explanation_fields(explanation), indent=2), soft_wrap=True)
    else:
        table = FittedTable(STEPS, map(_step_row, explanation.steps), texts={"why": (12, 40), "who": (6, 20)})
        message = message_lines(explanation.message, full=False)
        print_table(stacked(message, table, notes=[_state(explanation)]))


def _explanation_fields(explanation: Explanation) -> dict[str, Any]:
    fields = plain(explanation)
    fields["message"] = message_fields(explanation.message)
    fields["steps"] = [_step_fields(step) for step in explanation.steps]
    return dict(fields)


def _step_fields(step: Step) -> dict[str, Any]:
    return {
        **plain(step),
        "at": None if step.at is None else log_time(step.at),
        "waited": _milliseconds(step.waited),
        "handled_in": _milliseconds(step.handled_in),
    }


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _step_row(step: Step) -> list[str]:
    what = step.happening.replace("_", " ")
    if step.happening is Happening.ANSWERED:
        what = f"answered by #{step.sequence}"
    waited, took = _milliseconds(step.waited), _milliseconds(step.handled_in)
    return [
        UNKNOWN if step.position is None else str(step.position),
        UNKNOWN if step.at is None else log_time(step.at)[11:-1],
        what,
        UNKNOWN if step.attempt is None else str(step.attempt),
        UNKNOWN if step.who is None else one_line(step.who),
        UNKNOWN if waited is None else duration(waited),
        UNKNOWN if took is None else duration(took),
        one_line(step.error or ""),
    ]


def _state(explanation: Explanation) -> str:  # noqa: PLR0911  # a sentence for each state
    until = duration(explanation.until)
    match explanation.state:
        case State.IN_FLIGHT:
            return (
                f"It is with {one_line(explanation.consumer or '')}, attempt {explanation.attempt}, for {until}."
            )
        case State.PAUSED:
            return f"It is handed out again in {until}."
        case State.RECORDED:
            return "It is recorded, and delivered to nobody."
        case State.WAITING:
            return "It waits to be taken."
        case State.DEAD:
            return "It is a dead letter."
        case State.SHED:
            return "It was given up for something more urgent."
        case ended:
            return f"It is {ended.replace('_', ' ')}."


def show_letters(name: str | None, tract: Tract | None, limit: int, *, json: bool) -> Command:
    """The dead letters that match."""

    async def command(callosum: CorpusCallosum) -> int:
        dialogue = None if name is None else await dialogue_named(callosum, name)
        letters = await callosum.dead_letters.find(tract=tract, dialogue=dialogue, limit=limit)
        if json:
            console().print(
                as_json({"dead_letters": list(map(_letter_fields, letters))}, indent=2), soft_wrap=True
            )
        elif letters:
            print_table(letters_table(letters))
        else:
            console().print("No dead letters.")
        return 0

    return command


def letters_table(letters: Sequence[DeadLetter]) -> RenderableType:
    texts = {"why": (16, 40), "said": (12, 30), "by": (6, 20)}
    table = FittedTable(LETTERS, map(_letter_row, letters), texts=texts, dispensable=("said", "tract", "by"))
    return stacked(table, notes=[f"{many(len(letters), 'dead letter')} shown."])


def _letter_row(letter: DeadLetter) -> list[str | Text]:
    message = letter.message
    return [
        str(message.dialogue)[:8],
        str(message.sequence),
        str(letter.tract),
        str(letter.attempts),
        log_time(letter.at)[:16].replace("T", " "),
        one_line(letter.consumer),
        one_line(letter.error),
        one_line(shortened(said(message.payload), MOST_SAID)),
    ]


def _letter_fields(letter: DeadLetter) -> dict[str, Any]:
    fields = plain(letter)
    del fields["slot"]
    return {**fields, "message": message_fields(letter.message), "at": log_time(letter.at)}


def redrive_letters(
    name: str | None, sequence: int | None, tract: Tract | None, reason: str, *, json: bool
) -> Command:
    """Have those that match delivered again; the status is 1 when there is none, or no room for all."""

    async def command(callosum: CorpusCallosum) -> int:
        dialogue = None if name is None else await dialogue_named(callosum, name)
        done = 0

        def note(count: int) -> None:
            nonlocal done
            done = count
            bar.update(task, description=f"Redriving: {count}")

        refused: BackpressureError | CallNotPermittedError | None = None
        with progress() as bar:
            task = bar.add_task("Redriving", total=None)
            try:
                done = await callosum.dead_letters.redrive(
                    tract=tract, dialogue=dialogue, sequence=sequence, reason=reason, progress=note
                )
            except (BackpressureError, CallNotPermittedError) as error:
                refused = error
        _print_count(done, "redriven", json=json)
        if refused is not None:
            errors().print(f"callosum: {refused} The others stay dead letters.")
        return 0 if done and refused is None else 1

    return command


def discard_letters(
    name: str | None, sequence: int | None, tract: Tract | None, reason: str, *, json: bool
) -> Command:
    """Give those that match up for good; the status is 1 when there is none."""

    async def command(callosum: CorpusCallosum) -> int:
        dialogue = None if name is None else await dialogue_named(callosum, name)
        with progress() as bar:
            task = bar.add_task("Discarding", total=None)
            done = await callosum.dead_letters.discard(
                tract=tract,
                dialogue=dialogue,
                sequence=sequence,
                reason=reason,
                progress=lambda count: bar.update(task, description=f"Discarding: {count}"),
            )
        _print_count(done, "discarded", json=json)
        return 0 if done else 1

    return command


def _print_count(count: int, what: str, *, json: bool) -> None:
    console().print(as_json({what: count}) if json else f"{many(count, 'dead letter')} {what}.")
