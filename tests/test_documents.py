"""Any document is stored exactly as it says, or refused with report, row and field. Nothing in between.

Hypothesis writes the documents of all three dialects: right ones with the strangest values that are
allowed, and right ones of which one place has been replaced by anything.
"""

from __future__ import annotations

import copy
import re
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ccusage_importer as ci
from ccusage_importer import FetchedReports, ImporterError, Privacy

VERSIONS = {"18.0.11": ci.Dialect.PROJECT_SESSIONS, "20.0.11": ci.Dialect.CLAUDE, "20.0.24": ci.Dialect.AGENTS}
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.sampled_from(
        ["'; DROP TABLE x; --", '"', "`", "\\", "\0", "a\nb\t", "😀", "%s", "{machine:String}", "<b>", "NULL", " "]
    ),
)
TOKENS = st.integers(0, 2**63 // 8) | st.sampled_from([0, 1, 2**53 + 1])
DOLLARS = st.floats(0, 1e9, allow_nan=False) | st.sampled_from([0, 1e9, 1e-9, 12])
DAYS = st.dates(date(1970, 1, 1), date(2105, 12, 31))
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2105, 12, 31), timezones=st.just(timezone.utc))


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z").zfill(24)


@st.composite
def usage(draw: st.DrawFn) -> dict[str, Any]:
    parts = {n: draw(TOKENS) for n in ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")}
    models = draw(st.lists(NAMES, max_size=3, unique=True))
    breakdowns = [
        {
            "modelName": model,
            **{n: draw(TOKENS) for n in ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")},
            "cost": draw(DOLLARS),
        }
        for model in models
    ]
    return {
        **parts,
        "totalTokens": sum(parts.values()) + draw(st.integers(0, 99)),
        "totalCost": draw(DOLLARS),
        "modelsUsed": models,
        "modelBreakdowns": breakdowns,
    }


@st.composite
def documents(draw: st.DrawFn, version: str) -> dict[str, Any]:
    """A right document for each command of a version."""
    agents = version == "20.0.24"
    days = sorted(draw(st.sets(DAYS, max_size=3)))
    months = sorted({f"{day:%Y-%m}".zfill(7) for day in days})

    def rows(name: str, periods: list[str]) -> list[dict[str, Any]]:
        if not agents:
            return [{name: period, **draw(usage())} for period in periods]
        sources = draw(st.lists(st.sampled_from(["claude", "codex", "opencode"]), min_size=1, unique=True))
        return [
            {"period": p, "agent": "all", "agents": [{"agent": source, **draw(usage())} for source in sources]}
            for p in periods
        ]

    sessions = [
        {"sessionId": session, "projectPath": draw(NAMES), "lastActivity": iso(draw(MOMENTS)), **draw(usage())}
        for session in draw(st.lists(NAMES, max_size=3, unique=True))
    ]
    starts = sorted(draw(st.sets(st.integers(0, 10**5), max_size=3)))
    blocks = []
    for start in starts:
        begins = datetime.fromtimestamp(start * 6 * 3600, timezone.utc)
        used = draw(usage())
        counts = {n: used[n] for n in ("inputTokens", "outputTokens")}
        counts |= {f"{kind}InputTokens": used[f"{kind}Tokens"] for kind in ("cacheCreation", "cacheRead")}
        blocks.append(
            {
                "id": iso(begins),
                "startTime": iso(begins),
                "endTime": iso(datetime.fromtimestamp((start * 6 + 5) * 3600, timezone.utc)),
                "isActive": draw(st.booleans()),
                "isGap": False,
                "entries": draw(st.integers(0, 2**32 - 1)),
                "tokenCounts": counts,
                "totalTokens": used["totalTokens"],
                "costUSD": draw(DOLLARS),
                "models": used["modelsUsed"],
                "burnRate": draw(st.none() | st.builds(lambda x: {"costPerHour": x}, DOLLARS)),
                "projection": draw(st.none() | st.builds(lambda x: {"totalCost": x}, DOLLARS)),
            }
        )
    projects = {
        name: [{"date": str(day), **draw(usage())} for day in days]
        for name in draw(st.lists(NAMES, max_size=2, unique=True))
    }
    answer: dict[str, Any] = {
        "daily": {"daily": rows("date", [str(day) for day in days])},
        "monthly": {"monthly": rows("month", months)},
        "session": {"sessions": sessions},
        "blocks": {"blocks": blocks},
        "projects": {"projects": projects},
    }
    if agents:
        others = [
            {"period": name, "agent": "codex", "metadata": {"lastActivity": iso(draw(MOMENTS))}, **draw(usage())}
            for name in draw(st.lists(NAMES, max_size=2, unique=True))
        ]
        mine = [{"period": "x", "agent": "claude", **draw(usage())}]
        answer["session_agents"] = {"session": others + mine}
    return answer


def fetched(version: str, answers: dict[str, Any]) -> FetchedReports:
    return FetchedReports(version, "UTC", "m", "u", "", answers)


def said(version: str, answers: dict[str, Any]) -> dict[str, tuple[int, float, int]]:
    """Tokens, dollars and rows of each report, counted without the importer."""
    lists = {
        "daily": [a for row in answers["daily"]["daily"] for a in row.get("agents", [row])],
        "monthly": [a for row in answers["monthly"]["monthly"] for a in row.get("agents", [row])],
        "session": answers["session"]["sessions"]
        + [row for row in answers.get("session_agents", {"session": []})["session"] if row["agent"] != "claude"],
        "projects": [row for rows in answers["projects"]["projects"].values() for row in rows],
        "blocks": answers["blocks"]["blocks"],
    }
    return {
        name: (
            sum(row["totalTokens"] for row in rows),
            sum(row.get("totalCost", row.get("costUSD")) for row in rows),
            len(rows),
        )
        for name, rows in lists.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))
def test_a_right_document_is_taken_as_it_is(version: str, data: st.DataObject) -> None:
    answers = data.draw(documents(version))
    reshaped = ci.reshape_reports(fetched(version, answers), Privacy(hashed=False))
    records = reshaped.records
    assert (reshaped.errors, reshaped.left_out()) == ({}, [])
    for name, (tokens, cost, rows) in said(version, answers).items():
        total = ci.sum_usage(record.usage for record in records[name])
        assert total.total == tokens
        assert total.cost == pytest.approx(cost, rel=1e-12, abs=1e-6)
        assert len(records[name]) <= rows


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=5), children, max_size=2),
    max_leaves=3,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
