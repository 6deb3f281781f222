"""What the domain refuses, and why.

::

    CallosumError
    ├── InvalidMessageError             a field of a message is outside its definition
    │   └── InvalidPayloadError         the payload is
    ├── InvalidCommandError             an argument of a command is outside its definition
    │   ├── EmptyBatchError             a command without messages
    │   └── BatchTooLargeError          more than 1000 messages or 8 MiB
    ├── DialogueNotFoundError
    ├── MessageNotFoundError            the dialogue has no message of that sequence
    ├── DialogueExistsError
    ├── DialogueClosedError
    ├── DialogueRecordedError           imported history takes no more messages
    ├── ReplyToUnknownMessageError      in_reply_to names no earlier message
    ├── ConsumerNotFoundError           its joining is not in the log
    ├── ConsumerLeftError               it has left, and settles nothing any more
    ├── LeaseLostError                  the message was handed to another consumer meanwhile
    ├── DeadLetterGoneError             it is a dead letter no more: redriven or discarded by another
    ├── ReplyTimeoutError               no answer came in time
    ├── BackpressureError               the target tract has no room; try again later
    ├── CallNotPermittedError           the target tract's circuit is open; try again later
    └── IdempotencyConflictError        the key was used for another message

Every error carries its values as attributes; nothing was recorded when one is raised.
"""

from collections.abc import Sequence
from uuid import UUID

from domain.times import log_time
from domain.tract import Tract

__all__ = [
    "BackpressureError",
    "BatchTooLargeError",
    "CallNotPermittedError",
    "CallosumError",
    "ConsumerLeftError",
    "ConsumerNotFoundError",
    "DeadLetterGoneError",
    "DialogueClosedError",
    "DialogueExistsError",
    "DialogueNotFoundError",
    "DialogueRecordedError",
    "EmptyBatchError",
    "IdempotencyConflictError",
    "InvalidCommandError",
    "InvalidMessageError",
    "InvalidPayloadError",
    "LeaseLostError",
    "MessageNotFoundError",
    "ReplyTimeoutError",
    "ReplyToUnknownMessageError",
]


class CallosumError(Exception):
    """The root of everything that Corpus Callosum itself raises."""


class InvalidMessageError(CallosumError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"A message's {field} {reason}.")
        self.field = field
        self.reason = reason


