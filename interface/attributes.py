"""Attributes of dialogues as people name them."""

from application.callosum import CorpusCallosum
from domain.dialogue import Kind
from interface.addressing import EVERY
from interface.session import CommandError
from interface.text import one_line

__all__ = ["check_attribute_known"]


async def check_attribute_known(callosum: CorpusCallosum, name: str, kind: Kind | None = None) -> None:
    """Without any dialogue every attribute may be asked for.

    Raises:
        CommandError: there are dialogues, but none has the attribute.
    """
    listed = await callosum.dialogues(kind=kind, limit=EVERY)
    names = {each for dialogue in listed.dialogues for each in dialogue.attributes}
    if name in names or not listed.dialogues:
        return
    there = f"there are: {', '.join(sorted(names))}" if names else "there are none"
    raise CommandError(one_line(f"No dialogue has the attribute {name!r}; {there}."))
