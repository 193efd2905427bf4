"""Flags, variables, exit codes, the lock, and that README and --help tell the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import IMPORTER, ROOT, Machine

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
        ("CH_PORT", "http", "a number from 1 to 65535"),
        ("CH_PORT", "8123.5", "a whole number from 1 to 65535"),
        ("CH_DATABASE", "a`b", "a name of letters, digits, _ and -"),
        ("CH_PROTOCOL", "tcp", "http or https"),
        ("MACHINE_NAME", "a\nb", "a name of 1 to 255 printable characters"),
        ("CCUSAGE_USER", "x" * 256, "a name of 1 to 255 printable characters"),
        ("HASH_PROJECT_NAMES", "perhaps", "true or false"),
        ("CCUSAGE_VERSION", "newest; rm -rf /", "a version such as 20.0.24, or latest"),
        ("CCUSAGE_TIMEOUT", "soon", "a number from 0.1 to 86400"),
        ("CCUSAGE_TIMEOUT", "nan", "a number from 0.1 to 86400"),
        ("CCUSAGE_WORKERS", "0", "a number from 1 to 64"),
        ("CCUSAGE_TIMEZONE", "Mars/Olympus", "an IANA time zone such as Europe/Berlin"),
        ("CCUSAGE_TIMEZONE", "../../etc/passwd", "an IANA time zone such as Europe/Berlin"),
        ("CCUSAGE_OFFLINE", "2", "true or false"),
        ("CCUSAGE_BIN", "/nowhere/ccusage", "a program that can be run"),
        ("CCUSAGE_DB_PATH", "/tmp/a?b", "a path without a question mark"),
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


@pytest.mark.parametrize("arguments", [["--no-such-flag"], ["--dry-run", "--stats"], ["--save-json"], ["extra"]])
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ci.main(arguments)
    assert caught.value.code == 2


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


def test_secrets_are_not_in_the_repr() -> None:
    config = read_config(CH_PASSWORD="hunter2", PROJECT_HASH_KEY="hunter3")
    assert "hunter" not in repr(config)


def test_a_folder_that_holds_no_saved_reports(tmp_path: Path, machine: Machine) -> None:
    result = machine.run("--from-json", str(tmp_path))
    assert result.returncode == 2
    assert f"error: {tmp_path} holds no reports saved by --save-json" in result.stderr
    assert "Traceback" not in result.stderr


def test_stats_before_any_import(machine: Machine) -> None:
    result = machine.run("--stats")
    assert (result.returncode, result.stdout) == (0, "")
    assert "nothing is stored in" in result.stderr
    assert not machine.db_path.exists()


def test_not_on_a_terminal_every_line_has_a_time_and_no_escape_code(machine: Machine) -> None:
    said = machine.imported()
    assert "\x1b" not in said
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO ", line) for line in said.splitlines())
    facts = ("Usage: cost: $", "Usage: days with usage:", "Top models: ", "Active billing block: ", "Agents: codex")
    assert all(fact in said for fact in facts), said
    assert "Since the last import" in machine.imported()
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
    assert "\x1b[1m" in screen
    assert "Top models" in screen


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

    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    # the dependencies are those of this environment; what is tested is the wheel
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    [target] = venv.glob("lib/python*/site-packages")
    subprocess.run(
        ["uv", "pip", "install", "--quiet", "--no-deps", "--python", str(venv / "bin" / "python"), str(wheel)],
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
    assert (target / "ccusage_importer_sql" / "queries.sql").exists()


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
