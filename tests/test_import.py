"""The whole path: real ccusage on generated logs, the real engine, the importer as its users run it."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import IMPORTER, NEW_VERSIONS, NEWEST, OLD_VERSIONS, USAGE_TABLES, Machine, Server, thorough
from importer_process import run_importer

import ccusage_importer as ci

VERSIONS = [NEWEST, *thorough(*OLD_VERSIONS, *NEW_VERSIONS[:-1])]  # the simulator takes all
OLD_COMMANDS = {
    "daily": ["daily"],
    "monthly": ["monthly"],
    "session": ["session"],
    "projects": ["daily", "--instances"],
}
CLAUDE_COMMANDS = {name: ["claude", *words] for name, words in OLD_COMMANDS.items()}


def said_by_ccusage(machine: Machine) -> dict[str, tuple[int, float]]:
    """ccusage's own totals: tokens and cost of all agents by report; of blocks the sum."""
    if machine.version == NEWEST:
        commands = {**OLD_COMMANDS, "projects": CLAUDE_COMMANDS["projects"]}
    else:
        commands = CLAUDE_COMMANDS if int(machine.version[:2]) >= 19 else OLD_COMMANDS
    said = {}
    for report, words in commands.items():
        totals = machine.ccusage(*words)["totals"]
        said[report] = (totals["totalTokens"], totals["totalCost"])
    if int(machine.version[:2]) < 19:  # sessions come from messages, of which 15 to 18 count the first line
        totals = Machine(machine.home).ccusage("claude", "session")["totals"]
        said["session"] = (totals["totalTokens"], totals["totalCost"])
    blocks = machine.ccusage("blocks")["blocks"]
    said["blocks"] = (sum(b["totalTokens"] for b in blocks), sum(b["costUSD"] for b in blocks))
    return said


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Tokens to the token, dollars to the millionth."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, dict):
            assert_same(value, right[name])
        else:
            assert value[0] == right[name][0], name
            assert value[1] == pytest.approx(right[name][1], abs=1e-6), name


def all_sources(sums: dict[str, dict[str, tuple[int, float]]]) -> dict[str, tuple[int, float]]:
    return {
        report: (sum(t for t, _ in by_source.values()), sum(c for _, c in by_source.values()))
        for report, by_source in sums.items()
    }


Imported = Callable[[str], Machine]


@pytest.mark.parametrize("version", VERSIONS)
def test_sums_of_every_table_are_ccusages_totals(imported_by: Imported, version: str) -> None:
    machine = imported_by(version)
    sums = machine.sums()
    assert_same(all_sources(sums), said_by_ccusage(machine))
    assert set(sums["daily"]) == ({"claude", "codex"} if version == NEWEST else {"claude"})
    of_models = {
        kind: (tokens, cost)
        for kind, tokens, cost in machine.query(
            "SELECT record_type, sum(total_tokens), sum(cost) FROM ccusage_model_breakdowns FINAL"
            " WHERE source = 'claude' GROUP BY ALL"
        )
    }
    assert_same(
        of_models,
        {
            kind: sums[report]["claude"]
            for kind, report in (
                ("daily", "daily"),
                ("monthly", "monthly"),
                ("session", "session"),
                ("project_daily", "projects"),
            )
        },
    )


@pytest.mark.parametrize("version", [NEWEST, *thorough("18.0.11")])
def test_a_second_import_rewrites_nothing(imported_by: Imported, version: str) -> None:
    machine = imported_by(version)
    before = machine.snapshot()
    machine.imported("--quiet")
    assert machine.snapshot() == before
    new, changed = machine.query(
        "SELECT rows_new, rows_changed FROM ccusage_import_history ORDER BY created_at DESC, import_timestamp DESC LIMIT 1"
    )[0]
    assert sum(new.values()) == 0
    assert changed["blocks"] <= 1
    assert sum(changed.values()) == changed["blocks"]


