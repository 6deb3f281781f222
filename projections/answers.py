"""What the read side answers. Field names are those of the published metrics and of the JSON output.

Durations are in milliseconds, times RFC 3339 in UTC, `position` is the log's position up to which the answer
holds; None is "not known".
"""

from typing import Any
from uuid import UUID

import msgspec

from domain.circuit import CircuitState, Reason
from domain.dialogue import Kind
from domain.gate_settings import GateSettings
from domain.tract import Tract
from projections.states import Status

__all__ = [
    "CircuitTransition",
    "ConsciousnessMetrics",
    "DeliveryMetrics",
    "DialogueList",
    "DialogueSummary",
    "Durations",
    "EpisodeSummary",
    "FindingList",
    "FindingSummary",
    "GateMetrics",
    "Group",
    "Grouping",
    "Minute",
    "MinuteList",
    "PatternCount",
    "RefusalMinute",
    "ResponseTime",
    "ResponseTimeByTract",
    "TractDeliveries",
    "TractGateMetrics",
]


class ResponseTime(msgspec.Struct, frozen=True):
    """One tract's answers.

    Attributes:
        unknown: answers whose time is not known; not in `count`.
        unanswered: open dialogues that await this tract's answer.
    """

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    unknown: int
    unanswered: int


class ResponseTimeByTract(msgspec.Struct, frozen=True):
    internal: ResponseTime
    external: ResponseTime


class EpisodeSummary(msgspec.Struct, frozen=True):
    first_message: int
    last_message: int
    first_position: int
    last_position: int
    peak_ratio: float
    start_time: str | None
    end_time: str | None


class ConsciousnessMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The balance and coordination of a scope: a dialogue's id, or ``live`` or ``recorded`` for all of a kind.

    Figures over all dialogues of a kind also reflect how these were interleaved.

    Attributes:
        emergence_assessable: whether the scope has more than 100 messages; the score is 0.0 before.
        episode_count: how many episodes there are, the one under way included; `episodes` are the last of them, at
            most as many as were asked for, in order.
        findings: how many patterns were found.
    """

    scope: str
    position: int
    total_messages: int
    internal_to_external: int
    external_to_internal: int
    dialogue_balance_ratio: float
    balanced_dialogue_events: int
    emergence_score: float
    emergence_assessable: bool
    last_emergence_at: str | None
    runs: int
    coordination_z: float | None
    response_time: ResponseTimeByTract
    episode_count: int
    episodes: list[EpisodeSummary]
    findings: int


class DialogueSummary(msgspec.Struct, frozen=True):
    """A dialogue in a list.

    Attributes:
        awaiting: the tract whose answer it awaits, while it is open.
        opened_at, last_activity: the log's times.
        first_position, last_position: of its events in the log.
        findings: how many patterns were found; `patterns` are their names, sorted.
    """

    dialogue: UUID
    kind: Kind
    status: Status
    subject: str
    attributes: dict[str, Any]
    close_reason: str | None
    awaiting: Tract | None
    opened_at: str
    last_activity: str
    first_position: int
    last_position: int
    total_messages: int
    internal_to_external: int
    external_to_internal: int
    dialogue_balance_ratio: float
    emergence_score: float
    emergence_assessable: bool
    runs: int
    coordination_z: float | None
    findings: int
    patterns: list[str]


class DialogueList(msgspec.Struct, frozen=True):
    """`total` counts all that match, `dialogues` are at most as many as were asked for."""

    position: int
    total: int
    dialogues: list[DialogueSummary]


class FindingSummary(msgspec.Struct, frozen=True):
    """A pattern at a place of a dialogue: `count` messages from `first_sequence` to `last_sequence`.

    Attributes:
        position: of the log, where it last grew; of a stall, up to where the log had no answer.
    """

    dialogue: UUID
    subject: str
    pattern: str
    first_sequence: int
    last_sequence: int
    count: int
    why: str
    position: int


class FindingList(msgspec.Struct, frozen=True):
    """`total` counts all that match, `findings` are at most as many as were asked for."""

    position: int
    total: int
    findings: list[FindingSummary]


class PatternCount(msgspec.Struct, frozen=True):
    """How many findings of a pattern there are, and in how many dialogues."""

    findings: int
    dialogues: int


class Group(msgspec.Struct, frozen=True):
    """The dialogues that have one value of an attribute; None: null, or not the attribute at all.

    Attributes:
        coordination_known: dialogues long enough for a `coordination_z`; its mean is over these.
        patterns: by name. A pattern's stronger forms count for it as well: echo loops are repetitions.
    """

    value: Any
    dialogues: int
    mean_total_messages: float
    mean_dialogue_balance_ratio: float
    coordination_known: int
    mean_coordination_z: float | None
    patterns: dict[str, PatternCount]


class Grouping(msgspec.Struct, frozen=True):
    """Groups by the attribute `by`, in the order of its values."""

    position: int
    by: str
    kind: Kind
    groups: list[Group]


class Durations(msgspec.Struct, frozen=True):
    """`unknown`: those that are not known; not in `count`."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    unknown: int


