"""Teams: what --team-sql prints makes the databases, and its grants suffice for imports and for nothing else.

The embedded engine makes no users and no roles. So what the SQL says of them is parsed by the engine, put together here
as the server would, and a second process opens the folder with exactly those rights.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import urllib.error
from collections import defaultdict
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import conversation_logs
import pytest
import sample_logs
from conftest import ROOT, Machine, Server
from importer_process import run_importer
from test_grants import FORBIDDEN, engine, imports_and_answers, is_forbidden

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("teams")

OF_ACCESS = re.compile(
    r"(?:--[^\n]*\n)*(CREATE|ALTER|DROP) (USER|ROLE|SETTINGS PROFILE|QUOTA)|(?:--[^\n]*\n)*(GRANT|REVOKE)"
)


def printed(*arguments: str, home: Path, **settings: str) -> str:
    """What the importer prints on its standard output."""
    environment = sample_logs.sandbox_environment(home) | settings
    result = run_importer(arguments, environment)
    assert result.returncode == 0, result.stderr
    assert not any(home.rglob("*chdb*")), "these flags open nothing"
    return result.stdout


@dataclass
class Access:
    """What a server knows of users and roles after some statements."""

    grants: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    roles: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    profiles: dict[str, str] = field(default_factory=dict)

    def take(self, statement: str) -> None:
        statement = re.sub(r"\s+", " ", re.sub(r"--[^\n]*\n", "", statement))
        if match := re.fullmatch(r"GRANT `(\w+)` TO `(\w+)`", statement):
            self.roles[match[2]].append(match[1])
        elif match := re.fullmatch(r"(GRANT .*) TO `(\w+)`", statement):
            self.grants[match[2]].append(match[1])
        elif match := re.fullmatch(r"CREATE SETTINGS PROFILE IF NOT EXISTS `(\w+)` SETTINGS (.*)", statement):
            xml = limits = ""
            for setting in match[2].split(", "):
                name, value, least, most = re.fullmatch(r"(\w+) = (\d+)(?: MIN (\d+) MAX (\d+))?", setting).groups()  # type: ignore[union-attr]
                xml += f"<{name}>{value}</{name}>"
                limits += f"<{name}><min>{least}</min><max>{most}</max></{name}>" if least else ""
            self.profiles[match[1]] = f"{xml}<constraints>{limits}</constraints>"

    def of(self, user: str) -> tuple[list[str], str]:
        """A user's rights and its profile."""
        names = [user, *self.roles[user]]
        rights = [grant for name in names for grant in self.grants[name]]
        return rights, "".join(self.profiles.get(name, "") for name in names)


def administrate(server: Server, sql: str, access: Access | None = None) -> None:
    """Run a script as clickhouse-client would."""
    database = "default"
    for statement in ci.split_statements(sql):
        if use := re.search(r"^USE `(\w+)`$", statement, re.MULTILINE):
            database = use[1]
        elif OF_ACCESS.match(statement):
            assert server.post("/", f"EXPLAIN AST {statement}")
            if access is not None:
                access.take(statement)
        else:
            try:
                server.post(f"/?database={database}", statement)
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"{statement[:200]}: {error.read().decode()}") from error


@dataclass
class Team:
    folder: Path
    access: Access
    ada: Machine
    bob: Machine

    def engine(self, user: str, database: str = "") -> AbstractContextManager[Server]:
        rights, profile = self.access.of(user)
        assert rights
        return engine(self.folder, rights, profile, database or user)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Two people's databases, made by --team-sql, with their imports: Ada's with her conversations, Bob's without."""
    folder = tmp_path_factory.mktemp("team")
    people = {}
    for seed, name in enumerate(("ada", "bob")):
        home = folder / name
        sample_logs.write_logs(home, days=30, sessions_per_day=2, messages=8, seed=20 + seed)
        conversation_logs.write_conversations(home, days=10, seed=20 + seed, until=datetime.now(timezone.utc))
        conversations = {"CCUSAGE_CONVERSATIONS": "true"} if name == "ada" else {}
        people[name] = Machine(home, settings={"CCUSAGE_USER": name, "MACHINE_NAME": f"{name}s", **conversations})
    hashes = folder / "hashes"
    hashes.write_text("".join(f"{name} {sha256(name.encode()).hexdigest()}\n" for name in (*people, "dashboards")))
    access = Access()
    with engine(folder, database="ccusage") as administrator:
        sql = printed("--team-sql", *people, "--password-hashes", str(hashes), home=folder)
        administrate(administrator, sql, access)
    result = Team(folder, access, **people)
    for name, machine in people.items():
        with result.engine(f"ccusage_{name}") as machine.server:
            machine.imported("--quiet")
    return result


