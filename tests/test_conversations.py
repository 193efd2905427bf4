"""Conversations become facts: what is stored of the logs is what ccusage counts, whatever happens while they are read."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import conversation_logs
import conversation_oracle
import pytest
from conftest import IMPORTER, Machine, Server, thorough
from conversation_oracle import private_id

import ccusage_importer as ci

UNTIL = datetime(2026, 3, 20, 9, tzinfo=timezone.utc)
TOKENS = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
SUMS = ", ".join(f"sum({name}_tokens)" for name in ("input", "output", "cache_creation", "cache_read"))
MESSAGES = "SELECT * EXCEPT weight FROM ccusage_messages FINAL ORDER BY message_id"
TOOL_CALLS = "SELECT * EXCEPT weight FROM ccusage_tool_calls FINAL ORDER BY tool_use_id"


def tokens(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in TOKENS)


def sums_by(*columns: str) -> str:
    return f"SELECT {', '.join(columns)}, {SUMS} FROM ccusage_messages FINAL WHERE kind = 'response' GROUP BY ALL"


def by_key(rows: list[tuple[Any, ...]]) -> dict[Any, tuple[int, ...]]:
    """Rows of `sums_by` by what they are grouped by; sums of nothing aside, which ccusage does not tell of."""
    return {row[:-4] if len(row) > 5 else row[0]: row[-4:] for row in rows if any(row[-4:])}


class Reader:
    """A database in this process into which logs are read without ccusage."""

    def __init__(self, folder: Path, home: Path, **settings: str) -> None:
        settings = {"CCUSAGE_DB_PATH": str(folder), "CCUSAGE_USER": "ada", "MACHINE_NAME": "vm", **settings}
        self.config = ci.read_config(settings, ci.make_parser().parse_args([]))
        self.home = home
        store, _ = ci.open_ready_store(self.config, make_schema=True)
        assert store is not None
        self.store = store

    def read(self, everything: bool = False) -> ci.LogsRead:
        told = ci.LogsRead()
        ci.read_logs(self.store, lambda: "UTC", everything, told)
        return told

    def rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        return self.store.query(MESSAGES), self.store.query(TOOL_CALLS)


@contextmanager
def reader(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[Reader]:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / ".claude"))
    opened = Reader(folder, home, **settings)
    try:
        yield opened
    finally:
        opened.store.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 8 days of logs of every form, broken lines among them."""
    home = tmp_path_factory.mktemp("conversations")
    conversation_logs.write_conversations(home, days=8, seed=11, until=UNTIL, broken=True)
    return home


# ---- the numbers are ccusage's ------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "disputed"), [(1, True), (3, False)])
def test_the_messages_add_up_to_what_ccusage_says(tmp_path: Path, seed: int, disputed: bool) -> None:
    conversation_logs.write_conversations(tmp_path, days=12, seed=seed, until=UNTIL, broken=True, disputed=disputed)
    machine = Machine(tmp_path)
    machine.imported("--quiet")
    blocks = "SELECT count(), toUInt64(sum(input_tokens + output_tokens + cache_creation_tokens + cache_read_tokens)) FROM ccusage_messages FINAL WHERE kind = 'response'"
    days, models, projects, sessions, [entries] = machine.queries(
        [
            sums_by(*columns)
            for columns in (
                ["toString(date)"],
                ["toString(date)", "model"],
                ["project_id", "toString(date)"],
                ["session_id"],
            )
        ]
        + [blocks]
    )
    daily = machine.ccusage("claude", "daily")["daily"]
    assert by_key(days) == {row["date"]: tokens(row) for row in daily}
    assert by_key([row for row in models if row[1] not in ("", "<synthetic>")]) == {
        (row["date"], part["modelName"]): tokens(part) for row in daily for part in row["modelBreakdowns"]
    }
    said = machine.ccusage("claude", "daily", "--instances")["projects"]
    assert by_key(projects) == {
        (ci.Privacy().name(project), row["date"]): tokens(row) for project, rows in said.items() for row in rows
    }
    if not disputed:  # there daily, session and blocks of ccusage disagree among themselves
        assert by_key(sessions) == {
            row["sessionId"]: tokens(row) for row in machine.ccusage("claude", "session")["sessions"]
        }
        stored = [row for row in machine.ccusage("claude", "blocks")["blocks"] if not row["isGap"]]
        assert entries == (sum(row["entries"] for row in stored), sum(row["totalTokens"] for row in stored))


