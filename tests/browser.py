"""A browser without a window, for tests that look at a report as a person does."""

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

__all__ = ["MISSING", "Browser", "browsing"]

DRIVER = which("chromedriver")
PROGRAM = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = (
    "no chromium and chromedriver: apt-get install chromium chromium-driver" if not (DRIVER and PROGRAM) else ""
)
"""Why there is no browser here; empty where there is one."""

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


class Browser(Chrome):
    """Chromium, with what it has logged and asked the network for."""

    def complaints(self) -> list[str]:
        """What its console has had since the last time: errors, also those of the page's policy."""
        return [entry["message"] for entry in self.get_log("browser")]  # type: ignore[no-untyped-call]  # of selenium

    def requests(self) -> list[str]:
        """What it has asked for since the last time, beside the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.get_log("performance")]  # type: ignore[no-untyped-call]  # of selenium
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if one.get("type") != "Document"]

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, theme: str) -> None:
        """What the system is set to: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def ask(self, script: str, *arguments: object) -> Any:
        return self.execute_script(script, *arguments)

    def shoot(self, file: Path, width: int, most: int = 4000) -> None:
        """A picture of the page from its top, as long as it is, or so many pixels."""
        self.resize(width)
        self.resize(width, min(most, int(self.ask("return document.documentElement.scrollHeight"))))
        file.write_bytes(b64decode(self.execute_cdp_cmd("Page.captureScreenshot", {})["data"]))


@contextmanager
def browsing() -> Iterator[Browser]:
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = PROGRAM or ""
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        browser = Browser(options=options, service=Service(DRIVER))
        try:
            yield browser
        finally:
            browser.quit()
