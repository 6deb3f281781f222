"""What `callosum report` gathers and writes; how a browser takes it is in `test_report_browser`."""

import asyncio
import gzip
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from re import findall, search
from time import time
from typing import Any
from uuid import UUID

import pytest

from application.read_side import Moment
from corpus_callosum import (
    CircuitState,
    CorpusCallosum,
    Dialogue,
    Kind,
    Message,
    Priority,
    Settings,
    ShedLowest,
    Tract,
)
from domain.errors import BackpressureError, CallNotPermittedError
from domain.message import Payload
from domain.response_times import ResponseTimes
from domain.times import log_time
from interface.report.backlog import BacklogFold
from interface.report.gather import NoSuchDialogueError, gather
from interface.report.material import Material
from interface.report.page import page
from interface.report.transcripts import Packer, Part, shown, shown_payload
from projections.answers import ResponseTime
from tests.terminal import ROOT, Ended, asked

AIRLINE = ROOT.parent / "shared" / "data" / "airline-dialogues.jsonl"
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "find", "arguments": '{"n":12345678901234567890}'}}],
}
RESULT = {"role": "tool", "name": "find", "tool_call_id": "c1", "content": "not {json"}


def message(n: int, payload: Payload) -> Message:
    """From internal to external and back in turns, but for every seventh."""
    out = n % 2 == 0 or n % 7 == 0
    source, target = (Tract.INTERNAL, Tract.EXTERNAL) if out else (Tract.EXTERNAL, Tract.INTERNAL)
    return Message(source=source, target=target, sender="planner" if out else "tool", payload=payload)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/log.db") as callosum:
        yield callosum


async def talk(callosum: CorpusCallosum, subject: str, count: int) -> UUID:
    dialogue = await callosum.open_dialogue(subject, attributes={"team": subject[-1]})
    await callosum.send_many(dialogue, [message(n, f"{subject} {n % 30}") for n in range(count)])
    return dialogue


async def material(callosum: CorpusCallosum, *chosen: UUID, as_of: Moment | None = None) -> Material:
    return await gather(callosum, chosen=chosen, kind=None, as_of=as_of, progress=lambda _position, _last: None)


def same(times: ResponseTimes, told: ResponseTime) -> bool:
    return (times.count, times.p50, times.p95, times.p99, times.max, times.unknown) == (
        told.count, told.p50, told.p95, told.p99, told.max, told.unknown,
    )  # fmt: skip


async def test_the_measures_are_those_of_the_service(opened: CorpusCallosum) -> None:
    for subject, count in (("a", 150), ("b", 21), ("c", 3)):
        await talk(opened, subject, count)
    metrics = await opened.consciousness_metrics(Kind.LIVE)
    [scope] = (await material(opened)).scopes
    fold = scope.fold
    assert fold.balance.total_messages == metrics.total_messages == 174
    assert fold.balance.dialogue_balance_ratio == metrics.dialogue_balance_ratio
    assert fold.balance.emergence_score == metrics.emergence_score
    assert fold.coordination.coordination_z == metrics.coordination_z
    assert len(scope.episodes) == metrics.episode_count
    assert sum(map(len, scope.findings.values())) == metrics.findings
    for tract in Tract:
        told = getattr(metrics.response_time, tract.value)
        assert same(fold.times[tract], told)
        assert scope.unanswered[tract] == told.unanswered
    last = fold.points[-1]
    assert (last.ordinal, last.balance, last.coordination) == (
        174,
        metrics.dialogue_balance_ratio,
        metrics.coordination_z,
    )


async def test_findings_lie_at_their_messages_places_in_the_log(opened: CorpusCallosum) -> None:
    await talk(opened, "a", 10)
    dialogue = await opened.open_dialogue("b")
    await opened.send_many(dialogue, [message(0, "again")] * 2)
    [scope] = (await material(opened)).scopes
    assert [(span.first, span.last) for span in scope.findings["repetition"]] == [(11, 12)]