# ---- the facts are those of the logs -------------------------------------------------------------------


def stored_tool(name: str) -> str:
    """MCP servers and their tools are stored as hashes, like everything that no list of tools knows."""
    if name.startswith("mcp__"):
        return "__".join(["mcp", *(private_id(part) for part in name.split("__")[1:])])
    return name if re.fullmatch("[A-Za-z]+", name) else private_id(name)


@pytest.mark.parametrize(
    ("seed", "broken", "canary"), [(21, False, ""), (23, True, "CANARY"), *thorough((22, True, ""))]
)
def test_tools_and_events_are_what_another_reader_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, broken: bool, canary: str
) -> None:
    home = tmp_path / "home"
    conversation_logs.write_conversations(home, days=10, seed=seed, until=UNTIL, broken=broken, canary=canary)
    found = conversation_oracle.read_conversations(home)
    with reader(tmp_path / "db", home, monkeypatch) as opened:
        opened.read()
        calls = opened.store.query(
            "SELECT toString(date), tool, project_id, state, write_type, lines_added, lines_removed, lines_read,"
            " user_modified, file_id, duration_ms > 0 FROM ccusage_tool_calls FINAL"
        )
        events = opened.store.query(
            "SELECT kind, toString(started_at), project_id, session_id, compaction, compacted_tokens, duration_ms, api_status"
            " FROM ccusage_messages FINAL WHERE kind != 'response'"
        )
    assert Counter(calls) == Counter(
        (
            str(found.day(call.asked)),
            stored_tool(call.tool),
            private_id(call.project),
            call.state,
            call.write_type,
            call.lines_added,
            call.lines_removed,
            call.lines_read,
            int(call.user_modified),
            private_id(call.file, 16) if call.file else "",
            int(call.answered is not None and call.answered > call.asked),
        )
        for call in found.calls.values()
    )
    assert Counter(events) == Counter(
        (
            event.kind,
            f"{event.moment:%Y-%m-%d %H:%M:%S}.{event.moment.microsecond // 1000:03}",
            private_id(event.project),
            event.session_id,
            event.compaction,
            event.compacted_tokens,
            event.duration_ms,
            event.api_status,
        )
        for event in found.events.values()
    )


# ---- the same rows, whatever the order of reading -----------------------------------------------------


