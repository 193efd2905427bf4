"""--stats, --query, --compare, --export, budgets: what a user reads, against what ccusage says."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import IMPORTER, ROOT, Machine, missing_here
from rich.console import Console

import ccusage_importer as ci


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Two machines of one user and one of another in one database."""
    home = tmp_path_factory.mktemp("statistics")
    machine = Machine(home, settings={"MACHINE_NAME": "laptop", "CCUSAGE_USER": "ada"})
    sample_logs.write_logs(home, days=40, sessions_per_day=2, messages=8)
    machine.imported("--quiet")
    machine.imported("--quiet", MACHINE_NAME="desk")
    machine.imported("--quiet", MACHINE_NAME="desk", CCUSAGE_USER="o'brien\\")
    return machine


def answer(machine: Machine, *arguments: str) -> Any:
    return json.loads(machine.imported("--query", *arguments, "--format", "json"))


def claude_cost(machine: Machine, since: date | None = None) -> float:
    days = machine.ccusage("claude", "daily")["daily"]
    return float(sum(day["totalCost"] for day in days if since is None or day["date"] >= str(since)))


def test_queries_are_listed_by_section_with_their_questions(imported: Machine) -> None:
    listed = answer(imported)
    assert len(listed) == len(ci.parse_queries(ci.sql_file("queries.sql"))) >= 50
    assert {"Daily", "Models", "Projects", "Sessions", "Time", "Cache", "Blocks", "Forecasts"} < {
        row["section"] for row in listed
    }
    assert "cost_by_model" in imported.imported("--query")


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
    header = imported.imported("--query", "cost_by_source", "--source", "nobody", "--format", "csv")
    assert header == "agent,cost,tokens,days_used\n"
    assert answer(imported, "cost_by_source", "--source", "nobody") == []
    assert "no rows" in imported.imported("--query", "cost_by_source", "--source", "nobody")


def test_a_tunable_gets_another_value(imported: Machine) -> None:
    assert len(answer(imported, "daily_trend", "--param", "days=5")) == 5
    assert len(answer(imported, "daily_trend", "--param", "days=300")) == 300


@pytest.mark.parametrize(
    ("arguments", "said", "near"),
    [
        (["cost_by_modell"], "--query: 'cost_by_modell' is not a query's name", "cost_by_model"),
        (["daily_trend", "--param", "day=5"], "--param: 'day' is not a parameter of daily_trend", "days"),
        (["daily_trend", "--param", "days=many"], "--param days: 'many' is not a whole number", "--param days"),
        (["daily_trend", "--param", "days"], "--param: 'days' has no value", "--param days=VALUE"),
        (["daily_trend", "--days", "0"], "--days: '0' is not a number of days", "1 to 100000"),
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
    ("sql", "tunables"),
    [
        ("WITH 30 AS days SELECT days", {"days": "30"}),
        ("WITH 0.5 AS share, 'it''s' AS x, -3 AS low, y AS (SELECT 1) SELECT 2", {"share": "0.5"}),
        ("WITH 'a, b' AS name, 7 AS n,\nx AS (SELECT 9 AS m) SELECT 1", {"name": "'a, b'", "n": "7"}),
        ("SELECT 1 AS days", {}),
    ],
)
def test_tunables_are_the_literals_at_the_top(sql: str, tunables: dict[str, str]) -> None:
    assert ci.Query("q", "s", "?", sql).tunables == tunables


def test_a_bound_parameter_has_the_literals_type() -> None:
    query = ci.Query("q", "s", "?", "WITH 30 AS days, 'x' AS name, 0.5 AS share SELECT days, 30 AS other")
    statement, values = query.bound({"days": "7", "name": "o'b", "share": "2"})
    assert statement == (
        "WITH {days:Int64} AS days, {name:String} AS name, {share:Float64} AS share SELECT days, 30 AS other"
    )
    assert values == {"days": 7, "name": "o'b", "share": 2.0}


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
    assert "Usage of machine laptop, the last 7 days: cost: $" in stats
    assert "there is none of agent nobody" in imported.imported("--stats", "--source", "nobody")


def test_statistics_say_what_the_queries_say(imported: Machine) -> None:
    stats = imported.imported("--stats")
    total = answer(imported, "totals")[0]
    assert f"Usage: cost: ${total['cost']:,.2f}" in stats
    streaks = answer(imported, "streaks")[0]
    assert f"current streak: {streaks['current_streak']} days" in stats
    month = answer(imported, "month_end")[0]
    assert f"forecast for its end: ${month['forecast']:,.2f}" in stats
    for fact in (
        "busiest hour",
        "favourite model",
        "saved by the cache",
        "Days of the week: Monday",
        "Machines: laptop",
    ):
        assert fact in stats, fact


@pytest.fixture(scope="module")
def parts(imported: Machine) -> list[ci.Part]:
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(imported.db_path), "CCUSAGE_USER": "ada"}, options)
    store, _ = ci.open_ready_store(config, make_schema=False)
    assert store is not None
    try:
        return ci.render_statistics(ci.fetch_statistics(store), 0)
    finally:
        store.close()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("colour", [None, "truecolor"])