async def test_an_echo_loop_counts_as_a_repetition_too_as_it_does_elsewhere(opened: CorpusCallosum) -> None:
    dialogue = await opened.open_dialogue("a")
    await opened.send_many(dialogue, [message(0, payload) for payload in ("a", "a", "a", "b", "b")])
    document = page(await material(opened), title="a", log="a", written=datetime.now(UTC))
    [row] = index(document)
    assert ">5</text>" in document
    assert ">6</text>" not in document
    told = {name: (await opened.findings(pattern=name)).total for name in ("repetition", "echo_loop")}
    assert (row["findings"], row["patterns"]) == (2, told)
    assert told == {"repetition": 2, "echo_loop": 1}
    assert "1 × echo loop, 1 × other repetition. Echo loops count as repetition, too: 2 in all." in document
    other = await opened.open_dialogue("b")
    await opened.send_many(other, [message(0, "a")] * 2)
    document = page(await material(opened, other), title="a", log="a", written=datetime.now(UTC))
    assert "From its first message to its last: 1 × repetition.<" in document


async def test_of_many_messages_some_hundred_are_drawn(opened: CorpusCallosum) -> None:
    await talk(opened, "a", 1000)
    [scope] = (await material(opened)).scopes
    ordinals = [point.ordinal for point in scope.fold.points]
    assert ordinals == list(range(2, 1001, 2))
    assert len(scope.fold.blocks) == 40
    assert sum(block.total() for block in scope.fold.blocks) == 1000


async def test_a_chart_tells_its_last_values_and_names_the_curves_that_it_has(opened: CorpusCallosum) -> None:
    await talk(opened, "a", 99)
    found = await material(opened)
    document = page(found, title="a", log="a", written=datetime.now(UTC))
    fold = found.scopes[0].fold
    balance = f"{fold.balance.dialogue_balance_ratio:.3f} over all messages so far"
    assert f'aria-label="Balance, message by message: in the end {balance}"' in document
    assert f"{fold.coordination.coordination_z:+.2f} over all messages so far" in document
    assert "over the last 100" not in document
    assert search("Messages per minute, by direction: in the end [0-9,]+ internal → external, [0-9]", document)
    await talk(opened, "b", 1)
    document = page(await material(opened), title="a", log="a", written=datetime.now(UTC))
    assert document.count("</span>over the last 100</li>") == 2
    assert search(
        'aria-label="Balance, message by message: in the end [^"]* 0.[0-9]+ over the last 100"', document
    )


async def test_all_is_as_of_one_position(opened: CorpusCallosum) -> None:
    await talk(opened, "a", 4)
    later = await talk(opened, "b", 4)
    found = await material(opened, as_of=2)
    assert (found.position, len(found.dialogues), len(found.packed.places)) == (2, 1, 1)
    with pytest.raises(NoSuchDialogueError):
        await material(opened, later, as_of=2)


async def test_a_stall_is_among_what_the_rows_count_and_what_was_found(tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}/log.db", patterns={"stall_seconds": 0.001})
    async with CorpusCallosum.open(settings=settings) as callosum:
        dialogue = await talk(callosum, "a", 1)
        await talk(callosum, "b", 1)
        while (await callosum.findings(pattern="stall")).total < 2:
            pass
        for found, stalls in ((await material(callosum), 2), (await material(callosum, dialogue), 1)):
            [scope] = found.scopes
            assert len(scope.findings["stall"]) == stalls
            document = page(found, title="a", log="a", written=datetime.now(UTC))
            assert [(row["findings"], row["patterns"]) for row in index(document)] == [(1, {"stall": 1})] * stalls
        to_come = datetime.now(UTC) + timedelta(days=1)
        assert len((await material(callosum, as_of=to_come)).scopes[0].findings["stall"]) == 2
        as_of_the_last = await material(callosum, as_of=found.position)
        assert as_of_the_last.findings[as_of_the_last.dialogues[-1].dialogue] == []


