#!/usr/bin/env python3
"""Keep what ccusage reports: import its five reports into ClickHouse, and show what they say.

    python3 -m uv run ccusage_importer.py              import, then print statistics
    python3 -m uv run ccusage_importer.py --dry-run    print what an import would change, write nothing
    python3 -m uv run ccusage_importer.py --stats      print statistics, import nothing
    python3 -m uv run ccusage_importer.py --check      test everything that an import needs, import nothing

With no CH_HOST in the environment the data lives in an embedded ClickHouse engine under
$XDG_DATA_HOME/ccusage-importer; with CH_HOST set, on that server. `--help` lists every flag and
variable.

Exit codes: 0 done; 1 failed, nothing half-written; 2 wrong usage or configuration; 3 partial: some
of it could not be stored, the rest is; 4 over budget (--check-budget); 75 another import held the lock
for five minutes; 130 interrupted.

The file reads from top to bottom as the data flows: configuration, the declared reports, fetching them
from ccusage, reshaping their JSON into rows, the plan, the database, the logs, the import, the archive,
statistics, metrics, the check, and the command line.
"""

from __future__ import annotations

import argparse
import bisect
import codecs
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
import importlib
import importlib.util
import io
import itertools
import json
import logging
import logging.handlers
import math
import os
import platform
import random
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import textwrap
import threading
import time
import traceback
import tty
import uuid
import zoneinfo
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, cast

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
log.addHandler(logging.NullHandler())  # else logging itself prints what comes before the screen is there


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


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all: who reads it meanwhile, or after a crash, finds the old one. A link stays one.

    What is no file, a device or a pipe, is written into. Half a surrogate pair is written as `\\ud800`, which is how JSON
    has it. Raises OSError.
    """
    path = path.resolve()
    content = text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


# =====================================================================================================
# Configuration: environment and flags into one frozen record; every error names its variable
# =====================================================================================================

DEFAULT_DATABASE = "ccusage"
HTTPS_PORTS = (443, 8443, 9440)
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")
UTC_NAMES = ("Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu")


def configuration_error(variable: str, value: str, accepted: str) -> ImporterError:
    shown = re.sub(r"[^/\s]*:[^/\s]*@", "***@", value)  # a login in an address
    return ImporterError(f"{variable}: {shown!r} is not {accepted}", f"set {variable} to {accepted}", EXIT_USAGE)


# ---- readers: the name of a variable or flag and its text in, the value out, or configuration_error ----

T = TypeVar("T")
Reader = Callable[[str, str], T]


def read_text(variable: str, value: str) -> str:
    return value


def read_boolean(variable: str, value: str) -> bool:
    if value.lower() not in TRUE_WORDS + FALSE_WORDS:
        raise configuration_error(variable, value, "true or false")
    return value.lower() in TRUE_WORDS


def read_name(variable: str, value: str) -> str:
    """A machine or user name: something a person can read in a table."""
    if not value.strip() or len(value) > 255 or not value.isprintable():
        raise configuration_error(variable, value, "a name of 1 to 255 printable characters")
    return value.strip()


def read_folder(variable: str, value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:  # ~ of a user that is not there
        raise configuration_error(variable, value, "a path") from error


def read_zone(variable: str, value: str) -> str:
    """An IANA zone's name, the many names of UTC as one."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise configuration_error(variable, value, "an IANA time zone such as Europe/Berlin") from error
    return "UTC" if value in UTC_NAMES else value


def matching(pattern: str, accepted: str) -> Reader[str]:
    def read(variable: str, value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise configuration_error(variable, value, accepted)
        return value

    return read


def number_from(low: float, high: float, kind: str = "number") -> Reader[float]:
    def read(variable: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:  # false for nan, too
            raise configuration_error(variable, value, f"a {kind} from {low:.15g} to {high:.15g}")
        return number

    return read


def count_from(low: int, high: int) -> Reader[int]:
    def read(variable: str, value: str) -> int:
        number = number_from(low, high, "whole number")(variable, value)
        if number != int(number):
            raise configuration_error(variable, value, f"a whole number from {low} to {high}")
        return int(number)

    return read


read_database = matching(
    # the engine's own, and those that are made and dropped here while logs or an archive are read
    r"(?!(?i:system|information_schema|reading|restoring)$)[A-Za-z0-9_][A-Za-z0-9_-]{0,63}",
    "a name of letters, digits, _ and -, and none that is taken: system, information_schema, reading, restoring",
)
read_cluster = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "a cluster's name")
read_version = matching(r"latest|\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", "a version such as 20.0.24, or latest")
read_host = matching(
    r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?",
    "a host name or address alone (CH_PORT and CH_PROTOCOL say the rest)",
)
read_dollars = number_from(0.01, 1e12)
# What the statistics can be written as, by the end of a file's name.
EXPORTS = {".html": "html", ".svg": "svg", ".md": "md", ".json": "json", ".csv": "csv"}


def read_export(variable: str, value: str) -> Path:
    path = read_folder(variable, value)
    if path.suffix not in EXPORTS:
        raise configuration_error(variable, value, f"a file that ends in {', '.join(EXPORTS)}")
    return path


def read_protocol(variable: str, value: str) -> str:
    return matching("https?", "http or https")(variable, value.lower())


# ---- the record: each field says its variable, what it means and how it is read ------------------------


def host_name() -> str:
    return read_name("MACHINE_NAME", socket.gethostname())


def login_name() -> str:
    try:
        return read_name("CCUSAGE_USER", getpass.getuser())
    except (KeyError, OSError) as error:  # a container without a passwd entry
        raise ImporterError("the login name is unknown here", "set CCUSAGE_USER", EXIT_USAGE) from error


def variable(name: str, meaning: str, read: Reader[T], default: T | Callable[[], T], secret: bool = False) -> T:
    """A field of Config that the variable `name` sets; `default` is the value without it, or makes one."""
    given: dict[str, Any] = {"default_factory" if callable(default) else "default": default, "repr": not secret}
    return cast("T", field(**given, metadata={"variable": name, "meaning": meaning, "read": read}))


@dataclass(frozen=True)
class Config:
    """Everything a run is told from outside, in the order of --help. Secrets are kept out of its repr."""

    host: str | None = variable("CH_HOST", "ClickHouse server; unset: the embedded engine", read_host, None)
    port: int = variable(
        "CH_PORT", "its HTTP port (8123, or 8443 with https); 443, 8443 and 9440 mean https", count_from(1, 65535), 8123
    )
    username: str = variable("CH_USER", "its user (default)", read_text, "default")
    password: str = variable("CH_PASSWORD", "the user's password", read_text, "", secret=True)
    database: str = variable("CH_DATABASE", "database, made when missing (ccusage)", read_database, DEFAULT_DATABASE)
    protocol: str = variable("CH_PROTOCOL", "http or https (by the port)", read_protocol, "")
    cluster: str | None = variable(
        "CH_CLUSTER", "cluster of that server: tables are replicated and made on all of it", read_cluster, None
    )
    machine_name: str = variable("MACHINE_NAME", "whose rows these are: machine (host name)", read_name, host_name)
    user_name: str = variable("CCUSAGE_USER", "whose rows these are: user (login name)", read_name, login_name)
    hash_projects: bool = variable(
        "HASH_PROJECT_NAMES", "false stores project names as they are (true)", read_boolean, True
    )
    project_hash_key: str = variable(
        "PROJECT_HASH_KEY", "key that makes hashed project names unguessable", read_text, "", secret=True
    )
    ccusage_bin: str | None = variable("CCUSAGE_BIN", "the ccusage to run, before any other", read_text, None)
    ccusage_version: str = variable(
        "CCUSAGE_VERSION",
        f"the version that bunx or npx fetches, or latest ({DEFAULT_CCUSAGE_VERSION})",
        read_version,
        DEFAULT_CCUSAGE_VERSION,
    )
    timeout: float = variable(
        "CCUSAGE_TIMEOUT", "seconds one ccusage command may take (120)", number_from(0.1, 86_400), 120.0
    )
    workers: int = variable("CCUSAGE_WORKERS", "ccusage commands at once (3)", count_from(1, 64), 3)
    timezone: str | None = variable(
        "CCUSAGE_TIMEZONE", "IANA zone that cuts the days, fixed at the first import (the machine's)", read_zone, None
    )
    offline: bool = variable(
        "CCUSAGE_OFFLINE", "true: ccusage uses its built-in prices only (false)", read_boolean, False
    )
    budget_day: float | None = variable(
        "CCUSAGE_BUDGET_DAY", "US dollars a day that may be spent, on all machines of the user", read_dollars, None
    )
    budget_month: float | None = variable("CCUSAGE_BUDGET_MONTH", "US dollars a month", read_dollars, None)
    conversations: bool | None = variable(
        "CCUSAGE_CONVERSATIONS",
        "store prompts, tools and other facts of the conversations beside usage (true embedded, false on a server)",
        read_boolean,
        None,
    )
    export_path: Path | None = variable(
        "CCUSAGE_EXPORT", "file (.html .svg .md .json .csv) that each import makes anew", read_export, None
    )
    db_path: Path = variable(
        "CCUSAGE_DB_PATH", "folder of the embedded database ($XDG_DATA_HOME/ccusage-importer)", read_folder, Path()
    )
    state_path: Path = Path()
    version_is_chosen: bool = False
    allow_shrink: bool = False

    @property
    def embedded(self) -> bool:
        return self.host is None

    @property
    def stores_conversations(self) -> bool:
        return self.embedded if self.conversations is None else self.conversations

    @property
    def secure(self) -> bool:
        return self.protocol == "https" or (not self.protocol and self.port in HTTPS_PORTS)

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

    @property
    def kept_path(self) -> Path:
        """Folder of what is kept outside of one database: reports not yet stored, what its first import has fixed."""
        if self.embedded and self.database != DEFAULT_DATABASE:
            return self.db_path / "databases" / self.database
        return self.lock_path

    def redact(self, text: str) -> str:
        """The text without the secrets, should somebody's error message contain one."""
        secrets = (getattr(self, setting.name) for setting in VARIABLES.values() if not setting.repr)
        for secret in filter(None, secrets):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text


# The fields that a variable sets, by the variable's name.
VARIABLES = {setting.metadata["variable"]: setting for setting in dataclasses.fields(Config) if setting.metadata}


def read_config(environment: Mapping[str, str], options: argparse.Namespace) -> Config:
    """Environment and flags as one record; a flag that has a field's name beats the field's variable."""
    given: dict[str, Any] = {}
    for variable_name, setting in VARIABLES.items():
        flag = getattr(options, setting.name, None)
        if isinstance(flag, str):
            given[setting.name] = setting.metadata["read"](f"--{setting.name.replace('_', '-')}", flag)
        elif flag is not None:
            given[setting.name] = flag
        elif value := environment.get(variable_name):
            try:
                value.encode()
            except UnicodeEncodeError as error:  # the value may be a secret
                what = f"{variable_name} holds bytes that are no UTF-8"
                raise ImporterError(what, f"set {variable_name} to text in UTF-8", EXIT_USAGE) from error
            given[setting.name] = setting.metadata["read"](variable_name, value)

    def own_folder(name: str, default: str) -> Path:
        return read_folder(name, environment.get(name) or default) / "ccusage-importer"

    given.setdefault("port", 8443 if given.get("protocol") == "https" else 8123)
    given.setdefault("db_path", own_folder("XDG_DATA_HOME", "~/.local/share"))
    config = Config(
        **given,
        state_path=own_folder("XDG_STATE_HOME", "~/.local/state"),
        version_is_chosen="ccusage_version" in given,
        allow_shrink=options.allow_shrink,
    )
    if config.cluster is not None and config.embedded:
        raise ImporterError("CH_CLUSTER is set, CH_HOST is not", "set CH_HOST to a server of the cluster", EXIT_USAGE)
    if config.embedded and "?" in str(config.db_path):  # chdb takes what follows for options, and opens another folder
        raise configuration_error("CCUSAGE_DB_PATH", str(config.db_path), "a path without a question mark")
    return config


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


@functools.cache
def zone_rules(name: str) -> bytes:
    """The compiled rules of an IANA zone, from where zoneinfo takes them."""
    for folder in zoneinfo.TZPATH:
        with contextlib.suppress(OSError):
            return (Path(folder) / name).read_bytes()
    from importlib import resources

    package, _, file = f"tzdata.zoneinfo.{name.replace('/', '.')}".rpartition(".")
    with contextlib.suppress(OSError, ImportError):
        return resources.files(package).joinpath(file).read_bytes()
    return name.encode()  # a zone of another machine that is not known here is like no other


def same_zone(one: str, other: str) -> bool:
    """Whether two names are one zone's, such as Asia/Calcutta and Asia/Kolkata: then their rules are the same."""
    return one == other or zone_rules(one) == zone_rules(other)


# ---- what the first import fixes: known without the database -----------------------------------------


@dataclass(frozen=True)
class Fixed:
    """What holds for a machine's and user's rows since its first import: another zone would cut every day anew,
    another way of hiding names store every project twice. Of the latter the fingerprint (see Privacy).
    """

    timezone: str
    privacy: str

    def differing(self, other: Fixed) -> set[str]:
        """The names of the fields in which the two do not mean the same."""
        different = {"timezone"} if not same_zone(self.timezone, other.timezone) else set()
        return different | ({"privacy"} if self.privacy != other.privacy else set())

    @property
    def names_stored(self) -> str:
        """In words, how project names are stored."""
        ways = {"plain": "as they are (HASH_PROJECT_NAMES=false)", "sha256": "hashed, without a key"}
        return ways.get(self.privacy, "hashed with a PROJECT_HASH_KEY")


FIXED_FILE = "fixed.json"


def read_fixed_file(config: Config) -> dict[str, dict[str, dict[str, str]]]:
    """By machine and user; empty where there is no such file that can be read."""
    with contextlib.suppress(OSError, ValueError):
        known = json.loads((config.kept_path / FIXED_FILE).read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}


def remembered(config: Config) -> Fixed | None:
    """What is fixed for this machine and user, as far as a file beside the database tells: the database knows better."""
    with contextlib.suppress(ImporterError, AttributeError, KeyError, TypeError):
        known = read_fixed_file(config)[config.machine_name][config.user_name]
        return Fixed(read_zone("timezone", known["timezone"]), str(known["privacy"]))
    return None


def remember(config: Config, fixed: Fixed) -> None:
    """Keep what is fixed for this machine and user for runs that do not reach the database, or not yet."""
    if remembered(config) == fixed:
        return
    known = read_fixed_file(config)
    known.setdefault(config.machine_name, {})[config.user_name] = {"timezone": fixed.timezone, "privacy": fixed.privacy}
    try:
        config.kept_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(config.kept_path / FIXED_FILE, json.dumps(known, indent=2))
    except OSError as error:
        log.warning("%s cannot be written: %s", config.kept_path / FIXED_FILE, error.strerror)


def forget_fixed(config: Config) -> None:
    """Remember nothing of this machine and user any more."""
    known = read_fixed_file(config)
    if known.get(config.machine_name, {}).pop(config.user_name, None) is not None:
        with contextlib.suppress(OSError):
            write_file(config.kept_path / FIXED_FILE, json.dumps(known, indent=2))


def zone_without_database(config: Config) -> str:
    """The zone that cuts this machine's and user's days, as far as it is known before the database is open."""
    fixed = remembered(config)
    if fixed and (config.timezone is None or same_zone(config.timezone, fixed.timezone)):
        return fixed.timezone
    return config.timezone or machine_timezone(os.environ)


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

    `key`: the columns that make a row's key beside its owner, with ClickHouse's types.
    In SQL: `day`, the last day that a row tells of ({zone}: of the days of a time); `scope`, the part of the table that
    an import can meet, with the parameters of `scope_of`; what a plan reads of a row beside its usage: seconds `began`
    and `ended`, `is_gap`, `project`.
    `sum_of`: what messages a covered row is the sum of, its own columns by the fields of `MessageSum`; nothing
    where that needs more than grouping.
    """

    name: str
    record_type: str
    table: str
    day: str
    commands: Mapping[Dialect, tuple[Command, ...]]
    containers: tuple[str, ...]
    columns: tuple[str, ...]
    key: Mapping[str, str]
    scope: str
    cost_column: str = "total_cost"
    sum_of: Mapping[str, str] = field(default_factory=dict)
    began: str = "0"
    ended: str = "0"
    is_gap: str = "0"
    project: str = "''"

    @property
    def record_key(self) -> str:
        """The key as one text, as a Record has it; in SQL."""
        parts = [f"toString({name})" if kind == "Date" else name for name, kind in self.key.items()]
        whole = ", '/', ".join(parts)
        return f"concat({whole})" if len(parts) > 1 else whole

    def key_of(self, record_key: str) -> list[str]:
        """The columns' values in such a text."""
        return record_key.split("/", len(self.key) - 1)

    def is_among(self, parameter: str) -> str:
        """That a row's source and key are in a parameter, a list of tuples of these; in SQL.

        By the columns as they are, or the engine could not skip parts by the table's own key.
        """
        types = ", ".join(self.key.values())
        return f"(source, {', '.join(self.key)}) IN {{{parameter}:Array(Tuple(String, {types}))}}"


def commands_by_dialect(name: str, old: str, claude: str, agents: str) -> dict[Dialect, tuple[Command, ...]]:
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
            day="date",
            commands=commands_by_dialect("daily", "daily", "claude daily", "daily --by-agent"),
            containers=("daily",),
            columns=("date",),
            key={"date": "Date"},
            scope="date >= {first_day:Date}",
            sum_of={"date": "day"},
        ),
        Report(
            name="monthly",
            record_type="monthly",
            table="ccusage_usage_monthly",
            day="toLastDayOfMonth(makeDate(year, month_num, 1))",
            commands=commands_by_dialect("monthly", "monthly", "claude monthly", "monthly --by-agent"),
            containers=("monthly",),
            columns=("month", "year", "month_num"),
            key={"month": "String"},
            scope="year >= toYear({first_day:Date})",
        ),
        Report(
            name="session",
            record_type="session",
            table="ccusage_usage_sessions",
            day="toDate(last_activity, {zone})",
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
            key={"session_id": "String"},
            # those of sessions that have messages in the time of the others, too
            # no day is before 1970-01-01: the one before it is in 2149
            scope="(session_id IN {sessions:Array(String)} OR last_activity >= greatest({first_day:Date}, toDate(1)) - 1)",
            sum_of={"session_id": "session_id"},
            began="toUnixTimestamp(ifNull(first_activity, toDateTime(0)))",
            ended="toUnixTimestamp(last_activity)",
            project="project_path",
        ),
        Report(
            name="blocks",
            record_type="block",
            table="ccusage_usage_blocks",
            day="toDate(start_time, {zone})",
            commands=commands_by_dialect("blocks", "blocks", "blocks", "blocks"),
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
            key={"block_id": "String"},
            scope="start_time >= toDateTime({first_block:Int64}, 'UTC')",
            cost_column="cost_usd",
            began="toUnixTimestamp(start_time)",
            ended="toUnixTimestamp(end_time)",
            is_gap="is_gap",
        ),
        Report(
            name="projects",
            record_type="project_daily",
            table="ccusage_usage_projects_daily",
            day="date",
            # 19 takes `daily --instances` and ignores the flag, 20 refuses it: hence `claude daily`.
            commands=commands_by_dialect(
                "projects", "daily --instances", "claude daily --instances", "claude daily --instances"
            ),
            containers=("projects",),
            columns=("date", "project_id"),
            key={"date": "Date", "project_id": "String"},
            scope="date >= {first_day:Date}",
            sum_of={"date": "day", "project_id": "project_id"},
            project="project_id",
        ),
    )
}

BREAKDOWNS_TABLE = "ccusage_model_breakdowns"
MODELS_TABLE = "ccusage_models_used"
HISTORY_TABLE = "ccusage_import_history"
BUDGETS_TABLE = "ccusage_budgets"
MESSAGES_TABLE = "ccusage_messages"
TOOLS_TABLE = "ccusage_tool_calls"
LOG_FILES_TABLE = "ccusage_log_files"
ACTIVITY_TABLE = "ccusage_activity"
FORGOTTEN_TABLE = "ccusage_forgotten"
CONVERSATION_KEYS = {MESSAGES_TABLE: "message_id", TOOLS_TABLE: "tool_use_id"}
LOG_TABLES = (*CONVERSATION_KEYS, LOG_FILES_TABLE)  # in this order: what has been read is told last
# Rows after their children: a row that is there is whole.
USAGE_TABLES = (BREAKDOWNS_TABLE, MODELS_TABLE, *(report.table for report in REPORTS.values()))


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
    unreadable: Mapping[str, str] = field(default_factory=dict)  # see unreadable_folders
    computer: str = ""  # see computer_fingerprint

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.ccusage_version)


class ProcessGroups:
    """The child processes of this run, so that all of them can be ended at once from any thread.

    They run in the folder in which this was made: chdb changes the process's own while it is imported.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        with contextlib.suppress(FileNotFoundError):  # it was removed
            self.folder = Path.cwd() if os.access(".", os.X_OK) else None
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
                    cwd=self.folder,
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


# A path, or a folder's name as Claude Code flattens it: -home-ada-code-shop.
PATH_IN_WORDS = re.compile(r"""'[^']*[/\\][^']*'|"[^"]*[/\\][^"]*"|[^\s'"]*[/\\][^\s'"]*|(?<![\w-])-{1,2}\w+-[\w.-]+""")


def last_words(stderr: bytes, stdout: bytes = b"", limit: int = 400) -> str:
    """What a program said at its end, on one line, for an error message, which goes to the log and to history.

    Paths are left out, and of the beginning of a document everything: they would tell the names of projects.
    """
    text = (stderr.strip() or stdout.strip()).decode("utf-8", "replace")
    if re.match(r"[{\[]", text):
        return f"{len(text):,} characters that begin as JSON does"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A Node stack trace says what happened in its `Error:` line, not in its last one.
    said = [line for line in lines if re.match(r"\w*Error\b|npm (error|ERR)", line)] or lines
    words = PATH_IN_WORDS.sub("<path>", " | ".join(said[-4:]))
    return "".join(c if c.isprintable() else " " for c in words)[-limit:] or "nothing"


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
        write_file(memory, str(launcher))
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
    """Claude Code's folders, as ccusage looks for them: CLAUDE_CONFIG_DIR may name the one in it that holds the projects."""
    configured = environment.get("CLAUDE_CONFIG_DIR", "")
    if configured:
        named = [Path(folder.strip()).expanduser() for folder in configured.split(",") if folder.strip()]
        is_inner = [folder.name == "projects" and not (folder / "projects").is_dir() for folder in named]
        return [folder.parent if inner else folder for folder, inner in zip(named, is_inner, strict=True)]
    home = Path.home()
    return [Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "claude", home / ".claude"]


# What tells ccusage where an agent's logs are, where it is set: one folder or a comma list.
FOLDER_VARIABLES = {
    "amp": "AMP_DATA_DIR",
    "claude": "CLAUDE_CONFIG_DIR",
    "codebuff": "CODEBUFF_DATA_DIR",
    "codex": "CODEX_HOME",
    "copilot": "COPILOT_HOME",
    "droid": "DROID_SESSIONS_DIR",
    "gemini": "GEMINI_DATA_DIR",
    "goose": "GOOSE_PATH_ROOT",
    "grok": "GROK_HOME",
    "hermes": "HERMES_HOME",
    "kilo": "KILO_DATA_DIR",
    "kimi": "KIMI_DATA_DIR",
    "openclaw": "OPENCLAW_DIR",
    "opencode": "OPENCODE_DATA_DIR",
    "pi": "PI_AGENT_DIR",
    "qwen": "QWEN_DATA_DIR",
    "zcode": "ZCODE_HOME",
}


def unreadable_folders(environment: Mapping[str, str]) -> dict[str, str]:
    """Agents for which a variable names folders of which none is there and can be read, with that variable."""
    unreadable = {}
    for agent, variable_name in FOLDER_VARIABLES.items():
        folders = [
            Path(text.strip()).expanduser() for text in environment.get(variable_name, "").split(",") if text.strip()
        ]
        if agent == "claude":
            folders = [folder / "projects" for folder in folders]
        if folders and not any(folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) for folder in folders):
            unreadable[agent] = variable_name
    return unreadable


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


MACHINE_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")  # Linux, older ones, FreeBSD


def computer_fingerprint() -> str:
    """16 hex digits that tell this computer from others and nothing else of it; '' where it has no id of its own.

    A keyed hash, as machine-id(5) asks for: the id itself is to be kept from others.
    """
    machine_id = ""
    for path in MACHINE_ID_FILES:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            machine_id = machine_id or Path(path).read_text(encoding="ascii").strip()
    if not machine_id and sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
            machine_id = "".join(re.findall(r'"IOPlatformUUID" = "([^"]+)"', told))
    digest = hmac.new(machine_id.encode(), b"ccusage-importer", hashlib.sha256).hexdigest()
    return digest[:16] if machine_id else ""


TEMPORARY_PREFIX = "ccusage-importer-"
TEMPORARY_AGE = 60.0  # seconds; a younger one may not be locked yet


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A private folder for a while; those that killed runs have left behind go first: nobody holds a lock on them."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > TEMPORARY_AGE:
                descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(descriptor)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(descriptor)


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

    with temporary_folder() as folder:
        settings = folder / "ccusage.json"
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
                running = set(futures)
                while running:  # looking up now and then: a Ctrl-C just before a wait without an end would wait, too
                    done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                    for future in done:
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
        unreadable=unreadable_folders(os.environ),
        computer=computer_fingerprint(),
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
        "computer": fetched.computer,
        "commands": sorted(fetched.documents),
        "errors": {name: [error.what, error.fix] for name, error in fetched.errors.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / MANIFEST).unlink(missing_ok=True)  # of reports that these take the place of
        for name, document in [*fetched.documents.items(), ("manifest", manifest)]:
            text = json.dumps(document, ensure_ascii=False)  # json.dump would be the slow encoder
            write_file(folder / f"{name}.json", text)
    except OSError as error:
        raise ImporterError(
            f"{folder}: the reports cannot be saved: {error.strerror}",
            "make room there" if error.errno == errno.ENOSPC else "give a folder that can be written to",
        ) from error


def drop_reports(folder: Path) -> None:
    """Remove saved reports, the manifest first: what a kill leaves is taken for reports of no run."""
    with contextlib.suppress(OSError):
        (folder / MANIFEST).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def load_document(path: Path) -> Any:
    try:
        return parse_document(path.read_bytes())
    except ValueError as error:
        raise ImporterError(f"{path.name} is damaged: {error}") from error


def load_reports(folder: Path) -> FetchedReports:
    """Read back what `save_reports` wrote."""
    try:
        manifest = load_document(folder / MANIFEST)
        if manifest["format"] != SAVED_FORMAT:
            raise ValueError(f"format {manifest['format']} is not known to this version")
        return FetchedReports(
            ccusage_version=str(manifest["ccusage_version"]),
            timezone=read_zone("timezone", str(manifest["timezone"])),
            machine_name=read_name("machine_name", str(manifest["machine_name"])),
            user_name=read_name("user_name", str(manifest["user_name"])),
            fetched_at=str(manifest["fetched_at"]),
            documents={name: load_document(folder / f"{Path(name).name}.json") for name in manifest["commands"]},
            errors={name: ImporterError(what, fix) for name, (what, fix) in manifest["errors"].items()},
            computer=str(manifest.get("computer", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImporterError) as error:
        reason = error.what if isinstance(error, ImporterError) else f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            reason = f"{Path(error.filename or folder).name}: {error.strerror}"
        raise ImporterError(
            f"{folder} holds no reports saved by --save-json, or not all of them ({reason})",
            "give the folder that `ccusage-importer --save-json DIR` has written",
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
CLAUDE = "claude"  # the source whose logs are read
CODEX = "codex"
SYNTHETIC_MODEL = "<synthetic>"  # Claude Code's own error messages, no model of a user's
# Anywhere a slash, or what Claude Code and others make of one: -home-ada-code-shop, C--Users-ada, --home-ada--.
HOLDS_A_PATH = re.compile(r"[/\\]|^~|(^|[^0-9A-Za-z])-[0-9A-Za-z]")
# Paths that name nothing: Codex calls a session by its file, 2026/11/20/rollout-2026-11-20T09-30-00-<uuid>.
NAMELESS_PATH = re.compile(r"(\d+/)*(rollout-)?[0-9T:.-]*[0-9a-f]{8}-[0-9a-f-]{27}|[-+]?[0-9.]+")
PRIVATE_FIELD = re.compile(r"(?i)project|path|cwd|dir|folder|workspace|repo|branch|file|title|summary|prompt")
MODEL_FIELDS = ("modelName", "modelsUsed", "models", "model")  # openai/gpt-5 is no path; ~/models/own.gguf is one
TOLD_ROWS = 3  # of a report, of those that are left out
# As conversations.sql has it: what is no such name, ~/models/own.gguf or file:///home/ada/own, may tell something.
MODEL_NAME = re.compile(r"(?!file:|[A-Za-z]:/)[\w<@\[(][\w.:@/<>\[\]+,()?=&#| -]{0,199}")


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
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_creation + other.cache_creation,
            self.cache_read + other.cache_read,
            self.total + other.total,
            round(self.cost + other.cost, DOLLAR_DIGITS),
        )

    def covers(self, other: Usage) -> bool:
        """Whether this is as much as the other, or more, in each number."""
        enough = all(mine >= theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True))
        return enough and self.cost >= other.cost - COST_TOLERANCE

    def minus(self, other: Usage) -> Usage:
        """What is left of this after the other, never below zero."""
        tokens = (max(mine - theirs, 0) for mine, theirs in zip(self.tokens, other.tokens, strict=True))
        return Usage.of(tokens, max(round(self.cost - other.cost, DOLLAR_DIGITS), 0.0))


def is_text(value: str) -> bool:
    """Whether it is Unicode: JSON can hold half a surrogate pair, which nothing else can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_text(value: Any) -> str:
    """JSON as it is stored in `raw_data`: the same text for the same value."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text if is_text(text) else json.dumps(value, sort_keys=True, separators=(",", ":"))


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


class Coverage(str, Enum):
    """What a row's numbers rest on, as its column `coverage` says."""

    CCUSAGE = "ccusage"  # ccusage's word: not all of its messages are known
    MESSAGES = "messages"  # its messages, and ccusage says the same
    DERIVED = "derived"  # its messages, of which ccusage says less: logs are gone
    LOWERED = "lowered"  # ccusage's word, lower than what was known, by --allow-shrink

    @property
    def is_covered(self) -> bool:
        return self in (Coverage.MESSAGES, Coverage.DERIVED)


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
    coverage: Coverage = Coverage.CCUSAGE
    synthetic: Usage = Usage()  # of no model; a part of `usage` that no breakdown has

    @property
    def key(self) -> Key:
        return (self.source, self.record_key)

    @property
    def began(self) -> datetime:
        """Start of a block, first activity of a session; 1970 where there is none."""
        return self.columns.get("start_time") or self.columns.get("first_activity") or EPOCH

    @property
    def ended(self) -> datetime:
        """End of a block, last activity of a session; 1970 where there is none."""
        return self.columns.get("end_time") or self.columns.get("last_activity") or EPOCH

    @property
    def is_gap(self) -> bool:
        return bool(self.columns.get("is_gap"))

    @property
    def project(self) -> str:
        """A session's project, or a project day's."""
        return self.columns.get("project_path") or self.columns.get("project_id") or ""

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


@functools.lru_cache(4096)  # rows repeat their fields and models
def holds_a_path(text: str) -> bool:
    """Whether a text is or contains a path, so may tell a project's name."""
    return HOLDS_A_PATH.search(text) is not None and NAMELESS_PATH.fullmatch(text) is None


@functools.lru_cache(4096)
def is_private(field_name: str) -> bool:
    """Whether what stands in a field of this name is taken for somebody's own, whatever it looks like."""
    return PRIVATE_FIELD.search(field_name) is not None


@dataclass(frozen=True)
class Privacy:
    """How names are stored: as they are, or as 8 hex digits of a hash, keyed where there is a key."""

    hashed: bool = True
    key: str = ""

    def name(self, name: str) -> str:
        return self.digest(name)[:8] if self.hashed else name

    def digest(self, name: str) -> str:
        """64 hex digits, of which some stand for a name."""
        data = name.encode("utf-8", "surrogatepass")
        if self.key:
            return hmac.digest(self.key.encode(), data, "sha256").hex()
        return hashlib.sha256(data).hexdigest()

    def session(self, session_id: str) -> str:
        """A session's id: that of a folder or file may be or contain a path."""
        return self.name(session_id) if holds_a_path(session_id) else session_id

    @property
    def fingerprint(self) -> str:
        """Tells one way from another without telling the key."""
        if not self.hashed:
            return "plain"
        return f"hmac-{self.name('ccusage-importer fingerprint')}" if self.key else "sha256"

    def model(self, name: str) -> str:
        return name if MODEL_NAME.fullmatch(name) or not name else self.name(name)

    def raw_data(self, value: Any) -> str:
        """A row's JSON for its column `raw_data`."""
        return json_text(self.raw(value))

    def raw(self, value: Any, field_name: str = "") -> Any:
        """The same JSON with names made private, wherever in it they are."""
        if isinstance(value, dict):
            return {self.name(key) if holds_a_path(key) else key: self.raw(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.raw(item, field_name) for item in value]
        if not isinstance(value, str):
            return value
        if field_name in MODEL_FIELDS:
            return self.model(value)
        return self.name(value) if is_private(field_name) or holds_a_path(value) else value


def privacy_of(config: Config) -> Privacy:
    return Privacy(config.hash_projects, config.project_hash_key)


class Row:
    """One JSON row and its place, to read typed fields from; every error names report, row and field.

    An error goes to the log and to history, so `place` holds no name, and what was read is told only if it is none.
    """

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
        if not is_text(value):
            raise self.error(name, value, "Unicode text")
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

    def items(self, name: str) -> list[Any]:
        """A list; without the field an empty one, but `null` is no list."""
        value = self.data.get(name, [])
        if not isinstance(value, list):
            raise self.error(name, value, "a list")
        return value

    def rows(self, name: str) -> list[Row]:
        return [Row(f"{self.place}, {name}[{number}]", item) for number, item in enumerate(self.items(name))]

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
        value = self.items(name)
        if not all(isinstance(model, str) for model in value):
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
        return sum_by_model(by_model)


SHAPE_FIX = (
    "ccusage gave a report of another shape than its tested versions; "
    f"CCUSAGE_VERSION={DEFAULT_CCUSAGE_VERSION} is a version that works"
)


def shown(value: Any) -> str:
    """A value for an error message: numbers and times as they are, of all else what it is, because it may be a name."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9TZ:. +-]{0,40}", value):
        return f"a text of {len(value)} characters"
    if isinstance(value, (list, dict)) and value:
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


Unwrapped = tuple[Row, str, str]  # a row with its source and the period or project that its wrapping names
KNOWN_CONTAINERS = frozenset({"totals", "weekly"}.union(*(report.containers for report in REPORTS.values())))


def unwrap_rows(
    report: Report, command: str, document: Any, privacy: Privacy
) -> Iterator[Sequence[Unwrapped] | ImporterError]:
    """The rows of a document, in the groups that it has; in the place of one that is none, what is wrong with it.

    15 to 18 answer `[]` where there is nothing. From 20.0.17 on a day or month is one row for all agents
    with a row for each in `agents`; only those are stored. Raises ImporterError for a document of another shape.
    """
    if document == []:
        return
    outer = Row(report.name, document)
    container = next((name for name in report.containers if name in outer.data), None)
    if container is None and report.name == "projects" and outer.data.get("daily") == []:
        return  # how 20 says that no project has any usage
    if container is None:
        known = sorted(KNOWN_CONTAINERS & outer.data.keys())
        others = len(outer.data) - len(known)
        found = ", ".join([*known, *([f"{others} other fields"] if others else [])]) or "nothing"
        raise ImporterError(
            f"{report.name}: ccusage's answer has no {' or '.join(report.containers)} but {found}", SHAPE_FIX
        )
    if report.name == "projects":
        for project, rows in outer.inner(container).data.items():
            place = f"{report.name}: project {privacy.name(project) if is_text(project) else '?'}"
            for number, data in enumerate(Row(place, {"rows": rows}).items("rows")):
                try:
                    row = Row(f"{place}, row {number}", data)
                    yield [(row, "claude", row.checked_text("the project's name", project))]
                except ImporterError as error:
                    yield error
        return
    for number, data in enumerate(outer.items(container)):
        try:
            yield list(unwrap_row(Row(f"{report.name}: row {number}", data), command))
        except ImporterError as error:
            yield error


def unwrap_row(row: Row, command: str) -> Iterator[Unwrapped]:
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
    return usage_record("daily", row, source, str(day), {"date": day}, privacy)


def reshape_monthly(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    month = period or row.text("month")
    first = Row(row.place, {"month": f"{month}-01"}).day("month")
    columns = {"month": month, "year": first.year, "month_num": first.month}
    return usage_record("monthly", row, source, month, columns, privacy)


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
    is_project = session_id == project or holds_a_path(session_id)
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
    record = usage_record("session", row, source, session_id, columns, privacy)
    return dataclasses.replace(record, raw_data=json_text(raw))


def reshape_block(row: Row, source: str, period: str, dialect: Dialect, privacy: Privacy) -> Record:
    counts = row.inner("tokenCounts")
    block_id = row.text("id")
    burn_rate = row.inner("burnRate") if row.data.get("burnRate") is not None else None
    projection = row.inner("projection") if row.data.get("projection") is not None else None
    models = tuple(sorted(map(privacy.model, row.model_names("models"))))
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
    return usage_record("projects", row, source, f"{day}/{project_id}", columns, privacy)


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
    report: str, row: Row, source: str, record_key: str, columns: Mapping[str, Any], privacy: Privacy
) -> Record:
    """What daily, monthly, session and project rows share."""
    breakdowns = {privacy.model(model): usage for model, usage in row.breakdowns().items()}
    synthetic = breakdowns.pop(SYNTHETIC_MODEL, Usage())
    models = tuple(sorted({*map(privacy.model, row.model_names("modelsUsed")), *breakdowns}))
    models = checked_models(row, models)
    raw_data = privacy.raw_data(row.data)
    return Record(report, source, record_key, columns, row.usage(), models, breakdowns, raw_data, synthetic=synthetic)


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
        synthetic=sum_usage(record.synthetic for record in records),
        raw_data=f"[{','.join(record.raw_data for record in records)}]",
    )


def reshape_report(
    report: Report, fetched: FetchedReports, privacy: Privacy
) -> tuple[list[Record], list[ImporterError]]:
    """The rows of one report, one for each key, in a stable order; and what is wrong with the rows left out.

    Raises ImporterError, with report, row and field, where nothing is what ccusage is known to say.
    """
    by_key: defaultdict[Key, list[Record]] = defaultdict(list)
    odd: list[ImporterError] = []
    for command in report.commands[fetched.dialect]:
        if command.name not in fetched.documents:
            raise ImporterError(f"{report.name}: the answer to `{command.name}` is missing")
        for unwrapped in unwrap_rows(report, command.name, fetched.documents[command.name], privacy):
            if isinstance(unwrapped, ImporterError):
                odd.append(unwrapped)
                continue
            for row, source, period in unwrapped:
                try:
                    record = RESHAPE[report.name](row, source, period, fetched.dialect, privacy)
                    by_key[record.key].append(record)
                except ImporterError as error:
                    odd.append(error)
    merged = []
    for _, records in sorted(by_key.items()):
        record = merge_records(records)
        if max(record.usage.tokens) > MAX_TOKENS:
            what = f"{report.name}: {record.record_key}: the tokens add up to more than {MAX_TOKENS}"
            odd.append(ImporterError(what, SHAPE_FIX))
        else:
            merged.append(record)
    if odd and not merged:
        raise odd[0]  # not one row is as it should be: the shape is another
    return merged, odd


@dataclass(frozen=True)
class Reshaped:
    """Rows by report, the errors of the reports that have none, the errors of single rows, which were left out, and what
    a user should know of the numbers.
    """

    records: dict[str, list[Record]]
    errors: dict[str, ImporterError]
    odd: dict[str, list[ImporterError]]
    warnings: list[str]

    def left_out(self) -> list[str]:
        """What a user has to know of the rows that were left out, some of each report."""
        told = [f"{error.what}; this row is left out" for errors in self.odd.values() for error in errors[:TOLD_ROWS]]
        return told + [
            f"{name}: rows left out besides these: {len(errors) - TOLD_ROWS:,}"
            for name, errors in self.odd.items()
            if len(errors) > TOLD_ROWS
        ]


def reshape_reports(fetched: FetchedReports, privacy: Privacy) -> Reshaped:
    """All that can be known of the fetched reports by themselves: the database opens meanwhile."""
    reshaped = Reshaped({}, dict(fetched.errors), {}, [])
    for report in REPORTS.values():
        if report.name not in reshaped.errors:
            try:
                reshaped.records[report.name], reshaped.odd[report.name] = reshape_report(report, fetched, privacy)
            except ImporterError as error:
                reshaped.errors[report.name] = error
    for records in reshaped.records.values():
        for record in records:
            record.content_hash  # noqa: B018  # it is kept
    reshaped.warnings.extend(doubts(reshaped.records))
    return reshaped


def unpriced_models(records: Mapping[str, Sequence[Record]]) -> frozenset[tuple[str, str]]:
    """Sources and models that have tokens and no cost anywhere in the fetched rows."""
    usage: defaultdict[tuple[str, str], Usage] = defaultdict(Usage)
    for report_records in records.values():
        for record in report_records:
            for model, part in record.breakdowns.items():
                usage[record.source, model] += part
    return frozenset(key for key, total in usage.items() if total.total and not total.cost)


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
                usages = [*record.breakdowns.values(), record.synthetic]
                what = f"{record.report} {record.record_key} ({record.source})"
                compare(what, record.usage, "records", sum_usage(usages), "models")
    return found


def doubts(records: Mapping[str, Sequence[Record]]) -> list[str]:
    """What a user should know of fetched numbers."""
    told = [
        f"this ccusage knows no price for {model} ({source}): its tokens are counted, its cost is not"
        for source, model in sorted(unpriced_models(records))
    ]
    found = disagreements(records)
    if found:
        told.append(
            f"the reports disagree in {len(found)} places, as when logs are written meanwhile: " + "; ".join(found[:3])
        )
    return told


# ---- what Claude Code counts of each day itself: its stats-cache.json --------------------------------

ACTIVITY_FILE = "stats-cache.json"
ACTIVITY_FIELDS = {"messages": "messageCount", "sessions": "sessionCount", "tool_calls": "toolCallCount"}
MAX_COUNT = 2**32 - 1

Activity = tuple[int, ...]  # of a day, in the order of ACTIVITY_FIELDS


def reshape_activity(document: Any) -> tuple[dict[date, Activity], list[ImporterError]]:
    """Days with some activity, and what is wrong with the days that are left out.

    Raises ImporterError where it is nothing that Claude Code is known to write.
    """
    days: dict[date, Activity] = {}
    odd: list[ImporterError] = []
    for number, item in enumerate(Row(ACTIVITY_FILE, document).items("dailyActivity")):
        try:
            row = Row(f"{ACTIVITY_FILE}: day {number}", item)
            whole = functools.partial(row.whole, largest=MAX_COUNT)
            counts = tuple(row.optional(name, whole, 0) for name in ACTIVITY_FIELDS.values())
            if any(counts):
                days[row.day("date")] = counts
        except ImporterError as error:
            odd.append(error)
    return days, odd


# ---- the tables of the older importer, which --adopt reads -------------------------------------------

OLD_SOURCES = {"ccusage": CLAUDE}
OLD_HASH = re.compile(r"[0-9a-f]{8}")
OLD_BLOCK = re.compile(r"(?:gap-)?([0-9-]{10}T[0-9:]{8})")
SUBAGENTS = "subagents"  # the folder of a session's sub-agents, which ccusage 15 to 18 tell as a session
# A record's key in its tables of models, by report.
OLD_KEYS = {
    "daily": "{date}",
    "monthly": "{month}",
    "session": "{session_id}",
    "blocks": "{block_id}",
    "projects": "{date}_{project_id}",
}


def old_hash(name: str) -> str:
    """How the older importer hides a name: never with a key."""
    return Privacy().name(name)


NO_PROJECT = frozenset(name for said in ("", "Unknown Project", "unknown") for name in (said, old_hash(said)))


@dataclass(frozen=True)
class OldRow:
    """A row of the older importer as it is stored, times as moments; `machine` is empty before it had that column."""

    report: str
    source: str
    machine: str
    columns: Mapping[str, Any]
    usage: Usage
    created_at: datetime
    updated_at: datetime

    @property
    def child_key(self) -> tuple[str, str, str, str]:
        """Record type, source, machine and key of its models."""
        record_type = REPORTS[self.report].record_type
        return (record_type, self.source, self.machine, OLD_KEYS[self.report].format_map(self.columns))


@dataclass(frozen=True)
class OldTables:
    """All rows of the older importer, and of its tables of models what is said of each `OldRow.child_key`."""

    rows: Sequence[OldRow]
    models: Mapping[tuple[str, str, str, str], Collection[str]]
    breakdowns: Mapping[tuple[str, str, str, str], Mapping[str, Usage]]

    @property
    def machines(self) -> set[str]:
        return {row.machine for row in self.rows if row.report != "projects"}


@dataclass(frozen=True)
class OldNames:
    """What is stored here for names that the older importer stored as they are or, mostly, hashed.

    `projects`, `sessions` and `folders` (project and session) by that hash, as far as they are known here.
    """

    privacy: Privacy
    projects: Mapping[str, str] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def project(self, name: str) -> str:
        name = self.projects.get(name, name)
        return name if OLD_HASH.fullmatch(name) else self.privacy.name(name)

    def session(self, session_id: str) -> str:
        session_id = self.sessions.get(session_id, session_id)
        return session_id if OLD_HASH.fullmatch(session_id) else self.privacy.session(session_id)


def mended(row: OldRow, machines: Collection[str]) -> OldRow:
    """The row without a fault of its importer.

    For months it stored a project's day with machine and project in each other's column, and added it anew in every
    run. Its server took the times of blocks, UTC without saying so, for those of the machine's zone: the id knows.
    """
    columns = dict(row.columns)
    if row.report == "projects" and row.machine not in machines and columns["project_id"] in machines:
        return dataclasses.replace(row, machine=columns["project_id"], columns={**columns, "project_id": row.machine})
    if row.report == "blocks" and (start := OLD_BLOCK.match(columns["block_id"])):
        with contextlib.suppress(ValueError):
            late = columns["start_time"] - datetime.fromisoformat(f"{start[1]}+00:00")
            columns |= {name: value - late for name, value in columns.items() if isinstance(value, datetime)}
    return dataclasses.replace(row, columns=columns)


def adopt_day(columns: Mapping[str, Any], names: OldNames, source: str, now: datetime) -> tuple[str, dict[str, Any]]:
    return str(columns["date"]), {"date": columns["date"]}


def adopt_month(columns: Mapping[str, Any], names: OldNames, source: str, now: datetime) -> tuple[str, dict[str, Any]]:
    return columns["month"], {name: columns[name] for name in REPORTS["monthly"].columns}


def adopt_session(
    columns: Mapping[str, Any], names: OldNames, source: str, now: datetime
) -> tuple[str, dict[str, Any]]:
    """A session by the names of `reshape_session`, all sessions of a project in one row as there."""
    session_id, project = columns["session_id"], columns["project_path"]
    if session_id in (SUBAGENTS, old_hash(SUBAGENTS)):
        folder, session_id = names.folders.get(project, ("", project))
        project = names.project(folder) if folder else ""
    elif project not in NO_PROJECT:
        project = names.project(project)
    else:
        project = names.project(session_id) if source == CLAUDE else ""
    session_id = project if project == names.project(session_id) else names.session(session_id)
    last = datetime.combine(columns["last_activity"], datetime.min.time(), timezone.utc)
    return session_id, {
        "session_id": session_id,
        "project_path": project,
        "first_activity": None,
        "last_activity": last,
    }


def adopt_block(columns: Mapping[str, Any], names: OldNames, source: str, now: datetime) -> tuple[str, dict[str, Any]]:
    own = {name: columns.get(name) for name in REPORTS["blocks"].columns}
    if columns["end_time"] <= now:  # the last one stayed active where its importer never came again
        own |= {"is_active": 0, "burn_rate": None, "projection": None}
    return columns["block_id"], own


def adopt_project(
    columns: Mapping[str, Any], names: OldNames, source: str, now: datetime
) -> tuple[str, dict[str, Any]]:
    project_id = names.project(columns["project_id"])
    return f"{columns['date']}/{project_id}", {"date": columns["date"], "project_id": project_id}


ADOPT: Mapping[str, Callable[[Mapping[str, Any], OldNames, str, datetime], tuple[str, dict[str, Any]]]] = {
    "daily": adopt_day,
    "monthly": adopt_month,
    "session": adopt_session,
    "blocks": adopt_block,
    "projects": adopt_project,
}


def same_machines(
    days: Mapping[str, Mapping[date, Usage]], known: Mapping[str, Mapping[date, Usage]]
) -> dict[str, str]:
    """Of old machine names those that mean a known one: written alike, or with a day of just the same tokens.

    Under two names a computer's usage would count twice.
    """
    spelled = {name.lower(): name for name in known}
    return {
        old: name
        for old, its_days in days.items()
        if (name := spelled.get(old.lower()))
        or (
            name := next(
                (
                    name
                    for name, stored in known.items()
                    if any(stored[day].tokens[:4] == its_days[day].tokens[:4] for day in its_days.keys() & stored)
                ),
                None,
            )
        )
    }


def made_whole(record: Record, parts: Sequence[Record]) -> Record:
    """The record with what its importer has deleted of it, as far as its `parts`, a day's projects or a month's days, tell.

    It deleted the models of one machine's days for all machines, and of a day each project with its log. Models that do
    not add up to the record are left out.
    """
    whole, by_model = sum_usage(part.usage for part in parts), sum_by_model(part.breakdowns for part in parts)
    if record.report == "daily" and whole.total > record.usage.total:
        its_models = tuple(model for part in parts for model in part.models)
        record = dataclasses.replace(record, usage=whole, models=its_models, breakdowns=by_model)
    breakdowns = {model: usage for model, usage in record.breakdowns.items() if model != SYNTHETIC_MODEL}
    rest = record.usage.minus(sum_usage(breakdowns.values()))
    lacking = {*record.models} - {*breakdowns, SYNTHETIC_MODEL}
    if len(lacking) == 1 and (tokens := sum(rest.tokens[:4])):
        breakdowns[lacking.pop()] = Usage.of([*rest.tokens[:4], tokens], rest.cost)
    for found in (breakdowns, by_model, {}):
        if sum_usage(found.values()).tokens[:4] == record.usage.tokens[:4]:
            break
    models = tuple(sorted({*record.models, *found} - {SYNTHETIC_MODEL}))
    return dataclasses.replace(record, models=models, breakdowns=dict(sorted(found.items())))


def adopt_rows(
    old: OldTables, names: OldNames, machines: Mapping[str, str], now: datetime
) -> tuple[dict[str, dict[str, list[Record]]], dict[str, dict[ChildKey, datetime]]]:
    """The older importer's rows as records by machine and report, and when each was first stored.

    It added rows instead of replacing them wherever its deletes missed: of several for one key the largest is taken.
    Its days of OpenCode's projects have the first message of each session alone, and are left out.
    """
    copies: defaultdict[tuple[str, str, str, str], list[tuple[OldRow, dict[str, Any]]]] = defaultdict(list)
    known = old.machines
    for row in (mended(row, known) for row in old.rows):
        source = OLD_SOURCES.get(row.source, row.source)
        if row.report != "projects" or source == CLAUDE:
            key, columns = ADOPT[row.report](row.columns, names, source, now)
            copies[machines.get(row.machine, row.machine), row.report, source, key].append((row, columns))
    records: defaultdict[str, dict[str, list[Record]]] = defaultdict(lambda: {name: [] for name in REPORTS})
    created: defaultdict[str, dict[ChildKey, datetime]] = defaultdict(dict)
    for (machine, report, source, key), rows in sorted(copies.items()):
        row, columns = max(rows, key=lambda item: (item[0].usage.total, item[0].updated_at))
        breakdowns = {names.privacy.model(m): usage for m, usage in old.breakdowns.get(row.child_key, {}).items()}
        models = tuple(sorted(map(names.privacy.model, old.models.get(row.child_key, ()))))
        raw = json_text({"adoptedFrom": REPORTS[report].table})
        record = Record(report, source, key, columns, row.usage, models, breakdowns, raw)
        records[machine][report].append(record)
        created[machine][child_key(record)] = min(item.created_at for item, _ in rows)
    for by_report in records.values():
        for report, parts_report in (("projects", ""), ("session", ""), ("daily", "projects"), ("monthly", "daily")):
            parts: defaultdict[Key, list[Record]] = defaultdict(list)
            for part in by_report.get(parts_report, ()):
                parts[part.source, part.record_key[: 7 if report == "monthly" else 10]].append(part)
            by_report[report] = [made_whole(record, parts[record.key]) for record in by_report[report]]
    return dict(records), dict(created)


# =====================================================================================================
# Plan: stored and fetched rows into new, changed, unchanged, kept, removed. Pure
# =====================================================================================================


@dataclass(frozen=True)
class Stored:
    """What a plan needs to know of a stored row: a Record has the same by the same names.

    `began` and `ended` are a block's, or a session's first and last activity; 1970 where there are none.
    """

    report: str
    source: str
    record_key: str
    content_hash: int
    usage: Usage
    created_at: datetime = EPOCH
    updated_at: datetime = EPOCH
    began: datetime = EPOCH
    ended: datetime = EPOCH
    is_gap: bool = False
    project: str = ""
    coverage: Coverage = Coverage.CCUSAGE

    @property
    def key(self) -> Key:
        return (self.source, self.record_key)


def is_whole_project(row: Record | Stored) -> bool:
    """Whether it is one of ccusage 15 to 18's sessions: all of a project's in one row."""
    return row.report == "session" and row.record_key == row.project


def stored_from(record: Record) -> Stored:
    """What a record is once it is stored."""
    return Stored(
        report=record.report,
        source=record.source,
        record_key=record.record_key,
        content_hash=record.content_hash,
        usage=record.usage,
        began=record.began,
        ended=record.ended,
        is_gap=record.is_gap,
        project=record.project,
        coverage=record.coverage,
    )


ChildKey = tuple[str, str, str]  # record type, source and record key: whose child a row is


def child_key(row: Record | Stored) -> ChildKey:
    return (REPORTS[row.report].record_type, *row.key)


@dataclass(frozen=True)
class Children:
    """A stored row's models and their usage."""

    models: tuple[str, ...] = ()
    breakdowns: Mapping[str, Usage] = field(default_factory=dict)


ChildrenOf = Mapping[ChildKey, Children]


@dataclass(frozen=True)
class Replaced:
    """What an import found stored where it was about to write, kept until it is done: a later plan needs it.

    `rows`: by report and key the content_hash of the row to be written (None: it was to go), and the row that was there
    (None: there was none). `children`: of those that were there.
    """

    rows: Mapping[str, Mapping[Key, tuple[int | None, Stored | None]]] = field(default_factory=dict)
    children: ChildrenOf = field(default_factory=dict)

    def before(self, report: str, stored: Mapping[Key, Stored]) -> dict[Key, Stored]:
        """The stored rows as they were before that import: without those it wrote, with those it deleted."""
        rows = dict(stored)
        for key, (written, old) in self.rows.get(report, {}).items():
            if key not in rows or rows[key].content_hash == written:
                rows.pop(key, None)
                rows |= {} if old is None else {key: old}
        return rows


OUTCOMES = ("new", "changed", "unchanged", "kept")  # of a fetched row
COVERED = ("covered", "derived")  # what it is made of


@dataclass(frozen=True)
class Forgotten:
    """What was deleted on demand, of one machine and user, and is not to come back.

    `messages`, `rows`, `months`: the first day of which messages and tool calls, the rows of the other reports, and months
    are kept; the day of `rows` began at `began`. `projects` are private ids. `former`: names of the machine whose rows
    are on their way to it. `is_begun`: some of it may still be there, for the run that was to delete it has not ended.
    """

    messages: date = date.min
    rows: date = date.min
    began: datetime = EPOCH
    months: date = date.min
    projects: frozenset[str] = frozenset()
    former: tuple[str, ...] = ()
    is_begun: bool = False

    def keeps(self, row: Record | Stored) -> bool:
        """Whether a row is to be there."""
        if row.report == "monthly":
            return row.record_key >= self.months.isoformat()[:7]
        if row.report == "blocks":
            return row.began >= self.began
        if row.report == "session":
            return not self.projects & {row.project, row.record_key} and not EPOCH < row.ended < self.began
        return row.record_key[:10] >= self.rows.isoformat() and row.record_key[11:] not in self.projects

    def kept(self, records: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
        """The records that are to be there. A forgotten project's days stay as those of no name: the totals hold them."""
        if self == NOTHING_FORGOTTEN:
            return {name: list(rows) for name, rows in records.items()}
        kept: dict[str, list[Record]] = {}
        for name, rows in records.items():
            days: dict[Key, list[Record]] = {}
            for record in map(self.nameless, rows):
                days.setdefault(record.key, []).append(record)
            kept[name] = [merge_records(same) for same in days.values() if self.keeps(same[0])]
        return kept

    def nameless(self, record: Record) -> Record:
        if record.report != "projects" or record.columns["project_id"] not in self.projects:
            return record
        columns = {**record.columns, "project_id": ""}
        return dataclasses.replace(record, record_key=f"{record.columns['date']}/", columns=columns, raw_data="{}")


NOTHING_FORGOTTEN = Forgotten()


@dataclass
class Plan:
    """What is to happen to one report's rows. A changed row is deleted, then inserted; a removed one deleted.

    `elsewhere`: what ccusage says in rows of their own, and the messages in others. It is not stored.
    """

    report: str
    new: list[Record] = field(default_factory=list)
    changed: list[tuple[Record, Stored]] = field(default_factory=list)
    unchanged: list[Record] = field(default_factory=list)
    kept: list[tuple[Record, Stored]] = field(default_factory=list)
    removed: list[Stored] = field(default_factory=list)
    elsewhere: list[Record] = field(default_factory=list)

    def put(self, record: Record, old: Stored | None) -> None:
        """Plan for a row what it is to hold."""
        if old is None:
            self.new.append(record)
        elif (record.content_hash, record.coverage) == (old.content_hash, old.coverage):
            self.unchanged.append(record)
        else:
            self.changed.append((record, old))

    @property
    def written(self) -> list[Record]:
        return [*self.new, *(record for record, _ in self.changed)]

    @property
    def replaced(self) -> list[Stored]:
        return [*self.removed, *(old for _, old in self.changed)]

    def add(self, other: Plan) -> None:
        """What another plan has decided of other rows of this report."""
        for outcome in (*OUTCOMES, "removed", "elsewhere"):
            getattr(self, outcome).extend(getattr(other, outcome))

    @property
    def covered(self) -> list[Record]:
        return [record for record in (*self.written, *self.unchanged) if record.coverage.is_covered]

    @property
    def derived(self) -> list[Record]:
        return [record for record in self.covered if record.coverage is Coverage.DERIVED]

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.changed or self.removed)

    def drop(self, key: Key) -> None:
        """Forget what was planned for a fetched row."""
        self.elsewhere += [record for record in self.new if record.key == key]
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


@dataclass(frozen=True)
class Rules:
    """What decides beside the rows themselves.

    `repriced`: rows that have the stored cost where ccusage tells less (see keep_prices), with their report.
    `first_lines`: ccusage 15 to 18 count the first line of a streamed response, later ones the largest; so their output
    may be less with all messages there. `now`: when the import began.
    `first_day`: those before it are forgotten, so the days of its month do not say all of that.
    """

    repriced: Collection[tuple[str, Key]] = frozenset()
    allow_shrink: bool = False
    first_lines: bool = False
    now: datetime = EPOCH
    first_day: date = date.min


NO_RULES = Rules()


def is_free(usage: Usage) -> bool:
    return usage.total > 0 and usage.cost == 0


def may_lack_a_price(record: Record, old: Stored) -> bool:
    """Whether a row costs less than is stored for no fewer tokens, and some of them, or nobody says which, nothing."""
    return (
        record.usage.cost < old.usage.cost - COST_TOLERANCE
        and record.usage.total >= old.usage.total
        and (not record.breakdowns or any(is_free(usage) for usage in record.breakdowns.values()))
    )


def lacking_a_price(
    records: Mapping[str, Sequence[Record]], stored: Mapping[str, Mapping[Key, Stored]]
) -> dict[tuple[str, Key], Stored]:
    """The stored rows, by report and key, that may have a cost that the fetched ones have lost."""
    return {
        (name, record.key): old
        for name, report_records in records.items()
        for record in report_records
        if (old := stored[name].get(record.key)) is not None and may_lack_a_price(record, old)
    }


def keep_prices(
    records: Mapping[str, Sequence[Record]], suspects: Mapping[tuple[str, Key], Stored], children: ChildrenOf
) -> tuple[dict[str, list[Record]], frozenset[tuple[str, Key]]]:
    """The fetched rows with the stored cost of what has lost its price; and those rows' reports and keys.

    A model whose tokens in a row cost something when they were stored and cost nothing now has no price any more: its
    stored cost stays, and what came since is counted without one. Blocks have no usage by model: one of such a model, or
    one that costs nothing at all now, keeps its cost while it is the larger one.
    """
    unpriced = set(unpriced_models(records))

    def priced(record: Record, old: Stored) -> Record:
        if not record.breakdowns:
            lacks = record.usage.cost == 0 or any((record.source, model) in unpriced for model in record.models)
            cost = old.usage.cost if lacks else record.usage.cost
            return dataclasses.replace(record, usage=dataclasses.replace(record.usage, cost=cost))
        before = children.get(child_key(old), Children()).breakdowns
        back = {m: before[m].cost for m, usage in record.breakdowns.items() if is_free(usage) and m in before}
        unpriced.update((record.source, model) for model, cost in back.items() if cost)
        breakdowns = {m: dataclasses.replace(u, cost=back.get(m, u.cost)) for m, u in record.breakdowns.items()}
        cost = round(record.usage.cost + sum(back.values()), DOLLAR_DIGITS)
        return dataclasses.replace(record, usage=dataclasses.replace(record.usage, cost=cost), breakdowns=breakdowns)

    kept: dict[str, list[Record]] = {}
    repriced: set[tuple[str, Key]] = set()
    for name in sorted(records, key=lambda name: name == "blocks"):  # last: the others tell which models lack a price
        kept[name] = [
            priced(record, suspects[name, record.key]) if (name, record.key) in suspects else record
            for record in records[name]
        ]
        pairs = zip(records[name], kept[name], strict=True)
        repriced |= {(name, now.key) for told, now in pairs if told.usage.cost != now.usage.cost}
    return kept, frozenset(repriced)


def plan_report(
    report: str,
    fetched: Iterable[Record],
    stored: Mapping[Key, Stored],
    rules: Rules = NO_RULES,
) -> Plan:
    """Sort fetched rows into new, changed, unchanged and kept, each against the stored row of its key.

    A row with the stored cost where ccusage tells less (see keep_prices) is kept, unless it has more tokens.
    """
    plan = Plan(report)
    for record in fetched:
        old = stored.get(record.key)
        if old is None:
            plan.new.append(record)
        elif record.content_hash == old.content_hash and (report, record.key) not in rules.repriced:
            plan.unchanged.append(resting_on(record, old.coverage))
        elif record.content_hash == old.content_hash or (
            record.usage.total < old.usage.total and not rules.allow_shrink
        ):
            plan.kept.append((record, old))
        else:
            lowered = old.coverage is Coverage.LOWERED
            plan.changed.append((resting_on(record, old.coverage) if lowered else record, old))
    return plan


def resting_on(record: Record, coverage: Coverage) -> Record:
    return record if record.coverage is coverage else dataclasses.replace(record, coverage=coverage)


# ---- covered rows: the sum of their messages ---------------------------------------------------------

BLOCK_LENGTH = timedelta(hours=5)
ONE_DAY = timedelta(days=1)
DAYS_BESIDE = (-ONE_DAY, timedelta(), ONE_DAY)
MARGIN = 3 * ONE_DAY  # zones, the day before, and two copies of a message
# What a kind of token costs beside one of input, to the last digit for every Claude model but Haiku 3.
OUTPUT_WEIGHT, CACHE_WEIGHT, HOUR_CACHE_WEIGHT, READ_WEIGHT = 5.0, 1.25, 2.0, 0.1

ModelDay = tuple[str, date, str]  # project, day and model: what ccusage tells a cost of


@dataclass(frozen=True)
class MessageSum:
    """Stored responses of one session, project, day, model and hour, summed: what covered rows are made of.

    Times are UTC. `on_the_hour`: those of an hour's very first moment, which may belong to the block before.
    `hour_cache`: the part of the written cache that stays for an hour. The cost of `usage` is 0 until
    `price_messages` has found it.
    """

    session_id: str
    project_id: str
    day: date
    model: str
    hour: datetime
    on_the_hour: bool
    first: datetime
    last: datetime
    entries: int
    usage: Usage
    hour_cache: int = 0

    @property
    def model_day(self) -> ModelDay:
        return (self.project_id, self.day, self.model)

    @property
    def weight(self) -> float:
        """The tokens as so many of input, by what they cost."""
        return weight_of(self.usage, CACHE_WEIGHT) + (HOUR_CACHE_WEIGHT - CACHE_WEIGHT) * self.hour_cache


def weight_of(usage: Usage, cache_weight: float) -> float:
    other = cache_weight * usage.cache_creation + READ_WEIGHT * usage.cache_read
    return usage.input + OUTPUT_WEIGHT * usage.output + other


@dataclass(frozen=True)
class Messages:
    """What the stored messages say of the rows that an import has to decide.

    `sums` hold all messages of `days` and of the days beside them, and all of each session that has any there.
    `missed`: days of which ccusage says more than the messages, with what both say. `whole`: those of which it says
    nothing more. `copies`: sessions whose logs have been read, and of which all messages are known as other sessions'.
    Those before `first_day` are forgotten.
    """

    days: frozenset[date] = frozenset()
    sums: Sequence[MessageSum] = ()
    missed: Mapping[date, tuple[Usage, Usage]] = field(default_factory=dict)
    whole: frozenset[date] = frozenset()
    copies: frozenset[str] = frozenset()
    first_day: date = date.min

    def has_elsewhere(self, record: Record) -> bool:
        """Whether all that ccusage says in a row for which there is no message is in the messages of other rows.

        Of a session that is so where its log has been read: another one's copies. Of a day of a project, where the
        messages have all of that day: its folder has got another name since.
        """
        return record.source == CLAUDE and (
            record.record_key in self.copies if record.report == "session" else record.columns["date"] in self.whole
        )


NO_MESSAGES = Messages()


def partly_forgotten(rows: Iterable[Record | Stored], whole: Collection[str], first_day: date) -> set[str]:
    """Sessions or blocks of which messages before that day may be forgotten: the others do not say all of them.

    The day is cut in another zone than these times, so one that begins on it may be such a row; `whole` are those that are not.
    """
    if first_day == date.min:
        return set()
    return {row.record_key for row in rows if row.began.date() < first_day + ONE_DAY * (row.record_key not in whole)}


def covered_keys(rows: Iterable[Stored]) -> set[str]:
    return {row.record_key for row in rows if row.coverage.is_covered}


def price_messages(sums: Sequence[MessageSum], known: Mapping[ModelDay, Sequence[Usage]]) -> list[MessageSum]:
    """The sums with their cost in US dollars, at ccusage's own rate for that model on that day of that project.

    `known` is what ccusage said of it: now, and when it was stored. Where it was of exactly these tokens its cost is
    shared by weight, and so is their sum where they are of exactly these together: of logs that are gone, and of others
    that came. What cost nothing then has no say where a part of it costs something now: its price has become known. Else
    the rate is that of the larger one, unless caches of both lengths were written, whose shares in it
    nobody knows: then that of the same model on the nearest day of which ccusage said all. Nothing costs less than a part.
    """
    whole: defaultdict[ModelDay, list[MessageSum]] = defaultdict(list)
    for item in sums:
        whole[item.model_day].append(item)
    rates: dict[ModelDay, float] = {}
    exact: defaultdict[str, dict[date, float]] = defaultdict(dict)
    for key, items in whole.items():
        tokens = sum_usage(item.usage for item in items).tokens[:4]
        said = known.get(key, ())
        priced = [part for part in said if part.cost]
        together = [sum_usage(said)] if len(priced) == len(said) else []
        costs = [part.cost for part in (*(priced or said), *together) if part.tokens[:4] == tokens]
        if costs and any(tokens):
            rates[key] = max(costs) / sum(item.weight for item in items)
            if rates[key]:
                exact[key[2]][key[1]] = rates[key]
    for key in whole.keys() - rates.keys():
        _, day, model = key
        written = sum(item.usage.cache_creation for item in whole[key])
        stays = sum(item.hour_cache for item in whole[key])
        cache_weight = CACHE_WEIGHT + (HOUR_CACHE_WEIGHT - CACHE_WEIGHT) * (stays / written if written else 0)
        part = max(known.get(key, ()), key=lambda usage: (usage.cost > 0, usage.total), default=Usage())
        weight = weight_of(part, cache_weight)
        nearest = min(exact[model], key=lambda other: (abs(other - day), other), default=None)
        if nearest is not None and (0 < stays < written or not part.cost):
            rates[key] = exact[model][nearest]
        else:
            rates[key] = part.cost / weight if weight else 0.0
        usage, all_weight = sum_usage(item.usage for item in whole[key]), sum(item.weight for item in whole[key])
        held = (said.cost for said in known.get(key, ()) if not any(said.minus(usage).tokens[:4]))
        if all_weight:
            rates[key] = max(rates[key], max(held, default=0.0) / all_weight)
    return [
        dataclasses.replace(item, usage=dataclasses.replace(item.usage, cost=rates[item.model_day] * item.weight))
        for item in sums
    ]


def cut_blocks(sums: Iterable[MessageSum], starts: Iterable[datetime]) -> dict[datetime, list[MessageSum]]:
    """Messages by the start of their block: the stored one in whose five hours they lie, else a new one.

    As ccusage cuts them: a block starts at the full hour before its first message, and its last moment is its own.
    """
    blocks: defaultdict[datetime, list[MessageSum]] = defaultdict(list)
    known = sorted(starts)
    for item in sorted(sums, key=lambda item: (item.hour, not item.on_the_hour)):
        place = bisect.bisect_right(known, item.hour)
        if item.on_the_hour and known[max(place - 2, 0) : place] == [item.hour - BLOCK_LENGTH, item.hour]:
            place -= 1  # where one block ends and another starts, it is the last moment of the first
        since = item.hour - known[place - 1] if place else timedelta.max
        if since < BLOCK_LENGTH or (since == BLOCK_LENGTH and item.on_the_hour):
            blocks[known[place - 1]].append(item)
        else:
            known.insert(place, item.hour)
            blocks[item.hour].append(item)
    return dict(blocks)


def iso_moment(moment: datetime) -> str:
    """A time as ccusage writes it, in the id of a block."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def session_columns(sums: Sequence[MessageSum]) -> dict[str, Any]:
    """A session's columns beside its id. Of several projects, the one with most of its tokens, as for rows that meet in one key."""
    tokens: defaultdict[str, int] = defaultdict(int)
    for item in sums:
        tokens[item.project_id] += item.usage.total
    return {
        "project_path": max(sorted(tokens), key=lambda project: tokens[project]),
        "first_activity": min(item.first for item in sums).replace(microsecond=0),
        "last_activity": max(item.last for item in sums).replace(microsecond=0),
    }


def block_columns(
    start: datetime, end: datetime, sums: Sequence[MessageSum], now: datetime, told: Record | None
) -> dict[str, Any]:
    """A block's columns; burn rate and projection as ccusage reckons them, over its minutes between two messages.

    When its limit is reset no message tells, but ccusage's own row of it.
    """
    first, last = min(item.first for item in sums), max(item.last for item in sums)
    cost, minutes = sum(item.usage.cost for item in sums), (last - first) / timedelta(minutes=1)
    is_active = now < end and now - last < BLOCK_LENGTH
    rate = cost / minutes if is_active and minutes > 0 else None
    return {
        "block_id": iso_moment(start),
        "start_time": start,
        "end_time": end,
        "actual_end_time": last.replace(microsecond=0),
        "is_active": int(is_active),
        "is_gap": 0,
        "entries": sum(item.entries for item in sums),
        "usage_limit_reset_time": told.columns["usage_limit_reset_time"] if told is not None else None,
        "burn_rate": None if rate is None else round(rate * 60, DOLLAR_DIGITS),
        "projection": None if rate is None else round(cost + rate * ((end - now) / timedelta(minutes=1)), 2),
    }


def gap_id(start: datetime) -> str:
    return f"gap-{iso_moment(start)}"


def gap_columns(start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "block_id": gap_id(start),
        "start_time": start.replace(microsecond=0),
        "end_time": end.replace(microsecond=0),
        "actual_end_time": None,
        "is_active": 0,
        "is_gap": 1,
        "entries": 0,
        "usage_limit_reset_time": None,
        "burn_rate": None,
        "projection": None,
    }


def derived_record(report: str, key: str, columns: Mapping[str, Any], sums: Sequence[MessageSum]) -> Record:
    """The row of a report that is the sum of these messages."""
    by_model: defaultdict[str, list[Usage]] = defaultdict(list)
    for item in sums:
        by_model[item.model].append(item.usage)
    usage = sum_usage(item.usage for item in sums)
    nameless = ("", SYNTHETIC_MODEL)
    breakdowns = {model: sum_usage(usages) for model, usages in sorted(by_model.items()) if model not in nameless}
    raw = {"derivedFrom": MESSAGES_TABLE, "totalTokens": usage.total, "totalCost": usage.cost}
    return Record(
        report,
        CLAUDE,
        key,
        columns,
        usage,
        tuple(breakdowns),
        {} if report == "blocks" else breakdowns,  # ccusage tells no usage by model of a block
        json_text(raw),
        Coverage.DERIVED,
    )


@dataclass(frozen=True)
class Unsettled:
    """What ccusage says otherwise than it is stored as covered: sessions of Claude Code, and days with those beside them.

    A message may have gone to the day beside. All messages of those, and of the sessions that have some on these days, came after `since`.
    """

    days: frozenset[date]
    sessions: frozenset[str]
    since: datetime


def unsettled(
    records: Mapping[str, Sequence[Record]],
    stored: Mapping[str, Mapping[Key, Stored]],
    everything: Collection[date] = (),
    more: Collection[date] = (),
) -> Unsettled:
    """What has to be held against the messages; with the days of `everything` these, and all that are stored, too; and `more`.

    Gaps hold no messages: one that is new or another follows blocks that are.
    """
    told: set[date] = {*more}
    sessions: set[str] = set()
    starts: list[datetime] = []
    for name in ("daily", "projects", "session", "blocks"):
        for record in records.get(name, ()):
            old = stored[name].get(record.key)
            is_settled = (
                old is not None and old.content_hash == record.content_hash and old.coverage is not Coverage.CCUSAGE
            )
            if record.source != CLAUDE or record.is_gap or is_settled:
                continue
            if name == "session":
                sessions.add(record.record_key)
                starts.append(record.columns["first_activity"] or record.columns["last_activity"])
                if old is not None:  # its logs of that time may be gone
                    starts.append(old.began)
                if old is not None and old.project != record.columns["project_path"]:  # its messages have moved, too
                    told |= {old.began.date() + ONE_DAY * n for n in range((old.ended - old.began).days + 2)}
            elif name == "blocks":
                told |= {record.columns[moment].date() for moment in ("start_time", "end_time")}
            else:
                told.add(record.columns["date"])
    if everything:
        told |= {*everything, *(last_day(row) for row in stored["daily"].values() if row.source == CLAUDE)}
    days = {day + step for day in told for step in DAYS_BESIDE}
    starts += [datetime.combine(day, datetime.min.time(), timezone.utc) for day in days]
    since = min(starts, default=EPOCH)
    starts += [
        row.began for row in stored["session"].values() if row.ended >= since - MARGIN and row.coverage.is_covered
    ]
    return Unsettled(frozenset(days), frozenset(sessions), min(starts, default=EPOCH) - MARGIN)


def days_of_moved_messages(
    sums: Iterable[MessageSum], stored: Mapping[Key, Stored], days: Collection[date]
) -> set[date]:
    """The days of sessions that are new, or begin earlier than is stored, or are others while none of their days are.

    What they have of these days may have been another's before, as with a fork: the days' own rows do not tell.
    """
    found: set[date] = set()
    by_session: defaultdict[str, list[MessageSum]] = defaultdict(list)
    for item in sums:
        if item.session_id and item.usage.total:
            by_session[item.session_id].append(item)
    for session_id, its in by_session.items():
        old = stored.get((CLAUDE, session_id))
        total = sum(item.usage.total for item in its)
        if old is None or (total != old.usage.total and all(item.day not in days for item in its)):
            found |= {item.day for item in its}
        else:
            found |= {item.day for item in its if item.first.replace(microsecond=0) < old.began}
    return found


def told_days(records: Mapping[str, Sequence[Record]]) -> dict[date, Usage]:
    """What ccusage says of each day of Claude Code: of its projects together where the report of days has failed."""
    told: defaultdict[date, list[Usage]] = defaultdict(list)
    for record in records.get("daily") or records.get("projects", ()):
        if record.source == CLAUDE:
            told[record.columns["date"]].append(record.usage)
    return {day: sum_usage(usages) for day, usages in told.items()}


def missed_days(
    days: Iterable[date], sums: Iterable[MessageSum], told: Mapping[date, Usage]
) -> dict[date, tuple[Usage, Usage]]:
    """Days of which ccusage says more than the messages, with what both say.

    A message that was streamed over midnight, and is now known from another copy, may have gone to the day beside, if
    ccusage tells of that, too: else its logs are gone, and what is known of it says nothing.
    """
    known: defaultdict[date, list[Usage]] = defaultdict(list)
    for item in sums:
        known[item.day].append(item.usage)

    def has_more(around: Sequence[date]) -> bool:
        ccusage = sum_usage(told[day] for day in around if day in told)
        messages = sum_usage(usage for day in around if day in told for usage in known.get(day, ()))
        return any(more > less for more, less in zip(ccusage.tokens[:4], messages.tokens[:4], strict=True))

    return {
        day: (told[day], sum_usage(known.get(day, ())))
        for day in sorted(days)
        if day in told and has_more([day]) and has_more([day + step for step in DAYS_BESIDE])
    }


def model_days(projects: Iterable[Record]) -> dict[ModelDay, Usage]:
    """What ccusage says of each project, day and model of Claude Code."""
    return {
        (record.columns["project_id"], record.columns["date"], model): usage
        for record in projects
        if record.source == CLAUDE
        for model, usage in record.breakdowns.items()
    }


def unpriced_days(sums: Iterable[MessageSum], told: Mapping[ModelDay, Usage]) -> set[ChildKey]:
    """The project days whose messages are others than those that ccusage tells a cost of: as child keys."""
    whole: defaultdict[ModelDay, list[Usage]] = defaultdict(list)
    for item in sums:
        whole[item.model_day].append(item.usage)
    return {
        ("project_daily", CLAUDE, f"{day}/{project}")
        for (project, day, model), usages in whole.items()
        if told.get((project, day, model), Usage()).tokens[:4] != sum_usage(usages).tokens[:4]
    }


@dataclass(frozen=True)
class Covered:
    """The rows of one report that stored messages decide: what they add up to by record key, and keys that have none.

    `missed`: days of which ccusage says what the messages do not. Of any other what it says less of is gone from its logs,
    and what it says more of in one row (a session whose original is gone) is in another.
    """

    report: str
    made: Mapping[str, Record]
    gone: Collection[str] = ()
    missed: Collection[date] = ()

    def is_doubtful(self, record: Record) -> bool:
        """Whether what ccusage says in this row may be of one of the missed days. A session's days are cut in another zone."""
        if record.report != "session":
            return record.columns.get("date") in self.missed
        first, last = record.columns["first_activity"] or EPOCH, record.columns["last_activity"]
        return any(first.date() - ONE_DAY <= day <= last.date() + ONE_DAY for day in self.missed)


AnyRow = TypeVar("AnyRow", "Record", "Stored")


def says_the_same(told: Usage, messages: Usage, rules: Rules) -> bool:
    """Whether ccusage counts just these messages."""
    if rules.first_lines and told.output < messages.output:
        told = dataclasses.replace(told, output=messages.output)
    return told.tokens[:4] == messages.tokens[:4]


def claude_rows(rows: Iterable[AnyRow]) -> dict[str, AnyRow]:
    """Those whose messages can be known, by record key."""
    return {row.record_key: row for row in rows if row.source == CLAUDE}


def plan_covered(
    covered: Covered, fetched: Sequence[Record], stored: Mapping[Key, Stored], rules: Rules
) -> tuple[Plan, list[Record]]:
    """A plan for the rows that are sums of messages, and the fetched rows that are left to the four words.

    ccusage's row where it says what the messages say, else their sum. A stored row of which the messages say less is
    older than they are, and not covered.
    """
    told, known = claude_rows(fetched), claude_rows(stored.values())
    plan = Plan(covered.report)
    rest = [record for record in fetched if record.source != CLAUDE or record.record_key not in covered.made]
    plan.removed = [
        old for key in covered.gone if key not in told and (old := known.get(key)) and old.coverage.is_covered
    ]  # their messages have turned out to be other rows'
    for key, made in sorted(covered.made.items()):
        record, old = told.get(key), known.get(key)
        is_older = old is not None and not old.coverage.is_covered and old.usage.total > made.usage.total
        is_lowered = any(row is not None and row.coverage is Coverage.LOWERED for row in (record, old))
        is_missed = record is not None and record.usage.total > made.usage.total and covered.is_doubtful(record)
        tells = record is not None and says_the_same(record.usage, made.usage, rules)
        is_whole = old is not None and old.usage.tokens == made.usage.tokens
        is_cheap = old is not None and old.usage.cost < least_cost(old, made, record) - COST_TOLERANCE
        if record is not None and tells and not is_older and (record.usage.tokens == made.usage.tokens or not is_whole):
            if (
                old is not None
                and record.content_hash == old.content_hash
                and (plan.report, record.key) in rules.repriced
            ):
                plan.kept.append((record, old))
            else:
                # what is pushed may be a sum already
                plan.put(record if record.coverage.is_covered else resting_on(record, Coverage.MESSAGES), old)
        elif record is not None and old is not None and rules.allow_shrink and record.usage.total < old.usage.total:
            plan.put(resting_on(record, Coverage.LOWERED), old)
        elif is_older or is_lowered or is_missed:
            rest += [record] if record is not None else []
        elif not is_cheap and (is_whole or (old is not None and says_the_same(old.usage, made.usage, rules))):
            plan.unchanged.append(made)  # with the cost that it has
        else:
            plan.put(made, old)
    return plan, rest


def least_cost(old: Stored, made: Record, told: Record | None) -> float:
    """What a stored row of the same messages costs at least: a month as its days, and any row that had no price at all as
    its messages; else as what ccusage still tells of it.
    """
    if old.report == "monthly" or is_free(old.usage):
        return made.usage.cost
    return told.usage.cost if told is not None else 0.0


def plan_sums(
    report: str,
    fetched: Sequence[Record],
    stored: Mapping[Key, Stored],
    messages: Messages = NO_MESSAGES,
    rules: Rules = NO_RULES,
) -> Plan:
    """Rows that are sums of messages where those are known; the four words for the others."""
    sum_of = REPORTS[report].sum_of
    made: defaultdict[str, list[MessageSum]] = defaultdict(list)
    # one that is not stored has of what is forgotten nothing to lose: it may be a fork, with copies of that
    rows = stored.values() if report == "session" else ()
    partial = partly_forgotten(rows, covered_keys(rows), messages.first_day)
    for item in messages.sums:
        if report == "session" and (not item.session_id or item.session_id in partial):
            continue  # of a project that was forgotten, or of what began before
        if item.day in messages.days or "date" not in sum_of:
            made["/".join(str(getattr(item, field)) for field in sum_of.values())].append(item)
    if report == "session":  # one of API errors alone is none to ccusage
        told = {record.record_key for record in fetched}
        for key in [k for k, its in made.items() if k not in told and not any(item.usage.total for item in its)]:
            del made[key]
    known = made.keys() | partial
    gone = [row.record_key for row in stored.values() if last_day(row) in messages.days and row.record_key not in known]
    elsewhere = [record for record in fetched if record.record_key not in made and messages.has_elsewhere(record)]
    left_out = {record.key for record in elsewhere}
    fetched = [record for record in fetched if record.key not in left_out]
    records = {}
    for key, sums in made.items():
        columns = {column: getattr(sums[0], field) for column, field in sum_of.items()}
        if report == "session":
            columns |= session_columns(sums)
        records[key] = derived_record(report, key, columns, sums)
    covered = Covered(report, records, gone, messages.missed)
    plan, rest = plan_covered(covered, fetched, stored, rules)
    plan.add(plan_report(report, rest, stored, rules))
    plan.elsewhere += elsewhere
    return plan


def last_day(row: Stored) -> date:
    """The day of a stored row, or the last one of a session (in UTC: the days beside it are known, too)."""
    if row.report == "session":
        return row.ended.date()
    return date.fromisoformat(row.record_key[:10])


def block_span(block: Record | Stored) -> tuple[datetime, datetime]:
    """Start and end of a block.

    A gap ends with the first message after it, the block of that message starts at the full hour before:
    the gap is taken to end there, too, or each would overlap the block that follows it.
    """
    return block.began, full_hour(block.ended) if block.is_gap else block.ended


def full_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def overlapping_groups(blocks: Sequence[Record | Stored]) -> Iterator[list[Record | Stored]]:
    """Groups of a source's blocks that overlap in time, directly or through others."""
    group: list[Record | Stored] = []
    group_end = EPOCH
    for block in sorted(blocks, key=lambda block: (block.source, block_span(block))):
        start, end = block_span(block)
        if group and (block.source != group[0].source or start >= group_end):
            yield group
            group = []
        group_end = max(group_end, end) if group else end
        group.append(block)
    if group:
        yield group


def cover_blocks(
    messages: Messages,
    fetched: Mapping[str, Record],
    stored: Mapping[str, Stored],
    partial: Collection[str],
    now: datetime,
) -> tuple[Covered, list[Record], dict[datetime, str]]:
    """What makes each block of the days to decide; the gaps between them; and by the start of each known block the id of
    the gap that can follow it, empty where its last message is not looked for.

    A block once stored keeps its start, a `partial` one its messages, too; what no stored block has is cut as ccusage cuts it.
    """
    whole_days = {day + step for day in messages.days for step in DAYS_BESIDE}
    ids = {record.columns["start_time"]: key for key, record in fetched.items()}
    ids |= {row.began: key for key, row in stored.items()}
    stored_starts = {start for start, key in ids.items() if key in stored}
    blocks = cut_blocks((item for item in messages.sums if item.day in whole_days), stored_starts)
    starts = sorted(stored_starts | blocks.keys())
    made, gaps, followers = {}, [], dict.fromkeys(starts, "")
    for start, following in zip(starts, [*starts[1:], datetime.max.replace(tzinfo=timezone.utc)], strict=True):
        sums = blocks.get(start, [])
        pause = max((item.last for item in sums), default=EPOCH) + BLOCK_LENGTH
        if any(item.day in messages.days for item in sums):
            followers[start] = gap_id(pause)
            end = min(start + BLOCK_LENGTH, following)
            key = ids.get(start, iso_moment(start))
            columns = block_columns(start, end, sums, now, fetched.get(key))
            made[key] = derived_record("blocks", key, columns, sums)
        if sums and following in blocks:
            next_first = min(item.first for item in blocks[following])
            if pause < next_first:
                gaps.append(derived_record("blocks", gap_id(pause), gap_columns(pause, next_first), ()))
    gone = [ids[start] for start in stored_starts - blocks.keys() if start.date() in messages.days]
    made = {key: record for key, record in made.items() if key not in partial}
    return Covered("blocks", made, [key for key in gone if key not in partial]), gaps, followers


def plan_overlapping(fetched: Sequence[Record], stored: Mapping[Key, Stored], rules: Rules) -> Plan:
    """Like `plan_report`, with one rule more: stored and fetched blocks must not overlap.

    Where old logs are gone the first block that is left can start at another hour, so have another id and
    overlap stored ones. Of each group that overlaps the side with more tokens stays, whole.
    """
    removed: list[Stored] = []
    accepted: list[Record] = []
    outweighed: list[tuple[Record, Stored]] = []
    for group in overlapping_groups([*fetched, *stored.values()]):
        theirs = [item for item in group if isinstance(item, Stored)]
        ours = [item for item in group if isinstance(item, Record)]
        same_blocks = {item.key for item in theirs} == {item.key for item in ours}
        stored_total = sum(item.usage.total for item in theirs)
        fetched_total = sum(item.usage.total for item in ours)
        if same_blocks or not theirs or not ours:
            accepted += ours
        elif fetched_total > stored_total or rules.allow_shrink:
            accepted += ours
            replacing = {item.key for item in ours}
            removed += [item for item in theirs if item.key not in replacing]
        else:
            outweighed += [(item, stored.get(item.key, theirs[0])) for item in ours]
    plan = plan_report("blocks", accepted, stored, rules)
    plan.kept += outweighed
    plan.removed += removed
    return plan


class Spans:
    """Stored or planned blocks of one kind by time. They do not overlap each other, so two looks find a meeting."""

    def __init__(self, rows: Iterable[Record | Stored]) -> None:
        self.rows = sorted(((row.source, *block_span(row), row) for row in rows), key=lambda item: item[:3])
        self.starts = [(source, start) for source, start, _, _ in self.rows]

    def meeting(self, gap: Record | Stored) -> list[Record | Stored]:
        """Those that overlap it."""
        start, end = block_span(gap)
        last = bisect.bisect_left(self.starts, (gap.source, end))
        first = last
        while first and self.rows[first - 1][0] == gap.source and self.rows[first - 1][2] > start:
            first -= 1
        return [row for _, _, _, row in self.rows[first:last]]


def plan_gaps(gaps: Iterable[Record], stored: Mapping[Key, Stored], blocks: Iterable[Record | Stored]) -> Plan:
    """Gaps follow the blocks that will be there: none comes or stays where one is.

    Of two gaps that overlap the shorter one is right: who tells of the longer one has not seen all messages.
    """
    spans = Spans(blocks)
    staying = Spans(row for row in stored.values() if not spans.meeting(row))
    free: list[Record] = []
    replaced: set[Key] = {key for key, row in stored.items() if spans.meeting(row)}
    for gap in gaps:
        others = [row for row in staying.meeting(gap) if row.key != gap.key]
        if not spans.meeting(gap) and all(length_of(gap) < length_of(other) for other in others):
            free.append(gap)
            replaced.update(other.key for other in others)
    plan = plan_report("blocks", free, stored)
    replaced -= {record.key for record in plan.written}  # a gap that ends earlier now begins where it did
    plan.removed += [row for key, row in stored.items() if key in replaced]
    return plan


def length_of(block: Record | Stored) -> timedelta:
    start, end = block_span(block)
    return end - start


def shortened(block: Record, made: Record | None) -> Record:
    """The fetched block, its end where the next stored one starts: that has what came later."""
    if made is None or block.source != CLAUDE or block.ended <= made.ended:
        return block
    return dataclasses.replace(block, columns={**block.columns, "end_time": made.ended})


def plan_blocks(
    fetched: Sequence[Record], stored: Mapping[Key, Stored], messages: Messages = NO_MESSAGES, rules: Rules = NO_RULES
) -> Plan:
    """Blocks are sums of messages where those are known, and never overlap; gaps follow them."""
    gaps = [record for record in fetched if record.columns["is_gap"]]
    blocks = [record for record in fetched if not record.columns["is_gap"]]
    stored_gaps = {key: row for key, row in stored.items() if row.is_gap}
    stored_blocks = {key: row for key, row in stored.items() if not row.is_gap}
    plan = Plan("blocks")
    doubtful = {day + step for day in messages.missed for step in DAYS_BESIDE}
    certain = dataclasses.replace(messages, days=messages.days - doubtful, missed={})
    if messages.sums and certain.days:
        told, known = claude_rows(blocks), claude_rows(stored_blocks.values())
        whole = covered_keys(known.values()) | (told.keys() - known.keys())
        partial = partly_forgotten([*told.values(), *known.values()], whole, messages.first_day)
        covered, derived_gaps, followers = cover_blocks(certain, told, known, partial, rules.now)
        blocks = [shortened(record, covered.made.get(record.record_key)) for record in blocks]
        plan, blocks = plan_covered(covered, blocks, stored_blocks, rules)
        ours = [block_span(row) for key, row in known.items() if key in partial]

        def is_ours(block: Record) -> bool:
            """Whether it is cut otherwise: then it holds messages that stored blocks have."""
            start, end = block_span(block)
            if (
                block.source != CLAUDE
                or block.record_key in known
                or not doubtful.isdisjoint((start.date(), end.date()))
            ):
                return False
            return block.record_key not in partial or any(s < end and start < e for s, e in ours)

        blocks = [block for block in blocks if not is_ours(block)]
        starts = sorted(followers)
        ends = {gap.key: gap.ended for gap in derived_gaps}

        def is_true(gap: Record) -> bool:
            """Whether ccusage has seen the last message before it, which is five hours older, and the first one after it."""
            before = bisect.bisect_right(starts, gap.began - BLOCK_LENGTH)
            follower = followers[starts[before - 1]] if before and gap.source == CLAUDE else ""
            return follower in ("", gap.record_key) and ends.get(gap.key, gap.ended) == gap.ended

        gaps = list(filter(is_true, gaps))
        told_gaps = {gap.key for gap in gaps}
        gaps += [gap for gap in derived_gaps if gap.key not in told_gaps | stored_gaps.keys()]
    decided = {record.key for record in (*plan.written, *plan.unchanged)} | {row.key for row in plan.removed}
    plan.add(plan_overlapping(blocks, {k: row for k, row in stored_blocks.items() if k not in decided}, rules))
    plan.add(plan_gaps(gaps, stored_gaps, plan.after(stored_blocks).values()))
    return plan


Rows = Mapping[Key, Record | Stored]


def sum_records(
    report: str,
    key: Key,
    columns: Mapping[str, Any],
    rows: Collection[Record | Stored],
    rows_report: str,
    children: ChildrenOf,
) -> Record:
    """One record that is the sum of others, stored ones among them, whose `children` are given."""
    parts: list[Record | Children] = [
        row if isinstance(row, Record) else children.get(child_key(row), Children()) for row in rows
    ]
    usage = sum_usage(row.usage for row in rows)
    breakdowns = sum_by_model(part.breakdowns for part in parts)
    models = tuple(sorted({model for part in parts for model in part.models} | set(breakdowns)))
    raw = {"derivedFrom": REPORTS[rows_report].table, "totalTokens": usage.total, "totalCost": usage.cost}
    coverage = Coverage.DERIVED if are_covered(rows) else Coverage.CCUSAGE
    return Record(report, *key, columns, usage, models, breakdowns, json_text(raw), coverage)


def are_covered(rows: Iterable[Record | Stored]) -> bool:
    return all(row.coverage.is_covered for row in rows)


def say_all(month: str, its_days: Iterable[Record | Stored], rules: Rules) -> bool:
    """Whether the days of a month that are known are all that there was of it."""
    return are_covered(its_days) and f"{month}-01" >= rules.first_day.isoformat()


def days_by_month(days: Rows) -> dict[Key, list[Record | Stored]]:
    months: defaultdict[Key, list[Record | Stored]] = defaultdict(list)
    for (source, day), row in sorted(days.items()):
        months[source, day[:7]].append(row)
    return months


def forgotten_days(months: Mapping[Key, Stored], days: Rows, children: ChildrenOf) -> dict[Key, Record]:
    """As one day before the first of each of these months: what it holds of days that are forgotten.

    It has all that was ever counted in the month, and grows by its days alone once the logs of some are gone. `children`
    are those of the months and the stored days.
    """
    known = days_by_month(days)
    rest = {}
    for (source, month), old in months.items():
        told = sum_records("monthly", old.key, {}, known.get(old.key, ()), "daily", children)
        its = children.get(child_key(old), Children())
        parts = {model: usage.minus(told.breakdowns.get(model, Usage())) for model, usage in its.breakdowns.items()}
        key = (source, f"{month}-00")
        rest[key] = Record("daily", *key, {}, old.usage.minus(told.usage), its.models, parts, "")
    return rest


def months_to_sum(fetched: Sequence[Record], stored: Mapping[Key, Stored], days: Rows, rules: Rules) -> set[Key]:
    """The months that neither ccusage tells in full nor what is stored: they become the sum of their days."""
    by_key = {record.key: record for record in fetched}
    to_sum = set()
    for key, its_days in days_by_month(days).items():
        month, old = by_key.get(key), stored.get(key)
        total = sum_usage(row.usage for row in its_days)
        if say_all(key[1], its_days, rules):  # and less than before where they were counted twice
            stands = any(
                row is not None and row.usage.tokens == total.tokens and row.usage.cost > total.cost - COST_TOLERANCE
                for row in (month, old)
            )
        else:
            stands = month is not None and month.usage.covers(total)
            stands |= (
                old is not None and old.usage.covers(total) and (total.covers(old.usage) or not rules.allow_shrink)
            )
        if not stands:
            to_sum.add(key)
    return to_sum


def plan_months(
    fetched: Sequence[Record],
    stored: Mapping[Key, Stored],
    days: Rows,
    children: ChildrenOf,
    rules: Rules = NO_RULES,
) -> Plan:
    """Like `plan_report`, with one rule more: a month is never less than its days, as they are after this import.

    ccusage's month shrinks as its days are cleaned up. It is stored while it covers the days, and their sum once it does
    not. `children` are those of the stored days of `months_to_sum`.
    """
    to_sum = months_to_sum(fetched, stored, days, rules)
    made, covered = {}, {}
    for key, its_days in days_by_month(days).items():
        year, number = key[1].split("-")
        columns = {"month": key[1], "year": int(year), "month_num": int(number)}
        made[key] = sum_records("monthly", key, columns, its_days, "daily", children if key in to_sum else {})
        if key[0] == CLAUDE and say_all(key[1], its_days, rules):
            covered[key[1]] = made[key]
    # lower numbers are taken for days; their month follows
    plan, rest = plan_covered(
        Covered("monthly", covered), fetched, stored, dataclasses.replace(rules, allow_shrink=False)
    )
    decided = {row.key for row in (*plan.written, *plan.unchanged)}
    short = to_sum - decided
    targets = [record for record in rest if record.key not in short]
    plan.add(plan_report("monthly", targets + [made[key] for key in sorted(short)], stored, rules))
    return plan


def known_again(sessions: Sequence[Record], stored: Mapping[Key, Stored]) -> list[Record]:
    """The fetched sessions, of Codex under the ids that they are stored with.

    ccusage takes the place of the log for the id, and Codex moves a conversation's log when it is archived.
    """

    def name_of(session_id: str) -> str:
        return session_id.rpartition("/")[2]

    told = {record.key for record in sessions}
    moved = {name_of(key[1]): key[1] for key in stored.keys() - told if key[0] == CODEX}

    def known(record: Record) -> Record:
        if record.source != CODEX or record.key in stored or name_of(record.record_key) not in moved:
            return record
        session_id = moved.pop(name_of(record.record_key))
        return dataclasses.replace(record, record_key=session_id, columns={**record.columns, "session_id": session_id})

    return [known(record) for record in sessions]


def whole_projects(sessions: Plan, projects: Plan, stored: Mapping[Key, Stored]) -> set[Key]:
    """The rows that are all sessions of a project, as ccusage 15 to 18 tell them, and that this import may touch."""
    touched = {record.columns["project_path"] for record in sessions.written}
    touched |= {record.columns["project_id"] for record in projects.written}
    touched |= {record.columns["project_path"] for record, _ in sessions.kept}
    rows: Rows = {**stored, **{record.key: record for record in (*sessions.written, *sessions.unchanged)}}
    return {key for key, row in rows.items() if key[1] in touched and is_whole_project(row)}


def plan_whole_projects(
    sessions: Plan,
    projects: Plan,
    stored: Mapping[Key, Stored],
    held: Mapping[Key, tuple[Rows, Rows]],
    children: ChildrenOf,
) -> None:
    """Amend a plan: a row that is all sessions of a project holds what its days do and no session of its own does.

    So nothing is counted twice when sessions come with ids of their own, from messages or a newer ccusage, and the row
    goes when they hold all. `held`: the stored days and sessions of each such row's project, with their `children`.
    """
    told_rows = {
        record.key: record for record in (*sessions.written, *sessions.unchanged, *(r for r, _ in sessions.kept))
    }
    kept = {record.key for record, _ in sessions.kept}
    for key, (stored_days, stored_sessions) in held.items():
        told, old, project = told_rows.get(key), stored.get(key), key[1]
        days: dict[Key, Record | Stored] = dict(stored_days)
        days.update({r.key: r for r in projects.written if (r.source, r.columns["project_id"]) == key})
        own = {k: row for k, row in stored_sessions.items() if k != key}
        before = sum_usage(row.usage for row in (*own.values(), *([old] if old else [])))
        own |= {r.key: r for r in sessions.written if (r.source, r.columns["project_path"]) == key and r.key != key}
        if not own and key not in kept:
            continue  # ccusage's own word
        by_days = sum_records("session", key, {}, days.values(), "projects", children)
        by_sessions = sum_records("session", key, {}, own.values(), "session", children)
        whole = max(by_days.usage, before, key=lambda usage: usage.total)
        rest = whole.minus(by_sessions.usage)
        sessions.drop(key)
        if old is not None and rest.tokens == old.usage.tokens:
            sessions.kept += [(told, old)] if told is not None else []
        elif rest.total == 0:
            sessions.removed += [old] if old is not None else []
        else:
            last = max(row.ended for row in (told, old) if row is not None)
            columns = {"session_id": project, "project_path": project, "first_activity": None, "last_activity": last}
            parts = by_days.breakdowns.items()
            left = {m: part for m, u in parts if (part := u.minus(by_sessions.breakdowns.get(m, Usage()))).total}
            raw = {"derivedFrom": REPORTS["projects"].table, "totalTokens": rest.total, "totalCost": rest.cost}
            sessions.put(Record("session", *key, columns, rest, tuple(left), left, json_text(raw)), old)


# =====================================================================================================
# Database: one ClickHouse, embedded or served: statements, schema and its growth, reads, writes
# =====================================================================================================

USAGE_COLUMNS = ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens", "total_tokens")
OLDEST_ENGINE = (25, 8)
WRITE_SETTINGS = {
    "lightweight_delete_mode": "lightweight_update",  # a patch part: 8 ms where a classic DELETE takes 0.5 to 1.8 s
    "max_partitions_per_insert_block": 0,  # a first import may bring years
}
# FINAL within each partition, of those alone that a condition on days leaves: of 20 million messages through Merge tables
# of 100 databases today's in 0.2 s instead of 4.4 s of processor. An import leaves no two versions of a row in two of them.
QUERY_SETTINGS = {"do_not_merge_across_partitions_select_final": 1}
# Compiling one of these takes 10 to 25 ms, the queries of a run 3 ms each: it never pays for itself.
COMPILED = ("expressions", "aggregate_expressions", "regular_expressions", "sort_description")
EMBEDDED_SETTINGS = {**{f"compile_{what}": 0 for what in COMPILED}, **WRITE_SETTINGS, **QUERY_SETTINGS}
BATCH_ROWS = 10_000  # of one insert: bounds the memory of a first import
MANY_KEYS = 20_000
MANY_PARTS = 10  # of a table, outdated: then to remove them pays
MERGED_SECONDS = 480  # after which a merged part is taken to be on the disk, as the engine's old_parts_lifetime
MERGE = "ENGINE = Merge("
LOCAL = "_local"  # of a cluster: the part of a table that a shard holds
SCHEMA_FILE = "ccusage_clickhouse_schema.sql"
PARAMETER_BYTES = 60_000  # ClickHouse takes 128 KB in one form field

STATEMENT_ATTEMPTS = 5  # over about 8 s: a server that restarts is back by then
RETRY_SECONDS = 30.0
ANSWER_SECONDS = 120  # a server that takes longer for one statement is taken to hang

# What an error means and what to do about it, by the engine's code or, where there is none, by words of the driver.
NO_ANSWER = "no answer"
NO_CLICKHOUSE = "no ClickHouse"
REFUSED = "ClickHouse at {target} refused"
NO_LOGIN = (REFUSED, "look at CH_USER and CH_PASSWORD")
OLDER = (
    "the database at {target} was made by an older version",
    "run an import, which adds what is new; in a team's database let an administrator run --team-sql again",
)
ENGINE_ERRORS: Mapping[int | str | None, tuple[str, str]] = {
    "CERTIFICATE_VERIFY_FAILED": (
        "the certificate of {target} is not trusted",
        "add its authority to the system's trusted ones, or name its file in SSL_CERT_FILE",
    ),
    "Unable to open the chdb engine": (
        "{folder} is open in another program, or cannot be read",
        "end the other program: only one can have the embedded database open",
    ),
    NO_ANSWER: ("ClickHouse at {target} does not answer", "look at CH_HOST, CH_PORT, CH_PROTOCOL and the server"),
    NO_CLICKHOUSE: (
        "what answers at {target} is no ClickHouse that speaks HTTP",
        "look at CH_HOST and CH_PORT: a server's port for HTTP is 8123, for HTTPS 8443",
    ),
    47: OLDER,  # a view's column
    60: OLDER,
    81: (REFUSED, "give the user the right to CREATE DATABASE, or create CH_DATABASE by hand"),
    164: (REFUSED, "the server or the user is read-only; give CH_USER the right to insert and delete"),
    192: NO_LOGIN,
    193: NO_LOGIN,
    194: NO_LOGIN,
    243: (REFUSED, "make room on the database's disk; nothing is lost, the next import does what this one could not"),
    469: (REFUSED, "this server takes rows in your own name only: set CCUSAGE_USER to CH_USER"),
    497: (REFUSED, "give CH_USER the rights that the README's section on a shared server lists"),
    516: NO_LOGIN,
}
UNKNOWN_ERROR = ("ClickHouse at {target}", "run again with --verbose to see the statement")
# Away, too busy, out of memory, a replica or keeper away, a timeout on its side: the next try may find it well.
PASSING_ERRORS = frozenset({NO_ANSWER, 159, 202, 209, 210, 225, 241, 242, 252, 285, 286, 319, 364, 425, 439, 999})
ACCESS_DENIED = 497


# As Report.day, of every table; NULL where it cannot be told.
DAY_OF_CHILD = (
    "multiIf(record_type IN ('daily', 'project_daily'), toDateOrNull(left(record_key, 10)),"
    " record_type = 'monthly', toLastDayOfMonth(toDateOrNull(concat(record_key, '-01'))), NULL)"
)
DAY_OF = {
    **{report.table: report.day for report in REPORTS.values()},
    BREAKDOWNS_TABLE: DAY_OF_CHILD,
    MODELS_TABLE: DAY_OF_CHILD,
    MESSAGES_TABLE: "date",
    TOOLS_TABLE: "date",
    LOG_FILES_TABLE: "NULL",
    ACTIVITY_TABLE: "date",
    HISTORY_TABLE: "NULL",  # days of usage are asked for, not of imports
    FORGOTTEN_TABLE: "NULL",
}
OF_ALL_AGENTS = (HISTORY_TABLE, FORGOTTEN_TABLE)  # tables whose rows have no source
# The month of a row as a number such as 202611: of most tables within a partition, and read without the other years.
MONTH_OF = {
    REPORTS["daily"].table: "toYYYYMM(date)",
    REPORTS["monthly"].table: "toUInt32(year * 100 + month_num)",
    REPORTS["session"].table: "toYYYYMM(last_activity)",
    REPORTS["blocks"].table: "toYYYYMM(start_time)",
    REPORTS["projects"].table: "toYYYYMM(date)",
    BREAKDOWNS_TABLE: f"toYYYYMM(ifNull({DAY_OF_CHILD}, toDate(created_at)))",
    MODELS_TABLE: f"toYYYYMM(ifNull({DAY_OF_CHILD}, toDate(created_at)))",
    HISTORY_TABLE: "toYYYYMM(import_timestamp)",
    MESSAGES_TABLE: "toYYYYMM(started_at)",
    TOOLS_TABLE: "toYYYYMM(started_at)",
    LOG_FILES_TABLE: "toYYYYMM(read_at)",
    ACTIVITY_TABLE: "toYYYYMM(date)",
    BUDGETS_TABLE: "toYYYYMM(updated_at)",
    FORGOTTEN_TABLE: "toYYYYMM(updated_at)",
}


def own_file(name: str) -> str:
    """The text of a file that belongs to this one: beside it, or where a wheel puts it."""
    here = Path(__file__).resolve().parent
    for path in (here / name, here / "ccusage_importer_sql" / name):
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise ImporterError(f"{name} is missing beside {here / 'ccusage_importer.py'}", "install ccusage-importer again")


def sql_text(text: str) -> str:
    """A text as a literal of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def split_statements(sql: str) -> list[str]:
    """The statements of a .sql file: each ends with a semicolon at the end of a line."""
    return [statement.strip() for statement in re.split(r";[ \t]*(?:\n|$)", sql) if statement.strip()]


def named_parts(sql: str) -> dict[str, str]:
    """What stands under each line `-- name: X` of a .sql file, in its order; comments at a part's start are left out."""
    parts = re.split(r"(?m)^-- name: (\w+)\n", sql)[1:]
    return dict(zip(parts[::2], (re.sub(r"\A(--.*\n)+", "", text) for text in parts[1::2]), strict=True))


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


def team_statements(statements: Iterable[str], team: str) -> Iterator[str]:
    """The schema's statements for the database over a team's: what holds people's rows merges theirs and stores nothing."""
    for statement in statements:
        table = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        is_peoples = table is not None and re.search(r"(?m)^ +machine_name ", statement)
        merge = f")\n{MERGE}REGEXP('^{team}_.+'), '^{table[1]}$')\nCOMMENT" if table and is_peoples else ""
        yield re.sub(r"(?s)\)\nENGINE = .*\nCOMMENT", merge, statement) if merge else statement


def cluster_statements(statements: Iterable[str], cluster: str) -> Iterator[str]:
    """The schema's statements for a cluster: a replicated table on each shard, and one before all of them.

    The rows of a machine and user are on one shard, so FINAL sees all versions of a row.
    """
    everywhere = f"ON CLUSTER `{cluster}`"
    for statement in statements:
        table = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        if table is None or MERGE in statement:
            yield re.sub(r"(CREATE (?:VIEW|TABLE) IF NOT EXISTS \w+)", rf"\1 {everywhere}", statement)
            continue
        local = statement.replace(table[0], f"{table[0]}{LOCAL} {everywhere}")
        place = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "
        yield local.replace("= ReplacingMergeTree(", f"= ReplicatedReplacingMergeTree({place}")
        owner = [name for name in ("machine_name", "user_name") if re.search(rf"(?m)^ +{name} ", statement)]
        shard = f"cityHash64({', '.join(owner)})"
        yield (
            f"{table[0]} {everywhere} AS {table[1]}{LOCAL}"
            f" ENGINE = Distributed('{cluster}', currentDatabase(), '{table[1]}{LOCAL}', {shard})"
        )


@dataclass(frozen=True)
class Declared:
    """A table or view of the schema file. `columns` of a table: name to definition, as ADD COLUMN takes it.

    `select` is a view's own text, empty for a table; the statement makes it with `comment`, which names this text.
    """

    name: str
    statement: str
    columns: Mapping[str, str] = field(default_factory=dict)
    select: str = ""
    comment: str = ""


def declared_schema(cluster: str | None = None, team: str = "") -> Sequence[Declared]:
    """What the schema file has, in its order; for a cluster, both parts of each table; for a team's database, Merge tables."""
    return parse_schema(cluster, team)


@functools.cache
def parse_schema(cluster: str | None, team: str) -> Sequence[Declared]:
    statements: Iterable[str] = split_statements(own_file(SCHEMA_FILE))
    statements = team_statements(statements, team) if team else statements
    declared: list[Declared] = []
    for statement in cluster_statements(statements, cluster) if cluster else statements:
        view = re.search(r"CREATE VIEW IF NOT EXISTS (\w+).*? AS\s(.*)", statement, re.DOTALL)
        if view:
            comment = f"from {SCHEMA_FILE}, text {hashlib.sha256(view[2].encode()).hexdigest()[:16]}"
            # in brackets, without which 25.8 takes COMMENT behind a table's name for its alias
            commented = f"{statement[: view.start(2)]}({view[2]}\n)\nCOMMENT '{comment}'"
            declared.append(Declared(view[1], commented, select=view[2], comment=comment))
        elif table := re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement):
            lines = re.finditer(r"^\s+`?([a-z]\w*)`?\s+(\S.*?),?\s*$", statement, re.MULTILINE)
            # a Distributed table has the columns of the one before it
            columns = {line[1]: line[2] for line in lines} or declared[-1].columns
            declared.append(Declared(table[1], statement, columns))
    return declared


@functools.cache
def expected_columns() -> Mapping[tuple[str, str], str]:
    """Column types by table and column, as the schema file says."""
    return {
        (item.name, name): re.split(r" +(?:DEFAULT|COMMENT|CODEC)\b", definition)[0]
        for item in declared_schema()
        for name, definition in item.columns.items()
    }


def growth(
    declared: Iterable[Declared],
    stored: Mapping[str, Collection[str]],
    current_views: Collection[str],
    cluster: str | None,
) -> list[str]:
    """The statements that bring a database up to the schema file. Each may be run twice.

    `stored` are the columns of the tables and views that there are, `current_views` those of the views whose text is
    the file's. What the file does not know is left alone: it may be a newer version's.
    """
    everywhere = f" ON CLUSTER `{cluster}`" if cluster else ""
    statements = []
    for item in declared:
        if item.name not in stored:
            statements.append(item.statement)
        elif item.select and item.name not in current_views:
            replacing = item.statement.replace("CREATE VIEW IF NOT EXISTS", "CREATE OR REPLACE VIEW", 1)
            statements.append(replacing)
        else:
            places = ["FIRST", *(f"AFTER `{name}`" for name in item.columns)]
            added = [
                f"ADD COLUMN IF NOT EXISTS `{name}` {definition} {place}"
                for (name, definition), place in zip(item.columns.items(), places, strict=False)
                if name not in stored[item.name]
            ]
            if added:
                statements.append(f"ALTER TABLE {item.name}{everywhere} {', '.join(added)}")
    return statements


@dataclass(frozen=True)
class LastImport(Fixed):
    """What history tells of the last import of this machine and user that stored something.

    `whole_version` is ccusage's at the last that stored all reports; `is_settled`: no log has been read since that.
    """

    finished: int
    ccusage_version: str
    statistics: Mapping[str, Any]
    computer: str = ""
    whole_version: str = ""
    is_settled: bool = True


def known_error(error: Exception, config: Config) -> int | str | None:
    """Under what an exception of the driver stands in ENGINE_ERRORS, should it stand there."""
    code: int | None = getattr(error, "code", None)
    if code is not None:
        return code
    words = next((words for words in ENGINE_ERRORS if isinstance(words, str) and words in str(error)), None)
    if words or config.embedded:
        return words
    # a proxy says 408, 425 or 429 of a server that may be well in a moment, or has a page for 502 to 504
    return NO_CLICKHOUSE if re.search(r"HTTP status (?:4(?!08|25|29)\d\d|501)", str(error)) else NO_ANSWER


def engine_error(error: Exception, config: Config) -> ImporterError:
    """An exception of the driver as an ImporterError: the engine's words without a secret, and what to do."""
    cause, fix = ENGINE_ERRORS.get(known_error(error, config), UNKNOWN_ERROR)
    words = " ".join(str(error).split())
    # Of the driver's words only the engine's, or of nested exceptions the innermost: [Errno 111] Connection refused
    said = re.search(r"DB::\w+: .*|\[(?:Errno|SSL)[^'\")]*|Read timed out|Remote end closed connection[^'\")]*", words)
    if said:
        words = said[0]
    elif "<html" in words.lower():
        words = " ".join(re.sub(r"(?i)<style.*?</style>|<[^>]*>", " ", words).split())
    words = config.redact(words)[:400].strip()
    return ImporterError(f"{cause.format(target=config.target, folder=config.db_path)}: {words}", fix)


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
            if tired or known_error(error, config) not in PASSING_ERRORS:
                raise problem from error
            log.info("%s; trying again", one_line(problem.what))
            time.sleep(0.25 * 2**attempt * random.uniform(0.5, 1.0))
        else:
            log.debug("%.0f ms: %s", (time.monotonic() - started) * 1000, what)
            return result
    raise AssertionError("unreachable")


class Connections:
    """One for the thread that asks and, where things can be done at once, one for a thread that helps it.

    A server's client serves both. In process a connection does one thing at a time, so the helper opens its own.
    """

    def __init__(self, client: Client, connect: Callable[[], Client] | None = None) -> None:
        self.first = client
        self.connect = connect
        self.helpers = threading.local()
        self.opened = [client]
        self.helper = ThreadPoolExecutor(1, thread_name_prefix="store")

    @property
    def client(self) -> Client:
        """This thread's."""
        return cast("Client", getattr(self.helpers, "client", self.first))

    def together(self, actions: Sequence[Callable[[], T]]) -> list[T]:
        """What these give; the helper takes a share of them. All that was begun has ended when it returns or raises."""
        if len(actions) < 2:
            return [action() for action in actions]
        waiting = deque(enumerate(actions))
        results: dict[int, T] = {}

        def work() -> None:
            while True:
                try:
                    number, action = waiting.popleft()
                except IndexError:
                    return
                results[number] = action()

        helped = self.meanwhile(work)
        try:
            work()
        finally:
            waiting.clear()
            if not helped.cancel():  # it may be the helper itself that asks
                wait([helped])
        if not helped.cancelled():
            helped.result()
        return [results[number] for number in range(len(actions))]

    def meanwhile(self, action: Callable[[], T]) -> Future[T]:
        """What the helper will give: it does one thing after the other."""
        return self.helper.submit(self._help, action)

    def _help(self, action: Callable[[], T]) -> T:
        if self.connect is not None:
            if self.client is self.first:
                self.helpers.client = self.connect()
                self.opened.append(self.client)
            self.client.database = self.first.database
        return action()

    def close(self) -> None:
        self.helper.shutdown()
        for client in self.opened:
            with contextlib.suppress(Exception):
                client.close()


StoredRows = dict[str, dict[Key, Stored]]  # by report and key


class Ahead(NamedTuple):
    """What was read before a plan asks: the rows of a scope, and then the children of those that have grown."""

    scope: dict[str, Any]
    rows: StoredRows
    children: Future[dict[ChildKey, Children]]


class Store:
    """One ClickHouse, embedded or served, seen from one machine and user. Never prints."""

    def __init__(self, config: Config, connections: Connections) -> None:
        self.config = config
        self.connections = connections
        self.attempts = STATEMENT_ATTEMPTS
        self.column_types: dict[tuple[str, str], str] = {}
        self.known_forgotten: Forgotten | None = None
        self.is_team = False  # of Merge tables, over the databases of several people; known after `read_schema`

    @property
    def client(self) -> Client:
        return self.connections.client

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

    @property
    def query_settings(self) -> dict[str, Any]:
        """What a server is told with a named query, as far as this user may set it."""
        if self.config.embedded:
            return {}
        known = self.client.server_settings
        return {name: value for name, value in QUERY_SETTINGS.items() if name in known and not known[name].readonly}

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> bytes:
        """Any statement; returns what the engine answers where it has a FORMAT."""
        # raw_query, because the driver's `command` puts the parameters in the URL
        answer: bytes = self._attempt(
            sql,
            lambda: self.client.raw_query(sql, parameters=self._bound(sql, parameters), settings=dict(settings or {})),
        )
        return answer

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows (column name to value, the same names in each) in one statement."""
        names = list(rows[0])
        values = [list(row.values()) for row in rows]
        self._attempt(
            f"INSERT INTO {table} ({len(rows)} rows)",
            lambda: self.client.insert(
                table,
                values,
                column_names=names,
                column_type_names=[self.column_types[table, name] for name in names],  # else the driver asks for them
                settings=self.write_settings,
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
        self.connections.close()

    def insert_from(self, engine: Store, table: str, select: str, parameters: Mapping[str, Any]) -> None:
        """Insert what a SELECT in an engine gives, by the names of its columns, as rows of this machine and user.

        What is forgotten stays out. From another engine the rows go as a block of Native: 62 ms to make 100,000 and 11 ms
        to send, as Python's rows 458 ms.
        """
        columns = [name for owner, name in expected_columns() if owner == table]
        listed = ", ".join(f"`{name}`" for name in columns)
        chosen = f"SELECT {self._kept_columns(table, columns)} FROM ({select}) AS its WHERE {self._kept_rows(table)}"
        if engine.client is self.client:
            owner = {"machine": engine.config.machine_name, "user": engine.config.user_name} if OWNED in select else {}
            self.command(f"INSERT INTO {table} ({listed}) {chosen}", {**owner, **parameters}, self.write_settings)
        elif block := engine.client.raw_query(chosen, parameters=engine._bound(chosen, parameters), fmt="Native"):
            self._attempt(
                f"INSERT INTO {table} ({len(block):,} bytes of Native)",
                lambda: self.client.raw_insert(
                    table, columns, insert_block=block, settings=self.write_settings, fmt="Native"
                ),
            )

    def delete_beaten_copies(self, table: str) -> None:
        """Of copies of a row in two partitions, which the engine never merges, leave the one that counts.

        A response that is streamed over the end of a quarter, and read in between, has one on each side.
        """
        key = CONVERSATION_KEYS[table]
        counting = self.query(
            f"SELECT {key}, toString(argMax(started_at, weight)) FROM {table}"
            f" WHERE {OWNED} AND toStartOfMonth(date - 1) != toStartOfMonth(date + 1)"
            f" GROUP BY {key} HAVING uniqExact(_partition_id) > 1"
        )
        for run in chunked(counting):
            condition = f"{OWNED} AND {key} IN {{ids:Array(UInt64)}} AND ({key}, toString(started_at)) NOT IN {{kept:Array(Tuple(UInt64, String))}}"
            self._delete_where(table, condition, {"ids": [key for key, _ in run], "kept": run})

    def _kept_columns(self, table: str, columns: Iterable[str]) -> str:
        """The columns of `its`, as they are to be stored: of a forgotten project without what tells of it."""
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        instead = {
            name: f"toLowCardinality({sql_text(value)})" for name, value in owner.items() if table != BUDGETS_TABLE
        }
        if table in LOG_TABLES and self.forgotten.projects:
            told = {name: value for name, value in TELLING_COLUMNS.items() if name in columns}
            instead |= {name: f"if({self._of_forgotten()}, {value}, its.{name})" for name, value in told.items()}
        return ", ".join(f"{instead.get(name, f'its.`{name}`')} AS `{name}`" for name in columns)

    def _kept_rows(self, table: str) -> str:
        """Which rows of `its` are to be stored: of a forgotten project the responses, which totals are sums of."""
        conditions = []
        if table in (MESSAGES_TABLE, TOOLS_TABLE, ACTIVITY_TABLE) and self.forgotten.messages > date.min:
            conditions.append(f"its.date >= toDate('{self.forgotten.messages}')")
        if table in (MESSAGES_TABLE, TOOLS_TABLE) and self.forgotten.projects:
            responses = "its.kind = 'response' OR " if table == MESSAGES_TABLE else ""
            conditions.append(f"({responses}NOT {self._of_forgotten()})")
        return " AND ".join(conditions) or "1"

    def _of_forgotten(self) -> str:
        return f"its.project_id IN ({', '.join(map(sql_text, sorted(self.forgotten.projects)))})"

    def write_parquet(self, select: str, path: Path) -> None:
        """What a SELECT gives as a file of Parquet: an engine in process writes it, a server's answer is written as it comes.

        Raises OSError. A server that fails in the middle leaves half a file: whoever reads it finds that out.
        """
        settings = {"output_format_parquet_compression_method": "zstd"}
        if self.config.embedded:
            settings["engine_file_truncate_on_insert"] = "1"
            self.command(f"INSERT INTO FUNCTION file({sql_text(str(path))}, 'Parquet') {select}", settings=settings)
            return

        def download() -> None:
            with path.open("wb") as file:
                answer = cast("io.BufferedIOBase", self.client.raw_stream(select, settings=settings, fmt="Parquet"))
                shutil.copyfileobj(answer, file)

        self._attempt(select, download)

    @property
    def write_settings(self) -> dict[str, Any]:
        """What a server is told with each write. The engine in process knows it: to be told takes 4 ms a statement."""
        if self.config.embedded:
            return {}
        # on a cluster the check that follows must find the rows on their shard
        return WRITE_SETTINGS | ({"distributed_foreground_insert": 1} if self.config.cluster else {})

    # -- the schema --

    def read_schema(self, is_to_grow: bool = True) -> list[str]:
        """The statements that this database lacks, [] for one that is up to date; keeps the columns' types.

        A view that was made with the file's comment has the file's text. Of any other the texts are compared, which takes
        long: the engine stores it formatted, and with the database before each table, so it formats the file's, too.
        """
        rows = self.query(
            "SELECT table, name, type FROM system.columns WHERE database = {database:String}"
            " UNION ALL SELECT name, '', if(engine = 'View', comment, engine) FROM system.tables"
            " WHERE database = {database:String}",
            {"database": self.config.database},
        )
        self.column_types = {(table, name): column_type for table, name, column_type in rows if name}
        made_as = {table: how for table, name, how in rows if not name}
        self.is_team = made_as.get(REPORTS["daily"].table) == "Merge"
        if self.column_types:
            self.client.database = self.config.database
        if not is_to_grow:
            return []
        declared = declared_schema(self.config.cluster, self.config.database if self.is_team else "")
        stored: defaultdict[str, set[str]] = defaultdict(set)
        for table, name in self.column_types:
            stored[table].add(name)
        views = [item for item in declared if item.select and item.name in made_as]
        current = {view.name for view in views if made_as[view.name] == view.comment}
        others = [(view.name, view.select) for view in views if view.name not in current]
        return growth(declared, stored, current | self.read_current_views(others), self.config.cluster)

    def read_current_views(self, views: Sequence[tuple[str, str]]) -> set[str]:
        """Those of the views, each a name with a text, that have this text."""
        if not views:
            return set()
        rows = self.query(
            f"SELECT name FROM system.tables WHERE database = {{database:String}}"
            f" AND (name, {UNQUALIFIED.format('as_select')}) IN"
            f" (SELECT view.1, {UNQUALIFIED.format('formatQuerySingleLine(view.2)')}"
            f" FROM (SELECT arrayJoin({{views:Array(Tuple(String, String))}}) AS view))",
            {"database": self.config.database, "views": views},
        )
        return {name for (name,) in rows}

    @property
    def holds_usage(self) -> bool:
        """Whether an import has made its tables here, as far as `read_schema` has seen."""
        return (REPORTS["daily"].table, "date") in self.column_types

    def grow_schema(self, missing: Sequence[str]) -> None:
        """Add what `read_schema` has found missing; the database, too."""
        everywhere = f" ON CLUSTER `{self.config.cluster}`" if self.config.cluster else ""
        try:
            if not self.column_types and (self.config.database,) not in self.query("SELECT name FROM system.databases"):
                missing = [f"CREATE DATABASE IF NOT EXISTS `{self.config.database}`{everywhere}", *missing]
                self.command(missing[0])
            self.client.database = self.config.database
            for statement in missing:
                self.command(statement)
        except ImporterError as error:
            if getattr(error.__cause__, "code", None) != ACCESS_DENIED:
                raise
            commands = "; ".join(" ".join(re.sub(r"(?m)^\s*--.*$", "", statement).split()) for statement in missing)
            raise ImporterError(
                f"{error.what}; it lacks what this version stores, and {self.config.username} may not add it",
                f"let an administrator run in the database {self.config.database}: {commands}",
            ) from error
        self.read_schema(is_to_grow=False)
        if not self.holds_usage:
            raise ImporterError(
                f"ClickHouse at {self.config.target} has no tables after they were created",
                "look at the rights of CH_USER: it must see system.columns of its own tables",
            )

    def remove_outdated_parts(self) -> None:
        """Delete the files of what the engine has merged since, as a server does by itself.

        In process it would after half a minute of idleness, but a run takes a second: of each import with changes 200
        files would stay, and opening the database take longer from month to month. To drop a partition that is not there
        does it at once. As on a server, what was merged minutes ago is left: what replaces it may not be on the disk yet.
        """
        outdated = self.query(
            "SELECT table FROM system.parts WHERE database = {database:String} GROUP BY table"
            " HAVING countIf(NOT active) >= {many:UInt32}"
            " AND maxIf(modification_time, active AND level > 0) < now() - toIntervalSecond({age:UInt32})",
            {"database": self.config.database, "many": MANY_PARTS, "age": MERGED_SECONDS},
        )
        for (table,) in outdated:
            with contextlib.suppress(ImporterError):  # the next import tries again
                self.command(f"ALTER TABLE {table} DROP PARTITION ID 'none'")

    # -- reading --

    def read_last_import(self) -> LastImport | None:
        # a command that only reads may meet a database that an older version has made
        computer = "computer" if (HISTORY_TABLE, "computer") in self.column_types else "''"
        whole, is_settled = "(toDateTime(0, 'UTC'), '')", "true"
        if {(LOG_FILES_TABLE, "read_at"), (HISTORY_TABLE, "rows_kept")} <= self.column_types.keys():
            whole = (
                f"(SELECT (max(created_at), argMax(ccusage_version, created_at)) FROM {HISTORY_TABLE}"
                f" WHERE {OWNED} AND status != 'failed' AND length(rows_kept) = {len(REPORTS)})"
            )
            is_settled = f"(SELECT toDateTime(max(read_at), 'UTC') FROM {LOG_FILES_TABLE} WHERE {OWNED}) <= whole.1"
        rows = self.query(
            f"WITH {whole} AS whole SELECT status, timezone, privacy, toUnixTimestamp(import_timestamp), {computer}, ccusage_version, statistics,"
            f" whole.2, {is_settled}"
            f" FROM {HISTORY_TABLE} WHERE {OWNED}"
            f" ORDER BY status = 'failed', import_timestamp DESC, created_at DESC LIMIT 1"
        )
        if not rows:
            return None
        status, zone, privacy, finished, computer, version, statistics, whole_version, is_settled = rows[0]
        if status == "failed" and not self.has_usage():
            return None
        told = json.loads(statistics or "{}")
        return LastImport(zone, privacy, finished, version, told, computer, whole_version, bool(is_settled))

    def read_other_names(self, computer: str) -> list[str]:
        """The other machine names under which this user has imported from a computer."""
        if (HISTORY_TABLE, "computer") not in self.column_types:
            return []
        rows = self.query(
            f"SELECT DISTINCT toString(machine_name) FROM {HISTORY_TABLE} WHERE user_name = {{user:String}}"
            f" AND machine_name != {{machine:String}} AND computer = {{computer:String}} AND status != 'failed' ORDER BY 1",
            {"machine": self.config.machine_name, "user": self.config.user_name, "computer": computer},
        )
        return [name for (name,) in rows]

    @property
    def forgotten(self) -> Forgotten:
        """What is not to come back of this machine and user; read once."""
        if self.known_forgotten is None:
            known = NOTHING_FORGOTTEN
            rows = []
            if (FORGOTTEN_TABLE, "what") in self.column_types:  # an older version's database has none
                rows = self.query(
                    f"SELECT toString(what), name, before, toInt64(toUnixTimestamp(began)), is_done"
                    f" FROM {FORGOTTEN_TABLE} FINAL WHERE {OWNED} ORDER BY before, what, name"
                )
            for what, name, before, began, is_done in rows:
                if what != "machine" and not is_done:
                    known = dataclasses.replace(known, is_begun=True)
                if what == "project":
                    known = dataclasses.replace(known, projects=known.projects | {name})
                elif what != "machine":
                    known = dataclasses.replace(known, **{what: before})
                    if what == "rows":
                        known = dataclasses.replace(known, began=EPOCH + timedelta(seconds=began))
                elif not is_done:
                    known = dataclasses.replace(known, former=(*known.former, name))
            self.known_forgotten = known
        return self.known_forgotten

    def read_import_times(self, count: int) -> list[int]:
        """When this machine and user last stored something, latest first, in epoch seconds."""
        rows = self.query(
            f"SELECT toUnixTimestamp(import_timestamp) FROM {HISTORY_TABLE} FINAL"
            f" WHERE {OWNED} AND status != 'failed' ORDER BY import_timestamp DESC LIMIT {{count:UInt32}}",
            {"count": count},
        )
        return [moment for (moment,) in rows]

    def has_usage(self) -> bool:
        """Whether any usage of this machine and user is stored."""
        selects = (f"(SELECT 1 FROM {table} WHERE {OWNED} LIMIT 1)" for table in USAGE_TABLES)
        return bool(self.query(" UNION ALL ".join(selects)))

    def read_ahead(self, records: Mapping[str, Sequence[Record]]) -> Future[Ahead]:
        """Let the helper read what a plan of these records is going to ask for; nobody may write rows until then."""

        def read() -> Ahead:
            kept = self.forgotten.kept(records)
            scope = scope_of(kept)
            rows = self.read_stored(scope)
            pairs = [(record, rows[name].get(record.key)) for name, told in kept.items() for record in told]
            changed = [(new, old) for new, old in pairs if old is None or old.content_hash != new.content_hash]
            grown = [child_key(old) for new, old in changed if old is not None and old.usage.total <= new.usage.total]
            # a stored block that ccusage cuts otherwise now is in no record, and grows all the same
            since = min((new.began for new, _ in changed if new.report == "blocks"), default=None)
            untold = rows["blocks"].keys() - {record.key for record in kept.get("blocks", ())}
            grown += [child_key(rows["blocks"][key]) for key in untold if since and rows["blocks"][key].ended > since]
            return Ahead(scope, rows, self.connections.meanwhile(functools.partial(self.read_children, grown)))

        return self.connections.meanwhile(read)

    def read_stored(self, scope: Mapping[str, Any]) -> StoredRows:
        """The stored rows of this machine and user in a scope, by report and key."""
        stored: StoredRows = {name: {} for name in REPORTS}
        sessions = scope["sessions"]
        for number, some_sessions in enumerate(list(chunked(sessions)) or [[]]):
            selects = [
                f"SELECT '{report.name}' AS report, source, {report.record_key} AS record_key, content_hash,"
                f" {', '.join(USAGE_COLUMNS)}, {report.cost_column} AS cost,"
                f" toInt64(toUnixTimestamp(created_at)) AS created, toInt64(toUnixTimestamp(updated_at)) AS updated,"
                f" toString(coverage) AS coverage, toInt64({report.began}) AS began, toInt64({report.ended}) AS ended,"
                f" toBool({report.is_gap}) AS a_gap, {report.project} AS project"
                f" FROM {report.table} FINAL WHERE {OWNED} AND {report.scope}"
                for report in REPORTS.values()
                if number == 0 or report.name == "session"
            ]
            for row in self.query(" UNION ALL ".join(selects), {**scope, "sessions": some_sessions}):
                (
                    name,
                    source,
                    key,
                    content_hash,
                    *tokens,
                    cost,
                    created,
                    updated,
                    coverage,
                    began,
                    ended,
                    is_gap,
                    project,
                ) = row
                stored[name][source, key] = Stored(
                    name,
                    source,
                    key,
                    content_hash,
                    Usage.of(tokens, cost),
                    EPOCH + timedelta(seconds=created),
                    EPOCH + timedelta(seconds=updated),
                    EPOCH + timedelta(seconds=began),
                    EPOCH + timedelta(seconds=ended),
                    is_gap,
                    project,
                    Coverage(coverage),
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

    def read_logged_sessions(self, sessions: Collection[str]) -> frozenset[str]:
        """Those of these sessions of which a log has been read."""
        statement = (
            f"SELECT DISTINCT session_id FROM {LOG_FILES_TABLE}"
            f" WHERE {OWNED} AND source = '{CLAUDE}' AND session_id IN {{sessions:Array(String)}} AND reader > 0"
        )
        runs = chunked(sorted(sessions))
        return frozenset(session for run in runs for (session,) in self.query(statement, {"sessions": run}))

    def read_newest_child(self) -> datetime:
        """The largest updated_at of this machine's and user's children."""
        tables = (BREAKDOWNS_TABLE, MODELS_TABLE)
        selects = (f"SELECT toInt64(toUnixTimestamp(max(updated_at))) FROM {table} WHERE {OWNED}" for table in tables)
        return EPOCH + timedelta(seconds=max(stamp for (stamp,) in self.query(" UNION ALL ".join(selects))))

    def read_owners(self) -> list[tuple[str, str]]:
        """Machine and user of every row."""
        tables = (HISTORY_TABLE, *USAGE_TABLES, *LOG_TABLES, ACTIVITY_TABLE, FORGOTTEN_TABLE)
        selects = (f"SELECT toString(machine_name), toString(user_name) FROM {table}" for table in tables)
        return [(machine, user) for machine, user in sorted(self.query(" UNION DISTINCT ".join(selects)))]

    def read_records(self, report: Report) -> tuple[list[Record], dict[ChildKey, datetime]]:
        """All rows of a report with their children, and when each was first imported."""
        times = [name for name in report.columns if "DateTime" in self.column_types[report.table, name]]
        columns = [f"toInt64(toUnixTimestamp({name}))" if name in times else f"`{name}`" for name in report.columns]
        rows = self.query(
            f"SELECT source, {report.record_key}, toInt64(toUnixTimestamp(created_at)), raw_data, toString(coverage),"
            f" {report.cost_column},"
            f" {', '.join(USAGE_COLUMNS)}, {', '.join(columns)} FROM {report.table} FINAL WHERE {OWNED} ORDER BY ALL"
        )
        children = self.read_children([(report.record_type, source, key) for source, key, *_ in rows])
        records, created = [], {}
        for source, key, since, raw, coverage, cost, *values in rows:
            usage = Usage.of(values[: len(USAGE_COLUMNS)], round(cost, DOLLAR_DIGITS))
            own: dict[str, Any] = dict(zip(report.columns, values[len(USAGE_COLUMNS) :], strict=True))
            for name in times:
                own[name] = None if own[name] is None else EPOCH + timedelta(seconds=own[name])
            its = children[report.record_type, source, key]
            records.append(
                Record(report.name, source, key, own, usage, its.models, its.breakdowns, raw, Coverage(coverage))
            )
            created[report.record_type, source, key] = EPOCH + timedelta(seconds=since)
        return records, created

    def columns_of(self, table: str) -> dict[str, str]:
        """Names and types."""
        return {name: column_type for (owner, name), column_type in self.column_types.items() if owner == table}

    def read_months(self, table: str, columns: Iterable[str], condition: str) -> dict[int, tuple[int, int]]:
        """What a table has of each month (202611): rows, and a hash over these columns of all of them."""
        rows = self.query(
            f"SELECT {MONTH_OF[table]} AS its_month, {contents_of(columns)} FROM {table} FINAL WHERE {condition}"
            " GROUP BY its_month ORDER BY its_month"
        )
        return {month: (count, contents) for month, count, contents in rows}

    def read_hashes(self, table: str) -> Counter[int]:
        """A hash of each row of this machine and user."""
        rows = self.query(f"SELECT {hash_of(self.columns_of(table))} FROM {table} FINAL WHERE {OWNED}")
        return Counter(row_hash for (row_hash,) in rows)

    def read_history(self) -> list[dict[str, Any]]:
        """All import runs of this machine and user, as `write_history` takes them."""
        names = [name for table, name in expected_columns() if table == HISTORY_TABLE]
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
                    (source, key): Stored(name, source, key, content_hash, Usage.of(tokens, cost), project=project)
                    for key, content_hash, *tokens, cost in rows
                }
            )
        return found[0], found[1]

    def has_messages(self) -> bool:
        return bool(self.query(f"SELECT 1 FROM {MESSAGES_TABLE} WHERE {OWNED} LIMIT 1"))

    def read_message_days(self) -> frozenset[date]:
        """The days of Claude Code of which responses are stored."""
        rows = self.query(
            f"SELECT DISTINCT date FROM {MESSAGES_TABLE} WHERE {OWNED} AND source = '{CLAUDE}' AND kind = 'response'"
        )
        return frozenset(day for (day,) in rows)

    def read_totals(self) -> dict[str, Any]:
        """Cost (US dollars), tokens, days by source and sessions of this machine and user."""
        cost, tokens, days, sources, sessions = self.query(
            f"SELECT sum(total_cost), sum(total_tokens), uniqExact(date), sumMap(map(toString(source), toUInt64(1))),"
            f" (SELECT count() FROM {REPORTS['session'].table} FINAL WHERE {OWNED})"
            f" FROM {REPORTS['daily'].table} FINAL WHERE {OWNED}"
        )[0]
        cost = round(cost, DOLLAR_DIGITS)
        return {"cost": cost, "tokens": tokens, "days": days, "days_by_source": sources, "sessions": sessions}

    def read_activity(self) -> dict[date, int]:
        """The weight of each day of which activity is stored."""
        condition = f"{OWNED} AND source = '{CLAUDE}'"
        rows = self.query(f"SELECT date, max(weight) FROM {ACTIVITY_TABLE} WHERE {condition} GROUP BY date")
        return dict(rows)

    def read_days(self) -> dict[str, dict[date, Usage]]:
        """Claude Code's days of this user by machine."""
        found: defaultdict[str, dict[date, Usage]] = defaultdict(dict)
        for machine, day, *tokens, cost in self.query(
            f"SELECT toString(machine_name), date, {', '.join(USAGE_COLUMNS)}, total_cost"
            f" FROM {REPORTS['daily'].table} FINAL WHERE user_name = {{user:String}} AND source = {{source:String}}",
            {"user": self.config.user_name, "source": CLAUDE},
        ):
            found[machine][day] = Usage.of(tokens, cost)
        return found

    def read_former_names(self) -> dict[str, str]:
        """Machines of this user that have got another name, with that."""
        if (FORGOTTEN_TABLE, "what") not in self.column_types:
            return {}
        rows = self.query(
            f"SELECT name, toString(machine_name) FROM {FORGOTTEN_TABLE} FINAL"
            " WHERE user_name = {user:String} AND what = 'machine'",
            {"user": self.config.user_name},
        )
        return dict(rows)

    def read_session_ids(self) -> list[str]:
        """The sessions of this user, on all machines."""
        rows = self.query(
            f"SELECT DISTINCT session_id FROM {REPORTS['session'].table} WHERE user_name = {{user:String}}",
            {"user": self.config.user_name},
        )
        return [session_id for (session_id,) in rows]

    def read_old_tables(self, database: str) -> OldTables:
        """All that the older importer has stored in a database beside this one; its first version had no machines, its
        last one sources.
        """
        types: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for table, name, column_type in self.query(
            "SELECT table, name, type FROM system.columns WHERE database = {database:String}", {"database": database}
        ):
            types[table][name] = column_type
        days = types[REPORTS["daily"].table]
        if not days or "user_name" in days:
            what = "has this importer's own tables" if days else f"has no table {REPORTS['daily'].table}"
            raise ImporterError(
                f"--adopt: the database {database} on {self.config.target} {what}",
                "name the database that the older importer, ccusage-import in Python, has filled; CH_USER must see it",
                EXIT_USAGE,
            )

        def read(table: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
            """Its rows by name, machine and source among them; no value for a column that it lacks."""
            texts = {"machine_name": "''", "source": f"'{CLAUDE}'"}
            listed = [name for name in (*texts, *names) if name in types[table] or name in texts]
            times = {name for name in listed if "DateTime" in types[table].get(name, "")}
            chosen = (
                f"toInt64(toUnixTimestamp({name}))" if name in times else name if name in types[table] else texts[name]
                for name in listed
            )
            rows = self.query(f"SELECT {', '.join(chosen)} FROM `{database}`.{table}") if types[table] else []
            for row in rows:
                yield {
                    name: EPOCH + timedelta(seconds=value) if name in times and value is not None else value
                    for name, value in zip(listed, row, strict=True)
                }

        found: list[OldRow] = []
        for report in REPORTS.values():
            names = [*report.columns, *USAGE_COLUMNS, report.cost_column, "created_at", "updated_at"]
            for row in read(report.table, names):
                usage = Usage.of(map(row.pop, USAGE_COLUMNS), round(row.pop(report.cost_column), DOLLAR_DIGITS))
                owner = (row.pop("source"), row.pop("machine_name"))
                stamps = (row.pop("created_at", EPOCH), row.pop("updated_at", EPOCH))
                found.append(OldRow(report.name, *owner, row, usage, *stamps))
        models: defaultdict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        breakdowns: defaultdict[tuple[str, str, str, str], dict[str, Usage]] = defaultdict(dict)
        of_record = ("record_type", "source", "machine_name", "record_key")
        for row in read(MODELS_TABLE, ("record_type", "record_key", "model_name")):
            kind, source, machine, key = (row[name] for name in of_record)
            models[kind, source, machine, key].add(row["model_name"])
        parts = USAGE_COLUMNS[:4]
        for row in read(BREAKDOWNS_TABLE, ("record_type", "record_key", "model_name", *parts, "cost")):
            kind, source, machine, key = (row[name] for name in of_record)
            tokens = [row[name] for name in parts]
            usage = Usage.of([*tokens, sum(tokens)], round(row["cost"], DOLLAR_DIGITS))
            by_model = breakdowns[kind, source, machine, key]
            by_model[row["model_name"]] = max(usage, by_model.get(row["model_name"], usage), key=lambda one: one.total)
        return OldTables(found, models, breakdowns)

    # -- writing --

    def write_plans(
        self,
        plans: Iterable[Plan],
        repair: bool = False,
        created: Mapping[ChildKey, datetime] | None = None,
        children: ChildrenOf | None = None,
    ) -> None:
        """Delete what is changed or removed, then insert what is new or changed, children with it.

        The order makes a crash harmless: rows go after their children and come back after them. So no
        child is left without a row that the next import knows of, and a row that has come back is whole.
        `repair` deletes the children of rows that are not there, too: after a crash there may be some. `created` tells
        when rows that are new here were first imported elsewhere. `children` of changed rows, where they are known, save
        writing names of models again that are there.

        Nothing is deleted that is newer than what the plan has seen, and what is inserted is newer: a DELETE that a
        server runs late, after its retry and the inserts, finds nothing. updated_at has seconds, so where a row was
        written in this one, or a clock has gone back, the new one is stamped with the second after the old one's.
        """
        plans = list(plans)
        gone = {plan.report: plan.replaced for plan in plans}
        parents: list[Record | Stored] = [row for rows in gone.values() for row in rows]
        parents += [record for plan in plans for record in (*plan.new, *plan.elsewhere)] if repair else []
        seen = max((row.updated_at for rows in gone.values() for row in rows), default=EPOCH)
        if repair:  # children that lost their row are not older than any row
            seen = max(seen, self.read_newest_child())
        known = {} if repair else children or {}
        named = {
            child_key(record): its.models
            for plan in plans
            for record, old in plan.changed
            if (its := known.get(child_key(old))) is not None and {*its.models} <= {*record.models}
        }
        self._delete_children([child_key(row) for row in parents], seen, named)
        self.connections.together(
            [
                functools.partial(self._delete, REPORTS[report], [row.key for row in rows], seen)
                for report, rows in gone.items()
                if rows
            ]
        )
        stamp = max(datetime.now(timezone.utc).replace(microsecond=0), seen + timedelta(seconds=1))
        changed = [old for plan in plans for _, old in plan.changed]
        since = {**(created or {}), **{child_key(old): old.created_at for old in changed}}
        for batch in batches([record for plan in plans for record in plan.written]):
            self._insert_records(batch, since, stamp, named)

    def _insert_records(
        self,
        records: Sequence[Record],
        created: Mapping[ChildKey, datetime],
        stamp: datetime,
        named: Mapping[ChildKey, Collection[str]],
    ) -> None:
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        children: dict[str, list[dict[str, Any]]] = {BREAKDOWNS_TABLE: [], MODELS_TABLE: []}
        rows: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            report = REPORTS[record.report]
            own = {"source": record.source, **owner}
            stamps = {"created_at": created.get(child_key(record), stamp), "updated_at": stamp}
            child = {"record_type": report.record_type, **own, "record_key": record.record_key}
            for model, usage in record.breakdowns.items():
                tokens = dict(zip(USAGE_COLUMNS, usage.tokens, strict=True))
                children[BREAKDOWNS_TABLE].append(
                    {**child, "model_name": model, **tokens, "cost": usage.cost, **stamps}
                )
            names = sorted({*record.models} - {*named.get(child_key(record), ())})
            children[MODELS_TABLE] += [{**child, "model_name": model, **stamps} for model in names]
            row = {**record.columns, **own, **dict(zip(USAGE_COLUMNS, record.usage.tokens, strict=True))}
            row |= {report.cost_column: record.usage.cost, "models_count": len(record.models)}
            row |= {"raw_data": record.raw_data, "content_hash": record.content_hash}
            row |= {"coverage": record.coverage.value, **stamps}
            rows.setdefault(report.table, []).append(row)
        for part in (children, rows):  # one after the other
            self.connections.together(
                [functools.partial(self.insert, table, inserted) for table, inserted in part.items() if inserted]
            )

    def _delete_children(self, keys: Sequence[ChildKey], seen: datetime, named: Container[ChildKey]) -> None:
        of_table = {BREAKDOWNS_TABLE: keys, MODELS_TABLE: [key for key in keys if key not in named]}
        condition = f"{OWNED} AND {SEEN} AND {CHILD_KEYS}"
        self.connections.together(
            [
                functools.partial(self._delete_where, table, condition, {"keys": run, "seen": int(seen.timestamp())})
                for table, its_keys in of_table.items()
                for run in chunked(its_keys)
            ]
        )

    def _delete(self, report: Report, keys: Sequence[Key], seen: datetime) -> None:
        condition = f"{OWNED} AND {SEEN} AND {report.is_among('keys')}"
        for run in chunked([(source, *report.key_of(record_key)) for source, record_key in keys]):
            self._delete_where(report.table, condition, {"keys": run, "seen": int(seen.timestamp())})

    def _delete_where(self, table: str, condition: str, parameters: Mapping[str, Any]) -> None:
        # a Distributed table takes no DELETE: each shard deletes from its own
        target = f"{table}{LOCAL} ON CLUSTER `{self.config.cluster}`" if self.config.cluster else table
        self.command(f"DELETE FROM {target} WHERE {condition}", parameters, self.write_settings)

    def check_written(self, plans: Iterable[Plan]) -> None:
        """Read back what was written; ImporterError where the tables do not hold it to the token."""
        plans = [plan for plan in plans if not plan.is_empty]
        if not plans:
            return
        checks = [functools.partial(check, plans) for check in (self._rows_not_written, self._children_not_written)]
        wrong = [name for names in self.connections.together(checks) for name in names]
        if wrong:
            raise ImporterError(
                f"{len(wrong)} stored rows are not what was written: {', '.join(wrong[:3])}",
                "is another machine or container using the same machine and user name? Set MACHINE_NAME. "
                "The fetched reports are kept; the next import tries again",
            )

    def _rows_not_written(self, plans: Iterable[Plan]) -> list[str]:
        written = {
            (plan.report, *record.key): (record.content_hash, record.usage) for plan in plans for record in plan.written
        }
        removed = [(plan.report, *old.key) for plan in plans for old in plan.removed]
        stored = self._read_hashes([*written, *removed])
        wrong = [f"{row[0]} {row[2]}" for row, told in written.items() if stored.get(row) != told]
        return wrong + [f"{row[0]} {row[2]} (not deleted)" for row in removed if row in stored]

    def _read_hashes(self, rows: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], tuple[int, Usage]]:
        """Content hash and usage of those of these rows (report, source, record key) that are stored."""
        stored: dict[tuple[str, str, str], tuple[int, Usage]] = {}
        every = len(rows) > MANY_KEYS  # as for children: then it is faster to read all rows and look
        for run in [rows] if every else chunked(rows):
            keys: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
            for name, source, record_key in run:
                keys[name].append((source, *REPORTS[name].key_of(record_key)))
            selects = [
                f"SELECT '{name}' AS report, source, {report.record_key} AS record_key, content_hash,"
                f" {', '.join(USAGE_COLUMNS)}, {report.cost_column} AS cost"
                f" FROM {report.table} FINAL WHERE {OWNED} AND {'true' if every else report.is_among(name)}"
                for name, report in REPORTS.items()
                if name in keys
            ]
            parameters = {} if every else keys
            for name, source, key, content_hash, *tokens, cost in self.query(" UNION ALL ".join(selects), parameters):
                stored[name, source, key] = content_hash, Usage.of(tokens, cost)
        return stored

    def _children_not_written(self, plans: Iterable[Plan]) -> list[str]:
        wrong: list[str] = []
        for batch in batches([record for plan in plans for record in plan.written]):
            children = self.read_children([child_key(record) for record in batch])
            wrong += [
                f"{record.report} {record.record_key} (models)"
                for record in batch
                if children[child_key(record)] != Children(record.models, record.breakdowns)
            ]
        return wrong

    def write_activity(self, days: Mapping[date, Activity]) -> None:
        """Insert what is more than is stored of these days: of a day's rows the engine keeps the one with most."""
        owner = {"source": CLAUDE, "machine_name": self.config.machine_name, "user_name": self.config.user_name}
        now = datetime.now(timezone.utc).replace(microsecond=0)
        rows = [
            {"date": day, **owner, **dict(zip(ACTIVITY_FIELDS, counts, strict=True))}
            | {"weight": sum(counts), "read_at": now}
            for day, counts in sorted(days.items())
        ]
        if rows:
            self.insert(ACTIVITY_TABLE, rows)

    def write_history(self, row: Mapping[str, Any]) -> None:
        now = datetime.now(timezone.utc).replace(microsecond=0)
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        self.insert(HISTORY_TABLE, [{**owner, **row, "created_at": now, "updated_at": now}])

    def write_forgotten(self, *rows: Mapping[str, Any], done: bool) -> None:
        """Record what is not to come back, before it goes, in one insert: see `Forgotten`. `rows` say `what`, and more."""
        owner = {"machine_name": self.config.machine_name, "user_name": self.config.user_name}
        nothing = {"name": "", "before": FIRST_DAY, "began": EPOCH}
        stamps = {"is_done": int(done), "updated_at": datetime.now(timezone.utc)}
        self.insert(FORGOTTEN_TABLE, [{**owner, **nothing, **row, **stamps} for row in rows])
        self.known_forgotten = None

    def has_forgotten(self) -> bool:
        """Whether anything was ever deleted on demand, of anybody."""
        is_known = (FORGOTTEN_TABLE, "what") in self.column_types
        return is_known and bool(self.query(f"SELECT 1 FROM {FORGOTTEN_TABLE} WHERE what != 'machine' LIMIT 1"))

    def end_forgetting(self) -> None:
        """Record that what was to be forgotten is gone."""
        done = (
            "SELECT * REPLACE (1 AS is_done, greatest(now64(3), addMilliseconds(t.updated_at, 1)) AS updated_at)"
            f" FROM {FORGOTTEN_TABLE} AS t FINAL WHERE {OWNED} AND what != 'machine' AND NOT t.is_done"
        )
        self.insert_from(self, FORGOTTEN_TABLE, done, {})
        self.known_forgotten = None

    def delete_where(self, tables: Iterable[str], condition: str) -> None:
        """Delete rows of this machine and user; `condition` is of columns that all of these tables have."""
        for table in tables:
            self._delete_where(table, f"{OWNED} AND {condition}", {})

    def delete_owner(self) -> None:
        """Delete everything of this machine and user: rows before their children, history, which tells how days are cut, last."""
        reports = (report.table for report in REPORTS.values())
        tables = (*reports, BREAKDOWNS_TABLE, MODELS_TABLE, *LOG_TABLES, ACTIVITY_TABLE, FORGOTTEN_TABLE, HISTORY_TABLE)
        self.delete_where(tables, "1")

    def delete_copied_responses(self, select: str) -> None:
        """Delete the responses that the statement finds to be a sidechain's copies of others."""
        copied = [message_id for (message_id,) in self.query(select)]
        for run in chunked(copied):
            self._delete_where("ccusage_messages", f"{OWNED} AND message_id IN {{ids:Array(UInt64)}}", {"ids": run})

    def delete_history(self, import_id: str, error: str) -> None:
        condition = f"{OWNED} AND import_id = {{id:String}} AND error = {{error:String}}"
        self._delete_where(HISTORY_TABLE, condition, {"id": import_id, "error": error})


# What else than tokens, model and times a row of the logs tells, and what stands there once its project is forgotten.
TELLING_COLUMNS = {
    "project_id": "''",
    "session_id": "''",
    "agent_id": "''",
    "parent_id": "0",
    "branch_id": "''",
    "text_chars": "0",
    "thinking_chars": "0",
    "tool_uses": "0",
}
# a view's text without the name of the database
UNQUALIFIED = "replaceRegexpAll({}, concat('`?', {{database:String}}, '`?[.]'), '')"
OWNED = "machine_name = {machine:String} AND user_name = {user:String}"
SEEN = "updated_at <= toDateTime({seen:Int64}, 'UTC')"
CHILD_KEYS = "(record_type, source, record_key) IN {keys:Array(Tuple(String, String, String))}"


def hash_of(columns: Iterable[str]) -> str:
    """A hash over these columns of a row. In a tuple: alone, a NULL would make it NULL."""
    return f"cityHash64(tuple({', '.join(f'`{name}`' for name in columns)}))"


def contents_of(columns: Iterable[str]) -> str:
    """How many rows there are, and a hash over these columns of all of them, in any order."""
    return f"count(), groupBitXor({hash_of(columns)})"


def copy_months(
    source: Store, target: Store, table: str, condition: str = "", identity: Iterable[str] = (), replaced: str = ""
) -> None:
    """Bring one machine's and user's rows of a table to another database as they are, month by month.

    A month that is there already, as the columns of `identity` (all) tell, is not sent again. `condition` narrows the
    rows, `replaced` says what stands in place of a column.
    """
    columns = list(identity) or [name for owner, name in expected_columns() if owner == table]
    owned = f"{OWNED}{condition}"
    there = target.read_months(table, columns, owned)
    for month, told in source.read_months(table, columns, owned).items():
        if there.get(month) != told:
            select = f"SELECT *{replaced} FROM {table} FINAL WHERE {owned} AND {MONTH_OF[table]} = {month}"
            target.insert_from(source, table, select, {})
    if table in CONVERSATION_KEYS:
        target.delete_beaten_copies(table)


def scope_of(records: Mapping[str, Sequence[Record]], beside: Iterable[date] = ()) -> dict[str, Any]:
    """The part of the tables that an import of these records can meet, and of the days `beside`, for `Report.scope`.

    Days from the first of the earliest month on, because months are held against their days, and from the day before
    the earliest, which may have a message of it; blocks that can hold messages of these days, or of those before;
    sessions by their ids and, for the rows of ccusage 15 to 18, their projects'.
    """
    days = [
        max(record.columns["date"], FIRST_DAY + ONE_DAY) - ONE_DAY
        for name in ("daily", "projects")
        for record in records.get(name, ())
    ]
    days += [date(record.columns["year"], record.columns["month_num"], 1) for record in records.get("monthly", ())]
    starts = [block_span(record)[0] for record in records.get("blocks", ())]
    sessions = {record.record_key for record in records.get("session", ())}
    sessions |= {record.columns["project_path"] for record in records.get("session", ())}
    first_day, first_start = min(days, default=FIRST_DAY), min(starts, default=EPOCH)
    for day in beside:
        first_day = min(first_day, day)
        first_start = min(first_start, datetime.combine(day, datetime.min.time(), timezone.utc))
    return {
        "first_day": first_day.replace(day=1),
        "first_block": max(int((first_start - MARGIN).timestamp()), 0),
        "sessions": sorted(sessions - {""}),
    }


def do_without_dataframes() -> None:
    """Keep the driver and chdb from loading libraries that are not used here, where they are installed all the same.

    chdb loads pyarrow (0.15 s), the driver's first insert pandas and numpy (0.2 to 0.35 s) to see whether it
    was given one of their tables. Both do without where they are not installed.
    """
    for library in ("pandas", "pyarrow", "numpy"):
        if importlib.util.find_spec(library) is not None:
            sys.modules.setdefault(library, None)  # type: ignore[arg-type]  # makes its import an ImportError


def connect_embedded(path: str) -> Client:
    import clickhouse_connect

    return clickhouse_connect.get_client(interface="chdb", path=path, settings=EMBEDDED_SETTINGS)


def open_store(config: Config) -> Store:
    """Connect to the server or open the embedded engine. Takes 0.3 s embedded: call it in a thread."""
    do_without_dataframes()
    try:
        foreign = Path("config.xml").absolute()
    except FileNotFoundError as error:
        raise ImporterError("the folder in which this runs was removed", "run in another folder") from error
    if config.embedded and foreign.exists():  # its <path> would lead the data elsewhere
        raise ImporterError(f"the embedded engine would take {foreign} for its own settings", "run in another folder")
    try:
        import clickhouse_connect

        if config.embedded:
            import chdb  # noqa: F401
    except ImportError as error:
        raise ImporterError(
            f"the engine's library is not installed: {error}",
            "install clickhouse-connect[chdb] with chdb-core 26.7 or newer, or set CH_HOST",
        ) from error

    def connect() -> Client:
        if config.embedded:
            return connect_embedded(str(config.db_path))
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

    def open_client() -> Client:
        return cast("Client", with_retries(config, f"open {config.target}", connect, STATEMENT_ATTEMPTS))

    store = Store(config, Connections(open_client(), open_client if config.embedded else None))
    version = str(store.client.server_version)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_ENGINE:
        store.close()
        raise ImporterError(f"ClickHouse {version} at {config.target} is older than 25.8", "update the server")
    return store


def open_memory_engine(config: Config) -> Store:
    """The engine in this process without a database, to read with where the database is on a server."""
    local = dataclasses.replace(config, host=None)
    do_without_dataframes()

    def open_client() -> Client:
        return cast("Client", with_retries(local, "open an engine in memory", lambda: connect_embedded(":memory:"), 1))

    return Store(local, Connections(open_client(), open_client))


def has_embedded_data(config: Config) -> bool:
    return (config.db_path / "metadata").exists()


Opened = tuple[Store | None, Future[LastImport | None]]


def open_ready_store(config: Config, make_schema: bool) -> Opened:
    """The store and the last import; no store for an embedded database that is not there and not to be made.

    A team's database has other people's imports: no last one, and its days are told by the zone of who asks. Where an
    import may follow, the helper reads the last one, and there is other work for it then.
    """
    last: Future[LastImport | None] = Future()
    if config.embedded and not make_schema and not has_embedded_data(config):
        last.set_result(None)
        return None, last
    store = open_store(config)
    try:
        missing = store.read_schema(is_to_grow=make_schema)
        if make_schema and store.is_team:
            raise ImporterError(
                f"{config.database} at {config.target} is a team's database: it shows people's rows and holds none",
                f"set CH_DATABASE to your own, such as {config.database}_ada",
                EXIT_USAGE,
            )
        if missing:
            store.grow_schema(missing)
        if not store.holds_usage or store.is_team:
            last.set_result(None)
        elif make_schema:
            last = store.connections.meanwhile(store.read_last_import)
        else:
            last.set_result(store.read_last_import())
        if make_schema and config.embedded and not missing:
            store.remove_outdated_parts()
    except BaseException:
        store.close()
        raise
    return store, last


# =====================================================================================================
# Teams: what an administrator runs for a database for each person, and one over all of them
# =====================================================================================================

TEAM_FILE = "team.sql"
DASHBOARDS = "dashboards"  # the user that reads everybody's rows
# What a person's user may do in that person's database: what an import needs, and what a newer version adds with.
IMPORT_RIGHTS = ("SELECT", "INSERT", "ALTER UPDATE", "ALTER DELETE")
GROWTH_RIGHTS = ("CREATE TABLE", "CREATE VIEW", "DROP VIEW", "ALTER ADD COLUMN")
RESERVED_NAMES = frozenset((DASHBOARDS, "reader", "importer"))  # names of the user and the roles beside the people


def persons_database(team: str, person: str) -> str:
    """The database of a person, which is the name of the person's user, too: no other user is ever touched."""
    accepted = "a name of letters, digits, _ and -, to stand behind " + f"{team}_"
    if person in RESERVED_NAMES or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", person):
        raise configuration_error("a person's name", person, f"{accepted}; not {', '.join(sorted(RESERVED_NAMES))}")
    try:
        return read_database("a person's name", f"{team}_{person}")
    except ImporterError as error:
        raise configuration_error("a person's name", person, f"{accepted}, 64 characters with it") from error


def read_password_hashes(path: Path) -> dict[str, str]:
    """The SHA-256 of passwords by name, of a file with a name and a hash on each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ImporterError(f"--password-hashes: {path} cannot be read", "give a text file", EXIT_USAGE) from error
    hashes = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not re.fullmatch(r"[0-9A-Fa-f]{64}", words[1]):
            wanted = 'a name and 64 hex digits on each line, of: printf %s "$password" | sha256sum'
            raise ImporterError(f"--password-hashes: line {number} of {path} is another", wanted, EXIT_USAGE)
        hashes[words[0]] = words[1].lower()
    return hashes


def team_part(name: str, config: Config, values: Mapping[str, str]) -> Iterator[str]:
    """The statements of a part of team.sql, filled in."""
    everywhere = f" ON CLUSTER `{config.cluster}`" if config.cluster else ""
    values = {"team": config.database, "everywhere": everywhere, **values}
    text = re.sub(r"{(\w+)}", lambda match: values[match[1]], named_parts(own_file(TEAM_FILE))[name])
    return iter(split_statements(text))


def team_sql(config: Config, people: Sequence[str], hashes: Mapping[str, str]) -> Iterator[str]:
    """Everything for a team of these people: may be run again, with more of them, and with a newer schema."""
    databases = {person: persons_database(config.database, person) for person in people}
    declared = declared_schema(config.cluster, config.database)
    tables = [item for item in declared if not item.select]
    merged = ", ".join(f"'{item.name}'" for item in tables if MERGE in item.statement)

    def hash_of(name: str) -> str:
        return hashes.get(name, f"here goes the SHA-256 of the password of {name}")

    yield from team_part("team", config, {"merged": merged})
    # tables that may not be there, then columns, then every view's text, which may read these columns
    yield from growth(tables, {}, (), config.cluster)
    yield from growth(declared, {item.name: () for item in declared}, (), config.cluster)
    rights = {"rights": ", ".join(IMPORT_RIGHTS), "growth_rights": ", ".join(GROWTH_RIGHTS)}
    for person, database in databases.items():
        yield from team_part("person", config, {"database": database, "hash": hash_of(person), **rights})
    yield from team_part(DASHBOARDS, config, {"hash": hash_of(DASHBOARDS)})


def removal_sql(config: Config, person: str) -> Iterator[str]:
    """What takes a person out of a team, with everything that is stored of that person."""
    database = persons_database(config.database, person)
    budgets = BUDGETS_TABLE + (LOCAL if config.cluster else "")
    return team_part("removed", config, {"person": person, "database": database, "budgets": budgets})


# =====================================================================================================
# Logs: which log files have changed; read by the engine; messages and tool calls stored
# =====================================================================================================

CONVERSATIONS_FILE = "conversations.sql"
READER = 2  # raise it where conversations.sql takes more out of a log: what still exists is then read again
# of logs read at once: a batch costs 0.4 CPU s before its first line, and memory beyond that
BATCH_BYTES = 48 * 1024**2
# of logs in a batch from which on memory is given back between its statements; what fewer take is soon used again
GIVEN_BACK_BYTES = 4 * 1024**2
READING_THREADS = 2  # gentle on a laptop
LAST_PLACE = 2**63
ROOM = 2**48  # that the last of all leaves to the one before it
NOT_READ = 0  # the reader of a log whose messages are not all stored yet
GLOB_CHARACTERS = frozenset("*?{}[]")


@dataclass(frozen=True)
class LogFile:
    """A log as it was when it was looked for: size in bytes, `modified` in nanoseconds since 1970.

    `name_id` is of its name below the project's folder, by which a renamed folder's logs are known again. `place` orders
    logs as their paths do, which are not stored.
    """

    path: str
    size: int
    modified: int
    file_id: str
    name_id: int
    session_id: str
    project_id: str
    place: int = 0
    former: tuple[str, ...] = ()  # projects under which it was read before its folder got another name


class KnownLog(NamedTuple):
    """A log as it was when it was last read; `read_at` in milliseconds since 1970."""

    size: int
    modified: int
    name_id: int
    place: int
    reader: int
    project_id: str = ""
    read_at: int = 0
    session_id: str = ""

    def may_be(self, file: LogFile) -> bool:
        """Whether that log, which is gone, can be this one by now: they have one name, and a log only grows."""
        return self.name_id == file.name_id and self.size <= file.size and self.modified <= file.modified


@dataclass
class LogsRead:
    """What reading the logs brought so far, of all there is to read; `problems` make the import a partial one."""

    files: int = 0
    bytes: int = 0
    all_files: int = 0
    all_bytes: int = 0
    messages: int = 0
    tool_calls: int = 0
    broken_lines: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: bool = False  # from outside: after this batch no other


def log_name(path: str) -> tuple[str, str, str]:
    """Project and session of a log, and its name below the project's folder, as ccusage reads its path."""
    below = path.split("/projects/", 1)[1].split("/")
    project = below[0] if below[0].strip() else "unknown"
    if len(below) == 2:
        session = below[1].removesuffix(".jsonl")
    elif len(below) >= 4 and below[-2] == "subagents":
        session = below[-3]
    else:
        session = below[max(len(below) - 2, 0)]
    return project, session, "/".join(below[1:])


def find_logs(folders: Iterable[Path], privacy: Privacy) -> tuple[list[LogFile], int]:
    """Claude Code's logs as ccusage finds them, no link followed, in the order of their paths; how many cannot be read."""
    found: dict[str, os.stat_result] = {}
    unreadable = 0
    waiting = [str(folder / "projects") for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.name[1:].endswith(".jsonl") and entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):
                            found[entry.path] = entry.stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue  # there is none, or it was removed meanwhile
        except OSError:
            unreadable += 1
    files = []
    project_id, session_id = functools.cache(privacy.name), functools.cache(privacy.session)
    for path in sorted(found):
        said = path if path.isprintable() else os.fsencode(path).decode("utf-8", "replace")
        project, session, name = log_name(said)
        files.append(
            LogFile(
                path,
                found[path].st_size,
                found[path].st_mtime_ns,
                file_id=privacy.digest(said)[:16],
                name_id=int(privacy.digest(name)[:16], 16),
                session_id=session_id(session),
                project_id=project_id(project),
            )
        )
    return files, unreadable


Gone = Mapping[int, Sequence[KnownLog]]  # logs that are no longer there, by `name_id`


def place_logs(found: Sequence[LogFile], known: Mapping[str, KnownLog], gone: Gone) -> dict[str, int]:
    """The place of each log by its `file_id`. Pure.

    A log that is new comes between its neighbours, behind what is gone there, unless both are of one project and its
    session is the earlier by name. One that may be another which is gone takes its place.
    """
    here = {file.file_id for file in found}
    renamed = {
        log.project_id: file.project_id for file in found for log in gone.get(file.name_id, ()) if log.may_be(file)
    }
    taken = sorted((log.place, file_id) for file_id, log in known.items())
    behind = 0  # the first of these that comes after the log before
    places: dict[str, int] = {}
    new: list[LogFile] = []

    def place_new() -> None:
        """Share what is free here among those that are new. Names that ascend, as dates do, find most of it behind them."""
        before = taken[behind - 1][0] if behind else 0
        if behind < len(taken):
            step = (taken[behind][0] - before) // (4 * (len(new) + 1))
        else:
            step = min((LAST_PLACE - before) // (len(new) + 1), ROOM)
        places.update({file.file_id: before + step * number for number, file in enumerate(new, 1)})
        new.clear()

    def is_after(file: LogFile, file_id: str) -> bool:
        log = known[file_id]
        project = renamed.get(log.project_id, log.project_id)
        return file_id not in here and not (file.project_id == project and file.session_id < log.session_id)

    vacated: set[int] = set()
    for file in found:
        place = known[file.file_id].place if file.file_id in known else None
        if place is None:
            vacant = (log.place for log in gone.get(file.name_id, ()) if log.may_be(file))
            place = next((place for place in vacant if place not in vacated), None)
        if place is not None:
            vacated.add(place)
            place_new()
            places[file.file_id] = place
            behind = bisect.bisect_right(taken, (place, "~"))
            continue
        while behind < len(taken) and is_after(file, taken[behind][1]):
            place_new()
            behind += 1
        new.append(file)
    place_new()
    return places


def plan_logs(found: Sequence[LogFile], known: Mapping[str, KnownLog], reader: int, everything: bool) -> list[LogFile]:
    """The logs that have to be read, each with its place. Pure.

    The copy that is read last counts among equal ones, so within a session the path that still exists decides the
    project, and between sessions the order stays. What is gone of such a session, a sub-agent's log, has the projects in
    `former`.
    """
    gone: defaultdict[int, list[KnownLog]] = defaultdict(list)
    here = {file.file_id for file in found}
    for file_id, log_read in known.items():
        if file_id not in here:
            gone[log_read.name_id].append(log_read)
    places = place_logs(found, known, gone)
    at_home = {(file.session_id, file.project_id) for file in found} if gone else set()

    def former_projects(file: LogFile) -> tuple[str, ...]:
        old = known.get(file.file_id)
        read_at = old.read_at if old is not None and old.reader > NOT_READ else -1
        others = (log for log in gone.get(file.name_id, ()) if log.read_at > read_at and log.may_be(file))
        projects = {log.project_id for log in others}
        return tuple(sorted(p for p in projects if (file.session_id, p) not in at_home))

    def is_read(file: LogFile) -> bool:
        old = known.get(file.file_id)
        is_same = old is not None and (old.size, old.modified) == (file.size, file.modified) and old.reader >= reader
        return is_same and not (gone and former_projects(file))

    return [
        dataclasses.replace(file, place=places[file.file_id], former=former_projects(file))
        for file in found
        if everything or not is_read(file)
    ]


def reader_of(config: Config) -> int:
    """The version of the extraction: storing conversations, too, is more, so turning it on reads again what exists."""
    return 2 * READER + config.stores_conversations


def read_known_logs(store: Store) -> dict[str, KnownLog]:
    rows = store.query(
        "SELECT file_id, size, toUnixTimestamp64Nano(modified_at), name_id, place, reader, project_id,"
        " toUnixTimestamp64Milli(read_at), session_id"
        f" FROM ccusage_log_files FINAL WHERE {OWNED} AND source = 'claude'"
    )
    return {file_id: KnownLog(*values) for file_id, *values in rows}


def log_batches(files: Iterable[LogFile]) -> Iterator[list[LogFile]]:
    batch: list[LogFile] = []
    for file in files:
        if batch and sum(other.size for other in batch) + file.size > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


@contextlib.contextmanager
def linked(files: Iterable[LogFile], folder: Path) -> Iterator[tuple[Path, list[LogFile], int]]:
    """A private folder with a link to each log under a name of our own, and `files.jsonl`, which tells whose it is.

    Gives the folder, the logs that are in it, and how many could not be read; who has vanished is not missed. So no path
    reaches SQL, where some characters mean other things, and a log that is deleted meanwhile is read whole.
    """
    if GLOB_CHARACTERS & {*str(folder)}:
        folder = Path(tempfile.mkdtemp(prefix="ccusage-importer-"))
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True, mode=0o700)
    inside: list[LogFile] = []
    unreadable = 0
    try:
        with (folder / "files.jsonl").open("x", encoding="utf-8") as manifest:
            for number, file in enumerate(files, 1):
                link = folder / f"{number}.log"
                try:
                    Path(file.path).open("rb").close()
                    try:
                        link.hardlink_to(file.path)
                    except FileNotFoundError:
                        raise
                    except OSError:  # another file system, or one without hard links
                        link.symlink_to(file.path)
                except FileNotFoundError:
                    continue
                except PermissionError:
                    unreadable += 1
                    continue
                told = {name: value for name, value in vars(file).items() if name not in ("path", "former")}
                manifest.write(json.dumps({"number": number, **told}) + "\n")
                inside.append(file)
        yield folder, inside, unreadable
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse_conversations(sql: str) -> dict[str, str]:
    """The named statements of conversations.sql, in their order."""
    return {name: split_statements(text)[0] for name, text in named_parts(sql).items()}


@functools.cache
def zone_offsets(zone: str) -> tuple[list[int], list[int]]:
    """Since when which offset from UTC holds in a zone: epoch seconds, ascending, and seconds.

    From this system's tables, as ccusage has them: the engine has its own, of another year, and some country has changed
    its zone since. Before 2020 and after 2040 the nearest of these offsets.
    """
    place = zoneinfo.ZoneInfo(zone)

    def offset(moment: int) -> int:
        return round(datetime.fromtimestamp(moment, place).utcoffset().total_seconds())  # type: ignore[union-attr]

    moment, last = (int(datetime(year, 1, 1, tzinfo=timezone.utc).timestamp()) for year in (2020, 2040))
    step, smallest = 3 * 86_400, 900  # around Ramadan some change twice within two weeks
    since, offsets = [0], [offset(moment)]
    while moment < last:
        following = moment + step
        if offset(following) != offsets[-1]:
            quarters = range(moment, following + smallest, smallest)
            following = quarters[bisect.bisect_left(quarters, True, key=lambda at: offset(at) != offsets[-1])]
            since.append(following)
            offsets.append(offset(following))
        moment = following
    return since, offsets


def parameters_of(config: Config) -> dict[str, Any]:
    """What the statements of conversations.sql are told. The key of the hash as RFC 2104 has it: its two pads."""
    key = config.project_hash_key.encode()
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    privacy = privacy_of(config).fingerprint.partition("-")[0]
    return {
        "privacy": privacy,
        "inner_pad": bytes(byte ^ 0x36 for byte in key).hex() if privacy == "hmac" else "",
        "outer_pad": bytes(byte ^ 0x5C for byte in key).hex() if privacy == "hmac" else "",
        "conversations": config.stores_conversations,
        "machine": config.machine_name,
        "user": config.user_name,
        "reader": reader_of(config),
        "threads": READING_THREADS,
    }


def read_batch(
    store: Store,
    engine: Store,
    permitted: Callable[[], str],
    parameters: Mapping[str, Any],
    files: Sequence[LogFile],
    has_new: bool,
    is_last: bool,
) -> tuple[int, int, int]:
    """Let the engine read what is linked, and store it; returns how many messages, tool calls and broken lines.

    `engine` is the store itself, or where that is a server, an engine in this process. While it reads, `permitted` tells
    the zone, or raises. A new log's place is stored before its messages, which have it in their weight: one that is
    killed here and renamed then takes its place.
    """
    statements = parse_conversations(own_file(CONVERSATIONS_FILE))
    moved = sorted({(file.session_id, former, file.project_id) for file in files for former in file.former})

    def bound(sql: str) -> dict[str, Any]:
        return {name: parameters[name] for name in re.findall(r"\{(\w+):", sql)}

    def run(name: str) -> None:
        engine.command(statements[name], bound(statements[name]))

    def store_log_files(**instead: Any) -> None:
        told = statements[LOG_FILES_TABLE]
        store.insert_from(engine, LOG_FILES_TABLE, told, {**bound(told), **instead})

    def place() -> dict[str, Any]:
        since, offsets = zone_offsets(permitted())
        if has_new:
            store_log_files(reader=NOT_READ)
        return {"since": since, "offsets": offsets}

    def store_table(table: str) -> None:
        store.insert_from(engine, table, statements[table], bound(statements[table]))
        for run in chunked(moved):
            store.insert_from(store, table, statements["moved"], {"table": table, "moved": run})

    def give_memory_back() -> None:
        with contextlib.suppress(ImporterError):  # an engine that is built without jemalloc does so by itself
            engine.command("SYSTEM JEMALLOC PURGE")

    engine.command("DROP DATABASE IF EXISTS reading")  # of a batch that failed
    engine.command("CREATE DATABASE reading ENGINE = Memory")
    for name in ("files", "texts", "lines", "read_files"):
        run(name)
    placed = engine.connections.meanwhile(place)
    for name in ("read_texts", "read_lines"):
        run(name)
    engine.command("DROP TABLE reading.texts")
    parameters = {**parameters, **placed.result()}
    storing: list[Callable[[], Any]] = [
        functools.partial(store_table, MESSAGES_TABLE),
        *([give_memory_back] if sum(file.size for file in files) > GIVEN_BACK_BYTES else []),
        functools.partial(store_table, TOOLS_TABLE),
        functools.partial(engine.query, statements["totals"], bound(statements["totals"])),
    ]
    *_, [(messages, tool_calls, broken_lines, is_near_a_border)] = engine.connections.together(storing)
    deleting = [functools.partial(store.delete_copied_responses, statements["copied_responses"])] if is_last else []
    deleting += [
        functools.partial(store.delete_beaten_copies, table) for table in CONVERSATION_KEYS if is_near_a_border
    ]
    engine.connections.together(deleting)
    store_log_files()
    engine.command("DROP DATABASE reading")
    return messages, tool_calls, broken_lines


def read_logs(store: Store, permitted: Callable[[], str], everything: bool, told: LogsRead) -> None:
    """Store the messages and tool calls of all logs that are new or have changed, or of `everything`; `told` follows.

    `permitted` is asked before the first is stored: it gives the zone that cuts the days, or raises ImporterError.
    Whatever goes wrong here is told as a problem: the reports do without. Logs of which something could not be stored
    are read again by the next import.
    """
    config = store.config
    privacy = privacy_of(config)
    engine = store
    try:
        found, unreadable = find_logs(claude_folders(os.environ), privacy)
        known = read_known_logs(store)
        files = plan_logs(found, known, reader_of(config), everything)
        told.all_files, told.all_bytes = len(files), sum(file.size for file in files)
        parameters = parameters_of(config)
        if files and not config.embedded:
            engine = open_memory_engine(config)
        left = len(files)
        for batch in log_batches(files):
            if told.stopped:
                break
            left -= len(batch)
            with linked(batch, config.lock_path / "reading") as (folder, inside, closed):
                unreadable += closed
                if inside:
                    own = {"logs": str(folder / "*.log"), "manifest": str(folder / "files.jsonl")}
                    has_new = any(file.file_id not in known for file in inside)
                    counts = read_batch(store, engine, permitted, {**parameters, **own}, inside, has_new, not left)
                    told.messages += counts[0]
                    told.tool_calls += counts[1]
                    told.broken_lines += counts[2]
            told.files += len(inside)
            told.bytes += sum(file.size for file in inside)
        if unreadable:
            told.problems.append(
                f"{unreadable:,} logs or folders of logs cannot be read: look at their owner and rights"
            )
    except ImporterError as error:
        told.problems.append(f"the conversations could not be stored: {error.what}; {error.fix}")
    except OSError as error:
        told.problems.append(f"the conversations could not be read: {error.strerror}")
    finally:
        if engine is not store:
            engine.close()


def read_message_sums(store: Store, rows: Unsettled) -> list[MessageSum]:
    """All stored responses of these days, of the days beside them, of each session that has any there, and of `sessions`."""
    if not rows.days and not rows.sessions:
        return []
    beside = {day + step for day in rows.days for step in DAYS_BESIDE}
    named, dated = (list(chunked(sorted(values))) for values in (rows.sessions, beside))
    # too many for a parameter: all since then are read, and looked through here
    every = len(named) > 1 or len(dated) > 1
    parameters = {
        "days": dated[0] if dated and not every else [],
        "sessions": named[0] if named and not every else [],
        "every": every,
        "since": max(int(rows.since.timestamp()), 0),
    }
    found = []
    for row in store.query(parse_conversations(own_file(CONVERSATIONS_FILE))["message_sums"], parameters):
        session, project, day, model, hour, on_the_hour, first, last, entries, *tokens, hour_cache = row
        found.append(
            MessageSum(
                session,
                project,
                day,
                model,
                EPOCH + timedelta(seconds=hour),
                bool(on_the_hour),
                EPOCH + timedelta(milliseconds=first),
                EPOCH + timedelta(milliseconds=last),
                entries,
                Usage.of([*tokens, sum(tokens)], 0.0),
                hour_cache,
            )
        )
    asked = rows.sessions | {item.session_id for item in found if item.day in beside} if every else set()
    return [item for item in found if item.day in beside or item.session_id in asked] if every else found


def find_activity(folders: Iterable[Path]) -> tuple[dict[date, Activity], list[str]]:
    """What Claude Code has counted of each day in all of its folders, and what could not be read."""
    total: dict[date, Activity] = {}
    problems: list[str] = []
    for path in sorted({(folder / ACTIVITY_FILE).resolve() for folder in folders}):  # of two links to one file one
        try:
            days, odd = reshape_activity(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError, ImporterError) as error:
            said = error.what if isinstance(error, ImporterError) else f"{ACTIVITY_FILE}: {type(error).__name__}"
            problems.append(f"{said}; the activity of days before the logs is not read")
            continue
        problems += [f"{error.what}; this day is left out" for error in odd[:TOLD_ROWS]]
        for day, counts in days.items():
            total[day] = tuple(map(sum, zip(counts, total.get(day, (0,) * len(counts)), strict=True)))
    return total, problems


def read_activity(store: Store, told: LogsRead) -> None:
    """Store the days of which Claude Code itself has counted more than is stored. They tell how somebody works."""
    if not store.config.stores_conversations:
        return
    try:
        days, problems = find_activity(claude_folders(os.environ))
        told.problems += problems
        if days:
            stored = store.read_activity()
            kept = {day: counts for day, counts in days.items() if day >= store.forgotten.messages}
            more = {day: counts for day, counts in kept.items() if sum(counts) > stored.get(day, 0)}
            store.write_activity(more)
    except ImporterError as error:
        told.problems.append(f"the activity of days could not be stored: {error.what}; {error.fix}")


def push_logs(local: Store, served: Store, alone: bool = False) -> None:
    """Bring what was read of one machine's and user's logs to the other database, or of it the responses `alone`."""
    copy_months(local, served, MESSAGES_TABLE, " AND kind = 'response'" if alone else "")
    if not alone:
        copy_months(local, served, TOOLS_TABLE)
        copy_months(local, served, ACTIVITY_TABLE, "", ("date", *ACTIVITY_FIELDS))
    reader = f" REPLACE (least(reader, {reader_of(served.config)}) AS reader)" if alone else ""
    copy_months(local, served, LOG_FILES_TABLE, "", ("file_id", "size", "modified_at", "read_at"), reader)


# =====================================================================================================
# Import: the lock, pending reports, the order of one import, its check and its history
# =====================================================================================================


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


@contextlib.contextmanager
def opening(
    config: Config, on_wait: Callable[[str], None], lock: bool, make_schema: bool = False
) -> Iterator[Future[Opened]]:
    """What `open_ready_store` gives, from a thread of its own: under the lock where it is to be held, closed at the end."""
    sys.setswitchinterval(0.0005)  # beside one that computes, the thread waits 5 ms each time it has let go of Python
    held = ImportLock(config.lock_path, on_wait) if lock else contextlib.nullcontext()
    with held, ThreadPoolExecutor(1, thread_name_prefix="store") as opener:
        # the engine's files are made as the process may make them, and the user's folder may be open to others
        umask = os.umask(0o077)
        future = opener.submit(open_ready_store, config, make_schema)
        try:
            yield future
        finally:
            store = future.result()[0] if future.exception() is None else None
            if store is not None:
                store.close()
            os.umask(umask)


def with_last_import(opened: Future[Opened]) -> tuple[Store | None, LastImport | None]:
    """What was opened, once the last import is known, too."""
    store, last = opened.result()
    return store, last.result()


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
    missing: list[str] = field(default_factory=list)  # rows left out, logs not found: what makes it partial, too
    logs: LogsRead = field(default_factory=LogsRead)
    totals: dict[str, Any] = field(default_factory=dict)
    duration: float = 0.0

    @property
    def status(self) -> str:
        if not self.errors and not self.missing:
            return "completed"
        return "partial" if self.plans else "failed"

    @property
    def has_usage(self) -> bool:
        """Whether ccusage told of any usage, or may have."""
        return bool(self.errors) or any(
            plan.written or plan.unchanged or plan.kept for name, plan in self.plans.items() if name != "monthly"
        )


@dataclass
class Reading:
    """The reading of the logs, in a thread: what it has brought so far, its end, and how to read what has come since."""

    told: LogsRead
    done: Future[None] | None = None
    again: Callable[[], None] | None = None


@contextlib.contextmanager
def reading_logs(opened: Future[Opened], config: Config, everything: bool, wanted: bool) -> Iterator[Reading]:
    """Read the logs in a thread once the database is open, while the reports are fetched.

    Messages are usage: so zone and privacy are held against what is fixed, and fixed, before the first is stored. Where
    no report can be had they are stored all the same: when ccusage runs again, their logs may be gone.
    """
    told = LogsRead()

    def read(everything: bool = False) -> None:
        store, last_import = opened.result()  # chdb's import, before that, is in another folder for a while
        assert store is not None

        def permitted() -> str:
            last, privacy = last_import.result(), privacy_of(config)
            zone = zone_without_database(config) if last is None or config.timezone else last.timezone
            checked_settings(last, zone, privacy, config)
            refuse_former_name(store, last, computer_fingerprint())
            remember(config, last or Fixed(zone, privacy.fingerprint))
            return zone

        read_logs(store, permitted, everything, told)
        permitted()  # also where there is no log
        read_activity(store, told)

    with ThreadPoolExecutor(1, thread_name_prefix="logs") as reader:
        reading = Reading(told, reader.submit(read, everything), read) if wanted else Reading(told)
        try:
            yield reading
        except ImporterError:
            wait([reading.done] if reading.done else [])
            raise
        finally:
            told.stopped = True


REPLACED = "replaced.json"


def save_replaced(folder: Path, replaced: Replaced) -> None:
    """Write it beside the saved reports, 0600."""
    rows = [
        (name, *key, written, old and dataclasses.asdict(old))
        for name, changes in replaced.rows.items()
        for key, (written, old) in changes.items()
    ]
    children = [(key, dataclasses.asdict(its)) for key, its in replaced.children.items()]
    try:
        write_file(folder / REPLACED, json.dumps([rows, children], default=datetime.isoformat))
    except OSError as error:
        raise ImporterError(f"{folder}: {REPLACED} cannot be saved: {error.strerror}", "make room there") from error


def load_replaced(folder: Path) -> Replaced:
    """Read back what `save_replaced` wrote; nothing where the run was not yet writing, or replaced nothing."""
    if not (folder / REPLACED).exists():
        return Replaced()
    rows: defaultdict[str, dict[Key, tuple[int | None, Stored | None]]] = defaultdict(dict)
    try:
        saved_rows, saved_children = json.loads((folder / REPLACED).read_text(encoding="utf-8"))
        for name, source, key, written, old in saved_rows:
            if old is not None:
                times = {n: datetime.fromisoformat(old[n]) for n in ("created_at", "updated_at", "began", "ended")}
                old |= {**times, "usage": Usage(**old["usage"]), "coverage": Coverage(old["coverage"])}
            rows[name][source, key] = (written, old and Stored(**old))
        children = {
            tuple(key): Children(tuple(its["models"]), {m: Usage(**usage) for m, usage in its["breakdowns"].items()})
            for key, its in saved_children
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImporterError(
            f"{folder / REPLACED} cannot be read: {type(error).__name__}",
            "an import of these logs stores the most of it",
        ) from error
    return Replaced(rows, cast("ChildrenOf", children))


@dataclass(frozen=True)
class Past:
    """What is stored, as a plan is to see it: nothing without a store, and nothing that a killed run has half done."""

    store: Store | None
    replaced: Replaced = field(default_factory=Replaced)
    reading: Future[Ahead] | None = None

    @property
    def ahead(self) -> Ahead | None:
        return self.reading.result() if self.reading is not None else None

    def rows(
        self, records: Mapping[str, Sequence[Record]], everything: bool, beside: Collection[date] = ()
    ) -> StoredRows:
        """What an import of `records` can meet, or all; `beside` are further days whose rows it can meet."""
        scope = scope_of({} if everything else records, beside)
        stored: StoredRows = {name: {} for name in REPORTS}
        if self.ahead is not None and self.ahead.scope == scope:
            stored = self.ahead.rows
        elif self.store is not None:
            stored = self.store.read_stored(scope)
        return {name: self.replaced.before(name, rows) for name, rows in stored.items()}

    def project(self, source: str, project: str) -> tuple[dict[Key, Stored], dict[Key, Stored]]:
        """All days and sessions of a project."""
        stored = self.store.read_project(source, project) if self.store is not None else ({}, {})
        found = zip(("projects", "session"), stored, strict=True)
        before = [self.replaced.before(name, rows) for name, rows in found]
        days, sessions = ({k: r for k, r in rows.items() if (k[0], r.project) == (source, project)} for rows in before)
        return days, sessions

    def children(self, keys: Collection[ChildKey]) -> dict[ChildKey, Children]:
        if not keys:
            return {}
        ahead = self.ahead.children.result() if self.ahead is not None else {}
        stored = {**ahead, **self.replaced.children}
        unknown = sorted({*keys} - stored.keys())
        if self.store is not None and unknown:
            stored |= self.store.read_children(unknown)
        return {key: stored[key] for key in keys if key in stored}

    def replaced_by(self, plans: Iterable[Plan]) -> Replaced:
        """What is lost if a run is killed while it writes these plans."""
        rows: dict[str, dict[Key, tuple[int | None, Stored | None]]] = {}
        for plan in plans:
            rows[plan.report] = {record.key: (record.content_hash, None) for record in plan.new}
            rows[plan.report] |= {record.key: (record.content_hash, old) for record, old in plan.changed}
            rows[plan.report] |= {old.key: (None, old) for old in plan.removed}
            rows[plan.report] |= self.replaced.rows.get(plan.report, {})
        gone = [child_key(old) for changes in rows.values() for _, old in changes.values() if old is not None]
        return Replaced({**self.replaced.rows, **rows} if gone else {}, self.children(gone))


def read_messages(
    past: Past,
    records: Mapping[str, Sequence[Record]],
    stored: Mapping[str, Mapping[Key, Stored]],
    everything: Collection[date],
) -> Messages:
    """What the stored messages say of the rows of which ccusage says something new, with costs."""
    if past.store is None:
        return NO_MESSAGES
    first = past.store.forgotten.messages
    more: set[date] = set()
    while True:
        open_rows = unsettled(records, stored, everything, more)
        if first > date.min:
            open_rows = dataclasses.replace(open_rows, days=frozenset(day for day in open_rows.days if day >= first))
        sums = read_message_sums(past.store, open_rows)
        moved = days_of_moved_messages(sums, stored["session"], open_rows.days)
        unseen = {day for day in moved if day >= first} - open_rows.days - more
        if not unseen:
            break
        more |= unseen
    # also a session that is stored as it is told, and has since become another's: saved reports do not know that one
    told_sessions = claude_rows(records.get("session", ())).items()
    silent = {
        key for key, record in told_sessions if key in open_rows.sessions or record.ended.date() in open_rows.days
    }
    silent -= {item.session_id for item in sums}
    old_sessions = stored["session"].values()
    silent -= partly_forgotten([*records.get("session", ()), *old_sessions], covered_keys(old_sessions), first)
    copies = past.store.read_logged_sessions(silent) if silent else frozenset()
    if not sums and not copies:  # no messages are to be had: no logs, or none that were read
        return NO_MESSAGES
    told = model_days(records.get("projects", ()))
    known = {key: [usage] for key, usage in told.items()}
    for (_, _, key), children in past.children(unpriced_days(sums, told)).items():
        day, _, project = key.partition("/")
        for model, usage in children.breakdowns.items():
            known.setdefault((project, date.fromisoformat(day), model), []).append(usage)
    of_days = told_days(records)
    missed = missed_days(open_rows.days, sums, of_days)
    whole = (open_rows.days & of_days.keys()) - missed.keys()
    return Messages(open_rows.days, price_messages(sums, known), missed, whole, copies, first)


def has_open_rows(last: LastImport | None, dialect: Dialect) -> bool:
    """Whether there may be messages that rows lack of which this import's reports need say nothing.

    So it is after an update of ccusage from 15 to 18, which count less of what is streamed, and where logs have been read
    by a run that was ended or got not all reports: these logs may be gone, and what they told in no other row.
    """
    if last is None or not last.is_settled:
        return True
    is_old = bool(last.whole_version) and dialect_of(last.whole_version) is Dialect.PROJECT_SESSIONS
    return is_old and dialect is not Dialect.PROJECT_SESSIONS


def plan_import(
    past: Past,
    records: Mapping[str, Sequence[Record]],
    config: Config,
    dialect: Dialect,
    now: datetime,
    against_all: bool = False,
) -> tuple[dict[str, Plan], Messages]:
    """The plans of the reports that were fetched, in the order in which they are written, and the messages behind them.

    Months come last: they are held against the days as they will be. With `against_all`, all that is stored is held
    against all messages, as `has_open_rows` says.
    """
    if past.store is not None:
        records = past.store.forgotten.kept(records)
    is_old = dialect is Dialect.PROJECT_SESSIONS
    everything = past.store.read_message_days() if past.store is not None and against_all else ()
    if is_old and past.store is not None and past.store.has_messages():
        # these tell no sessions but whole projects: the messages do
        records = {**records, "session": [r for r in records.get("session", ()) if r.source != CLAUDE]}
    stored = past.rows(records, bool(everything))
    if "session" in records:
        records = {**records, "session": known_again(records["session"], stored["session"])}
    repriced: Collection[tuple[str, Key]] = frozenset()
    if not config.allow_shrink:
        suspects = lacking_a_price(records, stored)
        records, repriced = keep_prices(records, suspects, past.children([child_key(old) for old in suspects.values()]))
    messages = read_messages(past, records, stored, everything)
    if scope_of(records, messages.days) != scope_of(records):  # there are messages of days that lie before all reports'
        stored = past.rows(records, bool(everything), messages.days)
        messages = read_messages(past, records, stored, everything)  # of sessions that go on there, too
    first_day = past.store.forgotten.rows if past.store is not None else date.min
    rules = Rules(repriced, config.allow_shrink, is_old, now, first_day)
    plans = {
        name: plan_sums(name, records[name], stored[name], messages, rules)
        for name in ("daily", "projects", "session")
        if name in records
    }
    if "session" in plans:
        days = plans.get("projects", Plan("projects"))
        held = {key: past.project(*key) for key in whole_projects(plans["session"], days, stored["session"])}
        children = past.children([child_key(row) for rows in held.values() for part in rows for row in part.values()])
        plan_whole_projects(plans["session"], days, stored["session"], held, children)
    if "blocks" in records:
        plans["blocks"] = plan_blocks(records["blocks"], stored["blocks"], messages, rules)
    if (months := plan_months_of(past, records, plans.get("daily"), stored, rules)) is not None:
        plans["monthly"] = months
    return plans, messages


def plan_months_of(
    past: Past,
    records: Mapping[str, Sequence[Record]],
    days: Plan | None,
    stored: Mapping[str, Mapping[Key, Stored]],
    rules: Rules,
) -> Plan | None:
    """The plan of the months, if they were fetched. One of which a part is forgotten grows with its days, or not at all."""
    forgotten = read_forgotten_days(past, stored, rules)
    partial = {(source, day[:7]) for source, day in forgotten}
    told = records.get("monthly", ())
    days_after = (days or Plan("daily")).after(stored["daily"]) | forgotten
    if days is None:
        told = [record for record in told if record.key not in partial]
    elif "monthly" not in records:
        days_after = {key: row for key, row in days_after.items() if (key[0], key[1][:7]) in partial}
    if "monthly" not in records and (days is None or not partial):
        return None
    to_sum = months_to_sum(told, stored["monthly"], days_after, rules)
    rows = [row for key, row in days_after.items() if (key[0], key[1][:7]) in to_sum and isinstance(row, Stored)]
    children = past.children([child_key(row) for row in rows])
    return plan_months(told, stored["monthly"], days_after, children, rules)


def read_forgotten_days(past: Past, stored: Mapping[str, Mapping[Key, Stored]], rules: Rules) -> dict[Key, Record]:
    """Of the month of which the first days are forgotten, what it holds of these."""
    months = {k: row for k, row in stored["monthly"].items() if f"{k[1]}-01" < str(rules.first_day) <= f"{k[1]}-31"}
    days = {key: row for key, row in stored["daily"].items() if (key[0], key[1][:7]) in months}
    return forgotten_days(months, days, past.children([child_key(row) for row in (*months.values(), *days.values())]))


def checked_settings(fixed: Fixed | None, zone: str, privacy: Privacy, config: Config) -> None:
    """Refuse what would count everything twice: days cut by another zone, projects under other names."""
    if fixed is None:
        return
    now = Fixed(zone, privacy.fingerprint)
    owner = f"{config.user_name} on {config.machine_name}"
    different = fixed.differing(now)
    if "timezone" in different:
        raise ImporterError(
            f"CCUSAGE_TIMEZONE: the days of {owner} are cut by {fixed.timezone} since the first import; with "
            f"{now.timezone} every day would be cut anew, and usage around midnight counted twice",
            f"unset CCUSAGE_TIMEZONE or set it to {fixed.timezone}; for another zone start a new database "
            "(CH_DATABASE or CCUSAGE_DB_PATH)",
            EXIT_USAGE,
        )
    if "privacy" in different:
        same_way = fixed.names_stored == now.names_stored
        raise ImporterError(
            f"HASH_PROJECT_NAMES, PROJECT_HASH_KEY: the project names of {owner} are stored {fixed.names_stored}; stored "
            f"{'hashed with another PROJECT_HASH_KEY' if same_way else now.names_stored} "
            "every project would be there twice, under two names",
            "set both as they were, or start a new database (CH_DATABASE or CCUSAGE_DB_PATH)",
            EXIT_USAGE,
        )


def refuse_former_name(store: Store | None, last: LastImport | None, computer: str) -> None:
    """Refuse the name from which --rename-machine has taken this computer's rows: they would be stored twice."""
    if store is None:
        return
    config = store.config
    name = store.read_former_names().get(config.machine_name) if last is None and computer else None
    if name is not None and name in store.read_other_names(computer):
        raise ImporterError(
            f"MACHINE_NAME: the rows of {config.machine_name} are {name}'s since --rename-machine, and this computer's "
            f"logs would be stored a second time as {config.machine_name}",
            f"set MACHINE_NAME={shlex.quote(name)}, for the cron job, too (run ./setup_cronjob.sh again)",
            EXIT_USAGE,
        )


def kept_notes(plans: Mapping[str, Plan], outcome_version: str, last: LastImport | None, today: date) -> list[str]:
    """Say what was kept, and where it may be a correction instead of a clean-up."""
    notes = []
    kept = {name: len(plan.kept) for name, plan in plans.items() if plan.kept}
    if kept:
        notes.append(
            f"kept {sum(kept.values())} stored rows of which ccusage now says less, because their logs are gone or a price is missing: "
            + ", ".join(f"{count} {name}" for name, count in kept.items())
        )
    lowered = sum(row.coverage is Coverage.LOWERED for plan in plans.values() for row, _ in plan.changed)
    if lowered:
        notes.append(
            f"took ccusage's lower numbers for {lowered} rows; the messages that they were made of stay stored"
        )
    young = []
    for name, plan in plans.items():
        for record, old in plan.kept:
            moment = record.columns.get("last_activity") or record.columns.get("start_time")
            day = moment.date() if moment else record.columns.get("date")
            if (
                day is not None
                and today - day < timedelta(days=LOG_RETENTION_DAYS)
                and not is_whole_project(old)  # such a row has old and young logs
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
UNFINISHED = "this import did not come to its end"


def pending_folder(config: Config) -> Path:
    return config.kept_path / "pending"


def keep_safe(
    past: Past, store: Store, plans: Sequence[Plan], fetched: FetchedReports, folder: Path, kept_in: Path | None
) -> Replaced:
    """Save what a run that is killed from here on would lose: what it has fetched, and what it replaces, which is returned."""
    actions: list[Callable[[], Any]] = [functools.partial(past.replaced_by, plans)]
    if kept_in is None:
        actions.append(functools.partial(save_reports, fetched, folder))
    replaced: Replaced = store.connections.together(actions)[0]
    if kept_in is None:
        fetched.documents.clear()  # they are on disk, and large where the logs are
    if replaced.rows:
        save_replaced(folder, replaced)
    return replaced


def import_reports(
    past: Past,
    fetched: FetchedReports,
    last: LastImport | None,
    clock: float,
    kept_in: Path | None = None,
    logs: LogsRead | None = None,
    read_again: Callable[[], None] | None = None,
    reshaped: Reshaped | None = None,
) -> Outcome:
    """Store what was fetched, where the past is stored: plan, keep the reports safe, write, check, tell history.

    `last` is this machine's and user's last import, which `checked_settings` has held against the fetched reports;
    `clock` when the run began, by time.monotonic(). `reshaped` is what the reports say, where that is known already.
    `kept_in` is the folder of reports that an earlier run could not finish; it is removed at the end. `logs` is what
    was read of the logs meanwhile, for history; `read_again` reads what has been written to them since.
    """
    store = past.store
    assert store is not None
    config = store.config
    started = datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - clock)
    import_id = kept_in.name if kept_in else uuid.uuid4().hex
    privacy = privacy_of(config)
    outcome = Outcome(import_id, fetched, {}, dict(fetched.errors), [], last, logs=logs or LogsRead())
    folder = kept_in or pending_folder(config) / import_id
    fixed = last or Fixed(fetched.timezone, privacy.fingerprint)
    try:
        fetched = outcome.fetched = dataclasses.replace(fetched, timezone=fixed.timezone)
        reshaped = reshaped or reshape_reports(fetched, privacy)
        records, outcome.errors, outcome.missing = reshaped.records, reshaped.errors, reshaped.left_out()
        unread = outcome.errors.keys() - fetched.errors.keys()
        if records:
            against_all = has_open_rows(last, fetched.dialect)
            outcome.plans, messages = plan_import(past, records, config, fetched.dialect, started, against_all)
            if messages.missed and read_again is not None:
                read_again()
                outcome.plans, messages = plan_import(past, records, config, fetched.dialect, started, against_all)
            outcome.warnings = [
                *reshaped.warnings,
                *missed_warnings(messages),
                *computer_warnings(store, last, fetched),
            ]
            writing = [plan for plan in outcome.plans.values() if kept_in is not None or not plan.is_empty]
            replaced = keep_safe(past, store, writing, fetched, folder, kept_in) if writing else Replaced()
            remember(config, Fixed(fixed.timezone, fixed.privacy))
            if last is None and writing:
                unfinished = Outcome(import_id, fetched, {}, {"import": ImporterError(UNFINISHED)}, [], None)
                store.write_history(history_row(unfinished, started, {}, privacy))
            store.write_plans(writing, kept_in is not None, children=replaced.children)
            actions: list[Callable[[], Any]] = [functools.partial(store.check_written, writing), store.read_totals]
            _, outcome.totals = store.connections.together(actions)
            outcome.missing += not_found(records, outcome.totals["days_by_source"], fetched.unreadable)
        outcome.missing += outcome.logs.problems
        if unread:
            keep_unread(outcome, unread, folder, kept_in.name if kept_in else UNREAD, config)
        outcome.duration = time.monotonic() - clock
        store.write_history(history_row(outcome, started, records, privacy))
        if last is None:
            store.delete_history(import_id, UNFINISHED)
        drop_reports(folder)
    except ImporterError as error:
        outcome.plans, outcome.errors = {}, {"import": error}
        outcome.duration = time.monotonic() - clock
        store.attempts = 1
        with contextlib.suppress(ImporterError):
            store.write_history(history_row(outcome, started, {}, privacy))
        if (folder / MANIFEST).exists():
            error.fix += KEPT.format(folder=folder)
        raise
    return outcome


def keep_unread(outcome: Outcome, unread: Iterable[str], folder: Path, name: str, config: Config) -> None:
    """Keep what ccusage gave where some of its reports have a shape that cannot be read: a newer version may."""
    if not (folder / MANIFEST).exists():
        save_reports(outcome.fetched, folder)
    try:
        told = f"what ccusage gave is kept in {set_aside(folder, name, config)}"
    except OSError as problem:
        told = f"what ccusage gave cannot be kept ({problem.filename}: {problem.strerror})"
    for report in unread:
        error = outcome.errors[report]
        error.fix = "; ".join(filter(None, (error.fix, told)))


def not_found(
    records: Mapping[str, Sequence[Record]], days_by_source: Mapping[str, int], unreadable: Mapping[str, str]
) -> list[str]:
    """Agents of which usage is stored and none was found, because their folder is not where a variable says."""
    found = {record.source for report_records in records.values() for record in report_records}
    return [
        f"no usage of {source} was found, of which {days_by_source[source]:,} days are stored: "
        f"{variable_name} names no folder of its logs that can be read"
        for source, variable_name in sorted(unreadable.items())
        if source in days_by_source and source not in found
    ]


def missed_warnings(messages: Messages) -> list[str]:
    if not messages.missed:
        return []
    told = (f"{day}: {more.total:,} tokens against {less.total:,}" for day, (more, less) in messages.missed.items())
    return [
        f"ccusage says more of {len(messages.missed)} days than the messages read from the logs, so these days are "
        f"stored as ccusage says: {'; '.join(itertools.islice(told, 3))}"
    ]


def computer_warnings(store: Store, last: LastImport | None, fetched: FetchedReports) -> list[str]:
    """Two computers under one machine and user name, or one computer under two, as far as fingerprints tell."""
    if not fetched.computer:
        return []
    owner = f"{store.config.user_name} on {store.config.machine_name}"
    if last is None:
        names = store.read_other_names(fetched.computer)
        return [
            f"this computer has imported as {name} before: what its logs still hold is now stored twice, for {owner}, too; "
            f"set MACHINE_NAME={shlex.quote(name)} to go on under that name, or bring its rows here with --rename-machine "
            f"{shlex.quote(name)} {shlex.quote(store.config.machine_name)}"
            for name in names[:1]
        ]
    if last.computer in ("", fetched.computer):
        return []
    when = datetime.fromtimestamp(last.finished, timezone.utc)
    return [
        f"the last import of {owner} ({when:%Y-%m-%d %H:%M:%S} UTC) came from another computer: where both go on, each takes "
        "the other's rows for its own, and usage is lost; set MACHINE_NAME on one of them to a name of its own"
    ]


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
        "computer": outcome.fetched.computer,
        "privacy": privacy.fingerprint,
        **{f"rows_{what}": {name: len(getattr(plan, what)) for name, plan in plans} for what in (*OUTCOMES, *COVERED)},
        "log_files": outcome.logs.files,
        "log_bytes": outcome.logs.bytes,
        **{name: getattr(outcome.logs, name) for name in ("messages", "tool_calls", "broken_lines")},
        "data_hash": int.from_bytes(digest.digest(), "big"),
        "statistics": json.dumps({**outcome.totals, "warnings": outcome.warnings}, ensure_ascii=False),
        "error": "; ".join([*(error.what for error in outcome.errors.values()), *outcome.missing]),
    }


def owned_by(store: Store, machine_name: str, user_name: str) -> Store:
    """The same database seen from another machine and user."""
    other = Store(dataclasses.replace(store.config, machine_name=machine_name, user_name=user_name), store.connections)
    other.column_types = store.column_types
    return other


def current_names(store: Store, owners: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Under which name these machines' and users' rows belong in a database where a machine may have got another since."""
    owners = [*owners]
    there = {*store.read_owners()} if owners else set()
    return {
        (machine, user): machine
        if (machine, user) in there
        else owned_by(store, machine, user).read_former_names().get(machine, machine)
        for machine, user in owners
    }


UNREAD = "unread"


def set_aside(folder: Path, name: str, config: Config) -> Path:
    """Move saved reports to where they stop no import, and are kept; of those of one name the newest."""
    aside = config.kept_path / "refused" / name
    aside.parent.mkdir(exist_ok=True, mode=0o700)
    shutil.rmtree(aside, ignore_errors=True)
    return folder.replace(aside)


def refuse_saved(folder: Path, error: ImporterError, config: Config) -> None:
    try:
        where = f"were moved to {set_aside(folder, folder.name, config)}"
    except OSError as problem:
        where = f"stay in {folder} ({problem.filename}: {problem.strerror})"
    log.warning(
        "reports that an earlier run has kept cannot be imported and %s: %s; fix: %s",
        where,
        one_line(error.what),
        one_line(error.fix),
    )


def replay_pending(store: Store, fixed: Fixed) -> int:
    """Import what earlier runs fetched and could not finish, oldest first; returns how many.

    `fixed` holds for this machine and user once this run has imported. What it or another owner's own refuses, and
    what cannot be read, is set aside.
    """
    config = store.config
    privacy = privacy_of(config)
    folder = pending_folder(config)
    waiting: list[tuple[str, Path, FetchedReports, Replaced]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not (path / MANIFEST).exists():
            shutil.rmtree(path, ignore_errors=True)  # its run ended before it had written anything
            continue
        try:
            saved, replaced = load_reports(path), load_replaced(path)
        except ImporterError as error:
            refuse_saved(path, error, config)
        else:
            waiting.append((saved.fetched_at, path, saved, replaced))
    imported = 0
    names = current_names(store, ((saved.machine_name, saved.user_name) for _, _, saved, _ in waiting))
    for fetched_at, path, saved, replaced in sorted(waiting, key=lambda item: item[:2]):
        machine = names[saved.machine_name, saved.user_name]
        owner = owned_by(store, machine, saved.user_name)
        last = owner.read_last_import()
        is_mine = (machine, saved.user_name) == (config.machine_name, config.user_name)
        try:
            checked_settings(fixed if is_mine else last, saved.timezone, privacy, owner.config)
        except ImporterError as error:
            refuse_saved(path, error, config)
            continue
        log.info("importing the reports of %s, which an earlier run could not finish", fetched_at)
        outcome = import_reports(Past(owner, replaced), saved, last, time.monotonic(), kept_in=path)
        for missing in [*outcome.missing, *(f"{error.what}; {error.fix}" for error in outcome.errors.values())]:
            log.warning("in the reports of %s: %s", fetched_at, one_line(missing))
        imported += 1
    return imported


def keep_for_next_run(config: Config, fetched: FetchedReports) -> Path:
    """Save reports that could not be stored, and drop older saved ones that these cover.

    Raises ImporterError where another import would refuse them, or they cannot be written.
    """
    checked_settings(remembered(config), fetched.timezone, privacy_of(config), config)
    folder = pending_folder(config) / uuid.uuid4().hex
    older = [path for path in pending_folder(config).glob("*") if (path / MANIFEST).exists()]
    save_reports(fetched, folder)
    if remembered(config) is None:  # the zone may be another when the next run comes
        remember(config, Fixed(fetched.timezone, privacy_of(config).fingerprint))
    privacy = Privacy()
    newer = reshape_reports(fetched, privacy)
    for path in older:
        try:
            saved = load_reports(path)
        except ImporterError:
            continue  # the next import moves it aside
        older_one = reshape_reports(saved, privacy)
        same_owner = (saved.machine_name, saved.user_name) == (fetched.machine_name, fetched.user_name)
        is_whole = not older_one.errors and not any(older_one.odd.values()) and not (path / REPLACED).exists()
        if same_owner and is_whole and covers_all(newer.records, older_one.records):
            drop_reports(path)
    return folder


def covers_all(newer: Mapping[str, Sequence[Record]], older: Mapping[str, Sequence[Record]]) -> bool:
    """Whether an import of the newer rows leaves nothing to gain from the older ones."""
    for name, records in older.items():
        told = newer.get(name, ())
        stored = {record.key: stored_from(record) for record in records}
        plan = plan_blocks(told, stored) if name == "blocks" else plan_report(name, told, stored)
        missing = plan.after(stored).keys() - {record.key for record in told}
        cheaper = any(record.usage.cost < old.usage.cost - COST_TOLERANCE for record, old in plan.changed)
        if plan.kept or cheaper or any(not stored[key].is_gap for key in missing):
            return False
    return True


def push_owner(local: Store, served: Store, responses_alone: bool = False) -> dict[str, Plan]:
    """Bring one machine's and user's rows from one database to another, by the same plan.

    What is there already, or is more there, stays; so it can be done again, and after an interruption. History goes
    first, for it says how days are cut, then the messages, of which rows are the sums.
    """
    refuse_other_settings(local, served)
    push_history(local, served)
    push_forgotten(local, served)
    push_logs(local, served, responses_alone)
    records: dict[str, list[Record]] = {}
    created: dict[ChildKey, datetime] = {}
    for report in REPORTS.values():
        records[report.name], since = local.read_records(report)
        created |= since
    plans, _ = plan_import(Past(served), records, served.config, Dialect.AGENTS, datetime.now(timezone.utc))
    # an interrupted push may have left children of rows that are new
    served.write_plans(plans.values(), repair=True, created=created)
    served.check_written(plans.values())
    return plans


def refuse_other_settings(local: Store, served: Store) -> None:
    """Refuse rows that together would count usage twice."""
    last, last_there = local.read_last_import(), served.read_last_import()
    if last and last_there:
        for what in sorted(last.differing(last_there)):
            raise ImporterError(
                f"{served.config.user_name} on {served.config.machine_name}: the rows in {served.config.target} have "
                f"another {what} ({getattr(last_there, what)}) than those that are to come "
                f"({getattr(last, what)}); together they would count usage twice",
                "take another database (CH_DATABASE or CCUSAGE_DB_PATH)",
                EXIT_USAGE,
            )


def push_history(local: Store, served: Store) -> None:
    owner = {"machine_name": served.config.machine_name, "user_name": served.config.user_name}
    there = {row["import_id"] for row in served.read_history()}
    runs = [{**row, **owner} for row in local.read_history() if row["import_id"] not in there]
    if runs:
        served.insert(HISTORY_TABLE, runs)


def push_forgotten(local: Store, served: Store) -> None:
    """What was forgotten in one database comes back in no other; what that has stored of it stays."""
    copy_months(local, served, FORGOTTEN_TABLE)
    served.known_forgotten = None


# ---- history of the older importer: --adopt ----------------------------------------------------------


def old_names(store: Store, privacy: Privacy) -> OldNames:
    """What names there can be in the older importer's tables, as far as logs and sessions here tell."""
    found, _ = find_logs(claude_folders(os.environ), Privacy(hashed=False))
    projects = {old_hash(file.project_id): file.project_id for file in found}
    folders = {
        name: (file.project_id, file.session_id)
        for file in found
        for path in (f"{file.project_id}/{file.session_id}",)
        for name in (path, old_hash(path))
    }
    sessions = {old_hash(file.session_id): file.session_id for file in found}
    sessions |= {old_hash(session_id): session_id for session_id in store.read_session_ids()}
    return OldNames(privacy, projects, sessions, folders)


def plan_adopted(store: Store, records: Mapping[str, Sequence[Record]], now: datetime) -> dict[str, Plan]:
    """Plans for what the older importer knows more of than what is stored; the rest is unchanged or kept."""
    plans = {name: Plan(name) for name in REPORTS}
    stored = store.read_stored(scope_of(records))
    gained: dict[str, list[Record]] = {name: [] for name in REPORTS}
    for name, report_records in records.items():
        for record in report_records:
            old = stored[name].get(record.key)
            if old is None or record.usage.total > old.usage.total:
                gained[name].append(record)
            elif record.content_hash == old.content_hash:
                plans[name].unchanged.append(record)
            else:
                plans[name].kept.append((record, old))
    if any(gained.values()):
        for name, plan in plan_import(Past(store), gained, store.config, Dialect.AGENTS, now)[0].items():
            plans[name].add(plan)
    return plans


def adopt(store: Store, database: str, writes: bool) -> dict[str, dict[str, Plan]]:
    """Bring what the older importer has stored into this database, by the same plan; returns the plans by machine.

    All of its machines are this user's, under the names that they have; without a name it is this one. What is stored
    here, or more of it, stays; so it can be done again, and after an interruption.
    """
    config, now = store.config, datetime.now(timezone.utc)
    privacy = privacy_of(config)
    old = store.read_old_tables(database)
    days: defaultdict[str, dict[date, Usage]] = defaultdict(dict)
    for row in old.rows:
        if row.report == "daily" and OLD_SOURCES.get(row.source, row.source) == CLAUDE:
            days[row.machine][row.columns["date"]] = row.usage
    known = {config.machine_name: {}, **store.read_days()}
    machines = {"": config.machine_name, **same_machines(days, known), **store.read_former_names()}
    records, created = adopt_rows(old, old_names(store, privacy), machines, now)
    plans = {}
    for machine, by_report in records.items():
        owner = owned_by(store, machine, config.user_name)
        last = owner.read_last_import()
        if last is not None:
            checked_settings(last, last.timezone, privacy, owner.config)
        plans[machine] = plan_adopted(owner, by_report, now)
        if writes:
            writing = [plan for plan in plans[machine].values() if not plan.is_empty]
            # an interrupted one may have left children of rows that are new
            owner.write_plans(writing, repair=bool(writing), created=created[machine])
            owner.check_written(writing)
    return plans


# =====================================================================================================
# Archive: every table as files of Parquet, a folder a table and a file a month; and back
# =====================================================================================================

ARCHIVE_FORMAT = 1
STAGING = "restoring"  # the database into which an archive is read before its rows go where they belong
# How a column is written, by its type, where some reader of Parquet would not take it as it is, or not all of it.
PARQUET_FORMS = {
    r"Date": "toDate32({})",
    r"(Nullable\()?DateTime\(.*": "toDateTime64({}, 3, 'UTC')",
    r"DateTime64\(9.*": "toString({})",  # nanoseconds: Spark reads none
    r"Enum.*|U?Int(128|256)": "toString({})",
}


@dataclass(frozen=True)
class ArchivedFile:
    """What the manifest says of a month's file. `contents` as Store.read_months; `sums` of tokens and US dollars by column."""

    rows: int
    contents: str
    sums: Mapping[str, float]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArchivedTable:
    """Columns with their types in ClickHouse, and files by month (2026-11)."""

    columns: Mapping[str, str]
    files: Mapping[str, ArchivedFile]


@dataclass(frozen=True)
class Archive:
    """A folder and what its manifest says. The manifest is what counts: it is written once all files are whole.

    A file that is to take another's place stands beside it, under its `new_name`, until then.
    """

    folder: Path
    tables: Mapping[str, ArchivedTable]
    owners: Sequence[tuple[str, str]] = ()  # machine and user of every row

    def path(self, table: str, month: str) -> Path:
        return self.folder / table / f"{month}.parquet"

    def read_path(self, table: str, month: str) -> Path | None:
        """Where the file is that the manifest means; None where it is damaged or missing."""
        path = self.path(table, month)
        wanted = self.tables[table].files[month].sha256
        return next((found for found in (path, new_name(path)) if file_hash(found) == wanted), None)


def new_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def load_archive(folder: Path) -> Archive:
    """What the manifest of a folder says. Raises ImporterError where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != ARCHIVE_FORMAT:
            raise ValueError(f"its format {manifest['format']} is not known to this version")
        tables = {
            str(table): ArchivedTable(
                {str(name): str(column_type) for name, column_type in told["columns"].items()},
                {month: ArchivedFile(**file) for month, file in told["files"].items()},
            )
            for table, told in manifest["tables"].items()
        }
        owners = [(str(machine), str(user)) for machine, user in manifest.get("owners", ())]
        names = [name for table in tables.values() for name in (*table.columns, *table.files)]
        odd = [name for name in (*tables, *names) if not re.fullmatch(r"[\w-]+", name)]
        if odd:  # they become paths and SQL
            raise ValueError(f"{odd[0]!r} is no name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImporterError(
            f"{folder} holds no archive that can be read ({of_reading(error)})",
            "give the folder that `ccusage-importer --archive DIR` has written; a newer version's needs that version",
            EXIT_USAGE,
        ) from error
    return Archive(folder, tables, owners)


def of_reading(error: Exception) -> str:
    """Why a manifest cannot be read, in words: what Python says of a key or a type is none."""
    if isinstance(error, OSError):
        return f"{MANIFEST}: {error.strerror}"
    return str(error) if type(error) is ValueError else f"{MANIFEST} is not one"


def finish_archive(archive: Archive) -> None:
    """Do what a run that was killed has left: files whose manifest was written take their places, others go."""
    for path in archive.folder.glob("*/????-??.parquet"):
        its = archive.tables.get(path.parent.name)
        if its is not None and path.stem not in its.files:  # of a month of which there is nothing any more
            path.unlink()
    for left in archive.folder.glob("*/.*.parquet.new"):
        table, month = left.parent.name, left.name[1:].partition(".")[0]
        file = archive.tables[table].files.get(month) if table in archive.tables else None
        if file is not None and file_hash(left) == file.sha256:
            left.replace(archive.path(table, month))
        else:
            left.unlink()


def select_for_parquet(columns: Mapping[str, str]) -> str:
    """The columns of a table as they are written."""

    def form(column_type: str) -> str:
        return next((form for types, form in PARQUET_FORMS.items() if re.fullmatch(types, column_type)), "{}")

    return ", ".join(f"{form(column_type).format(f't.`{name}`')} AS `{name}`" for name, column_type in columns.items())


def select_from_parquet(columns: Mapping[str, str], path: Path) -> str:
    """A SELECT of a file's columns as they were in their table."""
    listed = ", ".join(f"CAST(`{name}`, {sql_text(column_type)}) AS `{name}`" for name, column_type in columns.items())
    return f"SELECT {listed} FROM file({sql_text(str(path))}, 'Parquet')"


@contextlib.contextmanager
def without_globs(folder: Path) -> Iterator[Path]:
    """Another path of a folder, without the characters that mean more in a path that the engine is given."""
    with temporary_folder() as private:
        link = private / "archive"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


@contextlib.contextmanager
def reading_engine(store: Store) -> Iterator[Store]:
    """An engine that reads files of this machine: the store itself, or where that is a server, one in this process."""
    if store.config.embedded:
        yield store
        return
    engine = open_memory_engine(store.config)
    try:
        yield engine
    finally:
        engine.close()


def archive_month(store: Store, engine: Store, table: str, month: int, path: Path) -> ArchivedFile:
    """Write a table's month to a file, and read it back: the file has to say what the table says."""
    columns = store.columns_of(table)
    condition = f"{MONTH_OF[table]} = {month}"
    sums = [name for name in columns if re.search(r"_tokens$|cost", name)]
    reading = f"SELECT {', '.join([contents_of(columns), *(f'sum(`{name}`)' for name in sums)])}"
    for _ in range(ARCHIVE_ATTEMPTS):
        store.write_parquet(f"SELECT {select_for_parquet(columns)} FROM {table} AS t FINAL WHERE {condition}", path)
        [(rows, contents, *totals)] = engine.query(f"{reading} FROM ({select_from_parquet(columns, path)})")
        if store.read_months(table, columns, condition) == {month: (rows, contents)}:
            break
    else:
        raise ImporterError(
            f"{table}: the file of {month} does not say what the database says",
            "where other machines import meanwhile, run it again",
        )
    with path.open("rb") as file:
        os.fsync(file.fileno())
    figures = {name: round(value, DOLLAR_DIGITS) for name, value in zip(sums, totals, strict=True)}
    return ArchivedFile(rows, f"{contents:016x}", figures, path.stat().st_size, file_hash(path) or "")


ARCHIVE_ATTEMPTS = 3  # others may import meanwhile


def store_archive(store: Store, folder: Path) -> dict[str, tuple[int, int, int]]:
    """Write every table to a folder, of what is there already the months that have changed alone.

    Returns files written, and rows and bytes of all files, by table. A run that fails leaves the archive as it was.
    Raises ImporterError where the folder has usage that the database has not: a new database takes no archive's place.
    """
    known = load_archive(folder) if (folder / MANIFEST).exists() else Archive(folder, {})
    now = known
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        finish_archive(known)
        try:
            refuse_others(store, folder, known.owners, bring_back(folder))
            now, written = write_changed(store, known)
            refuse_less(store, known, now)
            manifest = {
                "format": ARCHIVE_FORMAT,
                "version": __version__,
                "engine": str(store.client.server_version),
                "written_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "owners": now.owners,
                "tables": {table: dataclasses.asdict(told) for table, told in now.tables.items()},
            }
            write_file(folder / MANIFEST, json.dumps(manifest, indent=1))
        except BaseException:
            finish_archive(known)
            raise
        finish_archive(now)
    except OSError as error:
        raise ImporterError(
            f"{folder}: the archive cannot be written: {error.strerror}",
            "make room there" if error.errno == errno.ENOSPC else "give a folder that can be written to",
        ) from error
    return {
        table: (written[table], sum(file.rows for file in its.values()), sum(file.bytes for file in its.values()))
        for table, its in ((table, now.tables[table].files) for table in MONTH_OF)
    }


def write_changed(store: Store, known: Archive) -> tuple[Archive, Counter[str]]:
    """Write the files of months that are not as the archive knows them, under their `new_name`; and count them by table."""
    tables = {table: told for table, told in known.tables.items() if table not in MONTH_OF}  # a newer version's
    written: Counter[str] = Counter()
    with reading_engine(store) as engine, without_globs(known.folder) as inside:
        for table in MONTH_OF:
            columns = store.columns_of(table)
            old = known.tables.get(table, ArchivedTable({}, {}))
            files = {}
            for number, (rows, contents) in store.read_months(table, columns, "1").items() if columns else ():
                month = f"{number // 100:04}-{number % 100:02}"
                file, path = old.files.get(month), known.path(table, month)
                is_same = file is not None and (file.rows, file.contents) == (rows, f"{contents:016x}")
                if file is None or not is_same or old.columns != columns or known.read_path(table, month) is None:
                    path.parent.mkdir(exist_ok=True, mode=0o700)
                    file = archive_month(store, engine, table, number, new_name(inside / table / path.name))
                    written[table] += 1
                files[month] = file
            tables[table] = ArchivedTable(columns, files)
    return Archive(known.folder, tables, store.read_owners()), written


def bring_back(folder: Path) -> str:
    return f"bring it back with --restore {folder}, or archive into another folder"


def refuse_others(store: Store, folder: Path, owners: Iterable[tuple[str, str]], fix: str) -> None:
    """Refuse a folder that holds rows of somebody whom the database does not know: they would go."""
    there = {*store.read_owners()}
    for (machine, user), name in current_names(store, owners).items():
        if (name, user) not in there:
            raise ImporterError(
                f"{folder} holds rows of {one_line(user)} on {one_line(machine)}, of whom the database has none", fix
            )


def refuse_less(store: Store, known: Archive, now: Archive) -> None:
    """Refuse to lose what an archive has of days whose database is gone, or has forgotten them: usage, and its history.

    Of conversations no month may go but for what was forgotten on demand.
    """
    if not store.has_forgotten():
        for table in (MESSAGES_TABLE, TOOLS_TABLE, ACTIVITY_TABLE):
            gone = known.tables[table].files.keys() - now.tables[table].files.keys() if table in known.tables else ()
            if gone:
                rows = known.tables[table].files[min(gone)].rows
                raise ImporterError(
                    f"{known.folder} has {rows:,} rows of {table} of {min(gone)}, the database none",
                    bring_back(known.folder),
                )
    for table, unit in {REPORTS["daily"].table: "tokens", HISTORY_TABLE: "imports"}.items():
        told, old = (
            {
                month: int(file.sums.get("total_tokens", file.rows))
                for month, file in archive.tables.get(table, ArchivedTable({}, {})).files.items()
            }
            for archive in (now, known)
        )
        for month, more in old.items():
            if told.get(month, 0) < more:
                raise ImporterError(
                    f"{known.folder} has more {unit} of {month} than the database: {more:,} against {told.get(month, 0):,}",
                    bring_back(known.folder),
                )


@contextlib.contextmanager
def staged(archive: Archive, store: Store) -> Iterator[Store]:
    """The archive as a database of its own, for a while: in the embedded engine, or for a server in one in memory.

    Every file is held against the manifest before. Raises ImporterError, which names the first file that is not whole.
    """
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(without_globs(archive.folder))
        paths: dict[str, list[Path]] = {}
        for table, told in archive.tables.items():
            for month in told.files:
                path = archive.read_path(table, month)
                if path is None:
                    raise ImporterError(
                        f"{archive.path(table, month)} is missing, or not the file that was archived; nothing was restored",
                        "take it from a copy of the archive; without one, run --archive again where the data still is",
                    )
                paths.setdefault(table, []).append(inside / table / path.name)
        config = dataclasses.replace(store.config, database=STAGING)
        archived = open_store(config) if config.embedded else open_memory_engine(config)
        stack.callback(archived.close)
        archived.command(f"DROP DATABASE IF EXISTS `{STAGING}` SYNC")  # of a run that was killed
        stack.callback(archived.command, f"DROP DATABASE IF EXISTS `{STAGING}` SYNC")
        archived.command(f"CREATE DATABASE `{STAGING}`")
        archived.client.database = STAGING
        for item in declared_schema():
            if item.columns:
                archived.command(item.statement)
        archived.read_schema(is_to_grow=False)
        for table, files in paths.items():
            known = archived.columns_of(table)
            columns = {name: known[name] for name in archive.tables[table].columns if name in known}
            for lost in archive.tables[table].columns.keys() - known.keys():
                log.warning("%s of %s is a column that this version does not store: it is left out", lost, table)
            for path in files if columns else ():
                archived.command(
                    f"INSERT INTO {table} ({', '.join(f'`{name}`' for name in columns)})"
                    f" {select_from_parquet(columns, path)}"
                )
        yield archived


def restore_owner(archived: Store, store: Store) -> tuple[int, int, int, int]:
    """Bring one machine's and user's archived rows to a database; returns how many rows of reports by OUTCOMES.

    Where nothing else is stored of them, as it is after a restore that was killed, too, every row comes back as it was.
    Otherwise it is a push: what is stored already, or is more, stays.
    """
    refuse_other_settings(archived, store)
    is_known = store.forgotten in (NOTHING_FORGOTTEN, archived.forgotten)
    if not is_known or any(store.read_hashes(table) - archived.read_hashes(table) for table in USAGE_TABLES):
        plans = push_owner(archived, store)
        new, changed, unchanged, kept = (sum(len(getattr(p, what)) for p in plans.values()) for what in OUTCOMES)
        return new, changed, unchanged, kept
    reports = [report.table for report in REPORTS.values()]
    before = sum(store.read_hashes(table).total() for table in reports)
    copy_months(archived, store, HISTORY_TABLE)
    push_forgotten(archived, store)
    push_logs(archived, store)
    for table in USAGE_TABLES:
        copy_months(archived, store, table)
    lost = [table for table in USAGE_TABLES if archived.read_hashes(table) - store.read_hashes(table)]
    if lost:
        raise ImporterError(f"{lost[0]} does not hold what was restored", "look at the database, and run it again")
    return sum(archived.read_hashes(table).total() for table in reports) - before, 0, before, 0


# =====================================================================================================
# Lake: the facts as tables of Apache Iceberg
# =====================================================================================================

LAKE_FORMAT = 1
LAKE_MANIFEST = "lake.json"
LAKE_TABLES = (*USAGE_TABLES, MESSAGES_TABLE, TOOLS_TABLE, ACTIVITY_TABLE)
LAKE_SNAPSHOTS = 200  # each is a file that tells of all before it: then a table is made anew
LAKE_SETTINGS = {"allow_insert_into_iceberg": "1"}
# A month is a value of its own: by Iceberg's transforms of a date the engine writes partitions in which pyiceberg, asked
# for some days, finds none.
LAKE_MONTH = "lake_month"
# By name and type of a column: its type there, and how it becomes that. Iceberg has no unsigned numbers.
LAKE_FORMS = {
    r"\w+ Date": ("Date32", "toDate32({})"),
    r"\w+ (Nullable\()?DateTime.*": ("DateTime64(6, 'UTC')", "toDateTime64({}, 6, 'UTC')"),
    r"\w+ U?Int(8|16|32)": ("Int64", "toInt64({})"),
    r"(\w+_(id|hash)|weight) UInt64": ("String", "toString({})"),
    r"\w+ UInt64": ("Int64", "accurateCast({}, 'Int64')"),
    r"\w+ (Nullable\()?Float64\)?": ("Float64", "{}"),
    r".*": ("String", "toString({})"),
}


@dataclass(frozen=True)
class LakeTable:
    """Columns with their types there, and what has been written of each month (202611): rows, and a hash as hex digits."""

    columns: Mapping[str, str] = field(default_factory=dict)
    months: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def lake_columns(columns: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The columns of a table as they are in the lake: their types, and the SQL that makes them."""
    found = {}
    for name, column_type in columns.items():
        its_type, form = next(f for known, f in LAKE_FORMS.items() if re.fullmatch(known, f"{name} {column_type}"))
        is_nullable = column_type.startswith("Nullable")
        found[name] = (f"Nullable({its_type})" if is_nullable else its_type, form.format(f"t.`{name}`"))
    return found


def load_lake(folder: Path) -> tuple[dict[str, LakeTable], list[tuple[str, str]]]:
    """What the manifest of a folder says, tables and whose rows; of a new or empty one nothing. Raises ImporterError for
    any other.
    """
    path = folder / LAKE_MANIFEST
    try:
        if not path.exists() and not (folder.is_dir() and any(folder.iterdir())):
            return {}, []
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != LAKE_FORMAT:
            raise ValueError(f"format {manifest['format']} is not known to this version")
        owners = [(str(machine), str(user)) for machine, user in manifest.get("owners", ())]
        return {table: LakeTable(**told) for table, told in manifest["tables"].items()}, owners
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImporterError(
            f"{folder} is no lake that --lake has made ({type(error).__name__})", "give an empty folder", EXIT_USAGE
        ) from error


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The engine takes paths of Iceberg tables below the working folder alone."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def store_lake(store: Store, folder: Path) -> dict[str, tuple[int, int]]:
    """Write the facts to a folder, of what is there already the months that have changed alone.

    Returns months written, and rows of all months, by table. A month is deleted, then inserted, and the manifest tells
    of it last: a run that was killed is made good by the next one.
    """
    folder = folder.resolve()
    if GLOB_CHARACTERS & {*str(folder)}:
        raise ImporterError(
            f"--lake: {folder} has one of the characters {' '.join(sorted(GLOB_CHARACTERS))}",
            "give another folder",
            EXIT_USAGE,
        )
    lake, owners = load_lake(folder)
    refuse_others(store, folder, owners, "give each database a folder of its own")
    owners = store.read_owners()
    told = {}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with reading_engine(store) as engine, temporary_folder() as private, working_in(folder):
            for table in LAKE_TABLES:
                known = lake.get(table, LakeTable())
                lake[table] = now = write_lake_table(store, engine, table, known, folder, private / "month.parquet")
                tables = {name: vars(its) for name, its in lake.items()}
                manifest = {"format": LAKE_FORMAT, "owners": owners, "tables": tables}
                write_file(folder / LAKE_MANIFEST, json.dumps(manifest, indent=1))
                written = sum(known.months.get(month) != its for month, its in now.months.items())
                told[table] = (written, sum(rows for rows, _ in now.months.values()))
    except OSError as error:
        raise ImporterError(
            f"{folder}: the lake cannot be written: {error.strerror}",
            "make room there" if error.errno == errno.ENOSPC else "give a folder that can be written to",
        ) from error
    return told


def write_lake_table(
    store: Store, engine: Store, table: str, known: LakeTable, folder: Path, between: Path
) -> LakeTable:
    """Write the months of a table that are not as they are known. Made anew is one whose columns are others now, whose
    snapshots have become many, or whose making was interrupted.
    """
    columns = lake_columns(store.columns_of(table))
    types = {LAKE_MONTH: "Int32", **{name: its_type for name, (its_type, _) in columns.items()}}
    months = {
        str(month): [rows, f"{contents:016x}"]
        for month, (rows, contents) in store.read_months(table, store.columns_of(table), "1").items()
    }
    path = folder / table
    snapshots = len(list(path.glob("metadata/v*.json")))
    changed = [month for month in sorted({*months, *known.months}) if months.get(month) != known.months.get(month)]
    is_old = bool(changed) and snapshots > LAKE_SNAPSHOTS + len(known.months)
    unfinished = folder / f".{table}.unfinished"
    is_new = not snapshots or known.columns != types or is_old or unfinished.exists()
    if is_new or changed:
        unfinished.touch()
    if is_new:
        shutil.rmtree(path, ignore_errors=True)
        changed = sorted(months)
    if not changed:
        unfinished.unlink(missing_ok=True)
        return LakeTable(types, months)
    place = f"ENGINE = IcebergLocal({sql_text(f'{path}/')})"
    listed = ", ".join(f"`{name}` {its_type}" for name, its_type in types.items())
    shape = f"({listed}) {place} PARTITION BY ({LAKE_MONTH})" if is_new else place
    engine.command("DROP TEMPORARY TABLE IF EXISTS lake")
    engine.command(f"CREATE TEMPORARY TABLE lake {shape}", settings=LAKE_SETTINGS)
    for month in changed:
        if not is_new:
            engine.command(f"ALTER TABLE lake DELETE WHERE {LAKE_MONTH} = {month}", settings=LAKE_SETTINGS)
        if month in months:
            chosen = ", ".join(f"{form} AS `{name}`" for name, (_, form) in columns.items())
            condition = f"{MONTH_OF[table]} = {month}"
            store.write_parquet(f"SELECT {chosen} FROM {table} AS t FINAL WHERE {condition}", between)
            names = ", ".join(f"`{name}`" for name in columns)
            engine.command(
                f"INSERT INTO lake ({LAKE_MONTH}, {names}) SELECT {month}, {names}"
                f" FROM file({sql_text(str(between))}, 'Parquet')",
                settings=LAKE_SETTINGS,
            )
    there = {str(month): rows for month, rows in engine.query(f"SELECT {LAKE_MONTH}, count() FROM lake GROUP BY 1")}
    engine.command("DROP TEMPORARY TABLE lake")
    if there != {month: rows for month, (rows, _) in months.items()}:
        raise ImporterError(
            f"{table}: the lake does not have the rows that the database has",
            f"where other machines import meanwhile, run it again; else delete {path} to have it made anew",
        )
    unfinished.unlink(missing_ok=True)
    return LakeTable(types, months)


# =====================================================================================================
# Retention: what is deleted on demand and does not come back; a machine that got another name
# =====================================================================================================


def forgotten_before(first: Mapping[str, date], began: datetime) -> Forgotten:
    """Everything before a day, of what is named."""
    messages, rows, months = (first.get(what, date.min) for what in ("messages", "rows", "months"))
    return Forgotten(messages, rows, began if "rows" in first else EPOCH, months)


def rows_to_go(store: Store, forgotten: Forgotten) -> dict[str, list[Stored]]:
    """The stored rows of each report that are not to be there."""
    stored = store.read_stored(scope_of({}))
    return {name: [row for row in rows.values() if not forgotten.keeps(row)] for name, rows in stored.items()}


def logs_to_go(forgotten: Forgotten) -> str:
    """Of messages and tool calls those that are not to be there as they are, as a condition."""
    projects = ", ".join(map(sql_text, sorted(forgotten.projects)))
    conditions = [f"project_id IN ({projects})"] if projects else []
    if forgotten.messages > date.min:
        conditions.append(f"date < toDate('{forgotten.messages}')")
    return f"({' OR '.join(conditions)})" if conditions else "0"


def count_to_go(store: Store, forgotten: Forgotten) -> dict[str, int]:
    """How many rows of each table are to go."""
    counts = {REPORTS[name].table: len(rows) for name, rows in rows_to_go(store, forgotten).items()}
    days = logs_to_go(dataclasses.replace(forgotten, projects=frozenset()))
    logs = {MESSAGES_TABLE: logs_to_go(forgotten), TOOLS_TABLE: logs_to_go(forgotten), ACTIVITY_TABLE: days}
    for table, condition in logs.items():
        [(counts[table],)] = store.query(f"SELECT count() FROM {table} FINAL WHERE {OWNED} AND {condition}")
    return {table: count for table, count in counts.items() if count}


def store_forgotten(store: Store) -> None:
    """Delete what is recorded as forgotten. It may be done again, and after a kill: each step leaves less, and nothing wrong.

    Rows that rest on messages which go are ccusage's word from then on. What a forgotten project has used stays in the
    totals, so it stays as days, and responses, of no name.
    """
    forgotten = store.forgotten
    if dataclasses.replace(forgotten, former=()) == NOTHING_FORGOTTEN:
        return
    if forgotten.messages > date.min:
        uncover(store, forgotten.messages)
    if forgotten.projects:
        nameless = plan_nameless(store, forgotten)
        store.write_plans([nameless])
        store.check_written([nameless])
        of_projects = logs_to_go(Forgotten(projects=forgotten.projects))
        for table in (MESSAGES_TABLE, LOG_FILES_TABLE):
            store.insert_from(store, table, f"SELECT * FROM {table} FINAL WHERE {OWNED} AND {of_projects}", {})
        store.delete_where([LOG_FILES_TABLE], of_projects)
    plans = [Plan(name, removed=rows) for name, rows in rows_to_go(store, forgotten).items()]
    store.write_plans(plan for plan in plans if not plan.is_empty)
    store.delete_where([TOOLS_TABLE, MESSAGES_TABLE], logs_to_go(forgotten))
    store.delete_where([ACTIVITY_TABLE], logs_to_go(dataclasses.replace(forgotten, projects=frozenset())))
    if forgotten.is_begun:
        store.end_forgetting()


def uncover(store: Store, first_day: date) -> None:
    """What has messages before this day is not the sum of its messages any more."""
    before = f"toDate('{first_day}')"
    zone = store.read_last_import()
    rests_on = {
        "daily": f"date < {before}",
        "projects": f"date < {before}",
        "monthly": f"makeDate(year, month_num, 1) < {before}",
        "session": f"session_id IN (SELECT session_id FROM {MESSAGES_TABLE} WHERE {OWNED} AND date < {before})",
        "blocks": f"toDate(start_time, {sql_text(zone.timezone if zone else 'UTC')}) < {before}",
    }
    for name, condition in rests_on.items():
        table = REPORTS[name].table
        store.insert_from(
            store,
            table,
            f"SELECT * REPLACE ('{Coverage.CCUSAGE.value}' AS coverage, greatest(now('UTC'), updated_at + 1) AS updated_at)"
            f" FROM {table} AS t FINAL WHERE {OWNED} AND {condition}"
            f" AND t.coverage IN ('{Coverage.MESSAGES.value}', '{Coverage.DERIVED.value}')",
            {},
        )


def plan_nameless(store: Store, forgotten: Forgotten) -> Plan:
    """The days of no name: of each day that a forgotten project has a part in, what the other projects have not."""
    projects, _ = store.read_records(REPORTS["projects"])
    days, _ = store.read_records(REPORTS["daily"])
    stored = store.read_stored(scope_of({}))["projects"]
    others: defaultdict[date, list[Record]] = defaultdict(list)
    its_days: set[date] = set()
    for record in projects:
        if record.source == CLAUDE and record.columns["project_id"] in forgotten.projects:
            its_days.add(record.columns["date"])
        elif record.source == CLAUDE and record.columns["project_id"]:
            others[record.columns["date"]].append(record)
    plan = Plan("projects")
    for day in days:
        when = day.columns["date"]
        if day.source != CLAUDE or when not in its_days or not forgotten.keeps(day):
            continue
        usage = day.usage.minus(sum_usage(record.usage for record in others[when]))
        by_others = sum_by_model(record.breakdowns for record in others[when])
        left = {m: part for m, u in day.breakdowns.items() if (part := u.minus(by_others.get(m, Usage()))).total}
        columns = {"date": when, "project_id": ""}
        record = Record("projects", CLAUDE, f"{when}/", columns, usage, tuple(left), left, "{}", day.coverage)
        plan.put(record, stored.get(record.key))
    return plan


def rename_machine(old: Store, new: Store) -> dict[str, Plan]:
    """Give the rows of a machine to another name of it, by the rules of a push; then they are gone under the old one.

    What was imported under both names, as it is after a computer was renamed, is counted once. That it is under way is
    recorded first, so the next import does what a kill has left.
    """
    former = old.config.machine_name
    if former == new.config.machine_name:
        raise ImporterError(f"--rename-machine: {former} has this name already", "give another one", EXIT_USAGE)
    refuse_other_settings(old, new)
    renamed = {"what": "machine", "name": former}
    new.write_forgotten(renamed, done=False)
    plans = push_owner(old, new)
    old.delete_owner()
    store_forgotten(new)  # by either name
    new.write_forgotten(renamed, done=True)
    forget_fixed(old.config)
    return plans


def finish_begun(store: Store) -> bool:
    """Do what a kill has left of --rename-machine and --forget; returns whether there was anything."""
    left = store.forgotten
    for former in left.former:
        log.info("taking over the rows of %s, which a run that was ended has left there", one_line(former))
        rename_machine(owned_by(store, former, store.config.user_name), store)
    if left.is_begun:
        log.info("deleting what is to be forgotten, which a run that was ended has left there")
        store_forgotten(store)
    return bool(left.former) or left.is_begun


# =====================================================================================================
# Queries and statistics: named queries, and their answers as text, pictures and files
# =====================================================================================================


# A literal with a name at the start of a statement: `WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today`.
TUNABLE = re.compile(r"\s*('(?:[^'\\]|\\.)*'|-?\d+(?:\.\d+)?|toDate\(now\(zone\)\))\s+AS\s+(\w+)\s*,?")
TIME_ZONE, DAY = "a time zone", "a day"
EVERYWHERE = {"zone": TIME_ZONE, "today": DAY}  # the tunables that mean the same in every query
# What may be said of a tunable of each of ClickHouse's types.
ACCEPTS = {
    "Int64": r"-?\d+\.\.-?\d+",
    "Float64": r"-?\d+(\.\d+)?\.\.-?\d+(\.\d+)?",
    "String": rf"\w+(\|\w+)*|{TIME_ZONE}",
    "Date": DAY,
}


def read_day(flag: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1972 <= day.year <= 2099 or len(text) != 10:  # what Date holds, with room for windows before it
        raise configuration_error(flag, text, "a day such as 2026-11-21, from 1972 to 2099")
    return day


@dataclass(frozen=True)
class Tunable:
    """A literal of a query, and what may stand in its place: `LOW..HIGH`, `WORD|WORD`, or `a time zone`."""

    literal: str
    accepts: str

    @property
    def default(self) -> str:
        return "today" if self.accepts == DAY else self.literal.strip("'")

    @property
    def kind(self) -> str:
        """ClickHouse's type for it."""
        if self.literal.startswith("'"):
            return "String"
        if self.accepts == DAY:
            return "Date"
        return "Float64" if "." in self.literal else "Int64"

    @property
    def read(self) -> Reader[Any]:
        """Reads another value for it, in its type."""
        if self.accepts == TIME_ZONE:
            return read_zone
        if self.accepts == DAY:
            return read_day
        if self.kind == "String":
            return matching(self.accepts, f"one of {self.accepts.replace('|', ', ')}")
        low, high = map(float, self.accepts.split(".."))
        return count_from(int(low), int(high)) if self.kind == "Int64" else number_from(low, high)


# What a value is, for people: the words of `-- shown:`, which the head of queries.sql explains.
KINDS = frozenset(("cube", "blocks", "figures", "table", "bars", "ranking", "shares", "comparison", "heatmap"))
PLACES = frozenset(("glance", "stats", "page", "csv"))
SHOWN = re.compile(
    r"""(?P<kind>\w+) \s+ "(?P<title>[^"]+)" (?P<own>\s+of\ its\ own\ period)?
        (?: \s+in\s+ (?P<places>\w+(?:\ \d+)?(?:,\s*\w+(?:\ \d+)?)*) )? \s*\|\s* (?P<columns>.+)""",
    re.VERBOSE,
)
COLUMN = re.compile(r"(\w+)(\??)(?:\s+(\S+))?")


@dataclass(frozen=True)
class Column:
    """A column of an answer, with its unit. The optional ones are left out first where there is no room."""

    name: str
    unit: str = "text"
    optional: bool = False

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Shown:
    """How a query's answer is shown to people, as its line `-- shown:` declares it."""

    kind: str
    title: str
    columns: tuple[Column, ...]
    own_period: bool = False  # --days and --since do not narrow it
    places: Mapping[str, int] = field(default_factory=dict)  # with the position on the one screen
    glance: tuple[str, ...] = ()  # what it says there: a label and texts with {columns}


@dataclass(frozen=True)
class Query:
    """A named query of queries.sql, with the question that it answers, how that is shown, and its tunables."""

    name: str
    section: str
    question: str
    statement: str
    shown: Shown
    tunables: Mapping[str, Tunable] = field(default_factory=dict)

    def bound(self, values: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """The statement with bound parameters of the literals' types in their place, and their values."""
        statement, parameters = self.statement, {}
        for name, text in values.items():
            tunable = self.tunables.get(name)
            if tunable is None:
                raise unknown("--param", name, self.tunables, f"a parameter of {self.name}")
            parameters[name] = tunable.read(f"--param {name}", text)
            literal = rf"{re.escape(tunable.literal)}(\s+AS\s+{name}\b)"
            statement = re.sub(literal, rf"{{{name}:{tunable.kind}}}\1", statement, count=1)
        return statement, parameters


def read_tunables(statement: str, declared: str) -> dict[str, Tunable]:
    """A statement's first literals by name, with what its line `-- tunables: days 1..90, zone a time zone` says.

    A ValueError tells what is missing there, wrong, or not a literal of the statement.
    """
    parts = (part.split(maxsplit=1) for part in declared.split(",") if part.strip())
    accepts = {name: " ".join(words).strip() for name, *words in parts}
    tunables: dict[str, Tunable] = {}
    position = match.end() if (match := re.match(r"WITH\s", statement)) else len(statement)
    while (match := TUNABLE.match(statement, position)) is not None:
        literal, name = match.groups()
        tunable = tunables[name] = Tunable(literal, accepts.pop(name, EVERYWHERE.get(name, "")))
        if not re.fullmatch(ACCEPTS[tunable.kind], tunable.accepts):
            wanted = f"WORD|WORD or {TIME_ZONE}" if tunable.kind == "String" else "LOW..HIGH"
            raise ValueError(f"`-- tunables:` does not say what {name} accepts: {wanted}")
        if tunable.accepts != DAY:
            try:
                tunable.read(name, tunable.default)
            except ImporterError as error:
                raise ValueError(error.what) from error
        position = match.end()
    if accepts:
        raise ValueError(f"`-- tunables:` names {', '.join(accepts)}, which is no literal at the statement's start")
    return tunables


def unknown(flag: str, name: str, known: Iterable[str], wanted: str, listed: str = "--query") -> ImporterError:
    """The error of a name that is not known, with the nearest ones, or all of a few."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.6)
    if near:
        fix = f"did you mean {' or '.join(near)}?"
    elif names:
        fix = f"known: {', '.join(names)}" if len(names) < 6 else f"see {listed}"
    else:
        fix = "it has none"
    return ImporterError(f"{flag}: {name!r} is not {wanted}", fix, EXIT_USAGE)


def read_shown(statement: str, declared: str, glance: str) -> Shown:
    """The declaration of `-- shown:` and `-- glance:`. A ValueError tells what is wrong in it."""
    match = SHOWN.fullmatch(declared.strip())
    if match is None:
        raise ValueError('write `-- shown: KIND "TITLE" in PLACES | COLUMN UNIT, ...`')
    columns = []
    for text in match["columns"].split(","):
        column = COLUMN.fullmatch(text.strip())
        if column is None:
            raise ValueError(f"{text.strip()!r} is not a column with its unit")
        columns.append(Column(column[1], column[3] or "text", bool(column[2])))
    placed = [text.split() for text in re.split(r",\s*", match["places"] or "") if text]
    shown = Shown(
        match["kind"],
        match["title"],
        tuple(columns),
        bool(match["own"]),
        {place: int(position[0]) if position else 0 for place, *position in placed},
        tuple(text.strip() for text in glance.split("|") if text.strip()),
    )
    names, units = [column.name for column in columns], [column.unit for column in columns]
    for what, said, known in (
        ("kind", [shown.kind], KINDS),
        ("place", list(shown.places), PLACES),
        ("unit", units, UNITS.keys()),
        ("column of the statement", names, re.findall(r"\w+", statement)),
        ("column", re.findall(r"{(\w+)}", glance.partition("|")[2]), names),
    ):
        wrong = next((word for word in said if word not in known), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is not a {what}")
    if ("glance" in shown.places) != bool(shown.places.get("glance")):
        raise ValueError("`glance` needs its position, such as `glance 30`")
    speaks = shown.kind in ("figures", "table", "comparison")
    if ("glance" in shown.places) != bool(shown.glance) or (bool(shown.glance) and speaks != (len(shown.glance) > 1)):
        raise ValueError("in glance there is `-- glance: LABEL`; of figures, a table, a comparison `LABEL | TEXT`")
    return shown


def parse_queries(sql: str) -> dict[str, Query]:
    """The queries of a file by name, as its head describes them. An ImporterError tells file and line.

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
        comment = re.match(r"(?:\s*--.*(?:\n|$))*", body)
        assert comment is not None
        said = re.sub(r"\n--   +", " ", comment[0].strip()).splitlines()
        declared = dict.fromkeys(("shown", "glance", "tunables"), "")
        question = []
        for text in said:
            word, colon, rest = text.lstrip("- ").partition(":")
            if colon and word in declared:
                declared[word] = rest
            else:
                question.append(text.strip("- "))
        statements = split_statements(body[comment.end() :])
        try:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in queries:
                raise ValueError("not a new name")
            if len(statements) != 1:
                raise ValueError(f"{len(statements)} statements, not one")
            shown = read_shown(statements[0], declared["shown"], declared["glance"])
            tunables = read_tunables(statements[0], declared["tunables"])
        except ValueError as error:
            line = sql.count("\n", 0, header.start()) + 1
            raise ImporterError(f"queries.sql:{line}: {name}: {error}", "the head of queries.sql says how") from error
        queries[name] = Query(name, section, " ".join(question), statements[0], shown, tunables)
    return queries


@functools.cache
def named_queries() -> Mapping[str, Query]:
    """The queries of queries.sql by name, in its order."""
    return parse_queries(own_file("queries.sql"))


@dataclass(frozen=True)
class Answer:
    """What a query returned: rows of values by column. `values`: of its tunables, for its title."""

    query: Query
    rows: Sequence[tuple[Any, ...]]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.query.shown.columns

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def title(self) -> str:
        return self.fill(self.query.shown.title)

    def fill(self, text: str) -> str:
        """The text with the values of tunables in the place of {their names}."""
        defaults = {name: tunable.default for name, tunable in self.query.tunables.items()}
        return one_of_many(re.sub(r"{(\w+)}", lambda match: str({**defaults, **self.values}[match[1]]), text))

    def since(self, first_day: date) -> Answer:
        """Of bars by day those from the first that was recorded: before it not nothing was used, nothing is known."""
        if self.query.shown.kind != "bars" or self.columns[self.label].unit != "day":
            return self
        rows = [row for row in self.rows if row[self.label] >= first_day]
        days = {"days": len(rows)} if len(rows) < len(self.rows) else {}
        return dataclasses.replace(self, rows=rows, values={**self.values, **days})

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    @property
    def label(self) -> int:
        """The column that says what a row is about: the first that is always shown."""
        return next((n for n, column in enumerate(self.columns) if not column.optional and column.unit != "-"), 0)

    @property
    def measure(self) -> int:
        """The column that is drawn: the first of dollars, or else of numbers."""
        numbers = [n for n, column in enumerate(self.columns) if column.unit in NUMERIC and n != self.label]
        return next((n for n in numbers if self.columns[n].unit == "$"), numbers[0] if numbers else self.label)


# ---- which rows: --days, --since, --until, --machine, --user, --source -------------------------------

MOST_DAYS = 20_000  # what queries accept


def is_budget(query: Query) -> bool:
    return "budget_month" in query.tunables


@dataclass(frozen=True)
class Selection:
    """Which rows are asked for, and whose day it is. It holds for every query alike."""

    today: date
    zone: str = "UTC"
    since: date | None = None
    until: date | None = None
    machine: str | None = None
    user: str | None = None
    source: str | None = None
    budgets: Mapping[str, float] = field(default_factory=dict)  # US dollars by tunable, of `payer` on all machines
    payer: str = ""

    @property
    def last_day(self) -> date:
        """Today, or the day in the past that stands for it."""
        return min(self.until or self.today, self.today)

    @property
    def days(self) -> int | None:
        return None if self.since is None else (self.last_day - self.since).days + 1

    def holds_for(self, query: Query) -> bool:
        """Whether the query can say something that is true of these rows alone."""
        is_past = self.last_day < self.today
        if is_budget(query):
            narrowed = (self.since, self.machine, self.source, self.user if self.user != self.payer else None)
            return bool(self.budgets) and narrowed == (None,) * 4
        if BUDGETS_TABLE in query.statement and (self.machine, self.source) != (None, None):
            return False  # a budget is for all machines and agents
        return not query.shown.own_period or (self.since is None and (not is_past or "today" in query.tunables))

    def last_day_of(self, query: Query) -> date:
        """The same, but today for a query that these days do not narrow."""
        return self.last_day if self.holds_for(query) or not query.shown.own_period else self.today

    def values(self, query: Query) -> dict[str, str]:
        """What the query's tunables become: the zone, today, and the days that are asked for."""
        values = {"zone": self.zone, "today": self.last_day_of(query).isoformat()}
        if self.days is not None and not query.shown.own_period:
            values["days"] = str(min(self.days, MOST_DAYS))
        values |= {name: str(dollars) for name, dollars in self.budgets.items()}
        return {name: value for name, value in values.items() if name in query.tunables}

    def settings(self, query: Query) -> dict[str, str]:
        """As ClickHouse's additional_table_filters, so that the queries stay those that one can paste."""
        # a query with `days` of its own looks at days before them, too, for averages and changes
        since = None if "days" in query.tunables or query.shown.own_period else self.since
        until = self.last_day_of(query) if self.last_day_of(query) < self.today else None
        filters = {}
        for table, day in DAY_OF.items():
            columns = {"machine_name": self.machine, "user_name": self.payer if is_budget(query) else self.user}
            if table not in OF_ALL_AGENTS:
                columns["source"] = self.source
            conditions = [f"{column} = {sql_text(value)}" for column, value in columns.items() if value is not None]
            its_day = day.replace("{zone}", sql_text(self.zone))
            for sign, limit in ((">=", since), ("<=", until)):
                if limit is not None and day != "NULL":
                    conditions.append(f"ifNull({its_day} {sign} toDate('{limit}'), 1)")
            if conditions:
                filters[table] = " AND ".join(conditions)
        if self.user is not None:
            filters[BUDGETS_TABLE] = f"user_name = {sql_text(self.user)}"
        if not filters:
            return {}
        told = ", ".join(f"{sql_text(table)}: {sql_text(condition)}" for table, condition in filters.items())
        return {"additional_table_filters": "{" + told + "}"}

    @property
    def words(self) -> str:
        """In words, for a title; empty where everything is asked for."""
        named = {"machine": self.machine, "user": self.user, "agent": self.source}
        words = [f"{what} {value}" for what, value in named.items() if value is not None]
        if self.since is not None and self.last_day == self.today:
            words.append("today" if self.days == 1 else f"the last {self.days} days")
        elif self.since is not None:
            words.append(f"{self.since} to {self.last_day}")
        elif self.last_day < self.today:
            words.append(f"until {self.last_day}")
        return ", ".join(words)


def ask_query(
    store: Store, query: Query, selection: Selection | None = None, values: Mapping[str, str] | None = None
) -> Answer:
    """Run a named query; `values` of its tunables come before those of the selection."""
    selection = selection or Selection(datetime.now(timezone.utc).date())
    statement, parameters = query.bound({**selection.values(query), **(values or {})})
    settings = {**store.query_settings, **selection.settings(query)}
    return Answer(query, store.ask(statement, parameters, settings)[1], parameters)


def with_names(answer: Answer, names: Mapping[str, str]) -> Answer:
    """The answer with names in the place of what is stored of them."""
    named = [column.unit in ("project", "id") for column in answer.columns]
    rows = [
        tuple(names.get(value, value) if is_named else value for is_named, value in zip(named, row, strict=True))
        for row in answer.rows
    ]
    return dataclasses.replace(answer, rows=rows)


def fetch_statistics(store: Store, selection: Selection, places: Collection[str]) -> dict[str, Answer]:
    """The answers of all queries that are shown in one of the places, as far as the selection holds for them."""
    queries = {
        name: query
        for name, query in named_queries().items()
        if not query.shown.places.keys().isdisjoint(places) and selection.holds_for(query)
    }
    asked = [functools.partial(ask_query, store, query, selection) for query in queries.values()]
    return dict(zip(queries, store.connections.together(asked), strict=True))


# ---- names for people: what the hashes stand for, in a private file of this machine ------------------

NAMES_FILE = "names.json"
NO_NAMES: dict[str, dict[str, str]] = {"names": {}, "aliases": {}}


def seen_names(fetched: FetchedReports, privacy: Privacy) -> dict[str, str]:
    """What is stored of a project or session in the place of a path, with that path."""
    projects, sessions = (
        document.get(key) if isinstance(document := fetched.documents.get(name), dict) else None
        for name, key in (("projects", "projects"), ("session", "sessions"))
    )
    seen = set(projects) if isinstance(projects, dict) else set()
    for row in sessions if isinstance(sessions, list) else ():
        texts = (row.get(name) for name in ("projectPath", "sessionId")) if isinstance(row, dict) else ()
        seen |= {text for text in texts if isinstance(text, str) and holds_a_path(text)}
    return {privacy.name(name): name for name in seen}


def read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(65_536)


def project_path(name: str, folders: Sequence[Path]) -> str:
    """The folder in which a project's sessions were started, as its logs say; the name itself where they do not.

    Claude Code names a project's folder by its path with a dash for everything but ASCII letters and digits.
    """
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # a name may be anything
            for log_file in sorted((folder / "projects" / name).glob("*.jsonl"))[:3]:
                for cwd in re.findall(rb'"cwd":("(?:[^"\\]|\\.)*")', read_start(log_file)):
                    path = str(json.loads(cwd))
                    if re.sub("[^A-Za-z0-9]", "-", path)[:200] == name[:200]:
                        return path
    return name


def read_names(config: Config) -> dict[str, dict[str, str]]:
    """The private file of names: `names`, path by what is stored of it, and `aliases`, which its owner may edit."""
    path = config.state_path / NAMES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {part: {str(k): str(v) for k, v in content.get(part, {}).items()} for part in NO_NAMES}
    except FileNotFoundError:
        return NO_NAMES
    except (OSError, ValueError, AttributeError) as error:
        raise ImporterError(f"{path} cannot be read: {error}", "mend it, or remove it") from error
    return found


def write_names(config: Config, seen: Mapping[str, str], folders: Sequence[Path]) -> None:
    """Add names that are new to the private file; without a place for it people read hashes."""
    try:
        known = read_names(config)
        new = {stored: project_path(name, folders) for stored, name in seen.items() if stored not in known["names"]}
        if new:
            config.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
            content = {**known, "names": dict(sorted({**known["names"], **new}.items()))}
            write_file(config.state_path / NAMES_FILE, indented_json(content))
    except (ImporterError, OSError) as error:
        log.debug("names are not kept: %s", error)


def omit(names: Mapping[str, str], stored: Collection[str]) -> dict[str, str]:
    return {key: name for key, name in names.items() if key not in stored}


def forget_names(config: Config, stored: Collection[str]) -> None:
    """Take names out of the private file."""
    known = read_names(config)
    kept = {part: omit(names, stored) for part, names in known.items()}
    if kept != known:
        write_file(config.state_path / NAMES_FILE, indented_json(kept))


def shown_names(config: Config) -> dict[str, str]:
    """Names as people read them: the alias, or the end of the path, as long as is needed to tell it from others."""
    try:
        known = read_names(config)
    except ImporterError as error:
        log.warning("%s", error.what)
        return {}
    parts = {
        stored: [part for part in re.split(r"[/\\]", path) if part] or [path] for stored, path in known["names"].items()
    }
    shown = {}
    for stored, words in parts.items():
        length = 1
        while length < len(words) and any(
            words[-length:] == others[-length:] for other, others in parts.items() if other != stored
        ):
            length += 1
        shown[stored] = "/".join(words[-length:])
    return {**shown, **known["aliases"]}


# ---- values in words: how each unit is read by people ------------------------------------------------


def human_number(value: float) -> str:
    """1234567 as 1.2M: for people; machines get full numbers."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit * 0.99995:
            return f"{value / limit:.1f}{suffix}"
    return f"{value:.0f}"


def human_bytes(value: float) -> str:
    return human_number(value).replace("B", "G") + "B"


def human_cost(value: float) -> str:
    return f"-${-value:,.2f}" if round(value, 2) < 0 else f"${abs(value):,.2f}"


def human_age(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def human_span(seconds: float) -> str:
    """A span of time in its two largest units."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.1f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def signed(text: str, value: float) -> str:
    return f"+{text}" if value > 0 else text


def short_model(name: str) -> str:
    """claude-opus-4-1-20250805 as opus-4.1: without maker and date. Machine formats have the whole name."""
    match = re.search(
        r"claude-(?:(\d+(?:-\d{1,2})?)-)?([a-z]+)(?:-(\d{1,2}(?:-\d{1,2})?))?(?=$|[-@:]\d{8}|[-@:](?!\d))", name
    )
    if match is None:
        return name
    version = (match[1] or match[3] or "").replace("-", ".")
    rest = re.sub(r"^[-@:]\d{8}", "", name[match.end() :]) if match.end() < len(name) else ""
    return f"{match[2]}-{version}{rest}" if version else name


@dataclass(frozen=True)
class Audience:
    """Who reads: the zone of the times, the names known for private ones, and when. `now` is epoch seconds."""

    now: float
    zone: str = "UTC"
    names: Mapping[str, str] = field(default_factory=dict)

    def time(self, moment: datetime) -> datetime:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return aware.astimezone(zoneinfo.ZoneInfo(self.zone))


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
UNITS: dict[str, Callable[[Any, Audience], str]] = {
    "$": lambda value, _: human_cost(value),
    "+$": lambda value, _: signed(human_cost(value), round(value, 2)),
    "%": lambda value, _: f"{value:.1f}%",
    "+%": lambda value, _: signed(f"{round(value)}%", round(value)),
    "~": lambda value, _: human_number(value),
    "#": lambda value, _: f"{value:,.0f}",
    "+": lambda value, _: signed(f"{value:,.0f}", value),
    ".": lambda value, _: f"{value:,.2f}",
    "s": lambda value, _: f"{value:,.1f}",
    "ms": lambda value, _: f"{value:,.0f}",
    "min": lambda value, _: human_span(60 * value),
    "h": lambda value, _: human_span(3600 * value),
    "age": lambda value, audience: human_age(max(audience.now - audience.time(value).timestamp(), 0)) + " ago",
    "B": lambda value, _: human_bytes(value),
    "hour": lambda value, _: f"{value:02}",
    "weekday": lambda value, _: WEEKDAYS[value - 1],
    "day": lambda value, _: str(value),
    "time": lambda value, audience: f"{audience.time(value):%Y-%m-%d %H:%M}",
    "model": lambda value, _: short_model(value),
    "models": lambda value, _: ", ".join(
        f"{short_model(model)} {human_cost(cost)} {human_number(tokens)}" for model, cost, tokens in value
    ),
    "project": lambda value, audience: audience.names.get(value, value) or NAMELESS,
    "id": lambda value, audience: audience.names.get(value, value),
    "yes": lambda value, _: "yes" if value else "",
    "text": lambda value, _: str(value),
    "words": lambda value, _: str(value),
    "-": lambda value, _: str(value),  # never seen
}
NUMERIC = frozenset(("$", "+$", "%", "+%", "~", "#", "+", ".", "s", "ms", "min", "h", "B"))
SOFT = frozenset(("text", "words", "id", "project", "model"))  # may be shortened; words are wrapped
NO_DATA = "no data"
NAMELESS = "no project"  # of agents that tell none, or forgotten


def glance_day(value: Any, audience: Audience) -> str:
    day = value if isinstance(value, date) else date.fromisoformat(value)
    return (
        f"{day.day} {day:%b}"
        if day.year == audience.time(datetime.fromtimestamp(audience.now, timezone.utc)).year
        else f"{day.day} {day:%b %Y}"
    )


def glance_change(value: float, _: Audience) -> str:
    return f"{'▲' if value > 0 else '▼'} {abs(value):.0f}%" if round(value) else "= 0%"


# On the one screen there is less room, and an arrow says more than a sign.
GLANCE_UNITS: dict[str, Callable[[Any, Audience], str]] = {
    **UNITS,
    "day": glance_day,
    "+%": glance_change,
    "%": lambda value, _: f"{value:.0f}%",
}


def cell_texts(answer: Answer, audience: Audience) -> list[tuple[str, ...]]:
    """The rows in words. NULL is nothing, but for dollars to compare with: there is no data of them."""
    compares = answer.query.shown.kind == "comparison"
    missing = [NO_DATA if compares and column.unit == "$" else "" for column in answer.columns]
    told = [
        [
            absent if value is None else UNITS[column.unit](value, audience)
            for column, value, absent in zip(answer.columns, row, missing, strict=True)
        ]
        for row in answer.rows
    ]
    for number, column in enumerate(answer.columns):
        if column.unit in ("model", "project"):  # two that would read alike keep their whole names
            whole: defaultdict[str, set[str]] = defaultdict(set)
            for texts, row in zip(told, answer.rows, strict=True):
                whole[texts[number]].add(row[number])
            for texts, row in zip(told, answer.rows, strict=True):
                if len(whole[texts[number]]) > 1:
                    texts[number] = row[number]
    return [tuple(texts) for texts in told]


# ---- answers into drawings: one for each kind --------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table of texts under a title. `bars`: a length for each row. `upright`: bars may stand side by side."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    bars: Sequence[float] = ()
    upright: bool = False
    label: int = 0  # of bars: the columns that say what each is about, and how much it is
    measure: int = 0

    @property
    def is_list(self) -> bool:
        """Rows of a label and a value, without a header."""
        return not any(column.name for column in self.columns)


@dataclass(frozen=True)
class Heatmap:
    """Values by row and column, each with its words; None where there is no such cell.

    `marks`: rows and columns of cells without a value in which there was something all the same, and what it is called.
    """

    title: str
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    cells: Sequence[Sequence[tuple[float, str] | None]]
    marks: Collection[tuple[int, int]] = ()
    mark_words: str = ""

    @functools.cached_property
    def used(self) -> list[float]:
        return sorted(cell[0] for row in self.cells for cell in row if cell is not None and cell[0] > 0)

    def level(self, value: float) -> int:
        """0 for nothing, 1 to 4 by the quarter of the used cells in which the value lies."""
        return 0 if value <= 0 else 1 + min(3, 4 * bisect.bisect_left(self.used, value) // len(self.used))


@dataclass(frozen=True)
class Line:
    """A line of the one screen: a label and texts; of a ranking with a `share` of its first, or with a series."""

    position: int
    label: str
    texts: tuple[str, ...]
    share: float | None = None
    series: tuple[float, ...] = ()


@dataclass(frozen=True)
class Glance:
    """The one screen."""

    lines: Sequence[Line]

    @property
    def table(self) -> Table:
        """For what has no room for series and bars."""
        return list_table("At a glance", [(line.label, "   ".join(line.texts)) for line in self.lines])


Part = Table | Heatmap | Glance

TOP = 8  # rows of a ranking or table among others
GLANCE_TOP = 3  # and on the one screen


def list_table(title: str, rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(title, (Column("", "text"), Column("", "text")), rows)


def draw_answer(answer: Answer, audience: Audience, top: int | None = None) -> Part:
    """An answer as its query declares it; of a table or ranking the first `top` rows."""
    kind, title = answer.query.shown.kind, answer.title
    if kind == "heatmap" and answer.rows:
        return draw_heatmap(answer, audience)
    seen = [number for number, column in enumerate(answer.columns) if column.unit != "-"]
    texts = [tuple(row[number] for number in seen) for row in cell_texts(answer, audience)]
    columns = tuple(answer.columns[number] for number in seen)
    if kind == "figures" and len(texts) == 1:
        rows = [(column.words, text) for column, text in zip(columns, texts[0], strict=True) if text]
        return Table(title, (Column("", "text"), Column("", "#")), rows)
    shown = len(texts) if top is None or kind == "bars" else top
    if shown < len(texts):
        title += f" ({shown} of {len(texts)})"
    if kind not in ("ranking", "shares", "bars"):
        return Table(title, columns, texts[:shown])
    bars = [row[answer.measure] for row in answer.rows[:shown]]
    label, measure = seen.index(answer.label), seen.index(answer.measure)
    return Table(title, columns, texts[:shown], bars, kind == "bars" and top is not None, label, measure)


def draw_heatmap(answer: Answer, audience: Audience) -> Heatmap:
    """Of days: weeks from Monday to Sunday side by side, with the months above. Else: by the first two columns.

    A whole number of days without the measure marks them.
    """
    measure = answer.columns[answer.measure]
    in_words = UNITS[measure.unit]
    if answer.columns[0].unit != "day":
        first, second = answer.columns[:2]
        places = {(row[0], row[1]): row[answer.measure] for row in answer.rows}
        rows, columns = sorted({place[0] for place in places}), sorted({place[1] for place in places})

        def cell(row: Any, column: Any) -> tuple[float, str] | None:
            value = places.get((row, column))
            place = f"{UNITS[first.unit](row, audience)} {UNITS[second.unit](column, audience)}"
            return None if value is None else (value, f"{place} {in_words(value, audience)}")

        labels = [
            tuple(UNITS[unit](value, audience) for value in values)
            for unit, values in ((first.unit, rows), (second.unit, columns))
        ]
        return Heatmap(answer.title, labels[0], labels[1], [[cell(row, column) for column in columns] for row in rows])
    days: dict[date, float] = {row[0]: row[answer.measure] for row in answer.rows}
    start = min(days) - timedelta(days=min(days).weekday())
    weeks = [start + timedelta(days=7 * number) for number in range((max(days) - start).days // 7 + 1)]
    mark = next((number for number, column in enumerate(answer.columns) if column.unit == "#"), None)
    marked = {row[0]: row[mark] for row in answer.rows if row[mark]} if mark is not None else {}
    also = answer.columns[mark].words if mark is not None else ""

    def day_cell(day: date) -> tuple[float, str] | None:
        if day not in days:
            return None
        said = f"{marked[day]:,} {also}" if day in marked else in_words(days[day], audience)
        return days[day], f"{day} {said}"

    cells = [[day_cell(monday + timedelta(days=weekday)) for monday in weeks] for weekday in range(7)]
    marks = {(day.weekday(), (day - start).days // 7) for day in marked}
    months = tuple(f"{monday:%b}" if monday.day <= 7 else "" for monday in weeks)
    return Heatmap(answer.title, tuple(name[:3] for name in WEEKDAYS), months, cells, marks, also)


def draw_glance(answers: Iterable[Answer], audience: Audience, also: Iterable[Line] = ()) -> Glance:
    """The one screen of the queries that are shown there, in their positions; `also`: lines of the program."""
    lines: list[Line] = list(also)
    for answer in sorted(answers, key=lambda answer: answer.query.shown.places["glance"]):
        new = list(glance_lines(answer, audience))
        for line in new:
            same = next((old for old in lines if old.label == line.label and old.texts and old not in new), None)
            if same is None or not line.label:
                lines.append(line)
            else:
                lines[lines.index(same)] = dataclasses.replace(same, texts=same.texts + line.texts)
    return Glance(sorted(lines, key=lambda line: line.position))


def glance_lines(answer: Answer, audience: Audience) -> Iterator[Line]:
    """The lines of one answer: none without rows, a share of which is all, or a series of nothing."""
    shown, texts = answer.query.shown, cell_texts(answer, audience)
    position, words = shown.places["glance"], shown.glance
    label, measure = answer.label, answer.measure
    values = [row[measure] for row in answer.rows]
    percent = next((n for n, column in enumerate(answer.columns) if column.unit == "%"), None)
    if shown.kind in ("ranking", "shares") and percent is not None:
        told = [
            (text[label], f"{row[percent]:.0f}%", text[measure])
            for text, row in zip(texts, answer.rows, strict=True)
            if row[measure] > 0
        ]
        if shown.kind == "shares":
            if len(told) > 1:
                yield Line(position, words[0], tuple(f"{name} {share}" for name, share, _ in told[: 2 * GLANCE_TOP]))
            return
        for number, row in enumerate(told[:GLANCE_TOP]):
            yield Line(position, "" if number else answer.fill(words[0]), row, share=values[number] / values[0])
    elif shown.kind == "bars" and any(values):
        unit = answer.columns[measure].unit
        highest = max(range(len(values)), key=values.__getitem__)
        place = GLANCE_UNITS[answer.columns[label].unit](answer.rows[highest][label], audience)
        each = {"day": "a day", "hour": "an hour"}.get(answer.columns[label].unit, "on average")
        average = UNITS[unit](sum(values) / len(values), audience)
        text = f"{average} {each}, {UNITS[unit](values[highest], audience)} on {place}"
        yield Line(position, answer.fill(words[0]), (text,), series=tuple(values))
    elif len(words) > 1:
        for row in answer.rows[: len(answer.rows) if shown.kind == "comparison" else 2]:
            texts_by_name = {
                column.name: "" if value is None else one_line(GLANCE_UNITS[column.unit](value, audience))
                for column, value in zip(answer.columns, row, strict=True)
            }
            name, *rest = (fill_words(text, texts_by_name) for text in words)
            yield Line(position, name or "", tuple(text for text in rest if text))


def fill_words(text: str, values: Mapping[str, str]) -> str | None:
    """A text with values in the place of {names}; None where one is missing, but for what stands in [brackets]."""
    inner = re.sub(r"\[([^\[\]]*)\]", lambda match: fill_words(match[1], values) or "", text)
    if any(not values[name] for name in re.findall(r"{(\w+)}", inner)):
        return None
    return one_of_many(re.sub(r"{(\w+)}", lambda match: values[match[1]], inner))


def one_of_many(text: str) -> str:
    """`1 days` as it is said."""
    return re.sub(r"(?<![\d.,])1 ([a-z]+)s\b", r"1 \1", text)


def draw_screen(
    answers: Mapping[str, Answer],
    selection: Selection,
    audience: Audience,
    everything: bool = False,
    also: Iterable[Line] = (),
) -> list[Part]:
    """The one screen; before it, with `everything`, all that has its place in --stats --all."""
    words = selection.words
    first_day = answers["known"].dicts()[0]["first_day"]
    if first_day is None:
        of = "" if words.startswith("until") else "of "
        why = f"there is none {of}{words}" if words else "no usage has been imported yet"
        return [list_table("Usage", [("nothing stored", why)])]
    narrowed = [Line(11, "only", (words,))] if words else []
    shown = {name: answer.query.shown.places for name, answer in answers.items()}
    asked = [answers[name] for name in answers if "glance" in shown[name]]
    if selection.since is None:  # else the first day with usage tells nothing of when recording began
        asked = [answer.since(first_day) for answer in asked]
    glance = draw_glance(asked, audience, [*narrowed, *also])
    if not everything:
        return [glance]
    parts = [
        draw_answer(answers[name], audience, TOP) for name in answers if "stats" in shown[name] and answers[name].rows
    ]
    return [*parts, glance]


def draw_plans(outcome: Outcome) -> Table:
    """What an import would change, by table."""
    rows = []
    for report in REPORTS.values():
        plan = outcome.plans.get(report.name)
        counts = ("failed", "", "", "") if plan is None else tuple(f"{len(getattr(plan, what)):,}" for what in OUTCOMES)
        rows.append((report.table, *counts))
    return Table("What an import would do", (Column("table"), *(Column(what, "#") for what in OUTCOMES)), rows)


def import_line(outcome: Outcome) -> Line:
    """What this import has added, for the one screen."""
    counts = {what: sum(len(getattr(plan, what)) for plan in outcome.plans.values()) for what in OUTCOMES}
    written = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    added = []
    if (days := outcome.plans.get("daily")) is not None:
        more, less = sum_usage(r.usage for r in days.written), sum_usage(old.usage for old in days.replaced)
        cost, tokens = more.cost - less.cost, more.total - less.total
        sessions = len(outcome.plans["session"].new) if "session" in outcome.plans else 0
        if round(cost, 2) or tokens or sessions:
            added = [
                signed(human_cost(round(cost, 2)), cost),
                signed(human_number(tokens), tokens) + " tokens",
                f"{sessions:,} session{'' if sessions == 1 else 's'}",
            ]
    status = "now" if outcome.status == "completed" else outcome.status
    told = ", ".join(added) or "no new usage"
    return Line(40, "imported", (f"{status}: {told}", f"({outcome.duration:.1f} s, rows: {written or 'none'})"))


MORE = Line(41, "more", ("--stats --all, --query, --export usage.html",))


def broken_budgets(answer: Answer, user: str) -> list[str]:
    """Why a budget does not hold, in words; `user` is whose budgets they are, where the answer does not say."""
    broken = []
    for row in answer.dicts():
        whose = f"the {row['budget']}'s budget of {row.get('user_name', user)}, {human_cost(row['dollars'])},"
        if row["remaining"] < 0:
            broken.append(f"{whose} is exceeded: {human_cost(row['spent'])} are spent")
        elif row["forecast"] is not None and row["forecast"] > row["dollars"]:
            broken.append(
                f"{whose} will be exceeded: the forecast for the month's end is {human_cost(row['forecast'])}"
            )
    return broken


# ---- drawings as text, on a terminal or not ----------------------------------------------------------

# The shapes say how much, the colours help: none of them is lost on a dark or a light background.
HEAT_SHAPES = "·░▒▓█"
HEAT_COLOURS = ("#808080", "#6a6fd0", "#2a84b0", "#1f967a", "#5a961a")
HEAT_MARK = "○"  # something, but no value
BAR_COLOUR = "#2a788e"
UP_COLOUR, DOWN_COLOUR = "red", "green"  # of costs
EIGHTHS = "▁▂▃▄▅▆▇█"
LABEL_WIDTH = 10  # of a line of the one screen
SCREEN_LINES, USUAL_WIDTH = 23, 80  # of the one screen, with the prompt below it
BESIDE = 120  # columns from which the halves of the one screen stand side by side
COLUMN_WIDTH = 74  # of a column of --stats --all
NARROWEST = 9  # cells that a text can be shortened to


def bar_text(value: float, largest: float, width: int) -> str:
    """A bar of eighths of a character."""
    eighths = int(8 * width * value / largest + 0.5) if largest > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def sparkline(series: Sequence[float], room: int) -> str:
    """A character for each value, or for as many neighbours together as the room asks for."""
    together = -(-len(series) // max(room, 1))
    sums = [sum(series[start : start + together]) for start in range(0, len(series), together)]
    highest = max(sums)
    return "".join(EIGHTHS[min(int(8 * value / highest), 7)] if value > 0 else EIGHTHS[0] for value in sums)


def render_parts(console: Console, parts: Sequence[Part]) -> None:
    """Print drawings, in columns where there is room, and then the one screen."""
    from rich.console import Group
    from rich.table import Table as Grid

    screens = [part for part in parts if isinstance(part, Glance)]
    others = [part for part in parts if not isinstance(part, Glance)]
    count = max(1, min(console.width // COLUMN_WIDTH, len(others)))
    width = (console.width - 4 * (count - 1)) // count
    columns: list[list[RenderableType]] = [[] for _ in range(count)]
    heights = [0] * count
    for part in others:
        shortest = heights.index(min(heights))
        columns[shortest] += [*drawing_text(part, width), ""]
        heights[shortest] += len(part.cells if isinstance(part, Heatmap) else part.rows) + 3
    grid = Grid.grid(padding=(0, 4, 0, 0))
    for _ in columns:
        grid.add_column(width=width)
    grid.add_row(*(Group(*column) for column in columns))
    if others:
        console.print(grid)
    for screen in screens:
        for text in glance_text(screen, console.width):
            console.print(text, soft_wrap=True)


def title_text(title: str) -> Text:
    from rich.text import Text

    return Text(one_line(title), style="bold")


def column_widths(table: Table, room: int) -> dict[int, int]:
    """The columns that fit into the room, with their widths; words of headings are never broken.

    Texts are shortened; where that is not enough optional columns go first, then others from the right, never the first.
    """
    from rich.cells import cell_len

    cells = [max((cell_len(one_line(row[n])) for row in table.rows), default=1) for n in range(len(table.columns))]
    wanted: dict[int, int] = {}
    for lines in (1, 2, 9):  # of a heading: one or two where there is room
        wanted = {n: max(cells[n], heading_width(column.words, lines)) for n, column in enumerate(table.columns)}
        if sum(wanted.values()) + 2 * (len(wanted) - 1) <= room - (20 if table.bars else 0):
            break
    soft = [number for number, column in enumerate(table.columns) if column.unit in SOFT]

    def least() -> int:
        return sum(min(width, NARROWEST) if number in soft else width for number, width in wanted.items())

    for dispensable in (
        [number for number, column in enumerate(table.columns) if column.optional],
        [number for number, column in enumerate(table.columns) if number and column.unit not in ("$",)],
        list(range(1, len(table.columns))),
    ):
        for number in reversed(dispensable):
            if least() + 2 * (len(wanted) - 1) > room:
                wanted.pop(number, None)
    while (excess := sum(wanted.values()) + 2 * (len(wanted) - 1) - room) > 0:
        widest = max((number for number in wanted if number in soft), key=lambda n: wanted[n], default=None)
        if widest is None or wanted[widest] <= NARROWEST:
            break
        wanted[widest] = max(wanted[widest] - excess, NARROWEST)
    return wanted


def heading_width(words: str, lines: int) -> int:
    """The least width in which a heading needs so many lines at most."""
    width = max(map(len, words.split(" ")))
    while len(textwrap.wrap(words, width)) > lines if words else False:
        width += 1
    return width


def drawing_text(part: Part, width: int) -> Iterable[RenderableType]:
    if isinstance(part, Glance):
        return glance_text(part, width)
    return heatmap_text(part, width) if isinstance(part, Heatmap) else table_text(part, width)


def table_text(table: Table, width: int) -> Iterator[RenderableType]:
    from rich.table import Table as Grid
    from rich.text import Text

    if table.upright and len(table.rows) > TOP and len(table.rows) + 10 <= width:
        yield from upright_text(table, width)
        return
    yield title_text(table.title)
    widths = column_widths(table, width)
    has_words = any(column.unit == "words" for column in table.columns)
    grid = Grid(box=None, pad_edge=False, show_header=not table.is_list, header_style="dim", padding=(0, 2, 0, 0))
    for number, room in widths.items():
        column = table.columns[number]
        grid.add_column(
            Text(column.words),
            justify="right" if column.unit in NUMERIC else "left",
            style="cyan" if number == 0 else None,
            width=room,
            vertical="top" if has_words else "bottom",
        )
    room = min(40, width - sum(widths.values()) - 2 * len(widths))
    has_bars = bool(table.bars) and room >= 5
    if has_bars:
        grid.add_column("", no_wrap=True, width=room)
    largest = max(table.bars, default=0)
    for number, row in enumerate(table.rows):
        cells = []
        for place in widths:
            wraps = table.columns[place].unit == "words"
            text = Text(one_line(row[place]), no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
            if table.columns[place].unit in ("+$", "+%", "+"):
                text.stylize(
                    UP_COLOUR if row[place].startswith("+") else DOWN_COLOUR if row[place].startswith("-") else ""
                )
            cells.append(text)
        if has_bars:
            cells.append(Text(bar_text(table.bars[number], largest, room), style=BAR_COLOUR))
        grid.add_row(*cells)
    yield grid


def upright_text(table: Table, width: int, height: int = 5) -> Iterator[RenderableType]:
    """Bars side by side, as many characters each as there is room for, with some of their labels below."""
    from rich.text import Text

    highest = max(range(len(table.rows)), key=table.bars.__getitem__)
    top = one_line(table.rows[highest][table.measure])
    yield title_text(f"{table.title} (at most {top}, {table.rows[highest][table.label]})")
    step = max(1, min(3, (width - len(top) - 1) // len(table.rows)))
    largest = max(table.bars) or 1
    for line in range(height, 0, -1):
        text = Text().append(f"{top if line == height else '0' if line == 1 else '':>{len(top)}} ", "dim")
        for value in table.bars:
            eighths = min(max(round(8 * (height * value / largest - line + 1)), 1 if line == 1 and value > 0 else 0), 8)
            mark = " " + EIGHTHS if eighths >= 0 else " "
            text.append(mark[max(eighths, 0)] * max(step - 1, 1) + " " * (step > 1), style=BAR_COLOUR)
        text.rstrip()
        yield text
    labels = " " * (len(top) + 1)
    for number, row in enumerate(table.rows):
        place = len(top) + 1 + number * step
        if place >= len(labels) + (number > 0) and place + len(row[table.label]) <= width:
            labels = labels.ljust(place) + row[table.label]
    yield Text(labels.rstrip(), style="dim")


def heatmap_text(heatmap: Heatmap, width: int) -> Iterator[RenderableType]:
    """A line for each row, a character or two for each column, the last ones where there is no room for all."""
    from rich.text import Text

    margin = max(map(len, heatmap.row_labels)) + 2
    step = 2 if width >= margin + 2 * len(heatmap.column_labels) else 1
    first = max(0, len(heatmap.column_labels) - (width - margin) // step)
    header = ""
    for number, label in enumerate(heatmap.column_labels[first:]):
        if label and number * step >= len(header) + bool(header) and number * step + len(label) <= width - margin:
            header = header.ljust(number * step) + label
    yield title_text(heatmap.title)
    yield Text(" " * margin + header, style="dim")
    for row, (label, cells) in enumerate(zip(heatmap.row_labels, heatmap.cells, strict=True)):
        line = Text().append(f"{label:<{margin}}", "dim")
        for column, cell in enumerate(cells[first:], first):
            level = None if cell is None else heatmap.level(cell[0])
            shape = HEAT_MARK if (row, column) in heatmap.marks else " " if level is None else HEAT_SHAPES[level]
            line.append(shape, style=HEAT_COLOURS[level or 0])
            line.append(" " * (step - 1))
        line.rstrip()
        yield line
    legend = Text().append(" " * margin + "less ", "dim")
    for shape, colour in zip(HEAT_SHAPES, HEAT_COLOURS, strict=True):
        legend.append(shape + " ", style=colour)
    legend.append("more", style="dim")
    if heatmap.marks:
        legend.append(f"   {HEAT_MARK} {heatmap.mark_words} alone", style="dim")
    yield legend


def glance_text(glance: Glance, width: int) -> list[Text]:
    """The one screen: on a terminal of the usual size it is one, at the price of the ends of lines that are too long."""
    texts = screen_text(glance, width, wraps=True)
    return texts if len(texts) <= SCREEN_LINES or width < USUAL_WIDTH else screen_text(glance, width, wraps=False)


def screen_text(glance: Glance, width: int, wraps: bool) -> list[Text]:
    """A blank line between the groups; side by side the second and the third where it is wide."""
    from rich.text import Text

    groups: defaultdict[int, list[Line]] = defaultdict(list)
    for line in glance.lines:
        groups[line.position // 10].append(line)
    half = width // 2 - 2
    texts: list[Text] = []
    for number, lines in sorted(groups.items()):
        if width >= BESIDE and number == 3 and 2 in groups:
            continue
        drawn = group_text(lines, width, wraps)
        if width >= BESIDE and number == 2 and 3 in groups:
            left, right = group_text(lines, half, wraps), group_text(groups[3], width - half - 4, wraps)
            height = max(len(left), len(right))
            drawn = []
            for one, other in zip(
                left + [Text()] * (height - len(left)), right + [Text()] * (height - len(right)), strict=True
            ):
                drawn.append(Text.assemble(one, " " * (half + 4 - one.cell_len), other))
        texts += [*([Text()] if texts else []), *drawn]
    return texts


AMOUNT = re.compile(r"-?\$[\d,.]+")  # stands under those of the other lines


def group_text(lines: Sequence[Line], width: int, wraps: bool) -> list[Text]:
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    room = width - LABEL_WIDTH
    ranked = [line.texts for line in lines if line.share is not None]
    sizes = [max(cell_len(one_line(texts[n])) for texts in ranked) for n in range(3)] if ranked else [0, 0, 0]
    sizes[0] = min(sizes[0], max(room - sizes[1] - sizes[2] - 4, NARROWEST), 30)
    bar_room = min(room - sum(sizes) - 7, 30)
    amounts = [line.texts[0] for line in lines if line.texts and AMOUNT.fullmatch(line.texts[0])]
    indent = max(map(len, amounts)) if len(amounts) > 1 else 0
    drawn = []
    for line in lines:
        text = Text()
        text.append(f"{one_line(line.label):<{LABEL_WIDTH}}", style="cyan")
        if line.share is not None:
            name, share, amount = map(one_line, line.texts)
            shortened = name if cell_len(name) <= sizes[0] else set_cell_size(name, sizes[0] - 1) + "…"
            text.append(set_cell_size(shortened, sizes[0]))
            if room >= sum(sizes) + 4:
                text.append(f"  {share:>{sizes[1]}}")
            text.append(f"  {amount:>{sizes[2]}}")
            if bar_room >= 8:
                text.append("  " + bar_text(line.share, 1, bar_room), style=BAR_COLOUR)
            drawn.append(text)
            continue
        words = [one_line(word) for word in line.texts]
        if words and AMOUNT.fullmatch(words[0]):
            words[0] = f"{words[0]:>{indent}}"
        pieces = [Text(piece) for word in words for piece in textwrap.wrap(word, room, drop_whitespace=False)]
        if line.series:
            pieces.insert(
                0, Text(sparkline(line.series, min(room, max(30, room - cell_len(words[0]) - 3))), style=BAR_COLOUR)
            )
        for number, piece in enumerate(pieces):
            piece.highlight_regex(r"▲ [\d.]+%", UP_COLOUR)
            piece.highlight_regex(r"▼ [\d.]+%", DOWN_COLOUR)
            if number and text.cell_len + 3 + piece.cell_len > width:
                if not wraps:
                    break
                drawn.append(text)
                text = Text(" " * LABEL_WIDTH)
            elif number:
                text.append("   ")
            text.append_text(piece)
        drawn.append(text)
    return drawn


# ---- drawings as files -------------------------------------------------------------------------------


def flat(part: Part) -> Table | Heatmap:
    return part.table if isinstance(part, Glance) else part


def markdown_text(text: str) -> str:
    return re.sub(r"([\\|*_`<>\[\]])", r"\\\1", one_line(text))


def markdown_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    told = [[markdown_text(cell) for cell in row] for row in ([column.name for column in columns], *rows)]
    told.insert(1, ["---:" if column.unit in NUMERIC else "---" for column in columns])
    return "\n".join("| " + " | ".join(row) + " |" for row in told) + "\n"


def markdown_parts(parts: Iterable[Part]) -> str:
    texts = ["# Usage of coding agents\n"]
    for part in map(flat, parts):
        if isinstance(part, Table):
            texts.append(f"## {markdown_text(part.title)}\n\n{markdown_table(part.columns, part.rows)}")
    return "\n".join(texts)


PAGE_DATA = ">null</script>"  # where the page has its data


def page_text(content: Mapping[str, Any]) -> str:
    """The page of dashboards/usage.html with its data: as ASCII without `<`, so that no name ends the script around it."""
    told = json.dumps(content, separators=(",", ":"), default=str).replace("<", "\\u003c")
    return own_file("dashboards/usage.html").replace(PAGE_DATA, f">{told}</script>", 1)


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


SVG_WIDTH = 100


def svg_parts(parts: Sequence[Part], title: str) -> str:
    from rich.console import Console

    console = Console(record=True, width=SVG_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    render_parts(console, parts)
    return str(console.export_svg(title=title, code_format=SVG_PICTURE))


def full_value(value: Any) -> Any:
    """A value for machines: days and times as ISO texts, fractions without the noise of their sums."""
    if isinstance(value, float):
        return round(value, DOLLAR_DIGITS)
    if isinstance(value, (list, tuple)):
        return [full_value(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def full_rows(answer: Answer) -> list[dict[str, Any]]:
    return [{name: full_value(value) for name, value in row.items()} for row in answer.dicts()]


def indented_json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def rows_text(columns: Sequence[Column], rows: Iterable[Sequence[Any]], output_format: str) -> str:
    """Rows as csv, json or md: full numbers."""
    full = [[full_value(value) for value in row] for row in rows]
    names = [column.name for column in columns]
    if output_format == "json":
        return indented_json([dict(zip(names, row, strict=True)) for row in full])
    flat = [["" if v is None else json_text(v) if isinstance(v, list) else v for v in row] for row in full]
    return csv_text(names, flat) if output_format == "csv" else markdown_table(columns, [[*map(str, r)] for r in flat])


EXPORT_PLACES: Mapping[str, Collection[str]] = {
    "html": {"page"},
    "svg": {"glance"},
    "md": {"glance", "stats"},
    "json": PLACES,
    "csv": {"csv"},
}


def export_content(answers: Mapping[str, Answer], selection: Selection, now: float) -> dict[str, Any]:
    """All answers with what their queries declare, as README describes format 2."""
    return {
        "format": 2,
        "generated_at": datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "zone": selection.zone,
        "today": selection.last_day.isoformat(),
        "narrowed_to": {
            name: full_value(getattr(selection, name)) for name in ("since", "until", "machine", "user", "source")
        },
        "statistics": {
            name: {
                "section": answer.query.section,
                "title": answer.title,
                "question": answer.query.question,
                "kind": answer.query.shown.kind,
                "places": list(answer.query.shown.places),
                "own_period": answer.query.shown.own_period,
                "columns": [dataclasses.asdict(column) for column in answer.columns],
                "rows": full_rows(answer),
            }
            for name, answer in answers.items()
        },
    }


def write_export(path: Path, text: str) -> None:
    try:
        write_file(path, text, 0o644)
    except OSError as error:
        raise ImporterError(f"--export: {path} cannot be written: {error.strerror}", "give another file") from error


def export_text(kind: str, answers: Mapping[str, Answer], selection: Selection, audience: Audience) -> str:
    """The statistics as html, svg (the one screen), md, json (full numbers) or csv (the days, for a spreadsheet)."""
    wanted = [
        name for name, answer in answers.items() if not answer.query.shown.places.keys().isdisjoint(EXPORT_PLACES[kind])
    ]
    answers = {name: answers[name] for name in wanted}
    if kind == "json":
        return indented_json(export_content(answers, selection, audience.now))
    if kind == "csv":
        [days] = [answer for answer in answers.values() if "csv" in answer.query.shown.places]
        return rows_text(days.columns, days.rows, "csv")
    if kind == "svg":
        return svg_parts(draw_screen(answers, selection, audience), f"ccusage-importer {selection.words}".strip())
    if kind == "html":
        return page_text(export_content(answers, selection, audience.now))
    return markdown_parts(draw_screen(answers, selection, audience, everything=True))


# =====================================================================================================
# Metrics: the text of Prometheus
# =====================================================================================================


@dataclass
class RunMetrics:
    """What a run leaves for Prometheus; where the import did not get that far, no `outcome` and nothing `stored`."""

    exit_code: int = EXIT_FAILED
    seconds: float = 0.0
    owner: Config | None = None  # whose reports were imported, where they are not of this machine and user
    outcome: Outcome | None = None
    stored: str = ""


LAST_SUCCESS = "ccusage_importer_last_success_timestamp_seconds"


def fetch_metrics(store: Store, zone: str) -> str:
    """What is stored of this machine and user, in Prometheus' text exposition format; `zone` cuts today and month."""
    query = named_queries()["prometheus"]
    today = datetime.now(zoneinfo.ZoneInfo(zone)).date()
    own = Selection(today, zone, machine=store.config.machine_name, user=store.config.user_name)
    statement, parameters = query.bound(own.values(query))
    return store.command(f"{statement} FORMAT Prometheus", parameters, own.settings(query)).decode()


def render_metrics(config: Config, metrics: RunMetrics, now: float, last_success: float) -> str:
    """The run in the same format, and what is stored. Every sample says whose it is: machine and user."""
    families: list[tuple[str, str, Sequence[tuple[dict[str, str], float]]]] = [
        (LAST_SUCCESS, "When an import last stored every report, as Unix time; 0: never.", [({}, last_success)]),
        ("ccusage_importer_last_run_timestamp_seconds", "When the last run ended, as Unix time.", [({}, now)]),
        ("ccusage_importer_last_run_duration_seconds", "How long the last run took.", [({}, metrics.seconds)]),
        ("ccusage_importer_last_run_exit_code", "Exit code of the last run.", [({}, metrics.exit_code)]),
    ]
    outcome = metrics.outcome
    if outcome is not None:
        rows = [
            ({"table": REPORTS[name].table, "outcome": what}, len(getattr(plan, what)))
            for name, plan in outcome.plans.items()
            for what in OUTCOMES
        ]
        failed = [({"report": name}, int(name in outcome.errors)) for name in REPORTS]
        families.append(("ccusage_importer_last_run_rows", "Rows of the last run by what became of them.", rows))
        families.append(("ccusage_importer_last_run_report_failed", "1 for a report that failed.", failed))
    lines = []
    for name, text, samples in families:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for labels, value in samples:
            all_labels = {"machine": config.machine_name, "user": config.user_name, **labels}
            pairs = ",".join(f'{label}="{prometheus_label(text)}"' for label, text in all_labels.items())
            lines.append(f"{name}{{{pairs}}} {value!r}")
    return "\n".join(lines) + "\n" + metrics.stored


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
        write_file(path, render_metrics(config, metrics, now, last_success), 0o644)  # node_exporter is another user
    except OSError as error:
        log.warning("--metrics-file %s cannot be written: %s", path, error.strerror)


# =====================================================================================================
# Check: everything that an import needs, tested without importing
# =====================================================================================================

CRON_MARK = "ccusage-importer"
AT_RISK_DAYS = 3  # a day that Claude Code deletes within so many days is at risk
HOUR = 3600  # imports that come more often than that are not missed before two hours are over
RECENT_IMPORTS = 21
RHYTHM_INTERVALS = 3  # fewer are no rhythm


@dataclass(frozen=True)
class Finding:
    """One line of --check. `required`: an import cannot do without."""

    name: str
    holds: bool
    found: str
    fix: str = ""
    required: bool = True


def check_everything(config: Config, with_unset: bool = True) -> Iterator[Finding]:
    """Every finding as soon as it is made; nothing stops at the first miss. `with_unset`: also what is not set."""
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
    imported: list[int] | None = None
    waited: list[str] = []
    needed = "lock"
    with contextlib.ExitStack() as stack:  # what cannot be opened is a finding, and the checks go on
        try:
            future = stack.enter_context(opening(config, waited.append, lock=config.lock_path.exists()))
            yield Finding("lock", True, waited[0] if waited else f"free ({config.lock_path / ImportLock.name})")
            needed = "ClickHouse"
            store, last = with_last_import(future)
            needed = "what is stored"
            yield from check_database(config, store)
            imported = store.read_import_times(RECENT_IMPORTS) if store and last else []
            if store and last:
                yield from check_expectations(store, last.timezone)
        except ImporterError as error:
            yield Finding(needed, False, error.what, error.fix)
        if ccusage is not None:
            fetched = fetch_reports(config, ccusage, last.timezone if last else zone_without_database(config), groups)
            yield from check_reports(fetched)
            try:
                yield from check_logs(fetched, store if last else None, is_known=imported is not None)
            except ImporterError as error:
                yield Finding("days in the database", False, error.what, error.fix)
        yield from check_fixed(config, last or remembered(config))
        yield check_kept(config)
        yield check_cron()
        if imported is not None:
            yield from check_rhythm(imported, time.time())
    yield from check_environment(config, os.environ, with_unset)


def check_environment(config: Config, environment: Mapping[str, str], with_unset: bool) -> Iterator[Finding]:
    """Every variable's value (of a secret: that it is set), and what follows from them."""
    for name, setting in VARIABLES.items():
        value = environment.get(name)
        if not value and not with_unset:
            continue
        found = "unset" if not value else value if setting.repr else "set"
        unused = bool(value) and config.embedded and setting.name in ("port", "username", "password", "protocol")
        found += ", but not used: CH_HOST is unset" if unused else ""
        fix = f"set CH_HOST to the server, or unset {name}" if unused else ""
        yield Finding(name, not unused, found, fix, required=False)
    yield Finding("machine and user", True, f"{config.machine_name}, {config.user_name}")
    names_stored = Fixed("", privacy_of(config).fingerprint).names_stored
    yield Finding("privacy", True, f"project names are stored {names_stored}")


def check_fixed(config: Config, fixed: Fixed | None) -> Iterator[Finding]:
    """Whether zone and privacy are those of the first import: else the next one will be refused."""
    here = machine_timezone(os.environ)
    if fixed is None:
        yield Finding("time zone", True, f"{config.timezone or here} (will be fixed by the first import)")
        return
    different = fixed.differing(Fixed(config.timezone or fixed.timezone, privacy_of(config).fingerprint))
    fine = "timezone" not in different
    found = f"{fixed.timezone}, fixed by the first import"
    if not fine:
        found += f"; CCUSAGE_TIMEZONE is {config.timezone}"
    elif not same_zone(here, fixed.timezone):
        found += f"; the machine is in {here}"
    yield Finding("time zone", fine, found, f"unset CCUSAGE_TIMEZONE or set it to {fixed.timezone}")
    same = "privacy" not in different
    yield Finding(
        "privacy as at the first import",
        same,
        "the same" if same else "another: the next import will be refused",
        "set HASH_PROJECT_NAMES and PROJECT_HASH_KEY as they were",
    )


def check_kept(config: Config) -> Finding:
    """Reports that wait for a database into which imports go no more, as after CH_HOST was set, or got another name."""
    places = {*config.state_path.glob("server-*"), config.db_path, *config.db_path.glob("databases/*")}
    waiting = sorted(
        path.parent for place in places - {config.kept_path} for path in place.glob(f"pending/*/{MANIFEST}")
    )
    return Finding(
        "reports kept for other databases",
        not waiting,
        f"{len(waiting)}, the first in {waiting[0]}" if waiting else "none",
        "run one import as before (CH_HOST, CH_PORT, CH_PROTOCOL, CH_DATABASE), or --push-local where it was embedded",
        required=False,
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
    major = re.search(r"\d+", version)
    recent = code == 0 and major is not None and int(major[0]) >= 20
    return Finding("Node", recent, f"{version} ({node})", fix, required=False)


def check_reports(fetched: FetchedReports) -> Iterator[Finding]:
    reshaped = reshape_reports(fetched, Privacy())
    for report in REPORTS.values():
        seconds = sum(fetched.seconds.get(command.name, 0.0) for command in report.commands[fetched.dialect])
        error = reshaped.errors.get(report.name)
        if error is None:
            found = f"{len(reshaped.records[report.name]):,} records in {seconds:.2f} s"
            found += "".join(f"; {odd.what}" for odd in reshaped.odd[report.name][:1])
            yield Finding(f"report {report.name}", True, found)
        else:
            yield Finding(f"report {report.name}", False, error.what, error.fix)


def cleanup_days(environment: Mapping[str, str]) -> tuple[int, str]:
    """After how many days Claude Code deletes its logs, and where that is said."""
    for folder in claude_folders(environment):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, OverflowError):
            days = json.loads((folder / "settings.json").read_text(encoding="utf-8")).get("cleanupPeriodDays")
            if days is not None:
                return int(days), str(folder / "settings.json")
    return LOG_RETENTION_DAYS, "Claude Code's default"


def check_logs(fetched: FetchedReports, store: Store | None, is_known: bool) -> Iterator[Finding]:
    """Where the logs are and, where it is known what is stored, what Claude Code will delete soon and only the database has."""
    folders = [folder / "projects" for folder in claude_folders(os.environ)]
    there = [str(folder) for folder in folders if folder.is_dir()]
    yield Finding(
        "logs of Claude Code",
        bool(there),
        " and ".join(there) or "none in " + " or ".join(map(str, folders)),
        "set CLAUDE_CONFIG_DIR if they are elsewhere",
        required=False,
    )
    reshaped = reshape_reports(fetched, Privacy())
    if "daily" in reshaped.errors:
        return
    days = {record.key: record for record in reshaped.records["daily"]}
    period, said_by = cleanup_days(os.environ)
    mine = sorted(day for source, day in days if source == "claude")
    span = f"{len(mine)} days from {mine[0]} to {mine[-1]}" if mine else "no day"
    yield Finding("days in the logs", True, f"{span}; deleted after {period} days ({said_by})", required=False)
    if not is_known:
        return
    stored: dict[Key, int] = {}
    if store is not None:
        rows = store.query(
            f"SELECT source, toString(date), total_tokens FROM {REPORTS['daily'].table} FINAL WHERE {OWNED}"
        )
        stored = {(source, day): tokens for source, day, tokens in rows}
    today = datetime.now(zoneinfo.ZoneInfo(fetched.timezone)).date()
    days_left = min(max(period - AT_RISK_DAYS, 0), (today - FIRST_DAY).days)  # who never deletes says a large number
    soon = str(today - timedelta(days=days_left))
    forgotten = store.forgotten if store is not None else NOTHING_FORGOTTEN
    at_risk = [
        day
        for day in mine
        if day <= soon
        and stored.get((CLAUDE, day), -1) < days[CLAUDE, day].usage.total
        and forgotten.keeps(days[CLAUDE, day])
    ]
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


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder, in which the engine may just remove some."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(place, name).lstat().st_size
    return size


def check_database(config: Config, store: Store | None) -> Iterator[Finding]:
    """Connection, version, tables and columns, a write and a delete, and how fast it answers."""
    if config.embedded:
        folder = config.db_path
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        room = f"{human_bytes(folder_size(config.db_path))} used, {human_bytes(free)} free"
        yield Finding("embedded folder", os.access(folder, os.W_OK), f"{config.db_path}: {room}", "set CCUSAGE_DB_PATH")
        yield Finding("room on its disk", free > 100_000_000, human_bytes(free), "make room", required=False)
    if store is None:
        yield Finding("database", True, "not there yet; the first import makes it")
        return
    yield Finding("ClickHouse", True, f"{store.client.server_version} at {config.target} (25.8 or newer)")
    try:
        missing = store.read_schema()
        if not store.holds_usage:
            yield Finding("database", True, f"{config.database}: not there yet; the next import makes its tables")
            return
        if store.is_team:
            found = f"{config.database}, a team's{': older than this version' if missing else ''}"
            yield Finding("database", not missing, found, "let an administrator run --team-sql again", required=False)
        else:
            older = f": older than this version, the next import runs {len(missing)} statements to add what it needs"
            yield Finding("database", True, f"{config.database}{older if missing else ''}")
        wrong = [
            f"{table}.{column} is {store.column_types[table, column]}, not {wanted}"
            for (table, column), wanted in expected_columns().items()
            if store.column_types.get((table, column), wanted) != wanted
        ]
        tables = len({table for table, _ in expected_columns()})
        yield Finding(
            "tables and columns",
            not wrong,
            "; ".join(wrong[:3]) or f"{tables} tables as in the schema file",
            "they were changed by hand: give them back the types of ccusage_clickhouse_schema.sql",
        )
        yield from check_team(store) if store.is_team else check_rights(store)
        if not store.is_team:
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


def is_granted(store: Store, rights: str, what: str) -> bool:
    """Whether the user of the database has these rights, without trying them."""
    return store.command(f"CHECK GRANT {rights} ON {what}").strip() == b"1"


def check_rights(store: Store) -> Iterator[Finding]:
    """What the user may not do in its database, of what imports need and of what a newer version does."""
    if store.config.embedded:
        return
    whole, user = f"`{store.config.database}`.*", store.config.username
    for name, wanted in (("rights of an import", IMPORT_RIGHTS), ("rights to add to the schema", GROWTH_RIGHTS)):
        lacking = [right for right in wanted if not is_granted(store, right, whole)]
        found = f"no {', no '.join(lacking)}" if lacking else ", ".join(wanted)
        fix = f"let an administrator run: GRANT {', '.join(lacking)} ON {whole} TO `{user}`"
        yield Finding(name, not lacking, found, fix, required=False)


def check_team(store: Store) -> Iterator[Finding]:
    """Whose rows a team's database shows this user: Merge leaves out without a word what the user may not read."""
    team, user = store.config.database, store.config.username
    people = store.query(
        "SELECT name, name IN (SELECT database FROM system.tables WHERE name = {table:String})"
        " FROM system.databases WHERE startsWith(name, concat({team:String}, '_')) ORDER BY name",
        {"team": team, "table": REPORTS["daily"].table},
    )
    seen = {name: has_tables for name, has_tables in people if is_granted(store, "SELECT", f"`{name}`.*")}
    unseen = [name for name, _ in people if name not in seen]
    found = f"of {len(seen)} people: {', '.join(seen) or 'of nobody'}"
    if unseen:
        found += f"; not {', '.join(unseen)}"
    elif not is_granted(store, "SHOW DATABASES", f"`{team}_`*.*"):
        found += f"; of nobody else, as far as {user} may know"
    fix = f"let an administrator run: GRANT `{team}_reader` TO `{user}`, and --team-sql for who is missing"
    yield Finding("rows that are shown", bool(seen) and not unseen, found, fix, required=not seen)
    empty = [name for name, has_tables in seen.items() if not has_tables]
    yield Finding("people who import", not empty, f"not yet: {', '.join(empty)}" if empty else "all", required=False)


def check_expectations(store: Store, zone: str) -> Iterator[Finding]:
    """Each query of the section Expectations that has rows of this machine and user, and how many have none."""
    queries = [query for query in named_queries().values() if query.section == "Expectations"]
    today = datetime.now(zoneinfo.ZoneInfo(zone)).date()
    own = Selection(today, zone, machine=store.config.machine_name, user=store.config.user_name)
    held = 0
    for query in queries:
        look = f"look at them: --query {query.name}"
        try:
            rows = len(ask_query(store, query, own).rows)
        except ImporterError as error:
            yield Finding(query.name, False, error.what, error.fix, required=False)
            continue
        held += not rows
        if rows:
            yield Finding(query.name, False, f"{rows:,} row{'s' * (rows > 1)}: {query.question}", look, required=False)
    yield Finding("expectations", held == len(queries), f"{held} of {len(queries)} hold", required=False)


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
        store.command(f"DELETE FROM {table} WHERE x = 1", settings=store.write_settings)
        left = store.query(f"SELECT count() FROM {table}")[0][0]
        return Finding(
            name, left == 0, "both work" if left == 0 else "a deleted row is still there", "update the server"
        )
    except ImporterError as error:
        return Finding(name, False, error.what, error.fix)
    finally:
        with contextlib.suppress(ImporterError):
            store.command(f"DROP TABLE IF EXISTS {table}")


def check_cron() -> Finding:
    crontab = shutil.which("crontab")
    if crontab is None:
        return Finding("cron job", False, "no crontab program here", "./setup_cronjob.sh tells other ways", False)
    result = subprocess.run([crontab, "-l"], capture_output=True, text=True, errors="replace", check=False)
    lines = [line for line in result.stdout.splitlines() if CRON_MARK in line and not line.lstrip().startswith("#")]
    schedule = re.match(r"\s*((?:\S+\s+){5})\S", lines[0]) if lines else None
    found = " ".join(schedule[1].split()) if schedule else "none"
    return Finding("cron job", schedule is not None, found, "install it with ./setup_cronjob.sh", required=False)


def check_rhythm(imported: Sequence[int], now: float) -> Iterator[Finding]:
    """Whether imports come as often as they did, by the times of the last ones (epoch seconds, latest first).

    Whatever starts them is so judged alike: cron, a timer, a person. A laptop's night is an interval, too.
    """
    age = now - imported[0] if imported else 0.0
    intervals = [later - earlier for later, earlier in itertools.pairwise(imported)]
    if len(intervals) >= RHYTHM_INTERVALS:
        longest = max(*intervals, HOUR)
        yield Finding(
            "imports keep up",
            age <= 2 * longest,
            f"the last one was {human_age(age)} ago, those before it at most {human_age(longest)} apart",
            "look at the log: import.log in $XDG_STATE_HOME/ccusage-importer",
            required=False,
        )
    found = f"{human_age(age)} ago" if imported else "never"
    yield Finding("last import", bool(imported), found, "import once", required=False)


# =====================================================================================================
# Command line: flags, lock, logging, exit code
# =====================================================================================================


class Parser(argparse.ArgumentParser):
    """Tells a wrong flag as every other error is told."""

    def error(self, message: str) -> NoReturn:
        raise ImporterError(message, "see --help", EXIT_USAGE)


def make_parser() -> argparse.ArgumentParser:
    width = max(map(len, VARIABLES))
    variables = "\n".join(f"  {name:<{width}} {setting.metadata['meaning']}" for name, setting in VARIABLES.items())
    parser = Parser(
        prog="ccusage-importer",
        usage="%(prog)s [one of the commands] [flags]",
        description="Import what ccusage reports into ClickHouse, and show what it says.",
        epilog=f"environment (a flag beats its variable):\n{variables}\n\n"
        "exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 partial (some of it\n"
        "could not be stored, the rest is), 4 over budget, 75 another import held the lock for five minutes,\n"
        "130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_argument_group("commands", "Without one: an import. Of these only --watch imports, too.")
    add_commands(commands.add_mutually_exclusive_group(), commands)
    add_import_flags(parser.add_argument_group("an import"))
    add_statistics_flags(parser.add_argument_group("statistics, --query and --export"))
    add_forget_flags(parser.add_argument_group("--forget"))
    team = parser.add_argument_group("--team-sql")
    team.add_argument(
        "--password-hashes", metavar="FILE", type=Path, help="a name and a password's SHA-256 on each line"
    )
    logs = parser.add_argument_group("output")
    logs.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")
    logs.add_argument("--verbose", action="store_true", help="print every command and statement, and stack traces")
    logs.add_argument("--log-file", metavar="FILE", type=Path, help="write a log, too: 5 files of 1 MB, 0600")
    logs.add_argument("--log-format", choices=("text", "json"), default="text", help="of the log (default: text)")
    logs.add_argument("--metrics-file", metavar="FILE", type=Path, help="write metrics in Prometheus' text format")
    logs.add_argument("--version", action="version", version=f"ccusage-importer {__version__}")
    return parser


def named_folder(text: str) -> Path:
    """A folder that a flag names. An empty name would be the current folder, and is a variable that was not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a folder is empty")
    return Path(text)


def add_commands(one: argparse._MutuallyExclusiveGroup, group: argparse._ArgumentGroup) -> None:
    """What to do instead of an import: `one` of them; those of `group` go with another."""
    one.add_argument("--stats", action="store_true", help="print the one screen")
    one.add_argument(
        "--query", metavar="NAME", nargs="?", const="", help="run a named query, or list those with this word"
    )
    one.add_argument("--compare", choices=("day", "week", "month", "year"), help="this period beside the last")
    one.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const=60,
        type=int,
        help="the one screen, live, with an import every so often (60 s); q ends it",
    )
    group.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        help="write the statistics as .html .svg .md .json or .csv (- is stdout, in --format)",
    )
    one.add_argument("--check-budget", action="store_true", help="exit 4 if a budget is or will be exceeded")
    one.add_argument("--check", action="store_true", help="test ccusage, ClickHouse and the environment")
    one.add_argument("--dry-run", action="store_true", help="fetch and plan; print what would change; write nothing")
    one.add_argument("--push-local", action="store_true", help="bring the embedded database's rows to the server")
    one.add_argument(
        "--archive", metavar="DIR", type=named_folder, help="every table as Parquet files, what has changed alone"
    )
    one.add_argument("--restore", metavar="DIR", type=named_folder, help="bring back what --archive has written")
    one.add_argument(
        "--lake",
        metavar="DIR",
        type=named_folder,
        help="the facts as Apache Iceberg tables, what has changed alone (experimental)",
    )
    group.add_argument(
        "--adopt",
        metavar="DATABASE",
        help="bring in what the older importer has stored in this database (with --dry-run: say what)",
    )
    one.add_argument(
        "--rename-machine",
        metavar=("OLD", "NEW"),
        nargs=2,
        help="the computer has got another name: its rows go over, counted once",
    )
    one.add_argument(
        "--forget",
        action="store_true",
        help="delete for good what is --before a day, or a --project; prints what goes, and does it with --yes",
    )
    one.add_argument(
        "--team-sql", metavar="NAME", nargs="+", help="print what makes these people's databases and users; run nothing"
    )
    one.add_argument(
        "--remove-person", metavar="NAME", help="print what drops a person's database and user; run nothing"
    )


def add_import_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--backfill", action="store_true", help="read all logs again that still exist, not only what has changed"
    )
    group.add_argument(
        "--allow-shrink", action="store_true", help="take ccusage's numbers where they are lower than the stored ones"
    )
    group.add_argument("--machine-name", metavar="NAME", help="whose rows these are (default: the host name)")
    group.add_argument(
        "--no-hash-projects",
        dest="hash_projects",
        action="store_false",
        default=None,
        help="store project names as they are",
    )
    group.add_argument(
        "--save-json", metavar="DIR", type=named_folder, help="keep the fetched reports in this folder, too"
    )
    group.add_argument("--from-json", metavar="DIR", type=named_folder, help="import reports kept by --save-json")


def add_statistics_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--all", action="store_true", help="--stats: everything, not one screen alone")
    group.add_argument("--days", metavar="N", type=int, help="the last N days alone")
    group.add_argument("--since", metavar="DAY", help="from this day on (2026-11-01)")
    group.add_argument("--until", metavar="DAY", help="as they were on this day")
    group.add_argument("--machine", metavar="NAME", help="this machine alone")
    group.add_argument("--user", metavar="NAME", help="this user alone")
    group.add_argument("--source", metavar="AGENT", help="this agent alone (claude, codex, ...)")
    group.add_argument(
        "--names", action="store_true", help="names of projects also off this terminal: in exports, pipes and --format"
    )
    group.add_argument(
        "--param", metavar="NAME=VALUE", action="append", default=[], help="--query: another value for a tunable"
    )
    group.add_argument(
        "--format",
        choices=("table", "csv", "json", "md", "html", "svg"),
        default="table",
        help="of --query: table, csv, json, md; of --check: table, json; of --export - (default: table)",
    )


def add_forget_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--before",
        metavar="DAY",
        help="messages, tool calls, days, projects, sessions and blocks before this day, of this machine and user",
    )
    group.add_argument(
        "--conversations",
        dest="conversations_alone",
        action="store_true",
        help="with --before: messages and tool calls alone; every total stays",
    )
    group.add_argument("--months", action="store_true", help="with --before: whole months before that day, too")
    group.add_argument(
        "--project",
        metavar="NAME",
        help="this project (its folder, or the hash that is stored); what it has used stays in the totals",
    )
    group.add_argument("--yes", action="store_true", help="delete it, not only print it")


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; a word that is none is refused with the flag or the query that may have been meant."""
    options, rest = make_parser().parse_known_args(argv)
    if rest:
        flags = [name.replace("_", "-") for name in (*vars(options), "help", "version")]
        queries = named_queries()
        word = rest[0].lstrip("-\N{EN DASH}\N{EM DASH}").partition("=")[0].lower()  # dashes as some pages print them
        near = difflib.get_close_matches(word, [*flags, *queries], 1, 0.6)
        meant = "".join(f"--query {name}" if name in queries else f"--{name}" for name in near)
        raise ImporterError(
            f"{rest[0]!r} is not a flag", f"did you mean {meant}?" if meant else "see --help", EXIT_USAGE
        )
    return options


TIME_LAYOUT = "%Y-%m-%dT%H:%M:%S%z"
LOG_FILES, LOG_BYTES = 5, 1_000_000
# What --log-format json tells besides time, level and message: given with a line as `extra`.
LOG_FIELDS = ("import_id", "machine", "user", "report", "rows", "seconds", "status")
NARROWEST_SCREEN = 20  # columns: nothing is drawn for fewer
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
    """A log file that is rotated, and readable by its owner alone. That it cannot be written to is told once."""

    is_lost = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.is_lost:
            self.is_lost = True
            log.warning("--log-file: %s cannot be written to: %s", self.baseFilename, error.strerror)

    def _open(self) -> Any:
        return open(  # the handler closes it
            self.baseFilename,
            self.mode,
            encoding="utf-8",
            errors="backslashreplace",  # a path may hold bytes that are no character
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )


class Screen:
    """Where a run speaks: what it shows is the same on a terminal and off it, but for colour and progress.

    Off a terminal the log of an import (`timed`) has times. With `log_file` everything is also written there,
    whatever `quiet` says. With `for_program` stdout is an answer that a program reads: no notes among it.
    """

    def __init__(
        self,
        quiet: bool,
        verbose: bool,
        log_file: Path | None = None,
        log_format: str = "text",
        for_program: bool = False,
        timed: bool = True,
    ) -> None:
        self.silent = quiet
        self.quiet = quiet or for_program
        self.on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        # the driver tells of each failed attempt on its own; what matters of it is in our errors
        for library in ("clickhouse_connect", "urllib3"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            with contextlib.suppress(OSError):  # of a full disk
                handler.close()
        log.propagate = False
        log.setLevel(logging.DEBUG if verbose else logging.INFO)
        lines = logging.Formatter("%(asctime)s %(levelname)s %(message)s", TIME_LAYOUT)
        formatter = JsonLines() if log_format == "json" else lines
        warnings: logging.Handler = OutputHandler(sys.stderr)
        plain = self.on_terminal or not (timed or log_format == "json")
        warnings.setFormatter(logging.Formatter("warning: %(message)s") if plain else formatter)
        warnings.setLevel(logging.WARNING)
        self.notes = notes = OutputHandler(sys.stdout)
        notes.setFormatter(logging.Formatter("%(message)s") if plain else formatter)
        notes.addFilter(lambda record: record.levelno < logging.WARNING)
        for handler in [warnings] if self.quiet and not verbose else [warnings, notes]:
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

    @property
    def is_coloured(self) -> bool:
        return not os.environ.get("NO_COLOR") and (self.on_terminal or bool(os.environ.get("FORCE_COLOR")))

    def show(self, parts: Sequence[Part], width: int | None = None) -> None:
        """Print drawings, as wide as the terminal (off it 80 columns, or COLUMNS), or as `width`."""
        if self.quiet:
            return
        from rich.console import Console

        console = Console(highlight=False, width=width)
        console.width = max(console.width or 80, NARROWEST_SCREEN)  # COLUMNS=0: not known
        with contextlib.suppress(BrokenPipeError):  # its reader has seen enough
            sys.stdout.flush()  # what waits there, or rich does it, which then ends the process itself
            with console.capture() as capture:
                render_parts(console, parts)
            sys.stdout.write(re.sub(r" +$", "", capture.get(), flags=re.MULTILINE))

    def wait(self, text: str) -> None:
        """Say on stderr why nothing happens yet: what is waiting on stdout is the answer's."""
        log.info("%s", text, extra=FILE_ONLY)
        if not self.silent:
            print(text, file=sys.stderr)

    def prepare(self) -> None:
        """Load what asks and draws, in a thread: it takes 0.1 s, which costs little while ccusage runs or a database opens."""

        def load() -> None:
            importlib.import_module("rich.table")
            with contextlib.suppress(ImporterError):  # who asks is told
                named_queries()

        if not self.quiet:
            threading.Thread(target=load, daemon=True).start()

    def watch(self, logs: Reading) -> None:
        """Wait until the logs are read; on a terminal with progress, as at a first import there may be years of them."""
        if logs.done is None:
            return
        if not self.quiet and self.on_terminal:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

            columns = (TextColumn("conversations"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[files]}"))
            with Progress(*columns, console=Console(), transient=True) as progress:
                task = progress.add_task("", visible=False, files="")
                while wait([logs.done], timeout=0.05).not_done:
                    files, size = logs.told.all_files, logs.told.all_bytes
                    said = f"{logs.told.files:,} of {files:,} logs"
                    progress.update(task, visible=files > 0, completed=logs.told.bytes, total=size, files=said)
        logs.done.result()
        if logs.told.files:
            told = f"read {logs.told.files:,} logs ({human_bytes(logs.told.bytes)}): {logs.told.messages:,} messages"
            log.info("%s, %s uses of tools", told, f"{logs.told.tool_calls:,}")

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
    except KeyboardInterrupt:
        metrics.exit_code = EXIT_INTERRUPTED
        raise
    else:
        metrics.exit_code = code
        return code
    finally:
        if options.metrics_file is not None and not options.dry_run:
            metrics.seconds = time.monotonic() - began
            write_metrics(options.metrics_file, metrics.owner or config, metrics)


def fetch_and_store(config: Config, options: argparse.Namespace, screen: Screen, metrics: RunMetrics) -> int:
    """Fetch and store while the database opens; with --dry-run, print the plan instead."""
    clock = time.monotonic()
    saved = load_reports(options.from_json) if options.from_json is not None else None
    if saved is not None:
        config = metrics.owner = dataclasses.replace(
            config, machine_name=options.machine_name or saved.machine_name, user_name=saved.user_name
        )
        log.info("--from-json reads no logs: messages and tool calls stay as they are stored")
    screen.prepare()
    writes = not options.dry_run
    # chdb's import and opening take 0.3 s, about what ccusage takes: both at once
    with (
        opening(config, screen.wait, lock=writes or config.lock_path.exists(), make_schema=writes) as future,
        reading_logs(future, config, options.backfill, wanted=writes and saved is None) as logs,
    ):
        fetched = saved or fetch(config, zone_without_database(config), screen)
        privacy = privacy_of(config)
        try:
            reshaped = reshape_reports(fetched, privacy)  # while the database opens
            store, last = with_last_import(future)
            refuse_former_name(store, last, fetched.computer)
            if last and not same_zone(last.timezone, fetched.timezone) and not config.timezone and saved is None:
                log.info("the days of this machine are cut by %s since its first import", last.timezone)
                fetched = fetch(config, last.timezone, screen)
                reshaped = reshape_reports(fetched, privacy)
            if options.save_json is not None:
                save_reports(fetched, options.save_json)
            if options.dry_run:
                store = store if store and store.holds_usage else None
                unread = saved is None and tell_changed_logs(store, config, options.backfill) > 0
                return show_plan(store, last, config, fetched, reshaped, screen, unread)
            assert store is not None
            # first, or a mistake of this run would be taken for the saved reports'
            checked_settings(last, fetched.timezone, privacy, config)
            past = Past(store, reading=store.read_ahead(reshaped.records))
            screen.watch(logs)
            if finish_begun(store) + replay_pending(store, last or Fixed(fetched.timezone, privacy.fingerprint)):
                last, past = store.read_last_import(), Past(store)
            write_names(
                config, omit(seen_names(fetched, privacy), store.forgotten.projects), claude_folders(os.environ)
            )
            outcome = import_reports(
                past, fetched, last, clock, logs=logs.told, read_again=logs.again, reshaped=reshaped
            )
        except ImporterError as error:
            if error.exit_code == EXIT_FAILED and not options.dry_run and fetched.documents:
                with contextlib.suppress(ImporterError):
                    folder = keep_for_next_run(config, fetched)
                    error.fix += KEPT.format(folder=folder)
            raise
        tell_outcome(outcome, screen)
        log_outcome(outcome, config, FILE_ONLY if screen.on_terminal else {})
        metrics.outcome = outcome
        if options.metrics_file is not None:
            metrics.stored = fetch_metrics(store, fetched.timezone)
        if not screen.quiet and (outcome.has_usage or outcome.totals.get("days")):
            selection, audience = selected(config, options, outcome.fetched.timezone, screen)
            answers = fetch_statistics(store, selection, ("glance",))
            answers.pop("last_import", None)  # this one
            screen.show(draw_screen(answers, selection, audience, also=[import_line(outcome), MORE]))
        if config.export_path is not None:
            renew_export(store, config, options, fetched.timezone, screen)
    return report_errors(outcome)


def tell_changed_logs(store: Store | None, config: Config, everything: bool) -> int:
    """Say what an import would read of the logs; returns how many."""
    found, _ = find_logs(claude_folders(os.environ), privacy_of(config))
    files = plan_logs(found, read_known_logs(store) if store else {}, reader_of(config), everything)
    size = human_bytes(sum(file.size for file in files))
    log.info("would read %s of %s logs of conversations (%s)", f"{len(files):,}", f"{len(found):,}", size)
    return len(files)


def renew_export(store: Store, config: Config, options: argparse.Namespace, zone: str, screen: Screen) -> None:
    """Write CCUSAGE_EXPORT anew. Nothing that hinders it fails the import, which is stored by now."""
    path = config.export_path
    assert path is not None
    kind = EXPORTS[path.suffix]
    try:
        selection, audience = selected(config, options, zone, screen)
        names = audience.names if options.names else {}  # who reads the file is not at this terminal
        answers = {
            name: with_names(answer, names)
            for name, answer in fetch_statistics(store, selection, EXPORT_PLACES[kind]).items()
        }
        write_file(path, export_text(kind, answers, selection, dataclasses.replace(audience, names=names)), 0o644)
    except (ImporterError, OSError) as error:
        why = error.what if isinstance(error, ImporterError) else error.strerror  # the rest names a passing file
        log.warning("CCUSAGE_EXPORT: %s is not made anew: %s", path, why)


def show_plan(
    store: Store | None,
    last: LastImport | None,
    config: Config,
    fetched: FetchedReports,
    reshaped: Reshaped,
    screen: Screen,
    unread: bool,
) -> int:
    """Print what an import would do. With `unread` logs the messages that are stored cannot have all that ccusage says."""
    checked_settings(last, fetched.timezone, privacy_of(config), config)
    plans, messages = plan_import(
        Past(store),
        reshaped.records,
        config,
        fetched.dialect,
        datetime.now(timezone.utc),
        has_open_rows(last, fetched.dialect),
    )
    warnings = reshaped.warnings + ([] if unread else missed_warnings(messages))
    outcome = Outcome("", fetched, plans, reshaped.errors, warnings, last)
    if store is not None:
        outcome.warnings += computer_warnings(store, last, fetched)
    outcome.missing = reshaped.left_out()
    if store is not None:
        outcome.missing += not_found(reshaped.records, store.read_totals()["days_by_source"], fetched.unreadable)
    tell_outcome(outcome, screen)
    screen.show([draw_plans(outcome)])
    return report_errors(outcome)


def tell_outcome(outcome: Outcome, screen: Screen) -> None:
    """Warnings and notes. With --quiet a warning that the last import gave, too, is for the log file alone."""
    known = outcome.last.statistics.get("warnings", []) if outcome.last and screen.quiet else []
    for warning in outcome.warnings:
        log.warning("%s", one_line(warning), extra=FILE_ONLY if warning in known else {})
    for missing in outcome.missing:
        log.warning("%s", one_line(missing))
    today = datetime.now(timezone.utc).date()
    for note in kept_notes(outcome.plans, outcome.fetched.ccusage_version, outcome.last, today):
        log.info("%s", one_line(note))
    if not outcome.has_usage:
        log.info(
            "no usage found in %s, nor of another agent; if your logs are elsewhere, set CLAUDE_CONFIG_DIR "
            "(CODEX_HOME, ... for the others). No usage was changed",
            " and ".join(str(folder / "projects") for folder in reversed(claude_folders(os.environ))),
        )


def log_outcome(outcome: Outcome, config: Config, where: Mapping[str, bool]) -> None:
    """The import's figures for the log."""
    whose = {"import_id": outcome.import_id, "machine": config.machine_name, "user": config.user_name, **where}
    for name, plan in outcome.plans.items():
        counts = {what: len(getattr(plan, what)) for what in OUTCOMES}
        if any(counts.values()):
            told = ", ".join(f"{count} {what}" for what, count in counts.items())
            log.info("%s: %s", name, told, extra={**whose, "report": name, "rows": counts})
    done = {**whose, "status": outcome.status, "seconds": round(outcome.duration, 3)}
    log.info("import %s in %.1f s", outcome.status, outcome.duration, extra=done)


def report_errors(outcome: Outcome) -> int:
    """Print why reports failed, and give the exit code: each that failed was left as it was stored."""
    for error in outcome.errors.values():
        print_error(error)
    return {"completed": EXIT_DONE, "partial": EXIT_PARTIAL, "failed": EXIT_FAILED}[outcome.status]


# The commands that read a flag: with any other it would be ignored in silence.
READ_BY = {
    "all": ("stats",),
    "names": ("stats", "export", "query", "compare"),
    "days": ("stats", "export", "query"),
    "since": ("stats", "export", "query"),
    "until": ("stats", "export", "query", "compare"),
    "machine": ("stats", "export", "query", "compare"),
    "user": ("stats", "export", "query", "compare"),
    "source": ("stats", "export", "query", "compare"),
    "param": ("query",),
    "format": ("query", "check", "export"),
    "allow_shrink": ("import", "dry_run"),
    "backfill": ("import", "dry_run"),
    "password_hashes": ("team_sql",),
    "save_json": ("import", "dry_run"),
    "from_json": ("import", "dry_run"),
    "metrics_file": ("import", "dry_run"),
    "before": ("forget",),
    "conversations_alone": ("forget",),
    "months": ("forget",),
    "project": ("forget",),
    "yes": ("forget",),
}
FLAG_NAMES = {"conversations_alone": "conversations"}  # where the flag is called otherwise than what it sets


def given_flags(options: argparse.Namespace) -> set[str]:
    parser = make_parser()
    return {name for name, value in vars(options).items() if value != parser.get_default(name)}


def flag_words(names: Iterable[str]) -> str:
    return " or ".join(
        "an import" if name == "import" else f"--{FLAG_NAMES.get(name, name).replace('_', '-')}" for name in names
    )


def check_days(options: argparse.Namespace) -> None:
    if options.days is not None and not 1 <= options.days <= MOST_DAYS:
        raise configuration_error("--days", str(options.days), f"a number of days from 1 to {MOST_DAYS}")
    if options.watch is not None and not 1 <= options.watch <= 86_400:
        raise configuration_error("--watch", str(options.watch), "a number of seconds from 1 to 86400")
    for flag, text in (("--since", options.since), ("--until", options.until)):
        if text is not None:
            read_day(flag, text)
    if options.since is not None and options.days is not None:
        raise ImporterError("--days and --since both say where to begin", "leave one of them out", EXIT_USAGE)
    if options.since is not None and options.until is not None and options.since > options.until:
        raise ImporterError(f"--since {options.since} is after --until {options.until}", "turn them round", EXIT_USAGE)


def check_forget(options: argparse.Namespace) -> None:
    if (options.before is None) == (options.project is None):
        raise ImporterError("--forget takes --before DAY or --project NAME", "give one of the two", EXIT_USAGE)
    if options.project is not None and (options.conversations_alone or options.months):
        raise ImporterError("--conversations and --months belong to --before", "leave them out", EXIT_USAGE)
    if options.conversations_alone and options.months:
        raise ImporterError("--conversations leaves every total, --months none", "leave one of them out", EXIT_USAGE)
    somewhere = datetime.now(timezone(timedelta(hours=14))).date()  # where the day begins first
    if options.before is not None and read_day("--before", options.before) > somewhere:
        raise ImporterError(f"--before {options.before} is after today", "give an earlier day", EXIT_USAGE)


def check_formats(options: argparse.Namespace) -> None:
    to_stdout = options.export == Path("-")
    for flag, asks, formats in (
        ("--check", options.check, ("table", "json")),
        ("--query", options.query is not None, ("table", "csv", "json", "md")),
        ("--export -", to_stdout and options.format != "table", tuple(EXPORTS.values())),
    ):
        if asks and options.format not in formats:
            raise configuration_error(f"--format of {flag}", options.format, " or ".join(formats))
    if to_stdout and options.format == "table":
        raise ImporterError(
            "--export - does not say in which format", f"add --format {' or '.join(EXPORTS.values())}", EXIT_USAGE
        )
    if options.export is not None and not to_stdout and options.format != "table":
        raise ImporterError("--export FILE takes no --format", "leave it out: the file's ending says which", EXIT_USAGE)


def check_options(options: argparse.Namespace) -> None:
    """Refuse values and combinations that argparse lets pass."""
    check_days(options)
    to_stdout = options.export == Path("-")
    if options.export is not None and not to_stdout:
        read_export("--export", str(options.export))
    if options.export is not None and not options.export.absolute().parent.is_dir():
        folder = options.export.absolute().parent
        raise ImporterError(f"--export: there is no folder {folder}", "make it, or give another file", EXIT_USAGE)
    given = given_flags(options)
    asked = given & {*COMMANDS, "dry_run"} or {"import"}
    for name, beside, does in (("export", "stats", "writes the statistics"), ("adopt", "dry_run", "adopts")):
        if name in asked and asked - {name, beside}:
            raise ImporterError(f"--{name} {does} alone", "leave the other flag out", EXIT_USAGE)
    for name, commands in READ_BY.items():
        if name in given and not asked & {*commands}:
            what = f"{flag_words([name])} belongs to {flag_words(commands)}"
            instead = f"add {flag_words(commands[:1])}, or " if asked == {"import"} else ""
            raise ImporterError(what, f"{instead}leave it out of {flag_words(sorted(asked))}", EXIT_USAGE)
    check_formats(options)
    if options.forget:
        check_forget(options)
    if options.rename_machine and len({read_name("--rename-machine", name) for name in options.rename_machine}) == 1:
        raise ImporterError("--rename-machine: both names are the same", "give the old and the new one", EXIT_USAGE)
    if options.param and not options.query:
        raise ImporterError("--param belongs to --query NAME", "give the query's name", EXIT_USAGE)


# Where the names stand that --machine, --user and --source know: a column, and the queries that have it.
KNOWN_NAMES = {
    "machine": ("machine_name", ("rows_by_machine", "freshness")),
    "user": ("user_name", ("rows_by_machine", "freshness")),
    "source": ("agent", ("cost_by_source",)),
}


def selected(
    config: Config, options: argparse.Namespace, zone: str, screen: Screen, store: Store | None = None
) -> tuple[Selection, Audience]:
    """The rows that the flags ask for, and who reads them; a name that stands nowhere in the store is refused.

    Names of projects are for the terminal of this machine, and for where they are asked for.
    """
    queries = named_queries()
    for flag, (column, names) in KNOWN_NAMES.items():
        wanted = getattr(options, flag)
        if store is None or wanted is None:
            continue
        known = {row[column] for name in names for row in ask_query(store, queries[name]).dicts()}
        if known and wanted not in known:
            raise unknown(f"--{flag}", wanted, known, f"a {flag} with stored usage", f"--query {names[0]}")
    now = time.time()
    today = datetime.fromtimestamp(now, zoneinfo.ZoneInfo(zone)).date()
    until = date.fromisoformat(options.until) if options.until is not None else None
    since = date.fromisoformat(options.since) if options.since is not None else None
    if options.days is not None:
        last = min(until or today, today)
        since = last - timedelta(days=min(options.days - 1, max((last - FIRST_DAY).days, 0)))
    if since is not None and since > today:
        raise ImporterError(f"--since {since} is after today, {today} in {zone}", "give an earlier day", EXIT_USAGE)
    budgets = {"budget_day": config.budget_day, "budget_month": config.budget_month}
    selection = Selection(
        today,
        zone,
        since,
        until,
        options.machine,
        options.user,
        options.source,
        {name: dollars for name, dollars in budgets.items() if dollars is not None},
        config.user_name,
    )
    private = not options.names and (options.export is not None or options.format != "table" or not screen.on_terminal)
    return selection, Audience(now, zone, {} if private else shown_names(config))


@contextlib.contextmanager
def reading(
    config: Config, options: argparse.Namespace, screen: Screen
) -> Iterator[tuple[Store, Selection, Audience] | None]:
    """What a command that imports nothing asks; None where nothing is stored yet."""
    screen.prepare()
    with opening(config, screen.wait, lock=config.embedded and config.lock_path.exists()) as future:
        store, last = with_last_import(future)
        if store is None or not store.holds_usage:
            log.warning("nothing is stored in %s yet; run an import first", config.target)
            yield None
        else:
            yield (
                store,
                *selected(config, options, last.timezone if last else zone_without_database(config), screen, store),
            )


def run_stats(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print the statistics, or write them to a file, or both."""
    with reading(config, options, screen) as asked:
        is_export = options.export is not None
        if asked is None:
            return EXIT_FAILED if is_export else EXIT_DONE
        store, selection, audience = asked
        kind = EXPORTS.get(options.export.suffix, options.format) if is_export else ""
        places = {*EXPORT_PLACES.get(kind, ()), *(("glance", "stats") if options.all else ("glance",))}
        answers = fetch_statistics(store, selection, places)
        if options.names:
            answers = {name: with_names(answer, audience.names) for name, answer in answers.items()}
        if options.stats:
            screen.show(draw_screen(answers, selection, audience, options.all, [MORE]))
        if is_export:
            text = export_text(kind, answers, selection, audience)
            if options.export == Path("-"):
                sys.stdout.write(text)
            else:
                write_export(options.export, text)
                log.info("wrote %s", options.export)
    return EXIT_DONE


def run_compare(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """This period beside the last, in all and by model."""
    queries = named_queries()
    with reading(config, options, screen) as asked:
        if asked is not None:
            store, selection, audience = asked
            whole = ask_query(store, queries["periods_compared"], selection)
            whole = dataclasses.replace(whole, rows=[row for row in whole.rows if row[0] == options.compare])
            by_model = ask_query(store, queries["models_compared"], selection, {"period": options.compare})
            tell_own_period(whole.query, selection)
            screen.show([draw_answer(whole, audience), draw_answer(by_model, audience)])
    return EXIT_DONE


def run_check_budget(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Exit code 4, with the reasons on stderr, when a budget is exceeded or the month's forecast exceeds it."""
    queries = named_queries()
    answers: list[Answer] = []
    with reading(config, options, screen) as asked:
        if asked is not None:
            store, selection, audience = asked
            if selection.budgets:
                answers.append(ask_query(store, queries["budgets"], selection))
            if (BUDGETS_TABLE, "dollars") in store.column_types:  # what an older version has made has none
                answers.append(ask_query(store, queries["user_budgets"], selection))
            screen.show([draw_answer(answer, audience) for answer in answers if answer.rows])
    if (config.budget_day, config.budget_month) == (None, None) and not any(answer.rows for answer in answers):
        fix = f"set CCUSAGE_BUDGET_DAY or CCUSAGE_BUDGET_MONTH, or fill the table {BUDGETS_TABLE}"
        raise ImporterError("there is no budget", fix, EXIT_USAGE)
    broken = [reason for answer in answers for reason in broken_budgets(answer, config.user_name)]
    for reason in broken:
        print_error(
            ImporterError(reason, "look at what costs: --stats, --query unusual_days, --query dearest_sessions")
        )
    return EXIT_BUDGET if broken else EXIT_DONE


def run_query(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Run a named query and print its answer, or list the queries."""
    queries = named_queries()
    query = queries.get(options.query)
    if query is None:
        return list_queries(queries, options, screen)
    values = {}
    for text in options.param:
        name, equals, value = text.partition("=")
        if not equals:
            raise ImporterError(f"--param: {text!r} has no value", f"say --param {name}=VALUE", EXIT_USAGE)
        values[name] = value
    query.bound(values)  # a wrong name or value is told before the database is opened
    with reading(config, options, screen) as asked:
        if asked is None and options.format != "table":
            sys.stdout.write(rows_text(query.shown.columns, [], options.format))
        if asked is not None:
            store, selection, audience = asked
            answer = ask_query(store, query, selection, values)
            if options.names:
                answer = with_names(answer, audience.names)
            if options.format != "table":
                sys.stdout.write(rows_text(answer.columns, answer.rows, options.format))
                return EXIT_DONE
            if is_budget(query) and not (selection.budgets or values):
                log.info("there is no budget: set CCUSAGE_BUDGET_MONTH or CCUSAGE_BUDGET_DAY")
            else:
                tell_own_period(query, selection)
            # off the terminal nothing is cut: a pipe has no width
            screen.show([draw_answer(answer, audience)], None if screen.on_terminal else 10_000)
            if not answer.rows:
                log.info("no rows")
    return EXIT_DONE


def tell_own_period(query: Query, selection: Selection) -> None:
    is_narrowed = selection.since is not None or selection.last_day < selection.today
    if is_narrowed and not selection.holds_for(query):
        log.info("%s has a period of its own, which --days, --since and --until do not narrow", query.name)


def list_queries(queries: Mapping[str, Query], options: argparse.Namespace, screen: Screen) -> int:
    """The queries by section, those with a word with their questions; for machines all of both."""
    word = options.query.lower()
    found = [query for query in queries.values() if word in f"{query.name} {query.question} {query.section}".lower()]
    if not found or (word and options.format != "table"):
        raise unknown("--query", options.query, queries, "a query's name")
    if options.format != "table" or word:
        columns = [Column(name) for name in ("section", "name", "question", "tunables")]
        rows = [
            (
                query.section,
                query.name,
                query.question,
                " ".join(f"{name}={tunable.default} ({tunable.accepts})" for name, tunable in query.tunables.items()),
            )
            for query in found
        ]
        if word:
            table = Table(
                f"Queries with {word!r}", (Column("name"), Column("question", "words")), [row[1:3] for row in rows]
            )
            screen.show([table])
        else:
            sys.stdout.write(rows_text(columns, rows, options.format))
    else:
        sections: defaultdict[str, list[str]] = defaultdict(list)
        for query in found:
            sections[query.section].append(query.name)
        named = [(section.lower(), ", ".join(names)) for section, names in sections.items()]
        screen.show([Table("Queries", (Column("about"), Column("names", "words")), named)])
        log.info("--query WORD tells what those with the word ask, --query NAME asks")
    return EXIT_DONE


class WatchedScreen(Screen):
    """What the last import has shown, with what went wrong since, for rich to draw."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(True, False, options.log_file, options.log_format, timed=False)
        self.quiet = False
        self.parts: Sequence[Part] = []
        self.said = self.status = ""
        for handler in list(log.handlers):
            if isinstance(handler, OutputHandler):
                log.removeHandler(handler)

    def show(self, parts: Sequence[Part], width: int | None = None) -> None:
        self.parts = parts

    @contextlib.contextmanager
    def fetching(self, commands: Sequence[str]) -> Iterator[Callable[[str, float, ImporterError | None], None]]:
        yield lambda name, seconds, error: None

    def __rich_console__(self, console: Console, _: object) -> Iterator[RenderableType]:
        from rich.text import Text

        for part in self.parts:
            yield from drawing_text(part, console.width)
        yield Text(one_line(self.said), style=UP_COLOUR, no_wrap=True, overflow="ellipsis")
        yield Text(self.status, style="dim")


def run_watch(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """The one screen, with an import every so often, until q or Ctrl-C. The lock is held only while importing."""
    if not (screen.on_terminal and sys.stdin.isatty()):
        raise ImporterError("--watch needs a terminal", "import from cron, and look with --stats", EXIT_USAGE)
    from rich.console import Console
    from rich.live import Live

    watched = WatchedScreen(options)
    with (
        contextlib.suppress(KeyboardInterrupt),
        single_keys() as key_within,
        Live(watched, console=Console(highlight=False), screen=True, auto_refresh=False) as live,
    ):
        while True:
            began = time.monotonic()
            watched.status = "importing"
            live.refresh()
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                try:
                    run_import(config, options, watched)
                except ImporterError as error:  # the next import may find it gone
                    print_error(error)
            watched.said = " ".join(errors.getvalue().split())
            while (left := began + options.watch - time.monotonic()) > 0:
                watched.status = f"next import in {left:.0f} s; q ends"
                live.refresh()
                if key_within(min(left, 1.0)) in ("q", "Q", "\x04"):
                    return EXIT_DONE
    return EXIT_DONE


@contextlib.contextmanager
def single_keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed, without echo: gives the function that waits so many seconds for one."""

    def key_within(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return (os.read(sys.stdin.fileno(), 1) or b"q").decode(errors="replace") if ready else ""

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield key_within
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def opening_stored(
    config: Config, screen: Screen, lock: bool, make_schema: bool = False
) -> Iterator[tuple[Store, LastImport | None]]:
    """A database with usage, and its last import; raises ImporterError where nothing is stored yet."""
    with opening(config, screen.wait, lock, make_schema) as opened:
        store, last = with_last_import(opened)
        if store is None or not store.holds_usage:
            raise ImporterError(f"nothing is stored in {config.target} yet", "run an import first")
        yield store, last


def show_counts(
    screen: Screen, title: str, label: str, counted: Iterable[str], rows: Iterable[tuple[str, Iterable[int]]]
) -> None:
    """A table of a label and some whole numbers a row."""
    columns = (Column(label), *(Column(name, "#") for name in counted))
    screen.show([Table(title, columns, [(name, *(f"{count:,}" for count in counts)) for name, counts in rows])])


def outcome_counts(plans: Mapping[str, Plan]) -> list[int]:
    """Rows of each of OUTCOMES over all reports."""
    return [sum(len(getattr(plan, what)) for plan in plans.values()) for what in OUTCOMES]


def embedded_databases(config: Config, screen: Screen) -> list[str]:
    """The databases of the embedded engine in which usage is stored."""
    with opening(config, screen.wait, lock=True) as opened:
        store = opened.result()[0]
        assert store is not None
        found = "SELECT database FROM system.tables WHERE name = {table:String} AND total_rows > 0 ORDER BY database"
        return [name for (name,) in store.query(found, {"table": REPORTS["daily"].table})]


def run_push(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Everything in the embedded database goes to the server that CH_HOST names."""
    if config.embedded:
        raise ImporterError("--push-local: CH_HOST is not set", "set CH_HOST to the server to push to", EXIT_USAGE)
    here = dataclasses.replace(config, host=None)
    names = embedded_databases(here, screen) if has_embedded_data(here) else []
    if not names:
        raise ImporterError(f"nothing is stored in {here.target}", "set CCUSAGE_DB_PATH to the folder to push from")
    if config.database not in names:  # CH_DATABASE is the server's
        here = dataclasses.replace(here, database=DEFAULT_DATABASE if DEFAULT_DATABASE in names else names[0])
    with (
        opening(here, screen.wait, lock=True, make_schema=True) as opening_local,
        opening(config, screen.wait, lock=True, make_schema=True) as opening_served,
    ):
        (local, last), (served, _) = with_last_import(opening_local), opening_served.result()
        assert local is not None
        assert served is not None
        finish_begun(local)
        if last is not None:  # what a run could not finish, no import from now on would find
            replay_pending(local, last)
        rows = []
        for (machine, user), name in current_names(served, local.read_owners()).items():
            # an import there would store as much of conversations
            alone = not config.stores_conversations
            plans = push_owner(owned_by(local, machine, user), owned_by(served, name, user), alone)
            rows.append((f"{user} on {machine}", outcome_counts(plans)))
            log.info("pushed %s on %s", user, machine, extra=FILE_ONLY)
        show_counts(screen, f"Pushed to {config.target}", "whose", OUTCOMES, rows)
        for former, name in local.read_former_names().items():
            if (former, config.user_name) in served.read_owners():
                log.warning(
                    "the server has rows of %s, too, as %s was called: if these are of the same computer, they count twice "
                    "until --rename-machine %s %s has been run there",
                    one_line(former),
                    one_line(name),
                    shlex.quote(former),
                    shlex.quote(name),
                )
    return EXIT_DONE


def run_archive(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Every table goes to a folder as files of Parquet."""
    with opening_stored(config, screen, lock=not config.embedded or config.lock_path.exists()) as (store, _):
        told = store_archive(store, options.archive)
    show_counts(screen, f"Archived in {options.archive}", "table", ("written", "rows", "bytes"), told.items())
    return EXIT_DONE


def run_lake(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """The facts go to a folder as tables of Iceberg."""
    with opening_stored(config, screen, lock=not config.embedded or config.lock_path.exists()) as (store, _):
        told = store_lake(store, options.lake)
    show_counts(screen, f"Lake in {options.lake}", "table", ("months written", "rows"), told.items())
    return EXIT_DONE


def run_restore(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """What --archive has written goes back, for every machine and user in it."""
    archive = load_archive(options.restore)
    with opening(config, screen.wait, lock=True, make_schema=True) as opened:
        store = opened.result()[0]
        assert store is not None
        rows = []
        with staged(archive, store) as archived:
            for (machine, user), name in current_names(store, archived.read_owners()).items():
                counts = restore_owner(owned_by(archived, machine, user), owned_by(store, name, user))
                rows.append((f"{user} on {machine}", counts))
                log.info("restored %s on %s", user, machine, extra=FILE_ONLY)
            if archived.query(f"SELECT 1 FROM {BUDGETS_TABLE} LIMIT 1"):
                store.insert_from(archived, BUDGETS_TABLE, f"SELECT * FROM {BUDGETS_TABLE} FINAL", {})
    show_counts(screen, f"Restored from {options.restore}", "whose", OUTCOMES, rows)
    return EXIT_DONE


def run_adopt(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """What the older importer has stored in another database of this server or engine comes into this one."""
    database = read_database("--adopt", options.adopt)
    writes = not options.dry_run
    lock = writes or config.lock_path.exists()
    with opening_stored(config, screen, lock, make_schema=writes) as (store, _):
        plans = adopt(store, database, writes)
    title = f"{'Adopted' if writes else 'To adopt'} from {database}"
    show_counts(screen, title, "machine", OUTCOMES, [(name, outcome_counts(of)) for name, of in sorted(plans.items())])
    return EXIT_DONE


def run_team_sql(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print the SQL that makes, or enlarges, a team, or the one that takes a person out of it. Opens nothing."""
    if options.remove_person is not None:
        statements = list(removal_sql(config, options.remove_person))
    else:
        people = list(dict.fromkeys(options.team_sql))
        hashes = read_password_hashes(options.password_hashes) if options.password_hashes is not None else {}
        statements = list(team_sql(config, people, hashes))
        lacking = [name for name in (*people, DASHBOARDS) if name not in hashes]
        if lacking:
            log.warning("no password of %s: the server refuses what makes them until their hash stands there,"
                        " by hand or by --password-hashes FILE", ", ".join(lacking))  # fmt: skip
    print("".join(f"{statement};\n\n" for statement in statements), end="")
    return EXIT_DONE


def project_ids(config: Config, name: str) -> frozenset[str]:
    """What may be stored of a project that is called so: a hash, its folder's name, its path, or what a terminal shows."""
    privacy = privacy_of(config)
    shown = (stored for stored, told in shown_names(config).items() if told == name)
    known = (stored for stored, told in read_names(config)["names"].items() if told == name)
    return frozenset({name, privacy.name(name), privacy.name(re.sub("[^A-Za-z0-9]", "-", name)), *shown, *known})


def run_forget(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print what --before or --project means in rows, and with --yes delete it and record that it stays away."""
    lock = options.yes or config.lock_path.exists()
    with opening_stored(config, screen, lock, make_schema=options.yes) as (store, last):
        wanted: list[dict[str, Any]]
        if options.project is not None:
            projects = project_ids(config, options.project) - {""}  # what belongs to no project
            known = Forgotten(projects=projects)
            stored = {row.project or row.record_key[11:] for rows in rows_to_go(store, known).values() for row in rows}
            stored |= store.forgotten.projects  # of a run that was killed there may be no row left, but its messages
            if not (stored := stored & projects):
                # as everywhere names are for this terminal alone, and an error is written to the log file, too
                private = not screen.on_terminal or options.log_file is not None
                names = shown_names(config)
                raise unknown(
                    "--project",
                    options.project,
                    names if private else names.values(),
                    "a project that is stored",
                    "--query projects",
                )
            asked = Forgotten(projects=frozenset(stored))
            wanted = [{"what": "project", "name": name} for name in sorted(stored)]
        else:
            day = date.fromisoformat(options.before)
            zone = zoneinfo.ZoneInfo(last.timezone if last else zone_without_database(config))
            began = datetime.combine(day, datetime.min.time(), zone).astimezone(timezone.utc)
            first = {"messages": day}
            first |= {} if options.conversations_alone else {"rows": day}
            first |= {"months": day} if options.months else {}
            asked = forgotten_before(first, began)
            wanted = [{"what": what, "before": day, "began": began} for what in first]
        # a run that was ended may have deleted rows which its saved reports bring back
        if options.yes and last is not None:
            replay_pending(store, last)
        counts = count_to_go(store, asked)
        if options.yes:
            store.write_forgotten(*wanted, done=False)
            store_forgotten(store)
            if asked.projects:
                forget_names(config, asked.projects)
    rows = [(table, f"{count:,}") for table, count in counts.items()]
    title = f"{'Forgotten' if options.yes else 'To be forgotten'} of {config.user_name} on {config.machine_name}"
    screen.show([Table(title, (Column("table"), Column("rows", "#")), rows)])
    if not any(counts.values()):
        log.info("there is nothing to delete")
    elif not options.yes:
        log.info("nothing was deleted: the same with --yes deletes it, and no import brings it back")
    return EXIT_DONE


def run_rename(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """The rows of this user under a machine's old name go to the new one."""
    former, name = (read_name("--rename-machine", text) for text in options.rename_machine)
    own_name = config.machine_name
    config = dataclasses.replace(config, machine_name=name)
    with opening(config, screen.wait, lock=True, make_schema=True) as opened:
        store, last = with_last_import(opened)
        assert store is not None
        old = owned_by(store, former, config.user_name)
        its_last = old.read_last_import()
        fixed = last or its_last
        if fixed is not None:  # what a run could not finish was fetched under the old name
            replay_pending(store, fixed)
        if (former, config.user_name) not in store.read_owners() and former not in store.forgotten.former:
            known = {machine for machine, user in store.read_owners() if user == config.user_name}
            raise unknown("--rename-machine", former, known, "a machine with stored usage", "--query rows_by_machine")
        if fixed is not None:
            remember(config, Fixed(fixed.timezone, fixed.privacy))
        plans = rename_machine(old, store)
    counts = [sum(len(getattr(plan, what)) for plan in plans.values()) for what in OUTCOMES]
    columns = (Column("whose"), *(Column(what, "#") for what in OUTCOMES))
    rows = [(f"{config.user_name} on {name}", *(f"{count:,}" for count in counts))]
    screen.show([Table(f"Taken over from {former}", columns, rows)])
    if own_name == former:
        log.warning(
            "this machine still imports as %s, which the next import refuses: set MACHINE_NAME=%s, for the cron job, too "
            "(run ./setup_cronjob.sh again)",
            one_line(former),
            shlex.quote(name),
        )
    return EXIT_DONE


def run_check(config: Config, options: argparse.Namespace, screen: Screen) -> int:
    """Print what --check found; exit code 0 only when every required check holds."""
    findings = check_everything(config, with_unset=options.verbose or options.format == "json")
    return EXIT_DONE if tell_findings(findings, options, screen) else EXIT_FAILED


def tell_findings(findings: Iterable[Finding], options: argparse.Namespace, screen: Screen) -> bool:
    """Print each finding as it comes, or all of them as JSON; returns whether every required one holds."""
    told = []
    for finding in findings:
        told.append(finding)
        if options.format == "table" and not (screen.quiet and finding.holds):
            print_finding(finding, screen.is_coloured)
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
    if coloured:
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


# The first of these flags that is given says what is done; without one it is an import.
COMMANDS: Mapping[str, Callable[[Config, argparse.Namespace, Screen], int]] = {
    "check": run_check,
    "query": run_query,
    "compare": run_compare,
    "check_budget": run_check_budget,
    "push_local": run_push,
    "archive": run_archive,
    "restore": run_restore,
    "lake": run_lake,
    "forget": run_forget,
    "rename_machine": run_rename,
    "adopt": run_adopt,
    "watch": run_watch,
    "stats": run_stats,
    "export": run_stats,
    "team_sql": run_team_sql,
    "remove_person": run_team_sql,
}


REPORT_IT = "run it with --verbose, and report what that prints"


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def output_lost(error: OSError) -> ImporterError:
    return ImporterError(f"the output cannot be written: {error.strerror}", "make room, or write elsewhere")


def run(argv: Sequence[str] | None) -> int:
    """The command that the flags ask for; returns its exit code or raises what went wrong."""
    options = parse_options(argv)
    config: Config | None = None
    given = given_flags(options)
    command = next((command for name, command in COMMANDS.items() if name in given), run_import)
    try:
        for_program = options.format != "table"
        timed = command is run_import
        screen = Screen(options.quiet, options.verbose, options.log_file, options.log_format, for_program, timed)
        check_options(options)
        try:
            config = read_config(os.environ, options)
        except ImporterError as error:
            if not options.check:
                raise
            tell_findings([Finding("configuration", False, error.what, error.fix)], options, screen)
            return error.exit_code
        code = command(config, options, screen)
        if screen.notes.lost is not None:
            raise output_lost(screen.notes.lost)
        return code
    except Exception as error:
        if options.verbose:
            trace = traceback.format_exc()
            print(config.redact(trace) if config else trace, file=sys.stderr)
        if isinstance(error, ImporterError) or (isinstance(error, OSError) and error.filename is None):
            raise  # a print that cannot be written names no file
        raise ImporterError(f"unexpected: {type(error).__name__}", REPORT_IT) from error


# Shapes that the program draws, for an encoding that lacks them; anything else is told by its number.
PLAIN_SHAPES = dict(zip("○█▉▊▋▌▍▎▏·░▒▓▁▂▃▄▅▆▇▲▼─│…✓", "o###==---.:+%_,.-=+*^v-|.+", strict=True))


def plain_text(error: UnicodeError) -> tuple[str, int]:
    """What is printed in place of characters that the output's encoding lacks: as wide where it is a shape."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN_SHAPES.get(c) or json.dumps(c)[1:-1] for c in lacking), error.end


def main(argv: Sequence[str] | None = None) -> int:
    """The program: returns its exit code, also where its output is closed, full, or of a poor encoding."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
    codecs.register_error("plain", plain_text)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before we began
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        code = run(argv)
    except SystemExit as end:  # of --help and --version
        code = int(end.code or EXIT_DONE)
    except ImporterError as error:
        print_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; nothing is lost, the next import goes on from here", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # its reader has seen enough
        code = EXIT_DONE
    except OSError as error:
        print_error(output_lost(error))
        code = EXIT_FAILED
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else it is tried, and told, again at exit
        if not code and not isinstance(error, BrokenPipeError):
            print_error(output_lost(error))
            code = EXIT_FAILED
    return code


def run_command() -> NoReturn:
    """The program as a command: it ends without what Python and the engine would still take down, 55 ms of a run."""
    code = main()
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run_command()