def test_it_fits_the_terminal(parts: list[ci.Part], width: int, colour: Any) -> None:
    text = io.StringIO()
    console = Console(width=width, file=text, color_system=colour, force_terminal=colour is not None)
    ci.print_parts(console, parts)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()).splitlines()
    assert max(len(line) for line in lines) <= width
    assert any("Top models" in line for line in lines)
    assert ("\x1b[" in text.getvalue()) is (colour is not None)
    if colour is None:  # without colours the shapes tell the levels apart
        assert all(shape in text.getvalue() for shape in ci.HEAT_SHAPES)


def test_a_heatmap_has_every_day_once_in_its_weekdays_line() -> None:
    days = {date(2026, 1, 1) + timedelta(days=number): float(number % 5) for number in range(365)}
    heatmap = ci.Heatmap("x", days)
    placed = [(day, weekday) for week in heatmap.weeks for weekday, day in enumerate(week) if day is not None]
    assert sorted(day for day, _ in placed) == sorted(days)
    assert all(day.weekday() == weekday for day, weekday in placed)
    assert [heatmap.level(cost) for cost in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0, 1, 2, 3, 4]


def test_this_month_beside_the_last(imported: Machine) -> None:
    compared = imported.imported("--compare", "month", "--machine", "laptop", "--source", "claude")
    [row] = [
        r
        for r in answer(imported, "periods_compared", "--machine", "laptop", "--source", "claude")
        if r["period"] == "month"
    ]
    assert f"month so far: this month ${row['cost']:,.2f}" in compared
    assert re.search(r"claude-opus-4-20250514: this month \$", compared)
    assert "this week" in imported.imported("--compare", "week")


# ---- export -------------------------------------------------------------------------------------------


def export(machine: Machine, path: Path, *arguments: str) -> str:
    machine.imported("--quiet", "--export", str(path), *arguments)
    return path.read_text(encoding="utf-8")


def test_export_json_and_csv_have_full_numbers(imported: Machine, tmp_path: Path) -> None:
    told = json.loads(export(imported, tmp_path / "x.json", "--days", "30"))
    assert told.keys() == {"format", "generated_at", "version", "narrowed_to", "statistics"}
    assert told["narrowed_to"] == {"days": 30, "machine": None, "user": None, "source": None}
    assert told["statistics"].keys() == {*ci.IMPORT_STATISTICS, *ci.MORE_STATISTICS}
    total = answer(imported, "totals", "--days", "30")[0]
    assert told["statistics"]["totals"][0]["cost"] == total["cost"]
    rows = list(csv.DictReader(io.StringIO(export(imported, tmp_path / "x.csv", "--days", "30"))))
    [cost] = [row["value"] for row in rows if (row["query"], row["column"]) == ("totals", "cost")]
    assert float(cost) == total["cost"]


