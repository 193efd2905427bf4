"""The database as an import uses it, in one process: what is written is read back, whole, and nobody else's.

One embedded engine for all tests; each has a machine of its own in it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from conftest import thorough
from hypothesis import given
from hypothesis import strategies as st

import ccusage_importer as ci
from ccusage_importer import Children, FetchedReports, ImporterError, Key, Plan, Record, Stored, Usage

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
TABLES = [*(report.table for report in ci.REPORTS.values()), ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ci.Store]:
    folder = tmp_path_factory.mktemp("engine")
    options = ci.make_parser().parse_args([])
    config = ci.read_config({"CCUSAGE_DB_PATH": str(folder), "CCUSAGE_USER": "ada", "MACHINE_NAME": "m"}, options)
    store, last = ci.open_ready_store(config, make_schema=True)
    assert store is not None
    assert last.result() is None
    yield store
    store.close()


@pytest.fixture
def store(engine: ci.Store, request: pytest.FixtureRequest) -> ci.Store:
    """The engine seen from a machine that no other test has."""
    return ci.owned_by(engine, request.node.name, "ada")


# ---- rows of every kind -------------------------------------------------------------------------------


def usage(total: int, cost: float | None = None) -> Usage:
    """Five different numbers, so that no two columns can be taken for one another."""
    return Usage(total, total + 1, total + 2, total + 3, 5 * total, total / 8 if cost is None else cost)


def models(total: int) -> dict[str, Any]:
    return {"models": ("haiku", "opus"), "breakdowns": {"haiku": usage(total + 10), "opus": usage(total + 20)}}


def day(when: str, total: int = 1, source: str = "claude") -> Record:
    columns = {"date": date.fromisoformat(when)}
    return Record("daily", source, when, columns, usage(total), **models(total), raw_data=f'{{"of":"{when}"}}')


def month(when: str, total: int = 2, source: str = "claude") -> Record:
    columns = {"month": when, "year": int(when[:4]), "month_num": int(when[5:])}
    return Record("monthly", source, when, columns, usage(total), **models(total))


def session(name: str, total: int = 3, project: str = "p", first: datetime | None = NOON) -> Record:
    columns = {"session_id": name, "project_path": project, "first_activity": first}
    columns["last_activity"] = NOON + timedelta(hours=1)
    return Record("session", "claude", name, columns, usage(total), **models(total))


def block(start: datetime, total: int = 4, **more: Any) -> Record:
    columns: dict[str, Any] = {
        "block_id": f"{start:%Y-%m-%dT%H:%M}",
        "start_time": start,
        "end_time": start + timedelta(hours=5),
        "actual_end_time": start + timedelta(hours=2),
        "is_active": 1,
        "is_gap": 0,
        "entries": 7,
        "usage_limit_reset_time": start + timedelta(hours=4),
        "burn_rate": 1.5,
        "projection": 2.5,
    } | more
    return Record("blocks", "claude", columns["block_id"], columns, usage(total), ("opus",), {})


def gap(start: datetime, end: datetime) -> Record:
    nothing = dict.fromkeys(("actual_end_time", "usage_limit_reset_time", "burn_rate", "projection"))
    told = block(start, 0, block_id=f"gap-{start:%H}", end_time=end, is_gap=1, is_active=0, entries=0, **nothing)
    return dataclasses.replace(told, usage=Usage(), models=())


def project(when: str, name: str = "p", total: int = 5, source: str = "claude") -> Record:
    columns = {"date": date.fromisoformat(when), "project_id": name}
    return Record("projects", source, f"{when}/{name}", columns, usage(total), **models(total))


RECORDS: dict[str, list[Record]] = {
    "daily": [day("2026-10-31"), day("2026-11-20", 7), day("2026-11-20", 9, "codex")],
    "monthly": [month("2026-10"), month("2026-11", 8)],
    "session": [session("s1"), session("s2", 6, "q", None)],
    "blocks": [
        block(NOON),
        block(NOON + timedelta(hours=9), 11),
        gap(NOON + timedelta(hours=5), NOON + timedelta(hours=9)),
    ],
    "projects": [project("2026-10-31"), project("2026-11-20", "q", 12)],
}


Told = Callable[[FetchedReports], FetchedReports]


def new(records: Mapping[str, Sequence[Record]]) -> list[Plan]:
    return [Plan(name, new=list(rows)) for name, rows in records.items()]


def index(rows: Sequence[Record]) -> dict[Key, Stored]:
    return {row.key: ci.stored_from(row) for row in rows}


def changed(store: ci.Store, record: Record) -> Plan:
    return Plan(record.report, changed=[(record, stored(store, record))])


def stored(store: ci.Store, record: Record) -> Stored:
    return store.read_stored(ci.scope_of({record.report: [record]}))[record.report][record.key]


def without(store: ci.Store, records: Mapping[str, Sequence[Record]]) -> list[Plan]:
    """The plans that remove these rows."""
    there = store.read_stored(ci.scope_of(records))
    return [Plan(name, removed=[there[name][row.key] for row in rows]) for name, rows in records.items()]


def contents(store: ci.Store) -> dict[str, list[Any]]:
    """Every row that does not belong to the store's machine and user."""
    return {
        table: store.query(f"SELECT toString(tuple(*)) FROM {table} FINAL WHERE NOT ({ci.OWNED}) ORDER BY 1")
        for table in TABLES
    }


# ---- writing and reading back -------------------------------------------------------------------------


def test_a_machine_is_known_by_its_former_name(store: ci.Store) -> None:
    store.write_forgotten({"what": "machine", "name": "its old name"}, done=True)
    assert store.read_former_names()["its old name"] == store.config.machine_name


def test_what_is_written_is_read_back_whole(store: ci.Store) -> None:
    created = {ci.child_key(RECORDS["daily"][0]): NOON - timedelta(days=9)}
    before = datetime.now(timezone.utc).replace(microsecond=0)
    store.write_plans(new(RECORDS), created=created)
    store.check_written(new(RECORDS))
    now = datetime.now(timezone.utc)
    for name, records in RECORDS.items():
        found, since = store.read_records(ci.REPORTS[name])
        assert sorted(found, key=lambda r: r.key) == sorted(records, key=lambda r: r.key)
        assert all(record.content_hash in {r.content_hash for r in records} for record in found)
        assert since.keys() == {ci.child_key(record) for record in records}
        first = since.pop(ci.child_key(RECORDS["daily"][0]), None)
        assert first == (created[ci.child_key(RECORDS["daily"][0])] if name == "daily" else None)
        assert all(before <= moment <= now for moment in since.values())
    rows = store.read_stored(ci.scope_of(RECORDS))
    for name, records in RECORDS.items():
        there = {
            key: dataclasses.replace(row, created_at=ci.EPOCH, updated_at=ci.EPOCH) for key, row in rows[name].items()
        }
        assert there == index(records)
        assert all(before <= row.updated_at <= now for row in rows[name].values())
    assert store.read_stored(ci.scope_of({})) == rows
    keys = [ci.child_key(record) for records in RECORDS.values() for record in records]
    nobody = ("daily", "claude", "2020-01-01")
    assert store.read_children([*keys, nobody]) == {
        **{ci.child_key(r): Children(r.models, r.breakdowns) for records in RECORDS.values() for r in records},
        nobody: Children(),
    }