class TractDeliveries(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages to one tract.

    Attributes:
        accepted: messages of live dialogues that are for its agents: all but the first replies to questions, which
            go to who asked.
        delivered: deliveries that have ended, by an ack, a retry, or as a dead letter. One whose lease ended
            without any of these is not told by the log; what was given back unseen counts as retried.
        expired: messages whose deadline passed before they were delivered.
        dead_lettered: how often a message was given up; of those, `redriven` again and `discarded` for good.
        shed: given up to make room for others.
        backlog: accepted and not yet settled for good; `backlog_peak`: the most that it ever was.
        wait_ms: from acceptance to the first delivery, when that ends. A redriven message has a first one again,
            which waited since its acceptance, too.
        settle_ms: from acceptance to each ack, expiry or giving up.
    """

    accepted: int
    delivered: int
    acked: int
    retried: int
    expired: int
    dead_lettered: int
    redriven: int
    discarded: int
    shed: int
    backlog: int
    backlog_peak: int
    wait_ms: Durations
    settle_ms: Durations


class DeliveryMetrics(msgspec.Struct, frozen=True):
    """By the tract that the messages are for."""

    position: int
    internal: TractDeliveries
    external: TractDeliveries


class Minute(msgspec.Struct, frozen=True):
    """What happened in one minute of the log's own time.

    Attributes:
        at: its beginning.
        internal_to_external, external_to_internal, intra: messages, by direction.
        opened, closed: dialogues.
        acked, retried, expired, dead_lettered: how deliveries ended; of messages of any minute.
    """

    at: str
    internal_to_external: int
    external_to_internal: int
    intra: int
    opened: int
    closed: int
    acked: int
    retried: int
    expired: int
    dead_lettered: int


class MinuteList(msgspec.Struct, frozen=True):
    """`total` counts all that are in the range, `minutes` are the last of them, as many as were asked for."""

    position: int
    kind: Kind
    total: int
    minutes: list[Minute]


class CircuitTransition(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit's entering a state.

    Attributes:
        position: of its event in the log.
        since: when it took effect, by the log's time.
        retry_at: of ``open`` only: when it is tried again.
        failure_rate, slow_call_rate: percent of `calls`, in the state before; None when those were too few.
        cause: the position of the outcome that decided it; None: time did, or somebody (`by`, who said `why`).
    """

    position: int
    state: CircuitState
    since: str
    reason: Reason
    retry_at: str | None
    calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    cause: int | None
    by: str | None
    why: str | None


class RefusalMinute(msgspec.Struct, frozen=True):
    """Messages refused, let wait and shed, as counted in one minute of the log's own time that begins `at`."""

    at: str
    refused_by_circuit: int
    refused_by_capacity: int
    waited: int
    shed: int


class TractGateMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One tract's gate.

    Attributes:
        state, generation: of its circuit; `since` when and for what `reason`, None when it never changed.
        by, why: who set it by hand, and the reason given.
        retry_at: when an open circuit is tried again.
        calls, failure_rate, slow_call_rate: in its window: percent, None when the calls are too few.
        share_of_time: of the time between the first and the last event about the tract's deliveries or its gate.
        backlog: messages accepted and not yet settled for good.
        backpressure: whether the backlog has reached the high watermark, and not gone down to the low one since.
        refused_by_circuit, refused_by_capacity, waited, shed: messages.
        refusals: the last minutes in which there were any.
        transitions: the last ones, in order.
    """

    state: CircuitState
    generation: int
    since: str | None
    reason: Reason | None
    by: str | None
    why: str | None
    retry_at: str | None
    calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    share_of_time: dict[CircuitState, float]
    backlog: int
    backpressure: bool
    refused_by_circuit: int
    refused_by_capacity: int
    waited: int
    shed: int
    settings: GateSettings
    refusals: list[RefusalMinute]
    transitions: list[CircuitTransition]


class GateMetrics(msgspec.Struct, frozen=True):
    """By the tract that a gate protects."""

    position: int
    internal: TractGateMetrics
    external: TractGateMetrics
