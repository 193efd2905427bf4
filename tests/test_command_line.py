"""Flags, variables, exit codes, the lock, and that README and --help tell the same."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sample_logs
from conftest import IMPORTER, ROOT, UV, Machine

import ccusage_importer as ci


def help_text() -> str:
    return ci.make_parser().format_help()


def test_readme_and_help_tell_the_same_flags_and_variables() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    configuration = readme.split("## Configuration")[1].split("\n## ")[0]
    in_readme = set(re.findall(r"`(--[a-z-]+)", configuration)), set(re.findall(r"`([A-Z][A-Z_]{3,})`", configuration))
    in_help = set(re.findall(r"(?<!\w)(--[a-z][a-z-]+)", help_text())), set(ci.VARIABLES)
    also_told = {"XDG_DATA_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME"}
    assert in_readme[0] == in_help[0]
    assert in_readme[1] - also_told == in_help[1]
    assert all(name in help_text() for name in ci.VARIABLES)


def test_the_cron_job_is_given_every_variable() -> None:
    script = (ROOT / "setup_cronjob.sh").read_text(encoding="utf-8")
    given = script.split("readonly SETTINGS='")[1].split("'")[0].split()
    assert set(ci.VARIABLES) <= set(given)
    assert set(ci.FOLDER_VARIABLES.values()) <= set(given)


def test_readme_tells_every_default() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| variable | meaning | default |")[1]
    rows = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    told = {name: row.split("|")[-2] for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    for name, setting in ci.VARIABLES.items():
        if isinstance(setting.default, (str, int, float)) and setting.default != "":
            assert f"{setting.default}".lower().removesuffix(".0") in told[name], name


def test_readme_and_help_tell_the_same_exit_codes() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Exit codes")[1]
    codes = {int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)}
    assert codes == {value for name, value in vars(ci).items() if name.startswith("EXIT_")}
    told = help_text().split("exit codes:")[1]
    assert all(re.search(rf"\b{code} ", told) for code in codes)
    assert all(re.search(rf"\b{code} ", (ci.__doc__ or "").split("Exit codes:")[1]) for code in codes)


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("CH_HOST", "https://example.org:8443", "a host name or address alone"),
        ("CH_HOST", "127.0.0.1:8123", "a host name or address alone"),
        ("CH_HOST", "example.org:8123", "a host name or address alone"),
        ("CH_PORT", "http", "a whole number from 1 to 65535"),
        ("CH_PORT", "8123.5", "a whole number from 1 to 65535"),
        ("CH_DATABASE", "a`b", "a name of letters, digits, _ and -"),
        ("CH_DATABASE", "restoring", "a name of letters, digits, _ and -, and none that is taken"),
        ("CH_DATABASE", "System", "a name of letters, digits, _ and -, and none that is taken"),
        ("CH_PROTOCOL", "tcp", "http or https"),
        ("MACHINE_NAME", "a\nb", "a name of 1 to 255 printable characters"),
        ("CCUSAGE_USER", "x" * 256, "a name of 1 to 255 printable characters"),
        ("HASH_PROJECT_NAMES", "perhaps", "true or false"),
        ("CCUSAGE_VERSION", "newest; rm -rf /", "a version such as 20.0.24, or latest"),
        ("CCUSAGE_TIMEOUT", "soon", "a number from 0.1 to 86400"),
        ("CCUSAGE_TIMEOUT", "nan", "a number from 0.1 to 86400"),
        ("CCUSAGE_WORKERS", "0", "a whole number from 1 to 64"),
        ("CCUSAGE_BUDGET_DAY", "-1", "a number from 0.01 to 1000000000000"),
        ("CCUSAGE_BUDGET_MONTH", "0", "a number from 0.01 to 1000000000000"),
        ("CH_CLUSTER", "a b", "a cluster's name"),
        ("CCUSAGE_TIMEZONE", "Mars/Olympus", "an IANA time zone such as Europe/Berlin"),
        ("CCUSAGE_TIMEZONE", "../../etc/passwd", "an IANA time zone such as Europe/Berlin"),
        ("CCUSAGE_OFFLINE", "2", "true or false"),
        ("CCUSAGE_BIN", "/nowhere/ccusage", "a program that can be run"),
        ("CCUSAGE_DB_PATH", "/tmp/a?b", "a path without a question mark"),
        ("CCUSAGE_DB_PATH", "~nobody.here/x", "a path"),
    ],
)
def test_a_wrong_value_is_exit_2_with_its_variable_and_what_is_accepted(
    clean_environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    accepted: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert ci.main(["--dry-run"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"error: {variable}: ")
    assert f"is not {accepted}" in stderr
    assert f"fix: set {variable} to " in stderr
    assert "Traceback" not in stderr


def test_a_password_in_an_address_is_not_shown() -> None:
    for address in ("https://ada:hunter2@example.org", "ada:hunter2@example.org:8443"):
        with pytest.raises(ci.ImporterError, match="CH_HOST") as error:
            read_config(CH_HOST=address)
        assert "hunter2" not in error.value.what + error.value.fix
        assert "example.org" in error.value.what


def test_saved_reports_that_are_written_over_are_never_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = ci.FetchedReports("20.0.24", "UTC", "m", "u", "2026-11-21T00:00:00+00:00", {"daily": {}, "blocks": {}})
    ci.save_reports(fetched, tmp_path)
    write_file = ci.write_file

    def killed(path: Path, text: str) -> None:
        write_file(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr(ci, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        ci.save_reports(fetched, tmp_path)
    with pytest.raises(ci.ImporterError):
        ci.load_reports(tmp_path)


def test_as_many_days_as_one_likes() -> None:
    options = ci.make_parser().parse_args(["--stats", "--until", "1990-01-01", "--days", "20000"])
    selection, _ = ci.selected(read_config(), options, "UTC", ci.Screen(quiet=True, verbose=False))
    assert str(selection.since) == "1970-01-01"


@pytest.mark.parametrize(
    ("arguments", "error", "fix"),
    [
        (["stats"], "'stats' is not a flag", "did you mean --stats?"),
        (["--stas"], "'--stas' is not a flag", "did you mean --stats?"),
        (["\N{EM DASH}stats"], "'\N{EM DASH}stats' is not a flag", "did you mean --stats?"),
        (["--machinename=x"], "'--machinename=x' is not a flag", "did you mean --machine-name?"),
        (["cost_by_modell"], "'cost_by_modell' is not a flag", "did you mean --query cost_by_model?"),
        (["--quiet", "xyz"], "'xyz' is not a flag", "see --help"),
        (["--dry-run", "--stats"], "argument --stats: not allowed with argument --dry-run", "see --help"),
        (["--save-json"], "argument --save-json: expected one argument", "see --help"),
        (["--archive", ""], "argument --archive: the name of a folder is empty", "see --help"),
        (
            ["--days", "7"],
            "--days belongs to --stats or --export or --query",
            "add --stats, or leave it out of an import",
        ),
        (["--check", "--machine", "m"], "--machine belongs to --stats or --export or --query or --compare", "--check"),
        (["--user", "u", "--dry-run"], "--user belongs to --stats or --export or --query or --compare", "--dry-run"),
        (
            ["--check-budget", "--source", "x"],
            "--source belongs to --stats or --export or",
            "leave it out of --check-budget",
        ),
        (
            ["--compare", "month", "--days", "3"],
            "--days belongs to --stats or --export or",
            "leave it out of --compare",
        ),
        (["--stats", "--allow-shrink"], "--allow-shrink belongs to an import or --dry-run", "leave it out of --stats"),
        (["--stats", "--from-json", "x"], "--from-json belongs to an import or --dry-run", "leave it out of --stats"),
        (["--stats", "--format", "json"], "--format belongs to --query or --check", "leave it out of --stats"),
        (
            ["--check", "--format", "csv"],
            "--format of --check: 'csv' is not table or json",
            "set --format of --check to table or json",
        ),
        (["--query", "--param", "a=1"], "--param belongs to --query NAME", "give the query's name"),
        (["--query", "totals", "--export", "x.md"], "--export writes the statistics alone", "leave the other flag out"),
    ],
)
def test_wrong_usage_is_exit_2_and_told_once(
    clean_environment: object, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str, fix: str
) -> None:
    assert ci.main(arguments) == 2
    told = capsys.readouterr()
    first, second = told.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert second.startswith("fix: ")
    assert fix in second
    assert told.out == ""


def test_a_usage_error_is_printed_once(machine: Machine) -> None:
    """As a program: in the tests' own process logging has handlers of pytest."""
    result = machine.run("--stas")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: '--stas' is not a flag\nfix: did you mean --stats?\n"


