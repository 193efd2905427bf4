"""Reshape: what real ccusage said (tests/recorded) and what it must never be taken to say."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ccusage_importer as ci
from ccusage_importer import FetchedReports, ImporterError, Privacy, Record, Usage

RECORDED = Path(__file__).parent / "recorded"
NEWEST = "20.0.24"
VERSIONS = ("15.9.7", "20.0.11", NEWEST)


def recorded(version: str) -> FetchedReports:
    return ci.load_reports(RECORDED / version)


def reshaped(version: str, report: str, privacy: Privacy | None = None) -> list[Record]:
    records, odd = ci.reshape_report(ci.REPORTS[report], recorded(version), privacy or Privacy())
    assert odd == []
    return records


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("report", ci.REPORTS)
def test_sums_are_the_documents_totals(version: str, report: str) -> None:
    total = ci.sum_usage(record.usage for record in reshaped(version, report))
    document = recorded(version).documents["session_agents" if (version, report) == ("20.0.24", "session") else report]
    if report == "blocks":
        said = sum(block["totalTokens"] for block in document["blocks"]), sum(b["costUSD"] for b in document["blocks"])
    else:
        said = document["totals"]["totalTokens"], document["totals"]["totalCost"]
    assert total.total == said[0]
    assert total.cost == pytest.approx(said[1], abs=1e-6)


def test_a_day_of_one_agent() -> None:
    record = next(r for r in reshaped("20.0.24", "daily") if r.source == "codex")
    assert (record.report, record.key, record.columns) == (
        "daily",
        ("codex", "2026-10-31"),
        {"date": date(2026, 10, 31)},
    )
    usage = Usage(3781, 2308, 0, 5708, 11797, 0.02851975)
    assert record.usage == usage
    assert record.models == ("gpt-5",)
    assert record.breakdowns == {"gpt-5": usage}
    assert json.loads(record.raw_data)["agent"] == "codex"


def test_a_session_of_claude_and_one_of_codex() -> None:
    records = {record.record_key: record for record in reshaped("20.0.24", "session")}
    session = records["46150f34-caab-42c8-bd4d-071b2bda7712"]
    assert session.columns == {
        "session_id": "46150f34-caab-42c8-bd4d-071b2bda7712",
        "project_path": hashed("-home-dev-work-webshop"),
        "first_activity": utc(2026, 10, 30, 22, 50, 55),
        "last_activity": utc(2026, 10, 30, 22, 55, 13),
    }
    assert session.usage == Usage(6629, 3231, 18099, 171341, 199300, 0.05003348)
    assert "webshop" not in session.raw_data
    other = records["2026/10/31/rollout-2026-10-31T07-39-22-da305f2c-d76e-4016-976b-7da1060344bf"]
    assert other.source == "codex"
    assert other.columns["project_path"] == ""
    assert other.columns["last_activity"] == utc(2026, 10, 31, 7, 46, 20)


def test_a_session_of_ccusage_15_is_a_project() -> None:
    records = {record.record_key: record for record in reshaped("15.9.7", "session")}
    project = hashed("-home-dev-work-billing-api")
    assert records[project].columns == {
        "session_id": project,
        "project_path": project,
        "first_activity": None,
        "last_activity": utc(2026, 11, 2),
    }
    assert records[project].usage == Usage(5831, 6601, 43072, 209050, 264554, 1.703715)
    assert "billing" not in records[project].raw_data


def test_a_block_and_a_gap() -> None:
    blocks = reshaped("20.0.24", "blocks")
    block = next(record for record in blocks if record.record_key == "2026-11-02T08:00:00.000Z")
    assert block.columns == {
        "block_id": "2026-11-02T08:00:00.000Z",
        "start_time": utc(2026, 11, 2, 8),
        "end_time": utc(2026, 11, 2, 13),
        "actual_end_time": utc(2026, 11, 2, 8, 59, 32),
        "is_active": 0,
        "is_gap": 0,
        "entries": 10,
        "usage_limit_reset_time": None,
        "burn_rate": None,
        "projection": None,
    }
    assert block.usage == Usage(19172, 10476, 80114, 446613, 556375, 1.98512455)
    assert block.models == ("claude-3-5-haiku-20241022", "claude-opus-4-20250514", "claude-sonnet-4-20250514")
    gap = next(record for record in blocks if record.columns["is_gap"])
    assert gap.record_key.startswith("gap-")
    assert gap.columns["actual_end_time"] is None


@pytest.mark.parametrize(("field", "value"), [("isActive", "yes"), ("isGap", 1), ("entries", 2**32)])
def test_a_block_with_a_value_that_no_column_holds_is_an_error(field: str, value: Any) -> None:
    block = {**recorded("20.0.24").documents["blocks"]["blocks"][-1], field: value}
    with pytest.raises(ImporterError, match=f"{field} is "):
        reshape("blocks", {"blocks": [block]})


def test_no_project_with_usage_is_told_as_no_day() -> None:
    """As ccusage 20 does; beside projects, or in another report, an empty list of days says nothing of the kind."""
    assert reshape("projects", {"daily": []}) == []
    [row] = reshape("projects", {"projects": {"p": [DAY]}, "daily": []})
    assert row.columns["project_id"] == hashed("p")
    for report, document in (("projects", {"daily": [DAY]}), ("blocks", {"daily": []})):
        with pytest.raises(ImporterError, match="ccusage's answer has no"):
            reshape(report, document)


def test_a_block_that_does_not_tell_its_entries_has_none() -> None:
    block = {**recorded("20.0.24").documents["blocks"]["blocks"][-1]}
    del block["entries"]
    [record] = reshape("blocks", {"blocks": [block]})
    assert record.columns["entries"] == 0


def test_burn_rate_and_projection_come_out_of_their_objects() -> None:
    block = {
        **recorded("20.0.24").documents["blocks"]["blocks"][-1],
        "isActive": True,
        "burnRate": {"costPerHour": 1.5, "tokensPerMinute": 12.5},
        "projection": {"totalCost": 7.25, "totalTokens": 9, "remainingMinutes": 1},
        "usageLimitResetTime": "2026-11-02T15:00:00.000Z",
    }
    [record] = reshape("blocks", {"blocks": [block]})
    assert record.columns["burn_rate"] == 1.5
    assert record.columns["projection"] == 7.25
    assert record.columns["usage_limit_reset_time"] == utc(2026, 11, 2, 15)
    assert record.columns["is_active"] == 1


@pytest.mark.parametrize("field", ["modelName", "modelsUsed", "models", "model"])
def test_a_models_name_is_no_path(field: str) -> None:
    kept = json.loads(Privacy().raw_data({field: ["vendor/own/gpt-5", "~/own.gguf"], "other": "vendor/own/gpt-5"}))
    assert kept == {field: ["vendor/own/gpt-5", hashed("~/own.gguf")], "other": hashed("vendor/own/gpt-5")}


def test_an_unknown_time_is_the_first_of_1970() -> None:
    fetched = recorded(NEWEST)
    row = {**DAY, "period": "s", "agent": "codex"}
    documents = {"session": [], "session_agents": {"session": [row]}}
    [record], _ = ci.reshape_report(
        ci.REPORTS["session"], FetchedReports(NEWEST, "UTC", "m", "u", fetched.fetched_at, documents), Privacy()
    )
    assert (record.columns["first_activity"], record.columns["last_activity"]) == (None, utc(1970, 1, 1))


def test_numbers_that_no_column_can_hold_are_left_out() -> None:
    block = recorded("20.0.24").documents["blocks"]["blocks"][-1]
    [record] = reshape("blocks", {"blocks": [{**block, "entries": 2**32 - 1}]})
    assert record.columns["entries"] == 2**32 - 1
    with pytest.raises(ImporterError, match="entries is 4294967296, not a whole number from 0 to 4294967295"):
        reshape("blocks", {"blocks": [{**block, "entries": 2**32}]})
    # a session in two folders, each of which fits
    row = {**DAY, "sessionId": "s", "lastActivity": "2026-11-02"}
    for tokens, fits in ((2**63 - 1, True), (2**63, False)):
        rows = [{**row, "totalTokens": tokens, "projectPath": path} for path in ("-home-a", "-home-b")]
        other = {**row, "sessionId": "t", "projectPath": "-home-a"}
        found, said = left_out("session", {"sessions": [*rows, other]}, "20.0.11")
        expected = [] if fits else ["session: s: the tokens add up to more than 18446744073709551615"]
        assert (found, said) == (1 + fits, expected)


def reshape(report: str, document: Any, version: str = "20.0.11", privacy: Privacy | None = None) -> list[Record]:
    commands = [command.name for command in ci.REPORTS[report].commands[ci.dialect_of(version)]]
    fetched = FetchedReports(version, "UTC", "m", "u", "", dict.fromkeys(commands, document))
    records, odd = ci.reshape_report(ci.REPORTS[report], fetched, privacy or Privacy())
    if odd:
        raise odd[0]
    return records


DAY: dict[str, Any] = {
    "date": "2026-11-02",
    "inputTokens": 1,
    "outputTokens": 2,
    "cacheCreationTokens": 3,
    "cacheReadTokens": 4,
    "totalTokens": 10,
    "totalCost": 0.5,
}


def test_missing_optional_fields_are_fine() -> None:
    [record] = reshape("daily", {"daily": [DAY]})
    assert record.usage == Usage(1, 2, 3, 4, 10, 0.5)
    assert (record.models, record.breakdowns) == ((), {})


def test_models_are_sorted_and_told_once() -> None:
    names = [f"m{number}" for number in range(20)]
    part = {"cost": 0.5, **{name: DAY[name] for name in DAY if name.endswith("Tokens")}}
    row = {**DAY, "modelsUsed": names[::-1], "modelBreakdowns": [{**part, "modelName": name} for name in names[7:3:-1]]}
    [record] = reshape("daily", {"daily": [row]})
    assert record.models == tuple(sorted(names))
    assert list(record.breakdowns) == sorted(names[4:8])


def test_usage_is_added_compared_and_taken_away() -> None:
    one, two = Usage(5, 4, 3, 2, 20, 0.3), Usage(1, 5, 1, 1, 8, 0.1)
    assert one + two == Usage(6, 9, 4, 3, 28, 0.4)
    assert one.minus(two) == Usage(4, 0, 2, 1, 12, 0.2)
    assert two.minus(one) == Usage(0, 1, 0, 0, 0, 0.0)
    assert not one.covers(two)
    assert (one + two).covers(one)
    assert one.covers(Usage(5, 4, 3, 2, 20, 0.3 + 1e-7))
    assert not one.covers(Usage(5, 4, 3, 2, 20, 0.3 + 1e-5))


def test_synthetic_is_no_model_of_a_users() -> None:
    part = {**DAY, "modelName": "<synthetic>", "cost": 0}
    [record] = reshape("daily", {"daily": [{**DAY, "modelsUsed": ["<synthetic>", "m"], "modelBreakdowns": [part]}]})
    assert (record.models, record.breakdowns) == (("m",), {})


def test_synthetic_messages_with_tokens_are_no_disagreement() -> None:
    tokens = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens", "totalTokens")
    models = [{**DAY, "modelName": name, "cost": 0.5} for name in ("m", "<synthetic>")]
    row = {**DAY, **{name: DAY[name] * 2 for name in (*tokens, "totalCost")}, "modelBreakdowns": models}
    [record] = reshape("daily", {"daily": [row]})
    assert ci.disagreements({"daily": [record]}) == []
    [record] = reshape("daily", {"daily": [{**row, "modelBreakdowns": models[:1]}]})
    assert len(ci.disagreements({"daily": [record]})) == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("inputTokens", None, "is missing"),
        ("outputTokens", -1, "is -1"),
        ("cacheReadTokens", "12", 'is "12"'),
        ("totalTokens", 1.5, "is 1.5"),
        ("totalTokens", 2**64, "is 18446744073709551616"),
        ("totalTokens", True, "is true"),
        ("totalCost", -0.01, "is -0.01"),
        ("totalCost", [], "is []"),
        ("date", "2026-13-01", 'is "2026-13-01"'),
        ("date", "1969-12-31", "a day from 1970-01-01"),
        ("date", "2106-01-01", "to 2105-12-31"),
        ("modelsUsed", [1], "a list of model names"),
        ("modelsUsed", ["\ud800"], "not Unicode text"),
        ("modelBreakdowns", [{"modelName": "m"}], "inputTokens is missing"),
        ("modelBreakdowns", {}, "is {}"),
    ],
)
def test_an_error_names_report_row_and_field(field: str, value: Any, said: str) -> None:
    with pytest.raises(ImporterError) as caught:
        reshape("daily", {"daily": [DAY, {**DAY, field: value}]})
    assert caught.value.what.startswith("daily: row 1")
    assert field in caught.value.what
    assert said in caught.value.what


def left_out(report: str, document: Any, version: str = NEWEST) -> tuple[int, list[str]]:
    """How many rows are taken, and what is said of those left out."""
    documents = {report: document, "session_agents": []}
    fetched = ci.FetchedReports(version, "UTC", "m", "u", "", documents)
    records, odd = ci.reshape_report(ci.REPORTS[report], fetched, Privacy())
    return len(records), [error.what for error in odd]


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2106-01-01", "2999-01-01"])
def test_one_odd_row_costs_one_row(day: str) -> None:
    days = "not a day from 1970-01-01 to 2105-12-31"
    wrong = {**DAY, "date": day}
    assert left_out("daily", {"daily": [DAY, wrong]}) == (1, [f'daily: row 1: date is "{day}", {days}'])
    agents = [{**DAY, "agent": "claude"}, {**DAY, "agent": "codex", "totalCost": "free of charge"}]
    unified = [{"period": "2026-11-02", "agents": agents}, {"period": day, "agents": agents[:1]}, 7]
    assert left_out("daily", {"daily": unified}) == (
        1,
        [
            "daily: row 0, agents[1]: totalCost is a text of 14 characters, not an amount of US dollars",
            f'daily: row 1, agents[0]: date is "{day}", {days}',
            "daily: row 2: not a JSON object but 7",
        ],
    )
    project = hashed("-home-ada-client-acme")
    rows = {"-home-ada-client-acme": [DAY, wrong], "-home-ada-other": None, "webshop": [DAY]}
    assert left_out("projects", {"projects": {**rows, "-home-ada-other": [DAY]}}) == (
        3,
        [f'projects: project {project}, row 1: date is "{day}", {days}'],
    )
    with pytest.raises(
        ImporterError, match=f"^projects: project {hashed('-home-ada-other')}: rows is missing, not a list"
    ):
        left_out("projects", {"projects": rows})
    with pytest.raises(ImporterError, match=r"^daily: row 0: date is"):  # of none that is right the shape is another
        left_out("daily", {"daily": [wrong, wrong]})


@pytest.mark.parametrize("report", ci.REPORTS)
def test_null_where_a_list_belongs_is_an_error_of_that_report(report: str) -> None:
    for container in ci.REPORTS[report].containers:
        with pytest.raises(ImporterError, match=rf"^{report}.* (is missing, not a list|not a JSON object but null)"):
            left_out(report, {container: None, "totals": {}})
    with pytest.raises(ImporterError, match="modelsUsed is missing, not a list"):
        left_out("daily", {"daily": [{**DAY, "modelsUsed": None}]})


@pytest.mark.parametrize(
    ("session", "stored"),
    [
        ("2026/10/31/rollout-2026-10-31T07-39-22-da305f2c-d76e-4016-976b-7da1060344bf", True),
        ("46150f34-caab-42c8-bd4d-071b2bda7712", True),
        ("ses_6f2", True),
        ("T-5928a90d-d53b-488f-a829-4e36442142ee", True),
        ("agent:main:main", True),
        ("manicode/secret-client/chats/2026-11-20T09-30-00.000Z", False),
        ("secret-client/46150f34-caab-42c8-bd4d-071b2bda7712", False),
        ("--home-ada-secret-client--", False),
        ("pi:--home-ada-secret-client--:2026", False),
        ("C--Users-ada-secret-client", False),
        (r"C:\Users\ada\secret-client", False),
        ("~ada/secret-client", False),
    ],
)
def test_a_session_id_that_contains_a_path_is_private_everywhere(session: str, stored: bool) -> None:
    row = {
        **DAY,
        "period": session,
        "agent": "codebuff",
        "metadata": {"file": session, session: 1, "lastActivity": None},
    }
    fetched = ci.FetchedReports(NEWEST, "UTC", "m", "u", "", {"session": [], "session_agents": {"session": [row]}})
    [record], odd = ci.reshape_report(ci.REPORTS["session"], fetched, Privacy())
    assert odd == []
    expected = session if stored else hashed(session)
    assert record.columns["session_id"] == record.record_key == expected
    assert json.loads(record.raw_data)["period"] == expected
    assert "secret" not in repr(record)
    [record], _ = ci.reshape_report(ci.REPORTS["session"], fetched, Privacy(hashed=False))
    assert record.record_key == session
    assert json.loads(record.raw_data) == row


def test_names_in_fields_that_no_version_has_yet_are_private() -> None:
    row = {
        **DAY,
        "modelsUsed": ["openai/gpt-5", "/home/ada/secret/own.gguf"],
        "modelBreakdowns": [{**DAY, "modelName": "/home/ada/secret/own.gguf", "cost": 0.5}],
        "gitBranch": "secret",
        "metadata": {"/home/ada/secret": "2026-11-02T08:00:00.000Z", "title": "secret", "version": "1.0.44"},
        "note": "see /home/ada/secret, or \ud800",
    }
    [record] = reshape("daily", {"daily": [row]})
    assert "secret" not in repr(record)
    assert record.models == (hashed("/home/ada/secret/own.gguf"), "openai/gpt-5")
    assert json.loads(record.raw_data)["metadata"]["version"] == "1.0.44"
    assert json.loads(record.raw_data)["metadata"][hashed("/home/ada/secret")] == "2026-11-02T08:00:00.000Z"


@pytest.mark.parametrize("document", [{}, None, 7, "text", [1], {"totals": {}}, {"weekly": []}, {"daily": {}}])
@pytest.mark.parametrize("report", ci.REPORTS)
def test_another_shape_is_an_error_never_zero_rows(report: str, document: Any) -> None:
    with pytest.raises(ImporterError, match=rf"^{report}"):
        reshape(report, document)


@pytest.mark.parametrize("report", ci.REPORTS)
def test_nothing_at_all_is_no_rows(report: str) -> None:
    assert reshape(report, [], version="18.0.11") == []


def test_19_that_ignores_instances_is_noticed() -> None:
    with pytest.raises(ImporterError, match=r"projects: ccusage's answer has no projects but daily"):
        reshape("projects", {"daily": [DAY]})


def test_the_row_of_all_agents_is_not_counted_beside_theirs() -> None:
    row = {"period": "2026-11-02", "agent": "all", **DAY}
    agents = [{**DAY, "agent": "claude"}, {**DAY, "agent": "codex", "totalTokens": 12}]
    records = reshape("daily", {"daily": [{**row, "agents": agents}]}, version="20.0.24")
    assert [(record.source, record.usage.total) for record in records] == [("claude", 10), ("codex", 12)]
    with pytest.raises(ImporterError, match="agents is missing"):
        reshape("daily", {"daily": [row]}, version="20.0.24")


def test_two_projects_that_meet_in_one_id_are_summed() -> None:
    class OneId(Privacy):
        def name(self, name: str) -> str:
            return "same"

    projects = {"a": [{**DAY, "modelsUsed": ["x"]}], "b": [{**DAY, "modelsUsed": ["y"]}]}
    [record] = reshape("projects", {"projects": projects}, privacy=OneId())
    assert record.record_key == "2026-11-02/same"
    assert record.usage == Usage(2, 4, 6, 8, 20, 1.0)
    assert record.models == ("x", "y")


@pytest.mark.parametrize(
    ("report", "columns", "expected"),
    [
        (
            "session",
            {"first_activity": utc(2026, 10, 29), "last_activity": utc(2026, 11, 1)},
            {"first_activity": utc(2026, 10, 29), "last_activity": utc(2026, 11, 1)},
        ),
        ("session", {"first_activity": None, "last_activity": utc(2026, 10, 29), "project_path": "smaller"}, {}),
        (
            "blocks",
            {"actual_end_time": utc(2030, 1, 1), "entries": 5},
            {"actual_end_time": utc(2030, 1, 1), "entries": 17},
        ),
        ("blocks", {"actual_end_time": None, "entries": 0, "is_active": True}, {}),
    ],
)
def test_rows_that_meet_in_one_key_are_one_whole_row(
    report: str, columns: dict[str, Any], expected: dict[str, Any]
) -> None:
    """From the first to the last activity, its counts added up; what cannot be added is the larger row's."""
    larger = max(reshaped(NEWEST, report), key=lambda record: record.usage.total)
    if report == "blocks":
        larger = dataclasses.replace(larger, columns={**larger.columns, "entries": 12})
    one = Usage(1, 0, 0, 0, 1, 0.5)
    smaller = dataclasses.replace(
        larger,
        columns={**larger.columns, **columns},
        usage=one,
        models=("tiny",),
        breakdowns={"tiny": one},
        raw_data="{}",
    )
    assert ci.merge_records([smaller, larger]) == dataclasses.replace(
        larger,
        columns={**larger.columns, **expected},
        usage=ci.sum_usage([one, larger.usage]),
        models=tuple(sorted(("tiny", *larger.models))),
        breakdowns={**larger.breakdowns, "tiny": one},
        raw_data=f"[{{}},{larger.raw_data}]",
    )


