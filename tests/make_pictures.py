"""Make the pictures of the README with the program itself, from sample logs.

uv run tests/make_pictures.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import sample_logs

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        sample_logs.write_logs(home, days=180)
        environment = sample_logs.sandbox_environment(home) | {"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"}
        for arguments in (["--quiet"], ["--export", str(ROOT / "docs" / "statistics.svg")]):
            command = [sys.executable, str(ROOT / "ccusage_importer.py"), *arguments]
            subprocess.run(command, env=environment, check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
