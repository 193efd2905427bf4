"""Break the importer on purpose, one small break at a time, and tell which breaks no test notices.

    uv run tests/mutate.py --list                                  how many breaks there are, by section
    uv run tests/mutate.py --sections Reshape,Plan                 try every one of these sections
    uv run tests/mutate.py --sample 100 --seed 3                   a hundred of all sections
    uv run tests/mutate.py --sample 100 --seed 3                   ... again: goes on where it was ended
    uv run tests/mutate.py --survivors                             try those again that no test had noticed
    uv run tests/mutate.py --only plan_blocks                      the breaks of one function

A break changes one node of the syntax tree (a comparison, a constant, a condition, a call that is left out) or one
word of a statement's SQL. Each is tried in a copy of the project of its own against the tests that come through its
function, the quickest first, until one fails. Which these are is written down once, while the whole suite runs, in
.cache/mutants-map.json (delete it after tests were added). What was found is kept in .cache/mutants.jsonl by function
and break, so a run can be ended and goes on later, also after other parts of the file have changed. Messages,
docstrings, logging and type annotations are left whole: what an error says is no promise.

The exit code is 0 where at least 90 % of what was tried is noticed. This takes hours for everything, so it is no
part of the test suite; give it to idle processors: `nice -n 19 uv run tests/mutate.py --jobs 4`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "ccusage_importer.py"
MEMORY = ROOT / ".cache" / "mutants.jsonl"
TEST_MAP = ROOT / ".cache" / "mutants-map.json"  # the `TestCosts` of all tests
SECTIONS = ("Reshape", "Plan", "Database", "Import")
TARGET = 0.9
PATIENCE = 300  # seconds of tests that are tried for a break

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "sum": "len"}
# Words of SQL, and what becomes of them.
SQL_WORDS = {" AND ": " OR ", " FINAL": "", " DESC": " ASC", " != ": " = ", " >= ": " > ", " > ": " >= ", " IN ": " NOT IN ",
             "DISTINCT": "", "min(": "max(", "max(": "min(", " UNION ALL": " UNION DISTINCT", " LIMIT 1": ""}  # fmt: skip
LOOKS_LIKE_SQL = re.compile(r"\b(SELECT|FROM|WHERE|ORDER BY|AND|IN|CREATE|DELETE|INSERT)\b")
# Calls whose arguments are for people, and texts that are.
SPOKEN = re.compile(r"(^|\.)(log|ImporterError|error|configuration_error)\b")
PROSE = re.compile(r"[a-z]+ [a-z]+ [a-z]+")


@dataclass(frozen=True)
class Mutant:
    """One break: what stands at `start` to `end` of the source, and what is put there."""

    section: str
    function: str
    line: int
    start: int
    end: int
    before: str
    after: str
    number: int  # of the same breaks of a function

    @property
    def key(self) -> str:
        """The same as long as the function has this break."""
        text = "\0".join((self.function, self.before, self.after, str(self.number)))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def applied(self, source: str) -> str:
        return source[: self.start] + self.after + source[self.end :]

    def diff(self, source: str) -> str:
        """The lines that it changes, before and after."""
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.end)
        head, tail = source[first : self.start], source[self.end : last]
        lines = [f"- {line}" for line in (head + self.before + tail).split("\n")]
        return "\n".join([*lines, *(f"+ {line}" for line in (head + self.after + tail).split("\n"))])


# ---- finding what can be broken --------------------------------------------------------------------------


def section_lines(source: str) -> dict[str, range]:
    """The lines of each section, by the first word of its banner."""
    banners = [
        (match[1], source.count("\n", 0, match.start()) + 1)
        for match in re.finditer(r"^# =+\n# (\w+)[^\n]*\n# =+$", source, re.MULTILINE)
    ]
    ends = [start for _, start in banners[1:]] + [source.count("\n") + 2]
    return {name: range(start, end) for (name, start), end in zip(banners, ends, strict=True)}


class Finder(ast.NodeVisitor):
    """Collects the breaks of a syntax tree."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sections = section_lines(source)
        self.lines = source.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.function: list[str] = []
        self.spoken = 0
        self.found: list[Mutant] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def offset(self, line: int, column: int) -> int:
        """Where this is in the text; the tree counts bytes."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def add(self, node: ast.expr | ast.stmt, after: str | ast.AST, start: int | None = None, before: str = "") -> None:
        if self.spoken:
            return
        section = next((name for name, lines in self.sections.items() if node.lineno in lines), "")
        if section not in SECTIONS or node.end_lineno is None or node.end_col_offset is None:
            return
        if start is None:
            start = self.offset(node.lineno, node.col_offset)
            before = self.source[start : self.offset(node.end_lineno, node.end_col_offset)]
        if isinstance(after, ast.AST):
            after = f"({ast.unparse(after)})" if isinstance(after, ast.expr) else ast.unparse(after)
        function = ".".join(self.function)
        number = self.counts[function, before, after]
        self.counts[function, before, after] += 1
        line = self.source.count("\n", 0, start) + 1
        self.found.append(Mutant(section, function, line, start, start + len(before), before, after, number))

    # -- where we are --

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.function.append(node.name)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in node.body:  # not the decorators, nor the annotations
            self.visit(statement)
        self.function.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.function.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self.function.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add(node, "pass")
        self.spoken += 1
        self.generic_visit(node)
        self.spoken -= 1

    # -- breaks of statements --

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if not (isinstance(node.value, ast.Call) and re.match(r"log\.", ast.unparse(node.value.func))):
            self.add(node, "yield" if isinstance(node.value, ast.Yield | ast.YieldFrom) else "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "pass")
        self.add(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, "pass")

    def visit_Delete(self, node: ast.Delete) -> None:
        pass  # gives memory back

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.add(node.value, "None")
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.add(test, "True")
        self.generic_visit(node)

    def condition(self, test: ast.expr) -> None:
        for value in ("True", "False"):
            self.add(test, value)

    # -- breaks of expressions --

    def visit_Compare(self, node: ast.Compare) -> None:
        for number, operator in enumerate(node.ops):
            ops: list[ast.cmpop] = list(node.ops)
            ops[number] = COMPARISONS[type(operator)]()
            self.add(node, ast.Compare(node.left, ops, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.add(node, ast.BoolOp(other, node.values))
        for value in node.values if len(node.values) > 2 else ():
            self.add(node, ast.BoolOp(node.op, [v for v in node.values if v is not value]))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.add(node, node.operand)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_text = any(
            isinstance(n, ast.JoinedStr) or (isinstance(n, ast.Constant) and isinstance(n.value, str))
            for n in ast.walk(node)
        )
        if not is_text and type(node.op) in OPERATORS:
            self.add(node, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in NAMES:
            self.add(node, NAMES[node.id])

    def visit_Call(self, node: ast.Call) -> None:
        function = ast.unparse(node.func)
        speaks = SPOKEN.search(function) is not None
        self.spoken += speaks
        for part in (node.func, *node.args[function == "cast" :], *node.keywords):  # the type of a cast does nothing
            self.visit(part)
        self.spoken -= speaks

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self.add(node, repr(node.value + 1))
        elif isinstance(node.value, str):
            if LOOKS_LIKE_SQL.search(node.value):
                self.words(node)
            elif node.value and not PROSE.search(node.value):
                self.add(node, '"broken"')

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        text = ast.unparse(node)
        if LOOKS_LIKE_SQL.search(text):
            self.words(node)
        elif not PROSE.search(text):
            self.add(node, '"broken"')
        for value in node.values:
            if isinstance(value, ast.FormattedValue) and sys.version_info >= (3, 12):  # before, places are wrong there
                self.visit(value.value)

    def words(self, node: ast.expr) -> None:
        """One word of SQL at a time."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)
        for word, other in SQL_WORDS.items():
            for match in re.finditer(re.escape(word), self.source[start:end]):
                self.add(node, other, start + match.start(), word)


