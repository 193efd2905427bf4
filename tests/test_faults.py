"""Whatever breaks, the next clean run leaves every table exact, and no fault makes them worse.

The engine is real, embedded or behind HTTP; what breaks is the process, the network, the disk, ccusage.
Imports here read saved reports (--from-json) where it is the store that is tested.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
import sample_logs
from clickhouse_connect.driver.exceptions import DatabaseError
from conftest import IMPORTER, NEWEST, ROOT, USAGE_TABLES, Machine, MakeOnce, Server, install_ccusage, thorough
from importer_process import DIE_AFTER_WRITES, run_importer

import ccusage_importer as ci

ALL_TABLES = [*(table for table, _ in USAGE_TABLES.values()), "ccusage_model_breakdowns", "ccusage_models_used"]


@dataclasses.dataclass
class Story:
    """Three states of one machine's reports: at first, grown, and after the older logs are gone."""

    first: Path
    grown: Path
    cleaned: Path


@pytest.fixture(scope="session")
def story(make_once: MakeOnce) -> Story:
    folder = make_once("story", tell_story)
    return Story(folder / "first", folder / "grown", folder / "cleaned")


def tell_story(folder: Path) -> None:
    """Saved reports of real ccusage: what a machine tells on three days."""
    machine = Machine(folder / "home", settings={"MACHINE_NAME": "m", "CCUSAGE_USER": "u"})
    until = datetime.now(timezone.utc) - timedelta(days=1)
    sample_logs.write_logs(machine.home, days=12, sessions_per_day=1, messages=6, until=until)
    machine.imported("--dry-run", "--save-json", str(folder / "first"))
    sample_logs.write_logs(machine.home, days=1, sessions_per_day=3, messages=6, seed=99)
    for path in list((machine.home / ".claude").rglob("*.jsonl"))[:2]:  # two old sessions go on
        line = [x for x in path.read_text(encoding="utf-8").splitlines() if '"usage":{' in x and x.endswith("}")][-1]
        message = json.loads(line)
        message["requestId"] = message["message"]["id"] = f"more_{path.stem}"
        with path.open("a", encoding="utf-8") as file:
            file.write(sample_logs.compact(message) + "\n")
    machine.imported("--dry-run", "--save-json", str(folder / "grown"))
    machine.delete_logs_before(days=6)
    machine.imported("--dry-run", "--save-json", str(folder / "cleaned"))


def run(folder: Path, settings: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    """Import saved reports."""
    return run_patched("", folder, settings | more)


def run_patched(
    patch: str, folder: Path, settings: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Import saved reports with some lines of code run before."""
    environment = sample_logs.sandbox_environment(Path(settings["HOME"])) | settings
    return run_importer(["--quiet", "--from-json", str(folder), *arguments], environment, textwrap.dedent(patch))


def run_script(folder: Path, settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Import saved reports by the command that a user gives."""
    environment = sample_logs.sandbox_environment(Path(settings["HOME"])) | settings
    command = [sys.executable, str(IMPORTER), "--quiet", "--from-json", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def ok(result: subprocess.CompletedProcess[str]) -> None:
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def embedded(home: Path) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "CCUSAGE_DB_PATH": str(home / "db")}


def served(home: Path, server: Server) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), **server.settings}