ELSEWHERE = (
    "SELECT * FROM ccusage_bob.ccusage_usage_daily",
    "SELECT * FROM ccusage.ccusage_usage_daily",
    "DELETE FROM ccusage_bob.ccusage_usage_daily WHERE 1",
    "INSERT INTO ccusage.ccusage_budgets (user_name, period, dollars) VALUES ('ada', 'month', 1e9)",
    "CREATE TABLE ccusage.x (x UInt8) ENGINE = MergeTree ORDER BY x",
    # ways around: what an own table or view could read with other rights than its owner's
    "CREATE TABLE ccusage_ada.x (x UInt8) ENGINE = Distributed(default, ccusage_bob, bobs)",
    "SELECT * FROM remote('127.0.0.1', 'ccusage_bob', 'bobs')",
    "SELECT * FROM mergeTreeIndex(ccusage_bob, bobs)",
    "CREATE VIEW ccusage_ada.x SQL SECURITY NONE AS SELECT * FROM ccusage_bob.bobs",
    "CREATE VIEW ccusage_ada.x AS SELECT * FROM ccusage_bob.bobs",
    "CREATE MATERIALIZED VIEW ccusage_ada.x TO ccusage_bob.bobs AS SELECT 1 AS x FROM ccusage_ada.ccusage_budgets",
    "CREATE TABLE ccusage_ada.x CLONE AS ccusage_bob.bobs",
    "CREATE TABLE ccusage_ada.x (x UInt8) ENGINE = File(CSV)",
    "DROP TABLE ccusage_ada.ccusage_budgets",
)


