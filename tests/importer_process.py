"""The importer as a process of its own, forked from one that has loaded Python's part of it: 0.3 s sooner than a start.

The engine cannot be loaded before: it has threads. So most runs are one after the other in a process that has loaded it
with its first: that takes 0.6 s of a processor each instead of 1.5. What is about the start itself runs the script.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds
RUNS = 50  # of one process, in which each leaves a little of the engine's memory behind
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


def run_here(arguments: Sequence[str], environment: Mapping[str, str], output: Sequence[str], patch: str = "") -> int:
    """Run it in this process as if it had been started with these, but for lines of code before; returns its exit code."""
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
    return ccusage_importer.main(list(arguments))


def run_in_child(arguments: Sequence[str], environment: Mapping[str, str], output: Sequence[str], patch: str) -> None:
    """What a forked process does for one run."""
    sys.exit(run_here(arguments, environment, output, patch))


def run_in_turn(orders: Connection) -> None:
    """What a forked process does for many runs: each is told as arguments, environment and output, and answered."""
    with contextlib.suppress(EOFError):
        while True:
            code = run_here(*orders.recv())
            sys.stdout.flush()
            sys.stderr.flush()
            orders.send(code)


class Warm:
    """A process that runs importers in turn; another takes its place after a run that fails, and after RUNS."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # who holds it has the process
        self.process: BaseProcess | None = None
        self.left = 0

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], output: Sequence[str]) -> int:
        """The exit code, negative for a signal. Raises subprocess.TimeoutExpired where the run does not end."""
        if self.process is None or not self.left:
            self.end()
            self.orders, its = server.Pipe()
            self.process = server.Process(target=run_in_turn, args=(its,), daemon=True)
            self.process.start()
            its.close()
            self.left = RUNS
        self.left -= 1
        self.orders.send((arguments, environment, output))
        try:
            if not self.orders.poll(PATIENCE):
                raise subprocess.TimeoutExpired(arguments, PATIENCE)
            code: int = self.orders.recv()
        except EOFError:  # it died
            self.process.join()
            code = self.process.exitcode or 0
        except BaseException:
            self.end()
            raise
        if code not in range(5):
            self.end()
        return code

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.orders.close()
            self.process = None


warm = Warm()


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
            return completed(self.arguments, self.process.exitcode or 0, self.output)


def completed(arguments: Sequence[str], code: int, output: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    # one that was killed may have opened neither
    stdout, stderr = (path.read_text(encoding="utf-8") if path.exists() else "" for path in output)
    return subprocess.CompletedProcess([*arguments], code, stdout, stderr)


def run_importer(
    arguments: Sequence[str], environment: Mapping[str, str], patch: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the importer; raises subprocess.TimeoutExpired where it does not end.

    `patch`: some lines of code run before, with `ci` and `os`: to die at a certain step, to be less patient.
    """
    if patch or not warm.lock.acquire(blocking=False):
        return ImporterRun(arguments, environment, patch).result()
    with tempfile.TemporaryDirectory() as folder:
        output = [Path(folder, "stdout"), Path(folder, "stderr")]
        try:
            code = warm.run(arguments, environment, [*map(str, output)])
        finally:
            warm.lock.release()
        return completed(arguments, code, output)
