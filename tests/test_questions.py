"""The questions about conversations: their answers against an independent reading of the same logs, and ccusage's costs."""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import conversation_logs
import conversation_oracle
import pytest
from conftest import Machine
from conversation_oracle import Conversations, Response, ToolCall, private_id
from test_answers import Answers, assert_rows, utc_now
from test_queries import OF_CONVERSATIONS, QUERIES, SCHEMA, open_store

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("questions")  # one import for all of them
DAY = timedelta(days=1)
CHANGING = ("Edit", "MultiEdit", "Write", "NotebookEdit")
REFUSED = ("user-rejected", "cancelled", "permission-rule")


class Asked:
    """What the logs hold, what ccusage says of them, and what the queries answer once they are stored."""

    def __init__(self, home: Path) -> None:
        conversation_logs.write_conversations(home, days=40, seed=11, until=utc_now())
        self.machine = Machine(home)
        self.machine.imported("--quiet")
        self.found: Conversations = conversation_oracle.read_conversations(home)
        self.answers = Answers(self.machine.db_path)
        self.today = self.answers.today
        projects = self.machine.ccusage("claude", "daily", "--instances")["projects"]
        self.costs = {
            (project, row["date"], part["modelName"]): part["cost"]
            for project, rows in projects.items()
            for row in rows
            for part in row["modelBreakdowns"]
        }
        weights: defaultdict[Any, float] = defaultdict(float)
        for response in self.found.responses:
            weights[self.key(response)] += response.weight
        self.weights = weights

    def key(self, response: Response) -> tuple[str, str, str]:
        return response.project, str(self.day(response.moment)), response.model or ""

    def day(self, moment: datetime) -> date:
        return self.found.day(moment)

    def cost(self, response: Response) -> float:
        """The response's share of what its project's day and model cost."""
        key = self.key(response)
        return self.costs.get(key, 0.0) * response.weight / self.weights[key] if self.weights[key] else 0.0

    def responses(self, days: int = 30) -> list[Response]:
        return [response for response in self.found.responses if self.day(response.moment) > self.today - days * DAY]

    def calls(self, days: int = 30) -> list[ToolCall]:
        return [call for call in self.found.calls.values() if self.day(call.asked) > self.today - days * DAY]

    def events(self, kind: str, days: int) -> list[conversation_oracle.Event]:
        events = self.found.events.values()
        return [event for event in events if event.kind == kind and self.day(event.moment) > self.today - days * DAY]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(tmp_path_factory.mktemp("asked"))


