"""Import, metrics, dialogues and findings as a person or a script asks for them."""

import asyncio
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from corpus_callosum import CorpusCallosum, Tract
from tests.terminal import ROOT, Ended, asked, asked_on_a_terminal, callosum, on_a_terminal

AIRLINE = ROOT.parent / "shared" / "data" / "airline-dialogues.jsonl"
ECHO = [{"role": "user", "content": "Cancel it."}, {"role": "assistant", "content": "Which one?"}] * 3


def run(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Book flight {number}."}, {"role": "assistant", "content": "Done."}]
    return {"run": number, "reward": number % 2, "tag": "[red]", "messages": messages}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `runs.jsonl` is: 18 runs, one of them an echo loop, and 2 broken lines."""
    directory = tmp_path_factory.mktemp("runs")
    lines = [json.dumps(run(number)) for number in range(17)]
    lines[4:4] = ["{not json", json.dumps({"reward": 1, "messages": ECHO}), '{"x\\u001b": 1}']
    (directory / "runs.jsonl").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="module")
def url(directory: Path) -> str:
    return f"sqlite:///{directory}/callosum.db"


@pytest.fixture(scope="module")
def imported(directory: Path) -> Ended:
    return callosum("import", "runs.jsonl", directory=directory)


@pytest.fixture(scope="module")
def listed(url: str, imported: Ended) -> list[dict[str, Any]]:
    answer: dict[str, Any] = asked("dialogues", "--json", "--sort", "findings", "--url", url).json()
    assert answer["total"] == 18
    return answer["dialogues"]  # type: ignore[no-any-return]  # JSON


class TestImport:
    def test_it_says_what_was_recorded_and_how_that_went(self, imported: Ended) -> None:
        assert imported.status == 1
        first, *_ = imported.out.splitlines()
        assert first == "18 dialogues with 40 messages recorded, 0 present already, 2 broken lines."
        assert "balance       1.000" in imported.out
        assert "coordination  +" in imported.out
        assert "emergence     not assessable: 40 of 101 messages" in imported.out
        assert "findings      2" in imported.out
        assert "also reflect how the dialogues are interleaved" in imported.out
        assert "recorded: 0 of 18 dialogues have the 101 messages that emergence needs." in imported.out

    def test_broken_lines_go_to_standard_error_with_their_place(self, imported: Ended) -> None:
        first, second = imported.err.splitlines()
        assert first.startswith("runs.jsonl:5: ")
        assert second.startswith("runs.jsonl:7: ")
        assert "\x1b" not in imported.err

    def test_again_it_changes_nothing(
        self, directory: Path, url: str, imported: Ended, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(directory)
        Path("more\x1b.jsonl").write_text("{not json either")
        again = asked("import", "runs.jsonl", "more\x1b.jsonl", "--json", "--url", url)
        assert again.status == 1
        assert again.err.splitlines()[2].startswith(r"more\x1b.jsonl:1: ")
        report = again.json()
        assert (report["dialogues"], report["messages"], report["present"]) == (0, 0, 18)
        assert [(line["file"], line["line"]) for line in report["broken"]] == [
            ("runs.jsonl", 5),
            ("runs.jsonl", 7),
            ("more\x1b.jsonl", 1),
        ]
        assert report["metrics"]["total_messages"] == 40
        assert (report["metrics"]["dialogues"], report["metrics"]["assessable_dialogues"]) == (18, 0)

    @pytest.mark.parametrize(("number", "told"), [(1, "file holds"), (2, "files hold")])
    def test_a_file_without_dialogues_is_told(self, tmp_path: Path, number: int, told: str) -> None:
        files = [tmp_path / f"{place}.jsonl" for place in range(number)]
        for file in files:
            file.write_text("\n")
        ended = asked("import", *map(str, files), "--url", f"sqlite:///{tmp_path}/callosum.db")
        assert (ended.status, ended.err) == (0, f"The {told} no dialogues.\n")

    def test_one_is_not_told_as_many(self, tmp_path: Path) -> None:
        (tmp_path / "one.jsonl").write_text('[{"role": "user", "content": "x"}]\n{"x": 1}\n')
        ended = asked("import", f"{tmp_path}/one.jsonl", "--url", f"sqlite:///{tmp_path}/callosum.db")
        assert ended.out.startswith("1 dialogue with 1 message recorded, 0 present already, 1 broken line.\n")

    def test_a_missing_file_makes_no_log(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        ended = asked("import", "a\x1b.jsonl")
        assert (ended.status, ended.out) == (2, "")
        assert ended.err == "callosum: a\\x1b.jsonl: No such file.\n"
        assert list(tmp_path.iterdir()) == []


class TestMetrics:
    def test_json_has_the_published_names(self, url: str, imported: Ended) -> None:
        by_kind = asked("metrics", "--json", "--url", url).json()
        assert set(by_kind) == {"recorded"}, "only kinds that have messages"
        metrics = by_kind["recorded"]
        assert metrics.keys() >= {
            "total_messages",
            "internal_to_external",
            "external_to_internal",
            "dialogue_balance_ratio",
            "balanced_dialogue_events",
            "emergence_score",
            "emergence_assessable",
            "last_emergence_at",
            "coordination_z",
            "response_time",
            "episodes",
        }
        assert set(metrics["response_time"]["internal"]) == {
            "count",
            "p50",
            "p95",
            "p99",
            "max",
            "unknown",
            "unanswered",
        }

    def test_over_all_dialogues_it_says_what_that_means(self, url: str, imported: Ended) -> None:
        assert "also reflect how the dialogues are interleaved" in asked("metrics", "--url", url).out

    def test_of_a_live_dialogue(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/callosum.db"
        first = asyncio.run(_live(url))
        ended = asked("metrics", first[:6].upper(), "--url", url)
        assert ended.status == 0
        lines = [line.split() for line in ended.out.splitlines()]
        assert ["messages", "3"] in lines
        assert ["balance", "0.500"] in lines
        assert "not assessable: 3 of 20 messages between the tracts" in ended.out
        assert "not assessable: 3 of 101 messages" in ended.out
        assert any(line[:2] == ["external", "1"] and line[2] != "–" for line in lines), (
            "one answer, its time known"
        )
        assert ["internal", "0", "–", "–", "–", "–", "0", "1"] in lines
        assert "interleaved" not in ended.out, "it is one dialogue"

    def test_of_many_episodes_the_last_are_told(self, tmp_path: Path) -> None:
        small = {
            "CALLOSUM_URL": f"sqlite:///{tmp_path}/callosum.db",
            "CALLOSUM_EMERGENCE_WINDOW": "2",
            "CALLOSUM_EMERGENCE_MINIMUM": "0",
        }
        # With a window of 2, every second message is an episode.
        chat = [{"role": role, "content": role} for role in ("user", "user", "assistant", "assistant")] * 11
        (tmp_path / "runs.jsonl").write_text(json.dumps({"messages": chat}))
        asked("import", f"{tmp_path}/runs.jsonl", **small)
        shown = asked("metrics", **small).out
        assert [line.split()[-1] for line in shown.splitlines() if line.startswith("episodes")] == ["21"]
        assert "1 earlier episode of recorded; --json tells the last 21." in shown
        assert "messages 3 to 3" not in shown
        assert "messages 43 to 43" in shown


async def _live(url: str) -> str:
    async with CorpusCallosum.open(url) as service:
        dialogue = await service.open_dialogue("mend")
        for source, target in (
            (Tract.INTERNAL, Tract.EXTERNAL),
            (Tract.EXTERNAL, Tract.INTERNAL),
            (Tract.EXTERNAL, Tract.INTERNAL),
        ):
            await service.send(dialogue, source=source, target=target, sender="agent", payload=source.value)
    return str(dialogue)


class TestDialogues:
    def test_a_table_fits_a_pipe_without_colour_and_without_cuts(self, directory: Path, imported: Ended) -> None:
        ended = callosum("dialogues", "--sort", "findings", "--limit", "3", directory=directory)
        assert ended.status == 0
        assert "\x1b" not in ended.out
        assert "…" not in ended.out
        assert "3 of 18 shown." in ended.out
        rows = [line.split() for line in ended.out.splitlines() if "recorded" in line]
        assert len(rows) == 3
        assert ended.out.startswith("dialogue"), "no empty line before it"
        identifier, *_, balance, coordination, emergence, findings, awaiting, _date, _time = rows[0]
        assert len(identifier) == 8
        assert (balance, coordination, emergence, findings, awaiting) == ("1.00", "–", "–", "2", "–")

    def test_filters_all_hold(self, url: str, listed: list[dict[str, Any]]) -> None:
        assert listed[0]["patterns"] == ["echo_loop"]
        where = ("--where", "reward=1", "--where", "tag=[red]")
        odd = asked("dialogues", "--json", *where, "--kind", "recorded", "--limit", "3", "--url", url).json()
        assert (odd["total"], len(odd["dialogues"])) == (8, 3)
        assert {dialogue["attributes"]["reward"] for dialogue in odd["dialogues"]} == {1}
        echo = asked("dialogues", "--json", "--where", "run=null", "--pattern", "echo_loop", "--url", url)
        assert [dialogue["dialogue"] for dialogue in echo.json()["dialogues"]] == [listed[0]["dialogue"]]
        assert asked("dialogues", "--json", "--where", "reward=true", "--url", url).json()["total"] == 0

    def test_groups_are_compared(self, url: str, imported: Ended) -> None:
        ended = asked("dialogues", "--by", "reward", "--url", url)
        zero, one = (line.split() for line in ended.out.splitlines() if line.startswith(("0 ", "1 ")))
        assert zero[:4] == ["0", "9", "2.0", "1.000"]
        assert zero[-1] == "0", "no echo loop"
        assert " ".join(one).endswith("2 in 1 2 in 1")
        assert "[red]" in asked("dialogues", "--by", "tag", "--url", url).out

    def test_an_attribute_that_no_dialogue_has_is_refused(self, url: str, imported: Ended) -> None:
        for arguments in (("--by", "nokey"), ("--where", "nokey=1"), ("--by", "nokey", "--kind", "recorded")):
            ended = asked("dialogues", *arguments, "--url", url)
            assert (ended.status, ended.out) == (2, "")
            assert ended.err == ("callosum: No dialogue has the attribute 'nokey'; there are: reward, run, tag.\n")

    def test_equal_ones_follow_the_direction_of_the_order(self, url: str, imported: Ended) -> None:
        ids = {
            order: [
                one["dialogue"]
                for one in asked("dialogues", "--sort", "coordination_z", order, "--json", "--url", url).json()[
                    "dialogues"
                ]
            ]
            for order in ("--asc", "--desc")
        }
        assert ids["--asc"] == ids["--desc"][::-1]

    def test_findings_are_told_with_their_reason(self, url: str, listed: list[dict[str, Any]]) -> None:
        echo = listed[0]["dialogue"]
        found = asked("findings", echo[:13], "--json", "--url", url).json()
        assert [(finding["pattern"], finding["first_sequence"]) for finding in found["findings"]] == [
            ("echo_loop", 1),
            ("echo_loop", 2),
        ]
        table = asked("findings", "--pattern", "repetition", "--limit", "1", "--url", url).out
        assert "1 of 2 shown." in table
        assert found["findings"][0]["why"] in table


class TestTerminals:
    @pytest.mark.parametrize("command", ["metrics", "dialogues", "findings", "dialogues --by reward"])
    @pytest.mark.parametrize("columns", [80, 110])
    def test_everything_fits(self, url: str, imported: Ended, command: str, columns: int) -> None:
        lines = asked_on_a_terminal(*command.split(), "--url", url, columns=columns)
        assert len(lines) > 2
        assert [line for line in lines if len(line) > columns] == []
        assert "…" not in "".join(lines)

    @pytest.mark.slow
    def test_what_is_less_important_makes_room_and_is_named(self, directory: Path, imported: Ended) -> None:
        shown = {
            columns: on_a_terminal("dialogues", "--limit", "1", directory=directory, columns=columns)
            for columns in (80, 200)
        }
        assert "Left out on this narrow terminal: kind, awaiting, emergence, status." in shown[80]
        assert {"last", "activity", "dialogue", "findings"} <= set(" ".join(shown[80][:2]).split())
        assert "Left out" not in "".join(shown[200])
        assert {"kind", "awaiting", "emergence", "status"} <= set(shown[200][0].split())

    def test_figures_are_whole_on_the_narrowest(self, url: str, imported: Ended) -> None:
        lines = asked_on_a_terminal("dialogues", "--limit", "1", "--url", url, columns=20)
        assert {"messages", "balance", "coordination", "findings"} <= set(lines[0].split())
        assert lines[2].split()[-4:] == ["2", "1.00", "–", "0"]

    def test_what_was_said_wraps_at_words(self, url: str, listed: list[dict[str, Any]]) -> None:
        lines = asked_on_a_terminal("transcript", listed[0]["dialogue"], "--url", url, columns=40)
        assert max(map(len, lines)) <= 40
        assert "    Cancel it." in [line.rstrip() for line in lines]
        assert "internal" in " ".join(lines).split(), "no word is broken"


class TestPrefixes:
    def test_a_beginning_that_several_have_is_refused(self, url: str, listed: list[dict[str, Any]]) -> None:
        first = _shared([dialogue["dialogue"] for dialogue in listed])
        ended = asked("transcript", first, "--url", url)
        assert ended.status == 2
        assert f"dialogues' ids begin with {first}: " in ended.err

    def test_a_beginning_that_none_has_is_refused(self, url: str, listed: list[dict[str, Any]]) -> None:
        ids = {dialogue["dialogue"][:3] for dialogue in listed}
        unused = next(beginning for number in range(4096) if (beginning := f"{number:03x}") not in ids)
        for name, sentence in ((unused, f"No dialogue's id begins with {unused}."), ("xyz", "hexadecimal")):
            ended = asked("metrics", name, "--url", url)
            assert (ended.status, ended.out) == (2, "")
            assert sentence in ended.err


def _shared(ids: list[str]) -> str:
    """18 ids cannot all begin with different hexadecimal digits."""
    digits = [identifier[0] for identifier in ids]
    return next(digit for digit in digits if digits.count(digit) > 1)


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Ended, float]:
    directory = tmp_path_factory.mktemp("airline")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = callosum("import", AIRLINE, directory=directory)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    url = f"sqlite:///{directory}/callosum.db"
    return url, ended, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.skipif(not AIRLINE.exists(), reason="the recorded dialogues are not there")
class TestAirlineDialogues:
    def test_they_are_recorded_quickly(self, airline: tuple[str, Ended, float]) -> None:
        _, ended, seconds = airline
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith(
            "100 dialogues with 2558 messages recorded, 0 present already, 0 broken lines."
        )
        assert seconds < 3

    def test_their_metrics_are_the_published_ones(self, airline: tuple[str, Ended, float]) -> None:
        metrics = asked("metrics", "--kind", "recorded", "--json", "--url", airline[0]).json()
        assert (metrics["total_messages"], metrics["internal_to_external"]) == (2558, 1229)
        assert metrics["dialogue_balance_ratio"] == pytest.approx(0.9247554552, abs=1e-10)
        assert metrics["balanced_dialogue_events"] == 2555
        assert metrics["emergence_score"] == pytest.approx(0.9473288186, abs=1e-9)
        assert metrics["coordination_z"] == pytest.approx(46.780232, abs=1e-6)
        assert [(episode["first_message"], episode["last_message"]) for episode in metrics["episodes"]] == [
            (100, 2558)
        ]
        assert metrics["findings"] == 31
        assert (metrics["dialogues"], metrics["assessable_dialogues"]) == (100, 0)

    def test_the_figure_over_all_is_told_to_be_an_artefact(self, airline: tuple[str, Ended, float]) -> None:
        told = (
            "recorded: 0 of 100 dialogues have the 101 messages that emergence needs. Over all, runs are laid end"
            " to end: this figure and its episode are an artefact of that."
        )
        assert told in airline[1].out
        assert told in asked("metrics", "--url", airline[0]).out

    def test_repetition_tells_failed_runs_from_others(self, airline: tuple[str, Ended, float]) -> None:
        arguments = ("--by", "reward", "--kind", "recorded", "--json")
        failed, succeeded = asked("dialogues", *arguments, "--url", airline[0]).json()["groups"]
        assert (failed["value"], failed["dialogues"]) == (0.0, 57)
        assert (succeeded["value"], succeeded["dialogues"]) == (1.0, 43)
        assert failed["mean_dialogue_balance_ratio"] > succeeded["mean_dialogue_balance_ratio"]
        assert failed["coordination_known"] + succeeded["coordination_known"] == 64
        for pattern, in_failed, in_succeeded, findings in (("repetition", 13, 4, 31), ("echo_loop", 6, 2, 11)):
            assert failed["patterns"][pattern]["dialogues"] == in_failed
            assert succeeded["patterns"][pattern]["dialogues"] == in_succeeded
            assert failed["patterns"][pattern]["findings"] + succeeded["patterns"][pattern]["findings"] == findings
