"""Every table goes out as Parquet, and comes back to the last bit: read by others, killed, damaged, onto other rows."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import clickhouse_connect
import conversation_logs
import duckdb
import pytest
import sample_logs
from conftest import NEWEST, Machine, Server, thorough

import ccusage_importer as ci

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)


def written(said: str) -> int:
    """How many files --archive says that it has written."""
    return sum(int(count) for count in re.findall(r"^ccusage_\w+ +(\d+) ", said, re.MULTILINE))


def manifest(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return told


def tokens(by_source: Mapping[str, tuple[int, float]]) -> int:
    return sum(count for count, _ in by_source.values())


def empty(machine: Machine, folder: Path) -> Machine:
    """The same home with another database, in which nothing is."""
    return Machine(machine.home, settings={"CCUSAGE_DB_PATH": str(folder)})


DIE_AT = """
count = 0
def dying(act):
    def counted(*arguments, **more):
        global count
        result = act(*arguments, **more)
        count += 1
        if count == {step}:
            os.kill(os.getpid(), 9)
        return result
    return counted
"""


pytestmark = pytest.mark.xdist_group("archive")  # one history for all of them


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Two users' usage of two agents, from an old and a new ccusage, with conversations and a clean-up."""
    home = tmp_path_factory.mktemp("told") / "home"
    sample_logs.write_logs(home, days=36, sessions_per_day=1, messages=4, until=YESTERDAY)
    machine = Machine(home, "18.0.11")
    machine.imported("--quiet", CCUSAGE_USER="ada")
    machine.delete_logs_before(days=30)
    machine.version = NEWEST
    conversation_logs.write_conversations(home, days=3, seed=3, until=YESTERDAY)
    activity = [{"date": "2026-01-02", "messageCount": 5, "sessionCount": 1, "toolCallCount": 2}]
    (home / ".claude" / "stats-cache.json").write_text(json.dumps({"dailyActivity": activity}), "utf-8")
    machine.imported("--quiet", CCUSAGE_USER="ada")
    machine.imported("--quiet", CCUSAGE_USER="bob", MACHINE_NAME="elsewhere")
    client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path), database="ccusage")
    client.raw_query("INSERT INTO ccusage_budgets (user_name, period, dollars) VALUES ('ada', 'month', 0.1)")
    client.close()
    return machine


