"""Sending: what is accepted is stored as it was given, what is refused leaves nothing."""

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from eventsourcing.cipher import AESCipher

from corpus_callosum import (
    BatchTooLargeError,
    CallosumClosedError,
    CallosumError,
    CorpusCallosum,
    Dialogue,
    DialogueClosedError,
    DialogueNotFoundError,
    EmptyBatchError,
    IdempotencyConflictError,
    InvalidCommandError,
    InvalidMessageError,
    InvalidPayloadError,
    InvalidURLError,
    Priority,
    Receipt,
    ReplyToUnknownMessageError,
    Settings,
    StoreSettingsError,
    Tract,
    UnknownTopicError,
    UnreadableEventError,
)
from tests.redis_stores import STORES
from tests.scenario import message
from tests.servers import NO_SERVER

MIB = 1024 * 1024
USUAL: dict[str, Any] = {"source": Tract.INTERNAL, "target": Tract.EXTERNAL, "sender": "planner"}


async def said(callosum: CorpusCallosum, dialogue: Any) -> list[Any]:
    return [spoken.payload async for spoken in callosum.transcript(dialogue)]


async def events(callosum: CorpusCallosum) -> int:
    return (await callosum.verify()).events


@asynccontextmanager
async def held_append(callosum: CorpusCallosum, dialogue: UUID) -> AsyncIterator[asyncio.Task[Receipt]]:
    """A message on its way, which the writer holds as long as the body runs: its clock stands still."""
    taken, go_on = Event(), Event()

    def clock() -> datetime:
        taken.set()
        assert go_on.wait(5)
        return datetime.now(UTC)

    callosum._open.writer._clock = clock
    append = asyncio.create_task(callosum.send(dialogue, **USUAL, payload="held"))
    assert await asyncio.to_thread(taken.wait, 5)
    yield append
    go_on.set()
    await append


