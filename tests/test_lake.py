"""--lake: tables of Apache Iceberg that the engine writes, read with pyiceberg, which has no part in writing them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import clickhouse_connect
from conftest import Machine, Server

import ccusage_importer as ci

# Of each table rows, sums, and rows of a filter that has to look into the right files.
READER = """
import json, pathlib, sys
from pyiceberg.table import StaticTable
told = {}
for folder in sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir()):
    newest = max(folder.glob("metadata/v*.metadata.json"), key=lambda path: int(path.name[1:].partition(".")[0]))
    table = StaticTable.from_metadata(str(newest))
    rows = table.scan().to_arrow()
    names = [name for name in rows.column_names if name.endswith("_tokens")]
    told[folder.name] = {
        "version": newest.name,
        "rows": rows.num_rows,
        "sums": {name: sum(rows[name].to_pylist()) for name in names},
        "columns": {field.name: str(field.field_type) for field in table.schema().fields},
    }
    if "date" in rows.column_names:
        days = sorted(map(str, set(rows["date"].to_pylist())))
        day = days[len(days) // 2]
        filtered = table.scan(row_filter=f"date = '{day}' and machine_name = 'm'").to_arrow()
        told[folder.name]["day"] = [day, filtered.num_rows]
print(json.dumps(told))
"""


def read_lake(python: str, folder: Path) -> dict[str, dict[str, Any]]:
    result = subprocess.run([python, "-c", READER, str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return told


def assert_says_what_the_database_says(machine: Machine, told: dict[str, dict[str, Any]]) -> None:
    counts = machine.queries([f"SELECT count() FROM {table}" for table in ci.LAKE_TABLES])
    assert told.keys() == {table for table, [(count,)] in zip(ci.LAKE_TABLES, counts, strict=True) if count}
    statements = []
    for table, its in told.items():
        of_day = f"countIf(date = '{its['day'][0]}')" if "day" in its else "0"
        sums = ["count()", of_day, *(f"sum({name})" for name in its["sums"])]
        statements.append(f"SELECT {', '.join(sums)} FROM {table} FINAL")
    for (table, its), [(rows, of_its_day, *expected)] in zip(told.items(), machine.queries(statements), strict=True):
        assert (its["rows"], list(its["sums"].values())) == (rows, expected), table
        assert of_its_day == its.get("day", [None, 0])[1], table


def test_a_lake_is_what_is_stored_and_only_what_changed_is_written(
    machine: Machine, server: Server, tmp_path: Path, pyiceberg: str
) -> None:
    machine.settings = {"MACHINE_NAME": "m", "CCUSAGE_USER": "ada"}
    lake = tmp_path / "a lake"
    assert machine.run("--lake", str(lake)).returncode == 1
    machine.imported("--quiet")
    machine.imported("--lake", str(lake))
    told = read_lake(pyiceberg, lake)
    assert_says_what_the_database_says(machine, told)
    daily = told["ccusage_usage_daily"]["columns"]
    assert (daily["date"], daily["total_tokens"], daily["total_cost"]) == ("date", "long", "double")
    assert told["ccusage_messages"]["columns"]["started_at"] == "timestamp"
    machine.imported("--lake", str(lake))
    assert read_lake(pyiceberg, lake) == told

    # a day that is gone, a run that was killed before it could tell, and columns that the table did not have
    client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path))
    client.command(
        "DELETE FROM ccusage.ccusage_usage_daily WHERE date = (SELECT max(date) FROM ccusage.ccusage_usage_daily)"
    )
    client.close()
    manifest = json.loads((lake / ci.LAKE_MANIFEST).read_text())
    del manifest["tables"]["ccusage_messages"]["months"][max(manifest["tables"]["ccusage_messages"]["months"])]
    manifest["tables"]["ccusage_models_used"]["columns"].popitem()
    (lake / ci.LAKE_MANIFEST).write_text(json.dumps(manifest))
    (lake / ".ccusage_usage_monthly.unfinished").touch()
    next((lake / "ccusage_usage_monthly" / "data").glob("data-*.parquet")).unlink()
    for number in range(ci.LAKE_SNAPSHOTS):  # of this one too many tables are kept
        (lake / "ccusage_usage_daily" / "metadata" / f"v0{number}.json").touch()
    machine.imported("--lake", str(lake))
    now = read_lake(pyiceberg, lake)
    assert_says_what_the_database_says(machine, now)
    changed = {table for table in told if now[table]["version"] != told[table]["version"]}
    assert changed == {"ccusage_messages"}  # the others were made anew
    assert now["ccusage_usage_daily"]["rows"] < told["ccusage_usage_daily"]["rows"]
    assert not [*lake.glob(".*")]
    assert not [*(lake / "ccusage_usage_daily" / "metadata").glob("v0*")]

    # a run that was killed, or found the disk full, while it changed a table
    patch = "ci.Store.write_parquet = lambda *_: os.kill(os.getpid(), 9)"
    client = clickhouse_connect.get_client(interface="chdb", path=str(machine.db_path))
    client.command(
        "DELETE FROM ccusage.ccusage_usage_blocks WHERE start_time = (SELECT max(start_time) FROM ccusage.ccusage_usage_blocks)"
    )
    client.close()
    assert machine.run_patched(patch, "--lake", str(lake)).returncode < 0
    newest = max((lake / "ccusage_usage_blocks" / "metadata").glob("v*.json"), key=lambda path: path.stat().st_mtime)
    newest.write_text("")
    machine.imported("--lake", str(lake))
    assert_says_what_the_database_says(machine, read_lake(pyiceberg, lake))

    # another database's
    other = Machine(machine.home, settings={"CCUSAGE_DB_PATH": str(tmp_path / "other"), "CCUSAGE_USER": "bob"})
    other.imported("--quiet")
    result = other.run("--lake", str(lake))
    assert (result.returncode, "holds rows of ada on m" in result.stderr) == (1, True), result.stderr

    # from a server: the engine in process writes
    served = Machine(machine.home, settings=machine.settings, server=server)
    served.imported("--push-local", CCUSAGE_CONVERSATIONS="true")
    served.imported("--lake", str(tmp_path / "served"))
    assert_says_what_the_database_says(served, read_lake(pyiceberg, tmp_path / "served"))

    for folder, what in ((machine.home, "is no lake"), (tmp_path / "a*b", "has one of the characters")):
        refused = machine.run("--lake", str(folder))
        assert refused.returncode == 2
        assert what in refused.stderr
