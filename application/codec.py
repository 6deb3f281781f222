"""Events to stored bytes and back.

The state of a stored event is a MessagePack array of the event's own fields in order, typed on the way back.
What the store knows already (id, version, topic) is left out, and so is the name of the aggregate's class, which
the library would otherwise store and import: nothing in a state can make this program load anything. Only
registered topics are read. Compression and encryption are the library's (COMPRESSOR_TOPIC, CIPHER_KEY).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate, DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from application.errors import UnknownTopicError, UnreadableEventError
from application.upcasts import UPCASTS, Upcast
from domain.consumer import Consumer
from domain.dialogue import Dialogue
from domain.gate import Gate

__all__ = ["EventMapper", "events_of", "stored_fields"]

_KNOWN_ELSEWHERE = {"originator_id", "originator_version", "originator_topic"}


def events_of(aggregate: type[BaseAggregate[UUID]]) -> list[Any]:
    """The concrete event classes of an aggregate, in the order of its file."""
    nested = [value for value in vars(aggregate).values() if isinstance(value, type)]
    return [value for value in nested if issubclass(value, CanMutateAggregate) and hasattr(value, "TOPIC")]


def stored_fields(event_class: Any) -> list[msgspec.structs.FieldInfo]:
    """The fields that the stored state holds, in its order."""
    return [field for field in msgspec.structs.fields(event_class) if field.name not in _KNOWN_ELSEWHERE]


def _default(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.required:
        return ()
    if field.default_factory is not msgspec.NODEFAULT:
        return (msgspec.field(default_factory=field.default_factory),)
    return (field.default,)


class _StoredForm:
    """How the events of one topic are written and read."""

    def __init__(self, aggregate_topic: str, event_class: Any) -> None:
        fields = stored_fields(event_class)
        self.names = [field.name for field in fields]
        self.state = msgspec.defstruct(
            event_class.__name__,
            [(f.name, f.type, *_default(f)) for f in fields],
            array_like=True,
        )
        self.decoder = msgspec.msgpack.Decoder(self.state)
        self.event_class = event_class
        self.derived = {"originator_topic": aggregate_topic} if issubclass(event_class, CanInitAggregate) else {}

    def fields(self, state: bytes) -> dict[str, Any]:
        decoded = self.decoder.decode(state)
        return {name: getattr(decoded, name) for name in self.names}


@cache
def _stored_forms(*aggregates: type[BaseAggregate[UUID]]) -> Mapping[str, _StoredForm]:
    """By topic. Made once: it takes milliseconds, and every log that is opened needs them."""
    return {
        event_class.TOPIC: _StoredForm(aggregate.TOPIC, event_class)  # type: ignore[attr-defined]  # all have one
        for aggregate in aggregates
        for event_class in events_of(aggregate)
    }


class _OldForm:
    """How the events of an old topic are read."""

    def __init__(self, upcast: Upcast, newest: _StoredForm) -> None:
        self.decoder = msgspec.msgpack.Decoder(upcast.state)
        self.convert = upcast.convert
        self.event_class = newest.event_class
        self.derived = newest.derived

    def fields(self, state: bytes) -> dict[str, Any]:
        return self.convert(self.decoder.decode(state))


class EventMapper(Mapper[UUID]):
    """The library's mapper, with typed decoders for the aggregates and upcasts named here and nothing else."""

    aggregates: ClassVar[Sequence[type[BaseAggregate[UUID]]]] = (Dialogue, Consumer, Gate)
    upcasts: ClassVar[Sequence[Upcast]] = UPCASTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._encoder = msgspec.msgpack.Encoder()
        self._written = _stored_forms(*self.aggregates)
        self._read: dict[str, _StoredForm | _OldForm] = dict(self._written)
        for upcast in self.upcasts:
            newest = self._written[upcast.event_class.TOPIC]  # type: ignore[attr-defined]  # likewise
            self._read[upcast.topic] = _OldForm(upcast, newest)

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        topic: str = domain_event.TOPIC  # type: ignore[attr-defined]  # ours have one
        state = self.plain_state(domain_event)
        if self.compressor:
            state = self.compressor.compress(state)
        if self.cipher:
            state = self.cipher.encrypt(state)
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, topic, state)

    def plain_state(self, domain_event: DomainEventProtocol[UUID]) -> bytes:
        """The state before it is compressed and encrypted: the same bytes for the same event."""
        form = self._written[domain_event.TOPIC]  # type: ignore[attr-defined]  # likewise
        return self._encoder.encode(form.state(*[getattr(domain_event, name) for name in form.names]))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Decode one event.

        Raises:
            UnknownTopicError: the topic is not registered here.
            UnreadableEventError: the state does not decrypt, decompress or decode.
        """
        form = self._read.get(stored_event.topic)
        if form is None:
            raise UnknownTopicError(stored_event)
        if not isinstance(stored_event.originator_id, UUID):
            raise UnreadableEventError(stored_event, "its id is no UUID")
        try:
            fields = form.fields(self._plain(stored_event.state))
        except Exception as error:  # compressors, ciphers and upcasts raise what they like; all mean the same here
            raise UnreadableEventError(stored_event, f"{error}{self._hint()}") from error
        return form.event_class(
            originator_id=stored_event.originator_id,
            originator_version=stored_event.originator_version,
            **form.derived,
            **fields,
        )

    def _hint(self) -> str:
        if not (self.cipher or self.compressor):
            return ""
        return " (are CIPHER_KEY and COMPRESSOR_TOPIC what they were when it was written?)"

    def _plain(self, state: bytes) -> bytes:
        if self.cipher:
            state = self.cipher.decrypt(state)
        return self.compressor.decompress(state) if self.compressor else state
