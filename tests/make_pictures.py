"""Make the pictures of the README: a real import of sample logs, as the program prints it.

uv run tests/make_pictures.py
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sample_logs
from rich.console import Console

import ccusage_importer

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "docs" / "import.svg"


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        sample_logs.write_logs(home)
        environment = sample_logs.sandbox_environment(home) | {"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"}
        subprocess.run([sys.executable, str(ROOT / "ccusage_importer.py"), "--quiet"], env=environment, check=True)
        os.environ.clear()
        os.environ.update(environment)
        options = ccusage_importer.make_parser().parse_args(["--stats"])
        config = ccusage_importer.read_config(os.environ, options)
        store, _ = ccusage_importer.open_ready_store(config, make_schema=False)
        assert store is not None
        statistics = ccusage_importer.fetch_statistics(store)
        console = Console(record=True, width=72, file=io.StringIO(), force_terminal=True)
        console.print("[bold]$[/bold] uv run ccusage_importer.py\n")
        ccusage_importer.print_sections(console, ccusage_importer.render_statistics(statistics, time.time()))
        TEMPLATE.write_text(console.export_svg(title="ccusage-importer"), encoding="utf-8")
        store.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
