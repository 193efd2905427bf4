"""Measure what an import costs, against the commands it runs and against the targets of the project.

    uv run tests/benchmark.py                everything, about 15 minutes
    uv run tests/benchmark.py --quick        smaller data, fewer repetitions, about 2 minutes
    uv run tests/benchmark.py --only large   one part (more than one: repeat it); --list names them

What is compared is measured in turn (A B A B ...) after a run of each that does not count, so that another
load on the machine meets both alike; figures are medians, with the lowest and the highest where these are
far apart. It makes its own logs and databases in a temporary folder, sees no logs, settings or server of the
user, and asks nobody for prices. It reports and does not judge: the exit code is 0, whatever a target says,
and 1 where something could not be measured.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import conversation_logs
import sample_logs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import ccusage_importer as ci

ROOT = Path(__file__).resolve().parent.parent
IMPORTER = ROOT / "ccusage_importer.py"
VERSION = ci.DEFAULT_CCUSAGE_VERSION
WHOSE = {"MACHINE_NAME": "machine-0001", "CCUSAGE_USER": "user-001"}
# Logs end six hours ago: an active block has a projection that moves with the clock, so that a run with
# unchanged logs would now and then have something to write.
LOGS_END = datetime.now(timezone.utc) - timedelta(hours=6)
AT_ONCE = 16  # simulated machines that import at the same time
PATIENCE = 900  # seconds
SCRATCH = "ccusage-benchmark-"


class MeasureError(Exception):
    """A program that is measured did not do what it was to do."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    repetitions: int
    large_megabytes: int
    project_days: int
    first_rows: int
    fleet_rows: int
    machines: int
    people: int
    machines_each: int
    messages: int


FULL = Size(5, 500, 200_000, 100_000, 10_000_000, 200, 100, 10, 20_000_000)
QUICK = Size(3, 50, 20_000, 10_000, 1_000_000, 20, 20, 2, 200_000)


# ---- measuring ---------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The scratch folder, the size, and ccusage as npx has it."""

    folder: Path
    size: Size
    npx: str
    native: str

    def environment(self, home: Path, **settings: str) -> dict[str, str]:
        environment = sample_logs.sandbox_environment(home)
        return environment | {"CCUSAGE_OFFLINE": "1", "CCUSAGE_TIMEZONE": "UTC"} | WHOSE | settings

    def home(self, name: str, **logs: Any) -> Path:
        home = self.folder / name
        home.mkdir()
        sample_logs.write_logs(home, **({"until": LOGS_END} | logs))
        return home


