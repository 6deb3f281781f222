"""The projections that there are."""

from collections.abc import Callable
from functools import partial

from domain.measures import EmergenceSettings
from domain.pattern_settings import PatternSettings
from projections.consciousness import Consciousness
from projections.deliveries import Deliveries
from projections.fold import Projection
from projections.timeline import Timeline

__all__ = ["projections"]


def projections(emergence: EmergenceSettings, patterns: PatternSettings) -> dict[str, Callable[[], Projection]]:
    """What makes a new instance of each, by name: one line for each."""
    makers: list[Callable[[], Projection]] = [
        partial(Consciousness, emergence, patterns),
        Deliveries,
        Timeline,
    ]
    return {make().NAME: make for make in makers}
