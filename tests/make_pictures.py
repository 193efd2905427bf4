"""Make the pictures of the README with the program itself, from sample logs.

uv run tests/make_pictures.py
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

import sample_logs
from chromium import headless_chromium, open_page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# Names that every machine has letters for.
PROJECTS = tuple(f"/home/dev/code/{name}" for name in ("webshop", "billing-api", "infrastructure", "docs", "notes"))
SIZE = (1200, 1500)  # of the page's pictures, in pixels


def picture_page(page: Path) -> None:
    """The upper part of the page, in both colour schemes."""
    with headless_chromium() as browser:
        for scheme in ("light", "dark"):
            open_page(browser, page, "#days=90", SIZE[0], scheme)
            clip = {"x": 0, "y": 0, "width": SIZE[0], "height": SIZE[1], "scale": 1}
            told = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
            (DOCS / f"page-{scheme}.png").write_bytes(base64.b64decode(told["data"]))


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        sample_logs.PROJECTS = PROJECTS
        sample_logs.write_logs(home, days=180)
        page = home / "usage.html"
        environment = sample_logs.sandbox_environment(home) | {"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"}
        for arguments in (
            ["--quiet"],
            ["--export", str(DOCS / "statistics.svg"), "--names"],
            ["--export", str(page), "--names"],
        ):
            command = [sys.executable, str(ROOT / "ccusage_importer.py"), *arguments]
            subprocess.run(command, env=environment, check=True)
        picture_page(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
