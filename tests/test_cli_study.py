"""The study as a person or a script asks for it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from rich.console import Console
from rich.markdown import Markdown

from application.relations import (
    Aspect,
    Exactness,
    Example,
    Interval,
    OutcomeGroup,
    Relation,
    Share,
    Spread,
    Study,
)
from corpus_callosum import CorpusCallosum
from domain.dialogue import Kind
from interface.study import KNOWN, figure, figures, in_two, strip, study_table
from interface.study_document import study_document
from tests.processes import python
from tests.terminal import Ended, asked, asked_on_a_terminal

HOSTILE = "красный | <b>x</b>\x1b[31m"
"""A value that would break a table, be markup, or colour the terminal."""


def run(number: int) -> dict[str, object]:
    """Where it was lost, the user says the same thing thrice and the run is longer, by a little."""
    won = number % 2 == 0
    turns = [f"Book flight {number}.", f"To {number}."] if won else ["Book it."] * 3
    turns += [f"And {place} more?" for place in range(number % 3)]
    messages = [
        {"role": role, "content": said}
        for place, turn in enumerate(turns)
        for role, said in (("user", turn), ("assistant", f"Done {number}, {place}."))
    ]
    team = [HOSTILE, "blue", "green"][number % 3]
    return {"won": won, "score": number / 2, "team": team, "same": 1, "messages": messages}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of 30 runs, and one that has no attribute at all."""
    directory = tmp_path_factory.mktemp("study")
    lines = [*map(run, range(30)), {"messages": [{"role": "user", "content": "Hello?"}]}]
    (directory / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert asked("import", f"{directory}/runs.jsonl", "--url", f"sqlite:///{directory}/callosum.db").status == 0
    return directory


@pytest.fixture(scope="module")
def url(directory: Path) -> str:
    return f"sqlite:///{directory}/callosum.db"


def study(url: str, *arguments: str) -> Ended:
    return asked("study", *arguments, "--url", url)


def test_the_table_and_the_sentences_tell_what_goes_with_it(url: str) -> None:
    told = study(url, "--outcome", "won").out
    rows = [line.split() for line in told.splitlines()]
    [first] = [place for place, row in enumerate(rows) if row[:1] == ["repetition"]]
    assert rows[first] == [
        "repetition",
        "15",
        "of",
        "15,",
        "100",
        "%",
        "████████████",
        "−100",
        "points",
        "<0.0001",
    ]
    assert rows[first + 1][:4] == ["0", "of", "15,", "0"]
    assert "Upper line: won is false; lower line: won is true." in told
    assert "30 recorded dialogues: 15 where won is false, 15 where won is true." in told
    assert "1 of 31 do not say won and are left out." in told
    assert "• repetition goes with won: in 15 of 15 (100 %) where won is false, in 0 of 15 (0 %)" in told
    assert re.search(r"^repetition: [0-9a-f]{8} \(won false\), ", told, re.MULTILINE)


def test_json_has_every_figure(url: str) -> None:
    told = study(url, "--outcome", "won", "--json").json()
    assert (told["dialogues"], told["missing"], told["kind"], told["correction"]) == (31, 1, "recorded", "holm")
    assert (told["permutations"], told["seed"]) == (9999, 20260301)
    ps = [relation["corrected_p"] for relation in told["relations"]]
    assert ps == sorted(ps)
    by_name = {relation["name"]: relation for relation in told["relations"]}
    assert by_name["total_messages"]["effect_name"] == "cliffs_delta"
    assert by_name["total_messages"]["groups"][0]["median"] == 8
    assert by_name["repetition"]["groups"] == [{"dialogues": 15, "found": 15}, {"dialogues": 15, "found": 0}]
    assert len(by_name["repetition"]["examples"]) == 3
    assert all(relation["sentence"].endswith(".") for relation in told["relations"])
    assert {"name": "coordination_z", "aspect": "measure", "why": "it is not known of any dialogue"} in told[
        "untested"
    ]


def test_an_example_can_be_read(url: str) -> None:
    told = study(url, "--outcome", "won").out
    [example] = re.findall(r"^repetition: ([0-9a-f]{8})", told, re.MULTILINE)
    assert asked("transcript", example, "--url", url).out.count("Book it.") == 3


@pytest.mark.slow
def test_twice_it_says_the_same(url: str) -> None:
    for form in ("--json", "--markdown"):
        assert study(url, "--outcome", "score", form).out == study(url, "--outcome", "score", form).out


def test_a_value_cannot_reach_the_terminal_nor_become_markup(url: str) -> None:
    arguments = ("--outcome", "team", "--positive", HOSTILE)
    for form in ((), ("--json",), ("--markdown",)):
        told = study(url, *arguments, *form)
        assert told.status == 0
        assert "красный" in told.out
        assert "\x1b" not in told.out
    document = study(url, *arguments, "--markdown").out
    assert "<b>" not in document.replace(r"\<b", "")
    heads = [line for line in document.splitlines() if line.startswith(("| measure", "| ---"))]
    assert [len(re.findall(r"(?<!\\)\|", head)) for head in heads] == [9, 9]


def test_a_document_has_all_parts(url: str) -> None:
    document = study(url, "--outcome", "won", "--markdown").out
    assert re.findall(r"^#+ .*$", document, re.MULTILINE) == [
        "# What goes with won",
        "## Figures",
        "## One by one",
        "## Not tested",
        "## To read",
        "## How it was tested",
    ]
    assert document.endswith("\n")
    assert not document.endswith("\n\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--outcome", "team"],
            "has 3 values (blue, green, красный | <b>x</b>\\x1b[31m); say with positive (--positive)",
        ),
        (["--outcome", "team", "--positive", "red"], "is red, which is no value of 'team'; there are blue, green"),
        (["--outcome", "same"], "The outcome 'same' is 1 wherever it is known; there is nothing to compare."),
        (
            ["--outcome", "x"],
            "is no attribute of any recorded dialogue, their attributes are same, score, team, won;",
        ),
        (
            ["--outcome", "won", "--kind", "live"],
            "there are no live dialogues; --kind recorded is for recorded ones.",
        ),
        (["--outcome", "won", "--as-of", "999"], "the log ends at"),
        (["--outcome", "won", "--json", "--markdown"], "goes without --json."),
        (["--outcome", ""], "'' is no attribute's name"),
        ([], "--outcome"),
    ],
)
def test_what_cannot_be_studied_is_said_in_a_sentence(url: str, arguments: list[str], says: str) -> None:
    refused = study(url, *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert says in re.sub(r"[\s│]+", " ", refused.err)
    assert "\x1b" not in refused.err


def test_it_fits_the_terminal(url: str) -> None:
    check_fits(asked_on_a_terminal("study", "--outcome", "won", "--url", url, columns=80), 80)


@pytest.mark.parametrize(("outcome", "columns"), [("score", 80), ("won", 120)])
async def test_it_fits_other_widths_and_outcomes(url: str, outcome: str, columns: int) -> None:
    """Within this process: one of its own takes seconds to import SciPy."""
    async with CorpusCallosum.open(url) as callosum:
        told = await callosum.study(outcome)
    shown = Console(width=columns)
    with shown.capture() as capture:
        shown.print(study_table(told))
    check_fits(capture.get().splitlines(), columns)


def check_fits(lines: Sequence[str], columns: int) -> None:
    assert len(lines) > 20
    assert [line for line in lines if len(line) > columns] == []
    assert "Left out" not in "".join(lines), "the pictures are there, too"
    assert "┃" in "".join(lines)


def test_without_scipy_it_says_what_to_install(directory: Path) -> None:
    """A module that is None is one that cannot be imported."""
    program = (
        "import sys; sys.modules['scipy'] = None; from interface.cli import main;"
        " sys.argv[1:] = ['study', '--outcome', 'won']; main()"
    )
    ended = python("-c", program, cwd=directory)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "callosum: A study needs SciPy, which is not installed: pip install '.[study]'.\n"


def test_nothing_else_imports_scipy() -> None:
    program = "import sys, corpus_callosum, interface.cli, interface.measures; sys.exit('scipy' in sys.modules)"
    assert python("-c", program).returncode == 0


def relation(*groups: Spread | Share, name: str = "total_messages") -> Relation:
    return Relation(
        name=name,
        aspect=Aspect.MEASURE,
        test="mann_whitney",
        method=Exactness.EXACT,
        groups=list(groups),  # type: ignore[arg-type]  # all of one kind
        effect_name="cliffs_delta",
        effect=Interval(0.0, 0.0, 0.0),
        p=1.0,
    )


def test_strips_of_a_row_have_one_scale() -> None:
    first, second = Spread(5, 2, 0, 1, 2, 3, 4), Spread(5, 6, 4, 5, 6, 7, 8)
    drawn = [strip(relation(first, second), group, width=9) for group in (first, second)]
    assert drawn == ["─━┃━─    ", "    ─━┃━─"]
    assert strip(relation(Share(8, 2)), Share(8, 2), width=8) == "██░░░░░░"


def test_times_are_told_with_their_unit() -> None:
    group = Spread(5, 2000, 10, 1000, 2000, 65_000, 70_000)
    assert figure(relation(group, name="response_time.internal.max"), group) == "2 s (1 s to 1.08 min)"
    assert figure(relation(group), group) == "2,000 (1,000 to 65,000)"


def a_study(*relations: Relation) -> Study:
    """Of two groups of 6,000."""
    return Study(
        position=1,
        kind=Kind.LIVE,
        outcome="won",
        dialogues=12_000,
        missing=0,
        open=0,
        groups=[OutcomeGroup("won is false", 6000), OutcomeGroup("won is true", 6000)],
        outcomes=None,
        relations=list(relations),
        untested=[],
        detectable=None,
    )


def test_a_figure_of_fewer_dialogues_says_of_how_many() -> None:
    known, all_of = Spread(43, 3, 1, 2, 3, 4, 5), Spread(6000, 3, 1, 2, 3, 4, 5)
    found = relation(known, all_of)
    assert figures(found, a_study(found)) == ["3 (2 to 4), of 43", "3 (2 to 4)"]
    shares = msgspec.structs.replace(relation(Share(6000, 3), Share(6000, 0)), aspect=Aspect.PATTERN)
    assert figures(shares, a_study(shares)) == ["3 of 6000, 0 %", "0 of 6000, 0 %"]
    document = study_document(a_study(found))
    assert "| `total_messages` | 3 (2 to 4), of 43 | 3 (2 to 4) |" in document
    assert KNOWN in document
    shown = Console(width=80)
    with shown.capture() as capture:
        shown.print(study_table(a_study(found)))
    assert KNOWN in re.sub(r"\s+", " ", capture.get())


def test_an_outcome_cannot_become_markup() -> None:
    """The marks that Rich knows are read back; those that GitHub alone knows are looked for."""
    hostile = "_won_ ~~no~~ *a* `b` $c$ [d](e) &amp; <b> https://f.g WWW.h.i j@k.l #1 :no: |"
    document = study_document(msgspec.structs.replace(a_study(), outcome=hostile))
    heading = document.splitlines()[0]
    shown = Console(width=200)
    with shown.capture() as capture:
        shown.print(Markdown(heading))
    assert f" What goes with {hostile} " in capture.get()
    assert re.findall(r"(?<!\\)[$@#]|s:|W\.| :", heading) == ["#"]


def test_its_own_markup_stays() -> None:
    found = msgspec.structs.replace(
        relation(Spread(6000, 3, 1, 2, 3, 4, 5)), examples=[Example(UUID(int=1), True, 5)]
    )
    document = study_document(msgspec.structs.replace(a_study(found), groups=[]))
    assert "To read with `callosum transcript`:\n" in document


def test_the_longest_figures_fit_80_columns() -> None:
    spread = Spread(5999, 70_000, 1000, 63_000, 65_000, 67_000, 90_000)
    found = msgspec.structs.replace(
        relation(spread, spread, name="response_time.internal.max"), effect=Interval(-0.45, -0.62, -0.23)
    )
    shown = Console(width=80)
    with shown.capture() as capture:
        shown.print(study_table(a_study(found, relation(spread, spread, name="dialogue_balance_ratio"))))
    told = capture.get()
    assert "1.08 min (1.05 min to 1.12 min), of 5999" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("repetition", ["repetition"]),
        ("dialogue_balance_ratio", ["dialogue_", "balance_ratio"]),
        ("response_time.internal.p50", ["response_time.", "internal.p50"]),
        ("x" * 25, ["x" * 15, "x" * 10]),
    ],
)
def test_a_long_name_takes_two_lines(name: str, lines: list[str]) -> None:
    assert in_two(name).split("\n") == lines
