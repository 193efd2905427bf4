"""What a team asks: each query through Merge tables of two people's databases, against a calculation in Python."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from test_queries import QUERIES, open_store
from test_teams import OF_ACCESS

import ccusage_importer as ci

pytestmark = pytest.mark.xdist_group("team queries")

DAY = timedelta(days=1)
MODELS = ("claude-opus-4-20250514", "claude-sonnet-4-20250514", "gpt-5")
# Ada and Eve share a database, Bob has two machines: a user is not a database, and not a machine.
PEOPLE = {"ccusage_ada": (("ada", "laptop"), ("eve", "laptop")), "ccusage_bob": (("bob", "desk"), ("bob", "laptop"))}
BUDGETS = {
    ("ada", "month"): 50.0,
    ("ada", "day"): 0.5,
    ("bob", "month"): 1e6,
    ("nobody", "day"): 3.0,
    ("eve", "day"): 0.0,
}
TEAM = [
    "user_share", "user_projects", "new_users", "stopped_users", "user_budgets", "team_week", "team_month", "team_models",
]  # fmt: skip


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


@dataclass
class Facts:
    """What was stored, as Python has made it."""

    today: date
    models: list[dict[str, Any]]  # a day's rows of each model, of which the days are sums
    projects: list[dict[str, Any]]
    imports: list[dict[str, Any]]

    def total(self, by: Callable[[dict[str, Any]], Any], days: int = 10_000) -> dict[Any, tuple[float, int]]:
        found: defaultdict[Any, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for row in self.models:
            if row["date"] > self.today - days * DAY:
                cost, tokens = found[by(row)]
                found[by(row)] = (cost + row["cost"], tokens + row["total_tokens"])
        return dict(found)

    def dates(self, user: str, days: int = 10_000) -> set[date]:
        return {
            row["date"] for row in self.models if row["user_name"] == user and row["date"] > self.today - days * DAY
        }


def made_up(today: date) -> Facts:
    """Two hundred days of two of them, five of Eve; nobody but Bob lately, and Ada's imports have stopped."""
    chance = random.Random(7)
    models, projects, imports = [], [], []
    for database, owners in PEOPLE.items():
        for user, machine in owners:
            age = 5 if user == "eve" else 200
            for ago in range(age):
                if chance.random() < 0.4 or (user == "ada" and ago < 4):
                    continue
                for model in chance.sample(MODELS, chance.randint(1, 3)):
                    whose = {"database": database, "user_name": user, "machine_name": machine, "source": "claude"}
                    row = {**whose, "date": today - ago * DAY, "model_name": model}
                    row |= {"cost": round(chance.uniform(0, 3), 6), "total_tokens": chance.randint(1, 10**6)}
                    models.append(row)
                    projects.append({**row, "project_id": chance.choice(("p1", "p2", "p3"))})
            for ago in range(5 if user == "ada" else 0, 40, 3):
                moment = now() - ago * DAY - timedelta(minutes=5)
                imports.append({**whose, "import_timestamp": moment, "status": "completed"})
            imports.append({**whose, "import_timestamp": now(), "status": "failed" if user == "ada" else "partial"})
    return Facts(today, models, projects, imports)


