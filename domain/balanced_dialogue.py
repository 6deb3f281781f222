"""Balanced dialogue: an emergence episode of a dialogue, told as a finding.

`measures.Episodes` finds the episodes; nothing is counted a second time.
"""

from typing import Final

from domain.measures import Episode
from domain.patterns import Finding

__all__ = ["BALANCED_DIALOGUE", "balanced_dialogue"]

BALANCED_DIALOGUE: Final = "balanced_dialogue"


def balanced_dialogue(episode: Episode) -> Finding:
    """The finding that an episode of a dialogue is, where ordinals are sequences."""
    first, last = episode.first_message, episode.last_message
    place = f"from message {first} to {last}"
    why = f"Both tracts took part evenly, {place}: at best in a ratio of {episode.peak_ratio:.2f}."
    return Finding(BALANCED_DIALOGUE, first, last, last - first + 1, why)
