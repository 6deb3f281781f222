"""Asking a server whether it is fit to keep a log.

`check` runs when a log is opened: it raises what is refused, and warns of what an operator must know. `examine`
tells all there is to tell, and opens nothing.
"""

import logging
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Final

from eventsourcing.persistence import ProgrammingError

from application.doctor import Examination, Fact, Finding, Severity
from infrastructure.redis_streams.connection import Connection, Script, Word
from infrastructure.redis_streams.datastore import Datastore, Keys, refusal
from infrastructure.redis_streams.fitness import Server, advice, room, vital

__all__ = ["check", "examine"]

_PINGS: Final = 20
_FEW: Final = 100
"""Entries below which their size says little: a stream takes 4.7 KB for its first."""

_CONFIG: Final = (
    *("appendonly", "appendfsync", "save", "no-appendfsync-on-rewrite", "aof-load-truncated"),
    *("min-replicas-to-write", "maxmemory", "maxmemory-policy"),
)
_PERMISSIONS: Final = Script("permissions")

_logger = logging.getLogger("callosum.redis")


def check(datastore: Datastore) -> None:
    """Warn, in the log "callosum.redis", of what an operator must know before entrusting messages to the server.

    Raises:
        ProgrammingError: the server is not fit to keep a log; with all reasons.
        OperationalError: it cannot be reached.
    """
    with datastore.connections.borrowed() as connection:
        findings = vital(_asked(datastore, connection))
    address = datastore.connections.address
    reasons = [found.text for found in findings if found.severity is Severity.REFUSED]
    if reasons:
        raise ProgrammingError(f"Redis at {address} is refused: {'; '.join(reasons)}.")
    for found in findings:
        if found.severity is Severity.WARNING:
            _logger.warning("Redis at %s: %s.", address, found.text)


def examine(datastore: Datastore) -> Examination:
    with datastore.connections.borrowed() as connection:
        server = _asked(datastore, connection)
        ping = _round_trip(connection)
        log, told = _log(datastore, connection)
    facts = {**_facts(server), "ping_ms": ping, "namespace": datastore.namespace, **log}
    findings = [*vital(server), *advice(server), *room(server, log), told]
    return Examination(f"{server.name} at {datastore.connections.address}", facts, findings)


def _asked(datastore: Datastore, connection: Connection) -> Server:
    says: dict[str, str] = {}
    denied: dict[str, str] = {}
    for read, words in ((_configured, ("CONFIG", "GET", *_CONFIG)), (_informed, ("INFO",))):
        try:
            says |= read(connection.call(*words))
        except ProgrammingError as error:
            denied[words[0]] = _reason(error)
    forbidden: Sequence[bytes] = ()
    try:
        forbidden = connection.run(_PERMISSIONS, _one_of_each_kind(datastore.keys), [])
    except ProgrammingError as error:
        denied["EVAL"] = _reason(error)
    return Server(says, datastore.durable, denied, [_text(command) for command in forbidden])


def _one_of_each_kind(keys: Keys) -> list[Word]:
    return [keys.log, keys.head, keys.meta, keys.tracking, keys.of("stream", "0"), keys.of("idempotency", "0")]


def _configured(reply: Sequence[bytes]) -> dict[str, str]:
    """Of names and values in turns."""
    pairs = zip(map(_text, reply[::2]), map(_text, reply[1::2]), strict=True)
    return {name.replace("-", "_"): value for name, value in pairs}


def _informed(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(reply).splitlines())
    return {name: value for name, colon, value in lines if colon}


def _text(reply: bytes) -> str:
    return str(reply, "utf-8", "backslashreplace")


def _reason(error: ProgrammingError) -> str:
    """The server's own words, without its address."""
    return str(error).partition(": ")[2].rstrip(".") or str(error)


def _facts(server: Server) -> dict[str, Fact]:
    used, limit = server.memory
    says, version = server.says, server.version
    return {
        "server": server.name,
        "role": says.get("role"),
        "append_only": server.append_only,
        "appendfsync": says.get("appendfsync"),
        "save": says.get("save"),
        "waitaof": None if version is None else version >= (7, 2),
        "maxmemory_policy": says.get("maxmemory_policy"),
        "used_bytes": used,
        "limit_bytes": limit,
        "replicas": server.number("connected_slaves"),
    }


def _round_trip(connection: Connection) -> float | None:
    """Milliseconds that the server takes to answer, the median of some; None when its user may not ask."""
    taken = []
    for _ in range(_PINGS):
        began = perf_counter()
        try:
            connection.call("PING")
        except ProgrammingError:
            return None
        taken.append(perf_counter() - began)
    return round(1000 * median(taken), 3)


def _log(datastore: Datastore, connection: Connection) -> tuple[dict[str, Fact], Finding]:
    """Facts about the log, and whether it is one of this program's."""
    keys = datastore.keys
    commands = [("HMGET", keys.meta, "layout", "epoch"), ("HGET", keys.head, "position"), ("XLEN", keys.log)]
    try:
        (layout, epoch), position, entries = connection.together(commands)
    except ProgrammingError as error:
        return {}, Finding(Severity.REFUSED, "log", _reason(error))
    if layout is None and position is None and not entries:
        return {}, Finding(Severity.OK, "log", f"there is none yet in the namespace {datastore.namespace!r}")
    facts: dict[str, Fact] = {"layout": layout and _text(layout), "epoch": epoch and _text(epoch)}
    facts |= {"head": int(position or 0), "entries": entries}
    if reason := refusal(datastore.namespace, layout and _text(layout)):
        return facts, Finding(Severity.REFUSED, "log", reason)
    facts["entry_bytes"] = _entry_bytes(datastore, connection, entries)
    return facts, Finding(Severity.OK, "log", f"{entries} entries in the namespace {datastore.namespace!r}")


def _entry_bytes(datastore: Datastore, connection: Connection, entries: int) -> int | None:
    """Memory that an entry takes, from a few samples; None when there are too few entries."""
    if entries < _FEW:
        return None
    try:
        return int(connection.call("MEMORY", "USAGE", datastore.keys.log)) // entries
    except ProgrammingError:
        return None
