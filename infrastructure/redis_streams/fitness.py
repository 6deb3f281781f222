"""What makes a server fit to keep a log, and what it can lose: rules over what it says of itself."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from application.doctor import Fact, Finding, Severity, size

__all__ = ["Server", "advice", "room", "vital"]

_OK, _WARNING, _REFUSED = Severity.OK, Severity.WARNING, Severity.REFUSED

_OLDEST: Final = (7, 0)
_LITTLE: Final = 0.2
"""Share of the memory that should be free."""

_REMEDY: Final = "set `appendonly yes`, or accept it with ?durability=none in the URL"

_EVERYSEC: Final = (
    "a kill -9 of the server may lose the last second (0 to 2.5 % of a run, measured), a power cut two seconds "
    "of acknowledged messages; `appendfsync always` loses none"
)
_UNSYNCED: Final = (
    "a power cut loses about 30 s of acknowledged messages, which Linux has not written yet, and a kill -9 of the "
    "server lost none where it was tried; `appendfsync always` loses none"
)
_USUAL: Final = "everysec"
_FSYNC: Final = {
    "always": (_OK, "nothing acknowledged is lost by a kill -9 or a power cut"),
    "everysec": (_WARNING, _EVERYSEC),
    "no": (_WARNING, _UNSYNCED),
}


@dataclass(frozen=True)
class Server:
    """What a server says of itself.

    Attributes:
        says: the fields of INFO and CONFIG GET, with underscores; what the user may not ask is missing.
        durable: whether the URL asks for durability.
        denied: INFO, CONFIG and EVAL, each with the server's reason why they are not answered.
        forbidden: commands that the log needs and this user may not run on it.
    """

    says: Mapping[str, str]
    durable: bool = True
    denied: Mapping[str, str] = field(default_factory=dict)
    forbidden: Sequence[str] = ()

    @property
    def name(self) -> str:
        kind = self.says.get("server_name", "redis")
        return f"{kind.capitalize()} {self.says.get(f'{kind}_version', 'of an unknown version')}"

    @property
    def version(self) -> tuple[int, ...] | None:
        """Redis' own, or the one that a server of another name is compatible with."""
        said = self.says.get("redis_version")
        return None if said is None else tuple(map(int, re.findall(r"\d+", said)[:3]))

    @property
    def append_only(self) -> bool | None:
        said = self.says.get("aof_enabled", self.says.get("appendonly"))
        return None if said is None else said in {"1", "yes"}

    @property
    def memory(self) -> tuple[int | None, int | None]:
        """Bytes used, and bytes that may be: maxmemory, or what the machine has."""
        return self.number("used_memory"), self.number("maxmemory") or self.number("total_system_memory")

    def number(self, name: str) -> int | None:
        said = self.says.get(name)
        return None if said is None else int(said)


def vital(server: Server) -> list[Finding]:
    """What decides whether a log may be kept there."""
    return _findings(server, _information, _version, _role, _permissions, _durability, _written, _eviction)


def advice(server: Server) -> list[Finding]:
    """What is good to know."""
    return _findings(server, _configuration, _usual_durability, _rewriting, _torn_end, _rewritten, _replicas)


def _findings(server: Server, *rules: Callable[[Server], Finding | None]) -> list[Finding]:
    return [found for rule in rules if (found := rule(server)) is not None]


def _information(server: Server) -> Finding | None:
    if "INFO" not in server.denied:
        return None
    untold = "its version, role, memory and what it evicts cannot be told"
    return Finding(_WARNING, "server", f"{untold}, because INFO is denied: {server.denied['INFO']}")


def _configuration(server: Server) -> Finding | None:
    if "CONFIG" not in server.denied:
        return None
    text = f"its settings cannot be told, because CONFIG is denied: {server.denied['CONFIG']}"
    return Finding(_WARNING, "server", text)


def _version(server: Server) -> Finding | None:
    if server.version is None:
        return None
    if server.version < _OLDEST:
        return Finding(_REFUSED, "version", f"{server.name} is older than Redis 7.0, which the log's scripts need")
    return Finding(_OK, "version", server.name)


def _role(server: Server) -> Finding | None:
    role = server.says.get("role")
    if role is None:
        return None
    if role == "master":
        return Finding(_OK, "role", "it is a primary")
    primary = f"{server.says.get('master_host')}:{server.says.get('master_port')}"
    return Finding(_REFUSED, "role", f"it is a replica, and only its primary {primary} takes appends")


