"""Schema and queries: every statement of the .sql files runs on the engine."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import ROOT, Machine, Server

import ccusage_importer as ci

SCHEMA = (ROOT / "ccusage_clickhouse_schema.sql").read_text(encoding="utf-8")
QUERIES = ci.parse_queries((ROOT / "queries.sql").read_text(encoding="utf-8"))
# What tells of something odd has no row where nothing is.
MAY_BE_EMPTY = {
    "projects_on_several_machines",
    "blocks_at_limit",
    "budgets",
    "days_to_budget",
    "unusual_days",
    "unusual_sessions",
    "unpriced_models",
    "days_missing",
    "days_before_logs",
    "imports_failed",
    "rows_kept",
    "new_users",
    "stopped_users",
    "user_budgets",
    "slow_queries",
}
# These are asked of a database with conversations in test_questions.py.
OF_CONVERSATIONS = ("Conversations", "Tools", "Files", "Expectations")
MAY_BE_EMPTY |= {query.name for query in QUERIES.values() if query.section in OF_CONVERSATIONS}
TABLES = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", SCHEMA)


def open_store(db_path: Path) -> ci.Store:
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(db_path), "CCUSAGE_USER": "ada", "MACHINE_NAME": "m"}, options)
    store, _ = ci.open_ready_store(config, make_schema=True)
    assert store is not None
    return store


def edges(tunable: ci.Tunable) -> tuple[str, str]:
    """The least and the largest value, or the first and the last word, that a tunable accepts."""
    if tunable.accepts == ci.TIME_ZONE:
        return "America/St_Johns", "Pacific/Chatham"
    if tunable.accepts == ci.DAY:
        return ("1972-01-01", "2099-12-31")
    values = tunable.accepts.replace("..", "|").split("|")
    return values[0], values[-1]


def test_every_query_runs_on_an_empty_database(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        for query in QUERIES.values():
            store.ask(query.statement)
        [totals] = ci.ask_query(store, QUERIES["totals"]).dicts()
        assert {name: value for name, value in totals.items() if value} == {}, "no days and no import, not 1970"
        for view in re.findall(r"CREATE VIEW IF NOT EXISTS (\w+)", SCHEMA):
            assert store.query(f"SELECT * FROM {view}") == []
        everything = ci.Selection(datetime.now(timezone.utc).date())
        answers = ci.fetch_statistics(store, everything, ci.PLACES)
        assert ci.draw_screen(answers, everything, ci.Audience(0), everything=True) == [
            ci.list_table("Usage", [("nothing stored", "no usage has been imported yet")])
        ]
        assert store.read_schema() == []
    finally:
        store.close()


def test_every_query_and_view_answers_on_a_filled_database(laptop: Machine) -> None:
    store = open_store(laptop.db_path)
    try:
        for query in QUERIES.values():
            assert store.ask(query.statement)[1] or query.name in MAY_BE_EMPTY, query.name
            for values in zip(*(edges(tunable) for tunable in query.tunables.values()), strict=True):
                bound = dict(zip(query.tunables, values, strict=True))
                for row in ci.ask_query(store, query, None, bound).rows:
                    assert not any(isinstance(value, float) and not math.isfinite(value) for value in row), (
                        query.name,
                        bound,
                    )
        for view in re.findall(r"CREATE VIEW IF NOT EXISTS (ccusage_v_\w+)", SCHEMA):
            assert store.query(f"SELECT * FROM {view}"), view
    finally:
        store.close()


def test_tables_are_those_of_the_reports_with_their_keys_and_comments(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        keys = dict(
            store.query(
                "SELECT name, sorting_key FROM system.tables WHERE database = 'ccusage' AND name IN {tables:Array(String)}",
                {"tables": TABLES},
            )
        )
        assert keys == {
            "ccusage_usage_daily": "date, source, machine_name, user_name",
            "ccusage_usage_monthly": "year, month_num, source, machine_name, user_name",
            "ccusage_usage_sessions": "session_id, source, machine_name, user_name",
            "ccusage_usage_blocks": "start_time, source, machine_name, user_name, block_id",
            "ccusage_usage_projects_daily": "date, source, machine_name, user_name, project_id",
            "ccusage_model_breakdowns": "record_type, source, machine_name, user_name, record_key, model_name",
            "ccusage_models_used": "record_type, source, machine_name, user_name, record_key, model_name",
            "ccusage_import_history": "import_timestamp, machine_name, user_name, import_id",
            "ccusage_messages": "message_id, source, machine_name, user_name",
            "ccusage_tool_calls": "tool_use_id, source, machine_name, user_name",
            "ccusage_log_files": "machine_name, user_name, source, file_id",
            "ccusage_activity": "date, source, machine_name, user_name",
            "ccusage_budgets": "user_name, period",
            "ccusage_forgotten": "machine_name, user_name, what, name, before",
        }
        without = store.query(
            "SELECT table, name FROM system.columns WHERE database = 'ccusage' AND table IN {tables:Array(String)} AND comment = ''",
            {"tables": TABLES},
        )
        assert without == []
    finally:
        store.close()


def test_every_query_has_a_question() -> None:
    assert all(query.question.endswith("?") for query in QUERIES.values())


def test_every_query_runs_on_the_oldest_engine(machine: Machine, tmp_path: Path, oldest_engine: str) -> None:
    server = Server(tmp_path / "server", python=oldest_engine)
    machine.server = server
    try:
        machine.imported("--quiet")
        for query in QUERIES.values():
            assert server.query(query.statement) or query.name in MAY_BE_EMPTY, query.name
    finally:
        server.stop()


def test_no_query_counts_twice() -> None:
    for query in QUERIES.values():
        reads = [
            (table, final)
            for table, final in re.findall(
                r"(?:FROM|JOIN) (ccusage_\w+|system\.\w+)(?: AS \w+)?( FINAL)?", query.statement
            )
            if table in TABLES
        ]
        assert reads or re.search(r"FROM (ccusage_(v|dim|fct|agg)_|system\.|merge\()", query.statement), query.name
        assert all(final for _, final in reads), query.name
        tables = [table for table, _ in reads]
        for table in ("ccusage_model_breakdowns", "ccusage_models_used"):
            if table in tables and query.name != "table_rows":
                assert len(re.findall(r"record_type !?= '", query.statement)) == tables.count(table), query.name
        if "ccusage_usage_blocks" in tables and query.name != "table_rows":
            assert query.statement.count("is_gap = 0") == tables.count("ccusage_usage_blocks"), query.name


def test_a_section_line_belongs_to_no_query() -> None:
    queries = ci.parse_queries(
        '-- section: A\n\n-- name: a\n-- one?\n-- shown: table "A" | x #\nSELECT 1 AS x;\n\n'
        '-- section: B\n\n-- name: b\n-- two?\n-- shown: table "B" | x #\nSELECT 2 AS x;\n'
    )
    assert [(query.section, query.question, query.statement) for query in queries.values()] == [
        ("A", "one?", "SELECT 1 AS x"),
        ("B", "two?", "SELECT 2 AS x"),
    ]


def test_a_declaration_says_kind_title_places_columns_and_words() -> None:
    query = ci.parse_queries(
        "-- name: a\n-- how\n--     many?\n"
        '-- shown: figures "A, b" of its own period in glance 30, stats | first $,\n--     second? +%\n'
        "-- glance: a | {first}[ or {second}]\n-- tunables: n 1..3\nWITH 2 AS n SELECT n AS first, n AS second;\n"
    )["a"]
    assert query.question == "how many?"
    columns = (ci.Column("first", "$"), ci.Column("second", "+%", True))
    words = ("a", "{first}[ or {second}]")
    assert query.shown == ci.Shown("figures", "A, b", columns, True, {"glance": 30, "stats": 0}, words)
    assert query.tunables.keys() == {"n"}


def test_every_declaration_names_the_columns_of_its_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        for query in QUERIES.values():
            described = store.query(f"DESCRIBE ({query.statement})")
            assert [column.name for column in query.shown.columns] == [row[0] for row in described], query.name
    finally:
        store.close()


SHOWN = '-- shown: table "A" | n #\n'


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (f"-- name: a\n{SHOWN}SELECT 1 AS n;\n-- name: a\nSELECT 2;\n", "queries.sql:4: a: not a new name"),
        ("-- name:\nSELECT 1;\n", "queries.sql:1: : not a new name"),
        ("\n-- name: a\nSELECT 1;\nSELECT 2;\n", "queries.sql:2: a: 2 statements"),
        ("-- name: a\n-- why?\n", "queries.sql:1: a: 0 statements"),
        ("-- name: a\nSELECT 1 AS n;\n", "queries.sql:1: a: write `-- shown: KIND"),
        ('-- name: a\n-- shown: pie "A" | n #\nSELECT 1 AS n;\n', "queries.sql:1: a: 'pie' is not a kind"),
        ('-- name: a\n-- shown: table "A" in hall | n #\nSELECT 1 AS n;\n', "a: 'hall' is not a place"),
        ('-- name: a\n-- shown: table "A" | n €\nSELECT 1 AS n;\n', "a: '€' is not a unit"),
        ('-- name: a\n-- shown: table "A" | m #\nSELECT 1 AS n;\n', "a: 'm' is not a column of the statement"),
        ('-- name: a\n-- shown: table "A" | a b c\nSELECT 1 AS n;\n', "a: 'a b c' is not a column with its unit"),
        ('-- name: a\n-- shown: bars "A" in glance | n #\nSELECT 1 AS n;\n', "a: `glance` needs its position"),
        (
            '-- name: a\n-- shown: table "A" in glance 3 | n #\nSELECT 1 AS n;\n',
            "a: in glance there is `-- glance: LABEL`",
        ),
        (f"-- name: a\n{SHOWN}-- glance: n | {{m}}\nSELECT 1 AS n;\n", "a: 'm' is not a column"),
        (
            f"-- name: a\n{SHOWN}WITH 1 AS n SELECT n;\n",
            "queries.sql:1: a: `-- tunables:` does not say what n accepts: LOW..HIGH",
        ),
        (
            f"\n-- name: a\n{SHOWN}-- tunables: n x|y\nWITH 1 AS n SELECT n;\n",
            "queries.sql:2: a: `-- tunables:` does not say what n",
        ),
        (
            f"-- name: a\n{SHOWN}-- tunables: n 2..3\nWITH 1 AS n SELECT n;\n",
            "queries.sql:1: a: n: '1' is not a whole number from 2 to 3",
        ),
        (
            f"-- name: a\n{SHOWN}-- tunables: n 1..3, m\nWITH 1 AS n SELECT n;\n",
            "queries.sql:1: a: `-- tunables:` names m, which is no",
        ),
    ],
)
def test_a_bad_query_file_is_refused_with_its_line(sql: str, said: str) -> None:
    with pytest.raises(ci.ImporterError) as caught:
        ci.parse_queries(sql)
    assert said in caught.value.what


def test_a_bad_query_file_is_one_error_of_each_command(laptop: Machine) -> None:
    bad = "own = ci.own_file\nci.own_file = lambda name: '-- name: x\\n' if name == 'queries.sql' else own(name)"
    for arguments in ([], ["--stats"]):
        result = laptop.run_patched(bad, *arguments)
        assert result.returncode == 1
        assert re.sub(r"(?m)^\S+ WARNING .*\n", "", result.stderr) == (
            "error: queries.sql:1: x: 0 statements, not one\nfix: the head of queries.sql says how\n"
        )