@settings(suppress_health_check=list(HealthCheck))
def test_a_wrong_document_is_refused_with_its_place(version: str, data: st.DataObject) -> None:
    """One place replaced by anything: its row is left out or its report refused, or it is taken as it is; all else stands."""
    answers = copy.deepcopy(data.draw(documents(version)))
    path = data.draw(st.sampled_from(places(answers)))
    target = answers
    for key in path[:-1]:
        target = target[key]
    if data.draw(st.booleans()) and isinstance(target, dict) and len(path) > 1:
        del target[path[-1]]
    else:
        target[path[-1]] = data.draw(JUNK)
    reshaped = ci.reshape_reports(fetched(version, answers), Privacy())
    records = reshaped.records
    report = "session" if path[0] == "session_agents" else path[0]
    assert set(reshaped.errors) <= {report}
    odd = {name: errors for name, errors in reshaped.odd.items() if errors}
    assert set(odd) <= {report}
    for name, error in [*reshaped.errors.items(), *((name, error) for name, errors in odd.items() for error in errors)]:
        assert error.what.startswith(name)
        assert re.search(r"row \d+|has no|not a JSON object|is |add up", error.what), error.what
        assert error.fix or "add up" in error.what
    for name, rows in records.items():
        for record in rows:
            assert all(0 <= tokens < 2**64 for tokens in record.usage.tokens), name
            assert record.usage.cost >= 0
            assert len({r.key for r in rows}) == len(rows)


def test_what_is_stored_is_what_was_said_whatever_the_names(tmp_path: Path) -> None:
    """The strangest allowed values through the real engine and back, and a second time without a change."""
    config = ci.read_config(
        {"CCUSAGE_DB_PATH": str(tmp_path), "CCUSAGE_USER": "o'brien; --", "MACHINE_NAME": "{x:String} %s `"},
        ci.make_parser().parse_args(["--no-hash-projects"]),
    )
    store, _ = ci.open_ready_store(config, make_schema=True)
    assert store is not None
    examples: list[dict[str, Any]] = []

    @given(documents("20.0.24"))
    @settings(max_examples=12, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def collect(answers: dict[str, Any]) -> None:
        examples.append(answers)

    collect()
    try:
        for answers in examples:
            privacy = Privacy(hashed=False)
            records = ci.reshape_reports(fetched("20.0.24", answers), privacy).records
            assert len(records) == 5
            for table in (*(r.table for r in ci.REPORTS.values()), ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE):
                store.command(f"TRUNCATE TABLE {table}")
            plans, _ = ci.plan_import(ci.Past(store), records, config, ci.Dialect.AGENTS, ci.EPOCH)
            store.write_plans(plans.values())
            store.check_written(plans.values())
            for name, rows in records.items():
                if name == "monthly":
                    continue  # random months and days do not add up; months are the days' sum
                stored = store.read_stored(ci.scope_of(records))[name]
                assert {key: row.usage for key, row in stored.items()} == {row.key: row.usage for row in rows}
            again, _ = ci.plan_import(ci.Past(store), records, config, ci.Dialect.AGENTS, ci.EPOCH)
            assert all(plan.is_empty for name, plan in again.items() if name != "monthly")
    finally:
        store.close()


def test_ten_thousand_models_in_one_row() -> None:
    row = {
        "date": "2026-11-20",
        **dict.fromkeys(("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens", "totalTokens"), 0),
        "totalCost": 0,
        "modelsUsed": [f"model-{number}" for number in range(10_000)],
    }
    records, _ = ci.reshape_report(ci.REPORTS["daily"], fetched("18.0.11", {"daily": {"daily": [row]}}), Privacy())
    assert len(records[0].models) == 10_000
    row["modelsUsed"] = [f"model-{number}" for number in range(70_000)]
    with pytest.raises(ImporterError, match="the number of models is 70000, not at most 65535"):
        ci.reshape_report(ci.REPORTS["daily"], fetched("18.0.11", {"daily": {"daily": [row]}}), Privacy())


def test_sums_that_would_wrap_are_refused() -> None:
    big = 2**63 + 1
    row = {
        "date": "2026-11-20",
        **dict.fromkeys(("outputTokens", "cacheCreationTokens", "cacheReadTokens"), 0),
        "inputTokens": big,
        "totalTokens": big,
        "totalCost": 1,
    }

    class OneId(Privacy):
        def name(self, name: str) -> str:
            return "same"

    answers = {"projects": {"projects": {"a": [row], "b": [row]}}}
    with pytest.raises(ImporterError, match="add up to more than"):
        ci.reshape_report(ci.REPORTS["projects"], fetched("18.0.11", answers), OneId())
