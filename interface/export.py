"""The command that tells the log as lines of JSON."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from application.callosum import CorpusCallosum
from application.exporting import Format
from application.read_side import Moment
from interface.encoding import shown_safely
from interface.output import check_out, whole_file
from interface.session import Command, errors, progress
from interface.text import many, one_line

__all__ = ["export_log"]


def export_log(
    form: Format,
    first: Moment | None,
    last: Moment | None,
    out: Path | None,
    *,
    url: str | None,
    force: bool,
) -> Command:
    """Every event of the log, or of a range, as a line. The file is there when it is whole.

    One that is there stays, unless `force` is said.
    """
    shows = out is not None or not sys.stdout.isatty()  # a bar among the lines would disturb them

    async def command(callosum: CorpusCallosum) -> int:
        if out is not None:
            check_out(out, url, force=force)
        start = 1 if first is None else first
        await callosum.check_range(start, last)
        count = 0
        with progress(shows=shows) as bar, _standard_output() if out is None else whole_file(out) as write:
            task = bar.add_task("Exporting", total=None)

            def show(position: int, last: int) -> None:
                if shows and (position % 1000 == 0 or position == last):
                    bar.update(task, completed=position, total=last)

            async for line in callosum.export(form, start=start, stop=last, progress=show):
                write(f"{shown_safely(line)}\n".encode())
                count += 1
        if out is not None:
            errors().print(f"{many(count, 'event')} exported to {one_line(str(out))}.")
        elif count == 0:
            errors().print("No events.")
        return 0

    return command


@contextmanager
def _standard_output() -> Iterator[Callable[[bytes], object]]:
    sys.stdout.flush()
    yield sys.stdout.buffer.write
    sys.stdout.buffer.flush()
