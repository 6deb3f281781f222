"""What the demo's tools read, what its planner does next, and how its plot is drawn."""

import os
from pathlib import Path

import pytest

from interface.demo.planner import AT_ONCE, MOST_DIRECTORIES, MOST_FILES, MOST_WORDS, Survey
from interface.demo.plot import plot
from interface.demo.survey import (
    Failure,
    LineCount,
    Listing,
    Matches,
    Plan,
    Question,
    Report,
    Said,
    Tool,
    payload_of,
    said_in,
)
from interface.demo.tools import MOST_BYTES, MOST_LISTED, answer

# The tools


def test_a_listing_holds_text_files_and_directories_and_passes_over_the_rest(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "a.py").write_text("text")
    (tmp_path / "empty").touch()
    for name in (".git", ".venv", "node_modules", "__pycache__"):
        (tmp_path / name).mkdir()
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "large").write_bytes(b" " * (MOST_BYTES + 1))
    (tmp_path / "link").symlink_to("a.py")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")

    listing = answer(tmp_path, Question(Tool.LIST, "."))
    assert listing == Listing(".", ["src"], [("a.py", 4), ("empty", 0)], 9)


def test_a_name_that_is_not_utf_8_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("text")
    assert answer(tmp_path, Question(Tool.LIST, ".")) == Listing(".", [], [], 1)


def test_a_listing_is_bounded(tmp_path: Path) -> None:
    for number in range(MOST_LISTED + 5):
        (tmp_path / f"{number:03}").touch()
    listing = answer(tmp_path, Question(Tool.LIST, "."))
    assert isinstance(listing, Listing)
    assert (len(listing.files), listing.passed_over) == (MOST_LISTED, 5)


def test_a_count_tells_lines_defined_names_and_frequent_words(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "class Bridge:\n    def carry(self):\n        return weight + weight\n\nlast = weight"
    )
    counted = answer(tmp_path, Question(Tool.COUNT, "a.py"))
    assert counted == LineCount("a.py", 5, ["Bridge", "carry"], ["weight", "Bridge"])


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("one", 1), ("one\n", 1), ("one\n\n", 2)])
def test_a_last_line_without_an_end_counts(tmp_path: Path, text: str, lines: int) -> None:
    (tmp_path / "file").write_text(text)
    counted = answer(tmp_path, Question(Tool.COUNT, "file"))
    assert isinstance(counted, LineCount)
    assert counted.lines == lines


def test_a_search_counts_whole_words_below_the_directory(tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "a").write_text("carry carry carried")
    (tmp_path / "deep" / "down" / "b").write_text("carry")
    (tmp_path / ".hidden").write_text("carry")
    assert answer(tmp_path, Question(Tool.SEARCH, "carry")) == Matches("carry", 3, 2, 2)


@pytest.mark.parametrize("tool", [Tool.LIST, Tool.COUNT])
def test_what_is_gone_is_an_answer_and_no_error(tmp_path: Path, tool: Tool) -> None:
    assert answer(tmp_path, Question(tool, "gone")) == Failure("gone", "No such file or directory")


@pytest.mark.parametrize("about", ["link", "directory"])
def test_only_files_are_counted_whatever_is_asked_for(tmp_path: Path, about: str) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    assert answer(tmp_path, Question(Tool.COUNT, about)) == Failure(about, "it is not text")


def test_a_file_that_became_binary_is_an_answer_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0")
    assert answer(tmp_path, Question(Tool.COUNT, "file")) == Failure("file", "it is not text")


# The planner


def converse(root: Path) -> list[tuple[Said, int | None]]:
    """A whole conversation without a bridge; at each step a planner that read it anew must agree."""
    survey, said = Survey(), list[tuple[Said, int | None]]()
    while True:
        step = survey.next_step()
        assert said_anew(said).next_step() == step
        if step is not None:
            said.append((step, None))
        elif waiting := unanswered(said):
            sequence, question = waiting[-1]
            said.append((answer(root, question), sequence))
        else:
            return said
        survey.note(said[-1][0], len(said), said[-1][1])