def contents(query: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Every usage row with its child rows; when it was written aside. Dollars to 1e-8."""
    rows = {
        table: query(f"SELECT * EXCEPT (created_at, updated_at) FROM {table} FINAL ORDER BY ALL")
        for table in ALL_TABLES
    }
    return {
        table: [tuple(round(value, 8) if isinstance(value, float) else value for value in row) for row in table_rows]
        for table, table_rows in rows.items()
    }


def embedded_contents(settings: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb", path=settings["CCUSAGE_DB_PATH"], database="ccusage")
    try:
        return contents(lambda sql: [tuple(row) for row in client.query(sql).result_rows])
    finally:
        client.close()


@pytest.fixture(scope="session")
def expected(story: Story, make_once: MakeOnce) -> dict[str, list[tuple[Any, ...]]]:
    """The tables after undisturbed imports of the three states."""

    def live(folder: Path) -> None:
        for state in (story.first, story.grown, story.cleaned):
            ok(run(state, embedded(folder)))
        (folder / "contents").write_bytes(pickle.dumps(embedded_contents(embedded(folder))))

    contents = make_once("expected", live) / "contents"
    return cast("dict[str, list[tuple[Any, ...]]]", pickle.loads(contents.read_bytes()))


# ---- the process dies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first_step", [1, *thorough(2, 3)])
def test_killed_between_any_two_statements(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], tmp_path: Path, first_step: int
) -> None:
    """SIGKILL after each write of an import; then the logs are gone, and the next run is exact."""
    base = embedded(tmp_path / "base")
    ok(run(story.first, base))
    kills = 0
    for step in range(first_step, 99, 3):
        settings = embedded(tmp_path / str(step))
        shutil.copytree(base["CCUSAGE_DB_PATH"], settings["CCUSAGE_DB_PATH"], symlinks=True)
        result = run_patched(DIE_AFTER_WRITES.format(writes=step), story.grown, settings)
        if result.returncode == 0:
            break  # there are fewer statements than that
        assert result.returncode == -signal.SIGKILL, result.stderr
        kills += 1
        ok(run(story.cleaned, settings))
        left = embedded_contents(settings)
        for table in ALL_TABLES:
            assert set(left[table]) ^ set(expected[table]) == set(), f"{table}, killed at statement {step}"
        assert left == expected, f"killed at statement {step}"
        shutil.rmtree(settings["HOME"])
    assert kills > 4, kills


DIE_AFTER = """
    import os, threading
    write = ci.Store.write_plans
    def dying(*arguments, **keywords):
        threading.Timer({seconds}, os.kill, (os.getpid(), 9)).start()
        write(*arguments, **keywords)
    ci.Store.write_plans = dying
"""


@pytest.mark.parametrize("where", ["embedded", *thorough("server")])
def test_killed_at_random_times(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    """SIGKILL some time after the first write: the embedded engine dies in the middle of one, a server lives on."""
    server: Server | None = request.getfixturevalue("server") if where == "server" else None
    rng = random.Random(1)
    in_the_middle = 0
    base = embedded(tmp_path / "base")
    if server is None:
        ok(run(story.first, base))
    for number in range(2):
        home = tmp_path / str(number)
        settings = embedded(home)
        if server is None:
            shutil.copytree(base["CCUSAGE_DB_PATH"], settings["CCUSAGE_DB_PATH"], symlinks=True)
        else:
            server.database = f"ccusage_test_{number}"
            settings = served(home, server)
            ok(run(story.first, settings))
        result = run_patched(DIE_AFTER.format(seconds=rng.uniform(0, 0.1)), story.grown, settings)
        assert result.returncode == -signal.SIGKILL, result.stderr
        in_the_middle += bool(list(home.rglob("pending/*/manifest.json")))
        ok(run(story.cleaned, settings))
        if server is None:
            assert embedded_contents(settings) == expected
        else:
            assert contents(server.query) == as_json(expected)
            server.post("/", f"DROP DATABASE {server.database}")
    assert in_the_middle, "every write had ended"


def as_json(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Values as the front's JSON has them."""
    return {
        table: [tuple(str(v) if isinstance(v, datetime) or hasattr(v, "isoformat") else v for v in row) for row in rows]
        for table, rows in tables.items()
    }


# ---- the server fails ---------------------------------------------------------------------------------

# The faults of a line meet different statements of one import.
PASSING: dict[str, list[dict[str, Any]]] = {
    "a connection and replies are lost": [
        {"kind": "drop_before", "match": "INSERT INTO ccusage_usage_daily"},
        {"kind": "drop_after", "match": "INSERT INTO ccusage_usage_sessions"},
        {"kind": "drop_after", "match": "INSERT INTO ccusage_model_breakdowns"},
        {"kind": "drop_after", "match": "DELETE FROM ccusage_usage_blocks"},
        {"kind": "drop_after", "match": "content_hash.*UNION ALL"},  # the plan's answer
    ],
    "a proxy answers": [
        {"kind": "status", "status": 500, "match": "INSERT", "times": 2},
        {"kind": "status", "status": 503, "match": "DELETE", "times": 2},
    ],
    "it has too much to do": [
        {"kind": "exception", "code": 202, "text": "x. (TOO_MANY_SIMULTANEOUS_QUERIES)", "match": "SELECT"},
        {"kind": "hang", "seconds": 1.5, "match": "INSERT"},
    ],
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_faults_that_pass_are_tried_again_and_double_nothing(
    story: Story,
    expected: dict[str, list[tuple[Any, ...]]],
    server: Server,
    tmp_path: Path,
    faults: list[dict[str, Any]],
) -> None:
    settings = served(tmp_path / "home", server)
    ok(run(story.first, settings))
    server.fail(*faults)
    ok(run(story.grown, settings))
    server.recover()
    ok(run(story.cleaned, settings))
    assert contents(server.query) == as_json(expected)
    assert not list(Path(settings["HOME"]).rglob("pending/*"))


LASTING: dict[str, tuple[dict[str, Any], str]] = {
    "no space": (
        {"code": 243, "text": "Cannot reserve 1.00 MiB. (NOT_ENOUGH_SPACE)"},
        "make room on the database's disk",
    ),
    "no rights": ({"code": 497, "text": "u: Not enough privileges. (ACCESS_DENIED)"}, "give CH_USER the rights"),
    "read-only": ({"code": 164, "text": "Cannot execute query in readonly mode. (READONLY)"}, "read-only"),
}


@pytest.mark.parametrize(
    ("name", "skip"),
    [("no space", 5), ("no rights", 0), ("read-only", 3), *thorough(("no space", 0), ("no space", 1))],
)
def test_a_fault_that_lasts_is_one_clear_error_and_costs_nothing(
    story: Story,
    expected: dict[str, list[tuple[Any, ...]]],
    server: Server,
    tmp_path: Path,
    name: str,
    skip: int,
) -> None:
    fault, fix = LASTING[name]
    settings = served(tmp_path / "home", server)
    ok(run(story.first, settings))
    server.fail({"kind": "exception", **fault, "match": "INSERT INTO ccusage_(?!import)", "skip": skip, "times": 99})
    started = time.monotonic()
    result = run(story.grown, settings)
    assert time.monotonic() - started < 10  # not tried again
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "fix"]
    assert fix in result.stderr
    assert "The fetched reports are kept in" in result.stderr
    assert server.query("SELECT status FROM ccusage_import_history ORDER BY created_at DESC, status DESC LIMIT 1") == [
        ("failed",)
    ]
    server.recover()
    ok(run(story.cleaned, settings))  # the logs are gone, the kept reports are not
    assert contents(server.query) == as_json(expected)


def test_a_server_that_is_down_for_days_loses_no_day(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], server: Server, tmp_path: Path
) -> None:
    settings = served(tmp_path / "home", server)
    ok(run(story.first, settings))
    server.stop()
    pending = Path(settings["HOME"]) / ".local" / "state" / "ccusage-importer"
    for folder in (story.first, story.grown, story.cleaned, story.cleaned):
        result = run_patched("ci.STATEMENT_ATTEMPTS = 1", folder, settings)
        assert result.returncode == 1
        assert "does not answer: [Errno 111] Connection refused" in result.stderr
        assert "look at CH_HOST" in result.stderr
    # what newer reports cover is not kept twice
    assert len(list(pending.rglob("manifest.json"))) == 2
    server.start()
    ok(run(story.cleaned, settings))
    assert contents(server.query) == as_json(expected)
    assert not list(pending.rglob("manifest.json"))


