"""--check, logs and metrics: what tells its user how an unattended job is doing."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import Machine, Server
from prometheus_client.parser import text_string_to_metric_families
from sample_logs import write_logs
from test_queries import QUERIES

import ccusage_importer as ci


def check(machine: Machine, code: int, **settings: str) -> dict[str, dict[str, Any]]:
    """The findings of --check by name."""
    result = machine.run("--check", "--format", "json", **settings)
    assert result.returncode == code, result.stdout + result.stderr
    told = json.loads(result.stdout)
    assert told["ok"] is (code == 0)
    return {finding["name"]: finding for finding in told["checks"]}


def test_everything_is_there(machine: Machine) -> None:
    before = check(machine, 0)
    assert before["database"]["found"] == "not there yet; the first import makes it"
    assert before["last import"]["found"] == "never"
    assert not machine.db_path.exists()
    machine.imported("--quiet")
    history = machine.rows("ccusage_import_history")
    found = check(machine, 0)
    assert found["ccusage"]["found"].startswith("20.0.24, found by CCUSAGE_BIN")
    for report in ci.REPORTS:
        assert " records in " in found[f"report {report}"]["found"]
    tables = sum(bool(declared.columns) for declared in ci.declared_schema())
    assert found["tables and columns"]["found"] == f"{tables} tables as in the schema file"
    assert found["a write and a delete"]["found"] == "both work"
    assert "(excellent)" in found["response time"]["found"]
    assert found["days at risk"]["holds"]
    assert found["time zone"]["found"] == "UTC, fixed by the first import"
    expectations = [query.name for query in QUERIES.values() if query.section == "Expectations"]
    assert found["expectations"]["found"] == f"{len(expectations)} of {len(expectations)} hold"
    assert found.keys().isdisjoint(expectations)
    assert machine.rows("ccusage_import_history") == history  # it imports nothing
    assert machine.query("SELECT count() FROM system.tables WHERE name LIKE 'ccusage_check%'") == [(0,)]


def test_for_people_a_line_each_and_for_a_miss_the_fix(machine: Machine) -> None:
    result = machine.run("--check", CCUSAGE_BIN=str(machine.home / "broken"))
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    miss = next(number for number, line in enumerate(lines) if line.startswith("FAILED ccusage: CCUSAGE_BIN"))
    assert lines[miss + 1].startswith("       fix: set CCUSAGE_BIN")
    assert any(line.startswith("ok     lock: free") for line in lines)  # it went on after the miss
    assert lines[-1] == "1 required check failed"
    assert "\x1b" not in result.stdout


def test_settings_of_a_server_without_one_are_told(machine: Machine) -> None:
    found = check(machine, 0, CH_PORT="9000", CH_PASSWORD="hunter2", CH_DATABASE="mine")
    told = {
        name: finding["found"] for name, finding in found.items() if name.startswith("CH_") and not finding["holds"]
    }
    assert told == {
        "CH_PORT": "9000, but not used: CH_HOST is unset",
        "CH_PASSWORD": "set, but not used: CH_HOST is unset",
    }


def test_days_at_risk_and_days_that_only_the_database_has(laptop: Machine) -> None:
    laptop.delete_logs_before(days=40)
    assert int(check(laptop, 0)["days that only the database has"]["found"]) > 2

    write_logs(laptop.home, days=29, sessions_per_day=2, messages=30, seed=5, codex=False)  # new logs of old days
    (laptop.home / ".claude" / "settings.json").write_text('{"cleanupPeriodDays": 999999}')  # never
    assert "ok     days at risk: none" in laptop.imported("--check")
    (laptop.home / ".claude" / "settings.json").write_text('{"cleanupPeriodDays": 20}')
    found = check(laptop, 0)
    assert "deleted after 20 days" in found["days in the logs"]["found"]
    assert not found["days at risk"]["holds"]
    assert "will be deleted soon" in found["days at risk"]["found"]
    laptop.imported("--quiet")
    assert check(laptop, 0)["days at risk"]["holds"]
    before = str(datetime.now(timezone.utc).date() - timedelta(days=15))
    laptop.imported("--quiet", "--forget", "--before", before, "--yes")
    assert check(laptop, 0)["days at risk"]["holds"]  # what is not to be stored is none


def test_a_setting_that_the_next_import_will_refuse(laptop: Machine) -> None:
    found = check(laptop, 1, CCUSAGE_TIMEZONE="Asia/Tokyo", PROJECT_HASH_KEY="s3cret")
    assert not found["time zone"]["holds"]
    assert not found["privacy as at the first import"]["holds"]
    assert found["PROJECT_HASH_KEY"]["found"] == "set"
    assert "s3cret" not in json.dumps(found)


def test_what_was_changed_by_hand_in_a_table_and_in_its_rows(laptop: Machine) -> None:
    machine = laptop
    machine.query("SELECT 1")  # the database is closed again after each query
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path), database="ccusage")
    client.command("ALTER TABLE ccusage_usage_daily MODIFY COLUMN models_count UInt32")
    client.command("DELETE FROM ccusage_usage_projects_daily WHERE date = (SELECT max(date) FROM ccusage_usage_daily)")
    client.close()
    found = check(machine, 1)
    assert not found["expectations"]["holds"]
    assert re.match(r"\d+ rows?: Which models belong to a day", found["orphaned_models"]["found"])
    assert found["orphaned_models"]["fix"] == "look at them: --query orphaned_models"
    assert found["tables and columns"]["found"] == "ccusage_usage_daily.models_count is UInt32, not UInt16"


def test_a_server(machine: Machine, server: Server) -> None:
    machine.server = server
    machine.settings |= {"MACHINE_NAME": "m %s", "CCUSAGE_USER": "it's"}
    assert "not there yet" in check(machine, 0)["database"]["found"]
    machine.imported("--quiet")
    # another machine's metrics are another file's; that it is this computer again gets a warning
    machine.run("--quiet", "--machine-name", "another")
    machine.run("--quiet", "--metrics-file", str(machine.home / "ccusage.prom"))
    written = metrics(machine.home / "ccusage.prom")
    assert sum(value for labels, value in written["ccusage_cost_usd"] if labels["period"] == "month") > 0
    assert {(labels["machine"], labels["user"]) for labels, _ in written["ccusage_tokens"]} == {("m %s", "it's")}
    found = check(machine, 0)
    assert f"at http://127.0.0.1:{server.port}" in found["ClickHouse"]["found"]
    assert found["a write and a delete"]["holds"]
    server.fail({"kind": "exception", "code": 497, "text": "x (ACCESS_DENIED)", "match": "rows_kept", "times": 99})
    server.fail({"kind": "exception", "code": 497, "text": "x (ACCESS_DENIED)", "match": "LIMIT .count", "times": 99})
    found = check(machine, 1)
    assert (found["what is stored"]["holds"], "ACCESS_DENIED" in found["what is stored"]["found"]) == (False, True)
    assert found["report daily"]["holds"]  # nothing stops at the first miss
    server.recover()
    server.stop()
    found = check(machine, 1, CCUSAGE_TIMEZONE="")
    assert found["time zone"]["found"].startswith("UTC, fixed by the first import")  # told by a file beside the lock
    assert "last import" not in found  # nobody knows
    assert not found["ClickHouse"]["holds"]
    assert "CH_HOST" in found["ClickHouse"]["fix"]
    assert found["report daily"]["holds"]


HOURLY = [3600 * hours for hours in range(20)]
OFFICE = [3600 * (hours + 16 * (hours // 8)) for hours in range(20)]  # a laptop that sleeps for 16 hours of the day


@pytest.mark.parametrize(
    ("ages", "hours", "holds"),
    [
        ([], 0, None),
        (HOURLY[:3], 99, None),  # two intervals are no rhythm
        (HOURLY, 1.9, True),
        (HOURLY, 2.5, False),
        (OFFICE, 17, True),
        (OFFICE, 35, False),
        ([0, 20, 40, 60], 1.9, True),  # tried out by hand
        ([0, 20, 40, 60], 2.5, False),
    ],
)
def test_imports_that_do_not_keep_up(ages: list[int], hours: float, holds: bool | None) -> None:
    now = 1_800_000_000.0
    imported = [int(now - hours * 3600) - age for age in ages]
    found = {finding.name: finding for finding in ci.check_rhythm(imported, now)}
    assert found["last import"].holds is bool(ages)
    assert (found["imports keep up"].holds if "imports keep up" in found else None) is holds


def test_the_rhythm_is_that_of_this_machine_and_user_and_of_what_was_stored(machine: Machine) -> None:
    machine.imported("--quiet", "--machine-name", "m", CCUSAGE_USER="ada")
    machine.settings |= {"MACHINE_NAME": "m", "CCUSAGE_USER": "ada"}
    import clickhouse_connect

    for owner, status, told in ("m", "failed", False), ("other", "completed", False), ("m", "completed", True):
        client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path), database="ccusage")
        client.command(
            "INSERT INTO ccusage_import_history (import_id, import_timestamp, machine_name, user_name, status, timezone,"
            " privacy, created_at, updated_at) SELECT generateUUIDv4(), now() - INTERVAL (310 + number) MINUTE,"
            f" '{owner}', 'ada', '{status}', 'UTC', 'sha256', now(), now() FROM numbers(3)"
        )
        client.close()
        found = check(machine, 0)
        assert ("imports keep up" in found) is told
    assert found["imports keep up"]["found"] == (
        "the last one was less than a minute ago, those before it at most 5 hours apart"
    )


def test_reports_that_wait_for_another_database_are_told(tmp_path: Path) -> None:
    def found(**environment: str) -> ci.Finding:
        places = {"XDG_STATE_HOME": str(tmp_path / "state"), "CCUSAGE_DB_PATH": str(tmp_path / "db")}
        return ci.check_kept(ci.read_config(places | environment, ci.make_parser().parse_args([])))

    assert found().holds
    for folder in (tmp_path / "db", tmp_path / "state" / "ccusage-importer" / "server-0123abcd"):
        (folder / "pending" / "x").mkdir(parents=True)
        (folder / "pending" / "x" / ci.MANIFEST).touch()
    assert (
        found().found
        == f"1, the first in {tmp_path / 'state' / 'ccusage-importer' / 'server-0123abcd' / 'pending' / 'x'}"
    )
    assert found(CH_HOST="ch.example.org").found.startswith("2, the first in ")


def test_the_cron_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crontab = tmp_path / "crontab"
    crontab.write_text("#!/bin/sh\necho '# ccusage-importer'\necho '7 * * * * /x/ccusage-importer/run'\n")
    crontab.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ci.check_cron() == ci.Finding("cron job", True, "7 * * * *", "install it with ./setup_cronjob.sh", False)
    crontab.write_text("#!/bin/sh\necho '# 7 * * * * /x/ccusage-importer/run'\n")
    assert not ci.check_cron().holds


def test_what_is_not_set_is_for_verbose(machine: Machine) -> None:
    for arguments, unset in (((), set()), (("--verbose",), {"CH_HOST", "CH_PASSWORD", "CCUSAGE_WORKERS"})):
        told = machine.run("--check", *arguments, PROJECT_HASH_KEY="s3cret").stdout
        assert unset == {name for name in ("CH_HOST", "CH_PASSWORD", "CCUSAGE_WORKERS") if f"  {name}: unset" in told}
        assert "ok     CCUSAGE_TIMEZONE: UTC\n" in told
        assert "ok     PROJECT_HASH_KEY: set\n" in told
        assert "ok     privacy: project names are stored hashed with a PROJECT_HASH_KEY\n" in told
    assert check(machine, 0)["CH_HOST"]["found"] == "unset"  # a program reads it


# ---- logs ---------------------------------------------------------------------------------------------


def test_a_log_file_has_everything_also_with_quiet(laptop: Machine, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "import.log"
    laptop.imported("--quiet", "--log-file", str(file))
    text = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    for said in ("ccusage 20.0.24", "fetched daily in", "daily: ", "import completed in"):
        assert said in text, text
    assert all(line[:4].isdigit() for line in text.splitlines())
    laptop.run("--quiet", "--log-file", str(file), CCUSAGE_BIN="/nowhere")
    assert "ERROR error: CCUSAGE_BIN" in file.read_text()


def test_json_logs_are_an_object_a_line(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "import.log"
    machine.imported("--quiet", "--log-file", str(file), "--log-format", "json", "--machine-name", "laptop")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    daily = next(line for line in lines if line.get("report") == "daily" and "rows" in line)
    assert daily["machine"] == "laptop"
    assert daily["rows"]["new"] > 0
    assert daily["import_id"] == machine.query("SELECT import_id FROM ccusage_import_history")[0][0]
    assert any(line.get("report") == "daily" and line.get("seconds", 0) > 0 for line in lines)
    assert lines[-1]["status"] == "completed"


def test_logs_are_rotated_and_stay_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ci, "LOG_BYTES", 2000)
    ci.Screen(quiet=True, verbose=False, log_file=tmp_path / "import.log")
    for number in range(300):
        ci.log.info("line %d", number)
    ci.Screen(quiet=True, verbose=False)
    logging.shutdown()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["import.log", *(f"import.log.{number}" for number in range(1, 5))]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_a_log_file_on_a_full_disk_is_told_once(laptop: Machine, tmp_path: Path) -> None:
    (tmp_path / "full.log").symlink_to("/dev/full")
    result = laptop.run("--quiet", "--log-file", str(tmp_path / "full.log"))
    assert result.returncode == 0
    [said] = result.stderr.splitlines()
    assert said.endswith(f"--log-file: {tmp_path / 'full.log'} cannot be written to: No space left on device")


@pytest.mark.parametrize(
    ("said", "holds"), [("v22.1.0", True), ("a note\nv22.1.0", True), ("v18.2.0", False), ("no number", False)]
)
def test_the_version_of_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, holds: bool) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\nprintf '{said}\\n'\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ci.check_node(ci.ProcessGroups()).holds is holds


def test_after_how_many_days_claude_code_deletes(tmp_path: Path) -> None:
    def days(text: str) -> int:
        (tmp_path / "settings.json").write_text(text)
        return ci.cleanup_days({"CLAUDE_CONFIG_DIR": str(tmp_path)})[0]

    assert days('{"cleanupPeriodDays": 99}') == 99
    assert {days(f'{{"cleanupPeriodDays": {odd}}}') for odd in ("1e999", '"x"', "null", "[]")} == {30}


def test_a_log_file_that_cannot_be_written(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = machine.run("--log-file", str(tmp_path / "file" / "import.log"))
    assert result.returncode == 2
    assert "error: --log-file: " in result.stderr


# ---- metrics ------------------------------------------------------------------------------------------


def metrics(file: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by family, through the Prometheus project's own parser."""
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(file.read_text(encoding="utf-8"))
    }


