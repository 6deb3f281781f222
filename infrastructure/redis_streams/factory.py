"""From settings to recorders."""

from typing import Any, ClassVar, TypeVar, cast

from eventsourcing.persistence import AggregateRecorder, InfrastructureFactory, TrackingRecorder
from eventsourcing.utils import Environment, EnvType, resolve_topic

from application.doctor import Examination
from infrastructure.redis_streams.checks import check, examine
from infrastructure.redis_streams.datastore import Datastore
from infrastructure.redis_streams.recorders import (
    RedisAggregateRecorder,
    RedisLogRecorder,
    RedisProcessRecorder,
    RedisTrackingRecorder,
)

__all__ = ["RedisStreamsFactory"]

_R = TypeVar("_R")


class RedisStreamsFactory(InfrastructureFactory[RedisTrackingRecorder]):
    """Makes recorders of the settings that it finds in the environment, beside the library's own.

    REDIS_URL: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` (TLS), or
        ``unix://[[user]:password@]/path/to/socket[?db=0]``. In its query: ``namespace``, ``ssl_ca_certs``,
        ``ssl_certfile``, ``ssl_keyfile``, and ``durability=none`` for a server that keeps nothing on disk.
    REDIS_NAMESPACE: of the keys; by default the application's name.
    REDIS_TIMEOUT: seconds to wait for the server; 5 by default.
    ORIGINATOR_ID_TYPE: ``uuid`` (default) or ``text``.
    """

    REDIS_URL: ClassVar = "REDIS_URL"
    REDIS_NAMESPACE: ClassVar = "REDIS_NAMESPACE"
    REDIS_TIMEOUT: ClassVar = "REDIS_TIMEOUT"
    ORIGINATOR_ID_TYPE: ClassVar = "ORIGINATOR_ID_TYPE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        url = self.env.get(self.REDIS_URL)
        if not url:
            raise OSError(
                f"Redis URL not found in environment with keys: {', '.join(self.env.create_keys(self.REDIS_URL))}"
            )
        self.datastore = Datastore(
            url,
            namespace=self.env.get(self.REDIS_NAMESPACE) or self.env.name.lower() or "callosum",
            timeout=self._timeout(),
            text_ids=self._text_ids(),
        )
        self._checked = False

    def _timeout(self) -> float:
        given = self.env.get(self.REDIS_TIMEOUT) or "5"
        try:
            timeout = float(given)
        except ValueError:
            timeout = 0.0
        if not 0 < timeout < float("inf"):
            raise OSError(f"Redis environment value for key '{self.REDIS_TIMEOUT}' is invalid: '{given}'")
        return timeout

    def _text_ids(self) -> bool:
        kind = (self.env.get(self.ORIGINATOR_ID_TYPE) or "uuid").lower()
        if kind not in {"uuid", "text"}:
            raise OSError(f"Invalid {self.ORIGINATOR_ID_TYPE} '{kind}', must be 'uuid' or 'text'")
        return kind == "text"

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        return RedisAggregateRecorder(self.datastore, purpose)

    def application_recorder(self) -> RedisLogRecorder:
        self._check_once()
        return self._chosen(self.APPLICATION_RECORDER_TOPIC, RedisLogRecorder)(self.datastore)

    def tracking_recorder(
        self, tracking_recorder_class: type[TrackingRecorder] | None = None
    ) -> RedisTrackingRecorder:
        chosen = tracking_recorder_class or self._chosen(self.TRACKING_RECORDER_TOPIC, RedisTrackingRecorder)
        return cast("type[RedisTrackingRecorder]", chosen)(self.datastore)

    def process_recorder(self) -> RedisProcessRecorder:
        self._check_once()
        return self._chosen(self.PROCESS_RECORDER_TOPIC, RedisProcessRecorder)(self.datastore)

    def _check_once(self) -> None:
        """Before a log is opened: the server must be fit to keep one."""
        if not self._checked:
            check(self.datastore)
            self._checked = True

    def examine(self) -> Examination:
        return examine(self.datastore)

    def _chosen(self, setting: str, default: type[_R]) -> type[_R]:
        """The class that the environment names, which must be of the default's kind."""
        topic = self.env.get(setting)
        if not topic:
            return default
        chosen: Any = resolve_topic(topic)
        if not (isinstance(chosen, type) and issubclass(chosen, default)):
            raise TypeError(f"{setting} names {topic}, which is no {default.__name__}.")
        return chosen

    def close(self) -> None:
        self.datastore.close()
