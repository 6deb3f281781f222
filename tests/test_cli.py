"""The command line as a process, on real files: what it prints, where, and the status it leaves with."""

import asyncio
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Message, Priority, Tract
from tests.terminal import asked, callosum, started

HOSTILE = "\x1b]0;owned\x07 \x9b2J [bold]not bold[/bold] [/] :smile:"
HARMFUL = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


async def _write(url: str) -> UUID:
    """Six events: a hostile dialogue of two messages, and an idle one."""
    question = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=f"first\n{HOSTILE}")
    answer = Message(
        source=Tract.EXTERNAL,
        target=Tract.INTERNAL,
        sender="t\x1bester",
        payload={"log": b"\x00\xff", "text": "x" * 5000},
        in_reply_to=1,
        priority=Priority.URGENT,
    )
    async with CorpusCallosum.open(url) as service:
        dialogue = await service.open_dialogue(f"mend {HOSTILE}", attributes={"team": "red"})
        await service.send_many(dialogue, [question])
        await service.send_many(dialogue, [answer])
        await service.close_dialogue(dialogue, "mended")
        idle = await service.open_dialogue("idle")
        await service.send(idle, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload="hello?")
    return dialogue


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def url(directory: Path) -> str:
    return f"sqlite:///{directory}/callosum.db"


@pytest.fixture(scope="module")
def dialogue(url: str) -> UUID:
    """A small log, callosum.db, in which a hostile dialogue of two messages is; and an idle one."""
    return asyncio.run(_write(url))


class TestTranscript:
    def test_it_reads_as_a_conversation(self, directory: Path, dialogue: UUID) -> None:
        ended = callosum("transcript", str(dialogue), directory=directory)
        assert (ended.status, ended.err) == (0, "")
        first, *rest = ended.out.splitlines()
        assert first.startswith("#1  20")
        assert first.endswith("Z  internal → external  planner")
        assert rest[0] == "    first"
        assert rest[1] == r"    \x1b]0;owned\x07 \x9b2J [bold]not bold[/bold] [/] :smile:"
        assert rest[2].endswith(r"external → internal  t\x1bester, in reply to #1")
        assert len(rest[3]) < 500
        assert rest[3].endswith("…")
        assert HARMFUL.isdisjoint(ended.out)

    def test_full_cuts_nothing(self, url: str, dialogue: UUID) -> None:
        assert "x" * 5000 in asked("transcript", str(dialogue), "--full", "--url", url).out

    def test_json_lines_hold_every_field(self, url: str, dialogue: UUID) -> None:
        ended = asked("transcript", str(dialogue), "--json", "--url", url)
        first, second = ended.json_lines()
        assert first["payload"] == f"first\n{HOSTILE}"
        assert HARMFUL.isdisjoint(ended.out)
        assert second["payload"] == {"log": {"$base64": "AP8="}, "text": "x" * 5000}
        assert second["dialogue"] == str(dialogue)
        assert second["sent_at"].endswith("Z")
        expected = {
            "sequence": 2,
            "position": 3,
            "source": "external",
            "direction": "external_to_internal",
            "in_reply_to": 1,
            "priority": "urgent",
        }
        assert expected.items() <= second.items()

    @pytest.mark.slow
    def test_the_reader_may_stop_reading(self, directory: Path, dialogue: UUID) -> None:
        with started("transcript", str(dialogue), "--full", directory=directory) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(timeout=60) == 141


