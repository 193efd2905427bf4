"""Write sample logs of Claude Code and Codex, and try the importer on them.

    uv run tests/sample_logs.py                      an import of 46 days of sample logs, thrown away after
    uv run tests/sample_logs.py --keep DIR           the same, logs and database stay in DIR
    uv run tests/sample_logs.py -- --dry-run         what follows `--` goes to the importer

The importer runs with a HOME of its own, without CH_HOST and the other settings, so nothing of the
user's is read or written: no logs, no database, no server. Only the download caches of npm and uv are
shared.

What is tried are conversations with prompts, tools, files and sub-agents (conversation_logs.py) and sessions of Codex.
The tests use shorter logs of Claude Code that tell of tokens alone, with what real ones have: several projects (one with a
non-ASCII path), sessions over midnight, sidechains, messages that were streamed and so written several times, a session
that was resumed into a second file, lines that are cut off, and `<synthetic>` messages. The same seed and end give the
same logs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

PROJECTS: tuple[str, ...] = (
    "/home/dev/code/webshop",
    "/home/dev/code/billing-api",
    "/home/dev/src/日本語/データ",
    "/home/dev/src/café-münchen",
    "/home/dev/notes",
)
CLAUDE_MODELS = ("claude-sonnet-4-20250514", "claude-opus-4-20250514", "claude-3-5-haiku-20241022")
CODEX_MODELS = ("gpt-5", "gpt-5-codex")

# Variables that would lead a sandboxed program back to the user's own data.
PRIVATE_VARIABLES = (
    "CH_",
    "CCUSAGE_",
    "XDG_",
    "CLAUDE_CONFIG_DIR",
    "CODEX_HOME",
    "OPENCODE_DATA_DIR",
    "AMP_DATA_DIR",
    "DROID_SESSIONS_DIR",
    "CODEBUFF_DATA_DIR",
    "HERMES_HOME",
    "PI_AGENT_DIR",
    "GOOSE_PATH_ROOT",
    "OPENCLAW_DIR",
    "KILO_DATA_DIR",
    "KIMI_DATA_DIR",
    "QWEN_DATA_DIR",
    "COPILOT_OTEL_FILE_EXPORTER_PATH",
    "GEMINI_DATA_DIR",
    "MACHINE_NAME",
    "HASH_PROJECT_NAMES",
    "PROJECT_HASH_KEY",
)


def memory_folder() -> Path | None:
    """A folder in memory with room to run programs in, if there is one: databases are thousands of small files."""
    folder = Path("/dev/shm")
    with contextlib.suppress(OSError, AttributeError):
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize > 4 * 2**30 and not room.f_flag & os.ST_NOEXEC:
            return folder
    return None


def say(home: Path, session: str, *moments: datetime, model: str = "claude-sonnet-4-20250514") -> None:
    """A response of 100 tokens at each of these."""
    log = home / ".claude" / "projects" / "-p" / f"{session}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    usage = {"input_tokens": 60, "output_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    with log.open("a", encoding="utf-8") as file:
        for at in moments:
            name = f"{session}_{at:%d%H%M}"
            message = {"id": f"msg_{name}", "model": model, "role": "assistant", "usage": usage}
            told: dict[str, Any] = {"type": "assistant", "timestamp": timestamp(at), "sessionId": session}
            told |= {"version": "2.0.14", "uuid": name, "requestId": f"req_{name}", "message": message, "cwd": "/p"}
            file.write(compact(told) + "\n")


def sandbox_environment(home: Path) -> dict[str, str]:
    """The environment of this process, led to `home` and away from the user's own data and server."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PRIVATE_VARIABLES)}
    real_home = Path.home()
    environment.setdefault("UV_CACHE_DIR", str(real_home / ".cache" / "uv"))
    environment.setdefault("npm_config_cache", str(real_home / ".npm"))
    environment.setdefault("npm_config_userconfig", str(real_home / ".npmrc"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python compiles a library once
    environment["HOME"] = str(home)
    return environment


def compact(value: object) -> str:
    """JSON as the agents write it: ccusage 20 looks for `"usage":{` and overlooks a line with blanks in it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def timestamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def claude_folder(project: str) -> str:
    """Claude Code's name for a project's folder: every character but ASCII letters and digits is a dash."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in project)


def claude_session(
    rng: random.Random, project: str, session_id: str, start: datetime, messages: int, until: datetime
) -> Iterator[str]:
    """The lines of one session, streamed repetitions and broken lines included."""
    moment = start
    model = rng.choices(CLAUDE_MODELS, (6, 3, 2))[0]
    sidechain = False
    common = {"userType": "external", "cwd": project, "sessionId": session_id, "version": "2.0.14"}
    for number in range(messages):
        moment += timedelta(seconds=rng.expovariate(1 / 150), milliseconds=rng.randrange(1000))
        if moment >= until:
            return
        if rng.random() < 0.1:
            sidechain = not sidechain
        yield compact(
            common
            | {
                "type": "user",
                "uuid": str(uuid.UUID(int=rng.getrandbits(128))),
                "isSidechain": sidechain,
                "timestamp": timestamp(moment),
                "message": {"role": "user", "content": f"question {number}"},
            }
        )
        used = CLAUDE_MODELS[2] if sidechain else model
        usage: dict[str, Any] = {
            "input_tokens": rng.randrange(3, 4000),
            "cache_creation_input_tokens": rng.choice((0, rng.randrange(20_000))),
            "cache_read_input_tokens": rng.randrange(90_000),
            "output_tokens": rng.randrange(1, 3000),
            "service_tier": "standard",
        }
        message = {
            "id": f"msg_{rng.getrandbits(96):024x}",
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>" if rng.random() < 0.01 else used,
        }
        request_id = f"req_{rng.getrandbits(96):024x}"
        for part in range(rng.choice((1, 1, 2, 3))):  # a streamed message is written again as it grows
            moment += timedelta(milliseconds=rng.randrange(1, 900))
            if moment >= until:
                return
            final_usage = usage | {"output_tokens": usage["output_tokens"] + 7 * part}
            if message["model"] == "<synthetic>":
                final_usage = {key: 0 for key in usage if key != "service_tier"}
            yield compact(
                common
                | {
                    "type": "assistant",
                    "uuid": str(uuid.UUID(int=rng.getrandbits(128))),
                    "isSidechain": sidechain,
                    "timestamp": timestamp(moment),
                    "requestId": request_id,
                    "message": message | {"content": [{"type": "text", "text": "…"}], "usage": final_usage},
                }
            )
        if rng.random() < 0.02:
            yield '{"type":"assistant","timestamp":"' + timestamp(moment) + '","message":{"usage":{"inp'
    yield compact({"type": "summary", "summary": "A session", "leafUuid": "none"})


def codex_session(
    rng: random.Random, session_id: str, start: datetime, messages: int, until: datetime
) -> Iterator[str]:
    """The lines of one Codex rollout: cumulative token counts, reasoning counted beside them."""
    moment = start

    def line(kind: str, payload: dict[str, object]) -> str:
        return compact({"timestamp": timestamp(moment), "type": kind, "payload": payload})

    yield line("session_meta", {"id": session_id, "cwd": PROJECTS[0], "cli_version": "0.46.0"})
    yield line("turn_context", {"cwd": PROJECTS[0], "model": rng.choice(CODEX_MODELS)})
    total = dict.fromkeys(
        ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens", "total_tokens"), 0
    )
    for _ in range(messages):
        moment += timedelta(seconds=rng.expovariate(1 / 120) + 1)
        if moment >= until:
            return
        last = {
            "input_tokens": (fresh := rng.randrange(500, 9000)),
            "cached_input_tokens": rng.randrange(fresh),
            "output_tokens": (output := rng.randrange(20, 2000)),
            "reasoning_output_tokens": rng.randrange(output),
            "total_tokens": fresh + output,
        }
        total = {key: total[key] + last[key] for key in total}
        yield line("event_msg", {"type": "token_count", "info": {"total_token_usage": total, "last_token_usage": last}})


def write_logs(
    home: Path,
    *,
    days: int = 46,
    sessions_per_day: float = 3,
    messages: int = 25,
    seed: int = 7,
    until: datetime | None = None,
    claude: bool = True,
    codex: bool = True,
) -> None:
    """Write `days` days of logs that end at `until` (now by default) under `home`, of one agent or of both.

    Each session file's modification time is its last message's, as Claude Code's own clean-up expects it.
    The last session is always running at `until`, so that one billing block is active.
    """
    until = until or datetime.now(timezone.utc)
    rng = random.Random(seed)
    for day in range(days, -1, -1):
        count = int(sessions_per_day) + (rng.random() < sessions_per_day % 1)
        if day % 7 == 3:  # a day off now and then
            continue
        for _ in range(max(count, day == 0) if claude else 0):
            start = until - timedelta(days=day, hours=rng.uniform(0, 12))
            if day == 0:
                start = until - timedelta(minutes=rng.uniform(5, 100))
            project = rng.choice(PROJECTS)
            session_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            lines = list(claude_session(rng, project, session_id, start, rng.randrange(2, 2 * messages), until))
            folder = home / ".claude" / "projects" / claude_folder(project)
            write_lines(folder / f"{session_id}.jsonl", lines, start)
            if rng.random() < 0.1:  # a resumed session copies what came before into a new file
                write_lines(folder / f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.jsonl", lines, start)
        if codex and day % 2 == 0:
            start = until - timedelta(days=day, hours=rng.uniform(0.5, 8))
            session_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            lines = list(codex_session(rng, session_id, start, rng.randrange(2, messages), until))
            name = f"rollout-{start:%Y-%m-%dT%H-%M-%S}-{session_id}.jsonl"
            write_lines(home / ".codex" / "sessions" / f"{start:%Y/%m/%d}" / name, lines, start)


def write_lines(path: Path, lines: list[str], start: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.utime(path, (start.timestamp(), start.timestamp()))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Try the importer on sample logs, away from your own data.")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep logs and database in this folder")
    parser.add_argument("--days", type=int, default=46, help="days of logs (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="other seed, other logs (default %(default)s)")
    parser.add_argument("arguments", nargs="*", metavar="-- ARGUMENT", help="arguments for the importer")
    options = parser.parse_args(argv)
    import conversation_logs  # is made of parts of this module

    importer = Path(__file__).resolve().parent.parent / "ccusage_importer.py"
    if options.keep and options.keep.exists() and not options.keep.is_dir():
        parser.error(f"--keep: {options.keep} is a file, not a folder")
    with tempfile.TemporaryDirectory(prefix="ccusage-sample-") as scratch:
        home = (options.keep or Path(scratch)).resolve()
        there = (home / ".claude").exists()
        if not there:
            conversation_logs.write_conversations(home, days=options.days, seed=options.seed)
            write_logs(home, days=options.days, seed=options.seed, claude=False)
        print(f"sample logs in {home}{' (they were there already)' if there else ''}", file=sys.stderr)
        command = [sys.executable, str(importer), *options.arguments]
        try:
            code = subprocess.run(command, env=sandbox_environment(home), check=False).returncode
            if options.keep:
                print(
                    f"to ask on: HOME={shlex.quote(str(home))} .venv/bin/ccusage-importer --stats --all",
                    file=sys.stderr,
                )
            return code
        except KeyboardInterrupt:  # the importer has told it
            return 130


if __name__ == "__main__":
    raise SystemExit(main())
