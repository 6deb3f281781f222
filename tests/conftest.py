"""Stores to run the service's tests on. The next store adds itself here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corpus_callosum import CorpusCallosum


@pytest.fixture(params=["sqlite file", "sqlite memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"sqlite file": f"sqlite:///{tmp_path}/callosum.db", "sqlite memory": "sqlite://"}[request.param]


@pytest.fixture
def lasting_url(tmp_path: Path) -> str:
    """A store that outlives the process."""
    return f"sqlite:///{tmp_path}/callosum.db"


@pytest.fixture
async def callosum(url: str) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(url) as opened:
        yield opened