def test_what_an_encoding_lacks_is_printed_plainly() -> None:
    codecs.register_error("plain under test", ci.plain_text)
    printed = "█▌ ▲ ○ Zoë 日本 😀 \udcff".encode("ascii", "plain under test").decode()
    assert printed == r"#= ^ o Zo\u00eb \u65e5\u672c \ud83d\ude00 \udcff"
    assert json.loads(f'"{printed}"') == "#= ^ o Zoë 日本 😀 \udcff"


def test_who_waits_says_so_on_stderr(machine: Machine) -> None:
    with ci.ImportLock(machine.db_path, pytest.fail):
        command = [sys.executable, str(IMPORTER), "--query", "totals"]
        waiting = subprocess.Popen(
            command, env=machine.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"waiting for another run (pid {os.getpid()}) to end\n"
    stdout, stderr = waiting.communicate(timeout=60)
    assert stdout == ""
    assert "nothing is stored in" in stderr


def read_config(**environment: str) -> ci.Config:
    options = ci.make_parser().parse_args([])
    return ci.read_config({"CCUSAGE_USER": "ada", **environment}, options)


@pytest.mark.parametrize(
    ("environment", "port", "secure"),
    [
        ({}, 8123, False),
        ({"CH_PORT": "8443"}, 8443, True),
        ({"CH_PORT": "443"}, 443, True),
        ({"CH_PORT": "9440"}, 9440, True),
        ({"CH_PROTOCOL": "https"}, 8443, True),
        ({"CH_PROTOCOL": "http", "CH_PORT": "8443"}, 8443, False),
    ],
)
def test_ports_and_protocols(environment: dict[str, str], port: int, secure: bool) -> None:
    config = read_config(CH_HOST="h", **environment)
    assert (config.port, config.secure) == (port, secure)


def test_a_flag_beats_its_variable() -> None:
    options = ci.make_parser().parse_args(["--machine-name", "flag", "--no-hash-projects"])
    config = ci.read_config({"MACHINE_NAME": "variable", "HASH_PROJECT_NAMES": "true", "CCUSAGE_USER": "u"}, options)
    assert (config.machine_name, config.hash_projects) == ("flag", False)


def test_every_variable_reaches_its_field() -> None:
    environment = {
        "CH_HOST": "h",
        "CH_PORT": "1234",
        "CH_USER": "u",
        "CH_PASSWORD": "p",
        "CH_DATABASE": "d",
        "CH_PROTOCOL": "HTTPS",
        "CH_CLUSTER": "c",
        "MACHINE_NAME": " m ",
        "CCUSAGE_USER": "ada",
        "HASH_PROJECT_NAMES": "No",
        "PROJECT_HASH_KEY": "k",
        "CCUSAGE_BIN": "b",
        "CCUSAGE_VERSION": "latest",
        "CCUSAGE_TIMEOUT": "0.5",
        "CCUSAGE_WORKERS": "7",
        "CCUSAGE_TIMEZONE": "Etc/UTC",
        "CCUSAGE_OFFLINE": "on",
        "CCUSAGE_BUDGET_DAY": "1.5",
        "CCUSAGE_BUDGET_MONTH": "20",
        "CCUSAGE_DB_PATH": "/x",
    }
    values = ["h", 1234, "u", "p", "d", "https", "c", "m", "ada", False, "k", "b", "latest", 0.5, 7, "UTC", True]
    values += [1.5, 20.0, Path("/x")]
    config = read_config(**environment)
    told = dict(zip(environment, values, strict=True))
    assert {name: getattr(config, ci.VARIABLES[name].name) for name in environment} == told
    assert config.version_is_chosen
    emptied = dict.fromkeys(environment, "") | {"CCUSAGE_USER": "ada"}
    assert read_config(**emptied) == read_config()  # an empty variable is an unset one


def test_secrets_are_not_in_the_repr() -> None:
    config = read_config(CH_PASSWORD="hunter2", PROJECT_HASH_KEY="hunter3")
    assert "hunter" not in repr(config)


def test_a_folder_that_holds_no_saved_reports(tmp_path: Path, machine: Machine) -> None:
    result = machine.run("--from-json", str(tmp_path))
    assert result.returncode == 2
    assert f"error: {tmp_path} holds no reports saved by --save-json" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("variable", ["PROJECT_HASH_KEY", "CH_PASSWORD", "CCUSAGE_DB_PATH"])
def test_bytes_that_are_no_text_are_refused_and_not_shown(
    clean_environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
) -> None:
    monkeypatch.setenv(variable, os.fsdecode(b"secret\xff"))
    assert ci.main(["--dry-run"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"error: {variable} holds bytes that are no UTF-8\n")
    assert "secret" not in stderr


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        ci.write_file(tmp_path / "pipe", "metrics")
        assert read.result() == "metrics"
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    ci.write_file(tmp_path / "link", "new: ü", 0o640)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text("utf-8") == "new: ü"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ci.write_file(tmp_path / "file", "newer")
    assert (tmp_path / "file").read_text("utf-8") == "new: ü"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_saved_reports_are_what_was_fetched_to_the_last_character(tmp_path: Path) -> None:
    documents = {"daily": {"daily": [{"odd": "half a pair: \ud800, \\ud800, \x00, ü"}]}, "blocks": {"blocks": []}}
    fetched = ci.FetchedReports("20.0.24", "UTC", "m", "u", "2026-11-21T00:00:00+00:00", documents)
    ci.save_reports(fetched, tmp_path / "saved")
    assert ci.load_reports(tmp_path / "saved") == fetched
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "saved").iterdir()} == {0o600}


