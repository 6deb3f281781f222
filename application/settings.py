"""Settings of the service.

From the call, the environment (``CALLOSUM_…``), the TOML file that ``CALLOSUM_SETTINGS`` names, or defaults, in
that order.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from application.errors import InvalidURLError, StoreSettingsError
from domain.errors import CallosumError
from domain.gate_settings import GateSettings
from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from domain.tract import Tract
from projections.folding import OnError

__all__ = [
    "IN_MEMORY",
    "Settings",
    "emergence",
    "log_file",
    "patterns",
    "sqlite_path",
    "store_environment",
    "views_path",
]

IN_MEMORY: Final = "sqlite://"
REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


class Settings(BaseSettings):
    """What can be set. An unknown name or a value out of range is a `pydantic.ValidationError`.

    Attributes:
        url: the log. ``sqlite:///callosum.db`` (a path from here), ``sqlite:////var/lib/callosum.db`` (from the
            root), ``sqlite://`` (in memory, gone when closed). On a Redis server ``redis://[user:password@]host``,
            ``rediss://…`` (TLS) or ``unix:///path/to/socket``, with ``?namespace=name`` for more than one log, and
            ``?durability=none`` where it is no harm to lose it all.
        views: the read models, a ``sqlite:`` URL; by default a file beside the log's, for a log on a server one in
            the user's cache directory. They are a cache: deleting them costs a rebuild, nothing else.
        project: whether this process keeps the read models current. Any number of processes may; one must.
        watch_gates: whether this process, where it keeps the read models current, records what the circuits come
            to; one must.
        on_error: what becomes of an event that a projection cannot fold, by the projection's name: ``fail``,
            ``retry`` or ``park``; from the environment ``consciousness=fail deliveries=retry``. Where nothing is
            said it is ``park``: the event is left out and listed, and what follows in its dialogue behind it.
        fold_timeout: seconds that folding an event may take before it counts as one that cannot be folded.
        deliver: whether what is sent here goes to consumers, too; without, it is recorded only.
        capacity: the most messages on their way to a tract, beyond which sending is refused; 0: any number. It is
            kept in the log, for all processes; None: what it is there, at first 10,000. Part of the `gate`.
        gate: how the tracts are protected: names and values of `GateSettings` and `CircuitSettings`, for one tract
            alone with its name before it; from the environment ``failure_rate_threshold=30 external.capacity=50``,
            in a file a table ``[gate]`` with tables ``[gate.external]`` in it. Kept in the log for all processes;
            what is not said is what it is there.
        ordered: the tracts whose consumers get a dialogue's messages one after the other, whatever their priority;
            from the environment, their names with commas between, or none. Kept in the log for all processes;
            None: what it is there. It can change only while a tract holds no message.
        cached_dialogues: how many the command side keeps in memory.
        emergence_window, emergence_minimum, emergence_threshold: what makes a message emergent: of the last
            `window` messages more than `minimum` go each way, and their ratio is above `threshold`. With other
            values the read models are folded anew.
        patterns: from when on something is a pattern: names and values of `PatternSettings`; from the environment
            ``monologue_messages=30 stall_seconds=120``, in a file a table ``[patterns]``. With others, but for
            `stall_seconds`, the read models are folded anew.
    """

    model_config = SettingsConfigDict(env_prefix="CALLOSUM_", env_ignore_empty=True, extra="forbid", frozen=True)

    url: str = "sqlite:///callosum.db"
    views: str | None = None
    project: bool = True
    watch_gates: bool = True
    on_error: Annotated[dict[str, OnError], NoDecode] = {}
    fold_timeout: float = Field(default=30.0, gt=0)
    deliver: bool = True
    capacity: int | None = Field(default=None, ge=0)
    gate: Annotated[dict[str, Any], NoDecode] = {}
    ordered: Annotated[frozenset[Tract] | None, NoDecode] = None
    cached_dialogues: int = Field(default=10_000, ge=1)
    emergence_window: int = Field(default=100, ge=1)
    emergence_minimum: int = Field(default=10, ge=0)
    emergence_threshold: float = Field(default=0.7, ge=0, lt=1)
    patterns: Annotated[dict[str, Any], NoDecode] = {}

    @field_validator("on_error", "patterns", mode="before")
    @classmethod
    def _by_word(cls, told: object) -> object:
        return dict(word.partition("=")[::2] for word in told.split()) if isinstance(told, str) else told

    @field_validator("gate", mode="before")
    @classmethod
    def _by_setting(cls, told: object) -> object:
        if not isinstance(told, str):
            return told
        found: dict[str, Any] = {}
        for word in told.split():
            place, _, value = word.partition("=")
            tract, _, name = place.rpartition(".")
            of = found.setdefault(tract, {}) if tract else found
            of[name] = value.split(",") if name.endswith("_errors") else value
        return found

    @field_validator("gate")
    @classmethod
    def _check_gate(cls, gate: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name, value in gate.items() if isinstance(value, dict) and name not in set(Tract)]
        if unknown:
            raise _refusal(f"there is no tract {unknown[0]}", "name=value tract.name=value")
        try:
            for tract in Tract:
                GateSettings().changed(**_gate_of(tract, gate))
        except CallosumError as error:
            raise _refusal(str(error), "name=value tract.name=value") from None
        return gate

    @field_validator("patterns")
    @classmethod
    def _check_patterns(cls, told: dict[str, Any]) -> dict[str, Any]:
        try:
            PatternSettings().changed(**told)
        except CallosumError as error:
            raise _refusal(str(error), "name=value name=value") from None
        return told

    def gate_of(self, tract: Tract) -> dict[str, Any]:
        """What is said of the gate of this tract."""
        said = {} if self.capacity is None else {"capacity": self.capacity}
        return {**said, **_gate_of(tract, self.gate)}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The call goes before the environment, and that before the file which it names."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("CALLOSUM_SETTINGS")
        if not file:
            return init_settings, env_settings
        if not Path(file).is_file():
            raise StoreSettingsError(f"CALLOSUM_SETTINGS names {file}, which is no file")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @property
    def on_disk(self) -> bool:
        """Whether another process can open the log."""
        return self.url != IN_MEMORY

    def policy_of(self, projection: str) -> OnError:
        return self.on_error.get(projection, OnError.PARK)

    @field_validator("ordered", mode="before")
    @classmethod
    def _by_name(cls, told: object) -> object:
        if not isinstance(told, str):
            return told
        return [] if told == "none" else [name.strip() for name in told.split(",")]


def _gate_of(tract: Tract, gate: dict[str, Any]) -> dict[str, Any]:
    common = {name: value for name, value in gate.items() if not isinstance(value, dict)}
    return {**common, **gate.get(tract.value, {})}


def _refusal(reason: str, form: str) -> ValueError:
    """For a sentence that names the setting already."""
    return ValueError(f"{reason[0].lower()}{reason[1:].rstrip('.')}; the form is {form}")


def emergence(settings: Settings) -> EmergenceSettings:
    return EmergenceSettings(settings.emergence_window, settings.emergence_minimum, settings.emergence_threshold)


def patterns(settings: Settings) -> PatternSettings:
    """The thresholds of the patterns."""
    return PatternSettings().changed(**settings.patterns)


def store_environment(url: str) -> dict[str, str]:
    """How the eventsourcing library is told of the store. The persistence module is named, never imported."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        return _named("infrastructure.sqlite", SQLITE_DBNAME=sqlite_path(url) or ":memory:")
    if scheme in REDIS_SCHEMES:
        return _named("infrastructure.redis_streams", REDIS_URL=url)
    raise InvalidURLError(url, f"has an unknown scheme; known are sqlite, {', '.join(REDIS_SCHEMES)}")


