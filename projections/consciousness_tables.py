"""The tables of the consciousness projection; rows are made in `changes`, and read in `queries` and `grouping`."""

from typing import Final

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, Text

from projections.tables import model_table

__all__ = ["TABLES", "activities", "dialogues", "episodes", "findings", "message_times", "scopes"]

# Times named ..._at and last_activity are the log's, milliseconds; ..._time are the messages', microseconds.
dialogues = model_table(
    "dialogues",
    Column("dialogue", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("opened_at", Integer, nullable=False),
    Column("first_position", Integer, nullable=False),
)

# What changes of a dialogue.
activities = model_table(
    "activities",
    Column("dialogue", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("close_reason", Text),
    Column("awaiting", Text),
    # What it awaits the answer of, while it does: the last cross-tract message.
    Column("asked_sequence", Integer),
    Column("asked_at", Integer),
    Column("asked_position", Integer),
    Column("last_activity", Integer, nullable=False),
    Column("last_position", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Index("activities_by_time", "last_activity"),
    Index("activities_awaiting", "awaiting", "kind"),
    Index("activities_by_question", "asked_at"),
)

# A scope is a dialogue's id, or "live" or "recorded".
scopes = model_table(
    "scopes",
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

episodes = model_table(
    "episodes",
    Column("scope", Text, primary_key=True),
    Column("first_message", Integer, primary_key=True),
    Column("last_message", Integer, nullable=False),
    Column("first_position", Integer, nullable=False),
    Column("last_position", Integer, nullable=False),
    Column("peak_ratio", Float, nullable=False),
    Column("start_time", Integer),
    Column("end_time", Integer),
)

findings = model_table(
    "findings",
    Column("dialogue", Text, primary_key=True),
    Column("detector", Text, primary_key=True),
    Column("first_sequence", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("pattern", Text, nullable=False),
    Column("last_sequence", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Column("position", Integer, nullable=False),  # where it last grew
    Index("findings_by_pattern", "kind", "detector", "pattern"),
    Index("findings_by_position", "position"),
)

# Full chunks only, each written once; the last, unfinished one is in the dialogue's state.
message_times = model_table(
    "message_times",
    Column("dialogue", Text, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("times", LargeBinary, nullable=False),
)

TABLES: Final = (dialogues, activities, scopes, episodes, findings, message_times)