class TestSending:
    async def test_a_message_is_read_back_as_it_was_given(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("refactor the parser")
        receipt = await callosum.send(
            dialogue,
            **USUAL,
            payload={"task": "run the tests", "raw": b"\x00"},
            priority=Priority.HIGH,
            recipient="pytest",
            headers={"traceparent": "00-1-2-01"},
        )
        [spoken] = [spoken async for spoken in callosum.transcript(dialogue)]
        assert receipt == Receipt(dialogue, 1, 2)
        assert (spoken.dialogue, spoken.sequence, spoken.position) == (dialogue, 1, 2)
        assert spoken.payload == {"task": "run the tests", "raw": b"\x00"}
        assert (spoken.priority, spoken.recipient, spoken.headers) == (
            Priority.HIGH,
            "pytest",
            {"traceparent": "00-1-2-01"},
        )
        assert spoken.sent_at is not None
        assert abs(spoken.sent_at / 1000 - spoken.at) < 1000

    async def test_a_batch_has_one_receipt_a_message_in_order(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("batch")
        receipts = await callosum.send_many(dialogue, [message(number) for number in range(1000)])
        assert [receipt.sequence for receipt in receipts] == list(range(1, 1001))
        assert {receipt.position for receipt in receipts} == {2}
        assert await said(callosum, dialogue) == list(range(1000))

    async def test_what_waits_together_is_one_event_a_dialogue(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("crowd")
        receipts = await asyncio.gather(
            *(callosum.send_many(dialogue, [message(f"{number}.{n}") for n in range(300)]) for number in range(20))
        )
        assert await said(callosum, dialogue) == [f"{number}.{n}" for number in range(20) for n in range(300)]
        assert [r.sequence for batch in receipts for r in batch] == list(range(1, 6001))
        by_position: dict[int, int] = {}
        async for event in callosum.replay(2):
            assert isinstance(event.event, Dialogue.Conveyed)
            assert len(event.event.messages) <= 1000
            for sequence in range(len(event.event.messages)):
                by_position[event.event.first_sequence + sequence] = event.position
        assert {r.sequence: r.position for batch in receipts for r in batch} == by_position
        assert len(set(by_position.values())) < 12, "far fewer events than commands"

    async def test_messages_of_one_caller_keep_their_order(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("order")
        receipts = await asyncio.gather(
            *(callosum.send(dialogue, **USUAL, payload=number) for number in range(500))
        )
        assert [receipt.sequence for receipt in receipts] == list(range(1, 501))

    async def test_a_large_batch_is_not_overtaken_in_its_dialogue(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("large")
        large = [message([number, ["x"] * 20_000]) for number in range(60)]
        outcomes = await asyncio.gather(
            callosum.send_many(dialogue, large),
            callosum.send(dialogue, **USUAL, payload="after"),
            callosum.close_dialogue(dialogue, "done"),
        )
        assert outcomes[1].sequence == 61

    async def test_closing_and_sending_at_once_lose_nothing(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("race")
        before = [callosum.send(dialogue, **USUAL, payload=n) for n in range(5)]
        after = [callosum.send(dialogue, **USUAL, payload=n) for n in range(5, 10)]
        outcomes = await asyncio.gather(
            *before, callosum.close_dialogue(dialogue, "done"), *after, return_exceptions=True
        )
        assert [isinstance(outcome, Receipt) for outcome in outcomes[:5]] == [True] * 5
        assert [type(outcome) for outcome in outcomes[6:]] == [DialogueClosedError] * 5
        assert await said(callosum, dialogue) == [0, 1, 2, 3, 4]


class TestRefusal:
    """Each is refused with its own error, alone, and nothing of it is stored."""

    @pytest.mark.parametrize(
        ("command", "error"),
        [
            (lambda c, d: c.send(uuid4(), **USUAL), DialogueNotFoundError),
            (lambda c, d: c.close_dialogue(uuid4(), "done"), DialogueNotFoundError),
            (lambda c, d: c.send("not a uuid", **USUAL), InvalidCommandError),
            (lambda c, d: c.send_many(d, []), EmptyBatchError),
            (lambda c, d: c.send_many(d, [message()] * 1001), BatchTooLargeError),
            (lambda c, d: c.send_many(d, [message("x" * 260_000)] * 33), BatchTooLargeError),
            (lambda c, d: c.send_many(d, [message(), {"payload": 1}]), InvalidMessageError),
            (lambda c, d: c.send_many(d, [message(), message(float("nan"))]), InvalidPayloadError),
            (lambda c, d: c.send_many(d, [message(), message(in_reply_to=2)]), ReplyToUnknownMessageError),
            (lambda c, d: c.send(d, **{**USUAL, "source": "internally"}), InvalidMessageError),
            (lambda c, d: c.send(d, **USUAL, payload=(1,)), InvalidPayloadError),
            (lambda c, d: c.send(d, **USUAL, sent_at=1), InvalidMessageError),
            (lambda c, d: c.send(d, **USUAL, in_reply_to=1), ReplyToUnknownMessageError),
            (lambda c, d: c.open_dialogue(""), InvalidCommandError),
            (lambda c, d: c.open_dialogue("\ud800"), InvalidCommandError),
            (lambda c, d: c.open_dialogue("x" * 2001), InvalidCommandError),
            (lambda c, d: c.open_dialogue("x", attributes={"a": {1}}), InvalidPayloadError),
            (lambda c, d: c.open_dialogue("x", attributes=[1]), InvalidCommandError),
            (lambda c, d: c.close_dialogue(d, ""), InvalidCommandError),
            (lambda c, d: c.send_many(d, [message(1, key="k"), message(2, key="k")]), IdempotencyConflictError),
        ],
    )
    async def test_it(self, callosum: CorpusCallosum, command: Any, error: type[CallosumError]) -> None:
        dialogue = await callosum.open_dialogue("refusals")
        before = await events(callosum)
        with pytest.raises(error):
            await command(callosum, dialogue)
        assert await events(callosum) == before
        assert (await callosum.send(dialogue, **USUAL, payload="still here")).sequence == 1

    async def test_limits_are_inclusive(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("x" * 2000)
        assert len(await callosum.send_many(dialogue, [message("x" * (8 * MIB // 1000 - 100))] * 1000)) == 1000

    async def test_one_refused_command_of_a_round_fails_alone(self, callosum: CorpusCallosum) -> None:
        dialogue, other = await callosum.open_dialogue("a"), await callosum.open_dialogue("b")
        outcomes = await asyncio.gather(
            callosum.send(dialogue, **USUAL, payload=1),
            callosum.send(dialogue, **USUAL, payload=2, in_reply_to=99),
            callosum.send(uuid4(), **USUAL, payload=3),
            callosum.send(dialogue, **USUAL, payload=4, in_reply_to=1),
            callosum.send(other, **USUAL, payload=5),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [
            Receipt,
            ReplyToUnknownMessageError,
            DialogueNotFoundError,
            Receipt,
            Receipt,
        ]
        assert await said(callosum, dialogue) == [1, 4]
        assert await said(callosum, other) == [5]


class TestIdempotency:
    async def test_the_same_key_and_content_is_the_first_receipt_again(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        first = await callosum.send(dialogue, **USUAL, payload={"a": 1, "b": 2}, idempotency_key="k")
        again = await callosum.send(dialogue, **USUAL, payload={"b": 2, "a": 1}, idempotency_key="k")
        assert again == first
        assert len(await said(callosum, dialogue)) == 1

    async def test_other_content_under_the_key_is_an_error(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        await callosum.send(dialogue, **USUAL, payload=1, idempotency_key="k")
        with pytest.raises(IdempotencyConflictError) as caught:
            await callosum.send(dialogue, **USUAL, payload=2, idempotency_key="k")
        assert (caught.value.key, caught.value.sequence) == ("k", 1)
        assert await said(callosum, dialogue) == [1]

    async def test_keys_are_of_their_dialogue(self, callosum: CorpusCallosum) -> None:
        one, two = await callosum.open_dialogue("one"), await callosum.open_dialogue("two")
        await callosum.send(one, **USUAL, payload=1, idempotency_key="k")
        assert (await callosum.send(two, **USUAL, payload=2, idempotency_key="k")).dialogue == two

    async def test_at_once_one_is_stored_and_all_get_its_receipt(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        receipts = await asyncio.gather(
            *(callosum.send(dialogue, **USUAL, payload="same", idempotency_key="k") for _ in range(20))
        )
        assert len(set(receipts)) == 1
        assert await said(callosum, dialogue) == ["same"]

    async def test_at_once_with_other_content_one_wins(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        outcomes = await asyncio.gather(
            *(callosum.send(dialogue, **USUAL, payload=n, idempotency_key="k") for n in range(6)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Receipt] + [IdempotencyConflictError] * 5

    async def test_a_repeated_key_does_not_let_later_messages_overtake(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        await asyncio.gather(
            callosum.send_many(dialogue, [message("a", key="k")]),
            callosum.send_many(dialogue, [message("a", key="k"), message("b")]),
            callosum.send_many(dialogue, [message("c")]),
        )
        assert await said(callosum, dialogue) == ["a", "b", "c"]

    async def test_a_batch_may_bring_some_keys_again(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        first = await callosum.send_many(dialogue, [message(n, key=f"k{n}") for n in range(3)])
        batch = [
            message(9),
            message(1, key="k1"),
            message(10, key="k10"),
            message(10, key="k10"),
            message(2, key="k2"),
        ]
        receipts = await callosum.send_many(dialogue, batch)
        assert [receipt.sequence for receipt in receipts] == [4, 2, 5, 5, 3]
        assert receipts[1] == first[1]
        assert await said(callosum, dialogue) == [0, 1, 2, 9, 10]

    async def test_the_first_receipt_comes_again_from_a_closed_dialogue(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("keys")
        first = await callosum.send(dialogue, **USUAL, payload=1, idempotency_key="k")
        await callosum.close_dialogue(dialogue, "done")
        assert await callosum.send(dialogue, **USUAL, payload=1, idempotency_key="k") == first
        with pytest.raises(IdempotencyConflictError):
            await callosum.send(dialogue, **USUAL, payload=2, idempotency_key="k")
        with pytest.raises(DialogueClosedError):
            await callosum.send_many(dialogue, [message(1, key="other")])
        with pytest.raises(DialogueClosedError):
            await callosum.send_many(dialogue, [message(2), message(3, key="third")])

    async def test_the_first_receipt_comes_again_after_a_restart(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("keys")
            await callosum.send_many(dialogue, [message(n) for n in range(1500 - 600)])
            first = await callosum.send(dialogue, **USUAL, payload=1, idempotency_key="k")
        async with CorpusCallosum.open(lasting_url) as callosum:
            assert await callosum.send(dialogue, **USUAL, payload=1, idempotency_key="k") == first
            with pytest.raises(IdempotencyConflictError):
                await callosum.send(dialogue, **USUAL, payload=2, idempotency_key="k")


class TestCancellingAndClosing:
    async def test_a_cancelled_command_is_stored_whole_or_not_at_all(self, callosum: CorpusCallosum) -> None:
        dialogue = await callosum.open_dialogue("cancel")
        for number in range(30):
            task = asyncio.create_task(callosum.send_many(dialogue, [message(number), message(number)]))
            # Cancelled early, on its way, and too late.
            await asyncio.wait({task}, timeout=None if number % 6 == 5 else number % 6 * 0.0004)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        last = await callosum.send(dialogue, **USUAL, payload="last")  # behind whatever was on its way
        *payloads, end = await said(callosum, dialogue)
        assert all(payloads.count(number) in {0, 2} for number in range(30))
        assert 0 < len(payloads) < 60
        assert (end, last.sequence) == ("last", len(payloads) + 1)

    async def test_a_command_that_waits_behind_another_is_dropped_by_cancelling(
        self, callosum: CorpusCallosum
    ) -> None:
        dialogue = await callosum.open_dialogue("cancel")
        async with held_append(callosum, dialogue):
            waiting = asyncio.create_task(callosum.send(dialogue, **USUAL, payload=2))
            await asyncio.sleep(0)
            assert not callosum._open.writer._queue.empty()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await callosum.send(dialogue, **USUAL, payload=3)
        assert await said(callosum, dialogue) == ["held", 3]

    async def test_the_event_loop_and_readers_go_on_while_an_append_takes_its_time(
        self, callosum: CorpusCallosum
    ) -> None:
        dialogue = await callosum.open_dialogue("slow disk")
        async with held_append(callosum, dialogue) as append:
            assert await said(callosum, dialogue) == []
            assert not append.done()
        assert await said(callosum, dialogue) == ["held"]

    async def test_closing_answers_what_was_taken_and_refuses_the_rest(self, url: str) -> None:
        async with CorpusCallosum.open(url) as callosum:
            dialogue = await callosum.open_dialogue("closing")
            tasks = [asyncio.create_task(callosum.send(dialogue, **USUAL, payload=n)) for n in range(100)]
            await asyncio.sleep(0)
            while len(callosum._turns):  # noqa: ASYNC110  # nothing tells that all have handed over
                await asyncio.sleep(0)
        receipts = await asyncio.gather(*tasks)
        assert [receipt.sequence for receipt in receipts] == list(range(1, 101))
        with pytest.raises(CallosumClosedError):
            await callosum.send(dialogue, **USUAL)
        with pytest.raises(CallosumClosedError):
            await callosum.verify()
        await callosum.aclose()

    async def test_closing_is_once_for_all_who_ask(self, url: str) -> None:
        callosum = await CorpusCallosum.open(url).__aenter__()
        dialogue = await callosum.open_dialogue("closing")
        cancelled = asyncio.create_task(callosum.aclose())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await asyncio.gather(callosum.aclose(), callosum.aclose())
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("callosum-")]
        with pytest.raises(CallosumClosedError):
            await callosum.send(dialogue, **USUAL)

    async def test_it_is_not_opened_twice(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(InvalidCommandError):
            await callosum.__aenter__()

    async def test_nothing_is_done_before_it_is_open(self) -> None:
        with pytest.raises(CallosumClosedError):
            await CorpusCallosum.open("sqlite://").open_dialogue("early")

    async def test_what_was_stored_is_there_after_a_restart(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("lasting")
            await callosum.send(dialogue, **USUAL, payload=1)
        async with CorpusCallosum.open(lasting_url) as callosum:
            assert (await callosum.send(dialogue, **USUAL, payload=2)).sequence == 2
            assert await said(callosum, dialogue) == [1, 2]


async def test_compression_and_encryption_are_the_librarys_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_TOPIC", "zlib")
    monkeypatch.setenv("CIPHER_KEY", AESCipher.create_key(16))
    url = f"sqlite:///{tmp_path}/secret.db"
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("secret")
        await callosum.send(dialogue, **USUAL, payload="the treasure is under the oak")
        assert await said(callosum, dialogue) == ["the treasure is under the oak"]
        assert (await callosum.verify()).problem is None
    assert b"treasure" not in (tmp_path / "secret.db").read_bytes()
    monkeypatch.setenv("CIPHER_KEY", AESCipher.create_key(16))
    async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
        with pytest.raises(UnreadableEventError):
            await said(callosum, dialogue)


@pytest.mark.parametrize(
    "url",
    [
        "callosum.db",
        "mongodb://x",
        "sqlite:relative.db",
        "sqlite://host/x.db",
        "sqlite:///x.db?mode=ro",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///mode=memory.db",
        "sqlite:///a%00b.db",
    ],
)
async def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidURLError):
        async with CorpusCallosum.open(url):
            pass


@pytest.mark.parametrize(
    "name", ["a b.db", "a?b.db", "a#b.db", "a%20b.db", "ü.db", "file:x.db", "log.sqlite", "log"]
)
async def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    async with CorpusCallosum.open(f"sqlite:///{quote(str(tmp_path / name))}") as callosum:
        await callosum.open_dialogue("named")
        projections = callosum.projections.names
        for projection in projections:
            await callosum.read_model(projection, lambda _connection, position: position)
    views = f"{name.removesuffix('.db')}.views"
    files = {re.sub(r"\.[1-9]\.db$", "", path.name) for path in tmp_path.iterdir()}
    assert files == {name, f"{views}.db", *(f"{views}.{projection}" for projection in projections)}


async def test_a_relative_path_is_from_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with CorpusCallosum.open("sqlite:///here.db") as callosum:
        dialogue = await callosum.open_dialogue("here")
        monkeypatch.chdir(tmp_path / "elsewhere")
        await callosum.send(dialogue, **USUAL, payload=1)
        found = await asyncio.gather(*(said(callosum, dialogue) for _ in range(8)))
    assert found == [[1]] * 8
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("setting", ["COMPRESSOR_TOPIC", "CIPHER_TOPIC"])
async def test_a_setting_that_names_nothing_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "nowhere:nothing")
    with pytest.raises(StoreSettingsError, match="nowhere:nothing"):
        async with CorpusCallosum.open(f"sqlite:///{tmp_path}/x.db"):
            pass


async def test_an_event_that_cannot_be_read_fails_its_own_dialogue_only(tmp_path: Path) -> None:
    """Another process may be newer and write what this one does not know."""
    path = tmp_path / "callosum.db"
    async with CorpusCallosum.open(settings=Settings(url=f"sqlite:///{path}", project=False)) as callosum:
        strange, sound = await callosum.open_dialogue("strange"), await callosum.open_dialogue("sound")
        await asyncio.gather(*(callosum.send(d, **USUAL) for d in (strange, sound)))
        with sqlite3.connect(path) as connection:
            connection.execute(
                "INSERT INTO stored_events SELECT position + 1, ?, 3, 'dialogue.whispered.v9', at, chain, state"
                " FROM stored_events WHERE position = (SELECT max(position) FROM stored_events)",
                (strange.hex,),
            )
        connection.close()
        outcomes = await asyncio.gather(
            callosum.send(strange, **USUAL), callosum.send(sound, **USUAL), return_exceptions=True
        )
        again = await asyncio.gather(
            callosum.send(strange, **USUAL, in_reply_to=99), callosum.send(sound, **USUAL), return_exceptions=True
        )
    assert [type(outcome) for outcome in (*outcomes, *again)] == [UnknownTopicError, Receipt] * 2


async def test_a_url_goes_before_what_the_library_finds_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLOSUM_SQLITE_DBNAME", f"{tmp_path}/other.db")
    monkeypatch.setenv("CALLOSUM_PERSISTENCE_MODULE", "eventsourcing.popo")
    async with CorpusCallosum.open(f"sqlite:///{tmp_path}/asked.db") as callosum:
        await callosum.open_dialogue("here")
    assert (tmp_path / "asked.db").exists()
    assert not (tmp_path / "other.db").exists()


async def test_no_place_for_the_read_models_is_told_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STORES, NO_SERVER
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file")
    [settings, *_] = (store.new(tmp_path) for store in STORES)
    url = f"{settings['REDIS_URL']}?namespace={settings['REDIS_NAMESPACE']}"
    with pytest.raises(StoreSettingsError, match=r"no place for the read models .* CALLOSUM_VIEWS"):
        async with CorpusCallosum.open(url):
            pass
    async with CorpusCallosum.open(settings=Settings(url=url, views="sqlite://")) as callosum:
        await callosum.open_dialogue("here")


@pytest.mark.parametrize("position", [-1, 10**30])
async def test_a_position_that_no_store_can_count_is_refused(callosum: CorpusCallosum, position: int) -> None:
    with pytest.raises(InvalidCommandError):
        await anext(aiter(callosum.follow(position)))
    assert [recorded async for recorded in callosum.replay(1, 10**30)] == []
