"""--stats, --query, --compare, --export, budgets: what a user reads, against what ccusage says."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import re
import select
import subprocess
import sys
import zoneinfo
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import IMPORTER, ROOT, Machine, thorough
from rich.console import Console

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("statistics")  # one database for all of them


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Two machines of one user and one of another in one database."""
    home = tmp_path_factory.mktemp("statistics")
    machine = Machine(home, settings={"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"})
    sample_logs.write_logs(home, days=40, sessions_per_day=2, messages=8)
    machine.imported("--quiet")
    for settings in ({"MACHINE_NAME": "desk"}, {"MACHINE_NAME": "desk", "CCUSAGE_USER": "o'brien\\"}):
        told = machine.run("--quiet", **settings)  # may warn that one computer goes by two names
        assert told.returncode == 0, told.stderr
    return machine


def answer(machine: Machine, *arguments: str) -> Any:
    return json.loads(machine.imported("--query", *arguments, "--format", "json"))


def claude_cost(machine: Machine, since: date | None = None) -> float:
    days = machine.ccusage("claude", "daily")["daily"]
    return float(sum(day["totalCost"] for day in days if since is None or day["date"] >= str(since)))


def test_queries_are_listed_by_section_with_their_questions(imported: Machine) -> None:
    listed = json.loads(imported.imported("--query", "--format", "json"))
    assert len(listed) == len(ci.parse_queries(ci.own_file("queries.sql"))) >= 50
    assert {"Daily", "Models", "Projects", "Sessions", "Time", "Cache", "Blocks", "Forecasts"} < {
        row["section"] for row in listed
    }
    short = imported.imported("--query")
    assert all(name in short for name in [*(row["name"] for row in listed), "forecasts"])
    assert max(map(len, short.splitlines())) <= 80
    assert len(short.splitlines()) < 60
    found = imported.imported("--query", "forecast")
    assert "year_end" in found
    assert "cost_by_model" not in found


def test_one_answer_in_four_forms(imported: Machine) -> None:
    rows = answer(imported, "cost_by_source")
    assert [row["agent"] for row in rows] == ["claude", "codex"]
    assert rows[0]["cost"] == pytest.approx(3 * claude_cost(imported), abs=1e-6)
    in_csv = list(csv.DictReader(io.StringIO(imported.imported("--query", "cost_by_source", "--format", "csv"))))
    assert [float(row["cost"]) for row in in_csv] == [row["cost"] for row in rows]
    in_md = imported.imported("--query", "cost_by_source", "--format", "md").splitlines()
    assert in_md[0] == "| agent | cost | tokens | days\\_used |"
    assert len(in_md) == 4
    table = imported.imported("--query", "cost_by_source")
    assert f"${rows[0]['cost']:,.2f}" in table


def test_an_empty_answer_has_its_columns(imported: Machine) -> None:
    header = imported.imported("--query", "unpriced_models", "--source", "codex", "--format", "csv")
    assert header == "agent,model,tokens,first_day,last_day\n"
    assert answer(imported, "unpriced_models", "--source", "codex") == []
    assert "no rows" in imported.imported("--query", "unpriced_models", "--source", "codex")


@pytest.mark.parametrize(
    ("arguments", "error", "fix"),
    [
        (
            ["--stats", "--source", "Claude"],
            "--source: 'Claude' is not a source with stored usage",
            "did you mean claude?",
        ),
        (
            ["--query", "totals", "--machine", "xyz"],
            "--machine: 'xyz' is not a machine with stored usage",
            "known: desk",
        ),
        (["--compare", "week", "--user", "Ada"], "--user: 'Ada' is not a user with stored usage", "did you mean ada?"),
    ],
)
def test_a_name_that_is_not_stored_is_refused_with_those_that_are(
    imported: Machine, arguments: list[str], error: str, fix: str
) -> None:
    result = imported.run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {error}\nfix: {fix}")


def test_a_tunable_gets_another_value(imported: Machine) -> None:
    assert len(answer(imported, "daily_trend", "--param", "days=5")) == 5
    assert len(answer(imported, "daily_trend", "--param", "days=300")) == 300


@pytest.mark.parametrize(
    ("arguments", "said", "near"),
    [
        (["cost_by_modell"], "--query: 'cost_by_modell' is not a query's name", "cost_by_model"),
        (["daily_trend", "--param", "day=5"], "--param: 'day' is not a parameter of daily_trend", "days"),
        (["daily_trend", "--param", "days"], "--param: 'days' has no value", "--param days=VALUE"),
        (["daily_trend", "--days", "0"], "--days: '0' is not a number of days", "1 to 20000"),
    ],
)
def test_an_unknown_query_or_parameter_tells_the_nearest(
    imported: Machine, arguments: list[str], said: str, near: str
) -> None:
    result = imported.run("--query", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert near in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("declared", "sql", "tunables"),
    [
        ("days 1..90", "WITH 30 AS days SELECT days", {"days": "30"}),
        (
            "share 0..1, low -9..0",
            "WITH 0.5 AS share, -3 AS low, y AS (SELECT 1) SELECT 2",
            {"share": "0.5", "low": "-3"},
        ),
        (
            "unit cost|tokens, n 1..9",
            "WITH 'cost' AS unit, 7 AS n,\nx AS (SELECT 9 AS m) SELECT 1",
            {"unit": "cost", "n": "7"},
        ),
        ("", "SELECT 1 AS days", {}),
    ],
)
def test_tunables_are_the_literals_at_the_top(declared: str, sql: str, tunables: dict[str, str]) -> None:
    assert {name: tunable.default for name, tunable in ci.read_tunables(sql, declared).items()} == tunables