@pytest.mark.parametrize(
    ("session", "project", "expected"),
    [
        ("-home-a", "Unknown Project", (hashed("-home-a"), hashed("-home-a"))),
        ("some-id", "-home-a", ("some-id", hashed("-home-a"))),
        ("subagents", "-home-a/some-id", ("some-id", hashed("-home-a"))),
        ("subagents", "work/-home-a/some-id", ("some-id", hashed("work/-home-a"))),
    ],
)
def test_what_ccusage_18_calls_a_session(session: str, project: str, expected: tuple[str, str]) -> None:
    row = {**DAY, "sessionId": session, "projectPath": project, "lastActivity": "2026-11-02"}
    [record] = reshape("session", {"sessions": [row]}, version="18.0.11")
    assert (record.columns["session_id"], record.columns["project_path"]) == expected


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-20T09:30:00Z", utc(2026, 11, 20, 9, 30)),
        ("2026-11-20T09:30:59.999Z", utc(2026, 11, 20, 9, 30, 59)),
        ("2026-11-20T09:30:59.123456789+02:00", utc(2026, 11, 20, 7, 30, 59)),
        ("2026-11-20", utc(2026, 11, 20)),
        ("1970-01-01T00:00:00Z", utc(1970, 1, 1)),
        ("1970-01-01T02:00:00+02:00", utc(1970, 1, 1)),
        ("2105-12-31T23:59:59Z", utc(2105, 12, 31, 23, 59, 59)),
    ],
)
def test_times(value: str, moment: datetime) -> None:
    assert ci.Row("here", {"at": value}).moment("at") == moment


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-20T09:30:00", "20 Nov 2026", "2026-11-20T25:00:00Z", 5, None, "1960-01-01", "2106-01-01T00:00:00Z"),
        *("1970-01-01T01:59:59+02:00", "0001-01-01T00:00:00+01:00", "2026-11-20T09:30:00Z, or later"),
    ],
)
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(ImporterError, match="here: at is"):
        ci.Row("here", {"at": value}).moment("at")