def finish(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Wait for all of them; on the way out end, by pid, those that still run."""
    processes = list(processes)
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=PATIENCE)
            if process.returncode != 0:
                words = stderr.decode("utf-8", "replace").strip()[-400:]
                raise MeasureError(f"exit {process.returncode} of {process.args!r}: {words}")
    except subprocess.TimeoutExpired as error:
        raise MeasureError(str(error)) from error
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


COMPILED = "import ccusage_importer; ccusage_importer.run_command()"


def run_importer(environment: Mapping[str, str], *arguments: str) -> None:
    """As the hourly job runs it: from the module that Python has compiled before."""
    finish([start([sys.executable, "-c", COMPILED, *arguments], {**environment, "PYTHONPATH": str(ROOT)})])


def run_together(commands: Iterable[Sequence[str]], environment: Mapping[str, str]) -> None:
    finish([start(command, environment) for command in commands])


def bare_commands(program: Sequence[str], every: bool = False) -> list[list[str]]:
    """The five reports as a user would ask for them: one command each; with `every`, all that the importer runs."""
    commands = [report.commands[ci.Dialect.AGENTS] for report in ci.REPORTS.values()]
    return [
        [*program, *command.arguments, "--json", "--offline", "--timezone", "UTC"]
        for of_report in commands
        for command in (of_report if every else of_report[:1])
    ]


@dataclass
class Times:
    """Seconds of the counted runs."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        lowest, highest = min(self.seconds), max(self.seconds)
        wide = highest - lowest > 0.2 * self.median
        return f"{self.median:.2f} s" + (f" ({lowest:.2f} to {highest:.2f})" if wide else "")


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turn(repetitions: int, actions: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
    """Run each action once uncounted, then all of them in turn."""
    for action in actions.values():
        action()
    times = {name: Times() for name in actions}
    for _ in range(repetitions):
        for name, action in actions.items():
            times[name].seconds.append(timed(action))
    return times


def line(what: str, figures: str, target: str = "", good: bool | None = None) -> None:
    verdict = "" if good is None else "ok" if good else "over"
    print(f"  {what:<52} {figures:<62} {target:<9} {verdict}".rstrip(), flush=True)


def ratio_line(what: str, ours: Times, theirs: Times, target: float | None = None) -> None:
    """How many times theirs: of what was measured in the same turn, since a machine is slower at times."""
    ratio = statistics.median(our / their for our, their in zip(ours.seconds, theirs.seconds, strict=True))
    told = f"{ours} / {theirs} = {ratio:.2f}"
    line(what, told, *(("", None) if target is None else (f"<= {target:g}", ratio <= target)))


def difference_line(what: str, ours: Times, theirs: Times, target: float) -> None:
    difference = ours.median - theirs.median
    line(what, f"{ours} - {theirs} = {difference:.2f} s", f"<= {target:g} s", difference <= target)


@contextmanager
def front(folder: Path) -> Iterator[Any]:
    """The tests' HTTP front on loopback, with an engine of its own."""
    from conftest import Server

    os.environ.pop("CCUSAGE_TEST_CLICKHOUSE_URL", None)  # what is measured stays on this machine
    folder.mkdir(exist_ok=True)
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a process of its own: the embedded engine is opened once in a process and never left."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def opened(db_path: Path) -> Iterator[ci.Store]:
    """The importer's own view of an embedded database."""
    config = ci.read_config({"CCUSAGE_DB_PATH": str(db_path), **WHOSE}, ci.make_parser().parse_args([]))
    store, _ = ci.open_ready_store(config, make_schema=not ci.has_embedded_data(config))
    assert store is not None
    try:
        yield store
    finally:
        store.close()


# ---- import: against the commands it runs ------------------------------------------------------------


def measure_import(bench: Bench) -> None:
    home = bench.home("import", days=45)
    embedded = bench.environment(home)
    with front(bench.folder / "import-server") as server:
        served = bench.environment(home, **server.settings)
        times = in_turn(
            bench.size.repetitions,
            {
                "embedded": lambda: run_importer(embedded),
                "npx": lambda: run_together(bare_commands([bench.npx, "--yes", f"ccusage@{VERSION}"]), embedded),
                "native": lambda: run_together(bare_commands([bench.native]), embedded),
                "served": lambda: run_importer(served),
            },
        )
    ratio_line("embedded / five commands through npx", times["embedded"], times["npx"], 0.5)
    ratio_line("server / five commands through npx", times["served"], times["npx"], 0.5)
    difference_line("embedded - five native commands", times["embedded"], times["native"], 0.5)
    difference_line("server - five native commands", times["served"], times["native"], 0.35)


def measure_large(bench: Bench) -> None:
    """Sessions as of a heavy user: other seeds, other messages, until there are enough."""
    home = bench.folder / "large"
    seed, size = 0, 0
    while size < bench.size.large_megabytes * 1_000_000:
        seed += 1
        sample_logs.write_logs(
            home, days=45, sessions_per_day=3, messages=120, seed=seed, until=LOGS_END - timedelta(seconds=seed)
        )
        size = sum(path.stat().st_size for path in home.rglob("*.jsonl"))
    environment = bench.environment(home)
    times = in_turn(
        bench.size.repetitions,
        {
            "import": lambda: run_importer(environment),
            "five": lambda: run_together(bare_commands([bench.native]), environment),
            "six": lambda: run_together(bare_commands([bench.native], every=True), environment),
        },
    )
    files = sum(1 for _ in home.rglob("*.jsonl"))
    line("logs", f"{size / 1e6:.0f} MB in {files} files")
    ratio_line("import / five native commands", times["import"], times["five"], 1.1)
    ratio_line("import / the six that it runs, all at once", times["import"], times["six"])
    shutil.rmtree(home)


# ---- conversations: against a plain loop in Python ----------------------------------------------------


def read_logs_in(home: Path, everything: bool = False) -> ci.LogsRead:
    """Read the logs under a home into its database, in this process."""
    os.environ["CLAUDE_CONFIG_DIR"] = str(home / ".claude")
    told = ci.LogsRead()
    with opened(home / "db") as store:
        ci.read_logs(store, lambda: "UTC", everything, told)
    if told.problems:
        raise MeasureError("; ".join(told.problems))
    return told


def first_reading(home: Path) -> tuple[float, float, ci.LogsRead]:
    """CPU seconds, the engine's start among them, and peak memory in MB of a process that reads all logs."""
    told = read_logs_in(home)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return usage.ru_utime + usage.ru_stime, peak, told


def plain_loop(home: Path) -> tuple[float, int, int]:
    """CPU seconds of what a program without an engine would do: messages and tool calls as rows, each once."""
    began = time.process_time()
    messages: dict[Any, tuple[Any, ...]] = {}
    calls: dict[str, tuple[Any, ...]] = {}
    results: dict[str, tuple[Any, ...]] = {}
    for path in home.rglob("*.jsonl"):
        for number, text in enumerate(path.read_bytes().split(b"\n")):
            try:
                told = json.loads(text)
            except ValueError:
                continue
            data = told.get("data")
            if isinstance(data, dict) and isinstance(data.get("message"), dict):
                told = told | data["message"]
            message = told.get("message") or {}
            content = message.get("content")
            blocks: list[dict[str, Any]] = (
                content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
            )
            usage = message.get("usage")
            moment = told.get("timestamp")
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00")) if moment else None
            names = ("version", "gitBranch", "sessionId", "parentUuid", "isSidechain", "agentId", "effort")
            said = (moment, path.stem, path.parent.name, *(told.get(name) for name in names))
            length = sum(len(block.get("text") or "") for block in blocks)
            if usage is not None:
                key = (message.get("id") or (path, number), told.get("requestId"))
                tokens = tuple(usage.get(f"{kind}_tokens", 0) for kind in (
                    "input", "output", "cache_creation_input", "cache_read_input"
                ))  # fmt: skip
                row = (not told.get("isSidechain"), sum(tokens), tokens, message.get("model"), length, *said)
                if key not in messages or row[:2] > messages[key][:2]:
                    messages[key] = row
            elif told.get("type") in ("user", "system"):
                messages[told.get("uuid")] = (True, 0, (), told.get("subtype"), length, *said)
            for block in blocks:
                if block.get("type") == "tool_use":
                    given = dict(block["input"])
                    file = hashlib.sha256(str(given.get("file_path", "")).encode()).hexdigest()[:16]
                    word = str(given.get("command", "")).partition(" ")[0]
                    calls[block["id"]] = (block["name"], file, word, message.get("model"), *said)
                elif block.get("type") == "tool_result":
                    result = told.get("toolUseResult")
                    patches = result.get("structuredPatch") or [] if isinstance(result, dict) else []
                    changed = [change[:1] for patch in patches for change in patch["lines"]]
                    size = len(str(block.get("content")))
                    row = (moment, block.get("is_error"), changed.count("+"), changed.count("-"), size)
                    results[block["tool_use_id"]] = row
    rows = [(name, *call, *results.get(name, ())) for name, call in calls.items()]
    return time.process_time() - began, len(messages), len(rows)


WITH_LOGS = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ccusage_importer as ci; %s; sys.exit(ci.main(['--quiet']))"
)


def readings(home: Path, repetitions: int) -> list[float]:
    """Seconds that looking for changed logs takes where there are none, once the database is open."""
    os.environ["CLAUDE_CONFIG_DIR"] = str(home / ".claude")
    with opened(home / "imported") as store:
        return [
            timed(lambda: ci.read_logs(store, lambda: "UTC", False, ci.LogsRead())) for _ in range(repetitions + 1)
        ][1:]


def measure_logs(bench: Bench) -> None:
    """What reading conversations adds to imports, most of it while ccusage runs; and the first reading of large logs."""
    home = bench.folder / "logs"
    seed, size, files = 0, 0, 0

    def more_logs() -> None:
        nonlocal seed, size, files
        seed += 1
        conversation_logs.write_conversations(home, days=45, sessions_per_day=3, turns=12, seed=seed, until=LOGS_END)
        sizes = [path.stat().st_size for path in home.rglob("*.jsonl")]
        size, files = sum(sizes), len(sizes)

    while files < 3000 and size < bench.size.large_megabytes * 1_000_000:
        more_logs()
    large = [home / ".claude" / "projects" / "-home-dev-large" / f"large-{number}.jsonl" for number in range(3)]
    some = b"".join(path.read_bytes() for path in sorted(home.rglob("*.jsonl"))[:200])
    for number, path in enumerate(large):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some[number * 2_000_000 :][:2_000_000] + b"\n")
    environment = bench.environment(home, CCUSAGE_BIN=bench.native, CCUSAGE_DB_PATH=str(home / "imported"))
    run_importer(environment, "--quiet")

    def imported(patch: str, changed: Sequence[Path] = ()) -> Callable[[], None]:
        def run() -> None:
            for path in changed:
                path.open("ab").write(b"{}\n")
            finish([start([sys.executable, "-c", WITH_LOGS % patch], environment)])

        return run

    without = "ci.read_logs = lambda *_: None"
    times = in_turn(
        bench.size.repetitions,
        {
            "three": imported("pass", large),
            "three without": imported(without, large),
        },
    )
    line("imports", f"{size / 1e6:.0f} MB in {files} files")
    nothing = Times(in_process(readings, home, bench.size.repetitions))
    line("nothing new, beside ccusage's work", f"{nothing}", "<= 0.06 s", nothing.median <= 0.06)
    difference_line("three changed logs of 2 MB - without this part", times["three"], times["three without"], 0.3)
    while size < bench.size.large_megabytes * 1_000_000:
        more_logs()
    line("first reading", f"{size / 1e6:.0f} MB in {files} files")
    plain, _, _ = in_process(plain_loop, home)
    seconds, peak, told = in_process(first_reading, home)
    line("found", f"{told.messages:,} messages, {told.tool_calls:,} uses of tools")
    figures = f"{seconds:.1f} CPU s / {plain:.1f} CPU s = {seconds / plain:.2f}"
    line("first reading / a plain loop in Python", figures, "<= 1.5", seconds / plain <= 1.5)
    line("its peak memory", f"{peak:.0f} MB", "<= 600 MB", peak <= 600)
    shutil.rmtree(home)


