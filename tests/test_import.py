"""The whole path: real ccusage on generated logs, the real engine, the importer as its users run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import IMPORTER, NEWEST, ROOT, USAGE_TABLES, Machine

VERSIONS = ("15.9.7", "17.2.1", "18.0.11", "19.0.3", "20.0.11", NEWEST)
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


@pytest.mark.parametrize("version", VERSIONS)
def test_sums_of_every_table_are_ccusages_totals(machine: Machine, version: str) -> None:
    machine.version = version
    machine.imported("--quiet")

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


@pytest.mark.parametrize("version", ["18.0.11", NEWEST])
def test_a_second_import_rewrites_nothing(machine: Machine, version: str) -> None:
    machine.version = version
    machine.imported("--quiet")
    before = machine.snapshot()
    machine.imported("--quiet")
    assert machine.snapshot() == before
    new, changed = machine.query(
        "SELECT rows_new, rows_changed FROM ccusage_import_history ORDER BY created_at DESC, import_timestamp DESC LIMIT 1"
    )[0]
    assert sum(new.values()) == 0
    assert changed["blocks"] <= 1
    assert sum(changed.values()) == changed["blocks"]


@pytest.mark.parametrize("version", ["15.9.7", "18.0.11", "20.0.11", NEWEST])
def test_history_outlives_the_logs_and_follows_what_grows(machine: Machine, version: str) -> None:
    machine.version = version
    machine.imported("--quiet")
    before = machine.sums()
    children = machine.query(
        "SELECT record_type, count(), sum(total_tokens) FROM ccusage_model_breakdowns FINAL GROUP BY 1 ORDER BY 1"
    )

    assert machine.delete_logs_before(days=23) > 20
    assert "kept" in machine.imported()
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


def test_an_update_of_ccusage_counts_no_session_twice(machine: Machine) -> None:
    machine.version = "18.0.11"
    machine.imported("--quiet")
    machine.version = NEWEST
    machine.imported("--quiet")
    assert_same(all_sources(machine.sums()), said_by_ccusage(machine))
    assert machine.query("SELECT count() FROM ccusage_usage_sessions FINAL WHERE session_id = project_path") == [(0,)]


def test_an_update_of_ccusage_after_a_cleanup_keeps_the_history_of_projects(machine: Machine) -> None:
    machine.version = "18.0.11"
    machine.imported("--quiet")
    # of a day that lost some of its logs the one version's number is kept, while its other projects' are the other's
    assert machine.delete_logs_before(days=23, whole_days=True) > 20
    machine.imported("--quiet")
    machine.version = NEWEST
    machine.imported("--quiet")
    for _ in range(2):
        sums = machine.sums("source = 'claude'")
        sums.pop("blocks")  # one that lost some of its logs, too
        assert_same(sums, dict.fromkeys(sums, sums["daily"]))
        machine.imported("--quiet")


def test_two_versions_of_ccusage_in_turn_count_nothing_twice(machine: Machine) -> None:
    """Cron finds one version, a person another."""
    for version in (NEWEST, "18.0.11", NEWEST, "18.0.11"):
        machine.version = version
        machine.imported("--quiet")
        sums = machine.sums("source = 'claude'")
        assert_same(sums, dict.fromkeys(sums, sums["daily"]))


def test_two_machines_and_two_users_do_not_touch_each_other(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_USER="ada")
    ada = machine.rows("ccusage_usage_daily", "*")
    machine.delete_logs_before(days=23)
    machine.imported("--quiet", CCUSAGE_USER="bob")
    machine.imported("--quiet", "--machine-name", "laptop", CCUSAGE_USER="ada")
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


def test_a_changed_time_zone_is_refused(machine: Machine) -> None:
    machine.imported("--quiet")
    before = machine.snapshot()
    result = machine.run(CCUSAGE_TIMEZONE="Asia/Tokyo")
    assert result.returncode == 2
    assert "error: CCUSAGE_TIMEZONE: the days of" in result.stderr
    assert "cut by UTC" in result.stderr
    assert "fix: unset CCUSAGE_TIMEZONE or set it to UTC" in result.stderr
    assert machine.snapshot() == before


def test_a_machine_that_travels_keeps_its_zone(machine: Machine) -> None:
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="Europe/Berlin")
    before = machine.snapshot()
    machine.imported("--quiet", CCUSAGE_TIMEZONE="", TZ="America/New_York")
    assert machine.snapshot() == before
    assert machine.query("SELECT DISTINCT timezone FROM ccusage_import_history") == [("Europe/Berlin",)]


def test_project_names_are_private_and_the_way_of_hiding_them_is_fixed(machine: Machine) -> None:
    machine.imported("--quiet")
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


def test_allow_shrink_takes_the_lower_numbers(machine: Machine) -> None:
    machine.imported("--quiet")
    # a session that was counted by mistake is taken away: its days, blocks and month shrink
    victim = max((machine.home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    victim.unlink()
    assert "--allow-shrink" in machine.imported()
    machine.imported("--quiet", "--allow-shrink")
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
    other.imported("--quiet", "--from-json", str(folder))
    assert_same(other.sums(), here)
    assert other.query("SELECT DISTINCT machine_name, user_name FROM ccusage_usage_daily") == [("cut-off", "ada")]


def test_dry_run_prints_the_plan_and_writes_nothing(machine: Machine) -> None:
    plan = machine.imported("--dry-run")
    days = len(machine.ccusage("claude", "daily")["daily"])
    codex = len(machine.ccusage("codex", "daily")["daily"])
    assert f"ccusage_usage_daily: new {days + codex}, changed 0, unchanged 0, kept 0" in plan
    assert not machine.db_path.exists()
    machine.imported("--quiet")
    history = machine.rows("ccusage_import_history")
    assert f"new 0, changed 0, unchanged {days + codex}" in machine.imported("--dry-run")
    assert machine.rows("ccusage_import_history") == history


def test_no_usage_says_where_it_looked(tmp_path: Path) -> None:
    for version in ("18.0.11", NEWEST):
        home = tmp_path / version
        home.mkdir()
        machine = Machine(home, version)
        said = machine.imported()
        assert f"no usage found in {home}/.claude/projects" in said
        assert "CLAUDE_CONFIG_DIR" in said
        assert len(said.splitlines()) < 10  # and then no tables of zeros
        assert machine.query("SELECT status FROM ccusage_import_history") == [("completed",)]


def test_logs_that_vanish_all_at_once_delete_nothing(machine: Machine) -> None:
    machine.imported("--quiet")
    before = machine.snapshot()
    shutil.rmtree(machine.home / ".claude")
    shutil.rmtree(machine.home / ".codex")
    assert "no usage found" in machine.imported()
    assert machine.snapshot() == before


def test_one_failing_report_leaves_the_others_stored(machine: Machine, tmp_path: Path) -> None:
    machine.imported("--quiet")
    blocks = machine.rows("ccusage_usage_blocks", "*")
    real = machine.environment()["CCUSAGE_BIN"]
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\n[ "$1" = blocks ] && {{ echo "disk on fire" >&2; exit 7; }}\nexec {real} "$@"\n')
    broken.chmod(0o755)
    result = machine.run(CCUSAGE_BIN=str(broken))
    assert result.returncode == 3
    assert "error: blocks: `ccusage blocks` failed (exit 7); it said: disk on fire" in result.stderr
    assert machine.rows("ccusage_usage_blocks", "*") == blocks
    assert machine.query("SELECT status, error FROM ccusage_import_history WHERE error != ''")[0][0] == "partial"


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
    assert "Top models" in result.stdout
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


@pytest.mark.parametrize("step", ["after the first delete", "before the check"])
def test_reports_of_a_run_that_was_killed_are_imported_first(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The logs are gone when the next run comes, and a row had been deleted and not inserted again."""
    machine.imported("--quiet")
    add_message(machine, "claude-opus-4-20250514", 5000)
    kill = {"after the first delete": "if name == '_delete_where'", "before the check": "if name == 'check_written'"}[
        step
    ]
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import ccusage_importer as ci
def killing(name, function):
    def wrapped(*arguments, **keywords):
        if name == '_delete_where':
            function(*arguments, **keywords)
        {kill}: os.kill(os.getpid(), 9)
        return function(*arguments, **keywords)
    return wrapped
for name in ('_delete_where', 'check_written'):
    setattr(ci.Store, name, killing(name, getattr(ci.Store, name)))
ci.main(['--quiet'])
"""
    subprocess.run([sys.executable, "-c", script], env=machine.environment(), check=False)
    said = said_by_ccusage(machine)
    shutil.rmtree(machine.home / ".claude" / "projects")
    assert "which an earlier run could not finish" in machine.imported()
    assert_same(all_sources(machine.sums()), said)
    assert not list(machine.db_path.glob("pending/*"))