@pytest.mark.parametrize("value", [None, "", 5, ["a"]])
def test_what_is_no_text(value: Any) -> None:
    with pytest.raises(ImporterError, match=r"here: name is .*, not a text"):
        ci.Row("here", {"name": value}).text("name")


def test_of_many_rows_that_are_left_out_some_are_told() -> None:
    odd = [ImporterError(f"row {number}") for number in range(ci.TOLD_ROWS + 1)]
    told = [f"row {number}; this row is left out" for number in range(ci.TOLD_ROWS)]
    for count, more in ((ci.TOLD_ROWS + 1, ["daily: rows left out besides these: 1"]), (ci.TOLD_ROWS, []), (1, [])):
        assert ci.Reshaped({}, {}, {"daily": odd[:count], "blocks": []}, []).left_out() == [*told[:count], *more]


def test_the_same_project_has_the_same_id_and_a_key_makes_it_unguessable() -> None:
    assert Privacy().name("-home-a") == hashed("-home-a")
    keyed = Privacy(key="k")
    assert keyed.name("-home-a") == Privacy(key="k").name("-home-a") != Privacy(key="other").name("-home-a")
    assert len(keyed.name("-home-a")) == 8
    assert Privacy(hashed=False).name("-home-a") == "-home-a"
    fingerprints = {Privacy().fingerprint, keyed.fingerprint, Privacy(hashed=False).fingerprint}
    assert len(fingerprints) == 3