@pytest.mark.parametrize("version", [NEWEST, *thorough("18.0.11")])
def test_history_outlives_the_logs_and_follows_what_grows(imported_by: Imported, version: str) -> None:
    machine = imported_by(version)
    before = machine.sums()
    children = machine.query(
        "SELECT record_type, count(), sum(total_tokens) FROM ccusage_model_breakdowns FINAL GROUP BY 1 ORDER BY 1"
    )

    assert machine.delete_logs_before(days=23) > 20
    assert ("stored rows of which" in machine.imported()) == (
        version == NEWEST
    )  # rows of codex; what is covered needs no word
    assert_same(machine.sums(), before)
    assert children == machine.query(
        "SELECT record_type, count(), sum(total_tokens) FROM ccusage_model_breakdowns FINAL GROUP BY 1 ORDER BY 1"
    )
    snapshot = machine.snapshot()
    machine.imported("--quiet")
    assert machine.snapshot() == snapshot

    # the youngest session goes on: every table follows by exactly what was added
    session = max((machine.home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    last = [
        line for line in session.read_text(encoding="utf-8").splitlines() if '"usage":{"' in line and line.endswith("}")
    ]
    message = json.loads(last[-1])
    message["requestId"], message["message"]["id"] = "req_grown", "msg_grown"
    message["message"]["model"] = "claude-opus-4-20250514"
    message["message"]["usage"] = {"input_tokens": 1000, "output_tokens": 2000}
    with session.open("a", encoding="utf-8") as file:
        file.write(sample_logs.compact(message) + "\n")
    machine.imported("--quiet")
    after = machine.sums()
    for report in USAGE_TABLES:
        tokens, cost = before[report]["claude"]
        assert after[report]["claude"][0] == tokens + 3000, report
        assert after[report]["claude"][1] == pytest.approx(cost + 0.015 + 0.15, abs=1e-6), report


def test_an_update_of_ccusage_counts_no_session_twice(imported_by: Imported) -> None:
    machine = imported_by("18.0.11")
    machine.version = NEWEST
    machine.imported("--quiet")
    assert_same(all_sources(machine.sums()), said_by_ccusage(machine))
    assert machine.query("SELECT count() FROM ccusage_usage_sessions FINAL WHERE session_id = project_path") == [(0,)]


def test_an_update_of_ccusage_after_a_cleanup_keeps_the_history_of_projects(imported_by: Imported) -> None:
    machine = imported_by("18.0.11")
    # of a day that lost some of its logs the one version's number is kept, while its other projects' are the other's
    assert machine.delete_logs_before(days=23, whole_days=True) > 20
    machine.imported("--quiet")
    machine.version = NEWEST
    for _ in range(2):
        machine.imported("--quiet")
        sums = machine.sums("source = 'claude'")
        sums.pop("blocks")  # one that lost some of its logs, too
        assert_same(sums, dict.fromkeys(sums, sums["daily"]))


@pytest.mark.thorough  # as the simulator does
def test_two_versions_of_ccusage_in_turn_count_nothing_twice(laptop: Machine) -> None:
    """Cron finds one version, a person another. The laptop has begun with the newest."""
    machine = laptop
    for version in ("18.0.11", NEWEST):
        machine.version = version
        machine.imported("--quiet")
        sums = machine.sums("source = 'claude'")
        assert_same(sums, dict.fromkeys(sums, sums["daily"]))


def test_two_machines_and_two_users_do_not_touch_each_other(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_USER="ada")
    ada = machine.rows("ccusage_usage_daily", "*")
    machine.delete_logs_before(days=23)
    machine.imported("--quiet", CCUSAGE_USER="bob")
    renamed = machine.run("--quiet", "--machine-name", "laptop", CCUSAGE_USER="ada")
    assert (renamed.returncode, "this computer has imported as" in renamed.stderr) == (0, True)
    machine.imported("--quiet", "--allow-shrink", CCUSAGE_USER="bob")
    owners = dict(
        machine.query(
            "SELECT concat(user_name, '@', machine_name = 'laptop'), sum(total_tokens)"
            " FROM ccusage_usage_daily FINAL GROUP BY ALL"
        )
    )
    assert owners.keys() == {"ada@0", "bob@0", "ada@1"}
    assert owners["bob@0"] == owners["ada@1"] < owners["ada@0"]
    mine = [row for row in machine.rows("ccusage_usage_daily", "*") if "ada" in row and "laptop" not in row]
    assert mine == ada


def test_a_changed_time_zone_is_refused(laptop: Machine) -> None:
    before = laptop.snapshot()
    result = laptop.run(CCUSAGE_TIMEZONE="Asia/Tokyo")
    assert result.returncode == 2
    assert "error: CCUSAGE_TIMEZONE: the days of" in result.stderr
    assert "cut by UTC" in result.stderr
    assert "fix: unset CCUSAGE_TIMEZONE or set it to UTC" in result.stderr
    assert laptop.snapshot() == before


def test_a_machine_that_travels_keeps_its_zone(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="Europe/Berlin")
    before = machine.snapshot()
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="America/New_York")
    assert machine.snapshot() == before
    assert machine.query("SELECT DISTINCT timezone FROM ccusage_import_history") == [("Europe/Berlin",)]


def imported_by(computer: str, machine: Machine, *arguments: str, **settings: str) -> str:
    """What an import warns of on a computer with this machine id."""
    path = machine.home / "machine-id"
    path.write_text(f"{computer}\n")
    patch = f"ci.MACHINE_ID_FILES = ('/nowhere', {str(path)!r})"
    result = run_importer(["--quiet", *arguments], machine.environment(**settings), patch)
    assert (result.returncode, result.stdout) == (0, "")
    return result.stderr


def test_two_computers_under_one_name_and_one_under_two_are_told(machine: Machine, tmp_path: Path) -> None:
    machine.settings |= {"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"}
    saved = tmp_path / "saved"
    assert imported_by("one", machine, "--save-json", str(saved)) == ""
    for arguments in ([], ["--from-json", str(saved)]):  # another's import, and then what the first one has saved
        said = imported_by("two", machine, *arguments)
        assert re.search(r"the last import of ada on laptop \(.* UTC\) came from another computer", said)
        assert "set MACHINE_NAME on one of them" in said
    assert imported_by("", machine) == ""  # one without an id tells nothing
    computers = [row[0] for row in machine.rows("ccusage_import_history", "computer")]
    assert [computers.count(computer) for computer in sorted(set(computers))[1:]] in ([1, 2], [2, 1])
    assert all(re.fullmatch("[0-9a-f]{16}|", computer) for computer in computers)
    assert json.loads((saved / "manifest.json").read_text())["computer"] in computers

    said = imported_by("one", machine, "--dry-run", MACHINE_NAME="renamed")
    assert "this computer has imported as laptop before" in said
    assert "set MACHINE_NAME=laptop" in said
    assert imported_by("one", machine, "--dry-run", MACHINE_NAME="laptop", CCUSAGE_USER="bob") == ""


def test_what_a_killed_run_leaves_in_the_temporary_folder_goes_with_the_next(machine: Machine, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    hanging = tmp_path / "hanging"
    hanging.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec echo {NEWEST}\nexec sleep 300\n')
    hanging.chmod(0o755)
    environment = machine.environment(TMPDIR=str(temporary), CCUSAGE_BIN=str(hanging))
    with subprocess.Popen(
        [sys.executable, str(IMPORTER), "--dry-run"], env=environment, stdout=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while not (left := list(temporary.glob("ccusage-importer-*/ccusage.json"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        folder = left[0].parent
        os.utime(folder, (0, 0))
        machine.imported("--dry-run", "--quiet", TMPDIR=str(temporary))
        assert folder.exists()  # its run is alive
        run.kill()
    machine.imported("--dry-run", "--quiet", TMPDIR=str(temporary))
    assert not list(temporary.iterdir())


def test_data_files_are_private_in_a_folder_that_is_open(machine: Machine) -> None:
    machine.db_path.mkdir(parents=True, mode=0o755)
    metrics = machine.home / "metrics" / "x.prom"
    machine.imported("--quiet", "--metrics-file", str(metrics))
    open_to_others = [
        path for path in machine.db_path.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert open_to_others == []
    assert len(list(machine.db_path.rglob("*.bin"))) > 5
    assert stat.S_IMODE(metrics.parent.stat().st_mode) & 0o055 == 0o055  # somebody else's to read


REPORT_FILES = ("blocks", "daily", "manifest", "monthly", "projects", "session", "session_agents")


def test_two_names_of_one_zone_are_one(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_TIMEZONE="Asia/Kolkata")
    before = machine.snapshot()
    machine.imported("--quiet", CCUSAGE_TIMEZONE="Asia/Calcutta")
    assert machine.snapshot() == before
    assert machine.query("SELECT DISTINCT timezone FROM ccusage_import_history") == [("Asia/Kolkata",)]
    assert "cut by Asia/Kolkata" in machine.run("--quiet", CCUSAGE_TIMEZONE="Asia/Colombo").stderr  # its own history


@contextlib.contextmanager
def held_by_another_program(machine: Machine) -> Iterator[None]:
    script = f"import clickhouse_connect as c; client = c.get_client(interface='chdb', path={str(machine.db_path)!r})"
    command = [sys.executable, "-c", script + "; print('open', flush=True); input()"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    yield
    holder.communicate("\n")


def test_the_zone_is_known_while_the_database_cannot_be_opened(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="Europe/Berlin")
    before = machine.snapshot()
    with held_by_another_program(machine):
        assert "pending" in machine.run("--quiet", CCUSAGE_TIMEZONE="", TZ="America/New_York").stderr
        # what another import would refuse is not kept for it
        assert "pending" not in machine.run("--quiet", CCUSAGE_TIMEZONE="America/New_York").stderr
        assert "pending" not in machine.run("--quiet", "--no-hash-projects", CCUSAGE_TIMEZONE="").stderr
    (manifest,) = machine.db_path.glob("pending/*/manifest.json")
    assert json.loads(manifest.read_text())["timezone"] == "Europe/Berlin"
    said = machine.imported(CCUSAGE_TIMEZONE="", TZ="America/New_York")
    assert "which an earlier run could not finish" in said
    assert said.count("fetched daily in") == 1
    assert machine.snapshot() == before
    assert stat.S_IMODE((machine.db_path / "fixed.json").stat().st_mode) == 0o600


def test_the_zone_of_a_first_import_that_could_not_open_the_database_holds_for_the_next(machine: Machine) -> None:
    machine.db_path.mkdir(parents=True)
    with held_by_another_program(machine):
        assert "pending" in machine.run("--quiet", CCUSAGE_TIMEZONE="", TZ="Europe/Berlin").stderr
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="America/New_York")
    assert machine.query("SELECT DISTINCT timezone FROM ccusage_import_history") == [("Europe/Berlin",)]
    # in another database of the same folder nothing is fixed yet
    machine.imported("--quiet", CCUSAGE_TIMEZONE="America/New_York", CH_DATABASE="other")


def test_the_zone_is_fixed_before_the_first_message_is_stored(machine: Machine) -> None:
    patch = """
insert_from = ci.Store.insert_from
def killing(self, engine, into, *args):
    insert_from(self, engine, into, *args)
    if into == "ccusage_log_files": os.kill(os.getpid(), 9)
ci.Store.insert_from = killing
"""
    killed = run_importer(["--quiet"], machine.environment(CCUSAGE_TIMEZONE="", TZ="Europe/Berlin"), patch)
    assert killed.returncode == -signal.SIGKILL
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="America/New_York")
    assert machine.query("SELECT DISTINCT timezone FROM ccusage_import_history") == [("Europe/Berlin",)]


def test_saved_reports_that_are_refused_are_set_aside_and_stop_no_run(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_TIMEZONE="Europe/Berlin")
    before = machine.snapshot()
    pending = machine.db_path / "pending"
    machine.imported("--dry-run", "--quiet", "--save-json", str(pending / "a"), CCUSAGE_DB_PATH="/nowhere")
    shutil.copytree(pending / "a", pending / "b")
    (pending / "b" / "manifest.json").write_text("{")

    # a mistake of this run is not the saved reports'
    assert machine.run("--quiet", "--no-hash-projects", CCUSAGE_TIMEZONE="").returncode == 2
    assert (pending / "a").exists()
    result = machine.run("--quiet", CCUSAGE_TIMEZONE="")
    assert result.returncode == 0
    warnings = result.stderr.splitlines()
    assert len(warnings) == 2
    assert f"were moved to {machine.db_path / 'refused' / 'b'}: " in warnings[0]
    assert f"were moved to {machine.db_path / 'refused' / 'a'}: CCUSAGE_TIMEZONE: the days of" in warnings[1]
    assert sorted(path.name for path in (machine.db_path / "refused" / "a").iterdir()) == [
        f"{name}.json" for name in REPORT_FILES
    ]
    assert stat.S_IMODE((machine.db_path / "refused").stat().st_mode) == 0o700
    assert not list(pending.iterdir())
    assert machine.snapshot() == before
    machine.imported("--quiet", CCUSAGE_TIMEZONE="")
    assert machine.snapshot() == before


@pytest.mark.parametrize("table", ["ccusage_model_breakdowns", *thorough("ccusage_usage_daily")])
def test_zone_and_privacy_are_fixed_before_the_first_row_is_written(machine: Machine, table: str) -> None:
    patch = f"""
insert = ci.Store.insert
def killing(self, into, rows):
    insert(self, into, rows)
    if into == {table!r}: os.kill(os.getpid(), 9)
ci.Store.insert = killing
"""
    assert machine.run_patched(patch, "--quiet").returncode == -signal.SIGKILL
    # on another computer, or in a new container: only the database can know
    (machine.db_path / "fixed.json").unlink()
    for change in ({"HASH_PROJECT_NAMES": "false"}, {"CCUSAGE_TIMEZONE": "Asia/Tokyo"}):
        assert (
            "since the first import" in (said := machine.run("--quiet", **change).stderr) or "under two names" in said
        )
    machine.imported("--quiet")
    assert_same(all_sources(machine.sums()), said_by_ccusage(machine))
    told = "SELECT status, error FROM ccusage_import_history ORDER BY status, error"
    finished = [("completed", ""), ("completed", "")]  # the saved reports, and this run's own
    assert machine.query(told) == [*finished, ("failed", "this import did not come to its end")]


def test_a_first_import_is_one_row_of_history(laptop: Machine) -> None:
    assert laptop.query("SELECT status, error FROM ccusage_import_history") == [("completed", "")]


def test_project_names_are_private_and_the_way_of_hiding_them_is_fixed(laptop: Machine) -> None:
    machine = laptop
    everything = json.dumps([machine.rows(table) for table, _ in USAGE_TABLES.values()], default=str)
    assert "webshop" not in everything
    assert "-home-dev" not in everything
    result = machine.run("--no-hash-projects")
    assert result.returncode == 2
    assert "under two names" in result.stderr

    plain = Machine(machine.home, settings={"CCUSAGE_DB_PATH": str(machine.home / "plain")})
    plain.imported("--quiet", "--no-hash-projects")
    assert "-home-dev-code-webshop" in {row[0] for row in plain.rows("ccusage_usage_projects_daily", "project_id")}


def test_a_keyed_hash_is_another_id_and_another_key_is_refused(machine: Machine) -> None:
    machine.imported("--quiet", PROJECT_HASH_KEY="one secret")
    ids = {row[0] for row in machine.rows("ccusage_usage_projects_daily", "project_id")}
    assert all(len(project) == 8 for project in ids)
    result = machine.run(PROJECT_HASH_KEY="another secret")
    assert result.returncode == 2
    assert "secret" not in result.stdout + result.stderr


def test_the_users_ccusage_configuration_cannot_narrow_a_report(machine: Machine) -> None:
    said = said_by_ccusage(machine)
    narrow = {
        "defaults": {"since": "20261110", "until": "20261112", "order": "desc", "noCost": True, "jq": ".daily"},
        "commands": {"daily": {"instances": True, "project": "x"}, "blocks": {"active": True, "sessionLength": 3}},
        "claude": {"defaults": {"since": "20261111", "timezone": "Asia/Tokyo"}},
    }
    (machine.home / ".claude" / "ccusage.json").write_text(json.dumps(narrow), encoding="utf-8")
    machine.imported("--quiet")
    assert_same(all_sources(machine.sums()), said)


def test_the_users_ccusage_configuration_decides_prices(machine: Machine) -> None:
    settings = {"defaults": {"pricingOverrides": {"gpt-5": {"inputCostPerToken": 1.0}}, "since": "20990101"}}
    (machine.home / ".claude" / "ccusage.json").write_text(json.dumps(settings), encoding="utf-8")
    machine.imported("--quiet")
    cost = machine.query("SELECT sum(cost) FROM ccusage_model_breakdowns FINAL WHERE model_name = 'gpt-5'")[0][0]
    assert cost > 10_000


def test_allow_shrink_takes_the_lower_numbers(laptop: Machine) -> None:
    machine = laptop
    # a session that was counted by mistake is taken away: its days, blocks and month shrink
    victim = max((machine.home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    victim.unlink()
    before = machine.snapshot()
    machine.imported("--quiet")  # of codex, too, there is nothing new
    assert machine.snapshot() == before
    assert "rows; the messages that they were made of stay stored" in machine.imported("--allow-shrink")
    said, stored = said_by_ccusage(machine), all_sources(machine.sums())
    for report in ("monthly", "blocks"):
        assert stored[report][0] == said[report][0]


def test_saved_reports_are_imported_elsewhere_as_their_owners(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    machine.imported("--quiet", "--save-json", str(folder), "--machine-name", "cut-off", CCUSAGE_USER="ada")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    here = machine.sums()
    other = Machine(tmp_path / "other", settings={"CCUSAGE_BIN": "/nowhere"})
    other.home.mkdir()
    metrics = tmp_path / "metrics.prom"
    other.imported("--quiet", "--from-json", str(folder), "--metrics-file", str(metrics))
    assert set(re.findall('machine="([^"]*)"', metrics.read_text(encoding="utf-8"))) == {"cut-off"}
    assert_same(other.sums(), here)
    assert other.query("SELECT DISTINCT machine_name, user_name FROM ccusage_usage_daily") == [("cut-off", "ada")]


def test_dry_run_prints_the_plan_and_writes_nothing(machine: Machine) -> None:
    plan = machine.imported("--dry-run")
    days = len(machine.ccusage("claude", "daily")["daily"])
    codex = len(machine.ccusage("codex", "daily")["daily"])
    assert re.search(rf"^ccusage_usage_daily +{days + codex} +0 +0 +0$", plan, re.MULTILINE)
    assert not machine.db_path.exists()
    machine.imported("--quiet")
    history = machine.rows("ccusage_import_history")
    plan = machine.imported("--dry-run")
    assert re.search(rf"^ccusage_usage_daily +0 +0 +{days + codex} +0$", plan, re.MULTILINE)
    sample_logs.write_logs(machine.home, days=1, sessions_per_day=2, seed=99, codex=False)
    plan = machine.imported("--dry-run")
    assert re.search("would read [1-9] of", plan)
    assert "ccusage says more" not in plan  # than messages of which some wait in these logs
    assert machine.rows("ccusage_import_history") == history


def test_no_usage_says_where_it_looked(tmp_path: Path) -> None:
    for version in ("18.0.11", NEWEST):
        home = tmp_path / version
        home.mkdir()
        machine = Machine(home, version)
        said = machine.imported()
        assert f"no usage found in {home}/.claude/projects" in said
        assert "0 new" not in said  # what there is nothing of is not counted
        assert "CLAUDE_CONFIG_DIR" in said
        assert "$0" not in said  # and then no tables of zeros
        assert machine.query("SELECT status FROM ccusage_import_history") == [("completed",)]


def test_logs_that_vanish_all_at_once_delete_nothing(laptop: Machine) -> None:
    before = laptop.snapshot()
    shutil.rmtree(laptop.home / ".claude")
    shutil.rmtree(laptop.home / ".codex")
    assert "no usage found" in laptop.imported()
    assert laptop.snapshot() == before


def test_one_failing_report_leaves_the_others_stored(laptop: Machine) -> None:
    blocks = laptop.rows("ccusage_usage_blocks", "*")
    result = laptop.run(CCUSAGE_BIN=laptop.failing_ccusage("blocks"))
    assert result.returncode == 3
    assert "error: blocks: `ccusage blocks` failed (exit 7); it said: disk on fire" in result.stderr
    assert laptop.rows("ccusage_usage_blocks", "*") == blocks
    assert laptop.query("SELECT status, error FROM ccusage_import_history WHERE error != ''")[0][0] == "partial"


KEYS = {
    "ccusage_usage_daily": "source, toString(date)",
    "ccusage_usage_monthly": "source, month",
    "ccusage_usage_sessions": "session_id",
    "ccusage_usage_blocks": "source, toString(start_time)",
    "ccusage_usage_projects_daily": "toString(date), project_id",
}


def tokens_by_key(machine: Machine) -> dict[str, list[tuple[Any, ...]]]:
    statements = [
        f"SELECT {key}, sum(total_tokens) FROM {table} FINAL GROUP BY ALL ORDER BY ALL" for table, key in KEYS.items()
    ]
    return dict(zip(KEYS, machine.queries(statements), strict=True))


@pytest.mark.parametrize(("failing", "code"), [("daily --by-agent", 3), ("blocks", 3), ("--json", 1), ("--version", 1)])
def test_what_was_read_while_reports_failed_is_in_all_tables_once_they_work(
    tmp_path: Path, failing: str, code: int
) -> None:
    """The logs are gone by then: their messages are there, and nothing but them."""
    whole = Machine(tmp_path / "whole")
    sample_logs.write_logs(whole.home, days=8, codex=False)
    shutil.copytree(whole.home, tmp_path / "home")
    whole.imported("--quiet")
    machine = Machine(tmp_path / "home")
    assert machine.run("--quiet", CCUSAGE_BIN=machine.failing_ccusage(failing)).returncode == code
    assert tokens_by_key(machine) != tokens_by_key(whole)
    machine.delete_logs_before(days=4)
    machine.imported("--quiet")
    assert tokens_by_key(machine) == tokens_by_key(whole)


MAY = datetime(2026, 5, 1, 9, tzinfo=timezone.utc)


@pytest.mark.parametrize("version", [NEWEST, "18.0.11", *thorough("19.0.3")])
def test_a_session_that_is_forked_days_later_is_counted_once(tmp_path: Path, version: str) -> None:
    """The fork's name comes first, so all that it has copied is its own, though the days of that say what they said."""
    machine = Machine(tmp_path / "home", version)
    logs = machine.home / ".claude" / "projects" / "-p"
    sample_logs.say(machine.home, "s5", *(MAY + timedelta(minutes=n) for n in range(4)))
    sample_logs.say(machine.home, "s9", MAY + timedelta(minutes=30))
    machine.imported("--quiet")
    shutil.copy(logs / "s5.jsonl", logs / "s1.jsonl")
    sample_logs.say(machine.home, "s1", MAY + timedelta(days=3))
    machine.imported("--quiet")
    sessions = "SELECT session_id, total_tokens FROM ccusage_usage_sessions FINAL ORDER BY ALL"
    assert machine.query(sessions) == [("s1", 500), ("s9", 100)]
    (logs / "s5.jsonl").unlink()
    machine.imported("--quiet")
    assert machine.query(sessions) == [("s1", 500), ("s9", 100)]


def test_a_session_that_was_forked_after_an_import_was_killed_is_not_kept_by_its_reports(tmp_path: Path) -> None:
    """They tell the source with what is the fork's by now, whose name comes first."""
    machine = Machine(tmp_path / "home")
    logs = machine.home / ".claude" / "projects" / "-p"
    sample_logs.say(machine.home, "s9", MAY)
    machine.imported("--quiet")
    sample_logs.say(machine.home, "other", MAY + timedelta(days=1))
    assert (
        machine.run_patched("ci.Store.write_plans = lambda *_, **__: os.kill(os.getpid(), 9)", "--quiet").returncode < 0
    )
    shutil.copy(logs / "s9.jsonl", logs / "s1.jsonl")
    sample_logs.say(machine.home, "s1", MAY + timedelta(days=3))
    machine.imported("--quiet")
    sessions = "SELECT session_id, total_tokens FROM ccusage_usage_sessions FINAL ORDER BY ALL"
    assert machine.query(sessions) == [("other", 100), ("s1", 200)]


def test_a_session_that_has_nothing_of_its_own_is_none_once_its_source_is_gone(tmp_path: Path) -> None:
    """A fork that adds no response; and a sub-agent's copy of one, read before the session that has said it."""
    machine = Machine(tmp_path / "home")
    logs = machine.home / ".claude" / "projects" / "-p"
    sample_logs.say(machine.home, "s", MAY)
    sample_logs.say(machine.home, "agent-a", MAY + timedelta(days=9))
    replay = (
        (logs / "agent-a.jsonl").read_text("utf-8").replace('"requestId":"', '"isSidechain":true,"requestId":"own_')
    )
    (logs / "agent-a.jsonl").write_text(replay.replace('"sessionId":"agent-a"', '"sessionId":"m"'), "utf-8")
    sample_logs.say(machine.home, "m", MAY + timedelta(days=9, minutes=5))
    machine.imported("--quiet")
    shutil.copy(logs / "s.jsonl", logs / "t.jsonl")
    machine.imported("--quiet")
    (logs / "s.jsonl").unlink()
    machine.imported("--quiet")
    sessions = "SELECT session_id, total_tokens FROM ccusage_usage_sessions FINAL ORDER BY ALL"
    assert machine.query(sessions) == [("agent-a", 100), ("m", 100), ("s", 100)]
    main = replay.replace('"isSidechain":true,"requestId":"own_', '"requestId":"')
    with (logs / "m.jsonl").open("a", encoding="utf-8") as log:
        log.write(main.replace('"sessionId":"agent-a"', '"sessionId":"m"'))
    machine.imported("--quiet")
    assert machine.query(sessions) == [("m", 200), ("s", 100)]
    sample_logs.say(machine.home, "t", MAY + timedelta(minutes=1))
    machine.imported("--quiet")
    assert machine.query(sessions) == [("m", 200), ("s", 100), ("t", 100)]


def test_a_models_name_is_stored_or_hashed_alike_everywhere_and_keeps_its_price(tmp_path: Path) -> None:
    plain = ["claude-sonnet-4-20250514", "@cf/anthropic/claude-sonnet-4", "claude-sonnet-4-20250514 (thinking)"]
    plain += ["openrouter,anthropic/claude-sonnet-4", "[pi] claude-sonnet-4", "größer-七", "七" * 200]
    models = [*plain, "/home/me/claude-sonnet-4", "file:///home/me/own", "C:/own", r"C:\own", "~/own.gguf", "x" * 201]
    live, whole = Machine(tmp_path / "live"), Machine(tmp_path / "whole")
    for machine in (live, whole):
        for number, model in enumerate(models):
            sample_logs.say(machine.home, f"a{number}", MAY + timedelta(minutes=number), model=model)
        assert machine.run("--quiet").returncode == 0
    told = "SELECT DISTINCT model_name FROM ccusage_model_breakdowns FINAL ORDER BY 1"
    read = "SELECT DISTINCT model FROM ccusage_messages FINAL ORDER BY 1"
    rows, messages = live.queries([told, read])
    assert rows == messages
    assert {name for (name,) in rows} & {*models} == {*plain}
    for path in (live.home / ".claude").rglob("a*.jsonl"):
        path.unlink()
    for machine in (live, whole):
        for number, model in enumerate(models):
            sample_logs.say(machine.home, f"b{number}", MAY + timedelta(minutes=30 + number), model=model)
        assert machine.run("--quiet").returncode == 0
    costs = "SELECT model_name, record_type, round(sum(cost), 6) FROM ccusage_model_breakdowns FINAL GROUP BY ALL ORDER BY ALL"
    assert live.query(costs) == whole.query(costs)


def test_a_log_in_place_of_another_that_says_as_much_is_counted_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    sample_logs.say(machine.home, "one", MAY)
    sample_logs.say(machine.home, "two", MAY + timedelta(minutes=1))
    machine.imported("--quiet")
    (machine.home / ".claude" / "projects" / "-p" / "one.jsonl").unlink()
    sample_logs.say(machine.home, "new", MAY)
    machine.imported("--quiet")
    assert {sum(row[-1] for row in rows) for rows in tokens_by_key(machine).values()} == {300}


def test_a_price_that_becomes_known_when_some_logs_are_gone_is_taken_for_all(tmp_path: Path) -> None:
    whole = Machine(tmp_path / "whole")
    for session, at in (("s1", MAY), ("s2", MAY + timedelta(minutes=20)), ("s3", MAY + timedelta(days=1))):
        sample_logs.say(whole.home, session, at, model="claude-opus-4-6")
    shutil.copytree(whole.home, tmp_path / "home")
    machine = Machine(tmp_path / "home", "17.2.1")
    assert "knows no price for claude-opus-4-6" in machine.run("--quiet").stderr
    assert {cost for of_all in machine.sums().values() for _, cost in of_all.values()} == {0}
    (machine.home / ".claude" / "projects" / "-p" / "s1.jsonl").unlink()
    machine.version = NEWEST
    machine.imported("--quiet")
    whole.imported("--quiet")
    assert_same(machine.sums(), whole.sums())
    machine.imported("--quiet")
    assert_same(machine.sums(), whole.sums())


def test_a_conversation_of_codex_that_is_archived_stays_one_session(tmp_path: Path) -> None:
    """ccusage's id is where the log lies, and archiving moves it."""
    machine = Machine(tmp_path / "home")
    sample_logs.write_logs(machine.home, days=6, sessions_per_day=1, messages=5)
    machine.imported("--quiet")
    sessions = "SELECT session_id, total_tokens FROM ccusage_usage_sessions FINAL ORDER BY ALL"
    before = machine.query(sessions)
    first, *_ = logs = sorted((machine.home / ".codex" / "sessions").rglob("*.jsonl"))
    archived = machine.home / ".codex" / "archived_sessions" / first.name
    archived.parent.mkdir()
    for source, target in ((first, archived), (archived, first)):
        source.rename(target)
        machine.imported("--quiet")
        assert machine.query(sessions) == before
        assert len(logs) == len([row for row in before if "rollout" in row[0]])


def test_days_are_cut_by_this_systems_tables_of_zones(tmp_path: Path) -> None:
    """ccusage reads these, too; the engine has its own, in which Vancouver is not where Tokyo is."""
    zones = tmp_path / "zones" / "America"
    zones.mkdir(parents=True)
    [system, *_] = (folder for folder in map(Path, zoneinfo.TZPATH) if (folder / "Asia" / "Tokyo").exists())
    shutil.copy(system / "Asia" / "Tokyo", zones / "Vancouver")
    shutil.copy(system / "UTC", zones.parent)
    machine = Machine(tmp_path / "home")
    sample_logs.say(machine.home, "s", MAY + timedelta(hours=11), MAY + timedelta(hours=5), MAY + timedelta(hours=6))
    tables = {"TZDIR": str(zones.parent), "PYTHONTZPATH": str(zones.parent)}
    environment = machine.environment(CCUSAGE_TIMEZONE="America/Vancouver", **tables)
    subprocess.run([sys.executable, str(IMPORTER), "--quiet"], env=environment, check=True)
    days = "SELECT toString(date), total_tokens, toString(coverage) FROM ccusage_usage_daily FINAL ORDER BY ALL"
    assert machine.query(days) == [("2026-05-01", 100, "messages"), ("2026-05-02", 200, "messages")]


@pytest.mark.parametrize("zone", ["America/Vancouver", "Africa/Casablanca", "Australia/Lord_Howe", "UTC", "Asia/Gaza"])
def test_offsets_of_a_zone_are_those_that_python_knows(zone: str) -> None:
    since, offsets = ci.zone_offsets(zone)
    for moment in range(1_577_836_800, 2_208_988_800, 300_007):
        offset = datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone)).utcoffset()
        assert offset == timedelta(seconds=offsets[bisect.bisect_right(since, moment) - 1])
    for moment in since[1:]:
        assert offsets[since.index(moment)] != offsets[since.index(moment) - 1]


def test_a_session_of_unknown_beginning_whose_folder_is_renamed_asks_for_all_days(
    tmp_path: Path, server: Server
) -> None:
    """Its first day may be any: more of them than go into a parameter."""
    machine = Machine(tmp_path / "home", server=server)
    sample_logs.say(machine.home, "s", MAY, MAY + timedelta(days=1))
    sample_logs.say(machine.home, "u", MAY + timedelta(minutes=1))
    machine.imported("--quiet")
    server.post(
        f"/?database={server.database}",
        "INSERT INTO ccusage_usage_sessions SELECT * REPLACE (NULL AS first_activity, updated_at + 1 AS updated_at)"
        " FROM ccusage_usage_sessions FINAL WHERE session_id = 's'",
    )
    projects = machine.home / ".claude" / "projects"
    (projects / "-p" / "u.jsonl").unlink()
    (projects / "-p").rename(projects / "-renamed")
    sample_logs.say(machine.home, "t", MAY)
    machine.imported("--quiet")
    assert {sum(row[-1] for row in rows) for rows in tokens_by_key(machine).values()} == {400}


def test_more_sessions_than_go_into_a_parameter(tmp_path: Path) -> None:
    machines = [Machine(tmp_path / name) for name in ("one", "many")]
    sample_logs.write_logs(machines[0].home, days=8, codex=False)
    shutil.copytree(machines[0].home, machines[1].home)
    for step in range(2):
        for machine, patch in zip(machines, ("", "ci.PARAMETER_BYTES = 150"), strict=True):
            result = machine.run_patched(patch, "--quiet")
            assert (result.returncode, result.stderr) == (0, "")
            if not step:
                machine.delete_logs_before(days=4)
                for log in (machine.home / ".claude").rglob("*.jsonl"):
                    text = log.read_text(encoding="utf-8")
                    log.write_text(
                        text + text.replace('"requestId":"', '"requestId":"more_').replace('"id":"msg', '"id":"more')
                    )
        assert tokens_by_key(machines[0]) == tokens_by_key(machines[1])


def test_found_by_npx_on_a_machine_without_ccusage(machine: Machine, tmp_path: Path) -> None:
    """The default path: a fresh npx cache, five commands at once, the pinned version."""
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not shutil.which("ccusage", path=folder)
    )
    settings = {"CCUSAGE_BIN": "", "PATH": path, "npm_config_cache": str(tmp_path / "npm"), "CCUSAGE_OFFLINE": "1"}
    said = machine.imported(**settings)
    assert f"ccusage {NEWEST} (npx)" in said
    assert "completed" in said
    # where npx has put it is remembered, and looked up again when it is gone or another version is wanted
    memory = machine.home / ".local" / "state" / "ccusage-importer" / "npx-ccusage"
    launcher = memory.read_text()
    broken_npx = tmp_path / "bin" / "npx"
    broken_npx.parent.mkdir()
    broken_npx.write_text("#!/bin/sh\necho 'npx was asked' >&2; exit 1\n")
    broken_npx.chmod(0o755)
    no_npx = {**settings, "PATH": f"{broken_npx.parent}:{path}"}
    assert f"ccusage {NEWEST} (npx)" in machine.imported(**no_npx)
    assert "npx was asked" in machine.run(**no_npx, CCUSAGE_VERSION="20.0.11").stderr
    memory.write_text(launcher.replace("node_modules", "gone"))
    assert "npx was asked" in machine.run(**no_npx).stderr
    assert f"ccusage {NEWEST} (npx)" in machine.imported(**settings)


def test_ccusage_on_the_path_comes_before_npx(machine: Machine, tmp_path: Path) -> None:
    launcher = Path(machine.environment()["CCUSAGE_BIN"])
    said = machine.imported("--dry-run", CCUSAGE_BIN="", PATH=f"{launcher.parent}:{os.environ['PATH']}")
    assert f"ccusage {NEWEST} (PATH)" in said


def test_interrupted_ends_everything_at_once(machine: Machine, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    pids = tmp_path / "pids"
    hanging.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec echo 20.0.24\necho $$ >> {pids}\nsleep 600 & wait\n')
    hanging.chmod(0o755)
    # a shell's background job ignores Ctrl-C and hands that on, to the tests and what they start
    command = [sys.executable, str(IMPORTER)]
    listening = f"import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv({command[0]!r}, {command})"
    process = subprocess.Popen(
        [sys.executable, "-c", listening],
        env=machine.environment(CCUSAGE_BIN=str(hanging)),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not pids.exists() or len(pids.read_text().split()) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    running = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    alive = {group for group, state in map(str.split, running.splitlines()) if not state.startswith("Z")}
    assert not alive & set(pids.read_text().split())


def test_sample_logs_can_be_tried_without_touching_anything(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    environment = {**os.environ, "HOME": str(real), "CH_HOST": "nowhere.invalid", "CLAUDE_CONFIG_DIR": str(real)}
    environment.setdefault("npm_config_cache", str(Path.home() / ".npm"))
    environment.setdefault("npm_config_userconfig", str(Path.home() / ".npmrc"))
    result = subprocess.run(
        [sys.executable, sample_logs.__file__, "--days", "3"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "models    " in result.stdout
    assert list(real.iterdir()) == []


def add_message(machine: Machine, model: str, tokens: int) -> None:
    """One more message in a new session, an hour ago, of a model of this name."""
    moment = sample_logs.timestamp(datetime.now(timezone.utc) - timedelta(hours=1))
    message = {"id": f"msg_{model}", "role": "assistant", "model": model}
    usage = {"input_tokens": tokens, "output_tokens": tokens}
    line = {"type": "assistant", "timestamp": moment, "sessionId": "s", "requestId": f"req_{model}"}
    path = machine.home / ".claude" / "projects" / "-home-dev-new" / f"{model}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(sample_logs.compact({**line, "message": {**message, "usage": usage}}) + "\n", encoding="utf-8")


def test_a_model_without_a_price_is_named_and_with_quiet_only_once(machine: Machine) -> None:
    add_message(machine, "mystery-1", 1000)
    said = "this ccusage knows no price for mystery-1 (claude): its tokens are counted, its cost is not"
    first = machine.run("--quiet")
    assert (first.returncode, first.stdout) == (0, "")
    assert said in first.stderr
    assert machine.run("--quiet").stderr == ""
    assert said in machine.run().stderr


def test_a_price_that_went_missing_keeps_the_stored_costs(machine: Machine) -> None:
    add_message(machine, "mystery-1", 1000)
    settings = machine.home / ".claude" / "ccusage.json"
    prices = {"mystery-1": {"inputCostPerToken": 0.01, "outputCostPerToken": 0.02}}
    settings.write_text(json.dumps({"defaults": {"pricingOverrides": prices}}), encoding="utf-8")
    machine.imported("--quiet")
    before = machine.sums()
    settings.unlink()
    result = machine.run()
    assert "no price for mystery-1" in result.stderr
    assert re.search(r"kept \d+ stored rows", result.stdout)
    assert_same(machine.sums(), before)

    # one more message: its tokens come, no cost goes
    path = machine.home / ".claude" / "projects" / "-home-dev-new" / "mystery-1.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.replace("msg_", "more_").replace("req_", "more_"), encoding="utf-8")
    assert "no price for mystery-1" in machine.run("--quiet").stderr + machine.run().stderr
    tokens = 2000
    grown = {name: {s: (t + tokens * (s == "claude"), c) for s, (t, c) in by.items()} for name, by in before.items()}
    assert_same(machine.sums(), grown)
    snapshot = machine.snapshot()
    assert re.search(r"kept \d+ stored rows", machine.run().stdout)
    assert machine.snapshot() == snapshot


def test_one_odd_line_costs_its_own_rows_and_tells_no_name(laptop: Machine) -> None:
    machine = laptop
    before = machine.snapshot()
    folder = machine.home / ".claude" / "projects" / "-home-dev-secret-client-acme"
    folder.mkdir()
    path = next((machine.home / ".claude").rglob("*.jsonl"))
    line = next(x for x in path.read_text(encoding="utf-8").splitlines() if '"usage":{' in x and x.endswith("}"))
    for number, year in enumerate(("0001", "1969", "2106", "2999")):
        message = json.loads(line) | {"timestamp": f"{year}-05-05T08:00:00.000Z", "requestId": year, "sessionId": year}
        message["message"]["id"] = year
        (folder / f"{number}.jsonl").write_text(sample_logs.compact(message) + "\n", encoding="utf-8")
    new_machine = Machine(machine.home, settings={"CCUSAGE_DB_PATH": str(machine.home / "new")})
    for one, log_file in ((machine, machine.home / "log"), (new_machine, machine.home / "new.log")):
        result = one.run("--quiet", "--log-file", str(log_file))
        assert result.returncode == 3
        assert 'daily: row 1, agents[0]: date is "1969-05-05", not a day from 1970-01-01' in result.stderr
        assert re.search(
            r"projects: project [0-9a-f]{8}, row 1: date is .1969-05-05.* this row is left out", result.stderr
        )
        [(status, error)] = one.query(
            "SELECT status, error FROM ccusage_import_history ORDER BY created_at DESC LIMIT 1"
        )
        assert (status, "monthly: row 0" in error) == ("partial", True)
        assert not re.search("secret|-home-dev", result.stderr + result.stdout + error + log_file.read_text())
    assert machine.snapshot() == before
    keys = "* EXCEPT '^(created_at|updated_at|projection|raw_data)$'"  # a projection falls from minute to minute
    for table, _ in USAGE_TABLES.values():
        assert new_machine.rows(table, keys) == machine.rows(table, keys), table


def test_no_path_of_another_agents_session_gets_into_any_table(tmp_path: Path) -> None:
    """Codebuff calls a session by its project; Codex by its file, which may be anywhere."""
    machine = Machine(tmp_path / "home")
    chat = machine.home / ".config" / "manicode" / "projects" / "secret-client" / "chats" / "2026-11-20T09-30-00.000Z"
    chat.mkdir(parents=True)
    usage = {"model": "anthropic/claude-sonnet-4", "usage": {"inputTokens": 100, "outputTokens": 50}}
    message = {
        "id": "a",
        "variant": "ai",
        "role": "assistant",
        "timestamp": "2026-11-20T09:30:05.000Z",
        "metadata": usage,
    }
    (chat / "chat-messages.json").write_text(json.dumps([message]), encoding="utf-8")
    sample_logs.write_logs(machine.home, days=2, sessions_per_day=1, messages=3)
    shutil.rmtree(machine.home / ".claude")
    codex = next((machine.home / ".codex").rglob("*.jsonl"))
    folder = machine.home / ".codex" / "sessions" / "secret-client"
    folder.mkdir()
    codex.replace(folder / codex.name)
    [session] = machine.ccusage("codebuff", "session")["sessions"]
    assert "secret-client" in session["sessionId"]

    machine.imported("--quiet", "--log-file", str(machine.home / "log"))
    assert {"codebuff", "codex"} <= set(machine.sums()["session"])
    tables = [name for (name,) in machine.query("SELECT name FROM system.tables WHERE database = 'ccusage'")]
    held = machine.queries([f"SELECT count() FROM {t} WHERE toString(tuple(*)) ILIKE '%secret%'" for t in tables])
    assert {table: count for table, [(count,)] in zip(tables, held, strict=True) if count} == {}
    assert "secret" not in (machine.home / "log").read_text()
    private = hashlib.sha256(session["sessionId"].encode()).hexdigest()[:8]
    assert machine.query("SELECT session_id FROM ccusage_usage_sessions WHERE source = 'codebuff'") == [(private,)]


def test_nothing_found_in_a_folder_that_is_not_there_is_no_success(machine: Machine, tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.prom"
    machine.imported("--quiet", CLAUDE_CONFIG_DIR=str(tmp_path / "wrong"))  # nothing is stored of it yet: no alarm
    machine.imported("--quiet", "--metrics-file", str(metrics))
    before, success = machine.snapshot(), re.findall("last_success.* (.*)", metrics.read_text())[-1]
    days = machine.query("SELECT count() FROM ccusage_usage_daily FINAL WHERE source = 'claude'")[0][0]
    for folders in (f"{tmp_path / 'wrong'}", f"{tmp_path / 'wrong'},{tmp_path}"):
        result = machine.run("--quiet", "--metrics-file", str(metrics), CLAUDE_CONFIG_DIR=folders)
        assert result.returncode == 3
        assert (
            f"no usage of claude was found, of which {days} days are stored: CLAUDE_CONFIG_DIR names" in result.stderr
        )
        assert re.findall("last_success.* (.*)", metrics.read_text())[-1] == success
        assert re.search("last_run_exit_code.* 3$", metrics.read_text(), re.MULTILINE)
    assert machine.run("--dry-run", CLAUDE_CONFIG_DIR=folders).returncode == 3
    assert machine.query("SELECT status FROM ccusage_import_history ORDER BY created_at DESC LIMIT 1") == [("partial",)]
    assert machine.snapshot() == before
    # one of two folders is enough
    machine.imported("--quiet", CLAUDE_CONFIG_DIR=f"{tmp_path / 'wrong'},{machine.home / '.claude'}")


def test_reports_of_another_shape_are_kept_for_a_version_that_can_read_them(machine: Machine, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    machine.imported("--dry-run", "--quiet", "--save-json", str(saved))
    (saved / "blocks.json").write_text('{"blocks": null}')
    result = machine.run("--quiet", "--from-json", str(saved))
    assert result.returncode == 3
    assert result.stderr.splitlines()[0] == "error: blocks: blocks is missing, not a list"
    unread = machine.db_path / "refused" / "unread"
    assert f"what ccusage gave is kept in {unread}" in result.stderr
    assert (unread / "blocks.json").read_text() == '{"blocks": null}'
    assert not list(machine.db_path.glob("pending/*"))
    assert machine.query("SELECT count() FROM ccusage_usage_blocks") == [(0,)]
    assert machine.query("SELECT count() > 40 FROM ccusage_usage_daily") == [(1,)]


@pytest.mark.parametrize("step", ["after the first delete", *thorough("before the check")])
def test_reports_of_a_run_that_was_killed_are_imported_first(laptop: Machine, step: str) -> None:
    """The logs are gone when the next run comes, and a row had been deleted and not inserted again."""
    add_message(laptop, "claude-opus-4-20250514", 5000)
    kill = {"after the first delete": "if name == '_delete_where'", "before the check": "if name == 'check_written'"}[
        step
    ]
    patch = f"""
def killing(name, function):
    def wrapped(*arguments, **keywords):
        if name == '_delete_where':
            function(*arguments, **keywords)
        {kill}: os.kill(os.getpid(), 9)
        return function(*arguments, **keywords)
    return wrapped
for name in ('_delete_where', 'check_written'):
    setattr(ci.Store, name, killing(name, getattr(ci.Store, name)))
"""
    assert laptop.run_patched(patch, "--quiet").returncode == -signal.SIGKILL
    said = said_by_ccusage(laptop)
    shutil.rmtree(laptop.home / ".claude" / "projects")
    assert "which an earlier run could not finish" in laptop.imported()
    assert_same(all_sources(laptop.sums()), said)
    assert not list(laptop.db_path.glob("pending/*"))