def find_mutants(source: str) -> list[Mutant]:
    """Every break that still is a program, once each, in the order of the source."""
    finder = Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda mutant: (mutant.start, mutant.end, mutant.after))


# ---- which tests come through which function ---------------------------------------------------------------

# What a forked importer does first; the functions are written down when it ends, not where it is killed.
RECORD_IN_CHILD = """
import atexit
from mutate import Recorder
recorder = Recorder({place!r}, {test!r})
leave = os._exit
def leaving(code):
    recorder.write(0, 0)
    leave(code)
os._exit = leaving
recorder.begin()
"""


class Recorder:
    """Notes each function of the importer that is called in this process, by any thread."""

    def __init__(self, place: str, test: str) -> None:
        self.place, self.test = place, test
        self.seen: set[CodeType] = set()

    def begin(self) -> None:
        def called(frame: FrameType, event: str, argument: object) -> None:
            self.seen.add(frame.f_code)

        threading.settrace(called)
        sys.settrace(called)

    def write(self, setup: float, seconds: float) -> None:
        sys.settrace(None)
        threading.settrace(None)
        functions = {
            getattr(code, "co_qualname", code.co_name)
            for code in list(self.seen)  # other threads go on
            if Path(code.co_filename).name == SOURCE.name
        }
        said = {"test": self.test, "setup": setup, "seconds": seconds, "functions": sorted(functions)}
        with Path(self.place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


class MapPlugin:
    """For pytest, in each of its workers: records what every test comes through."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.test = ""
        self.setup = 0.0

    def record_children(self) -> None:
        from importer_process import ImporterRun, warm

        warm.lock.acquire()  # for good: in a process of many runs nobody could tell which test comes through what
        start = ImporterRun.__init__

        def recorded(
            run: ImporterRun, arguments: Sequence[str], environment: Mapping[str, str], patch: str = ""
        ) -> None:
            start(run, arguments, environment, RECORD_IN_CHILD.format(place=self.place, test=self.test) + patch)

        mock.patch.object(ImporterRun, "__init__", recorded).start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        group = item.get_closest_marker("xdist_group")
        # of all parameters: pytest does not find every one again by its name
        self.test = item.nodeid.removesuffix(f"@{group.args[0]}" if group else "").partition("[")[0]
        recorder = Recorder(self.place, self.test)
        began = time.monotonic()
        recorder.begin()
        yield
        recorder.write(self.setup, time.monotonic() - began - self.setup)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.setup = time.monotonic() - began


def pytest_configure(config: pytest.Config) -> None:
    """With `-p mutate`: as a plugin."""
    plugin = MapPlugin(os.environ["CCUSAGE_TEST_MAP"])
    plugin.record_children()
    config.pluginmanager.register(plugin)


@dataclass(frozen=True)
class TestCosts:
    """What it costs to run a test, and what for: seconds of its setup and of itself, and the functions it comes through.

    A fixture that many tests of a file share is in the setup of one of them.
    """

    setup: float
    seconds: float
    functions: frozenset[str]


def map_tests() -> dict[str, TestCosts]:
    """Run the whole suite once, and remember it; half of it again is what the recording costs."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "recorded.jsonl"
        environment = os.environ | {"CCUSAGE_TEST_MAP": str(place), "PYTHONPATH": str(ROOT / "tests")}
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "mutate"], cwd=ROOT, env=environment, check=False)
        lines = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    said: dict[str, dict[str, Any]] = {}
    for line in lines:
        test = said.setdefault(line["test"], {"setup": 0.0, "seconds": 0.0, "functions": []})
        names = {name.replace(".<locals>", "") for name in line["functions"]}
        test["functions"] = sorted(names.union(test["functions"]))
        test["setup"] += line["setup"]
        test["seconds"] += line["seconds"]
    TEST_MAP.write_text(json.dumps(said), encoding="utf-8")
    return read_map()