def test_a_bound_parameter_has_the_literals_type() -> None:
    sql = (
        "WITH 30 AS days, 'x' AS unit, 0.5 AS share, 'UTC' AS zone, toDate(now(zone)) AS today SELECT days, 30 AS other"
    )
    tunables = ci.read_tunables(sql, "days 1..90, unit x|o, share 0..9")
    query = ci.Query("q", "s", "?", sql, ci.Shown("table", "Q", ()), tunables)
    statement, values = query.bound(
        {"days": "7", "unit": "o", "share": "2", "zone": "Asia/Tokyo", "today": "2026-10-05"}
    )
    assert statement == (
        "WITH {days:Int64} AS days, {unit:String} AS unit, {share:Float64} AS share, {zone:String} AS zone, "
        "{today:Date} AS today SELECT days, 30 AS other"
    )
    assert values == {"days": 7, "unit": "o", "share": 2.0, "zone": "Asia/Tokyo", "today": date(2026, 10, 5)}


@pytest.mark.parametrize(
    ("name", "param", "accepted"),
    [
        ("most_expensive_days", "top=-1", "a whole number from 1 to 1000000"),
        ("most_expensive_days", "top=1.5", "a whole number from 1 to 1000000"),
        ("daily_trend", "days=many", "a whole number from 1 to 20000"),
        ("daily_trend", "days=30000", "a whole number from 1 to 20000"),
        ("cache_savings", "cache_hit=nan", "a number from 0 to 10"),
        ("models_compared", "period=decade", "one of day, week, month, year"),
        ("hours_of_day", "zone=Mars/Base", "an IANA time zone such as Europe/Berlin"),
        ("month_end", "today=2026-13-01", "a day such as 2026-11-21, from 1972 to 2099"),
    ],
)
def test_a_value_that_a_tunable_does_not_accept(
    clean_environment: object, capsys: pytest.CaptureFixture[str], name: str, param: str, accepted: str
) -> None:
    assert ci.main(["--query", name, "--param", param]) == 2
    parameter, _, value = param.partition("=")
    assert capsys.readouterr().err == (
        f"error: --param {parameter}: {value!r} is not {accepted}\nfix: set --param {parameter} to {accepted}\n"
    )


def test_everything_can_be_narrowed(imported: Machine) -> None:
    whole = 3 * claude_cost(imported)
    assert answer(imported, "totals", "--machine", "laptop", "--source", "claude")[0]["cost"] == pytest.approx(
        whole / 3
    )
    assert answer(imported, "totals", "--user", "o'brien\\", "--source", "claude")[0]["cost"] == pytest.approx(
        whole / 3
    )
    assert answer(imported, "totals", "--user", "ada", "--source", "claude")[0]["cost"] == pytest.approx(whole * 2 / 3)
    since = date.fromisoformat(answer(imported, "heatmap")[-1]["date"]) - timedelta(days=6)
    week = answer(imported, "totals", "--days", "7", "--source", "claude", "--machine", "laptop")[0]["cost"]
    assert week == pytest.approx(claude_cost(imported, since))
    by_model = answer(imported, "cost_by_model", "--days", "7", "--machine", "laptop", "--source", "claude")
    assert sum(row["cost"] for row in by_model) == pytest.approx(week)
    stats = imported.imported("--stats", "--days", "7", "--machine", "laptop")
    assert "only      machine laptop, the last 7 days\n" in stats


def test_statistics_say_what_the_queries_say(imported: Machine) -> None:
    stats = imported.imported("--stats", "--all")
    total, month = answer(imported, "totals")[0], answer(imported, "month_end")[0]
    streaks = answer(imported, "streaks")[0]
    flat = re.sub(r" +", " ", stats)
    for said in (
        f"\ncost ${total['cost']:,.2f}\n",
        f"\ndays with usage {total['days_with_usage']}\n",
        f"\ncurrent streak {streaks['current_streak']}\n",
        f"\nforecast ${month['forecast']:,.2f}\n",
        *("\nTop models\n", "\nCost by hour of the day, UTC", "\nFavourite models by tokens in 90 days\n", "\nMonday "),
    ):
        assert said in flat, said
    for said in (f"${total['cost']:,.2f} ", f"forecast ${month['forecast']:,.2f}", "▁", "█"):
        assert said in imported.imported("--stats"), said


@pytest.fixture(scope="module")
def parts(imported: Machine) -> list[ci.Part]:
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(imported.db_path), "CCUSAGE_USER": "ada"}, options)
    store, _ = ci.open_ready_store(config, make_schema=False)
    assert store is not None
    try:
        selection, audience = ci.selected(config, options, "UTC", ci.Screen(quiet=True, verbose=False))
        answers = ci.fetch_statistics(store, selection, ci.PLACES)
        every = [
            ci.draw_answer(ci.ask_query(store, query), audience)
            for query in ci.parse_queries(ci.own_file("queries.sql")).values()
        ]
        return [*every, *ci.draw_screen(answers, selection, audience, everything=True)]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("width", "colour"),
    [
        (60, None),
        (80, None),
        (120, "truecolor"),
        (200, None),
        *thorough((60, "truecolor"), (80, "truecolor"), (120, None), (200, "truecolor")),
    ],
)
def test_it_fits_the_terminal(parts: list[ci.Part], width: int, colour: Any) -> None:
    text = io.StringIO()
    console = Console(width=width, file=text, color_system=colour, force_terminal=colour is not None)
    ci.render_parts(console, parts)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()).splitlines()
    assert [line for line in lines if len(line) > width] == []
    assert any("Top models" in line for line in lines)
    assert ("\x1b[" in text.getvalue()) is (colour is not None)
    if colour is None:  # without colours the shapes tell the levels apart
        assert all(shape in text.getvalue() for shape in ci.HEAT_SHAPES)
    if width == 80:  # nothing of a number is cut: what is shortened is a name
        assert not re.search(
            r"[\d$%]…", "\n".join(line for line in lines if not re.search(r"[0-9a-f]{6,}-?[0-9a-f-]*…", line))
        )


def days_answer(costs: dict[date, float]) -> ci.Answer:
    query = ci.parse_queries(ci.own_file("queries.sql"))["heatmap"]
    return ci.Answer(query, [(day, day.isoweekday(), cost, 0, 0) for day, cost in costs.items()])


