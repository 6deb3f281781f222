"""The states that a projection works on, in memory, as of one checkpoint."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, select

from domain.dialogue import Kind
from domain.measures import EmergenceSettings
from projections.states import (
    DialogueState,
    Measures,
    MessageTimes,
    decode_dialogue,
    decode_measures,
    decode_times,
)
from projections.tables import dialogues, message_times, scopes
from projections.views import Checkpoint, CheckpointMovedError, Views, read_checkpoint

__all__ = ["StateCache"]

_CACHED_CHUNKS: Final = 64
_AT_ONCE: Final = 500


class StateCache:
    """The scopes of the kinds, and the dialogues touched last.

    States are changed in place while a batch is folded; `trim` after its commit, `forget` when it failed.
    """

    def __init__(self, views: Views, projection: str, settings: EmergenceSettings, capacity: int) -> None:
        self._views = views
        self._projection = projection
        self._settings = settings
        self._capacity = capacity
        self._kinds: dict[Kind, Measures] = {}
        self._dialogues: OrderedDict[UUID, tuple[DialogueState, Measures]] = OrderedDict()
        self._chunks: OrderedDict[tuple[UUID, int], MessageTimes] = OrderedDict()

    def load(self, ids: Iterable[UUID], checkpoint: Checkpoint) -> None:
        """Make the scopes of the kinds, and of these dialogues as far as they are stored, available.

        Raises:
            CheckpointMovedError: what is stored is no longer as of that checkpoint.
        """
        missing = [str(dialogue) for dialogue in ids if dialogue not in self._dialogues]
        if self._kinds and not missing:
            return
        with self._views.reading() as connection:
            self._check(connection, checkpoint)
            if not self._kinds:
                self._load_kinds(connection)
            for start in range(0, len(missing), _AT_ONCE):
                self._load_dialogues(connection, missing[start : start + _AT_ONCE])

    def _load_kinds(self, connection: Connection) -> None:
        query = select(scopes.c.scope, scopes.c.state).where(scopes.c.scope.in_(list(Kind)))
        stored = {Kind(scope): decode_measures(state) for scope, state in connection.execute(query)}
        self._kinds = {kind: stored.get(kind) or Measures.empty(self._settings) for kind in Kind}

    def _load_dialogues(self, connection: Connection, ids: list[str]) -> None:
        query = (
            select(dialogues.c.dialogue, dialogues.c.state, scopes.c.state)
            .join(scopes, scopes.c.scope == dialogues.c.dialogue)
            .where(dialogues.c.dialogue.in_(ids))
        )
        for dialogue, state, measures in connection.execute(query):
            self._dialogues[UUID(dialogue)] = decode_dialogue(state), decode_measures(measures)

    def _check(self, connection: Connection, checkpoint: Checkpoint) -> None:
        if read_checkpoint(connection, self._projection) != checkpoint:
            raise CheckpointMovedError

    def kind(self, kind: Kind) -> Measures:
        return self._kinds[kind]

    def dialogue(self, dialogue: UUID) -> tuple[DialogueState, Measures]:
        """Raises KeyError for one that was neither stored nor opened since."""
        self._dialogues.move_to_end(dialogue)
        return self._dialogues[dialogue]

    def open(self, dialogue: UUID, state: DialogueState) -> None:
        self._dialogues[dialogue] = state, Measures.empty(self._settings)

    def chunk(self, dialogue: UUID, chunk: int, checkpoint: Checkpoint) -> MessageTimes:
        """A full chunk of a dialogue's times.

        Raises:
            CheckpointMovedError: what is stored is no longer as of that checkpoint.
        """
        times = self._chunks.get((dialogue, chunk))
        if times is None:
            table = message_times.c
            query = select(table.times).where(table.dialogue == str(dialogue), table.chunk == chunk)
            with self._views.reading() as connection:
                self._check(connection, checkpoint)
                times = decode_times(connection.execute(query).scalar_one())
            self._chunks[dialogue, chunk] = times
        return times

    def fill(self, dialogue: UUID, chunk: int, times: MessageTimes) -> None:
        self._chunks[dialogue, chunk] = times

    def trim(self) -> None:
        while len(self._dialogues) > self._capacity:
            self._dialogues.popitem(last=False)
        while len(self._chunks) > _CACHED_CHUNKS:
            self._chunks.popitem(last=False)

    def forget(self) -> None:
        self._kinds.clear()
        self._dialogues.clear()
        self._chunks.clear()
