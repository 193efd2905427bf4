"""--adopt on tables as the older importer made them, its faults in them, filled with what real ccusage says.

It had no `user_name`, at first no machine, at last a source; it swapped machine and project of a project's day, and so
added them anew in every run; it deleted the models of one machine's days for all machines; it took the times of blocks
for local ones; and what ccusage said less of it stored as less.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import clickhouse_connect
import pytest
from conftest import Machine, Server

import ccusage_importer as ci

TOKENS = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens", "totalTokens")
USAGE = """input_tokens UInt64, output_tokens UInt64, cache_creation_tokens UInt64, cache_read_tokens UInt64,
    total_tokens UInt64, {cost} Float64, """
STAMPS = "models_count UInt16, created_at DateTime DEFAULT now(), updated_at DateTime DEFAULT now()"
KIND = "record_type Enum8('daily' = 1, 'monthly' = 2, 'session' = 3, 'block' = 4, 'project_daily' = 5)"
# columns before the usage and between usage and stamps, cost, partition and order; {machine} is the second version's
OLD_TABLES = {
    "usage_daily": ("date Date, {machine}", "", "total_cost", "toYYYYMM(date)", "date"),
    "usage_monthly": (
        "month String, year UInt16, month_num UInt8, {machine}",
        "",
        "total_cost",
        "year",
        "year, month_num",
    ),
    "usage_sessions": (
        "session_id String, project_path String, {machine}",
        "last_activity Date, ",
        "total_cost",
        "toYYYYMM(last_activity)",
        "session_id, last_activity",
    ),
    "usage_blocks": (
        """block_id String, {machine} start_time DateTime, end_time DateTime, actual_end_time Nullable(DateTime),
        is_active UInt8, is_gap UInt8, entries UInt32, """,
        "usage_limit_reset_time Nullable(DateTime), burn_rate Nullable(Float64), `projection` Nullable(Float64), ",
        "cost_usd",
        "toYYYYMM(start_time)",
        "start_time, block_id",
    ),
    "usage_projects_daily": (
        "date Date, project_id String, {machine}",
        "",
        "total_cost",
        "toYYYYMM(date)",
        "date, project_id",
    ),
}
# The older importer's were none, and took a second each: a minute of this test, and the same rows are left.
DELETES_ARE_PATCHES = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1"


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


class OldImporter:
    """What the older importer leaves in a database: `insert` takes table, columns and rows, `run` any statement."""

    def __init__(self, command: Callable[[str], Any], machine: str | None, east_of_utc: int = 2) -> None:
        self.command = command
        self.machine = machine
        self.shift = timedelta(hours=east_of_utc)
        self.runs = 0

    def make_tables(self) -> None:
        machine = "machine_name String, " if self.machine else ""
        self.command("CREATE DATABASE old")
        for table, (first, last, cost, partition, order) in OLD_TABLES.items():
            self.command(
                f"CREATE TABLE old.ccusage_{table} ({first.format(machine=machine)}{USAGE.format(cost=cost)}{last}{STAMPS})"
                f" ENGINE = MergeTree PARTITION BY {partition} ORDER BY ({order}) {DELETES_ARE_PATCHES}"
            )
        for table, columns in (
            (
                "model_breakdowns",
                "input_tokens UInt64, output_tokens UInt64, cache_creation_tokens UInt64, cache_read_tokens UInt64, cost Float64, ",
            ),
            ("models_used", ""),
        ):
            self.command(
                f"CREATE TABLE old.ccusage_{table} ({KIND}, record_key String, {machine}model_name String, {columns}"
                "created_at DateTime DEFAULT now()) ENGINE = MergeTree PARTITION BY record_type"
                f" ORDER BY (record_type, record_key, model_name) {DELETES_ARE_PATCHES}"
            )

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            values = ", ".join("(" + ", ".join(map(literal, row.values())) + ")" for row in rows)
            self.command(f"INSERT INTO old.ccusage_{table} ({', '.join(rows[0])}) VALUES {values}")

    def delete(self, table: str, column: str, keys: Sequence[str], of_machine: bool = True, more: str = "1") -> None:
        if self.runs == 1 and of_machine:
            return  # there is nothing of its own yet
        whose = f" AND machine_name = {literal(self.machine)}" if self.machine and of_machine else ""
        listed = ", ".join(map(literal, keys))
        self.command(
            f"DELETE FROM old.ccusage_{table} WHERE {more} AND toString({column}) IN ({listed}){whose}"
            " SETTINGS lightweight_delete_mode = 'lightweight_update'"
        )

    @property
    def own(self) -> dict[str, str]:
        return {"machine_name": self.machine} if self.machine else {}

    def usage(self, row: Mapping[str, Any], cost: str = "total_cost") -> dict[str, Any]:
        names = re.findall(r"\w+_tokens", USAGE)
        return {
            **dict(zip(names, (row[name] for name in TOKENS), strict=True)),
            cost: row["totalCost"],
            "models_count": len(row["modelsUsed"]),
            "created_at": 1_760_000_000 + self.runs,
            "updated_at": 1_760_000_000 + self.runs,
        }

    def models(self, kind: str, rows: Mapping[str, Mapping[str, Any]], deletes: bool = True) -> None:
        """The two tables of models; those of days it deleted for all machines."""
        if deletes:
            more = f"record_type = '{kind}'"
            self.delete("model_breakdowns", "record_key", [*rows], kind != "daily", more)
            self.delete("models_used", "record_key", [*rows], more=more)
        names = re.findall(r"\w+_tokens", USAGE)[:4]
        parts = [
            {"record_type": kind, "record_key": key, **self.own, "model_name": part["modelName"]}
            | dict(zip(names, (part[name] for name in TOKENS[:4]), strict=True))
            | {"cost": part["cost"]}
            for key, row in rows.items()
            for part in row["modelBreakdowns"]
        ]
        self.insert("model_breakdowns", parts)
        used = [
            {"record_type": kind, "record_key": key, **self.own, "model_name": model}
            for key, row in rows.items()
            for model in row["modelsUsed"]
        ]
        self.insert("models_used", used)

    def run(self, said: Mapping[str, Any]) -> None:
        """One import of what ccusage says: the answers of its five reports."""
        self.runs += 1
        days = {row["date"]: row for row in said["daily"]}
        self.delete("usage_daily", "date", [*days])
        self.insert("usage_daily", [{"date": day, **self.own, **self.usage(row)} for day, row in days.items()])
        self.models("daily", days)
        months = {row["month"]: row for row in said["monthly"]}
        self.delete("usage_monthly", "month", [*months])
        for month, row in months.items():
            columns = {"month": month, "year": int(month[:4]), "month_num": int(month[5:])}
            self.insert("usage_monthly", [{**columns, **self.own, **self.usage(row)}])
        self.models("monthly", months)
        # the first version stored names as they are
        name = hashed if self.machine else str
        sessions = {name(row["sessionId"]): row for row in said["sessions"]}
        self.delete("usage_sessions", "session_id", [*sessions])
        self.insert(
            "usage_sessions",
            [
                {"session_id": key, "project_path": name(row["projectPath"]), **self.own, **self.usage(row)}
                | {"last_activity": row["lastActivity"]}
                for key, row in sessions.items()
            ],
        )
        self.models("session", sessions)
        blocks = {row["id"]: row for row in said["blocks"]}
        self.delete("usage_blocks", "block_id", [*blocks])
        self.insert("usage_blocks", [self.block(row) for row in blocks.values()])
        used = [
            {"record_type": "block", "record_key": key, **self.own, "model_name": m}
            for key, row in blocks.items()
            for m in row["models"]
        ]
        self.delete("models_used", "record_key", [*blocks], more="record_type = 'block'")
        self.insert("models_used", used)
        projects = [(project, row) for project, rows in said["projects"].items() for row in rows]
        # machine and project in each other's column; so the delete misses them
        self.delete("usage_projects_daily", "date", sorted({row["date"] for _, row in projects}))
        self.insert(
            "usage_projects_daily",
            [
                {"date": row["date"], "project_id": self.machine or project}
                | ({"machine_name": project} if self.machine else {})
                | self.usage(row)
                for project, row in projects
            ],
        )
        keyed = {f"{row['date']}_{project}": row for project, row in projects}
        self.models("project_daily", keyed, deletes=self.machine is not None)

    def block(self, row: Mapping[str, Any]) -> dict[str, Any]:
        def local(text: str | None) -> int | None:
            return (
                None
                if text is None
                else int((datetime.fromisoformat(text.replace("Z", "+00:00")) - self.shift).timestamp())
            )

        counts = row["tokenCounts"]
        told = {
            "inputTokens": counts["inputTokens"],
            "outputTokens": counts["outputTokens"],
            "cacheCreationTokens": counts["cacheCreationInputTokens"],
            "cacheReadTokens": counts["cacheReadInputTokens"],
            "totalTokens": row["totalTokens"],
            "totalCost": row["costUSD"],
            "modelsUsed": row["models"],
        }
        return {
            "block_id": row["id"],
            **self.own,
            "start_time": local(row["startTime"]),
            "end_time": local(row["endTime"]),
            "actual_end_time": local(row.get("actualEndTime")),
            "is_active": int(row["isActive"]),
            "is_gap": int(row["isGap"]),
            "entries": row["entries"],
            **self.usage(told, "cost_usd"),
            "burn_rate": (row.get("burnRate") or {}).get("costPerHour"),
        }


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else repr(value)


def said_by_ccusage(machine: Machine) -> dict[str, Any]:
    """ccusage's five reports; its sessions as 15 to 18 told them, all of a project's in one row."""
    projects: dict[str, Any] = machine.ccusage("claude", "daily", "--instances")["projects"]
    sessions = []
    for project, rows in projects.items():
        total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in (*TOKENS, "totalCost")}
        by_model: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(int))
        for row in rows:
            for part in row["modelBreakdowns"]:
                for name in (*TOKENS[:4], "cost"):
                    by_model[part["modelName"]][name] += part[name]
        total |= {
            "sessionId": project,
            "projectPath": "Unknown Project",
            "lastActivity": max(row["date"] for row in rows),
        }
        total |= {"modelsUsed": [*by_model], "modelBreakdowns": [{"modelName": m, **u} for m, u in by_model.items()]}
        sessions.append(total)
    return {
        "daily": machine.ccusage("claude", "daily")["daily"],
        "monthly": machine.ccusage("claude", "monthly")["monthly"],
        "sessions": sessions,
        "blocks": machine.ccusage("blocks")["blocks"],
        "projects": projects,
    }


def close_to(tokens: int, cost: float) -> Any:
    """A row of `Machine.sums`, its dollars to the hundred-thousandth."""
    return (tokens, pytest.approx(cost, abs=1e-5))


def totals(said: Mapping[str, Any]) -> tuple[int, float]:
    return (sum(row["totalTokens"] for row in said["daily"]), sum(row["totalCost"] for row in said["daily"]))


def times_two(value: Any) -> Any:
    """What another machine has used: the same, twice."""
    if isinstance(value, dict):
        return {name: times_two(item) for name, item in value.items()}
    if isinstance(value, list):
        return [times_two(item) for item in value]
    return value * 2 if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def test_what_the_older_importer_has_stored_comes_over_whole_and_once(machine: Machine, server: Server) -> None:
    machine.server, machine.settings = server, {"MACHINE_NAME": "Laptop", "CCUSAGE_USER": "ada"}
    whole = said_by_ccusage(machine)
    laptop, desk = (OldImporter(lambda sql: server.post("/", sql), name) for name in ("laptop", "desk"))
    server.post("/", f"CREATE DATABASE {server.database}")
    laptop.make_tables()
    laptop.run(whole)
    laptop.run(whole)
    desk.run(times_two(whole))
    assert machine.delete_logs_before(20) > 0
    shutil.rmtree(min((machine.home / ".claude" / "projects").iterdir()))  # days that lose a project, and stay
    laptop.run(said_by_ccusage(machine))
    tokens, cost = totals(whole)
    [(shrunk,)] = server.query("SELECT sum(total_tokens) FROM old.ccusage_usage_daily WHERE machine_name = 'laptop'")
    [(doubled,)] = server.query("SELECT sum(total_tokens) FROM old.ccusage_usage_projects_daily")
    [(models,)] = server.query(
        "SELECT sum(cost) FROM old.ccusage_model_breakdowns WHERE record_type = 'daily' AND machine_name = 'desk'"
    )
    assert shrunk < tokens
    assert doubled > 4 * tokens
    assert models < 2 * cost - 1

    machine.imported()
    before = machine.snapshot()
    assert before["ccusage_usage_daily"]
    told = machine.imported("--adopt", "old", "--dry-run")
    assert "To adopt from old" in told
    assert machine.snapshot() == before
    first = machine.imported("--adopt", "old")
    for name, factor in (("Laptop", 1), ("desk", 2)):
        sums = machine.sums(f"machine_name = '{name}' AND user_name = 'ada'")
        blocks = sums.pop("blocks")["claude"][0]  # of those that lost a log nobody else knows what they were
        assert shrunk <= blocks < tokens if name == "Laptop" else blocks == 2 * tokens
        for report, by_source in sums.items():
            assert by_source["claude"] == close_to(tokens * factor, cost * factor), (name, report)
    assert machine.query("SELECT DISTINCT user_name FROM ccusage_usage_daily") == [("ada",)]
    by_model = "SELECT record_type, machine_name, sum(cost) FROM ccusage_model_breakdowns FINAL WHERE source = 'claude' GROUP BY ALL"
    costs = {(kind, name): cost for kind, name, cost in machine.query(by_model)}
    for kind in ("daily", "monthly", "project_daily"):
        assert costs[kind, "Laptop"] == pytest.approx(cost, abs=1e-5)
        assert costs[kind, "desk"] == pytest.approx(2 * cost, abs=1e-5)
    starts = (
        "SELECT block_id, toString(start_time), is_active FROM ccusage_usage_blocks FINAL WHERE machine_name = 'desk'"
    )
    assert all(
        (block_id.removeprefix("gap-")[:19].replace("T", " "), 0) == (start, active)
        for block_id, start, active in machine.query(starts)
        if active == 0
    )
    assert re.search(r"desk +\d+ +0 +0 +0", first)

    adopted = machine.snapshot()
    machine.imported("--adopt", "old")
    assert machine.snapshot() == adopted
    machine.imported()
    assert machine.sums("machine_name = 'Laptop'")["session"]["claude"][0] == tokens
    assert machine.snapshot() == adopted
    found = machine.run("--check")
    assert found.returncode == 0, found.stdout


def test_its_first_version_had_no_machines(machine: Machine) -> None:
    """In the embedded engine; before the first import here; with names as they are and models added in every run."""
    client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path))
    old = OldImporter(client.command, None)
    whole = said_by_ccusage(machine)
    try:
        old.make_tables()
        old.run(whole)
        old.run(whole)
    finally:
        client.close()
    tokens, cost = totals(whole)
    machine.imported("--adopt", "old", MACHINE_NAME="m")
    first = machine.sums("machine_name = 'm'")
    assert all(by_source == {"claude": close_to(tokens, cost)} for by_source in first.values())
    machine.imported(MACHINE_NAME="m")
    second = machine.sums("machine_name = 'm'")
    assert all(by_source["claude"] == close_to(tokens, cost) for by_source in second.values())
    projects = machine.query("SELECT DISTINCT project_id FROM ccusage_usage_projects_daily")
    assert {project for (project,) in projects} == {hashed(project) for project in whole["projects"]}
    machine.imported("--adopt", "old", MACHINE_NAME="m")
    assert machine.sums("machine_name = 'm'") == second
    refused = machine.run("--adopt", "ccusage", MACHINE_NAME="m")
    assert refused.returncode == 2
    assert "the database ccusage on" in refused.stderr
    assert "has this importer's own tables" in refused.stderr
    assert "has no table ccusage_usage_daily" in machine.run("--adopt", "older", MACHINE_NAME="m").stderr
    assert machine.run("--adopt", "old", "--stats").returncode == 2


# ---- its rows in our words ----------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
SHOP, SESSION = "-home-ada-code-shop", "2b1f6bb4-0000-4000-8000-000000000001"


def old_row(report: str, total: int = 4, machine: str = "laptop", **columns: Any) -> ci.OldRow:
    return ci.OldRow(report, "ccusage", machine, columns, ci.Usage(1, 1, 1, total - 3, total, 0.5), ci.EPOCH, NOW)


@pytest.mark.parametrize(
    ("privacy", "stored"),
    [
        pytest.param(ci.Privacy(), hashed(SHOP), id="hashed"),
        pytest.param(ci.Privacy(key="k"), ci.Privacy(key="k").name(SHOP), id="with a key"),
        pytest.param(ci.Privacy(hashed=False), SHOP, id="as they are"),
    ],
)
def test_its_names_meet_ours(privacy: ci.Privacy, stored: str) -> None:
    folders = {hashed(f"{SHOP}/{SESSION}"): (SHOP, SESSION)}
    names = ci.OldNames(privacy, {hashed(SHOP): SHOP}, {hashed(SESSION): SESSION}, folders)
    assert {names.project(said) for said in (SHOP, hashed(SHOP))} == {stored}
    day = date(2026, 1, 2)

    def session(session_id: str, project: str) -> tuple[str, str]:
        columns = {"session_id": session_id, "project_path": project, "last_activity": day}
        key, own = ci.adopt_session(columns, names, "claude", NOW)
        assert key == own["session_id"]
        return key, own["project_path"]

    for hide in (str, hashed):
        assert session(hide(SHOP), hide("Unknown Project")) == (stored, stored)
        assert session(hide(SESSION), hide(SHOP)) == (SESSION, stored)
    assert session(hashed("subagents"), hashed(f"{SHOP}/{SESSION}")) == (SESSION, stored)
    assert session(hashed("subagents"), "0a0a0a0a") == ("0a0a0a0a", "")
    assert session("1b1b1b1b", hashed(SHOP)) == ("1b1b1b1b", stored)


def test_a_computer_under_two_names_is_one() -> None:
    day, other = date(2026, 1, 2), date(2026, 1, 3)
    one, two = ci.Usage(1, 2, 3, 4, 10, 0.1), ci.Usage(1, 2, 3, 5, 11, 0.1)
    known: dict[str, dict[date, ci.Usage]] = {"Mac": {}, "desk": {day: one}}
    old = {"mac": {day: two}, "desk.local": {day: one, other: two}, "gone": {day: two}}
    assert ci.same_machines(old, known) == {"mac": "Mac", "desk.local": "desk"}


def test_models_that_it_deleted_are_told_by_what_is_left() -> None:
    days = [old_row("daily", date=date(2026, 1, day)) for day in (1, 2, 3)]
    projects = [old_row("projects", 4, date=date(2026, 1, day), project_id=SHOP) for day in (2, 3)]
    kept = ci.Usage(1, 1, 1, 1, 4, 0.5)
    old = ci.OldTables(
        [*days, *projects],
        {days[0].child_key: {"opus"}, **{day.child_key: {"opus", "haiku"} for day in days[1:]}},
        {projects[0].child_key: {"opus": kept}, projects[1].child_key: {"opus": ci.Usage(9, 1, 1, 1, 12, 0.5)}},
    )
    records, _ = ci.adopt_rows(old, ci.OldNames(ci.Privacy()), {}, NOW)
    # one model: all of it; as its projects say; and nobody knows
    assert [record.breakdowns for record in records["laptop"]["daily"]] == [{"opus": kept}, {"opus": kept}, {}]
    assert [record.models for record in records["laptop"]["daily"]] == [("opus",), ("haiku", "opus"), ("haiku", "opus")]
