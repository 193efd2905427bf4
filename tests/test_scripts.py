"""setup_cronjob.sh with the system's own cron and crontab, verify_setup.sh with curl and a server.

The crontab that is used is the one of the user who runs the tests: it is put back afterwards. Commands are
replaced through PATH only for what cannot be had, such as a crontab that cannot be read.
"""

from __future__ import annotations

import fcntl
import os
import plistlib
import pty
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sample_logs
from conftest import ROOT, USAGE_TABLES, UV, Machine, Server, missing_here, thorough

import ccusage_importer as ci

SETUP = ROOT / "setup_cronjob.sh"
VERIFY = ROOT / "verify_setup.sh"
TABLES = [
    *(table for table, _ in USAGE_TABLES.values()),
    "ccusage_model_breakdowns",
    "ccusage_models_used",
    "ccusage_import_history",
    "ccusage_messages",
    "ccusage_tool_calls",
    "ccusage_log_files",
    "ccusage_activity",
    "ccusage_budgets",
    "ccusage_forgotten",
]
VIEWS = [
    "ccusage_v_daily_summary",
    "ccusage_v_session_summary",
    "ccusage_v_model_performance",
    "ccusage_v_monthly_trends",
    "ccusage_v_active_blocks",
]
MARKER = b"# ccusage-importer: "
SECRET = "s3cr3t-4711"
ODD_VALUES = {
    "CH_PASSWORD": f"{SECRET} it's \"quoted\" 100% $HOME `id` $(id) \\ \\n \\' end\\",
    "PROJECT_HASH_KEY": f"{SECRET}\nline two\n\n'\n\"\n# no comment\nexport CH_HOST='evil'\n",
    "MACHINE_NAME": "  a b  \t",
    "CCUSAGE_USER": "日本 & <ü> ! * ? [x] {a,b} ~ ; |",
    "CLAUDE_CONFIG_DIR": "/a b/c%d,/e'f",
    "http_proxy": f"http://u:{SECRET}@proxy:3128/",
    "CH_USER": "",
}
OTHER_JOBS = (
    b"# my jobs\nMAILTO=\"\"\n\n5 4 * * 0\t/bin/echo 'caf\xc3\xa9' \\% \xff # end  \n  \n@daily /bin/true\n"
    b"17 * * * * /opt/ccusage-importer/other.sh\n"
)


def home_environment(home: Path, **settings: str) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in [name for name in environment if name.startswith(sample_logs.PRIVATE_VARIABLES)]:
        del environment[name]
    return environment | {"HOME": str(home)} | settings


