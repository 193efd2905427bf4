"""Reshape: what real ccusage said (tests/recorded) and what it must never be taken to say."""

from __future__ import annotations

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
VERSIONS = ("15.9.7", "20.0.11", "20.0.24")


def recorded(version: str) -> FetchedReports:
    return ci.load_reports(RECORDED / version)


def reshaped(version: str, report: str, privacy: Privacy | None = None) -> list[Record]:
    return ci.reshape_report(ci.REPORTS[report], recorded(version), privacy or Privacy())


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


def reshape(report: str, document: Any, version: str = "20.0.11", privacy: Privacy | None = None) -> list[Record]:
    commands = [command.name for command in ci.REPORTS[report].commands[ci.dialect_of(version)]]
    fetched = FetchedReports(version, "UTC", "m", "u", "", dict.fromkeys(commands, document))
    return ci.reshape_report(ci.REPORTS[report], fetched, privacy or Privacy())


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


def test_synthetic_is_no_model_of_a_users() -> None:
    part = {**DAY, "modelName": "<synthetic>", "cost": 0}
    [record] = reshape("daily", {"daily": [{**DAY, "modelsUsed": ["<synthetic>", "m"], "modelBreakdowns": [part]}]})
    assert (record.models, record.breakdowns) == (("m",), {})


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
    ("session", "project", "expected"),
    [
        ("-home-a", "Unknown Project", (hashed("-home-a"), hashed("-home-a"))),
        ("some-id", "-home-a", ("some-id", hashed("-home-a"))),
        ("subagents", "-home-a/some-id", ("some-id", hashed("-home-a"))),
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
    ],
)
def test_times(value: str, moment: datetime) -> None:
    assert ci.Row("here", {"at": value}).moment("at") == moment


@pytest.mark.parametrize("value", ["2026-11-20T09:30:00", "20 Nov 2026", "2026-11-20T25:00:00Z", 5, "1960-01-01"])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(ImporterError, match="here: at is"):
        ci.Row("here", {"at": value}).moment("at")


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
