"""dashboards/grafana.json: every query of it runs on the engine, with Grafana's macros and variables put in.

Grafana itself is not here. What it puts in is done as the documentation of its ClickHouse data source says.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from conftest import ROOT, Machine

import ccusage_importer as ci

DASHBOARD = json.loads((ROOT / "dashboards" / "grafana.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if "targets" in panel]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"}
ODD = "o'brien 🦀 </script>"
# What tells of something odd, of this moment, or of what the sample logs have not, has no row there.
MAY_BE_EMPTY = {"Imports that failed", "Running now"}


def row_of(panel: Mapping[str, Any]) -> str:
    """The title of the row that a panel stands in."""
    rows = [other for other in DASHBOARD["panels"] if other["type"] == "row"]
    title: str = max(
        (row["gridPos"]["y"], row["title"]) for row in rows if row["gridPos"]["y"] < panel["gridPos"]["y"]
    )[1]
    return title


def grafana(sql: str, since: datetime, until: datetime, chosen: Mapping[str, list[str]]) -> str:
    """The statement that Grafana would send; a variable that is not `chosen` has All."""

    def quoted(match: re.Match[str]) -> str:
        values = chosen.get(match[1], ["never sent"])
        return ",".join("'" + value.replace("'", "\\'") + "'" for value in values)

    def kept(match: re.Match[str]) -> str:
        return match[1] if match[2] in chosen else "1=1"

    sql = re.sub(r"\$__conditionalAll\((.+), \$(\w+)\)", kept, sql)
    sql = re.sub(r"\$\{(\w+):singlequote\}", quoted, sql)
    begin, end = f"toDateTime({since.timestamp():.0f})", f"toDateTime({until.timestamp():.0f})"
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {begin} AND \1 <= {end}", sql)
    sql = re.sub(
        r"\$__dateFilter\((\w+)\)", rf"\1 >= toDate('{since:%Y-%m-%d}') AND \1 <= toDate('{until:%Y-%m-%d}')", sql
    )
    sql = sql.replace("$__fromTime", begin).replace("$__toTime", end)
    assert "$" not in sql, sql
    return sql


pytestmark = pytest.mark.xdist_group("grafana")  # one database for all of them


@pytest.fixture(scope="module")
def ranges() -> tuple[datetime, datetime]:
    now = datetime.now(timezone.utc)
    return now - timedelta(days=400), now


@pytest.fixture(scope="module")
def filled(sample_home: Any, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Two machines of two people in one database."""
    place = str(tmp_path_factory.mktemp("grafana"))
    for user, name in (("ada", "laptop"), (ODD, "desk")):
        machine = Machine(sample_home, settings={"CCUSAGE_DB_PATH": place, "CCUSAGE_USER": user, "MACHINE_NAME": name})
        machine.imported("--quiet")
    # the sample logs hold no tools
    machine.query(
        """INSERT INTO ccusage_messages (message_id, kind, date, started_at, source, machine_name, user_name, model, waited_ms)
        SELECT number, ['response', 'prompt', 'interruption'][number % 3 + 1], yesterday(), yesterday(), 'claude', 'desk', 'ada',
            if(number % 3 = 0, 'a-slow-model', ''), 2500 FROM numbers(30)"""
    )
    machine.query(
        """INSERT INTO ccusage_tool_calls (tool_use_id, date, started_at, source, machine_name, user_name, tool, state, lines_added)
        SELECT number, yesterday(), yesterday(), 'claude', 'desk', 'ada', 'Edit', if(number < 3, 'error', 'ok'), 10
        FROM numbers(12)"""
    )
    return machine


def answers(
    machine: Machine, ranges: tuple[datetime, datetime], chosen: Mapping[str, list[str]], *titles: str
) -> dict[str, list[tuple[Any, ...]]]:
    """Of all panels, or of these."""
    panels = [panel for panel in PANELS if not titles or panel["title"] in titles]
    statements = [grafana(panel["targets"][0]["rawSql"], *ranges, chosen) for panel in panels]
    return dict(zip((panel["title"] for panel in panels), machine.queries(statements), strict=True))


