"""The importer as a process of its own, forked from one that has loaded Python's part of it: 0.3 s sooner than a start.

The engine cannot be loaded before: it has threads. What is about the start itself runs the script.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["ccusage_importer", "clickhouse_connect.driver.client", "rich.console", "rich.table", __name__]
)


def run_in_child(arguments: Sequence[str], environment: Mapping[str, str], output: Sequence[str], patch: str) -> None:
    """What the forked process does: as if it had been started with these, but for lines of code that are run before."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = ["ccusage_importer.py", *arguments]
    for path, descriptor in zip(output, (1, 2), strict=True):
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    import ccusage_importer

    exec(patch, {"ci": ccusage_importer, "os": os})
    sys.exit(ccusage_importer.main(list(arguments)))


def run_importer(
    arguments: Sequence[str], environment: Mapping[str, str], patch: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the importer; raises subprocess.TimeoutExpired where it does not end.

    `patch`: some lines of code run before, with `ci` and `os`: to die at a certain step, to be less patient.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = [Path(folder) / "stdout", Path(folder) / "stderr"]
        process = server.Process(target=run_in_child, args=(arguments, environment, [*map(str, output)], patch))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), PATIENCE)
        stdout, stderr = (path.read_text(encoding="utf-8") for path in output)
    return subprocess.CompletedProcess(list(arguments), process.exitcode, stdout, stderr)