async def test_it_can_be_about_some_dialogues(opened: CorpusCallosum) -> None:
    await talk(opened, "a", 4)
    second, third = await talk(opened, "b", 5), await talk(opened, "c", 6)
    found = await material(opened, third, second, third)
    assert [summary.dialogue for summary in found.dialogues] == [second, third]
    [scope] = found.scopes
    assert (scope.dialogues, scope.fold.balance.total_messages) == (2, 11)
    assert found.at == (await material(opened)).at


async def test_circuits_and_backlog_are_told_of_a_log_that_delivers(opened: CorpusCallosum) -> None:
    dialogue = await opened.open_dialogue("a")
    await opened.send_many(dialogue, [message(0, n) for n in range(3)])
    await opened.gates.force(Tract.EXTERNAL, CircuitState.DISABLED, by="a test", why="to see it")
    async with opened.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
        subscription.request(1)
        await (await anext(subscription)).ack()
    flow = (await material(opened)).flow
    assert flow is not None
    assert (await material(opened, dialogue)).flow is None
    assert [state for _, state in flow.circuits[Tract.EXTERNAL]] == [CircuitState.DISABLED]
    assert flow.circuits[Tract.INTERNAL] == []
    assert [count for _, count in flow.backlog[Tract.EXTERNAL]] == [3, 2]


async def test_a_circuit_that_refuses_all_is_told_with_its_state_at_the_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("a")
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="root", why="<maintenance>\x1b")
        with pytest.raises(CallNotPermittedError):
            await callosum.send_many(dialogue, [message(0, n) for n in range(3)])
    async with CorpusCallosum.open(url) as callosum:
        found = await material(callosum)
    flow = found.flow
    assert flow is not None
    assert flow.ended is not None
    [(since, _)] = flow.circuits[Tract.EXTERNAL]
    assert flow.ended > since
    document = page(found, title="a", log="a", written=datetime.now(UTC))
    assert "no circuits" not in document
    assert "on their way; 3 refused by its circuit, 0 refused by its capacity, 0 waited for room." in document
    assert "No message was ever on its way." in document
    now = f"To external: forced open since {log_time(since)[:19].replace('T', ' ')}"
    now += r" (root: &lt;maintenance&gt;\x1b); closed "
    assert f"<figcaption>To internal: closed all the time. {now}" in document
    assert f'aria-label="States of the circuits over time. To internal: closed all the time. {now}' in document
    assert len(findall(r'<rect [^>]*class="fill forced_open"', document)) == 3


async def test_a_circuit_that_moved_or_a_refusal_is_delivery_without_any_backlog(tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}/log.db", capacity=2)
    async with CorpusCallosum.open(settings=settings) as callosum:
        dialogue = await callosum.open_dialogue("a")
        nothing = (await material(callosum)).flow
        with pytest.raises(BackpressureError):
            await callosum.send_many(dialogue, [message(0, n) for n in range(3)])
    async with CorpusCallosum.open(settings=settings) as callosum:
        refused = (await material(callosum)).flow
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/other.db") as callosum:
        await callosum.gates.force(Tract.INTERNAL, CircuitState.OPEN, by="a test", why="to see it")
        moved = (await material(callosum)).flow
    assert [flow.gates is not None for flow in (nothing, refused, moved) if flow] == [False, True, True]


async def test_circuits_and_backlog_are_drawn_up_to_the_moment_of_the_report(opened: CorpusCallosum) -> None:
    dialogue = await opened.open_dialogue("a")
    await opened.send_many(dialogue, [message(0, n) for n in range(3)])
    before = int(time() * 1000)
    found = await material(opened)
    assert found.flow is not None
    assert found.flow.ended is not None
    assert before <= found.flow.ended <= time() * 1000
    then = (await material(opened, as_of=found.position)).flow
    assert then is not None
    assert then.ended == found.at
    document = page(found, title="a", log="a", written=datetime.now(UTC))
    assert 'aria-label="Messages on their way to each tract: in the end 0 to internal, 3 to external"' in document