# ---- changes and history -----------------------------------------------------------------------------

MODELS = sample_logs.CLAUDE_MODELS[:2]


def random_usage(rng: random.Random) -> dict[str, ci.Usage]:
    """A day's usage of a project by model."""
    tokens = [[rng.randrange(1, 90_000) for _ in range(4)] for _ in MODELS]
    return {
        model: ci.Usage.of((*numbers, sum(numbers)), round(sum(numbers) * 2e-6, 9))
        for model, numbers in zip(MODELS, tokens, strict=True)
    }


def record_of(report: str, key: str, columns: Mapping[str, Any], by_model: Mapping[str, ci.Usage]) -> ci.Record:
    total = ci.sum_usage(by_model.values())
    return ci.Record(report, "claude", key, columns, total, tuple(by_model), by_model, ci.json_text(raw_row(by_model)))


def raw_row(by_model: Mapping[str, ci.Usage]) -> dict[str, Any]:
    """A row as ccusage tells it, its day, month or session aside."""

    def fields(usage: ci.Usage, cost: str) -> dict[str, Any]:
        names = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
        return {**dict(zip(names, usage.tokens[:4], strict=True)), cost: usage.cost}

    total = ci.sum_usage(by_model.values())
    return {
        **fields(total, "totalCost"),
        "totalTokens": total.total,
        "modelsUsed": list(by_model),
        "modelBreakdowns": [{"modelName": model, **fields(usage, "cost")} for model, usage in by_model.items()],
    }


