"""What Claude Code counts of each day itself, in its stats-cache.json: stored as activity, never as usage."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import Machine, Server

import ccusage_importer as ci

COLUMNS = "toString(date), source, machine_name, user_name, messages, sessions, tool_calls"


def write_counts(folder: Path, days: Sequence[Any]) -> None:
    """As Claude Code writes it, with what is not read of it."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "version": 2,
        "lastComputedDate": "2026-01-05",
        "dailyActivity": days,
        "dailyModelTokens": [{"date": "2026-01-05", "tokensByModel": {"claude-opus-4-20250514": 10**9}}],
        "modelUsage": {"claude-opus-4-20250514": {"inputTokens": 10**9, "costUSD": 1e6}},
        "longestSession": {"sessionId": "s", "duration": 1, "messageCount": 2, "timestamp": "2026-01-05T00:00:00Z"},
    }
    (folder / ci.ACTIVITY_FILE).write_text(json.dumps(told), encoding="utf-8")


def counted(day: date, messages: int, sessions: int = 3, tools: int = 45) -> dict[str, Any]:
    return {"date": str(day), "messageCount": messages, "sessionCount": sessions, "toolCallCount": tools}


def test_days_before_the_logs_are_activity_and_no_usage(machine: Machine, server: Server) -> None:
    machine.settings = {"MACHINE_NAME": "m", "CCUSAGE_USER": "ada"}
    today = datetime.now(timezone.utc).date()
    first, second, idle = (today - timedelta(days=days) for days in (80, 79, 78))
    with_logs = date.fromisoformat(machine.ccusage("claude", "daily")["daily"][-1]["date"])
    claude = machine.home / ".claude"
    write_counts(claude, [counted(first, 120), counted(second, 7), counted(with_logs, 9), counted(idle, 0, 0, 0)])
    machine.imported()
    tokens = {report: by_source["claude"][0] for report, by_source in machine.sums().items()}
    assert max(tokens.values()) < 10**9

    def row(day: date, messages: int) -> tuple[Any, ...]:
        return (str(day), "claude", "m", "ada", messages, 3, 45)

    expected = [row(first, 120), row(second, 7), row(with_logs, 9)]
    assert machine.rows("ccusage_activity", COLUMNS) == expected
    heatmap = {
        r["date"]: (r["messages"], r["cost"] > 0)
        for r in json.loads(machine.imported("--query", "heatmap", "--format", "json"))
    }
    assert {day: told for day, told in heatmap.items() if told[0]} == {
        str(first): (120, False),
        str(second): (7, False),
    }
    assert heatmap[str(with_logs)] == (0, True)
    alone = json.loads(machine.imported("--query", "days_before_logs", "--format", "json"))
    assert [(r["date"], r["messages"]) for r in alone] == [(str(second), 7), (str(first), 120)]

    # nothing new writes nothing, less never replaces more, one odd day costs one day
    write_counts(claude, [counted(first, 1), counted(second, 8), {"date": "/home/ada/secret", "messageCount": 1}])
    result = machine.run("--quiet")
    assert (result.returncode, result.stdout) == (3, "")
    assert "stats-cache.json: day 2: date is a text of 16 characters" in result.stderr
    assert "secret" not in result.stderr
    expected[1] = row(second, 8)
    assert machine.rows("ccusage_activity", COLUMNS) == expected
    (claude / ci.ACTIVITY_FILE).write_text('{"dailyActivity": [', encoding="utf-8")
    result = machine.run("--quiet")
    assert result.returncode == 3
    assert {report: by_source["claude"][0] for report, by_source in machine.sums().items()} == tokens
    assert "stats-cache.json" in result.stderr
    write_counts(claude, [counted(first, 120), counted(second, 8)])
    machine.imported()
    assert machine.query("SELECT count() FROM ccusage_activity") == [(4,)]
    drawn = machine.imported("--stats", "--all")
    assert drawn.count(ci.HEAT_MARK) == 3
    assert f"{ci.HEAT_MARK} messages alone" in drawn

    # brought to a server, where it is stored like conversations: if that is wanted
    served = Machine(machine.home, settings=machine.settings, server=server)
    served.imported("--push-local", CCUSAGE_CONVERSATIONS="true")
    assert served.rows("ccusage_activity", COLUMNS) == expected
    server.post(f"/?database={server.database}", "TRUNCATE TABLE ccusage_activity")
    served.imported("--quiet")
    assert served.rows("ccusage_activity", COLUMNS) == []


@pytest.mark.parametrize(
    ("document", "what"),
    [
        pytest.param([], "not a JSON object", id="no object"),
        pytest.param({"dailyActivity": None}, "dailyActivity is missing", id="no list"),
        pytest.param({"dailyActivity": {}}, "dailyActivity is {}", id="an object"),
    ],
)
def test_another_shape_is_told(document: Any, what: str) -> None:
    with pytest.raises(ci.ImporterError, match=re.escape(what)):
        ci.reshape_activity(document)


def test_an_odd_day_costs_one_day() -> None:
    day = date(2026, 1, 2)
    good = counted(day, 5)
    bad = [None, {**good, "date": "2999-01-01"}, {**good, "messageCount": -1}, {**good, "sessionCount": "3"}]
    days, odd = ci.reshape_activity({"dailyActivity": [*bad, {"date": str(day), "messageCount": 5.0}]})
    assert days == {day: (5, 0, 0)}
    assert len(odd) == len(bad)
    assert ci.reshape_activity({}) == ({}, [])


def test_two_folders_add_up_and_two_links_to_one_do_not(tmp_path: Path) -> None:
    day = date(2026, 1, 2)
    for name in ("one", "two"):
        write_counts(tmp_path / name, [counted(day, 5)])
    (tmp_path / "link").symlink_to(tmp_path / "one")
    folders = [tmp_path / name for name in ("one", "two", "link", "none")]
    assert ci.find_activity(folders) == ({day: (10, 6, 90)}, [])


def test_a_run_that_is_refused_stores_nothing_of_the_logs_and_no_activity(laptop: Machine) -> None:
    """The engine reads logs before it is known what may be stored."""
    before = laptop.everything()
    write_counts(laptop.home / ".claude", [counted(date(2026, 1, 5), 120)])
    assert laptop.run(CCUSAGE_TIMEZONE="Asia/Tokyo").returncode == ci.EXIT_USAGE
    assert laptop.everything() == before
    sample_logs.write_logs(laptop.home, days=1, seed=77, codex=False)
    assert laptop.run(CCUSAGE_TIMEZONE="Asia/Tokyo").returncode == ci.EXIT_USAGE
    assert laptop.everything() == before
    laptop.imported("--quiet")
    after = laptop.everything()
    assert {table for table in after if len(after[table]) > len(before[table])} >= {
        "ccusage_activity",
        "ccusage_log_files",
        "ccusage_messages",
    }