def run(
    script: Path, *arguments: str, env: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def done(script: Path, *arguments: str, env: dict[str, str]) -> str:
    result = run(script, *arguments, env=env)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    return result.stdout


def refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """This exit code, and what happened with what to do, in two lines or more."""
    assert result.returncode == code, result.stdout + result.stderr
    assert re.match(r"error: .+\nfix: .+", result.stderr), result.stderr
    for word in words:
        assert word in result.stderr


def program(folder: Path, name: str, text: str) -> Path:
    """A shell script that stands for a program."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def bare_path(folder: Path, *more: str) -> str:
    """A PATH with what the scripts need of every system, and `more`; nothing else can be found."""
    folder.mkdir(parents=True, exist_ok=True)
    system = (
        "bash sh awk sed sort tr cat dirname uname cksum mktemp rm rmdir mkdir mv cp chmod cmp tail head grep readlink"
    )
    for name in [*system.split(), *more]:
        if not (folder / name).exists():
            (folder / name).symlink_to(UV if name == "uv" and Path(UV).is_absolute() else str(shutil.which(name)))
    return str(folder)


def recording_path(folder: Path) -> str:
    """A PATH whose programs write their arguments to `folder`/arguments before they do their work."""
    for file in list(Path(bare_path(folder / "real", "crontab", "uv", "ps")).iterdir()):
        if file.name != "bash":  # the script itself
            program(folder, file.name, f'printf "%s\\n" "{file.name} $*" >>"{folder}/arguments"\nexec {file} "$@"')
    return f"{folder}:{folder}/real"


class Watcher(threading.Thread):
    """Reads the process list over and over, as everybody on a machine can."""

    def __init__(self, pause: float = 0.002) -> None:
        super().__init__(daemon=True)
        self.pause = pause
        self.seen: set[str] = set()
        self.curl_environments: set[bytes] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(self.pause):
            if not Path("/proc/self/cmdline").exists():
                self.seen |= set(subprocess.check_output(["ps", "-axo", "args"], text=True).splitlines())
                continue
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    try:
                        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                        if "clickhouse_front.py" not in command:  # the tests' own server is told its passwords
                            self.seen.add(command)
                        if command.startswith("curl "):
                            self.curl_environments.add((process / "environ").read_bytes())
                    except OSError:
                        continue

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


# ---- the crontab of the user who runs the tests ---------------------------------------------------------


class Crontab:
    """The real one. `read` gives None where there is none."""

    def read(self) -> bytes | None:
        result = subprocess.run(["crontab", "-l"], capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
        if result.returncode == 0:
            return result.stdout
        if b"no crontab for" not in result.stderr:
            missing_here(f"crontab does not work here: {result.stderr.decode()}")
        return None

    def write(self, contents: bytes | None) -> None:
        if contents is not None:
            subprocess.run(["crontab", "-"], input=contents, check=True, capture_output=True)
        elif self.read() is not None:
            subprocess.run(["crontab", "-r"], check=True, capture_output=True)

    def own_lines(self) -> list[bytes]:
        """The marker and the job."""
        lines = (self.read() or b"").splitlines()
        places = [number for number, line in enumerate(lines) if line.startswith(MARKER)]
        assert len(places) <= 1
        return lines[places[0] : places[0] + 2] if places else []


@pytest.fixture
def crontab() -> Iterator[Crontab]:
    """Empty at first, as it was afterwards. One test at a time on this machine, also of several test runs."""
    if shutil.which("crontab") is None:
        missing_here("there is no crontab program here")
    table = Crontab()
    lock_file = Path(tempfile.gettempdir()) / f"ccusage-importer-crontab-{os.getuid()}.lock"
    with lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = table.read()
        try:
            table.write(None)
            yield table
        finally:
            table.write(before)
            assert table.read() == before


uses_crontab = pytest.mark.xdist_group("crontab")


@uses_crontab
@pytest.mark.parametrize("others", [None, OTHER_JOBS], ids=["no crontab", "other jobs"])
def test_install_replace_remove(crontab: Crontab, tmp_path: Path, others: bytes | None) -> None:
    environment = home_environment(tmp_path / "home")
    config = tmp_path / "home" / ".config" / "ccusage-importer"
    crontab.write(others)

    assert "installed: " in done(SETUP, env=environment)
    marker, job = crontab.own_lines()
    assert crontab.read() == (others or b"") + marker + b"\n" + job + b"\n"
    minute, *rest = job.decode().split(" ", 5)
    assert rest == ["*", "*", "*", "*", f"'{config}/cron-job.sh'"]
    assert 0 <= int(minute) <= 59

    assert job.decode() in done(SETUP, "--status", env=environment)
    installed = crontab.read()
    done(SETUP, env=environment)
    assert crontab.read() == installed

    crontab.write((installed or b"") + b"1 1 * * * /bin/later\n")
    done(SETUP, "--schedule", "*/30 * * * *", env=environment)
    other_job = job.replace(f"{minute} *".encode(), b"*/30 *", 1)
    assert crontab.read() == (installed or b"").replace(job, other_job) + b"1 1 * * * /bin/later\n"
    crontab.write((crontab.read() or b"").removesuffix(b"1 1 * * * /bin/later\n"))

    assert done(SETUP, "--remove", env=environment) == f"removed: {other_job.decode()}\n"
    assert crontab.read() == others
    assert not config.exists()
    assert run(SETUP, "--status", env=environment).returncode == 1
    assert done(SETUP, "--remove", env=environment) == "there was no job in the crontab\n"
    assert crontab.read() == others


@uses_crontab
def test_a_line_after_the_marker_that_is_not_ours_stays(crontab: Crontab, tmp_path: Path) -> None:
    environment = home_environment(tmp_path)
    done(SETUP, env=environment)
    marker, job = crontab.own_lines()
    crontab.write(marker + b"\n0 0 * * * /bin/mine\n")
    done(SETUP, env=environment)
    assert crontab.read() == marker + b"\n" + job + b"\n0 0 * * * /bin/mine\n"
    crontab.write(marker + b"\n0 0 * * * /bin/mine\n")
    done(SETUP, "--remove", env=environment)
    assert crontab.read() == b"0 0 * * * /bin/mine\n"


@uses_crontab
def test_another_folder_for_settings_leaves_no_secret_behind(crontab: Crontab, tmp_path: Path) -> None:
    environment = home_environment(tmp_path, CH_PASSWORD=SECRET)
    done(SETUP, env=environment | {"XDG_CONFIG_HOME": str(tmp_path / 'my $HOME "q"')})
    assert (tmp_path / 'my $HOME "q"' / "ccusage-importer" / "cron.env").exists()
    assert "installed: " in done(SETUP, "--status", env=environment)
    done(SETUP, env=environment)
    assert not (tmp_path / 'my $HOME "q"' / "ccusage-importer").exists()
    done(SETUP, "--remove", env=environment | {"XDG_CONFIG_HOME": str(tmp_path / "third")})
    assert not (tmp_path / ".config" / "ccusage-importer").exists()
    assert crontab.read() is None


@uses_crontab
def test_settings_survive_and_stay_private(crontab: Crontab, tmp_path: Path) -> None:
    home = tmp_path / "my 100% 'home'"
    config = tmp_path / "con fig" / "ccusage-importer"
    environment = home_environment(home, **ODD_VALUES, CCUSAGE_DB_PATH=str(tmp_path / "d b"))
    environment["XDG_CONFIG_HOME"] = str(config.parent)
    environment["PATH"] = recording_path(tmp_path / "bin")
    output = done(SETUP, env=environment) + done(SETUP, "--status", env=environment)
    arguments = (tmp_path / "bin" / "arguments").read_text(encoding="utf-8")
    assert "\ncrontab -l\n" in arguments
    assert SECRET not in arguments
    settings, runner = config / "cron.env", config / "cron-job.sh"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(runner.stat().st_mode) == 0o700
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert {file.name for file in config.iterdir()} == {"cron.env", "cron-job.sh"}
    assert SECRET in settings.read_text(encoding="utf-8")
    assert SECRET not in output + (crontab.read() or b"").decode() + runner.read_text(encoding="utf-8")
    assert b"%" not in (crontab.read() or b"")

    sourced = subprocess.check_output(
        ["sh", "-c", '. "$1"; env -0', "sh", str(settings)], env={"PATH": "/usr/bin:/bin"}
    )
    values = dict(entry.split("=", 1) for entry in sourced.decode().split("\0") if entry)
    expected = ODD_VALUES | {"CCUSAGE_DB_PATH": str(tmp_path / "d b")}
    assert {name: values.get(name) for name in expected} == expected
    assert "CH_HOST" not in values


@uses_crontab
def test_the_job_fires(crontab: Crontab, tmp_path: Path) -> None:
    """Cron itself starts the job in its own environment, and the import is stored."""
    home = tmp_path / "a 100% 'home'"
    machine = Machine(home, settings={"MACHINE_NAME": "from cron", "CCUSAGE_USER": "u", "PROJECT_HASH_KEY": SECRET})
    sample_logs.write_logs(home, days=3, sessions_per_day=1, messages=4)
    environment = machine.environment(XDG_CONFIG_HOME=str(tmp_path / "config"))
    running = subprocess.run(["pgrep", "-x", "cron|crond"], capture_output=True, check=False).returncode == 0
    if not running and (os.getuid() != 0 or shutil.which("cron") is None):
        missing_here("no cron daemon runs here, and only root can start one")
    daemon = None
    try:
        with Watcher(pause=0.1) as watcher:  # for up to a minute
            done(SETUP, "--schedule", "* * * * *", env=environment)
            if not running:  # after the crontab: cron overlooks a change in the second in which it has looked
                daemon = subprocess.Popen([str(shutil.which("cron")), "-f"], env={"PATH": "/usr/bin:/bin"})
            deadline = time.monotonic() + 75
            while not machine.db_path.exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert machine.db_path.exists(), "cron did not start the job in 75 s"
            done(SETUP, "--remove", env=environment)
            deadline = time.monotonic() + 60
            imports: list[tuple[object, ...]] = []
            while not imports and time.monotonic() < deadline:
                time.sleep(1)
                if machine.run("--stats").returncode == 0:  # waits until the import is over
                    imports = machine.query("SELECT machine_name, user_name, status FROM ccusage_import_history")
        assert imports == [("from cron", "u", "completed")]
        assert machine.query("SELECT count() > 0 FROM ccusage_usage_daily") == [(1,)]
        assert [command for command in watcher.seen if "/ccusage-importer --quiet --log-file" in command]
        assert not [command for command in watcher.seen if SECRET in command]
        assert (home / ".local" / "state" / "ccusage-importer").is_dir()
        assert crontab.read() is None
    finally:
        if daemon is not None:
            daemon.terminate()
            daemon.wait(10)


# ---- crontabs that cannot be had ------------------------------------------------------------------------

FAILURES = {
    "not allowed": 'echo "You (root) are not allowed to use this program (crontab)" >&2; exit 1',
    "disk": 'echo "crontabs/root: Input/output error" >&2; exit 1',
    "silent": "exit 1",
    "killed": "kill -9 $$",
    "other code": 'echo "no crontab for root" >&2; exit 2',
    "words and rows": 'echo "1 1 * * * /bin/true"; echo "no crontab for root" >&2; exit 1',
    "two lines": 'printf "no crontab for root\\nread error\\n" >&2; exit 1',
    "done but warned": 'echo "read error" >&2; exit 0',
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("action", [(), ("--remove",)], ids=["install", "remove"])
def test_a_crontab_that_cannot_be_read_is_left_alone(tmp_path: Path, failure: str, action: tuple[str, ...]) -> None:
    stub = f'case $1 in -l) {FAILURES[failure]} ;; esac\necho "$*" >>{tmp_path}/written'
    program(tmp_path / "bin", "crontab", stub)
    environment = home_environment(tmp_path / "home", PATH=f"{tmp_path}/bin:{os.environ['PATH']}", CH_PASSWORD=SECRET)
    refused(run(SETUP, *action, env=environment), 1, "cannot be read")
    assert not (tmp_path / "written").exists()
    assert not (tmp_path / "home" / ".config").exists()


def fake_crontab(tmp_path: Path, on_write: str) -> dict[str, str]:
    """A crontab program with a file behind it, for what the real one does not do."""
    stub = f"""
    table={tmp_path}/table
    case $1 in
        -l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for me" >&2; exit 1; fi ;;
        -r) rm "$table" ;;
        *) {on_write} ;;
    esac"""
    program(tmp_path / "bin", "crontab", stub)
    return home_environment(tmp_path / "home", PATH=f"{tmp_path}/bin:{os.environ['PATH']}", CH_PASSWORD=SECRET)


def test_a_crontab_that_refuses_leaves_no_settings(tmp_path: Path) -> None:
    environment = fake_crontab(tmp_path, "echo 'not today' >&2; exit 1")
    refused(run(SETUP, env=environment), 1, "not today")
    assert not (tmp_path / "home" / ".config" / "ccusage-importer").exists()


def test_a_crontab_that_changes_other_lines_is_noticed(tmp_path: Path) -> None:
    environment = fake_crontab(tmp_path, 'grep -v other "$1" >"$table"')
    (tmp_path / "table").write_bytes(b"1 1 * * * /bin/other\n")
    refused(run(SETUP, env=environment), 1, "crontab.before")
    saved = tmp_path / "home" / ".config" / "ccusage-importer" / "crontab.before"
    assert saved.read_bytes() == b"1 1 * * * /bin/other\n"


def test_a_last_line_without_an_end_gets_one(tmp_path: Path) -> None:
    environment = fake_crontab(tmp_path, 'cp "$1" "$table"')
    (tmp_path / "table").write_bytes(b"1 1 * * * /bin/other")
    done(SETUP, env=environment)
    assert (tmp_path / "table").read_bytes().startswith(b"1 1 * * * /bin/other\n" + MARKER)
    done(SETUP, "--remove", env=environment)
    assert (tmp_path / "table").read_bytes() == b"1 1 * * * /bin/other\n"


def test_without_crontab_it_says_what_to_paste(tmp_path: Path) -> None:
    path = bare_path(tmp_path / "bin", "uv")
    environment = home_environment(tmp_path / "home", PATH=path)
    result = run(SETUP, env=environment)
    refused(result, 1, "no crontab program", "--print launchd", "--print systemd-timer", "enable --now")
    assert not (tmp_path / "home" / ".config").exists()
    pasted = [line.strip() for line in result.stderr.splitlines() if "setup_cronjob.sh" in line or "mkdir" in line]
    if shutil.which("systemctl") is None or os.uname().sysname != "Darwin":
        subprocess.run(["bash", "-ec", "\n".join(pasted)], env=environment, check=True, capture_output=True)
        units = tmp_path / "home" / ".config" / "systemd" / "user"
        assert {unit.name for unit in units.iterdir()} == {"ccusage-importer.service", "ccusage-importer.timer"}
        assert (tmp_path / "home" / ".config" / "ccusage-importer" / "cron-job.sh").exists()
    done(SETUP, "--remove", env=environment)
    assert not (tmp_path / "home" / ".config" / "ccusage-importer").exists()


# ---- what is printed, and what is refused ---------------------------------------------------------------


def test_print_changes_nothing(tmp_path: Path) -> None:
    environment = home_environment(tmp_path, CH_PASSWORD=SECRET)
    printed = done(SETUP, "--print", env=environment)
    assert done(SETUP, "--dry-run", env=environment) == printed
    assert done(SETUP, "--print=cron", env=environment) == printed
    assert re.fullmatch(
        rf"# ccusage-importer: .+\n\d+ \* \* \* \* '{tmp_path}/.config/ccusage-importer/cron-job.sh'\n", printed
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["100%", "a\\b", "it's"])
def test_a_folder_that_a_crontab_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    environment = fake_crontab(tmp_path, 'cp "$1" "$table"') | {"HOME": str(tmp_path / name)}
    for arguments in ((), ("--print",)):
        refused(run(SETUP, *arguments, env=environment), 2, name, "set XDG_CONFIG_HOME")
    assert not (tmp_path / "table").exists()
    assert not (tmp_path / name).exists()
    assert "installed: " in done(SETUP, env=environment | {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert "removed: " in done(SETUP, "--remove", env=environment)
    assert not (tmp_path / "config" / "ccusage-importer").exists()


@pytest.mark.parametrize("name", ['$HOME `id` "x" & ; #', "日本", "a  b"])
def test_the_line_starts_the_job(tmp_path: Path, name: str) -> None:
    """The command of the line, given to sh as cron does, whatever the home is called."""
    home = tmp_path / name
    program(tmp_path / "bin", "uv", 'printf "%s" "$0 in $HOME"')
    environment = home_environment(home, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    done(SETUP, "--save-settings", env=environment)
    printed = done(SETUP, "--print", "--schedule", "1 2 3 4 5", env=environment)
    assert "%" not in printed
    command = printed.splitlines()[1].removeprefix("1 2 3 4 5 ")
    assert subprocess.check_output(["/bin/sh", "-c", command], text=True) == f"{tmp_path}/bin/uv in {home}"


def test_the_minute_is_the_hosts(tmp_path: Path) -> None:
    minutes = []
    for number in range(30):
        program(tmp_path / "bin", "uname", f"echo host-{number}")
        environment = home_environment(tmp_path / "home", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
        printed = {done(SETUP, "--print", env=environment).splitlines()[1].split(" ")[0] for _ in range(2)}
        assert len(printed) == 1
        minutes.append(int(printed.pop()))
    assert 0 <= min(minutes) <= max(minutes) <= 59
    assert len(set(minutes)) > 15


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("7 * * * *", "*:7:00"),
        ("*/30 * * * *", "*:0,30:00"),
        ("* * * * *", "*:*:00"),
        ("5-7,9,08 3,*/12 * * *", "0,3,12:5,6,7,8,9:00"),
        (" 0\t1-9/4  * * * ", "1,5,9:0:00"),
    ],
)
def test_print_systemd(tmp_path: Path, schedule: str, times: str) -> None:
    home = tmp_path / 'a $b "c" 5%'
    environment = home_environment(home)
    printed = done(SETUP, "--print", "systemd", "--schedule", schedule, env=environment)
    escaped = str(home).replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    assert f'ExecStart=/bin/sh "{escaped}/.config/ccusage-importer/cron-job.sh"\n' in printed
    assert f"OnCalendar=*-*-* {times}\n" in printed
    service = done(SETUP, "--print", "systemd-service", env=environment)
    timer = done(SETUP, "--print", "systemd-timer", "--schedule", schedule, env=environment)
    assert service in printed
    assert timer in printed
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", f"*-*-* {times}"], check=True, capture_output=True)


def test_print_launchd(tmp_path: Path) -> None:
    home = tmp_path / "a & <b> c"
    printed = done(SETUP, "--print", "launchd", "--schedule", "5,35 8-9 * * *", env=home_environment(home))
    job = plistlib.loads(printed.encode())
    assert job == {
        "Label": "ccusage-importer",
        "ProgramArguments": ["/bin/sh", str(home / ".config" / "ccusage-importer" / "cron-job.sh")],
        "StartCalendarInterval": [{"Hour": hour, "Minute": minute} for hour in (8, 9) for minute in (5, 35)],
    }


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
     "5-3 * * * *", "a * * * *", "1, * * * *", "@hourly", "% * * * *", "0 * * * *\n* * * * * id", "1 * * * *\n",
     "* * * * *\r", "$(id) * * * *", "* * * * mon;id", "-1 * * * *", "1/2 * * * *"],
)  # fmt: skip
def test_schedules_that_are_none(tmp_path: Path, schedule: str) -> None:
    refused(run(SETUP, "--print", "--schedule", schedule, env=home_environment(tmp_path)), 2, "--schedule: ")


@pytest.mark.parametrize("schedule", ["0 8 * * 1-5", "0 8 1,15 * *", "0 8 * jan-mar mon,fri", "59 23 31 12 7"])
def test_schedules_for_cron_alone(tmp_path: Path, schedule: str) -> None:
    environment = home_environment(tmp_path)
    assert f"\n{schedule} '" in done(SETUP, "--print", "--schedule", schedule, env=environment)
    for other in ("systemd", "launchd"):
        refused(run(SETUP, "--print", other, "--schedule", schedule, env=environment), 2, "cron alone")


@pytest.mark.parametrize(
    "arguments",
    [["--frobnicate"], ["--print", "at"], ["--remove", "--status"], ["--remove", "--schedule", "1 * * * *"],
     ["--schedule"], ["now"]],
)  # fmt: skip
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    refused(run(SETUP, *arguments, env=home_environment(tmp_path)), 2)


@pytest.mark.parametrize(
    "variable",
    [
        "CCUSAGE_DB_PATH",
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME=/a, ~/b, ",  # of several one
        "XDG_CONFIG_HOME",
        "SSL_CERT_FILE",
        "CCUSAGE_EXPORT",
        "NPM_CONFIG_USERCONFIG",
    ],
)
def test_relative_paths_are_refused(tmp_path: Path, variable: str) -> None:
    variable, _, before = variable.partition("=")
    environment = fake_crontab(tmp_path, 'cp "$1" "$table"') | {variable: f"{before}here/db"}
    refused(run(SETUP, env=environment, cwd=tmp_path), 2, variable, "here/db")
    assert not (tmp_path / "table").exists()
    assert not (tmp_path / "home" / ".config").exists()


def test_without_uv(tmp_path: Path) -> None:
    program(tmp_path / "bin", "crontab", "echo 'no crontab for me' >&2; exit 1")
    environment = home_environment(tmp_path / "home", PATH=bare_path(tmp_path / "bin"))
    refused(run(SETUP, env=environment), 1, "uv is not installed", "pip install uv")


def test_uv_where_no_path_leads(tmp_path: Path) -> None:
    """As `python3 -m pip install uv` leaves it for a user whose PATH lacks ~/.local/bin."""
    program(tmp_path / "bin", "crontab", "echo 'no crontab for me' >&2; exit 1")
    hidden = program(tmp_path / "hidden place", "uv", 'for a; do echo "$a"; done; exit 3')
    program(tmp_path / "bin", "python3", f"[ \"$1\" = -c ] && echo '{hidden}'")
    environment = home_environment(tmp_path / "home", PATH=bare_path(tmp_path / "bin"))
    assert run(SETUP, "--save-settings", env=environment).returncode == 0
    runner = tmp_path / "home" / ".config" / "ccusage-importer" / "cron-job.sh"
    started = subprocess.run([str(runner)], env={}, capture_output=True, text=True, check=False)
    assert (started.returncode, started.stdout.splitlines()[:2]) == (3, ["run", "--quiet"])
    checked = run(VERIFY, env=environment)
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (3, "--check")


@pytest.mark.parametrize(
    ("folder", "tied"),
    [
        (".nvm/versions/node/v20.1.0/bin", True),
        ("homebrew/Cellar/node/24.1.0/bin", True),
        ("Library/Python/3.12/bin", True),
        ("homebrew/opt/node@20/bin", False),
        (".volta/bin", False),
        (".asdf/shims", False),
        ("with a space/bin", False),
    ],
)
def test_the_path_of_the_job(tmp_path: Path, folder: str, tied: bool) -> None:
    """The folders of the tools in their order, and a word about those that an update removes."""
    environment = fake_crontab(tmp_path, 'cp "$1" "$table"')
    tools = tmp_path / folder
    for tool in ("node", "npx"):
        program(tools, tool, "exit 0")
    program(tmp_path / "other", "unrelated", "exit 0")
    program(tmp_path / "uv here", "uv", 'env -0 >"$HOME/seen"; for a; do printf "%s\\0" "$a"; done >"$HOME/arguments"')
    environment["PATH"] = f"{tmp_path}/other:{tools}::{tmp_path}/uv here:{environment['PATH']}"
    environment["CH_PASSWORD"] = ODD_VALUES["CH_PASSWORD"]
    notes = [line for line in done(SETUP, env=environment).splitlines() if str(tools) in line]
    assert [note.startswith(f"note: {tool} is in ") for note, tool in zip(notes, ("node", "npx"), strict=False)] == (
        [True, True] if tied else []
    )

    runner = tmp_path / "home" / ".config" / "ccusage-importer" / "cron-job.sh"
    bare = {"HOME": "/nonexistent", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "me"}
    subprocess.run([str(runner)], env=bare, cwd="/", check=True)
    seen = (tmp_path / "home" / "seen").read_bytes().decode().split("\0")
    values = dict(entry.split("=", 1) for entry in seen if entry)
    assert values["HOME"] == str(tmp_path / "home")
    assert values["PATH"].startswith(f"{tools}:{tmp_path}/uv here:")
    assert values["PATH"].endswith("/usr/bin:/bin") or ":/usr/bin:" in values["PATH"]
    assert f"{tmp_path}/other" not in values["PATH"]
    assert values["CH_PASSWORD"] == ODD_VALUES["CH_PASSWORD"]
    log = tmp_path / "home" / ".local" / "state" / "ccusage-importer" / "import.log"
    expected = ["run", "--quiet", "--project", str(ROOT), "ccusage-importer", "--quiet", "--log-file", str(log), ""]
    assert (tmp_path / "home" / "arguments").read_bytes().decode().split("\0") == expected
    assert log.parent.is_dir()

    (tmp_path / "uv here" / "uv").unlink()
    gone = subprocess.run([str(runner)], env=bare, capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert f"error: {tmp_path}/uv here/uv is not there any more\nfix: run {SETUP} again\n" == gone.stderr


def test_called_through_a_link(tmp_path: Path) -> None:
    """And with no node at all: it says that the job will not find ccusage."""
    program(tmp_path / "bin", "crontab", "case $1 in -l) echo 'no crontab for me' >&2; exit 1;; esac")
    link = tmp_path / "links" / "cronjob"
    link.parent.mkdir()
    link.symlink_to(Path(os.path.relpath(SETUP, link.parent)))
    environment = home_environment(tmp_path / "home", PATH=bare_path(tmp_path / "bin", "uv"))
    result = run(link, "--save-settings", env=environment)
    assert result.returncode == 0, result.stderr
    assert "note: ccusage, bunx and npx are not on the PATH" in result.stdout
    runner = tmp_path / "home" / ".config" / "ccusage-importer" / "cron-job.sh"
    assert f"--project '{ROOT}'" in runner.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", [SETUP, VERIFY], ids=lambda script: script.name)
def test_a_copy_alone_is_refused(tmp_path: Path, script: Path) -> None:
    copied = Path(shutil.copy(script, tmp_path))
    environment = home_environment(tmp_path / "home")
    refused(run(copied, env=environment), 1, f"ccusage_importer.py is not beside {copied}")


@pytest.mark.parametrize("script", [SETUP, VERIFY], ids=lambda script: script.name)
def test_help_is_the_header(tmp_path: Path, script: Path) -> None:
    printed = done(script, "--help", env=home_environment(tmp_path))
    header = script.read_text(encoding="utf-8").split("\nset -")[0].splitlines()[1:]
    assert printed.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in header]
    accepted = set(re.findall(r"^ +(--[a-z-]+)(?= \||\))", script.read_text(encoding="utf-8"), re.MULTILINE))
    assert all(flag in printed for flag in accepted)


@pytest.mark.parametrize("script", [SETUP, VERIFY], ids=lambda script: script.name)
def test_nothing_newer_than_bash_3(script: Path) -> None:
    """What macOS's bash 3.2 does not know."""
    newer = r"declare -A|local -A|mapfile|readarray|readlink -f|realpath|\$\{\w+(,,|\^\^|@[A-Z])|&>>|\|&|\bcoproc\b|local -n"
    code = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if re.search(newer, line.partition("  #")[0])]
    assert code[-1] == 'main "$@"'


