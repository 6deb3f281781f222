"""The command that records transcripts of past runs."""

from collections.abc import Sequence
from pathlib import Path

from application.callosum import CorpusCallosum
from application.importing import ImportReport
from domain.dialogue import Kind
from interface.assessing import assessed, with_assessed
from interface.encoding import as_json, plain
from interface.render import metrics_summary
from interface.session import Command, console, errors, fail, print_table, progress
from interface.text import many, one_line

__all__ = ["import_files"]


def import_files(paths: Sequence[Path], *, json: bool) -> Command:
    """Record transcripts; the status is 1 when a line was broken."""
    for path in paths:
        _check_readable(path)

    async def command(callosum: CorpusCallosum) -> int:
        with progress() as bar:
            task = bar.add_task("Reading …", total=None)

            def show(report: ImportReport) -> None:
                bar.update(task, description=_counts(report))

            report = await callosum.import_transcripts(*paths, progress=show)
        for line in report.broken:
            errors().print(one_line(f"{line.file}:{line.line}: {line.reason}"))
        if not (report.dialogues or report.present or report.broken):
            errors().print("The file holds no dialogues." if len(paths) == 1 else "The files hold no dialogues.")
        await (_imported_json if json else _imported_text)(callosum, report)
        return 1 if report.broken else 0

    return command


def _check_readable(path: Path) -> None:
    """Before a log is made for it, or other files are imported."""
    if not path.exists():
        fail(f"{path}: No such file.")
    if path.is_dir():
        fail(f"{path} is a directory.")


def _counts(report: ImportReport) -> str:
    return (
        f"{many(report.dialogues, 'dialogue')} with {many(report.messages, 'message')} recorded,"
        f" {report.present} present already, {many(len(report.broken), 'broken line')}"
    )


async def _imported_text(callosum: CorpusCallosum, report: ImportReport) -> None:
    console().print(f"{_counts(report)}.", soft_wrap=True)
    metrics = await callosum.consciousness_metrics(Kind.RECORDED)
    print_table(metrics_summary(metrics, await assessed(callosum, Kind.RECORDED)))


async def _imported_json(callosum: CorpusCallosum, report: ImportReport) -> None:
    metrics = await callosum.consciousness_metrics(Kind.RECORDED)
    document = {**plain(report), "metrics": with_assessed(metrics, await assessed(callosum, Kind.RECORDED))}
    console().print(as_json(document, indent=2), soft_wrap=True)
