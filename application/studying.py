"""The analysis behind a study, loaded when one is made: SciPy is an extra, and takes a second to import."""

from collections.abc import Callable

from application.errors import ExtraMissingError
from application.relations import Study
from domain.dialogue import Kind
from projections.studied import StudiedSet

__all__ = ["analysis"]


def analysis() -> Callable[[StudiedSet, Kind, str, object], Study]:
    """What makes a study of dialogues (`application.study.study`).

    Raises:
        ExtraMissingError: SciPy is not installed.
    """
    try:
        from application.study import study  # noqa: PLC0415  # only who makes a study needs SciPy
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "scipy":
            raise
        raise ExtraMissingError("A study", "SciPy", "study") from None
    return study
