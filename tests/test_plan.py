"""The plan: new, changed, unchanged, kept. Pure functions, so hypothesis may try many."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ccusage_importer as ci
from ccusage_importer import Children, Key, Plan, Record, Stored, Usage


def day(number: int, total: int = 10, cost: float = 1.0, model: str = "m", model_cost: float | None = None) -> Record:
    when = date(2026, 11, number)
    usage = Usage(total, 0, 0, 0, total, cost)
    part = Usage(total, 0, 0, 0, total, cost if model_cost is None else model_cost)
    return Record("daily", "claude", str(when), {"date": when}, usage, (model,), {model: part})


def index(*records: Record) -> dict[Key, Stored]:
    return {record.key: ci.stored_from(record) for record in records}


def outcome(plan: Plan) -> dict[str, list[str]]:
    return {
        "new": [record.record_key for record in plan.new],
        "changed": [record.record_key for record, _ in plan.changed],
        "unchanged": [record.record_key for record in plan.unchanged],
        "kept": [record.record_key for record, _ in plan.kept],
        "removed": [row.record_key for row in plan.removed],
    }


def test_new_changed_unchanged_kept() -> None:
    plan = ci.plan_report("daily", [day(1), day(2, 20), day(3), day(4, 5)], index(day(2), day(3), day(4)))
    assert outcome(plan) == {
        "new": ["2026-11-01"],
        "changed": ["2026-11-02"],
        "unchanged": ["2026-11-03"],
        "kept": ["2026-11-04"],
        "removed": [],
    }
    allowed = ci.plan_report("daily", [day(4, 5)], index(day(4)), ci.Rules(allow_shrink=True))
    assert outcome(allowed)["changed"] == ["2026-11-04"]


def priced(*fetched: Record, stored: Record) -> tuple[list[Record], Plan]:
    """What becomes of fetched rows of a report, of which one is stored."""
    rows = index(stored)
    children = {ci.child_key(stored): Children(stored.models, stored.breakdowns)}
    tables = {name: rows if name == stored.report else {} for name in ci.REPORTS}
    told = {stored.report: list(fetched)}
    records, repriced = ci.keep_prices(told, ci.lacking_a_price(told, tables), children)
    return records[stored.report], ci.plan_report(stored.report, records[stored.report], rows, ci.Rules(repriced))


def test_a_plan_forgets_a_row_and_tells_what_it_leaves() -> None:
    stored = index(day(2), day(3), day(4), day(5))
    plan = ci.plan_report("daily", [day(1), day(2, 20), day(3), day(4, 5)], stored)
    plan.removed.append(ci.stored_from(day(5)))
    left = {key[1]: row.usage.total for key, row in plan.after(stored).items()}
    assert left == {"2026-11-01": 10, "2026-11-02": 20, "2026-11-03": 10, "2026-11-04": 10}
    before = outcome(plan)
    for number in range(1, 5):
        plan.drop(day(number).key)
        assert sum(map(len, outcome(plan).values())) == 5 - number
        for name, keys in outcome(plan).items():
            assert keys == [key for key in before[name] if key > str(day(number).columns["date"])]
    assert not plan.is_empty
    assert Plan("daily", unchanged=[day(3)], kept=[(day(4, 5), ci.stored_from(day(4)))]).is_empty


def test_a_price_that_went_missing_is_not_a_change() -> None:
    _, plan = priced(day(1, cost=0.0), stored=day(1))
    assert outcome(plan)["kept"] == ["2026-11-01"]
    # only what came since is counted without a price
    [grown], plan = priced(day(1, 11, 0.0), stored=day(1))
    assert outcome(plan)["changed"] == ["2026-11-01"]
    assert grown.usage == grown.breakdowns["m"] == Usage(11, 0, 0, 0, 11, 1.0)
    # a lower cost that is one is a new price, and fewer tokens are a matter of their own
    assert outcome(priced(day(1, cost=0.5), stored=day(1))[1])["changed"] == ["2026-11-01"]
    assert outcome(priced(day(1, 9, 0.0), stored=day(1))[1])["kept"] == ["2026-11-01"]


def test_beside_a_price_that_went_missing_the_other_models_follow_theirs() -> None:
    models = {"dear": Usage(5, 0, 0, 0, 5, 4.0), "lost": Usage(5, 0, 0, 0, 5, 100.0)}
    stored = dataclasses.replace(day(1, 10, 104.0), models=("dear", "lost"), breakdowns=models)
    now = {"dear": Usage(6, 0, 0, 0, 6, 3.0), "lost": Usage(7, 0, 0, 0, 7, 0.0), "new": Usage(1, 0, 0, 0, 1, 0.0)}
    fetched = dataclasses.replace(day(1, 14, 3.0), models=("dear", "lost", "new"), breakdowns=now)
    [record], plan = priced(fetched, stored=stored)
    assert outcome(plan)["changed"] == ["2026-11-01"]
    assert record.usage == Usage(14, 0, 0, 0, 14, 103.0)
    assert record.breakdowns == {**now, "lost": Usage(7, 0, 0, 0, 7, 100.0)}


def test_a_block_of_a_model_that_lost_its_price_keeps_its_cost() -> None:
    stored = dataclasses.replace(block(0, 10), models=("m",), usage=Usage(10, 0, 0, 0, 10, 5.0))
    fetched = dataclasses.replace(stored, usage=Usage(12, 0, 0, 0, 12, 2.0))
    tables = {name: index(stored) if name == "blocks" else {} for name in ci.REPORTS}
    for days, cost in (([day(1, model_cost=0.0)], 5.0), ([day(1)], 2.0)):
        told = {"blocks": [fetched], "daily": days}
        records, _ = ci.keep_prices(told, ci.lacking_a_price(told, tables), {})
        assert records["blocks"][0].usage == Usage(12, 0, 0, 0, 12, cost)


def test_unpriced_models_have_tokens_and_no_cost_anywhere() -> None:
    records = {"daily": [day(1, model="a", model_cost=0.0), day(2, model="a"), day(3, model="b", model_cost=0.0)]}
    assert ci.unpriced_models(records) == {("claude", "b")}


# ---- months -------------------------------------------------------------------------------------------


def month(total: int, cost: float) -> Record:
    columns = {"month": "2026-11", "year": 2026, "month_num": 11}
    usage = Usage(total, 0, 0, 0, total, cost)
    return Record("monthly", "claude", "2026-11", columns, usage, ("m",), {"m": usage})


def plan_month(fetched: Record | None, old: Record | None, *days: Record | Stored, allow_shrink: bool = False) -> Plan:
    return ci.plan_months(
        [fetched] if fetched else [],
        index(old) if old else {},
        {row.key: row for row in days},
        {ci.child_key(row): Children(("m",), {"m": Usage(10, 0, 0, 0, 10, 1.0)}) for row in days},
        rules=ci.Rules(allow_shrink=allow_shrink),
    )


def test_a_month_is_ccusages_while_it_covers_its_days() -> None:
    plan = plan_month(month(20, 2.0), None, day(1), day(2))
    assert [record.usage.total for record in plan.new] == [20]


def test_a_month_is_never_less_than_its_days() -> None:
    old = ci.stored_from(day(1))
    plan = plan_month(month(15, 1.5), month(20, 2.0), old, day(2, 15, 1.5))
    [(record, _)] = plan.changed
    assert record.usage == Usage(25, 0, 0, 0, 25, 2.5)
    assert record.breakdowns == {"m": Usage(25, 0, 0, 0, 25, 2.5)}
    assert record.columns == {"month": "2026-11", "year": 2026, "month_num": 11}


def test_a_month_that_equals_its_days_stands() -> None:
    plan = plan_month(month(10, 1.0), month(20, 2.0), ci.stored_from(day(1)), ci.stored_from(day(2)))
    assert outcome(plan)["kept"] == ["2026-11"]
    assert plan.is_empty


def test_a_month_that_ccusage_no_longer_tells_follows_its_days() -> None:
    plan = plan_month(None, month(10, 1.0), ci.stored_from(day(1)), day(2))
    [(record, _)] = plan.changed
    assert record.usage.total == 20


def test_a_month_without_known_days_does_not_shrink() -> None:
    assert outcome(plan_month(month(5, 0.5), month(10, 1.0)))["kept"] == ["2026-11"]
    assert outcome(plan_month(month(5, 0.5), month(10, 1.0), allow_shrink=True))["changed"] == ["2026-11"]


@given(st.data())
def test_months_equal_days_whatever_happens(data: st.DataObject) -> None:
    """Imports with any clean-ups and growth in between: after each the month is the sum of its days."""
    totals = st.integers(min_value=0, max_value=50)
    kept_days: dict[Key, Record] = {}
    kept_month: Record | None = None
    for _ in range(data.draw(st.integers(1, 4))):
        fetched = [
            day(number, total, float(total))
            for number, total in data.draw(st.dictionaries(st.integers(1, 5), totals)).items()
        ]
        days = {key: ci.stored_from(record) for key, record in kept_days.items()}
        plan = ci.plan_report("daily", fetched, days)
        total = sum(record.usage.total for record in fetched)
        said = month(total, float(total)) if fetched else None
        history = dict(kept_days)

        children = {ci.child_key(row): Children(row.models, row.breakdowns) for row in history.values()}

        months = ci.plan_months(
            [said] if said else [], index(kept_month) if kept_month else {}, plan.after(days), children
        )
        kept_days.update({record.key: record for record in plan.written})
        kept_month = months.written[0] if months.written else kept_month
        if kept_days:
            assert kept_month is not None
            assert kept_month.usage.total == sum(record.usage.total for record in kept_days.values())
            assert kept_month.usage.cost == pytest.approx(sum(record.usage.cost for record in kept_days.values()))


# ---- blocks -------------------------------------------------------------------------------------------

START = datetime(2026, 11, 1, tzinfo=timezone.utc)


def block(hour: float, total: int, *, gap_until: float | None = None) -> Record:
    start = START + timedelta(hours=hour)
    end = START + timedelta(hours=hour + 5 if gap_until is None else gap_until)
    name = f"{'gap-' if gap_until is not None else ''}{hour}"
    columns = {"block_id": name, "start_time": start, "end_time": end, "is_gap": int(gap_until is not None)}
    return Record("blocks", "claude", name, columns, Usage(total, 0, 0, 0, total, float(total)), ("m",), {})


def test_of_overlapping_blocks_the_side_with_more_tokens_stays_whole() -> None:
    before = index(block(0, 100), block(5, 50), block(24, 10))
    less = ci.plan_blocks([block(3, 60), block(8, 20), block(24, 10)], before)
    assert outcome(less) == {"new": [], "changed": [], "unchanged": ["24"], "kept": ["3", "8"], "removed": []}
    more = ci.plan_blocks([block(3, 160), block(8, 20)], before)
    assert outcome(more) == {"new": ["3", "8"], "changed": [], "unchanged": [], "kept": [], "removed": ["0", "5"]}


def test_blocks_that_only_touch_do_not_overlap() -> None:
    plan = ci.plan_blocks([block(5, 10)], index(block(0, 100)))
    assert outcome(plan)["new"] == ["5"]


def test_blocks_of_other_agents_are_apart() -> None:
    import dataclasses

    other = dataclasses.replace(block(3, 5), source="codex")
    assert outcome(ci.plan_blocks([other], index(block(0, 100))))["new"] == ["3"]


def test_gaps_give_way_to_blocks() -> None:
    # logs of the blocks at 10 are gone: ccusage now says there was a gap
    before = index(block(0, 5), block(10, 7))
    plan = ci.plan_blocks([block(0, 5), block(5, 0, gap_until=20.5), block(20, 9)], before)
    assert outcome(plan) == {"new": ["20"], "changed": [], "unchanged": ["0"], "kept": [], "removed": []}
    # and the other way round: logs came back, the stored gap was none
    back = ci.plan_blocks([block(0, 5), block(10, 7)], index(block(0, 5), block(5, 0, gap_until=20.5)))
    assert outcome(back)["removed"] == ["gap-5"]
    # a block came back in the middle: the gap ends there now, so it is changed and not removed
    told = [block(0, 5), block(5, 0, gap_until=12), block(12, 7)]
    middle = ci.plan_blocks(told, index(block(0, 5), block(5, 0, gap_until=20.5)))
    assert (outcome(middle)["changed"], outcome(middle)["removed"]) == (["gap-5"], [])


def test_a_gap_ends_where_the_next_block_starts() -> None:
    gap = block(5, 0, gap_until=20.4)  # the first message after it came at 20:24, its block starts at 20:00
    plan = ci.plan_blocks([block(0, 5), gap, block(20, 9)], index(block(0, 5), gap, block(20, 9)))
    assert plan.is_empty
    assert outcome(plan)["unchanged"] == ["0", "20", "gap-5"]
    # any time of the hour is cut to the hour, of a gap alone
    late = block(5, 0, gap_until=20 + 59 / 60 + 59 / 3600)
    assert ci.block_span(late) == (ci.block_span(gap)[0], ci.block_span(block(20, 9))[0])
    assert ci.block_span(block(5.4, 1))[1] == START + timedelta(hours=10.4)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 99)), max_size=8),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 99)), max_size=8),
)
def test_stored_blocks_never_overlap_and_never_lose_tokens(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    def one_side(pairs: list[tuple[int, int]]) -> list[Record]:
        side: list[Record] = []
        for hour, total in sorted(pairs):
            if not side or START + timedelta(hours=hour) >= side[-1].columns["end_time"]:
                side.append(block(hour, total))
        return side

    old, fetched = one_side(first), one_side(second)
    plan = ci.plan_blocks(fetched, index(*old))
    after = list(plan.after(index(*old)).values())
    assert sum(row.usage.total for row in after) >= max(
        sum(row.usage.total for row in old), sum(row.usage.total for row in fetched)
    )
    assert all(len(group) == 1 for group in ci.overlapping_groups(after))


# ---- sessions that are projects -----------------------------------------------------------------------


def session(key: str, total: int, project: str) -> Record:
    usage = Usage(total, 0, 0, 0, total, float(total))
    columns = {"session_id": key, "project_path": project, "first_activity": None, "last_activity": START}
    return Record("session", "claude", key, columns, usage, ("m",), {"m": usage})


def project_day(number: int, total: int) -> Record:
    when = date(2026, 11, number)
    usage = Usage(total, 0, 0, 0, total, float(total))
    columns = {"date": when, "project_id": "p"}
    return Record("projects", "claude", f"{when}/p", columns, usage, ("m",), {"m": usage})


def plan_sessions(fetched: list[Record], old: list[Record], old_days: list[Record], new_days: list[Record]) -> Plan:
    children = {ci.child_key(row): Children(row.models, row.breakdowns) for row in (*old, *old_days)}
    plan = ci.plan_report("session", fetched, index(*old))
    days = ci.plan_report("projects", new_days, index(*old_days))
    held = {key: (index(*old_days), index(*old)) for key in ci.whole_projects(plan, days, index(*old))}
    ci.plan_whole_projects(plan, days, index(*old), held, children)
    return plan


def test_after_an_update_the_project_row_holds_what_sessions_do_not() -> None:
    # days 1 and 2 were imported as one row of 30; the logs of day 1 are gone, day 2 is session s of 20
    plan = plan_sessions(
        [session("s", 20, "p")], [session("p", 30, "p")], [project_day(1, 10), project_day(2, 20)], [project_day(2, 20)]
    )
    assert outcome(plan)["new"] == ["s"]
    [(rest, _)] = plan.changed
    assert (rest.record_key, rest.usage.total, rest.breakdowns["m"].total) == ("p", 10, 10)


def test_after_an_update_with_all_logs_the_project_row_goes() -> None:
    plan = plan_sessions([session("s", 31, "p")], [session("p", 30, "p")], [project_day(1, 30)], [project_day(1, 31)])
    assert outcome(plan)["removed"] == ["p"]


def test_a_project_row_follows_what_grows_after_a_cleanup() -> None:
    # ccusage 18: of 30 tokens 10 are cleaned up, 5 new ones came: it says 25
    plan = plan_sessions(
        [session("p", 25, "p")],
        [session("p", 30, "p")],
        [project_day(1, 10), project_day(2, 20)],
        [project_day(2, 20), project_day(3, 5)],
    )
    [(row, _)] = plan.changed
    assert (row.report, row.source, row.usage.total) == ("session", "claude", 35)
    assert row.columns == {"session_id": "p", "project_path": "p", "first_activity": None, "last_activity": START}
    assert (row.models, row.breakdowns["m"].total) == (("m",), 35)
    assert plan.kept == []


def test_a_project_row_that_only_lost_logs_is_kept() -> None:
    plan = plan_sessions(
        [session("p", 20, "p")],
        [session("p", 30, "p")],
        [project_day(1, 10), project_day(2, 20)],
        [project_day(2, 20)],
    )
    assert outcome(plan)["kept"] == ["p"]
    assert plan.is_empty


def test_an_older_ccusage_after_a_newer_one_counts_nothing_twice() -> None:
    # the newer one has stored the sessions s and t; the older one tells them, and 5 tokens more, as one row
    plan = plan_sessions(
        [session("p", 35, "p")],
        [session("s", 20, "p"), session("t", 10, "p")],
        [project_day(1, 30)],
        [project_day(1, 35)],
    )
    assert [(row.record_key, row.usage.total) for row in plan.new] == [("p", 5)]
    plan = plan_sessions([session("p", 30, "p")], [session("s", 30, "p")], [project_day(1, 30)], [project_day(1, 30)])
    assert plan.is_empty


# ---- agreement ----------------------------------------------------------------------------------------


def test_reports_that_agree_and_reports_that_do_not() -> None:
    records = {"daily": [day(1), day(2)], "monthly": [month(20, 2.0)]}
    assert ci.disagreements(records) == []
    records["monthly"] = [month(21, 2.0)]
    assert ci.disagreements(records) == ["2026-11 (claude): months say 21 tokens and $2.000000, days 20 and $2.000000"]


# ---- written -----------------------------------------------------------------------------------------


def test_a_delete_that_runs_late_reaches_nothing_that_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three imports within a second, then one by a clock that was turned back; all deletes run again at the end."""
    config = ci.read_config({"CCUSAGE_DB_PATH": str(tmp_path), "CCUSAGE_USER": "u"}, ci.make_parser().parse_args([]))
    store, _ = ci.open_ready_store(config, make_schema=True)
    assert store is not None
    deletes: list[tuple[Any, ...]] = []
    command = store.command

    def recording(*statement: Any) -> None:
        deletes.append(statement)
        command(*statement)

    monkeypatch.setattr(store, "command", recording)
    now = datetime.now(timezone.utc)
    try:
        for total, clock in ((10, now), (20, now), (30, now), (40, now - timedelta(days=1))):

            class Clock(datetime):
                moment = clock

                @classmethod
                def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                    return cls.moment

            monkeypatch.setattr(ci, "datetime", Clock)
            told = {"daily": [day(1, total), day(2, total)]}
            plans, _ = ci.plan_import(ci.Past(store), told, config, ci.Dialect.AGENTS, now)
            store.write_plans(plans.values())
            store.check_written(plans.values())
        assert len(deletes) == 9
        for late in deletes:
            command(*late)
        left = "SELECT date, total_tokens FROM ccusage_usage_daily ORDER BY date"
        assert store.query(left) == [(date(2026, 11, 1), 40), (date(2026, 11, 2), 40)]
        children = "SELECT record_key, total_tokens FROM ccusage_model_breakdowns ORDER BY record_key"
        assert store.query(children) == [("2026-11-01", 40), ("2026-11-02", 40)]
        assert store.query("SELECT count() FROM ccusage_models_used") == [(2,)]
        # what a crash has left of children is not older than any row
        store.command("TRUNCATE TABLE ccusage_usage_daily")
        told = {"daily": [day(1, 5, model="other")]}
        plans, _ = ci.plan_import(ci.Past(store), told, config, ci.Dialect.AGENTS, now)
        store.write_plans(plans.values(), repair=True)
        store.check_written(plans.values())
    finally:
        store.close()
