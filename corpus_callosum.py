"""The public names of Corpus Callosum in one place."""

from eventsourcing.persistence import PersistenceError

from application.callosum import CorpusCallosum
from application.commands import Receipt
from application.errors import (
    CallosumClosedError,
    InvalidURLError,
    LogError,
    StoreSettingsError,
    UnknownTopicError,
    UnreadableEventError,
)
from application.importing import ImportReport
from application.reading import RecordedMessage
from application.recorder import LogLostError, OutcomeUnknownError
from application.settings import Settings
from application.verification import Problem, Verification
from domain.dialogue import Dialogue, Kind
from domain.errors import (
    BatchTooLargeError,
    CallosumError,
    DialogueClosedError,
    DialogueExistsError,
    DialogueNotFoundError,
    DialogueRecordedError,
    EmptyBatchError,
    IdempotencyConflictError,
    InvalidCommandError,
    InvalidMessageError,
    InvalidPayloadError,
    ReplyToUnknownMessageError,
)
from domain.message import Message
from domain.tract import Direction, Priority, Tract
from projections.answers import (
    ConsciousnessMetrics,
    DialogueList,
    DialogueSummary,
    FindingList,
    FindingSummary,
    Group,
    Grouping,
)
from projections.errors import (
    ProjectionError,
    ProjectionFailedError,
    ProjectionStoppedError,
    ReadModelsBehindError,
    ReadModelTakenError,
    ViewsFileError,
)
from projections.fold import Recorded
from projections.queries import DialogueSort
from projections.states import Status

__all__ = [
    "BatchTooLargeError",
    "CallosumClosedError",
    "CallosumError",
    "ConsciousnessMetrics",
    "CorpusCallosum",
    "Dialogue",
    "DialogueClosedError",
    "DialogueExistsError",
    "DialogueList",
    "DialogueNotFoundError",
    "DialogueRecordedError",
    "DialogueSort",
    "DialogueSummary",
    "Direction",
    "EmptyBatchError",
    "FindingList",
    "FindingSummary",
    "Group",
    "Grouping",
    "IdempotencyConflictError",
    "ImportReport",
    "InvalidCommandError",
    "InvalidMessageError",
    "InvalidPayloadError",
    "InvalidURLError",
    "Kind",
    "LogError",
    "LogLostError",
    "Message",
    "OutcomeUnknownError",
    "PersistenceError",
    "Priority",
    "Problem",
    "ProjectionError",
    "ProjectionFailedError",
    "ProjectionStoppedError",
    "ReadModelTakenError",
    "ReadModelsBehindError",
    "Receipt",
    "Recorded",
    "RecordedMessage",
    "ReplyToUnknownMessageError",
    "Settings",
    "Status",
    "StoreSettingsError",
    "Tract",
    "UnknownTopicError",
    "UnreadableEventError",
    "Verification",
    "ViewsFileError",
]
