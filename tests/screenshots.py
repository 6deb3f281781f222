"""Pictures of reports as a browser shows them, light and dark, wide and narrow.

    python -m tests.screenshots DIRECTORY [TRANSCRIPTS…]

Of a log whose every text is an attack, of one that the demo writes, and of transcripts, if there are any.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser import MISSING, Browser, browsing
from tests.reports import make_log
from tests.terminal import callosum

WIDTHS = (1280, 400)
THEMES = ("light", "dark")


def logs(directory: Path, transcripts: list[str]) -> Iterator[tuple[str, str]]:
    """Names and URLs of logs."""
    yield "hostile", make_log(directory)
    demo = f"sqlite:///{directory}/demo.db"
    done = callosum("demo", "--url", demo, directory=directory)
    assert done.status == 0, done.err
    yield "demo", demo
    if transcripts:
        runs = f"sqlite:///{directory}/transcripts.db"
        done = callosum(
            "import", *(Path(file).resolve() for file in transcripts), "--url", runs, directory=directory
        )
        assert done.status < 2, done.err
        yield "transcripts", runs


def shoot(browser: Browser, page: Path, name: str, out: Path) -> None:
    """The overview, and the dialogue that has most findings."""
    for theme in THEMES:
        browser.prefer(theme)
        for width in WIDTHS:
            browser.get("about:blank")
            browser.get(page.as_uri())
            browser.shoot(out / f"{name}-{width}-{theme}.png", width)
            browser.ask("document.querySelector('[data-key=findings]').click()")
            browser.ask("document.querySelector('#dialogues tbody a').click()")
            browser.ask("return new Promise(resolve => setTimeout(resolve, 500))")
            browser.shoot(out / f"{name}-dialogue-{width}-{theme}.png", width)


def main(out: Path, transcripts: list[str]) -> None:
    if MISSING:
        raise SystemExit(f"There is {MISSING}")
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made, browsing() as browser:
        directory = Path(made)
        for name, url in logs(directory, transcripts):
            page = directory / f"{name}.html"
            done = callosum("report", "--out", page, "--url", url, directory=directory)
            assert done.status == 0, done.err
            shoot(browser, page, name, out)
    print(f"{len(list(out.glob('*.png')))} pictures in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
