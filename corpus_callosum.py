"""The public names of Corpus Callosum in one place."""

from application.callosum import CorpusCallosum
from application.commands import Receipt
from application.errors import (
    CallosumClosedError,
    InvalidURLError,
    LogError,
    ProjectionStoppedError,
    UnknownTopicError,
    UnreadableEventError,
)
from application.importing import ImportReport
from application.reading import RecordedMessage
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
from projections.fold import Recorded

__all__ = [
    "BatchTooLargeError",
    "CallosumClosedError",
    "CallosumError",
    "CorpusCallosum",
    "Dialogue",
    "DialogueClosedError",
    "DialogueExistsError",
    "DialogueNotFoundError",
    "DialogueRecordedError",
    "Direction",
    "EmptyBatchError",
    "IdempotencyConflictError",
    "ImportReport",
    "InvalidCommandError",
    "InvalidMessageError",
    "InvalidPayloadError",
    "InvalidURLError",
    "Kind",
    "LogError",
    "Message",
    "Priority",
    "Problem",
    "ProjectionStoppedError",
    "Receipt",
    "Recorded",
    "RecordedMessage",
    "ReplyToUnknownMessageError",
    "Settings",
    "Tract",
    "UnknownTopicError",
    "UnreadableEventError",
    "Verification",
]
