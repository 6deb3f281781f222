"""Redis Streams as a persistence module: ``PERSISTENCE_MODULE=infrastructure.redis_streams``.

The library looks for the one factory class among this module's members; nothing else is exposed.
"""

from infrastructure.redis_streams.factory import RedisStreamsFactory

__all__ = ["RedisStreamsFactory"]
