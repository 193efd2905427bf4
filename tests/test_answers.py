"""The answers of the named queries: against ccusage's own JSON, and against a database written by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Machine
from test_queries import open_store

import ccusage_importer as ci

QUERIES = ci.parse_queries((ROOT / "queries.sql").read_text(encoding="utf-8"))
DAY = timedelta(days=1)
TOKEN_FIELDS = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
# US dollars per million: input, output, cache write, cache read. As ccusage has them.
INPUT_PRICES = {
    "claude-sonnet-4-20250514": 3.0,
    "claude-opus-4-20250514": 15.0,
    "claude-3-5-haiku-20241022": 0.8,
    "gpt-5": 1.25,
    "gpt-5-codex": 1.25,
}
OUTPUT_PRICES = {
    "claude-sonnet-4-20250514": 15.0,
    "claude-opus-4-20250514": 75.0,
    "claude-3-5-haiku-20241022": 4.0,
    "gpt-5": 10.0,
    "gpt-5-codex": 10.0,
}


def utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


class Answers:
    """What every query answers on a database, asked once; the engine is closed before the tests begin."""

    def __init__(self, db_path: Path) -> None:
        store = open_store(db_path)
        try:
            self.today = utc_now().date()
            self.answers = {query.name: ci.Answer(query, store.ask(query.statement)[1]) for query in QUERIES.values()}
            to_budget = QUERIES["days_to_budget"]
            self.to_budget = {
                dollars: store.ask(*to_budget.bound({"budget_month": str(dollars)}))[1] for dollars in (1.0, 100.0, 1e6)
            }
            assert utc_now().date() == self.today, "midnight has passed; run again"
        finally:
            store.close()

    def rows(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of an answer; of these columns, where some are named."""
        answer = self.answers[name]
        return [tuple(row[column] for column in columns or answer.names) for row in answer.dicts()]

    def row(self, name: str) -> dict[str, Any]:
        rows = self.answers[name].dicts()
        assert len(rows) == 1
        return rows[0]


def is_same(left: Any, right: Any) -> bool:
    if isinstance(right, float):
        return isinstance(left, float | int) and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)
    return bool(left == right)


def assert_rows(found: Sequence[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]]) -> None:
    """Row by row, in order: dollars to the millionth, everything else exactly."""
    expected = list(expected)
    assert len(found) == len(expected), (found, expected)
    for left, right in zip(found, expected, strict=True):
        assert len(left) == len(right), (left, right)
        assert all(map(is_same, left, right)), (left, right)


