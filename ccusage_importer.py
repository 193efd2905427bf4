#!/usr/bin/env python3
"""Keep what ccusage reports: import its five reports into ClickHouse, and show what they say.

    uv run ccusage_importer.py              import, then print statistics
    uv run ccusage_importer.py --dry-run    print what an import would change, write nothing
    uv run ccusage_importer.py --stats      print statistics, import nothing
    uv run ccusage_importer.py --check      test everything that an import needs, import nothing

With no CH_HOST in the environment the data lives in an embedded ClickHouse engine under
$XDG_DATA_HOME/ccusage-importer; with CH_HOST set, on that server. `--help` lists every flag and
variable.

Exit codes: 0 done; 1 failed, nothing half-written; 2 wrong usage or configuration; 3 partial: some
reports failed, the others are stored; 4 over budget (--check-budget); 75 another import held the lock
for five minutes; 130 interrupted.

The file reads from top to bottom as the data flows: configuration, the declared reports, fetching them
from ccusage, reshaping their JSON into rows, planning and storing, statistics, and the command line.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import difflib
import errno
import fcntl
import functools
import getpass
import hashlib
import hmac
import html
import io
import json
import logging
import logging.handlers
import math
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from rich.console import Console, RenderableType
    from rich.text import Text

__version__ = "0.1.0"

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_BUDGET = 4
EXIT_LOCKED = 75
EXIT_INTERRUPTED = 130

DEFAULT_CCUSAGE_VERSION = "20.0.24"
SUPPORTED_MAJORS = range(15, 21)
LOCK_PATIENCE = 300.0  # seconds
LOG_RETENTION_DAYS = 30  # Claude Code's own default, cleanupPeriodDays
# Each row is exact to the millionth of a dollar, and so are sums of thousands of rows: rounded to 1e-6, the
# costs of 120 sessions were 8e-6 off ccusage's own total. Sums differ in the last bits from run to run.
DOLLAR_DIGITS = 9
COST_TOLERANCE = 1e-6

log = logging.getLogger("ccusage_importer")


class ImporterError(Exception):
    """What happened, and what to do about it. The command line turns it into two lines and an exit code."""

    def __init__(self, what: str, fix: str = "", exit_code: int = EXIT_FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.exit_code = exit_code


def one_line(text: str) -> str:
    """A name from outside, safe to print: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# =====================================================================================================
# Configuration: environment and flags into one frozen record; every error names its variable
# =====================================================================================================

HTTPS_PORTS = (443, 8443, 9440)
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")

# Every variable with what it is for, in the order of --help.
VARIABLES = {
    "CH_HOST": "ClickHouse server; unset: the embedded engine",
    "CH_PORT": "its HTTP port (8123, or 8443 with https); 443, 8443 and 9440 mean https",
    "CH_USER": "its user (default)",
    "CH_PASSWORD": "the user's password",
    "CH_DATABASE": "database, made when missing (ccusage)",
    "CH_PROTOCOL": "http or https (by the port)",
    "CH_CLUSTER": "cluster of that server: tables are replicated and made on all of it",
    "MACHINE_NAME": "whose rows these are: machine (host name)",
    "CCUSAGE_USER": "whose rows these are: user (login name)",
    "HASH_PROJECT_NAMES": "false stores project names as they are (true)",
    "PROJECT_HASH_KEY": "key that makes hashed project names unguessable",
    "CCUSAGE_BIN": "the ccusage to run, before any other",
    "CCUSAGE_VERSION": f"the version that bunx or npx fetches, or latest ({DEFAULT_CCUSAGE_VERSION})",
    "CCUSAGE_TIMEOUT": "seconds one ccusage command may take (120)",
    "CCUSAGE_WORKERS": "ccusage commands at once (3)",
    "CCUSAGE_TIMEZONE": "IANA zone that cuts the days, fixed at the first import (the machine's)",
    "CCUSAGE_OFFLINE": "true: ccusage uses its built-in prices only (false)",
    "CCUSAGE_BUDGET_DAY": "US dollars a day that may be spent, on all machines of the user",
    "CCUSAGE_BUDGET_MONTH": "US dollars a month",
    "CCUSAGE_DB_PATH": "folder of the embedded database ($XDG_DATA_HOME/ccusage-importer)",
}


@dataclass(frozen=True)
class Config:
    """Everything a run is told from outside. Secrets are kept out of its repr."""

    machine_name: str
    user_name: str
    host: str | None
    port: int
    username: str
    password: str = field(repr=False)
    database: str = "ccusage"
    cluster: str | None = None
    secure: bool = False
    db_path: Path = Path()
    state_path: Path = Path()
    hash_projects: bool = True
    project_hash_key: str = field(default="", repr=False)
    ccusage_bin: str | None = None
    ccusage_version: str = DEFAULT_CCUSAGE_VERSION
    version_is_chosen: bool = False
    timeout: float = 120.0
    workers: int = 3
    timezone: str | None = None
    offline: bool = False
    budget_day: float | None = None
    budget_month: float | None = None
    allow_shrink: bool = False

    @property
    def embedded(self) -> bool:
        return self.host is None

    @property
    def target(self) -> str:
        """The database in words, for people."""
        if self.embedded:
            return f"{self.db_path} (embedded)"
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}/{self.database}"

    @property
    def lock_path(self) -> Path:
        """Folder of the lock and of reports not yet stored: one for each database."""
        if self.embedded:
            return self.db_path
        return self.state_path / ("server-" + hashlib.sha256(self.target.encode()).hexdigest()[:8])

    def redact(self, text: str) -> str:
        """The text without the secrets, should somebody's error message contain one."""
        for secret in filter(None, (self.password, self.project_hash_key)):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text


def configuration_error(variable: str, value: str, accepted: str) -> ImporterError:
    return ImporterError(f"{variable}: {value!r} is not {accepted}", f"set {variable} to {accepted}", EXIT_USAGE)


def read_boolean(environment: Mapping[str, str], variable: str, default: bool) -> bool:
    value = environment.get(variable, "")
    if not value:
        return default
    if value.lower() in TRUE_WORDS + FALSE_WORDS:
        return value.lower() in TRUE_WORDS
    raise configuration_error(variable, value, "true or false")


def read_number(environment: Mapping[str, str], variable: str, default: float, low: float, high: float) -> float:
    value = environment.get(variable, "")
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:  # false for nan, too
        raise configuration_error(variable, value, f"a number from {low:g} to {high:g}")
    return number


def read_count(environment: Mapping[str, str], variable: str, default: int, low: int, high: int) -> int:
    number = read_number(environment, variable, default, low, high)
    if number != int(number):
        raise configuration_error(variable, environment[variable], f"a whole number from {low} to {high}")
    return int(number)


def read_budget(environment: Mapping[str, str], variable: str) -> float | None:
    return read_number(environment, variable, 0, 0, 1e12) if environment.get(variable) else None


def read_name(variable: str, value: str) -> str:
    """A machine or user name: something a person can read in a table."""
    if not value.strip() or len(value) > 255 or not value.isprintable():
        raise configuration_error(variable, value, "a name of 1 to 255 printable characters")
    return value.strip()


def read_folder(environment: Mapping[str, str], variable: str, default: Path) -> Path:
    value = environment.get(variable, "")
    if "\0" in value:
        raise configuration_error(variable, value, "a path")
    return Path(value).expanduser().absolute() if value else default


def default_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container without a passwd entry
        raise ImporterError("the login name is unknown here", "set CCUSAGE_USER", EXIT_USAGE) from error


def read_config(environment: Mapping[str, str], options: argparse.Namespace) -> Config:
    """Environment and flags as one record; a flag beats its variable."""
    home = Path.home()
    data_home = read_folder(environment, "XDG_DATA_HOME", home / ".local" / "share")
    state_home = read_folder(environment, "XDG_STATE_HOME", home / ".local" / "state")

    host = environment.get("CH_HOST") or None
    if host and not re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?", host):
        raise configuration_error(
            "CH_HOST", host, "a host name or address alone (CH_PORT and CH_PROTOCOL say the rest)"
        )
    protocol = environment.get("CH_PROTOCOL", "").lower()
    if protocol not in ("", "http", "https"):
        raise configuration_error("CH_PROTOCOL", protocol, "http or https")
    port = read_count(environment, "CH_PORT", 8443 if protocol == "https" else 8123, 1, 65535)
    database = environment.get("CH_DATABASE") or "ccusage"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", database):
        raise configuration_error("CH_DATABASE", database, "a name of letters, digits, _ and -")

    cluster = environment.get("CH_CLUSTER") or None
    if cluster is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", cluster):
        raise configuration_error("CH_CLUSTER", cluster, "a cluster's name")
    if cluster is not None and host is None:
        raise ImporterError("CH_CLUSTER is set, CH_HOST is not", "set CH_HOST to a server of the cluster", EXIT_USAGE)

    version = environment.get("CCUSAGE_VERSION") or DEFAULT_CCUSAGE_VERSION
    if not re.fullmatch(r"latest|\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", version):
        raise configuration_error("CCUSAGE_VERSION", version, "a version such as 20.0.24, or latest")
    zone = environment.get("CCUSAGE_TIMEZONE") or None
    if zone is not None:
        zone = read_zone("CCUSAGE_TIMEZONE", zone)

    db_path = read_folder(environment, "CCUSAGE_DB_PATH", data_home / "ccusage-importer")
    if host is None and "?" in str(db_path):  # chdb takes what follows for options, and opens another folder
        raise configuration_error("CCUSAGE_DB_PATH", str(db_path), "a path without a question mark")

    return Config(
        machine_name=read_name("--machine-name", options.machine_name)
        if options.machine_name is not None
        else read_name("MACHINE_NAME", environment.get("MACHINE_NAME") or socket.gethostname()),
        user_name=read_name("CCUSAGE_USER", environment.get("CCUSAGE_USER") or default_user()),
        host=host,
        port=port,
        username=environment.get("CH_USER") or "default",
        password=environment.get("CH_PASSWORD", ""),
        database=database,
        cluster=cluster,
        secure=protocol == "https" or (not protocol and port in HTTPS_PORTS),
        db_path=db_path,
        state_path=state_home / "ccusage-importer",
        hash_projects=not options.no_hash_projects and read_boolean(environment, "HASH_PROJECT_NAMES", True),
        project_hash_key=environment.get("PROJECT_HASH_KEY", ""),
        ccusage_bin=environment.get("CCUSAGE_BIN") or None,
        ccusage_version=version,
        version_is_chosen=bool(environment.get("CCUSAGE_VERSION")),
        timeout=read_number(environment, "CCUSAGE_TIMEOUT", 120, 0.1, 86_400),
        workers=read_count(environment, "CCUSAGE_WORKERS", 3, 1, 64),
        timezone=zone,
        offline=read_boolean(environment, "CCUSAGE_OFFLINE", False),
        budget_day=read_budget(environment, "CCUSAGE_BUDGET_DAY"),
        budget_month=read_budget(environment, "CCUSAGE_BUDGET_MONTH"),
        allow_shrink=options.allow_shrink,
    )


UTC_NAMES = ("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu")


def read_zone(variable: str, name: str) -> str:
    """An IANA zone's name, the many names of UTC as one."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise configuration_error(variable, name, "an IANA time zone such as Europe/Berlin") from error
    return "UTC" if name in UTC_NAMES else name


def machine_timezone(environment: Mapping[str, str]) -> str:
    """The IANA name of this machine's zone, UTC where there is none to be found."""
    candidates = [environment.get("TZ", "").lstrip(":")]
    with contextlib.suppress(OSError):
        candidates.append(str(Path("/etc/localtime").readlink()))
    with contextlib.suppress(OSError):
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    for candidate in candidates:
        name = candidate.rpartition("zoneinfo/")[2]
        if name and not name.startswith("/"):
            with contextlib.suppress(ImporterError):
                return read_zone("TZ", name)
    return "UTC"


# =====================================================================================================
# Reports: what differs between the five is declared here; what they share is written once below
# =====================================================================================================


class Dialect(Enum):
    """How a ccusage speaks. `PROJECT_SESSIONS`: 15 to 18. `CLAUDE`: 19 to 20.0.16. `AGENTS`: since 20.0.17."""

    PROJECT_SESSIONS = "15 to 18"
    CLAUDE = "19 to 20.0.16"
    AGENTS = "20.0.17 and newer"


def dialect_of(version: str) -> Dialect:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < (19,):
        return Dialect.PROJECT_SESSIONS
    return Dialect.CLAUDE if numbers < (20, 0, 17) else Dialect.AGENTS


@dataclass(frozen=True)
class Command:
    """One ccusage command. `name` is also the name of its file in --save-json.

    `without_claude`: it is run for the other agents, and need not read Claude Code's logs once more.
    """

    name: str
    arguments: tuple[str, ...]
    without_claude: bool = False


@dataclass(frozen=True)
class Report:
    """One of the five reports: its commands by dialect, its table, and what makes a row's key.

    `record_key` is the key's SQL, equal to `Record.key`; `scope` bounds a read or delete to the part of
    the table that an import can meet, with the parameters of `scope_of`.
    """

    name: str
    record_type: str
    table: str
    commands: Mapping[Dialect, tuple[Command, ...]]
    containers: tuple[str, ...]
    columns: tuple[str, ...]
    record_key: str
    scope: str
    cost_column: str = "total_cost"


def same_commands(name: str, old: str, claude: str, agents: str) -> dict[Dialect, tuple[Command, ...]]:
    """The commands of a report that is one command in each dialect."""
    words = (old, claude, agents)
    return {d: (Command(name, tuple(w.split())),) for d, w in zip(Dialect, words, strict=True)}


REPORTS: dict[str, Report] = {
    report.name: report
    for report in (
        Report(
            name="daily",
            record_type="daily",
            table="ccusage_usage_daily",
            commands=same_commands("daily", "daily", "claude daily", "daily --by-agent"),
            containers=("daily",),
            columns=("date",),
            record_key="toString(date)",
            scope="date >= {first_day:Date}",
        ),
        Report(
            name="monthly",
            record_type="monthly",
            table="ccusage_usage_monthly",
            commands=same_commands("monthly", "monthly", "claude monthly", "monthly --by-agent"),
            containers=("monthly",),
            columns=("month", "year", "month_num"),
            record_key="month",
            scope="year >= toYear({first_day:Date})",
        ),
        Report(
            name="session",
            record_type="session",
            table="ccusage_usage_sessions",
            commands={
                Dialect.PROJECT_SESSIONS: (Command("session", ("session",)),),
                Dialect.CLAUDE: (Command("session", ("claude", "session")),),
                # Only `claude session` tells a session's project; `session` brings the other agents.
                Dialect.AGENTS: (
                    Command("session", ("claude", "session")),
                    Command("session_agents", ("session",), without_claude=True),
                ),
            },
            containers=("sessions", "session"),
            columns=("session_id", "project_path", "first_activity", "last_activity"),
            record_key="session_id",
            scope="session_id IN {sessions:Array(String)}",
        ),
        Report(
            name="blocks",
            record_type="block",
            table="ccusage_usage_blocks",
            commands=same_commands("blocks", "blocks", "blocks", "blocks"),
            containers=("blocks",),
            columns=(
                "block_id",
                "start_time",
                "end_time",
                "actual_end_time",
                "is_active",
                "is_gap",
                "entries",
                "usage_limit_reset_time",
                "burn_rate",
                "projection",
            ),
            record_key="block_id",
            scope="start_time >= toDateTime({first_block:Int64}, 'UTC')",
            cost_column="cost_usd",
        ),
        Report(
            name="projects",
            record_type="project_daily",
            table="ccusage_usage_projects_daily",
            # 19 takes `daily --instances` and ignores the flag, 20 refuses it: hence `claude daily`.
            commands=same_commands(
                "projects", "daily --instances", "claude daily --instances", "claude daily --instances"
            ),
            containers=("projects",),
            columns=("date", "project_id"),
            record_key="concat(toString(date), '/', project_id)",
            scope="date >= {first_day:Date}",
        ),
    )
}

BREAKDOWNS_TABLE = "ccusage_model_breakdowns"
MODELS_TABLE = "ccusage_models_used"
HISTORY_TABLE = "ccusage_import_history"


# =====================================================================================================
# Fetch: find ccusage once, run the commands in parallel, retry, parse
# =====================================================================================================

ATTEMPTS = 2
NO_LOGS = re.compile(r"No valid Claude data directories found")
# What the user's own ccusage configuration may go on deciding: prices, and where logs are.
KEPT_SETTINGS = ("mode", "offline", "noOffline", "pricingOverrides", "speed", "piPath", "openClawPath")


@dataclass(frozen=True)
class Ccusage:
    """The ccusage of this run: the start of its command line, its version, and how it was found."""

    command: tuple[str, ...]
    version: str
    found: str

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.version)


@dataclass(frozen=True)
class FetchedReports:
    """What ccusage said: a JSON document for each command, and why a report has none.

    The same record is what --save-json writes and --from-json reads, so it says whose usage it is.
    """

    ccusage_version: str
    timezone: str
    machine_name: str
    user_name: str
    fetched_at: str
    documents: dict[str, Any]
    errors: Mapping[str, ImporterError] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.ccusage_version)


class ProcessGroups:
    """The child processes of this run, so that all of them can be ended at once from any thread."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(
        self, command: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Exit code, stdout and stderr of a command; whatever it leaves behind in its group is ended.

        Output goes to files, not pipes: a grandchild that keeps a pipe open would keep us waiting.
        Raises OSError where it cannot start and subprocess.TimeoutExpired where it does not end.
        """
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with self._lock:
                if self.stopping.is_set():
                    raise KeyboardInterrupt
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=environment,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                code = process.wait(timeout)
            finally:
                self._end(process)
            stdout.seek(0)
            stderr.seek(0)
            return code, stdout.read(), stderr.read()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._running.discard(process)

    def end_all(self) -> None:
        self.stopping.set()
        with self._lock:
            for process in self._running:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)


def last_words(stderr: bytes, stdout: bytes = b"", limit: int = 400) -> str:
    """What a program said at its end, on one line, for an error message."""
    text = (stderr.strip() or stdout.strip()).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A Node stack trace says what happened in its `Error:` line, not in its last one.
    said = [line for line in lines if re.match(r"\w*Error\b|npm (error|ERR)", line)] or lines
    return "".join(c if c.isprintable() else " " for c in " | ".join(said[-4:]))[-limit:] or "nothing"


def native_binary(launcher: Path) -> Path | None:
    """The native program of ccusage 20 behind its Node launcher, where it is installed and executable.

    Starting it directly takes 0.04 s instead of 0.1 s through Node and 0.4 s through npx. It has no run
    bit until the launcher has run once.
    """
    system = {"Darwin": "darwin", "Linux": "linux"}.get(platform.system(), "")
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    for folder in launcher.resolve().parents:
        for modules in (folder / "node_modules", folder):
            candidate = modules / "@ccusage" / f"ccusage-{system}-{machine}" / "bin" / "ccusage"
            if os.access(candidate, os.X_OK):
                return candidate
        if folder.name == "node_modules":
            return None
    return None


