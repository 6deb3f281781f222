"""Dialogues as people name them: by the beginning of the id."""

import re
from typing import Final
from uuid import UUID

from application.callosum import CorpusCallosum
from interface.session import CommandError

__all__ = ["EVERY", "dialogue_named"]

EVERY: Final = 2**62
"""As a limit: all there are."""


async def dialogue_named(callosum: CorpusCallosum, name: str) -> UUID:
    """The one dialogue whose id begins so; hyphens may be left out. A whole id is taken as it is.

    Raises:
        CommandError: no id begins so, or several do.
    """
    digits = name.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        raise CommandError(f"{name!r} is not the beginning of a dialogue's id, which has hexadecimal digits.")
    if len(digits) == 32:
        return UUID(digits)
    listed = await callosum.dialogues(limit=EVERY)
    found = [summary.dialogue for summary in listed.dialogues if summary.dialogue.hex.startswith(digits)]
    if not found:
        raise CommandError(f"No dialogue's id begins with {name}.")
    if len(found) > 1:
        some = ", ".join(map(str, found[:3])) + (" and others" if len(found) > 3 else "")
        raise CommandError(f"{len(found)} dialogues' ids begin with {name}: {some}.")
    return found[0]
