"""The rights that README names for a shared server: they suffice, and nothing more is possible with them.

Real grants of the real engine: one process with all rights prepares a folder, the next opens it with those alone.
"""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import sample_logs
from conftest import ROOT, USAGE_TABLES, Machine, Server

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("grants")

SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## A shared server")[1].split("\n## ")[0]
STATEMENTS = ci.split_statements("\n".join(re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)))
DATABASE = "ccusage_ada"
# What the front needs, not the importer: it reads what it has received from a file, and says USE where HTTP does not.
OF_THE_FRONT = ("GRANT READ ON FILE, CREATE TEMPORARY TABLE ON *.*", "GRANT SHOW DATABASES ON default.*")
# What nobody but an administrator may do. `bobs` is another person's table.
FORBIDDEN = (
    "DROP TABLE ccusage_ada.ccusage_usage_daily",
    "TRUNCATE TABLE ccusage_ada.ccusage_usage_daily",
    "ALTER TABLE ccusage_ada.ccusage_usage_daily DROP COLUMN raw_data",
    "RENAME TABLE ccusage_ada.ccusage_usage_daily TO ccusage_ada.x",
    "DROP DATABASE ccusage_ada",
    "CREATE DATABASE ccusage_eve",
    "SELECT * FROM ccusage_bob.bobs",
    "INSERT INTO ccusage_bob.bobs SELECT 1",
    "DELETE FROM ccusage_bob.bobs WHERE 1",
    "ALTER TABLE ccusage_bob.bobs ADD COLUMN y UInt8",
    "CREATE TABLE ccusage_bob.x (x UInt8) ENGINE = MergeTree ORDER BY x",
    "CREATE VIEW ccusage_bob.x AS SELECT 1",
    "DROP TABLE ccusage_bob.bobs",
    "CREATE TABLE default.x (x UInt8) ENGINE = MergeTree ORDER BY x",
    "CREATE USER eve",
    "CREATE ROLE everything",
    "GRANT SELECT ON ccusage_ada.* TO default",
    "CREATE ROW POLICY p ON ccusage_ada.ccusage_usage_daily USING 0",
    "SYSTEM STOP MERGES ccusage_ada.ccusage_usage_daily",
    "SYSTEM FLUSH LOGS",
)


def grants(user: str) -> list[str]:
    """README's GRANT statements for a user, as users.xml takes them."""
    found = [match[1] for s in STATEMENTS if (match := re.fullmatch(rf"(GRANT .*) TO {user}", s, re.DOTALL))]
    assert found
    return found


@contextmanager
def engine(
    folder: Path, rights: Sequence[str] | None = None, profile: str = "", database: str = DATABASE
) -> Iterator[Server]:
    """A server on the folder, with all rights or with these alone, and the settings of a profile in XML."""
    arguments = []
    if rights is not None:
        queries = "".join(f"<query>{grant}</query>" for grant in (*rights, *OF_THE_FRONT))
        users = folder / "users.xml"
        users.write_text(
            f"<clickhouse><profiles><default>{profile}</default></profiles>"
            "<quotas><default/></quotas><users><default><password></password><networks><ip>::/0</ip></networks>"
            f"<profile>default</profile><quota>default</quota><grants>{queries}</grants></default></users></clickhouse>"
        )
        config = folder / "engine.xml"
        config.write_text(f"<clickhouse><users_config>{users}</users_config></clickhouse>")
        arguments = ["--config", str(config)]
    server = Server(folder, *arguments)
    server.database = database
    try:
        yield server
    finally:
        server.stop()


def is_forbidden(server: Server, statement: str) -> bool:
    try:
        server.post("/", statement)
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        assert "ACCESS_DENIED" in said or "READONLY" in said, said
        return True
    return False


