"""Break each guarantee in a copy of the code and see its tests fail: ``make mutate``.

::

    python tests/mutate.py                      every mutation of tests/mutations.py
    python tests/mutate.py -v skip-a-position   these only, showing what pytest said

The named tests must first pass as the code is. A mutation is caught when pytest then ends with "tests failed"
(exit code 1): an import error, a syntax error or a missing test ends otherwise, and so counts as not caught. The
exit status is 1 unless everything was caught.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, only tests/ is on the path

from tests.mutations import MUTATIONS, Mutation  # noqa: E402  # see above

__all__ = ["copied", "main", "outcome", "run_tests"]

SECONDS_A_MUTATION: Final = 60
SECONDS_FOR_ALL_TESTS: Final = 180
PASSED: Final = 0
FAILED: Final = 1
TIMED_OUT: Final = -1


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """A copy of the checkout, without what git ignores, in a directory that is gone afterwards."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    with TemporaryDirectory(prefix="callosum-mutate-") as directory:
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file():  # a file may be deleted and still be listed
                target = Path(directory, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, target)
        yield Path(directory)


def run_tests(copy: Path, tests: Sequence[str], seconds: float) -> tuple[int, str]:
    """Pytest's exit code, or TIMED_OUT, and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-cov", *tests],
        cwd=copy,
        env=_environment(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what the tests have started ends with them
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return TIMED_OUT, process.communicate()[0]
    return process.returncode, printed


def _environment(copy: Path) -> dict[str, str]:
    """The copy is what is imported, also where the project is installed; and nobody measures its coverage."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
    return {**inherited, "PYTHONPATH": str(copy)}


def outcome(copy: Path, mutation: Mutation, seconds: float = SECONDS_A_MUTATION) -> tuple[str, str]:
    """ "caught", or why not; and what pytest printed."""
    path = copy / mutation.file
    before = path.read_text()
    found = before.count(mutation.old)
    if found != 1:
        return f"NOT CAUGHT: the text to replace occurs {found} times in {mutation.file}", ""
    try:
        _write(path, before.replace(mutation.old, mutation.new))
        code, printed = run_tests(copy, mutation.tests, seconds)
    finally:
        _write(path, before)
    if code == FAILED or (code == TIMED_OUT and mutation.hangs):
        return "caught", printed
    reasons = {PASSED: "its tests pass", TIMED_OUT: f"no end after {seconds} seconds"}
    return f"NOT CAUGHT: {reasons.get(code, f'pytest ended with exit code {code}')}", printed


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    # Python tells a stale compiled file by whole seconds and size, which a mutation may have in common.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)


def _chosen(names: Sequence[str]) -> list[Mutation]:
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        raise SystemExit(f"No such mutation: {', '.join(sorted(unknown))}.")
    return [mutation for mutation in MUTATIONS if not names or mutation.name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Break each guarantee and see its tests fail.")
    parser.add_argument("names", nargs="*", help="mutations to try; without any, all of them")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what pytest printed")
    options = parser.parse_args(arguments)
    mutations = _chosen(options.names)
    with copied(ROOT) as copy:
        tests = list(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
        code, printed = run_tests(copy, tests, SECONDS_FOR_ALL_TESTS)
        if code != PASSED:
            print(printed, f"The tests must pass before anything is broken; pytest ended with {code}.", sep="\n")
            return 1
        return _run(copy, mutations, verbose=options.verbose)


def _run(copy: Path, mutations: Sequence[Mutation], *, verbose: bool) -> int:
    escaped = 0
    for mutation in mutations:
        began = monotonic()
        said, printed = outcome(copy, mutation)
        escaped += said != "caught"
        print(f"{monotonic() - began:5.1f} s  {mutation.name}: {said}", flush=True)
        if verbose:
            print(printed)
    print(f"{len(mutations) - escaped} of {len(mutations)} mutations caught")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
