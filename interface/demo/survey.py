"""What the demo's agents say to each other: questions, answers, the plan and the report, as typed payloads."""

from enum import StrEnum
from typing import assert_never
from uuid import UUID

import msgspec

from domain.message import Payload
from interface.text import many

__all__ = [
    "Answer",
    "Failure",
    "LineCount",
    "Listing",
    "Matches",
    "Plan",
    "Question",
    "Report",
    "Said",
    "Tool",
    "name_of",
    "payload_of",
    "role_in",
    "said_in",
]


class Tool(StrEnum):
    """The agents on the external tract, each named after what it does."""

    LIST = "list"
    COUNT = "count"
    SEARCH = "search"


class _Said(msgspec.Struct, frozen=True, tag_field="says", tag=str.lower):
    pass


class Question(_Said, frozen=True):
    """`about`: a path relative to the surveyed directory (``.`` for itself), or a word."""

    tool: Tool
    about: str

    def __str__(self) -> str:
        match self.tool:
            case Tool.LIST:
                return f"what is in {self.about}?"
            case Tool.COUNT:
                return f"how many lines has {self.about}?"
            case Tool.SEARCH:
                return f'where is "{self.about}"?'
            case _:
                assert_never(self.tool)


class Listing(_Said, frozen=True):
    """Names of directories; names and sizes in bytes of text files; how many entries were passed over."""

    about: str
    directories: list[str]
    files: list[tuple[str, int]]
    passed_over: int

    def __str__(self) -> str:
        directories = many(len(self.directories), "directory", "directories")
        return f"{self.about}: {directories}, {many(len(self.files), 'file')}"


class LineCount(_Said, frozen=True):
    """Lines of a file, the names it defines and the words it repeats, most frequent first."""

    about: str
    lines: int
    defines: list[str]
    words: list[str]

    def __str__(self) -> str:
        defines = f"; it defines {', '.join(self.defines[:3])}" if self.defines else ""
        return f"{self.about}: {many(self.lines, 'line')}{defines}"


class Matches(_Said, frozen=True):
    """How often a word stands in how many of the files that were looked into."""

    about: str
    matches: int
    files: int
    searched: int

    def __str__(self) -> str:
        matches = many(self.matches, "match", "matches")
        return f'"{self.about}": {matches} in {self.files} of {many(self.searched, "file")}'


class Failure(_Said, frozen=True):
    """What was asked about cannot be read."""

    about: str
    reason: str

    def __str__(self) -> str:
        return f"{self.about} cannot be read: {self.reason}"


class Plan(_Said, frozen=True):
    """What the planner will ask, now that it knows the directories: numbers of questions.

    Attributes:
        words: the most there will be; what to search for comes from the files.
    """

    directories: int
    files: int
    words: int

    @property
    def questions(self) -> int:
        return self.directories + self.files + self.words

    @property
    def half(self) -> int:
        """About how many messages are half of the dialogue: each question has one answer, words may be fewer."""
        return self.directories + self.files + self.words // 2

    def __str__(self) -> str:
        count, search = many(self.files, "file"), many(self.words, "word")
        return f"the plan: {many(self.questions, 'question')}, {count} to count, {search} to look for"


class Report(_Said, frozen=True):
    """What the planner learned; every number comes from an answer.

    Attributes:
        files: text files that were listed.
        counted: those of them that were counted; they have `lines` in all.
        longest: path and lines of the longest.
        found: word, matches, files, for every word that was searched for.
        unread: what could not be read, with the reason.
    """

    directories: int
    files: int
    passed_over: int
    counted: int
    lines: int
    longest: tuple[str, int] | None
    found: list[tuple[str, int, int]]
    unread: list[str]

    def __str__(self) -> str:
        return f"the report: {many(self.lines, 'line')} in {many(self.counted, 'file')}"


Answer = Listing | LineCount | Matches | Failure
Said = Question | Answer | Plan | Report


def payload_of(said: Said) -> Payload:
    return msgspec.json.decode(msgspec.json.encode(said))  # `to_builtins` leaves tuples, which are no payload


def said_in(payload: Payload) -> Said:
    """What a payload says. Raises `msgspec.ValidationError` for one that no agent of the demo has sent."""
    return msgspec.convert(payload, Said)  # type: ignore[no-any-return]  # a union is no `type` to mypy


def name_of(role: str, dialogue: UUID) -> str:
    """An agent's name. Each dialogue has its own agents, so that two demos may share a log."""
    return f"{role}.{dialogue.hex[:8]}"


def role_in(name: str) -> str:
    return name.partition(".")[0]
