"""What the tests share: real ccusage from npm, homes with sample logs, and the importer as users run it."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import clickhouse_connect
import hypothesis
import pytest
import sample_logs
from importer_process import run_importer

sys.dont_write_bytecode = False  # or each worker compiles all tests anew, 3 s of a processor in every run

if (memory := sample_logs.memory_folder()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))

# Where these are installed the importer keeps them from being loaded; hypothesis, in the tests' process, wants them.
for library in ("numpy", "pandas", "pyarrow"):
    with contextlib.suppress(ImportError):
        importlib.import_module(library)

# A busy machine is no failure.
hypothesis.settings.register_profile(
    "any machine", max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("any machine"), max_examples=400)

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "ccusage"
IMPORTER = ROOT / "ccusage_importer.py"
NEWEST = "20.0.24"
OLD_VERSIONS = ("15.9.7", "17.2.1", "18.0.11")  # which tell projects for sessions
NEW_VERSIONS = ("19.0.3", "20.0.11", NEWEST)
UV = os.environ.get("UV", "uv")  # `uv run` says where it is: it need not be on the PATH
COMPLETE_MACHINE = bool(os.environ.get("CCUSAGE_TEST_COMPLETE"))  # .ci/run sets it
USAGE_TABLES = {
    "daily": ("ccusage_usage_daily", "total_cost"),
    "monthly": ("ccusage_usage_monthly", "total_cost"),
    "session": ("ccusage_usage_sessions", "total_cost"),
    "blocks": ("ccusage_usage_blocks", "cost_usd"),
    "projects": ("ccusage_usage_projects_daily", "total_cost"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--simulations", type=int, default=0, metavar="N", help="N long simulated histories instead of the short ones"
    )
    parser.addoption("--thorough", action="store_true", help="every version, seed and kill, which takes twice as long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: one more of a kind, tried with --thorough")
    hypothesis.settings.load_profile("thorough" if config.getoption("--thorough") else "any machine")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: who waits for cron's next minute needs none."""
    return (os.cpu_count() or 1) + 1


def missing_here(what: str) -> NoReturn:
    """Skip a test on a machine that lacks a program; where everything was installed for the tests, it fails."""
    if COMPLETE_MACHINE:
        pytest.fail(f"CCUSAGE_TEST_COMPLETE is set, but {what}")
    pytest.skip(reason=f"it needs a program of the system, which `.ci/run` installs (then nothing is skipped): {what}")


def install_ccusage(version: str) -> Path:
    """ccusage of this version from npm, in a folder that stays from run to run."""
    folder = CACHE / version
    launcher = folder / "node_modules" / ".bin" / "ccusage"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not launcher.exists():
            packages = [f"ccusage@{version}"]
            if version.startswith("19."):
                packages.append("node@22")  # 19 needs a newer Node than the tests may have
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), *packages]
            subprocess.run(command, check=True, capture_output=True)
    return launcher


