"""The event-sourced application: dialogues in one log, by id to tell them and by position to read them."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar, cast
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application, Repository, project_aggregate
from eventsourcing.persistence import Recording

from application.codec import EventMapper
from application.entries import Entry
from application.errors import LogError
from application.inbox import Arrival, Offer, Settlement
from application.passage import GateChange
from application.recorder import (
    FIRST_CHAIN,
    KeyedMessage,
    LogLostError,
    LogRecorder,
    next_chain,
    stored_digest,
)
from domain.consumer import Consumer
from domain.dialogue import Dialogue
from domain.errors import ConsumerNotFoundError, DialogueNotFoundError
from domain.gate import Gate, gate_id
from domain.gate_settings import GateSettings
from domain.tract import Tract
from projections.fold import Recorded, Unread

__all__ = ["DialogueLog"]

_Aggregate = TypeVar("_Aggregate", Dialogue, Consumer, Gate)


class DialogueLog(Application[UUID]):
    """The library's application over a `LogRecorder`. Every call blocks; the service calls it from threads.

    Cached dialogues are never told anything: a command works on a copy, which takes the cached one's place
    when its events are stored. So a refused append leaves the cache right, and after another process's append
    it needs only that one's events (`catch_up`), not the whole dialogue again.
    """

    name = "callosum"
    env: ClassVar[dict[str, str]] = {"AGGREGATE_CACHE_MAXSIZE": "10000"}
    recorder: LogRecorder
    mapper: EventMapper
    delivers = True
    """Whether what is said in live dialogues goes to the inbox."""

    def construct_mapper(self) -> EventMapper:
        return cast("EventMapper", self.factory.mapper(mapper_class=EventMapper))

    def construct_recorder(self) -> LogRecorder:
        recorder = super().construct_recorder()
        if not isinstance(recorder, LogRecorder):
            raise TypeError(f"{type(recorder).__module__} is no persistence module of this project.")
        return recorder

    def construct_repository(self) -> Repository[UUID]:
        # Not from the environment: the class relies on these, whatever else is set there.
        size = int(self.env.get("AGGREGATE_CACHE_MAXSIZE") or 10000)
        repository = Repository(self.events, cache_maxsize=size, fastforward=False, deepcopy_from_cache=False)
        assert repository.cache is not None, "made with a size"
        self._cache = repository.cache
        self._names: dict[UUID, str] = {}
        return repository

    def dialogue(self, dialogue: UUID) -> Dialogue:
        """A copy to tell commands to, as of the last event of it that this process knows."""
        return _working_copy(self._cached(dialogue))

    def consumer(self, consumer: UUID) -> Consumer:
        """The same of a consumer."""
        try:
            return _working_copy(cast("Consumer", self.repository.get(consumer)))
        except AggregateNotFoundError:  # lost with the end of a log, as its joining was
            raise ConsumerNotFoundError(consumer) from None

    def gate(self, tract: Tract) -> Gate | None:
        """The same of a gate; None: nothing was ever decided about it."""
        try:
            return _working_copy(cast("Gate", self.repository.get(gate_id(tract))))
        except AggregateNotFoundError:
            return None

    def configured(self, tract: Tract, after: int) -> tuple[int, GateSettings | None]:
        """The version of the tract's gate now, and the settings that came after that one; None: none did."""
        version, settings = after, None
        for event in self.events.get(gate_id(tract), gt=after):
            version = event.originator_version
            settings = event.settings if isinstance(event, Gate.Configured) else settings
        return version, settings

    def consumer_name(self, consumer: UUID) -> str:
        """As it joined; of events by thousands, only the first is read."""
        name = self._names.get(consumer)
        if name is None:
            joined = self.recorded(self.recorder.select_stream(consumer, limit=1)[0]).event
            assert isinstance(joined, Consumer.Joined), "its first event"
            name = self._names[consumer] = joined.name
        return name

    def append(
        self,
        *aggregates: Dialogue | Consumer | Gate,
        keyed: Sequence[KeyedMessage] = (),
        arrivals: Sequence[Arrival] = (),
        settlements: Sequence[Settlement] = (),
        offers: Sequence[Offer] = (),
        gates: Sequence[GateChange] = (),
    ) -> list[Recording[UUID]]:
        """Store the pending events of all of these together, and keep the aggregates in the cache.

        What `Application.save` does, without asking every object by two Protocols whether it is an event or an
        aggregate: on Python 3.11 that is a fifth of what an append of many dialogues takes.
        """
        events = [event for aggregate in aggregates for event in aggregate.collect_events()]
        recordings = self.events.put(
            events, keyed=keyed, arrivals=arrivals, settlements=settlements, offers=offers, gates=gates
        )
        for aggregate in aggregates:
            self._cache.put(aggregate.id, aggregate)
        return recordings

    def exists(self, dialogue: UUID) -> bool:
        return bool(self.recorder.select_stream(dialogue, limit=1))

    def catch_up(self, aggregate: UUID) -> bool:
        """Learn what another process appended to a dialogue or consumer; whether there was anything to learn."""
        try:
            cached = cast("Dialogue | Consumer | Gate", self._cache.get(aggregate))
        except KeyError:
            return False
        before = cached.version
        project_aggregate(cached, self.events.get(aggregate, gt=before))
        return cached.version > before

    def _cached(self, dialogue: UUID) -> Dialogue:
        try:
            return self.repository.get(dialogue)
        except AggregateNotFoundError:
            raise DialogueNotFoundError(dialogue) from None

    @property
    def epoch(self) -> str:
        return self.recorder.epoch

    def head(self) -> int:
        """The last position; 0 when the log is empty."""
        return self.recorder.max_notification_id() or 0

    def chain_at(self, position: int) -> bytes | None:
        if position == 0:
            return FIRST_CHAIN
        entries = self.recorder.select_entries(after=position - 1, limit=1, stop=position)
        return entries[0].chain if entries else None

    def tip(self) -> tuple[int, bytes]:
        """The last position and its chain."""
        return self.recorder.tip()

    def accept_loss(self) -> None:
        """After a `LogLostError`: forget what may never have been, and go on from what there is."""
        for dialogue in list(self._cache.cache):
            self._cache.get(dialogue, evict=True)
        self.recorder.accept_loss()

    def page(
        self, *, after: int, limit: int, stop: int | None = None, chain: bytes | None = None
    ) -> list[Recorded | Unread]:
        """Events at positions after + 1 to `stop` (inclusive), in order: `limit` of them, or as many as there are.

        With the chain of the entry at `after`, that entry must still be there.

        Raises:
            LogLostError: it is gone, or another one stands there.
        """
        entries = self.recorder.select_entries(after=after, limit=limit, stop=stop)
        if chain is not None and not self._continues(after, chain, entries):
            raise LogLostError(after, self.head())
        return [self._recorded_or_not(entry) for entry in entries]

    def read(
        self, *, after: int, limit: int, stop: int | None = None, chain: bytes | None = None
    ) -> Sequence[Recorded]:
        """The same, of events that can be read.

        Raises:
            LogLostError: see `page`.
            UnknownTopicError, UnreadableEventError: the first event cannot be read. If others before it can, those
                are returned, and the next call raises.
        """
        events: list[Recorded] = []
        for event in self.page(after=after, limit=limit, stop=stop, chain=chain):
            if isinstance(event, Unread):
                if events:
                    return events
                raise event.error
            events.append(event)
        return events

    def _recorded_or_not(self, entry: Entry) -> Recorded | Unread:
        try:
            return self.recorded(entry)
        except LogError as error:
            return Unread(entry.id, entry.at, entry.chain, entry.topic, _aggregate(entry), error)

    def _continues(self, after: int, chain: bytes, entries: Sequence[Entry]) -> bool:
        """Whether what was read follows on that entry. The first link tells; if it does not, the entry itself."""
        if entries:
            first = entries[0]
            linked = first.chain == next_chain(chain, stored_digest(first), first.at)
        else:
            linked = self.tip() == (after, chain)
        return linked or self.chain_at(after) == chain

    def stream(self, dialogue: UUID, *, after: int, limit: int) -> Sequence[Recorded]:
        """A dialogue's events of versions after + 1 and on, at most `limit`, in order."""
        return [self.recorded(entry) for entry in self.recorder.select_stream(dialogue, after=after, limit=limit)]

    def wait_beyond(self, position: int, timeout: float) -> bool:
        return self.recorder.wait_beyond(position, timeout)

    def recorded(self, entry: Entry) -> Recorded:
        event = cast("Dialogue.Event | Consumer.Event | Gate.Event", self.mapper.to_domain_event(entry))
        dialogue = event.originator_id if isinstance(event, Dialogue.Event) else None
        return Recorded(entry.id, entry.at, entry.chain, entry.topic, dialogue, event)


def _aggregate(entry: Entry) -> UUID | None:
    return entry.originator_id if isinstance(entry.originator_id, UUID) else None


def _working_copy(aggregate: _Aggregate) -> _Aggregate:
    """`copy.copy` takes four times as long, and every command needs one."""
    working = object.__new__(type(aggregate))
    working.__dict__.update(aggregate.__dict__)
    working._pending_events = []  # the copy must not share the list
    return working
