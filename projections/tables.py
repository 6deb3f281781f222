"""The tables of the read models. Their rows are made in `changes`, and read in `queries` and `grouping`."""

from typing import Final

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = [
    "LAYOUT",
    "TABLES",
    "checkpoints",
    "dialogues",
    "episodes",
    "findings",
    "message_times",
    "metadata",
    "scopes",
]

LAYOUT: Final = 1
"""Version of the tables; counted up when they change."""

metadata = MetaData()

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("epoch", Text, nullable=False),
)

# Times named ..._at and last_activity are the log's, milliseconds; ..._time are the messages', microseconds.
dialogues = Table(
    "dialogues",
    metadata,
    Column("dialogue", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("close_reason", Text),
    Column("awaiting", Text),
    Column("opened_at", Integer, nullable=False),
    Column("last_activity", Integer, nullable=False),
    Column("first_position", Integer, nullable=False),
    Column("last_position", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Index("dialogues_by_activity", "last_activity"),
    Index("dialogues_awaiting", "awaiting", "kind"),
)

# A scope is a dialogue's id, or "live" or "recorded".
scopes = Table(
    "scopes",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("total_messages", Integer, nullable=False),
    Column("internal_to_external", Integer, nullable=False),
    Column("external_to_internal", Integer, nullable=False),
    Column("dialogue_balance_ratio", Float, nullable=False),
    Column("emergence_score", Float, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("coordination_z", Float),
    Column("state", LargeBinary, nullable=False),
)

episodes = Table(
    "episodes",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("first_message", Integer, primary_key=True),
    Column("last_message", Integer, nullable=False),
    Column("first_position", Integer, nullable=False),
    Column("last_position", Integer, nullable=False),
    Column("peak_ratio", Float, nullable=False),
    Column("start_time", Integer),
    Column("end_time", Integer),
)

findings = Table(
    "findings",
    metadata,
    Column("dialogue", Text, primary_key=True),
    Column("detector", Text, primary_key=True),
    Column("first_sequence", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("pattern", Text, nullable=False),
    Column("last_sequence", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Index("findings_by_pattern", "kind", "detector", "pattern"),
)

# Full chunks only, each written once; the last, unfinished one is in the dialogue's state.
message_times = Table(
    "message_times",
    metadata,
    Column("dialogue", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("times", LargeBinary, nullable=False),
)

TABLES: Final = (dialogues, scopes, episodes, findings, message_times)
"""What a projection fills; emptied when it folds anew."""