def test_a_heatmap_has_every_day_once_in_its_weekdays_line() -> None:
    days = {date(2026, 1, 1) + timedelta(days=number): float(number % 5) for number in range(365)}
    heatmap = ci.draw_heatmap(days_answer(days), ci.Audience(0))
    told = {
        cell[1]: (cell[0], weekday) for weekday, row in enumerate(heatmap.cells) for cell in row if cell is not None
    }
    assert told == {f"{day} ${cost:.2f}": (cost, day.weekday()) for day, cost in days.items()}
    assert [heatmap.level(cost) for cost in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0, 1, 2, 3, 4]


def test_this_month_beside_the_last(imported: Machine) -> None:
    compared = imported.imported("--compare", "month", "--machine", "laptop", "--source", "claude")
    [row] = [
        r
        for r in answer(imported, "periods_compared", "--machine", "laptop", "--source", "claude")
        if r["period"] == "month"
    ]
    assert re.search(rf"^month +{re.escape(ci.human_cost(row['cost']))} ", compared, re.MULTILINE)
    assert re.search(r"^opus-4 +\$", compared, re.MULTILINE)
    for period in ("day", "week", "year"):
        assert re.search(rf"^{period} +\$", imported.imported("--compare", period), re.MULTILINE)


# ---- export -------------------------------------------------------------------------------------------


def export(machine: Machine, path: Path, *arguments: str) -> str:
    machine.imported("--quiet", "--export", str(path), *arguments)
    return path.read_text(encoding="utf-8")


def test_export_json_has_what_the_queries_declare_and_full_numbers(imported: Machine, tmp_path: Path) -> None:
    told = json.loads(export(imported, tmp_path / "x.json", "--source", "claude"))
    assert told.keys() == {"format", "generated_at", "version", "zone", "today", "narrowed_to", "statistics"}
    nobody = dict.fromkeys(("since", "until", "machine", "user"))
    assert (told["format"], told["narrowed_to"]) == (2, {**nobody, "source": "claude"})
    queries = ci.parse_queries(ci.own_file("queries.sql"))
    assert told["statistics"].keys() == {name for name, query in queries.items() if query.shown.places} - {
        "budgets",
        "user_budgets",
    }
    for name, statistic in told["statistics"].items():
        shown = queries[name].shown
        assert statistic["kind"] == shown.kind
        assert statistic["question"] == queries[name].question
        assert statistic["columns"] == [
            {"name": column.name, "unit": column.unit, "optional": column.optional} for column in shown.columns
        ]
        assert all(list(row) == [column.name for column in shown.columns] for row in statistic["rows"])
    [total] = told["statistics"]["totals"]["rows"]
    assert total == answer(imported, "totals", "--source", "claude")[0]
    assert total["cost"] == round(total["cost"], 9) == pytest.approx(3 * claude_cost(imported), abs=1e-6)


def test_export_csv_is_the_days_for_a_spreadsheet(imported: Machine, tmp_path: Path) -> None:
    text = export(imported, tmp_path / "x.csv", "--days", "30", "--machine", "laptop")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [
        *("date", "agent", "machine_name", "user_name", "input_tokens", "output_tokens", "cache_creation_tokens"),
        *("cache_read_tokens", "total_tokens", "cost"),
    ]
    since = str(date.fromisoformat(answer(imported, "heatmap")[-1]["date"]) - timedelta(days=29))
    said = {
        (day["period"], agent["agent"]): (agent["totalTokens"], round(agent["totalCost"], 9))
        for day in imported.ccusage("daily", "--by-agent")["daily"]
        for agent in day["agents"]
        if day["period"] >= since
    }
    assert {(row["date"], row["agent"]): (int(row["total_tokens"]), float(row["cost"])) for row in rows} == said
    assert imported.imported("--export", "-", "--format", "csv", "--days", "30", "--machine", "laptop") == text


def test_export_md_and_svg(imported: Machine, tmp_path: Path) -> None:
    total = answer(imported, "totals")[0]
    text = export(imported, tmp_path / "x.md")
    assert f"| cost | ${total['cost']:,.2f} |" in text
    picture = export(imported, tmp_path / "x.svg")
    assert picture.startswith("<svg")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert f"${total['cost']:,.2f}" in picture.replace("&#160;", " ")


def test_names_from_outside_are_escaped_in_every_form() -> None:
    evil = "<script>alert(1)</script>|\x1b[31m"
    glance = ci.Glance(
        [ci.Line(20, evil, (evil, "9%", "$1"), share=1.0), ci.Line(30, evil, (evil,), series=(1.0, 2.0))]
    )
    heatmap = ci.Heatmap(evil, ("a",), ("b",), [[(1.0, evil)]])
    parts: list[ci.Part] = [ci.Table(evil, (ci.Column("name"), ci.Column("x", "#")), [(evil, "1")]), glance, heatmap]
    assert "\\|" in ci.markdown_parts(parts)
    text = io.StringIO()
    ci.render_parts(Console(file=text), parts)
    assert "\x1b" not in text.getvalue()


@pytest.mark.parametrize("name", ["x.pdf", "x", "missing/x.html"])
def test_export_to_what_cannot_be_written_is_exit_2(imported: Machine, tmp_path: Path, name: str) -> None:
    result = imported.run("--export", str(tmp_path / name))
    assert result.returncode == 2
    assert result.stderr.startswith("error: --export: ")


# ---- budgets ------------------------------------------------------------------------------------------


