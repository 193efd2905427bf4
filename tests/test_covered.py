"""Rows that are sums of their messages. Pure functions: what is stored and fetched, and what follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

import pytest

import ccusage_importer as ci
from ccusage_importer import Coverage, Key, Messages, MessageSum, Plan, Record, Rules, Stored, Usage

MIDNIGHT = datetime(2026, 11, 10, tzinfo=timezone.utc)


def at(hours: float) -> datetime:
    """So many hours after midnight of 10 November."""
    return MIDNIGHT + timedelta(hours=hours)


def tokens(total: int, cost: float = 0.0) -> Usage:
    return Usage(total, 0, 0, 0, total, cost)


def message(
    hours: float,
    total: int = 10,
    *,
    session: str = "s",
    project: str = "p",
    model: str = "opus",
    cost: float | None = None,
    **usage: int,
) -> MessageSum:
    """Messages of one moment: `total` tokens of input, and a dollar each where no cost is given."""
    moment = at(hours)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    hour_cache = usage.pop("hour_cache", 0)
    kinds = Usage(input=total, **usage)
    spent = dataclasses.replace(kinds, total=sum(kinds.tokens[:4]), cost=float(total) if cost is None else cost)
    return MessageSum(
        session, project, moment.date(), model, hour, hour == moment, moment, moment, 1, spent, hour_cache=hour_cache
    )


def known(*sums: MessageSum, days: Sequence[int] = (10,), missed: bool = False) -> Messages:
    wrong = {date(2026, 11, days[0]): (tokens(1), tokens(0))} if missed else {}
    return Messages(frozenset(date(2026, 11, day) for day in days), sums, wrong)


def daily(number: int, total: int, coverage: Coverage = Coverage.CCUSAGE) -> Record:
    when = date(2026, 11, number)
    usage = tokens(total, float(total))
    return Record("daily", "claude", str(when), {"date": when}, usage, ("opus",), {"opus": usage}, coverage=coverage)


def project_day(project: str, total: int, coverage: Coverage = Coverage.CCUSAGE) -> Record:
    columns = {"date": MIDNIGHT.date(), "project_id": project}
    usage = tokens(total, float(total))
    key = f"{MIDNIGHT.date()}/{project}"
    return Record("projects", "claude", key, columns, usage, ("opus",), {"opus": usage}, coverage=coverage)


def session(key: str, total: int, coverage: Coverage = Coverage.CCUSAGE, project: str = "p") -> Record:
    columns = {"session_id": key, "project_path": project, "first_activity": at(9), "last_activity": at(10)}
    usage = tokens(total, float(total))
    return Record("session", "claude", key, columns, usage, ("opus",), {"opus": usage}, coverage=coverage)


def block(hours: float, total: int, coverage: Coverage = Coverage.CCUSAGE) -> Record:
    columns = ci.block_columns(at(hours), at(hours + 5), [message(hours, total)], at(99), None)
    key = columns["block_id"]
    return Record("blocks", "claude", key, columns, tokens(total, float(total)), ("opus",), coverage=coverage)


def index(*records: Record) -> dict[Key, Stored]:
    return {record.key: ci.stored_from(record) for record in records}


def totals(plan: Plan) -> dict[str, dict[str, int]]:
    """Total tokens by key for each outcome that has any."""
    found = {
        "new": {r.record_key: r.usage.total for r in plan.new},
        "changed": {r.record_key: r.usage.total for r, _ in plan.changed},
        "unchanged": {r.record_key: r.usage.total for r in plan.unchanged},
        "kept": {r.record_key: old.usage.total for r, old in plan.kept},
        "removed": {old.record_key: old.usage.total for old in plan.removed},
    }
    return {outcome: rows for outcome, rows in found.items() if rows}


MESSAGES = Coverage.MESSAGES
TENTH = "2026-11-10"


# ---- which numbers a row gets -------------------------------------------------------------------------


def test_where_all_logs_are_there_the_row_is_ccusages_own() -> None:
    fetched = daily(10, 30)
    [row] = ci.plan_sums("daily", [fetched], {}, known(message(9, 10), message(11, 20))).new
    assert row == dataclasses.replace(fetched, coverage=MESSAGES)


def test_a_day_that_lost_one_log_and_grew_by_another_is_the_sum_of_its_messages() -> None:
    # 60 of alpha, whose log is gone, 40 and now 20 more of beta, which ccusage still sees
    messages = known(message(9, 60, project="alpha", model="sonnet"), message(10, 60, project="beta"))
    plan = ci.plan_sums("daily", [daily(10, 60)], index(daily(10, 100, MESSAGES)), messages)
    [(row, _)] = plan.changed
    assert row.usage == tokens(120, 120.0)
    assert row.breakdowns == {"opus": tokens(60, 60.0), "sonnet": tokens(60, 60.0)}
    assert (row.models, row.coverage) == (("opus", "sonnet"), Coverage.DERIVED)


def test_a_row_whose_logs_are_gone_stays_as_it_was_stored() -> None:
    plan = ci.plan_sums("daily", [daily(10, 5)], index(daily(10, 30, MESSAGES)), known(message(9, 30)))
    assert totals(plan) == {"unchanged": {TENTH: 30}}


def test_a_stored_row_older_than_its_messages_follows_the_four_words() -> None:
    messages = known(message(9, 20))
    assert totals(ci.plan_sums("daily", [daily(10, 20)], index(daily(10, 30)), messages)) == {"kept": {TENTH: 30}}
    # until its messages are known to be all there
    plan = ci.plan_sums("daily", [daily(10, 40)], index(daily(10, 30)), known(message(9, 40)))
    assert [row.coverage for row, _ in plan.changed] == [MESSAGES]


def test_a_row_that_counted_a_message_twice_goes_down() -> None:
    # the message is now known from another copy, on the next day
    plan = ci.plan_sums("daily", [daily(10, 10)], index(daily(10, 25, MESSAGES)), known(message(9, 10)))
    assert totals(plan) == {"changed": {TENTH: 10}}


def test_a_session_that_copied_from_one_that_is_gone_has_its_own_messages_alone() -> None:
    messages = known(message(9, 10, session="a"), message(10, 5, session="b"))
    stored = index(session("a", 10, MESSAGES))
    plan = ci.plan_sums("session", [session("b", 15)], stored, messages)
    assert totals(plan) == {"new": {"b": 5}, "unchanged": {"a": 10}}


def test_a_session_of_copies_alone_is_none() -> None:
    copies = dataclasses.replace(known(message(9, 10, session="a")), copies=frozenset({"b"}))
    told = [session("b", 10), session("c", 7)]  # of `c` no log has been read
    assert totals(ci.plan_sums("session", told, {}, copies)) == {"new": {"a": 10, "c": 7}}
    assert totals(ci.plan_sums("session", told[:1], index(session("b", 10, MESSAGES)), copies)) == {
        "new": {"a": 10},
        "removed": {"b": 10},
    }


def test_a_row_without_messages_is_removed_only_where_they_were_its_sum() -> None:
    messages = known(message(9, 10, project="new-name"))
    stored = index(project_day("old-name", 10, MESSAGES))
    plan = ci.plan_sums("projects", [project_day("new-name", 10)], stored, messages)
    assert totals(plan) == {"new": {f"{TENTH}/new-name": 10}, "removed": {f"{TENTH}/old-name": 10}}
    stored = index(project_day("old-name", 10))
    plan = ci.plan_sums("projects", [project_day("new-name", 10)], stored, messages)
    assert totals(plan) == {"new": {f"{TENTH}/new-name": 10}}


def test_a_project_that_got_another_name_after_it_was_told_is_not_told_twice() -> None:
    """Of reports that an earlier run fetched and could not import."""
    told = [project_day("old-name", 10)]
    messages = known(message(9, 10, project="new-name"))
    whole = dataclasses.replace(messages, whole=frozenset({MIDNIGHT.date()}))
    assert ci.plan_sums("projects", told, {}, whole).elsewhere == told
    assert totals(ci.plan_sums("projects", told, {}, whole)) == {"new": {f"{TENTH}/new-name": 10}}
    assert totals(ci.plan_sums("projects", told, index(project_day("old-name", 10, MESSAGES)), whole)) == {
        "new": {f"{TENTH}/new-name": 10},
        "removed": {f"{TENTH}/old-name": 10},
    }
    assert totals(ci.plan_sums("projects", told, {}, messages)) == {
        "new": {f"{TENTH}/new-name": 10, f"{TENTH}/old-name": 10}
    }


def test_where_ccusage_says_more_than_the_messages_ccusage_is_taken() -> None:
    plan = ci.plan_sums("daily", [daily(10, 30)], {}, known(message(9, 20), missed=True))
    assert [(row.usage.total, row.coverage) for row in plan.new] == [(30, Coverage.CCUSAGE)]


def test_days_that_say_more_than_their_messages() -> None:
    tenth, eleventh = date(2026, 11, 10), date(2026, 11, 11)
    sums = [message(9, 20), message(33, 40)]
    told = ci.told_days({"daily": [daily(10, 25), daily(11, 40)]})
    assert ci.missed_days([tenth, eleventh], sums, told) == {tenth: (tokens(25, 25.0), tokens(20, 20.0))}
    # a message that has gone to the next day is not missed
    assert ci.missed_days([tenth, eleventh], [message(9, 20), message(33, 45)], told) == {}
    assert ci.missed_days([tenth, eleventh], [message(9, 20), message(33, 45)], {tenth: told[tenth]}).keys() == {tenth}


def test_what_is_told_of_a_day_is_told_by_its_projects_where_the_days_have_failed() -> None:
    projects = [project_day("a", 5), project_day("b", 7), dataclasses.replace(project_day("c", 1), source="codex")]
    assert ci.told_days({"projects": projects}) == {MIDNIGHT.date(): tokens(12, 12.0)}
    assert ci.told_days({"projects": projects, "daily": [daily(10, 9)]}) == {MIDNIGHT.date(): tokens(9, 9.0)}


def test_ccusage_15_to_18_may_say_less_output_with_all_messages_there() -> None:
    told = dataclasses.replace(daily(10, 10), usage=Usage(10, 3, 0, 0, 13, 1.0))
    messages = known(message(9, 10, output=8))
    [row] = ci.plan_sums("daily", [told], {}, messages, Rules(first_lines=True)).new
    assert (row.usage, row.coverage) == (told.usage, MESSAGES)
    [row] = ci.plan_sums("daily", [told], {}, messages).new
    assert (row.usage.output, row.coverage) == (8, Coverage.DERIVED)


def test_ccusage_15_to_18_never_lower_what_a_newer_one_has_stored() -> None:
    told = dataclasses.replace(daily(10, 10), usage=Usage(10, 3, 0, 0, 13, 1.0))
    whole = dataclasses.replace(daily(10, 10, MESSAGES), usage=Usage(10, 8, 0, 0, 18, 2.0))
    messages = known(message(9, 10, output=8))
    assert totals(ci.plan_sums("daily", [told], index(whole), messages, Rules(first_lines=True))) == {
        "unchanged": {TENTH: 18}
    }
    # what they have stored themselves stays when its logs are gone, and is made whole by a newer version
    old = index(ci.resting_on(told, MESSAGES))
    assert "unchanged" in totals(ci.plan_sums("daily", [], old, messages, Rules(first_lines=True)))
    assert totals(ci.plan_sums("daily", [], old, messages)) == {"changed": {TENTH: 18}}


def test_allow_shrink_takes_the_lower_row_and_lets_it_stand() -> None:
    messages = known(message(9, 30))
    [(row, _)] = ci.plan_sums(
        "daily", [daily(10, 20)], index(daily(10, 30, MESSAGES)), messages, Rules(allow_shrink=True)
    ).changed
    assert (row.usage.total, row.coverage) == (20, Coverage.LOWERED)
    assert totals(ci.plan_sums("daily", [daily(10, 20)], index(row), messages)) == {"unchanged": {TENTH: 20}}
    assert totals(ci.plan_sums("daily", [], index(row), messages)) == {}


def test_other_agents_are_not_covered() -> None:
    other = dataclasses.replace(daily(10, 30), source="codex")
    plan = ci.plan_sums("daily", [other], {}, known(message(9, 30)))
    assert [(row.source, row.coverage) for row in plan.new] == [
        ("claude", Coverage.DERIVED),
        ("codex", Coverage.CCUSAGE),
    ]


# ---- what has to be looked at -------------------------------------------------------------------------


def test_what_is_stored_as_ccusage_says_it_needs_no_messages() -> None:
    rows = {"daily": [daily(10, 30), daily(11, 5)], "session": [session("s", 30), session("t", 5)]}
    stored = {
        name: index(*(dataclasses.replace(r, coverage=MESSAGES) for r in records)) for name, records in rows.items()
    }
    everything = {name: stored.get(name, {}) for name in ci.REPORTS}
    assert not ci.unsettled(rows, everything).days | ci.unsettled(rows, everything).sessions
    rows["daily"][1] = daily(11, 6)
    everything["session"] = index(*rows["session"][:1])  # stored, but not as covered
    found = ci.unsettled(rows, everything)
    assert (found.days, found.sessions) == (
        frozenset(date(2026, 11, number) for number in (10, 11, 12)),
        frozenset({"s", "t"}),
    )
    assert found.since < at(9) - timedelta(days=1)


def test_of_a_session_whose_project_is_another_now_all_days_are_looked_at() -> None:
    """Also those of which ccusage says nothing any more: of a sub-agent whose log is gone."""
    old = session("s", 30, MESSAGES)
    old = dataclasses.replace(old, columns={**old.columns, "first_activity": at(9) - timedelta(days=4)})
    everything: dict[str, dict[Key, Stored]] = {name: {} for name in ci.REPORTS} | {"session": index(old)}
    assert not ci.unsettled({"session": [session("s", 20)]}, everything).days
    days = ci.unsettled({"session": [session("s", 20, project="renamed")]}, everything).days
    assert {date(2026, 11, number) for number in range(6, 11)} <= days


def test_of_a_session_that_goes_on_after_its_logs_were_deleted_all_messages_are_looked_at() -> None:
    old = session("s", 30, MESSAGES)
    old = dataclasses.replace(old, columns={**old.columns, "first_activity": at(9) - timedelta(days=40)})
    old = dataclasses.replace(old, columns={**old.columns, "last_activity": at(9) - timedelta(days=39)})
    everything: dict[str, dict[Key, Stored]] = {name: {} for name in ci.REPORTS} | {"session": index(old)}
    assert ci.unsettled({"session": [session("s", 20)]}, everything).since <= at(9) - timedelta(days=40)
    # ccusage 15 to 18 tell no first activity: then all that is stored
    old = dataclasses.replace(old, columns={**old.columns, "first_activity": None})
    everything["session"] = index(old)
    assert ci.unsettled({"session": [session("s", 20)]}, everything).since <= ci.EPOCH


def test_a_covered_row_whose_price_is_missing_now_is_kept_as_it_is() -> None:
    """`keep_prices` has put the stored cost into it."""
    told, messages = daily(10, 30), known(message(9, 30))
    repriced = Rules(frozenset({("daily", told.key)}))
    assert totals(ci.plan_sums("daily", [told], index(daily(10, 30, MESSAGES)), messages, repriced)) == {
        "kept": {TENTH: 30}
    }
    grown, more = daily(10, 40), known(message(9, 40))
    assert totals(ci.plan_sums("daily", [grown], index(daily(10, 30, MESSAGES)), more, repriced)) == {
        "changed": {TENTH: 40}
    }


def test_what_ccusage_tells_of_each_project_day_and_model() -> None:
    told = [project_day("a", 5), dataclasses.replace(project_day("b", 7), source="codex")]
    assert ci.model_days(told) == {("a", MIDNIGHT.date(), "opus"): tokens(5, 5.0)}


# ---- what it costs ------------------------------------------------------------------------------------


def test_the_cost_that_ccusage_tells_for_just_these_tokens_is_shared_by_weight() -> None:
    sums = [message(9, 100, cost=0), message(10, 100, cost=0, output=20, cache_creation=40, cache_read=500)]
    told = Usage(200, 20, 40, 500, 760, 45.0)
    priced = ci.price_messages(sums, {sums[0].model_day: [told]})
    # 100 against 100 + 5 * 20 + 1.25 * 40 + 0.1 * 500 = 300
    assert [item.usage.cost for item in priced] == pytest.approx([11.25, 33.75])


def test_other_tokens_cost_what_the_larger_known_part_did() -> None:
    sums = [message(9, 300, cost=0)]
    key = sums[0].model_day
    assert ci.price_messages(sums, {key: [tokens(100, 1.0), tokens(250, 5.0)]})[0].usage.cost == pytest.approx(6.0)
    # a price that is missing now is no rate
    assert ci.price_messages(sums, {key: [tokens(250), tokens(100, 1.0)]})[0].usage.cost == pytest.approx(3.0)
    assert ci.price_messages(sums, {})[0].usage.cost == 0.0


def test_what_is_gone_and_what_came_cost_together_what_ccusage_said_of_each() -> None:
    """Also where the models' prices are in other proportions than Claude's, or a line told its own."""
    sums = [message(9, 100, cost=0, session="gone"), message(12, 100, cost=0, output=20, session="new")]
    gone, new = tokens(100, 7.0), Usage(100, 20, 0, 0, 120, 2.0)
    priced = ci.price_messages(sums, {sums[0].model_day: [gone, new]})
    assert sum(item.usage.cost for item in priced) == pytest.approx(9.0)
    unpriced = ci.price_messages(sums, {sums[0].model_day: [gone, dataclasses.replace(new, cost=0.0)]})
    assert sum(item.usage.cost for item in unpriced) == pytest.approx(7.0 / 100 * (100 + 100 + 5 * 20))


def test_messages_never_cost_less_than_ccusage_has_said_of_some_of_them() -> None:
    sums = [message(9, 300, cost=0, output=200)]
    cheap, dear = tokens(200, 1.0), Usage(0, 100, 0, 0, 100, 12.0)
    assert ci.price_messages(sums, {sums[0].model_day: [cheap, dear]})[0].usage.cost == pytest.approx(12.0)
    # but of what holds more than these, another project's now
    more = Usage(0, 201, 0, 0, 201, 12.0)
    assert ci.price_messages(sums, {sums[0].model_day: [tokens(290, 1.0), more]})[0].usage.cost < 5


def test_with_caches_of_both_lengths_the_rate_is_that_of_the_nearest_day_that_is_known() -> None:
    mixed = message(9, 100, cost=0, cache_creation=100, hour_cache=60)
    near, far = message(33, 10, cost=0), message(81, 10, cost=0)
    rates = {near.model_day: [tokens(10, 1.0)], far.model_day: [tokens(10, 9.0)], mixed.model_day: [tokens(50, 2.0)]}
    [cost, *_] = [item.usage.cost for item in ci.price_messages([mixed, near, far], rates)]
    assert cost == pytest.approx(0.1 * (100 + 1.25 * 40 + 2 * 60))


# ---- blocks -------------------------------------------------------------------------------------------


def cut(sums: list[MessageSum], *starts: float) -> dict[float, list[float]]:
    hours = {
        start: [(item.first - MIDNIGHT) / timedelta(hours=1) for item in items]
        for start, items in ci.cut_blocks(sums, map(at, starts)).items()
    }
    return {(start - MIDNIGHT) / timedelta(hours=1): sorted(its) for start, its in sorted(hours.items())}


def test_blocks_are_cut_as_ccusage_cuts_them() -> None:
    # measured: the last moment of the five hours is the block's own, what follows starts the next one
    sums = [message(h) for h in (10.25, 15, 15.001, 20, 20.5, 33.5)]
    assert cut(sums) == {10: [10.25, 15], 15: [15.001, 20], 20: [20.5], 33: [33.5]}


def test_a_stored_block_keeps_its_start_and_its_messages() -> None:
    sums = [message(h) for h in (7.5, 9.5, 10, 10.5, 14.9, 16)]
    assert cut(sums, 5, 10) == {5: [7.5, 9.5, 10], 10: [10.5, 14.9], 16: [16]}
    # a late log before a stored block: cut anew, and only as far as that one
    assert cut([message(8.5), message(11), message(12)], 11) == {8: [8.5], 11: [11, 12]}


def test_blocks_cut_anew_keep_their_tokens_and_never_overlap() -> None:
    # the first hours of a day's work are gone: ccusage starts its blocks two hours later than what is stored
    stored = index(block(5, 50, MESSAGES), block(10, 50, MESSAGES))
    messages = known(*(message(h, 10) for h in (5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5, 13.5, 14.5, 15.5)))
    fetched = [block(7, 50), block(12, 40)]
    plan = ci.plan_blocks(fetched, stored, messages, Rules(now=at(99)))
    keys = {hour: ci.iso_moment(at(hour)) for hour in (5, 10, 15)}
    assert totals(plan) == {"new": {keys[15]: 10}, "unchanged": {keys[5]: 50, keys[10]: 50}}


def test_blocks_of_which_messages_are_forgotten_stay_beside_those_since() -> None:
    # what is before midnight is forgotten, and its block with it in doubt; ccusage cuts all of them anew
    old = block(-2, 50)
    stored = index(old, block(3, 20, MESSAGES), block(8, 10, MESSAGES))
    messages = dataclasses.replace(
        known(message(1), message(4, 20), message(8.5), message(12.5, 5)), first_day=date(2026, 11, 10)
    )
    fetched = [block(-4, 500), block(1, 30), block(6, 15)]
    plan = ci.plan_blocks(fetched, stored, messages, Rules(now=at(99)))
    keys = {hour: ci.iso_moment(at(hour)) for hour in (3, 8)}
    assert totals(plan) == {"changed": {keys[8]: 15}, "unchanged": {keys[3]: 20}}
    # what no stored block has is new, before the day and on it
    plan = ci.plan_blocks([block(-12, 7), block(1, 30)], {}, messages, Rules(now=at(99)))
    assert {row.columns["start_time"]: row.usage.total for row in plan.new if not row.is_gap} == {
        at(-12): 7,
        at(1): 30,
        at(8): 15,
    }


def test_a_session_that_is_new_has_no_messages_that_are_forgotten() -> None:
    # a fork, with copies of what another session said before
    messages = dataclasses.replace(known(message(25, 20, session="fork")), first_day=date(2026, 11, 11))
    plan = ci.plan_sums("session", [session("fork", 70)], {}, messages)
    assert totals(plan) == {"new": {"fork": 20}}
    # of one that is stored they may be
    plan = ci.plan_sums("session", [session("fork", 70)], index(session("fork", 60)), messages)
    assert totals(plan) == {"changed": {"fork": 70}}


def test_a_block_before_a_stored_one_ends_where_that_starts() -> None:
    plan = ci.plan_blocks([], index(block(11, 20, MESSAGES)), known(message(8.5), message(11), message(12)))
    [row] = plan.new
    assert (row.columns["start_time"], row.columns["end_time"]) == (at(8), at(11))


def test_a_block_that_ccusage_sees_alone_ends_where_the_stored_one_starts() -> None:
    plan = ci.plan_blocks([block(8, 10)], index(block(11, 20, MESSAGES)), known(message(8.5), message(11), message(12)))
    [row] = plan.new
    assert (row.coverage, row.usage.total, row.columns["end_time"]) == (MESSAGES, 10, at(11))


def test_a_day_of_which_ccusage_says_more_decides_no_block_of_other_days() -> None:
    messages = known(message(1), message(2), message(23, 5), days=(5, 10, 11), missed=True)
    plan = ci.plan_blocks([block(1, 10)], index(block(23, 5, MESSAGES)), messages, Rules(now=at(99)))
    assert {(row.record_key, row.usage.total) for row in plan.new if not row.is_gap} == {(ci.iso_moment(at(1)), 20)}
    beside = known(message(1), message(2), days=(9, 10, 11), missed=True)
    plan = ci.plan_blocks([block(1, 10)], {}, beside, Rules(now=at(99)))
    assert [(row.coverage, row.usage.total) for row in plan.new] == [(Coverage.CCUSAGE, 10)]


def test_a_pause_between_messages_is_a_gap_also_where_ccusage_no_longer_sees_one() -> None:
    messages = known(message(1), message(8.5), message(23.75, 5), days=(10,))
    plan = ci.plan_blocks([], {}, messages, Rules(now=at(99)))
    gaps = [r for r in plan.new if r.columns["is_gap"]]
    assert [(r.record_key, r.columns["start_time"], r.columns["end_time"]) for r in gaps] == [
        (f"gap-{ci.iso_moment(at(6))}", at(6), at(8.5)),
        (f"gap-{ci.iso_moment(at(13.5))}", at(13.5), at(23.75)),
    ]


def gap(start: float, end: float) -> Record:
    columns = ci.gap_columns(at(start), at(end))
    return Record("blocks", "claude", columns["block_id"], columns, Usage())


def test_a_gap_after_a_message_that_ccusage_no_longer_sees_last_is_none() -> None:
    # the block from 9 to 14 had its last message at 13, whose log is gone: ccusage sees a gap from 14:15 to 16:30
    messages = known(message(9.25), message(13), message(16.5, 5))
    stored = index(block(9, 20, MESSAGES), block(16, 5, MESSAGES))
    plan = ci.plan_blocks([block(9, 10), gap(14.25, 16.5), block(16, 5)], stored, messages, Rules(now=at(99)))
    assert totals(plan) == {"unchanged": {ci.iso_moment(at(9)): 20, ci.iso_moment(at(16)): 5}}
    # where it was the last message the gap is ccusage's own
    stored = index(block(9, 10, MESSAGES), block(16, 5, MESSAGES))
    plan = ci.plan_blocks(
        [block(9, 10), gap(14.25, 16.5), block(16, 5)],
        stored,
        known(message(9.25), message(16.5, 5)),
        Rules(now=at(99)),
    )
    assert [row.raw_data for row in plan.new] == ["{}"]


@pytest.mark.parametrize(
    ("end", "raw_data"),
    [
        (14.75, "{}"),  # ccusage's own, though it ends within the hour in which the next block starts
        (20, '{"derivedFrom"'),  # ccusage does not see the first message after it
    ],
)
def test_a_gap_is_ccusages_own_where_it_has_seen_what_is_before_and_after_it(end: float, raw_data: str) -> None:
    blocks = [block(9.25, 10), block(14, 5)]
    told = [dataclasses.replace(blocks[0], columns={**blocks[0].columns, "start_time": at(9)}), blocks[1]]
    messages = known(message(9.25), message(14.75, 5))
    plan = ci.plan_blocks([*told, gap(14.25, end)], {}, messages, Rules(now=at(99)))
    [row] = [row for row in plan.new if row.is_gap]
    assert (row.ended, row.raw_data.partition(":")[0]) == (at(14.75), raw_data)
    # and stays when nothing has changed since
    stored = index(*plan.new)
    assert not ci.plan_blocks([*plan.new, gap(14.25, end)], stored).written


def test_gaps_alone_are_no_reason_to_read_messages() -> None:
    everything: dict[str, dict[Key, Stored]] = {name: {} for name in ci.REPORTS}
    assert not ci.unsettled({"blocks": [gap(14.25, 20)]}, everything).days
    assert ci.unsettled({"blocks": [block(9, 1)]}, everything).days


def test_an_active_block_has_burn_rate_and_projection() -> None:
    sums = [message(10, 30, cost=3.0), message(12, 30, cost=3.0)]
    columns = ci.block_columns(at(10), at(15), sums, at(13), None)
    assert (columns["is_active"], columns["burn_rate"], columns["projection"]) == (1, 3.0, 12.0)
    columns = ci.block_columns(at(10), at(15), sums, at(15), None)
    assert (columns["is_active"], columns["burn_rate"], columns["projection"]) == (0, None, None)


def test_a_session_without_a_token_is_one_where_ccusage_says_so() -> None:
    messages = known(message(9, 0, session="a"), message(10, 0, session="b"), message(10, 5, session="c"))
    plan = ci.plan_sums("session", [session("b", 0)], index(session("a", 0, MESSAGES)), messages)
    assert totals(plan) == {"new": {"b": 0, "c": 5}, "removed": {"a": 0}}


def test_days_whose_messages_may_have_been_another_sessions_are_held_against_all_of_them() -> None:
    names = ("known", "earlier", "grown", "with its day")
    stored = index(*(session(name, 5) for name in names))
    sums = [
        *(message(9, 5, session=name) for name in ("known", "")),
        message(10, 0, session="of errors"),
        message(24 + 9, 5, session="new"),
        message(-3, 5, session="earlier"),
        message(48 + 9, 6, session="grown"),
        message(72 + 9, 6, session="with its day"),
    ]
    moved = {date(2026, 11, 11), date(2026, 11, 9), date(2026, 11, 12)}
    assert ci.days_of_moved_messages(sums, stored, {date(2026, 11, 13)}) == moved


def test_what_was_missed_on_one_day_puts_no_other_day_in_doubt() -> None:
    """A session of which ccusage says more than the messages has another's copies, but where it may have missed ones."""
    for day, expected in ((10, {"changed": {"s": 15}}), (11, {"changed": {"s": 15}}), (13, {"changed": {"s": 10}})):
        messages = known(message(9, 10), days=(day,), missed=True)
        plan = ci.plan_sums("session", [session("s", 15)], index(session("s", 10, MESSAGES)), messages)
        assert totals(plan) == expected, day


