"""The process of the demo that holds the bridge: a planner that asks, three tools that answer, and an archivist.

``python -m interface.demo.agents --url URL --dialogue ID --directory PATH --pace SECONDS`` goes on with a dialogue
wherever it stands, and ends when it is closed. It may be killed at any moment. What a tool or the archivist had in
hand is handed to the next of its name; the planner learns from the log what was said, and asks again, under the
same idempotency keys, what is not answered. For every message that the bridge has accepted there is one line, an
`Acknowledgement`, on standard output.
"""

import argparse
import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import UUID

import msgspec

from application.callosum import CorpusCallosum
from application.reading import RecordedMessage
from application.round import Receipt
from application.settings import Settings
from domain.errors import DialogueClosedError
from domain.message import Message, Payload, content_digest
from domain.tract import Tract
from interface.demo.planner import Survey
from interface.demo.survey import Plan, Question, Report, Tool, name_of, payload_of, said_in
from interface.demo.tools import answer

__all__ = ["PLANNER", "Acknowledgement"]

PLANNER = "planner"
ARCHIVIST = "archivist"


class Acknowledgement(msgspec.Struct, frozen=True):
    """The bridge has accepted this message: its place in the dialogue, and the SHA-1 of its content (hex)."""

    sequence: int
    digest: str


def acknowledge(message: Message, sequence: int) -> None:
    accepted = Acknowledgement(sequence, content_digest(message).hex())
    print(msgspec.json.encode(accepted).decode(), flush=True)


class Planner:
    """Asks the tools, a few things at a time, and tells the archivist what it plans and what it learned."""

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, pace: float) -> None:
        self._callosum = callosum
        self._dialogue = dialogue
        self._pace = pace
        self._survey = Survey()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> bool:
        """Until the report is said; whether it was before."""
        async for message in self._callosum.transcript(self._dialogue):
            self._survey.note(said_in(message.payload), message.sequence, message.in_reply_to)
        if self._survey.report is not None:
            return True
        for question in self._survey.open_questions:
            self._ask(question)
        while True:
            step = self._survey.next_step()
            if step is None:
                await self._one_answer()
                continue
            await asyncio.sleep(self._pace)
            if isinstance(step, Question):
                self._ask(step)
            else:
                await self._tell(step)
                if isinstance(step, Report):
                    return False

    def _ask(self, question: Question) -> None:
        self._survey.ask(question)
        self._asking.add(asyncio.create_task(self._answer_to(question)))

    async def _one_answer(self) -> None:
        done, self._asking = await asyncio.wait(self._asking, return_when=asyncio.FIRST_COMPLETED)
        for asked in done:
            asked.result()

    async def _answer_to(self, question: Question) -> None:
        message = self._message(question, Tract.EXTERNAL, question.tool, f"ask:{question.tool}:{question.about}")
        fields = {name: getattr(message, name) for name in message.__struct_fields__ if name != "sent_at"}
        reply = await self._callosum.ask(self._dialogue, **fields)
        assert reply.in_reply_to is not None, "that is what a reply is"
        acknowledge(message, reply.in_reply_to)
        answered = said_in(reply.payload)
        assert not isinstance(answered, Question | Plan | Report), "tools only answer"
        self._survey.answer(question, answered)

    async def _tell(self, said: Plan | Report) -> None:
        message = self._message(said, Tract.INTERNAL, ARCHIVIST, type(said).__name__.lower())
        [receipt] = await self._callosum.send_many(self._dialogue, [message])
        acknowledge(message, receipt.sequence)
        self._survey.note(said, receipt.sequence, None)

    def _message(self, said: Question | Plan | Report, target: Tract, role: str, key: str) -> Message:
        return Message(
            source=Tract.INTERNAL,
            target=target,
            sender=name_of(PLANNER, self._dialogue),
            recipient=name_of(role, self._dialogue),
            payload=payload_of(said),
            idempotency_key=key,
        )


class Toolkit:
    """Any of the tools: it answers what it is asked."""

    def __init__(self, directory: Path, pace: float) -> None:
        self._directory = directory
        self._pace = pace

    async def handle(self, message: RecordedMessage) -> Payload:
        question = said_in(message.payload)
        assert isinstance(question, Question), "nothing else is said to a tool"
        await asyncio.sleep(self._pace)
        return payload_of(await asyncio.to_thread(answer, self._directory, question))


class Archivist:
    """Takes the plan, and closes the dialogue when it has the report."""

    def __init__(self, callosum: CorpusCallosum) -> None:
        self._callosum = callosum
        self.done = asyncio.Event()

    async def handle(self, message: RecordedMessage) -> None:
        if isinstance(said_in(message.payload), Report):
            await self.close(message.dialogue)

    async def close(self, dialogue: UUID) -> None:
        with suppress(DialogueClosedError):  # by this very call, just before the process was killed
            await self._callosum.close_dialogue(dialogue, "the survey is done")
        self.done.set()


async def converse(url: str, dialogue: UUID, directory: Path, pace: float) -> None:
    """Hold the bridge and run all agents until the dialogue is closed. The read models are left alone."""

    def note(message: Message, receipt: Receipt) -> None:
        acknowledge(message, receipt.sequence)

    async with AsyncExitStack() as agents:
        callosum = await agents.enter_async_context(CorpusCallosum.open(settings=Settings(url=url, project=False)))
        archivist = Archivist(callosum)
        name = name_of(ARCHIVIST, dialogue)
        await agents.enter_async_context(callosum.attach(archivist, Tract.INTERNAL, name))
        for tool in Tool:
            attached = callosum.attach(
                Toolkit(directory, pace), Tract.EXTERNAL, name_of(tool, dialogue), on_reply=note
            )
            await agents.enter_async_context(attached)
        if await Planner(callosum, dialogue, pace).run():
            await archivist.close(dialogue)  # who may have done so, acked the report, and been killed
        await archivist.done.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m interface.demo.agents")
    parser.add_argument("--url", required=True)
    parser.add_argument("--dialogue", type=UUID, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--pace", type=float, default=0.0)
    arguments = parser.parse_args()
    asyncio.run(converse(arguments.url, arguments.dialogue, arguments.directory, arguments.pace))


if __name__ == "__main__":
    main()