def ccusage_version(groups: ProcessGroups, command: Sequence[str], timeout: float) -> str:
    """The version a ccusage reports of itself; ImporterError with its own words where it does not start."""
    name = " ".join(command)
    try:
        code, stdout, stderr = groups.run([*command, "--version"], timeout)
    except OSError as error:
        raise ImporterError(
            f"{name} cannot be started: {error.strerror}", "install ccusage, or set CCUSAGE_BIN to its path"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImporterError(f"{name} --version gave no answer in {timeout:g} s", "raise CCUSAGE_TIMEOUT") from error
    found = re.search(rb"\d+\.\d+\.\d+[-0-9A-Za-z.]*", stdout)
    if code == 0 and found is None:
        raise ImporterError(
            f"{name} is not ccusage; asked for its version, it said: {last_words(stderr, stdout)}", "set CCUSAGE_BIN"
        )
    if code != 0 or found is None:
        raise ImporterError(
            f"{name} does not run; it said: {last_words(stderr, stdout)}",
            "ccusage needs Node 20 or newer (version 19: Node 22); reinstall it, or set CCUSAGE_VERSION",
        )
    return found.group().decode()


def installed_ccusage(groups: ProcessGroups, launcher: Path, timeout: float, found: str) -> Ccusage:
    """An installed ccusage, its native program where it has one."""
    native = native_binary(launcher)
    if native is None:
        version = ccusage_version(groups, [str(launcher)], timeout)
        native = native_binary(launcher)  # the launcher has just made it executable
    else:
        version = ccusage_version(groups, [str(native)], timeout)
    return Ccusage((str(native or launcher),), version, found)


def major_of(version: str) -> int:
    return int(version.partition(".")[0])


def find_ccusage(config: Config, groups: ProcessGroups) -> Ccusage:
    """The ccusage to run: CCUSAGE_BIN, then PATH, then bunx, then npx.

    bunx and npx fetch the program here, once, so that the commands run in parallel afterwards find it
    installed and do not race each other for the download.
    """
    spec = f"ccusage@{config.ccusage_version}"
    if config.ccusage_bin is not None:
        chosen = shutil.which(
            Path(config.ccusage_bin).expanduser() if "/" in config.ccusage_bin else config.ccusage_bin
        )
        if chosen is None:
            raise configuration_error("CCUSAGE_BIN", config.ccusage_bin, "a program that can be run")
        ccusage = installed_ccusage(groups, Path(chosen), config.timeout, "CCUSAGE_BIN")
        return checked_version(ccusage)
    if (on_path := shutil.which("ccusage")) is not None:
        try:
            ccusage = installed_ccusage(groups, Path(on_path), config.timeout, "PATH")
            if major_of(ccusage.version) not in SUPPORTED_MAJORS:
                log.info("ccusage %s on PATH is not one of the supported versions 15 to 20", ccusage.version)
            elif config.version_is_chosen and ccusage.version != config.ccusage_version:
                log.info("ccusage %s on PATH is not CCUSAGE_VERSION %s", ccusage.version, config.ccusage_version)
            else:
                return ccusage
        except ImporterError as error:
            log.warning("%s; looking further", error.what)
    if (bunx := shutil.which("bunx")) is not None:
        version = ccusage_version(groups, [bunx, spec], config.timeout)
        return checked_version(Ccusage((bunx, spec), version, "bunx"))
    if (npx := shutil.which("npx")) is not None:
        return checked_version(npx_ccusage(config, groups, npx, spec))
    raise ImporterError(
        "ccusage is not installed, and neither bunx nor npx is there to fetch it",
        "install Node 20 or newer, or set CCUSAGE_BIN to the path of ccusage",
    )


def checked_version(ccusage: Ccusage) -> Ccusage:
    """The same, if it is not too old; a newer major than the tested ones is tried and said so."""
    if major_of(ccusage.version) in SUPPORTED_MAJORS:
        return ccusage
    if major_of(ccusage.version) < SUPPORTED_MAJORS.start:
        raise ImporterError(
            f"ccusage {ccusage.version} ({ccusage.found}) is older than 15", "install a newer one", EXIT_USAGE
        )
    log.warning("ccusage %s is newer than the tested versions 15 to 20", ccusage.version)
    return ccusage


def npx_ccusage(config: Config, groups: ProcessGroups, npx: str, spec: str) -> Ccusage:
    """The ccusage that npx has installed; where, is remembered, because asking npx takes 0.4 s."""
    memory = config.state_path / "npx-ccusage"
    with contextlib.suppress(OSError, ImporterError):
        remembered = Path(memory.read_text(encoding="utf-8"))
        if config.ccusage_version != "latest" and remembered.is_absolute() and remembered.exists():
            ccusage = installed_ccusage(groups, remembered, config.timeout, "npx")
            if ccusage.version == config.ccusage_version:
                return ccusage
    launcher = npx_launcher(groups, npx, spec, config.timeout)
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        memory.write_text(str(launcher), encoding="utf-8")
    return installed_ccusage(groups, launcher, config.timeout, "npx")


def npx_launcher(groups: ProcessGroups, npx: str, spec: str, timeout: float) -> Path:
    """Where npx has put ccusage's launcher, fetched if it was not there yet."""
    command = [npx, "--yes", f"--package={spec}", "-c", "command -v ccusage"]
    try:
        code, stdout, stderr = groups.run(command, timeout)
    except subprocess.TimeoutExpired as error:
        raise ImporterError(f"npx did not fetch {spec} in {timeout:g} s", "raise CCUSAGE_TIMEOUT") from error
    lines = stdout.decode("utf-8", "replace").split("\n")
    paths = [Path(line) for line in lines if line.startswith("/") and Path(line).exists()]
    if code != 0 or not paths:
        raise ImporterError(
            f"npx could not fetch {spec}; it said: {last_words(stderr, stdout)}",
            "look at the network and the npm registry, or install ccusage and set CCUSAGE_BIN",
        )
    return paths[-1]


def claude_folders(environment: Mapping[str, str]) -> list[Path]:
    """Claude Code's folders, as ccusage looks for them."""
    configured = environment.get("CLAUDE_CONFIG_DIR", "")
    if configured:
        return [Path(folder.strip()).expanduser() for folder in configured.split(",") if folder.strip()]
    home = Path.home()
    return [Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "claude", home / ".claude"]


def user_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """The part of the user's ccusage configuration that is allowed to reach a report.

    ccusage reads the first of these files. Its `since`, `project`, `order`, `noCost`, `jq` and the like
    would narrow or reshape a report, and what is set for one command only would make the five disagree.
    The file in the current folder (.ccusage/ccusage.json) is left out: cron has another current folder.
    """
    for folder in claude_folders(environment):
        try:
            settings = json.loads((folder / "ccusage.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(settings, dict):
            return kept_settings(settings)
    return {}


def kept_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` of the file and of each agent in it, without what may not reach a report."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "defaults" and isinstance(value, dict):
            kept[name] = {key: setting for key, setting in value.items() if key in KEPT_SETTINGS}
        elif name != "commands" and isinstance(value, dict):
            kept[name] = kept_settings({"defaults": value.get("defaults")})
    return kept


def report_environment(environment: Mapping[str, str], zone: str) -> dict[str, str]:
    """The environment of a report command: plain output, and the zone for what --timezone does not reach."""
    plain = {name: value for name, value in environment.items() if name not in ("FORCE_COLOR", "LOG_LEVEL")}
    return plain | {"NO_COLOR": "1", "TZ": zone}


def parse_document(stdout: bytes) -> Any:
    """The JSON document in what a command printed, lines before it passed over.

    Raises ValueError for anything else: nothing, half a document, NaN, text after the end.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    text = stdout.decode("utf-8")
    decoder = json.JSONDecoder(parse_constant=refuse)
    starts = [match.start() for match in re.finditer(r"^[\[{]", text, re.MULTILINE)]
    problem: Exception = ValueError("there is no JSON in it")
    for start in starts[:20]:
        try:
            document, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            problem = error
            continue
        if not text[end:].strip():
            return document
        problem = ValueError("there is text after the JSON")
    raise ValueError(f"{problem}") from problem


def fetch_command(
    ccusage: Ccusage, report: str, command: Command, arguments: Sequence[str], groups: ProcessGroups, config: Config
) -> Any:
    """The document of one command, tried twice; ImporterError with ccusage's own words."""
    environment = report_environment(os.environ, arguments[arguments.index("--timezone") + 1])
    if command.without_claude:
        # a folder of logs without any, beside the settings: half of the time on large logs
        empty = Path(arguments[arguments.index("--config") + 1]).parent
        environment["CLAUDE_CONFIG_DIR"] = str(empty)
    words = " ".join(("ccusage", *command.arguments))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            line = [*ccusage.command, *command.arguments, *arguments]
            log.debug("run: %s", " ".join(line))
            code, stdout, stderr = groups.run(line, config.timeout, environment)
            if NO_LOGS.search(stderr.decode("utf-8", "replace")):
                return []
            if code < 0:
                failure = ImporterError(
                    f"{report}: `{words}` was ended by {signal.Signals(-code).name}",
                    "look at the machine's memory: on large logs one ccusage can take 6 GB (CCUSAGE_WORKERS=1 runs one)",
                )
            elif code > 0:
                failure = ImporterError(
                    f"{report}: `{words}` failed (exit {code}); it said: {last_words(stderr, stdout)}",
                    f"run `{words}` by hand; ccusage {ccusage.version} was found by {ccusage.found}",
                )
            else:
                return parse_document(stdout)
        except subprocess.TimeoutExpired:
            failure = ImporterError(
                f"{report}: ccusage gave no answer in {config.timeout:g} s",
                f"raise CCUSAGE_TIMEOUT, or run `{words}` by hand to see what it waits for",
            )
        except OSError as error:
            failure = ImporterError(f"{report}: ccusage cannot be started: {error.strerror}", "set CCUSAGE_BIN")
        except ValueError as error:  # UnicodeDecodeError is one
            failure = ImporterError(
                f"{report}: `{words}` did not print a JSON document ({error}); it said: {last_words(stdout)}",
                f"run `{words} --json` by hand; CCUSAGE_VERSION={DEFAULT_CCUSAGE_VERSION} is a version that works",
            )
        # exponential, with jitter so that many machines do not come back together
        if attempt < ATTEMPTS and groups.stopping.wait(0.5 * 2**attempt * random.uniform(0.5, 1.0)):
            raise KeyboardInterrupt
    raise failure


def fetch_reports(
    config: Config,
    ccusage: Ccusage,
    zone: str,
    groups: ProcessGroups,
    on_done: Callable[[str, float, ImporterError | None], None] = lambda *_: None,
) -> FetchedReports:
    """Run every command of the five reports, `config.workers` at once.

    `on_done` is called in this thread with each command's name, seconds, and error if it failed.
    """
    documents: dict[str, Any] = {}
    errors: dict[str, ImporterError] = {}
    seconds: dict[str, float] = {}

    def timed(report: str, command: Command, arguments: Sequence[str]) -> tuple[float, Any]:
        started = time.monotonic()
        try:
            result = fetch_command(ccusage, report, command, arguments, groups, config)
        except ImporterError as error:
            result = error
        return time.monotonic() - started, result

    with tempfile.TemporaryDirectory(prefix="ccusage-importer-") as folder:
        settings = Path(folder) / "ccusage.json"
        settings.write_text(json.dumps(user_settings(os.environ)), encoding="utf-8")
        (settings.parent / "projects").mkdir()  # what makes it a folder of Claude Code's, with no logs
        arguments = ["--json", "--timezone", zone, "--config", str(settings)]
        if config.offline:
            arguments.append("--offline")
        with ThreadPoolExecutor(config.workers, thread_name_prefix="ccusage") as pool:
            try:
                futures = {
                    pool.submit(timed, report.name, command, arguments): (report.name, command.name)
                    for report in REPORTS.values()
                    for command in report.commands[ccusage.dialect]
                }
                for future in as_completed(futures):
                    report_name, name = futures[future]
                    seconds[name], result = future.result()
                    error = result if isinstance(result, ImporterError) else None
                    if error is None:
                        documents[name] = result
                    else:
                        errors[report_name] = error
                    on_done(name, seconds[name], error)
            except BaseException:
                groups.end_all()
                pool.shutdown(cancel_futures=True)
                raise
    return FetchedReports(
        ccusage_version=ccusage.version,
        timezone=zone,
        machine_name=config.machine_name,
        user_name=config.user_name,
        fetched_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        documents=documents,
        errors=errors,
        seconds=seconds,
    )


# ---- saved reports: --save-json, --from-json, and what a crash must not lose -------------------------

MANIFEST = "manifest.json"
SAVED_FORMAT = 1


def save_reports(fetched: FetchedReports, folder: Path) -> None:
    """Write each document as ccusage gave it, 0600, and a manifest last: without it the folder is not whole."""
    manifest = {
        "format": SAVED_FORMAT,
        "ccusage_version": fetched.ccusage_version,
        "timezone": fetched.timezone,
        "machine_name": fetched.machine_name,
        "user_name": fetched.user_name,
        "fetched_at": fetched.fetched_at,
        "commands": sorted(fetched.documents),
        "errors": {name: [error.what, error.fix] for name, error in fetched.errors.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, document in [*fetched.documents.items(), ("manifest", manifest)]:
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
                file.write(json.dumps(document, ensure_ascii=False))  # json.dump would be the slow encoder
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(folder / f"{name}.json")
    except OSError as error:
        raise ImporterError(
            f"{folder}: the reports cannot be saved: {error.strerror}",
            "make room there" if error.errno == errno.ENOSPC else "give a folder that can be written to",
        ) from error


def load_reports(folder: Path) -> FetchedReports:
    """Read back what `save_reports` wrote."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != SAVED_FORMAT:
            raise ValueError(f"format {manifest['format']} is not known to this version")
        return FetchedReports(
            ccusage_version=str(manifest["ccusage_version"]),
            timezone=read_zone("timezone", str(manifest["timezone"])),
            machine_name=read_name("machine_name", str(manifest["machine_name"])),
            user_name=read_name("user_name", str(manifest["user_name"])),
            fetched_at=str(manifest["fetched_at"]),
            documents={
                name: parse_document((folder / f"{Path(name).name}.json").read_bytes()) for name in manifest["commands"]
            },
            errors={name: ImporterError(what, fix) for name, (what, fix) in manifest["errors"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImporterError) as error:
        reason = error.what if isinstance(error, ImporterError) else f"{type(error).__name__}: {error}"
        raise ImporterError(
            f"{folder} holds no reports saved by --save-json ({reason})",
            "give the folder that `ccusage_importer.py --save-json DIR` has written",
            EXIT_USAGE,
        ) from error


# =====================================================================================================
# Reshape: wrapped JSON into typed rows. Pure: no client, no console, no clock
# =====================================================================================================

MAX_TOKENS = 2**64 - 1
MAX_ENTRIES = 2**32 - 1
MAX_MODELS = 2**16 - 1
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2105, 12, 31)  # what ClickHouse's DateTime can hold
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SYNTHETIC_MODEL = "<synthetic>"  # Claude Code's own error messages, no model of a user's
LOOKS_LIKE_A_PATH = re.compile(r"[-/\\~]|[A-Za-z](:[\\/]|--)")
PROJECT_FIELDS = ("project", "projectPath", "cwd", "directory", "workspace")


@dataclass(frozen=True)
class Usage:
    """Tokens and US dollars of a row. `total` is what ccusage says, not always the sum of the four."""

    input: int = 0
    output: int = 0
    cache_creation: int = 0
    cache_read: int = 0
    total: int = 0
    cost: float = 0.0

    @classmethod
    def of(cls, tokens: Iterable[int], cost: float) -> Usage:
        """From the five numbers of tokens, in the order of the columns."""
        input_, output, cache_creation, cache_read, total = tokens
        return cls(input_, output, cache_creation, cache_read, total, cost)

    @property
    def tokens(self) -> tuple[int, int, int, int, int]:
        return (self.input, self.output, self.cache_creation, self.cache_read, self.total)

    def __add__(self, other: Usage) -> Usage:
        tokens = (mine + theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True))
        return Usage.of(tokens, round(self.cost + other.cost, DOLLAR_DIGITS))

    def covers(self, other: Usage) -> bool:
        """Whether this is as much as the other, or more, in each number."""
        enough = all(mine >= theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True))
        return enough and self.cost >= other.cost - COST_TOLERANCE

    def minus(self, other: Usage) -> Usage:
        """What is left of this after the other, never below zero."""
        tokens = (max(mine - theirs, 0) for mine, theirs in zip(self.tokens, other.tokens, strict=True))
        return Usage.of(tokens, max(round(self.cost - other.cost, DOLLAR_DIGITS), 0.0))


def json_text(value: Any) -> str:
    """JSON as it is stored in `raw_data`: the same text for the same value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def sum_usage(usages: Iterable[Usage]) -> Usage:
    return sum(usages, Usage())


def sum_by_model(breakdowns: Iterable[Mapping[str, Usage]]) -> dict[str, Usage]:
    """Breakdowns of several records as one, by model."""
    total: dict[str, Usage] = {}
    for breakdown in breakdowns:
        for model, usage in breakdown.items():
            total[model] = total.get(model, Usage()) + usage
    return dict(sorted(total.items()))


Key = tuple[str, str]  # source and record key: with machine and user, whose row it is


@dataclass(frozen=True)
class Record:
    """One row of a report with its child rows. `columns` are the report's own, by name."""

    report: str
    source: str
    record_key: str
    columns: Mapping[str, Any]
    usage: Usage
    models: tuple[str, ...] = ()
    breakdowns: Mapping[str, Usage] = field(default_factory=dict)
    raw_data: str = "{}"

    @property
    def key(self) -> Key:
        return (self.source, self.record_key)

    @functools.cached_property
    def content_hash(self) -> int:
        """UInt64 over what is stored of the row and its children.

        Of the raw JSON only the names of its fields count: a field that ccusage adds is stored with the
        next import, but the order of its lists and the last digit of its sums, which differ from run to
        run, do not make a row a changed one. Nor does the active block's projection, which falls with the
        clock.
        """
        content = [
            self.source,
            self.record_key,
            {name: value for name, value in self.columns.items() if name != "projection"},
            self.usage.tokens,
            self.usage.cost,
            self.models,
            {model: [*usage.tokens, usage.cost] for model, usage in self.breakdowns.items()},
            sorted(json.loads(self.raw_data)) if self.raw_data.startswith("{") else None,
        ]
        text = json.dumps(content, sort_keys=True, default=str)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Privacy:
    """How project names are stored: as they are, or as 8 hex digits of a hash, keyed where there is a key."""

    hashed: bool = True
    key: str = ""

    def name(self, name: str) -> str:
        if not self.hashed:
            return name
        if self.key:
            return hmac.new(self.key.encode(), name.encode(), hashlib.sha256).hexdigest()[:8]
        return hashlib.sha256(name.encode()).hexdigest()[:8]

    @property
    def fingerprint(self) -> str:
        """Tells one way from another without telling the key."""
        if not self.hashed:
            return "plain"
        return f"hmac-{self.name('ccusage-importer fingerprint')}" if self.key else "sha256"

    def raw_data(self, value: Any) -> str:
        """A row's JSON for its column `raw_data`."""
        return json_text(self.raw(value))

    def raw(self, value: Any, field_name: str = "") -> Any:
        """The same JSON with project names made private, wherever in it they are."""
        if isinstance(value, dict):
            return {key: self.raw(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.raw(item, field_name) for item in value]
        if isinstance(value, str) and (field_name in PROJECT_FIELDS or LOOKS_LIKE_A_PATH.match(value)):
            return self.name(value)
        return value


class Row:
    """One JSON row and its place, to read typed fields from; every error names report, row and field."""

    def __init__(self, place: str, data: Any) -> None:
        self.place = place
        if not isinstance(data, dict):
            raise ImporterError(f"{place}: not a JSON object but {shown(data)}", SHAPE_FIX)
        self.data: dict[str, Any] = data

    def error(self, name: str, value: Any, wanted: str) -> ImporterError:
        said = "is missing" if value is None else f"is {shown(value)}"
        return ImporterError(f"{self.place}: {name} {said}, not {wanted}", SHAPE_FIX)

    def inner(self, name: str) -> Row:
        return Row(f"{self.place}, {name}", self.data.get(name))

    def whole(self, name: str, largest: int = MAX_TOKENS) -> int:
        value = self.data.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
            raise self.error(name, value, f"a whole number from 0 to {largest}")
        return value

    def dollars(self, name: str) -> float:
        value = self.data.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
            raise self.error(name, value, "an amount of US dollars")
        return abs(round(float(value), DOLLAR_DIGITS))  # abs: ccusage 20 says -0.0 for an empty sum

    def text(self, name: str) -> str:
        value = self.data.get(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, value, "a text")
        return self.checked_text(name, value)

    def checked_text(self, name: str, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair
            raise self.error(name, value, "Unicode text") from error
        return value

    def day(self, name: str) -> date:
        value = self.data.get(name)
        try:
            if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
                raise ValueError
            day = date.fromisoformat(value)
        except ValueError as error:
            raise self.error(name, value, "a day (YYYY-MM-DD)") from error
        if not FIRST_DAY <= day <= LAST_DAY:
            raise self.error(name, value, f"a day from {FIRST_DAY} to {LAST_DAY}")
        return day

    def moment(self, name: str) -> datetime:
        """A time with its zone, or a day (midnight UTC), cut to the second."""
        value = self.data.get(name)
        pattern = r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9:]{8})(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?"
        match = re.fullmatch(pattern, value) if isinstance(value, str) else None
        try:
            if match is None:
                raise ValueError
            day, clock, zone = match.groups("")
            moment = datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{'+00:00' if zone in ('', 'Z') else zone}")
            moment = moment.astimezone(timezone.utc)
        except (ValueError, OverflowError) as error:
            raise self.error(name, value, "a time such as 2026-11-20T09:30:00Z") from error
        if not FIRST_DAY <= moment.date() <= LAST_DAY:
            raise self.error(name, value, f"a time from {FIRST_DAY} to {LAST_DAY}")
        return moment

    def optional(self, name: str, read: Callable[[str], Any], default: Any = None) -> Any:
        return default if self.data.get(name) is None else read(name)

    def flag(self, name: str) -> bool:
        value = self.data.get(name, False)
        if not isinstance(value, bool):
            raise self.error(name, value, "true or false")
        return value

    def rows(self, name: str) -> list[Row]:
        value = self.data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, value, "a list")
        return [Row(f"{self.place}, {name}[{number}]", item) for number, item in enumerate(value)]

    def usage(self, cost: str = "totalCost") -> Usage:
        return Usage(
            self.whole("inputTokens"),
            self.whole("outputTokens"),
            self.whole("cacheCreationTokens"),
            self.whole("cacheReadTokens"),
            self.whole("totalTokens"),
            self.dollars(cost),
        )

    def model_names(self, name: str) -> tuple[str, ...]:
        """The distinct models of a list, sorted: their order differs from run to run."""
        value = self.data.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(model, str) for model in value):
            raise self.error(name, value, "a list of model names")
        return tuple(sorted({self.checked_text(name, model) for model in value} - {SYNTHETIC_MODEL, ""}))

    def breakdowns(self) -> dict[str, Usage]:
        """Usage by model; ccusage tells no total for a model, so it is the sum of the four."""
        by_model = []
        for row in self.rows("modelBreakdowns"):
            parts = [row.whole(n) for n in ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")]
            if sum(parts) > MAX_TOKENS:
                raise row.error("the sum of the tokens", sum(parts), f"at most {MAX_TOKENS}")
            by_model.append({row.text("modelName"): Usage.of([*parts, sum(parts)], row.dollars("cost"))})
        return {model: usage for model, usage in sum_by_model(by_model).items() if model != SYNTHETIC_MODEL}


SHAPE_FIX = (
    "ccusage gave a report of another shape than its tested versions; "
    f"CCUSAGE_VERSION={DEFAULT_CCUSAGE_VERSION} is a version that works"
)


def shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def unwrap_rows(report: Report, command: str, document: Any) -> Iterator[tuple[Row, str, str]]:
    """The rows of a document: each with its source and the period or project that its wrapping names.

    15 to 18 answer `[]` where there is nothing. From 20.0.17 on a day or month is one row for all agents
    with a row for each in `agents`; only those are stored.
    """
    if document == []:
        return
    outer = Row(report.name, document)
    container = next((name for name in report.containers if name in outer.data), None)
    if container is None and report.name == "projects" and outer.data.get("daily") == []:
        return  # how 20 says that no project has any usage
    if container is None:
        found = ", ".join(sorted(outer.data)) or "nothing"
        raise ImporterError(
            f"{report.name}: ccusage's answer has no {' or '.join(report.containers)} but {found}", SHAPE_FIX
        )
    if report.name == "projects":
        projects = outer.inner(container)
        for project in projects.data:
            projects.checked_text(container, project)
            for number, row in enumerate(projects.rows(project)):
                yield Row(f"{report.name}: row {number} of {container}[{project!r}]", row.data), "claude", project
        return
    for number, data in enumerate(outer.rows(container)):
        row = Row(f"{report.name}: row {number}", data.data)
        if "agents" in row.data:
            for agent in row.rows("agents"):
                yield agent, agent.text("agent"), row.text("period")
        elif row.data.get("agent") == "all":
            raise row.error("agents", None, "a list of agents")
        elif "agent" not in row.data:
            yield row, "claude", ""
        elif not (command == "session_agents" and row.data["agent"] == "claude"):
            # claude's sessions have come with their projects, by `claude session`
            yield row, row.text("agent"), row.text("period")


def reshape_daily(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    day = Row(row.place, {"date": period}).day("date") if period else row.day("date")
    return usage_record("daily", row, source, str(day), {"date": day}, privacy.raw_data(row.data))


def reshape_monthly(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    month = period or row.text("month")
    first = Row(row.place, {"month": f"{month}-01"}).day("month")
    columns = {"month": month, "year": first.year, "month_num": first.month}
    return usage_record("monthly", row, source, month, columns, privacy.raw_data(row.data))


def reshape_session(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    """A session. Before ccusage 19 a session was a project's folder, and what it calls one is told here.

    There `projectPath/sessionId` is the folder of the logs below projects/. One part: all sessions of that
    project in one row. More: a session with a folder of its own, which later versions name the same way.
    """
    if period:  # another agent's, from the unified report
        session_id, project = period, ""
        metadata = row.inner("metadata") if row.data.get("metadata") is not None else Row(row.place, {})
        first = metadata.optional("firstActivity", metadata.moment)
        last = metadata.optional("lastActivity", metadata.moment, EPOCH)
    else:
        session_id = row.text("sessionId")
        project = row.optional("projectPath", row.text, "")
        first = row.optional("firstActivity", row.moment)
        last = row.moment("lastActivity")
    if dialect is Dialect.PROJECT_SESSIONS:
        parts = ([] if project in ("", "Unknown Project") else project.split("/")) + [session_id]
        if len(parts) > 2 and parts[-1] == "subagents":
            parts.pop()
        session_id, project = parts[-1], "/".join(parts[:-1]) or parts[-1]
    is_project = session_id == project or LOOKS_LIKE_A_PATH.match(session_id) is not None
    session_id = privacy.name(session_id) if is_project else session_id
    columns = {
        "session_id": session_id,
        "project_path": privacy.name(project) if project else "",
        "first_activity": first,
        "last_activity": last,
    }
    raw = privacy.raw(row.data)
    for name in ("sessionId", "period"):
        if is_project and name in raw:
            raw[name] = session_id
    return usage_record("session", row, source, session_id, columns, json_text(raw))


def reshape_block(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    counts = row.inner("tokenCounts")
    block_id = row.text("id")
    burn_rate = row.inner("burnRate") if row.data.get("burnRate") is not None else None
    projection = row.inner("projection") if row.data.get("projection") is not None else None
    models = row.model_names("models")
    return Record(
        report="blocks",
        source=source,
        record_key=block_id,
        columns={
            "block_id": block_id,
            "start_time": row.moment("startTime"),
            "end_time": row.moment("endTime"),
            "actual_end_time": row.optional("actualEndTime", row.moment),
            "is_active": int(row.flag("isActive")),
            "is_gap": int(row.flag("isGap")),
            "entries": row.optional("entries", lambda name: row.whole(name, MAX_ENTRIES), 0),
            "usage_limit_reset_time": row.optional("usageLimitResetTime", row.moment),
            "burn_rate": burn_rate.dollars("costPerHour") if burn_rate else None,
            "projection": projection.dollars("totalCost") if projection else None,
        },
        usage=Usage(
            counts.whole("inputTokens"),
            counts.whole("outputTokens"),
            counts.whole("cacheCreationInputTokens"),
            counts.whole("cacheReadInputTokens"),
            row.whole("totalTokens"),
            row.dollars("costUSD"),
        ),
        models=checked_models(row, models),
        raw_data=privacy.raw_data(row.data),
    )


def reshape_project(row: Row, source: str, project: str, dialect: Dialect, privacy: Privacy) -> Record:
    day = row.day("date")
    project_id = privacy.name(project)
    columns = {"date": day, "project_id": project_id}
    return usage_record("projects", row, source, f"{day}/{project_id}", columns, privacy.raw_data(row.data))


RESHAPE: dict[str, Callable[[Row, str, str, Dialect, Privacy], Record]] = {
    "daily": reshape_daily,
    "monthly": reshape_monthly,
    "session": reshape_session,
    "blocks": reshape_block,
    "projects": reshape_project,
}


def checked_models(row: Row, models: tuple[str, ...]) -> tuple[str, ...]:
    if len(models) > MAX_MODELS:
        raise row.error("the number of models", len(models), f"at most {MAX_MODELS}")
    return models


def usage_record(
    report: str, row: Row, source: str, record_key: str, columns: Mapping[str, Any], raw_data: str
) -> Record:
    """What daily, monthly, session and project rows share; `raw_data` is the row's JSON, made private."""
    breakdowns = row.breakdowns()
    models = tuple(sorted({*row.model_names("modelsUsed"), *breakdowns}))
    return Record(report, source, record_key, columns, row.usage(), checked_models(row, models), breakdowns, raw_data)


Combine = Callable[[Sequence[Any]], Any]
COMBINED_COLUMNS: Mapping[str, Combine] = {
    "first_activity": min,
    "last_activity": max,
    "actual_end_time": max,
    "entries": sum,
}


def merge_records(records: Sequence[Record]) -> Record:
    """Rows that meet in one key (two names with one hash, one session in two folders) as one, summed."""
    if len(records) == 1:
        return records[0]
    largest = max(records, key=lambda record: record.usage.total)
    columns = dict(largest.columns)
    for name, combine in COMBINED_COLUMNS.items():
        values = [record.columns[name] for record in records if record.columns.get(name) is not None]
        if values:
            columns[name] = combine(values)
    return dataclasses.replace(
        largest,
        columns=columns,
        usage=sum_usage(record.usage for record in records),
        models=tuple(sorted({model for record in records for model in record.models})),
        breakdowns=sum_by_model(record.breakdowns for record in records),
        raw_data=f"[{','.join(record.raw_data for record in records)}]",
    )


def reshape_report(report: Report, fetched: FetchedReports, privacy: Privacy) -> list[Record]:
    """The rows of one report, one for each key, in a stable order.

    Raises ImporterError, with report, row and field, for anything that is not what ccusage is known to say.
    """
    by_key: defaultdict[Key, list[Record]] = defaultdict(list)
    for command in report.commands[fetched.dialect]:
        if command.name not in fetched.documents:
            raise ImporterError(f"{report.name}: the answer to `{command.name}` is missing")
        for row, source, period in unwrap_rows(report, command.name, fetched.documents[command.name]):
            record = RESHAPE[report.name](row, source, period, fetched.dialect, privacy)
            by_key[record.key].append(record)
    merged = [merge_records(records) for _, records in sorted(by_key.items())]
    for record in merged:
        if max(record.usage.tokens) > MAX_TOKENS:
            raise ImporterError(f"{report.name}: {record.record_key}: the tokens add up to more than {MAX_TOKENS}")
    return merged


def reshape_reports(
    fetched: FetchedReports, privacy: Privacy
) -> tuple[dict[str, list[Record]], dict[str, ImporterError]]:
    """Rows by report, and the errors of the reports that have none."""
    records: dict[str, list[Record]] = {}
    errors = dict(fetched.errors)
    for report in REPORTS.values():
        if report.name not in errors:
            try:
                records[report.name] = reshape_report(report, fetched, privacy)
            except ImporterError as error:
                errors[report.name] = error
    return records, errors


def disagreements(records: Mapping[str, Sequence[Record]]) -> list[str]:
    """Where the reports of one import do not agree: months with days, projects with days, models with records.

    The commands read the logs a moment apart, so a message written in between shows up here.
    """
    found: list[str] = []

    def compare(what: str, left: Usage, left_name: str, right: Usage, right_name: str) -> None:
        if left.tokens[:4] != right.tokens[:4] or abs(left.cost - right.cost) > COST_TOLERANCE:
            found.append(
                f"{what}: {left_name} say {left.total:,} tokens and ${left.cost:,.6f}, "
                f"{right_name} {right.total:,} and ${right.cost:,.6f}"
            )

    def sums(report: str, period: Callable[[Record], str]) -> dict[Key, list[Usage]]:
        by_period: defaultdict[Key, list[Usage]] = defaultdict(list)
        for record in records[report]:
            by_period[record.source, period(record)].append(record.usage)
        return by_period

    if "daily" in records and "monthly" in records:
        days = sums("daily", lambda record: record.record_key[:7])
        for month in records["monthly"]:
            usages = days.get(month.key, [])
            what = f"{month.record_key} ({month.source})"
            compare(what, month.usage, "months", sum_usage(usages), "days")
    if "daily" in records and "projects" in records:
        projects = sums("projects", lambda record: str(record.columns["date"]))
        for day in records["daily"]:
            if day.source == "claude":  # ccusage tells projects for claude alone
                usages = projects.get(day.key, [])
                compare(day.record_key, day.usage, "days", sum_usage(usages), "projects")
    for report_records in records.values():
        for record in report_records:
            if record.breakdowns:
                usages = list(record.breakdowns.values())
                what = f"{record.report} {record.record_key} ({record.source})"
                compare(what, record.usage, "records", sum_usage(usages), "models")
    return found


# =====================================================================================================
# Store: open ClickHouse, apply the schema, plan (pure), delete-then-insert, check, history
# =====================================================================================================

# ---- the plan: stored and fetched rows into new, changed, unchanged, kept. Pure ----------------------


@dataclass(frozen=True)
class Stored:
    """What a plan needs to know of a stored row. Times are epoch seconds; `ends` is a session's last activity."""

    report: str
    source: str
    record_key: str
    content_hash: int
    usage: Usage
    created_at: int
    starts: int = 0
    ends: int = 0
    is_gap: bool = False
    project: str = ""

    @property
    def key(self) -> Key:
        return (self.source, self.record_key)

    @property
    def is_whole_project(self) -> bool:
        """Whether it is one of ccusage 15 to 18's sessions: all of a project's in one row."""
        return self.record_key == self.project


def stored_from(record: Record) -> Stored:
    """What a record is once it is stored."""
    columns = record.columns
    starts, ends = (columns.get(name, EPOCH).timestamp() for name in ("start_time", "end_time"))
    return Stored(
        record.report,
        record.source,
        record.record_key,
        record.content_hash,
        record.usage,
        created_at=0,
        starts=int(starts),
        ends=int(columns["last_activity"].timestamp() if "last_activity" in columns else ends),
        is_gap=bool(columns.get("is_gap")),
        project=columns.get("project_path", ""),
    )


ChildKey = tuple[str, str, str]  # record type, source and record key: whose child a row is


def child_key(row: Record | Stored) -> ChildKey:
    return (REPORTS[row.report].record_type, *row.key)


OUTCOMES = ("new", "changed", "unchanged", "kept")  # of a fetched row


@dataclass
class Plan:
    """What is to happen to one report's rows. A changed row is deleted, then inserted; a removed one deleted."""

    report: str
    new: list[Record] = field(default_factory=list)
    changed: list[tuple[Record, Stored]] = field(default_factory=list)
    unchanged: list[Record] = field(default_factory=list)
    kept: list[tuple[Record, Stored]] = field(default_factory=list)
    removed: list[Stored] = field(default_factory=list)

    @property
    def written(self) -> list[Record]:
        return [*self.new, *(record for record, _ in self.changed)]

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.changed or self.removed)

    def drop(self, key: Key) -> None:
        """Forget what was planned for a fetched row."""
        self.new = [record for record in self.new if record.key != key]
        self.changed = [pair for pair in self.changed if pair[0].key != key]
        self.unchanged = [record for record in self.unchanged if record.key != key]
        self.kept = [pair for pair in self.kept if pair[0].key != key]

    def after(self, stored: Mapping[Key, Stored]) -> dict[Key, Record | Stored]:
        """The rows that this plan leaves of those that are stored."""
        rows: dict[Key, Record | Stored] = dict(stored)
        for gone in self.removed:
            rows.pop(gone.key, None)
        rows.update({record.key: record for record in self.written})
        return rows


LostPrices = frozenset[tuple[str, str]]  # source and model: had a price when stored, has none now


def unpriced_models(records: Mapping[str, Sequence[Record]]) -> LostPrices:
    """Models that have tokens and no cost anywhere in the fetched rows."""
    usage: defaultdict[tuple[str, str], Usage] = defaultdict(Usage)
    for report_records in records.values():
        for record in report_records:
            for model, part in record.breakdowns.items():
                usage[record.source, model] += part
    return frozenset(key for key, total in usage.items() if total.total and not total.cost)


def lost_only_a_price(record: Record, stored: Stored, lost_prices: LostPrices) -> bool:
    """Whether the tokens are the same and the cost is lower because a model's price went missing."""
    return (
        record.usage.tokens == stored.usage.tokens
        and record.usage.cost < stored.usage.cost
        and any((record.source, model) in lost_prices for model in record.models)
    )


def plan_report(
    report: str,
    fetched: Iterable[Record],
    stored: Mapping[Key, Stored],
    lost_prices: LostPrices = frozenset(),
    allow_shrink: bool = False,
) -> Plan:
    """Sort fetched rows into new, changed, unchanged and kept, each against the stored row of its key."""
    plan = Plan(report)
    for record in fetched:
        old = stored.get(record.key)
        if old is None:
            plan.new.append(record)
        elif record.content_hash == old.content_hash:
            plan.unchanged.append(record)
        elif not allow_shrink and (record.usage.total < old.usage.total or lost_only_a_price(record, old, lost_prices)):
            plan.kept.append((record, old))
        else:
            plan.changed.append((record, old))
    return plan


def block_span(block: Record | Stored) -> tuple[int, int]:
    """Start and end of a block in epoch seconds.

    A gap ends with the first message after it, the block of that message starts at the full hour before:
    the gap is taken to end there, too, or each would overlap the block that follows it.
    """
    row = block if isinstance(block, Stored) else stored_from(block)
    return row.starts, row.ends - row.ends % 3600 if row.is_gap else row.ends


def overlapping_groups(blocks: Sequence[Record | Stored]) -> Iterator[list[Record | Stored]]:
    """Groups of a source's blocks that overlap in time, directly or through others."""
    group: list[Record | Stored] = []
    group_end = 0
    for block in sorted(blocks, key=lambda block: (block.source, block_span(block))):
        start, end = block_span(block)
        if group and (block.source != group[0].source or start >= group_end):
            yield group
            group = []
        group_end = max(group_end, end) if group else end
        group.append(block)
    if group:
        yield group


def plan_blocks(
    fetched: Sequence[Record],
    stored: Mapping[Key, Stored],
    lost_prices: LostPrices = frozenset(),
    allow_shrink: bool = False,
) -> Plan:
    """Like `plan_report`, with one rule more: stored and fetched blocks must not overlap.

    Where old logs are gone the first block that is left can start at another hour, so have another id and
    overlap stored ones. Of each group that overlaps the side with more tokens stays, whole. Gaps follow:
    none stays where a block is.
    """
    gaps = [record for record in fetched if record.columns["is_gap"]]
    blocks = [record for record in fetched if not record.columns["is_gap"]]
    stored_blocks = [row for row in stored.values() if not row.is_gap]
    plan = Plan("blocks")

    accepted: list[Record] = []
    outweighed: list[tuple[Record, Stored]] = []
    staying: list[Stored] = []
    for group in overlapping_groups([*blocks, *stored_blocks]):
        theirs = [item for item in group if isinstance(item, Stored)]
        ours = [item for item in group if isinstance(item, Record)]
        same_blocks = {item.key for item in theirs} == {item.key for item in ours}
        stored_total = sum(item.usage.total for item in theirs)
        fetched_total = sum(item.usage.total for item in ours)
        if same_blocks or not theirs or not ours:
            accepted += ours
            staying += [item for item in theirs if not ours]
        elif fetched_total > stored_total or allow_shrink:
            accepted += ours
            replacing = {item.key for item in ours}
            plan.removed += [item for item in theirs if item.key not in replacing]
        else:
            outweighed += [(item, stored.get(item.key, theirs[0])) for item in ours]
            staying += theirs

    blocks_plan = plan_report("blocks", accepted, stored, lost_prices, allow_shrink)
    plan.new, plan.changed = blocks_plan.new, blocks_plan.changed
    plan.unchanged, plan.kept = blocks_plan.unchanged, blocks_plan.kept + outweighed

    def covered(span: tuple[int, int], source: str, by: Iterable[Record | Stored]) -> bool:
        return any(
            other.source == source and block_span(other)[0] < span[1] and span[0] < block_span(other)[1] for other in by
        )

    free_gaps = [gap for gap in gaps if not covered(block_span(gap), gap.source, staying)]
    gaps_plan = plan_report("blocks", free_gaps, stored)
    plan.new += gaps_plan.new
    plan.changed += gaps_plan.changed
    plan.unchanged += gaps_plan.unchanged
    free_keys = {gap.key for gap in free_gaps}
    for row in stored.values():
        fetched_now = [*accepted, *free_gaps]
        if row.is_gap and row.key not in free_keys and covered(block_span(row), row.source, fetched_now):
            plan.removed.append(row)
    return plan


@dataclass(frozen=True)
class Children:
    """A stored row's models and their usage."""

    models: tuple[str, ...] = ()
    breakdowns: Mapping[str, Usage] = field(default_factory=dict)


LoadChildren = Callable[[Sequence[ChildKey]], Mapping[ChildKey, Children]]


def sum_records(
    report: str,
    key: Key,
    columns: Mapping[str, Any],
    rows: Collection[Record | Stored],
    rows_report: str,
    load_children: LoadChildren,
) -> Record:
    """One record that is the sum of others, stored ones among them."""
    children = load_children([child_key(row) for row in rows if isinstance(row, Stored)])
    parts: list[Record | Children] = [
        row if isinstance(row, Record) else children.get(child_key(row), Children()) for row in rows
    ]
    usage = sum_usage(row.usage for row in rows)
    breakdowns = sum_by_model(part.breakdowns for part in parts)
    models = tuple(sorted({model for part in parts for model in part.models} | set(breakdowns)))
    raw = {"derivedFrom": REPORTS[rows_report].table, "totalTokens": usage.total, "totalCost": usage.cost}
    return Record(report, *key, columns, usage, models, breakdowns, json_text(raw))


def plan_months(
    fetched: Sequence[Record],
    stored: Mapping[Key, Stored],
    days: Mapping[Key, Record | Stored],
    load_children: LoadChildren,
    lost_prices: LostPrices = frozenset(),
    allow_shrink: bool = False,
) -> Plan:
    """Like `plan_report`, with one rule more: a month is never less than its days.

    ccusage's month shrinks as its days are cleaned up. It is stored while it covers the days (`days`: as
    they are after this import) and their sum once it does not.
    """
    days_by_month: defaultdict[Key, dict[Key, Record | Stored]] = defaultdict(dict)
    for (source, day), row in days.items():
        days_by_month[source, day[:7]][source, day] = row
    targets: list[Record] = []
    plan = Plan("monthly")
    by_key = {record.key: record for record in fetched}
    for key in sorted(by_key.keys() | days_by_month.keys()):
        month, its_days, old = by_key.get(key), days_by_month[key], stored.get(key)
        total = sum_usage(row.usage for row in its_days.values())
        if month is not None and month.usage.covers(total):
            targets.append(month)
        elif old is not None and old.usage.covers(total) and (total.covers(old.usage) or not allow_shrink):
            if month is not None:
                plan.kept.append((month, old))
        else:
            year, number = key[1].split("-")
            columns = {"month": key[1], "year": int(year), "month_num": int(number)}
            targets.append(sum_records("monthly", key, columns, its_days.values(), "daily", load_children))
    target_plan = plan_report("monthly", targets, stored, lost_prices, allow_shrink)
    plan.new, plan.changed, plan.unchanged = target_plan.new, target_plan.changed, target_plan.unchanged
    plan.kept += target_plan.kept
    return plan


LoadProject = Callable[[str, str], tuple[dict[Key, Stored], dict[Key, Stored]]]


def plan_project_sessions(
    plan: Plan,
    projects_plan: Plan,
    stored: Mapping[Key, Stored],
    split_projects: frozenset[str],
    load_project: LoadProject,
    load_children: LoadChildren,
) -> None:
    """Amend a plan for the rows that are all sessions of a project, as ccusage 15 to 18 tells them.

    Such a row is to hold what the project's days hold and no session row does. So it does not stand still
    when the project grows after a clean-up, and with a newer ccusage, which gives sessions rows of their
    own, before or after it, nothing is counted twice. `split_projects` have such sessions stored;
    `load_project` gives the stored days and sessions of a source's project.
    """
    fetched = {record.key: record for record in (*plan.written, *plan.unchanged, *(r for r, _ in plan.kept))}
    kept = {record.key for record, _ in plan.kept}
    wholes = {key: old.project for key, old in stored.items() if old.is_whole_project}
    wholes |= {key: project for key, r in fetched.items() if (project := r.columns["project_path"]) == r.record_key}
    for key, project in sorted(wholes.items()):
        told, old = fetched.get(key), stored.get(key)
        is_split = project in split_projects
        if told is not None and key not in kept and not is_split:
            continue  # ccusage tells it, says no less than is stored, and nothing else holds a part of it
        stored_days, stored_sessions = load_project(key[0], project)
        stored_sessions.pop(key, None)
        days: dict[Key, Record | Stored] = dict(stored_days)
        days.update({r.key: r for r in projects_plan.written if r.columns["project_id"] == project})
        sessions: dict[Key, Record | Stored] = dict(stored_sessions)
        sessions.update({r.key: r for r in plan.written if r.columns["project_path"] == project and r.key != key})

        by_days = sum_records("session", key, {}, days.values(), "projects", load_children)
        by_sessions = sum_records("session", key, {}, sessions.values(), "session", load_children)
        before = sum_usage(row.usage for row in (*stored_sessions.values(), *([old] if old else [])))
        whole = max(by_days.usage, before, key=lambda usage: usage.total)
        rest = whole.minus(by_sessions.usage)
        if old is not None and not is_split and told is not None and rest.total <= old.usage.total:
            continue  # kept
        plan.drop(key)
        if old is not None and rest.tokens == old.usage.tokens:
            plan.kept += [(told, old)] if told is not None else []
            continue
        if rest.total == 0:
            plan.removed += [old] if old is not None else []
            continue
        moments = [EPOCH + timedelta(seconds=old.ends)] if old is not None else []
        moments += [told.columns["last_activity"]] if told is not None else []
        breakdowns = {
            model: left
            for model, usage in by_days.breakdowns.items()
            if (left := usage.minus(by_sessions.breakdowns.get(model, Usage()))).total
        }
        columns = {
            "session_id": key[1],
            "project_path": project,
            "first_activity": None,
            "last_activity": max(moments),
        }
        raw = {"derivedFrom": REPORTS["projects"].table, "totalTokens": rest.total, "totalCost": rest.cost}
        record = Record("session", *key, columns, rest, tuple(breakdowns), breakdowns, json_text(raw))
        if old is None:
            plan.new.append(record)
        else:
            plan.changed.append((record, old))


# ---- the database ------------------------------------------------------------------------------------

USAGE_COLUMNS = ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens", "total_tokens")
OLDEST_ENGINE = (25, 8)
# A patch part instead of a rewritten partition: 8 ms where a classic DELETE takes 0.5 to 1.8 s.
DELETE_SETTINGS = {"lightweight_delete_mode": "lightweight_update"}
# Compiling an expression takes 25 ms, the queries of a run 3 ms each: it never pays for itself.
EMBEDDED_SETTINGS = {"compile_expressions": 0, "compile_aggregate_expressions": 0}
INSERT_SETTINGS = {"max_partitions_per_insert_block": 0}  # a first import may bring years
BATCH_ROWS = 10_000  # of one insert: bounds the memory of a first import
MANY_KEYS = 20_000
LOCAL = "_local"  # of a cluster: the part of a table that a shard holds
PARAMETER_BYTES = 60_000  # ClickHouse takes 128 KB in one form field

STATEMENT_ATTEMPTS = 5  # over about 8 s: a server that restarts is back by then
RETRY_SECONDS = 30.0
ANSWER_SECONDS = 120  # a server that takes longer for one statement is taken to hang
# Too busy, out of memory, a replica or keeper away, a timeout on its side: the next try may find it well.
PASSING_CODES = frozenset({159, 202, 209, 210, 225, 241, 242, 252, 285, 286, 319, 364, 425, 439, 999})

# What an error of the engine means for the user, by its code.
ENGINE_FIXES = {
    81: "give the user the right to CREATE DATABASE, or create CH_DATABASE by hand",
    164: "the server or the user is read-only; give CH_USER the right to insert and delete",
    192: "look at CH_USER and CH_PASSWORD",
    193: "look at CH_USER and CH_PASSWORD",
    194: "look at CH_USER and CH_PASSWORD",
    243: "make room on the database's disk; nothing is lost, the next import does what this one could not",
    469: "this server takes rows in your own name only: set CCUSAGE_USER to CH_USER",
    497: "give CH_USER the rights that the README's section on a shared server lists",
    516: "look at CH_USER and CH_PASSWORD",
}


def sql_file(name: str) -> str:
    """The text of one of the .sql files: beside this file, or where a wheel puts them."""
    here = Path(__file__).resolve().parent
    for path in (here / name, here / "ccusage_importer_sql" / name):
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise ImporterError(f"{name} is missing beside {here / 'ccusage_importer.py'}", "install ccusage-importer again")


def split_statements(sql: str) -> list[str]:
    """The statements of a .sql file: each ends with a semicolon at the end of a line."""
    return [statement.strip() for statement in re.split(r";[ \t]*(?:\n|$)", sql) if statement.strip()]


def chunked(values: Sequence[Any]) -> Iterator[list[Any]]:
    """The values in runs that fit in one query parameter."""
    run: list[Any] = []
    size = 0
    for value in values:
        length = len(repr(value).encode()) + 2
        if run and size + length > PARAMETER_BYTES:
            yield run
            run, size = [], 0
        run.append(value)
        size += length
    if run:
        yield run


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), BATCH_ROWS):
        yield records[start : start + BATCH_ROWS]


def cluster_statements(statements: Iterable[str], cluster: str) -> Iterator[str]:
    """The schema's statements for a cluster: a replicated table on each shard, and one before all of them.

    The rows of a machine and user are on one shard, so FINAL sees all versions of a row.
    """
    everywhere = f"ON CLUSTER `{cluster}`"
    for statement in statements:
        table = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        if table is None:
            yield re.sub(r"(CREATE VIEW IF NOT EXISTS \w+)", rf"\1 {everywhere}", statement)
            continue
        local = statement.replace(table[0], f"{table[0]}{LOCAL} {everywhere}")
        place = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "
        yield local.replace("= ReplacingMergeTree(", f"= ReplicatedReplacingMergeTree({place}")
        shard = "cityHash64(machine_name, user_name)"
        yield (
            f"{table[0]} {everywhere} AS {table[1]}{LOCAL}"
            f" ENGINE = Distributed('{cluster}', currentDatabase(), '{table[1]}{LOCAL}', {shard})"
        )


@dataclass(frozen=True)
class LastImport:
    """What history tells of the last import of this machine and user that stored something."""

    finished: int
    timezone: str
    privacy: str
    ccusage_version: str
    statistics: Mapping[str, Any]


def engine_error(error: Exception, config: Config) -> ImporterError:
    """An exception of the driver as an ImporterError: the engine's words without a secret, and what to do."""
    code, words = getattr(error, "code", None), " ".join(str(error).split())
    found = re.search(r"Code: (\d+)\. (.*)", words)
    if found:
        code, words = int(found[1]), found[2]
    words = config.redact(words)
    # of the driver's nested exceptions the innermost one says it: [Errno 111] Connection refused
    cause = re.search(r"\[(?:Errno|SSL)[^'\")]*|Read timed out|Remote end closed connection[^'\")]*", words)
    words = (cause[0] if cause and not found else words)[:400].strip()
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ImporterError(
            f"the certificate of {config.target} is not trusted: {words}",
            "add its authority to the system's trusted ones, or name its file in SSL_CERT_FILE",
        )
    if (code == 76 and config.embedded) or "Error initializing EmbeddedServer" in words:
        return ImporterError(
            f"{config.db_path} is open in another program (or cannot be read: {words})",
            "end the other program: only one can have the embedded database open",
        )
    if code in ENGINE_FIXES:
        return ImporterError(f"ClickHouse at {config.target} refused: {words}", ENGINE_FIXES[code])
    if code is None and not config.embedded:
        return ImporterError(
            f"ClickHouse at {config.target} does not answer: {words}",
            "look at CH_HOST, CH_PORT, CH_PROTOCOL and the server",
        )
    return ImporterError(f"ClickHouse at {config.target}: {words}", "run again with --verbose to see the statement")


def may_pass(error: Exception, config: Config) -> bool:
    """Whether trying again can help: the server is away or busy, not wrong about us."""
    found = re.search(r"Code: (\d+)", str(error))
    code = int(found[1]) if found else getattr(error, "code", None)
    if code is not None:
        return code in PASSING_CODES
    return not config.embedded and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def with_retries(config: Config, what: str, action: Callable[[], Any], attempts: int) -> Any:
    """The action's result; ImporterError when it fails for good, or has failed often or long enough."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    began = time.monotonic()
    for attempt in range(1, attempts + 1):
        started = time.monotonic()
        try:
            result = action()
        except (ClickHouseError, OSError) as error:
            log.debug("failed: %s", what)
            problem = engine_error(error, config)
            tired = attempt == attempts or time.monotonic() - began > RETRY_SECONDS
            if tired or not may_pass(error, config):
                raise problem from error
            log.info("%s; trying again", one_line(problem.what))
            time.sleep(0.25 * 2**attempt * random.uniform(0.5, 1.0))
        else:
            log.debug("%.0f ms: %s", (time.monotonic() - started) * 1000, what)
            return result
    raise AssertionError("unreachable")


class Store:
    """One ClickHouse, embedded or served, seen from one machine and user. Never prints."""

    def __init__(self, config: Config, client: Client) -> None:
        self.config = config
        self.client = client
        self.attempts = STATEMENT_ATTEMPTS
        self.column_types: dict[tuple[str, str], str] = {}

    # -- every statement goes through one of these three --

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return list(self.ask(sql, parameters)[1])

    def ask(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]:
        """Column names and rows of a SELECT."""
        result = self._attempt(
            sql,
            lambda: self.client.query(sql, parameters=self._bound(sql, parameters), settings=dict(settings or {})),
        )
        return tuple(result.column_names), [tuple(row) for row in result.result_rows]

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        # raw_query, because the driver's `command` puts the parameters in the URL
        self._attempt(
            sql,
            lambda: self.client.raw_query(sql, parameters=self._bound(sql, parameters), settings=dict(settings or {})),
        )

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows (column name to value, the same names in each) in one statement."""
        names = list(rows[0])
        values = [list(row.values()) for row in rows]
        # on a cluster the check that follows must find the rows on their shard
        settings = INSERT_SETTINGS | ({"distributed_foreground_insert": 1} if self.config.cluster else {})
        self._attempt(
            f"INSERT INTO {table} ({len(rows)} rows)",
            lambda: self.client.insert(
                table,
                values,
                column_names=names,
                column_type_names=[self.column_types[table, name] for name in names],  # else the driver asks for them
                settings=settings,
            ),
        )

    def _bound(self, sql: str, parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The parameters, machine and user among them where asked for; None lets a statement contain a `%`."""
        owner = {"machine": self.config.machine_name, "user": self.config.user_name} if OWNED in sql else {}
        return {**owner, **(parameters or {})} or None

    def _attempt(self, sql: str, statement: Callable[[], Any]) -> Any:
        """Run a statement, again where trying again can help.

        Every statement may be run twice: a repeated delete finds nothing, and of rows inserted twice
        (the reply was lost) the engine keeps one.
        """
        return with_retries(self.config, " ".join(sql.split())[:300], statement, self.attempts)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()

    # -- the schema --

    def has_schema(self) -> bool:
        """Whether database, tables and views are there; reads the columns' types on the way."""
        rows = self.query(
            "SELECT table, name, type FROM system.columns WHERE database = {database:String}",
            {"database": self.config.database},
        )
        self.column_types = {(table, name): column_type for table, name, column_type in rows}
        wanted = re.findall(r"CREATE (?:TABLE|VIEW) IF NOT EXISTS (\w+)", sql_file("ccusage_clickhouse_schema.sql"))
        complete = set(wanted) <= {table for table, _ in self.column_types}
        if complete:
            self.client.database = self.config.database
        return complete

    def apply_schema(self) -> None:
        databases = self.query("SELECT name FROM system.databases")
        cluster = self.config.cluster
        if (self.config.database,) not in databases:
            everywhere = f" ON CLUSTER `{cluster}`" if cluster else ""
            self.command(f"CREATE DATABASE IF NOT EXISTS `{self.config.database}`{everywhere}")
        self.client.database = self.config.database
        statements = split_statements(sql_file("ccusage_clickhouse_schema.sql"))
        for statement in cluster_statements(statements, cluster) if cluster else statements:
            self.command(statement)
        if not self.has_schema():
            raise ImporterError(
                f"ClickHouse at {self.config.target} has no tables after they were created",
                "look at the rights of CH_USER: it must see system.columns of its own tables",
            )

    # -- reading --

    def read_last_import(self) -> LastImport | None:
        rows = self.query(
            f"SELECT toUnixTimestamp(import_timestamp), timezone, privacy, ccusage_version, statistics"
            f" FROM {HISTORY_TABLE} WHERE {OWNED}"
            f" AND status != 'failed' ORDER BY import_timestamp DESC, created_at DESC LIMIT 1"
        )
        if not rows:
            return None
        finished, zone, privacy, version, statistics = rows[0]
        return LastImport(finished, zone, privacy, version, json.loads(statistics or "{}"))

    def read_stored(self, records: Mapping[str, Sequence[Record]]) -> dict[str, dict[Key, Stored]]:
        """The stored rows of this machine and user that an import of `records` can meet, by report and key."""
        scope = scope_of(records)
        stored: dict[str, dict[Key, Stored]] = {name: {} for name in REPORTS}
        sessions = scope.pop("sessions")
        for number, some_sessions in enumerate(list(chunked(sessions)) or [[]]):
            selects = [
                f"SELECT '{report.name}' AS report, source, {report.record_key} AS record_key, content_hash,"
                f" {', '.join(USAGE_COLUMNS)}, {report.cost_column} AS cost,"
                f" toInt64(toUnixTimestamp(created_at)) AS created,"
                f" {STORED_EXTRAS.get(report.name, NO_EXTRAS)}"
                f" FROM {report.table} FINAL WHERE {OWNED} AND {report.scope}"
                for report in REPORTS.values()
                if number == 0 or report.name == "session"
            ]
            for row in self.query(" UNION ALL ".join(selects), {**scope, "sessions": some_sessions}):
                name, source, key, content_hash, *tokens, cost, created, starts, ends, is_gap, project = row
                stored[name][source, key] = Stored(
                    name,
                    source,
                    key,
                    content_hash,
                    Usage.of(tokens, cost),
                    created,
                    starts,
                    ends,
                    bool(is_gap),
                    project,
                )
        return stored

    def read_children(self, keys: Sequence[ChildKey]) -> dict[ChildKey, Children]:
        """Models and their usage of stored rows."""
        models: defaultdict[ChildKey, list[str]] = defaultdict(list)
        breakdowns: defaultdict[ChildKey, dict[str, Usage]] = defaultdict(dict)
        nothing = ", ".join(f"toUInt64(0) AS {name}" for name in USAGE_COLUMNS)
        # many keys are many statements: then it is faster to read all children and look
        every = len(keys) > MANY_KEYS
        condition = OWNED if every else f"{OWNED} AND {CHILD_KEYS}"
        for run in [[]] if every else chunked(keys):
            for record_type, source, key, model, used, *tokens, cost in self.query(
                f"SELECT toString(record_type), source, record_key, model_name, 0 AS used,"
                f" {', '.join(USAGE_COLUMNS)}, cost FROM {BREAKDOWNS_TABLE} FINAL WHERE {condition} UNION ALL"
                f" SELECT toString(record_type), source, record_key, model_name, 1 AS used, {nothing}, 0. AS cost"
                f" FROM {MODELS_TABLE} FINAL WHERE {condition}",
                {} if every else {"keys": run},
            ):
                if used:
                    models[record_type, source, key].append(model)
                else:
                    breakdowns[record_type, source, key][model] = Usage.of(tokens, cost)
        return {key: Children(tuple(sorted(models[key])), breakdowns[key]) for key in keys}

    def read_owners(self) -> list[tuple[str, str]]:
        """Machine and user of every import and usage row."""
        tables = [HISTORY_TABLE, *(report.table for report in REPORTS.values())]
        selects = (f"SELECT toString(machine_name), toString(user_name) FROM {table}" for table in tables)
        return [(machine, user) for machine, user in sorted(self.query(" UNION DISTINCT ".join(selects)))]

    def read_records(self, report: Report) -> tuple[list[Record], dict[ChildKey, datetime]]:
        """All rows of a report with their children, and when each was first imported."""
        times = [name for name in report.columns if "DateTime" in self.column_types[report.table, name]]
        columns = [f"toInt64(toUnixTimestamp({name}))" if name in times else f"`{name}`" for name in report.columns]
        rows = self.query(
            f"SELECT source, {report.record_key}, toInt64(toUnixTimestamp(created_at)), raw_data, {report.cost_column},"
            f" {', '.join(USAGE_COLUMNS)}, {', '.join(columns)} FROM {report.table} FINAL WHERE {OWNED} ORDER BY ALL"
        )
        children = self.read_children([(report.record_type, source, key) for source, key, *_ in rows])
        records, created = [], {}
        for source, key, since, raw, cost, *values in rows:
            usage = Usage.of(values[: len(USAGE_COLUMNS)], round(cost, DOLLAR_DIGITS))
            own: dict[str, Any] = dict(zip(report.columns, values[len(USAGE_COLUMNS) :], strict=True))
            for name in times:
                own[name] = None if own[name] is None else EPOCH + timedelta(seconds=own[name])
            its = children[report.record_type, source, key]
            records.append(Record(report.name, source, key, own, usage, its.models, its.breakdowns, raw))
            created[report.record_type, source, key] = EPOCH + timedelta(seconds=since)
        return records, created

    def read_history(self) -> list[dict[str, Any]]:
        """All import runs of this machine and user, as `write_history` takes them."""
        names = [name for table, name in self.column_types if table == HISTORY_TABLE]
        times = [name for name in names if "DateTime" in self.column_types[HISTORY_TABLE, name]]
        columns = [f"toInt64(toUnixTimestamp({name}))" if name in times else name for name in names]
        rows = self.query(f"SELECT {', '.join(columns)} FROM {HISTORY_TABLE} FINAL WHERE {OWNED} ORDER BY ALL")
        return [
            {n: EPOCH + timedelta(seconds=v) if n in times else v for n, v in zip(names, row, strict=True)}
            for row in rows
        ]

    def read_project(self, source: str, project: str) -> tuple[dict[Key, Stored], dict[Key, Stored]]:
        """All stored days and sessions of a project."""
        found: list[dict[Key, Stored]] = []
        for name, column in (("projects", "project_id"), ("session", "project_path")):
            report = REPORTS[name]
            rows = self.query(
                f"SELECT {report.record_key}, content_hash, {', '.join(USAGE_COLUMNS)}, total_cost"
                f" FROM {report.table} FINAL"
                f" WHERE {OWNED} AND source = {{source:String}} AND {column} = {{project:String}}",
                {"source": source, "project": project},
            )
            found.append(
                {
                    (source, key): Stored(name, source, key, content_hash, Usage.of(tokens, cost), 0, project=project)
                    for key, content_hash, *tokens, cost in rows
                }
            )
        return found[0], found[1]

    def read_split_projects(self, projects: Sequence[str]) -> frozenset[str]:
        """Those of the projects that have stored sessions with rows of their own."""
        rows = self.query(
            f"SELECT DISTINCT project_path FROM {REPORTS['session'].table} FINAL"
            f" WHERE {OWNED} AND project_path IN {{projects:Array(String)}} AND session_id != project_path",
            {"projects": list(projects)},
        )
        return frozenset(project for (project,) in rows)

    def read_priced(self, models: LostPrices) -> LostPrices:
        """Those of the models that have a stored row with a cost."""
        rows = self.query(
            f"SELECT DISTINCT source, model_name FROM {BREAKDOWNS_TABLE} FINAL"
            f" WHERE {OWNED} AND cost > 0 AND (source, model_name) IN {KEYS}",
            {"keys": sorted(models)},
        )
        return frozenset((source, model) for source, model in rows)

    def read_totals(self) -> dict[str, Any]:
        """Cost (US dollars), tokens, days and sessions of this machine and user."""
        cost, tokens, days, sessions = self.query(
            f"SELECT sum(total_cost), sum(total_tokens), uniqExact(date),"
            f" (SELECT count() FROM {REPORTS['session'].table} FINAL WHERE {OWNED})"
            f" FROM {REPORTS['daily'].table} FINAL WHERE {OWNED}"
        )[0]
        return {"cost": round(cost, DOLLAR_DIGITS), "tokens": tokens, "days": days, "sessions": sessions}

    def read_spending(self, today: date) -> list[dict[str, Any]]:
        """Cost (US dollars), tokens and active blocks' burn rate by source, today and this month."""
        columns = ("source", "period", "cost", "tokens", "burn_rate")
        daily, blocks = REPORTS["daily"].table, REPORTS["blocks"].table
        rows = self.query(
            f"SELECT source, period, sum(total_cost), sum(total_tokens), 0. FROM {daily} FINAL"
            f" ARRAY JOIN if(date = {{today:Date}}, ['today', 'month'], ['month']) AS period"
            f" WHERE {OWNED} AND date BETWEEN toStartOfMonth({{today:Date}}) AND {{today:Date}}"
            f" GROUP BY source, period UNION ALL"
            f" SELECT source, 'block', sum(cost_usd), sum(total_tokens), sum(ifNull(burn_rate, 0)) FROM {blocks} FINAL"
            f" WHERE {OWNED} AND is_active = 1 AND is_gap = 0 AND end_time > now('UTC') GROUP BY source",
            {"today": today},
        )
        return [dict(zip(columns, row, strict=True)) for row in sorted(rows)]

    # -- writing --

    def write_plans(
        self, plans: Iterable[Plan], repair: bool = False, created: Mapping[ChildKey, datetime] | None = None
    ) -> None:
        """Delete what is changed or removed, then insert what is new or changed, children with it.

        The order makes a crash harmless: rows go after their children and come back after them. So no
        child is left without a row that the next import knows of, and a row that has come back is whole.
        `repair` deletes the children of new rows, too: after a crash there may be some. `created` tells
        when rows that are new here were first imported elsewhere.
        """
        plans = list(plans)
        gone = {plan.report: [*(old for _, old in plan.changed), *plan.removed] for plan in plans}
        parents: list[Record | Stored] = [row for rows in gone.values() for row in rows]
        parents += [record for plan in plans for record in plan.new] if repair else []
        self._delete_children([child_key(row) for row in parents])
        for report, rows in gone.items():
            self._delete(REPORTS[report], [row.key for row in rows])
        changed = [old for plan in plans for _, old in plan.changed]
        since = {**(created or {}), **{child_key(old): EPOCH + timedelta(seconds=old.created_at) for old in changed}}
        for batch in batches([record for plan in plans for record in plan.written]):
            self._insert_records(batch, since)

    def _insert_records(self, records: Sequence[Record], created: Mapping[ChildKey, datetime]) -> None:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        # children before the rows of the reports
        rows: dict[str, list[dict[str, Any]]] = {BREAKDOWNS_TABLE: [], MODELS_TABLE: []}
        for record in records:
            report = REPORTS[record.report]
            own = {"source": record.source, **owner}
            stamps = {"created_at": created.get(child_key(record), now), "updated_at": now}
            child = {"record_type": report.record_type, **own, "record_key": record.record_key}
            for model, usage in record.breakdowns.items():
                tokens = dict(zip(USAGE_COLUMNS, usage.tokens, strict=True))
                rows[BREAKDOWNS_TABLE].append({**child, "model_name": model, **tokens, "cost": usage.cost, **stamps})
            rows[MODELS_TABLE] += [{**child, "model_name": model, **stamps} for model in record.models]
            row = {**record.columns, **own, **dict(zip(USAGE_COLUMNS, record.usage.tokens, strict=True))}
            row |= {report.cost_column: record.usage.cost, "models_count": len(record.models)}
            row |= {"raw_data": record.raw_data, "content_hash": record.content_hash, **stamps}
            rows.setdefault(report.table, []).append(row)
        for table, inserted in rows.items():
            if inserted:
                self.insert(table, inserted)

    def _delete_children(self, keys: Sequence[ChildKey]) -> None:
        for run in chunked(keys):
            for table in (BREAKDOWNS_TABLE, MODELS_TABLE):
                self._delete_where(table, f"{OWNED} AND {CHILD_KEYS}", {"keys": run})

    def _delete(self, report: Report, keys: Sequence[Key]) -> None:
        for run in chunked(keys):
            parameters = {"keys": run, "record_keys": [key for _, key in run]}
            # the list of record keys alone lets the engine skip parts by the table's own key
            condition = f"{OWNED} AND (source, {report.record_key}) IN {KEYS}"
            if report.record_key in report.columns:
                condition += f" AND {report.record_key} IN {{record_keys:Array(String)}}"
            self._delete_where(report.table, condition, parameters)

    def _delete_where(self, table: str, condition: str, parameters: Mapping[str, Any]) -> None:
        # a Distributed table takes no DELETE: each shard deletes from its own
        target = f"{table}{LOCAL} ON CLUSTER `{self.config.cluster}`" if self.config.cluster else table
        self.command(f"DELETE FROM {target} WHERE {condition}", parameters, DELETE_SETTINGS)

    def check_written(self, plans: Iterable[Plan]) -> None:
        """Read back what was written; ImporterError where the tables do not hold it to the token."""
        plans = [plan for plan in plans if not plan.is_empty]
        if not plans:
            return
        records = {plan.report: [*plan.written, *plan.unchanged] for plan in plans}
        stored = self.read_stored({**{name: [] for name in REPORTS}, **records})
        wrong: list[str] = []
        for plan in plans:
            now = stored[plan.report]
            wrong += [
                f"{plan.report} {record.record_key}"
                for record in plan.written
                if (row := now.get(record.key)) is None
                or (row.content_hash, row.usage) != (record.content_hash, record.usage)
            ]
            wrong += [f"{plan.report} {old.record_key} (not deleted)" for old in plan.removed if old.key in now]
        del stored
        for batch in batches([record for plan in plans for record in plan.written]):
            children = self.read_children([child_key(record) for record in batch])
            wrong += [
                f"{record.report} {record.record_key} (models)"
                for record in batch
                if children[child_key(record)] != Children(record.models, record.breakdowns)
            ]
        if wrong:
            raise ImporterError(
                f"{len(wrong)} stored rows are not what was written: {', '.join(wrong[:3])}",
                "is another machine or container using the same machine and user name? Set MACHINE_NAME. "
                "The fetched reports are kept; the next import tries again",
            )

    def write_history(self, row: Mapping[str, Any]) -> None:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        self.insert(HISTORY_TABLE, [{**owner, **row, "created_at": now, "updated_at": now}])


OWNED = "machine_name = {machine:String} AND user_name = {user:String}"
KEYS = "{keys:Array(Tuple(String, String))}"
CHILD_KEYS = "(record_type, source, record_key) IN {keys:Array(Tuple(String, String, String))}"
NO_EXTRAS = "toInt64(0) AS starts, toInt64(0) AS ends, toUInt8(0) AS is_a_gap, '' AS project"
STORED_EXTRAS = {
    "blocks": "toInt64(toUnixTimestamp(start_time)) AS starts, toInt64(toUnixTimestamp(end_time)) AS ends,"
    " is_gap AS is_a_gap, '' AS project",
    "session": "toInt64(0) AS starts, toInt64(toUnixTimestamp(last_activity)) AS ends,"
    " toUInt8(0) AS is_a_gap, project_path AS project",
}


def scope_of(records: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """The part of the tables that an import can meet, as the parameters of `Report.scope`.

    Days from the first of the earliest month on, because months are held against their days; blocks from
    a day before the first; sessions by their ids and, for the rows of ccusage 15 to 18, their projects'.
    """
    days = [record.columns["date"] for name in ("daily", "projects") for record in records.get(name, ())]
    days += [date(record.columns["year"], record.columns["month_num"], 1) for record in records.get("monthly", ())]
    starts = [block_span(record)[0] for record in records.get("blocks", ())]
    sessions = {record.record_key for record in records.get("session", ())}
    sessions |= {record.columns["project_path"] for record in records.get("session", ())}
    return {
        "first_day": min(days, default=FIRST_DAY).replace(day=1),
        "first_block": max(min(starts, default=0) - 86_400, 0),
        "sessions": sorted(sessions - {""}),
    }


def do_without_dataframes() -> None:
    """Keep the driver and chdb from loading libraries that are not used here, but take a while.

    chdb loads pyarrow (0.15 s), the driver's first insert pandas and numpy (0.2 to 0.35 s) to see whether it
    was given one of their tables. Both do without where they are not installed.
    """
    for library in ("pandas", "pyarrow", "numpy"):
        sys.modules.setdefault(library, None)  # type: ignore[arg-type]  # makes its import an ImportError


def open_store(config: Config) -> Store:
    """Connect to the server or open the embedded engine. Takes 0.3 s embedded: call it in a thread."""
    do_without_dataframes()
    try:
        import clickhouse_connect

        if config.embedded:
            import chdb  # noqa: F401
    except ImportError as error:
        raise ImporterError(
            f"the engine's library is not installed: {error}", "install clickhouse-connect[chdb], or set CH_HOST"
        ) from error

    def connect() -> Client:
        if config.embedded:
            return clickhouse_connect.get_client(interface="chdb", path=str(config.db_path), settings=EMBEDDED_SETTINGS)
        return clickhouse_connect.get_client(
            interface="https" if config.secure else "http",
            host=config.host,
            port=config.port,
            username=config.username,
            password=config.password,
            client_name=f"ccusage-importer/{__version__}",
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=ANSWER_SECONDS,
        )

    store = Store(config, with_retries(config, f"open {config.target}", connect, STATEMENT_ATTEMPTS))
    version = str(store.client.server_version)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_ENGINE:
        store.close()
        raise ImporterError(f"ClickHouse {version} at {config.target} is older than 25.8", "update the server")
    return store


def has_embedded_data(config: Config) -> bool:
    return (config.db_path / "metadata").exists()


def open_ready_store(config: Config, make_schema: bool) -> tuple[Store | None, LastImport | None]:
    """The store with its schema and the last import; no store where there is none and none is to be made."""
    if config.embedded and not make_schema and not has_embedded_data(config):
        return None, None
    store = open_store(config)
    try:
        if not store.has_schema():
            if not make_schema:
                store.close()
                return None, None
            store.apply_schema()
        return store, store.read_last_import()
    except BaseException:
        store.close()
        raise


# ---- one run at a time -------------------------------------------------------------------------------


class ImportLock:
    """One run at a time for a database: a lock that the kernel lets go when its holder dies.

    The file holds the holder's pid, for people; a pid left behind by a dead one stops nobody.
    """

    name = "import.lock"

    def __init__(self, folder: Path, on_wait: Callable[[str], None]) -> None:
        self.path = folder / self.name
        self.on_wait = on_wait

    def __enter__(self) -> ImportLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ImporterError(
                f"{self.path} cannot be written: {error.strerror}",
                "make the folder writable, or set CCUSAGE_DB_PATH or XDG_STATE_HOME to another",
            ) from error
        self.file = os.fdopen(descriptor, "r+")
        deadline = time.monotonic() + LOCK_PATIENCE
        told = False
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self.file.seek(0)
                holder = self.file.read().strip() or "unknown"
                if time.monotonic() >= deadline:
                    self.file.close()
                    raise ImporterError(
                        f"another run (pid {holder}) has held {self.path} for {LOCK_PATIENCE:g} s",
                        f"look at it with `ps -p {holder}`, end it if it hangs, and run again",
                        EXIT_LOCKED,
                    ) from None
                if not told:
                    self.on_wait(f"waiting for another run (pid {holder}) to end")
                    told = True
                time.sleep(0.1)
        self.file.seek(0)
        self.file.truncate()
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


# ---- one import: plan, keep the reports safe, write, check, tell history -----------------------------


@dataclass
class Outcome:
    """What an import did, for the screen and for history."""

    import_id: str
    fetched: FetchedReports
    plans: dict[str, Plan]
    errors: dict[str, ImporterError]
    warnings: list[str]
    last: LastImport | None
    totals: dict[str, Any] = field(default_factory=dict)
    duration: float = 0.0

    @property
    def status(self) -> str:
        if not self.errors:
            return "completed"
        return "partial" if self.plans else "failed"

    @property
    def has_usage(self) -> bool:
        """Whether ccusage told of any usage, or may have."""
        return bool(self.errors) or any(
            plan.written or plan.unchanged or plan.kept for name, plan in self.plans.items() if name != "monthly"
        )


def plan_import(store: Store | None, records: Mapping[str, Sequence[Record]], config: Config) -> dict[str, Plan]:
    """The plans of the reports that were fetched, in the order in which they are written.

    Without a store nothing is stored yet. Months come last: they are held against the days as they will be.
    """
    stored: dict[str, dict[Key, Stored]] = {name: {} for name in REPORTS}
    lost_prices: LostPrices = frozenset()
    load_children: LoadChildren = lambda keys: {}  # noqa: E731
    if store is not None:
        stored = store.read_stored(records)
        load_children = store.read_children
        unpriced = unpriced_models(records)
        if unpriced and any(
            lost_only_a_price(record, old, unpriced)
            for name, report_records in records.items()
            for record in report_records
            if (old := stored[name].get(record.key)) is not None
        ):
            lost_prices = store.read_priced(unpriced)
    how = (lost_prices, config.allow_shrink)
    plans: dict[str, Plan] = {
        name: plan_report(name, report_records, stored[name], *how)
        for name, report_records in records.items()
        if name not in ("blocks", "monthly")  # those have rules of their own
    }
    if "session" in plans and store is not None:
        projects_plan = plans.get("projects", Plan("projects"))
        told = [r.record_key for r in records["session"] if r.record_key == r.columns["project_path"]]
        split = store.read_split_projects(told) if told else frozenset()
        plan_project_sessions(
            plans["session"], projects_plan, stored["session"], split, store.read_project, load_children
        )
    if "blocks" in records:
        plans["blocks"] = plan_blocks(records["blocks"], stored["blocks"], *how)
    if "monthly" in records:
        days = plans.get("daily", Plan("daily")).after(stored["daily"])
        plans["monthly"] = plan_months(records["monthly"], stored["monthly"], days, load_children, *how)
    return plans


def checked_settings(last: LastImport | None, fetched: FetchedReports, privacy: Privacy, config: Config) -> None:
    """Refuse what would count everything twice: days cut by another zone, projects under other names."""
    owner = f"{config.user_name} on {config.machine_name}"
    if last is not None and last.timezone != fetched.timezone:
        raise ImporterError(
            f"CCUSAGE_TIMEZONE: the days of {owner} are cut by {last.timezone} since the first import; with "
            f"{fetched.timezone} every day would be cut anew, and usage around midnight counted twice",
            f"unset CCUSAGE_TIMEZONE or set it to {last.timezone}; for another zone start a new database "
            "(CH_DATABASE or CCUSAGE_DB_PATH)",
            EXIT_USAGE,
        )
    if last is not None and last.privacy != privacy.fingerprint:
        ways = {"plain": "as they are (HASH_PROJECT_NAMES=false)", "sha256": "hashed without a key"}
        before = ways.get(last.privacy, "hashed with a PROJECT_HASH_KEY")
        now = ways.get(privacy.fingerprint, "hashed with a PROJECT_HASH_KEY")
        now = "hashed with another PROJECT_HASH_KEY" if now == before else now
        raise ImporterError(
            f"HASH_PROJECT_NAMES, PROJECT_HASH_KEY: the project names of {owner} are stored {before}; stored {now} "
            "every project would be there twice, under two names",
            "set both as they were, or start a new database (CH_DATABASE or CCUSAGE_DB_PATH)",
            EXIT_USAGE,
        )


def kept_notes(plans: Mapping[str, Plan], outcome_version: str, last: LastImport | None, today: date) -> list[str]:
    """Say what was kept, and where it may be a correction instead of a clean-up."""
    notes = []
    kept = {name: len(plan.kept) for name, plan in plans.items() if plan.kept}
    if kept:
        notes.append(
            f"kept {sum(kept.values())} stored rows of which ccusage now says less, because their logs are gone: "
            + ", ".join(f"{count} {name}" for name, count in kept.items())
        )
    young = []
    for name, plan in plans.items():
        for record, old in plan.kept:
            moment = record.columns.get("last_activity") or record.columns.get("start_time")
            day = moment.date() if moment else record.columns.get("date")
            if (
                day is not None
                and today - day < timedelta(days=LOG_RETENTION_DAYS)
                and not old.is_whole_project  # such a row has old and young logs
            ):
                young.append(f"{name} {record.record_key} ({old.usage.total:,} tokens, now {record.usage.total:,})")
    updated = last is not None and last.ccusage_version != outcome_version and bool(kept)
    if updated and last is not None:
        reason = f"ccusage has changed from {last.ccusage_version} to {outcome_version}"
    else:
        reason = f"{len(young)} of them are younger than the {LOG_RETENTION_DAYS} days that logs are kept"
    if young or updated:
        shown_rows = ": " + "; ".join(young[:3]) if young else ""
        notes.append(f"{reason}, so it may be a correction{shown_rows}. --allow-shrink takes the lower numbers")
    return notes


KEPT = ". The fetched reports are kept in {folder}; the next import stores them"


def pending_folder(config: Config) -> Path:
    return config.lock_path / "pending"


def import_reports(
    store: Store, fetched: FetchedReports, last: LastImport | None, clock: float, kept_in: Path | None = None
) -> Outcome:
    """Store what was fetched: plan, keep the reports safe, write, check, tell history.

    `last` is this machine's and user's last import, `clock` when the run began, by time.monotonic().
    `kept_in` is the folder of reports that an earlier run could not finish; it is removed at the end.
    """
    config = store.config
    started = datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - clock)
    import_id = kept_in.name if kept_in else uuid.uuid4().hex
    privacy = Privacy(config.hash_projects, config.project_hash_key)
    outcome = Outcome(import_id, fetched, {}, dict(fetched.errors), [], last)
    folder = kept_in or pending_folder(config) / import_id
    try:
        checked_settings(last, fetched, privacy, config)
        records, outcome.errors = reshape_reports(fetched, privacy)
        if records:
            outcome.plans = plan_import(store, records, config)
            outcome.warnings = import_warnings(records)
            writing = [plan for plan in outcome.plans.values() if not plan.is_empty]
            if writing and kept_in is None:
                save_reports(fetched, folder)
                fetched.documents.clear()  # they are on disk, and large where the logs are
            store.write_plans(writing, repair=kept_in is not None)
            store.check_written(writing)
            outcome.totals = store.read_totals()
        outcome.duration = time.monotonic() - clock
        store.write_history(history_row(outcome, started, records, privacy))
        shutil.rmtree(folder, ignore_errors=True)
    except ImporterError as error:
        if error.exit_code != EXIT_USAGE:
            outcome.plans, outcome.errors = {}, {"import": error}
            outcome.duration = time.monotonic() - clock
            store.attempts = 1
            with contextlib.suppress(ImporterError):
                store.write_history(history_row(outcome, started, {}, privacy))
            if (folder / MANIFEST).exists():
                error.fix += KEPT.format(folder=folder)
        raise
    return outcome


def import_warnings(records: Mapping[str, Sequence[Record]]) -> list[str]:
    """What a user should know of the fetched numbers."""
    warnings = [
        f"this ccusage knows no price for {model} ({source}): its tokens are counted, its cost is not"
        for source, model in sorted(unpriced_models(records))
    ]
    found = disagreements(records)
    if found:
        warnings.append(
            f"the reports disagree in {len(found)} places, as when logs are written meanwhile: " + "; ".join(found[:3])
        )
    return warnings


def history_row(
    outcome: Outcome, started: datetime, records: Mapping[str, Sequence[Record]], privacy: Privacy
) -> dict[str, Any]:
    digest = hashlib.blake2b(digest_size=8)
    for report_records in records.values():
        for record in report_records:
            digest.update(record.content_hash.to_bytes(8, "big"))
    plans = outcome.plans.items()
    return {
        "import_id": outcome.import_id,
        "import_timestamp": started,
        "duration_seconds": round(outcome.duration, 3),
        "status": outcome.status,
        "importer_version": __version__,
        "ccusage_version": outcome.fetched.ccusage_version,
        "timezone": outcome.fetched.timezone,
        "privacy": privacy.fingerprint,
        **{f"rows_{what}": {name: len(getattr(plan, what)) for name, plan in plans} for what in OUTCOMES},
        "data_hash": int.from_bytes(digest.digest(), "big"),
        "statistics": json.dumps({**outcome.totals, "warnings": outcome.warnings}, ensure_ascii=False),
        "error": "; ".join(f"{error.what}" for error in outcome.errors.values()),
    }


def owned_by(store: Store, machine_name: str, user_name: str) -> Store:
    """The same database seen from another machine and user."""
    other = Store(dataclasses.replace(store.config, machine_name=machine_name, user_name=user_name), store.client)
    other.column_types = store.column_types
    return other


def replay_pending(store: Store) -> int:
    """Import what earlier runs fetched and could not finish, oldest first; returns how many."""
    folder = pending_folder(store.config)
    waiting: list[tuple[str, Path, FetchedReports]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not (path / MANIFEST).exists():
            shutil.rmtree(path, ignore_errors=True)  # its run ended before it had written anything
            continue
        try:
            saved = load_reports(path)
        except ImporterError as error:
            aside = folder.parent / "unreadable" / path.name
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
            log.warning("%s; moved to %s", error.what, aside)
            continue
        waiting.append((saved.fetched_at, path, saved))
    for fetched_at, path, saved in sorted(waiting, key=lambda item: item[:2]):
        log.info("importing the reports of %s, which an earlier run could not finish", fetched_at)
        owner = owned_by(store, saved.machine_name, saved.user_name)
        import_reports(owner, saved, owner.read_last_import(), time.monotonic(), kept_in=path)
    return len(waiting)


def keep_for_next_run(config: Config, fetched: FetchedReports) -> Path:
    """Save reports that could not be stored, and drop older saved ones that these cover."""
    folder = pending_folder(config) / uuid.uuid4().hex
    older = [path for path in pending_folder(config).glob("*") if (path / MANIFEST).exists()]
    save_reports(fetched, folder)
    privacy = Privacy()
    newer_records, _ = reshape_reports(fetched, privacy)
    for path in older:
        try:
            saved = load_reports(path)
        except ImporterError:
            continue  # the next import moves it aside
        older_records, _ = reshape_reports(saved, privacy)
        same_owner = (saved.machine_name, saved.user_name) == (fetched.machine_name, fetched.user_name)
        if same_owner and covers_all(newer_records, older_records):
            shutil.rmtree(path, ignore_errors=True)
    return folder


def covers_all(newer: Mapping[str, Sequence[Record]], older: Mapping[str, Sequence[Record]]) -> bool:
    """Whether an import of the newer rows leaves nothing to gain from the older ones."""
    prices = unpriced_models(newer)
    for name, records in older.items():
        told = newer.get(name, ())
        plan_rows = plan_blocks if name == "blocks" else functools.partial(plan_report, name)
        stored = {record.key: stored_from(record) for record in records}
        plan = plan_rows(told, stored, prices)
        missing = plan.after(stored).keys() - {record.key for record in told}
        if plan.kept or any(not stored[key].is_gap for key in missing):
            return False
    return True


def push_owner(local: Store, served: Store) -> dict[str, Plan]:
    """Bring one machine's and user's rows from the embedded database to the server, by the same plan.

    What the server has already, or has more of, stays; so it can be done again, and after an interruption.
    """
    last, last_there = local.read_last_import(), served.read_last_import()
    for what in ("timezone", "privacy"):
        if last and last_there and getattr(last, what) != getattr(last_there, what):
            raise ImporterError(
                f"{served.config.user_name} on {served.config.machine_name}: the server's rows have another {what} "
                f"({getattr(last_there, what)}) than the local ones ({getattr(last, what)}); together they would "
                "count usage twice",
                "push to another CH_DATABASE",
                EXIT_USAGE,
            )
    records: dict[str, list[Record]] = {}
    created: dict[ChildKey, datetime] = {}
    for report in REPORTS.values():
        records[report.name], since = local.read_records(report)
        created |= since
    plans = plan_import(served, records, served.config)
    # an interrupted push may have left children of rows that are new
    served.write_plans(plans.values(), repair=True, created=created)
    served.check_written(plans.values())
    there = {row["import_id"] for row in served.read_history()}
    runs = [row for row in local.read_history() if row["import_id"] not in there]
    if runs:
        served.insert(HISTORY_TABLE, runs)
    return plans


# =====================================================================================================
# Queries and statistics: named queries, and their answers as text, pictures and files
# =====================================================================================================


@dataclass(frozen=True)
class Query:
    """A named query of queries.sql, with the question that it answers and its tunables."""

    name: str
    section: str
    question: str
    statement: str

    @property
    def tunables(self) -> dict[str, str]:
        """The literals at the start of the statement by name: `WITH 30 AS days, 'cost' AS unit`."""
        found: dict[str, str] = {}
        rest = re.match(r"WITH\s+", self.statement)
        position = rest.end() if rest else None
        while position is not None:
            match = TUNABLE.match(self.statement, position)
            if match is None:
                break
            found[match[2]] = match[1]
            position = match.end()
        return found

    def bound(self, values: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """The statement with bound parameters of the literals' types in their place, and their values."""
        statement, parameters = self.statement, {}
        for name, text in values.items():
            literal = self.tunables.get(name)
            if literal is None:
                raise unknown("--param", name, self.tunables, f"a parameter of {self.name}")
            kind, read = literal_type(literal)
            try:
                parameters[name] = read(text)
            except ValueError as error:
                wanted = {"String": "a text", "Int64": "a whole number"}.get(kind, "a number")
                raise configuration_error(f"--param {name}", text, wanted) from error
            statement = re.sub(rf"{re.escape(literal)}(\s+AS\s+{name}\b)", rf"{{{name}:{kind}}}\1", statement, count=1)
        return statement, parameters


TUNABLE = re.compile(r"\s*('(?:[^'\\]|\\.)*'|-?\d+(?:\.\d+)?)\s+AS\s+(\w+)\s*,?")


def literal_type(literal: str) -> tuple[str, Callable[[str], Any]]:
    """ClickHouse's type for a tunable, and how its value is read."""
    if literal.startswith("'"):
        return "String", str
    return ("Float64", float) if "." in literal else ("Int64", int)


def unknown(flag: str, name: str, known: Iterable[str], wanted: str) -> ImporterError:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.6) or (names if len(names) < 6 else [])
    fix = f"did you mean {' or '.join(near)}?" if near else "see --query" if names else "it has none"
    return ImporterError(f"{flag}: {name!r} is not {wanted}", fix, EXIT_USAGE)


def parse_queries(sql: str) -> dict[str, Query]:
    """The queries of a file by name: `-- name: x`, comment lines with the question, one statement.

    A line `-- section: X` holds for the queries that follow it.
    """
    queries: dict[str, Query] = {}
    section = ""
    headers = list(re.finditer(r"^-- (name|section):(.*)$", sql, re.MULTILINE))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        name, body = header[2].strip(), sql[header.end() : following.start() if following else None]
        if header[1] == "section":
            section = name
            continue
        line = sql.count("\n", 0, header.start()) + 1
        comment: list[str] = []
        statement: list[str] = []
        for text in body.strip().splitlines():
            (comment if text.startswith("--") and not statement else statement).append(text)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in queries:
            raise ImporterError(f"queries.sql:{line}: the name {name!r} is not new or not a name", "give it another")
        statements = split_statements("\n".join(statement))
        if len(statements) != 1:
            raise ImporterError(f"queries.sql:{line}: {name} has {len(statements)} statements", "write one")
        queries[name] = Query(name, section, " ".join(text.strip("- ") for text in comment), statements[0])
    return queries


@dataclass(frozen=True)
class Answer:
    """What a query returned: rows of values by column."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Narrow:
    """What --days, --machine, --user and --source leave of the tables. It holds for every query alike."""

    days: int | None = None
    machine: str | None = None
    user: str | None = None
    source: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """As ClickHouse's additional_table_filters, so that the queries stay those that one can paste."""
        filters = {}
        for table, day in DAY_OF.items():
            columns = {"machine_name": self.machine, "user_name": self.user}
            if table != HISTORY_TABLE:
                columns["source"] = self.source
            conditions = [f"{column} = {sql_text(value)}" for column, value in columns.items() if value is not None]
            if self.days is not None:
                conditions.append(f"{day} > toDate(now('UTC')) - {self.days}")
            if conditions:
                filters[table] = " AND ".join(conditions)
        if not filters:
            return {}
        told = ", ".join(f"{sql_text(table)}: {sql_text(condition)}" for table, condition in filters.items())
        return {"additional_table_filters": "{" + told + "}"}

    @property
    def words(self) -> str:
        """In words, for a title; empty where nothing is narrowed."""
        named = {"machine": self.machine, "user": self.user, "agent": self.source}
        words = [f"{what} {value}" for what, value in named.items() if value is not None]
        if self.days is not None:
            words.append("today" if self.days == 1 else f"the last {self.days} days")
        return ", ".join(words)


# A row's day in each table: what --days looks at.
DAY_OF = {
    "ccusage_usage_daily": "date",
    "ccusage_usage_monthly": "toLastDayOfMonth(makeDate(year, month_num, 1))",
    "ccusage_usage_sessions": "toDate(last_activity)",
    "ccusage_usage_blocks": "toDate(start_time)",
    "ccusage_usage_projects_daily": "date",
    BREAKDOWNS_TABLE: "if(record_type IN ('daily', 'project_daily'), toDateOrZero(left(record_key, 10)), today())",
    MODELS_TABLE: "if(record_type IN ('daily', 'project_daily'), toDateOrZero(left(record_key, 10)), today())",
    HISTORY_TABLE: "toDate(import_timestamp)",
}


def sql_text(text: str) -> str:
    """A text as a literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


# Queries about today, this month and the ones before: --days would cut their periods short.
OWN_PERIODS = frozenset(
    {"period_totals", "periods_compared", "models_compared", "month_end", "days_to_budget", "year_end"}
)


def ask_query(
    store: Store, query: Query, values: Mapping[str, str] | None = None, narrow: Narrow | None = None
) -> Answer:
    """Run a named query. The driver tells no columns of an empty answer: `ask_columns` does."""
    statement, parameters = query.bound(values or {})
    narrow = narrow or Narrow()
    if query.name in OWN_PERIODS:
        narrow = dataclasses.replace(narrow, days=None)
    return Answer(*store.ask(statement, parameters, narrow.settings))


def ask_columns(store: Store, query: Query, values: Mapping[str, str]) -> tuple[str, ...]:
    statement, parameters = query.bound(values)
    return tuple(str(row[0]) for row in store.ask(f"DESCRIBE ({statement})", parameters)[1])


# The queries that the statistics are made of: after an import, and what --stats and --export have besides.
IMPORT_STATISTICS = (
    "totals",
    "table_rows",
    "cost_by_model",
    "cost_by_project",
    "cost_by_source",
    "cost_by_machine",
    "active_blocks",
    "session_totals",
)
MORE_STATISTICS = (
    "periods_compared",
    "month_end",
    "streaks",
    "cache_savings",
    "user_favourite_model",
    "daily_trend",
    "days_of_week",
    "hours_of_day",
    "heatmap",
)


def fetch_statistics(
    store: Store, narrow: Narrow | None = None, names: Iterable[str] = (*IMPORT_STATISTICS, *MORE_STATISTICS)
) -> dict[str, Answer]:
    queries = parse_queries(sql_file("queries.sql"))
    return {name: ask_query(store, queries[name], narrow=narrow) for name in names}


def human_number(value: float) -> str:
    """1234567 as 1.2M: for people; machines get full numbers."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit * 0.99995:
            return f"{value / limit:.1f}{suffix}"
    return f"{value:.0f}"


def human_bytes(value: float) -> str:
    return human_number(value).replace("B", "G") + "B"


def human_cost(value: float) -> str:
    return f"${value:,.2f}" if value >= 0 else f"-${-value:,.2f}"


def human_change(now: float, before: float) -> str:
    """A change in dollars, and in percent where there was something before."""
    sign = "+" if now >= before else ""
    percent = f" ({100 * (now - before) / before:+.0f}%)" if before else ""
    return f"{sign}{human_cost(now - before)}{percent}"


def human_days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def human_age(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


# ---- answers into sections ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A table of texts under a title. `numeric`: columns aligned to the right. `bars`: a length for each row."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numeric: frozenset[int] = frozenset()
    bars: Sequence[float] = ()

    @property
    def is_list(self) -> bool:
        """Rows of a label and a value, without a header."""
        return self.columns[0] == ""


@dataclass(frozen=True)
class Heatmap:
    """A year of days, each with its cost in US dollars, the days without usage too."""

    title: str
    days: Mapping[date, float]

    def level(self, cost: float) -> int:
        """0 for nothing, 1 to 4 by the quarter of the used days in which the cost lies."""
        used = sorted(value for value in self.days.values() if value > 0)
        return 0 if cost <= 0 else 1 + min(3, 4 * sum(value < cost for value in used) // len(used))

    @property
    def weeks(self) -> list[list[date | None]]:
        """Columns of seven days from Monday to Sunday; None before the first day and after the last."""
        first, last = min(self.days), max(self.days)
        monday = first - timedelta(days=first.weekday())
        count = (last - monday).days // 7 + 1
        grid = [[monday + timedelta(days=7 * week + day) for day in range(7)] for week in range(count)]
        return [[day if first <= day <= last else None for day in week] for week in grid]


Part = Section | Heatmap

TOP = 8  # rows of a ranking on the screen


def render_import(outcome: Outcome, statistics: Mapping[str, Answer] | None) -> Section:
    """Rows per table with what this import changed. Without statistics (a dry run): the plan alone."""
    in_table = dict(statistics["table_rows"].rows) if statistics else {}
    rows = []
    for report in REPORTS.values():
        plan = outcome.plans.get(report.name)
        counts = ("failed", "", "", "") if plan is None else tuple(f"{len(getattr(plan, what)):,}" for what in OUTCOMES)
        rows.append((report.table, f"{in_table[report.table]:,}" if in_table else "", *counts))
    for table in (BREAKDOWNS_TABLE, MODELS_TABLE, HISTORY_TABLE) if in_table else ():
        rows.append((table, f"{in_table[table]:,}", "", "", "", ""))
    if not statistics:
        planned = [(table, *counts) for table, _, *counts in rows]
        return Section("What an import would do", ("table", *OUTCOMES), planned, frozenset(range(1, 5)))
    title = f"Import {outcome.status} in {outcome.duration:.1f} s"
    return Section(title, ("table", "rows", *OUTCOMES), rows, frozenset(range(1, 6)))


def render_difference(outcome: Outcome, now: float) -> list[Section]:
    """What came since the previous import of this machine and user."""
    if outcome.last is None or "cost" not in outcome.last.statistics or not outcome.totals:
        return []
    before, after = outcome.last.statistics, outcome.totals
    rows = [
        ("cost", f"{'+' if after['cost'] >= before['cost'] else ''}{human_cost(after['cost'] - before['cost'])}"),
        ("tokens", f"{after['tokens'] - before['tokens']:+,}"),
        ("days", f"{after['days'] - before['days']:+}"),
        ("sessions", f"{after['sessions'] - before['sessions']:+}"),
    ]
    title = f"Since the last import ({human_age(max(now - outcome.last.finished, 0))} ago)"
    return [Section(title, ("", "change"), rows, frozenset({1}))]


def render_statistics(statistics: Mapping[str, Answer], now: float, narrow: Narrow | None = None) -> list[Part]:
    """The stored usage as sections: of the queries that were asked. `now` is epoch seconds."""
    total = statistics["totals"].dicts()[0]
    words = narrow.words if narrow else ""
    if not total["days_with_usage"]:
        why = f"there is none of {words}" if words else "no usage has been imported yet"
        return [Section("Usage", ("", ""), [("nothing stored", why)])]
    parts: list[Part] = [render_overview(statistics, total, now, words)]
    if "heatmap" in statistics:
        periods, month_end, *trends = render_trends(statistics)
        days = {row["date"]: row["cost"] for row in statistics["heatmap"].dicts()}
        parts += [periods, month_end, Heatmap("Cost per day, the last year", days), *trends]
    parts += render_active_blocks(statistics["active_blocks"].dicts())
    for title, name, first, minimum in (
        ("Top models", "cost_by_model", "model", 1),
        ("Top projects", "cost_by_project", "project", 2),
        ("Agents", "cost_by_source", "agent", 2),
        ("Machines", "cost_by_machine", "machine and user", 2),
    ):
        ranking = statistics[name].dicts()
        rows = [
            (
                str(row[first.replace(" ", "_")]),
                human_cost(row["cost"]),
                f"{100 * row['cost'] / total['cost'] if total['cost'] else 0:.1f}%",
                human_number(row["tokens"]),
            )
            for row in ranking[:TOP]
        ]
        if len(ranking) >= minimum:
            bars = [row["cost"] for row in ranking[:TOP]]
            shown_title = f"{title} ({TOP} of {len(ranking)})" if len(ranking) > TOP else title
            parts.append(Section(shown_title, (first, "cost", "share", "tokens"), rows, frozenset({1, 2, 3}), bars))
    return parts


def render_overview(statistics: Mapping[str, Answer], total: Mapping[str, Any], now: float, words: str) -> Section:
    sessions = statistics["session_totals"].dicts()[0]
    rows = [
        ("cost", human_cost(total["cost"])),
        ("tokens", human_number(total["tokens"])),
        ("  input", human_number(total["input"])),
        ("  output", human_number(total["output"])),
        ("  cache written", human_number(total["cache_creation"])),
        ("  cache read", human_number(total["cache_read"])),
        ("dates", f"{total['first_day']} to {total['last_day']}"),
        ("days with usage", f"{total['days_with_usage']} of {total['days_between']}"),
        ("cost per day with usage", human_cost(total["cost"] / total["days_with_usage"])),
        ("sessions", f"{sessions['sessions']:,}"),
    ]
    if "streaks" in statistics:
        streaks = statistics["streaks"].dicts()[0]
        rows.append(("current streak", human_days(streaks["current_streak"])))
        rows.append(("longest streak", human_days(streaks["longest_streak"])))
    if "hours_of_day" in statistics:
        hours = statistics["hours_of_day"].dicts()
        busiest = max(hours, key=lambda row: row["cost"], default=None)
        if busiest is not None and busiest["cost"]:
            rows.append(("busiest hour", f"{busiest['hour']:02}:00 UTC ({human_cost(busiest['cost'])})"))
    if "user_favourite_model" in statistics:
        favourites = {row["model"] for row in statistics["user_favourite_model"].dicts()}
        rows.append(("favourite model (by tokens)", ", ".join(sorted(favourites))))
    if "cache_savings" in statistics:
        saved = sum(row["saved"] for row in statistics["cache_savings"].dicts())
        rows.append(("saved by the cache", f"about {human_cost(saved)}"))
    age = human_age(max(now - total["last_import"], 0)) + " ago" if total["last_import"] else "never"
    rows.append(("last import", age))
    return Section(f"Usage of {words}" if words else "Usage", ("", "value"), rows, frozenset({1}))


def render_trends(statistics: Mapping[str, Answer]) -> list[Section]:
    """Periods side by side, the forecast, and bars: the last 30 days, days of the week, hours."""
    compared = [
        (
            f"this {row['period']}",
            human_cost(row["cost"]),
            human_cost(row["cost_before_to_same_day"]),
            human_change(row["cost"], row["cost_before_to_same_day"]),
            human_cost(row["cost_before"]),
        )
        for row in statistics["periods_compared"].dicts()
    ]
    columns = ("", "so far", "last, to the same day", "change", "last, whole")
    sections = [Section("Periods", ("period", *columns[1:]), compared, frozenset(range(1, 5)))]
    month = statistics["month_end"].dicts()[0]
    rows = [
        (f"{month['month']} so far", human_cost(month["cost_so_far"])),
        ("forecast for its end", human_cost(month["forecast"])),
        ("days left", f"{month['days_left']}"),
        ("last month", human_cost(month["last_month_cost"])),
    ]
    sections.append(Section("Month's end", ("", "value"), rows, frozenset({1})))
    trend = statistics["daily_trend"].dicts()
    average = sum(row["cost"] for row in trend) / max(len(trend), 1)
    days = [(f"{row['date']:%a %d %b}", human_cost(row["cost"]), human_number(row["tokens"])) for row in trend]
    title = f"The last {len(trend)} days, {human_cost(average)} a day on average"
    costs = [row["cost"] for row in trend]
    sections.append(Section(title, ("day", "cost", "tokens"), days, frozenset({1, 2}), costs))
    for title, name, label, column in (
        ("Days of the week", "days_of_week", "day", "name"),
        ("Hours of the day (UTC, by the start of the billing block)", "hours_of_day", "hour", "hour"),
    ):
        answer = statistics[name].dicts()
        rows = [(f"{row[column]:02}" if column == "hour" else row[column], human_cost(row["cost"])) for row in answer]
        costs = [row["cost"] for row in answer]
        sections.append(Section(title, (label, "cost"), rows, frozenset({1}), costs))
    return sections


def render_active_blocks(blocks: Sequence[Mapping[str, Any]]) -> list[Section]:
    rows = [
        (
            f"{block['user_name']} on {block['machine_name']}",
            human_cost(block["cost"]),
            human_number(block["tokens"]),
            human_age(block["minutes_left"] * 60),
            "" if block["burn_rate"] is None else f"{human_cost(block['burn_rate'])} an hour",
            "" if block["projected_cost"] is None else human_cost(block["projected_cost"]),
        )
        for block in blocks[:TOP]
    ]
    columns = ("whose", "cost so far", "tokens", "time left", "burn rate", "projection")
    return [Section("Active billing block", columns, rows, frozenset(range(1, 6)))] if rows else []


def render_comparison(answers: Mapping[str, Answer], period: str) -> list[Section]:
    """This period beside the one before, in all and by model."""
    rows = [
        (f"{row['period']} so far", human_cost(row["cost"]), human_cost(row["cost_before_to_same_day"]), row)
        for row in answers["periods_compared"].dicts()
        if row["period"] == period
    ]
    rows += [
        (row["model"], human_cost(row["cost"]), human_cost(row["cost_before_to_same_day"]), row)
        for row in answers["models_compared"].dicts()
    ]
    table = [
        (name, now, before, human_change(row["cost"], row["cost_before_to_same_day"]), human_cost(row["cost_before"]))
        for name, now, before, row in rows
    ]
    columns = ("", f"this {period}", f"last {period}, to the same day", "change", f"last {period}, whole")
    title = f"This {period} against the last"
    return [Section(title, ("whole and by model", *columns[1:]), table, frozenset(range(1, 5)))]


def render_budgets(config: Config, answers: Mapping[str, Answer]) -> tuple[list[Section], list[str]]:
    """Budgets of the user over all machines: what is spent and left, and why a budget does not hold."""
    today = {row["period"]: row["cost"] for row in answers["period_totals"].dicts()}["today"]
    month = answers["month_end"].dicts()[0]
    rows, broken = [], []
    for name, budget, spent, forecast in (
        ("day", config.budget_day, today, None),
        ("month", config.budget_month, month["cost_so_far"], month["forecast"]),
    ):
        if budget is None:
            continue
        left = budget - spent
        told = human_cost(forecast) if forecast is not None else ""
        rows.append((name, human_cost(budget), human_cost(spent), human_cost(left), told))
        whose = f"the {name}'s budget of {config.user_name}, {human_cost(budget)},"
        if left < 0:
            broken.append(f"{whose} is exceeded: {human_cost(spent)} are spent")
        elif forecast is not None and forecast > budget:
            broken.append(f"{whose} will be exceeded: the forecast for the month's end is {human_cost(forecast)}")
    section = Section("Budget", ("budget", "limit", "spent", "left", "forecast"), rows, frozenset(range(1, 5)))
    return [section] if rows else [], broken


# ---- sections on a terminal, in a log, in a file -----------------------------------------------------

# From dark to bright, told apart by the colour-blind, too (viridis); the shapes serve where there is no colour.
HEAT_COLOURS = ("#8a8a8a", "#6063c4", "#2a8fae", "#27b584", "#9be84f")
HEAT_SHAPES = "·░▒▓█"
BAR_COLOUR = "#2a788e"
WIDE = 150  # columns from which sections stand side by side


def bar_text(value: float, largest: float, width: int) -> str:
    """A bar of eighths of a character."""
    eighths = int(8 * width * value / largest + 0.5) if largest > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def print_parts(console: Console, parts: Sequence[Part]) -> None:
    """Sections as tables on a terminal, in two columns where it is wide; a heatmap as wide as there is room."""
    from rich.console import Group
    from rich.table import Table

    coloured = console.color_system is not None and not console.no_color
    if console.width < WIDE:
        for part in parts:
            console.print(terminal_part(part, console.width, coloured))
        return
    columns: tuple[list[RenderableType], list[RenderableType]] = ([], [])
    heights = [0, 0]
    for part in parts:
        shorter = heights.index(min(heights))
        columns[shorter].append(terminal_part(part, console.width // 2 - 4, coloured))
        heights[shorter] += 11 if isinstance(part, Heatmap) else len(part.rows) + 3
    grid = Table.grid(padding=(0, 6))
    grid.add_row(*(Group(*column) for column in columns))
    console.print(grid)


def terminal_part(part: Part, width: int, coloured: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text(one_line(part.title), style="bold")
    if isinstance(part, Heatmap):
        return Group(title, *terminal_heatmap(part, width, coloured), Text(""))
    table = Table(box=None, pad_edge=False, show_header=not part.is_list, header_style="dim")
    for number, column in enumerate(part.columns):
        table.add_column(
            column,
            justify="right" if number in part.numeric else "left",
            style="cyan" if number == 0 else None,
            overflow="fold",
        )
    largest = max(part.bars, default=0)
    widest = max((sum(len(cell) + 2 for cell in row) for row in part.rows), default=0)
    room = min(40, width - widest - 2)
    if part.bars and room >= 5:
        table.add_column("", no_wrap=True)
    for number, row in enumerate(part.rows):
        cells = [Text(one_line(cell)) for cell in row]
        if part.bars and room >= 5:
            cells.append(Text(bar_text(part.bars[number], largest, room), style=BAR_COLOUR))
        table.add_row(*cells)
    return Group(title, table, Text(""))


def terminal_heatmap(heatmap: Heatmap, width: int, coloured: bool) -> Iterator[Text]:
    """Seven lines, a character or two a week, with the months above: as many weeks as there is room for."""
    from rich.text import Text

    shapes = "·■■■■" if coloured else HEAT_SHAPES

    step = 2 if width >= 5 + 2 * 53 else 1
    weeks = heatmap.weeks[-((width - 5) // step) :]
    months = [" "] * (len(weeks) * step + 4)
    free_from = 0
    for number, week in enumerate(weeks):
        first = next((day for day in week if day is not None and day.day <= 7), None)
        if first is not None and week[0] == first - timedelta(days=first.weekday()) and number * step >= free_from:
            months[number * step : number * step + 3] = f"{first:%b}"
            free_from = number * step + 4
    yield Text("     " + "".join(months).rstrip(), style="dim")
    for weekday, label in enumerate(("Mon", "", "Wed", "", "Fri", "", "Sun")):
        line = Text()
        line.append(f"{label:<5}", style="dim")
        for week in weeks:
            day = week[weekday]
            level = heatmap.level(heatmap.days[day]) if day is not None else None
            shape = " " if level is None else shapes[level]
            line.append(shape + " " * (step - 1), style=HEAT_COLOURS[level or 0])
        yield line
    legend = Text()
    legend.append("     less ", style="dim")
    for shape, colour in zip(shapes, HEAT_COLOURS, strict=True):
        legend.append(shape + " ", style=colour)
    yield legend.append("more", style="dim")


def part_lines(parts: Iterable[Part]) -> Iterator[str]:
    """The same facts, a line each, for a log."""
    for part in parts:
        if isinstance(part, Heatmap):
            highest = max(part.days, key=lambda day: part.days[day])
            used = sum(cost > 0 for cost in part.days.values())
            yield f"{part.title}: {used} days with usage, the most expensive {highest}: {human_cost(part.days[highest])}"
            continue
        for row in part.rows:
            first, *others = map(one_line, row)
            named = (f"{name} {cell}" for name, cell in zip(part.columns[1:], others, strict=True) if cell)
            yield f"{one_line(part.title)}: {first.strip()}: {', '.join(others if part.is_list else named)}"


def markdown_text(text: str) -> str:
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", one_line(text))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    numeric = set(numeric)
    lines = [columns, ["---:" if number in numeric else "---" for number in range(len(columns))]]
    told = [[markdown_text(cell) for cell in row] for row in (columns, *rows)]
    told.insert(1, list(lines[1]))
    return "\n".join("| " + " | ".join(row) + " |" for row in told) + "\n"


def markdown_parts(parts: Iterable[Part]) -> str:
    texts = ["# Usage of coding agents\n"]
    for part in parts:
        if isinstance(part, Section):
            texts.append(f"## {markdown_text(part.title)}\n\n{markdown_table(part.columns, part.rows, part.numeric)}")
    return "\n".join(texts)


def html_parts(parts: Iterable[Part], told: str) -> str:
    """One self-contained page, for dark and light, for a desk and a phone. `told`: when and by what."""
    body = []
    for part in parts:
        title = f"<h2>{html.escape(one_line(part.title))}</h2>"
        if isinstance(part, Heatmap):
            body.append(f'<section class="wide">{title}{html_heatmap(part)}</section>')
            continue
        head = (
            ""
            if part.is_list
            else "".join(
                f"<th{' class=n' if number in part.numeric else ''}>{html.escape(column)}</th>"
                for number, column in enumerate(part.columns)
            )
        )
        head += "<th></th>" if part.bars and head else ""
        largest = max(part.bars, default=0) or 1
        rows = []
        for number, row in enumerate(part.rows):
            cells = "".join(
                f"<td{' class=n' if column in part.numeric else ''}>{html.escape(one_line(cell))}</td>"
                for column, cell in enumerate(row)
            )
            if part.bars:
                cells += f'<td class="bar"><i style="width:{100 * part.bars[number] / largest:.1f}%"></i></td>'
            rows.append(f"<tr>{cells}</tr>")
        table = f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{''.join(rows)}</tbody></table>"
        body.append(f"<section>{title}<div>{table}</div></section>")
    return HTML_PAGE.replace("{told}", html.escape(one_line(told))).replace("{body}", "\n".join(body))


def html_heatmap(heatmap: Heatmap) -> str:
    squares = []
    for number, week in enumerate(heatmap.weeks):
        for weekday, day in enumerate(week):
            if day is not None:
                cost = heatmap.days[day]
                place = f'x="{12 * number}" y="{12 * weekday}" width="10" height="10" rx="2"'
                hint = f"<title>{day} {human_cost(cost)}</title>"
                squares.append(f'<rect class="l{heatmap.level(cost)}" {place}>{hint}</rect>')
    width = 12 * len(heatmap.weeks)
    return f'<div><svg viewBox="0 0 {width} 84" role="img" aria-label="heatmap">{"".join(squares)}</svg></div>'


HTML_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Usage of coding agents</title>
<style>
:root { --back: #fff; --text: #1c1c1e; --soft: #6b6b70; --line: #e3e3e8; --bar: #2a788e; --none: #ebedf0; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16171a; --text: #e8e8ea; --soft: #9a9aa2; --line: #2e3036; --bar: #35a3bd; --none: #24262b; }
}
body { margin: 0; padding: 1.5rem; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
header p { color: var(--soft); margin: .2rem 0 1.5rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 2rem; }
section { min-width: 0; } .wide { grid-column: 1 / -1; } section > div { overflow-x: auto; }
.wide > div { direction: rtl; } .wide svg { direction: ltr; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .85rem; }
th, td { padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.n { text-align: right; } td.n { white-space: nowrap; } td:first-child { min-width: 5.5rem; } td.bar { width: 35%; min-width: 3rem; }
td.bar i { display: block; height: .7rem; min-width: 1px; background: var(--bar); border-radius: 2px; }
svg { width: 100%; min-width: 34rem; max-width: 60rem; }
.l0 { fill: var(--none); } .l1 { fill: #6063c4; } .l2 { fill: #2a8fae; } .l3 { fill: #27b584; } .l4 { fill: #9be84f; }
@media (max-width: 30rem) { body { padding: 1rem; font-size: 14px; } td.bar { display: none; } }
</style>
</head>
<body>
<header><h1>Usage of coding agents</h1><p>{told}</p></header>
<main>
{body}
</main>
</body>
</html>
"""

# What rich draws a terminal with, without the font that its own picture loads from elsewhere.
SVG_PICTURE = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def svg_parts(parts: Sequence[Part], title: str) -> str:
    from rich.console import Console

    console = Console(record=True, width=WIDE, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    print_parts(console, parts)
    return str(console.export_svg(title=title, code_format=SVG_PICTURE))


def json_cell(value: Any) -> Any:
    """A value of an answer for JSON: days and times as ISO texts."""
    return value.isoformat() if isinstance(value, date) else str(value)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


EXPORTS = (".html", ".svg", ".md", ".json", ".csv")


def export_statistics(
    path: Path, statistics: Mapping[str, Answer], parts: Sequence[Part], narrow: Narrow, now: float
) -> None:
    """Write the statistics in the form that the file's ending names; whole or not at all."""
    moment = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
    told = f"{moment}, ccusage-importer {__version__}" + (f", {narrow.words}" if narrow.words else "")
    if path.suffix == ".json":
        content = {
            "format": 1,
            "generated_at": moment,
            "version": __version__,
            "narrowed_to": dataclasses.asdict(narrow),
            "statistics": {name: answer.dicts() for name, answer in statistics.items()},
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, default=json_cell) + "\n"
    elif path.suffix == ".csv":
        cells = (
            (name, number, column, value)
            for name, answer in statistics.items()
            for number, row in enumerate(answer.rows, 1)
            for column, value in zip(answer.columns, row, strict=True)
        )
        text = csv_text(("query", "row", "column", "value"), cells)
    elif path.suffix == ".md":
        text = markdown_parts(parts)
    elif path.suffix == ".svg":
        text = svg_parts(parts, f"ccusage-importer {narrow.words}".strip())
    else:
        text = html_parts(parts, told)
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        raise ImporterError(f"--export: {path} cannot be written: {error.strerror}", "give another file") from error


def answer_text(answer: Answer, output_format: str) -> str:
    """An answer as csv, json or md: full numbers."""
    if output_format == "json":
        return json.dumps(answer.dicts(), indent=1, ensure_ascii=False, default=json_cell) + "\n"
    if output_format == "csv":
        return csv_text(answer.columns, answer.rows)
    cells = [["" if value is None else str(value) for value in row] for row in answer.rows]
    return markdown_table(answer.columns, cells, numeric_columns(answer))


def numeric_columns(answer: Answer) -> frozenset[int]:
    return frozenset(
        number
        for number in range(len(answer.columns))
        if answer.rows and all(isinstance(row[number], (int, float)) or row[number] is None for row in answer.rows)
    )


def human_cell(column: str, value: Any) -> str:
    """A value of an answer for people: dollars are columns named so, other fractions get two digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        in_dollars = re.search(r"cost|dollar|budget|saved$|forecast|burn_rate|change|average_of|next_7", column)
        return human_cost(value) if in_dollars and "percent" not in column else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) and column not in ("year", "hour") else str(value)


# ---- metrics -----------------------------------------------------------------------------------------


@dataclass
class RunMetrics:
    """What a run leaves for Prometheus. `outcome` is None where the import did not get that far."""

    exit_code: int = EXIT_FAILED
    seconds: float = 0.0
    outcome: Outcome | None = None
    spending: Sequence[Mapping[str, Any]] = ()


LAST_SUCCESS = "ccusage_importer_last_success_timestamp_seconds"


def render_metrics(config: Config, metrics: RunMetrics, now: float, last_success: float) -> str:
    """The run in Prometheus' text exposition format. Every sample says whose it is: machine and user."""
    families: list[tuple[str, str, list[tuple[dict[str, str], float]]]] = [
        (LAST_SUCCESS, "When an import last stored every report, as Unix time; 0: never.", [({}, last_success)]),
        ("ccusage_importer_last_run_timestamp_seconds", "When the last run ended, as Unix time.", [({}, now)]),
        ("ccusage_importer_last_run_duration_seconds", "How long the last run took.", [({}, metrics.seconds)]),
        ("ccusage_importer_last_run_exit_code", "Exit code of the last run.", [({}, metrics.exit_code)]),
    ]
    outcome = metrics.outcome
    if outcome is not None:
        rows = [
            ({"table": REPORTS[name].table, "outcome": what}, float(len(getattr(plan, what))))
            for name, plan in outcome.plans.items()
            for what in OUTCOMES
        ]
        failed = [({"report": name}, float(name in outcome.errors)) for name in REPORTS]
        families.append(("ccusage_importer_last_run_rows", "Rows of the last run by what became of them.", rows))
        families.append(("ccusage_importer_last_run_report_failed", "1 for a report that failed.", failed))
    for name, column, periods, text in (
        ("ccusage_cost_usd", "cost", ("today", "month"), "Cost in US dollars, today and this month."),
        ("ccusage_tokens", "tokens", ("today", "month"), "Tokens, today and this month."),
        ("ccusage_active_block_cost_usd", "cost", ("block",), "Cost of the active billing block in US dollars."),
        ("ccusage_active_block_burn_rate_usd_per_hour", "burn_rate", ("block",), "US dollars an hour, active block."),
    ):
        samples = [
            ({"source": row["source"], **({"period": row["period"]} if len(periods) > 1 else {})}, float(row[column]))
            for row in metrics.spending
            if row["period"] in periods
        ]
        if samples:
            families.append((name, text, samples))
    lines = []
    for name, text, samples in families:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for labels, value in samples:
            all_labels = {"machine": config.machine_name, "user": config.user_name, **labels}
            told = ",".join(f'{label}="{prometheus_label(text)}"' for label, text in all_labels.items())
            lines.append(f"{name}{{{told}}} {value!r}")
    return "\n".join(lines) + "\n"


def prometheus_label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write_metrics(path: Path, config: Config, metrics: RunMetrics) -> None:
    """Write the file at once or not at all: the collector may read it at any time.

    A run that fails keeps the time of the last success, so that an alert on its age works.
    """
    now = time.time()
    last_success = now
    if metrics.exit_code != EXIT_DONE:
        last_success = 0.0
        with contextlib.suppress(OSError, ValueError):
            before = re.search(rf"^{LAST_SUCCESS}\{{.*\}} (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            last_success = float(before[1]) if before else 0.0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(render_metrics(config, metrics, now, last_success))
        Path(file.name).chmod(0o644)  # node_exporter is another user
        Path(file.name).replace(path)
    except OSError as error:
        log.warning("--metrics-file %s cannot be written: %s", path, error.strerror)


# =====================================================================================================
# Check: everything that an import needs, tested without importing
# =====================================================================================================

CRON_MARK = "ccusage-importer"
AT_RISK_DAYS = 3  # a day that Claude Code deletes within so many days is at risk


@dataclass(frozen=True)
class Finding:
    """One line of --check. `required`: an import cannot do without."""

    name: str
    holds: bool
    found: str
    fix: str = ""
    required: bool = True


def check_everything(config: Config) -> Iterator[Finding]:
    """Every finding as soon as it is made; nothing stops at the first miss."""
    ccusage, fetched = None, None
    groups = ProcessGroups()
    try:
        ccusage = find_ccusage(config, groups)
        yield Finding("ccusage", True, f"{ccusage.version}, found by {ccusage.found}: {' '.join(ccusage.command)}")
        major = major_of(ccusage.version)
        yield Finding(
            "ccusage's dialect",
            major in SUPPORTED_MAJORS,
            ccusage.dialect.value if major in SUPPORTED_MAJORS else f"unknown, taken for {ccusage.dialect.value}",
            f"set CCUSAGE_VERSION={DEFAULT_CCUSAGE_VERSION}",
            required=False,
        )
    except ImporterError as error:
        yield Finding("ccusage", False, error.what, error.fix)
    yield check_node(groups)

    store: Store | None = None
    last: LastImport | None = None
    with contextlib.ExitStack() as stack:
        waited: list[str] = []
        try:
            if config.lock_path.exists():
                stack.enter_context(ImportLock(config.lock_path, waited.append))
            yield Finding("lock", True, waited[0] if waited else f"free ({config.lock_path / ImportLock.name})")
            store = open_store(config) if not config.embedded or has_embedded_data(config) else None
        except ImporterError as error:
            yield Finding("ClickHouse", False, error.what, error.fix)
        else:
            if store is not None:
                stack.callback(store.close)
            yield from check_database(config, store)
            with contextlib.suppress(ImporterError):
                last = store.read_last_import() if store and store.has_schema() else None
        if ccusage is not None:
            zone = last.timezone if last else config.timezone or machine_timezone(os.environ)
            fetched = fetch_reports(config, ccusage, zone, groups)
            yield from check_reports(fetched)
            yield from check_logs(config, fetched, store if last else None)
        yield from check_settings(config, last)
        yield from check_cron(last, time.time())
    yield from check_environment(config, os.environ)


def check_environment(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Every variable's value (of a secret: that it is set), and what follows from them."""
    for name in VARIABLES:
        value = environment.get(name)
        secret = name in ("CH_PASSWORD", "PROJECT_HASH_KEY")
        yield Finding(name, True, "unset" if not value else "set" if secret else value, required=False)
    yield Finding("machine and user", True, f"{config.machine_name}, {config.user_name}")
    privacy = {"plain": "project names are stored as they are", "sha256": "project names are hashed, without a key"}
    fingerprint = Privacy(config.hash_projects, config.project_hash_key).fingerprint
    yield Finding("privacy", True, privacy.get(fingerprint, "project names are hashed with PROJECT_HASH_KEY"))


def check_settings(config: Config, last: LastImport | None) -> Iterator[Finding]:
    """Whether zone and privacy are those of the first import: else the next one will be refused."""
    here = machine_timezone(os.environ)
    if last is None:
        yield Finding("time zone", True, f"{config.timezone or here} (will be fixed by the first import)")
        return
    fine = config.timezone in (None, last.timezone)
    found = f"{last.timezone}, fixed by the first import"
    if not fine:
        found += f"; CCUSAGE_TIMEZONE is {config.timezone}"
    elif here != last.timezone:
        found += f"; the machine is in {here}"
    yield Finding("time zone", fine, found, f"unset CCUSAGE_TIMEZONE or set it to {last.timezone}")
    same = last.privacy == Privacy(config.hash_projects, config.project_hash_key).fingerprint
    yield Finding(
        "privacy as at the first import",
        same,
        "the same" if same else "another: the next import will be refused",
        "set HASH_PROJECT_NAMES and PROJECT_HASH_KEY as they were",
    )


def check_node(groups: ProcessGroups) -> Finding:
    node = shutil.which("node")
    fix = "install Node 20 or newer"
    if node is None:
        return Finding("Node", False, "not on PATH (bunx and native programs do without)", fix, required=False)
    try:
        code, stdout, _ = groups.run([node, "--version"], 30)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("Node", False, f"{node} does not start", fix, required=False)
    version = stdout.decode("utf-8", "replace").strip()
    recent = code == 0 and int(re.sub(r"\D*(\d+).*", r"\1", version) or 0) >= 20
    return Finding("Node", recent, f"{version} ({node})", fix, required=False)


def check_reports(fetched: FetchedReports) -> Iterator[Finding]:
    records, errors = reshape_reports(fetched, Privacy())
    for report in REPORTS.values():
        seconds = sum(fetched.seconds.get(command.name, 0.0) for command in report.commands[fetched.dialect])
        error = errors.get(report.name)
        if error is None:
            yield Finding(f"report {report.name}", True, f"{len(records[report.name]):,} records in {seconds:.2f} s")
        else:
            yield Finding(f"report {report.name}", False, error.what, error.fix)


def cleanup_days(environment: Mapping[str, str]) -> tuple[int, str]:
    """After how many days Claude Code deletes its logs, and where that is said."""
    for folder in claude_folders(environment):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            days = json.loads((folder / "settings.json").read_text(encoding="utf-8")).get("cleanupPeriodDays")
            if days is not None:
                return int(days), str(folder / "settings.json")
    return LOG_RETENTION_DAYS, "Claude Code's default"


def check_logs(config: Config, fetched: FetchedReports, store: Store | None) -> Iterator[Finding]:
    """Where the logs are, what Claude Code will delete soon, and what only the database still has."""
    folders = [folder / "projects" for folder in claude_folders(os.environ)]
    there = [str(folder) for folder in folders if folder.is_dir()]
    yield Finding(
        "logs of Claude Code",
        bool(there),
        " and ".join(there) or "none in " + " or ".join(map(str, folders)),
        "set CLAUDE_CONFIG_DIR if they are elsewhere",
        required=False,
    )
    records, errors = reshape_reports(fetched, Privacy())
    if "daily" in errors:
        return
    days = {record.key: record for record in records["daily"]}
    period, said_by = cleanup_days(os.environ)
    mine = sorted(day for source, day in days if source == "claude")
    span = f"{len(mine)} days from {mine[0]} to {mine[-1]}" if mine else "no day"
    yield Finding("days in the logs", True, f"{span}; deleted after {period} days ({said_by})", required=False)
    stored: dict[Key, int] = {}
    if store is not None:
        rows = store.query(
            f"SELECT source, toString(date), total_tokens FROM {REPORTS['daily'].table} FINAL WHERE {OWNED}"
        )
        stored = {(source, day): tokens for source, day, tokens in rows}
    today = datetime.now(zoneinfo.ZoneInfo(fetched.timezone)).date()
    soon = str(today - timedelta(days=max(period - AT_RISK_DAYS, 0)))
    at_risk = [day for day in mine if day <= soon and stored.get(("claude", day), -1) < days["claude", day].usage.total]
    yield Finding(
        "days at risk",
        not at_risk,
        f"{len(at_risk)} days are not stored and will be deleted soon: {', '.join(at_risk[:5] + ['...'] * (len(at_risk) > 5))}"
        if at_risk
        else "none",
        "run an import now, and hourly from then on: setup_cronjob.sh",
        required=False,
    )
    gone = len(stored.keys() - days.keys())
    yield Finding("days that only the database has", True, f"{gone:,}", required=False)


def expected_columns() -> dict[tuple[str, str], str]:
    """Column types by table and column, as the schema file says."""
    columns: dict[tuple[str, str], str] = {}
    for statement in split_statements(sql_file("ccusage_clickhouse_schema.sql")):
        table = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        for column in re.finditer(r"^    `?(\w+)`? +(\S.*?) +COMMENT ", statement, re.MULTILINE) if table else ():
            assert table is not None
            columns[table[1], column[1]] = column[2]
    return columns


def check_database(config: Config, store: Store | None) -> Iterator[Finding]:
    """Connection, version, tables and columns, a write and a delete, and how fast it answers."""
    if config.embedded:
        folder = config.db_path
        while not folder.exists():
            folder = folder.parent
        size = sum(path.stat().st_size for path in config.db_path.rglob("*") if path.is_file())
        free = shutil.disk_usage(folder).free
        room = f"{human_bytes(size)} used, {human_bytes(free)} free"
        yield Finding("embedded folder", os.access(folder, os.W_OK), f"{config.db_path}: {room}", "set CCUSAGE_DB_PATH")
        yield Finding("room on its disk", free > 100_000_000, human_bytes(free), "make room", required=False)
    if store is None:
        yield Finding("database", True, "not there yet; the first import makes it")
        return
    yield Finding("ClickHouse", True, f"{store.client.server_version} at {config.target} (25.8 or newer)")
    try:
        if not store.has_schema():
            names = {table for table, _ in store.column_types}
            found = "some tables are missing" if names else "not there yet"
            yield Finding("database", True, f"{config.database}: {found}; the next import makes them")
            return
        yield Finding("database", True, config.database)
        wrong = [
            f"{table}.{column} is {store.column_types.get((table, column), 'missing')}, not {wanted}"
            for (table, column), wanted in expected_columns().items()
            if store.column_types.get((table, column)) != wanted
        ]
        tables = len({table for table, _ in expected_columns()})
        yield Finding(
            "tables and columns",
            not wrong,
            "; ".join(wrong[:3]) or f"{tables} tables as in the schema file",
            "they were changed by hand: give them back the types of ccusage_clickhouse_schema.sql",
        )
        yield check_writing(store)
        times = []
        for _ in range(3):
            started = time.monotonic()
            store.query("SELECT 1")
            times.append(time.monotonic() - started)
        milliseconds = sorted(times)[1] * 1000
        grade = "excellent" if milliseconds < 100 else "good" if milliseconds <= 500 else "slow"
        yield Finding(
            "response time", grade != "slow", f"{milliseconds:.0f} ms ({grade})", "look at the network", False
        )
    except ImporterError as error:
        yield Finding("database", False, error.what, error.fix)


def check_writing(store: Store) -> Finding:
    """Insert a row and delete it again, in a table of its own that is dropped afterwards."""
    table = f"ccusage_check_{uuid.uuid4().hex}"
    settings = "enable_block_number_column = 1, enable_block_offset_column = 1"
    name = "a write and a delete"
    try:
        store.command(f"CREATE TABLE {table} (x UInt8) ENGINE = MergeTree ORDER BY x SETTINGS {settings}")
    except ImporterError as error:
        return Finding(name, False, f"cannot be tried: {error.what}", "needed for this check alone", required=False)
    try:
        store.command(f"INSERT INTO {table} SELECT 1")
        store.command(f"DELETE FROM {table} WHERE x = 1", settings=DELETE_SETTINGS)
        left = store.query(f"SELECT count() FROM {table}")[0][0]
        return Finding(
            name, left == 0, "both work" if left == 0 else "a deleted row is still there", "update the server"
        )
    except ImporterError as error:
        return Finding(name, False, error.what, error.fix)
    finally:
        with contextlib.suppress(ImporterError):
            store.command(f"DROP TABLE IF EXISTS {table}")


def cron_times(schedule: str, now: datetime) -> list[datetime]:
    """The last three times, latest first, at which a crontab schedule has fired within 8 days; [] if it is odd."""
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    fields: list[set[int]] = []
    for text, (low, high) in zip(schedule.split(), limits, strict=True):
        allowed: set[int] = set()
        for part in text.split(","):
            match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
            if match is None:
                return []
            first = int(match[1]) if match[1] else low
            last = int(match[2]) if match[2] else high if match[3] or not match[1] else first
            allowed.update(range(first, last + 1, int(match[3] or 1)))
        fields.append(allowed)
    minutes, hours, days, months, weekdays = fields
    moment = now.replace(second=0, microsecond=0)
    fired: list[datetime] = []
    for _ in range(8 * 24 * 60):
        if (
            moment.minute in minutes
            and moment.hour in hours
            and moment.day in days
            and moment.month in months
            and (moment.isoweekday() in weekdays or (moment.isoweekday() == 7 and 0 in weekdays))
        ):
            fired.append(moment)
            if len(fired) == 3:
                break
        moment -= timedelta(minutes=1)
    return fired


def check_cron(last: LastImport | None, now: float) -> Iterator[Finding]:
    """The cron job, if there is one, and whether imports come as often as it says."""
    install = "install it with ./setup_cronjob.sh"
    crontab = shutil.which("crontab")
    if crontab is None:
        yield Finding("cron job", False, "no crontab program here", "./setup_cronjob.sh tells other ways", False)
    else:
        result = subprocess.run([crontab, "-l"], capture_output=True, text=True, errors="replace", check=False)
        lines = [line for line in result.stdout.splitlines() if CRON_MARK in line and not line.lstrip().startswith("#")]
        match = re.match(r"\s*((?:\S+\s+){5})\S", lines[0]) if lines else None
        if match is None:
            yield Finding("cron job", False, "none", install, required=False)
        else:
            schedule = " ".join(match[1].split())
            yield Finding("cron job", True, schedule, required=False)
            fired = cron_times(schedule, datetime.fromtimestamp(now))
            period = (fired[0] - fired[1]).total_seconds() if len(fired) > 1 else 0.0
            if period and last is not None:
                age = now - last.finished
                yield Finding(
                    "imports keep up",
                    age <= 2 * period,
                    f"the last one was {human_age(age)} ago, the job runs every {human_age(period)}",
                    "look at the log: import.log in $XDG_STATE_HOME/ccusage-importer",
                    required=False,
                )
    found = f"{human_age(now - last.finished)} ago" if last else "never"
    yield Finding("last import", last is not None, found, "run uv run ccusage_importer.py", required=False)


# =====================================================================================================
# Command line: flags, lock, logging, exit code
# =====================================================================================================


class Parser(argparse.ArgumentParser):
    """Tells a wrong flag as every other error is told."""

    def error(self, message: str) -> NoReturn:
        print_error(ImporterError(message, "see --help"))
        raise SystemExit(EXIT_USAGE)


def make_parser() -> argparse.ArgumentParser:
    variables = "\n".join(f"  {name:<19} {meaning}" for name, meaning in VARIABLES.items())
    parser = Parser(
        prog="ccusage_importer.py",
        description="Import what ccusage reports into ClickHouse, and show what it says.",
        epilog=f"environment (a flag beats its variable):\n{variables}\n\n"
        "exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 partial (some reports failed,\n"
        "the others are stored), 4 over budget, 75 another import held the lock for five minutes,\n"
        "130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="fetch and plan; print what would change; write nothing")
    what.add_argument(
        "--check", action="store_true", help="test ccusage, ClickHouse and the environment; import nothing"
    )
    what.add_argument("--stats", action="store_true", help="print statistics; import nothing")
    what.add_argument(
        "--query", metavar="NAME", nargs="?", const="", help="run a named query, or list them; import nothing"
    )
    what.add_argument("--compare", choices=("month", "week"), help="this period beside the last; import nothing")
    what.add_argument(
        "--push-local", action="store_true", help="bring the embedded database's rows to the server; import nothing"
    )
    what.add_argument("--check-budget", action="store_true", help="exit 4 if a budget is or will be exceeded")
    parser.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        help="write the statistics as .html .svg .md .json or .csv; import nothing",
    )
    parser.add_argument("--days", metavar="N", type=int, help="statistics and queries: the last N days alone")
    parser.add_argument("--machine", metavar="NAME", help="statistics and queries: this machine alone")
    parser.add_argument("--user", metavar="NAME", help="statistics and queries: this user alone")
    parser.add_argument(
        "--source", metavar="AGENT", help="statistics and queries: this agent alone (claude, codex, ...)"
    )
    parser.add_argument(
        "--param", metavar="NAME=VALUE", action="append", default=[], help="--query: another value for a tunable"
    )
    parser.add_argument("--no-hash-projects", action="store_true", help="store project names as they are")
    parser.add_argument(
        "--allow-shrink", action="store_true", help="take ccusage's numbers where they are lower than the stored ones"
    )
    parser.add_argument("--machine-name", metavar="NAME", help="whose rows these are (default: the host name)")
    parser.add_argument("--save-json", metavar="DIR", type=Path, help="keep the fetched reports in this folder, too")
    parser.add_argument("--from-json", metavar="DIR", type=Path, help="import reports kept by --save-json")
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "md"),
        default="table",
        help="of --query; table or json of --check (default: table)",
    )
    parser.add_argument("--log-file", metavar="FILE", type=Path, help="write a log, too: 5 files of 1 MB, 0600")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="of the log (default: text)")
    parser.add_argument("--metrics-file", metavar="FILE", type=Path, help="write metrics in Prometheus' text format")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")
    parser.add_argument("--verbose", action="store_true", help="print every command and statement, and stack traces")
    parser.add_argument("--version", action="version", version=f"ccusage-importer {__version__}")
    return parser


TIME_LAYOUT = "%Y-%m-%dT%H:%M:%S%z"
LOG_FILES, LOG_BYTES = 5, 1_000_000
# What --log-format json tells besides time, level and message: given with a line as `extra`.
LOG_FIELDS = ("import_id", "machine", "user", "report", "rows", "seconds", "status")
FILE_ONLY = {"file_only": True}  # for the log file; the screen shows it in another way


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: getattr(record, name) for name in LOG_FIELDS if hasattr(record, name)}
        line = {"time": self.formatTime(record, TIME_LAYOUT), "level": record.levelname, "message": record.getMessage()}
        return json.dumps(line | fields, ensure_ascii=False)


class OutputHandler(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 takes no argument here
    """Writes lines to a stream that may be closed or full: an import goes on, what was lost is told at its end."""

    lost: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not isinstance(error, BrokenPipeError):  # its reader has seen enough
            self.lost = error


class PrivateLogFile(logging.handlers.RotatingFileHandler):
    """A log file that is rotated, and readable by its owner alone."""

    def _open(self) -> Any:
        return open(  # the handler closes it
            self.baseFilename, self.mode, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)
        )


class Screen:
    """Where a run speaks: a terminal gets tables and progress, anything else timestamped lines.

    With `log_file` everything is also written there, whatever `quiet` says.
    """

    def __init__(self, quiet: bool, verbose: bool, log_file: Path | None = None, log_format: str = "text") -> None:
        self.quiet = quiet
        self.on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        # the driver tells of each failed attempt on its own; what matters of it is in our errors
        for library in ("clickhouse_connect", "urllib3"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()
        log.propagate = False
        log.setLevel(logging.DEBUG if verbose else logging.INFO)
        lines = logging.Formatter("%(asctime)s %(levelname)s %(message)s", TIME_LAYOUT)
        formatter = JsonLines() if log_format == "json" else lines
        warnings: logging.Handler = OutputHandler(sys.stderr)
        warnings.setFormatter(logging.Formatter("warning: %(message)s") if self.on_terminal else formatter)
        warnings.setLevel(logging.WARNING)
        self.notes = notes = OutputHandler(sys.stdout)
        notes.setFormatter(logging.Formatter("%(message)s") if self.on_terminal else formatter)
        notes.addFilter(lambda record: record.levelno < logging.WARNING)
        for handler in [warnings] if quiet and not verbose else [warnings, notes]:
            handler.addFilter(lambda record: not hasattr(record, "file_only"))
            log.addHandler(handler)
        if log_file is not None:
            try:
                log_file.parent.mkdir(parents=True, exist_ok=True)
                file = PrivateLogFile(log_file, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1)
            except OSError as error:
                what = f"--log-file: {log_file} cannot be written: {error.strerror}"
                raise ImporterError(what, "give another file", EXIT_USAGE) from error
            file.setFormatter(formatter)
            log.addHandler(file)

    def show(self, parts: Sequence[Part]) -> None:
        if self.quiet:
            return
        if self.on_terminal:
            from rich.console import Console

            print_parts(Console(highlight=False), parts)
        else:
            for line in part_lines(parts):
                log.info("%s", line)

    @contextlib.contextmanager
    def fetching(self, commands: Sequence[str]) -> Iterator[Callable[[str, float, ImporterError | None], None]]:
        """Progress of the reports; gives the function to call for each one that is done."""

        def told(name: str, seconds: float, error: ImporterError | None) -> None:
            if error is None:
                on_screen = FILE_ONLY if self.on_terminal else {}
                log.info("fetched %s in %.2f s", name, seconds, extra={"report": name, "seconds": seconds, **on_screen})

        if self.quiet or not self.on_terminal:
            yield told
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn

        with Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            console=Console(),
        ) as progress:
            tasks = {name: progress.add_task(name, total=1) for name in commands}

            def done(name: str, seconds: float, error: ImporterError | None) -> None:
                told(name, seconds, error)
                mark = f"{name} [red]failed[/red]" if error else f"{name} {seconds:.2f} s"
                progress.update(tasks[name], completed=1, description=mark)

            yield done


def fetch(config: Config, zone: str, screen: Screen) -> FetchedReports:
    """Find ccusage and run its reports, with progress on the screen."""
    groups = ProcessGroups()
    try:
        ccusage = find_ccusage(config, groups)
        log.info("ccusage %s (%s)", ccusage.version, ccusage.found)
        commands = [command.name for report in REPORTS.values() for command in report.commands[ccusage.dialect]]
        with screen.fetching(commands) as on_done:
            return fetch_reports(config, ccusage, zone, groups, on_done)
    except BaseException:
        groups.end_all()
        raise


def run_import(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """One import, with its metrics written whether it succeeds or not."""
    began = time.monotonic()
    metrics = RunMetrics()
    try:
        code = fetch_and_store(config, options, screen, metrics)
    except ImporterError as error:
        metrics.exit_code = error.exit_code
        raise
    else:
        metrics.exit_code = code
        return code
    finally:
        if options.metrics_file is not None and not options.dry_run:
            metrics.seconds = time.monotonic() - began
            write_metrics(options.metrics_file, config, metrics)


def fetch_and_store(config: Config, options: argparse.Namespace, screen: Screen, metrics: RunMetrics) -> int:
    """Fetch and store while the database opens; with --dry-run, print the plan instead."""
    clock = time.monotonic()
    saved = load_reports(options.from_json) if options.from_json is not None else None
    if saved is not None:
        config = dataclasses.replace(
            config, machine_name=options.machine_name or saved.machine_name, user_name=saved.user_name
        )
    with contextlib.ExitStack() as stack:
        if not options.dry_run or config.lock_path.exists():
            stack.enter_context(ImportLock(config.lock_path, lambda text: log.info("%s", text)))
        # chdb's import and opening take 0.3 s, about what ccusage takes: both at once
        opener = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="store"))
        opening: Future[tuple[Store | None, LastImport | None]] = opener.submit(
            open_ready_store, config, not options.dry_run
        )
        fetched = saved or fetch(config, config.timezone or machine_timezone(os.environ), screen)
        try:
            store, last = opening.result()
            if store is not None:
                stack.callback(store.close)
            if last and last.timezone != fetched.timezone and not config.timezone and saved is None:
                log.info("the days of this machine are cut by %s since its first import", last.timezone)
                fetched = fetch(config, last.timezone, screen)
            if options.save_json is not None:
                save_reports(fetched, options.save_json)
            if options.dry_run:
                return show_plan(store, last, config, fetched, screen)
            assert store is not None
            if replay_pending(store):
                last = store.read_last_import()
            outcome = import_reports(store, fetched, last, clock)
        except ImporterError as error:
            if error.exit_code == EXIT_FAILED and not options.dry_run and fetched.documents:
                with contextlib.suppress(ImporterError):
                    folder = keep_for_next_run(config, fetched)
                    error.fix += KEPT.format(folder=folder)
            raise
        tell_outcome(outcome, screen)
        log_outcome(outcome, config)
        metrics.outcome = outcome
        if options.metrics_file is not None:
            metrics.spending = store.read_spending(datetime.now(zoneinfo.ZoneInfo(fetched.timezone)).date())
        if not screen.quiet and (outcome.has_usage or outcome.totals.get("days")):
            now = time.time()
            statistics = fetch_statistics(store, names=IMPORT_STATISTICS)
            budgets, _ = fetch_budgets(store, config)
            parts = [*render_statistics(statistics, now), *budgets, render_import(outcome, statistics)]
            screen.show([*parts, *render_difference(outcome, now)])
    return report_errors(outcome)


def show_plan(
    store: Store | None, last: LastImport | None, config: Config, fetched: FetchedReports, screen: Screen
) -> int:
    privacy = Privacy(config.hash_projects, config.project_hash_key)
    checked_settings(last, fetched, privacy, config)
    records, errors = reshape_reports(fetched, privacy)
    plans = plan_import(store, records, config)
    outcome = Outcome("", fetched, plans, errors, import_warnings(records), last)
    tell_outcome(outcome, screen)
    screen.show([render_import(outcome, None)])
    return report_errors(outcome)


def tell_outcome(outcome: Outcome, screen: Screen) -> None:
    """Warnings and notes. With --quiet a warning that the last import gave, too, is for the log file alone."""
    known = outcome.last.statistics.get("warnings", []) if outcome.last and screen.quiet else []
    for warning in outcome.warnings:
        log.warning("%s", one_line(warning), extra=FILE_ONLY if warning in known else {})
    today = datetime.now(timezone.utc).date()
    for note in kept_notes(outcome.plans, outcome.fetched.ccusage_version, outcome.last, today):
        log.info("%s", one_line(note))
    if not outcome.has_usage:
        log.info(
            "no usage found in %s, nor of another agent; if your logs are elsewhere, set CLAUDE_CONFIG_DIR "
            "(CODEX_HOME, ... for the others). No usage was changed",
            " and ".join(str(folder / "projects") for folder in reversed(claude_folders(os.environ))),
        )


def log_outcome(outcome: Outcome, config: Config) -> None:
    """The import's figures for the log file."""
    whose = {"import_id": outcome.import_id, "machine": config.machine_name, "user": config.user_name}
    for name, plan in outcome.plans.items():
        counts = {what: len(getattr(plan, what)) for what in OUTCOMES}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        log.info("%s: %s", name, told, extra={**whose, "report": name, "rows": counts, **FILE_ONLY})
    done = {**whose, "status": outcome.status, "seconds": round(outcome.duration, 3), **FILE_ONLY}
    log.info("import %s in %.1f s", outcome.status, outcome.duration, extra=done)


def report_errors(outcome: Outcome) -> int:
    """Print why reports failed, and give the exit code: each that failed was left as it was stored."""
    for error in outcome.errors.values():
        print_error(error)
    return {"completed": EXIT_DONE, "partial": EXIT_PARTIAL, "failed": EXIT_FAILED}[outcome.status]


def check_options(options: argparse.Namespace) -> None:
    """Refuse values and combinations that argparse lets pass."""
    if options.days is not None and not 1 <= options.days <= 100_000:
        raise configuration_error("--days", str(options.days), "a number of days from 1 to 100000")
    if options.export is not None and options.export.suffix not in EXPORTS:
        raise configuration_error("--export", str(options.export), f"a file that ends in {', '.join(EXPORTS)}")
    if options.export is not None and not options.export.absolute().parent.is_dir():
        folder = options.export.absolute().parent
        raise ImporterError(f"--export: there is no folder {folder}", "make it, or give another file", EXIT_USAGE)
    if options.export is not None and any((options.check, options.dry_run, options.compare, options.check_budget)):
        raise ImporterError("--export writes the statistics alone", "leave the other flag out", EXIT_USAGE)
    if options.format != "table" and options.query is None and not (options.check and options.format == "json"):
        raise ImporterError(f"--format {options.format} belongs to --query", "--check knows table and json", EXIT_USAGE)
    if options.param and not options.query:
        raise ImporterError("--param belongs to --query NAME", "give the query's name", EXIT_USAGE)


def narrowed(options: argparse.Namespace) -> Narrow:
    return Narrow(options.days, options.machine, options.user, options.source)


@contextlib.contextmanager
def reading(config: Config) -> Iterator[Store | None]:
    """The store for a command that imports nothing; None where nothing is stored yet."""
    with contextlib.ExitStack() as stack:
        if config.embedded and config.lock_path.exists():
            stack.enter_context(ImportLock(config.lock_path, lambda text: log.info("%s", text)))
        store, _ = open_ready_store(config, make_schema=False)
        if store is not None:
            stack.callback(store.close)
        else:
            log.warning("nothing is stored in %s yet; run an import first", config.target)
        yield store


def fetch_budgets(store: Store, config: Config) -> tuple[list[Section], list[str]]:
    if config.budget_day is None and config.budget_month is None:
        return [], []
    return render_budgets(
        config, fetch_statistics(store, Narrow(user=config.user_name), ("period_totals", "month_end"))
    )


def run_stats(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print the statistics, or write them to a file, or both."""
    with reading(config) as store:
        if store is None:
            return EXIT_DONE
        narrow, now = narrowed(options), time.time()
        statistics = fetch_statistics(store, narrow)
        parts = [*render_statistics(statistics, now, narrow), *fetch_budgets(store, config)[0]]
        if options.stats:
            screen.show(parts)
        if options.export is not None:
            export_statistics(options.export, statistics, parts, narrow, now)
            log.info("wrote %s", options.export)
    return EXIT_DONE


def run_compare(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    with reading(config) as store:
        if store is not None:
            queries = parse_queries(sql_file("queries.sql"))
            narrow = narrowed(options)
            answers = {
                "periods_compared": ask_query(store, queries["periods_compared"], narrow=narrow),
                "models_compared": ask_query(store, queries["models_compared"], {"period": options.compare}, narrow),
            }
            screen.show(render_comparison(answers, options.compare))
    return EXIT_DONE


def run_check_budget(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Exit code 4, with the reasons on stderr, when a budget is exceeded or the month's forecast exceeds it."""
    if config.budget_day is None and config.budget_month is None:
        raise ImporterError("there is no budget", "set CCUSAGE_BUDGET_DAY or CCUSAGE_BUDGET_MONTH", EXIT_USAGE)
    with reading(config) as store:
        sections, broken = fetch_budgets(store, config) if store is not None else ([], [])
        screen.show(sections)
    for reason in broken:
        print_error(
            ImporterError(reason, "look at what costs: --stats, --query unusual_days, --query dearest_sessions")
        )
    return EXIT_BUDGET if broken else EXIT_DONE


def run_query(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Run a named query and print its answer, or list the queries by section."""
    queries = parse_queries(sql_file("queries.sql"))
    if not options.query:
        rows = [
            (query.section, query.name, query.question, " ".join(f"{n}={v}" for n, v in query.tunables.items()))
            for query in queries.values()
        ]
        print_answer(Answer(("section", "name", "question", "tunables"), rows), options.format, screen)
        return EXIT_DONE
    query = queries.get(options.query)
    if query is None:
        raise unknown("--query", options.query, queries, "a query's name")
    values = {}
    for text in options.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise ImporterError(f"--param: {text!r} has no value", f"say --param {name}=VALUE", EXIT_USAGE)
        values[name] = value
    if query.name == "days_to_budget" and config.budget_month is not None:
        values.setdefault("budget", f"{config.budget_month:.0f}")
    query.bound(values)  # a wrong name or value is told before the database is opened
    with reading(config) as store:
        if store is not None:
            answer = ask_query(store, query, values, narrowed(options))
            if not answer.rows:
                answer = Answer(ask_columns(store, query, values), ())
            print_answer(answer, options.format, screen)
    return EXIT_DONE


def print_answer(answer: Answer, output_format: str, screen: Screen) -> None:
    if output_format != "table":
        sys.stdout.write(answer_text(answer, output_format))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    numeric = numeric_columns(answer)
    for number, column in enumerate(answer.columns):
        table.add_column(column, justify="right" if number in numeric else "left", overflow="fold")
    for row in answer.rows:
        cells = (one_line(human_cell(column, value)) for column, value in zip(answer.columns, row, strict=True))
        table.add_row(*(Text(cell) for cell in cells))
    # off the terminal nothing is cut: a pipe has no width
    console = Console(highlight=False) if screen.on_terminal else Console(highlight=False, width=10_000)
    console.print(table)
    if not answer.rows:
        console.print("no rows")


def run_push(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Everything in the embedded database goes to the server that CH_HOST names."""
    if config.embedded:
        raise ImporterError("--push-local: CH_HOST is not set", "set CH_HOST to the server to push to", EXIT_USAGE)
    config = dataclasses.replace(config, allow_shrink=False)
    here = dataclasses.replace(config, host=None)
    if not has_embedded_data(here):
        raise ImporterError(f"nothing is stored in {here.target}", "set CCUSAGE_DB_PATH to the folder to push from")
    with contextlib.ExitStack() as stack:
        for folder in (here.lock_path, config.lock_path):
            stack.enter_context(ImportLock(folder, lambda text: log.info("%s", text)))
        local, _ = open_ready_store(here, make_schema=True)
        served, _ = open_ready_store(config, make_schema=True)
        assert local is not None
        assert served is not None
        stack.callback(local.close)
        stack.callback(served.close)
        rows = []
        for machine, user in local.read_owners():
            plans = push_owner(owned_by(local, machine, user), owned_by(served, machine, user))
            counts = [sum(len(getattr(plan, what)) for plan in plans.values()) for what in OUTCOMES]
            rows.append((f"{user} on {machine}", *(f"{count:,}" for count in counts)))
            log.info("pushed %s on %s", user, machine, extra=FILE_ONLY)
        screen.show([Section(f"Pushed to {config.target}", ("whose", *OUTCOMES), rows, frozenset(range(1, 5)))])
    return EXIT_DONE


def run_check(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print what --check found; exit code 0 only when every required check holds."""
    return EXIT_DONE if tell_findings(check_everything(config), options, screen) else EXIT_FAILED


def tell_findings(findings: Iterable[Finding], options: argparse.Namespace, screen: Screen) -> bool:
    """Print each finding as it comes, or all of them as JSON; returns whether every required one holds."""
    told = []
    for finding in findings:
        told.append(finding)
        if options.format == "table" and not (screen.quiet and finding.holds):
            print_finding(finding, screen.on_terminal)
    failed = sum(not finding.holds for finding in told if finding.required)
    if options.format == "json":
        checks = [dataclasses.asdict(finding) for finding in told]
        print(json.dumps({"ok": not failed, "version": __version__, "checks": checks}, indent=2, ensure_ascii=False))
    elif not screen.quiet:
        count = f"{failed} required check{'s' if failed > 1 else ''} failed"
        print(count if failed else "everything that an import needs is there")
    return not failed


def print_finding(finding: Finding, coloured: bool) -> None:
    word = "ok" if finding.holds else "FAILED" if finding.required else "note"
    if coloured and "NO_COLOR" not in os.environ:
        colour = {"ok": 32, "FAILED": 31, "note": 33}[word]
        word = f"\x1b[{colour}m{word}\x1b[0m" + " " * (6 - len(word))
    print(f"{word:<6} {finding.name}: {one_line(finding.found)}")
    if finding.fix and not finding.holds:
        print(f"       fix: {one_line(finding.fix)}")


def print_error(error: ImporterError) -> None:
    for label, text in (("error", error.what), ("fix", error.fix)):
        if text:
            print(f"{label}: {one_line(text)}", file=sys.stderr)
            log.error("%s: %s", label, one_line(text), extra=FILE_ONLY)


def run(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """The command that the flags ask for: an import, where they ask for nothing else."""
    for asked, command in (
        (options.check, run_check),
        (options.query is not None, run_query),
        (options.compare is not None, run_compare),
        (options.check_budget, run_check_budget),
        (options.push_local, run_push),
        (options.stats or options.export is not None, run_stats),
    ):
        if asked:
            return command(config, options, screen)
    return run_import(config, options, screen)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
    config: Config | None = None
    try:
        quiet = options.quiet or options.format != "table"  # a program reads it: no notes among the answer
        screen = Screen(quiet, options.verbose, options.log_file, options.log_format)
        check_options(options)
        try:
            config = read_config(os.environ, options)
        except ImporterError as error:
            if not options.check:
                raise
            tell_findings([Finding("configuration", False, error.what, error.fix)], options, screen)
            return error.exit_code
        code = run(config, options, screen)
        if screen.notes.lost is not None:
            raise screen.notes.lost
        return code
    except ImporterError as error:
        if options.verbose:
            trace = traceback.format_exc()
            print(config.redact(trace) if config else trace, file=sys.stderr)
        print_error(error)
        return error.exit_code
    except BrokenPipeError:  # its reader has seen enough
        return EXIT_DONE
    except KeyboardInterrupt:
        print("error: interrupted; nothing is lost, the next import goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


def flush_output() -> bool:
    """Write what is still unwritten; False where it cannot be, and then nobody complains again at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return isinstance(error, BrokenPipeError)
    return True


def run_main() -> int:
    """`main`, and an error where its output could not be written."""
    try:
        code = main()
        written = flush_output()
    except OSError:
        code, written = EXIT_FAILED, False
        flush_output()
    if not written:
        print_error(ImporterError("the output cannot be written", "make room, or write elsewhere"))
    return code if written else code or EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run_main())
