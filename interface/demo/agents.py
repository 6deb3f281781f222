"""The process of the demo that holds the bridge: a planner and three tool agents, talking.

``python -m interface.demo.agents --url URL --dialogue ID --directory PATH --pace SECONDS`` goes on with a dialogue
wherever it stands, and ends when it is closed. It may be killed at any moment: each agent learns from the log
what was said, and every message has an idempotency key made of what it is about, so that none is said twice.
For every message that the bridge has accepted there is one line, an `Acknowledgement`, on standard output.
"""

import argparse
import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import msgspec

from application.callosum import CorpusCallosum
from application.reading import RecordedMessage, messages_of
from application.settings import Settings
from domain.dialogue import Dialogue
from domain.errors import DialogueClosedError
from domain.message import Message, content_digest
from domain.tract import Tract
from interface.demo.planner import Survey
from interface.demo.survey import Question, Said, Tool, payload_of, said_in
from interface.demo.tools import answer

__all__ = ["PLANNER", "Acknowledgement"]

PLANNER = "planner"


class Acknowledgement(msgspec.Struct, frozen=True):
    """The bridge has accepted this message: its place, and the SHA-1 of its content (hex)."""

    sequence: int
    position: int
    digest: str


class Agent(ABC):
    """Reads the dialogue from its beginning, then acts, and again after everything that is said."""

    tract: Tract

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, name: str, pace: float) -> None:
        self._callosum = callosum
        self._dialogue = dialogue
        self._name = name
        self._pace = pace

    async def run(self) -> None:
        """Until the dialogue is closed."""
        position = 0
        async for message in self._callosum.transcript(self._dialogue):
            self._note(message)
            position = message.position
        await self._act()
        async for recorded in self._callosum.follow(position):
            if recorded.dialogue != self._dialogue:
                continue
            if isinstance(recorded.event, Dialogue.Closed):
                return
            if isinstance(recorded.event, Dialogue.Conveyed):
                for message in messages_of(recorded):
                    self._note(message)
                await self._act()

    @abstractmethod
    def _note(self, message: RecordedMessage) -> None:
        """Take in what was said; the same message again changes nothing."""

    @abstractmethod
    async def _act(self) -> None:
        """Say all that is to be said now."""

    async def _say(
        self, said: Said, *, key: str, target: Tract, recipient: str, in_reply_to: int | None = None
    ) -> int:
        """The message's sequence, once it is durable and acknowledged."""
        await asyncio.sleep(self._pace)
        message = Message(
            source=self.tract,
            target=target,
            sender=self._name,
            recipient=recipient,
            payload=payload_of(said),
            in_reply_to=in_reply_to,
            idempotency_key=key,
        )
        receipt = (await self._callosum.send_many(self._dialogue, [message]))[0]
        acknowledged = Acknowledgement(receipt.sequence, receipt.position, content_digest(message).hex())
        print(msgspec.json.encode(acknowledged).decode(), flush=True)
        return receipt.sequence


class Planner(Agent):
    tract = Tract.INTERNAL

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, name: str, pace: float) -> None:
        super().__init__(callosum, dialogue, name, pace)
        self._survey = Survey()

    def _note(self, message: RecordedMessage) -> None:
        self._survey.note(said_in(message.payload), message.sequence, message.in_reply_to)

    async def _act(self) -> None:
        while (step := self._survey.next_step()) is not None:
            if isinstance(step, Question):
                sequence = await self._say(
                    step, key=f"ask:{step.tool}:{step.about}", target=Tract.EXTERNAL, recipient=step.tool
                )
            else:
                key = type(step).__name__.lower()
                sequence = await self._say(step, key=key, target=Tract.INTERNAL, recipient=PLANNER)
            self._survey.note(step, sequence, None)
        if self._survey.report is not None:
            with suppress(DialogueClosedError):  # by this very call, just before the process was killed
                await self._callosum.close_dialogue(self._dialogue, "the survey is done")


class ToolAgent(Agent):
    tract = Tract.EXTERNAL

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, name: str, pace: float, directory: Path) -> None:
        super().__init__(callosum, dialogue, name, pace)
        self._directory = directory
        self._open: dict[int, Question] = {}

    def _note(self, message: RecordedMessage) -> None:
        if message.recipient == self._name:
            question = said_in(message.payload)
            assert isinstance(question, Question), "nothing else is said to a tool"
            self._open[message.sequence] = question
        elif message.sender == self._name and message.in_reply_to is not None:
            self._open.pop(message.in_reply_to, None)

    async def _act(self) -> None:
        for sequence, question in list(self._open.items()):
            answered = await asyncio.to_thread(answer, self._directory, question)
            await self._say(
                answered,
                key=f"answer:{sequence}",
                target=Tract.INTERNAL,
                recipient=PLANNER,
                in_reply_to=sequence,
            )
            del self._open[sequence]


async def converse(url: str, dialogue: UUID, directory: Path, pace: float) -> None:
    """Hold the bridge and run all agents until the dialogue is closed. The read models are left alone."""
    async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
        tools = [ToolAgent(callosum, dialogue, tool, pace, directory) for tool in Tool]
        # gather, not a task group: the last line of a traceback then names the error.
        await asyncio.gather(*(agent.run() for agent in (Planner(callosum, dialogue, PLANNER, pace), *tools)))


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
