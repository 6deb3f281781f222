"""What the demo's planner does next, from nothing but what was said so far.

So a planner that was killed and reads the log again comes to the same next question. It lists the directories
level by level, says its plan, counts the largest files, and searches for words that the counts brought up.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Final

from interface.demo.survey import Answer, Failure, LineCount, Listing, Matches, Plan, Question, Report, Said, Tool

__all__ = ["MARKS", "Survey"]

AT_ONCE: Final = 3
"""Questions that may be open at a time."""

MOST_DIRECTORIES: Final = 16
MOST_FILES: Final = 40
MOST_WORDS: Final = 16
MARKS: Final = ("TODO", "FIXME")


class Survey:
    """One survey under way."""

    def __init__(self) -> None:
        self.planned = False
        self.report: Report | None = None
        self._asked: dict[Question, None] = {}
        self._questions_at: dict[int, Question] = {}
        self._answers: dict[Question, Answer] = {}

    @property
    def open_questions(self) -> list[Question]:
        return [question for question in self._asked if question not in self._answers]

    def ask(self, question: Question) -> None:
        """It is being asked."""
        self._asked[question] = None

    def answer(self, question: Question, answer: Answer) -> None:
        self._answers[question] = answer

    def note(self, said: Said, sequence: int, in_reply_to: int | None) -> None:
        """Take in a message of the dialogue; the same one again changes nothing."""
        if isinstance(said, Question):
            self.ask(said)
            self._questions_at[sequence] = said
        elif isinstance(said, Plan):
            self.planned = True
        elif isinstance(said, Report):
            self.report = said
        elif in_reply_to is not None:
            self.answer(self._questions_at[in_reply_to], said)

    def next_step(self) -> Question | Plan | Report | None:
        """What to say now; None while answers must be waited for, and after the report."""
        if self.report is not None:
            return None
        unasked = next((question for question in self._questions() if question not in self._asked), None)
        waiting = len(self._asked) - len(self._answers)
        if unasked is not None:
            return unasked if waiting < AT_ONCE else None
        if waiting:
            return None
        return self._report() if self.planned else self._plan()

    def _questions(self) -> list[Question]:
        """All that are known by now, in order."""
        directories = [Question(Tool.LIST, path) for path in self._directories()]
        if not self.planned:
            return directories
        counts = [Question(Tool.COUNT, path) for path in self._largest_files()]
        if not all(question in self._answers for question in counts):
            return directories + counts
        return directories + counts + [Question(Tool.SEARCH, word) for word in self._words()]

    def _directories(self) -> list[str]:
        found = ["."]
        for path in found:  # grows on the way
            answer = self._answers.get(Question(Tool.LIST, path))
            if answer is None:
                break  # what follows depends on this one
            if isinstance(answer, Listing):
                found += [_below(path, name) for name in answer.directories]
        return found[:MOST_DIRECTORIES]

    def _largest_files(self) -> list[str]:
        files = [(-size, path) for path, size in self._files()]
        return [path for _, path in sorted(files)[:MOST_FILES]]

    def _files(self) -> list[tuple[str, int]]:
        return [
            (_below(answer.about, name), size)
            for answer in self._answers.values()
            if isinstance(answer, Listing)
            for name, size in answer.files
        ]

    def _words(self) -> list[str]:
        """Marks of unfinished work, the names that most files define, the words that most files repeat."""
        counts = self._counts()
        if not counts:
            return []
        names = _by_frequency(count.defines for count in counts)
        words = _by_frequency(count.words for count in counts)
        chosen = dict.fromkeys([*MARKS, *names[:8], *words, *names[8:]])
        return list(chosen)[:MOST_WORDS]

    def _counts(self) -> list[LineCount]:
        answers = [self._answers.get(Question(Tool.COUNT, path)) for path in self._largest_files()]
        return [answer for answer in answers if isinstance(answer, LineCount)]

    def _plan(self) -> Plan:
        files = len(self._largest_files())
        return Plan(len(self._directories()), files, MOST_WORDS if files else 0)

    def _report(self) -> Report:
        listings = [answer for answer in self._answers.values() if isinstance(answer, Listing)]
        counts = self._counts()
        return Report(
            directories=len(listings),
            files=len(self._files()),
            passed_over=sum(listing.passed_over for listing in listings),
            counted=len(counts),
            lines=sum(count.lines for count in counts),
            longest=max(((count.about, count.lines) for count in counts), key=lambda file: file[1], default=None),
            found=[
                (answer.about, answer.matches, answer.files)
                for answer in self._answers.values()
                if isinstance(answer, Matches)
            ],
            unread=[
                f"{answer.about}: {answer.reason}"
                for answer in self._answers.values()
                if isinstance(answer, Failure)
            ],
        )


def _by_frequency(lists: Iterable[list[str]]) -> list[str]:
    return [word for word, _ in Counter(chain.from_iterable(lists)).most_common()]


def _below(path: str, name: str) -> str:
    return name if path == "." else f"{path}/{name}"
