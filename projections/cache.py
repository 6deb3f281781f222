"""The states that the consciousness projection works on, in memory, as of one checkpoint."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from domain.dialogue import Kind
from domain.measures import EmergenceSettings
from projections.consciousness_tables import activities, message_times, scopes
from projections.model import Stored
from projections.states import (
    DialogueState,
    Measures,
    MessageTimes,
    decode_dialogue,
    decode_measures,
    decode_times,
)

__all__ = ["StateCache"]

_CACHED_CHUNKS: Final = 256


class StateCache:
    """The scopes of the kinds, and the dialogues touched last.

    States are changed in place while a batch is folded; `forget` when its rows were not written.
    """

    def __init__(self, settings: EmergenceSettings, capacity: int) -> None:
        self._settings = settings
        self._capacity = capacity
        self._kinds: dict[Kind, Measures] = {}
        self._dialogues: OrderedDict[UUID, tuple[DialogueState, Measures]] = OrderedDict()
        self._chunks: OrderedDict[tuple[UUID, int], MessageTimes] = OrderedDict()

    def load(self, ids: Iterable[UUID], stored: Stored) -> None:
        """Make the scopes of the kinds, and of these dialogues as far as they are stored, available.

        Raises:
            CheckpointMovedError: what is stored is of a later checkpoint.
        """
        self._trim()
        missing = [str(dialogue) for dialogue in ids if dialogue not in self._dialogues]
        if not self._kinds:
            known = {row["scope"]: decode_measures(row["state"]) for row in stored.rows(scopes, scope=list(Kind))}
            self._kinds = {kind: known.get(kind) or Measures.empty(self._settings) for kind in Kind}
        if missing:
            measures = {row["scope"]: row["state"] for row in stored.rows(scopes, scope=missing)}
            for row in stored.rows(activities, dialogue=missing):
                state, of_scope = decode_dialogue(row["state"]), decode_measures(measures[row["dialogue"]])
                self._dialogues[UUID(row["dialogue"])] = state, of_scope

    def kind(self, kind: Kind) -> Measures:
        return self._kinds[kind]

    def dialogue(self, dialogue: UUID) -> tuple[DialogueState, Measures]:
        """Raises KeyError for one that was neither stored nor opened since."""
        self._dialogues.move_to_end(dialogue)
        return self._dialogues[dialogue]

    def open(self, dialogue: UUID, state: DialogueState) -> None:
        self._dialogues[dialogue] = state, Measures.empty(self._settings)

    def chunk(self, dialogue: UUID, chunk: int, stored: Stored) -> MessageTimes:
        """A full chunk of a dialogue's times.

        Raises:
            CheckpointMovedError: what is stored is of a later checkpoint.
        """
        times = self._chunks.get((dialogue, chunk))
        if times is None:
            [row] = stored.rows(message_times, dialogue=[str(dialogue)], chunk=[chunk])
            times = self._chunks[dialogue, chunk] = decode_times(row["times"])
        return times

    def fill(self, dialogue: UUID, chunk: int, times: MessageTimes) -> None:
        self._chunks[dialogue, chunk] = times

    def _trim(self) -> None:
        while len(self._dialogues) > self._capacity:
            self._dialogues.popitem(last=False)
        while len(self._chunks) > _CACHED_CHUNKS:
            self._chunks.popitem(last=False)

    def forget(self) -> None:
        self._kinds.clear()
        self._dialogues.clear()
        self._chunks.clear()