@pytest.mark.parametrize("seed", [1, *thorough(2, 3)])
def test_the_order_of_reading_changes_nothing(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with reader(tmp_path / "at_once", logs, monkeypatch) as once:
        assert once.read().problems == []
        expected = once.rows()
    rng = random.Random(seed)
    home = tmp_path / "home"
    files = [path.relative_to(logs) for path in logs.rglob("*.jsonl")]
    size = sum((logs / path).stat().st_size for path in files)
    rng.shuffle(files)
    monkeypatch.setattr(ci, "BATCH_BYTES", size // 3)
    with reader(tmp_path / "in_parts", home, monkeypatch) as parts:
        for share in (0.3, 0.7, 1.0):
            for path in files[: int(len(files) * share)]:
                data = (logs / path).read_bytes()
                (home / path).parent.mkdir(parents=True, exist_ok=True)
                (home / path).write_bytes(data if share == 1.0 else data[: rng.randrange(len(data))])
            parts.read()
        assert parts.rows() == expected
        assert parts.read().files == 0
        assert parts.read(everything=True).files == len(files)
        assert parts.rows() == expected


# ---- embedded, on a server, brought there -------------------------------------------------------------


def contents(machine: Machine, **leave_out: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored of the logs, but when it was read; from a server as from a folder."""
    rows = {}
    for table, without in {
        "ccusage_messages": "''",
        "ccusage_tool_calls": "''",
        "ccusage_log_files": "read_at",
    }.items():
        select = f"SELECT toString(tuple(* EXCEPT ('^{without}$'))) FROM {table} FINAL ORDER BY ALL"
        rows[table] = machine.query(select)
    return rows


def test_a_server_is_given_the_rows_that_the_embedded_engine_stores(logs: Path, tmp_path: Path, server: Server) -> None:
    home = tmp_path / "home"
    shutil.copytree(logs, home)
    local = Machine(home, settings={"MACHINE_NAME": "vm"})
    local.imported("--quiet")
    expected = contents(local)
    assert all(expected.values())
    served = Machine(home, settings={"MACHINE_NAME": "vm"}, server=server)
    served.imported("--push-local", CCUSAGE_CONVERSATIONS="true")
    assert contents(served) == expected
    for table in expected:
        server.post(f"/?database={server.database}", f"TRUNCATE TABLE {table}")
    served.imported("--quiet")
    responses_alone = contents(served)
    assert responses_alone["ccusage_tool_calls"] == []
    assert served.query("SELECT DISTINCT kind FROM ccusage_messages") == [("response",)]
    served.imported("--quiet", CCUSAGE_CONVERSATIONS="true")  # what exists is read again
    assert contents(served) == expected
    history = "SELECT log_files, messages, tool_calls, broken_lines FROM ccusage_import_history ORDER BY import_timestamp DESC, created_at DESC LIMIT 1"
    [(files, messages, calls, broken)] = served.query(history)
    assert files == len(expected["ccusage_log_files"])
    assert messages >= len(expected["ccusage_messages"])
    assert calls >= len(expected["ccusage_tool_calls"])
    assert broken == served.query("SELECT sum(broken_lines) FROM ccusage_log_files FINAL")[0][0] > 0


# ---- what counts, and what repeats what: each case is a project of its own ----------------------------


def line(
    message: str | None = "m", request: str | None = "r1", session: str | None = "s", **fields: Any
) -> dict[str, Any]:
    """A response's line; `out` tokens, at `second`, further fields as they are."""
    usage = {
        "input_tokens": 0,
        "output_tokens": fields.pop("out", 100),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    usage |= fields.pop("usage", {})
    said = {"model": "claude-opus-4-5-20251101", "usage": usage} | ({"id": message} if message is not None else {})
    told = {
        "type": "assistant",
        "timestamp": f"2026-03-01T10:00:{fields.pop('second', 0):02}.000Z",
        "version": "2.0.14",
    }
    told |= {"message": said | fields.pop("message_fields", {})}
    told |= {"requestId": request} if request is not None else {}
    told |= {"sessionId": session} if session is not None else {}
    return told | fields


def relay(inner: dict[str, Any]) -> dict[str, Any]:
    kept = {name: inner[name] for name in ("type", "message", "requestId", "timestamp", "isSidechain") if name in inner}
    return {
        "type": "progress",
        "timestamp": inner["timestamp"],
        "sessionId": inner.get("sessionId"),
        "version": "2.1.5",
        "data": {"type": "agent_progress", "message": kept},
    }


SIDE: dict[str, Any] = {"isSidechain": True}
REPETITIONS: dict[str, list[dict[str, Any]]] = {
    "same request": [line(), line(out=50), line(out=200), line(out=150)],
    "other request": [line(), line(request="r2", out=50)],
    "no request, same time": [line(request=None), line(request=None, out=50)],
    "no request, other time": [line(request=None), line(request=None, out=50, second=1)],
    "no request, other session": [line(request=None), line(request=None, session="t", out=50)],
    "no request, no session": [line(request=None, session=None), line(request=None, session=None, out=50)],
    "request and none": [line(), line(request=None, out=50)],
    "no id": [line(message=None), line(message=None), line(message=None, out=50)],
    "sidechain of the session": [line(), line(request="r2", out=500, **SIDE)],
    "sidechain first": [line(request="r2", out=500, **SIDE), line()],
    "sidechain of another session": [line(), line(request="r2", session="t", out=500, **SIDE)],
    "sidechain of no session": [line(), line(request="r2", session=None, out=500, **SIDE)],
    "sidechains of no session": [line(session=None), line(request="r2", session=None, out=500, **SIDE)],
    "sidechain, same request, other session": [line(), line(session="t", out=500, **SIDE)],
    "two sidechains": [line(**SIDE), line(request="r2", out=500, **SIDE)],
    "two sidechains, other session": [line(**SIDE), line(request="r2", session="t", out=500, **SIDE)],
    "sidechains, no request": [line(request=None, **SIDE), line(request=None, out=500, second=1, **SIDE)],
    "sidechain between two": [line(out=1), line(request="r2", out=20, **SIDE), line(request="r3", out=300)],
    "sidechain before two": [line(request="r2", out=20, **SIDE), line(out=1), line(request="r3", out=300)],
    "relayed": [line(), relay(line(out=500))],
    "relayed without a request": [line(request=None), relay(line(request=None, out=500))],
    "relayed of a sidechain": [line(request="r2", **SIDE), relay(line(out=500))],
    "relayed as a sidechain": [line(request="r2"), relay(line(out=500, **SIDE))],
    "relayed alone": [relay(line(out=7))],
    "a speed": [line(), line(usage={"speed": "standard"})],
    "fast": [line(usage={"speed": "fast"})],
    "hour alone": [line(usage={"cache_creation": {"ephemeral_1h_input_tokens": 7}, "cache_creation_input_tokens": 50})],
    "no part of the cache": [line(usage={"cache_creation": {}, "cache_creation_input_tokens": 50})],
    "cache of null": [line(usage={"cache_creation": None, "cache_creation_input_tokens": 50})],
    "synthetic": [line(out=3, message_fields={"model": "<synthetic>"})],
    "no model": [line(out=3, message_fields={"model": None}), line("n", out=5)],
}  # fmt: skip
ODD_LINES: dict[str, dict[str, Any]] = {
    "fraction": line(out=100.5),
    "text": line(out="100"),
    "negative": line(out=-1),
    "null": line(out=None),
    "large": line(out=2**40),
    "speed": line(usage={"speed": "turbo"}),
    "no speed": line(usage={"speed": None}),
    "null deep inside": line(toolUseResult={"id": None}),
    "null that may be": line(gitBranch=None, parentUuid=None, message_fields={"stop_reason": None}),
    "null in a text": line(note='"id":null'),
    "empty session": line(session=""),
    "empty request": line(request=""),
    "empty id": line(message=""),
    "no version": {name: value for name, value in line().items() if name != "version"},
    "empty version": line(version=""),
    "short version": line(version="2.0"),
    "long version": line(version="2.0.1-beta"),
    "version of words": line(version="next"),
    "no type": {name: value for name, value in line().items() if name != "type"},
    "typed by a user": line(type="user"),
    "content of a number": line(message_fields={"content": 5}),
    "half a surrogate": line(note="\ud83d", message_fields={"content": [{"type": "text", "text": "a\ud83d\\ud800"}]}),
    "no sidechain": line(isSidechain=None),
    "usage of a list": line(message_fields={"usage": [1]}),
    **{
        f"at {moment}": line(timestamp=moment)
        for moment in (
            "2026-03-01T10:00:00Z", "2026-03-01T10:00:00.1Z", "2026-03-01T10:00:00.123456Z", "2026-03-01T10:00:00+02:00",
            "2026-03-01T23:30:00.500-02:00", "2026-03-01T10:00:00.000+0200", "2026-03-01T10:00:00", "2026-03-01 10:00:00Z",
            "2026-03-01T10:00:60Z", "2026-02-30T10:00:00.000Z", "2026-03-01T24:00:00.000Z", "20260301T100000Z", "",
        )
    },
}  # fmt: skip


def test_what_counts_and_what_repeats_is_what_ccusage_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = REPETITIONS | {name: [odd] for name, odd in ODD_LINES.items()}
    for number, lines in enumerate(cases.values()):
        text = "".join(json.dumps(told, separators=(",", ":")) + "\n" for told in lines)
        for name in ("m", "n", "r1", "r2", "r3", "s", "t"):  # no case repeats another's
            text = text.replace(f'"{name}"', f'"{name}-{number}"')
        log = tmp_path / ".claude" / "projects" / f"-case-{number}" / "log.jsonl"
        log.parent.mkdir(parents=True)
        log.write_text(text)
    said = Machine(tmp_path).ccusage("claude", "daily", "--instances")["projects"]
    expected = {(project, row["date"]): tokens(row) for project, rows in said.items() for row in rows}
    with reader(tmp_path / "db", tmp_path, monkeypatch, HASH_PROJECT_NAMES="false") as read:
        assert read.read().problems == []
        found = by_key(read.store.query(sums_by("project_id", "toString(date)")))
    names = list(cases)

    def named(rows: dict[Any, tuple[int, ...]]) -> dict[tuple[str, str], int]:
        return {(names[int(project.rpartition("-")[2])], day): sum(kinds) for (project, day), kinds in rows.items()}

    assert named(found) == {case: total for case, total in named(expected).items() if total}


# ---- renamed, gone, unreadable, cut: what happens to logs ---------------------------------------------


def write_log(home: Path, path: str, *lines: dict[str, Any]) -> Path:
    log = home / ".claude" / "projects" / path
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(json.dumps(told, separators=(",", ":")) + "\n" for told in lines))
    return log


def by_session(read: Reader) -> list[tuple[Any, ...]]:
    return read.store.query(
        "SELECT project_id, session_id, sum(output_tokens) FROM ccusage_messages FINAL GROUP BY ALL ORDER BY ALL"
    )


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader of an empty home that stores names as they are."""
    (tmp_path / ".claude" / "projects").mkdir(parents=True)
    with reader(tmp_path / "db", tmp_path, monkeypatch, HASH_PROJECT_NAMES="false") as read:
        yield read


def test_the_path_that_still_exists_decides_the_project_of_a_session(plain: Reader) -> None:
    write_log(plain.home, "-old/s.jsonl", line("1"), line("2"))
    write_log(plain.home, "-old/s/subagents/agent-a.jsonl", line("3", **SIDE))
    write_log(plain.home, "-kept/t.jsonl", line("1"), line("4"))  # between sessions the first path stays
    plain.read()
    assert by_session(plain) == [("-kept", "t", 200), ("-old", "s", 200)]
    projects = plain.home / ".claude" / "projects"
    for name in ("-a-first-name", "-z-last-name"):  # whether it comes before or behind what it was
        next(projects.glob("-[!k]*")).rename(projects / name)
        assert plain.read().files == 2
        assert by_session(plain) == sorted([("-kept", "t", 200), (name, "s", 200)])
    shutil.rmtree(projects / "-z-last-name")
    plain.read(everything=True)
    assert by_session(plain) == [("-kept", "t", 200), ("-z-last-name", "s", 200)]


def test_of_equal_copies_the_first_path_counts_whichever_was_read_first(plain: Reader) -> None:
    for path in ("-m/s.jsonl", "-c/s.jsonl", "-x/s.jsonl", "-a/s.jsonl", "-b/s.jsonl"):
        write_log(plain.home, path, line())
        plain.read()
        first = min(log.parent.name for log in plain.home.rglob("s.jsonl"))
        assert by_session(plain) == [(first, "s", 100)]


@pytest.mark.parametrize(("day", "next_day"), [("2026-02-28", "2026-03-01"), ("2026-03-31", "2026-04-01")])
@pytest.mark.parametrize("within_each", [0, 1])
def test_a_message_streamed_over_midnight_is_of_the_day_of_the_line_that_counts(
    plain: Reader, day: str, next_day: str, within_each: int
) -> None:
    def at(moment: str, out: int) -> dict[str, Any]:
        return line(out=out, timestamp=moment)

    log = write_log(plain.home, "-p/s.jsonl", at(f"{day}T23:59:59.900Z", 10))
    plain.read()
    log.write_text(log.read_text() + json.dumps(at(f"{next_day}T00:00:00.100Z", 4200), separators=(",", ":")) + "\n")
    plain.read()
    rows = plain.store.query(
        "SELECT toString(date), output_tokens, toString(started_at), toString(ended_at), duration_ms"
        f" FROM ccusage_messages FINAL SETTINGS do_not_merge_across_partitions_select_final = {within_each}"
    )
    assert rows == [(next_day, 4200, f"{next_day} 00:00:00.100", f"{next_day} 00:00:00.100", 200)]


def test_logs_that_cannot_be_read_stop_no_other(plain: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write_log(plain.home, "-p/good.jsonl", line("1"))
    write_log(plain.home, "-p/vanished.jsonl", line("2"))
    write_log(plain.home, "-p/closed.jsonl", line("3"))
    write_log(plain.home, "-p/[a]*{b}?.jsonl", line("4"))
    (plain.home / ".claude" / "projects" / "-p" / "link.jsonl").symlink_to(good)
    (plain.home / ".claude" / "projects" / "-q").symlink_to(good.parent)
    opened = Path.open

    def odd(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "closed.jsonl":
            raise PermissionError(13, "Permission denied")
        if path.name == "vanished.jsonl":
            raise FileNotFoundError(2, "No such file or directory")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", odd)
    told = plain.read()
    assert (told.files, told.messages) == (2, 2)
    assert told.problems == ["1 logs or folders of logs cannot be read: look at their owner and rights"]
    monkeypatch.undo()
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(plain.home / ".claude"))
    told = plain.read()
    assert (told.files, told.messages, told.problems) == (2, 2, [])
    assert plain.store.query("SELECT count() FROM ccusage_messages FINAL") == [(4,)]


def test_logs_on_another_file_system_are_read_through_symbolic_links(
    plain: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(link: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    write_log(plain.home, "-p/s.jsonl", line())
    assert plain.read().messages == 1
    assert not (plain.home / "db" / "reading").exists()


def test_a_database_in_a_folder_with_odd_characters_reads_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "{a} [c]*"
    write_log(home, "-p/s.jsonl", line())
    with reader(home / "db", home, monkeypatch) as read:
        assert read.read().messages == 1


def test_a_sub_agent_whose_log_is_gone_moves_with_its_session(plain: Reader) -> None:
    """There and back again: of equal paths the one that exists decides."""
    projects = plain.home / ".claude" / "projects"
    write_log(plain.home, "-a/s.jsonl", line("1"))
    write_log(
        plain.home,
        "-a/s/subagents/agent-x.jsonl",
        line("2", message_fields={"content": [{"type": "tool_use", "id": "t", "name": "Bash"}]}, **SIDE),
    )
    write_log(plain.home, "-a/t.jsonl", line("3"))
    plain.read()
    shutil.rmtree(projects / "-a" / "s")
    (projects / "-a" / "t.jsonl").unlink()
    for former, name in (("-a", "-b"), ("-b", "-a"), ("-a", "-z")):
        (projects / former).rename(projects / name)
        assert plain.read().files == 1
        assert by_session(plain) == sorted([("-a", "t", 100), (name, "s", 200)])  # of `t` nobody knows the new name
        assert plain.store.query("SELECT DISTINCT project_id FROM ccusage_tool_calls FINAL") == [(name,)]
        assert plain.read().files == 0
    write_log(plain.home, "-z/s/subagents/agent-y.jsonl", line("4", **SIDE))
    plain.read()
    (projects / "-y").mkdir()
    (projects / "-z" / "s.jsonl").rename(projects / "-y" / "s.jsonl")  # alone: its sub-agent's log stays where it is
    plain.read()
    assert by_session(plain) == [("-a", "t", 100), ("-y", "s", 100), ("-z", "s", 200)]


@contextmanager
def full_after(inserts: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So many blocks can be stored, and no more."""
    insert_from, left = ci.Store.insert_from, inserts

    def insert_or_fail(store: ci.Store, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ci.ImporterError("no space left on device", "make room")
        insert_from(store, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ci.Store, "insert_from", insert_or_fail)
        yield


def test_what_could_not_be_stored_is_read_again(plain: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(plain.home, "-p/s.jsonl", line())
    for inserts in (0, 1, 1, 2):  # the log's place, once; messages, tool calls, and that it was read
        with full_after(inserts, monkeypatch):
            told = plain.read()
            assert told.problems == ["the conversations could not be stored: no space left on device; make room"]
        assert not (plain.home / "db" / "reading").exists()
        assert plain.store.read_logged_sessions(["s"]) == frozenset()
    assert plain.read().files == 1
    assert by_session(plain) == [("-p", "s", 100)]
    assert plain.store.read_logged_sessions(["s"]) == {"s"}


def test_a_log_that_was_half_stored_has_its_new_project_when_its_folder_was_renamed(
    plain: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects = plain.home / ".claude" / "projects"
    write_log(plain.home, "-a/s.jsonl", line())
    for number in range(20):  # of places in order, so that one that is found anew would hardly be before the old one
        write_log(plain.home, f"-b/{number}.jsonl", line(f"{number}"))
    with full_after(len(ci.LOG_TABLES), monkeypatch):
        assert plain.read().problems
    (projects / "-a").rename(projects / "-z")
    assert not plain.read().problems
    assert by_session(plain)[-1] == ("-z", "s", 100)


# ---- no word of a conversation anywhere ---------------------------------------------------------------

CANARY = "KANARIENVOGEL"


@pytest.fixture(scope="module")
def marked_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose logs hold the canary in every text, path, branch, command and name."""
    home = tmp_path_factory.mktemp("marked")
    conversation_logs.write_conversations(home, days=5, seed=2, until=UNTIL, broken=True, canary=CANARY)
    assert CANARY in str(next(home.rglob("*.jsonl")))
    return home


@pytest.mark.parametrize(
    "key", ["", "a key", "a key that is longer than a block of the hash, of 64 bytes, and so hashed itself"]
)
def test_the_engine_hides_names_as_python_does(
    marked_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with reader(tmp_path / "db", marked_home, monkeypatch, PROJECT_HASH_KEY=key) as read:
        read.read()
        for rows in read.rows():
            assert CANARY not in str(rows)

        def stored(column: str, table: str) -> set[str]:
            return {name for (name,) in read.store.query(f"SELECT DISTINCT {column} FROM {table}")}

        branches = stored("branch_id", "ccusage_messages")
        files = stored("file_id", "ccusage_tool_calls")
        projects = stored("project_id", "ccusage_messages")
    privacy = ci.Privacy(key=key)
    assert {"main", privacy.name(f"{CANARY}-feature/checkout")} <= branches
    assert privacy.digest(f"/home/dev/code/{CANARY}/{CANARY}-webshop/src/{CANARY}/{CANARY}-cart.py")[:16] in files
    assert projects == {privacy.name(path.name) for path in (marked_home / ".claude" / "projects").iterdir()}


@pytest.mark.parametrize("moment", [0.0, *thorough(0.4)])
def test_a_run_that_was_killed_leaves_no_word_and_the_next_one_every_row(
    marked_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    home = tmp_path / "home"
    shutil.copytree(marked_home, home)
    with reader(tmp_path / "never_killed", home, monkeypatch) as once:
        once.read()
        expected = [[row[:6] for row in rows] for rows in once.rows()]
    monkeypatch.undo()
    machine = Machine(home)
    folder = machine.db_path / "reading"
    command = [sys.executable, str(IMPORTER), "--quiet"]
    with subprocess.Popen(command, env=machine.environment(), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (folder / "files.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moment)
        process.kill()
    left = list(folder.iterdir()) if folder.exists() else []
    if left:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert CANARY not in "".join(path.name for path in left)
        assert not any(CANARY in path.read_text() for path in left if path.name == "files.jsonl")
        assert not any(path.is_symlink() for path in left)
    assert machine.run("--quiet").returncode == 0  # marked models have no price, which is told
    assert not folder.exists()
    assert [[row[:6] for row in rows] for rows in machine.queries([MESSAGES, TOOL_CALLS])] == expected


# ---- what a run says ----------------------------------------------------------------------------------


def test_what_would_be_read_is_said_and_what_could_not_be_is_a_partial_import(tmp_path: Path) -> None:
    write_log(tmp_path, "-p/s.jsonl", line("1"))
    write_log(tmp_path, "-p/t.jsonl", line("2"))
    machine = Machine(tmp_path)
    assert "would read 2 of 2 logs of conversations (" in machine.imported("--dry-run")
    saved = tmp_path / "saved"
    assert "read 2 logs (" in machine.imported("--save-json", str(saved))
    assert "--from-json reads no logs" in machine.imported("--from-json", str(saved))
    assert "would read 0 of 2 logs" in machine.imported("--dry-run")
    assert "would read 2 of 2 logs" in machine.imported("--dry-run", "--backfill")
    again = machine.imported()
    assert "read 2 logs" not in again
    write_log(tmp_path, "-p/t.jsonl", line("2"), line("3"))
    reading = machine.db_path / "reading"
    reading.write_text("in the way of the folder")
    result = machine.run()
    assert result.returncode == 3
    assert "the conversations could not be read" in result.stderr
    assert machine.rows("ccusage_usage_daily")
    assert machine.query("SELECT sum(output_tokens) FROM ccusage_usage_daily FINAL") == [(300,)]
    reading.unlink()
    machine.imported("--quiet")
    assert machine.query("SELECT sum(output_tokens) FROM ccusage_messages FINAL") == [(300,)]