def test_a_server_that_restarts_in_the_middle(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], server: Server, tmp_path: Path
) -> None:
    settings = served(tmp_path / "home", server)
    ok(run(story.first, settings))
    server.fail({"kind": "die_after", "match": "DELETE FROM ccusage_model_breakdowns"})

    def restart() -> None:
        assert server.process is not None
        server.process.wait(60)
        server.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    ok(run(story.grown, settings))
    restarting.join()
    ok(run(story.cleaned, settings))
    assert contents(server.query) == as_json(expected)


def test_a_server_that_hangs_is_given_up(story: Story, server: Server, tmp_path: Path) -> None:
    settings = served(tmp_path / "home", server)
    server.fail({"kind": "hang", "seconds": 30, "match": "INSERT", "times": 9})
    result = run_patched("ci.ANSWER_SECONDS = 1; ci.STATEMENT_ATTEMPTS = 2", story.first, settings)
    assert result.returncode == 1
    assert "does not answer: Read timed out" in result.stderr


def test_a_wrong_password_is_not_tried_again_and_not_shown(story: Story, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", "--user", "ada:right-horse")
    try:
        settings = served(tmp_path / "home", server) | {"CH_USER": "ada", "CH_PASSWORD": "wrong-horse"}
        started = time.monotonic()
        result = run(story.first, settings)
        assert time.monotonic() - started < 5
        assert result.returncode == 1
        assert "look at CH_USER and CH_PASSWORD" in result.stderr
        assert "horse" not in result.stderr
        ok(run(story.first, settings, CH_PASSWORD="right-horse"))
    finally:
        server.stop()


def test_a_read_only_user(story: Story, tmp_path: Path) -> None:
    server = Server(tmp_path / "server", "--user", "ada:x", "--user", "bob:y:readonly")
    try:
        settings = served(tmp_path / "home", server)
        result = run(story.first, settings, CH_USER="bob", CH_PASSWORD="y")
        assert result.returncode == 1
        assert "READONLY" in result.stderr
        assert "give CH_USER the right to insert and delete" in result.stderr
    finally:
        server.stop()


def test_an_engine_that_is_too_old(story: Story, tmp_path: Path) -> None:
    patch = """
        import clickhouse_connect
        real = clickhouse_connect.get_client
        def old(**keywords):
            client = real(**keywords)
            client.server_version = '24.8.1.1'
            return client
        clickhouse_connect.get_client = old
    """
    result = run_patched(patch, story.first, embedded(tmp_path))
    assert result.returncode == 1
    assert "ClickHouse 24.8.1.1" in result.stderr
    assert "is older than 25.8" in result.stderr


def test_https_with_a_certificate(story: Story, tmp_path: Path) -> None:
    """A certificate nobody has signed is refused; with its authority in SSL_CERT_FILE it is good."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    server = Server(tmp_path / "server", "--cert", str(cert), "--key", str(key))
    try:
        settings = served(tmp_path / "home", server) | {"CH_PROTOCOL": "https"}
        started = time.monotonic()
        result = run(story.first, settings)
        assert time.monotonic() - started < 5
        assert result.returncode == 1
        assert "the certificate of https://127.0.0.1" in result.stderr
        assert "SSL_CERT_FILE" in result.stderr
        ok(run(story.first, settings, SSL_CERT_FILE=str(cert)))
        result = run(story.first, settings, CH_PROTOCOL="http")  # plain HTTP to a port that speaks HTTPS
        assert result.returncode == 1
        assert "CH_PROTOCOL" in result.stderr
    finally:
        server.stop()


# ---- the embedded folder fails ------------------------------------------------------------------------


def test_the_folder_is_held_by_another_program(story: Story, tmp_path: Path) -> None:
    settings = embedded(tmp_path)
    ok(run(story.first, settings))
    script = (
        f"import clickhouse_connect as c; client = c.get_client(interface='chdb', path={settings['CCUSAGE_DB_PATH']!r})"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script + "; print('open', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    result = run(story.grown, settings)
    holder.communicate("\n")
    assert result.returncode == 1
    assert "is open in another program" in result.stderr
    assert "Traceback" not in result.stderr
    ok(run(story.cleaned, settings))


@pytest.mark.parametrize(
    ("words", "code", "host", "what", "fix", "passes"),
    [
        (
            "Code: 81. DB::Exception: no ccusage",
            81,
            "h",
            "ClickHouse at {} refused: DB::Exception: no",
            "CREATE DA",
            False,
        ),
        (
            "Code: 469. DB::Exception: Constraint",
            469,
            "h",
            "ClickHouse at {} refused: DB::Exception: C",
            "own name",
            False,
        ),
        (
            "code: 202, Code: 202. DB::Exception: full",
            202,
            "h",
            "ClickHouse at {}: DB::Exception: full",
            "--verb",
            True,
        ),
        (
            "Code: 16. DB::Exception: Missing hunter2",
            16,
            None,
            "ClickHouse at {}: DB::Exception: Missing ***",
            "--verbose",
            False,
        ),
        (
            "Code: 47. DB::Exception: Unknown expression",
            47,
            "h",
            "the database at {} was made by an older version: DB::Exception: Unknown",
            "run an import",
            False,
        ),
        (
            "HTTP driver received HTTP status 502, server response: <html><title>nginx</title><body>Bad</body></html>",
            None,
            "h",
            "ClickHouse at {} does not answer: HTTP driver received HTTP status 502, server response: nginx Bad",
            "CH_HOST",
            True,
        ),
        (
            "HTTP driver received HTTP status 404, server response: <!DOCTYPE HTML><style>b {}</style>Not<br>here",
            None,
            "h",
            "what answers at {} is no ClickHouse that speaks HTTP: HTTP driver",
            "8123",
            False,
        ),
        ("HTTP driver received HTTP status 429", None, "h", "ClickHouse at {} does not answer: HTTP", "CH_HOST", True),
        ("cannot convert hunter2", None, None, "ClickHouse at {}: cannot convert ***", "--verbose", False),
    ],
)
def test_what_an_error_of_the_engine_means(
    words: str, code: int | None, host: str | None, what: str, fix: str, passes: bool
) -> None:
    """Those that are not met for real elsewhere."""
    config = ci.Config(machine_name="m", user_name="u", host=host, password="hunter2")
    error = DatabaseError(words, code=code)
    told = ci.engine_error(error, config)
    assert told.what.startswith(what.format(config.target))
    assert fix in told.fix
    assert (ci.known_error(error, config) in ci.PASSING_ERRORS) is passes


def test_the_folder_is_not_writable(story: Story, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder is wanted")
    settings = embedded(tmp_path) | {"CCUSAGE_DB_PATH": str(blocked / "db")}
    result = run(story.first, settings)
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "set CCUSAGE_DB_PATH" in result.stderr


def test_a_configuration_in_the_current_folder(tmp_path: Path) -> None:
    """The engine reads ./config.xml: somebody's server's would put the data elsewhere, anything else breaks it."""
    (tmp_path / "config.xml").write_text(f"<clickhouse><path>{tmp_path}/elsewhere</path></clickhouse>")
    environment = sample_logs.sandbox_environment(tmp_path) | embedded(tmp_path)
    command = [sys.executable, str(IMPORTER), "--from-json", str(ROOT / "tests" / "recorded" / "20.0.24")]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"would take {tmp_path}/config.xml for its own settings" in result.stderr
    assert "fix: run in another folder" in result.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_current_folder_that_was_removed(tmp_path: Path) -> None:
    environment = sample_logs.sandbox_environment(tmp_path) | embedded(tmp_path)
    (tmp_path / "gone").mkdir()
    removing = 'rmdir ../gone; exec "$@"'
    command = [sys.executable, str(IMPORTER), "--from-json", str(ROOT / "tests" / "recorded" / "20.0.24")]
    result = subprocess.run(
        ["sh", "-c", removing, "sh", *command],
        env=environment, cwd=tmp_path / "gone", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "error: the folder in which this runs was removed" in result.stderr


def test_no_space_for_the_embedded_database(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    """A real full disk: a small file system of its own, filled up."""
    settings = embedded(tmp_path)
    mount = tmp_path / "small"
    mount.mkdir()
    settings["CCUSAGE_DB_PATH"] = str(mount / "db")
    script = f"""
        set -e
        mount -t tmpfs -o size=48m tmpfs {mount}
        importer() {{ {sys.executable} {IMPORTER} --quiet --from-json "$1"; }}
        importer {story.first}
        head -c 100m /dev/zero > {mount}/filling 2>/dev/null || true
        code=0; importer {story.grown} || code=$?
        echo "full: code=$code" >&2
        truncate -s -300k {mount}/filling  # room for the reports, not for the rows
        code=0; importer {story.grown} || code=$?
        echo "nearly full: code=$code" >&2
        rm {mount}/filling
        importer {story.grown}
        importer {story.cleaned}
        cp -r {mount}/db {tmp_path}/copy
    """
    environment = sample_logs.sandbox_environment(tmp_path) | settings
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "full: code=1" in result.stderr
    assert "nearly full: code=1" in result.stderr
    assert result.stderr.count("error: ") == result.stderr.count("fix: make room") == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert embedded_contents({"CCUSAGE_DB_PATH": str(tmp_path / "copy")}) == expected


# ---- other engines ------------------------------------------------------------------------------------


def test_the_oldest_supported_engine(
    story: Story, expected: dict[str, list[tuple[Any, ...]]], tmp_path: Path, oldest_engine: str
) -> None:
    """Schema, plan, patch deletes, check and statistics, on engine 25.8 behind HTTP; queries have a test of their own."""
    server = Server(tmp_path / "server", python=oldest_engine)
    try:
        settings = served(tmp_path / "home", server)
        for folder in (story.first, story.grown, story.grown, story.cleaned):
            ok(run(folder, settings))
        assert str(server.query("SELECT version()")[0][0]).startswith("25.8.")
        assert contents(server.query) == as_json(expected)
        environment = sample_logs.sandbox_environment(tmp_path / "home") | settings
        assert "Top models" in run_importer(["--stats", "--all"], environment).stdout
    finally:
        server.stop()


# ---- many at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, *thorough(10)])
@pytest.mark.parametrize("where", ["embedded", *thorough("server")])
def test_many_imports_at_once_on_one_machine(
    story: Story,
    expected: dict[str, list[tuple[Any, ...]]],
    tmp_path: Path,
    where: str,
    count: int,
    request: pytest.FixtureRequest,
) -> None:
    if where == "server":
        server: Server = request.getfixturevalue("server")
        settings = served(tmp_path / "home", server)
    else:
        settings = embedded(tmp_path / "home")
    with ThreadPoolExecutor(count) as pool:
        for result in pool.map(lambda _: run(story.first, settings), range(count)):
            ok(result)
    ok(run(story.grown, settings))
    ok(run(story.cleaned, settings))
    if where == "server":
        assert contents(server.query) == as_json(expected)
        assert server.query("SELECT toInt64(count()) FROM ccusage_import_history") == [(count + 2,)]
    else:
        assert embedded_contents(settings) == expected


ON_ANOTHER_COMPUTER = """
    import dataclasses
    load = ci.load_reports
    ci.load_reports = lambda folder: dataclasses.replace(load(folder), computer="{computer}")
"""


@pytest.mark.parametrize("count", [5, *thorough(10)])
def test_many_machines_at_once_into_one_server(story: Story, server: Server, tmp_path: Path, count: int) -> None:
    def one(number: int) -> subprocess.CompletedProcess[str]:
        settings = served(tmp_path / str(number), server)
        patch = ON_ANOTHER_COMPUTER.format(computer=number)
        return run_patched(patch, story.first, settings, "--machine-name", f"machine-{number}")

    with ThreadPoolExecutor(count) as pool:
        for result in pool.map(one, range(count)):
            ok(result)
    said = json.loads((story.first / "daily.json").read_text())["totals"]["totalTokens"]
    sums = server.query("SELECT machine_name, sum(total_tokens) FROM ccusage_usage_daily FINAL GROUP BY ALL")
    assert sorted(sums) == sorted((f"machine-{number}", said) for number in range(count))


# ---- ccusage fails ------------------------------------------------------------------------------------

STUBS = {
    "hangs": ("sleep 300", "gave no answer in 1 s", "raise CCUSAGE_TIMEOUT"),
    "hangs and leaves a child behind": ("sleep 300 & sleep 300", "gave no answer in 1 s", "raise CCUSAGE_TIMEOUT"),
    "prints half a document": ("""echo '{"daily": [{"date"'""", "did not print a JSON document", "CCUSAGE_VERSION"),
    "prints nothing": ("true", "did not print a JSON document (there is no JSON in it); it said: nothing", "by hand"),
    "prints another document": ("""echo '{"weekly": []}'""", "but weekly", "CCUSAGE_VERSION"),
    "dies by a signal": ("kill -SEGV $$", "was ended by SIGSEGV", "memory"),
    "fails with a word": (
        "echo 'cannot read the logs' >&2; exit 3",
        "failed (exit 3); it said: cannot read",
        "by hand",
    ),
}


@pytest.mark.parametrize(("body", "what", "fix"), STUBS.values(), ids=STUBS)
def test_a_ccusage_that_fails_in_every_report(tmp_path: Path, body: str, what: str, fix: str) -> None:
    result = run_stub(tmp_path, f'[ "$1" = --version ] && exec echo {NEWEST}\n{body}')
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 5
    assert all(what in line for line in errors), errors
    assert fix in result.stderr
    assert "Traceback" not in result.stderr
    assert not subprocess.run(
        ["pgrep", "-f", str(tmp_path / "ccusage")], capture_output=True, text=True, check=False
    ).stdout


@pytest.mark.parametrize(
    "words",
    [
        "echo 'Error: cannot read /home/ada/secret client/x.jsonl' >&2; exit 1",
        "echo 'failed in -home-ada-code-secret: no such file' >&2; exit 1",
        """echo "open 'C:\\Users\\ada\\my secret\\x': denied" >&2; exit 1""",
        """echo '{"projects": {"secret": [{"date'""",
        """echo '{"projects": {"secret": 5}, "daily": [], "secret": 1}'""",
        """echo '{"secret": 1}'""",
        """echo '{"projects": {"secret": [{"date": "secret"}]}, "daily": [{"date": "secret"}], "monthly": "secret"}'""",
    ],
)
def test_no_name_gets_out_with_what_a_failing_ccusage_says(tmp_path: Path, words: str) -> None:
    result = run_stub(tmp_path, f'[ "$1" = --version ] && exec echo {NEWEST}\n{words}', CCUSAGE_TIMEOUT="9")
    assert result.returncode in (1, 3)
    settings = {"CCUSAGE_DB_PATH": str(tmp_path / ".local/share/ccusage-importer")}
    history = Machine(tmp_path, settings=settings).query("SELECT error FROM ccusage_import_history")
    assert history[0][0]
    assert "secret" not in result.stdout + result.stderr + repr(history)


def run_stub(tmp_path: Path, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    stub = tmp_path / "ccusage"
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    environment = sample_logs.sandbox_environment(tmp_path) | {"CCUSAGE_BIN": str(stub), "CCUSAGE_TIMEOUT": "1"}
    return run_importer(["--quiet"], environment | settings)


def test_a_ccusage_that_talks_before_its_json(machine: Machine, tmp_path: Path) -> None:
    talking = tmp_path / "talking"
    real = machine.environment()["CCUSAGE_BIN"]
    talking.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo "[ccusage] WARN  something {{"\nexec {real} "$@"\n')
    talking.chmod(0o755)
    machine.imported("--quiet", CCUSAGE_BIN=str(talking))
    assert machine.sums()["daily"]["claude"][0] == machine.ccusage("claude", "daily")["totals"]["totalTokens"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'ccusage native binary is not available for linux-x64.' >&2; exit 1", "native binary is not available"),
        ("echo 'SyntaxError: Unexpected token with' >&2; exit 1", "SyntaxError: Unexpected token"),
        ("sleep 60", "--version gave no answer in 1 s"),
        ("echo no version", "it said: no version"),
    ],
)
def test_a_ccusage_that_does_not_start(tmp_path: Path, script: str, said: str) -> None:
    result = run_stub(tmp_path, script)
    assert result.returncode == 1
    assert said in result.stderr
    assert "fix: " in result.stderr


def test_a_ccusage_that_needs_a_newer_node(tmp_path: Path) -> None:
    """The real 19.0.3, with the Node of this machine: if that is too old, its own words are shown."""
    launcher = install_ccusage("19.0.3")
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    result = run_importer([], sample_logs.sandbox_environment(tmp_path) | {"CCUSAGE_BIN": str(launcher)})
    if int(node.strip("v").split(".")[0]) >= 22:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert "does not run; it said: " in result.stderr
        assert "version 19: Node 22" in result.stderr


def test_no_ccusage_and_nothing_to_fetch_it_with(tmp_path: Path) -> None:
    result = run_importer([], sample_logs.sandbox_environment(tmp_path) | {"PATH": str(tmp_path)})
    assert result.returncode == 1
    assert "error: ccusage is not installed, and neither bunx nor npx is there to fetch it" in result.stderr
    assert "fix: install Node 20" in result.stderr


# ---- secrets ------------------------------------------------------------------------------------------


def test_no_secret_in_any_output_history_process_list_or_open_file(story: Story, tmp_path: Path) -> None:
    secrets = {"CH_PASSWORD": "s3cret-password", "PROJECT_HASH_KEY": "s3cret-key"}
    server = Server(tmp_path / "server", "--user", f"ada:{secrets['CH_PASSWORD']}")
    try:
        settings = served(tmp_path / "home", server) | secrets | {"CH_USER": "ada"}
        listed: list[str] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                listed.append(
                    subprocess.run(
                        ["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True
                    ).stdout
                )

        watching = threading.Thread(target=watch)
        watching.start()
        said = ""
        for folder in (story.first, story.grown):
            for arguments in (["--verbose"], ["--verbose", "--dry-run"]):
                result = run_script(folder, settings, *arguments)
                assert result.returncode == 0, result.stderr
                said += result.stdout + result.stderr
        server.fail(
            {
                "kind": "exception",
                "code": 243,
                "text": f"at {secrets['CH_PASSWORD']} (X)",
                "match": "INSERT",
                "times": 9,
            }
        )
        result = run_script(story.cleaned, settings, "--verbose")
        assert result.returncode == 1
        said += result.stdout + result.stderr
        assert "Traceback" in said  # --verbose shows it
        stop.set()
        watching.join()
        server.fail()
        request = f"/?database={server.database}&user=ada&password={secrets['CH_PASSWORD']}"
        history = server.post(request, "SELECT * FROM ccusage_import_history")
        ours = "\n".join(line for text in listed for line in text.splitlines() if "clickhouse_front" not in line)
        for secret in ("s3cret",):
            assert secret not in said
            assert secret not in history
            assert secret not in ours
        state = Path(settings["HOME"]) / ".local" / "state"
        files = [path for path in state.rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert path.stat().st_mode & 0o077 == 0, path
            assert "s3cret" not in path.read_text()
    finally:
        server.stop()


def test_conversations_are_stored_nowhere(laptop: Machine) -> None:
    told = laptop.everything()
    assert {*ALL_TABLES, "ccusage_import_history"} <= told.keys()
    for table, rows in told.items():
        assert "question" not in "".join(rows), table
        assert "…" not in "".join(rows), table
