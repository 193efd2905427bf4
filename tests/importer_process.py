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
# A patch: the process dies once it has written so many times. Two threads write.
DIE_AFTER_WRITES = """
import itertools
numbers = itertools.count(1)
attempt = ci.Store._attempt
def dying(self, sql, statement):
    result = attempt(self, sql, statement)
    if sql.lstrip().startswith(("INSERT", "DELETE")) and next(numbers) == {writes}:
        os.kill(os.getpid(), 9)
    return result
ci.Store._attempt = dying
"""

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    # __main__, or each importer would load it anew
    [
        *("__main__", "ccusage_importer", "clickhouse_connect.driver.client", "rich.console", "rich.table"),
        *("xml.etree.ElementTree", "importlib.resources", __name__),
    ]
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


class ImporterRun:
    """An importer that has been started: to be waited for, or killed, and then asked for its result."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], patch: str = "") -> None:
        self.arguments = list(arguments)
        self.folder = tempfile.TemporaryDirectory()
        self.output = [Path(self.folder.name) / "stdout", Path(self.folder.name) / "stderr"]
        paths = [*map(str, self.output)]
        self.process = server.Process(target=run_in_child, args=(arguments, environment, paths, patch))
        self.process.start()

    def ends_in(self, seconds: float) -> bool:
        """Wait no longer than that."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def result(self) -> subprocess.CompletedProcess[str]:
        """Raises subprocess.TimeoutExpired where it does not end."""
        with self.folder:
            if not self.ends_in(PATIENCE):
                self.kill()
                raise subprocess.TimeoutExpired(self.arguments, PATIENCE)
            # one that was killed may have opened neither
            stdout, stderr = (path.read_text(encoding="utf-8") if path.exists() else "" for path in self.output)
        return subprocess.CompletedProcess(self.arguments, self.process.exitcode or 0, stdout, stderr)


def run_importer(
    arguments: Sequence[str], environment: Mapping[str, str], patch: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the importer; raises subprocess.TimeoutExpired where it does not end.

    `patch`: some lines of code run before, with `ci` and `os`: to die at a certain step, to be less patient.
    """
    return ImporterRun(arguments, environment, patch).result()
