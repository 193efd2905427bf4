"""Where one machine or one version is not enough: a schema that grows, a push to a server, a cluster."""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sample_logs
from conftest import NEWEST, Machine, MakeOnce, Server, thorough

import ccusage_importer as ci

TABLES = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", ci.own_file("ccusage_clickhouse_schema.sql"))


def contents(machine: Machine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table as text, when it was last written aside."""
    statements = [f"SELECT toString(tuple(* EXCEPT updated_at)) FROM {table} FINAL ORDER BY 1" for table in TABLES]
    return dict(zip(TABLES, machine.queries(statements), strict=True))


@pytest.fixture(scope="session")
def grown_home(sample_home: Path, make_once: MakeOnce) -> Path:
    """A laptop with a history: two users, an update of ccusage, a clean-up."""

    def live(folder: Path) -> None:
        shutil.copytree(sample_home, folder / "home")
        machine = Machine(folder / "home", "18.0.11")
        machine.imported("--quiet", CCUSAGE_USER="ada")
        machine.delete_logs_before(days=30)
        machine.version = NEWEST
        machine.imported("--quiet", CCUSAGE_USER="ada")
        machine.imported("--quiet", CCUSAGE_USER="bob")

    return make_once("grown", live) / "home"


@pytest.fixture
def grown(grown_home: Path, tmp_path: Path) -> Machine:
    shutil.copytree(grown_home, tmp_path / "home", symlinks=True)
    return Machine(tmp_path / "home")


def push(machine: Machine, server: Server, *arguments: str, code: int = 0, **settings: str) -> str:
    result = machine.run("--push-local", *arguments, **{"CCUSAGE_CONVERSATIONS": "true", **server.settings, **settings})
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_push_brings_everything_and_can_be_repeated(grown: Machine, server: Server) -> None:
    local = contents(grown)
    said = push(grown, server)
    assert re.search(r"ada on \S+ +[1-9][\d,]* +0 +0 +0$", said, re.MULTILINE), said
    on_server = Machine(grown.home, settings=grown.settings, server=server)
    assert contents(on_server) == local

    before = server.get("/statements")
    said = push(grown, server)
    assert re.search(r"bob on \S+ +0 +0 +[1-9][\d,]* +0$", said, re.MULTILINE), said
    after = server.get("/statements")
    assert {kind: after[kind] - before.get(kind, 0) for kind in ("INSERT", "DELETE")} == {"INSERT": 0, "DELETE": 0}

    # imports go on there as if they had always gone there
    for user in ("ada", "bob"):
        on_server.imported("--quiet", CCUSAGE_USER=user)
    rows_new, rows_changed = server.query(
        "SELECT toInt64(arraySum(mapValues(rows_new))), toInt64(arraySum(mapValues(rows_changed)))"
        " FROM ccusage_import_history ORDER BY created_at DESC, import_timestamp DESC LIMIT 1"
    )[0]
    assert rows_new == 0
    assert rows_changed <= 1  # the active block


@pytest.mark.parametrize("skip", [2, *thorough(0, 5, 9)])
def test_an_interrupted_push_goes_on(grown: Machine, server: Server, skip: int) -> None:
    server.fail(
        {"kind": "exception", "code": 243, "text": "x (NOT_ENOUGH_SPACE)", "match": "INSERT", "skip": skip, "times": 99}
    )
    assert "make room" in push(grown, server, code=1)
    server.recover()
    push(grown, server)
    assert contents(Machine(grown.home, server=server)) == contents(grown)


def test_what_an_import_could_not_finish_is_pushed_too(grown: Machine, server: Server) -> None:
    """No import comes back to the embedded database once CH_HOST is set."""
    grown.settings = {"CCUSAGE_USER": "ada"}
    log = grown.home / ".claude" / "projects" / "-p" / "late.jsonl"
    sample_logs.say(grown.home, log.stem, datetime.now(timezone.utc) - timedelta(hours=9))
    assert (
        grown.run_patched("ci.Store.write_plans = lambda *_, **__: os.kill(os.getpid(), 9)", "--quiet").returncode < 0
    )
    log.unlink()
    push(grown, server, CCUSAGE_USER="ada")
    assert server.query("SELECT total_tokens FROM ccusage_usage_sessions FINAL WHERE session_id = 'late'") == [(100,)]
    assert not list(grown.home.rglob("pending/*"))


def test_push_never_shrinks_what_the_server_has(grown: Machine, server: Server) -> None:
    on_server = Machine(grown.home, settings={"CCUSAGE_USER": "bob"}, server=server)
    session = max((grown.home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    text = session.read_text(encoding="utf-8")
    session.write_text(text + text.replace('"requestId":"', '"requestId":"more_').replace('"id":"msg', '"id":"more'))
    on_server.imported("--quiet")  # the server has more of bob's day than the laptop
    before = on_server.sums("user_name = 'bob'")
    push(grown, server)
    after = on_server.sums("user_name = 'bob'")
    assert after["daily"]["claude"][0] == before["daily"]["claude"][0]


def test_push_to_a_database_of_a_persons_own(laptop: Machine, server: Server) -> None:
    """Where the embedded one has its usual name; of conversations nothing goes to a server unless that is set."""
    server.database = "ccusage_ada"
    said = push(laptop, server, CCUSAGE_CONVERSATIONS="")
    assert re.search(r" on \S+ +[1-9][\d,]* +0 +0 +0$", said, re.MULTILINE), said
    kinds = laptop.query("SELECT kind, count() FROM ccusage_messages FINAL GROUP BY kind ORDER BY kind")
    assert len(kinds) > 1
    served = server.query("SELECT kind, toUInt32(count()) FROM ccusage_messages FINAL GROUP BY kind")
    assert served == [(kind, count) for kind, count in kinds if kind == "response"]
    assert server.query("SELECT toUInt32(count()) FROM ccusage_tool_calls") == [(0,)]
    (total,) = laptop.query("SELECT sum(total_tokens) FROM ccusage_usage_daily FINAL")
    assert server.query("SELECT sum(total_tokens) FROM ccusage_usage_daily FINAL") == [total]


def test_push_without_a_server_or_without_data(machine: Machine, server: Server) -> None:
    result = machine.run("--push-local")
    assert result.returncode == 2
    assert "CH_HOST is not set" in result.stderr
    result = machine.run("--push-local", **server.settings)
    assert result.returncode == 1
    assert "nothing is stored in" in result.stderr


def test_push_into_rows_cut_by_another_zone_is_refused(laptop: Machine, server: Server) -> None:
    on_server = Machine(laptop.home, server=server)
    on_server.imported("--quiet", CCUSAGE_TIMEZONE="Asia/Tokyo")
    before = contents(on_server)
    assert "another timezone" in push(laptop, server, code=2)
    assert contents(on_server) == before


# ---- the schema grows by itself -----------------------------------------------------------------------

# What an older version has not made, what a newer one has, and a view that says something else.
AGED = (
    "ALTER TABLE ccusage_usage_daily DROP COLUMN models_count",
    "ALTER TABLE ccusage_usage_blocks DROP COLUMN `projection`, DROP COLUMN burn_rate",
    "ALTER TABLE ccusage_import_history DROP COLUMN rows_kept",
    "ALTER TABLE ccusage_usage_sessions ADD COLUMN mood String DEFAULT 'good' AFTER session_id",
    "DROP TABLE ccusage_models_used",
    "DROP VIEW ccusage_v_monthly_trends",
    "CREATE OR REPLACE VIEW ccusage_v_daily_summary AS SELECT date FROM ccusage_usage_daily"
    " COMMENT 'from ccusage_clickhouse_schema.sql, text 0123456789abcdef'",
    "CREATE TABLE ccusage_of_tomorrow (day Date) ENGINE = MergeTree ORDER BY day",
)
DEFINITIONS = (
    "SELECT table, name, type, comment, compression_codec FROM system.columns WHERE database = currentDatabase()"
    " AND table != 'ccusage_of_tomorrow' AND name != 'mood' ORDER BY table, position"
)
SESSIONS_AND_MODELS = (
    "SELECT (SELECT sum(total_tokens) FROM ccusage_usage_sessions FINAL),"
    " (SELECT count() FROM ccusage_models_used FINAL WHERE record_type = 'session')"
)
VIEWS = (
    "SELECT name, as_select, comment FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    " ORDER BY name"
)


def test_what_the_schema_file_has_and_a_database_lacks_is_added_at_the_next_import(
    machine: Machine, server: Server
) -> None:
    machine.server = server
    machine.imported("--quiet")
    made = machine.queries([DEFINITIONS, VIEWS])
    usage = machine.query(SESSIONS_AND_MODELS)
    before = server.get("/statements")
    machine.imported("--quiet")
    after = server.get("/statements")
    assert {kind for kind in after if after[kind] != before[kind]} <= {"SELECT", "INSERT", "DELETE", "WITH"}

    for statement in AGED:
        server.post(f"/?database={server.database}", statement)
    result = machine.run("--check", "--format", "json")
    assert "older than this version" in result.stdout
    machine.imported("--quiet")
    assert machine.queries([DEFINITIONS, VIEWS]) == made
    assert {comment for _, _, comment in made[1]} == {item.comment for item in ci.declared_schema() if item.select}
    assert machine.query("SELECT count() > 1, countIf(mood = 'good') = count() FROM ccusage_usage_sessions") == [(1, 1)]

    # what is written from now on is whole, models too
    server.post(f"/?database={server.database}", "TRUNCATE TABLE ccusage_usage_sessions")
    machine.imported("--quiet")
    assert machine.query(SESSIONS_AND_MODELS) == usage
    assert machine.query("SELECT count() FROM ccusage_of_tomorrow") == [(0,)]


def test_without_the_right_to_alter_one_error_lists_the_statements(machine: Machine, server: Server) -> None:
    machine.server = server
    machine.imported("--quiet")
    made = machine.queries([DEFINITIONS, VIEWS])
    for statement in AGED:
        server.post(f"/?database={server.database}", statement)
    server.fail(
        {"kind": "exception", "code": 497, "text": "u: x (ACCESS_DENIED)", "match": "^(ALTER|CREATE|--)", "times": 99}
    )
    result = machine.run("--quiet")
    assert result.returncode == 1
    error, fix = result.stderr.splitlines()
    assert "lacks what this version stores, and default may not add it" in error
    server.recover()
    listed = fix.partition(f"run in the database {server.database}: ")[2].partition(". The fetched reports are kept")[0]
    commands = re.split("; (?=ALTER|CREATE)", listed)
    assert len(commands) == 6
    for command in commands:
        server.post(f"/?database={server.database}", command)
    assert machine.queries([DEFINITIONS, VIEWS]) == made
    machine.imported("--quiet")
    assert not list(machine.home.rglob("pending/*"))


def test_statistics_of_a_database_that_an_older_version_made(machine: Machine, server: Server) -> None:
    machine.server = server
    machine.imported("--quiet")
    server.post(f"/?database={server.database}", "DROP VIEW ccusage_v_monthly_trends")
    server.post(f"/?database={server.database}", "ALTER TABLE ccusage_import_history DROP COLUMN computer")
    assert "Top models" in machine.imported("--stats", "--all")
    # what needs the view says what to do, and then answers
    server.post(f"/?database={server.database}", "DROP VIEW ccusage_v_usage_parts")
    result = machine.run("--query", "cube")
    assert result.returncode == 1
    assert "was made by an older version" in result.stderr
    assert "fix: run an import, which adds what is new" in result.stderr
    machine.imported("--quiet")
    machine.imported("--query", "cube")


def test_a_cluster_grows_on_all_of_its_shards(server: Server) -> None:
    declared = ci.declared_schema("our-cluster")
    complete = {item.name: set(item.columns) for item in declared}
    views = {item.name for item in declared if item.select}
    assert ci.growth(declared, complete, views, "our-cluster") == []
    for name in ("ccusage_usage_daily", "ccusage_usage_daily_local"):
        complete[name] = complete[name] - {"date", "models_count"}
    statements = ci.growth(declared, complete, views - {"ccusage_v_daily_summary"}, "our-cluster")
    *alters, view = statements
    assert [statement.partition(" ADD ")[0] for statement in alters] == [
        "ALTER TABLE ccusage_usage_daily_local ON CLUSTER `our-cluster`",
        "ALTER TABLE ccusage_usage_daily ON CLUSTER `our-cluster`",
    ]
    assert "ADD COLUMN IF NOT EXISTS `date` Date" in alters[0]
    assert re.search(r"`models_count` UInt16 +COMMENT 'distinct models' AFTER `total_cost`$", alters[0])
    assert "CREATE OR REPLACE VIEW ccusage_v_daily_summary ON CLUSTER `our-cluster`" in view
    for statement in statements:
        assert server.post("/", f"EXPLAIN AST {statement}"), statement


# ---- a cluster ----------------------------------------------------------------------------------------


def cluster_schema() -> list[str]:
    statements = ci.split_statements(ci.own_file("ccusage_clickhouse_schema.sql"))
    return list(ci.cluster_statements(statements, "our-cluster"))


def test_the_schema_of_a_cluster_parses_and_is_complete(server: Server) -> None:
    statements = cluster_schema()
    for statement in statements:
        assert server.post("/", f"EXPLAIN AST {statement}"), statement
        assert re.search(r"IF NOT EXISTS \w+ ON CLUSTER `our-cluster`", statement)
    text = "\n".join(statements)
    for table in TABLES:
        assert f"CREATE TABLE IF NOT EXISTS {table}_local ON CLUSTER" in text
        assert re.search(
            rf"CREATE TABLE IF NOT EXISTS {table} ON CLUSTER `our-cluster` AS {table}_local ENGINE = Distributed", text
        )
    replicated = "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "
    assert text.count(replicated) == len(TABLES)
    assert "= ReplacingMergeTree" not in text
    assert text.count("CREATE VIEW IF NOT EXISTS") == ci.own_file("ccusage_clickhouse_schema.sql").count("CREATE VIEW")


def test_the_schema_of_a_cluster_differs_in_nothing_but_the_cluster(server: Server) -> None:
    """Its statements, with what only a cluster has taken out, run here and run again."""
    for _ in range(2):
        for statement in cluster_schema():
            here = statement.replace(" ON CLUSTER `our-cluster`", "")
            here = re.sub(r"ReplicatedReplacingMergeTree\('[^']*', '[^']*', ", "ReplacingMergeTree(", here)
            here = re.sub(
                r" AS (\w+) ENGINE = Distributed.*", r" AS \1 ENGINE = Merge(currentDatabase(), '^\1$')", here
            )
            server.post("/", here)
    columns = "SELECT name, type FROM system.columns WHERE table = '{}' AND database = 'default' ORDER BY position"
    for table in TABLES:
        names = [name for name, _ in server_columns(server, columns.format(f"{table}_local"))]
        assert names == [name for t, name in ci.expected_columns() if t == table]


def server_columns(server: Server, sql: str) -> list[tuple[Any, ...]]:
    server.database = "default"
    return server.query(sql)


def test_deletes_run_on_the_shards(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    options = ci.make_parser().parse_args([])
    config = ci.read_config(
        {"CH_HOST": "127.0.0.1", "CH_PORT": str(server.port), "CH_CLUSTER": "our-cluster", "CCUSAGE_USER": "u"}, options
    )
    store = ci.open_store(config)
    said: list[str] = []
    monkeypatch.setattr(store, "command", lambda sql, *_: said.append(sql))
    row = ci.Stored("daily", "claude", "2026-11-20", 1, ci.Usage())
    store.write_plans([ci.Plan("daily", removed=[row])])
    store.close()
    deleted = [sql.split(" WHERE")[0] for sql in said]
    assert [*sorted(deleted[:2]), *deleted[2:]] == [  # the children at once, and before their row
        f"DELETE FROM {table}_local ON CLUSTER `our-cluster`"
        for table in ("ccusage_model_breakdowns", "ccusage_models_used", "ccusage_usage_daily")
    ]
    for sql in said:
        bound = re.sub(r"\{(\w+):(\w+\(.*?\)\)|\w+)\}", "NULL", sql)
        assert server.post("/", f"EXPLAIN AST {bound}")


def test_a_cluster_needs_a_host() -> None:
    with pytest.raises(ci.ImporterError, match="CH_CLUSTER is set, CH_HOST is not"):
        ci.read_config({"CH_CLUSTER": "c", "CCUSAGE_USER": "u"}, ci.make_parser().parse_args([]))
