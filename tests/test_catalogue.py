"""docs/events.md tells what the code stores."""

from datetime import datetime
from typing import ClassVar

import msgspec
from eventsourcing.persistence import JSONTranscoder

from application.codec import EventMapper, events_of, stored_fields
from application.upcasts import Upcast
from domain.dialogue import Dialogue
from domain.gate_settings import SETTINGS
from domain.message import Message
from interface.catalogue import catalogue
from interface.gate_document import with_generated_parts
from tests.processes import ROOT, python


class ClosedV0(msgspec.Struct, array_like=True):
    timestamp: datetime


class MapperWithAPast(EventMapper):
    upcasts: ClassVar[tuple[Upcast, ...]] = (
        Upcast(
            "dialogue.ended.v1", ClosedV0, Dialogue.Closed, lambda old: {"timestamp": old.timestamp, "reason": ""}
        ),
    )


def rows(heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    section = catalogue().split(f"# {heading}\n")[1].split("\n#")[0]
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]


def test_the_document_is_what_the_code_generates() -> None:
    printed = python("-m", "interface.catalogue")
    assert printed.returncode == 0, printed.stderr
    assert (ROOT / "docs" / "events.md").read_text() == printed.stdout, "make docs writes it anew"


def test_the_parts_of_the_gates_document_are_what_the_code_generates() -> None:
    document = (ROOT / "docs" / "gates.md").read_text()
    assert with_generated_parts(document) == document, "make docs writes them anew"
    assert all(f"| `{setting}` |" in document for setting in SETTINGS)


def test_every_topic_that_can_be_read_is_in_it() -> None:
    text = catalogue(MapperWithAPast)
    topics = MapperWithAPast(JSONTranscoder())._read
    assert len(topics) == 19
    assert all(f"`{topic}`" in text for topic in topics)
    assert "dialogue.ended.v1" not in catalogue()


def test_the_fields_are_those_of_the_stored_state_in_its_order() -> None:
    for event_class in events_of(Dialogue):
        assert rows(event_class.__name__) == [field.name for field in stored_fields(event_class)]
    assert tuple(rows("Message")) == Message.__struct_fields__


def test_an_event_says_when_it_happens_and_a_field_of_a_message_what_it_means() -> None:
    text = catalogue()
    assert "`dialogue.conveyed.v1`. 1 to 1000 messages were accepted" in text
    assert (
        "| `priority` | 1 LOW, 2 NORMAL, 3 HIGH, 4 URGENT, 5 CRITICAL | 2 NORMAL | NORMAL unless said. |" in text
    )
    assert "| `causation_id` | text of 1 to 500 characters, or null | `null` | free text up to 500" in text
    assert "```text\n(nothing) --open--> open" in text
