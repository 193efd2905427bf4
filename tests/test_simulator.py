"""Whole histories with their faults end with what ccusage says of an archive; and the comparison can fail.

`pytest tests/test_simulator.py --simulations 20` lives through 20 seeds of 60 days, with what is exact, with
everything, and with a part that is forgotten, instead of the short ones here.
"""

from __future__ import annotations

import copy
from datetime import datetime, timezone
from typing import Any

import pytest
import simulator

EXACT = frozenset(simulator.SWITCHES.keys() - {"versions", "renamed", "forgotten"})
EVERYTHING = simulator.SWITCHES.keys() - {"newer", "forgotten"}
FORGOTTEN = ("forgotten", "forks", "agents", "clock", "midnight")
ONE_DAY = datetime(2026, 6, 9, 13, 20, tzinfo=timezone.utc)
SHORT = {  # seed, switches, end, imports
    "rows that lose a part and grow, another zone": (
        1,
        {"newer", "zones", "forks", "agents", "sparse"},
        None,
        3,
    ),
    "a server with faults, late files, round the clock": (
        2,
        {"server", "late", "clock", "renamed", "forks", "agents"},
        None,
        4,
    ),
    "every version, everything": (4, EVERYTHING, None, 3),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "history" not in metafunc.fixturenames:
        return
    seeds = range(1, 1 + metafunc.config.getoption("--simulations"))
    cases = {
        name: simulator.make_history(seed, 20, switches, until, imports)
        for name, (seed, switches, until, imports) in SHORT.items()
    }
    long = {
        f"{name} {seed}": simulator.make_history(seed, 60, switches)
        for seed in seeds
        for name, switches in (("exact", EXACT), ("everything", EVERYTHING), ("forgotten", FORGOTTEN))
    }
    metafunc.parametrize("history", (long or cases).values(), ids=(long or cases).keys())


def test_what_is_stored_is_what_ccusage_says_of_an_archive(history: simulator.History) -> None:
    problems, happened = simulator.simulate(history)
    assert not problems, "\n".join(problems)
    for what in ("log deleted", "exit 0", "exit 3"):
        assert happened[what], happened


def test_a_seed_is_a_history_and_a_switch_adds_to_it() -> None:
    def events(*switches: str) -> list[str]:
        history = simulator.make_history(5, 20, switches, ONE_DAY)
        return [f"{at} {action}" for at, action in history.events if not isinstance(action, simulator.DeleteByHand)]

    assert events() == events()
    for switch in ("agents", "clock", "forks", "late", "midnight", "relayed", "renamed", "forgotten"):
        assert set(events()) < set(events(switch)), switch
    assert events("versions") != events("newer") != events()


def row(tokens: int, **columns: Any) -> dict[str, Any]:
    return {"total": tokens, "cost": tokens / 1000, "models": ["opus"], "opus total": tokens, **columns}


STORED: dict[str, simulator.Rows] = {
    "daily": {"2026-05-31": row(5), "2026-06-01": row(7)},
    "monthly": {"2026-05": row(5), "2026-06": row(7)},
    "projects": {"2026-05-31/a": row(2), "2026-05-31/b": row(3), "2026-06-01/a": row(7)},
    "session": {"s": row(12, first=1, last=9)},
    "blocks": {
        "x": row(5, start=0, end=18_000, gap=0),
        "gap": row(0, start=17_000, end=30_000, gap=1),
        "y": row(7, start=18_000, end=36_000, gap=0),
    },
}
BREAKS: dict[str, tuple[str, str, str, Any]] = {  # what is broken: report, key, column, value
    "a token": ("daily", "2026-06-01", "total", 8),
    "a hundred-thousandth of a dollar": ("daily", "2026-06-01", "cost", 0.00701),
    "a model": ("monthly", "2026-06", "models", ["opus", "sonnet"]),
    "a model's token": ("monthly", "2026-05", "opus total", 4),
    "a model's row": ("monthly", "2026-05", "haiku total", 0),
    "a time": ("session", "s", "last", 10),
    "a block": ("blocks", "x", "end", 18_001),
}


@pytest.mark.parametrize(("report", "key", "column", "value"), BREAKS.values(), ids=BREAKS)
def test_a_difference_is_found(report: str, key: str, column: str, value: Any) -> None:
    broken = copy.deepcopy(STORED)
    assert not list(simulator.differences(report, broken[report], STORED[report]))
    broken[report][key][column] = value
    (line,) = simulator.differences(report, broken[report], STORED[report])
    assert line.split()[:2] == [report, key]
    assert not list(simulator.differences(report, broken[report], STORED[report], unknown={column}))
    del broken[report][key]
    assert [line.split()[2] for line in simulator.differences(report, broken[report], STORED[report])] == ["row"]
    assert [line.split()[2] for line in simulator.differences(report, STORED[report], broken[report])] == ["row"]


CONTRADICTIONS: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {  # ... and how the lines found begin
    "a month is less than its days": ("monthly", "2026-05", row(4), ["monthly  2026-05", "months and days differ"]),
    "a month is missing": ("monthly", "2026-05", {}, ["monthly  2026-05", "months and days differ"]),
    "a month is more than its days": ("monthly", "2026-05", row(6), ["months and days differ: 2026-05"]),
    "a project": ("projects", "2026-05-31/b", row(4), ["projects and days differ: 2026-05-31: 6 and 5"]),
    "a session": ("session", "s", row(11), ["sessions and days differ: all: 11 and 12"]),
    "a block's tokens": ("blocks", "y", row(8, start=18_000, end=36_000, gap=0), ["blocks and days differ"]),
    "blocks overlap": ("blocks", "y", row(7, start=17_999, end=36_000, gap=0), ["blocks x and y overlap"]),
}


@pytest.mark.parametrize(("report", "key", "changed", "found"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_is_found(report: str, key: str, changed: dict[str, Any], found: list[str]) -> None:
    assert not list(simulator.contradictions(STORED, exact=True))
    broken = copy.deepcopy(STORED)
    if changed:
        broken[report][key] = changed
    else:
        del broken[report][key]
    lines = list(simulator.contradictions(broken, exact=True))
    assert [line[: len(start)] for line, start in zip(lines, found, strict=True)] == found
    # what sums must be is asked for only where rows are exact
    always = [line for line in found if "differ" not in line]
    assert len(list(simulator.contradictions(broken, exact=False))) == len(always)


def test_models_without_a_row_are_found() -> None:
    assert list(simulator.contradictions({**STORED, "models without a row": {"daily x": {}}}, exact=True)) == [
        "models without a row: daily x"
    ]
