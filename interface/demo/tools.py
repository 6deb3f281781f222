"""The three tools of the demo, which look at files: list a directory, count a file's lines, search for a word.

They read what a survey may read: no hidden entries, no links, no binary files and none beyond 1 MiB. Each is
bounded, so that a survey ends on any directory. What cannot be read is an answer too: a `Failure`.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from keyword import kwlist
from pathlib import Path
from stat import S_ISREG
from typing import Final, assert_never

from interface.demo.survey import Answer, Failure, LineCount, Listing, Matches, Question, Tool

__all__ = ["answer"]

MOST_BYTES: Final = 1024 * 1024
MOST_ENTRIES: Final = 1000
MOST_LISTED: Final = 200
MOST_PATH: Final = 400
MOST_SEARCHED: Final = 200
MOST_SEARCHED_DIRECTORIES: Final = 64
MOST_SEARCHED_BYTES: Final = 16 * 1024 * 1024

_PASSED_OVER: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
_DEFINITION: Final = re.compile(
    r"^[ \t]*(?:export |async )?(?:class|def|fn|func|function|struct) +([A-Za-z]\w{3,39})", re.MULTILINE
)
_WORD: Final = re.compile(r"[^\W\d_]{6,30}")


def answer(root: Path, question: Question) -> Answer:
    """Ask a tool. Blocks while it reads files."""
    try:
        match question.tool:
            case Tool.LIST:
                return _list(root, question.about)
            case Tool.COUNT:
                return _count(root, question.about)
            case Tool.SEARCH:
                return _search(root, question.about)
            case _:
                assert_never(question.tool)
    except OSError as error:
        return Failure(question.about, error.strerror or str(error))


def _list(root: Path, about: str) -> Listing:
    directories: list[str] = []
    files: list[tuple[str, int]] = []
    with os.scandir(root / about) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries[:MOST_ENTRIES]:
        if not _is_listed(entry, about):
            continue
        if entry.is_dir(follow_symlinks=False) and len(directories) < MOST_LISTED:
            directories.append(entry.name)
        elif len(files) < MOST_LISTED and _is_text(entry):
            files.append((entry.name, entry.stat(follow_symlinks=False).st_size))
    return Listing(about, directories, files, len(entries) - len(directories) - len(files))


def _is_listed(entry: os.DirEntry[str], about: str) -> bool:
    if entry.name.startswith(".") or entry.name in _PASSED_OVER or len(about) + len(entry.name) >= MOST_PATH:
        return False
    # A name that is not valid UTF-8 cannot stand in a payload.
    return not any("\ud800" <= character <= "\udfff" for character in entry.name)


def _is_text(entry: os.DirEntry[str]) -> bool:
    """Whether counting may be asked for; a file that cannot be opened is, and the answer will say why not."""
    try:
        if not entry.is_file(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_size > MOST_BYTES:
            return False
        return _text_of(Path(entry.path), 1024) is not None
    except OSError:
        return True


def _text_of(path: Path, most: int = MOST_BYTES) -> str | None:
    """The beginning of a file's text; None when it is binary, or no file."""
    status = path.lstat()
    if not S_ISREG(status.st_mode):
        return None
    if status.st_size == 0:
        return ""  # the files of /proc have this size too, and reading some of those never ends
    with path.open("rb") as file:
        content = file.read(most)
    return None if b"\0" in content else content.decode(errors="replace")


def _count(root: Path, about: str) -> LineCount | Failure:
    text = _text_of(root / about)
    if text is None:
        return Failure(about, "it is not text")
    lines = text.count("\n") + (text != "" and not text.endswith("\n"))
    return LineCount(about, lines, _frequent(_DEFINITION, text, 20), _frequent(_WORD, text, 10))


def _frequent(pattern: re.Pattern[str], text: str, most: int) -> list[str]:
    words = Counter(word for word in pattern.findall(text) if word not in kwlist)
    return [word for word, _ in words.most_common(most)]


def _search(root: Path, word: str) -> Matches:
    pattern = re.compile(rf"\b{re.escape(word)}\b")
    counts = [len(pattern.findall(text)) for text in _texts(root)]
    return Matches(word, sum(counts), sum(count > 0 for count in counts), len(counts))


def _texts(root: Path) -> Iterator[str]:
    """The text of files below a directory, level by level; those that cannot be read are left out."""
    directories, searched, size = ["."], 0, 0
    for directory in islice(directories, MOST_SEARCHED_DIRECTORIES):  # it grows on the way
        listing = answer(root, Question(Tool.LIST, directory))
        if not isinstance(listing, Listing):
            continue
        directories += [f"{directory}/{name}" for name in listing.directories]
        for name, _ in listing.files:
            if searched == MOST_SEARCHED or size > MOST_SEARCHED_BYTES:
                return
            text = _readable(root / directory / name)
            if text is not None:
                searched, size = searched + 1, size + len(text)
                yield text


def _readable(path: Path) -> str | None:
    try:
        return _text_of(path)
    except OSError:
        return None
