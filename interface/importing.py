"""The command that records transcripts of past runs, and restores exported logs."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from application.callosum import CorpusCallosum
from application.exporting import is_export
from application.importing import ImportReport
from application.restoring import RestoreReport
from domain.dialogue import Kind
from interface.assessing import assessed, with_assessed
from interface.encoding import as_json, plain
from interface.render import metrics_summary
from interface.session import Command, console, errors, fail, print_table, progress
from interface.text import many, one_line

__all__ = ["import_files"]


class _Imported(msgspec.Struct):
    """Of all files."""

    transcripts: ImportReport = msgspec.field(default_factory=ImportReport)
    logs: list[tuple[Path, RestoreReport]] = msgspec.field(default_factory=list)
    has_transcripts: bool = False

    @property
    def is_broken(self) -> bool:
        return bool(self.transcripts.broken) or any(report.broken for _, report in self.logs)


def import_files(paths: Sequence[Path], *, json: bool) -> Command:
    """Record transcripts and restore logs; the status is 1 when a line was broken."""
    for path in paths:
        _check_readable(path)

    async def command(callosum: CorpusCallosum) -> int:
        imported = await _import(callosum, paths)
        for line in imported.transcripts.broken:
            errors().print(one_line(f"{line.file}:{line.line}: {line.reason}"))
        for _, report in imported.logs:
            if report.broken:
                line = report.broken
                errors().print(one_line(f"{line.file}:{line.line}: {line.reason} The import ends here."))
        if not imported.logs and imported.transcripts == ImportReport():
            errors().print("The file holds no dialogues." if len(paths) == 1 else "The files hold no dialogues.")
        await (_imported_json if json else _imported_text)(callosum, imported)
        return 1 if imported.is_broken else 0

    return command


def _check_readable(path: Path) -> None:
    """Before a log is made for it, or other files are imported."""
    if not path.exists():
        fail(f"{path}: No such file.")
    if path.is_dir():
        fail(f"{path} is a directory.")


async def _import(callosum: CorpusCallosum, paths: Sequence[Path]) -> _Imported:
    imported = _Imported()
    with progress() as bar, ExitStack() as files:
        task = bar.add_task("Reading …", total=None)
        for path in paths:
            file = files.enter_context(path.open("rb"))
            if is_export(file):

                def show_log(report: RestoreReport) -> None:
                    bar.update(task, description=_log_counts(report))

                imported.logs.append((path, await callosum.import_log(file, show_log)))
            else:
                so_far = imported.transcripts

                def show(report: ImportReport, so_far: ImportReport = so_far) -> None:
                    bar.update(task, description=_counts(_sum(so_far, report)))

                imported.has_transcripts = True
                imported.transcripts = _sum(so_far, await callosum.import_transcripts(file, progress=show))
            files.close()
    return imported


def _sum(one: ImportReport, other: ImportReport) -> ImportReport:
    return ImportReport(
        dialogues=one.dialogues + other.dialogues,
        messages=one.messages + other.messages,
        present=one.present + other.present,
        broken=one.broken + other.broken,
        position=max(one.position, other.position),
    )


def _counts(report: ImportReport) -> str:
    return (
        f"{many(report.dialogues, 'dialogue')} with {many(report.messages, 'message')} recorded,"
        f" {report.present} present already, {many(len(report.broken), 'broken line')}"
    )


def _log_counts(report: RestoreReport) -> str:
    counts = (
        f"{many(report.events, 'event')} with {many(report.messages, 'message')} restored,"
        f" {report.present} present already"
    )
    return f"{counts}, {many(report.moved, 'time')} later than in the export" if report.moved else counts


async def _imported_text(callosum: CorpusCallosum, imported: _Imported) -> None:
    for path, report in imported.logs:
        console().print(one_line(f"{path}: {_log_counts(report)}."), soft_wrap=True)
        for gate in report.gates:
            by = f", by {gate.by}: {gate.why}" if gate.by else ""
            told = (
                f"The gate of the {gate.tract} tract is as its events tell: circuit {gate.state.replace('_', ' ')}"
            )
            console().print(one_line(f"{told}{by}; capacity {gate.capacity}."), soft_wrap=True)
    if imported.has_transcripts:
        console().print(f"{_counts(imported.transcripts)}.", soft_wrap=True)
        metrics = await callosum.consciousness_metrics(Kind.RECORDED)
        print_table(metrics_summary(metrics, await assessed(callosum, Kind.RECORDED)))


async def _imported_json(callosum: CorpusCallosum, imported: _Imported) -> None:
    metrics = await callosum.consciousness_metrics(Kind.RECORDED)
    document = {
        **plain(imported.transcripts),
        "metrics": with_assessed(metrics, await assessed(callosum, Kind.RECORDED)),
        "restored": [{"file": str(path), **plain(report)} for path, report in imported.logs],
    }
    console().print(as_json(document, indent=2), soft_wrap=True)