def verified(machine: Machine) -> tuple[int, str]:
    """Exit code and output of verify_setup.sh."""
    result = subprocess.run(
        [str(ROOT / "verify_setup.sh")], env=machine.environment(), capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


def test_a_person_imports_and_can_do_nothing_else(team: Team) -> None:
    with engine(team.folder, database="ccusage_bob") as administrator:
        administrator.post("/", "CREATE TABLE IF NOT EXISTS ccusage_bob.bobs (x UInt8) ENGINE = MergeTree ORDER BY x")
        administrator.post("/", "INSERT INTO ccusage_bob.bobs SELECT 7")
        bobs = administrator.query("SELECT * FROM ccusage_usage_daily FINAL ORDER BY ALL")
        assert bobs
    ada = team.ada
    with team.engine("ccusage_ada") as ada.server:
        imports_and_answers(ada, ada.server)
        assert "ok     rights of an import: SELECT, INSERT, ALTER UPDATE, ALTER DELETE" in ada.run("--check").stdout
        assert "ok    rights: all that an import needs, and an update" in verified(ada)[1]
        tables = "SELECT name FROM system.tables WHERE database = 'ccusage_ada' AND name LIKE 'ccusage_check_%'"
        assert ada.server.query(tables) == [], "--check drops the table that it tries"
        assert [statement for statement in (*FORBIDDEN, *ELSEWHERE) if not is_forbidden(ada.server, statement)] == []
        for name, its in (
            ("buffer", "Buffer(ccusage_bob, bobs, 1, 0, 0, 0, 1, 0, 1)"),
            ("merge", "Merge(REGEXP('.'), '^bobs$')"),
        ):
            ada.server.post("/", f"CREATE TABLE ccusage_ada.{name} (x UInt8) ENGINE = {its}")
        assert is_forbidden(ada.server, "SELECT * FROM ccusage_ada.buffer")
        assert is_forbidden(ada.server, "INSERT INTO ccusage_ada.buffer SELECT 9")
        assert ada.server.query("SELECT x FROM ccusage_ada.merge") == []
        columns = "SELECT table, name FROM system.columns WHERE database = currentDatabase() ORDER BY ALL"
        before = ada.server.query(columns)

    with engine(team.folder, database="ccusage_ada") as administrator:  # what a newer version brings
        assert administrator.query("SELECT x FROM ccusage_bob.bobs") == [(7,)]
        assert administrator.query("SELECT * FROM ccusage_bob.ccusage_usage_daily FINAL ORDER BY ALL") == bobs
        for statement in (
            "DROP TABLE ccusage_ada.buffer",
            "DROP TABLE ccusage_ada.merge",
            "ALTER TABLE ccusage_ada.ccusage_usage_daily DROP COLUMN models_count",
            "DROP TABLE ccusage_ada.ccusage_budgets",
            "CREATE OR REPLACE VIEW ccusage_ada.ccusage_v_daily_summary AS SELECT 1",
        ):
            administrator.post("/", statement)
    with team.engine("ccusage_ada") as ada.server:
        ada.imported("--quiet")
        gone = {("buffer", "x"), ("merge", "x")}
        assert ada.server.query(columns) == [row for row in before if row not in gone]


def test_what_a_person_lacks_is_named(team: Team) -> None:
    rights = [grant for grant in team.access.of("ccusage_ada")[0] if "ALTER ADD COLUMN" not in grant]
    lame = [grant.replace("ALTER UPDATE, ", "") for grant in rights]
    ada = team.ada
    with engine(team.folder, lame, database="ccusage_ada") as ada.server:
        checked = ada.run("--check").stdout
        assert "note   rights of an import: no ALTER UPDATE\n" in checked
        assert "run: GRANT ALTER UPDATE ON `ccusage_ada`.* TO `default`" in checked
        assert (
            "note   rights to add to the schema: no CREATE TABLE, no CREATE VIEW, no DROP VIEW, no ALTER ADD" in checked
        )
        code, said = verified(ada)
        assert code == 0
        assert "default has no ALTER UPDATE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER ADD COLUMN" in said
        assert (
            "fix: GRANT ALTER UPDATE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER ADD COLUMN ON `ccusage_ada`.*" in said
        )


def test_who_reads_sees_everybody_and_changes_nothing(team: Team) -> None:
    rights, profile = team.access.of("ccusage_dashboards")
    reader = Machine(team.folder / "reader", settings={"CCUSAGE_USER": "eve", "MACHINE_NAME": "e"})
    shutil.copytree(team.ada.home, reader.home)
    sums = {}
    for name in ("ada", "bob"):
        with engine(team.folder, database=f"ccusage_{name}") as administrator:
            sums[name] = administrator.query("SELECT sum(total_tokens), count() FROM ccusage_usage_daily FINAL")[0]
            administrator.post(
                "/",
                f"INSERT INTO ccusage_{name}.ccusage_budgets (user_name, period, dollars) VALUES ('{name}', 'day', 1)",
            )
    with engine(team.folder, rights, profile, "ccusage") as reader.server:
        server = reader.server
        both = server.query("SELECT sum(total_tokens), count() FROM ccusage_usage_daily FINAL")
        assert both == [tuple(map(sum, zip(*sums.values(), strict=True)))]
        assert server.query("SELECT DISTINCT user_name FROM ccusage_messages ORDER BY 1") == [("ada",), ("bob",)]
        assert server.query("SELECT * FROM ccusage_budgets") == [], "the team's budgets are the administrator's alone"
        assert "2 users" in reader.imported("--stats")
        checked = reader.run("--check")
        assert "ok     rows that are shown: of 2 people: ccusage_ada, ccusage_bob\n" in checked.stdout
        assert "ok    people: default sees the rows of ccusage_ada, ccusage_bob\n" in verified(reader)[1]
        refused = reader.run("--quiet")
        assert refused.returncode == 2
        assert "a team's database: it shows people's rows and holds none\nfix: set CH_DATABASE" in refused.stderr
        writes = (
            "INSERT INTO ccusage.ccusage_budgets (user_name, period, dollars) VALUES ('ada', 'month', 1)",
            "DELETE FROM ccusage_ada.ccusage_usage_daily WHERE 1",
            "CREATE VIEW ccusage.x AS SELECT 1",
            "SELECT 1 SETTINGS readonly = 0",
        )
        others = [statement for statement in FORBIDDEN if not statement.startswith("SELECT")]
        assert [statement for statement in (*others, *writes) if not is_forbidden(server, statement)] == []
        for unlimited in ("max_execution_time = 0", "max_memory_usage = 0", "max_execution_time = 61"):
            with pytest.raises(Exception, match="500"):
                server.post("/", f"SELECT 1 SETTINGS {unlimited}")
        assert server.post("/", "SELECT 1 SETTINGS max_execution_time = 5") == "1\n"

    some = [grant for grant in rights if "ccusage_bob" not in grant]
    with engine(team.folder, some, profile, "ccusage") as reader.server:
        checked = reader.run("--check")
        assert "note   rows that are shown: of 1 people: ccusage_ada; not ccusage_bob\n" in checked.stdout
        assert reader.server.query("SELECT DISTINCT user_name FROM ccusage_usage_daily") == [("ada",)]
        assert (
            "warn  people (optional): default sees the rows of ccusage_ada; not of ccusage_bob\n" in verified(reader)[1]
        )
    none = [grant for grant in rights if not re.search("SELECT ON `ccusage_(ada|bob)`", grant)]
    with engine(team.folder, none, profile, "ccusage") as reader.server:
        checked = reader.run("--check")
        assert "FAILED rows that are shown: of 0 people: of nobody; not ccusage_ada, ccusage_bob\n" in checked.stdout
        assert (checked.returncode, verified(reader)[0]) == (1, 1)
        assert reader.server.query("SELECT count() FROM ccusage_usage_daily") == [(0,)]
    unknowing = [grant for grant in some if "SHOW DATABASES" not in grant]
    with engine(team.folder, unknowing, profile, "ccusage") as reader.server:
        assert "of 1 people: ccusage_ada; of nobody else, as far as default may know" in reader.run("--check").stdout


# What is about the database itself, not about the rows in it.
OF_THE_DATABASE = {"database_size", "database_growth", "slow_queries", "data_dictionary"}


def test_every_query_says_of_two_databases_what_it_says_of_one(team: Team) -> None:
    """Through Merge tables, as the reader of a team, and unchanged: the same as of one database with everybody's rows."""
    queries = {name: query for name, query in ci.named_queries().items() if name not in OF_THE_DATABASE}
    with engine(team.folder, database="everybody") as administrator:
        administrator.post("/", "CREATE DATABASE everybody")
        for item in ci.declared_schema():
            administrator.post("/?database=everybody", item.statement)
            for name in ("ada", "bob") if item.columns else ():
                insert = f"INSERT INTO everybody.{item.name} SELECT * FROM ccusage_{name}.{item.name} FINAL"
                administrator.post("/?max_partitions_per_insert_block=0", insert)
        administrator.post("/", "TRUNCATE TABLE everybody.ccusage_budgets")
        expected = {name: administrator.query(query.statement) for name, query in queries.items()}
    with team.engine("ccusage_dashboards", "ccusage") as reader:
        found = {name: reader.query(query.statement) for name, query in queries.items()}
        for name in OF_THE_DATABASE:
            assert reader.query(ci.named_queries()[name].statement) or name == "slow_queries"
    with engine(team.folder, database="everybody") as administrator:
        for name, rows in found.items():  # where it says other than before, a minute may have passed
            if not alike(rows, expected[name]):
                assert alike(rows, administrator.query(queries[name].statement)), name
        administrator.post("/", "DROP DATABASE everybody")
    assert sum(map(bool, expected.values())) > 90
    assert expected["user_share"][0][0] != expected["user_share"][1][0]


# What is said of responses, which are usage: models, money, and to what it went.
OF_RESPONSES = {"response_times", "context_growth", "branches", "subagents", "block_contents", "getting_worse"}


def test_nobody_is_shown_at_work_without_conversations(team: Team) -> None:
    """Bob has none stored: nothing is told of how he works, and what is told of Ada is the same without him."""
    sections = ("Conversations", "Tools", "Files")
    asked = [q for q in ci.named_queries().values() if q.section in sections and q.name not in OF_RESPONSES]
    assert len(asked) > 20
    about: dict[str, dict[str, object]] = {}
    for database in ("ccusage", "ccusage_ada", "ccusage_bob"):
        with engine(team.folder, database=database) as administrator:
            about[database] = {query.name: administrator.query(query.statement) for query in asked}
    assert not any(about["ccusage_bob"].values())
    differing = [name for name, rows in about["ccusage"].items() if not alike(rows, about["ccusage_ada"][name])]
    assert " ".join(differing) == ""
    assert sum(map(bool, about["ccusage"].values())) > 15


def alike(left: object, right: object) -> bool:
    """The same, but for the last digits of fractions, which change with the order of their parts."""
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, float) and isinstance(right, float | int):
        return math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-6)
    return left == right


