"""The command that writes a report."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from application.callosum import CorpusCallosum
from application.read_side import Moment
from application.settings import Settings, log_file
from domain.dialogue import Kind
from interface.addressing import dialogue_named
from interface.encoding import as_json
from interface.output import check_out, whole_file
from interface.report.gather import gather
from interface.report.page import page
from interface.session import Command, console, progress
from interface.text import many, one_line

__all__ = ["Written", "write_report"]


class Written(msgspec.Struct, frozen=True):
    """What was written: where, how many bytes, about how much, and as of which position of the log."""

    path: str
    bytes: int
    dialogues: int
    messages: int
    findings: int
    position: int


def write_report(
    names: Sequence[str],
    out: Path,
    *,
    kind: Kind | None,
    as_of: Moment | None,
    title: str | None,
    url: str | None,
    force: bool,
    json: bool,
) -> Command:
    """Write one page about all dialogues, or about some. The file is whole or not there.

    A file that is there stays, unless `force` is said.
    """

    async def command(callosum: CorpusCallosum) -> int:
        check_out(out, url, force=force)
        chosen = [await dialogue_named(callosum, name) for name in names]
        with progress() as bar:
            task = bar.add_task("Reading …", total=None)

            def show(position: int, last: int) -> None:
                bar.update(task, description=f"position {position:,} of {last:,}", completed=position, total=last)

            material = await gather(callosum, chosen=chosen, kind=kind, as_of=as_of, progress=show)
            bar.update(task, description="Writing …", total=None)
            log = _log(url)
            document = page(material, title=title or log, log=log, written=datetime.now(UTC)).encode()
            with whole_file(out) as write:
                write(document)
        written = Written(
            path=str(out),
            bytes=len(document),
            dialogues=len(material.dialogues),
            messages=sum(summary.total_messages for summary in material.dialogues),
            findings=sum(map(len, material.findings.values())),
            position=material.position,
        )
        console().print(as_json(written, indent=2) if json else _told(written), soft_wrap=True)
        return 0

    return command


def _log(url: str | None) -> str:
    """What a log is called. A server's URL may hold a password, wherever: it is not repeated."""
    path = log_file(Settings().url if url is None else url)
    return "The log of a server" if path is None else Path(path).name


def _told(written: Written) -> str:
    about = f"{many(written.dialogues, 'dialogue')}, {many(written.messages, 'message')}"
    found = many(written.findings, "finding")
    size = f"{written.bytes / 1_000_000:.1f} MB" if written.bytes >= 100_000 else f"{written.bytes / 1000:.0f} kB"
    return f"{one_line(written.path)}: {about}, {found}, as of position {written.position}; {size}."