def test_stats_before_any_import(machine: Machine) -> None:
    result = machine.run("--stats")
    assert (result.returncode, result.stdout) == (0, "")
    assert "nothing is stored in" in result.stderr
    page = machine.home / "usage.html"
    assert (machine.run("--export", str(page)).returncode, page.exists()) == (1, False)
    assert not machine.db_path.exists()


LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO ")


def test_not_on_a_terminal_the_log_of_an_import_has_times_and_what_it_shows_has_none(machine: Machine) -> None:
    said = machine.imported()
    assert "\x1b" not in said
    logged = [line for line in said.splitlines() if LOG_LINE.match(line)]
    shown = said.splitlines()[len(logged) :]
    assert len(logged) > 5, said
    assert not any(map(LOG_LINE.match, shown))
    labels = [line.split(" ")[0] for line in shown if line[:1].strip()]
    assert labels == [
        *("ccusage", "30", "models", "projects", "agents", "month", "week", "yesterday", "today", "block"),
        *("imported", "more"),
    ]
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    again = machine.imported().splitlines()
    assert re.match(r"imported  now: no new usage   \(\d+\.\d s, rows: .*unchanged", again[-2]), again
    assert not any(map(LOG_LINE.match, machine.imported("--stats").splitlines()))
    assert machine.imported("--quiet") == ""


