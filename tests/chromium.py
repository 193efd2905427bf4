"""A headless Chromium of the system, to open the page in: for its tests and its pictures."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


@contextlib.contextmanager
def headless_chromium() -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile that is thrown away. Raises FileNotFoundError where it or its driver is not there."""
    binary, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if binary is None or driver is None:
        raise FileNotFoundError("no Chromium with its driver on this machine to open the page in")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
        try:
            yield browser
        finally:
            browser.quit()


def open_page(
    browser: webdriver.Chrome, path: Path, choice: str = "", width: int = 1200, scheme: str = "light"
) -> None:
    """Open a page from the disk in a window of this width and a colour scheme, and wait until it is drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preference = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
    browser.get("about:blank")  # a page that differs in its choice alone would not be opened anew
    browser.get(f"file://{path}{choice}")
    settle(browser)


def settle(browser: webdriver.Chrome) -> None:
    """Wait for the second frame: what has changed is drawn before the first."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    )