@pytest.mark.parametrize("text", ["plain", "it's", "a\\b\\'c", "two\nlines", "nul\0in it", "", "é {x:String}"])
def test_a_text_is_itself_as_a_literal(store: ci.Store, text: str) -> None:
    assert store.client.query(f"SELECT {ci.sql_text(text)}").result_rows == [(text,)]


def test_many_keys_take_many_statements(store: ci.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ci, "PARAMETER_BYTES", 60)
    monkeypatch.setattr(ci, "BATCH_ROWS", 2)
    store.write_plans(new(RECORDS))
    store.check_written(new(RECORDS))
    keys = [ci.child_key(record) for records in RECORDS.values() for record in records]
    by_key = store.read_children(keys)
    monkeypatch.setattr(ci, "MANY_KEYS", 3)
    assert store.read_children(keys) == by_key
    assert sum(map(len, store.read_stored(ci.scope_of(RECORDS)).values())) == sum(map(len, RECORDS.values()))
    removed = without(store, RECORDS)
    store.write_plans(removed)
    store.check_written(removed)
    assert not any(store.read_stored(ci.scope_of(RECORDS)).values())
    assert all(children == Children() for children in store.read_children(keys).values())


def test_a_changed_row_is_replaced_with_its_models_and_keeps_its_age(store: ci.Store) -> None:
    old = day("2026-11-19")
    store.write_plans(new({"daily": [old]}), created={ci.child_key(old): NOON - timedelta(days=30)})
    grown = dataclasses.replace(old, usage=usage(50), models=("opus",), breakdowns={"opus": usage(50)})
    plan = changed(store, grown)
    store.write_plans([plan])
    store.check_written([plan])
    assert store.read_records(ci.REPORTS["daily"]) == ([grown], {ci.child_key(old): NOON - timedelta(days=30)})


@pytest.mark.parametrize(("then", "deleted"), [("opus", 1), ("opus sonnet", 0), ("opus sonnet zeta", 0), ("zeta", 1)])
def test_of_models_that_are_there_already_no_names_are_written(
    store: ci.Store, monkeypatch: pytest.MonkeyPatch, then: str, deleted: int
) -> None:
    def of_models(usage_by: tuple[str, ...], tokens: int) -> ci.Record:
        breakdowns = {model: usage(tokens) for model in usage_by}
        return dataclasses.replace(day("2026-11-19"), usage=usage(tokens), models=usage_by, breakdowns=breakdowns)

    old, grown = of_models(("opus", "sonnet"), 40), of_models(tuple(then.split()), 50)
    store.write_plans(new({"daily": [old]}))
    delete_where = Mock(wraps=store._delete_where)
    monkeypatch.setattr(store, "_delete_where", delete_where)
    plan = changed(store, grown)
    store.write_plans([plan], children={ci.child_key(old): Children(old.models, old.breakdowns)})
    store.check_written([plan])
    assert store.read_records(ci.REPORTS["daily"])[0] == [grown]
    assert [call.args[0] for call in delete_where.call_args_list].count(ci.MODELS_TABLE) == deleted
    names = store.query(f"SELECT model_name FROM {ci.MODELS_TABLE} WHERE {ci.OWNED} ORDER BY 1")
    assert names == [(name,) for name in then.split()]  # each once, also without FINAL


def test_a_deleted_row_goes_with_its_models_and_leaves_all_others(store: ci.Store) -> None:
    codex = [project("2026-11-20", source="codex"), project("2026-11-20", source="claude")]
    store.write_plans(new({**RECORDS, "projects": codex}))
    plans = without(store, {"projects": codex[:1]})
    store.write_plans(plans)
    store.check_written(plans)
    assert store.read_records(ci.REPORTS["projects"])[0] == [codex[1]]
    assert store.read_children([ci.child_key(row) for row in codex]) == {
        ci.child_key(codex[0]): Children(),
        ci.child_key(codex[1]): Children(codex[1].models, codex[1].breakdowns),
    }
    assert len(store.read_records(ci.REPORTS["daily"])[0]) == 3


def test_of_a_row_that_was_written_twice_the_newer_one_is_read(store: ci.Store) -> None:
    """The reply to an insert was lost, or two imports wrote at once: both versions are in the table until it merges."""
    store.write_plans(new(RECORDS))
    grown = {name: [dataclasses.replace(row, usage=usage(99)) for row in rows] for name, rows in RECORDS.items()}
    tomorrow = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    store._insert_records([row for rows in grown.values() for row in rows], {}, tomorrow, {})
    assert all(
        row.usage == usage(99) for rows in store.read_stored(ci.scope_of(RECORDS)).values() for row in rows.values()
    )
    for name, records in grown.items():
        assert sorted(store.read_records(ci.REPORTS[name])[0], key=lambda r: r.key) == sorted(
            records, key=lambda r: r.key
        )
    assert store.read_totals()["tokens"] == sum(row.usage.total for row in grown["daily"])
    store.check_written(new(grown))


def test_a_delete_does_not_reach_rows_that_are_newer_than_those_it_was_made_for(store: ci.Store) -> None:
    store.write_plans(new(RECORDS))
    for plan in without(store, RECORDS):
        plan.removed = [
            dataclasses.replace(row, updated_at=row.updated_at - timedelta(seconds=1)) for row in plan.removed
        ]
        store.write_plans([plan])
    store.check_written(new(RECORDS))


def test_after_a_crash_models_without_their_row_are_deleted(store: ci.Store) -> None:
    """A crash leaves children; the row that comes has others."""
    left = day("2026-11-18")
    store.write_plans(new({"daily": [left]}))
    store.command(f"DELETE FROM ccusage_usage_daily WHERE {ci.OWNED}", settings=store.write_settings)
    comes = dataclasses.replace(left, models=("sonnet",), breakdowns={"sonnet": usage(1)})
    store.write_plans(new({"daily": [comes]}))
    with pytest.raises(ImporterError, match=r"1 stored rows are not what was written: daily 2026-11-18 \(models\)"):
        store.check_written(new({"daily": [comes]}))
    store.write_plans(new({"daily": [comes]}), repair=True)
    store.check_written(new({"daily": [comes]}))


def test_after_a_crash_models_of_rows_that_are_not_to_come_are_deleted(store: ci.Store) -> None:
    """Of a project that has got another name between a killed import and the next."""
    planned = project("2026-11-18")
    store.write_plans(new({"projects": [planned]}))
    store.command(f"DELETE FROM ccusage_usage_projects_daily WHERE {ci.OWNED}", settings=store.write_settings)
    store.write_plans([Plan("projects", elsewhere=[planned])], repair=True)
    key = ci.child_key(planned)
    assert store.read_children([key])[key] == ci.Children((), {})