def _permissions(server: Server) -> Finding:
    if "EVAL" in server.denied:
        text = f"its user may not run scripts on the log's keys: {server.denied['EVAL']}"
        return Finding(_REFUSED, "permissions", text)
    if server.forbidden:
        text = f"its user may not run on the log's keys and channel: {', '.join(server.forbidden)}"
        return Finding(_REFUSED, "permissions", text)
    return Finding(_OK, "permissions", "its user may run what the log needs")


def _durability(server: Server) -> Finding | None:
    if server.append_only is False:
        severity, rest = (_REFUSED, _REMEDY) if server.durable else (_WARNING, "the URL accepts it")
        return Finding(severity, "durability", f"{_unlogged(server)}; {rest}")
    fsync = server.says.get("appendfsync")
    if not server.append_only or fsync not in _FSYNC:
        return Finding(_WARNING, "durability", "what a kill -9 or a power cut loses cannot be told")
    return None if fsync == _USUAL else _synced(fsync)


def _usual_durability(server: Server) -> Finding | None:
    """The servers' default. A warning at every start would soon be read by nobody."""
    return _synced(_USUAL) if server.append_only and server.says.get("appendfsync") == _USUAL else None


def _synced(fsync: str) -> Finding:
    severity, text = _FSYNC[fsync]
    return Finding(severity, "durability", f"appendfsync {fsync}: {text}")


def _unlogged(server: Server) -> str:
    """What is lost without an append-only file."""
    lost = "appendonly no: a kill -9 or a power cut loses every message"
    if server.says.get("save") == "":
        return f"{lost}, because there are no snapshots either"
    saved, now = server.number("rdb_last_save_time"), server.number("server_time_usec")
    if saved is None or now is None:
        return f"{lost} since the last snapshot"
    changes = server.number("rdb_changes_since_last_save") or 0
    return f"{lost} since the last snapshot ({now // 1_000_000 - saved} s ago, {changes} changes)"


def _written(server: Server) -> Finding | None:
    if server.says.get("aof_last_write_status", "ok") == "ok":
        return None
    return Finding(_REFUSED, "append-only file", "its last write failed, so the server takes no appends")


def _eviction(server: Server) -> Finding | None:
    policy, limit = server.says.get("maxmemory_policy"), server.number("maxmemory") or 0
    if policy is None:
        return None
    if not policy.startswith("allkeys"):
        return Finding(_OK, "eviction", f"maxmemory-policy {policy}: nothing of the log is evicted")
    if limit:
        text = f"maxmemory-policy {policy}: the log is deleted once {size(limit)} are full; set `noeviction`"
        return Finding(_REFUSED, "eviction", text)
    text = f"maxmemory-policy {policy}: the log would be deleted, were a maxmemory set; set `noeviction`"
    return Finding(_WARNING, "eviction", text)


def _rewriting(server: Server) -> Finding | None:
    if not server.append_only or server.says.get("no_appendfsync_on_rewrite") != "yes":
        return None
    text = "no-appendfsync-on-rewrite yes: nothing is synced during a rewrite; a power cut then loses about 30 s"
    return Finding(_WARNING, "append-only file", text)


def _torn_end(server: Server) -> Finding | None:
    if not server.append_only or server.says.get("aof_load_truncated") != "no":
        return None
    text = "aof-load-truncated no: after a crash the server may not start before `redis-check-aof --fix`"
    return Finding(_WARNING, "append-only file", text)


def _rewritten(server: Server) -> Finding | None:
    if server.says.get("aof_last_bgrewrite_status", "ok") == "ok":
        return None
    return Finding(_WARNING, "append-only file", "its last rewrite failed, and it grows until one succeeds")


def _replicas(server: Server) -> Finding | None:
    needed, there = server.number("min_replicas_to_write") or 0, server.number("connected_slaves") or 0
    if there >= needed:
        return None
    text = f"min-replicas-to-write {needed}: appends are refused, because {there} are connected"
    return Finding(_WARNING, "replicas", text)


def room(server: Server, log: Mapping[str, Fact]) -> list[Finding]:
    used, limit = server.memory
    if used is None or limit is None:
        return []
    left = max(limit - used, 0)
    of = f"{size(limit)} of maxmemory" if server.number("maxmemory") else f"the machine's {size(limit)}"
    text = f"{size(used)} of {of} are used"
    if isinstance(entry := log.get("entry_bytes"), int):
        text += f"; room for about {float(f'{left / entry:.2g}'):,.0f} more entries of {size(entry)}"
    return [Finding(_OK if left >= _LITTLE * limit else _WARNING, "memory", text)]
