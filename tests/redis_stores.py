"""Redis as stores for the contracts: one shared server for each binary of this machine."""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView

from infrastructure.redis_streams.binaries import Binary
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.redis_streams.recorders import RedisTrackingRecorder
from tests.contract import Settings, Store
from tests.servers import BINARIES

__all__ = ["STORES", "shared_server"]


@cache
def shared_server(binary: Binary) -> PrivateServer:
    """Started when the first test needs it, gone with the process. Tests keep apart by namespaces."""
    directory = TemporaryDirectory()
    server = PrivateServer(binary, Path(directory.name), fsync="everysec")
    server.start()
    atexit.register(directory.cleanup)
    atexit.register(server.kill)  # called first
    return server


class RedisEventCounters(RedisTrackingRecorder, EventCountersView):
    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self.track(tracking, ("HINCRBY", self.datastore.keys.own("counters"), "created", 1))

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self.track(tracking, ("HINCRBY", self.datastore.keys.own("counters"), "subsequent", 1))

    def _count(self, name: str) -> int:
        return int(self.datastore.connections.call("HGET", self.datastore.keys.own("counters"), name) or 0)


def _store(binary: Binary) -> Store:
    def settings(_: Path) -> Settings:
        return {"REDIS_URL": shared_server(binary).url, "REDIS_NAMESPACE": uuid4().hex}

    return Store(
        f"on_{binary.name.replace(' ', '_')}", "infrastructure.redis_streams", settings, RedisEventCounters
    )


STORES = [_store(binary) for binary in BINARIES]