def summed(rows: Iterable[Mapping[str, Any]], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows as the tables of days hold them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(tuple(row[name] for name in key), dict.fromkeys(("total_cost", "total_tokens"), 0))
        one |= {name: row[name] for name in key}
        one["total_cost"] += row["cost"]
        one["total_tokens"] += row["total_tokens"]
    return list(found.values())


OWNER = ("user_name", "machine_name", "source")


def store_facts(store: ci.Store, facts: Facts, database: str) -> None:
    models = [row for row in facts.models if row["database"] == database]
    projects = [row for row in facts.projects if row["database"] == database]
    store.insert("ccusage_usage_daily", summed(models, ("date", *OWNER)))
    store.insert("ccusage_usage_projects_daily", summed(projects, ("date", "project_id", *OWNER)))
    columns = (*OWNER, "model_name", "cost", "total_tokens")
    store.insert(
        "ccusage_model_breakdowns",
        [{"record_type": "daily", "record_key": str(r["date"]), **{name: r[name] for name in columns}} for r in models],
    )
    store.insert(
        "ccusage_import_history",
        [
            {
                **{name: row[name] for name in ("user_name", "machine_name", "status", "import_timestamp")},
                "import_id": str(number),
                "rows_new": {"daily": number},
                "messages": 2 * number,
            }
            for number, row in enumerate(facts.imports)
            if row["database"] == database
        ],
    )


def store_of(folder: Path, database: str, make_schema: bool = True) -> ci.Store:
    settings = {"CCUSAGE_DB_PATH": str(folder), "CCUSAGE_USER": "x", "MACHINE_NAME": "m", "CH_DATABASE": database}
    store, _ = ci.open_ready_store(ci.read_config(settings, ci.make_parser().parse_args([])), make_schema)
    assert store is not None
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def facts(folder: Path) -> Facts:
    """Stored in two databases, with a third of Merge tables as --team-sql makes it, and its budgets."""
    facts = made_up(now().date())
    for database in PEOPLE:
        store = store_of(folder, database)
        try:
            store_facts(store, facts, database)
        finally:
            store.close()
    store = store_of(folder, "ccusage", make_schema=False)
    try:
        for statement in ci.team_sql(store.config, [name.removeprefix("ccusage_") for name in PEOPLE], {}):
            if not OF_ACCESS.match(statement):
                store.command(statement)
        store.read_schema()
        rows = [
            {"user_name": user, "period": period, "dollars": dollars} for (user, period), dollars in BUDGETS.items()
        ]
        for old in (7.0, None):  # the latest wins
            stamp = {"updated_at": now() - (DAY if old else 0 * DAY)}
            store.insert("ccusage_budgets", [{**row, **stamp, "dollars": old or row["dollars"]} for row in rows])
    finally:
        store.close()
    return facts


@pytest.fixture(scope="module")
def answers(folder: Path, facts: Facts) -> Callable[[str], list[dict[str, Any]]]:
    store = store_of(folder, "ccusage", make_schema=False)
    try:
        assert store.is_team
        names = (
            *TEAM,
            "user_weeks",
            "user_months",
            "user_active_days",
            "user_favourite_model",
            "database_size",
            "database_growth",
        )
        told = {name: ci.ask_query(store, QUERIES[name]).dicts() for name in names}
        assert now().date() == facts.today, "midnight has passed; run again"
    finally:
        store.close()
    return told.__getitem__


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Row by row in order; fractions to the millionth."""
    assert len(found) == len(expected), (found, expected)
    for left, right in zip(found, expected, strict=True):
        assert left.keys() == right.keys()
        for name, value in right.items():
            is_same = math.isclose(left[name], value, abs_tol=1e-6) if isinstance(value, float) else left[name] == value
            assert is_same, (name, left, right)


def test_on_an_empty_database(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        for name in TEAM:
            assert ci.ask_query(store, QUERIES[name]).rows == [], name
        sizes = ci.ask_query(store, QUERIES["database_size"]).dicts()
        assert {row["table"] for row in sizes} == {"all", *(d.name for d in ci.declared_schema() if d.columns)}
        assert {row["rows"] for row in sizes} == {0}
        assert ci.ask_query(store, QUERIES["database_growth"]).rows == []
        assert ci.ask_query(store, QUERIES["slow_queries"]).rows == [], "there is no query_log"
    finally:
        store.close()


def test_shares(facts: Facts, answers: Callable[[str], list[dict[str, Any]]]) -> None:
    users = sorted(facts.total(lambda row: row["user_name"], 30).items(), key=lambda item: -item[1][0])
    whole = sum(cost for _, (cost, _) in users)
    assert_same(
        answers("user_share"),
        [
            {
                "user_name": user,
                "cost": cost,
                "percent": 100 * cost / whole,
                "tokens": tokens,
                "days_used": len(facts.dates(user, 30)),
            }
            for user, (cost, tokens) in users
        ],
    )
    by: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0])
    for row in facts.projects:
        if row["date"] > facts.today - 30 * DAY:
            by[row["project_id"], row["user_name"]][0] += row["cost"]
            by[row["project_id"], row["user_name"]][1] += row["total_tokens"]
    of_project = {p: sum(cost for (q, _), (cost, _) in by.items() if p == q) for p, _ in by}
    of_user = {u: sum(cost for (_, v), (cost, _) in by.items() if u == v) for _, u in by}
    order = sorted(by.items(), key=lambda item: (-of_project[item[0][0]], item[0][0], -item[1][0]))
    assert_same(
        answers("user_projects"),
        [
            {
                "project": project,
                "user_name": user,
                "cost": cost,
                "percent_of_project": 100 * cost / of_project[project],
                "percent_of_user": 100 * cost / of_user[user],
                "tokens": tokens,
            }
            for (project, user), (cost, tokens) in order
        ],
    )


def test_who_is_new_and_who_has_stopped(facts: Facts, answers: Callable[[str], list[dict[str, Any]]]) -> None:
    first = min(facts.dates("eve"))
    cost = facts.total(lambda row: row["user_name"])["eve"][0]
    told = {"user_name": "eve", "first_day": first, "days_ago": (facts.today - first).days, "machines": 1}
    assert_same(answers("new_users"), [{**told, "days_used": len(facts.dates("eve")), "cost": cost}])
    [stopped] = answers("stopped_users")
    good = [row["import_timestamp"] for row in facts.imports if row["user_name"] == "ada" and row["status"] != "failed"]
    assert stopped["last_import"].replace(tzinfo=timezone.utc) == max(good)
    assert (stopped["user_name"], stopped["days_ago"]) == ("ada", (now().date() - max(good).date()).days)
    assert stopped["imports_in_the_month_before"] == sum(moment > max(good) - 30 * DAY for moment in good)
    assert stopped["last_day"] == max(facts.dates("ada"))
    assert math.isclose(stopped["cost"], facts.total(lambda row: row["user_name"])["ada"][0])


def spent_by(facts: Facts, user: str) -> tuple[float, float, float]:
    """Today, this month, and the forecast of this month's end, by the pace of at most 14 whole days."""
    days = {
        day: cost for (who, day), (cost, _) in facts.total(lambda r: (r["user_name"], r["date"])).items() if who == user
    }
    spent = days.get(facts.today, 0.0)
    month = sum(cost for day, cost in days.items() if (day.year, day.month) == (facts.today.year, facts.today.month))
    whole = min(14, (facts.today - min(days, default=facts.today)).days)
    pace = (
        sum(cost for day, cost in days.items() if facts.today - 14 * DAY <= day < facts.today) / whole
        if whole
        else spent
    )
    left = 0
    while (facts.today + (left + 1) * DAY).month == facts.today.month:
        left += 1
    return spent, month, month - spent + max(spent, pace) + left * pace


def test_budgets(facts: Facts, answers: Callable[[str], list[dict[str, Any]]]) -> None:
    expected = []
    for (user, period), dollars in BUDGETS.items():
        if dollars:
            day, month, forecast = spent_by(facts, user)
            spent = day if period == "day" else month
            told = {
                "user_name": user,
                "budget": period,
                "dollars": dollars,
                "spent": spent,
                "remaining": dollars - spent,
            }
            expected.append({**told, "forecast": None if period == "day" else forecast})
    expected.sort(key=lambda row: (row["remaining"], row["user_name"], row["budget"]))
    assert_same(answers("user_budgets"), expected)
    assert len(expected) == 4


def test_check_budget_asks_for_everybody(
    folder: Path,
    facts: Facts,
    clean_environment: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CCUSAGE_DB_PATH", str(folder))
    monkeypatch.setenv("CH_DATABASE", "ccusage")
    monkeypatch.setenv("CCUSAGE_TIMEZONE", "UTC")
    _, month, _ = spent_by(facts, "bob")
    store = store_of(folder, "ccusage", make_schema=False)
    try:
        store.insert(
            "ccusage_budgets",
            [{"user_name": "bob", "period": "month", "dollars": month / 2, "updated_at": now() + DAY}],
        )
    finally:
        store.close()
    assert ci.main(["--check-budget", "--quiet"]) == 4
    said = capsys.readouterr().err
    assert (
        f"the month's budget of bob, {ci.human_cost(month / 2)}, is exceeded: {ci.human_cost(month)} are spent" in said
    )
    assert "of nobody" not in said
    assert ci.main(["--check-budget", "--user", "nobody"]) == 2, "no such user has usage"
    monkeypatch.setenv("CH_DATABASE", "ccusage_ada")  # whose own table is empty
    capsys.readouterr()
    assert ci.main(["--check-budget"]) == 2
    assert "or fill the table ccusage_budgets" in capsys.readouterr().err
    store = store_of(folder, "ccusage", make_schema=False)
    try:
        store.command("DELETE FROM ccusage_budgets WHERE user_name = 'bob' AND updated_at > now()")
    finally:
        store.close()


def test_the_last_week_and_month(facts: Facts, answers: Callable[[str], list[dict[str, Any]]]) -> None:
    by_day = facts.total(lambda row: (row["user_name"], row["date"]), 7)
    by_model = facts.total(lambda row: (row["user_name"], row["date"], row["model_name"]), 7)
    rows = []
    for (user, day), (cost, tokens) in by_day.items():
        models = [(m, c, t) for (u, d, m), (c, t) in by_model.items() if (u, d) == (user, day)]
        models.sort(key=lambda used: (-used[1], used[0]))
        rows.append({"user_name": user, "date": day, "cost": cost, "tokens": tokens, "models": models})
    rows.sort(key=lambda row: (-row["date"].toordinal(), -row["cost"], row["user_name"]))
    found = answers("team_week")
    for row in found:
        row["models"] = [(model, round(cost, 6), tokens) for model, cost, tokens in row["models"]]
    for row in rows:
        row["models"] = [(model, round(cost, 6), tokens) for model, cost, tokens in row["models"]]
    assert_same(found, rows)
    assert max(len(row["models"]) for row in rows) == 3

    by_user = sorted(facts.total(lambda row: row["user_name"], 30).items(), key=lambda item: -item[1][0])
    assert_same(
        answers("team_month"),
        [
            {
                "user_name": user,
                "cost": cost,
                "tokens": tokens,
                "active_days": len(facts.dates(user, 30)),
                "last_active_day": max(facts.dates(user)),
            }
            for user, (cost, tokens) in by_user
        ],
    )
    used = sorted(facts.total(lambda row: row["model_name"], 7).items(), key=lambda item: -item[1][0])
    users = facts.total(lambda row: (row["model_name"], row["user_name"]), 7)
    assert_same(
        answers("team_models"),
        [
            {"model": model, "cost": cost, "tokens": tokens, "users": sum(m == model for m, _ in users)}
            for model, (cost, tokens) in used
        ],
    )


def test_rankings_by_week_and_month_active_days_and_favourite_models(
    facts: Facts, answers: Callable[[str], list[dict[str, Any]]]
) -> None:
    monday = facts.today - facts.today.weekday() * DAY
    weeks = facts.total(lambda row: (row["date"] - row["date"].weekday() * DAY, row["user_name"]))
    expected = sorted(
        ((week, user, cost) for (week, user), (cost, _) in weeks.items() if week > monday - 8 * 7 * DAY),
        key=lambda row: (-row[0].toordinal(), -row[2]),
    )
    assert [(row["week"], row["user_name"]) for row in answers("user_weeks")] == [row[:2] for row in expected]
    assert [row["cost"] for row in answers("user_weeks")] == pytest.approx([cost for _, _, cost in expected])
    assert answers("user_months") == [], "no months were stored"
    days = {row["user_name"]: (row["days_used_lately"], row["days_used"]) for row in answers("user_active_days")}
    assert days == {user: (len(facts.dates(user, 30)), len(facts.dates(user))) for user in ("ada", "bob", "eve")}
    by = facts.total(lambda row: (row["user_name"], row["model_name"]), 90)
    best = {user: max((t, m) for (u, m), (_, t) in by.items() if u == user)[1] for user, _ in by}
    assert {row["user_name"]: row["model"] for row in answers("user_favourite_model")} == best


def test_the_health_of_the_database(folder: Path, facts: Facts, answers: Callable[[str], list[dict[str, Any]]]) -> None:
    store = store_of(folder, "ccusage", make_schema=False)
    try:
        parts = dict(store.query(
            "SELECT table, (sum(rows), sum(bytes_on_disk)) FROM system.parts"
            " WHERE active AND startsWith(database, 'ccusage') GROUP BY table"
        ))  # fmt: skip
    finally:
        store.close()
    sizes = {row["table"]: row for row in answers("database_size")}
    assert {
        name: row["rows"] for name, row in sizes.items() if row["rows"] and name not in ("all", "ccusage_budgets")
    } == {name: rows for name, (rows, _) in parts.items() if name != "ccusage_budgets"}
    whole = sizes["all"]["size"]
    assert whole == sum(row["size"] for name, row in sizes.items() if name != "all")
    assert whole == pytest.approx(sum(size for _, size in parts.values()), rel=0.2)
    assert sizes["all"]["percent"] == 100
    assert next(iter(sizes)) == "all"
    months: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for number, row in enumerate(facts.imports):
        month = months[f"{row['import_timestamp']:%Y-%m}"]
        for place, value in enumerate((1, number, 2 * number)):
            month[place] += value
    grown = answers("database_growth")
    expected = [(month, *values) for month, values in sorted(months.items(), reverse=True)]
    assert [(row["month"], row["imports"], row["new_rows"], row["messages_and_tools"]) for row in grown] == expected
    assert grown[0]["about_size_by_then"] == pytest.approx(whole, rel=0.2)
    came = sum(number for number, _ in enumerate(facts.imports)) * 3
    assert [row["about_size"] for row in grown] == pytest.approx(
        [whole * 3 * new / came for _, (_, new, _) in sorted(months.items(), reverse=True)], rel=0.2
    )


def test_slow_queries_where_there_is_a_log(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    try:
        store.command(
            "CREATE TABLE system.query_log (type Enum8('QueryStart' = 1, 'QueryFinish' = 2), event_date Date,"
            " event_time DateTime, query_duration_ms UInt64, read_rows UInt64, memory_usage UInt64,"
            " normalized_query_hash UInt64, query String, user String, databases Array(LowCardinality(String)), more UInt8)"
            " ENGINE = MergeTree ORDER BY event_date"
        )
        for kind, ago, ms, text, user, database in (
            ("QueryFinish", 0, 3000, "SELECT 'secret' FROM a", "u", "ccusage"),
            ("QueryFinish", 1, 1000, "SELECT 'other' FROM a", "v", "ccusage_ada"),
            ("QueryStart", 0, 9000, "SELECT 1", "u", "ccusage"),
            ("QueryFinish", 0, 9000, "SELECT 2", "u", "elsewhere"),
            ("QueryFinish", 0, 900, "SELECT 3", "u", "ccusage"),
            ("QueryFinish", 9, 9000, "SELECT 4", "u", "ccusage"),
        ):
            store.command(
                f"INSERT INTO system.query_log SELECT '{kind}', today() - {ago}, now() - 86400 * {ago}, {ms}, 5, 6,"
                f" normalizedQueryHash($${text}$$), $${text}$$, '{user}', ['{database}'], 0"
            )
        [slow] = ci.ask_query(store, QUERIES["slow_queries"]).dicts()
        del slow["last_run"]
        assert slow == {
            "seconds": 3.0, "median_seconds": 2.0, "runs": 2, "users": "u, v", "rows_read": 5, "memory": 6,
            "statement": "SELECT ? FROM a",
        }  # fmt: skip
    finally:
        store.command("DROP TABLE system.query_log")
        store.close()


def test_models_are_words_for_people_and_arrays_for_machines(
    folder: Path,
    facts: Facts,
    clean_environment: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CCUSAGE_DB_PATH", str(folder))
    monkeypatch.setenv("CH_DATABASE", "ccusage")
    assert ci.main(["--query", "team_week", "--format", "json"]) == 0
    [first, *_] = json.loads(capsys.readouterr().out)
    model, cost, tokens = first["models"][0]
    assert ci.main(["--query", "team_week"]) == 0
    said = f"{ci.short_model(model)} {ci.human_cost(cost)} {ci.human_number(tokens)}"
    assert said in capsys.readouterr().out