def test_metrics_of_an_import(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "ccusage.prom"
    machine.imported("--quiet", "--metrics-file", str(file), "--machine-name", 'lap"top\\', CCUSAGE_USER="ada")
    told = metrics(file)
    assert list(tmp_path.glob("*.prom")) == [file]
    whose = {"machine": 'lap"top\\', "user": "ada"}
    assert all(whose.items() <= labels.items() for samples in told.values() for labels, _ in samples)
    assert told["ccusage_importer_last_run_exit_code"][0][1] == 0
    assert abs(told["ccusage_importer_last_success_timestamp_seconds"][0][1] - time.time()) < 60
    assert 0 < told["ccusage_importer_last_run_duration_seconds"][0][1] < 60
    rows = {(x["table"], x["outcome"]): value for x, value in told["ccusage_importer_last_run_rows"]}
    assert rows["ccusage_usage_daily", "new"] == machine.query("SELECT count() FROM ccusage_usage_daily FINAL")[0][0]
    today = datetime.now(timezone.utc).date()
    cost = {(x["source"], x["period"]): value for x, value in told["ccusage_cost_usd"]}
    for source, period, since in (("claude", "month", today.replace(day=1)), ("claude", "today", today)):
        said = [d for d in machine.ccusage("claude", "daily")["daily"] if str(since) <= d["date"] <= str(today)]
        assert cost.get((source, period), 0) == pytest.approx(sum(d["totalCost"] for d in said), abs=1e-6)
    month = {x["source"]: value for x, value in told["ccusage_tokens"] if x["period"] == "month"}
    days = f"SELECT source, sum(total_tokens) FROM ccusage_usage_daily FINAL WHERE toYYYYMM(date) = {today:%Y%m}"
    assert month == dict(machine.query(f"{days} GROUP BY source"))
    assert told["ccusage_active_block_burn_rate_usd_per_hour"][0][1] > 0
    assert told["ccusage_active_block_cost_usd"][0][1] > 0
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_failed_run_keeps_the_time_of_the_last_success(laptop: Machine, tmp_path: Path) -> None:
    file = tmp_path / "ccusage.prom"
    laptop.run("--quiet", "--metrics-file", str(file), CCUSAGE_BIN="/nowhere")
    assert metrics(file)[ci.LAST_SUCCESS][0][1] == 0
    laptop.imported("--quiet", "--metrics-file", str(file))
    success = metrics(file)[ci.LAST_SUCCESS]
    laptop.run("--quiet", "--metrics-file", str(file), CCUSAGE_BIN="/nowhere")
    told = metrics(file)
    assert told[ci.LAST_SUCCESS] == success
    assert told["ccusage_importer_last_run_exit_code"][0][1] == 2


def test_metrics_of_a_partial_import(laptop: Machine, tmp_path: Path) -> None:
    broken = laptop.failing_ccusage("blocks")
    file = tmp_path / "ccusage.prom"
    assert laptop.run("--quiet", "--metrics-file", str(file), CCUSAGE_BIN=broken).returncode == 3
    failed = {labels["report"]: value for labels, value in metrics(file)["ccusage_importer_last_run_report_failed"]}
    assert failed == {"daily": 0, "monthly": 0, "session": 0, "blocks": 1, "projects": 0}


def test_metrics_that_cannot_be_written_do_not_fail_the_import(laptop: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = laptop.run("--quiet", "--metrics-file", str(tmp_path / "file" / "x.prom"))
    assert result.returncode == 0
    assert "cannot be written" in result.stderr


def test_where_claude_codes_folders_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ci.claude_folders({}) == [tmp_path / ".config" / "claude", tmp_path / ".claude"]
    assert ci.claude_folders({"CLAUDE_CONFIG_DIR": "/a, ~/b"}) == [Path("/a"), tmp_path / "b"]
    # ccusage takes the inner folder, too
    (tmp_path / "projects" / "projects").mkdir(parents=True)
    named = f"{tmp_path}/projects, {tmp_path}/projects/projects"
    assert ci.claude_folders({"CLAUDE_CONFIG_DIR": named}) == [tmp_path / "projects"] * 2
    assert ci.cleanup_days({}) == (30, "Claude Code's default")
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text("[1]")
    assert ci.cleanup_days({})[0] == 30


def test_a_wrong_variable_is_told_by_check_too(machine: Machine) -> None:
    result = machine.run("--check", "--format", "json", CH_PORT="abc")
    assert result.returncode == 2
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert "CH_PORT" in told["checks"][0]["found"]