@pytest.fixture(scope="session")
def ccusage() -> Callable[[str], Path]:
    return install_ccusage


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups first, where there are several workers: each keeps one busy for long."""
    if not config.getoption("--thorough"):
        more = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=more)
        items[:] = [item for item in items if item not in more]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def thorough(*values: Any) -> list[Any]:
    """Parameters of a test that only --thorough tries; a tuple is several of one try."""
    tries = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*parameters, marks=pytest.mark.thorough) for parameters in tries]


MakeOnce = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Make a folder by its name, once for all workers. Copy it before you change it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder = root / f"once-{name}"
        with (root / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "complete").touch()
        return folder

    return once


@pytest.fixture(scope="session")
def sample_home(make_once: MakeOnce) -> Path:
    """46 days of logs of two agents. Copy it before you change it."""
    return make_once("sample", lambda home: sample_logs.write_logs(home, sessions_per_day=2, messages=12))


@dataclass
class Machine:
    """A home with logs, and the importer run in it as its user would."""

    home: Path
    version: str = NEWEST
    settings: dict[str, str] = field(default_factory=dict)
    server: Server | None = None

    @property
    def db_path(self) -> Path:
        return Path(self.settings.get("CCUSAGE_DB_PATH", self.home / ".local" / "share" / "ccusage-importer"))

    def environment(self, **settings: str) -> dict[str, str]:
        launcher = install_ccusage(self.version)
        environment = sample_logs.sandbox_environment(self.home)
        environment |= {"CCUSAGE_BIN": str(launcher), "CCUSAGE_OFFLINE": "1", "CCUSAGE_TIMEZONE": "UTC"}
        if self.version.startswith("19."):
            environment["PATH"] = f"{launcher.parent}:{environment['PATH']}"
        on_server = self.server.settings if self.server else {}
        merged = environment | on_server | self.settings | settings
        return {name: value for name, value in merged.items() if value != ""}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the importer; variables given as '' are unset."""
        return run_importer(arguments, self.environment(**settings))

    def run_patched(self, patch: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_importer(arguments, self.environment(), patch)

    def failing_ccusage(self, words: str) -> str:
        """For CCUSAGE_BIN: this ccusage, but the commands with these words in them fail."""
        wrapper = self.home / f"failing-ccusage-{self.version}"
        real = install_ccusage(self.version)
        failure = 'echo "disk on fire" >&2; exit 7'
        wrapper.write_text(f'#!/bin/sh\ncase " $* " in *" {words} "*) {failure} ;; esac\nexec {real} "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    def imported(self, *arguments: str, **settings: str) -> str:
        """Run the importer, expect exit code 0 and no word on stderr; returns stdout."""
        result = self.run(*arguments, **settings)
        assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
        return result.stdout

    def ccusage(self, *arguments: str) -> Any:
        """What ccusage itself says, as JSON."""
        command = [str(install_ccusage(self.version)), *arguments, "--json", "--offline", "--timezone", "UTC"]
        result = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=True)
        return json.loads(result.stdout)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.queries([sql])[0]

    def queries(self, statements: list[str]) -> list[list[tuple[Any, ...]]]:
        """Rows of several queries, for which the embedded database is opened once."""
        if self.server:
            return [self.server.query(sql) for sql in statements]
        client = clickhouse_connect.get_client(interface="chdb", path=str(self.db_path), database="ccusage")
        try:
            return [[tuple(row) for row in client.query(sql).result_rows] for sql in statements]
        finally:
            client.close()

    def sums(self, where: str = "1") -> dict[str, dict[str, tuple[int, float]]]:
        """Tokens and cost of each table by source."""
        statements = [
            f"SELECT source, sum(total_tokens), sum({cost}) FROM {table} FINAL WHERE {where} GROUP BY source"
            for table, cost in USAGE_TABLES.values()
        ]
        return {
            report: {source: (tokens, cost) for source, tokens, cost in rows}
            for report, rows in zip(USAGE_TABLES, self.queries(statements), strict=True)
        }

    def rows(self, table: str, columns: str = "* EXCEPT updated_at") -> list[tuple[Any, ...]]:
        return self.query(f"SELECT {columns} FROM {table} FINAL ORDER BY ALL")

    def everything(self) -> dict[str, list[str]]:
        """Every row of every table as text, its last bit and its times of writing included."""
        schema = (ROOT / "ccusage_clickhouse_schema.sql").read_text(encoding="utf-8")
        tables = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", schema)
        statements = [f"SELECT toString(tuple(*)) FROM {table} FINAL ORDER BY 1" for table in tables]
        rows = self.queries(statements)
        return {table: [text for (text,) in its] for table, its in zip(tables, rows, strict=True)}

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every usage row, the active block aside, with the time it was last written."""
        statements = {
            table: f"SELECT * FROM {table} FINAL {'WHERE NOT is_active' if table.endswith('blocks') else ''} ORDER BY ALL"
            for table, _ in USAGE_TABLES.values()
        }
        for table in ("ccusage_model_breakdowns", "ccusage_models_used"):
            statements[table] = f"SELECT * FROM {table} FINAL WHERE record_type != 'block' ORDER BY ALL"
        return dict(zip(statements, self.queries(list(statements.values())), strict=True))

    def delete_logs_before(self, days: float, whole_days: bool = False) -> int:
        """What Claude Code does: delete log files that are older; returns how many.

        With `whole_days` no day loses some of its logs alone: younger files of that day stay, and it with them.
        """
        limit = (datetime.now(timezone.utc) - timedelta(days=days)).timestamp()
        paths = list(self.home.rglob("*.jsonl"))
        old = {path for path in paths if path.stat().st_mtime < limit}
        its_days = {path: set(re.findall(r'"timestamp":"([0-9-]{10})T', path.read_text("utf-8"))) for path in paths}
        while whole_days:
            kept_days = {day for path in paths if path not in old for day in its_days[path]}
            staying = {path for path in old if its_days[path] & kept_days}
            if not staying:
                break
            old -= staying
        for path in old:
            path.unlink()
        return len(old)


class Server:
    """A ClickHouse over HTTP in a process of its own: the front of the tests, or CCUSAGE_TEST_CLICKHOUSE_URL."""

    def __init__(self, folder: Path, *arguments: str, python: str = sys.executable) -> None:
        self.folder = folder
        self.arguments = arguments
        self.python = python
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        # another engine, users and certificates are the front's own: an upstream server has none of the tests'
        is_plain = python == sys.executable and not arguments
        self.upstream = os.environ.get("CCUSAGE_TEST_CLICKHOUSE_URL") if is_plain else None
        self.database = f"ccusage_test_{uuid.uuid4().hex}" if self.upstream else "ccusage"
        self.start()

    def start(self) -> None:
        where = ["--upstream", self.upstream] if self.upstream else ["--path", str(self.folder / "data")]
        command = [self.python, str(ROOT / "tests" / "clickhouse_front.py"), *where]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the front did not start"
        self.port = json.loads(line)["port"]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @property
    def settings(self) -> dict[str, str]:
        return {"CH_HOST": "127.0.0.1", "CH_PORT": str(self.port), "CH_DATABASE": self.database}

    def post(self, path: str, body: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as response:
            text: str = response.read().decode()
            return text

    def fail(self, *faults: dict[str, Any]) -> None:
        """Misbehave from now on; without faults: behave."""
        self.post("/fault", json.dumps(faults))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        answer = json.loads(self.post(f"/?database={self.database}", f"{sql} FORMAT JSONCompact"))
        return [tuple(self._typed(row, answer["meta"])) for row in answer["data"]]

    @staticmethod
    def _typed(row: list[Any], meta: list[dict[str, str]]) -> Iterator[Any]:
        """JSON has 64-bit integers as texts."""
        for value, column in zip(row, meta, strict=True):
            yield int(value) if column["type"] in ("UInt64", "Int64") else value

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as response:
            return json.load(response)

    def recover(self) -> None:
        """Behave again; what was to fail must have failed."""
        assert all(self.get("/fault")), "the fault did not happen"
        self.fail()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    if server.upstream and server.process:
        server.post("/", f"DROP DATABASE IF EXISTS {server.database}")
    server.stop()


PYTHONS = {
    "engine-25.8": ["chdb==3.7.2", "pandas", "pyarrow", "lz4", "backports.zstd"],
    "parquet-readers": ["pandas>=2.2,<4", "pyarrow>=17,<25"],
    "pyiceberg": ["pyiceberg>=0.10,<1", "pyarrow>=17,<27"],
}


def install_python(name: str) -> str:
    """A Python with packages that pyproject.toml keeps out (hence --no-config), in a folder that stays from run to run."""
    folder = ROOT / ".cache" / name
    python = folder / "bin" / "python"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            uv = [UV, "--no-config", "--quiet"]
            subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
            subprocess.run([*uv, "pip", "install", "--python", str(python), *PYTHONS[name]], check=True)
            (folder / "complete").touch()
    return str(python)


@pytest.fixture(scope="session")
def oldest_engine() -> str:
    """chDB 3.7, which carries the oldest supported engine, 25.8."""
    return install_python("engine-25.8")


@pytest.fixture(scope="session")
def parquet_readers() -> str:
    """pandas and pyarrow, with which many will read an archive."""
    return install_python("parquet-readers")


@pytest.fixture(scope="session")
def pyiceberg() -> str:
    """pyiceberg, with which many will read a lake."""
    return install_python("pyiceberg")


@pytest.fixture
def machine(sample_home: Path, tmp_path: Path) -> Machine:
    """A machine with its own copy of the sample logs and an empty database."""
    home = tmp_path / "home"
    shutil.copytree(sample_home, home)
    return Machine(home)


@pytest.fixture
def imported_by(sample_home: Path, make_once: MakeOnce, tmp_path: Path) -> Callable[[str], Machine]:
    """A machine whose sample logs this version of ccusage has just brought into an embedded database."""

    def make(version: str) -> Machine:
        def first_import(folder: Path) -> None:
            shutil.copytree(sample_home, folder / "home")
            Machine(folder / "home", version).imported("--quiet")

        shutil.copytree(make_once(f"imported-{version}", first_import) / "home", tmp_path / "home", symlinks=True)
        return Machine(tmp_path / "home", version)

    return make


@pytest.fixture
def laptop(imported_by: Callable[[str], Machine]) -> Machine:
    return imported_by(NEWEST)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, str]:
    """This process led away from the user's own data, for tests that call main()."""
    for name in list(os.environ):
        if name.startswith(sample_logs.PRIVATE_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return os.environ


if __name__ == "__main__":  # what the tests would install while they run
    with ThreadPoolExecutor() as pool:
        list(pool.map(install_ccusage, OLD_VERSIONS + NEW_VERSIONS))
        list(pool.map(install_python, PYTHONS))