def project_history(days: int, projects: int, end: date) -> Iterator[tuple[date, dict[str, dict[str, ci.Usage]]]]:
    """Each day before `end` with the usage of its projects by model."""
    rng = random.Random(7)
    for number in range(days, 0, -1):
        day = end - timedelta(days=number)
        yield day, {f"{project:08x}": random_usage(rng) for project in range(projects)}


def fill_history(db_path: Path, project_days: int, end: date) -> int:
    """Three years before `end`, by the importer's own writing: project days, days, months, sessions."""
    days = 3 * 365
    months: defaultdict[str, list[Mapping[str, ci.Usage]]] = defaultdict(list)
    plans = {name: ci.Plan(name) for name in ("daily", "monthly", "session", "projects")}
    rows = 0
    with opened(db_path) as store:
        for day, projects in project_history(days, -(-project_days // days), end):
            for project, by_model in projects.items():
                columns = {"date": day, "project_id": project}
                plans["projects"].new.append(record_of("projects", f"{day}/{project}", columns, by_model))
            whole_day = ci.sum_by_model(projects.values())
            months[f"{day:%Y-%m}"].append(whole_day)
            plans["daily"].new.append(record_of("daily", str(day), {"date": day}, whole_day))
            for number, (project, by_model) in enumerate(list(projects.items())[:10]):
                moment = datetime(day.year, day.month, day.day, 9 + number, tzinfo=timezone.utc)
                key = f"{day:%Y%m%d}-0000-4000-8000-{number:012d}"
                columns = {"session_id": key, "project_path": project, "first_activity": moment}
                columns["last_activity"] = moment
                plans["session"].new.append(record_of("session", key, columns, by_model))
            if len(plans["projects"].new) >= 20_000:
                store.write_plans([plans["projects"]])
                rows += len(plans["projects"].new)
                plans["projects"] = ci.Plan("projects")
        for month, of_days in months.items():
            columns = {"month": month, "year": int(month[:4]), "month_num": int(month[5:])}
            plans["monthly"].new.append(record_of("monthly", month, columns, ci.sum_by_model(of_days)))
        rows += len(plans["projects"].new)
        store.write_plans(plans.values())
        # as years of hourly imports have left it: these parts would be merged while the imports below are measured
        for table in (*(report.table for report in ci.REPORTS.values()), ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE):
            store.command(f"OPTIMIZE TABLE {table} FINAL")
    return rows


def measure_history(bench: Bench) -> None:
    # ext4 looks long for inodes of new files where many were deleted in the last minutes, which no hourly run meets
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=sample_logs.memory_folder()) as scratch:
        compare_history(replace(bench, folder=Path(scratch).resolve()))


def compare_history(bench: Bench) -> None:
    home = bench.home("history", days=45)
    empty, full = bench.folder / "empty-db", bench.folder / "history-db"
    on_empty = bench.environment(home, CCUSAGE_DB_PATH=str(empty))
    on_full = bench.environment(home, CCUSAGE_DB_PATH=str(full))
    run_importer(on_empty)
    run_importer(on_full)
    end = (LOGS_END - timedelta(days=46)).date().replace(day=1)
    rows = in_process(fill_history, full, bench.size.project_days, end)
    names = ("empty, changes", "history, changes", "empty, nothing new", "history, nothing new")
    times = {name: Times() for name in names}
    for repetition in range(2 * bench.size.repetitions + 1):
        sample_logs.write_logs(home, days=1, until=LOGS_END - timedelta(seconds=repetition), seed=1000 + repetition)
        for name in names:
            seconds = timed(lambda db=name: run_importer(on_empty if db.startswith("empty") else on_full))  # type: ignore[misc]
            if repetition:
                times[name].seconds.append(seconds)
    line("stored before the logs begin", f"3 years, {rows:,} project days")
    for what in ("nothing new", "changes"):
        ratio_line(f"{what}: with history / without", times[f"history, {what}"], times[f"empty, {what}"], 1.25)
    for where in ("empty", "history"):
        changes, nothing = times[f"{where}, changes"], times[f"{where}, nothing new"]
        ratio_line(f"{where}: a day's changes / nothing new", changes, nothing, 1.3)


# ---- the first import of much --------------------------------------------------------------------------


def save_big_reports(folder: Path, rows: int) -> int:
    """Saved reports with so many project days, and their days and months; returns the bytes."""
    days, projects = rows // 100, 100
    by_project: defaultdict[str, list[Any]] = defaultdict(list)
    daily: list[Any] = []
    months: defaultdict[str, list[Mapping[str, ci.Usage]]] = defaultdict(list)

    def wrapped(period: str, by_model: Mapping[str, ci.Usage]) -> dict[str, Any]:
        row = raw_row(by_model)
        return {"period": period, "agent": "all", **row, "agents": [{"agent": "claude", **row}]}

    for day, of_day in project_history(days, projects, LOGS_END.date()):
        for project, by_model in of_day.items():
            by_project[f"-home-dev-{project}"].append({"date": str(day), "project": project, **raw_row(by_model)})
        whole_day = ci.sum_by_model(of_day.values())
        daily.append(wrapped(str(day), whole_day))
        months[f"{day:%Y-%m}"].append(whole_day)
    documents: dict[str, Any] = {
        "daily": {"daily": daily},
        "monthly": {"monthly": [wrapped(month, ci.sum_by_model(of_days)) for month, of_days in months.items()]},
        "session": {"sessions": []},
        "session_agents": {"session": []},
        "blocks": {"blocks": []},
        "projects": {"projects": by_project},
    }
    ci.save_reports(
        ci.FetchedReports(
            ccusage_version=VERSION,
            timezone="UTC",
            machine_name=WHOSE["MACHINE_NAME"],
            user_name=WHOSE["CCUSAGE_USER"],
            fetched_at=LOGS_END.isoformat(timespec="seconds"),
            documents=documents,
        ),
        folder,
    )
    return sum(path.stat().st_size for path in folder.iterdir())


# The peak of a child is told by a small process: right after its start a child counts its parent's memory.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
raise SystemExit(code)
"""
LOAD_ALONE = """
import json, pathlib, sys
import clickhouse_connect, chdb
loaded = [json.loads(path.read_bytes()) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))]
"""


def peak_megabytes(command: Sequence[str], environment: Mapping[str, str]) -> float:
    result = subprocess.run(
        [sys.executable, "-c", PEAK, *command], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise MeasureError(f"exit {result.returncode} of {command}: {result.stderr[-400:]}")
    return int(result.stdout) / (1e6 if sys.platform == "darwin" else 1e3)


def measure_first(bench: Bench) -> None:
    folder, home = bench.folder / "saved", bench.folder / "first"
    home.mkdir()
    size = in_process(save_big_reports, folder, bench.size.first_rows)
    times, ours, theirs = Times(), [], []
    for repetition in range(bench.size.repetitions + 1):
        db_path = home / f"db-{repetition}"
        environment = bench.environment(home, CCUSAGE_DB_PATH=str(db_path))
        command = [sys.executable, str(IMPORTER), "--from-json", str(folder)]
        began = time.perf_counter()
        peak = peak_megabytes(command, environment)
        seconds = time.perf_counter() - began
        bare = peak_megabytes([sys.executable, "-c", LOAD_ALONE, str(folder)], environment)
        if repetition:
            times.seconds.append(seconds)
            ours.append(peak)
            theirs.append(bare)
        shutil.rmtree(db_path)
    line("rows per second", f"{bench.size.first_rows / times.median:,.0f} ({bench.size.first_rows:,} in {times})")
    peak, bare = statistics.median(ours), statistics.median(theirs)
    told = f"{peak:.0f} MB / {bare:.0f} MB = {peak / bare:.2f} (reports: {size / 1e6:.0f} MB)"
    line("peak memory / libraries and the same JSON alone", told, "<= 2", peak / bare <= 2)


# ---- statistics and queries ----------------------------------------------------------------------------

# A fleet of machines in SQL: what a machine did on a day is drawn from a hash of both.
FLEET_WHO = (
    "if(m % 5 = 0, 'codex', 'claude') AS source, concat('machine-', leftPad(toString(m), 4, '0')) AS machine_name,"
    " concat('user-', leftPad(toString({user}), 3, '0')) AS user_name"
)
FLEET_USAGE = (
    "cityHash64({seed}, n, m) AS h, h % 400000 AS input_tokens, h % 300007 AS output_tokens,"
    " h % 900001 AS cache_creation_tokens, h % 9000011 AS cache_read_tokens,"
    " input_tokens + output_tokens + cache_creation_tokens + cache_read_tokens AS total_tokens,"
    " round(total_tokens * 0.0000017, 9) AS {cost}"
)
FLEET_RAW = (
    "2 AS models_count, concat('{{\"inputTokens\":', toString(input_tokens), ',\"outputTokens\":',"
    " toString(output_tokens), ',\"cacheCreationTokens\":', toString(cache_creation_tokens), ',\"cacheReadTokens\":',"
    ' toString(cache_read_tokens), \',"totalTokens":\', toString(total_tokens), \',"modelsUsed":["claude-opus-4"],'
    '"modelBreakdowns":[{{"modelName":"claude-opus-4","cost":\', toString({cost}), \'}}]}}\') AS raw_data,'
    " h AS content_hash"
)
FLEET_STAMPS = "toDateTime(day, 'UTC') AS created_at, created_at AS updated_at"
FLEET_MODELS = (
    "arrayElement(['claude-opus-4-20250514', 'claude-sonnet-4-20250514', 'gpt-5'], 1 + cityHash64(project_id) % 3)"
)


def fleet_statements(machines: int, first: int = 0, user: str = "m % 400") -> Iterator[str]:
    """Inserts of three years: nine rows a machine and day, its months, and the hourly imports of a month.

    `first` is the number of the first machine, `user` the one of its user.
    """
    days = 3 * 365
    who = FLEET_WHO.format(user=user)
    each_day = f"{first} + n % {machines} AS m, today() - intDiv(n, {machines}) AS day"
    total = machines * days

    def usage(seed: str, cost: str = "total_cost") -> str:
        return FLEET_USAGE.format(seed=seed, cost=cost) + ", " + FLEET_RAW.format(cost=cost)

    def insert(table: str, columns: str, expressions: str, count: int) -> str:
        return (
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM"
            f" (SELECT number AS n, {expressions} FROM numbers({count}))"
        )

    owner = "source, machine_name, user_name"
    tail = f"{owner}, {', '.join(ci.USAGE_COLUMNS)}, total_cost, models_count, raw_data, content_hash, created_at, updated_at"
    project = f"n % 2 AS p, {first} + intDiv(n, 2) % {machines} AS m, today() - intDiv(n, {2 * machines}) AS day"
    yield insert(
        "ccusage_usage_projects_daily",
        f"date, project_id, {tail}",
        f"{project}, day AS date, lower(hex(toUInt32(cityHash64(m, p, intDiv(n, {180 * machines}))))) AS project_id,"
        f" {who}, {usage('2')}, {FLEET_STAMPS}",
        2 * total,
    )
    moments = "toDateTime(day, 'UTC') + 28800 + cityHash64(n) % 36000"
    yield insert(
        "ccusage_usage_sessions",
        f"session_id, project_path, first_activity, last_activity, {tail}",
        f"{each_day}, toString(reinterpretAsUUID(sipHash128(n))) AS session_id, {moments} AS first_activity,"
        f" first_activity + 3000 AS last_activity, lower(hex(toUInt32(cityHash64(m, n % 3)))) AS project_path,"
        f" {who}, {usage('3')}, {FLEET_STAMPS}",
        total,
    )
    yield insert(
        "ccusage_usage_blocks",
        "block_id, start_time, end_time, actual_end_time, is_active, is_gap, entries,"
        f" {tail.replace('total_cost', 'cost_usd')}",
        f"{each_day}, toDateTime(day, 'UTC') + 3600 * (7 + cityHash64(n) % 9) AS start_time,"
        " start_time + 18000 AS end_time, start_time + 15000 AS actual_end_time, 0 AS is_active, 0 AS is_gap,"
        " concat(formatDateTime(start_time, '%Y-%m-%dT%H:%i:%S'), '.000Z') AS block_id, 40 AS entries,"
        f" {who}, {usage('4', 'cost_usd')}, {FLEET_STAMPS}",
        total,
    )
    # days, months and models are sums of the projects, so that the tables agree as real ones do
    sums = ", ".join(f"sum({column}) AS {column}" for column in ci.USAGE_COLUMNS)
    rest = "2 AS models_count, any(raw_data) AS raw_data, any(content_hash) AS content_hash"
    stamps = "max(created_at) AS created_at, max(updated_at) AS updated_at"
    yield (
        f"INSERT INTO ccusage_usage_daily (date, {tail}) SELECT date, {owner}, {sums}, sum(total_cost) AS total_cost,"
        f" {rest}, {stamps} FROM ccusage_usage_projects_daily GROUP BY date, {owner}"
    )
    yield (
        f"INSERT INTO ccusage_usage_monthly (month, year, month_num, {tail})"
        f" SELECT formatDateTime(date, '%Y-%m') AS month, toYear(any(date)), toMonth(any(date)), {owner}, {sums},"
        f" sum(total_cost) AS total_cost, {rest}, {stamps} FROM ccusage_usage_daily GROUP BY month, {owner}"
    )
    child = f"record_type, {owner}, record_key, model_name"
    selected = f"SELECT 'daily', {owner}, toString(date) AS record_key, {FLEET_MODELS} AS model_name"
    of_day = f"FROM ccusage_usage_projects_daily GROUP BY {owner}, record_key, model_name"
    yield (
        f"INSERT INTO ccusage_model_breakdowns ({child}, {', '.join(ci.USAGE_COLUMNS)}, cost, created_at, updated_at)"
        f" {selected}, {sums}, sum(total_cost), {stamps} {of_day}"
    )
    yield f"INSERT INTO ccusage_models_used ({child}, created_at, updated_at) {selected}, {stamps} {of_day}"
    yield insert(
        "ccusage_import_history",
        "import_id, import_timestamp, machine_name, user_name, duration_seconds, status, importer_version,"
        " ccusage_version, timezone, privacy, statistics, created_at, updated_at",
        f"{first} + n % {machines} AS m, now('UTC') - 3600 * intDiv(n, {machines}) AS import_timestamp, {who},"
        " hex(cityHash64(n)) AS import_id, 0.8 AS duration_seconds, 'completed' AS status, '1' AS importer_version,"
        f" '{VERSION}' AS ccusage_version, 'UTC' AS timezone, 'sha256' AS privacy, '{{}}' AS statistics,"
        " import_timestamp AS created_at, import_timestamp AS updated_at",
        machines * 24 * 30,
    )


def fill_fleet(db_path: Path, rows: int) -> tuple[int, int]:
    """A database of a fleet; returns machines and rows."""
    machines = rows // 10_000
    with opened(db_path) as store:
        for statement in fleet_statements(machines):
            store.command(statement, None, ci.WRITE_SETTINGS)
        tables = [report.table for report in ci.REPORTS.values()]
        tables += [ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE, ci.HISTORY_TABLE]
        counts = store.query(" UNION ALL ".join(f"SELECT count() FROM {table}" for table in tables))
    return machines, sum(count for (count,) in counts)


def time_queries(db_path: Path, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each named query, one run that does not count aside."""
    queries = ci.parse_queries(ci.own_file("queries.sql"))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with opened(db_path) as store:
        for repetition in range(repetitions + 1):
            for name, query in queries.items():
                took = timed(lambda query=query: ci.ask_query(store, query))  # type: ignore[misc]
                if repetition:
                    seconds[name].append(took)
    return dict(seconds)