def test_another_owners_rows_are_never_touched(store: ci.Store) -> None:
    """Neither those of another user on this machine, nor those of this user on another machine."""
    others = [ci.owned_by(store, store.config.machine_name, "bob"), ci.owned_by(store, "another", "ada")]
    for other in others:
        other.write_plans(new(RECORDS))
        other.write_history(history(other, "theirs"))
    before = contents(store)
    assert not any(store.read_stored(ci.scope_of(RECORDS)).values())
    assert store.read_last_import() is None
    assert not store.has_usage()
    assert store.read_history() == []
    assert store.read_project("claude", "p") == ({}, {})
    assert not store.has_messages()
    assert store.read_totals()["tokens"] == 0
    store.write_plans(new(RECORDS))
    grown = {name: [dataclasses.replace(row, usage=usage(99)) for row in rows] for name, rows in RECORDS.items()}
    old = store.read_stored(ci.scope_of(RECORDS))
    store.write_plans([Plan(name, changed=[(row, old[name][row.key]) for row in rows]) for name, rows in grown.items()])
    store.write_plans(without(store, grown), repair=True)
    assert not any(store.read_stored(ci.scope_of(RECORDS)).values())
    store.delete_history("theirs", "")
    assert contents(store) == before
    for other in others:
        other.check_written(new(RECORDS))
        assert [row["import_id"] for row in other.read_history()] == ["theirs"]


DAY = day("2026-11-20", 7)
WRONG: dict[str, tuple[Plan, str]] = {  # what a plan says that the tables do not hold
    "a token": (Plan("daily", new=[dataclasses.replace(DAY, usage=usage(8))]), "daily 2026-11-20"),
    "a cost": (Plan("daily", new=[dataclasses.replace(DAY, usage=usage(7, 0.1))]), "daily 2026-11-20"),
    "a column": (
        Plan(
            "session", new=[dataclasses.replace(session("s1"), columns={**session("s1").columns, "project_path": "z"})]
        ),
        "session s1",
    ),
    "a changed row": (Plan("daily", changed=[(day("2026-11-20", 8), ci.stored_from(DAY))]), "daily 2026-11-20"),
    "a missing row": (Plan("projects", new=[project("2026-11-20", "never")]), "projects 2026-11-20/never"),
    "a row that was to go": (Plan("daily", removed=[ci.stored_from(DAY)]), r"daily 2026-11-20 \(not deleted\)"),
}


@pytest.mark.parametrize("many", [ci.MANY_KEYS, 0], ids=["by its keys", "among all"])
@pytest.mark.parametrize(("plan", "said"), WRONG.values(), ids=WRONG)
def test_what_is_not_as_it_was_written_is_an_error(
    store: ci.Store, monkeypatch: pytest.MonkeyPatch, plan: Plan, said: str, many: int
) -> None:
    monkeypatch.setattr(ci, "MANY_KEYS", many)
    store.write_plans(new(RECORDS))
    with pytest.raises(ImporterError, match=f"1?2? stored rows are not what was written: {said}"):
        store.check_written([Plan("monthly", new=RECORDS["monthly"]), plan])


@pytest.mark.parametrize("table", [ci.BREAKDOWNS_TABLE, ci.MODELS_TABLE])
def test_a_model_that_is_missing_is_an_error(store: ci.Store, table: str) -> None:
    store.write_plans(new(RECORDS))
    condition = f"{ci.OWNED} AND record_type = 'monthly' AND record_key = '2026-10' AND model_name = 'opus'"
    store.command(f"DELETE FROM {table} WHERE {condition}", settings=store.write_settings)
    with pytest.raises(ImporterError, match=r"1 stored rows are not what was written: monthly 2026-10 \(models\)"):
        store.check_written(new(RECORDS))
    store.check_written([Plan("daily", new=RECORDS["daily"])])
    store.check_written([])


@pytest.mark.parametrize("table", ci.CONVERSATION_KEYS)
@pytest.mark.parametrize(("here", "comes"), [(1, 2), (2, 1)], ids=["the heavier comes", "the heavier is there"])
def test_of_copies_on_both_sides_of_a_quarters_end_one_is_left(
    store: ci.Store, table: str, here: int, comes: int
) -> None:
    sides = {1: datetime(2026, 3, 31, 23, 59, tzinfo=timezone.utc), 2: datetime(2026, 4, 1, tzinfo=timezone.utc)}
    target = ci.owned_by(store, f"{store.config.machine_name} too", "ada")
    for its, side in ((target, here), (store, comes)):
        owner = {"source": "claude", "machine_name": its.config.machine_name, "user_name": "ada"}
        when = {"date": sides[side].date(), "started_at": sides[side]}
        its.insert(table, [{ci.CONVERSATION_KEYS[table]: 7, **owner, **when, "weight": side}])
    ci.copy_months(store, target, table)
    assert target.query(f"SELECT toString(date) FROM {table} WHERE {ci.OWNED}") == [("2026-04-01",)]


# ---- what an import asks of the tables ------------------------------------------------------------------


def test_an_import_that_got_not_all_reports_leaves_open_what_it_has_read(store: ci.Store) -> None:
    whole = {"rows_kept": dict.fromkeys(ci.REPORTS, 0)}
    store.write_plans(new({"daily": [DAY]}))

    def last(dialect: ci.Dialect = ci.Dialect.AGENTS) -> tuple[str, bool, bool]:
        found = store.read_last_import()
        assert found is not None
        return found.whole_version, found.is_settled, ci.has_open_rows(found, dialect)

    assert ci.has_open_rows(None, ci.Dialect.AGENTS)
    store.write_history(history(store, "old", 1, ccusage_version="18.0.11", **whole))
    assert last(ci.Dialect.PROJECT_SESSIONS) == ("18.0.11", True, False)
    store.write_history(history(store, "partial", 2))  # of an update, whose numbers the missing reports lack
    assert last() == ("18.0.11", True, True)
    time.sleep(1.1)
    store.write_history(history(store, "whole", 3, **whole))
    assert last() == ("20.0.11", True, False)
    store.command(
        "INSERT INTO ccusage_log_files (machine_name, user_name, source, file_id, reader, read_at)"
        " SELECT {machine:String}, {user:String}, 'claude', 'x', 1, now64(3) + 5",
        {"machine": store.config.machine_name, "user": store.config.user_name},
    )
    assert last() == ("20.0.11", False, True)


def history(store: ci.Store, import_id: str, minutes: int = 0, **more: Any) -> dict[str, Any]:
    fetched = FetchedReports("20.0.11", "UTC", store.config.machine_name, store.config.user_name, "", {})
    outcome = ci.Outcome(import_id, fetched, {"daily": Plan("daily")}, {}, [], None, totals={"cost": 1.5})
    return ci.history_row(outcome, NOON + timedelta(minutes=minutes), {}, ci.Privacy()) | more


def test_the_last_import_is_the_newest_that_stored_something(store: ci.Store) -> None:
    assert store.read_last_import() is None
    store.write_history(history(store, "failed", 3, status="failed", timezone="Asia/Tokyo"))
    assert store.read_last_import() is None  # and nothing is stored
    store.write_plans(new({"daily": [DAY]}))
    failed = store.read_last_import()
    assert failed is not None
    assert failed.timezone == "Asia/Tokyo"  # a first import that did not come to its end
    store.write_history(history(store, "first", 1, ccusage_version="18.0.11"))
    store.write_history(history(store, "second", 2, status="partial"))
    last = store.read_last_import()
    assert last == ci.LastImport("UTC", "sha256", int(NOON.timestamp()) + 120, "20.0.11", {"cost": 1.5, "warnings": []})
    assert [row["import_id"] for row in store.read_history()] == ["failed", "first", "second"]
    assert store.read_history()[1]["import_timestamp"] == NOON + timedelta(minutes=1)
    store.delete_history("second", "another error")
    store.delete_history("failed", "")
    assert [row["import_id"] for row in store.read_history()] == ["first", "second"]


