"""`callosum export --out` and `callosum report --out`: what they never write over."""

import asyncio
import os
from pathlib import Path

import pytest

from corpus_callosum import CorpusCallosum
from tests.scenario import message
from tests.terminal import Ended, asked

COMMANDS = ("export", "report")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that has read models beside it."""
    asyncio.run(_made(f"sqlite:///{tmp_path}/log.db"))
    return tmp_path / "log.db"


async def _made(url: str) -> None:
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("precious")
        await callosum.send_many(dialogue, [message(number) for number in range(3)])
        await callosum.dialogues()


def written(command: str, out: Path, log: Path, *words: str, **settings: str) -> Ended:
    return asked(command, "--out", str(out), "--url", f"sqlite:///{log}", *words, **settings)


@pytest.mark.parametrize("command", COMMANDS)
class TestWhatIsNeverWrittenOver:
    def test_is_every_file_of_the_log_and_of_its_read_models(self, command: str, log: Path) -> None:
        ends = (".db-wal", ".db-shm", ".views.db-wal", ".views.consciousness.7.db-shm", ".views.deliveries.lock")
        files = {*log.parent.iterdir(), *(log.with_suffix(end) for end in ends)}
        assert len(files) >= len(ends) + 4
        before = log.read_bytes()
        for file in sorted(files):
            refused = written(command, file, log, "--force")
            told = f"callosum: {file} belongs to the log or its read models; name another file with --out.\n"
            assert (refused.status, refused.out, refused.err) == (2, "", told)
        assert log.read_bytes() == before

    def test_is_the_log_by_another_path(self, command: str, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(log.parent)
        before = log.read_bytes()
        links = log.parent / "links"
        links.mkdir()
        (links / "link.db").symlink_to(log)
        (log.parent / "there").symlink_to(log.parent)
        for out in (Path("log.db"), links / ".." / "log.db", links / "link.db", log.parent / "there" / "log.db"):
            assert "belongs to the log" in written(command, out, log, "--force").err
        for out in (log, links / "link.db", Path(f"{log}-wal")):
            assert "belongs to the log" in written(command, out, links / "link.db", "--force").err
        assert log.read_bytes() == before

    def test_is_where_the_settings_put_the_read_models(self, command: str, log: Path) -> None:
        views = log.parent / "elsewhere"
        for end in ("", ".timeline.3.db", "-wal"):
            refused = written(command, Path(f"{views}{end}"), log, "--force", CALLOSUM_VIEWS=f"sqlite:///{views}")
            assert "belongs to the log" in refused.err

    def test_is_what_is_no_file(self, command: str, log: Path) -> None:
        pipe = log.parent / "pipe"
        os.mkfifo(pipe)
        for out in (pipe, log.parent):
            assert written(command, out, log, "--force").err.endswith(" is no file.\n")
        assert pipe.is_fifo()


@pytest.mark.parametrize("command", COMMANDS)
class TestAnotherFile:
    def test_is_written_over_only_when_that_is_said(self, command: str, log: Path) -> None:
        out = log.parent / "log.html.db"
        out.write_text("mine")
        refused = written(command, out, log)
        assert (refused.status, refused.out, out.read_text()) == (2, "", "mine")
        assert "--force" in refused.err
        assert written(command, out, log, "--force").status == 0
        assert "precious" in out.read_text()

    def test_of_whatever_name_does_not_reach_the_terminal(self, command: str, log: Path) -> None:
        ended = written(command, log.parent / "a\x1b[31m\nb", log)
        assert ended.status == 0
        told = ended.out + ended.err
        assert "a\\x1b[31m\\nb" in told
        assert "\x1b" not in told
        assert told.count("\n") == 1

    def test_is_not_looked_for_when_the_settings_are_refused(self, command: str, log: Path) -> None:
        refused = asked(command, "--out", str(log.parent / "new"), "--url", "sqlite:/wrong")
        assert refused.status == 2
        assert "is not of the form" in refused.err
