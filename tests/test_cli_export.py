"""`callosum export` and `callosum import` of what it wrote, as processes."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from corpus_callosum import CircuitState, CorpusCallosum, Tract
from tests.gates import PATIENT, ScriptedAgent, fail, guarded, put, until_state
from tests.history import live_history, plain_settings
from tests.processes import ROOT
from tests.redis_stores import shared_server
from tests.servers import BINARIES, NO_SERVER
from tests.terminal import Ended, asked, asked_on_a_terminal, environment

AIRLINE = ROOT.parent / "shared" / "data" / "airline-dialogues.jsonl"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('exported')}/callosum.db"
    asyncio.run(_written(url))
    return url


async def _written(url: str) -> None:
    async with CorpusCallosum.open(settings=plain_settings(url)) as opened:
        await live_history(opened)


def chain_of(url: str) -> str:
    verified = asked("verify", "--json", "--url", url)
    assert verified.status == 0
    chain: str = verified.json()["chain"]
    return chain


class TestTheLines:
    def test_are_events_in_order(self, url: str) -> None:
        told = asked("export", "--url", url).json_lines()
        assert [line["position"] for line in told] == list(range(1, len(told) + 1))
        assert all(set(line) == {"position", "at", "topic", "id", "version", "event"} for line in told)

    def test_are_cloud_events(self, url: str) -> None:
        ended = asked("export", "--format", "cloudevents", "--url", url)
        plain = asked("export", "--url", url).json_lines()
        read = [JSONFormat().read(CloudEvent, line) for line in ended.out.splitlines()]
        assert [event.get_type() for event in read] == [line["topic"] for line in plain]
        assert [event.get_subject() for event in read] == [line["id"] for line in plain]
        assert [event.get_data() for event in read] == [line["event"] for line in plain]
        assert len({event.get_id() for event in read}) == len(plain)
        for line in ended.json_lines():
            assert line["specversion"] == "1.0"
            assert all(name.isascii() and name.isalnum() and name == name.lower() for name in line)
            assert isinstance(line["position"], str)
            assert -(2**31) <= line["version"] < 2**31

    def test_may_be_a_range(self, url: str) -> None:
        every = asked("export", "--url", url).out.splitlines()
        assert asked("export", "--from", "3", "--to", "5", "--url", url).out.splitlines() == every[2:5]
        at = json.loads(every[4])["at"]
        upto = [line for line in every if json.loads(line)["at"] <= at]
        assert asked("export", "--to", at, "--url", url).out.splitlines() == upto

    def test_hold_nothing_that_a_terminal_acts_on(self, url: str) -> None:
        shown = "".join(asked_on_a_terminal("export", "--url", url, columns=80))
        assert "\x1b" not in shown
        assert "\u2028" not in shown

    def test_are_of_a_known_format(self) -> None:
        refused = asked("export", "--format", "xml")
        assert refused.status == 2
        assert "'xml' is none of jsonl, cloudevents." in refused.err


class TestAFile:
    def test_is_whole(self, url: str, tmp_path: Path) -> None:
        out = tmp_path / "log.jsonl"
        out.write_text("before")
        ended = asked("export", "--out", str(out), "--force", "--url", url)
        assert (ended.status, ended.out) == (0, "")
        assert ended.err.endswith(f"events exported to {out}.\n")
        assert out.read_text() == asked("export", "--url", url).out
        assert list(tmp_path.iterdir()) == [out]

    def test_is_not_there_when_it_cannot_be_written(self, url: str, tmp_path: Path) -> None:
        for out in (tmp_path, tmp_path / "no" / "log.jsonl"):
            ended = asked("export", "--out", str(out), "--url", url)
            assert (ended.status, ended.out) == (2, "")
            assert ended.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    def test_stays_as_it_was_when_the_log_is_damaged(self, url: str, tmp_path: Path) -> None:
        damaged = f"sqlite:///{tmp_path}/damaged.db"
        exported = tmp_path / "log.jsonl"
        assert asked("export", "--out", str(exported), "--url", url).status == 0
        assert asked("import", str(exported), "--url", damaged).status == 0
        with closing(sqlite3.connect(tmp_path / "damaged.db")) as store, store:
            store.execute("UPDATE stored_events SET state = x'00' WHERE position = 3")
        before = exported.read_bytes()
        ended = asked("export", "--out", str(exported), "--force", "--url", damaged)
        assert ended.status == 2
        assert exported.read_bytes() == before
        assert not list(tmp_path.glob(".log*"))


class TestImporting:
    @pytest.mark.parametrize("form", ["jsonl", "cloudevents"])
    def test_makes_the_same_log_and_tells_of_its_gates(self, url: str, tmp_path: Path, form: str) -> None:
        other = f"sqlite:///{tmp_path}/other.db"
        asked("export", "--format", form, "--out", f"{tmp_path}/log", "--url", url)
        ended = asked("import", f"{tmp_path}/log", "--url", other, CALLOSUM_CAPACITY="5")
        assert (ended.status, ended.err) == (0, "")
        first, *gates = ended.out.splitlines()
        assert first.endswith("restored, 0 present already.")
        assert [gate.partition(" is as its events tell: ")[::2] for gate in gates] == [
            ("The gate of the external tract", "circuit closed; capacity 77."),
            ("The gate of the internal tract", "circuit disabled, by ops: night; capacity 10000."),
        ]
        assert chain_of(other) == chain_of(url)

    def test_follows_up_with_a_later_export_though_a_circuit_was_open(self, tmp_path: Path) -> None:
        source, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "other"))
        asyncio.run(_tried_again(source))
        every = asked("export", "--url", source).out.splitlines(keepends=True)
        opened = 1 + next(number for number, line in enumerate(every) if "gate.circuit_opened" in line)
        for part in (every[:opened], every):  # its wait has been over for long
            (tmp_path / "log").write_text("".join(part))
            ended = asked("import", f"{tmp_path}/log", "--url", other)
            assert (ended.status, ended.err) == (0, "")
        assert chain_of(other) == chain_of(source)

    def test_takes_a_pipe(self, url: str, tmp_path: Path) -> None:
        told = asked("export", "--url", url).out
        assert _piped(told, tmp_path).status == 0
        assert chain_of(f"sqlite:///{tmp_path}/callosum.db") == chain_of(url)

    def test_takes_transcripts_beside_it(self, url: str, tmp_path: Path) -> None:
        asked("export", "--out", f"{tmp_path}/log", "--url", url)
        (tmp_path / "runs.jsonl").write_text('{"messages": [{"role": "user", "content": "x"}]}\n' * 2)
        files = (f"{tmp_path}/runs.jsonl", f"{tmp_path}/log")
        told = asked("import", *files, "--json", "--url", f"sqlite:///{tmp_path}/b.db").json()
        assert (told["dialogues"], told["messages"]) == (2, 2)
        [restored] = told["restored"]
        assert restored["file"] == f"{tmp_path}/log"
        assert restored["broken"] is None

    def test_stops_at_a_broken_line(self, url: str, tmp_path: Path) -> None:
        every = asked("export", "--url", url).out.splitlines()
        (tmp_path / "log").write_text("\n".join([*every[:4], "{", *every[4:]]))
        ended = asked("import", f"{tmp_path}/log", "--url", f"sqlite:///{tmp_path}/b.db")
        assert ended.status == 1
        assert ended.err.startswith(f"{tmp_path}/log:5: It is not JSON")
        assert ended.err.endswith("The import ends here.\n")

    @pytest.mark.skipif(not AIRLINE.exists(), reason="the shared transcripts are not here")
    @pytest.mark.parametrize("form", ["jsonl", pytest.param("cloudevents", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("most", [5, pytest.param(100, marks=pytest.mark.stress)])
    @pytest.mark.slow
    def test_the_shared_transcripts_measure_the_same(self, tmp_path: Path, form: str, most: int) -> None:
        """From SQLite to Redis and back."""
        assert BINARIES, NO_SERVER
        server = f"{shared_server(BINARIES[0]).url}?namespace={uuid4().hex}"
        urls = [f"sqlite:///{tmp_path}/one.db", server, f"sqlite:///{tmp_path}/other.db"]
        runs = tmp_path / "runs.jsonl"
        runs.write_bytes(b"".join(AIRLINE.read_bytes().splitlines(keepends=True)[:most]))
        assert asked("import", str(runs), "--url", urls[0]).status == 0
        for one, other in pairwise(urls):
            exported = asked("export", "--format", form, "--out", f"{tmp_path}/log", "--force", "--url", one)
            assert exported.status == 0
            assert asked("import", f"{tmp_path}/log", "--url", other).status == 0
        for command in _comparing(urls[0]):
            answers = {asked(*command, "--json", "--url", url).out for url in urls}
            assert len(answers) == 1, command


async def _tried_again(url: str) -> None:
    async with guarded(url) as source:
        dialogue = await source.open_dialogue("fails, and is tried again")
        await put(source, dialogue, *range(30))
        async with source.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=PATIENT):
            await until_state(source, CircuitState.HALF_OPEN)


def _comparing(url: str) -> Sequence[Sequence[str]]:
    listed = asked("dialogues", "--json", "--limit", "1", "--url", url).json()["dialogues"]
    return [
        ["metrics"],
        ["dialogues", "--limit", "1000"],
        ["findings", "--limit", "1000"],
        ["timeline"],
        ["deliveries"],
        *(["transcript", one["dialogue"]] for one in listed),
    ]


def _piped(text: str, directory: Path) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "interface.cli", "import", "/dev/stdin"],
        cwd=directory,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_reader_that_stops_ends_it(url: str, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "interface.cli", "export", "--url", url],
        env=environment(),
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")