@pytest.mark.parametrize("name", ci.REPORTS)
def test_usage_of_any_table_is_usage(store: ci.Store, name: str) -> None:
    store.write_plans(new({name: RECORDS[name][:1]}))
    assert store.has_usage()


def test_projects_sessions_prices_and_totals(store: ci.Store) -> None:
    whole = session("p", project="p")
    free = dataclasses.replace(day("2026-11-02"), breakdowns={"gpt": usage(1, 0.0)}, models=("gpt",))
    store.write_plans(new({**RECORDS, "session": [*RECORDS["session"], whole], "daily": [*RECORDS["daily"], free]}))
    days, sessions = store.read_project("claude", "p")
    assert set(days) == {("claude", "2026-10-31/p")}
    assert set(sessions) == {("claude", "s1"), ("claude", "p")}
    row = sessions["claude", "p"]
    assert (row.usage, row.project, row.content_hash, row.report) == (whole.usage, "p", whole.content_hash, "session")
    assert days["claude", "2026-10-31/p"].report == "projects"
    assert store.read_project("codex", "p") == ({}, {})
    tokens = sum(record.usage.total for record in [*RECORDS["daily"], free])
    cost = sum(record.usage.cost for record in [*RECORDS["daily"], free])
    assert store.read_totals() == {
        "cost": cost,
        "tokens": tokens,
        "days": 3,
        "days_by_source": {"claude": 3, "codex": 1},
        "sessions": 3,
    }
    assert (store.config.machine_name, "ada") in store.read_owners()


def test_a_plan_sees_the_rows_that_its_import_can_meet(store: ci.Store) -> None:
    """The whole of the first month, blocks that reach into it, sessions of these ids, projects and days."""
    long_ago = datetime(2026, 9, 1, tzinfo=timezone.utc)

    def long_gone(name: str) -> Record:
        record = session(name)
        return dataclasses.replace(record, columns={**record.columns, "last_activity": long_ago})

    unseen = {
        "daily": [day("2026-09-30")],
        "blocks": [block(NOON - ci.MARGIN - timedelta(seconds=1))],
        "session": [long_gone("s9")],
        "monthly": [month("2025-12")],
        "projects": [project("2026-09-30")],
    }
    seen = {
        "daily": [day("2026-10-01")],
        "blocks": [block(NOON - ci.MARGIN)],
        "session": [long_gone("p"), long_gone("s1"), session("s8")],  # by project, id and day
        "monthly": [month("2026-01")],
        "projects": [project("2026-10-01")],
    }
    store.write_plans(new({name: [*seen[name], *unseen[name]] for name in seen}))
    rows = store.read_stored(ci.scope_of(RECORDS))
    assert {name: set(rows[name]) for name in seen} == {
        name: {record.key for record in records} for name, records in seen.items()
    }
    assert ci.scope_of({}) == {"first_day": ci.FIRST_DAY, "first_block": 0, "sessions": []}
    assert ci.scope_of({"blocks": [block(ci.EPOCH)], "monthly": [month("2026-03")]}) == {
        "first_day": date(2026, 3, 1),
        "first_block": 0,
        "sessions": [],
    }


def test_a_day_before_all_reports_that_has_messages_is_not_new_and_its_month_stays(store: ci.Store) -> None:
    """A block of 2 November in a zone far from UTC begins on the 1st in UTC; the messages beside reach into October."""
    days = [day("2026-10-30", 100), day("2026-10-31", 50)]
    both = {model: days[0].breakdowns[model] + days[1].breakdowns[model] for model in days[0].breakdowns}
    whole = dataclasses.replace(month("2026-10"), usage=days[0].usage + days[1].usage, breakdowns=both)
    # a session of which a report sees no end: it went on after midnight there, on the day before by UTC
    old = datetime(2026, 10, 20, 9, tzinfo=timezone.utc)
    went_on = datetime(2026, 10, 30, 12, tzinfo=timezone.utc)
    spans = {"session_id": "long", "project_path": "p", "first_activity": old, "last_activity": went_on}
    long = Record("session", "claude", "long", spans, usage(30) + usage(20), ("opus",), {"opus": usage(30) + usage(20)})
    long = dataclasses.replace(long, coverage=ci.Coverage.MESSAGES)
    stored = {"daily": days, "monthly": [whole], "session": [long]}
    store.write_plans(new(stored))
    told = {
        "daily": [day("2026-11-02", 10)],
        "monthly": [month("2026-11", 10)],
        "blocks": [block(datetime(2026, 11, 1, 20, tzinfo=timezone.utc), 10)],
        "session": [session("s", 10)],
    }
    said = [
        ("s", datetime(2026, 10, 31, 9), "2026-10-31", 30),
        ("s", datetime(2026, 11, 1, 20, 30), "2026-11-02", 10),
        ("long", old.replace(tzinfo=None), "2026-10-20", 30),
        ("long", went_on.replace(tzinfo=None), "2026-10-31", 20),
    ]
    for number, (name, moment, when, total) in enumerate(said):
        columns = (
            "message_id, kind, date, started_at, ended_at, source, machine_name, user_name, session_id, project_id"
        )
        store.command(
            f"INSERT INTO ccusage_messages ({columns}, model, input_tokens, output_tokens, cache_creation_tokens,"
            f" cache_read_tokens) SELECT {number}, 'response', '{when}', '{moment}', '{moment}', 'claude',"
            f" {{machine:String}}, {{user:String}}, '{name}', 'p', 'opus', {', '.join(map(str, usage(total).tokens[:4]))}",
            {"machine": store.config.machine_name, "user": store.config.user_name},
        )
    plans, messages = ci.plan_import(ci.Past(store), told, store.config, ci.Dialect.AGENTS, NOON)
    assert date(2026, 10, 31) in messages.days
    assert [record.record_key for record in plans["daily"].written] == ["2026-11-02"]
    assert [record.record_key for record in plans["monthly"].written] == ["2026-11"]
    assert [row.record_key for row in plans["session"].removed] == []
    assert "long" not in {record.record_key for record in plans["session"].written}


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=40)), max_size=40), st.integers(1, 300))
def test_chunks_lose_nothing_and_fit(values: list[tuple[str, str]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ci, "PARAMETER_BYTES", limit)
        runs = list(ci.chunked(values))
    assert [value for run in runs for value in run] == values
    assert all(runs)
    sizes = [sum(len(repr(value).encode()) + 2 for value in run) for run in runs]
    assert all(size <= limit or len(run) == 1 for size, run in zip(sizes, runs, strict=True))
    firsts = [len(repr(run[0]).encode()) + 2 for run in runs[1:]]
    assert all(size + first > limit for size, first in zip(sizes, firsts, strict=False))  # as few as can be


def test_batches_are_all_of_the_rows() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ci, "BATCH_ROWS", 2)
        rows = [day(f"2026-11-0{number}") for number in range(1, 6)]
        assert [list(batch) for batch in ci.batches(rows)] == [rows[:2], rows[2:4], rows[4:]]