def test_people_come_and_go(tmp_path: Path) -> None:
    """The scripts may be run again, with more people and a newer schema; a database with rows of its own is not touched."""
    one = printed("--team-sql", "ada", home=tmp_path)
    two = printed("--team-sql", "ada", "b-2", home=tmp_path)
    with engine(tmp_path, database="ccusage") as administrator:
        what = (
            "SELECT database, name, create_table_query FROM system.tables WHERE database LIKE 'ccusage%' ORDER BY ALL"
        )
        administrate(administrator, one)
        made = administrator.query(what)
        assert {row[1] for row in made} == {item.name for item in ci.declared_schema()}
        merged = [
            query for _, name, query in made if "ENGINE = Merge(REGEXP('^ccusage_.+'), '^" + name + "$')" in query
        ]
        assert len(merged) == sum(name == "machine_name" for _, name in ci.expected_columns())
        columns = "SELECT table, name, type, position FROM system.columns WHERE database = 'ccusage' ORDER BY ALL"
        before = administrator.query(columns)
        administrator.post("/", "ALTER TABLE ccusage.ccusage_messages DROP COLUMN effort")
        administrator.post("/?database=ccusage", "CREATE OR REPLACE VIEW ccusage.ccusage_v_daily_summary AS SELECT 1")
        administrate(administrator, two)
        assert administrator.query(columns) == before
        assert administrator.query("SELECT name FROM system.databases WHERE name LIKE 'ccusage%' ORDER BY 1") == [
            ("ccusage",), ("ccusage_ada",), ("ccusage_b-2",)
        ]  # fmt: skip
        # tables of both are merged, and of nobody else: neither of the team's own, nor of a name that only begins alike
        for database in ("ccusage_ada", "`ccusage_b-2`", "ccusages", "my_ccusage_x"):
            administrator.post("/", f"CREATE DATABASE IF NOT EXISTS {database}")
            administrator.post("/", f"CREATE TABLE {database}.ccusage_usage_daily (user_name String) ENGINE = Memory")
            administrator.post("/", f"INSERT INTO {database}.ccusage_usage_daily VALUES ('{database}')")
        names = "SELECT toString(user_name) FROM ccusage_usage_daily ORDER BY 1"
        assert administrator.query(names) == [("`ccusage_b-2`",), ("ccusage_ada",)]
        administrator.post(
            "/", "INSERT INTO ccusage.ccusage_budgets (user_name, period, dollars) VALUES ('ada', 'day', 1)"
        )
        administrate(administrator, printed("--remove-person", "ada", home=tmp_path))
        assert administrator.query(names) == [("`ccusage_b-2`",)]
        assert administrator.query("SELECT * FROM ccusage_budgets") == []
        administrate(administrator, printed("--remove-person", "ada", home=tmp_path))

        with pytest.raises(
            RuntimeError, match="holds tables of its own"
        ):  # an older setup: everybody's rows in this one database
            administrate(administrator, printed("--team-sql", "ada", home=tmp_path, CH_DATABASE="ccusages")
                         .replace("engine LIKE '%MergeTree'", "engine LIKE 'Memory'"))  # fmt: skip
        assert administrator.query("SELECT user_name FROM ccusages.ccusage_usage_daily") == [("ccusages",)]

    # the placeholder of a password: refused by the engine, and a hash is not
    users = [statement for statement in ci.split_statements(two) if re.search("(CREATE|ALTER) USER", statement)]
    assert len(users) == 6
    with engine(tmp_path, ["GRANT ALL ON *.*"]) as administrator:
        for statement in users:
            for text, said in (
                (statement, "Cannot read password hash in hex"),
                (re.sub("BY '[^']*'", f"BY '{'0' * 64}'", statement), "writeable access storage|There is no user"),
            ):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    administrator.post("/", text)
                assert re.search(said, refused.value.read().decode())