def test_on_a_terminal_tables_and_progress(machine: Machine) -> None:
    import pty

    pid, master = pty.fork()
    if pid == 0:  # the child: the importer on a terminal of its own
        os.execve(sys.executable, [sys.executable, str(IMPORTER)], machine.environment(TERM="xterm", COLUMNS="100"))
    printed = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        printed += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    screen = printed.decode()
    for name in ("daily", "monthly", "session", "blocks", "projects"):
        assert re.search(rf"✓.*{name} \d+\.\d\d s", screen), name
    assert "\x1b[36mmodels" in screen


def test_one_run_at_a_time_with_the_holders_pid_and_five_minutes_of_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with ci.ImportLock(tmp_path, said.append):
        assert (tmp_path / "import.lock").read_text().strip() == str(os.getpid())
        assert ci.LOCK_PATIENCE == 300
        monkeypatch.setattr(ci, "LOCK_PATIENCE", 0.3)
        with pytest.raises(ci.ImporterError) as caught, ci.ImportLock(tmp_path, said.append):
            pass
        assert caught.value.exit_code == 75
        assert str(os.getpid()) in caught.value.what
    assert said == [f"waiting for another run (pid {os.getpid()}) to end"]


def test_a_waiting_run_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with ci.ImportLock(tmp_path, lambda text: order.append("waits")):
            order.append("second")

    with ci.ImportLock(tmp_path, order.append):
        thread = threading.Thread(target=second)
        thread.start()
        while "waits" not in order:
            time.sleep(0.01)
        order.append("first ends")
    thread.join()
    assert order == ["waits", "first ends", "second"]