def test_a_response_of_no_model_adds_none() -> None:
    made = ci.derived_record("session", "s", {}, [message(9, 5, model=""), message(9, 5)])
    assert (made.models, made.usage.total) == (("opus",), 10)


def test_a_derived_block_has_the_limits_reset_that_ccusage_tells() -> None:
    told = block(9, 5)
    told = dataclasses.replace(told, columns={**told.columns, "usage_limit_reset_time": at(14)})
    plan = ci.plan_blocks([told], index(block(9, 10, MESSAGES)), known(message(9, 12)))
    [(record, _)] = plan.changed
    assert (record.usage.total, record.columns["usage_limit_reset_time"]) == (12, at(14))


# ---- months -------------------------------------------------------------------------------------------


def month(total: int, coverage: Coverage = Coverage.CCUSAGE) -> Record:
    columns = {"month": "2026-11", "year": 2026, "month_num": 11}
    usage = tokens(total, float(total))
    return Record("monthly", "claude", "2026-11", columns, usage, ("opus",), {"opus": usage}, coverage=coverage)


@pytest.mark.parametrize(
    ("fetched", "stored", "coverage", "outcome"),
    [
        (30, None, MESSAGES, {"new": {"2026-11": 30}}),
        (10, 30, MESSAGES, {"unchanged": {"2026-11": 30}}),
        (10, 40, MESSAGES, {"changed": {"2026-11": 30}}),  # a message counted in two months before
        (10, 20, MESSAGES, {"changed": {"2026-11": 30}}),
        (10, 40, Coverage.CCUSAGE, {"kept": {"2026-11": 40}}),  # days before the first message
    ],
)
def test_a_month_of_covered_days_is_their_sum(
    fetched: int, stored: int | None, coverage: Coverage, outcome: dict[str, dict[str, int]]
) -> None:
    days = {row.key: row for row in (daily(10, 10, MESSAGES), daily(11, 20, Coverage.DERIVED))}
    old = index(month(stored, coverage)) if stored else {}
    assert totals(ci.plan_months([month(fetched)], old, days, {})) == outcome


@pytest.mark.parametrize("coverage", [MESSAGES, Coverage.CCUSAGE])
def test_allow_shrink_takes_no_month_that_is_less_than_its_days(coverage: Coverage) -> None:
    days = index(daily(10, 10, MESSAGES), daily(11, 20, MESSAGES))
    plan = ci.plan_months([month(10)], index(month(40, coverage)), days, {}, Rules(allow_shrink=True))
    assert totals(plan) == {"changed": {"2026-11": 30}}


def test_a_month_has_what_is_forgotten_and_its_days() -> None:
    old, first = index(month(60)), index(daily(20, 25))
    children = {
        ci.child_key(row): ci.Children(("opus",), {"opus": row.usage}) for row in (*old.values(), *first.values())
    }
    rest = ci.forgotten_days(old, first, children)
    grown = daily(20, 30)
    plan = ci.plan_months([month(30)], old, {grown.key: grown, **rest}, children)
    [(record, _)] = plan.changed
    assert (record.usage.total, record.breakdowns["opus"].total, record.models) == (65, 65, ("opus",))
    assert ci.plan_months([month(30)], old, {**first, **rest}, children).is_empty
