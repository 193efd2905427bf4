"""Schema and queries: every statement of the .sql files runs on the engine."""

from __future__ import annotations

import re
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
    "unusual_days",
    "unusual_sessions",
    "unpriced_models",
    "days_against_projects",
    "days_missing",
    "imports_failed",
    "rows_kept",
}
TABLES = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", SCHEMA)


def open_store(db_path: Path) -> ci.Store:
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(db_path), "CCUSAGE_USER": "ada", "MACHINE_NAME": "m"}, options)
    store, _ = ci.open_ready_store(config, make_schema=True)
    assert store is not None
    return store


def test_every_query_runs_on_an_empty_database(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        for query in QUERIES.values():
            store.ask(query.statement)
        for view in re.findall(r"CREATE VIEW IF NOT EXISTS (\w+)", SCHEMA):
            assert store.query(f"SELECT * FROM {view}") == []
        sections = ci.render_statistics(ci.fetch_statistics(store), 0)
        assert sections == [ci.Section("Usage", ("", ""), [("nothing stored", "no usage has been imported yet")])]
        store.apply_schema()  # a second time changes nothing
    finally:
        store.close()


def test_every_query_and_view_answers_on_a_filled_database(machine: Machine) -> None:
    machine.imported("--quiet")
    store = open_store(machine.db_path)
    try:
        for query in QUERIES.values():
            assert store.ask(query.statement)[1] or query.name in MAY_BE_EMPTY, query.name
        for view in re.findall(r"CREATE VIEW IF NOT EXISTS (\w+)", SCHEMA):
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
        }
        without = store.query(
            "SELECT table, name FROM system.columns WHERE database = 'ccusage' AND table NOT LIKE 'ccusage_v_%' AND comment = ''"
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
        reads = re.findall(r"(?:FROM|JOIN) (ccusage_\w+)( FINAL)?", query.statement)
        assert reads, query.name
        assert all(final for _, final in reads), query.name
        tables = [table for table, _ in reads]
        for table in ("ccusage_model_breakdowns", "ccusage_models_used"):
            if table in tables and query.name != "table_rows":
                assert query.statement.count("record_type = '") == tables.count(table), query.name
        if "ccusage_usage_blocks" in tables and query.name != "table_rows":
            assert query.statement.count("is_gap = 0") == tables.count("ccusage_usage_blocks"), query.name


def test_a_section_line_belongs_to_no_query() -> None:
    queries = ci.parse_queries(
        "-- section: A\n\n-- name: a\n-- one?\nSELECT 1;\n\n-- section: B\n\n-- name: b\n-- two?\nSELECT 2;\n"
    )
    assert [(query.question, query.statement) for query in queries.values()] == [
        ("one?", "SELECT 1"),
        ("two?", "SELECT 2"),
    ]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n", "queries.sql:3: the name 'a'"),
        ("-- name:\nSELECT 1;\n", "queries.sql:1: the name ''"),
        ("\n-- name: a\nSELECT 1;\nSELECT 2;\n", "queries.sql:2: a has 2 statements"),
        ("-- name: a\n-- why?\n", "queries.sql:1: a has 0 statements"),
    ],
)
def test_a_bad_query_file_is_refused_with_its_line(sql: str, said: str) -> None:
    with pytest.raises(ci.ImporterError) as caught:
        ci.parse_queries(sql)
    assert said in caught.value.what