def measure_stats(bench: Bench) -> None:
    home = bench.folder / "stats"
    home.mkdir()
    history, fleet = bench.folder / "history-db", bench.folder / "fleet-db"
    in_process(fill_history, history, bench.size.project_days, LOGS_END.date())
    machines, rows = in_process(fill_fleet, fleet, bench.size.fleet_rows)
    for what, db_path in (
        (f"{bench.size.project_days:,} project days", history),
        (f"{machines:,} machines, {rows:,} rows", fleet),
    ):
        environment = bench.environment(home, CCUSAGE_DB_PATH=str(db_path))
        stats = in_turn(bench.size.repetitions, {"stats": lambda: run_importer(environment, "--stats")})  # noqa: B023
        line(f"{what}: --stats", str(stats["stats"]))
        seconds = {
            name: Times(times) for name, times in in_process(time_queries, db_path, bench.size.repetitions).items()
        }
        slowest = sorted(seconds, key=lambda name: -seconds[name].median)
        total = sum(times.median for times in seconds.values())
        line(f"{what}: {len(seconds)} queries", f"{total:.2f} s in all")
        for name in slowest[:5]:
            line(f"    {name}", str(seconds[name]))


# ---- a team: a database for each person, and one of Merge tables over all ------------------------------


def conversation_statements(messages: int) -> Iterator[str]:
    """Messages of the machines and projects that are stored, nine responses to a prompt, and what their models cost."""
    owner = "source, machine_name, user_name"
    days = "SELECT date, project_id, source, machine_name, user_name FROM ccusage_usage_projects_daily WHERE source = 'claude'"
    yield (
        f"INSERT INTO ccusage_model_breakdowns (record_type, {owner}, record_key, model_name,"
        f" {', '.join(ci.USAGE_COLUMNS)}, cost, created_at, updated_at)"
        f" SELECT 'project_daily', {owner}, concat(toString(date), '/', project_id), {FLEET_MODELS},"
        f" {', '.join(ci.USAGE_COLUMNS)}, total_cost, created_at, updated_at FROM ccusage_usage_projects_daily"
    )
    yield (
        "INSERT INTO ccusage_messages (message_id, kind, date, started_at, ended_at, source, machine_name, user_name,"
        " session_id, project_id, model, version, input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens,"
        " waited_ms, tool_uses, weight)"
        f" SELECT cityHash64(machine_name, date, project_id, n) AS id, if(n % 10 = 0, 'prompt', 'response'), date,"
        f" toDateTime64(date, 3, 'UTC') + 28800 + 3000 * (n % 10) + id % 3000 AS started, started + id % 60, {owner},"
        f" hex(cityHash64(machine_name, date, n % 3)), project_id, if(n % 10 = 0, '', {FLEET_MODELS}), '2.1.0',"
        " id % 4000, id % 3001, id % 9001, id % 90001, id % 60000, id % 3, id"
        f" FROM ({days}) AS days"
        f" ARRAY JOIN range(toUInt64(ceil({messages} / (SELECT greatest(count(), 1) FROM ({days}))))) AS n"
    )