async def test_the_backlog_is_that_of_the_read_model_at_every_position(opened: CorpusCallosum) -> None:
    dialogue = await opened.open_dialogue("a")
    question = asyncio.create_task(
        opened.ask(
            dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload="?", timeout=30
        )
    )
    async with opened.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
        subscription.request(1)
        await (await anext(subscription)).ack()
        reply = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", in_reply_to=1)
        await opened.send_many(dialogue, [reply, reply, message(0, 1), message(0, 2)])
        await question
        subscription.request(2)
        await (await anext(subscription)).term("no")
        await (await anext(subscription)).nak("not yet", delay=0)
    assert await opened.dead_letters.redrive(dialogue=dialogue, sequence=4) == 1
    await opened.gates.configure(Tract.EXTERNAL, by="ann", why="it is small", capacity=2)
    urgent = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", priority=Priority.HIGH)
    await opened.send_many(dialogue, [urgent], when_full=ShedLowest())
    backlog = BacklogFold()
    async for event in opened.replay():
        backlog.add(event)
        then = await opened.deliveries(as_of=event.position)
        assert backlog.now == {Tract.INTERNAL: then.internal.backlog, Tract.EXTERNAL: then.external.backlog}
    assert {count for _, count in backlog.history[Tract.EXTERNAL]} == {0, 1, 2}