def test_the_hash_sees_what_is_stored_and_nothing_else() -> None:
    [record] = reshape("daily", {"daily": [{**DAY, "modelsUsed": ["a", "b"]}]})
    [again] = reshape("daily", {"daily": [{**DAY, "modelsUsed": ["b", "a"], "totalCost": 0.5000000000001}]})
    assert record.content_hash == again.content_hash
    for change in ({"inputTokens": 2}, {"totalCost": 0.500001}, {"modelsUsed": ["a"]}, {"newField": 1}):
        [other] = reshape("daily", {"daily": [{**DAY, "modelsUsed": ["a", "b"], **change}]})
        assert other.content_hash != record.content_hash, change


@pytest.mark.parametrize(
    ("printed", "document"),
    [
        (b'{"a": 1}\n', {"a": 1}),
        (b'[ccusage] warn {\n{"a": 1}', {"a": 1}),
        (b"[]", []),
    ],
)
def test_lines_before_the_document_are_passed_over(printed: bytes, document: Any) -> None:
    assert ci.parse_document(printed) == document


@pytest.mark.parametrize("printed", [b"", b"null", b'{"a": ', b'{"a": NaN}', b'{"a": 1} {', b"\xff{}", b"[" * 100_000])
def test_what_is_no_document_is_an_error(printed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ci.parse_document(printed)


@given(st.binary() | st.text().map(str.encode))
def test_any_output_is_a_document_or_an_error(printed: bytes) -> None:
    try:
        document = ci.parse_document(printed)
    except ValueError:
        return
    assert isinstance(document, (dict, list))


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        ("15.0.0", ci.Dialect.PROJECT_SESSIONS),
        ("18.0.11", ci.Dialect.PROJECT_SESSIONS),
        ("19.0.0", ci.Dialect.CLAUDE),
        ("20.0.16", ci.Dialect.CLAUDE),
        ("20.0.17", ci.Dialect.AGENTS),
        ("20.1.0-beta.1", ci.Dialect.AGENTS),
        ("21.0.0", ci.Dialect.AGENTS),
    ],
)
def test_dialects(version: str, dialect: ci.Dialect) -> None:
    assert ci.dialect_of(version) is dialect