def test_what_is_no_name_or_no_hash_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clean_environment: object
) -> None:
    for name in (
        "a b",
        "",
        "-a",
        "a.b",
        "ä",
        "a`; DROP DATABASE x",
        "dashboards",
        "reader",
        "importer",
        "x" * 60,
        "_a",
    ):
        for arguments in (
            ["--team-sql", "ada", f"--team-sql={name}"],
            ["--team-sql", "ada", name],
            [f"--remove-person={name}"],
        ):
            if name.startswith("-") and len(arguments) == 3:
                continue  # a flag
            assert ci.main(arguments) == 2, name
            out, err = capsys.readouterr()
            assert out == ""
            assert "a person's name" in err
            assert "to stand behind ccusage_" in err
    hashes = tmp_path / "hashes"
    for text in ("ada", f"ada {'0' * 63}", f"ada {'g' * 64}", f"ada {'0' * 64} x"):
        hashes.write_text(f"# of the team\n\nbob {'F' * 64}\n{text}\n")
        assert ci.main(["--team-sql", "ada", "--password-hashes", str(hashes)]) == 2
        assert f"line 4 of {hashes}" in capsys.readouterr().err
    assert ci.main(["--team-sql", "ada", "--password-hashes", str(tmp_path / "none")]) == 2
    assert ci.main(["--stats", "--password-hashes", str(hashes)]) == 2
    capsys.readouterr()
    hashes.write_text(f"ada {'F' * 64}\nother {'0' * 64}\n")
    assert ci.main(["--team-sql", "ada", "bob", "ada", "--password-hashes", str(hashes)]) == 0
    out, err = capsys.readouterr()
    assert "no password of bob, dashboards" in err
    assert out.count("CREATE USER IF NOT EXISTS `ccusage_ada` IDENTIFIED WITH sha256_hash BY '" + "f" * 64) == 1