def test_budgets_of_the_user_over_all_machines(imported: Machine) -> None:
    month = answer(imported, "month_end", "--user", "ada")[0]
    spent, forecast = month["cost_so_far"], month["forecast"]
    good = {"CCUSAGE_BUDGET_MONTH": str(forecast + 1), "CCUSAGE_BUDGET_DAY": "1000"}
    said = imported.imported("--check-budget", **good)
    assert re.search(
        rf"^month +{re.escape(f'${forecast + 1:,.2f}')} +{re.escape(f'${spent:,.2f}')} ", said, re.MULTILINE
    )
    stats = imported.imported("--stats", **good)
    assert re.search(rf"^budget +{re.escape(f'${spent:,.2f}   of ${forecast + 1:,.2f} a month')}", stats, re.MULTILINE)
    assert len(stats.splitlines()) <= 24

    result = imported.run("--check-budget", "--quiet", CCUSAGE_BUDGET_MONTH=str(spent / 2))
    assert (result.returncode, result.stdout) == (4, "")
    assert f"is exceeded: ${spent:,.2f} are spent" in result.stderr
    if forecast > spent + 0.02:
        result = imported.run("--check-budget", CCUSAGE_BUDGET_MONTH=str((spent + forecast) / 2))
        assert result.returncode == 4
        assert f"the forecast for the month's end is ${forecast:,.2f}" in result.stderr


def test_check_budget_without_a_budget_is_exit_2(imported: Machine) -> None:
    result = imported.run("--check-budget")
    assert result.returncode == 2
    assert "CCUSAGE_BUDGET_DAY" in result.stderr
    assert imported.run("--check-budget", CCUSAGE_BUDGET_DAY="lots").returncode == 2


# ---- at the edges of a shell --------------------------------------------------------------------------


def test_the_readmes_queries_and_parameters_exist(imported: Machine) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Answers")[1].split("\n## ")[0]
    [block] = re.findall(r"```sh\n(.*?--query.*?)```", section, re.DOTALL)
    commands = re.findall(r"--query (\w+)(.*)", block)
    assert commands
    for name, rest in commands:
        imported.imported("--query", name, *rest.split("#")[0].split())


def test_days_do_not_cut_short_what_has_periods_of_its_own(imported: Machine) -> None:
    for name in ("month_end", "periods_compared"):
        assert answer(imported, name, "--days", "2") == answer(imported, name)
    assert answer(imported, "totals", "--days", "2") != answer(imported, "totals")