def most_first(counted: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By the second, the largest first, then by the first."""
    return sorted(counted, key=lambda row: (-row[1], row[0]))


def stored_tool(call: ToolCall) -> str:
    if not call.tool.startswith("mcp__"):
        return call.tool
    return "__".join(["mcp", *(private_id(name) for name in call.tool.split("__")[1:])])


# ---- cost ----------------------------------------------------------------------------------------------


def test_the_costs_of_responses_add_up_to_ccusages_of_each_project_day_and_model(asked: Asked) -> None:
    stored = asked.machine.query(
        "SELECT project_id, toString(date), model, sum(cost) FROM ccusage_fct_messages WHERE kind = 'response' GROUP BY ALL"
    )
    found = {(project, day, model): cost for project, day, model, cost in stored if cost}
    expected = {(private_id(project), day, model): cost for (project, day, model), cost in asked.costs.items() if cost}
    assert found.keys() == expected.keys()
    assert max(abs(found[key] - expected[key]) for key in expected) < 1e-9


def test_what_tools_and_prompts_and_sub_agents_cost_is_all_of_it(asked: Asked) -> None:
    everything = sum(asked.cost(response) for response in asked.responses())
    for query, column in (("cost_by_tool", "cost"), ("subagents", "cost")):
        assert sum(row[0] for row in asked.answers.rows(query, column)) == pytest.approx(everything), query
    whole = asked.machine.query("SELECT sum(cost) FROM ccusage_fct_prompts")[0][0]
    assert whole == pytest.approx(sum(asked.costs.values()))


def test_subagents(asked: Asked) -> None:
    expected = []
    for who, is_agent in (("conversations", False), ("sub-agents", True)):
        some = [response for response in asked.responses() if bool(response.is_sidechain or response.agent) == is_agent]
        expected.append((who, len(some), sum(r.total for r in some), sum(map(asked.cost, some))))
    expected.sort(key=lambda row: -row[3])
    assert_rows(asked.answers.rows("subagents", "who", "responses", "tokens", "cost"), expected)


def test_block_contents(asked: Asked) -> None:
    blocks = sorted(asked.found.blocks(), reverse=True)[:5]
    by_block = Counter[Any]()
    for response in asked.found.responses:
        for start, _, _ in blocks:
            if start <= response.moment < start + timedelta(hours=5):
                by_block[start.replace(tzinfo=None), private_id(response.project), response.model] += response.total
    found = asked.answers.rows("block_contents", "start_time", "project", "model", "tokens")
    assert {row[:3]: row[3] for row in found if row[3]} == {key: tokens for key, tokens in by_block.items() if tokens}


def test_context_growth(asked: Asked) -> None:
    sessions = defaultdict(list)
    for response in asked.responses():
        if not response.is_sidechain and not response.agent:
            sessions[response.session_id].append(response)
    steps = defaultdict(list)
    for session in sessions.values():
        for number, response in enumerate(sorted(session, key=lambda response: response.moment)):
            steps[number // 10].append(response.total - response.output)
    found = asked.answers.rows("context_growth", "responses_so_far", "responses")
    assert_rows(found, [(f"{10 * s + 1} to {10 * s + 10}", len(steps[s])) for s in sorted(steps)])


# ---- people --------------------------------------------------------------------------------------------


def test_prompts(asked: Asked) -> None:
    row = asked.answers.row("prompt_cost")
    prompts = asked.events("prompt", 30)
    assert row["prompts"] == len(prompts)
    assert row["responses_per_prompt"] > 1
    assert row["cost_of_prompts"] + row["cost_without_prompt"] == pytest.approx(
        sum(asked.cost(response) for response in asked.responses()), rel=0.02
    ), "but for prompts that the edge of the 30 days divides"
    dearest = asked.answers.rows("dearest_prompts", "cost")
    assert dearest[0][0] == row["highest_cost"]


def test_interruptions(asked: Asked) -> None:
    counted: defaultdict[date, Counter[str]] = defaultdict(Counter)
    for kind in ("prompt", "interruption"):
        for event in asked.events(kind, 200):
            day = asked.day(event.moment)
            counted[day - day.weekday() * DAY][kind] += 1
    assert_rows(
        asked.answers.rows("interruptions", "week", "prompts", "interruptions"),
        [(week, counts["prompt"], counts["interruption"]) for week, counts in sorted(counted.items(), reverse=True)],
    )


def test_compactions(asked: Asked) -> None:
    events = asked.events("compaction", 90)
    expected = []
    for trigger in {event.compaction for event in events}:
        tokens = [event.compacted_tokens for event in events if event.compaction == trigger]
        expected.append((trigger, len(tokens), sum(tokens) / len(tokens), max(tokens)))
    found = asked.answers.rows("compactions", "compaction", "compactions", "average_tokens", "largest_tokens")
    assert_rows(found, most_first(expected))


def test_work_heatmap(asked: Asked) -> None:
    moments = [event.moment for event in asked.events("prompt", 90)]
    slots = Counter((moment.isoweekday(), moment.hour) for moment in moments)
    assert_rows(asked.answers.rows("work_heatmap"), [(*slot, count) for slot, count in sorted(slots.items())])


def test_waiting_shares_are_whole(asked: Asked) -> None:
    rows = asked.answers.rows("waiting", "who", "percent")
    assert {who for who, _ in rows} == {"the model", "the tools", "me"}
    assert sum(percent for _, percent in rows) == pytest.approx(100)


# ---- tools and files -----------------------------------------------------------------------------------


def test_tool_use(asked: Asked) -> None:
    tools = defaultdict(list)
    for call in asked.calls():
        tools[stored_tool(call)].append(call.state)
    expected = [
        (tool, len(states), states.count("error"), sum(state in REFUSED for state in states))
        for tool, states in tools.items()
    ]
    assert_rows(asked.answers.rows("tool_use", "tool", "uses", "failed", "refused"), most_first(expected))


def test_failures_and_refusals(asked: Asked) -> None:
    found = Counter[str]()
    for tool, errors in asked.answers.rows("error_kinds", "tool", "errors"):
        found[tool] += errors
    assert found == Counter(stored_tool(call) for call in asked.calls() if call.state == "error")
    refused = Counter(stored_tool(call) for call in asked.calls() if call.state in REFUSED)
    rows = asked.answers.rows("rejected_tools", "tool", "by_me", "by_rule", "cancelled")
    assert {tool: sum(counts) for tool, *counts in rows} == refused


def test_mcp_servers(asked: Asked) -> None:
    uses = Counter(private_id(call.tool.split("__")[1]) for call in asked.calls(90) if call.tool.startswith("mcp__"))
    assert_rows(asked.answers.rows("mcp_servers", "server", "uses"), uses.most_common())


def test_lines_by_language(asked: Asked) -> None:
    lines: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for call in asked.calls():
        lines[call.extension][0] += call.lines_added
        lines[call.extension][1] += call.lines_removed
    known = {
        language: tuple(counts) for language, counts in lines.items() if language in ("py", "ts", "css", "md", "sql")
    }
    rows = asked.answers.rows("lines_by_language", "language", "lines_added", "lines_removed")
    assert {language: counts for language, *counts in rows if language in known} == {
        language: list(counts) for language, counts in known.items()
    }
    assert sum(row[1] for row in rows) == sum(counts[0] for counts in lines.values())
    assert sum(row[2] for row in rows) == sum(counts[1] for counts in lines.values())


def test_hot_files(asked: Asked) -> None:
    changed = [call for call in asked.calls() if call.tool in CHANGING and call.state == "ok"]
    changes = Counter(private_id(call.file, 16) for call in changed)
    found = dict(asked.answers.rows("hot_files", "file", "changes"))
    assert found == {file: changes[file] for file in found}
    assert sorted(found.values()) == sorted(changes.values())[-20:]


def test_reread_files(asked: Asked) -> None:
    reads = Counter(
        (private_id(call.file, 16), call.session_id)
        for call in asked.calls()
        if call.tool == "Read" and call.state == "ok"
    )
    most: dict[str, int] = {}
    for (file, _), count in reads.items():
        most[file] = max(most.get(file, 0), count)
    found = dict(asked.answers.rows("reread_files", "file", "reads_in_one_session"))
    assert found
    assert all(count >= 3 and count <= most[file] for file, count in found.items())


def test_one_shot_edits(asked: Asked) -> None:
    tries = defaultdict(list)
    for call in asked.calls():
        if call.tool in CHANGING:
            tries[call.model, call.session_id, call.file].append(call.state)
    files = Counter[Any]()
    first = Counter[Any]()
    for (model, _, _), states in tries.items():
        if "ok" in states:
            files[model] += 1
            first[model] += states.count("ok") == 1 and "error" not in states
    expected = [(model, count, first[model]) for model, count in files.items()]
    assert_rows(asked.answers.rows("one_shot_edits", "model", "files", "at_first_go"), most_first(expected))


def test_session_shapes(asked: Asked) -> None:
    said: list[Any] = [*asked.found.responses, *asked.found.events.values()]
    last: defaultdict[str, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=timezone.utc))
    for message in said:
        last[message.session_id] = max(last[message.session_id], message.moment)
    sessions = {session for session, moment in last.items() if asked.day(moment) > asked.today - 30 * DAY}
    prompts = Counter(event.session_id for event in asked.found.events.values() if event.kind == "prompt")
    tools = Counter(call.session_id for call in asked.found.calls.values())
    costs: defaultdict[str, float] = defaultdict(float)
    for response in asked.found.responses:
        costs[response.session_id] += asked.cost(response)
    shapes = ("no prompt", "one prompt", "2 to 5 prompts", "6 to 20 prompts", "more than 20")
    found: defaultdict[str, list[str]] = defaultdict(list)
    for session in sessions:
        found[shapes[bisect.bisect_left((0, 1, 5, 20), prompts[session])]].append(session)
    everything = sum(costs[session] for session in sessions)
    expected = [
        (
            shape,
            len(found[shape]),
            100 * len(found[shape]) / len(sessions),
            sum(costs[session] for session in found[shape]),
            100 * sum(costs[session] for session in found[shape]) / everything,
            sum(tools[session] for session in found[shape]) / len(found[shape]),
        )
        for shape in shapes
        if shape in found
    ]
    columns = ("shape", "sessions", "percent_of_sessions", "cost", "percent_of_cost", "tools_per_session")
    assert_rows(asked.answers.rows("session_shapes", *columns), expected)
    assert len(expected) > 2


def test_api_errors(asked: Asked) -> None:
    failed: defaultdict[tuple[date, int], list[str]] = defaultdict(list)
    for event in asked.events("api error", 30):
        failed[asked.day(event.moment), event.api_status].append(event.session_id)
    answered = Counter(asked.day(response.moment) for response in asked.responses())
    expected = [
        (day, status, len(its), len(set(its)), 100 * len(its) / answered[day] if answered[day] else None)
        for (day, status), its in failed.items()
    ]
    expected.sort(key=lambda row: (-row[0].toordinal(), -row[2], row[1]))
    assert expected
    assert_rows(asked.answers.rows("api_errors"), expected)


def test_today_work(asked: Asked) -> None:
    calls = asked.calls(1)
    added, removed = (sum(getattr(call, name) for call in calls) for name in ("lines_added", "lines_removed"))
    counts = (len(asked.events("prompt", 1)), len(calls), sum(call.state == "error" for call in calls))
    expected = (*(count or None for count in counts), *((added, removed) if added + removed else (None, None)))
    assert asked.answers.rows("today_work") == ([expected] if any(counts) else [])


# ---- all of them ---------------------------------------------------------------------------------------


def test_every_question_and_view_is_answered(asked: Asked) -> None:
    asked_for = [query for query in QUERIES.values() if query.section in OF_CONVERSATIONS[:-1]]
    assert len(asked_for) >= 29
    unanswered = [query.name for query in asked_for if not asked.answers.rows(query.name)]
    assert unanswered == (
        [] if asked.calls(1) or asked.events("prompt", 1) else ["today_work"]
    )  # shortly after midnight
    views = re.findall(r"CREATE VIEW IF NOT EXISTS (ccusage_(?:dim|fct|agg)_\w+)", SCHEMA)
    counts = asked.machine.queries([f"SELECT count() FROM {view}" for view in views])
    assert [view for view, [(count,)] in zip(views, counts, strict=True) if not count] == []


# ---- what must not be ----------------------------------------------------------------------------------

EXPECTATIONS = [query.name for query in QUERIES.values() if query.section == "Expectations"]
MINE = {"source": "claude", "machine_name": "m", "user_name": "ada"}
NOW = utc_now()
# Rows that break each expectation, and that one alone.
BROKEN: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "months_below_days": [
        ("ccusage_usage_daily", {"date": date(2026, 3, 4), "total_tokens": 10, "total_cost": 1.0}),
        (
            "ccusage_usage_monthly",
            {"month": "2026-03", "year": 2026, "month_num": 3, "total_tokens": 9, "total_cost": 1.0},
        ),
    ],
    "days_against_models": [
        ("ccusage_usage_daily", {"date": date(2026, 3, 4), "total_tokens": 10, "total_cost": 1.0}),
        (
            "ccusage_usage_monthly",
            {"month": "2026-03", "year": 2026, "month_num": 3, "total_tokens": 10, "total_cost": 1.0},
        ),
        (
            "ccusage_model_breakdowns",
            {"record_type": "daily", "record_key": "2026-03-04", "model_name": "a", "cost": 0.5},
        ),
    ],
    "days_against_projects": [
        ("ccusage_usage_daily", {"date": date(2026, 3, 4), "total_tokens": 10, "total_cost": 1.0}),
        (
            "ccusage_usage_monthly",
            {"month": "2026-03", "year": 2026, "month_num": 3, "total_tokens": 10, "total_cost": 1.0},
        ),
        (
            "ccusage_usage_projects_daily",
            {"date": date(2026, 3, 4), "project_id": "p", "total_tokens": 9, "total_cost": 1.0},
        ),
    ],
    "orphaned_models": [
        ("ccusage_model_breakdowns", {"record_type": "session", "record_key": "s", "model_name": "a", "cost": 0.5})
    ],
    "orphaned_tool_calls": [
        ("ccusage_tool_calls", {"tool_use_id": 1, "api_id": 2**30, "session_id": "s", "started_at": NOW})
    ],
    "overlapping_blocks": [
        ("ccusage_usage_blocks", {"block_id": f"{hour}", "start_time": start, "end_time": start + timedelta(hours=5)})
        for hour, start in ((0, NOW - DAY), (4, NOW - DAY + timedelta(hours=4)))
    ],
    "future_days": [
        ("ccusage_messages", {"message_id": 1, "date": NOW.date() + 2 * DAY, "kind": "prompt", "started_at": NOW})
    ],
    "days_lost": [
        (
            "ccusage_import_history",
            {"import_id": f"{days}", "import_timestamp": NOW - days * DAY, "status": "completed"},
        )
        for days in (40, 2)
    ],
    "conversations_against_ccusage": [
        ("ccusage_log_files", {"file_id": f"{days}", "read_at": NOW - days * DAY}) for days in (9, 1)
    ]
    + [
        (
            "ccusage_messages",
            {
                "message_id": 1,
                "date": NOW.date() - 5 * DAY,
                "kind": "response",
                "model": "a",
                "input_tokens": 4,
                "started_at": NOW - 5 * DAY,
            },
        )
    ],
}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ci.Store]:
    store = open_store(tmp_path_factory.mktemp("broken"))
    yield store
    store.close()


def test_expectations_hold(asked: Asked) -> None:
    assert {name: asked.answers.rows(name) for name in EXPECTATIONS if asked.answers.rows(name)} == {}


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_what_breaks_an_expectation_is_told(empty_store: ci.Store, name: str) -> None:
    tables = {table for table, _ in BROKEN[name]}
    try:
        for table, row in BROKEN[name]:
            owner = {column: value for column, value in MINE.items() if (table, column) in empty_store.column_types}
            empty_store.insert(table, [owner | row])
        broken = {query for query in EXPECTATIONS if ci.ask_query(empty_store, QUERIES[query]).rows}
    finally:
        for table in tables:
            empty_store.command(f"TRUNCATE TABLE {table}")
    assert broken == {name}