def bobs_rows(folder: Path) -> list[tuple[int, ...]]:
    with engine(folder) as administrator:
        return [tuple(map(int, row)) for row in administrator.query("SELECT x FROM ccusage_bob.bobs")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an administrator leaves it: README's databases, and another person's with a table in it."""
    folder = tmp_path_factory.mktemp("shared")
    with engine(folder) as administrator:
        for statement in STATEMENTS:
            if statement.startswith("CREATE DATABASE"):
                administrator.post("/", statement)
            else:  # the embedded engine makes no users
                assert administrator.post("/", f"EXPLAIN AST {statement}")
        administrator.post("/", "CREATE DATABASE ccusage_bob")
        administrator.post("/", "CREATE TABLE ccusage_bob.bobs (x UInt8) ENGINE = MergeTree ORDER BY x")
        administrator.post("/", "INSERT INTO ccusage_bob.bobs SELECT 7")
    return folder


def imports_and_answers(machine: Machine, server: Server) -> None:
    """An import, one with nothing new, one with changes, the statistics, and the check: all with no word on stderr."""
    machine.server = server
    machine.imported("--quiet")
    before = machine.snapshot()
    machine.imported("--quiet")
    assert machine.snapshot() == before
    sample_logs.write_logs(machine.home, days=3, sessions_per_day=1, messages=4, seed=9)
    machine.imported("--quiet")
    for report, (table, _) in USAGE_TABLES.items():
        if report in ("daily", "monthly"):
            said = machine.ccusage(report, "--by-agent")["totals"]["totalTokens"]
            assert server.query(f"SELECT sum(total_tokens) FROM {table} FINAL") == [(said,)]
    machine.imported("--stats")
    checked = machine.run("--check")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_a_persons_rights_suffice_and_allow_nothing_more(shared: Path, machine: Machine) -> None:
    with engine(shared, grants("ada")) as server:
        imports_and_answers(machine, server)
        assert [statement for statement in FORBIDDEN if not is_forbidden(server, statement)] == []
        columns = "SELECT table, name FROM system.columns WHERE database = currentDatabase() ORDER BY ALL"
        before = server.query(columns)
    assert bobs_rows(shared) == [(7,)]

    with engine(shared) as administrator:  # what an update may bring
        administrator.post("/", f"ALTER TABLE {DATABASE}.ccusage_usage_daily DROP COLUMN models_count")
        administrator.post("/", f"CREATE OR REPLACE VIEW {DATABASE}.ccusage_v_daily_summary AS SELECT 1")
    with engine(shared, grants("ada")) as server:
        machine.server = server
        machine.imported("--quiet")
        assert server.query(columns) == before


def test_without_the_rights_on_tables_the_schema_is_applied_by_hand(tmp_path: Path, machine: Machine) -> None:
    usage, schema = grants("ada")
    with engine(tmp_path) as administrator:
        administrator.post("/", f"CREATE DATABASE {DATABASE}")
    with engine(tmp_path, [usage]) as server:
        machine.server = server
        refused = machine.run("--quiet")
        assert refused.returncode == 1
        assert "CREATE TABLE" in refused.stderr
        assert "Traceback" not in refused.stderr
    with engine(tmp_path) as administrator:
        for statement in ci.split_statements(ci.own_file("ccusage_clickhouse_schema.sql")):
            administrator.post(f"/?database={DATABASE}", statement)
    with engine(tmp_path, [usage]) as server:
        imports_and_answers(machine, server)
        may_not = (schema.split(" ON ")[0].removeprefix("GRANT ")).split(", ")
        assert may_not == ["CREATE TABLE", "CREATE VIEW", "DROP VIEW", "ALTER ADD COLUMN"]
        for statement in (
            f"CREATE TABLE {DATABASE}.x (x UInt8) ENGINE = MergeTree ORDER BY x",
            f"CREATE VIEW {DATABASE}.x AS SELECT 1",
            f"DROP VIEW {DATABASE}.ccusage_v_daily_summary",
            f"ALTER TABLE {DATABASE}.ccusage_usage_daily ADD COLUMN x UInt8",
        ):
            assert is_forbidden(server, statement), statement


def test_a_dashboards_user_reads_and_nothing_else(shared: Path, machine: Machine) -> None:
    with engine(shared, grants("ada")) as server:
        machine.server = server
        machine.imported("--quiet")
    with engine(shared, grants("grafana"), "<readonly>2</readonly>") as server:
        machine.server = server
        assert "cost" in machine.imported("--stats", "--all")
        assert machine.imported("--query", "totals", "--format", "json")
        before = server.query("SELECT toInt64(count()) FROM ccusage_usage_daily")
        refused = machine.run("--quiet")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        also = (
            f"INSERT INTO {DATABASE}.ccusage_usage_daily SELECT * FROM {DATABASE}.ccusage_usage_daily",
            f"DELETE FROM {DATABASE}.ccusage_usage_daily WHERE 1",
            f"CREATE VIEW {DATABASE}.x AS SELECT 1",
        )
        assert [statement for statement in (*FORBIDDEN, *also) if not is_forbidden(server, statement)] == []
        assert server.query("SELECT toInt64(count()) FROM ccusage_usage_daily") == before
