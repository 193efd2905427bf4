"""The breaks that tests/mutate.py makes: the right ones, in the right places, and each still a program."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import mutate
import pytest

BANNER = "# " + "=" * 101
PROGRAM = f'''
{BANNER}
# Configuration: is left whole
{BANNER}
LIMIT = 3

{BANNER}
# Plan: is broken
{BANNER}
COMBINED = {{"first": min}}


class Store:
    def read(self, days: list[int] = [1]) -> str:
        """A docstring has no breaks: 7 > 5."""
        if "tägen" and days[0] < LIMIT and not self.closed:
            raise ImporterError(f"{{days}} and 8 others", "look at 9")
        self.ask("SELECT a FROM t FINAL WHERE b = 1 AND c != 2")
        log.debug("asked %s", 4)
        return [day for day in days if day]
'''


def test_every_break_of_a_program() -> None:
    broken = [(m.function, m.before, m.after) for m in mutate.find_mutants(PROGRAM)]
    condition = '"tägen" and days[0] < LIMIT and not self.closed'
    read = "Store.read"
    statement = "SELECT a FROM t FINAL WHERE b = 1 AND c != 2"
    assert sorted(broken) == sorted(
        [
            ("", '"first"', '"broken"'),
            ("", "min", "max"),
            (read, "1", "2"),
            (read, condition, "True"),
            (read, condition, "False"),
            (read, condition, "('tägen' or days[0] < LIMIT or (not self.closed))"),
            (read, condition, "(days[0] < LIMIT and (not self.closed))"),
            (read, condition, "('tägen' and (not self.closed))"),
            (read, condition, "('tägen' and days[0] < LIMIT)"),
            (read, '"tägen"', '"broken"'),
            (read, "0", "1"),
            (read, "days[0] < LIMIT", "(days[0] <= LIMIT)"),
            (read, "not self.closed", "(self.closed)"),
            (read, 'raise ImporterError(f"{days} and 8 others", "look at 9")', "pass"),
            (read, f'self.ask("{statement}")', "pass"),
            (read, " FINAL", ""),
            (read, " AND ", " OR "),
            (read, " != ", " = "),
            (read, "[day for day in days if day]", "None"),
            (read, "day", "True"),
        ]
    )


def test_a_break_is_one_place_of_the_importer_and_still_a_program() -> None:
    source = mutate.SOURCE.read_text(encoding="utf-8")
    mutants = mutate.find_mutants(source)
    assert {mutant.section for mutant in mutants} == set(mutate.SECTIONS)
    assert len({mutant.key for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        assert source[mutant.start : mutant.end] == mutant.before
    for mutant in random.Random(1).sample(mutants, 4):
        compile(mutant.applied(source), "broken", "exec")


def test_the_quickest_tests_that_come_through_a_function_are_tried() -> None:
    known = {
        "a.py::long": mutate.TestCosts(0, 50, frozenset({"f"})),
        "a.py::short": mutate.TestCosts(0, 1, frozenset({"f", "g"})),
        "b.py::first": mutate.TestCosts(9, 1, frozenset({"f"})),
        "b.py::second": mutate.TestCosts(0, 2, frozenset({"f"})),
        "b.py::other": mutate.TestCosts(0, 0, frozenset({"h"})),
    }
    assert mutate.tests_through("f", known, 100) == ["a.py::short", "b.py::first", "b.py::second", "a.py::long"]
    assert mutate.tests_through("f", known, 13) == ["a.py::short", "b.py::first", "b.py::second"]
    assert mutate.tests_through("f", known, 10) == ["a.py::short"]
    assert mutate.tests_through("g", known, 0) == ["a.py::short"]  # at least one
    assert mutate.tests_through("new", known, 4)[0] == "a.py::short"


def test_what_an_importer_comes_through_in_its_process_is_its_tests(tmp_path: Path) -> None:
    place = tmp_path / "recorded.jsonl"
    test = "tests/test_command_line.py::test_stats_before_any_import"
    environment = os.environ | {"CCUSAGE_TEST_MAP": str(place), "PYTHONPATH": str(mutate.ROOT / "tests")}
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=0", "-p", "mutate", test]
    subprocess.run(command, cwd=mutate.ROOT, env=environment, check=True, capture_output=True)
    functions = {name for line in place.read_text("utf-8").splitlines() for name in json.loads(line)["functions"]}
    assert {"main", "has_embedded_data"} <= functions


def test_a_break_that_no_test_notices_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A project of one function and one test: run, shown, remembered, tried again."""
    (tmp_path / "tests").mkdir()
    (tmp_path / ".cache").mkdir()
    source = tmp_path / "ccusage_importer.py"
    source.write_text(f"{BANNER}\n# Plan: is broken\n{BANNER}\n\ndef less(a, b):\n    return a < b\n", "utf-8")
    test = tmp_path / "tests" / "test_plan.py"
    test.write_text("from ccusage_importer import less\n\ndef test_less():\n    assert less(1, 2)\n", "utf-8")
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setattr(mutate, "SOURCE", source)
    monkeypatch.setattr(mutate, "MEMORY", tmp_path / ".cache" / "mutants.jsonl")
    monkeypatch.setattr(mutate, "TEST_MAP", tmp_path / ".cache" / "mutants-map.json")
    mutate.TEST_MAP.write_text(
        json.dumps({"tests/test_plan.py::test_less": {"setup": 0, "seconds": 0.1, "functions": ["less"]}}), "utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert mutate.main([]) == 1  # half of them is less than it has to be
    shown = capsys.readouterr().out
    assert "1/2 line 6 less: NOT NOTICED" in shown
    assert "2/2 line 6 less: tests/test_plan.py::test_less" in shown
    assert (
        textwrap.dedent("""
        ccusage_importer.py:6 less
        -     return a < b
        +     return (a <= b)

        Plan: 1 of 2 breaks noticed, 50%
    """)
        in shown
    )

    test.write_text(f"{test.read_text('utf-8')}    assert not less(1, 1)\n", "utf-8")
    assert mutate.main([]) == 1  # it remembers
    assert mutate.main(["--survivors"]) == 0
    assert "1/1 line 6 less: tests/test_plan.py::test_less" in capsys.readouterr().out
    assert mutate.main([]) == 0
