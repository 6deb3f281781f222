"""The append, as the script takes it and answers it."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import DataError, IntegrityError, StoredEvent, Tracking

from application.inbox import Arrival, Offer, Settlement
from application.passage import GateChange
from application.recorder import AppendRefusedError, KeyedMessage, LogLostError, stored_digest
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.connection import Script, Word
from infrastructure.redis_streams.datastore import Keys, stored_id

__all__ = ["HIGHEST_VERSION", "Append", "not_beyond", "numbered"]

HIGHEST_VERSION: Final = 64 * 1024 * 1024 - 1
"""An index is a string of 8 bytes a version, and the server's strings end at 512 MB."""


class Append:
    """What is to be appended together: events, what hangs on them, settlements, gates, tracking, offers."""

    SCRIPT: Final = Script("inbox", "taking", "append")

    def __init__(
        self,
        stored_events: Sequence[StoredEvent],
        keyed: Sequence[KeyedMessage],
        arrivals: Sequence[Arrival],
        settlements: Sequence[Settlement],
        tracking: Tracking | None,
        *,
        offers: Sequence[Offer],
        gates: Sequence[GateChange],
        times: Sequence[int],
        originator_id: Callable[[str], UUID | str],
    ) -> None:
        self._events = stored_events
        self._keyed = keyed
        self._arrivals = arrivals
        self._settlements = settlements
        self._tracking = tracking
        self._offers = offers
        self._gates = gates
        self._times = times
        self._originator_id = originator_id
        self._numbers = numbered([*(s.originator_id for s in stored_events), *(k.originator_id for k in keyed)])

    def keys(self, names: Keys) -> list[Word]:
        return [
            names.log,
            names.head,
            names.meta,
            names.tracking,
            *(names.of("stream", originator_id) for originator_id in self._numbers),
            *(names.of("idempotency", originator_id) for originator_id in self._numbers),
        ]

    def words(self) -> list[Word]:
        """The script's arguments after the retry mark.

        Raises:
            DataError: a version is beyond what an index can hold, or a time is missing.
        """
        t = self._tracking
        application, tracked = (t.application_name, t.notification_id) if t else ("", 0)
        words: list[Word] = [len(self._numbers), len(self._events), len(self._keyed), application, tracked]
        no_calls = [number for number, end in enumerate(self._settlements, 1) if not end.is_call]
        words += (len(self._arrivals), len(self._settlements), len(self._offers), len(self._gates), len(no_calls))
        words.append(int(bool(self._times)))
        if self._times and len(self._times) != len(self._events):
            raise DataError(f"There are {len(self._times)} times for {len(self._events)} events.")
        for s in self._events:
            if not 0 <= s.originator_version <= HIGHEST_VERSION:
                raise DataError(f"Version {s.originator_version} is not within 0 and {HIGHEST_VERSION}.")
            number, originator_id = self._numbers[s.originator_id], stored_id(s.originator_id)
            words += (number, originator_id, s.originator_version, s.topic, stored_digest(s).hex(), s.state)
        for k in self._keyed:
            words += (self._numbers[k.originator_id], k.event + 1, k.key, k.sequence, k.digest)
        for a in self._arrivals:
            words += (
                a.event + 1,
                a.first,
                a.count,
                str(a.tract),
                int(a.priority),
                a.recipient or "",
                int(a.exempt),
            )
        for e in self._settlements:
            words += (str(e.tract), e.lease, e.slot, e.attempt, str(e.then), e.delay, e.line)
        for offer in self._offers:
            words += wire.asked(offer.take)
        for g in self._gates:
            words += (str(g.tract), str(g.passage), g.generation, g.permits)
            words += ("" if g.retry_at is None else g.retry_at, "" if g.capacity is None else g.capacity)
        return [*words, *no_calls, *self._times]

    def outcome(self, reply: Sequence[Any], seen: int) -> tuple[int, bytes, set[str]]:
        """The first event's position, the last one's chain, and the tracts whose bell rings.

        Or the error that says why nothing was appended.
        """
        word, *values = reply
        if word == b"OK":
            first, chain, *more = values
            if not more:
                return *wire.tip((first, chain)), self._tracts
            bells, taken = more
            for offer, told in zip(self._offers, taken, strict=True):
                offer.taken = None if told is None else wire.taken(told, self._originator_id)
            return *wire.tip((first, chain)), {wire.text(tract) for tract in bells}
        if word == b"TRACKED" and self._tracking is not None:
            raise not_beyond(self._tracking, wire.integer(values[0]))
        if word == b"REFUSED":
            raise self._refused(*values)
        raise LogLostError(seen, wire.integer(values[0]))

    @property
    def _tracts(self) -> set[str]:
        return {of.tract for part in (self._arrivals, self._settlements, self._gates) for of in part}

    def _refused(
        self,
        conflicts: Sequence[int],
        duplicates: Sequence[Any],
        full: Sequence[Any],
        lost: Sequence[int],
        shut: Sequence[Any],
    ) -> AppendRefusedError:
        taken = dict.fromkeys(self._events[number - 1].originator_id for number in conflicts)
        seen = zip((self._keyed[number - 1] for number in duplicates[::2]), duplicates[1::2], strict=True)
        return AppendRefusedError(
            list(taken),
            [wire.duplicate(k.originator_id, k.key, held) for k, held in seen],
            wire.levels(full),
            [self._settlements[number - 1] for number in lost],
            wire.levels(shut),
        )


def not_beyond(tracking: Tracking, reached: int) -> IntegrityError:
    return IntegrityError(
        f"Position {tracking.notification_id} of {tracking.application_name!r} is not beyond {reached}."
    )


def numbered(originator_ids: Sequence[UUID | str]) -> dict[UUID | str, int]:
    """Each of these once, with a number from 1 on."""
    return {originator_id: number for number, originator_id in enumerate(dict.fromkeys(originator_ids), 1)}