class TestFollow:
    def test_it_shows_history_then_what_comes_until_interrupted(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/callosum.db"
        asyncio.run(_write(url))
        with started("follow", "--after", "4", directory=tmp_path) as process:
            assert process.stdout is not None
            history = [process.stdout.readline() for _ in range(2)]
            second = asyncio.run(_write(url))
            live = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert history[0].rstrip().endswith("opened, live: idle")
        assert history[1].rstrip().endswith("#1  internal → external  planner: hello?")
        assert live.split()[0] == "7"
        assert str(second)[:8] in live
        assert "[bold]not bold[/bold]" in live
        assert HARMFUL.isdisjoint(live)
        assert (process.returncode, errors) == (130, "")

    @pytest.mark.slow
    def test_json_lines_of_one_dialogue(self, directory: Path, url: str, dialogue: UUID) -> None:
        [idle] = asked("dialogues", "--status", "open", "--json", "--url", url).json()["dialogues"]
        with started("follow", "--dialogue", idle["dialogue"], "--json", directory=directory) as process:
            assert process.stdout is not None
            opened, said = (json.loads(process.stdout.readline()) for _ in range(2))
        assert opened == {
            "position": 5,
            "at": opened["at"],
            "chain": opened["chain"],
            "topic": "dialogue.opened.v1",
            "dialogue": idle["dialogue"],
            "event": {"originator_version": 1, "subject": "idle", "kind": "live", "attributes": {}},
        }
        assert opened["at"].endswith("Z")
        assert (said["topic"], said["event"]["first_sequence"]) == ("dialogue.conveyed.v1", 1)
        [message] = said["event"]["messages"]
        assert (message["sequence"], message["payload"], message["position"]) == (1, "hello?", 6)


class TestVerify:
    def test_a_good_log_is_as_written(self, url: str, dialogue: UUID) -> None:
        ended = asked("verify", "--url", url)
        assert ended.status == 0
        assert ended.out.startswith("6 events, 3 messages in 2 dialogues: as written; chain ")
        found = asked("verify", "--json", "--url", url).json()
        assert (found["events"], found["messages"], found["dialogues"], found["problem"]) == (6, 3, 2, None)

    def test_a_changed_entry_is_named_and_the_status_is_1(
        self, directory: Path, dialogue: UUID, tmp_path: Path
    ) -> None:
        copied = tmp_path / "changed.db"
        with (
            closing(sqlite3.connect(directory / "callosum.db")) as source,
            closing(sqlite3.connect(copied)) as target,
        ):
            source.backup(target)
            target.execute("UPDATE stored_events SET at = at + 1 WHERE position = 3")
            target.commit()
        ended = asked("verify", "--url", f"sqlite:///{copied}")
        assert ended.status == 1
        assert ended.out.startswith("Position 3: does not match the chain")
        assert "Before it: 2 events, 1 message in 1 dialogue: as written." in ended.out
        assert not copied.with_suffix(".views.db").exists(), "it needs no read model and makes none"
        assert asked("verify", "--url", f"sqlite:///{copied}", "--json").json()["problem"]["position"] == 3


class TestErrors:
    def test_reading_makes_no_log(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for command in (
            ["metrics"],
            ["transcript", "0" * 32],
            ["follow"],
            ["verify"],
            ["findings"],
            ["dialogues"],
        ):
            ended = asked(*command, "--url", "sqlite:///none.db")
            assert (ended.status, ended.out) == (2, "")
            assert ended.err == (
                f"callosum: No log at {tmp_path / 'none.db'}; import or send something first,"
                " or name another with --url.\n"
            )
        assert list(tmp_path.iterdir()) == []

    def test_each_is_one_sentence(self, url: str, dialogue: UUID, tmp_path: Path) -> None:
        (tmp_path / "text.db").write_text("not a database, but more than a few bytes of text")
        for arguments, settings, sentence in (
            (("transcript", "0" * 32, "--url", url), {}, f"Dialogue {UUID(int=0)} does not exist."),
            (("metrics", "0" * 32, "--url", url), {}, f"Dialogue {UUID(int=0)} does not exist."),
            (("verify", "--url", "mysql://x"), {}, "The URL 'mysql://x' has an unknown scheme"),
            (("verify", "--url", f"sqlite:///{tmp_path}/text.db"), {}, "file is not a database."),
            (("verify",), {"CALLOSUM_URL": url, "CALLOSUM_CACHED_DIALOGUES": "0"}, "CALLOSUM_CACHED_DIALOGUES is"),
            (("metrics",), {"CALLOSUM_URL": url, "CALLOSUM_VIEWS": "sqlite:////no/views.db"}, "read models"),
        ):
            ended = asked(*arguments, **settings)
            assert (ended.status, ended.out) == (2, ""), arguments
            assert ended.err.startswith("callosum: ")
            assert ended.err.count("\n") == 1
            assert sentence in ended.err

    def test_the_environment_names_the_log(self, url: str, dialogue: UUID, tmp_path: Path) -> None:
        ended = callosum("verify", directory=tmp_path, CALLOSUM_URL=url)
        assert (ended.status, ended.err) == (0, "")