def test_a_stale_lock_stops_nobody(tmp_path: Path) -> None:
    # its holder is dead and its pid is another's (ours)
    (tmp_path / "import.lock").write_text(f"{os.getpid()}\n")
    with ci.ImportLock(tmp_path, pytest.fail):
        pass


def test_wheel_installed_elsewhere_finds_its_sql_files(tmp_path: Path) -> None:
    from conftest import install_ccusage
    from sample_logs import sandbox_environment

    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    # the dependencies are those of this environment; what is tested is the wheel
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    [target] = venv.glob("lib/python*/site-packages")
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--no-deps", "--python", str(venv / "bin" / "python"), str(wheel)],
        check=True,
    )
    (target / "dependencies.pth").write_text(f"{site}\n")
    home = tmp_path / "home"
    home.mkdir()
    environment = sandbox_environment(home) | {"CCUSAGE_BIN": str(install_ccusage("20.0.24"))}
    command = [str(venv / "bin" / "ccusage-importer")]
    result = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "no usage found" in result.stdout
    for name in ("queries.sql", "dashboards/usage.html", "dashboards/grafana.json"):
        assert (target / "ccusage_importer_sql" / name).exists()
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*command, "--query"], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        1,
        "error: the output cannot be written: No space left on device",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1234, "1.2K"), (3_400_000, "3.4M"), (5_600_000_000, "5.6B"), (999_999, "1.0M")],
)
def test_human_numbers(value: float, text: str) -> None:
    assert ci.human_number(value) == text


def test_settings_of_ccusage_that_may_reach_a_report() -> None:
    settings = {
        "$schema": "x",
        "defaults": {"mode": "display", "since": "2026", "offline": True, "order": "desc"},
        "commands": {"daily": {"mode": "display"}},
        "codex": {"defaults": {"speed": "fast", "until": "x"}, "commands": {"daily": {"speed": "x"}}},
    }
    assert ci.kept_settings(settings) == {
        "defaults": {"mode": "display", "offline": True},
        "codex": {"defaults": {"speed": "fast"}},
    }


def test_commands_run_where_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """chdb changes the folder of the process while it is imported; a relative CLAUDE_CONFIG_DIR is of the first one."""
    for name in ("began", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "began")
    groups = ci.ProcessGroups()
    monkeypatch.chdir(tmp_path / "other")
    code, stdout, _ = groups.run(["pwd", "-P"], 10)
    assert (code, stdout.decode().strip()) == (0, str((tmp_path / "began").resolve()))


def test_logs_in_a_relative_folder_are_read(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings={"CLAUDE_CONFIG_DIR": ".claude"})
    sample_logs.write_logs(tmp_path, days=3, sessions_per_day=1, messages=4)
    result = machine.run_patched(f"os.chdir({str(tmp_path)!r})", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.query("SELECT count() > 0 FROM ccusage_messages") == [(1,)]