# ---- whole imports ------------------------------------------------------------------------------------


def fetched(store: ci.Store, days: Mapping[str, int], **more: Any) -> FetchedReports:
    """What ccusage 20.0.11 says where one project's one session has these tokens on these days."""

    def told(name: str, key: str, tokens: int) -> dict[str, Any]:
        parts = {"inputTokens": tokens, "outputTokens": 0, "cacheCreationTokens": 0, "cacheReadTokens": 0}
        breakdown = {"modelName": "opus", **parts, "cost": tokens / 100}
        row = {name: key, **parts, "totalTokens": tokens, "totalCost": tokens / 100}
        return {**row, "modelsUsed": ["opus"], "modelBreakdowns": [breakdown]}

    rows = [told("date", when, tokens) for when, tokens in days.items()]
    months = {when[:7]: sum(n for d, n in days.items() if d[:7] == when[:7]) for when in days}
    last = {"projectPath": "-home-dev-a", "lastActivity": f"{max(days, default='2026-01-01')}T12:00:00.000Z"}
    documents = {
        "daily": {"daily": rows},
        "monthly": {"monthly": [told("month", when, tokens) for when, tokens in months.items()]},
        "session": {"sessions": [{**told("sessionId", "s", sum(days.values())), **last}] if days else []},
        "blocks": {"blocks": []},
        "projects": {"projects": {"-home-dev-a": rows}},
    }
    of = ("20.0.11", "Europe/Berlin", store.config.machine_name, store.config.user_name, "2026-11-20T12:00:00+00:00")
    return FetchedReports(*of, {name: more.pop(name, document) for name, document in documents.items()}, **more)


def run(store: ci.Store, reports: FetchedReports) -> ci.Outcome:
    """One import: what was kept, then these."""
    last = store.read_last_import()
    privacy = ci.Privacy(store.config.hash_projects, store.config.project_hash_key)
    ci.replay_pending(store, last or ci.Fixed(reports.timezone, privacy.fingerprint))
    return ci.import_reports(ci.Past(store), reports, store.read_last_import(), time.monotonic())


def test_saved_reports_of_a_machine_that_has_got_another_name_are_stored_under_that(store: ci.Store) -> None:
    saved = fetched(store, {"2026-11-19": 100})
    ci.save_reports(saved, ci.pending_folder(store.config) / "saved")
    renamed = ci.owned_by(store, "new name", store.config.user_name)
    renamed.write_forgotten({"what": "machine", "name": store.config.machine_name}, done=True)
    assert ci.replay_pending(renamed, ci.Fixed(saved.timezone, ci.privacy_of(store.config).fingerprint)) == 1
    assert (tokens(store), tokens(renamed)) == ({}, {"2026-11-19": 100})


def tokens(store: ci.Store) -> dict[str, int]:
    return {key: row.usage.total for (_, key), row in store.read_stored(ci.scope_of(RECORDS))["daily"].items()}


def pending(store: ci.Store) -> list[Path]:
    folder = ci.pending_folder(store.config)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_an_import_and_what_it_tells(store: ci.Store) -> None:
    first = run(store, fetched(store, {"2026-11-19": 100, "2026-11-20": 50}))
    assert first.status == "completed"
    assert first.has_usage
    assert (first.errors, first.warnings) == ({}, [])
    assert first.totals["tokens"] == 150
    outcome = run(store, fetched(store, {"2026-11-19": 80, "2026-11-20": 60}))
    assert tokens(store) == {"2026-11-19": 100, "2026-11-20": 60}
    assert pending(store) == []
    rows = sorted(store.read_history(), key=lambda row: row["created_at"])
    assert len(rows) == 2
    row = next(row for row in rows if row["import_id"] == outcome.import_id)
    assert row["status"] == "completed"
    assert (row["ccusage_version"], row["timezone"], row["privacy"]) == ("20.0.11", "Europe/Berlin", "sha256")
    assert row["rows_new"] == {"daily": 0, "session": 0, "projects": 0, "blocks": 0, "monthly": 0}
    assert row["rows_changed"] == {"daily": 1, "session": 0, "projects": 1, "blocks": 0, "monthly": 1}
    assert row["rows_kept"] == {"daily": 1, "session": 1, "projects": 1, "blocks": 0, "monthly": 0}
    assert row["rows_unchanged"] == dict.fromkeys(row["rows_new"], 0)
    assert json.loads(row["statistics"])["tokens"] == 160
    assert 0 < row["duration_seconds"] < 600
    assert row["error"] == ""
    last = store.read_last_import()
    assert last is not None
    assert last.timezone == "Europe/Berlin"


def test_names_of_models_that_stay_the_same_are_written_once(store: ci.Store) -> None:
    run(store, fetched(store, {"2026-11-20": 50}))
    statement = (
        f"SELECT record_type, record_key, model_name, updated_at FROM ccusage_models_used FINAL WHERE {ci.OWNED}"
    )
    written = sorted(store.query(statement))
    outcome = run(store, fetched(store, {"2026-11-20": 60}))  # is stamped with a later second
    assert len(outcome.plans["daily"].changed) == 1
    assert sorted(store.query(statement)) == written != []


def test_a_report_without_an_answer_is_an_error_and_the_others_are_stored(store: ci.Store) -> None:
    failed = fetched(store, {"2026-11-20": 50}, daily=None, errors={"daily": ImporterError("no answer", "ask again")})
    outcome = run(store, failed)
    assert outcome.status == "partial"
    assert [row["error"] for row in store.read_history()] == ["no answer"]
    assert tokens(store) == {}
    assert store.read_totals()["sessions"] == 1
    nothing = run(store, dataclasses.replace(failed, errors=dict.fromkeys(ci.REPORTS, ImporterError("x"))))
    assert nothing.status == "failed"
    assert nothing.has_usage  # there may be


def test_nothing_found_is_no_usage(store: ci.Store) -> None:
    outcome = run(store, fetched(store, {}))
    assert outcome.status == "completed"
    assert not outcome.has_usage


