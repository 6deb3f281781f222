"""What the domain refuses, and why.

::

    CallosumError
    ├── InvalidMessageError             a field of a message is outside its definition
    │   └── InvalidPayloadError         the payload is
    ├── InvalidCommandError             an argument of a command is outside its definition
    │   ├── EmptyBatchError             a command without messages
    │   └── BatchTooLargeError          more than 1000 messages or 8 MiB
    ├── DialogueNotFoundError
    ├── DialogueExistsError
    ├── DialogueClosedError
    ├── DialogueRecordedError           imported history takes no more messages
    ├── ReplyToUnknownMessageError      in_reply_to names no earlier message
    └── IdempotencyConflictError        the key was used for another message

Every error carries its values as attributes; nothing was recorded when one is raised.
"""

from uuid import UUID

__all__ = [
    "BatchTooLargeError",
    "CallosumError",
    "DialogueClosedError",
    "DialogueExistsError",
    "DialogueNotFoundError",
    "DialogueRecordedError",
    "EmptyBatchError",
    "IdempotencyConflictError",
    "InvalidCommandError",
    "InvalidMessageError",
    "InvalidPayloadError",
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