def read_map() -> dict[str, TestCosts]:
    said = json.loads(TEST_MAP.read_text(encoding="utf-8"))
    return {
        test: TestCosts(costs["setup"], costs["seconds"], frozenset(costs["functions"])) for test, costs in said.items()
    }


def tests_through(function: str, known: Mapping[str, TestCosts], patience: float) -> list[str]:
    """The tests that come through a function, the quickest first, as many as are done in so many seconds.

    All tests come through what belongs to no function, and through a function that is newer than the map.
    """
    setups: defaultdict[str, float] = defaultdict(float)  # by file, the longest
    for test, costs in known.items():
        setups[test.partition("::")[0]] = max(setups[test.partition("::")[0]], costs.setup)
    through = [test for test, costs in known.items() if function in costs.functions]

    def price(test: str) -> float:
        return known[test].seconds + setups[test.partition("::")[0]]

    chosen: list[str] = []
    for test in sorted(through or known, key=price):
        if chosen and price(test) > patience:
            break
        patience -= price(test)
        setups[test.partition("::")[0]] = 0  # is paid for
        chosen.append(test)
    return chosen


# ---- trying them ------------------------------------------------------------------------------------------


class Workshop:
    """A copy of the project, in which one break after the other is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for pattern in ("*.py", "*.sql", "*.sh", "*.toml", "README.md", "tests/**/*", "dashboards/*"):
            for path in ROOT.glob(pattern):
                if path.is_file() and "__pycache__" not in path.parts:
                    copy = folder / path.relative_to(ROOT)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, copy)
        (folder / ".cache").symlink_to(ROOT / ".cache")

    def noticed_by(self, source: str, tests: Sequence[str], patience: int) -> str:
        """The first of these tests that fails with this source, or what else is wrong; empty where none does."""
        (self.folder / SOURCE.name).write_text(source, encoding="utf-8")
        said = self.folder / "said.txt"
        process = FORKS.Process(target=run_tests, args=(self.folder, tests, said, patience))
        process.start()
        process.join(20 * patience)  # one that waits for ever; on a busy machine all is slow
        if ended := not process.is_alive():
            code = process.exitcode
        with contextlib.suppress(ProcessLookupError):  # the tests' own children with it
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        if not ended:
            return f"no end after {patience} s"
        if code == 0:
            return ""
        text = said.read_text(encoding="utf-8", errors="replace").strip()
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        return failed[1] if failed else f"exit {code}: {text[-100:]}"


FORKS = multiprocessing.get_context("forkserver")


def run_tests(folder: Path, tests: Sequence[str], said: Path, patience: int) -> None:
    """Run these tests of a copy of the project in this process, which ends."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))
    os.chdir(folder)
    with said.open("w", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    # without bytecode: a break of the same length within a second would not be seen as a change
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis")}
    mine = {ROOT, ROOT / "tests"}
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() not in mine)]
    for name, module in list(sys.modules.items()):  # what was loaded of the whole project before the fork
        if Path(getattr(module, "__file__", None) or ".").parent in mine:
            del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")  # or each importer that the tests fork would load this one
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-n", "0"]
    code = pytest.main([*options, *tests])
    sys.stdout.flush()
    os._exit(code)


