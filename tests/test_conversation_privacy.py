"""No word of a conversation, no path, branch, command or name gets out of the logs: each holds a canary that nothing else does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import conversation_logs
import pytest
from conftest import IMPORTER, Machine

import ccusage_importer as ci

CANARY = "kanarienvogel"


@pytest.fixture
def marked(tmp_path: Path) -> Machine:
    """A machine in whose logs every text is marked, those in fields that are stored as well."""
    home = tmp_path / "home"
    now = datetime.now(timezone.utc)
    conversation_logs.write_conversations(home, days=6, seed=4, until=now, broken=True, canary=CANARY)
    return Machine(home, settings={"TMPDIR": str(tmp_path), "CCUSAGE_CONVERSATIONS": "true"})


def told(data: bytes) -> bool:
    return CANARY.encode() in data.lower()


FILLED_OTHERWISE = {"ccusage_usage_blocks", "ccusage_activity", "ccusage_budgets", "ccusage_forgotten"}


def rows_with_the_mark(machine: Machine) -> list[str]:
    """Columns of all tables in which it is, with one of their values."""
    tables = machine.query(
        "SELECT name FROM system.tables WHERE database = 'ccusage' AND engine LIKE '%MergeTree' ORDER BY name"
    )
    assert {table for (table,) in tables} == {table.name for table in ci.declared_schema() if table.columns}
    found = []
    for (table,), rows in zip(
        tables, machine.queries([f"SELECT toJSONString(tuple(*)) FROM {table}" for (table,) in tables]), strict=True
    ):
        assert rows or table in FILLED_OTHERWISE, table
        found += [f"{table}: {row[0]}" for row in rows if told(row[0].encode())]
    return found


def test_nothing_of_a_conversation_gets_out(marked: Machine, tmp_path: Path) -> None:
    log = tmp_path / "import.log"
    shown = marked.run("--verbose", "--log-file", str(log)).stdout
    assert marked.query("SELECT count() > 50 FROM ccusage_messages WHERE kind = 'prompt'") == [(True,)]
    assert rows_with_the_mark(marked)[:3] == []
    for name in ("usage.html", "usage.json", "usage.md", "usage.svg"):
        marked.imported("--export", str(tmp_path / name))
        assert not told((tmp_path / name).read_bytes()), name
    assert not told(log.read_bytes())
    assert not told(shown.encode())
    for answer in (
        ["--check"],
        ["--query", "hot_files", "--format", "json"],
        ["--query", "branches", "--format", "csv"],
    ):
        assert not told(marked.run(*answer).stdout.encode()), answer
    left = [path for path in (*marked.db_path.rglob("*"), *tmp_path.glob("tmp*")) if told(path.name.encode())]
    assert left == []
    assert not list(marked.home.rglob("pending/*"))


def test_a_kill_leaves_nothing_of_a_conversation_in_temporary_folders(marked: Machine, tmp_path: Path) -> None:
    environment = marked.environment()
    importing = subprocess.Popen([sys.executable, str(IMPORTER), "--quiet"], env=environment)
    for _ in range(500):  # as soon as there is something of its own beside the home
        if importing.poll() is not None or len(list(tmp_path.iterdir())) > 1:
            break
        time.sleep(0.01)
    importing.send_signal(signal.SIGKILL)
    importing.wait()
    for path in tmp_path.rglob("*"):
        if path.is_relative_to(marked.home / ".claude") or path.parent.name == "pending":
            continue
        assert not told(str(path.relative_to(tmp_path)).encode())
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:
            assert not told(path.read_bytes()), path