def test_export_md_and_svg(imported: Machine, tmp_path: Path) -> None:
    total = answer(imported, "totals")[0]
    text = export(imported, tmp_path / "x.md")
    assert f"| cost | ${total['cost']:,.2f} |" in text
    picture = export(imported, tmp_path / "x.svg")
    assert picture.startswith("<svg")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert f"${total['cost']:,.2f}" in picture.replace("&#160;", " ")


@pytest.fixture(scope="module")
def chromium() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing_here("no Chromium on this machine to open the page in")
    return program


def test_export_html_opens_in_a_browser_without_a_complaint(imported: Machine, tmp_path: Path, chromium: str) -> None:
    """The figures are the database's; nothing is loaded from elsewhere; a phone does not scroll sideways."""
    page = export(imported, tmp_path / "x.html")
    assert not re.search(r"""(src|href)=|@import|url\(|https?:""", page)
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<iframe id="f" src="x.html" width="390" height="800"></iframe><script>'
        "f.onload = () => { const d = f.contentDocument.documentElement;"
        " document.title = `${d.scrollWidth} of ${d.clientWidth}: ${d.querySelectorAll('rect').length} days`;"
        " document.body.append(d.innerText) }</script>"
    )
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    command += ["--dump-dom", f"file://{frame}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    assert "CONSOLE" not in result.stderr, result.stderr
    title = re.search(r"<title>(\d+) of (\d+): (\d+) days</title>", result.stdout)
    assert title is not None, result.stdout[-500:]
    assert int(title[1]) <= int(title[2])
    assert int(title[3]) == 365
    total = answer(imported, "totals")[0]
    assert f"${total['cost']:,.2f}" in result.stdout
    assert "o'brien\\" in result.stdout
    for row in answer(imported, "cost_by_model"):
        assert row["model"] in result.stdout


def test_names_from_outside_are_escaped_in_every_form() -> None:
    evil = "<script>alert(1)</script>|\x1b[31m"
    section = ci.Section(evil, ("name", "x"), [(evil, "1")])
    page = ci.html_parts([section], evil)
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "\\|" in ci.markdown_parts([section])
    assert "\x1b" not in "".join(ci.part_lines([section]))


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
    assert f"Budget: month: limit ${forecast + 1:,.2f}, spent ${spent:,.2f}" in said
    assert "Budget: month" in imported.imported("--stats", **good)

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


def test_the_readmes_panels_run(imported: Machine) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Dashboards")[1].split("\n## ")[0]
    statements = ci.split_statements("\n".join(re.findall(r"```sql\n(.*?)```", section, re.DOTALL)))
    assert len(statements) == 5
    for statement in statements:
        assert imported.query(statement), statement
    named = re.findall(r"`([a-z_]+)` \(", section)
    assert len(named) == 5
    assert set(named) <= ci.parse_queries(ci.sql_file("queries.sql")).keys()


# ---- at the edges of a shell --------------------------------------------------------------------------


def test_the_readmes_queries_and_parameters_exist(imported: Machine) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Answers")[1].split("\n## ")[0]
    commands = re.findall(r"--query (\w+)(.*)", section)
    assert commands
    for name, rest in commands:
        imported.imported("--query", name, *rest.split("#")[0].split())


def test_days_do_not_cut_short_what_has_periods_of_its_own(imported: Machine) -> None:
    for name in ("month_end", "periods_compared"):
        assert answer(imported, name, "--days", "2") == answer(imported, name)
    assert answer(imported, "totals", "--days", "2") != answer(imported, "totals")


@pytest.mark.parametrize("arguments", [["--stats"], ["--compare", "month"], ["--check"], ["--query"], []])
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
    assert "Traceback" not in full.stderr
    assert full.stderr.startswith("error: the output cannot be written") or arguments == [], full.stderr
    assert full.returncode == (1 if arguments else full.returncode)


def test_without_colour_the_shapes_tell_the_levels(imported: Machine) -> None:
    command = ["script", "-qec", f"{sys.executable} {IMPORTER} --stats", "/dev/null"]
    environment = imported.environment(NO_COLOR="1", TERM="xterm", COLUMNS="100")
    screen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(shape in screen for shape in ci.HEAT_SHAPES)