class InvalidPayloadError(InvalidMessageError):
    """The payload is outside its definition.

    Attributes:
        path: where in the payload, from the outside in, as in ``payload['files'][3]``.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path


class InvalidCommandError(CallosumError):
    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"The {argument} {reason}.")
        self.argument = argument
        self.reason = reason


class EmptyBatchError(InvalidCommandError):
    def __init__(self) -> None:
        super().__init__("batch", "holds no message")


class BatchTooLargeError(InvalidCommandError):
    """One command carries too much; nothing of it was recorded. Send it in parts.

    Attributes:
        messages: how many it carries; size: their encoded bytes.
    """

    def __init__(self, messages: int, size: int, *, most_messages: int, most_bytes: int) -> None:
        super().__init__(
            "batch",
            f"of {messages} messages and {size} bytes is beyond {most_messages} messages or {most_bytes} bytes",
        )
        self.messages = messages
        self.size = size


class _DialogueError(CallosumError):
    SAYS: str

    def __init__(self, dialogue: UUID) -> None:
        super().__init__(f"Dialogue {dialogue} {self.SAYS}.")
        self.dialogue = dialogue


class DialogueNotFoundError(_DialogueError):
    SAYS = "does not exist"


class MessageNotFoundError(CallosumError):
    def __init__(self, dialogue: UUID, sequence: int) -> None:
        super().__init__(f"Dialogue {dialogue} has no message {sequence}.")
        self.dialogue = dialogue
        self.sequence = sequence


class DialogueExistsError(_DialogueError):
    SAYS = "exists already"


class DialogueClosedError(_DialogueError):
    SAYS = "is closed"


class DialogueRecordedError(_DialogueError):
    SAYS = "is imported history and takes no commands"


class ReplyToUnknownMessageError(CallosumError):
    """A reply must name an earlier message of its dialogue: 1 to its own sequence less one."""

    def __init__(self, dialogue: UUID, in_reply_to: int, sequence: int) -> None:
        super().__init__(
            f"Message {sequence} of dialogue {dialogue} replies to message {in_reply_to}, which is not before it."
        )
        self.dialogue = dialogue
        self.in_reply_to = in_reply_to
        self.sequence = sequence


class IdempotencyConflictError(CallosumError):
    """The key was used in this dialogue for a message with other content.

    Attributes:
        sequence: of the message that has the key, or None when both are in the same command.
    """

    def __init__(self, dialogue: UUID, key: str, sequence: int | None) -> None:
        where = "this command" if sequence is None else f"message {sequence} of dialogue {dialogue}"
        super().__init__(f"Idempotency key {key!r} belongs to another message: {where}.")
        self.dialogue = dialogue
        self.key = key
        self.sequence = sequence


class ConsumerLeftError(CallosumError):
    def __init__(self, tract: Tract, name: str) -> None:
        super().__init__(f"Consumer {name!r} has left the {tract} tract.")
        self.tract = tract
        self.name = name


class ConsumerNotFoundError(CallosumError):
    def __init__(self, consumer: UUID) -> None:
        super().__init__(f"Consumer {consumer} does not exist.")
        self.consumer = consumer


class LeaseLostError(CallosumError):
    """Settling changed nothing: the lease had ended, and the message went to another, or was settled already."""

    def __init__(self, dialogue: UUID, sequence: int, attempt: int) -> None:
        super().__init__(f"Delivery {attempt} of message {sequence} of dialogue {dialogue} is held no more.")
        self.dialogue = dialogue
        self.sequence = sequence
        self.attempt = attempt


class DeadLetterGoneError(CallosumError):
    """Nothing was changed: one of these is a dead letter no more."""

    def __init__(self, dialogue: UUID, sequences: Sequence[int]) -> None:
        told = ", ".join(map(str, sequences))
        super().__init__(f"Of the messages {told} of dialogue {dialogue} one is a dead letter no more.")
        self.dialogue = dialogue
        self.sequences = tuple(sequences)


class ReplyTimeoutError(CallosumError):
    """No answer came in time. The question is recorded, and may still be answered.

    To wait on, ask again with the same idempotency key, or look at the transcript: what answers the message
    `sequence` is handed to nobody else.
    """

    def __init__(self, dialogue: UUID, sequence: int, timeout: float) -> None:
        super().__init__(f"Message {sequence} of dialogue {dialogue} was not answered within {timeout:g} s.")
        self.dialogue = dialogue
        self.sequence = sequence
        self.timeout = timeout


class BackpressureError(CallosumError):
    """Nothing was recorded. Send again later.

    Attributes:
        backlog, capacity: messages accepted for the tract and not yet settled, and the most that may be.
        retry_after: seconds after which to try again.
    """

    def __init__(self, tract: Tract, backlog: int, capacity: int, retry_after: float) -> None:
        super().__init__(
            f"The {tract} tract has {backlog} messages to handle and room for {capacity}; "
            f"try again after {retry_after:.2g} s."
        )
        self.tract = tract
        self.backlog = backlog
        self.capacity = capacity
        self.retry_after = retry_after


class CallNotPermittedError(CallosumError):
    """Nothing was recorded: deliveries to the tract fail or are slow, or somebody has shut it.

    Attributes:
        state: of its circuit: ``open``, or ``forced_open``, which ends when somebody says so.
        reason: what opened it, in words.
        retry_at: milliseconds since 1970, from which on it is tried again; None: not by itself.
    """

    def __init__(self, tract: Tract, state: str, reason: str, retry_at: int | None) -> None:
        when = "" if retry_at is None else f"; it is tried again from {log_time(retry_at)} on"
        super().__init__(f"The circuit of the {tract} tract is {state}: {reason}{when}.")
        self.tract = tract
        self.state = state
        self.reason = reason
        self.retry_at = retry_at
