"""Which logs are read, and in what place: the order of paths, which are not stored. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import ccusage_importer as ci
from ccusage_importer import KnownLog, LogFile

READER = 3


def log(project: str, session: str, size: int = 10, modified: int = 100) -> LogFile:
    name = f"{session}.jsonl"
    name_id = int.from_bytes(name.encode()[-8:], "big")
    return LogFile(f"/{project}/{name}", size, modified, f"{project}/{session}", name_id, session, project)


def known_as(file: LogFile, read_at: int = 1) -> KnownLog:
    return KnownLog(
        file.size, file.modified, file.name_id, file.place, READER, file.project_id, read_at, file.session_id
    )


class Machine:
    """Imports of the logs that are there at the time."""

    def __init__(self) -> None:
        self.known: dict[str, KnownLog] = {}
        self.imports = 0

    def read(self, files: Iterable[LogFile]) -> dict[str, LogFile]:
        """What is read of these logs, in the order of their paths, by project and session."""
        self.imports += 1
        planned = ci.plan_logs(sorted(files, key=lambda file: file.path), self.known, READER, False)
        self.known |= {file.file_id: known_as(file, self.imports) for file in planned}
        return {file.file_id: file for file in planned}

    @property
    def order(self) -> list[str]:
        return sorted(self.known, key=lambda file_id: self.known[file_id].place)


def test_places_are_in_the_order_of_paths_whenever_a_log_came() -> None:
    machine = Machine()
    files = [log("b", "2")]
    machine.read(files)
    for project, session in ("a", "1"), ("c", "1"), ("b", "1"), ("b", "3"):
        files.append(log(project, session))
        assert [*machine.read(files)] == [f"{project}/{session}"]
    assert machine.order == ["a/1", "b/1", "b/2", "b/3", "c/1"]
    assert not machine.read(files)


def test_names_that_ascend_import_after_import_find_room() -> None:
    for last in (), (log("z", "1"),):  # at the end of all, and before another
        machine = Machine()
        files = [log("a", "1"), *last]
        for number in range(200):
            machine.read(files)
            files.append(log(f"run-{number:03}", "1"))
        places = [machine.known[file_id].place for file_id in machine.order]
        assert machine.order == sorted(machine.known)
        assert len(set(places)) == len(places)
        assert places[-1] < ci.LAST_PLACE


def test_a_copy_comes_after_its_source_that_is_gone_unless_it_has_the_earlier_path() -> None:
    for copy, order in {
        ("b", "2"): ["a/0", "b/1", "b/2", "c/0"],
        ("b", "0"): ["a/0", "b/0", "b/1", "c/0"],
        # nobody knows the path of another project that is gone: what was there first stays
        ("ab", "0"): ["a/0", "b/1", "ab/0", "c/0"],
    }.items():
        machine = Machine()
        stay = [log("a", "0"), log("c", "0")]
        machine.read([*stay, log("b", "1")])
        machine.read([*stay, log(*copy)])
        assert machine.order == order


def test_a_folder_with_another_name_is_known_again_by_logs_that_can_be_those() -> None:
    machine = Machine()
    machine.read([log("a", "1"), log("m", "1")])
    [moved] = machine.read([log("m", "1"), log("z", "1", size=12, modified=120)]).values()
    assert (moved.place, moved.former) == (machine.known["a/1"].place, ("a",))
    for other in log("z", "1", size=9), log("z", "1", modified=99):  # is shorter, or older
        machine = Machine()
        machine.read([log("a", "1"), log("m", "2")])
        [read] = machine.read([log("m", "2"), other]).values()
        assert (read.former, machine.order) == ((), ["a/1", "m/2", "z/1"])


def test_of_two_logs_with_one_name_the_one_that_stays_is_not_the_one_that_went() -> None:
    machine = Machine()
    old, grown = log("b", "1", modified=50), log("a", "1")
    machine.read([grown, old])
    machine.read([dataclasses.replace(grown, size=20, modified=200), old])
    assert not machine.read([old])
