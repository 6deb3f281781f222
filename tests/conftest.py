"""Stores to run the service's tests on. The next store adds itself here."""

import re
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from coverage import Coverage
from hypothesis import is_hypothesis_test, settings

from application.settings import IN_MEMORY
from corpus_callosum import CorpusCallosum, Settings
from infrastructure.redis_streams.binaries import Binary
from tests.redis_stores import shared_server
from tests.servers import (  # noqa: F401  # fixtures
    BINARIES,
    certificates,
    private_server,
    redis_binary,
    redis_server,
    tls_server,
)

STORES = {"sqlite file": None, **{binary.name: binary for binary in BINARIES[:1]}}
"""What is above the store runs on these; the store's own tests run on every server, one of them in `make test`."""

IN_MEMORY_TOO = [*STORES, pytest.param("sqlite memory", marks=pytest.mark.stress)]
"""The store's own tests run in memory, too; what is above it, in the long run."""

# Which tests `make test` runs on which store, and which `make stress` runs in its stead, is decided here, by file.
# What is in no list is above the store: `make test` runs it on SQLite, `make stress` on servers.

ON_THE_FIRST_SERVER = re.compile(
    r"test_(cli_stores|delivery_faults|delivery_processes|demo|doctor|durability|layouts|linearizability|lost_tail"
    r"|operations|permits|private_server|proxy|redis_\w+|subscription)\.py"
    r"|test_follow_gap\.py::TestAFollowerWhoseServer"
    r"|test_export\.py::test_a_live_log_comes_back_whole.*sqlite file.*jsonl"
    r"|test_reactive_streams\.py::test_a_subscriber_never_holds_more_than_it_asked_for"
    r"|test_service\.py::TestIdempotency"
)
"""The contract of stores, what kills and crowds do to it, what it loses and tells, and its operation."""

ON_ANOTHER_STORE = re.compile(
    r"test_sqlite_store\.py.*[Mm]emory"
    r"|test_rebuild_stores\.py"
    r"|test_reactive_streams\.py.*\[sqlite memory"
    r"|test_demo\.py::test_a_kill"
)
"""What takes seconds and another store, or another test, tells as well."""

settings.register_profile("short", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=500, deadline=None)
settings.load_profile("short")  # `make stress` takes the long one

SERVER = re.compile(r"(?:redis|valkey)[ _][\d.]+")
"""In the id of a test that runs on one."""

AGAIN = re.compile(
    r"test_(admission|as_of|backtest|circuit_laws|cli|cli_activity|cli_export|cli_findings|cli_measures"
    r"|cli_study|conformance|dead_letters|deliveries|delivery_processes|delivery_windows|explanation"
    r"|export|export_kills|extending|follow_findings|follow_gap|gate_kills|gate_scenarios|gate_troubles"
    r"|gates|guarantees|linearizability|load|operations|overload|patterns|poison|private_server|processes"
    r"|projection_service|projections|proxy|queries|reactive_streams|read_side|reading|readme|rebuild"
    r"|rebuild_kills|rebuild_stores|redis_delivery_kills|redis_faults|redis_kills|redis_refusals"
    r"|redis_store|report_browser|runs|settling|shedding|sqlite_store|significance|steps|subscription"
    r"|verification)\.py"
)
"""Tests that run lines which others have run: in crowds, in processes, a hundred times over.

Measuring takes half as long again. All of them together would add 5 % to the coverage that is measured."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _is_for_every_day(item):
            item.add_marker(pytest.mark.stress)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What is not measured is not traced at all: not its fixtures, nor the threads that they start.

    In a process of pytest-xdist one measurement lies under another, and pytest-cov's `no_cover` stops only that.
    """
    stopped: list[Coverage] = []
    if AGAIN.search(item.nodeid) or is_hypothesis_test(getattr(item, "obj", None)):
        while (measuring := Coverage.current()) is not None:
            measuring.stop()
            stopped.append(measuring)
    try:
        return (yield)
    finally:
        for measuring in reversed(stopped):
            measuring.start()


def _is_for_every_day(item: pytest.Item) -> bool:
    if ON_ANOTHER_STORE.search(item.nodeid):
        return False
    servers = {found.replace("_", " ") for found in SERVER.findall(item.nodeid)}
    first = {binary.name for binary in BINARIES[:1]}
    return not servers or (servers == first and ON_THE_FIRST_SERVER.search(item.nodeid) is not None)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the read models of a server's log are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def url_of(binary: Binary | None, name: str, directory: Path) -> str:
    if binary is not None:
        return f"{shared_server(binary).url}?namespace={uuid4().hex}"
    return "sqlite://" if name == "sqlite memory" else f"sqlite:///{directory}/callosum.db"


@pytest.fixture(params=IN_MEMORY_TOO)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(STORES.get(request.param), request.param, tmp_path)


@pytest.fixture(params=STORES)
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that outlives the process."""
    return url_of(STORES[request.param], request.param, tmp_path)


@pytest.fixture
async def callosum(url: str) -> AsyncIterator[CorpusCallosum]:
    """Commands, the log and delivery. Keeping read models current takes half of a short test's time."""
    async with CorpusCallosum.open(settings=Settings(url=url, project=False, views=IN_MEMORY)) as opened:
        yield opened


@pytest.fixture
async def projecting(url: str) -> AsyncIterator[CorpusCallosum]:
    """The same with the read models."""
    async with CorpusCallosum.open(url) as opened:
        yield opened


@pytest.fixture
async def dialogue(callosum: CorpusCallosum) -> UUID:
    return await callosum.open_dialogue("a subject")