TOOLS = (
    "INSERT INTO ccusage_tool_calls (tool_use_id, api_id, date, started_at, duration_ms, source, machine_name, user_name,"
    " session_id, project_id, model, tool, state, file_id, extension, lines_added, lines_removed, result_bytes, weight)"
    " SELECT cityHash64(message_id), message_id, date, started_at, message_id % 9000, source, machine_name, user_name,"
    " session_id, project_id, model, ['Read', 'Edit', 'Bash', 'Grep'][1 + message_id % 4] AS tool,"
    " if(message_id % 11 = 0, 'error', 'ok'), if(tool IN ('Read', 'Edit'), hex(cityHash64(project_id, message_id % 50)), '') AS file,"
    " if(file = '', '', 'py'), if(tool = 'Edit', message_id % 20, 0), if(tool = 'Edit', message_id % 7, 0), 2000, message_id"
    " FROM ccusage_messages WHERE kind = 'response' AND tool_uses > 0"
)


def fill_team(db_path: Path, people: int, machines: int, messages: int) -> tuple[int, int]:
    """Databases of people with so many machines each, and the one over all; returns rows of usage and messages."""
    with opened(db_path) as store:
        tables = [item.statement for item in ci.declared_schema()]
        for person in range(people):
            name = f"{store.config.database}_{person:03}"
            store.command(f"CREATE DATABASE `{name}`")
            store.client.database = name
            for statement in (
                *tables,
                *fleet_statements(machines, person * machines, f"intDiv(m, {machines})"),
                *conversation_statements(messages // people),
                TOOLS,
            ):
                store.command(statement, None, ci.WRITE_SETTINGS)
        store.client.database = store.config.database
        for item in ci.declared_schema():
            store.command(f"DROP {'VIEW' if item.select else 'TABLE'} {item.name} SYNC")
        for item in ci.declared_schema(team=store.config.database):
            store.command(item.statement)
        usage = [report.table for report in ci.REPORTS.values()] + [ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE]
        counts = store.query(" UNION ALL ".join(f"SELECT count() FROM {table}" for table in usage))
        return sum(count for (count,) in counts), store.query(f"SELECT count() FROM {ci.MESSAGES_TABLE}")[0][0]


def measure_team(bench: Bench) -> None:
    home, server_folder = bench.folder / "team", bench.folder / "team-server"
    home.mkdir()
    server_folder.mkdir()
    team = server_folder / "data"  # where the front has it, too
    people, machines = bench.size.people, bench.size.machines_each
    rows, messages = in_process(fill_team, team, people, machines, bench.size.messages)
    environment = bench.environment(home, CCUSAGE_DB_PATH=str(team))
    stats = in_turn(bench.size.repetitions, {"stats": lambda: run_importer(environment, "--stats")})
    line(f"{people} databases, {people * machines:,} machines, {rows:,} rows, {messages:,} messages", "")
    line("    --stats embedded, most of it to open the databases", str(stats["stats"]))
    with front(server_folder) as server:
        served = bench.environment(home, **server.settings)
        stats = in_turn(bench.size.repetitions, {"stats": lambda: run_importer(served, "--stats")})
    line("    --stats on a server", str(stats["stats"]), "1.5 s", stats["stats"].median <= 1.5)
    seconds = {name: Times(times) for name, times in in_process(time_queries, team, 1).items()}
    slowest = sorted(seconds, key=lambda name: -seconds[name].median)
    line(f"    {len(seconds)} queries", f"{sum(times.median for times in seconds.values()):.2f} s in all")
    for name in slowest[:10]:
        line(f"        {name}", str(seconds[name]), "3 s", seconds[name].median <= 3)


# ---- many machines -------------------------------------------------------------------------------------


def measure_fleet(bench: Bench) -> None:
    home = bench.home("fleet", days=45)
    saved = [bench.folder / "fleet-saved-1", bench.folder / "fleet-saved-2"]
    for number, folder in enumerate(saved):
        sample_logs.write_logs(home, days=1, until=LOGS_END - timedelta(seconds=number), seed=2000 + number)
        run_importer(bench.environment(home), "--dry-run", "--save-json", str(folder))

    with front(bench.folder / "fleet-server") as server:

        def one_import(number: int, folder: Path) -> float:
            """A machine has its own state folder, and so its own lock."""
            settings = {**server.settings, "XDG_STATE_HOME": str(home / "state" / str(number))}
            arguments = ["--quiet", "--from-json", str(folder), "--machine-name", f"machine-{number:04d}"]
            return timed(lambda: run_importer(bench.environment(home, **settings), *arguments))

        def parts() -> int:
            """Parts made so far: each one has taken a block number of its table, whatever it was merged into."""
            sql = "SELECT table, max(max_block_number) FROM system.parts WHERE database = currentDatabase() GROUP BY table"
            return sum(int(newest) for _, newest in server.query(sql))

        one_import(0, saved[0])  # makes the schema
        machines = bench.size.machines
        for what, folder in (
            ("first import", saved[0]),
            ("a day's changes", saved[1]),
            ("nothing new", saved[1]),
        ):
            parts_before, before = parts(), server.get("/statements")
            began = time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                seconds = list(pool.map(one_import, range(1, machines + 1), [folder] * machines))
            took = time.perf_counter() - began
            after, parts_after = server.get("/statements"), parts()
            kinds = {kind: (after[kind] - before.get(kind, 0)) / machines for kind in after}
            told = ", ".join(f"{count:.1f} {kind}" for kind, count in sorted(kinds.items()) if count)
            line(
                f"{what}: {machines} machines, {AT_ONCE} at once",
                f"{machines / took:.1f} imports/s, slowest {max(seconds):.2f} s, median {statistics.median(seconds):.2f} s",
            )
            line("    statements per import", f"{sum(kinds.values()):.1f}: {told}")
            line("    parts per import", f"{(parts_after - parts_before) / machines:.1f}")


# ---- command line --------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "import": ("an import with nothing new, 45 days of logs, against the commands", measure_import),
    "large": ("an import of large logs against the commands", measure_large),
    "logs": ("reading conversations: all of them, none, three, against a plain loop in Python", measure_logs),
    "history": ("nothing new, a day's changes, and three years of history", measure_history),
    "first": ("a first import of saved reports: rows per second, memory", measure_first),
    "stats": ("--stats and every named query on large databases", measure_stats),
    "team": ("--stats and every named query through Merge tables over a database for each person", measure_team),
    "fleet": ("machines importing at once into one server", measure_fleet),
}


