"""Simulate months of a machine in a minute: whole histories with their faults, held against ccusage on an archive.

    uv run tests/simulator.py                                  a history of 60 days with every switch on
    uv run tests/simulator.py --seeds 20 --jobs 2              seeds 1 to 20, two at a time
    uv run tests/simulator.py --switches each --days 20        every switch by itself
    uv run tests/simulator.py --switches forks,late --seed 3   two of them

A seed makes a history: Claude Code's sessions are written line by line to a live home and to an archive that
never loses one; Claude's clean-up deletes old files of the live home; the real importer runs at random times,
and now and then it is killed, or one of its reports fails. At the end each stored row is held against what
real ccusage says of the archive: tokens, cost, models, times; and the tables against one another.

Nothing is deleted that no import has seen: a log that comes and goes between two imports is nobody's to keep. But
for `sparse` a clean-up even waits until everything has been seen, as it is where imports run every hour.
The clock cannot be shifted: the lines are in the past, and "now" is what the homes hold by then. So a block is
active only at the end of a history that ends now.

The exit code is 1 where something differs; how to run that history again is printed with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
import uuid
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import sample_logs
from conftest import NEW_VERSIONS, NEWEST, OLD_VERSIONS, Machine, Server, install_ccusage
from importer_process import ImporterRun

COST_TOLERANCE = 1e-6  # US dollars


# What a history can be made of, besides the usual work, kills and failing reports that each of them has.
SWITCHES: dict[str, str] = {
    "newer": "ccusage 19 and 20 in turns",
    "versions": "ccusage 15 to 20 in turns",
    "server": "a server that fails, instead of the embedded engine",
    "zones": "another zone than UTC, over a change to or from summer time",
    "short": "logs are cleaned up after 3 days",
    "late": "files that appear days after they were written",
    "sparse": "logs are cleaned up while others of the same days wait for their first import",
    "deleted": "logs deleted by hand",
    "forks": "sessions resumed into a new file, which copies the lines before",
    "agents": "sessions of many days, with sub-agents in files of their own",
    "clock": "work round the clock, so that blocks touch",
    "renamed": "a project's folder gets another name",
    "midnight": "a message streamed over midnight, with an import in between",
    "relayed": "a sub-agent's message repeated in a line of its session",
    "forgotten": "what is before a day is forgotten: its messages, or its rows, too; the rows since are compared",
}

# What is stored may differ from the archive's where all switches of a line meet. To require it: delete the line.
NAME_GONE = "a log that was gone before its folder was renamed stays under the old name: nobody can know the new one"
NOT_YET: dict[frozenset[str], str] = {
    frozenset({"renamed", "deleted"}): NAME_GONE,
    frozenset({"renamed", "short"}): NAME_GONE,
    frozenset({"renamed", "sparse"}): NAME_GONE,
}

# Where all switches of a line meet, these reports have no row that ccusage on the archive could decide: they are held
# against the days alone (see `contradictions`).
OWN_RULE: dict[frozenset[str], set[str]] = {
    # ccusage contradicts itself: `daily` and its projects count a relayed line, the others do not. The days' rule holds
    frozenset({"relayed"}): {"monthly", "session", "blocks"},
    # a log that comes late starts a block earlier, and all blocks after it anew; without their logs they stay
    frozenset({"late", "sparse"}): {"blocks"},
    frozenset({"late", "deleted"}): {"blocks"},
}

# A zone, and the end of a history that is cut by a change of its clocks: by an hour, by half of one, by none.
ZONES = {
    "Europe/Berlin": "2025-11-05T10:20",
    "America/New_York": "2026-03-18T15:40",
    "Australia/Lord_Howe": "2026-04-15T03:10",
    "Pacific/Chatham": "2026-04-12T22:00",
    "Asia/Kolkata": "2026-08-04T09:00",
}
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop_before", "match": "INSERT INTO ccusage_usage"},
    {"kind": "drop_after", "match": "INSERT INTO ccusage_model"},
    {"kind": "drop_after", "match": "DELETE"},
    {"kind": "status", "status": 503, "match": "SELECT"},
    {"kind": "exception", "code": 202, "text": "x. (TOO_MANY_SIMULTANEOUS_QUERIES)", "match": "INSERT"},
    # this one lasts: the import fails, and the next one stores what it has kept
    {"kind": "exception", "code": 243, "text": "x. (NOT_ENOUGH_SPACE)", "match": "INSERT INTO ccusage_u", "times": 99},
    {"kind": "die_after", "match": "INSERT INTO ccusage_usage"},
)


def is_exact(switches: Iterable[str]) -> bool:
    return not any(together <= set(switches) for together in NOT_YET)


# ---- a history: what happens when, from a seed alone ---------------------------------------------------


@dataclass(frozen=True)
class Write:
    """Lines at the end of a log, `folder/file` below projects/; its file gets `modified` as its time."""

    path: str
    text: str
    modified: datetime


@dataclass(frozen=True)
class Fork:
    """A session is resumed into a new file, with the lines of the old one as they are by then."""

    source: str
    path: str
    keeps_id: bool


@dataclass(frozen=True)
class Rename:
    folder: str
    to: str


@dataclass(frozen=True)
class CleanUp:
    days: int


@dataclass(frozen=True)
class DeleteByHand:
    choice: random.Random


@dataclass(frozen=True)
class Forget:
    """What is before a day is forgotten: with `rows` these, too."""

    before: date
    rows: bool


@dataclass(frozen=True)
class Import:
    """A run of the importer. `killed`: after this part of its usual time. `failing`: a word of the command that fails."""

    version: str = NEWEST
    killed: float | None = None
    failing: str = ""
    fault: Mapping[str, Any] = field(default_factory=dict)


Action = Write | Fork | Rename | CleanUp | DeleteByHand | Forget | Import


@dataclass(frozen=True)
class History:
    """What a seed makes. The same arguments give the same history; when a kill hits is the machine's."""

    seed: int
    days: int
    switches: frozenset[str]
    until: datetime
    zone: str
    imports: int
    events: Sequence[tuple[datetime, Action]]

    @property
    def command(self) -> str:
        """How to run it again."""
        names = ",".join(name for name in SWITCHES if name in self.switches) or "none"
        until = f"{self.until:%Y-%m-%dT%H:%M:%S}"
        history = f"--seed {self.seed} --days {self.days} --imports {self.imports} --switches {names} --until {until}"
        return f"uv run tests/simulator.py {history}"


