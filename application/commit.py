"""The bridge between the event loop and the store: one thread that appends, many commands at a time.

What waits when the thread looks is one *round*: every command is decided on its dialogue's draft, and all that
they add is one append. A lone command is a round of its own and waits for nothing. A refused command gets its
error and leaves no trace in the round. When the store refuses the append (another process was faster, or a key
was seen before) it has changed nothing and named all reasons: the round is decided again with that knowledge.

Cancelling a command stops the waiting, not the append: if the thread has taken it already, it is recorded.
Cancelled while it still waits, it is dropped.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar
from uuid import UUID

from eventsourcing.persistence import PersistenceError

from application.bells import Bells, Offers
from application.commands import Command
from application.errors import CallosumClosedError
from application.inbox import Level, Settlement
from application.log import DialogueLog
from application.recorder import AppendRefusedError, Duplicate, LogLostError
from application.round import RepeatedError, Round
from domain.errors import BackpressureError, CallosumError
from domain.gate import gate_id
from domain.tract import Tract

__all__ = ["Writer", "commit", "retry_after"]

MOST_COMMANDS: Final = 256
MOST_BYTES: Final = 8 * 1024 * 1024
_ANSWERS_AT_ONCE: Final = 8
_RETRY_AFTER: Final = (0.05, 0.75)
"""Seconds after which to ask again for room: anything between, or all who were refused together come together."""

Outcome = object | Exception
_Answer = TypeVar("_Answer")
_logger = logging.getLogger("callosum.commit")


def commit(
    log: DialogueLog, commands: Sequence[Command[Any]], now: datetime, offers: Offers | None = None
) -> list[Outcome]:
    """Decide and append one round. The outcomes, in order: what the command answers, or why it was refused."""
    outcomes: dict[int, Outcome] = {}
    left = dict(enumerate(commands))
    while left:
        round_ = Round(log, offers)
        try:
            refused = _decide(log, left, round_, now)
            places = round_.append(now)
        except _StaleError:
            continue
        except AppendRefusedError as refusal:
            outcomes |= _learn(log, refusal, left)
        except (PersistenceError, CallosumError) as error:
            outcomes |= dict.fromkeys(left, error)
        else:
            outcomes |= refused.errors
            outcomes |= {
                number: command.outcome(places)
                for number, command in left.items()
                if number not in refused.errors and number not in refused.deferred
            }
        left = {number: command for number, command in left.items() if number not in outcomes}
    _accept_loss(log, outcomes.values())
    for outcome in outcomes.values():
        if isinstance(outcome, CallosumError):
            # Its traceback has the whole round, which has it: only a search for garbage would free the two.
            outcome.__traceback__ = None
    return [outcomes[number] for number in range(len(commands))]


def _accept_loss(log: DialogueLog, outcomes: Iterable[Outcome]) -> None:
    """A round that met a loss has failed as a whole; the next one goes on from what the log holds now."""
    lost = [outcome for outcome in outcomes if isinstance(outcome, LogLostError)]
    if lost:
        _logger.error("%s", lost[0])
        with suppress(PersistenceError):  # the next round meets the loss again
            log.accept_loss()


class _StaleError(Exception):
    """A dialogue has moved on in another process: decide the round again."""


class _Refused:
    """The commands of a round that add nothing to its append: refused for good, or to be decided again."""

    def __init__(self) -> None:
        self.errors: dict[int, Outcome] = {}
        self.deferred: set[int] = set()


def _decide(log: DialogueLog, left: dict[int, Command[Any]], round_: Round, now: datetime) -> _Refused:
    refused = _Refused()
    behind: set[UUID] = set()
    for number, command in left.items():
        if not behind.isdisjoint(command.aggregates):
            refused.deferred.add(number)
            continue
        try:
            command.decide(round_, now)
        except RepeatedError:
            refused.deferred.add(number)
            behind.update(command.aggregates)  # what comes later in the dialogue must not overtake it
        except (CallosumError, PersistenceError) as error:
            if refusal := _refusal(log, command, error):
                refused.errors[number] = refusal
            else:
                refused.deferred.add(number)
                behind.update(command.aggregates)
    return refused


def _refusal(log: DialogueLog, command: Command[Any], error: Exception) -> Exception | None:
    """The error to answer with; None when the command says again what is recorded, and is to be decided anew.

    A message whose key is recorded gets its first receipt even where it would be refused today.
    """
    keys = command.unknown_keys()
    try:
        # What this process knows may be old: a reply to another process's message is no mistake.
        moved = sum(log.catch_up(aggregate) for aggregate in command.aggregates) > 0
        recorded = log.recorder.select_keys(command.aggregates[0], keys) if keys else ()
        for duplicate in recorded:
            command.repeated(duplicate)
    except (CallosumError, PersistenceError) as failure:
        return failure
    if moved:
        raise _StaleError
    return None if recorded else error


def _learn(log: DialogueLog, refusal: AppendRefusedError, left: dict[int, Command[Any]]) -> dict[int, Outcome]:
    """Take in why the store refused; the commands that are refused for good by it."""
    learned, errors = _learn_conflicts(log, refusal, left)
    recorded: dict[UUID, list[Duplicate]] = {}
    for duplicate in refusal.duplicates:
        recorded.setdefault(duplicate.originator_id, []).append(duplicate)
    for number, command in left.items():
        if number in errors:
            continue
        unknown = len(command.unknown_keys())
        if unknown == 0:
            continue  # it brings no key; the one that is known is another command's of the dialogue
        try:
            for duplicate in recorded.get(command.aggregates[0], ()):
                command.repeated(duplicate)
        except CallosumError as error:
            errors[number] = error
        learned |= len(command.unknown_keys()) < unknown
    errors |= _without_lease(refusal.lost, left)
    if not errors and not learned:  # what was learned may need no room any more
        errors |= _not_permitted(log, refusal.shut, left)
        errors |= _without_room(refusal.full, {n: command for n, command in left.items() if n not in errors})
    if not learned and not errors:
        return dict.fromkeys(left, refusal)  # nothing to learn: deciding again would go on for ever
    return errors


def _learn_conflicts(
    log: DialogueLog, refusal: AppendRefusedError, left: dict[int, Command[Any]]
) -> tuple[bool, dict[int, Outcome]]:
    """Whether there was news of an aggregate; and the commands about those that cannot be read."""
    learned = False
    unreadable: dict[UUID, Exception] = {}
    for aggregate in [conflict for conflict in refusal.conflicts if isinstance(conflict, UUID)]:
        try:
            learned |= log.catch_up(aggregate) or log.exists(aggregate)
        except (CallosumError, PersistenceError) as failure:
            unreadable[aggregate] = failure
    return learned, {
        number: unreadable[aggregate]
        for number, command in left.items()
        for aggregate in command.aggregates
        if aggregate in unreadable
    }


def _without_lease(lost: Sequence[Settlement], left: dict[int, Command[Any]]) -> dict[int, Outcome]:
    """The commands that settle what is held no more."""
    told = set(lost)
    errors = {number: command.lost(told) for number, command in left.items()}
    return {number: error for number, error in errors.items() if error is not None}


def retry_after() -> float:
    return random.uniform(*_RETRY_AFTER)  # noqa: S311  # no secret


def _not_permitted(log: DialogueLog, shut: Collection[str], left: dict[int, Command[Any]]) -> dict[int, Outcome]:
    """The commands that bring something to a tract whose circuit is open."""
    refusals: dict[str, Callable[[], Outcome]] = {}  # each of them gets an error of its own
    for tract in shut:
        try:
            log.catch_up(gate_id(Tract(tract)))
            gate = log.gate(Tract(tract))
        except (CallosumError, PersistenceError) as failure:
            refusals[tract] = partial(_same, failure)
        else:
            assert gate is not None, "what shut it is in the log"
            refusals[tract] = gate.refusal
    return {
        number: refusals[tract]()
        for number, command in left.items()
        for tract in command.arriving()
        if tract in refusals
    }


def _same(failure: Exception) -> Outcome:
    return failure


def _without_room(full: Mapping[str, Level], left: dict[int, Command[Any]]) -> dict[int, Outcome]:
    """The commands that are beyond what there is room for, in their order."""
    room = {tract: (level.capacity or 0) - level.backlog for tract, level in full.items()}
    errors: dict[int, Outcome] = {}
    for number, command in left.items():
        arriving = {tract: count for tract, count in command.arriving().items() if tract in room}
        short = next((tract for tract, count in arriving.items() if count > max(0, room[tract])), None)
        if short is not None:
            level = full[short]
            errors[number] = BackpressureError(Tract(short), level.backlog, level.capacity or 0, retry_after())
            continue
        for tract, count in arriving.items():
            room[tract] -= count
    return errors


class _Waiting:
    """A command on its way, and who is told what becomes of it, on the event loop.

    Attributes:
        dropped: whether nobody waits for it any more.
    """

    __slots__ = ("command", "dropped", "told")

    def __init__(
        self, command: Command[Any], told: Callable[[Any], None], dropped: Callable[[], bool] = lambda: False
    ) -> None:
        self.command = command
        self.told = told
        self.dropped = dropped


class Writer:
    """The thread. Made, fed and closed on one event loop."""

    def __init__(self, log: DialogueLog, bells: Bells, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._bells = bells
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._next: _Waiting | None = None
        self._closed = False
        self._then: list[Callable[[], None]] | None = None  # of the round that is being told of; None: of none
        self._thread = Thread(target=self._run, name="callosum-writer", daemon=True)
        self._thread.start()

    def submit(self, command: Command[_Answer]) -> asyncio.Future[_Answer]:
        """Hand over a command; commands of one caller are decided in the order of these calls."""
        future: asyncio.Future[_Answer] = self._loop.create_future()
        self._hand_over(_Waiting(command, partial(_resolve, future), future.cancelled))
        return future

    def carry_out(self, command: Command[_Answer], told: Callable[[_Answer | Exception], None]) -> None:
        """The same, but it cannot be cancelled; `told` is called with what it answers, or why it was refused."""
        self._hand_over(_Waiting(command, told))

    def _hand_over(self, waiting: _Waiting) -> None:
        if self._closed:
            raise CallosumClosedError
        self._queue.put(waiting)

    async def close(self) -> None:
        """Take no more commands, answer all that were taken, and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        ended = False
        while not ended:
            taken, ended = self._take()
            taken = [waiting for waiting in taken if not waiting.dropped()]
            if taken:
                offers = self._bells.offers()
                outcomes = self._commit([waiting.command for waiting in taken], offers)
                self._answer(taken, outcomes, offers.read())

    def _commit(self, commands: list[Command[Any]], offers: Offers) -> list[Outcome]:
        try:
            return commit(self._log, commands, self._clock(), offers)
        except Exception as error:  # whatever it is, the senders must hear of it, and the thread must go on
            _logger.exception("A round of %d commands failed.", len(commands))
            return [error] * len(commands)

    def _take(self) -> tuple[list[_Waiting], bool]:
        """All that waits now, up to a round's bounds; and whether the end was reached."""
        first = self._next or self._queue.get()
        self._next = None
        if first is None:
            return [], True
        taken, size = [first], first.command.size
        while len(taken) < MOST_COMMANDS and not self._queue.empty():
            more = self._queue.get()
            if more is None:
                return taken, True
            size += more.command.size
            if size > MOST_BYTES:
                self._next = more
                break
            taken.append(more)
        return taken, False

    def _answer(self, taken: list[_Waiting], outcomes: list[Outcome], hand_over: Callable[[], None]) -> None:
        answers = deque(zip((waiting.told for waiting in taken), outcomes, strict=True))
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._tell, answers, hand_over)

    def _tell(self, answers: deque[tuple[Callable[[Any], None], Outcome]], hand_over: Callable[[], None]) -> None:
        then: list[Callable[[], None]] = []
        self._then = then
        try:
            hand_over()  # first, so that who has acked need not wait for its next delivery
        finally:
            self._tell_some(answers, then)

    def _tell_some(
        self, answers: deque[tuple[Callable[[Any], None], Outcome]], then: list[Callable[[], None]]
    ) -> None:
        # A few at a time: each wakes a task, and the loop must get to other things between them.
        try:
            for _ in range(min(len(answers), _ANSWERS_AT_ONCE)):
                told, outcome = answers.popleft()
                told(outcome)
        finally:  # whatever one of them does, the others must hear
            if answers:
                self._loop.call_soon(self._tell_some, answers, then)
            else:
                if self._then is then:
                    self._then = None
                for callback in then:
                    self._loop.call_soon(callback)  # after the tasks that were woken

    def when_told(self, callback: Callable[[], None]) -> None:
        """Call this soon; when a round is being told of, after all of it have heard and gone on."""
        if self._then is None:
            self._loop.call_soon(callback)
        else:
            self._then.append(callback)


def _resolve(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