def sums(rows: Iterable[tuple[Any, float, int]]) -> dict[Any, tuple[float, int]]:
    """Cost and tokens by the first of each."""
    total: defaultdict[Any, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for key, cost, tokens in rows:
        total[key] = (total[key][0] + cost, total[key][1] + tokens)
    return dict(total)


def dearest_first(costs: dict[Any, tuple[float, int]]) -> list[tuple[Any, float, int]]:
    return [(key, *value) for key, value in sorted(costs.items(), key=lambda item: (-item[1][0], item[0]))]


# ---- against ccusage's own JSON ------------------------------------------------------------------------


@dataclass
class Said:
    """What ccusage says of the sample logs, and what the queries answer once they are imported."""

    answers: Answers
    days: list[tuple[date, str, dict[str, Any]]]
    months: list[tuple[str, str, dict[str, Any]]]
    sessions: dict[str, dict[str, Any]]
    projects: list[tuple[str, date, dict[str, Any]]]
    blocks: list[dict[str, Any]]

    @property
    def today(self) -> date:
        return self.answers.today

    @property
    def by_day(self) -> dict[date, tuple[float, int]]:
        return sums((day, row["totalCost"], row["totalTokens"]) for day, _, row in self.days)

    def cost(self, first: date, last: date) -> float:
        return sum(cost for day, (cost, _) in self.by_day.items() if first <= day <= last)

    def tokens(self, first: date, last: date) -> int:
        return sum(tokens for day, (_, tokens) in self.by_day.items() if first <= day <= last)

    @property
    def by_model(self) -> dict[str, dict[str, float]]:
        """Cost, the four kinds of tokens and all of them by model; codex counts reasoning beside the four."""
        total: dict[str, dict[str, float]] = {}
        for day, _, row in self.days:
            for part in row["modelBreakdowns"]:
                model = total.setdefault(part["modelName"], defaultdict(float))
                for name in (*TOKEN_FIELDS, "cost"):
                    model[name] += part[name]
                model.setdefault("days", 0)
                model[f"on {day}"] = 1
        for model in total.values():
            model["days"] = sum(1 for name in model if name.startswith("on "))
        return total


@pytest.fixture(scope="module")
def said(sample_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Said:
    home = tmp_path_factory.mktemp("answers") / "home"
    shutil.copytree(sample_home, home)
    machine = Machine(home)
    machine.imported("--quiet")
    sessions = {row["period"]: row for row in machine.ccusage("session")["session"] if row["agent"] != "claude"}
    for row in machine.ccusage("claude", "session")["sessions"]:
        assert row["sessionId"] not in sessions
        sessions[row["sessionId"]] = row
    return Said(
        Answers(machine.db_path),
        [
            (date.fromisoformat(row["period"]), agent["agent"], agent)
            for row in machine.ccusage("daily", "--by-agent")["daily"]
            for agent in row["agents"]
        ],
        [
            (row["period"], agent["agent"], agent)
            for row in machine.ccusage("monthly", "--by-agent")["monthly"]
            for agent in row["agents"]
        ],
        sessions,
        [
            (hashlib.sha256(name.encode()).hexdigest()[:8], date.fromisoformat(row["date"]), row)
            for name, rows in machine.ccusage("claude", "daily", "--instances")["projects"].items()
            for row in rows
        ],
        [row for row in machine.ccusage("blocks")["blocks"] if not row["isGap"]],
    )


def test_totals(said: Said) -> None:
    found = said.answers.row("totals")
    days = sorted(said.by_day)
    expected = [
        sum(row["totalCost"] for _, _, row in said.days),
        sum(row["totalTokens"] for _, _, row in said.days),
        *(sum(row[name] for _, _, row in said.days) for name in TOKEN_FIELDS),
        str(days[0]),
        str(days[-1]),
        len(days),
        (days[-1] - days[0]).days + 1,
    ]
    assert_rows([tuple(found.values())[:-2]], [tuple(expected)])
    assert re.fullmatch(r"\w+ on [\w.-]+", found["whose"])
    assert (
        timedelta(0)
        <= datetime.now(timezone.utc) - found["last_import"].replace(tzinfo=timezone.utc)
        < timedelta(minutes=10)
    )


def test_cost_by_model(said: Said) -> None:
    expected = sorted(
        ((name, model["cost"], int(model["days"])) for name, model in said.by_model.items()), key=lambda row: -row[1]
    )
    assert_rows(said.answers.rows("cost_by_model", "model", "cost", "days_used"), expected)
    # codex's reasoning is in its total alone, so its models' tokens are compared in sum
    assert sum(row[0] for row in said.answers.rows("cost_by_model", "tokens")) == said.answers.row("totals")["tokens"]
    for name, tokens in said.answers.rows("cost_by_model", "model", "tokens"):
        four = sum(said.by_model[name][kind] for kind in TOKEN_FIELDS)
        assert tokens == four if name.startswith("claude") else tokens >= four


def test_dearest_sessions(said: Said) -> None:
    ranking = sorted(said.sessions.items(), key=lambda item: (-item[1]["totalCost"], item[0]))[:20]
    assert_rows(
        said.answers.rows("dearest_sessions", "session_id", "cost", "tokens", "models"),
        ((name, row["totalCost"], row["totalTokens"], len(row["modelsUsed"])) for name, row in ranking),
    )


def test_most_expensive_days(said: Said) -> None:
    average = sum(cost for cost, _ in said.by_day.values()) / len(said.by_day)
    expected = [(day, cost, tokens, cost / average) for day, cost, tokens in dearest_first(said.by_day)[:10]]
    assert_rows(said.answers.rows("most_expensive_days"), expected)


def test_day_to_day(said: Said) -> None:
    expected = []
    for day in (said.today - n * DAY for n in range(30)):
        now, before = said.cost(day, day), said.cost(day - DAY, day - DAY)
        percent = 100 * (now - before) / before if before else None
        expected.append((day, now, said.tokens(day, day), before, now - before, percent))
    assert_rows(said.answers.rows("day_to_day"), expected)


def test_daily_trend(said: Said) -> None:
    expected = []
    for day in (said.today - n * DAY for n in reversed(range(30))):
        average = said.cost(day - 6 * DAY, day) / 7
        expected.append((day, said.cost(day, day), said.tokens(day, day), average))
    assert_rows(said.answers.rows("daily_trend"), expected)


def test_week_over_week(said: Said) -> None:
    monday = said.today - said.today.weekday() * DAY
    expected = []
    for week in (monday - 7 * n * DAY for n in range(12)):
        so_far = week == monday
        now = said.cost(week, week + 6 * DAY)
        before = said.cost(week - 7 * DAY, said.today - 7 * DAY if so_far else week - DAY)
        change: tuple[float | None, ...] = (before, now - before, 100 * (now - before) / before if before else None)
        if min(said.by_day) > week - 7 * DAY:
            change = (None, None, None)  # not recorded is not nothing used
        expected.append((week, so_far, now, said.tokens(week, week + 6 * DAY), *change))
    assert_rows(said.answers.rows("week_over_week"), expected)


def test_period_totals(said: Said) -> None:
    today = said.today
    monday, first = today - today.weekday() * DAY, today.replace(day=1)
    before = first - DAY
    periods = [
        ("today", today, today),
        ("yesterday", today - DAY, today - DAY),
        ("this week", monday, today),
        ("last week", monday - 7 * DAY, monday - DAY),
        ("this month", first, today),
        ("last month", before.replace(day=1), before),
        ("this year", date(today.year, 1, 1), today),
        ("last year", date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)),
    ]
    expected = [
        (
            *period,
            said.cost(*period[1:]),
            said.tokens(*period[1:]),
            sum(period[1] <= d <= period[2] for d in said.by_day),
        )
        for period in periods
    ]
    assert_rows(said.answers.rows("period_totals"), expected)


def test_periods_compared(said: Said) -> None:
    today = said.today
    monday, first = today - today.weekday() * DAY, today.replace(day=1)
    before = (first - DAY).replace(day=1)
    year, year_before = date(today.year, 1, 1), date(today.year - 1, 1, 1)
    expected: list[tuple[Any, ...]] = []
    for name, starts, starts_before in (
        ("day", today, today - DAY),
        ("week", monday, monday - 7 * DAY),
        ("month", first, before),
        ("year", year, year_before),
    ):
        same_day = min(starts_before + (today - starts), starts - DAY)
        now, then = said.cost(starts, today), said.cost(starts_before, same_day)
        whole = said.cost(starts_before, starts - DAY) if min(said.by_day) < starts else None
        if name == "day" or min(said.by_day) > same_day:
            expected.append((name, now, None, whole, None, None))
        else:
            # what was recorded of the one before is held against the same part of this one
            same_part = said.cost(starts + max(min(said.by_day) - starts_before, 0 * DAY), today)
            change = same_part - then
            expected.append((name, now, then, whole, change, 100 * change / then if then else None))
    assert_rows(said.answers.rows("periods_compared"), expected)


def test_streaks(said: Said) -> None:
    runs: list[list[date]] = []
    for day in sorted(said.by_day):
        if runs and day - runs[-1][-1] == DAY:
            runs[-1].append(day)
        else:
            runs.append([day])
    longest = max(runs, key=lambda run: (len(run), run[0]))
    is_current = runs[-1][-1] >= said.today - DAY
    current = (len(runs[-1]), runs[-1][0]) if is_current else (0, None)
    assert_rows(said.answers.rows("streaks"), [(*current, len(longest), longest[0], longest[-1])])
    ranking = sorted(runs, key=lambda run: (-len(run), -run[0].toordinal()))[:10]
    assert_rows(
        said.answers.rows("longest_streaks"),
        [(len(run), run[0], run[-1], said.cost(run[0], run[-1])) for run in ranking],
    )


def test_days_of_week(said: Said) -> None:
    expected = []
    for number in range(7):
        days = [day for day in said.by_day if day.weekday() == number]
        cost = sum(said.by_day[day][0] for day in days)
        tokens = sum(said.by_day[day][1] for day in days)
        name = date(2024, 1, 1 + number).strftime("%A")
        expected.append((number + 1, name, len(days), cost, tokens, cost / len(days) if days else 0.0))
    assert_rows(said.answers.rows("days_of_week"), expected)


def test_months(said: Said) -> None:
    totals = sums((month, row["totalCost"], row["totalTokens"]) for month, _, row in said.months)
    expected = []
    whole_before: float | None = None
    this_month = said.today.replace(day=1)
    month_before = (this_month - DAY).replace(day=1)
    to_same_day = said.cost(month_before, min(month_before + (said.today - this_month), this_month - DAY))
    for month, (cost, tokens) in sorted(totals.items()):
        so_far = month == f"{said.today:%Y-%m}"
        before = to_same_day if so_far and whole_before is not None else whole_before
        change = None if before is None else cost - before
        percent = 100 * (cost - before) / before if before else None
        expected.append((month, so_far, cost, tokens, change, percent, 1e6 * cost / tokens))
        is_part = month == min(totals) and min(said.by_day).day > 1
        whole_before = None if is_part else cost
    assert_rows(said.answers.rows("months"), reversed(expected))


def test_heatmap(said: Said) -> None:
    days = [said.today - n * DAY for n in reversed(range(365))]
    expected = [(day, day.isoweekday(), said.cost(day, day), said.tokens(day, day), 0) for day in days]
    assert_rows(said.answers.rows("heatmap"), expected)


def test_hours_of_day_and_week(said: Said) -> None:
    starts = [
        (datetime.fromisoformat(row["startTime"][:19]), row["costUSD"], row["totalTokens"]) for row in said.blocks
    ]
    by_hour = sums((start.hour, cost, tokens) for start, cost, tokens in starts)
    expected = [(h, sum(s.hour == h for s, _, _ in starts), *by_hour.get(h, (0.0, 0))) for h in range(24)]
    assert_rows(said.answers.rows("hours_of_day"), expected)
    by_slot = sums(((start.isoweekday(), start.hour), cost, 1) for start, cost, _ in starts)
    slots = [(day, hour) for day in range(1, 8) for hour in range(24)]
    assert_rows(
        said.answers.rows("hours_of_week"),
        [(*slot, by_slot.get(slot, (0.0, 0))[1], by_slot.get(slot, (0.0, 0))[0]) for slot in slots],
    )


def test_model_share(said: Said) -> None:
    totals = sums(
        (part["modelName"], part["cost"], 0)
        for day, _, row in said.days
        for part in row["modelBreakdowns"]
        if day > said.today - 30 * DAY
    )
    everything = sum(cost for cost, _ in totals.values())
    expected = [(model, cost, 100 * cost / everything) for model, cost, _ in dearest_first(totals)]
    assert_rows(said.answers.rows("model_share", "model", "cost", "cost_percent"), expected)
    assert sum(row[0] for row in said.answers.rows("model_share", "tokens")) == said.tokens(
        said.today - 29 * DAY, said.today
    )
    assert sum(row[0] for row in said.answers.rows("model_share", "tokens_percent")) == pytest.approx(100)


def test_model_months(said: Said) -> None:
    totals = sums(
        ((month, part["modelName"]), part["cost"], 0)
        for month, _, row in said.months
        for part in row["modelBreakdowns"]
    )
    by_month = sums((month, cost, 0) for (month, _), (cost, _) in totals.items())
    expected = [
        (month, model, cost, 100 * cost / by_month[month][0])
        for wanted in sorted(by_month, reverse=True)
        for (month, model), cost, _ in dearest_first(totals)
        if month == wanted
    ]
    assert_rows(said.answers.rows("model_months", "month", "model", "cost", "percent_of_month"), expected)


def test_dollars_and_tokens_by_model(said: Said) -> None:
    models = {name: model for name, model in said.by_model.items() if name.startswith("claude")}
    tokens = {name: sum(model[kind] for kind in TOKEN_FIELDS) for name, model in models.items()}
    claude = [row for row in said.answers.rows("tokens_per_dollar") if row[0] in models]
    expected = [
        (name, model["cost"], tokens[name] / model["cost"], model["outputTokens"] / model["cost"])
        for name, model in models.items()
    ]
    assert_rows(claude, sorted(expected, key=lambda row: -row[2]))
    claude = [row for row in said.answers.rows("dearest_models") if row[0] in models]
    expected = [
        (name, 1e6 * model["cost"] / tokens[name], 1e6 * model["cost"] / model["outputTokens"], model["cost"])
        for name, model in models.items()
    ]
    assert_rows(claude, sorted(expected, key=lambda row: -row[1]))


def test_new_models(said: Said) -> None:
    days: defaultdict[str, set[date]] = defaultdict(set)
    for day, _, row in said.days:
        for model in row["modelsUsed"]:
            days[model].add(day)
    expected = [
        (model, min(used), max(used), len(used), (said.today - max(used)).days)
        for model, used in sorted(days.items(), key=lambda item: (-min(item[1]).toordinal(), item[0]))
    ]
    assert_rows(said.answers.rows("new_models"), expected)


def test_cache_hit_ratio(said: Said) -> None:
    fresh, _, written, read = (sum(row[name] for _, _, row in said.days) for name in TOKEN_FIELDS)
    expected = [(fresh, written, read, 100 * read / (fresh + written + read), read / written)]
    assert_rows(said.answers.rows("cache_hit_ratio"), expected)


def test_cache_savings_are_those_of_the_price_list(said: Said) -> None:
    expected = {}
    for name, model in said.by_model.items():
        sent = model["inputTokens"] + model["cacheCreationTokens"] + model["cacheReadTokens"]
        without = (sent * INPUT_PRICES[name] + model["outputTokens"] * OUTPUT_PRICES[name]) / 1e6
        expected[name] = (model["cost"], without, without - model["cost"])
    for name, cost, without, saved, percent in said.answers.rows("cache_savings"):
        assert (cost, without, saved) == pytest.approx(expected[name], rel=1e-6), name
        assert percent == pytest.approx(100 * saved / without)
    assert len(said.answers.rows("cache_savings")) == len(expected)
    by_month = said.answers.rows("cache_savings_by_month", "cost", "cost_without_cache", "saved")
    assert [sum(column) for column in zip(*by_month, strict=True)] == pytest.approx(
        [sum(column) for column in zip(*expected.values(), strict=True)], rel=1e-6
    )


def pace(said: Said, days: int) -> float:
    """Dollars a day over the last whole days, no longer back than the first one stored."""
    first = max(said.today - days * DAY, min(said.by_day))
    return said.cost(first, said.today - DAY) / (said.today - first).days


def test_month_end(said: Said) -> None:
    today = said.today
    first = today.replace(day=1)
    last = (first + 31 * DAY).replace(day=1) - DAY
    per_day = pace(said, 14)
    spent = said.cost(first, today)
    forecast = said.cost(first, today - DAY) + max(said.cost(today, today), per_day) + per_day * (last - today).days
    before = said.cost((first - DAY).replace(day=1), first - DAY)
    expected = [(f"{today:%Y-%m}", spent, (last - today).days, per_day, forecast, before)]
    assert_rows(said.answers.rows("month_end"), expected)


def test_year_end_and_budget(said: Said) -> None:
    today = said.today
    spent = said.cost(date(today.year, 1, 1), today)
    yesterday = said.cost(date(today.year, 1, 1), today - DAY)
    per_day = pace(said, 30)
    left = (date(today.year, 12, 31) - today).days
    forecast = yesterday + max(said.cost(today, today), per_day) + per_day * left
    assert_rows(said.answers.rows("year_end"), [(today.year, spent, left, per_day, forecast)])

    first = today.replace(day=1)
    last = (first + 31 * DAY).replace(day=1) - DAY
    spent, per_day = said.cost(first, today), pace(said, 14)
    left = (last - today).days
    for budget, rows in said.answers.to_budget.items():
        days = 0 if spent >= budget else math.ceil((budget - spent) / per_day)
        reached = (days, today + days * DAY) if days <= left else (None, None)
        expected = (budget, spent, max(budget - spent, 0.0), per_day, left, *reached)
        assert_rows(rows, [expected])
    assert said.answers.rows("days_to_budget") == []  # there is none


def test_typical_day(said: Said) -> None:
    used = [cost for day, (cost, _) in said.by_day.items() if day > said.today - 90 * DAY]
    row = said.answers.row("typical_day")
    assert row["days_with_usage"] == len(used)
    assert row["average_cost"] == pytest.approx(statistics.fmean(used))
    assert row["median_cost"] == pytest.approx(statistics.median(used))


def test_linear_trend(said: Said) -> None:
    points = [(-n, said.cost(said.today - n * DAY, said.today - n * DAY)) for n in range(1, 31)]
    mean_x, mean_y = (sum(values) / 30 for values in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    start = mean_y - slope * mean_x
    coming = [max(start + slope * n, 0.0) for n in range(30)]
    assert_rows(said.answers.rows("linear_trend"), [(coming[0], slope, sum(coming[:7]), sum(coming))])


def test_unusual_days(said: Said) -> None:
    costs = [cost for cost, _ in said.by_day.values()]
    mean = sum(costs) / len(costs)
    deviation = math.sqrt(sum((cost - mean) ** 2 for cost in costs) / len(costs))
    expected = [
        (day, cost, tokens, mean, (cost - mean) / deviation)
        for day, (cost, tokens) in said.by_day.items()
        if abs(cost - mean) >= 2 * deviation
    ]
    assert_rows(said.answers.rows("unusual_days"), sorted(expected, key=lambda row: -abs(row[4])))


# ---- against a database written by hand ----------------------------------------------------------------


def used(tokens: int, cost: float) -> ci.Usage:
    """Tokens in all, half of them read from the cache."""
    return ci.Usage(tokens - tokens // 2, 0, 0, tokens // 2, tokens, cost)


def of_period(report: str, source: str, key: str, columns: dict[str, Any], models: dict[str, ci.Usage]) -> ci.Record:
    return ci.Record(report, source, key, columns, ci.sum_usage(models.values()), tuple(models), models)


def day_record(source: str, day: date, **models: ci.Usage) -> ci.Record:
    return of_period("daily", source, str(day), {"date": day}, models)


def month_record(source: str, month: str, **models: ci.Usage) -> ci.Record:
    columns = {"month": month, "year": int(month[:4]), "month_num": int(month[5:])}
    return of_period("monthly", source, month, columns, models)


def project_record(day: date, project: str, **models: ci.Usage) -> ci.Record:
    return of_period("projects", "claude", f"{day}/{project}", {"date": day, "project_id": project}, models)


def session_record(
    name: str, project: str, first: datetime | None, last: datetime, source: str = "claude", **models: ci.Usage
) -> ci.Record:
    columns = {"session_id": name, "project_path": project, "first_activity": first, "last_activity": last}
    return of_period("session", source, name, columns, models)


def block_record(
    start: datetime, last: datetime | None, usage: ci.Usage, limit_reset: datetime | None = None
) -> ci.Record:
    """A block; a gap where there is no last message."""
    block_id = f"{'gap-' if last is None else ''}{start:%Y-%m-%dT%H:%M:%S.000Z}"
    end = start + timedelta(hours=5)
    active = last is not None and end > utc_now()
    columns = {
        "block_id": block_id,
        "start_time": start,
        "end_time": end,
        "actual_end_time": last,
        "is_active": int(active),
        "is_gap": int(last is None),
        "entries": 0 if last is None else 10,
        "usage_limit_reset_time": limit_reset,
        "burn_rate": 3.0 if active else None,
        "projection": 9.0 if active else None,
    }
    return ci.Record("blocks", "claude", block_id, columns, usage, ("opus",), {})


def at(day: int, hour: int = 0, minute: int = 0, month: int = 1) -> datetime:
    return datetime(2024, month, day, hour, minute, tzinfo=timezone.utc)


def write(store: ci.Store, machine: str, user: str, records: Sequence[ci.Record]) -> ci.Store:
    """Store these records as this machine and user, through the importer's own Store."""
    config = dataclasses.replace(store.config, machine_name=machine, user_name=user)
    mine = ci.Store(config, store.connections)
    mine.column_types = store.column_types
    mine.write_plans(ci.Plan(report, new=[r for r in records if r.report == report]) for report in ci.REPORTS)
    return mine


def write_import(
    store: ci.Store, ago: timedelta, status: str, seconds: float, kept: dict[str, int], error: str
) -> None:
    store.write_history(
        {
            "import_id": f"{ago}",
            "import_timestamp": utc_now() - ago,
            "duration_seconds": seconds,
            "status": status,
            "importer_version": "1",
            "ccusage_version": NEW_CCUSAGE,
            "timezone": "UTC",
            "privacy": "sha256",
            "rows_new": {"daily": 4, "session": 1},
            "rows_changed": {"daily": 2},
            "rows_unchanged": {"daily": 9},
            "rows_kept": kept,
            "data_hash": 0,
            "statistics": "{}",
            "error": error,
        }
    )


NEW_CCUSAGE = "20.0.24"
HOUR = timedelta(hours=1)
ADA_JANUARY = {"opus": used(200, 2.0), "haiku": used(100, 1.0)}


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Ada on a laptop with two agents, Bob on a desk; days of early 2024, of last week and of today."""
    folder = tmp_path_factory.mktemp("by_hand")
    store = open_store(folder)
    try:
        today = utc_now().date()
        last_week = today - (today.weekday() + 7) * DAY
        jan_30, jan_31, feb_1, feb_3 = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 3)
        running = utc_now().replace(minute=0, second=0) - HOUR
        ada = write(
            store,
            "laptop",
            "ada",
            [
                day_record("claude", jan_30, haiku=used(100, 1.0)),
                day_record("claude", jan_31, opus=used(200, 2.0)),
                day_record("claude", feb_3, opus=used(400, 4.0)),
                day_record("codex", feb_3, gpt=used(50, 0.5), free=used(7, 0.0)),
                day_record("claude", last_week, opus=used(20, 2.0)),
                day_record("claude", today, opus=used(30, 5.0), sonnet=used(70, 1.0)),
                month_record("claude", "2024-01", **ADA_JANUARY),
                month_record("claude", "2024-02", opus=used(400, 4.0)),
                month_record("codex", "2024-02", gpt=used(50, 0.5), free=used(7, 0.0)),
                project_record(jan_30, "p1", haiku=used(100, 1.0)),
                project_record(jan_31, "p2", opus=used(200, 2.0)),
                session_record("s1", "p1", at(30, 10), at(30, 10, 30), haiku=used(100, 1.0)),
                session_record("s2", "p2", at(31, 10), at(31, 11, 30), opus=used(200, 2.0)),
                session_record("s5", "", None, ci.EPOCH, "codex", gpt=used(50, 0.5)),
                block_record(at(30, 10), at(30, 12), used(1000, 4.0)),
                block_record(at(30, 17), None, used(9000, 99.0)),
                block_record(at(31, 10), at(31, 10, 30), used(900, 1.0)),
                block_record(at(3, 0, month=2), at(3, 4, month=2), used(100, 8.0)),
                block_record(running, running + timedelta(minutes=30), used(10, 2.0)),
            ],
        )
        bob = write(
            store,
            "desk",
            "bob",
            [
                day_record("claude", feb_1, opus=used(300, 3.0)),
                day_record("claude", feb_3, sonnet=used(800, 8.0)),
                day_record("claude", last_week, sonnet=used(20, 2.0)),
                day_record("claude", today, sonnet=used(50, 5.0)),
                month_record("claude", "2024-02", opus=used(300, 3.0), sonnet=used(700, 7.0)),
                project_record(feb_1, "p1", opus=used(300, 3.0)),
                project_record(feb_3, "p3", sonnet=used(700, 7.0)),
                session_record("s3", "p1", None, at(1, 9, month=2), opus=used(300, 3.0)),
                session_record("s4", "p3", at(3, 9, month=2), at(3, 9, 45, month=2), sonnet=used(700, 60.0)),
                block_record(at(1, 8, month=2), at(1, 12, 59, month=2), used(300, 3.0), at(1, 13, month=2)),
            ],
        )
        # a repeated insert, as after a lost reply: nothing may count twice
        write(store, "desk", "bob", [day_record("claude", feb_1, opus=used(300, 3.0))])
        write_import(ada, timedelta(days=3), "completed", 2.0, {"daily": 50}, "")
        write_import(ada, 2 * HOUR, "partial", 4.0, {"daily": 3, "session": 2, "blocks": 0}, "blocks: no answer")
        write_import(bob, timedelta(days=40), "failed", 9.0, {}, "too long ago")
        write_import(bob, timedelta(days=2), "completed", 1.0, {"daily": 1}, "")
        write_import(bob, timedelta(days=1), "failed", 7.0, {"daily": 8}, "ccusage did not start")
    finally:
        store.close()
    answers = Answers(folder)
    assert answers.today == today
    return answers


def test_totals_by_hand(by_hand: Answers) -> None:
    total = by_hand.row("totals")
    assert (total["cost"], total["tokens"], total["days_with_usage"]) == (33.5, 2047, 6)
    assert total["cache_read"] == 50 + 100 + 200 + 25 + 3 + 10 + 15 + 35 + 150 + 400 + 10 + 25
    assert (total["first_day"], total["last_day"]) == ("2024-01-30", str(by_hand.today))


def test_what_is_known_in_all(said: Said, by_hand: Answers) -> None:
    for answers in (said.answers, by_hand):
        [total] = answers.rows("totals", "whose", "first_day", "days_between", "cost", "tokens")
        [(whose, first_day, *others)] = answers.rows("known")
        assert_rows([(whose, str(first_day), *others)], [total])
    assert by_hand.row("known")["whose"] == "2 users"


def test_the_forecast_beside_the_months_cost_is_that_of_its_end(said: Said, by_hand: Answers) -> None:
    for answers in (said.answers, by_hand):
        [(forecast,)] = answers.rows("month_end", "forecast")
        told = answers.rows("recent", "period", "forecast")
        assert told == [("month", pytest.approx(forecast)), ("week", None), ("yesterday", None), ("today", None)]


def test_in_the_middle_of_two_days_is_their_mean(by_hand: Answers) -> None:
    assert by_hand.rows("typical_day", "days_with_usage", "median_cost", "highest_cost") == [(2, 7.5, 11.0)]


def test_rankings_by_machine_agent_and_model(by_hand: Answers) -> None:
    today = str(by_hand.today)
    assert by_hand.rows("cost_by_machine") == [("desk bob", 18.0, 1170, today), ("laptop ada", 15.5, 877, today)]
    assert by_hand.rows("cost_by_source") == [("claude", 33.0, 1990, 6), ("codex", 0.5, 57, 1)]
    assert by_hand.rows("cost_by_model") == [
        ("opus", 16.0, 950, 5),
        ("sonnet", 16.0, 940, 3),
        ("haiku", 1.0, 100, 1),
        ("gpt", 0.5, 50, 1),
        ("free", 0.0, 7, 1),
    ]
    assert by_hand.rows("unpriced_models") == [("codex", "free", 7, date(2024, 2, 3), date(2024, 2, 3))]


def test_rankings_by_user(by_hand: Answers) -> None:
    monday = by_hand.today - by_hand.today.weekday() * DAY
    assert by_hand.rows("user_weeks") == [
        (monday, 1, "ada", 6.0, 100, 1),
        (monday, 2, "bob", 5.0, 50, 1),
        (monday - 7 * DAY, 1, "ada", 2.0, 20, 1),
        (monday - 7 * DAY, 1, "bob", 2.0, 20, 1),
    ]
    assert by_hand.rows("user_months") == [
        ("2024-02", 1, "bob", 10.0, 1000),
        ("2024-02", 2, "ada", 4.5, 457),
        ("2024-01", 1, "ada", 3.0, 300),
    ]
    assert by_hand.rows("user_active_days") == [
        ("ada", 2, 5, date(2024, 1, 30), by_hand.today, 1, 15.5, 3.1),
        ("bob", 2, 4, date(2024, 2, 1), by_hand.today, 1, 18.0, 4.5),
    ]
    assert by_hand.rows("user_favourite_model") == [
        ("ada", "sonnet", 70, pytest.approx(100 * 70 / 120), 1.0),
        ("bob", "sonnet", 70, 100.0, 7.0),
    ]


def test_projects_by_hand(by_hand: Answers) -> None:
    assert by_hand.rows("cost_by_project") == [("p3", 7.0, 700, 1), ("p1", 4.0, 400, 2), ("p2", 2.0, 200, 1)]
    assert by_hand.rows("projects_on_several_machines") == [("p1", 2, "desk, laptop", 4.0, date(2024, 2, 1))]
    assert_rows(
        by_hand.rows("project_concentration"),
        [
            (1, "p3", 7.0, 700 / 13, 700 / 13),
            (2, "p1", 4.0, 400 / 13, 1100 / 13),
            (3, "p2", 2.0, 200 / 13, 100.0),
        ],
    )
    assert by_hand.rows("project_models") == [
        ("p3", "sonnet", 7.0, 100.0, 700),
        ("p1", "opus", 3.0, 75.0, 300),
        ("p1", "haiku", 1.0, 25.0, 100),
        ("p2", "opus", 2.0, 100.0, 200),
    ]
    assert by_hand.rows("project_efficiency", "project", "cost_per_day_used", "cache_hit_percent") == [
        ("p1", 2.0, 50.0),
        ("p2", 2.0, 50.0),
        ("p3", 7.0, 50.0),
    ]


def test_sessions_by_hand(by_hand: Answers) -> None:
    assert by_hand.rows("session_totals") == [(5, 13.3, 60.0)]
    assert by_hand.rows("longest_sessions", "session_id", "minutes") == [("s2", 90), ("s4", 45), ("s1", 30)]
    assert by_hand.rows("dearest_sessions", "session_id", "project", "agent", "machine_name", "user_name", "cost") == [
        ("s4", "p3", "claude", "desk", "bob", 60.0),
        ("s3", "p1", "claude", "desk", "bob", 3.0),
        ("s2", "p2", "claude", "laptop", "ada", 2.0),
        ("s1", "p1", "claude", "laptop", "ada", 1.0),
        ("s5", "", "codex", "laptop", "ada", 0.5),
    ]
    assert by_hand.rows("session_cost_distribution", "dollars", "sessions", "percent_of_sessions", "cost") == [
        ("0.1 to 1", 1, 20.0, 0.5),
        ("1 to 5", 3, 60.0, 6.0),
        ("50 and more", 1, 20.0, 60.0),
    ]
    levels = ("percent_of_sessions", "cost_at_most", "tokens_at_most", "minutes_at_most")
    assert by_hand.rows("session_percentiles", *levels) == [
        (10, 0.5, 50, 30),
        (25, 1.0, 100, 30),
        (50, 2.0, 200, 45),
        (75, 3.0, 300, 90),
        (90, 60.0, 700, 90),
        (99, 60.0, 700, 90),
    ]
    assert by_hand.rows("sessions_by_project", "project", "sessions", "cost_per_session") == [
        ("p3", 1, 60.0),
        ("p1", 2, 2.0),
        ("p2", 1, 2.0),
        ("unknown", 1, 0.5),
    ]


def test_blocks_by_hand(by_hand: Answers) -> None:
    assert by_hand.rows("typical_block", "user_name", "blocks", "average_cost", "highest_cost", "most_tokens") == [
        ("ada", 4, 3.75, 8.0, 1000),
        ("bob", 1, 3.0, 3.0, 300),
    ]
    assert by_hand.rows("blocks_near_limit", "user_name", "start_time", "percent_of_largest") == [
        ("bob", at(1, 8, month=2).replace(tzinfo=None), 100.0),
        ("ada", at(30, 10).replace(tzinfo=None), 100.0),
        ("ada", at(31, 10).replace(tzinfo=None), 90.0),
    ]
    assert by_hand.rows("blocks_at_limit", "user_name", "limit_reset") == [
        ("bob", at(1, 13, month=2).replace(tzinfo=None))
    ]
    gaps = by_hand.rows("longest_gaps", "machine_name", "gap_start", "gap_end", "hours")
    assert gaps[1:] == [
        ("laptop", at(31, 10, 30).replace(tzinfo=None), at(3, 0, month=2).replace(tzinfo=None), 61.5),
        ("laptop", at(30, 12).replace(tzinfo=None), at(31, 10).replace(tzinfo=None), 22.0),
    ]
    assert gaps[0][1] == at(3, 4, month=2).replace(tzinfo=None)
    hours = {hour: row for hour, *row in by_hand.rows("hours_of_day", "hour", "blocks", "cost")}
    assert sum(blocks for blocks, _ in hours.values()) == 5
    assert sum(cost for _, cost in hours.values()) == 18.0


def test_the_running_block_by_hand(by_hand: Answers) -> None:
    (active,) = by_hand.rows("active_blocks", "machine_name", "user_name", "cost", "burn_rate", "projected_cost")
    assert active == ("laptop", "ada", 2.0, 3.0, 9.0)
    # 2 dollars in the half hour from its start to its last message; no block of the last 90 days to compare
    rate = by_hand.row("burn_rate_against_history")
    assert (rate["burn_rate_by_ccusage"], rate["rate_now"]) == (3.0, 4.0)
    assert (rate["median_rate_before"], rate["times_median"], rate["blocks_compared"]) == (0.0, None, 0)


def test_months_against_days_by_hand(by_hand: Answers) -> None:
    rows = [row for row in by_hand.rows("months_against_days") if row[0] < "2025"]
    assert_rows(
        rows,
        [
            ("2024-02", "claude", "desk", "bob", 10.0, 11.0, -100, -1.0, 0),
            ("2024-02", "claude", "laptop", "ada", 4.0, 4.0, 0, 0.0, 1),
            ("2024-02", "codex", "laptop", "ada", 0.5, 0.5, 0, 0.0, 1),
            ("2024-01", "claude", "laptop", "ada", 3.0, 3.0, 0, 0.0, 1),
        ],
    )


def test_days_missing_and_days_against_projects_by_hand(by_hand: Answers) -> None:
    last_week = by_hand.today - (by_hand.today.weekday() + 7) * DAY
    since = [last_week + DAY, by_hand.today - DAY, by_hand.today.weekday() + 6]
    long_gap = [date(2024, 2, 4), last_week - DAY, (last_week - date(2024, 2, 4)).days]
    assert by_hand.rows("days_missing") == [
        ("desk", "bob", *since),
        ("laptop", "ada", *since),
        ("desk", "bob", *long_gap),
        ("laptop", "ada", *long_gap),
        ("desk", "bob", date(2024, 2, 2), date(2024, 2, 2), 1),
        ("laptop", "ada", date(2024, 2, 1), date(2024, 2, 2), 2),
    ]
    assert by_hand.rows("days_against_projects") == [(date(2024, 2, 3), "claude", "desk", "bob", 100, 1.0)]


def test_imports_by_hand(by_hand: Answers) -> None:
    assert by_hand.rows("imports_failed", "machine_name", "import_status", "error") == [
        ("laptop", "partial", "blocks: no answer"),
        ("desk", "failed", "ccusage did not start"),
    ]
    assert by_hand.rows("rows_kept", "machine_name", "user_name", "report", "rows_kept") == [
        ("desk", "bob", "daily", 1),
        ("laptop", "ada", "daily", 3),
        ("laptop", "ada", "session", 2),
    ]
    assert by_hand.rows("freshness", "machine_name", "hours_ago", "is_stale", "last_status", "ccusage", "zone") == [
        ("desk", 48, 1, "failed", NEW_CCUSAGE, "UTC"),
        ("laptop", 2, 0, "partial", NEW_CCUSAGE, "UTC"),
    ]
    assert by_hand.rows("import_durations", "machine_name", "imports", "average_seconds", "longest_seconds") == [
        ("desk", 2, 4.0, 7.0),
        ("laptop", 2, 3.0, 4.0),
    ]
    assert by_hand.rows("last_imports", "machine_name", "new_rows", "changed_rows", "unchanged_rows", "kept_rows") == [
        ("laptop", 5, 2, 9, 5),
        ("desk", 5, 2, 9, 8),
        ("desk", 5, 2, 9, 1),
        ("laptop", 5, 2, 9, 50),
        ("desk", 5, 2, 9, 0),
    ]


def test_rows_by_hand(by_hand: Answers) -> None:
    assert by_hand.rows("rows_by_machine") == [("desk", "bob", 4, 1, 2, 1, 2), ("laptop", "ada", 6, 3, 3, 4, 2)]
    assert by_hand.rows("table_rows", "rows") == [(10,), (4,), (5,), (6,), (4,), (28,), (34,), (5,)]


# ---- dates and rows that are seldom met -----------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ci.Store]:
    with contextlib.closing(open_store(tmp_path)) as opened:
        yield opened


def asked(
    store: ci.Store, name: str, *columns: str, today: date | None = None, **narrowed: Any
) -> list[tuple[Any, ...]]:
    """The rows of an answer as it is given with these flags."""
    selection = ci.Selection(today or utc_now().date(), **narrowed)
    return [tuple(row[column] for column in columns) for row in ci.ask_query(store, QUERIES[name], selection).dicts()]


def test_months_without_usage_cost_nothing_and_a_month_that_is_past_is_as_of_its_day(store: ci.Store) -> None:
    days = (date(2024, 1, 1), 1.0), (date(2024, 3, 2), 2.0), (date(2024, 3, 20), 4.0), (date(2024, 4, 1), 8.0)
    records = [day_record("claude", day, a=used(10, cost)) for day, cost in days]
    records += [
        month_record("claude", f"2024-0{month}", a=used(20, cost)) for month, cost in ((1, 1.0), (3, 6.0), (4, 8.0))
    ]
    write(store, "m", "u", records)
    columns = ("month", "cost", "change")
    assert asked(store, "months", *columns, today=date(2024, 5, 9)) == [
        ("2024-04", 8.0, 2.0),
        ("2024-03", 6.0, 6.0),
        ("2024-01", 1.0, None),
    ]
    assert store.query("SELECT month, cost_change FROM ccusage_v_monthly_trends") == [
        ("2024-04", 2.0),
        ("2024-03", 6.0),
        ("2024-01", None),
    ]
    as_of = {"today": date(2024, 5, 9), "until": date(2024, 3, 10)}
    assert asked(store, "months", *columns, **as_of) == [("2024-03", 2.0, 2.0), ("2024-01", 1.0, None)]
    # what no day narrows is of all days
    assert asked(store, "rows_by_machine", "days", "months", **as_of) == [(4, 3)]
    assert asked(store, "months_below_days", "month", **as_of) == []
    assert asked(store, "orphaned_models", "models", since=date(2024, 3, 15)) == []
    store.command("DELETE FROM ccusage_usage_daily WHERE date = '2024-03-20'")
    assert asked(store, "orphaned_models", "models") == [(1,)]


def test_the_same_day_of_a_year_and_the_days_to_come(store: ci.Store) -> None:
    today = utc_now().date()
    days = (date(2023, 3, 1), 1.0), (date(2023, 3, 2), 2.0), (date(2024, 2, 28), 4.0), (date(2024, 2, 29), 8.0)
    records = [day_record("claude", day, a=used(10, cost)) for day, cost in (*days, (today + DAY, 16.0))]
    write(store, "m", "u", records)
    for name, costs in (("periods_compared", (12.0, 1.0)), ("models_compared", (12.0, 1.0))):
        selection = ci.Selection(today, until=date(2024, 3, 1))
        values = {"period": "year"} if name == "models_compared" else {}
        row = ci.ask_query(store, QUERIES[name], selection, values).dicts()[-1]
        assert (row["cost"], row["cost_before_to_same_day"]) == costs
    leap_day = {"today": date(2025, 1, 1), "until": date(2024, 2, 29)}
    assert dict(asked(store, "periods_compared", "period", "cost_before", **leap_day))["year"] == 3.0
    for name in ("daily_trend", "day_to_day"):
        assert max(day for (day,) in asked(store, name, "date")) == today, name
    assert asked(store, "models_compared", "cost") == []  # as the month's cost beside it
    write_import(store, HOUR, "failed", 1.0, {}, "no ccusage")
    assert asked(store, "freshness", "last_import", "hours_ago", "is_stale", "last_status") == [
        (None, None, True, "failed")
    ]


def test_what_is_not_known_is_not_nothing(store: ci.Store) -> None:
    today = utc_now().date()
    records = [day_record("claude", today - n * DAY, a=used(10, float(n))) for n in (1, 2)]
    write(store, "m", "u", [*records, session_record("s", "p", None, utc_now(), a=used(10, 1.0))])
    rows = asked(store, "day_to_day", "date", "cost_before", "change")
    assert rows[:4] == [
        (today, 1.0, -1.0),
        (today - DAY, 2.0, -1.0),
        (today - 2 * DAY, None, None),  # the first that was recorded
        (today - 3 * DAY, None, None),
    ]
    assert {minutes for (minutes,) in asked(store, "session_percentiles", "minutes_at_most")} == {None}


def test_agents_that_are_sent_twice_and_versions_in_their_order(store: ci.Store) -> None:
    today = utc_now().date()
    write(store, "m", "u", [project_record(today, "p", opus=used(10, 6.0))])
    owner = {"source": "claude", "machine_name": "m", "user_name": "u", "session_id": "s", "project_id": "p"}
    said = {**owner, "date": today, "started_at": utc_now(), "ended_at": utc_now()}
    store.insert(
        "ccusage_messages",
        [
            {
                **said,
                "message_id": number,
                "kind": "response",
                "agent_id": agent,
                "model": "opus",
                "version": version,
            }
            | {"input_tokens": 10}
            for number, (agent, version) in enumerate([("", "2.0.9"), ("a", "2.0.14"), ("a", "2.0.14")], 1)
        ],
    )
    uses = [("Explore", "a"), ("Explore", "a"), ("Plan", "")]
    store.insert(
        "ccusage_tool_calls",
        [
            {**owner, "date": today, "started_at": utc_now(), "tool_use_id": number, "tool": "Task", "state": "ok"}
            | {"subagent_type": kind, "spawned_agent": agent}
            for number, (kind, agent) in enumerate(uses, 1)
        ],
    )
    assert_rows(
        asked(store, "subagent_types", "subagent_type", "uses", "cost"), [("Explore", 2, 4.0), ("Plan", 1, 0.0)]
    )
    assert sorted(asked(store, "getting_worse", "version", "tools")) == [("2.0.14", 3), ("2.0.9", 0)]


def test_tunables_are_literals_at_the_top_and_used_by_their_names() -> None:
    for query in QUERIES.values():
        first_line, *others = query.statement.splitlines()
        names = re.findall(r"(?:^WITH |, )(?:\d[\d.]*|'[^']*') AS (\w+)", first_line)
        for name in names:
            assert len(re.findall(rf"\b{name}\b", query.statement)) > 1, (query.name, name)
        assert ("days" in names) == bool(re.search(r"\bdays\b", re.sub(r"AS days\b|--.*", "", "\n".join(others)))), (
            query.name
        )