def _named(module: str, **more: str) -> dict[str, str]:
    """With the application's name before each, too: what the library finds so in the environment goes before."""
    settings = {"PERSISTENCE_MODULE": module, **more}
    return settings | {f"CALLOSUM_{name}": value for name, value in settings.items()}


def _scheme(url: str) -> str:
    return url.partition(":")[0]  # parsing more of it may fail, and tell the password


def log_file(url: str) -> str | None:
    """The file that the log is in, absolute; None: on a server, or in memory."""
    return sqlite_path(url) if _scheme(url) == "sqlite" else None


def sqlite_path(url: str) -> str | None:
    """The file that a ``sqlite:`` URL names, absolute, or None for in memory."""
    place = url.removeprefix(IN_MEMORY)
    if not url.startswith(IN_MEMORY) or (place and not place.startswith("/")) or "?" in place or "#" in place:
        raise InvalidURLError(url, "is not of the form sqlite:///path, sqlite:////absolute/path or sqlite://")
    if not place:
        return None
    path = unquote(place[1:])
    if not path or "\0" in path or ":memory:" in path or "mode=memory" in path:
        raise InvalidURLError(url, "names no file")
    # Absolute, because connections are opened as they are needed, wherever the process is by then.
    return str(Path(path).absolute())


def views_path(settings: Settings, epoch: str) -> str | None:
    """The read models' file; by default ``name.views.db`` beside ``name.db``. None: in memory.

    A server's log has none beside it: by default they are in the user's cache directory, under the log's epoch.
    """
    if settings.views is not None:
        return sqlite_path(settings.views)
    if _scheme(settings.url) in REDIS_SCHEMES:
        return str(_cache() / f"{epoch}.views.db")
    path = sqlite_path(settings.url)
    return None if path is None else f"{path.removesuffix('.db')}.views.db"


def _cache() -> Path:
    try:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "corpus-callosum"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise StoreSettingsError(
            f"there is no place for the read models ({error}); name one with CALLOSUM_VIEWS"
        ) from error
    return directory
