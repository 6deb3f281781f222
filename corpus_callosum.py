"""The public names of Corpus Callosum in one place."""

from eventsourcing.persistence import PersistenceError

from application.admission import Fail, ShedLowest, Wait
from application.callosum import CorpusCallosum
from application.dead_letters import DeadLetter, DeadLetters
from application.delivery import Delivery, DeliverySettings
from application.errors import (
    CallosumClosedError,
    ExtraMissingError,
    InvalidURLError,
    LogError,
    NotReachedError,
    StoreSettingsError,
    UnknownTopicError,
    UnreadableEventError,
)
from application.explanation import Explanation, Happening, State, Step
from application.exporting import Format
from application.gates import Gates
from application.importing import ImportReport
from application.inbox import ReplacedError
from application.overview import InFlightCount, PendingCount, TractInbox
from application.passage import Passage
from application.projections import Projections
from application.reading import RecordedMessage
from application.recorder import LogLostError, OutcomeUnknownError
from application.relations import (
    Aspect,
    Detectable,
    Exactness,
    Example,
    Interval,
    OutcomeGroup,
    Relation,
    Share,
    Spread,
    Study,
    StudyVerdict,
    Untested,
)
from application.restoring import RestoredGate, RestoreReport
from application.round import Receipt
from application.settings import Settings
from application.steps import Replayed
from application.subscription import Subscription
from application.verification import Problem, Verification
from domain.circuit import CircuitState, Reason, Transition
from domain.circuit_settings import CircuitSettings, WindowType
from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue, Kind
from domain.errors import (
    BackpressureError,
    BatchTooLargeError,
    CallNotPermittedError,
    CallosumError,
    ConsumerLeftError,
    DeadLetterGoneError,
    DialogueClosedError,
    DialogueExistsError,
    DialogueNotFoundError,
    DialogueRecordedError,
    EmptyBatchError,
    IdempotencyConflictError,
    InvalidCommandError,
    InvalidMessageError,
    InvalidPayloadError,
    LeaseLostError,
    MessageNotFoundError,
    ReplyTimeoutError,
    ReplyToUnknownMessageError,
)
from domain.gate import Gate
from domain.gate_settings import GateSettings
from domain.message import Message
from domain.tract import Direction, Priority, Tract
from projections.answers import (
    CircuitTransition,
    ConsciousnessMetrics,
    DeliveryMetrics,
    DialogueList,
    DialogueSummary,
    Durations,
    FindingList,
    FindingSummary,
    GateMetrics,
    Group,
    Grouping,
    Minute,
    MinuteList,
    RefusalMinute,
    TractDeliveries,
    TractGateMetrics,
)
from projections.backtest import Backtest, BacktestedTract, Course, Decided
from projections.errors import (
    NoEarlierGenerationError,
    ProjectionError,
    ProjectionFailedError,
    ProjectionPausedError,
    ProjectionStoppedError,
    ReadModelsBehindError,
    ReadModelTakenError,
    RebuildFailedError,
    RebuildUnderWayError,
    UnknownProjectionError,
    ViewsFileError,
)
from projections.fold import Recorded
from projections.folding import OnError
from projections.model import Difference, Parked
from projections.models import Generation
from projections.queries import DialogueSort
from projections.rebuild import Progress, Rebuilt, Verdict
from projections.states import Status
from projections.status import ProjectionState, ProjectionStatus
from projections.steps import Measured, SteppedFinding

__all__ = [
    "Aspect",
    "BackpressureError",
    "Backtest",
    "BacktestedTract",
    "BatchTooLargeError",
    "CallNotPermittedError",
    "CallosumClosedError",
    "CallosumError",
    "CircuitSettings",
    "CircuitState",
    "CircuitTransition",
    "ConsciousnessMetrics",
    "Consumer",
    "ConsumerLeftError",
    "CorpusCallosum",
    "Course",
    "DeadLetter",
    "DeadLetterGoneError",
    "DeadLetters",
    "Decided",
    "Delivery",
    "DeliveryMetrics",
    "DeliverySettings",
    "Detectable",
    "Dialogue",
    "DialogueClosedError",
    "DialogueExistsError",
    "DialogueList",
    "DialogueNotFoundError",
    "DialogueRecordedError",
    "DialogueSort",
    "DialogueSummary",
    "Difference",
    "Direction",
    "Durations",
    "EmptyBatchError",
    "Exactness",
    "Example",
    "Explanation",
    "ExtraMissingError",
    "Fail",
    "FindingList",
    "FindingSummary",
    "Format",
    "Gate",
    "GateMetrics",
    "GateSettings",
    "Gates",
    "Generation",
    "Group",
    "Grouping",
    "Happening",
    "IdempotencyConflictError",
    "ImportReport",
    "InFlightCount",
    "Interval",
    "InvalidCommandError",
    "InvalidMessageError",
    "InvalidPayloadError",
    "InvalidURLError",
    "Kind",
    "LeaseLostError",
    "LogError",
    "LogLostError",
    "Measured",
    "Message",
    "MessageNotFoundError",
    "Minute",
    "MinuteList",
    "NoEarlierGenerationError",
    "NotReachedError",
    "OnError",
    "Outcome",
    "OutcomeGroup",
    "OutcomeUnknownError",
    "Parked",
    "Passage",
    "PendingCount",
    "PersistenceError",
    "Priority",
    "Problem",
    "Progress",
    "ProjectionError",
    "ProjectionFailedError",
    "ProjectionPausedError",
    "ProjectionState",
    "ProjectionStatus",
    "ProjectionStoppedError",
    "Projections",
    "ReadModelTakenError",
    "ReadModelsBehindError",
    "Reason",
    "RebuildFailedError",
    "RebuildUnderWayError",
    "Rebuilt",
    "Receipt",
    "Recorded",
    "RecordedMessage",
    "RefusalMinute",
    "Relation",
    "ReplacedError",
    "Replayed",
    "ReplyTimeoutError",
    "ReplyToUnknownMessageError",
    "RestoreReport",
    "RestoredGate",
    "Result",
    "Settings",
    "Share",
    "ShedLowest",
    "Spread",
    "State",
    "Status",
    "Step",
    "SteppedFinding",
    "StoreSettingsError",
    "Study",
    "StudyVerdict",
    "Subscription",
    "Tract",
    "TractDeliveries",
    "TractGateMetrics",
    "TractInbox",
    "Transition",
    "UnknownProjectionError",
    "UnknownTopicError",
    "UnreadableEventError",
    "Untested",
    "Verdict",
    "Verification",
    "ViewsFileError",
    "Wait",
    "WindowType",
]