def test_a_failed_write_keeps_the_reports_and_the_next_import_stores_them(
    store: ci.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = fetched(store, {"2026-11-20": 50})
    with monkeypatch.context() as patch:
        patch.setattr(ci.Store, "check_written", lambda *_: (_ for _ in ()).throw(ImporterError("no", "mend it")))
        with pytest.raises(ImporterError) as raised:
            run(store, reports)
    assert f"mend it. The fetched reports are kept in {pending(store)[0]}" in raised.value.fix
    assert [(row["status"], row["error"]) for row in store.read_history()] == [("failed", "no")]
    # the logs are gone; an even older run has left a folder without reports, another one that cannot be read
    (ci.pending_folder(store.config) / "empty").mkdir()
    (ci.pending_folder(store.config) / "odd").mkdir()
    (ci.pending_folder(store.config) / "odd" / ci.MANIFEST).write_text("{", "utf-8")
    run(store, fetched(store, {"2026-11-21": 5}))
    assert tokens(store) == {"2026-11-20": 50, "2026-11-21": 5}
    assert pending(store) == []
    assert (store.config.kept_path / "refused" / "odd" / ci.MANIFEST).read_text("utf-8") == "{"
    assert {row["import_id"]: row["status"] for row in store.read_history()}.keys() >= {raised_id(raised.value)}


class Killed(BaseException):
    """What ends a run in the middle, past every handler."""


def kill_at(monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """End the run before its write of this number, counted from 0."""
    writes = iter(range(1000))

    def counted(method: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            if next(writes) == write:
                raise Killed
            method(*arguments)

        return run

    for name in ("insert", "_delete_where"):
        monkeypatch.setattr(ci.Store, name, counted(getattr(ci.Store, name)))


def of_a_whole_project(reports: FetchedReports) -> FetchedReports:
    """The same as ccusage 18 tells it: one session that is all of the project."""
    [row] = reports.documents["session"]["sessions"]
    whole = {**row, "sessionId": row["projectPath"], "lastActivity": row["lastActivity"][:10]}
    return dataclasses.replace(
        reports, ccusage_version="18.0.11", documents={**reports.documents, "session": {"sessions": [whole]}}
    )


def without_prices(reports: FetchedReports) -> FetchedReports:
    text = re.sub(r'"(totalCost|cost)": [\d.]+', r'"\1": 0', json.dumps(reports.documents))
    return dataclasses.replace(reports, documents=json.loads(text))


def everything(store: ci.Store, since: datetime) -> dict[str, Any]:
    """All usage rows; of each whether it is older than that time."""
    found: dict[str, Any] = {}
    for report in ci.REPORTS.values():
        records, created = store.read_records(report)
        found[report.name] = (records, {key: stamp < since for key, stamp in created.items()})
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(lambda told: told, without_prices, id="a price has gone missing"),
        pytest.param(
            of_a_whole_project, lambda told: told, id="sessions get ids of their own", marks=pytest.mark.thorough
        ),
    ],
)
@pytest.mark.parametrize("first_write", [0, *thorough(1, 2)])
def test_what_a_killed_run_has_replaced_is_not_forgotten(
    engine: ci.Store,
    monkeypatch: pytest.MonkeyPatch,
    before: Told,
    after: Told,
    first_write: int,
    request: pytest.FixtureRequest,
) -> None:
    """Wherever a run is killed, the next one ends with the rows that it would have had, and when they were first seen."""
    first, then = {"2026-10-31": 30, "2026-11-19": 100, "2026-11-20": 50}, {"2026-11-19": 20, "2026-11-20": 60}

    origin = ci.owned_by(engine, request.node.name, "ada")
    run(origin, before(fetched(origin, first)))

    def machine(name: str) -> ci.Store:
        """One that has imported the same some time ago."""
        store = ci.owned_by(engine, f"{request.node.name} {name}", "ada")
        for table in [*TABLES, ci.HISTORY_TABLE]:
            store.command(
                f"INSERT INTO {table} SELECT * REPLACE({{to:String}} AS machine_name, toDateTime(0) AS created_at)"
                f" FROM {table} FINAL WHERE machine_name = {{machine:String}}",
                {"to": store.config.machine_name, "machine": request.node.name},
            )
        return store

    untouched = machine("untouched")
    run(untouched, after(fetched(untouched, then)))
    expected = everything(untouched, NOON)
    for write in range(first_write, 100, 3):
        store = machine(str(write))
        with monkeypatch.context() as patch:
            kill_at(patch, write)
            try:
                run(store, after(fetched(store, then)))
            except Killed:
                pass
            else:
                break
        run(store, after(fetched(store, {"2026-11-20": 60})))
        assert everything(store, NOON) == expected, f"killed before write {write}"
    assert write > 5


def raised_id(error: ImporterError) -> str:
    """The import whose reports an error says are kept."""
    return Path(error.fix.partition("kept in ")[2].partition(";")[0]).name


def test_kept_reports_come_in_the_order_in_which_they_were_fetched(store: ci.Store) -> None:
    folder = ci.pending_folder(store.config)
    for name, hour, count in (("a", 11, 70), ("b", 10, 90), ("c", 9, 60)):
        reports = fetched(store, {"2026-11-20": count})
        reports = dataclasses.replace(reports, fetched_at=f"2026-11-20T{hour:02}:00:00+00:00")
        ci.save_reports(reports, folder / name)
    assert ci.replay_pending(store, ci.Fixed("Europe/Berlin", "sha256")) == 3
    assert tokens(store) == {"2026-11-20": 90}
    kept = {row["import_id"]: row["rows_kept"].get("daily") for row in store.read_history()}
    assert kept == {"a": 1, "b": 0, "c": 0}
    assert pending(store) == []


def test_kept_reports_of_another_zone_are_set_aside(store: ci.Store) -> None:
    folder = ci.pending_folder(store.config)
    ci.save_reports(fetched(store, {"2026-11-20": 70}), folder / "berlin")
    assert ci.replay_pending(store, ci.Fixed("Asia/Tokyo", "sha256")) == 0
    assert tokens(store) == {}
    assert (store.config.kept_path / "refused" / "berlin" / ci.MANIFEST).exists()


NO_MODELS = '[[], [[["daily", "claude", "2026-11-20"], {"models": [], "breakdowns": []}]]]'


@pytest.mark.parametrize("damaged", ["[1", '[[["daily", "claude"]], []]', "{}", NO_MODELS])
def test_kept_reports_beside_which_something_is_damaged_stop_no_run(store: ci.Store, damaged: str) -> None:
    folder = ci.pending_folder(store.config)
    name = f"half-{len(damaged)}"
    ci.save_reports(fetched(store, {"2026-11-20": 70}), folder / name)
    (folder / name / ci.REPLACED).write_text(damaged, encoding="utf-8")
    outcome = run(store, fetched(store, {"2026-11-20": 70}))
    assert (outcome.status, tokens(store), pending(store)) == ("completed", {"2026-11-20": 70}, [])
    assert (store.config.kept_path / "refused" / name / ci.REPLACED).exists()


def test_kept_reports_that_cannot_be_set_aside_stop_no_run(store: ci.Store, caplog: pytest.LogCaptureFixture) -> None:
    config = dataclasses.replace(store.config, db_path=store.config.db_path / "closed")
    store = ci.Store(config, store.connections)
    config.kept_path.mkdir(parents=True)
    (config.kept_path / "refused").touch()  # where a folder is to be
    ci.save_reports(fetched(store, {"2026-11-20": 70}), ci.pending_folder(config) / "berlin")
    ci.log.propagate = True
    assert ci.replay_pending(store, ci.Fixed("Asia/Tokyo", "sha256")) == 0
    assert f"stay in {ci.pending_folder(config) / 'berlin'}" in caplog.text


def test_saved_reports_that_are_half_removed_are_nobodys(
    store: ci.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ci.save_reports(fetched(store, {"2026-11-20": 70}), tmp_path / "saved")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # it was killed before
    ci.drop_reports(tmp_path / "saved")
    assert not (tmp_path / "saved" / ci.MANIFEST).exists()


def test_what_cannot_be_stored_now_is_kept_and_what_it_covers_is_dropped(store: ci.Store) -> None:
    config = dataclasses.replace(store.config, db_path=store.config.db_path / "apart")

    def keep(days: Mapping[str, int], **more: Any) -> int:
        ci.keep_for_next_run(config, dataclasses.replace(fetched(store, days), **more))
        return len(list(ci.pending_folder(config).iterdir()))

    assert keep({"2026-11-19": 5, "2026-11-20": 50}) == 1
    assert keep({"2026-11-19": 5, "2026-11-20": 60}) == 1
    assert keep({"2026-11-20": 60}) == 2  # a day is gone
    assert keep({"2026-11-20": 60}, user_name="bob") == 3
    assert keep({"2026-11-19": 5, "2026-11-20": 60}) == 2  # covers all but bob's
    for folder in ci.pending_folder(config).iterdir():
        (folder / ci.REPLACED).write_text("[[], []]", encoding="utf-8")  # what a killed run has deleted
    assert keep({"2026-11-19": 5, "2026-11-20": 60}) == 3
    assert ci.remembered(config) == ci.Fixed("Europe/Berlin", "sha256")
    with pytest.raises(ImporterError, match="Asia/Tokyo every day would be cut anew"):
        keep({"2026-11-20": 60}, timezone="Asia/Tokyo")


def test_a_price_that_went_missing_is_found_in_what_is_stored(store: ci.Store) -> None:
    def free() -> FetchedReports:
        told = fetched(store, {"2026-11-20": 50})
        for rows in (*(document.values() for name, document in told.documents.items() if name != "projects"),):
            for row in (row for part in rows for row in part):
                row["totalCost"] = 0
                row["modelBreakdowns"][0]["cost"] = 0
        return told

    run(store, fetched(store, {"2026-11-20": 50}))
    outcome = run(store, free())
    assert any("no price for opus" in warning for warning in outcome.warnings)
    assert store.read_totals()["cost"] == 0.5
    lowering = dataclasses.replace(store.config, allow_shrink=True)
    asked = ci.owned_by(ci.Store(lowering, store.connections), lowering.machine_name, lowering.user_name)
    asked.column_types = store.column_types
    run(asked, free())
    assert store.read_totals()["cost"] == 0


# ---- what an import decides and says, without a database ----------------------------------------------


TODAY = date(2026, 11, 21)
LAST = ci.LastImport("UTC", "sha256", 0, "20.0.11", {})


def test_an_import_has_usage_where_ccusage_told_of_any_or_may_have() -> None:
    def outcome(errors: dict[str, ImporterError], **plans: Plan) -> ci.Outcome:
        return ci.Outcome("", FetchedReports("20.0.11", "UTC", "m", "u", "", {}), plans, errors, [], None)

    row, old = kept(day("2026-11-20"))
    empty = {"daily": Plan("daily"), "blocks": Plan("blocks")}
    assert not outcome({}, **empty).has_usage
    assert not outcome(
        {}, **empty, monthly=Plan("monthly", new=[month("2026-11")])
    ).has_usage  # from days stored before
    for told in (Plan("daily", new=[row]), Plan("daily", unchanged=[row]), Plan("daily", kept=[(row, old)])):
        assert outcome({}, blocks=Plan("blocks"), daily=told).has_usage
    error = {"daily": ImporterError("no answer")}
    assert outcome(error).has_usage
    assert [outcome({}, **empty).status, outcome(error, **empty).status, outcome(error).status] == [
        "completed",
        "partial",
        "failed",
    ]


def kept(record: Record, old_total: int = 99) -> tuple[Record, Stored]:
    return record, dataclasses.replace(ci.stored_from(record), usage=usage(old_total))


def test_what_was_kept_is_told_and_where_it_may_be_a_correction() -> None:
    assert ci.kept_notes({"daily": Plan("daily")}, "20.0.24", LAST, TODAY) == []
    old = {
        "daily": Plan("daily", kept=[kept(day("2026-10-22")), kept(day("2026-10-21"))]),
        "monthly": Plan("monthly"),
        "session": Plan("session", kept=[kept(session("p", project="p"))]),  # ... of a whole project
    }
    (told,) = ci.kept_notes(old, "20.0.11", LAST, TODAY)
    assert told.startswith("kept 3 stored rows ")
    assert told.endswith(": 2 daily, 1 session")
    (_, updated) = ci.kept_notes(old, "20.0.24", LAST, TODAY)
    assert updated.startswith("ccusage has changed from 20.0.11 to 20.0.24, so it may be a correction. --allow-shrink")
    assert len(ci.kept_notes(old, "20.0.24", None, TODAY)) == 1
    young = [kept(day(f"2026-11-0{number}")) for number in range(1, 5)]
    blocks = Plan("blocks", kept=[kept(block(NOON))])
    (_, said) = ci.kept_notes({"blocks": blocks, "daily": Plan("daily", kept=young)}, "20.0.11", LAST, TODAY)
    assert said == (
        "5 of them are younger than the 30 days that logs are kept, so it may be a correction: "
        "blocks 2026-11-20T12:00 (495 tokens, now 20); daily 2026-11-01 (495 tokens, now 5); "
        "daily 2026-11-02 (495 tokens, now 5). --allow-shrink takes the lower numbers"
    )
    edge = {"daily": Plan("daily", kept=[kept(day("2026-10-23"))])}
    assert len(ci.kept_notes(edge, "20.0.11", LAST, TODAY)) == 2
    last_activity = {"session": Plan("session", kept=[kept(session("s"))])}
    assert len(ci.kept_notes(last_activity, "20.0.11", LAST, TODAY)) == 2


@pytest.mark.parametrize(
    ("newer", "covered"),
    [
        (RECORDS, True),
        ({**RECORDS, "daily": [*RECORDS["daily"], day("2026-11-21")]}, True),
        ({**RECORDS, "daily": [day("2026-10-31", 2), *RECORDS["daily"][1:]]}, True),
        ({**RECORDS, "daily": [day("2026-10-31", 0), *RECORDS["daily"][1:]]}, False),
        ({**RECORDS, "daily": RECORDS["daily"][1:]}, False),
        ({**RECORDS, "session": []}, False),
        ({name: rows for name, rows in RECORDS.items() if name != "projects"}, False),
        ({**RECORDS, "blocks": RECORDS["blocks"][:2]}, True),  # a gap is nothing to gain
        ({**RECORDS, "blocks": RECORDS["blocks"][1:]}, False),
        ({**RECORDS, "blocks": [block(NOON + timedelta(hours=1), 3), *RECORDS["blocks"][1:]]}, False),
    ],
)
def test_newer_reports_cover_older_ones(newer: dict[str, list[Record]], covered: bool) -> None:
    assert ci.covers_all(newer, RECORDS) is covered
    assert ci.covers_all(newer, {})


def test_what_is_fixed_at_the_first_import_is_held_to(store: ci.Store) -> None:
    reports = fetched(store, {})
    berlin = ci.Fixed("Europe/Berlin", "sha256")
    for fixed in (None, berlin):
        ci.checked_settings(fixed, reports.timezone, ci.Privacy(), store.config)
    refused = {
        ci.Fixed("Asia/Tokyo", "sha256"): "CCUSAGE_TIMEZONE: .* cut by Asia/Tokyo since .* with Europe/Berlin every",
        ci.Fixed("Europe/Berlin", "plain"): "are stored as they are .*; stored hashed",
        ci.Fixed("Europe/Berlin", "hmac-1"): "are stored hashed with a PROJECT_HASH_KEY; stored hashed",
    }
    for fixed, said in refused.items():
        with pytest.raises(ImporterError, match=said) as raised:
            ci.checked_settings(fixed, reports.timezone, ci.Privacy(), store.config)
        assert raised.value.exit_code == ci.EXIT_USAGE
    keyed = ci.Privacy(key="k")
    with pytest.raises(ImporterError, match="stored hashed with another PROJECT_HASH_KEY"):
        ci.checked_settings(ci.Fixed("Europe/Berlin", "hmac-1"), reports.timezone, keyed, store.config)
    ci.checked_settings(ci.Fixed("Europe/Berlin", keyed.fingerprint), reports.timezone, keyed, store.config)


def test_agents_that_are_not_found_are_those_that_were_there() -> None:
    unreadable = {"claude": "CLAUDE_CONFIG_DIR", "codex": "CODEX_HOME", "amp": "AMP_DATA_DIR"}
    stored_days = {"claude": 1_257, "codex": 3, "opencode": 5}
    (said,) = ci.not_found({"daily": [day("2026-11-20", source="codex")]}, stored_days, unreadable)
    assert said.startswith("no usage of claude was found, of which 1,257 days are stored: CLAUDE_CONFIG_DIR names")
    assert ci.not_found({}, stored_days, {}) == []


def test_a_statement_is_tried_again_where_that_can_help(store: ci.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    calls: list[int] = []

    class EngineError(OSError):
        code = 202

    def fails(times: int, error: Exception) -> Any:
        def action() -> str:
            calls.append(1)
            if len(calls) <= times:
                raise error
            return "answer"

        calls.clear()
        slept.clear()
        return ci.with_retries(store.config, "a statement", action, 5)

    busy = EngineError("Code: 202. DB::Exception: too many (TOO_MANY_SIMULTANEOUS_QUERIES)")
    assert fails(4, busy) == "answer"
    assert len(calls) == 5
    for number, seconds in enumerate(slept, 1):
        assert 0.125 * 2**number <= seconds <= 0.25 * 2**number
    with pytest.raises(ImporterError, match="DB::Exception: too many") as raised:
        fails(5, busy)
    assert len(calls) == 5
    assert raised.value.__cause__ is busy
    full = EngineError("Code: 243. DB::Exception: full (NOT_ENOUGH_SPACE)")
    full.code = 243
    with pytest.raises(ImporterError, match="refused: DB::Exception: full") as raised:
        fails(1, full)
    assert raised.value.fix.startswith("make room")
    assert (len(calls), slept) == (1, [])
    monkeypatch.setattr(ci, "RETRY_SECONDS", -1.0)  # it took too long
    with pytest.raises(ImporterError):
        fails(1, busy)
    assert (len(calls), slept) == (1, [])


def test_what_was_merged_long_ago_is_no_longer_on_the_disk(engine: ci.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is over before the engine in process would clean up: without help the files of every import stay."""
    config = dataclasses.replace(engine.config, database="merged")  # of its own: no part is another test's

    def opened() -> ci.Store:
        store, _ = ci.open_ready_store(config, make_schema=True)
        assert store is not None
        return store

    def parts(store: ci.Store) -> tuple[int, int]:
        """How many there are of days: those in use and those that are merged into others."""
        [(active, outdated)] = store.query(
            "SELECT countIf(active), countIf(NOT active) FROM system.parts"
            " WHERE database = 'merged' AND table = 'ccusage_usage_daily'"
        )
        return active, outdated

    store = opened()
    for when in range(1, 13):
        run(store, fetched(store, {f"2026-10-{when:02}": when}))
    expected = everything(store, NOON)
    for _ in range(100):  # beside a merge of the engine's own, which it does not wait for, it does nothing
        store.command("OPTIMIZE TABLE ccusage_usage_daily FINAL")
        active, outdated = parts(store)
        if active == 1:
            break
        time.sleep(0.1)
    assert (active, outdated > ci.MANY_PARTS) == (1, True), outdated
    store.close()
    store = opened()
    assert parts(store)[1] > ci.MANY_PARTS  # merged just now: it may not be on the disk yet
    store.close()
    monkeypatch.setattr(ci, "MERGED_SECONDS", 0)
    time.sleep(1.1)
    store = opened()
    active, outdated = parts(store)
    assert (active > 0, outdated < ci.MANY_PARTS) == (True, True), outdated  # a merge may have ended since
    assert everything(store, NOON) == expected
    store.close()


def test_what_is_done_at_once_is_told_in_its_order_and_has_ended_when_a_part_fails() -> None:
    class Client:
        """A server's, which two threads share: whose database nobody changes but who opens it."""

        def __setattr__(self, name: str, value: Any) -> None:
            raise AssertionError(f"{name} is set to {value}")

        def close(self) -> None:
            pass

    connections = ci.Connections(cast("Any", Client()))
    connections.meanwhile(lambda: None)
    ended: list[int] = []

    def act(number: int, fails: bool = False) -> int:
        time.sleep(0.02 * (3 - number))
        ended.append(number)
        if fails:
            raise ImporterError(f"{number} failed")
        return number

    assert connections.together([functools.partial(act, number) for number in range(3)]) == [0, 1, 2]
    assert connections.together([]) == []
    for failing, other in ((0, 1), (1, 0)):
        ended.clear()
        both = threading.Barrier(2, timeout=60)
        parts: list[Callable[[], Any]] = [
            functools.partial(
                lambda number, fails, both: (both.wait(), act(number, fails)), number, number == failing, both
            )
            for number in range(2)
        ]
        with pytest.raises(ImporterError, match=f"{failing} failed"):
            connections.together(parts)
        assert other in ended
    # of an action that is several itself the helper may have taken one: then nobody waits for its own help
    parts = [lambda: connections.together([functools.partial(act, number) for number in range(2)])] * 3
    assert connections.together(parts) == [[0, 1]] * 3
    connections.close()


def test_in_process_a_helper_has_one_connection_of_its_own() -> None:
    class Client:
        database = ""

        def close(self) -> None:
            ended.append(self)

    ended: list[Any] = []
    first: Any = Client()
    connections = ci.Connections(first, lambda: cast("Any", Client()))
    first.database = "its own"
    both = threading.Barrier(2, timeout=60)
    used = [client for client, _ in connections.together([lambda: (connections.client, both.wait())] * 2)]
    helpers: Any = connections.meanwhile(lambda: connections.client).result()
    assert sorted(map(id, used)) == sorted(map(id, (first, helpers)))
    assert (helpers is first, helpers.database) == (False, "its own")
    connections.close()
    assert ended == [first, helpers]
