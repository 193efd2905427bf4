"""What is forgotten goes and stays away; a machine that got another name is counted once. Also after kills."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import conversation_logs
import pytest
import sample_logs
from conftest import Machine, MakeOnce, Server, thorough
from importer_process import DIE_AFTER_WRITES

from ccusage_importer import computer_fingerprint

NOW = datetime.now(timezone.utc)
DAY = (NOW - timedelta(days=4)).date()
TOTALS = ("ccusage_usage_daily", "ccusage_usage_monthly", "ccusage_usage_blocks", "ccusage_usage_projects_daily")


@pytest.fixture(scope="session")
def lived_home(make_once: MakeOnce) -> Path:
    return make_once("lived", live) / "home"


def live(folder: Path) -> None:
    """Whole conversations of the last days, older usage of two agents, all imported."""
    home = folder / "home"
    until = NOW - timedelta(days=1)
    conversation_logs.write_conversations(home, days=7, seed=3, until=until)
    sample_logs.write_logs(home, days=20, sessions_per_day=1, messages=4, until=until)
    activity = [{"date": "2026-01-02", "messageCount": 5, "sessionCount": 1, "toolCallCount": 2}]
    (home / ".claude" / "stats-cache.json").write_text(json.dumps({"dailyActivity": activity}), "utf-8")
    Machine(home, settings={"MACHINE_NAME": "vm"}).imported("--quiet")


@pytest.fixture
def lived(lived_home: Path, tmp_path: Path) -> Machine:
    shutil.copytree(lived_home, tmp_path / "home", symlinks=True)
    return Machine(tmp_path / "home", settings={"MACHINE_NAME": "vm"})


def sums_and(machine: Machine, *statements: str) -> tuple[dict[str, list[tuple[Any, ...]]], list[Any]]:
    """Of each table of totals: tokens and cost by day or month and agent; and the one value of each further query."""
    days = {"ccusage_usage_monthly": "month", "ccusage_usage_blocks": "toDate(start_time)"}
    of_totals = [
        f"SELECT source, toString({days.get(table, 'date')}) AS day, sum(total_tokens),"
        f" round(sum({'cost_usd' if table.endswith('blocks') else 'total_cost'}), 6)"
        f" FROM {table} FINAL GROUP BY ALL ORDER BY ALL"
        for table in TOTALS
    ]
    answers = machine.queries([*of_totals, *statements])
    return dict(zip(TOTALS, answers, strict=False)), [rows[0][0] for rows in answers[len(TOTALS) :]]


def sums(machine: Machine) -> dict[str, list[tuple[Any, ...]]]:
    return sums_and(machine)[0]


def since(told: dict[str, list[tuple[Any, ...]]], day: date) -> dict[str, list[tuple[Any, ...]]]:
    """The same from a day on, months whole."""
    return {table: [row for row in rows if len(row[1]) == 7 or row[1] >= str(day)] for table, rows in told.items()}


def logs_before(day: date) -> list[str]:
    """What tells how many rows of conversations there are of the days before."""
    tables = ("ccusage_messages", "ccusage_tool_calls", "ccusage_activity")
    return [f"SELECT count() FROM {table} WHERE date < '{day}'" for table in tables]


def go_on(machine: Machine) -> None:
    """The newest session says what it has said once more."""
    session = max((machine.home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    text = session.read_text(encoding="utf-8")
    session.write_text(text + text.replace('"requestId":"', '"requestId":"more_').replace('"id":"msg', '"id":"more'))


def broken(machine: Machine) -> list[str]:
    """The expectations that do not hold."""
    found = json.loads(machine.run("--check", "--format", "json").stdout)["checks"]
    return [
        check["name"] + ": " + check["found"] for check in found if not check["holds"] and check["name"] != "cron job"
    ]


def killed(machine: Machine, step: int, *arguments: str) -> bool:
    result = machine.run_patched(DIE_AFTER_WRITES.format(writes=step), *arguments, "--quiet")
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def test_conversations_go_and_every_total_stays(lived: Machine) -> None:
    before, stored = sums(lived), lived.everything()
    said = lived.imported("--forget", "--before", str(DAY), "--conversations")
    assert "ccusage_messages" in said
    assert "--yes" in said
    assert lived.everything() == stored
    assert min(sums_and(lived, *logs_before(DAY))[1]) > 0
    lived.imported("--forget", "--before", str(DAY), "--conversations", "--yes")
    told, counts = sums_and(lived, *logs_before(DAY), *logs_before(NOW.date()))
    assert told == before
    assert counts[:3] == [0, 0, 0] != counts[3:]
    for arguments in (["--backfill"], []):  # all logs are still there
        lived.imported("--quiet", *arguments)
        assert sums_and(lived, *logs_before(DAY)) == (before, [0, 0, 0])
    assert broken(lived) == []
    # and go, and the totals stay: what rested on messages is not derived from half of them
    go_on(lived)
    lived.imported("--quiet")
    grown = sums(lived)
    assert since(grown, NOW.date()) != since(before, NOW.date())
    lived.delete_logs_before(days=3)
    lived.imported("--quiet")
    cleaned = sums(lived)
    assert cleaned["ccusage_usage_daily"] == grown["ccusage_usage_daily"]
    assert cleaned["ccusage_usage_monthly"] == grown["ccusage_usage_monthly"]
    # nor where they are planned anew as a whole
    whole = sums_and(lived, SESSIONS, WORK)
    renamed = Machine(lived.home, settings={"MACHINE_NAME": "new"})
    renamed.imported("--rename-machine", "vm", "new", "--quiet", CCUSAGE_CONVERSATIONS="false")  # which is for logs
    assert sums_and(renamed, SESSIONS, WORK) == whole
    renamed.imported("--quiet")
    assert sums_and(renamed, SESSIONS, WORK) == whole


WORK = "SELECT (SELECT count() FROM ccusage_messages FINAL WHERE kind != 'response') + count() FROM ccusage_tool_calls FINAL"
SESSIONS = "SELECT groupArray((session_id, total_tokens)) FROM (SELECT * FROM ccusage_usage_sessions FINAL ORDER BY session_id)"


def test_what_lies_on_both_sides_of_a_forgotten_day_grows_while_its_log_is_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    border = datetime.combine(DAY, datetime.min.time(), timezone.utc)
    sample_logs.say(machine.home, "s", border - timedelta(hours=1), border + timedelta(minutes=30))
    machine.imported("--quiet")
    machine.imported("--forget", "--before", str(DAY), "--conversations", "--yes", "--quiet")
    machine.imported("--quiet")
    for number in (1, 3):
        sample_logs.say(
            machine.home, "s", *(border + timedelta(hours=1, minutes=10 * number + n) for n in range(number))
        )
        machine.imported("--quiet")
    told = machine.query(
        "SELECT (SELECT sum(total_tokens) FROM ccusage_usage_sessions FINAL),"
        " (SELECT sum(total_tokens) FROM ccusage_usage_blocks FINAL), (SELECT sum(total_tokens) FROM ccusage_usage_daily FINAL)"
    )
    assert told == [(600, 600, 600)]


def test_a_session_of_the_first_day_that_is_not_forgotten_stays_when_its_log_goes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    noon = datetime.combine(DAY, datetime.min.time(), timezone.utc) + timedelta(hours=12)
    sample_logs.say(machine.home, "goes", noon)
    sample_logs.say(machine.home, "stays", noon + timedelta(days=1))
    machine.imported("--quiet")
    machine.imported("--forget", "--before", str(DAY), "--conversations", "--yes", "--quiet")
    (machine.home / ".claude/projects/-p/goes.jsonl").unlink()
    sample_logs.say(machine.home, "stays", noon + timedelta(days=1, hours=1))
    machine.imported("--quiet")
    assert machine.query("SELECT session_id, total_tokens FROM ccusage_usage_sessions FINAL ORDER BY ALL") == [
        ("goes", 100),
        ("stays", 200),
    ]


def test_a_month_of_which_some_days_are_forgotten_grows_when_the_logs_of_these_are_gone(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    noon = datetime(2026, 5, 10, 12, tzinfo=timezone.utc)

    def months() -> list[tuple[Any, ...]]:
        return machine.query(
            "SELECT sum(total_tokens), sum(total_cost), (SELECT sum(total_tokens) FROM ccusage_usage_daily FINAL),"
            " (SELECT sum(total_tokens) FROM ccusage_model_breakdowns FINAL WHERE record_type = 'monthly')"
            " FROM ccusage_usage_monthly FINAL"
        )

    sample_logs.say(machine.home, "early", *(noon + timedelta(minutes=n) for n in range(5)))
    sample_logs.say(machine.home, "late", noon + timedelta(days=1))
    machine.imported("--quiet")
    [(_, cost, _, _)] = months()
    machine.imported("--forget", "--before", "2026-05-11", "--yes", "--quiet")
    for number in range(2):
        sample_logs.say(machine.home, "late", noon + timedelta(days=1, minutes=1 + number))
        machine.imported("--quiet")
        assert months() == [(tokens := 700 + 100 * number, pytest.approx(cost * tokens / 600), tokens - 500, tokens)]
        (machine.home / ".claude/projects/-p/early.jsonl").unlink(missing_ok=True)
    machine.imported("--quiet")
    assert months()[0][0] == 800
    # nor does it lose or double anything where one of both reports fails
    for number, failing in enumerate(("daily --by-agent", "monthly", "daily --by-agent"), 1):
        sample_logs.say(machine.home, "late", noon + timedelta(days=1, hours=1, minutes=number))
        assert machine.run("--quiet", CCUSAGE_BIN=machine.failing_ccusage(failing)).returncode == 3
    machine.imported("--quiet")
    assert months()[0][0] == 1100


@pytest.mark.parametrize("step", [9, 11, 13])
def test_what_a_killed_import_had_deleted_is_brought_back_before_anything_is_forgotten(
    tmp_path: Path, step: int
) -> None:
    machine = Machine(tmp_path / "home")
    noon = datetime.combine(DAY, datetime.min.time(), timezone.utc) + timedelta(hours=12)
    sample_logs.say(machine.home, "gone", noon, noon + timedelta(minutes=1), noon + timedelta(minutes=2))
    machine.imported("--quiet")
    (machine.home / ".claude/projects/-p/gone.jsonl").unlink()
    sample_logs.say(machine.home, "new", noon + timedelta(minutes=3))
    assert killed(machine, step)
    machine.imported("--forget", "--before", str(NOW.date()), "--conversations", "--yes", "--quiet")
    machine.imported("--quiet")
    assert {sum(tokens for _, _, tokens, _ in rows) for rows in sums(machine).values()} == {400}


def test_rows_go_and_months_stay_unless_named(lived: Machine, tmp_path: Path) -> None:
    before = sums(lived)
    lived.imported("--archive", str(tmp_path / "archive"), "--quiet")
    steps = 0
    while killed(lived, steps + 1, "--forget", "--before", str(DAY), "--yes"):
        steps += 9
    assert steps > 8, steps
    expected = since(before, DAY)
    sessions = f"SELECT count() FROM ccusage_usage_sessions WHERE last_activity < '{DAY}'"
    children = f"SELECT count() FROM ccusage_model_breakdowns WHERE record_key < '{DAY}' AND record_type IN ('daily', 'project_daily')"
    for arguments in ([], ["--backfill"], ["--restore", str(tmp_path / "archive")]):
        lived.imported("--quiet", *arguments)
        told, counts = sums_and(lived, *logs_before(DAY), sessions, children)
        # what was said after midnight in a block that has gone is in one that begins on the day
        blocks = told.pop("ccusage_usage_blocks")
        assert (told, counts) == ({name: expected[name] for name in told}, [0, 0, 0, 0, 0])
        days = [row for row in told["ccusage_usage_daily"] if row[0] == "claude"]
        assert sum(row[2] for row in blocks) == sum(row[2] for row in days)
        assert min(row[1] for row in blocks) == str(DAY)
    assert broken(lived) == []
    go_on(lived)
    lived.imported("--quiet")
    of_months: dict[str, int] = {}
    for row in lived.ccusage("claude", "daily")["daily"]:
        of_months[row["date"][:7]] = of_months.get(row["date"][:7], 0) + row["totalTokens"]
    stored = {month: tokens for source, month, tokens, _ in sums(lived)["ccusage_usage_monthly"] if source == "claude"}
    assert stored == of_months
    first = NOW.date().replace(day=1)
    lived.imported("--forget", "--before", str(first), "--months", "--yes")
    lived.imported("--quiet")
    assert {month for _, month, _, _ in sums(lived)["ccusage_usage_monthly"]} == {str(first)[:7]}


def named(machine: Machine, text: str) -> list[str]:
    """The tables in which a text is, but for the one that says that it is forgotten."""
    rows = machine.everything()
    return [table for table, its in rows.items() if any(text in row for row in its) and table != "ccusage_forgotten"]


def test_a_project_goes_out_of_everything(lived: Machine, tmp_path: Path, server: Server) -> None:
    before = sums(lived)
    names = json.loads((lived.home / ".local/state/ccusage-importer/names.json").read_text("utf-8"))["names"]
    projects = dict(lived.query("SELECT project_id, sum(total_tokens) FROM ccusage_usage_projects_daily GROUP BY ALL"))
    project = max(projects, key=lambda name: projects[name])
    work = [
        "SELECT count() FROM ccusage_messages FINAL WHERE kind != 'response' AND project_id = '{}'",
        "SELECT count() FROM ccusage_tool_calls FINAL WHERE project_id = '{}'",
    ]
    assert len(named(lived, project)) > 5
    assert min(sums_and(lived, *(select.format(project) for select in work))[1]) > 0
    lived.imported("--archive", str(tmp_path / "archive"), "--quiet")
    steps = 0
    while killed(lived, steps + 1, "--forget", "--project", names[project], "--yes"):  # by its path
        steps += 9
        if named(lived, project) == []:
            break
    assert steps > 6, steps
    lived.imported("--forget", "--project", project, "--yes", "--quiet")  # again, though nothing is left of it
    for arguments in ([], ["--backfill"], ["--restore", str(tmp_path / "archive")]):
        lived.imported("--quiet", *arguments)
        assert named(lived, project) == []
        # what it has used is spent, without a name; of prompts and tools nothing is left
        assert sums_and(lived, *(select.format("") for select in work)) == (before, [0, 0])
    assert project not in (lived.home / ".local/state/ccusage-importer/names.json").read_text("utf-8")
    assert broken(lived) == []
    # its logs go on, and are cleaned up: the totals go on being what ccusage says of all logs
    go_on(lived)
    lived.imported("--quiet")
    grown = sums(lived)
    assert grown != before
    lived.delete_logs_before(days=3)
    lived.imported("--quiet")
    assert sums(lived)["ccusage_usage_daily"] == grown["ccusage_usage_daily"]
    assert named(lived, project) == []
    served = Machine(lived.home, settings=lived.settings, server=server)
    served.imported("--push-local", "--quiet")
    assert named(served, project) == []
    served.imported("--restore", str(tmp_path / "archive"), "--quiet")
    assert named(served, project) == []
    assert sums(served)["ccusage_usage_daily"] == grown["ccusage_usage_daily"]
    shown = names[max(projects, key=lambda name: name != project)].rpartition("/")[2]
    for name in "nowhere", "", f"{shown}x":  # what belongs to no project is none that can be forgotten
        result = lived.run("--forget", "--project", name, "--yes")
        assert (result.returncode, "not a project that is stored" in result.stderr) == (2, True)
        assert shown not in result.stderr.replace(f"{shown}x", "")  # names are for a terminal


def test_a_renamed_machine_is_counted_once(lived: Machine, tmp_path: Path) -> None:
    expected = sums(lived)
    [(project,)] = lived.query("SELECT any(project_id) FROM ccusage_usage_projects_daily WHERE date < today() - 3")
    lived.imported("--forget", "--project", project, "--yes")
    lived.imported("--archive", str(tmp_path / "archive"), "--quiet")
    lived.delete_logs_before(days=6)
    renamed = Machine(lived.home, settings={"MACHINE_NAME": "new"})
    result = renamed.run("--quiet")
    if (Path("/etc/machine-id")).exists():
        assert "--rename-machine vm new" in result.stderr
    assert sums(renamed) != expected
    steps = 0
    while killed(renamed, steps + 1, "--rename-machine", "vm", "new"):
        steps += 7
        if steps == 14:  # the next import goes on as well
            renamed.imported("--quiet")
            break
    assert steps > 5
    assert sums(renamed) == expected
    assert named(renamed, project) == []  # by its old name
    rows = renamed.everything()
    assert [table for table, its in rows.items() if any("'vm'" in row for row in its)] == ["ccusage_forgotten"]
    [(runs, zones)] = renamed.query("SELECT count(), uniqExact(timezone) FROM ccusage_import_history")
    assert (runs >= 2, zones) == (True, 1)
    fixed = json.loads((renamed.db_path / "fixed.json").read_text(encoding="utf-8"))
    assert [name for name, users in fixed.items() if users] == ["new"]
    assert broken(renamed) == []
    renamed.imported("--quiet")
    assert sums(renamed) == expected
    renamed.imported("--restore", str(tmp_path / "archive"), "--quiet")  # of when it had its old name
    assert sums(renamed) == expected
    result = renamed.run("--rename-machine", "vm", "new")
    assert (result.returncode, "not a machine with stored usage" in result.stderr) == (2, True)
    if computer_fingerprint():  # by its old name this computer would store everything a second time
        for flags in ([], ["--dry-run"]):
            result = lived.run("--quiet", *flags)
            assert (result.returncode, "fix: set MACHINE_NAME=new," in result.stderr) == (2, True), result.stderr
        assert sums(renamed) == expected
        assert renamed.query("SELECT DISTINCT machine_name FROM ccusage_messages") == [("new",)]
        assert "set MACHINE_NAME='my vm'" in renamed.run("--rename-machine", "new", "my vm").stderr
        lived.settings["MACHINE_NAME"] = "my vm"
        lived.imported("--quiet")
        assert sums(lived) == expected


def test_after_something_is_forgotten_an_import_tells_of_what_is_new_alone(lived: Machine) -> None:
    lived.imported("--forget", "--before", str(DAY), "--yes", "--quiet")
    assert "now: no new usage" in lived.imported()
    go_on(lived)
    said = re.search(r"now: \+\$(\S+), \+\S+ tokens", lived.imported())
    assert said is not None
    assert float(said[1]) > 0


def test_who_only_asks_what_would_be_forgotten_waits_for_another_run_and_needs_no_names(lived: Machine) -> None:
    lock = next(lived.home.rglob("import.lock"))
    lived.imported("--forget", "--before", str(DAY), "--conversations", "--yes", "--quiet")
    names = next(lived.home.rglob("names.json"))
    names.write_text("{broken", encoding="utf-8")
    with lock.open("r+") as held, ThreadPoolExecutor() as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        asking = pool.submit(lived.run, "--forget", "--before", str(DAY + timedelta(days=1)))
        assert not wait([asking], timeout=1).done
        fcntl.flock(held, fcntl.LOCK_UN)
    result = asking.result()
    assert (result.returncode, "waiting for another run" in result.stderr) == (0, True), result.stderr
    lived.imported("--forget", "--before", str(DAY + timedelta(days=1)), "--conversations", "--yes", "--quiet")


@pytest.mark.parametrize("step", [2, *thorough(1, 3)])
def test_what_a_killed_run_was_to_forget_the_next_import_deletes(lived: Machine, step: int) -> None:
    """The record is written first: what is there after it is deleted by whoever comes next."""
    assert killed(lived, step, "--forget", "--before", str(DAY), "--yes")
    there = [count for ((count,),) in lived.queries(logs_before(DAY))]
    assert any(there)
    assert "which a run that was ended has left there" in lived.imported()
    assert [count for ((count,),) in lived.queries(logs_before(DAY))] == [0, 0, 0]
    assert lived.query(f"SELECT count() FROM ccusage_usage_daily WHERE date < '{DAY}'") == [(0,)]
    assert lived.query("SELECT min(is_done) FROM ccusage_forgotten FINAL") == [(1,)]
    assert "has left there" not in lived.imported()


def test_rows_that_are_cut_by_another_zone_are_not_taken_over(lived: Machine) -> None:
    far = Machine(lived.home, settings={"MACHINE_NAME": "far", "CCUSAGE_TIMEZONE": "Asia/Tokyo"})
    assert far.run("--quiet").returncode == 0
    before = lived.everything()
    result = lived.run("--rename-machine", "far", "vm")
    assert (result.returncode, "another timezone" in result.stderr) == (2, True)
    assert lived.everything() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--forget"],
        ["--forget", "--before", "2026-11-01", "--project", "x"],
        ["--forget", "--project", "x", "--months"],
        ["--forget", "--before", "2026-11-01", "--months", "--conversations"],
        ["--forget", "--before", "2098-01-01"],
        ["--forget", "--before", "yesterday"],
        ["--before", "2026-11-01"],
        ["--stats", "--conversations"],
        ["--restore", "x", "--yes"],
        ["--rename-machine", "vm", "vm"],
        ["--rename-machine", "vm", "vm "],
        ["--archive", "x", "--restore", "x"],
    ],
    ids=" ".join,
)
def test_flags_that_say_nothing_together_are_refused(arguments: list[str], tmp_path: Path) -> None:
    result = Machine(tmp_path).run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
