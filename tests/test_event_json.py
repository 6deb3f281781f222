"""Events as JSON: nothing is lost, and no two events look the same."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.persistence import JSONTranscoder, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from application import event_json
from application.codec import EventMapper
from application.event_json import event_from_json, event_to_json
from application.upcasts import Upcast
from corpus_callosum import CorpusCallosum, Dialogue, Message, Tract
from tests.history import PAYLOADS, digests, lines, live_history, plain_settings
from tests.processes import ROOT
from tests.scenario import DIALOGUE, NOON

MAPPER = EventMapper(JSONTranscoder())
CORPUS = (ROOT / "tests" / "corpus" / "events.jsonl").read_text().splitlines()


def there_and_back(event: Any) -> Any:
    told = msgspec.json.encode(event_to_json(event))
    return event_from_json(event.TOPIC, event.originator_id, event.originator_version, told)


def said(payload: object) -> Dialogue.Conveyed:
    message = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="a", payload=payload)
    return Dialogue.Conveyed(DIALOGUE, 2, NOON, 1, [message])


def stored(line: str) -> StoredEvent:
    entry = json.loads(line)
    state = bytes.fromhex(entry["state"])
    return StoredEvent(UUID(int=1), 1, entry["topic"], state)


@pytest.mark.parametrize("line", CORPUS, ids=[json.loads(line)["topic"] for line in CORPUS])
def test_every_form_that_was_ever_stored_comes_back(line: str) -> None:
    event = MAPPER.to_domain_event(stored(line))
    assert MAPPER.plain_state(there_and_back(event)) == MAPPER.plain_state(event)


class ClosedV0(msgspec.Struct, array_like=True):
    timestamp: datetime


def test_an_export_from_before_a_new_version_of_an_event_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_today(old: ClosedV0) -> dict[str, Any]:
        return {"timestamp": old.timestamp, "reason": "unknown"}

    upcast = Upcast("dialogue.ended.v1", ClosedV0, Dialogue.Closed, as_today)
    monkeypatch.setattr(EventMapper, "upcasts", (upcast,))
    event_json._readable.cache_clear()
    told = b'{"timestamp":"2026-03-01T12:00:00Z"}'
    try:
        event = event_from_json("dialogue.ended.v1", DIALOGUE, 3, told)
    finally:
        event_json._readable.cache_clear()
    assert event == Dialogue.Closed(DIALOGUE, 3, NOON, "unknown")


KEYS = st.text(max_size=4) | st.sampled_from(["$base64", "$$base64", "$$$base64", "base64", "$"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
ANY = st.recursive(LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(KEYS, some, max_size=2))


@given(ANY)
def test_every_payload_comes_back_as_the_same_bytes(payload: object) -> None:
    event = said(payload)
    assert MAPPER.plain_state(there_and_back(event)) == MAPPER.plain_state(event)


@given(ANY, ANY)
def test_two_payloads_are_told_as_one_only_if_they_are_one(one: object, other: object) -> None:
    told = [msgspec.json.encode(event_to_json(said(payload))) for payload in (one, other)]
    states = [MAPPER.plain_state(said(payload)) for payload in (one, other)]
    assert (told[0] == told[1]) == (states[0] == states[1])


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_bytes_are_known_however_their_sign_is_written(payload: object) -> None:
    told = msgspec.json.encode(event_to_json(said(payload))).replace(b'"$', b'"\\u0024')
    event = event_from_json("dialogue.conveyed.v1", DIALOGUE, 2, told)
    assert MAPPER.plain_state(event) == MAPPER.plain_state(said(payload))


async def test_encryption_is_the_stores_own_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "log"
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("sealed", "open", "sealed again")]
    key = AESCipher.create_key(16)
    told: list[tuple[int, list[str], object]] = []
    for number, url in enumerate(urls):
        with monkeypatch.context() as patched:
            if "sealed" in url:
                patched.setenv("CIPHER_KEY", key)
                patched.setenv("CIPHER_TOPIC", "eventsourcing.cipher:AESCipher")
                patched.setenv("COMPRESSOR_TOPIC", "eventsourcing.compressor:ZlibCompressor")
            async with CorpusCallosum.open(settings=plain_settings(url)) as callosum:
                if number == 0:
                    await live_history(callosum)
                else:
                    assert (await callosum.import_log(file)).events == told[0][0]
                    assert (await callosum.import_log(file)).present == told[0][0]
                of_log = await lines(callosum)
                told.append((len(of_log), of_log, await digests(callosum)))
                file.write_text("\n".join(of_log))
    assert told[0] == told[1] == told[2]