@pytest.fixture(scope="session")
def archive(told: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive, in a folder whose name means more to the engine than to anybody else."""
    folder = tmp_path_factory.mktemp("archive") / "of {1..2} *"
    told.imported("--archive", str(folder), "--quiet")
    return folder


def test_what_comes_back_equals_what_went(told: Machine, archive: Path, tmp_path: Path, server: Server) -> None:
    expected = told.everything()
    assert ci.MONTH_OF.keys() == expected.keys()
    assert [table for table, rows in expected.items() if not rows] == ["ccusage_forgotten"]
    assert "NULL" in "".join(expected["ccusage_usage_sessions"])
    elsewhere = empty(told, tmp_path / "db")
    said = elsewhere.imported("--restore", str(archive), CCUSAGE_CONVERSATIONS="false")  # that is for what is read
    assert re.search(r"^ada on \S+ +[1-9]\d* +0 +0 +0$", said, re.MULTILINE), said
    assert re.search(r"^bob on elsewhere +[1-9]\d* +0 +0 +0$", said, re.MULTILINE), said
    assert elsewhere.everything() == expected
    # so the archive of what came back has nothing to write, nor a second one of what went
    assert written(elsewhere.imported("--archive", str(archive))) == 0

    served = Machine(told.home, server=server)
    served.imported("--restore", str(archive), "--quiet")
    assert served.everything() == expected
    said = served.imported("--restore", str(archive))
    assert re.search(r"^ada on \S+ +0 +0 +[1-9]\d* +0$", said, re.MULTILINE), said
    served.imported("--archive", str(tmp_path / "again"), "--quiet")
    contents = [
        {(t, month): file["contents"] for t, table in m["tables"].items() for month, file in table["files"].items()}
        for m in (manifest(archive), manifest(tmp_path / "again"))
    ]
    assert contents[0] == contents[1]
    # imports go on as if nothing had happened
    elsewhere.imported("--quiet", CCUSAGE_USER="ada")
    now, then = elsewhere.sums(), told.sums()
    assert {name: tokens(of) for name, of in now.items()} == {name: tokens(of) for name, of in then.items()}


def test_others_can_read_it(archive: Path, parquet_readers: str) -> None:
    folder = Path(str(archive))
    tables = {table: its for table, its in manifest(folder)["tables"].items() if its["files"]}
    types = {
        "Date": "DATE",
        "DateTime('UTC')": "TIMESTAMP WITH TIME ZONE",
        "DateTime64(3, 'UTC')": "TIMESTAMP WITH TIME ZONE",
        "Float64": "DOUBLE",
        "UInt64": "UBIGINT",
        "LowCardinality(String)": "VARCHAR",
        "Map(LowCardinality(String), UInt64)": "MAP(VARCHAR, UBIGINT)",
    }
    link = folder.parent / "plain"
    link.symlink_to(folder)
    connection = duckdb.connect()
    for table, its in tables.items():
        source = f"read_parquet('{link / table}/*.parquet')"
        [(rows,)] = connection.execute(f"SELECT count(*) FROM {source}").fetchall()
        assert rows == sum(file["rows"] for file in its["files"].values())
        seen = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        assert list(seen) == list(its["columns"])
        for name, kind in its["columns"].items():
            assert seen[name] == types.get(kind, seen[name]), (table, name, kind)
        for month, file in its["files"].items():
            assert file["bytes"] == (folder / table / f"{month}.parquet").stat().st_size
            for name, total in file["sums"].items():
                of_month = f"read_parquet('{link / table / month}.parquet')"
                [(found,)] = connection.execute(f'SELECT sum("{name}") FROM {of_month}').fetchall()
                assert float(found) == pytest.approx(total, abs=1e-6)
    codecs = {
        codec
        for table in tables
        for (codec,) in connection.execute(
            f"SELECT DISTINCT compression FROM parquet_metadata('{link / table}/*.parquet')"
        ).fetchall()
    }
    assert codecs == {"ZSTD"}
    script = """
import json, sys
import pandas, pyarrow.dataset
told = {}
for table in sys.argv[2:]:
    frame = pandas.read_parquet(f"{sys.argv[1]}/{table}")
    assert len(frame) == pyarrow.dataset.dataset(f"{sys.argv[1]}/{table}").count_rows()
    told[table] = {name: int(frame[name].sum()) for name in frame if name.endswith("_tokens")}
print(json.dumps(told))
"""
    command = [parquet_readers, "-c", script, str(folder), *tables]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = {
        table: {
            name: sum(int(file["sums"][name]) for file in its["files"].values())
            for name in its["columns"]
            if name.endswith("_tokens")
        }
        for table, its in tables.items()
    }
    assert json.loads(result.stdout) == expected


def copied(archive: Path, folder: Path) -> Path:
    shutil.copytree(archive, folder)
    return folder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: Mapping[str, Any] = {
    "a flipped bit": ("ccusage_tool_calls", flip),
    "a cut file": ("ccusage_usage_blocks", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "a missing file": ("ccusage_import_history", Path.unlink),
}


def test_a_damaged_archive_is_named_and_nothing_restored(told: Machine, archive: Path, tmp_path: Path) -> None:
    elsewhere = empty(told, tmp_path / "db")
    for number, (table, damage) in enumerate(DAMAGES.values()):
        damaged = copied(archive, tmp_path / str(number))
        path = sorted((damaged / table).iterdir())[-1]
        damage(path)
        result = elsewhere.run("--restore", str(damaged))
        assert result.returncode == 1
        assert str(path) in result.stderr
        assert "nothing was restored" in result.stderr
    for count in (1, 0):  # where the data still is it is written again
        assert written(told.imported("--archive", str(tmp_path / "0"))) == count
    assert not any(elsewhere.everything().values())
    (damaged / "manifest.json").write_text("{}", encoding="utf-8")
    for folder in (damaged, tmp_path):
        result = elsewhere.run("--restore", str(folder))
        assert (result.returncode, "holds no archive" in result.stderr) == (2, True)


def test_what_a_killed_run_has_left_goes_and_what_a_newer_version_has_stays(
    told: Machine, archive: Path, tmp_path: Path
) -> None:
    folder = copied(archive, tmp_path / "archive")
    days = folder / "ccusage_usage_daily"
    shutil.copy(next(days.glob("*.parquet")), days / "1999-01.parquet")  # of a month that was forgotten before the kill
    newer = manifest(folder)
    newer["tables"]["ccusage_newer"] = newer["tables"]["ccusage_budgets"]
    (folder / "manifest.json").write_text(json.dumps(newer), encoding="utf-8")
    assert written(told.imported("--archive", str(folder))) == 0
    assert not (days / "1999-01.parquet").exists()
    assert manifest(folder)["tables"] == newer["tables"]


def test_no_other_database_takes_an_archives_place(told: Machine, archive: Path, tmp_path: Path) -> None:
    folder = copied(archive, tmp_path / "archive")
    carols = empty(told, tmp_path / "db")
    carols.settings |= {"CCUSAGE_USER": "carol"}
    carols.imported("--quiet")
    result = carols.run("--archive", str(folder))
    assert (result.returncode, "holds rows of bob on elsewhere" in result.stderr) == (1, True), result.stderr
    shutil.copytree(told.home, tmp_path / "home", symlinks=True)
    without = Machine(tmp_path / "home")

    def change(statement: str) -> None:
        client = clickhouse_connect.get_client(interface="chdb", path=str(without.db_path), database="ccusage")
        client.command(statement)
        client.close()

    change("DELETE FROM ccusage_tool_calls WHERE 1")  # as where conversations were never stored
    result = without.run("--archive", str(folder))
    assert (result.returncode, "rows of ccusage_tool_calls of" in result.stderr) == (1, True), result.stderr
    assert manifest(folder) == manifest(archive)
    assert {path.name for path in folder.glob("*/*")} == {path.name for path in archive.glob("*/*")}
    change("INSERT INTO ccusage_forgotten (user_name, what) VALUES ('ada', 'messages')")  # on demand they go
    without.imported("--archive", str(folder))
    assert not manifest(folder)["tables"]["ccusage_tool_calls"]["files"]


def test_a_restore_that_is_killed_is_done_by_the_next(told: Machine, archive: Path, tmp_path: Path) -> None:
    elsewhere = empty(told, tmp_path / "db")
    for step in (1, 3, 7):  # history, messages, rows: each run goes on where the last one ended
        patch = DIE_AT.format(step=step) + "ci.Store.insert_from = dying(ci.Store.insert_from)"
        result = elsewhere.run_patched(patch, "--restore", str(archive), "--quiet")
        assert result.returncode == -signal.SIGKILL, result.stderr
    elsewhere.imported("--restore", str(archive), "--quiet")
    assert elsewhere.everything() == told.everything()
    client = [name for (name,) in elsewhere.query("SELECT name FROM system.databases")]
    assert ci.STAGING not in client


KILLS = [(3, "ci.Store.write_parquet"), (1, "ci.write_file")]  # before its manifest is written, and after it


@pytest.mark.parametrize("kills", [KILLS[:1], *thorough(KILLS[1:])])
def test_only_what_has_changed_is_written_and_no_kill_harms_it(
    told: Machine, archive: Path, tmp_path: Path, kills: list[tuple[int, str]]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(told.home, home, symlinks=True)
    machine = Machine(home)
    before, now = copied(archive, tmp_path / "before"), copied(archive, tmp_path / "now")
    expected = machine.everything()
    session = max((home / ".claude").rglob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    text = session.read_text(encoding="utf-8")
    session.write_text(text + text.replace('"requestId":"', '"requestId":"more_').replace('"id":"msg', '"id":"more'))
    machine.imported("--quiet", CCUSAGE_USER="ada")
    for step, act in kills:
        patch = DIE_AT.format(step=step) + f"{act} = dying({act})"
        result = machine.run_patched(patch, "--archive", str(now), "--quiet")
        assert result.returncode == -signal.SIGKILL, result.stderr
        # the archive is the old one, or the new one
        elsewhere = empty(machine, tmp_path / f"db{step}")
        elsewhere.imported("--restore", str(now), "--quiet")
        assert elsewhere.everything() == (expected if step == 3 else machine.everything())
    assert list(now.glob("*/.*.new"))
    assert (written(machine.imported("--archive", str(now))) > 0) == (kills == KILLS[:1])
    assert not list(now.glob("*/.*"))
    changed = {path for path in now.glob("*/*.parquet") if not filecmp.cmp(path, before / path.relative_to(now), False)}
    assert 0 < len(changed) < len(list(now.glob("*/*.parquet"))) / 2 + 2
    assert {path.stem for path in changed} == {f"{YESTERDAY:%Y-%m}", f"{datetime.now(timezone.utc):%Y-%m}"}
    # a database that has less takes no archive's place
    result = empty(machine, tmp_path / "less").run("--archive", str(now))
    assert "nothing is stored" in result.stderr
    less = empty(machine, tmp_path / "less")
    less.imported("--quiet", CCUSAGE_USER="ada")
    result = less.run("--archive", str(now))
    assert result.returncode == 1
    assert f"--restore {now}" in result.stderr
    assert not list(now.glob("*/.*"))
    # and is brought up to it by the rules of an import: more stays, what it lacks comes, others' rows are theirs
    more = less.sums()
    less.imported("--restore", str(before), "--quiet")
    after = less.sums()
    of_both = machine.sums()
    assert {name: tokens(of) for name, of in after.items()} == {name: tokens(of) for name, of in of_both.items()}
    assert tokens(after["daily"]) > tokens(more["daily"])
    less.imported("--restore", str(before), "--quiet")
    assert {name: tokens(of) for name, of in less.sums().items()} == {n: tokens(of) for n, of in after.items()}
    assert written(less.imported("--archive", str(now))) > 0