# ---- verify_setup.sh ------------------------------------------------------------------------------------


@pytest.fixture
def served(machine: Machine, server: Server) -> Machine:
    """A machine whose logs were just imported on a server."""
    machine.server = server
    machine.settings = {"MACHINE_NAME": "m 1", "CCUSAGE_USER": "ü"}
    machine.imported("--quiet")
    return machine


def lines_of(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What each check says, by what it tests: 'ok 17 rows'. Every line has the form of one; misses have a fix."""
    assert "\033" not in result.stdout
    found = {}
    lines = result.stdout.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("      fix: "):
            continue
        if match := re.fullmatch(r"(ok|FAIL|warn|skip)\s+(.+?)(?: \((required|optional)\))?: (.+)", line):
            assert after.startswith("      fix: ") == (match[1] in ("FAIL", "warn"))
            assert (match[3] or "") == {"FAIL": "required", "warn": "optional"}.get(match[1], "")
            found[match[2]] = f"{match[1]} {match[4]}"
    assert re.fullmatch(r"\d+ ok, \d+ failed, \d+ warnings, \d+ not tested", lines[-1])
    assert result.returncode == (1 if any(text.startswith("FAIL") for text in found.values()) else 0)
    return found


def test_all_is_well(served: Machine) -> None:
    result = run(VERIFY, env=served.environment())
    found = lines_of(result)
    assert result.returncode == 0, result.stdout
    assert result.stderr == ""
    for name in TABLES:
        [(count,)] = served.query(f"SELECT count() FROM {name} FINAL")
        assert count > 0 or name in ("ccusage_tool_calls", "ccusage_activity", "ccusage_budgets", "ccusage_forgotten")
        assert found[f"table {name}"] == f"ok {count} rows"
    for name in VIEWS:
        [(count,)] = served.query(f"SELECT count() FROM {name}")
        assert found[f"view {name}"] == f"ok {count} rows"
    assert found["columns"] == f"ok {len(ci.expected_columns())} as in the schema file"
    assert found["rights"] == "ok all that an import needs, and an update"
    assert re.fullmatch(r"ok last import .+ UTC, completed, \d+ s ago", found["freshness of m 1, ü"])
    assert re.fullmatch(r"ok http://127.0.0.1:\d+ answered in \d+ ms", found["connection"])
    assert found["ccusage"].startswith("ok 20.0.24 by CCUSAGE_BIN")
    assert {text.split()[0] for text in found.values()} == {"ok"}


def test_old_and_failed_imports_are_warnings(served: Machine) -> None:
    assert served.server is not None
    columns = "import_id, import_timestamp, machine_name, user_name, status, created_at, updated_at"
    rows = "('a', now() - INTERVAL 3 DAY, 'old', 'u', 'completed', now(), now())"
    rows += ", ('b', now(), 'bad\\x1b[31m', 'u', 'failed', now(), now())"
    served.server.post(
        f"/?database={served.server.database}", f"INSERT INTO ccusage_import_history ({columns}) VALUES {rows}"
    )
    result = run(VERIFY, env=served.environment())
    found = lines_of(result)
    assert result.returncode == 0
    assert re.fullmatch(r"warn last import .+, completed, 3 days ago", found["freshness of old, u"])
    assert re.match(r"warn last import .+, failed, ", found["freshness of bad?[31m, u"])
    assert found["freshness of m 1, ü"].startswith("ok ")


def test_columns_that_are_missing_or_of_another_type(served: Machine) -> None:
    assert served.server is not None
    address = f"/?database={served.server.database}"
    served.server.post(address, "ALTER TABLE ccusage_usage_daily DROP COLUMN raw_data, ADD COLUMN mine String")
    result = run(VERIFY, env=served.environment())
    assert lines_of(result)["columns"] == "warn ccusage_usage_daily.raw_data is missing"
    assert "fix: the next import adds them" in result.stdout
    served.server.post(address, "ALTER TABLE ccusage_usage_daily MODIFY COLUMN models_count UInt32")
    found = lines_of(run(VERIFY, env=served.environment()))["columns"]
    assert found.startswith("FAIL ccusage_usage_daily.models_count is UInt32, not UInt16")


def test_missing_tables_and_views(served: Machine) -> None:
    assert served.server is not None
    for statement in (
        "DROP VIEW ccusage_v_active_blocks",
        "DROP TABLE ccusage_models_used",
        "DROP TABLE ccusage_import_history",
    ):
        served.server.post(f"/?database={served.server.database}", statement)
    found = lines_of(run(VERIFY, env=served.environment()))
    misses = {name: text for name, text in found.items() if not text.startswith("ok ")}
    assert misses == {
        "table ccusage_models_used": "FAIL is not there",
        "table ccusage_import_history": "FAIL is not there",
        "view ccusage_v_active_blocks": "FAIL is not there",
        "freshness": "skip not tested, needs the table ccusage_import_history",
    }


def test_no_database(server: Server, machine: Machine) -> None:
    found = lines_of(run(VERIFY, env=machine.environment(**(server.settings | {"CH_DATABASE": "not-there"}))))
    assert found["authentication"] == "ok logged in as default"
    assert found["database"].startswith("FAIL not-there is not there")
    assert found["tables"] == "skip not tested, needs the database"
    assert found["ccusage"].startswith("ok ")


def test_server_down(server: Server, machine: Machine) -> None:
    server.stop()
    found = lines_of(run(VERIFY, env=machine.environment(**server.settings)))
    assert found["connection"].startswith(f"FAIL http://127.0.0.1:{server.port}: curl: (7)")
    assert [found[name].split()[0] for name in ("authentication", "database", "tables", "views", "freshness")] == [
        "skip"
    ] * 5
    assert found["ccusage"].startswith("ok ")


PASSWORDS = [f'{SECRET} "q" \'a\' \\ \\n \\" end\\', f"{SECRET}\nurl = evil\r\n\t\v%$é", f'{SECRET}@#"\n"']


@pytest.mark.parametrize("password", [PASSWORDS[0], *thorough(*PASSWORDS[1:])], ids=["quotes", "lines", "end"])
def test_odd_credentials_stay_private(tmp_path: Path, machine: Machine, password: str) -> None:
    user = "o'b\"r\\ien x"
    server = Server(tmp_path / "server", "--user", f"{user}:{password}")
    try:
        settings = server.settings | {"CH_USER": user, "CH_PASSWORD": password, "PROJECT_HASH_KEY": f"{SECRET}2"}
        machine.imported("--quiet", **settings)
        server.fail({"kind": "hang", "match": "version()", "seconds": 1})
        with Watcher() as watcher:
            result = run(VERIFY, env=machine.environment(**settings))
        assert result.returncode == 0, result.stdout + result.stderr
        assert SECRET not in result.stdout + result.stderr
        assert {command for command in watcher.seen if command.startswith("curl ")} == {"curl --disable --config - "}
        assert not [command for command in watcher.seen if SECRET in command]
        assert watcher.curl_environments
        assert not [variables for variables in watcher.curl_environments if SECRET.encode() in variables]

        found = lines_of(run(VERIFY, env=machine.environment(**settings | {"CH_PASSWORD": f"{SECRET}-wrong"})))
        assert found["connection"].startswith("ok ")
        assert found["authentication"].startswith(f"FAIL {user}: ")
        assert "Authentication failed" in found["authentication"]
        assert SECRET not in str(found)
        assert found["database"] == "skip not tested, needs the authentication"
    finally:
        server.stop()


def test_https(tmp_path: Path, machine: Machine) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = Server(tmp_path / "server", "--cert", str(certificate), "--key", str(key))
    try:
        settings = server.settings | {"CH_PROTOCOL": "https"}
        unknown = run(VERIFY, env=machine.environment(**settings, SSL_CERT_FILE=""))
        assert lines_of(unknown)["connection"].startswith("FAIL https://127.0.0.1")
        assert "fix: set SSL_CERT_FILE" in unknown.stdout
        found = lines_of(run(VERIFY, env=machine.environment(**settings, SSL_CERT_FILE=str(certificate))))
        assert found["connection"].startswith("ok https://127.0.0.1")
        plain = run(VERIFY, env=machine.environment(**server.settings))
        assert "fix: http on an https port? set CH_PROTOCOL=https" in plain.stdout
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8123"),
        ({"CH_PROTOCOL": "HTTPS"}, "https://127.0.0.1:8443"),
        ({"CH_PORT": "443"}, "https://127.0.0.1:443"),
        ({"CH_PORT": "8443"}, "https://127.0.0.1:8443"),
        ({"CH_PORT": "9440"}, "https://127.0.0.1:9440"),
        ({"CH_PORT": "9440", "CH_PROTOCOL": "http"}, "http://127.0.0.1:9440"),
        ({"CH_PORT": "08123"}, "http://127.0.0.1:8123"),
        ({"CH_HOST": "::1", "CH_PORT": "9"}, "http://[::1]:9"),
    ],
)
def test_where_the_server_is(tmp_path: Path, settings: dict[str, str], url: str) -> None:
    """curl is one that refuses, and shows its config: these ports belong to others."""
    program(tmp_path / "bin", "curl", f"cat >{tmp_path}/config; echo 'curl: (7) refused' >&2; exit 7")
    environment = home_environment(tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}", CH_HOST="127.0.0.1")
    found = lines_of(run(VERIFY, env=environment | settings))
    assert found["connection"] == f"FAIL {url}: curl: (7) refused"
    assert f'url = "{url}/ping"\n' in (tmp_path / "config").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CH_HOST", "http://x"), ("CH_HOST", 'a"\nuser = "x'), ("CH_PORT", "x"), ("CH_PORT", "0"), ("CH_PORT", "65536"),
     ("CH_PORT", "99999999999999999999"), ("CH_PROTOCOL", "ftp"), ("CH_DATABASE", "a`; DROP"), ("CH_DATABASE", "'"),
     ("CH_DATABASE", "-a"), ("CH_DATABASE", "x" * 65)],
)  # fmt: skip
def test_wrong_settings(tmp_path: Path, variable: str, value: str) -> None:
    settings = {"CH_HOST": "127.0.0.1", variable: value}
    refused(
        run(VERIFY, env=home_environment(tmp_path, **settings)), 2, f"error: {variable}: ", f"fix: set {variable} to"
    )


class OldServer(BaseHTTPRequestHandler):
    """An engine older than the supported ones, as far as the checks go before they need its tables."""

    def do_GET(self) -> None:
        self.answer("Ok.\n")

    def do_POST(self) -> None:
        sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer("24.12.6.70\n" if "version()" in sql else "0\n")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_an_engine_that_is_too_old(machine: Machine) -> None:
    with HTTPServer(("127.0.0.1", 0), OldServer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        settings = {"CH_HOST": "127.0.0.1", "CH_PORT": str(http.server_address[1])}
        result = run(VERIFY, env=machine.environment(**settings))
        http.shutdown()
    assert lines_of(result)["version"] == "FAIL ClickHouse 24.12.6.70"
    assert "fix: update ClickHouse to 25.8 or newer" in result.stdout


@pytest.mark.parametrize(
    ("programs", "settings", "expected"),
    [
        ({}, {}, "FAIL ccusage, bunx and npx are not on the PATH"),
        ({"npx": "exit 0"}, {}, "ok npx will fetch it, "),
        ({"npx": "exit 0", "bunx": "exit 0"}, {}, "ok bunx will fetch it, "),
        ({"ccusage": "echo ccusage 18.0.11", "npx": "exit 0"}, {}, "ok 18.0.11 on the PATH, "),
        ({"ccusage": "echo 14.2.0", "npx": "exit 0"}, {}, "ok npx will fetch it, "),
        ({"ccusage": "echo 18.0.11", "npx": "exit 0"}, {"CCUSAGE_VERSION": "20.0.24"}, "ok npx will fetch it, "),
        ({"ccusage": "exit 1"}, {}, "FAIL ccusage, bunx and npx are not on the PATH"),
        ({"ccusage": "echo 18.0.11"}, {"CCUSAGE_BIN": "/not/there"}, "FAIL CCUSAGE_BIN: /not/there is no program"),
        ({"mine": "echo 20.0.1"}, {"CCUSAGE_BIN": "mine"}, "ok 20.0.1 by CCUSAGE_BIN, "),
        ({"mine": "exit 1"}, {"CCUSAGE_BIN": "mine"}, "FAIL CCUSAGE_BIN: "),
    ],
)
def test_ccusage(tmp_path: Path, programs: dict[str, str], settings: dict[str, str], expected: str) -> None:
    path = bare_path(tmp_path / "bin", "curl")
    for name, text in programs.items():
        program(tmp_path / "bin", name, text)
    environment = home_environment(tmp_path, PATH=path, CH_HOST="127.0.0.1", CH_PORT="9", **settings)
    found = lines_of(run(VERIFY, env=environment))
    assert found["ccusage"].startswith(expected)
    assert found["node"].startswith("warn ")
    assert found["connection"].startswith("FAIL ")
    (tmp_path / "bin" / "curl").unlink()
    assert lines_of(run(VERIFY, env=environment))["curl"] == "FAIL is not on the PATH"


def test_embedded_setups_are_checked_by_the_importer(tmp_path: Path) -> None:
    program(tmp_path / "bin", "uv", 'for a; do echo "$a"; done; exit 3')
    environment = home_environment(tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    result = run(VERIFY, env=environment)
    first, *arguments = result.stdout.splitlines()
    assert "embedded" in first
    assert arguments == ["run", "--project", str(ROOT), str(ROOT / "ccusage_importer.py"), "--check"]
    assert result.returncode == 3
    refused(run(VERIFY, env=environment | {"PATH": bare_path(tmp_path / "bare")}), 1, "uv is not installed")
    refused(run(VERIFY, "--frobnicate", env=environment), 2, "--frobnicate")


@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals(tmp_path: Path, settings: dict[str, str], coloured: bool) -> None:
    environment = home_environment(tmp_path, TERM="xterm", CH_HOST="127.0.0.1", CH_PORT="9")
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run([str(VERIFY)], env=environment | settings, stdout=theirs, check=False, timeout=60)
        output = terminal.read(65536)
        os.close(theirs)
    assert b"FAIL" in output
    assert (b"\033[31mFAIL" in output) == coloured