class TestPayloads:
    @pytest.mark.parametrize(
        ("payload", "parts"),
        [
            ("hello", [Part("text", "hello")]),
            (b"\x00\xff", [Part("bytes", "AP8=")]),
            (None, [Part("json", "null")]),
            ({"n": 2**64 - 1}, [Part("json", '{"n": 18446744073709551615}')]),
            (CALL, [Part("call", '{"n": 12345678901234567890}', "find")]),
            (RESULT, [Part("result", "not {json", "find")]),
            ({"role": "user", "content": ["a", {"text": "b"}]}, [Part("text", "a"), Part("text", "b")]),
            ({"role": "user", "content": "a", "mood": 1}, [Part("text", "a"), Part("more", '{"mood": 1}')]),
            ({"role": "user"}, [Part("json", '{"role": "user"}')]),
            ({"role": "user", "content": 1}, [Part("json", "1")]),
            ({"role": {}, "content": "a", "tool_calls": [3]}, [Part("text", "a"), Part("call", "3")]),
            (
                {"role": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
                [Part("call", '{"x": 1}', "f")],
            ),
        ],
    )  # fmt: skip
    def test_they_are_shown_as_text_that_says_all(self, payload: Payload, parts: list[Part]) -> None:
        assert shown_payload(payload) == parts

    def test_json_that_a_tool_wrote_keeps_its_order_and_digits(self) -> None:
        written = '{"b":1.10,"a":[1e2,{}],"b":2}'
        [part] = shown_payload({"role": "tool", "content": written})
        assert "".join(part.text.split()) == written

    async def test_dialogues_are_packed_whole_in_few_chunks(self, opened: CorpusCallosum) -> None:
        small = [await talk(opened, f"s{n}", 3) for n in range(9)]
        large = await talk(opened, "l", 1)
        await opened.send_many(large, [message(n, f"{n}" * 1000) for n in range(1, 1000)])
        packer = Packer()
        async for recorded in opened.replay():
            event = recorded.event
            if isinstance(event, Dialogue.Conveyed):
                for sequence, said in enumerate(event.messages, event.first_sequence):
                    packer.add(event.originator_id, shown(said, said.direction, sequence, recorded))
        packed = packer.packed()
        chunks = [json.loads(gzip.decompress(b64decode(chunk))) for chunk in packed.chunks]
        assert len({packed.places[dialogue][0].chunk for dialogue in small}) == 1
        places = packed.places[large]
        assert len(places) > 4
        sequences = [
            said["sequence"]
            for place in places
            for said in chunks[place.chunk][place.start : place.start + place.count]
        ]
        assert sequences == list(range(1, 1001))


def index(document: str) -> Any:
    found = search(r'<script type="application/json" id="index">(.*?)</script>', document, 16)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def url(lasting_url: str, tmp_path: Path) -> str:
    runs = tmp_path / "runs.jsonl"
    said = [{"role": "user", "content": "Find it."}, CALL, RESULT]
    runs.write_text("\n".join(json.dumps({"reward": n, "messages": said[: n + 1]}) for n in range(3)))
    assert asked("import", str(runs), "--url", lasting_url).status == 0
    return lasting_url


def reported(url: str, out: Path, *words: str) -> Ended:
    return asked("report", "--out", str(out), "--url", url, *words)


class TestCommand:
    def test_it_says_what_was_written(self, url: str, tmp_path: Path) -> None:
        out = tmp_path / "page.html"
        told = reported(url, out, "--json").json()
        assert told == {
            "path": str(out),
            "bytes": out.stat().st_size,
            "dialogues": 3,
            "messages": 6,
            "findings": 0,
            "position": 6,
        }
        assert sorted(file.name for file in tmp_path.glob("*.html")) == ["page.html"]
        again = reported(url, out, "--force")
        assert again.out.startswith(f"{out}: 3 dialogues, 6 messages, 0 findings, as of position 6; ")

    def test_a_file_that_is_there_stays_unless_said(self, url: str, tmp_path: Path) -> None:
        out = tmp_path / "page.html"
        out.write_text("mine")
        refused = reported(url, out)
        assert (refused.status, out.read_text()) == (2, "mine")
        assert "--force" in refused.err
        assert "is no directory" in reported(url, tmp_path / "none" / "page.html").err

    def test_it_is_about_what_was_asked_for(self, url: str, tmp_path: Path) -> None:
        ids = [one["dialogue"] for one in asked("dialogues", "--json", "--url", url).json()["dialogues"]]
        assert reported(url, tmp_path / "one.html", ids[0][:13], "--title", "<One> & only").status == 0
        document = (tmp_path / "one.html").read_text()
        assert [row["id"] for row in index(document)] == [ids[0]]
        assert "<title>&lt;One&gt; &amp; only</title>" in document
        assert reported(url, tmp_path / "none.html", "--kind", "live", "--json").json()["dialogues"] == 0
        assert "No messages yet." in (tmp_path / "none.html").read_text()
        assert reported(url, tmp_path / "early.html", "--as-of", "2", "--json").json()["messages"] == 1

    def test_balance_stands_beside_coordination_and_emergence_is_no_bare_0(self, url: str, tmp_path: Path) -> None:
        reported(url, tmp_path / "page.html")
        document = (tmp_path / "page.html").read_text()
        names = findall(r"<dt>(.*?)</dt>", document)
        assert names.index("coordination") == names.index("balance") + 1
        assert "not assessable: 6 of 101 messages" in document
        assert "not assessable: 6 of 20 messages between the tracts" in document
        assert "no circuits, no backlog" in document


def test_whatever_times_a_file_claims_are_charted(tmp_path: Path) -> None:
    times = ("0001-01-01T00:00:00Z", "2026-03-01T12:00:00Z", "9999-12-31T23:59:59Z")
    said = [{"role": "user", "content": "a", "timestamp": time} for time in times]
    (tmp_path / "runs.jsonl").write_text(json.dumps(said))
    url = f"sqlite:///{tmp_path}/log.db"
    assert asked("import", f"{tmp_path}/runs.jsonl", "--url", url).status == 0
    assert reported(url, tmp_path / "page.html").status == 0
    assert "Messages per minute" in (tmp_path / "page.html").read_text()


@pytest.mark.skipif(not AIRLINE.exists(), reason="the shared transcripts are not here")
def test_the_shared_transcripts_have_the_published_figures(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    assert asked("import", str(AIRLINE), "--url", url).status == 0
    told = reported(url, tmp_path / "page.html", "--json").json()
    assert (told["dialogues"], told["messages"], told["findings"]) == (100, 2558, 31)
    document = (tmp_path / "page.html").read_text()
    for figure in ("<dd>0.925</dd>", "<dd>+46.78</dd>", "11 × echo loop", "20 × other repetition"):
        assert figure in document
    assert "Echo loops count as repetition, too: 31 in all." in document
    counts = [row["patterns"].get("repetition", 0) for row in index(document)]
    assert (sum(counts), sum(count > 0 for count in counts)) == (31, 17)