def engine_version(db_path: Path) -> str:
    with opened(db_path) as store:
        return str(store.client.server_version)


def print_header(bench: Bench, quick: bool) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("clickhouse-connect", "chdb")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    engine = in_process(engine_version, bench.folder / "engine-db")
    print(f"ccusage-importer {ci.__version__}, ccusage {VERSION}, Python {platform.python_version()}")
    print(f"ClickHouse {engine}, {versions}")
    print(f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}")
    print(f"medians of {bench.size.repetitions}{', --quick' if quick else ''}; load {os.getloadavg()[0]:.1f}")


def resolved_ccusage(npx: str, environment: Mapping[str, str]) -> str:
    """The native program that npx has, fetched and run once. Looked up away from the user's settings."""
    spec = f"--package=ccusage@{VERSION}"
    command = [npx, "--yes", spec, "-c", "ccusage --version >&2; command -v ccusage"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    paths = re.findall(r"^/.*$", result.stdout, re.MULTILINE)
    native = ci.native_binary(Path(paths[-1])) if paths else None
    if result.returncode != 0 or native is None:
        raise MeasureError(f"npx gave no native ccusage {VERSION}: {result.stderr.strip()[-400:]}")
    return str(native)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer repetitions")
    parser.add_argument("--only", action="append", metavar="NAME", choices=PARTS, help="one part; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the parts")
    options = parser.parse_args(argv)
    if options.list:
        for name, (what, _) in PARTS.items():
            print(f"{name:<8} {what}")
        return 0
    npx = shutil.which("npx")
    failed = False
    with tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as scratch:
        try:
            if npx is None:
                raise MeasureError("npx is not there: install Node 20 or newer")
            folder = Path(scratch).resolve()
            native = resolved_ccusage(npx, sample_logs.sandbox_environment(folder))
            bench = Bench(folder, QUICK if options.quick else FULL, npx, native)
            print_header(bench, options.quick)
        except MeasureError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        for name in options.only or PARTS:
            what, measure = PARTS[name]
            print(f"\n{name}: {what}", flush=True)
            began = time.monotonic()
            try:
                measure(bench)
            except (MeasureError, ci.ImporterError) as error:
                failed = True
                print(f"  error: {error}", file=sys.stderr)
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