def said_anew(said: list[tuple[Said, int | None]]) -> Survey:
    survey = Survey()
    for sequence, (one, in_reply_to) in enumerate(said, 1):
        survey.note(said_in(payload_of(one)), sequence, in_reply_to)
    return survey


def unanswered(said: list[tuple[Said, int | None]]) -> list[tuple[int, Question]]:
    answered = {in_reply_to for _, in_reply_to in said}
    return [
        (sequence, one)
        for sequence, (one, _) in enumerate(said, 1)
        if isinstance(one, Question) and sequence not in answered
    ]


@pytest.fixture
def large_tree(tmp_path: Path) -> Path:
    for directory in range(10):
        for inner in ("in", "side"):
            (tmp_path / f"part{directory:02}" / inner).mkdir(parents=True)
        for file in range(8):
            lines = [f"def work{directory}x{letter}(): parcel{letter}\n" for letter in "abcdefgh"[:file]]
            (tmp_path / f"part{directory:02}" / f"file{file}.py").write_text("".join(lines))
    return tmp_path


def test_a_planner_that_reads_the_dialogue_anew_says_the_same_next(large_tree: Path) -> None:
    said = [one for one, _ in converse(large_tree)]
    assert isinstance(said[-1], Report)


def test_a_survey_is_bounded_and_long_enough_to_be_assessed(large_tree: Path) -> None:
    said = [one for one, _ in converse(large_tree)]
    tools = [one.tool for one in said if isinstance(one, Question)]
    assert tools.count(Tool.LIST) == MOST_DIRECTORIES
    assert tools.count(Tool.COUNT) == MOST_FILES
    assert tools.count(Tool.SEARCH) == MOST_WORDS
    assert len(said) > 100


def test_a_planner_plans_what_it_then_asks(large_tree: Path) -> None:
    said = [one for one, _ in converse(large_tree)]
    [plan] = [one for one in said if isinstance(one, Plan)]
    assert plan.questions == sum(isinstance(one, Question) for one in said)


def test_a_planner_asks_nothing_twice_and_few_things_at_once(large_tree: Path) -> None:
    said = converse(large_tree)
    questions = [one for one, _ in said if isinstance(one, Question)]
    assert len(set(questions)) == len(questions)
    assert max(len(unanswered(said[:end])) for end in range(len(said))) == AT_ONCE


def test_a_planner_searches_for_the_names_that_it_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Ferry:\n    pass\n")
    questions = [one for one, _ in converse(tmp_path) if isinstance(one, Question)]
    assert Question(Tool.SEARCH, "Ferry") in questions


def test_a_planner_reports_what_could_not_be_read(tmp_path: Path) -> None:
    survey = Survey()
    survey.note(Question(Tool.LIST, "."), 1, None)
    survey.note(Failure(".", "Permission denied"), 2, 1)
    survey.note(Plan(1, 0, 0), 3, None)
    report = survey.next_step()
    assert isinstance(report, Report)
    assert report.unread == [".: Permission denied"]
    assert report.longest is None


# The plot


def test_a_plot_draws_the_values_from_low_to_high_and_marks_a_number() -> None:
    drawn = plot([0.0, 0.5, 1.0, 1.0], title="balance", label="message", width=10, height=2, marks=[(3, "killed")])
    assert drawn.splitlines() == [
        "balance",
        "1.0 │  ⢀⣀⣀⡏⠉⠉⠉⠉",
        "0.5 │⣀⣀⣸",
        "0.0 └─────▲────",
        "     1message 4",
        "     ▲ 3: killed",
    ]


def test_a_plot_loses_no_dip_when_values_share_a_column() -> None:
    steady, dipped = [1.0] * 1000, [1.0] * 1000
    dipped[500] = 0.0
    lines = plot(dipped, title="", label="", width=10).splitlines()
    assert lines[1:9] != plot(steady, title="", label="", width=10).splitlines()[1:9]
    assert lines[8][5 + 5] == "⡇", "down to the axis, in the column of number 501"


def test_a_plot_of_nothing_is_an_empty_frame() -> None:
    drawn = plot([], title="balance", label="message", width=10, height=2)
    assert drawn.splitlines() == ["balance", "1.0 │", "0.5 │", "0.0 └──────────", "      message 0"]