class Writer:
    """Makes the events of one history. Each trait draws from a source of its own: a switch changes nothing else."""

    def __init__(self, seed: int, days: int, switches: frozenset[str], until: datetime, zone: str) -> None:
        self.seed, self.days, self.switches, self.until = seed, days, switches, until
        self.zone = zoneinfo.ZoneInfo(zone)
        self.events: list[tuple[datetime, Action]] = []
        self.sessions: list[tuple[str, str, datetime, datetime]] = []  # project, id, first and last line

    def chances(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}/{what}")

    def local(self, days_ago: int, hour: float) -> datetime:
        """This hour of that day, by the clocks of the zone."""
        day = self.until.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        return (day - timedelta(days=days_ago) + timedelta(hours=hour)).astimezone(timezone.utc)

    def add(self, at: datetime, action: Action) -> None:
        if at <= self.until:
            self.events.append((at, action))

    def session_id(self, rng: random.Random) -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    def talk(
        self, rng: random.Random, project: str, session: str, start: datetime, messages: int, file: str = ""
    ) -> list[str]:
        """Some messages of a session, each line written when it says; returns the lines."""
        lines = list(sample_logs.claude_session(rng, project, session, start, messages, self.until))
        path = f"{sample_logs.claude_folder(project)}/{file or session}.jsonl"
        moment = start
        for line in lines:
            moment = line_time(line) or moment
            self.add(moment, Write(path, line + "\n", moment))
        if not file:
            self.sessions.append((project, session, start, moment))
        return lines

    # -- the traits --

    def usual_work(self) -> None:
        """Two or three sessions a day between morning and evening; some go on after a day or two."""
        rng = self.chances("usual")
        for day in range(self.days, -1, -1):
            for _ in range(rng.choice((0, 2, 2, 3, 3))):
                project, session = rng.choice(sample_logs.PROJECTS), self.session_id(rng)
                start = self.local(day, rng.uniform(8, 18))
                self.talk(rng, project, session, start, rng.randrange(2, 9))
                if rng.random() < 0.2:
                    later = self.local(day - rng.choice((1, 2)), rng.uniform(8, 18))
                    self.talk(rng, project, session, later, rng.randrange(2, 6))
        now = self.until - timedelta(minutes=rng.uniform(10, 90))
        self.talk(rng, rng.choice(sample_logs.PROJECTS), self.session_id(rng), now, 6)

    def late(self) -> None:
        rng = self.chances("late")
        for _ in range(self.days // 4):
            project, session = rng.choice(sample_logs.PROJECTS), self.session_id(rng)
            day = rng.randrange(3, self.days)
            start = self.local(day, rng.uniform(8, 18))
            lines = list(sample_logs.claude_session(rng, project, session, start, rng.randrange(2, 9), self.until))
            modified = max((moment for line in lines if (moment := line_time(line))), default=start)
            path = f"{sample_logs.claude_folder(project)}/{session}.jsonl"
            text = "".join(line + "\n" for line in lines)
            self.add(modified + timedelta(days=rng.uniform(0.5, 2.2)), Write(path, text, modified))

    def forks(self) -> None:
        rng = self.chances("forks")
        for _ in range(self.days // 4):
            project, source, _, end = rng.choice(self.sessions)
            at = end + timedelta(hours=rng.choice((-0.1, 1, 20, 45, 75, 130, 240)))
            fork = self.session_id(rng)
            folder = sample_logs.claude_folder(project)
            self.add(at, Fork(f"{folder}/{source}.jsonl", f"{folder}/{fork}.jsonl", rng.random() < 0.5))
            self.talk(rng, project, fork, at + timedelta(minutes=1), rng.randrange(2, 6))

    def agents(self) -> None:
        """Sessions that go on for many days; each sub-agent's file has its lines within the hour."""
        rng = self.chances("agents")
        for _ in range(max(self.days // 10, 1)):
            project, session = rng.choice(sample_logs.PROJECTS), self.session_id(rng)
            first = rng.randrange(self.days // 2, self.days)
            for day in range(first, max(first - 12, -1), -1):
                start = self.local(day, rng.uniform(9, 17))
                self.talk(rng, project, session, start, rng.randrange(1, 4))
                agent = f"agent-{rng.getrandbits(32):08x}"
                file = rng.choice((session, agent, f"{session}/subagents/{agent}"))
                before = len(self.events)
                self.talk(rng, project, session, start + timedelta(minutes=15), rng.randrange(1, 5), file)
                for number, (at, action) in enumerate(self.events[before:], before):
                    assert isinstance(action, Write)
                    text = action.text.replace('"isSidechain":false', '"isSidechain":true')
                    text = text.replace('"userType"', f'"agentId":"{agent.removeprefix("agent-")}","userType"', 1)
                    self.events[number] = (at, Write(action.path, text, action.modified))

    def clock(self) -> None:
        rng = self.chances("clock")
        moment = self.local(self.days, 6)
        while moment < self.until:
            project, session = rng.choice(sample_logs.PROJECTS), self.session_id(rng)
            for _ in range(rng.randrange(4, 12)):
                self.talk(rng, project, session, moment, 1)
                moment += timedelta(minutes=rng.uniform(20, 100))

    def deleted(self) -> None:
        rng = self.chances("deleted")
        for _ in range(self.days // 4):
            at = self.local(rng.randrange(self.days), rng.uniform(0, 24))
            self.add(at, DeleteByHand(random.Random(rng.random())))

    def renamed(self) -> None:
        rng = self.chances("renamed")
        for project in rng.sample(sample_logs.PROJECTS, 2):
            folder = sample_logs.claude_folder(project)
            self.add(self.local(rng.randrange(self.days), rng.uniform(0, 24)), Rename(folder, f"{folder}-renamed"))

    def midnight(self) -> None:
        rng = self.chances("midnight")
        for day in range(self.days - 1, 0, -3):
            midnight = self.local(day, 0)
            start = midnight - timedelta(minutes=20)
            project, session = rng.choice(sample_logs.PROJECTS), self.session_id(rng)
            lines = self.talk(rng, project, session, start, 2)
            response = json.loads(next(line for line in reversed(lines) if '"requestId"' in line))
            response["requestId"] = response["message"]["id"] = f"midnight_{self.seed}_{day}"
            response["message"]["model"] = sample_logs.CLAUDE_MODELS[0]
            for seconds, tokens in ((-9, 510), (9, 4200)):
                moment = midnight + timedelta(seconds=seconds)
                response["timestamp"] = sample_logs.timestamp(moment)
                response["message"]["usage"] |= {"output_tokens": tokens}
                path = f"{sample_logs.claude_folder(project)}/{session}.jsonl"
                self.add(moment, Write(path, sample_logs.compact(response) + "\n", moment))
            self.add(midnight, Import())

    def relayed(self) -> None:
        """Half of the relayed messages are in a file of the sub-agent's own, too."""
        rng = self.chances("relayed")
        for project, session, start, _ in rng.sample(self.sessions, min(len(self.sessions), self.days // 2)):
            agent = f"agent-{rng.getrandbits(32):08x}"
            folder = sample_logs.claude_folder(project)
            for line in list(sample_logs.claude_session(rng, project, session, start, 3, self.until)):
                moment = line_time(line)
                if moment is None or not line.endswith("}"):
                    continue
                message = json.loads(line) | {"isSidechain": True, "agentId": agent.removeprefix("agent-")}
                common = {name: message[name] for name in ("cwd", "sessionId", "version", "timestamp", "uuid")}
                relay = {**common, "type": "progress", "data": {"type": "agent_progress", "message": message}}
                self.add(moment, Write(f"{folder}/{session}.jsonl", sample_logs.compact(relay) + "\n", moment))
                if int(agent[-1], 16) % 2:
                    path = f"{folder}/{session}/subagents/{agent}.jsonl"
                    self.add(moment, Write(path, sample_logs.compact(message) + "\n", moment))

    # -- what is done with the logs --

    def forgotten(self) -> None:
        """After an import: a run of --forget stores nothing."""
        rng = self.chances("forgotten")
        at = self.until - timedelta(days=self.days * rng.uniform(0.2, 0.6))
        self.add(at, Import())
        self.add(at, Forget((at - timedelta(days=rng.choice((0, 1, 2, 4, 9)))).date(), rng.random() < 0.5))

    def clean_ups(self) -> None:
        days = 3 if "short" in self.switches else min(30, self.days // 2)
        for day in range(self.days, -1, -1):
            self.add(self.local(day, 7), CleanUp(days))

    def imports(self, count: int) -> None:
        rng = self.chances("imports")
        versions = [*OLD_VERSIONS, *NEW_VERSIONS] if "versions" in self.switches else list(NEW_VERSIONS)
        if not self.switches & {"newer", "versions"}:
            versions = [NEWEST]
        if any(self.local(day, 0).minute for day in range(self.days)) and "19.0.3" in versions:
            versions.remove("19.0.3")  # it cuts days wrongly where the zone's hours are not UTC's
        start = self.local(self.days, 0)
        for number in range(count):
            killed, failing = (
                rng.uniform(0.3, 1.1),
                rng.choice(("daily", "monthly", "session", "blocks", "--instances")),
            )
            how = Import(rng.choice(versions))
            if number % 3 == 0:
                how = dataclasses.replace(how, killed=killed)
            elif number % 6 == 1:
                how = dataclasses.replace(how, failing=failing)
            elif number % 2 == 0 and "server" in self.switches:
                how = dataclasses.replace(how, fault=rng.choice(FAULTS))
            self.add(start + (self.until - start) * rng.random(), how)


def line_time(line: str) -> datetime | None:
    match = re.search(r'"timestamp":"([^"]+)Z"', line)
    return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc) if match else None


def make_history(
    seed: int, days: int = 60, switches: Iterable[str] = (), until: datetime | None = None, imports: int | None = None
) -> History:
    """The history of a seed; with `zones` it ends where its zone has something to show, else at `until` (now)."""
    chosen = frozenset(switches)
    zone = "UTC"
    if "zones" in chosen:
        zone = random.Random(seed).choice(list(ZONES))
        until = until or datetime.fromisoformat(ZONES[zone]).replace(tzinfo=timezone.utc)
    until = until or datetime.now(timezone.utc).replace(microsecond=0)
    writer = Writer(seed, days, chosen, until, zone)
    writer.usual_work()
    for trait in ("clock", "agents", "forks", "late", "midnight", "relayed", "deleted", "renamed", "forgotten"):
        if trait in chosen:
            getattr(writer, trait)()
    writer.clean_ups()
    count = days // 2 if imports is None else imports
    writer.imports(count)
    events = sorted(writer.events, key=lambda event: event[0])  # stable: what was added first comes first
    last: list[tuple[datetime, Action]] = [(until, Import())] * 3  # after the first a clean-up may come that has waited
    return History(seed, days, chosen, until, zone, count, [*events, *last])


# ---- running it ----------------------------------------------------------------------------------------


class Simulation:
    """One history, lived through in a folder of its own."""

    def __init__(self, history: History, folder: Path) -> None:
        self.history = history
        self.folder = folder
        self.live, self.archive = (folder / home / ".claude" / "projects" for home in ("live", "archive"))
        self.live.mkdir(parents=True)
        self.archive.mkdir(parents=True)
        self.server = Server(folder / "server") if "server" in history.switches else None
        settings = {"CCUSAGE_TIMEZONE": history.zone, "MACHINE_NAME": "m", "CCUSAGE_USER": "u"}
        self.machine = Machine(folder / "live", settings=settings, server=self.server)
        self.renamed: dict[str, str] = {}
        self.forked: list[tuple[str, str]] = []  # source and fork
        self.unseen: set[Path] = set()  # live logs with lines that no import has taken
        self.seconds: defaultdict[str, float] = defaultdict(lambda: 1.0)  # of an import, by version of ccusage
        self.forgotten: Forget | None = None
        self.waiting: CleanUp | None = None  # until everything has been seen
        self.problems: list[str] = []
        self.happened: Counter[str] = Counter()

    def run(self) -> list[str]:
        """Live through it; returns what is wrong, in lines to print."""
        try:
            for at, action in self.history.events:
                self.act(at, action)
            return [*self.problems, *self.compare()]
        finally:
            if self.server:
                self.server.stop()

    def act(self, at: datetime, action: Action) -> None:
        if isinstance(action, Write):
            self.write(action.path, action.text, action.modified)
            return
        self.happened[type(action).__name__] += 1
        if isinstance(action, Import):
            self.run_import(at, action)
        elif isinstance(action, Forget):
            self.forgotten = action
            before = ["--forget", "--before", str(action.before), "--yes", "--quiet"]
            result = self.machine.run(*before, *(() if action.rows else ("--conversations",)))
            if result.returncode:
                self.problems.append(f"{' '.join(before)} exited {result.returncode}: {result.stderr.strip()}")
        elif isinstance(action, CleanUp):
            self.waiting = action
            self.clean_up(at)
        elif isinstance(action, DeleteByHand):
            logs = self.logs()
            self.delete(action.choice.sample(logs, min(len(logs), 3)))
        elif isinstance(action, Fork):
            source = self.live / self.place(action.source)
            if source.exists():
                text = source.read_text(encoding="utf-8")
                if not action.keeps_id:
                    text = text.replace(source.stem, Path(action.path).stem)
                self.write(action.path, text, at)
                self.forked.append((self.place(action.source), self.place(action.path)))
        else:
            self.rename(action.folder, action.to)

    # -- the two homes --

    def logs(self) -> list[Path]:
        return sorted(self.live.rglob("*.jsonl"))

    def place(self, path: str) -> str:
        """Where a log is by now."""
        folder, _, file = path.partition("/")
        return f"{self.renamed.get(folder, folder)}/{file}"

    def write(self, path: str, text: str, modified: datetime) -> None:
        place = self.place(path)
        if place != path:
            self.move_in_archive(path, place)
        for home in (self.live, self.archive):
            log = home / place
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(text)
        os.utime(self.live / place, (modified.timestamp(), modified.timestamp()))
        self.unseen.add(self.live / place)

    def clean_up(self, at: datetime) -> None:
        if self.waiting and (not self.unseen or "sparse" in self.history.switches):
            limit = (at - timedelta(days=self.waiting.days)).timestamp()
            self.delete(path for path in self.logs() if path.stat().st_mtime < limit)
            self.waiting = None

    def delete(self, logs: Iterable[Path]) -> None:
        for log in logs:
            if log not in self.unseen:
                log.unlink()
                self.happened["log deleted"] += 1

    def rename(self, folder: str, to: str) -> None:
        """In the archive only what the live home still has gets the new name, whole sessions of it.

        It is left where a fork is there and its source is not, or the other way round: which of both has the messages
        they share is by their paths, and nobody could tell the path of the one that is gone.
        """
        pairs = [pair for pair in self.forked if pair[0].startswith(f"{folder}/")]
        if any((self.live / one).exists() != (self.live / other).exists() for one, other in pairs):
            return
        self.renamed[folder] = to
        if not (self.live / folder).is_dir():
            return
        for log in (self.live / folder).rglob("*.jsonl"):
            place = log.relative_to(self.live).as_posix()
            self.move_in_archive(place, self.place(place))
        (self.live / folder).rename(self.live / to)
        # a log that goes before an import has met it under its new name stays under the old one for ever
        self.unseen = {log for log in self.unseen if log.exists()} | set((self.live / to).rglob("*.jsonl"))

    def move_in_archive(self, path: str, place: str) -> None:
        """A session is in one project: its file takes those of its sub-agents along, and they it."""
        session = Path(path).parts[1].removesuffix(".jsonl")
        for name in (session, f"{session}.jsonl"):
            old, new = (self.archive / Path(which).parts[0] / name for which in (path, place))
            if old.exists() and not new.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.rename(new)

    # -- imports --

    def saved_reports(self) -> set[Path]:
        """Whole reports that an import has kept for the next one."""
        manifests = (self.folder / "live").rglob("pending/*/manifest.json")
        return {path for path in manifests if not json.loads(path.read_text(encoding="utf-8"))["errors"]}

    def run_import(self, at: datetime, how: Import) -> None:
        taken = set(self.unseen)
        saved_before = self.saved_reports()
        code, said = self.run_importer(how)
        allowed = {0}
        if how.killed is not None:
            allowed = {0, -9}
        elif how.failing:
            allowed = {3}
        elif how.fault:
            allowed = {0, 1}
        if code not in allowed or "Traceback" in said:
            self.problems.append(f"the import of {at:%Y-%m-%d %H:%M} by {how} exited {code}: {said.strip()}")
        self.happened[f"exit {code}"] += 1
        # one that was killed after it had saved its reports has seen the logs, too: the next import stores them
        if code == 0 or self.saved_reports() - saved_before:
            self.unseen -= taken
            self.clean_up(at)

    def run_importer(self, how: Import) -> tuple[int, str]:
        """Exit code and stderr of one run."""
        self.machine.version = how.version
        environment = self.machine.environment()
        if how.failing:
            environment["CCUSAGE_BIN"] = self.machine.failing_ccusage(how.failing)
        if how.fault and self.server:
            self.server.fail(dict(how.fault))
        started = time.monotonic()
        run = ImporterRun(["--quiet"], environment)
        if how.killed is not None and not run.ends_in(how.killed * self.seconds[how.version]):
            run.kill()
        while self.server and self.server.process and not run.ends_in(0.05):
            if self.server.process.poll() is not None:  # a fault has ended it
                self.server.start()
        result = run.result()
        if self.server:
            self.server.fail()
        if how == Import(how.version):
            self.seconds[how.version] = time.monotonic() - started
        return result.returncode, result.stderr

    # -- the end --

    def compare(self) -> Iterator[str]:
        """What is stored against ccusage on the archive, and the tables against one another."""
        if left := self.saved_reports():
            yield f"{len(left)} saved reports were never imported"
        stored = read_stored(self.machine)
        switches = self.history.switches
        if is_exact(switches):
            archive = Machine(self.folder / "archive", settings=self.machine.settings)
            own_rule = {name for together, names in OWN_RULE.items() if together <= switches for name in names}
            # 19.0.3 tells no first activity, 15 to 19 the day of the last
            unknown = {"first", "last"} if switches & {"newer", "versions"} else set()
            truth = ask_ccusage(archive)
            for report in (name for name in truth if name not in own_rule):
                ours, theirs = since(self.forgotten, report, stored[report], truth[report])
                yield from differences(report, ours, theirs, unknown)
        yield from contradictions(stored, is_exact(switches) and self.forgotten is None)
        new, changed = self.machine.query(
            "SELECT toInt64(arraySum(mapValues(rows_new))), toInt64(arraySum(mapValues(rows_changed)))"
            " FROM ccusage_import_history ORDER BY created_at DESC, import_timestamp DESC LIMIT 1"
        )[0]
        if new or changed > 1:  # the active block's burn rate
            yield f"an import with nothing new wrote {new} new and {changed} changed rows"


Rows = dict[str, dict[str, Any]]  # by key: values by column


def since(forgotten: Forget | None, report: str, *both: Rows) -> list[Rows]:
    """Those that are whole though what is before a day is forgotten; of months all: they stay, and grow."""
    if forgotten is None or report == "monthly":
        return list(both)
    # a day after, for zones; what was cut then may be cut otherwise for five hours more
    border = datetime.combine(forgotten.before + timedelta(days=2), datetime.min.time(), timezone.utc).timestamp()
    begins = {"session": "first", "blocks": "start"}.get(report)
    parts = {
        key
        for rows in both
        for key, row in rows.items()
        if (key < str(forgotten.before) if begins is None else row[begins] <= border or row.get("gap"))
    }
    return [{key: row for key, row in rows.items() if key not in parts} for rows in both]


TOKENS = ("input", "output", "cache created", "cache read", "total")
STORED_COLUMNS = {
    "daily": ("ccusage_usage_daily", "toString(date)", "total_cost", {}),
    "monthly": ("ccusage_usage_monthly", "month", "total_cost", {}),
    "session": (
        "ccusage_usage_sessions",
        "session_id",
        "total_cost",
        {
            "project": "project_path",
            "first": "toUnixTimestamp(first_activity)",
            "last": "toUnixTimestamp(last_activity)",
        },
    ),
    "blocks": (
        "ccusage_usage_blocks",
        "block_id",
        "cost_usd",
        {
            "start": "toUnixTimestamp(start_time)",
            "end": "toUnixTimestamp(end_time)",
            "last": "toUnixTimestamp(actual_end_time)",
            "entries": "entries",
            "gap": "is_gap",
        },
    ),
    "projects": ("ccusage_usage_projects_daily", "concat(toString(date), '/', project_id)", "total_cost", {}),
}
RECORD_TYPES = {"session": "session", "blocks": "block", "projects": "project_daily"}


def read_stored(machine: Machine) -> dict[str, Rows]:
    """Every stored usage row by report and key, its models beside it."""
    tokens = "input_tokens, output_tokens, cache_creation_tokens, cache_read_tokens, total_tokens"
    statements = [
        f"SELECT {', '.join((key, tokens, cost, *more.values()))} FROM {table} FINAL ORDER BY ALL"
        for table, key, cost, more in STORED_COLUMNS.values()
    ]
    statements.append(
        f"SELECT toString(record_type), record_key, model_name, {tokens}, cost FROM ccusage_model_breakdowns FINAL"
    )
    statements.append("SELECT toString(record_type), record_key, model_name FROM ccusage_models_used FINAL")
    *reports, breakdowns, models = machine.queries(statements)
    stored: dict[str, Rows] = {}
    for (name, (_, _, _, more)), answer in zip(STORED_COLUMNS.items(), reports, strict=True):
        names = (*TOKENS, "cost", *more)
        stored[name] = {key: {"models": [], **dict(zip(names, values, strict=True))} for key, *values in answer}
    report_of = {RECORD_TYPES.get(name, name): name for name in stored}
    nobody: Rows = defaultdict(lambda: {"models": []})
    for record_type, key, model, *values in breakdowns:
        row = stored[report_of[record_type]].get(key) or nobody[f"{record_type} {key}"]
        row |= {f"{model} {name}": value for name, value in zip((*TOKENS, "cost"), values, strict=True)}
    for record_type, key, model in models:
        (stored[report_of[record_type]].get(key) or nobody[f"{record_type} {key}"])["models"].append(model)
    for rows in stored.values():
        for row in rows.values():
            row["models"] = sorted(row["models"])
    if nobody:
        stored["models without a row"] = nobody
    return stored


def ask_ccusage(machine: Machine) -> dict[str, Rows]:
    """The same of what ccusage says of a machine's logs."""
    commands = ("claude daily", "claude monthly", "claude session", "blocks", "claude daily --instances")
    zone = machine.settings["CCUSAGE_TIMEZONE"]

    def ask(command: str) -> Any:
        line = [str(install_ccusage(NEWEST)), *command.split(), "--json", "--offline", "--timezone", zone]
        result = subprocess.run(line, env=machine.environment(), capture_output=True, text=True, check=True)
        return json.loads(result.stdout)

    with ThreadPoolExecutor(2) as pool:
        daily, monthly, session, blocks, projects = pool.map(ask, commands)
    return {
        "daily": {row["date"]: told_row(row) for row in daily["daily"]},
        "monthly": {row["month"]: told_row(row) for row in monthly["monthly"]},
        "session": {
            row["sessionId"]: told_row(row)
            | {
                "project": private_name(row["projectPath"]),
                "first": epoch(row["firstActivity"]),
                "last": epoch(row["lastActivity"]),
            }
            for row in session["sessions"]
        },
        "blocks": {row["id"]: told_block(row) for row in blocks["blocks"]},
        "projects": {
            f"{row['date']}/{private_name(project)}": told_row(row)
            for project, rows in projects["projects"].items()
            for row in rows
        },
    }


def told_row(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
    told = dict(zip(TOKENS, (row[name] for name in (*parts, "totalTokens")), strict=True))
    told |= {"cost": row["totalCost"], "models": real_models(row["modelsUsed"])}
    for part in row["modelBreakdowns"]:
        if real_models([part["modelName"]]):
            numbers = [part[name] for name in parts]
            values = zip((*TOKENS, "cost"), (*numbers, sum(numbers), part["cost"]), strict=True)
            told |= {f"{part['modelName']} {name}": value for name, value in values}
    return told


def told_block(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = row["tokenCounts"]
    parts = ("inputTokens", "outputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")
    told = dict(zip(TOKENS, (*(counts[name] for name in parts), row["totalTokens"]), strict=True))
    return told | {
        "cost": row["costUSD"],
        "models": real_models(row["models"]),
        "start": epoch(row["startTime"]),
        "end": epoch(row["endTime"]),
        "last": epoch(row["actualEndTime"]),
        "entries": row["entries"],
        "gap": int(row["isGap"]),
    }


def without_gaps(rows: Rows) -> Rows:
    return {key: row for key, row in rows.items() if not row.get("gap")}


def real_models(names: Iterable[str]) -> list[str]:
    return sorted(set(names) - {"<synthetic>"})


def private_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def epoch(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()) if moment else None


# ---- what differs --------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return left is not None and right is not None and abs(left - right) <= COST_TOLERANCE
    return bool(left == right)


def differences(report: str, stored: Rows, truth: Rows, unknown: Iterable[str] = ()) -> Iterator[str]:
    """A line for each value that differs: report, key, column, what is stored, what ccusage says."""
    for key in sorted(stored.keys() | truth.keys()):
        ours, theirs = stored.get(key), truth.get(key)
        if ours is None or theirs is None:
            row = ours or theirs or {}
            said = f"{row.get('total', 0):,} tokens"
            yield table_line(report, key, "row", *(("none", said) if ours is None else (said, "none")))
            continue
        for column in sorted((ours.keys() | theirs.keys()) - set(unknown)):
            if not same(ours.get(column), theirs.get(column)):
                yield table_line(report, key, column, ours.get(column), theirs.get(column))


def table_line(report: str, key: str, column: str, ours: Any, theirs: Any) -> str:
    numbers = (f"{value:,}" if isinstance(value, int) else str(value) for value in (ours, theirs))
    return f"{report:<8} {key:<40} {column:<34} " + " ".join(f"{number:>22}" for number in numbers)


HEADER = table_line("report", "key", "column", "stored", "ccusage")


def contradictions(stored: Mapping[str, Rows], exact: bool) -> Iterator[str]:
    """Where the tables contradict one another. A month is never less than its days, and blocks never overlap.

    Where rows are exact the sums of months, projects and blocks are those of the days.
    """
    days = stored["daily"]
    months = add_up((key[:7], row) for key, row in days.items())
    for month, row in sorted(months.items()):
        told = stored["monthly"].get(month, {"total": 0, "cost": 0.0})
        if told["total"] < row["total"] or told["cost"] < row["cost"] - COST_TOLERANCE:
            yield table_line("monthly", month, "less than its days", told["total"], row["total"])
    # not the gaps: ccusage's own may lie within a block (five hours after one message, to the next)
    spans = sorted((row["start"], row["end"], key) for key, row in without_gaps(stored["blocks"]).items())
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            yield f"blocks {one} and {other} overlap"
    if exact:
        for key in stored.get("models without a row", ()):
            yield f"models without a row: {key}"
        sums = {
            "months and days": (stored["monthly"], months),
            "projects and days": (add_up((key[:10], row) for key, row in stored["projects"].items()), days),
            "blocks and days": (add_up(("all", row) for row in stored["blocks"].values()), all_days(days)),
            "sessions and days": (add_up(("all", row) for row in stored["session"].values()), all_days(days)),
        }
        for what, (ours, theirs) in sums.items():
            for key in sorted(ours.keys() | theirs.keys()):
                left, right = ours.get(key, {}).get("total", 0), theirs.get(key, {}).get("total", 0)
                if left != right:
                    yield f"{what} differ: {key}: {left:,} and {right:,} tokens"


def all_days(days: Rows) -> Rows:
    return add_up(("all", row) for row in days.values())


def add_up(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Rows:
    """Tokens and cost of rows by the key given with each."""
    sums: Rows = {}
    for key, row in rows:
        sum_ = sums.setdefault(key, {"total": 0, "cost": 0.0})
        sum_["total"] += row["total"]
        sum_["cost"] += row["cost"]
    return sums


# ---- the command ---------------------------------------------------------------------------------------


def simulate(history: History, keep: Path | None = None) -> tuple[list[str], Counter[str]]:
    """Live through a history; returns what is wrong, with how to run it again, and how often what happened."""
    with tempfile.TemporaryDirectory(prefix="ccusage-simulation-") as scratch:
        folder = keep / f"seed-{history.seed}" if keep else Path(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        simulation = Simulation(history, folder)
        problems = simulation.run()
    if problems:
        more = [f"... and {len(problems) - 40} more"] if len(problems) > 40 else []
        problems = [history.command, f"zone {history.zone}", HEADER, *problems[:40], *more]
    return problems, simulation.happened


def read_switches(text: str) -> list[frozenset[str]]:
    """The sets of switches that a command line asks for."""
    if text == "each":
        return [frozenset({name}) for name in SWITCHES]
    words = {
        "all": set(SWITCHES) - {"newer", "forgotten"},
        "none": set(),
        "exact": {n for n in SWITCHES if is_exact([n])},
    }
    chosen = words.get(text, set(text.split(",")))
    if unknown := chosen - SWITCHES.keys():
        raise SystemExit(
            f"no switch {', '.join(sorted(unknown))}; known: all, exact, each, none, {', '.join(SWITCHES)}"
        )
    return [frozenset(chosen)]


def main(argv: Sequence[str] | None = None) -> int:
    described = "\n".join(f"  {name:<9} {about}" for name, about in SWITCHES.items())
    not_yet = "\n".join(f"  {', '.join(sorted(names))}: {why}" for names, why in NOT_YET.items())
    parser = argparse.ArgumentParser(
        description="Simulate histories of a machine and hold what is stored against ccusage on an archive.",
        epilog=f"switches:\n{described}\n\nwhat may differ yet:\n{not_yet}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other (default %(default)s)")
    parser.add_argument("--days", type=int, default=60, help="days of each history (default %(default)s)")
    parser.add_argument("--imports", type=int, help="imports of each history (default: one for two days)")
    parser.add_argument("--switches", default="all", help="all, exact, each (one at a time), none, or a comma list")
    parser.add_argument("--until", type=datetime.fromisoformat, help="end of the history, UTC (default: now)")
    parser.add_argument(
        "--require", action="store_true", help="require exact rows of every switch, also of those that differ yet"
    )
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep homes and databases in this folder")
    parser.add_argument("--jobs", type=int, default=1, help="histories at the same time (default %(default)s)")
    options = parser.parse_args(argv)
    if options.require:
        NOT_YET.clear()
    until = options.until.replace(tzinfo=timezone.utc) if options.until else None
    histories = [
        make_history(seed, options.days, switches, until, options.imports)
        for switches in read_switches(options.switches)
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    failed = 0
    # in processes: one has the embedded engine of one history alone
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        told = pool.map(functools.partial(simulate, keep=options.keep), histories)
        for history, (problems, happened) in zip(histories, told, strict=True):
            failed += bool(problems)
            names = ",".join(sorted(history.switches)) or "none"
            what = ", ".join(f"{name} {count}" for name, count in sorted(happened.items()))
            print(f"seed {history.seed} ({names}): {'DIFFERS' if problems else 'ok'}; {what}", flush=True)
            for line in problems:
                print(f"  {line}", flush=True)
    print(f"{len(histories) - failed} of {len(histories)} histories as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