def read_memory() -> dict[str, str]:
    """By key: the test that has noticed the break, empty where none has. The last word counts."""
    if not MEMORY.exists():
        return {}
    lines = [json.loads(line) for line in MEMORY.read_text(encoding="utf-8").splitlines()]
    return {line["key"]: line["noticed_by"] for line in lines}


def try_all(mutants: Sequence[Mutant], source: str, jobs: int, patience: int) -> Iterator[tuple[Mutant, str]]:
    """Each break with the test that notices it, as they are done."""
    test_map = read_map() if TEST_MAP.exists() else map_tests()
    lock = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="ccusage-mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        free = [Workshop(Path(folder) / str(number)) for number in range(jobs)]
        if noticed := free[0].noticed_by(source, tests_through("", test_map, min(patience, 30)), patience):
            raise SystemExit(f"the tests fail without a break: {noticed}")

        def attempt(mutant: Mutant) -> str:
            with lock:
                workshop = free.pop()
            try:
                tests = tests_through(mutant.function, test_map, patience)
                return workshop.noticed_by(mutant.applied(source), tests, patience)
            finally:
                with lock:
                    free.append(workshop)

        futures = {pool.submit(attempt, mutant): mutant for mutant in mutants}
        try:
            for future in as_completed(futures):
                mutant, noticed = futures[future], future.result()
                with MEMORY.open("a", encoding="utf-8") as file:
                    file.write(
                        json.dumps({"key": mutant.key, "function": mutant.function, "noticed_by": noticed}) + "\n"
                    )
                yield mutant, noticed
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def chosen(mutants: Sequence[Mutant], options: argparse.Namespace, known: dict[str, str]) -> list[Mutant]:
    sections = options.sections.split(",")
    some = [mutant for mutant in mutants if mutant.section in sections]
    if options.only:
        some = [mutant for mutant in some if options.only in mutant.function.split(".")]
    if options.sample:
        some = random.Random(options.seed).sample(some, min(options.sample, len(some)))
    if options.survivors:
        some = [mutant for mutant in some if known.get(mutant.key) == ""]
    return some


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Break the importer on purpose and tell which breaks no test notices.")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="which of them (default %(default)s)")
    parser.add_argument("--only", metavar="FUNCTION", help="the breaks of one function or class")
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default %(default)s)")
    parser.add_argument("--survivors", action="store_true", help="try those again that no test had noticed")
    parser.add_argument("--jobs", type=int, default=1, help="at the same time (default %(default)s)")
    parser.add_argument(
        "--patience",
        type=int,
        default=PATIENCE,
        metavar="SECONDS",
        help="of the tests that are tried for a break, the quickest first (default %(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="count them, try none")
    options = parser.parse_args(argv)
    source = SOURCE.read_text(encoding="utf-8")
    known = read_memory()
    mutants = chosen(find_mutants(source), options, known)
    if options.list:
        for section, count in Counter(mutant.section for mutant in mutants).items():
            print(f"{section}: {count}")
        return 0
    waiting = [mutant for mutant in mutants if options.survivors or mutant.key not in known]
    for number, (mutant, noticed) in enumerate(
        try_all(waiting, source, options.jobs, options.patience) if waiting else (), 1
    ):
        known[mutant.key] = noticed
        print(f"{number}/{len(waiting)} line {mutant.line} {mutant.function}: {noticed or 'NOT NOTICED'}", flush=True)
    by_section: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_section[mutant.section].append(mutant)
    for some in by_section.values():
        for mutant in some:
            if not known[mutant.key]:
                print(f"\n{SOURCE.name}:{mutant.line} {mutant.function}\n{mutant.diff(source)}")
    print()
    for section, some in by_section.items():
        noticed_count = sum(bool(known[mutant.key]) for mutant in some)
        print(f"{section}: {noticed_count} of {len(some)} breaks noticed, {noticed_count / len(some):.0%}")
    all_noticed = sum(bool(known[mutant.key]) for mutant in mutants)
    return 0 if all_noticed >= TARGET * len(mutants) else 1


if __name__ == "__main__":
    # What takes a while to load is loaded once: each try is a fork of a process that has it. Not the engine, which has
    # threads; and here alone: a process has one such server, and the tests' own has the importer loaded.
    FORKS.set_forkserver_preload(["pytest", "hypothesis", "xdist", "clickhouse_connect", "pandas"])
    raise SystemExit(main())
