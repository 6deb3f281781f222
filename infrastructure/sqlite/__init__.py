"""SQLite as a persistence module: ``PERSISTENCE_MODULE=infrastructure.sqlite``.

The library looks for the one factory class among this module's members; nothing else is exposed.
"""

from infrastructure.sqlite.factory import SQLiteFactory

__all__ = ["SQLiteFactory"]
