"""The oracle that reads conversations is itself right: its tokens are ccusage's, on logs of every form."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import conversation_logs
import conversation_oracle
import pytest
from conftest import Machine

UNTIL = datetime(2026, 3, 20, 9, tzinfo=timezone.utc)
TOKENS = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")


def tokens(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in TOKENS)


@pytest.mark.parametrize(("seed", "canary"), [(1, ""), (2, "CANARY")])
def test_the_oracle_counts_days_projects_and_models_as_ccusage_does(tmp_path: Path, seed: int, canary: str) -> None:
    conversation_logs.write_conversations(tmp_path, days=12, seed=seed, until=UNTIL, broken=True, canary=canary)
    found = conversation_oracle.read_conversations(tmp_path)
    machine = Machine(tmp_path)
    daily = machine.ccusage("claude", "daily")["daily"]
    assert {str(day): kinds for day, kinds in found.tokens_by("day").items()} == {
        row["date"]: tokens(row) for row in daily
    }
    by_model = {(row["date"], part["modelName"]): tokens(part) for row in daily for part in row["modelBreakdowns"]}
    assert {
        (str(day), model): kinds for (day, model), kinds in found.tokens_by("day", "model").items() if model
    } == by_model
    projects = machine.ccusage("claude", "daily", "--instances")["projects"]
    assert {(project, str(day)): kinds for (project, day), kinds in found.tokens_by("project", "day").items()} == {
        (project, row["date"]): tokens(row) for project, rows in projects.items() for row in rows
    }


@pytest.mark.parametrize("seed", [3])
def test_the_oracle_counts_sessions_and_blocks_as_ccusage_does(tmp_path: Path, seed: int) -> None:
    conversation_logs.write_conversations(tmp_path, days=12, seed=seed, until=UNTIL, broken=True, disputed=False)
    found = conversation_oracle.read_conversations(tmp_path)
    machine = Machine(tmp_path)
    sessions = {row["sessionId"]: tokens(row) for row in machine.ccusage("claude", "session")["sessions"]}
    assert {session: kinds for session, kinds in found.tokens_by("session_id").items() if any(kinds)} == sessions
    blocks = [
        (datetime.fromisoformat(row["startTime"].replace("Z", "+00:00")), row["entries"], row["totalTokens"])
        for row in machine.ccusage("claude", "blocks")["blocks"]
        if not row["isGap"]
    ]
    assert found.blocks() == blocks


def test_the_same_seed_gives_the_same_logs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        conversation_logs.write_conversations(
            tmp_path / name, days=3, seed=5, until=UNTIL, broken=True, canary="CANARY"
        )
    one, two = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.jsonl")}
        for name in ("one", "two")
    )
    assert one == two
