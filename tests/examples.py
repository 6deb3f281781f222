"""How many examples a property test takes: as many as conftest.py's profile says, or fewer where each is slow."""

from hypothesis import settings

__all__ = ["few"]

few = settings(max_examples=settings().max_examples // 3)