def test_an_engine_that_lets_people_through_is_refused(tmp_path: Path, oldest_engine: str) -> None:
    """A table of engine Buffer reads another's rows there, with no right on them: so the script stops."""
    server = Server(tmp_path / "server", python=oldest_engine)
    try:
        with pytest.raises(RuntimeError, match="does not keep people apart"):
            administrate(server, printed("--team-sql", "ada", home=tmp_path))
        assert "ccusage_ada" not in str(server.query("SELECT name FROM system.databases"))
    finally:
        server.stop()


def test_on_a_cluster_everything_is_made_everywhere(tmp_path: Path, server: Server) -> None:
    settings = {"CH_HOST": "h", "CH_CLUSTER": "c1", "CH_DATABASE": "tokens"}
    sql = printed("--team-sql", "ada", home=tmp_path, **settings) + printed(
        "--remove-person", "ada", home=tmp_path, **settings
    )
    for statement in ci.split_statements(sql):
        assert server.post("/", f"EXPLAIN AST {statement}") or "FORMAT Null" in statement
        assert re.search(r"ON CLUSTER `c1`|^USE `tokens`$|throwIf", statement, re.MULTILINE), statement
    assert "REGEXP('^tokens_.+'), '^ccusage_usage_daily$')" in sql
    assert "`tokens_ada`" in sql
    assert "ccusage_ada" not in sql
    assert len(re.findall("ENGINE = Merge", sql)) == len(re.findall("CREATE TABLE IF NOT EXISTS", sql)) - 2
