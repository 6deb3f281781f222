"""What a server loses when it is killed under load: what is tried, and what is found.

A message is *acknowledged* when its sender holds a receipt. It is *lost* when the log, after the restart, does
not hold that very message at the receipt's dialogue, sequence and position. What is stored and was never
acknowledged is legal: the kill came between the append and the receipt.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from application.round import Receipt
from domain.errors import CallosumError

__all__ = [
    "FSYNC_MODES",
    "Durability",
    "Fsync",
    "KillOutcome",
    "Killed",
    "ModeOutcome",
    "NoServerError",
    "Trial",
    "TryDurability",
    "kill_outcome",
    "lost",
    "mode_outcome",
]

Fsync = Literal["always", "everysec", "no"]
"""The server's `appendfsync`."""

FSYNC_MODES: Final[tuple[Fsync, ...]] = get_args(Fsync)


class NoServerError(CallosumError):
    """There is no server to try, or it does not start; the message says why."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What to try.

    Attributes:
        fsync: the modes, one after the other.
        senders: tasks that each send one message after the other, in a dialogue of their own.
        seconds: of load, at most; the kill comes at another moment of the last second each time.
        kills: in each mode.
        server: the program; None for the first that is found.
    """

    fsync: Sequence[Fsync] = ("always", "everysec")
    senders: int = 64
    seconds: float = 3.0
    kills: int = 5
    server: Path | None = None


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """One kill: what the senders saw before it, and what the log held after the restart.

    Attributes:
        acknowledged: the payloads by the receipts that the senders hold.
        stored: the payloads by the receipts of all messages in the log.
        latencies: seconds that each acknowledged send took.
        seconds: from the first send to the kill.
    """

    acknowledged: Mapping[Receipt, str]
    stored: Mapping[Receipt, str]
    latencies: Sequence[float]
    seconds: float


class KillOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one kill; `unacknowledged` are stored, and their senders hold no receipt."""

    acknowledged: int
    stored: int
    lost: int
    unacknowledged: int


class ModeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """All kills in one mode.

    Attributes:
        lost_percent: of the acknowledged ones; None when there were none.
        kills_with_loss: how many of the kills lost any.
        p50, p99: milliseconds that an acknowledged send took; None when there were none.
        messages_a_second: acknowledged.
    """

    fsync: Fsync
    acknowledged: int
    stored: int
    lost: int
    lost_percent: float | None
    unacknowledged: int
    kills_with_loss: int
    p50: float | None
    p99: float | None
    messages_a_second: float
    kills: Sequence[KillOutcome]


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial found; `server` is the program's kind and version."""

    server: str
    senders: int
    seconds: float
    modes: Sequence[ModeOutcome]


TryDurability = Callable[[Trial, Callable[[int], None]], Awaitable[Durability]]
"""What a persistence module offers; it calls its second argument with the number of kills so far."""


def lost(acknowledged: Mapping[Receipt, str], stored: Mapping[Receipt, str]) -> list[Receipt]:
    """The receipts whose messages are not in the log, or not with that payload."""
    return [receipt for receipt, payload in acknowledged.items() if stored.get(receipt) != payload]


def kill_outcome(killed: Killed) -> KillOutcome:
    missing = len(lost(killed.acknowledged, killed.stored))
    return KillOutcome(
        acknowledged=len(killed.acknowledged),
        stored=len(killed.stored),
        lost=missing,
        unacknowledged=len(killed.stored) - (len(killed.acknowledged) - missing),
    )


def mode_outcome(fsync: Fsync, kills: Sequence[Killed]) -> ModeOutcome:
    outcomes = [kill_outcome(killed) for killed in kills]
    acknowledged = sum(outcome.acknowledged for outcome in outcomes)
    missing = sum(outcome.lost for outcome in outcomes)
    latencies = sorted(latency for killed in kills for latency in killed.latencies)
    return ModeOutcome(
        fsync=fsync,
        acknowledged=acknowledged,
        stored=sum(outcome.stored for outcome in outcomes),
        lost=missing,
        lost_percent=100 * missing / acknowledged if acknowledged else None,
        unacknowledged=sum(outcome.unacknowledged for outcome in outcomes),
        kills_with_loss=sum(outcome.lost > 0 for outcome in outcomes),
        p50=_milliseconds(latencies, 0.50),
        p99=_milliseconds(latencies, 0.99),
        messages_a_second=acknowledged / sum(killed.seconds for killed in kills),
        kills=outcomes,
    )


def _milliseconds(ascending: Sequence[float], quantile: float) -> float | None:
    """The least latency that at least this share of them does not exceed (nearest rank)."""
    return 1000 * ascending[ceil(quantile * len(ascending)) - 1] if ascending else None