def test_every_panel_answers_and_agrees_with_the_named_queries(
    filled: Machine, ranges: tuple[datetime, datetime]
) -> None:
    told = answers(filled, ranges, {})
    assert {title for title, rows in told.items() if not rows} <= MAY_BE_EMPTY
    named = {
        name: json.loads(filled.imported("--query", name, "--format", "json"))
        for name in ("totals", "cost_by_model", "cost_by_project", "session_totals", "month_end")
    }
    [total] = named["totals"]
    assert told["Cost"] == [(pytest.approx(total["cost"]),)]
    assert told["Tokens"] == [(total["tokens"],)]
    assert told["Days with usage"] == [(total["days_with_usage"],)]
    assert told["Sessions in all"] == [(named["session_totals"][0]["sessions"],)]
    assert told["This month"] == [(pytest.approx(named["month_end"][0]["cost_so_far"]),)]
    models = {row["model"]: pytest.approx(row["cost"]) for row in named["cost_by_model"]}
    assert {row[0]: row[1] for row in told["Models"]} == models
    projects = {row["project"]: pytest.approx(row["cost"]) for row in named["cost_by_project"]}
    assert {row[0]: row[1] for row in told["Projects"] if row[0] != "no project"} == projects
    for title in ("Cost by day and model", "Cost by day and person"):
        assert sum(row[2] for row in told[title]) == pytest.approx(total["cost"]), title
    assert [row[1:5] for row in told["Tools"] if row[0] == "Edit"] == [(12, 3, 25.0, 0)]
    assert ("a-slow-model", 10, 2.5, 2.5, 2.5) in told["Response times"]
    assert {row[1] for row in told["Expectations"]} == {0}
    assert [told[panel["title"]][0][0] for panel in PANELS if row_of(panel) == "Alerts"][:3] == [0, 0, 0]


def test_each_variable_narrows_and_offers_what_is_there(filled: Machine, ranges: tuple[datetime, datetime]) -> None:
    offered = {name: [row[0] for row in filled.query(variable["query"])] for name, variable in VARIABLES.items()}
    assert offered["user"] == ["ada", ODD]
    assert offered["agent"] == ["claude", "codex"]
    whole = answers(filled, ranges, {}, "Cost")
    one = answers(filled, ranges, {name: values[-1:] for name, values in offered.items()})
    for panel in PANELS:
        title, sql = panel["title"], panel["targets"][0]["rawSql"]
        if row_of(panel) == "Spending":
            assert re.findall(r"\$__conditionalAll\(\w+ IN \(\$\{(\w+):singlequote\}\), \$\1\)", sql) == [*VARIABLES], (
                title
            )
        elif row_of(panel) == "Alerts":
            assert "$" not in sql, "Grafana makes no alert rule of a query with variables"
    # codex tells no project: agent codex and a project together leave nothing
    assert one["Cost"] == [(0,)]
    chosen = {"user": [ODD], "agent": ["claude"]}
    part = answers(filled, ranges, chosen, "Cost", "People", "Last import by machine")
    assert 0 < part["Cost"][0][0] < whole["Cost"][0][0] / 2
    assert {row[0] for row in part["People"]} == {ODD}
    assert {row[1] for row in part["Last import by machine"]} == {ODD}


def test_its_expectations_are_those_of_the_named_queries() -> None:
    def words(sql: str) -> str:
        return " ".join(sql.split())

    for title in ("Expectations", "Expectations that do not hold"):
        [sql] = [panel["targets"][0]["rawSql"] for panel in PANELS if panel["title"] == title]
        told = re.findall(
            r"SELECT '(.*?)' AS expectation, count\(\) AS broken FROM \( (.*?) \) (?=UNION|\)|$)", words(sql)
        )
        queries = ci.parse_queries(ci.own_file("queries.sql")).values()
        assert told == [
            (q.question.replace("'", "''"), words(q.statement)) for q in queries if q.section == "Expectations"
        ], title


def test_the_dashboard_is_one_that_grafana_can_read() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in PANELS:
        [target] = panel["targets"]
        assert (
            target["datasource"]
            == panel["datasource"]
            == {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
        )
        is_series = panel["type"] == "timeseries"
        assert (target["format"], target["queryType"]) == ((0, "timeseries") if is_series else (1, "table"))
        assert not is_series or re.search(r" AS time\b[\s\S]*\nORDER BY time", target["rawSql"]), panel["title"]
    cells = [
        (panel["gridPos"]["y"] + line, panel["gridPos"]["x"] + column)
        for panel in panels
        for line, column in itertools.product(range(panel["gridPos"]["h"]), range(panel["gridPos"]["w"]))
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(column for _, column in cells) == 23
    required = {panel["id"] for panel in DASHBOARD["__requires"] if panel["type"] == "panel"}
    assert required == {panel["type"] for panel in panels} - {"row"}