@pytest.mark.parametrize("arguments", [["--query"], [], *thorough(["--stats"], ["--compare", "month"], ["--check"])])
def test_a_reader_that_leaves_and_a_full_disk(imported: Machine, arguments: list[str]) -> None:
    command = [sys.executable, str(IMPORTER), *arguments]
    line = " ".join(f"'{word}'" for word in command)
    environment = imported.environment()
    left = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} | head -1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (left.returncode, left.stderr) == (0, "")
    full = subprocess.run(
        ["bash", "-c", f"{line} >/dev/full"], env=environment, capture_output=True, text=True, check=False
    )
    assert (
        full.stderr
        == "error: the output cannot be written: No space left on device\nfix: make room, or write elsewhere\n"
    )
    assert full.returncode == 1
    closed = subprocess.run(["bash", "-c", f"{line} >&-"], env=environment, capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_reader_that_left_before_the_screen_is_drawn_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler of the log could not deliver still waits in stdout, and rich would end the process by it."""
    reading, writing = os.pipe()
    os.close(reading)
    stdout = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", stdout)
    screen = ci.Screen(quiet=False, verbose=False)
    stdout.write("a line of the log")
    screen.show([ci.Table("Usage", (ci.Column("what"),), [("that",)])])
    with pytest.raises(BrokenPipeError):
        stdout.close()
    monkeypatch.undo()
    ci.Screen(quiet=True, verbose=False)  # the log goes to this process's stdout again


def test_an_encoding_that_lacks_the_shapes(imported: Machine) -> None:
    command = ["script", "-qec", f"{sys.executable} {IMPORTER} --stats", "/dev/null"]
    environment = imported.environment(PYTHONIOENCODING="ascii", NO_COLOR="1", TERM="xterm", COLUMNS="100")
    screen = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert screen.isascii()
    assert b"####" in screen
    assert b"Traceback" not in screen


def test_without_colour_the_shapes_tell_the_levels(imported: Machine) -> None:
    command = ["script", "-qec", f"{sys.executable} {IMPORTER} --stats --all", "/dev/null"]
    environment = imported.environment(NO_COLOR="1", TERM="xterm", COLUMNS="100")
    screen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(shape in screen for shape in ci.HEAT_SHAPES)


# ---- names for people -----------------------------------------------------------------------------------


def test_names_are_for_this_machines_terminal_and_for_who_asks(imported: Machine, tmp_path: Path) -> None:
    file = imported.home / ".local" / "state" / "ccusage-importer" / "names.json"
    assert file.stat().st_mode & 0o777 == 0o600
    names = json.loads(file.read_text("utf-8"))
    assert set(names["names"].values()) == set(sample_logs.PROJECTS)
    stored = {path: name for name, path in names["names"].items()}
    piped = imported.imported("--stats", "--all")
    assert stored["/home/dev/code/webshop"] in piped
    assert "webshop" not in piped
    names["aliases"] = {stored["/home/dev/notes"]: "my notes"}
    file.write_text(json.dumps(names), "utf-8")
    assert "webshop" in imported.imported("--stats", "--all", "--names")
    asked = json.loads(imported.imported("--query", "cost_by_project", "--names", "--format", "json"))
    assert {row["project"] for row in asked} == {"webshop", "billing-api", "データ", "café-münchen", "my notes"}
    assert "webshop" not in export(imported, tmp_path / "x.html")
    assert "webshop" in export(imported, tmp_path / "x.html", "--names")
    shown = subprocess.run(
        ["script", "-qec", f"{sys.executable} {IMPORTER} --query cost_by_project", "/dev/null"],
        env=imported.environment(TERM="xterm", COLUMNS="80"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(name in shown for name in ("webshop", "my notes"))
    file.write_text("{", "utf-8")
    broken = imported.run("--stats", "--names")
    assert broken.returncode == 0
    assert "names.json cannot be read" in broken.stderr


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["/a/shop"], ["shop"]),
        (["/a/shop", "/b/shop", "/b/api"], ["a/shop", "b/shop", "api"]),
        (["/x/a/shop", "/y/a/shop"], ["x/a/shop", "y/a/shop"]),
        (["/shop", "/a/shop"], ["shop", "a/shop"]),
        (["/"], ["/"]),
    ],
)
def test_a_name_is_as_long_as_is_needed_to_tell_it_from_others(
    tmp_path: Path, paths: list[str], shown: list[str]
) -> None:
    config = ci.read_config({"XDG_STATE_HOME": str(tmp_path), "CCUSAGE_USER": "ada"}, ci.make_parser().parse_args([]))
    ci.write_names(config, {str(number): path for number, path in enumerate(paths)}, [])
    assert list(ci.shown_names(config).values()) == shown


@pytest.mark.parametrize(
    ("model", "short"),
    [
        ("claude-opus-4-1-20250805", "opus-4.1"),
        ("claude-opus-4-20250514", "opus-4"),
        ("claude-3-5-haiku-20241022", "haiku-3.5"),
        ("claude-sonnet-4-5", "sonnet-4.5"),
        ("claude-haiku-4-5-20251001", "haiku-4.5"),
        ("claude-3-opus-20240229", "opus-3"),
        ("anthropic/claude-sonnet-4-5@20250929", "sonnet-4.5"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "sonnet-4-v1:0"),
        ("claude-opus-4-6-fast", "opus-4.6-fast"),
        ("gpt-5-codex", "gpt-5-codex"),
        ("claude", "claude"),
    ],
)
def test_models_have_short_names(model: str, short: str) -> None:
    assert ci.short_model(model) == short


def test_two_models_that_would_read_alike_keep_their_names() -> None:
    query = ci.parse_queries(ci.own_file("queries.sql"))["cost_by_model"]
    names = ["claude-opus-4-20250514", "claude-opus-4-20250601", "claude-sonnet-4-20250514"]
    texts = ci.cell_texts(ci.Answer(query, [(name, 1.0, 1, 1) for name in names]), ci.Audience(0))
    assert [text[0] for text in texts] == [*names[:2], "sonnet-4"]


# ---- narrowing: every number is one of the narrowed rows ------------------------------------------------


def dearest_first(costs: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(costs.items(), key=lambda item: (-item[1], item[0]))


@dataclass
class Window:
    """What ccusage says of the days from `since` to `until`, counted without the importer."""

    machine: Machine
    since: date
    until: date

    def holds(self, day: str) -> bool:
        return str(self.since) <= day[:10] <= str(self.until)

    @cached_property
    def days(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.machine.ccusage("daily", "--by-agent")["daily"]
        return [(r["period"], a["agent"], a) for r in rows for a in r["agents"] if self.holds(r["period"])]

    @cached_property
    def costs(self) -> dict[str, float]:
        """By day, days off included."""
        every = [str(self.since + timedelta(days=n)) for n in range((self.until - self.since).days + 1)]
        return {day: sum(row["totalCost"] for on, _, row in self.days if on == day) for day in every}

    @cached_property
    def by_model(self) -> dict[str, float]:
        costs: dict[str, float] = defaultdict(float)
        for _, _, row in self.days:
            for part in row["modelBreakdowns"]:
                costs[part["modelName"]] += part["cost"]
        return dict(costs)

    @cached_property
    def by_project(self) -> dict[str, float]:
        projects = self.machine.ccusage("claude", "daily", "--instances")["projects"]
        costs = {name: sum(r["totalCost"] for r in rows if self.holds(r["date"])) for name, rows in projects.items()}
        return {hashlib.sha256(name.encode()).hexdigest()[:8]: cost for name, cost in costs.items() if cost}

    @cached_property
    def by_agent(self) -> dict[str, float]:
        agents = {agent for _, agent, _ in self.days}
        return {name: sum(row["totalCost"] for _, agent, row in self.days if agent == name) for name in agents}

    @cached_property
    def session_costs(self) -> list[float]:
        rows = self.machine.ccusage("claude", "session")["sessions"]
        rows += [row for row in self.machine.ccusage("session")["session"] if row["agent"] != "claude"]
        return [r["totalCost"] for r in rows if self.holds(r.get("lastActivity") or r["metadata"]["lastActivity"])]

    @cached_property
    def blocks(self) -> list[dict[str, Any]]:
        rows = self.machine.ccusage("blocks")["blocks"]
        return [row for row in rows if not row["isGap"] and self.holds(row["startTime"])]


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(same(found[key], value) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else found == expected)


@pytest.mark.parametrize("is_past", [False, True], ids=["last-days", "since-until"])
def test_every_narrowed_number_is_one_of_the_narrowed_rows(imported: Machine, is_past: bool) -> None:
    today = datetime.now(timezone.utc).date()
    until = today - timedelta(days=10) if is_past else today
    window = Window(imported, until - timedelta(days=11), until)
    flags = ["--since", str(window.since), "--until", str(until)] if is_past else ["--days", "12"]
    flags += ["--machine", "laptop"]
    told = json.loads(imported.imported("--export", "-", "--format", "json", *flags))
    found = {name: statistic["rows"] for name, statistic in told["statistics"].items()}
    total = sum(window.costs.values())
    used = {day: cost for day, cost in window.costs.items() if cost}
    average = total / len(used)

    # what is about a period of its own is left out, not cut
    queries = ci.parse_queries(ci.own_file("queries.sql"))
    assert found.keys() == {
        name for name, query in queries.items() if query.shown.places and not query.shown.own_period
    }

    def column(name: str, *columns: str) -> list[Any]:
        return [tuple(row[c] for c in columns) if len(columns) > 1 else row[columns[0]] for row in found[name]]

    [totals] = found["totals"]
    tokens = sum(row["totalTokens"] for _, _, row in window.days)
    days_between = (date.fromisoformat(max(used)) - date.fromisoformat(min(used))).days + 1
    assert same(
        {name: totals[name] for name in ("cost", "tokens", "first_day", "days_with_usage", "days_between")},
        {
            **{"cost": total, "tokens": tokens, "first_day": min(used), "days_with_usage": len(used)},
            "days_between": days_between,
        },
    )
    shares = {model: (cost, 100 * cost / total) for model, cost in window.by_model.items()}
    all_projects = sum(window.by_project.values())
    by_weekday = [
        sum(cost for day, cost in used.items() if date.fromisoformat(day).isoweekday() == number)
        for number in range(1, 8)
    ]
    hours = [sum(b["costUSD"] for b in window.blocks if int(b["startTime"][11:13]) == hour) for hour in range(24)]
    dearest = sorted(used.items(), key=lambda item: (-item[1], item[0]))
    in_order = sorted(used.values())
    sent = sum(r["inputTokens"] + r["cacheCreationTokens"] + r["cacheReadTokens"] for _, _, r in window.days)
    for name, columns, expected in (
        ("daily_trend", ("date", "cost"), list(window.costs.items())),
        ("heatmap", ("date", "cost"), list(window.costs.items())),
        ("cost_by_model", ("model", "cost"), dearest_first(window.by_model)),
        (
            "model_share",
            ("model", "cost", "cost_percent"),
            [(m, *shares[m]) for m, _ in dearest_first(window.by_model)],
        ),
        ("cost_by_project", ("project", "cost"), dearest_first(window.by_project)),
        (
            "project_share",
            ("project", "percent"),
            [(p, 100 * c / all_projects) for p, c in dearest_first(window.by_project)],
        ),
        ("cost_by_source", ("agent", "cost"), dearest_first(window.by_agent)),
        ("agent_share", ("agent", "percent"), [(a, 100 * c / total) for a, c in dearest_first(window.by_agent)]),
        ("machine_share", ("machine_name", "cost", "percent"), [("laptop", total, 100.0)]),
        ("cost_by_machine", ("machine_and_user", "cost"), [("laptop ada", total)]),
        ("days_of_week", ("cost",), by_weekday),
        ("hours_of_day", ("hour", "cost"), list(enumerate(hours))),
        ("most_expensive_days", ("date", "cost", "times_average"), [(d, c, c / average) for d, c in dearest[:10]]),
        ("typical_day", ("average_cost", "highest_cost"), [(average, in_order[-1])]),
        ("session_totals", ("sessions", "highest_cost"), [(len(window.session_costs), max(window.session_costs))]),
        (
            "token_kinds",
            ("tokens",),
            [
                sum(r[f"{kind}Tokens"] for _, _, r in window.days)
                for kind in ("input", "output", "cacheCreation", "cacheRead")
            ],
        ),
        ("cache_hit_ratio", ("hit_percent",), [100 * sum(r["cacheReadTokens"] for _, _, r in window.days) / sent]),
        ("typical_block", ("blocks", "highest_cost"), [(len(window.blocks), max(b["costUSD"] for b in window.blocks))]),
        (
            "usage_by_day",
            ("date", "agent", "cost"),
            sorted((day, agent, row["totalCost"]) for day, agent, row in window.days),
        ),
    ):
        rows = column(name, *columns)[: len(expected)] if name == "token_kinds" else column(name, *columns)
        assert same(rows, expected), name

    screen = imported.imported("--stats", *flags)
    highest = max(window.costs, key=window.costs.__getitem__)
    day = date.fromisoformat(highest)
    said = re.search(r"^12 days +[▁▂▃▄▅▆▇█]{12}   (.*)$", screen, re.MULTILINE)
    assert said is not None, screen
    assert said[1] == f"${total / 12:,.2f} a day, ${window.costs[highest]:,.2f} on {day.day} {day:%b}"
    assert f"   ${total:,.2f}   " in screen
    assert not re.search(r"^(month|week|today|block|budget)", screen, re.MULTILINE)


def test_as_of_a_day_the_month_is_that_days(imported: Machine) -> None:
    today = datetime.now(timezone.utc).date()
    until = today - timedelta(days=12)
    window = Window(imported, until.replace(day=1), until)
    flags = ["--until", str(until), "--machine", "laptop"]
    told = json.loads(imported.imported("--export", "-", "--format", "json", *flags))["statistics"]
    month = {row["period"]: row for row in told["periods_compared"]["rows"]}["month"]
    assert same(month["cost"], sum(window.costs.values()))
    assert same(told["month_end"]["rows"][0]["cost_so_far"], sum(window.costs.values()))
    assert told["heatmap"]["rows"][-1]["date"] == str(until)
    assert "active_blocks" not in told, "what runs now is not of that day"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stats", "--since", "2026-02-30"], "--since: '2026-02-30' is not a day such as 2026-11-21"),
        (
            ["--stats", "--since", "2026-02-03", "--until", "2026-02-01"],
            "--since 2026-02-03 is after --until 2026-02-01",
        ),
        (["--stats", "--since", "2026-02-03", "--days", "3"], "--days and --since both say where to begin"),
        (["--export", "-"], "--export - does not say in which format"),
        (["--query", "totals", "--format", "svg"], "--format of --query: 'svg' is not table or csv or json or md"),
        (["--all"], "--all belongs to --stats"),
        (["--watch", "0"], "--watch: '0' is not a number of seconds"),
        (["--watch"], "--watch needs a terminal"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    clean_environment: object, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert ci.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_hours_and_days_are_those_of_the_machines_zone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings={"CCUSAGE_TIMEZONE": "Asia/Kathmandu"})
    sample_logs.write_logs(tmp_path, days=4, sessions_per_day=2, messages=6)
    machine.imported("--quiet")
    unset = {"CCUSAGE_TIMEZONE": ""}  # it was fixed at the first import
    stats = json.loads(machine.imported("--export", "-", "--format", "json", **unset))
    zone = zoneinfo.ZoneInfo("Asia/Kathmandu")
    assert (stats["zone"], stats["today"]) == ("Asia/Kathmandu", str(datetime.now(zone).date()))
    assert stats["statistics"]["hours_of_day"]["title"] == "Cost by hour of the day, Asia/Kathmandu"
    costs = [0.0] * 24
    for block in machine.ccusage("blocks")["blocks"]:
        if not block["isGap"]:
            costs[datetime.fromisoformat(block["startTime"][:19] + "+00:00").astimezone(zone).hour] += block["costUSD"]
    assert same([row["cost"] for row in stats["statistics"]["hours_of_day"]["rows"]], costs)


def test_watch_imports_shows_and_ends_with_q(imported: Machine) -> None:
    import pty

    pid, master = pty.fork()
    if pid == 0:
        environment = imported.environment(TERM="xterm", COLUMNS="90", LINES="30")
        os.execve(sys.executable, [sys.executable, str(IMPORTER), "--watch", "60"], environment)
    printed = b""
    while b"q ends" not in printed:
        assert select.select([master], [], [], 60)[0], printed
        printed += os.read(master, 65536)
    lock = imported.db_path / "import.lock"
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held only while importing
    os.write(master, b"q")
    with contextlib.suppress(OSError):  # what a closed terminal says on Linux
        while part := os.read(master, 65536):
            printed += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())
    assert re.search(r"imported  now: .* rows: ", text)
    assert "next import in " in text


# ---- the kinds of drawing -------------------------------------------------------------------------------


def drawn(declared: str, rows: list[tuple[Any, ...]], width: int, top: int | None = None) -> list[str]:
    names = re.findall(r"(\w+)\??(?: [^,]+)?(?:,|$)", declared.partition("|")[2])
    sql = f"-- name: q\n-- why?\n-- shown: {declared}\nSELECT {', '.join(f'1 AS {name}' for name in names)};\n"
    audience = ci.Audience(
        datetime(2026, 11, 21, 12, tzinfo=timezone.utc).timestamp(), "Europe/Berlin", {"5a70caba": "webshop"}
    )
    part = ci.draw_answer(ci.Answer(ci.parse_queries(sql)["q"], rows), audience, top)
    text = io.StringIO()
    ci.render_parts(Console(width=width, file=text), [part])
    return [line.rstrip() for line in text.getvalue().rstrip().splitlines()]


def test_figures_are_a_line_each_and_none_where_there_is_no_value() -> None:
    assert drawn(
        'figures "A" | cost $, tokens ~, since day, at time',
        [(1234.5, 2_345_678, None, datetime(2026, 11, 1, 23, 30))],
        60,
    ) == [
        "A",
        "cost           $1,234.50",
        "tokens              2.3M",
        "at      2026-11-02 00:30",
    ]


def test_a_table_shortens_texts_then_drops_optional_columns_and_breaks_no_word() -> None:
    rows = [("0ab0482f-361b-4cff-a2fd-1234567890ab", "5a70caba", "laptop", 12.5, 90)]
    declared = 'table "A" | session_id id, project project, machine_name?, cost $, minutes min'
    assert drawn(declared, rows, 90) == [
        "A",
        "session id                            project  machine name    cost     minutes",
        "0ab0482f-361b-4cff-a2fd-1234567890ab  webshop  laptop        $12.50  1 h 30 min",
    ]
    assert drawn(declared, rows, 64) == [
        "A",
        "                                     machine",
        "session id                  project  name       cost     minutes",
        "0ab0482f-361b-4cff-a2fd-1…  webshop  laptop   $12.50  1 h 30 min",
    ]
    assert drawn(declared, rows, 40)[1:] == [
        "session id   project    cost     minutes",
        "0ab0482f-3…  webshop  $12.50  1 h 30 min",
    ]
    assert drawn(declared, rows, 30)[-1] == "0ab0482f-361…  webshop  $12.50"


def test_a_ranking_has_bars_and_says_how_many_there_are() -> None:
    rows = [("claude-opus-4-1-20250805", 80.0), ("gpt-5", 40.0), ("claude-3-5-haiku-20241022", 0.01)]
    assert drawn('ranking "Models" | model model, cost $', rows, 40, top=2) == [
        "Models (2 of 3)",
        "model       cost",
        "opus-4.1  $80.00  ██████████████████████",
        "gpt-5     $40.00  ███████████",
    ]


def test_a_comparison_has_signs_and_says_where_there_is_no_data() -> None:
    rows = [("week", 10.0, 20.0, -10.0, -50.0), ("month", 3.0, 0.0, 3.0, None), ("year", 30.0, None, None, None)]
    assert drawn('comparison "P" | period, cost $, cost_before $, change +$, change_percent +%', rows, 70) == [
        "P",
        "period    cost  cost before   change  change percent",
        "week    $10.00       $20.00  -$10.00            -50%",
        "month    $3.00        $0.00   +$3.00",
        "year    $30.00      no data",
    ]


def test_many_bars_stand_side_by_side_among_others_and_have_a_line_each_alone() -> None:
    rows = [(number, 0, 10.0 * (number % 5)) for number in range(10)]
    declared = 'bars "Hours" | hour hour, blocks #, cost $'
    assert drawn(declared, rows, 50, top=8) == [
        "Hours (at most $40.00, 04)",
        "$40.00             ██             ██",
        "                ▆▆ ██          ▆▆ ██",
        "             ▄▄ ██ ██       ▄▄ ██ ██",
        "          ▂▂ ██ ██ ██    ▂▂ ██ ██ ██",
        "     0    ██ ██ ██ ██    ██ ██ ██ ██",
        "       00 01 02 03 04 05 06 07 08 09",
    ]
    alone = drawn(declared, rows, 50)
    assert alone[2:4] == ["00         0   $0.00", "01         0  $10.00  ███████"]
    assert len(alone) == 12


def test_a_heatmap_of_two_columns_has_a_row_for_each_of_the_first() -> None:
    rows = [(weekday, hour, float(weekday * hour)) for weekday in (1, 7) for hour in (8, 9, 10)]
    assert drawn('heatmap "H" | weekday weekday, hour hour, cost $', rows, 40)[:4] == [
        "H",
        "        08  10",
        "Monday  ░ ░ ▒",
        "Sunday  ▓ ▓ █",
    ]


def test_the_one_screen_by_declaration_alone() -> None:
    sql = """
-- name: a
-- a?
-- shown: ranking "Models" in glance 20 | model model, cost $, percent %
-- glance: models
SELECT 1 AS model, 2 AS cost, 3 AS percent;
-- name: b
-- b?
-- shown: bars "Days" in glance 30 | date day, cost $
-- glance: {days} days
-- tunables: days 1..9
WITH 8 AS days SELECT 1 AS date, 2 AS cost;
-- name: c
-- c?
-- shown: figures "Today" in glance 38 | cost $, prompts #, failed #
-- glance: today | {cost} | {prompts} prompts[ ({failed} failed)]
SELECT 1 AS cost, 2 AS prompts, 3 AS failed;
-- name: d
-- d?
-- shown: table "Work" in glance 39 | lines #, tools #
-- glance: today | {lines} lines | {tools} tools
SELECT 1 AS lines, 2 AS tools;
"""
    queries = ci.parse_queries(sql)
    days = [(date(2026, 11, 1) + timedelta(days=number), float(number)) for number in range(8)]
    rows: dict[str, list[tuple[Any, ...]]] = {
        "a": [("claude-opus-4-20250514", 75.0, 75.0), ("gpt-5", 25.0, 25.0)],
        "b": days,
        "c": [(6.26, 1, None)],
        "d": [(1204, None)],
    }

    def screen(width: int, **changed: list[tuple[Any, ...]]) -> list[str]:
        answers = [ci.Answer(queries[name], {**rows, **changed}[name]) for name in rows]
        glance = ci.draw_glance(answers, ci.Audience(datetime(2026, 11, 21, tzinfo=timezone.utc).timestamp()))
        return [text.plain.rstrip() for text in ci.glance_text(glance, width)]

    assert screen(70) == [
        "models    opus-4  75%  $75.00  ██████████████████████████████",
        "          gpt-5   25%  $25.00  ██████████",
        "",
        "8 days    ▁▂▃▄▅▆▇█   $3.50 a day, $7.00 on 8 Nov",
        "today     $6.26   1 prompt   1,204 lines",
    ]
    assert screen(50)[0] == "models    opus-4  75%  $75.00  ██████████████████"
    assert screen(32)[:2] == ["models    opus-4  75%  $75.00", "          gpt-5   25%  $25.00"]
    assert screen(28)[0] == "models    opus-4  $75.00"
    assert screen(70, a=[], b=[], c=[(6.26, 2, 3)], d=[]) == ["today     $6.26   2 prompts (3 failed)"]
    assert screen(130)[0].endswith("8 days    ▁▂▃▄▅▆▇█   $3.50 a day, $7.00 on 8 Nov")
    assert [ci.Answer(queries["b"], [], {"days": days}).fill("{days} days") for days in (1, 21)] == ["1 day", "21 days"]


def test_every_table_is_narrowed() -> None:
    tables = [table for table in ci.declared_schema() if "machine_name" in table.columns]
    assert ci.DAY_OF.keys() == {table.name for table in tables}
    assert {*ci.OF_ALL_AGENTS} == {table.name for table in tables if "source" not in table.columns}


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"projects": None, "session": []},
        {"projects": {"projects": []}, "session": {"sessions": None}},
        {"projects": {"projects": {}}, "session": {"sessions": [None, {}, {"projectPath": 3}]}},
        {"projects": {"projects": {"\ud800\0/x": [], "../../etc": [], "x" * 5000: []}}},
    ],
)
def test_names_come_out_of_any_document(tmp_path: Path, documents: dict[str, Any]) -> None:
    fetched = ci.FetchedReports("20.0.24", "UTC", "m", "u", "2026-11-21T00:00:00+00:00", documents)
    config = ci.read_config({"XDG_STATE_HOME": str(tmp_path), "CCUSAGE_USER": "ada"}, ci.make_parser().parse_args([]))
    seen = ci.seen_names(fetched, ci.Privacy())
    ci.write_names(config, seen, [tmp_path])
    assert ci.shown_names(config).keys() == seen.keys()


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("$", -0.001, "$0.00"),
        ("+$", 0.001, "$0.00"),
        ("+$", -3.456, "-$3.46"),
        ("+%", -0.3, "0%"),
        ("+%", 12.5, "+12%"),
        ("min", 112, "1 h 52 min"),
        ("h", 44.5, "1 d 20 h"),
        ("B", 5_368_709, "5.4MB"),
        ("~", 999_960, "1.0M"),
    ],
)
def test_units_in_words(unit: str, value: float, text: str) -> None:
    assert ci.UNITS[unit](value, ci.Audience(0)) == text


def test_days_before_the_first_that_was_recorded_are_no_days_without_usage(tmp_path: Path) -> None:
    """On the one screen a mean and a sparkline begin with it; a selection's first day is its own."""
    machine = Machine(tmp_path / "home")
    until = datetime.now(timezone.utc).replace(hour=0, minute=0) - timedelta(hours=1)
    sample_logs.write_logs(machine.home, days=3, until=until)
    machine.imported("--quiet")
    days = dict(machine.query("SELECT toString(date), sum(total_cost) FROM ccusage_usage_daily FINAL GROUP BY date"))
    count = (date.today() - date.fromisoformat(min(days))).days + 1
    said = re.search(rf"^{count} days +[▁▂▃▄▅▆▇█]{{{count}}}   (\S+) a day", machine.imported("--stats"), re.MULTILINE)
    assert said is not None
    assert said[1] == f"${sum(days.values()) / count:,.2f}"
    assert re.search(r"^9 days ", machine.imported("--stats", "--days", "9"), re.MULTILINE)
    [trend] = json.loads(machine.imported("--query", "linear_trend", "--format", "json"))
    if count > 3:
        assert trend["cost_per_day_now"] > 0
