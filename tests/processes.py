"""Running parts of a test in processes of their own, and killing them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

__all__ = ["ROOT", "interruptible", "python", "start"]


def _environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def interruptible() -> None:
    """A shell's background job ignores Ctrl-C, and so would its children. Called in the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Python with these arguments and this project on its path."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,  # noqa: PLW1509  # nothing else runs in the child before it is Python
    )


def python(*arguments: str, cwd: Path | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """The same, and wait for its end."""
    process = start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
