"""Write conversations of Claude Code as its versions write them to their logs.

    uv run tests/conversation_logs.py DIR            46 days of logs in DIR/.claude
    uv run tests/conversation_logs.py DIR --broken   with broken lines and odd values among them

Three families of versions (1.x, 2.0, 2.1) differ in where the lines of a sub-agent are, in what a line says besides, and
in how much is written that is no conversation. In all of them a response is one line for each of its blocks, with
usage that grows; parallel tools answer out of order; sessions are resumed and forked into other files; people
interrupt, refuse and change what a tool wants to do. The same seed and end give the same logs.

With a `canary` every text, path, branch, command and name holds that word, and so do the fields that real logs put
anything into: what is stored of such logs may nowhere contain it.
"""

from __future__ import annotations

import argparse
import random
import sys
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sample_logs import claude_folder, compact, timestamp, write_lines

PROJECTS = ("/home/dev/code/webshop", "/home/dev/code/billing-api", "/home/dev/src/日本語/データ", "/home/dev/notes")
BRANCHES = ("main", "main", "master", "feature/checkout", "fix/umlaut-ü")
WORDS = (
    "the",
    "of",
    "tests",
    "a",
    "cache",
    "and",
    "order",
    "why",
    "'quoted'",
    "“für”",
    "fix",
    "{braces}",
    "\\n",
    "price",
)
FILES = (
    "src/cart.py",
    "src/orders.py",
    "web/app.ts",
    "web/main.css",
    "README.md",
    "Makefile",
    "db/schema.sql",
    "a.weird",
)
COMMANDS = ("git status", "pytest -q tests", "npm run build", "ls -la", "cd web && npx tsc", "FOO=1 ./run.sh", "make")
AGENT_TYPES = ("Explore", "general-purpose", "Plan", "shop-reviewer")
BROKEN_SHARE = 0.04


@dataclass(frozen=True)
class Form:
    """What a version of Claude Code writes. `agents`: sub-agents' lines are inside the session's file, beside or below it."""

    version: str
    agents: str
    models: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        return self.agents == "below"


FORMS = (
    Form("1.0.24", "inside", ("claude-sonnet-4-20250514", "claude-opus-4-20250514", "claude-3-5-haiku-20241022")),
    Form("1.0.113", "inside", ("claude-sonnet-4-20250514", "claude-opus-4-1-20250805", "claude-3-5-haiku-20241022")),
    Form("2.0.14", "beside", ("claude-sonnet-4-5-20250929", "claude-opus-4-1-20250805", "claude-haiku-4-5-20251001")),
    Form("2.0.76", "beside", ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")),
    Form("2.1.5", "below", ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")),
    Form("2.1.31", "below", ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")),
)


class NowIsReachedError(Exception):
    """The conversation has come to the end of the time that the logs are for."""


@dataclass
class Author:
    """Where chance and words come from."""

    rng: random.Random
    canary: str = ""

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def text(self, most: int = 20) -> str:
        words = self.rng.choices(WORDS, k=self.rng.randrange(1, most))
        return " ".join([self.canary, *words] if self.canary else words)

    def lines(self, count: int) -> list[str]:
        return [self.text(6) for _ in range(count)]

    def name(self, plain: str) -> str:
        return f"{self.canary}-{plain}" if self.canary else plain

    def path(self, plain: str) -> str:
        folder, _, file = plain.rpartition("/")
        if not self.canary:
            return plain
        return f"{folder}/{self.canary}/{self.canary}-{file}"

    def identifier(self, prefix: str) -> str:
        return f"{prefix}{self.rng.getrandbits(96):024x}"

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


@dataclass
class Conversation:
    """One session as it goes on: `files` has its lines by path below the folder of the project."""

    author: Author
    form: Form
    cwd: str
    clock: datetime
    until: datetime
    disputed: bool = True
    session_id: str = ""
    branch: str = ""
    files: dict[str, list[str]] = field(default_factory=dict)
    parent: str | None = None
    sidechain: bool = False
    agent_id: str = ""
    into: str = ""
    relay_of: str = ""
    context: int = 0
    idle_since: datetime | None = None

    def __post_init__(self) -> None:
        self.session_id = self.author.uuid()
        self.branch = self.author.rng.choice(BRANCHES)
        if self.author.canary and self.branch not in ("main", "master"):
            self.branch = self.author.name(self.branch)
        self.into = f"{self.session_id}.jsonl"
        self.context = self.author.rng.randrange(9_000, 20_000)

    def wait(self, seconds: float) -> None:
        self.clock += timedelta(milliseconds=max(1, round(1000 * self.author.rng.expovariate(1 / seconds))))
        if self.clock >= self.until:
            raise NowIsReachedError

    def write(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A line with what most lines have, linked to the one before it."""
        line: dict[str, Any] = {
            "parentUuid": self.parent,
            "isSidechain": self.sidechain,
            "userType": "external",
            "cwd": self.cwd,
            "sessionId": self.session_id,
            "version": self.form.version,
            "gitBranch": self.branch,
            "type": kind,
            "uuid": self.author.uuid(),
            "timestamp": timestamp(self.clock),
        }
        if self.agent_id and self.form.agents != "inside":
            line["agentId"] = self.agent_id
        line |= fields
        self.parent = line["uuid"]
        self.files.setdefault(self.into, []).append(compact(line))
        if self.relay_of and self.disputed and kind in ("user", "assistant"):
            self.write_relay(line)
        return line

    def write_relay(self, line: dict[str, Any]) -> None:
        """The session's own file repeats its sub-agent's message, usage and all."""
        inner = {name: line[name] for name in ("type", "message", "requestId", "uuid", "timestamp") if name in line}
        relay = {
            "parentUuid": line["parentUuid"],
            "isSidechain": False,
            "userType": "external",
            "cwd": self.cwd,
            "sessionId": self.session_id,
            "version": self.form.version,
            "gitBranch": self.branch,
            "type": "progress",
            "data": {
                "type": "agent_progress",
                "prompt": self.author.text(),
                "agentId": self.agent_id,
                "message": inner,
                "normalizedMessages": [],
            },
            "toolUseID": self.author.identifier("agent_msg_"),
            "parentToolUseID": self.relay_of,
            "uuid": self.author.uuid(),
            "timestamp": line["timestamp"],
        }
        self.files.setdefault(f"{self.session_id}.jsonl", []).append(compact(relay))

    def write_plain(self, **fields: Any) -> None:
        """A line that is no message: without the fields that most lines have."""
        self.files.setdefault(self.into, []).append(compact(fields))

    # ---- what people do ---------------------------------------------------------------------------------

    def prompt(self) -> None:
        content: Any = self.author.text(60)
        if self.author.chance(0.2):
            content = [{"type": "text", "text": content}]
            if self.author.chance(0.3):
                source = {"type": "base64", "media_type": "image/png", "data": self.author.name("iVBORw0KGgo=")}
                content.append({"type": "image", "source": source})
        extra = {"permissionMode": "default", "promptId": self.author.uuid()} if self.form.is_new else {}
        self.write("user", message={"role": "user", "content": content}, **extra)

    def command(self) -> None:
        """A slash command: what was typed, and what the program itself says to it."""
        name = self.author.rng.choice(("clear", "model", self.author.name("deploy"), "review"))
        text = (
            f"<command-name>/{name}</command-name>\n            <command-message>{name}</command-message>\n            "
        )
        text += f"<command-args>{self.author.text(4)}</command-args>"
        self.write("user", message={"role": "user", "content": text})
        said = f"<local-command-stdout>{self.author.text()}</local-command-stdout>"
        self.write("user", message={"role": "user", "content": said})

    def note(self) -> None:
        """What the program puts in, as if it had been typed."""
        text = f"Caveat: {self.author.text()}"
        self.write("user", message={"role": "user", "content": text}, isMeta=True)

    def interruption(self) -> None:
        text = f"[Request interrupted by user{self.author.rng.choice(('', ' for tool use'))}]"
        self.write("user", message={"role": "user", "content": [{"type": "text", "text": text}]})

    def compaction(self) -> None:
        trigger = self.author.rng.choice(("auto", "manual"))
        metadata = {"trigger": trigger, "preTokens": self.context}
        before, self.parent = self.parent, None
        self.write(
            "system",
            subtype="compact_boundary",
            content="Conversation compacted",
            isMeta=False,
            level="info",
            compactMetadata=metadata,
            logicalParentUuid=before,
        )
        summary = {"role": "user", "content": f"Summary of what was said before: {self.author.text(80)}"}
        self.write("user", message=summary, isCompactSummary=True, isVisibleInTranscriptOnly=True)
        self.context = self.author.rng.randrange(9_000, 20_000)

    # ---- what the model does ----------------------------------------------------------------------------

    def usage(self) -> dict[str, Any]:
        """Tokens of a response: the context is read from the cache, or written again after a pause."""
        rng = self.author.rng
        grown = rng.randrange(50, 2500)
        is_cold = self.idle_since is None or self.clock - self.idle_since > timedelta(minutes=5)
        written, read = (self.context + grown, 0) if is_cold else (grown, self.context)
        self.context += grown
        usage: dict[str, Any] = {
            "input_tokens": rng.randrange(2, 40),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": rng.randrange(1, 1500),
            "service_tier": "standard",
        }
        if self.form.agents != "inside":
            hour = rng.choice((0, 0, written))
            usage["cache_creation"] = {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour}
            if self.author.chance(0.05):  # ccusage takes these two, not the flat number
                usage["cache_creation_input_tokens"] += 3
        if self.form.is_new:
            usage["server_tool_use"] = {"web_search_requests": int(self.author.chance(0.05)), "web_fetch_requests": 0}
            usage["speed"] = "fast" if self.author.chance(0.05) else "standard"
            usage["output_tokens_details"] = {"thinking_tokens": usage["output_tokens"] // 3}
            usage["inference_geo"] = None
        return usage

    def response(self, tools: list[dict[str, Any]] | None = None, model: str = "") -> dict[str, Any]:
        """One response, a line for each block; returns its last line."""
        rng = self.author.rng
        self.wait(6 if self.form.version < "2.1.31" else 12)
        usage = self.usage()
        blocks: list[dict[str, Any]] = []
        if self.author.chance(0.3):
            thought = {"type": "thinking", "thinking": self.author.text(60), "signature": self.author.name("EuYB")}
            blocks.append(thought)
        if not tools or self.author.chance(0.5):
            blocks.append({"type": "text", "text": self.author.text(50)})
        blocks += tools or []
        message = {
            "model": model or rng.choices(self.form.models, (6, 3, 1))[0],
            "id": self.author.identifier("msg_01"),
            "type": "message",
            "role": "assistant",
        }
        extra: dict[str, Any] = {"requestId": self.author.identifier("req_011")}
        if self.form.version == "2.1.31":
            extra["effort"] = rng.choice(("low", "medium", "high"))
        if self.disputed and self.author.chance(0.02):
            del extra["requestId"]
        if self.author.chance(0.01):
            del message["id"]
        differs = self.author.chance(0.4)
        line: dict[str, Any] = {}
        for number, block in enumerate(blocks):
            written = dict(usage)
            if differs and number < len(blocks) - 1:
                written["output_tokens"] = max(1, usage["output_tokens"] // (3 + number))
            whole = message | {"content": [block], "stop_reason": None, "stop_sequence": None, "usage": written}
            line = self.write("assistant", message=whole, **extra)
            self.clock += timedelta(milliseconds=rng.randrange(2, 900))
        self.idle_since = self.clock
        return line

    def api_error(self) -> None:
        if self.form.is_new and self.author.chance(0.7):
            error = {"status": 529, "headers": {"x": self.author.text(4)}, "error": {"message": self.author.text()}}
            retry = {"retryInMs": 512.4, "retryAttempt": 1, "maxRetries": 10}
            self.write("system", subtype="api_error", level="error", error=error, **retry)
            return
        usage = {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        message: dict[str, Any] = {
            "id": self.author.uuid(),
            "model": "<synthetic>",
            "role": "assistant",
            "type": "message",
            "usage": usage,
            "content": [{"type": "text", "text": f"API Error: 500 {self.author.text()}"}],
        }
        status = {"apiErrorStatus": 500} if self.form.is_new else {}
        self.write("assistant", message=message, isApiErrorMessage=True, **status)

    # ---- tools ------------------------------------------------------------------------------------------

    def tool(self) -> tuple[str, dict[str, Any], Any, str, bool]:
        """A tool with its input, its result as an object or a text, the same for the model, and whether it failed."""
        rng, author = self.author.rng, self.author
        result: Any
        file = author.path(f"{self.cwd}/{rng.choice(FILES)}")
        name = rng.choices(
            ("Read", "Edit", "Write", "Bash", "Grep", "Glob", "WebFetch", "TodoWrite", "mcp", "Skill"),
            (20, 16, 6, 24, 8, 5, 3, 4, 5, 2),
        )[0]
        text = author.text(30)
        if name == "Read":
            count = rng.randrange(1, 200)
            content = {"filePath": file, "content": text, "numLines": count, "startLine": 1, "totalLines": count + 5}
            return name, {"file_path": file}, {"type": "text", "file": content}, text, False
        if name == "Edit":
            removed, added = author.lines(rng.randrange(4)), author.lines(rng.randrange(1, 6))
            lines = [" " + author.text(4), *("-" + line for line in removed), *("+" + line for line in added), " }"]
            patch = {
                "oldStart": 3,
                "oldLines": len(removed) + 2,
                "newStart": 3,
                "newLines": len(added) + 2,
                "lines": lines,
            }
            old, new = "\n".join(removed), "\n".join(added)
            changes = {"filePath": file, "oldString": old, "newString": new, "originalFile": text}
            result = changes | {"structuredPatch": [patch], "userModified": author.chance(0.1), "replaceAll": False}
            return name, {"file_path": file, "old_string": old, "new_string": new}, result, text, False
        if name == "Write":
            written = "\n".join(author.lines(rng.randrange(1, 80))) + rng.choice(("\n", ""))
            kind = rng.choice(("create", "update"))
            patch = {
                "oldStart": 1,
                "oldLines": 2,
                "newStart": 1,
                "newLines": 3,
                "lines": ["-a", "-b", "+" + text, "+b", "+c"],
            }
            result = {"type": kind, "filePath": file, "content": written}
            result |= {"structuredPatch": [patch] if kind == "update" else [], "originalFile": None}
            return name, {"file_path": file, "content": written}, result, text, False
        if name == "Bash":
            command = f"{rng.choice(COMMANDS)} {author.name('x')}" if author.canary else rng.choice(COMMANDS)
            if author.canary and author.chance(0.2):
                command = author.name("tool") + " --all"
            if author.chance(0.15):
                said = f"Exit code {rng.choice((1, 2, 127))}\n{text}"
                return name, {"command": command}, f"Error: {said}", said, True
            result = {"stdout": text, "stderr": "", "interrupted": author.chance(0.04), "isImage": False}
            return name, {"command": command, "description": text}, result, text, False
        if name == "Grep":
            result = {"mode": "files_with_matches", "filenames": [file], "numFiles": 1}
            return name, {"pattern": text, "path": file}, result, f"Found 1 file\n{file}", False
        if name == "Glob":
            result = {"filenames": [file], "durationMs": rng.randrange(1, 90), "numFiles": 1, "truncated": False}
            return name, {"pattern": author.name("**/*.py")}, result, file, False
        if name == "WebFetch":
            url = f"https://{author.name('docs.example.org')}/"
            result = {"bytes": 1200, "code": 200, "codeText": "OK", "result": text, "durationMs": 900, "url": url}
            return name, {"url": url, "prompt": text}, result, text, False
        if name == "TodoWrite":
            todos = [{"content": text, "status": "pending", "activeForm": text}]
            return name, {"todos": todos}, {"oldTodos": [], "newTodos": todos}, "Todos have been modified", False
        if name == "Skill":
            skill = author.name("pdf")
            return name, {"skill": skill}, {"success": True, "commandName": skill}, f"Launching skill: {skill}", False
        tool = f"mcp__{author.name('tracker')}__{author.name('list_issues')}"
        return tool, {"query": text}, [{"type": "text", "text": text}], text, False

    def use_tools(self) -> None:
        """A response that asks for some tools, and their results: in any order, some refused, some never told."""
        rng = self.author.rng
        asked = [self.tool() for _ in range(rng.choices((1, 2, 4), (7, 2, 1))[0])]
        uses = [
            {"type": "tool_use", "id": self.author.identifier("toolu_01"), "name": name, "input": arguments}
            for name, arguments, *_ in asked
        ]
        asking = self.response(uses)
        self.results(list(zip(uses, asked, strict=True)), asking)

    def results(self, pairs: list[tuple[dict[str, Any], Any]], asking: dict[str, Any]) -> None:
        if len(pairs) > 1:
            self.author.rng.shuffle(pairs)
        for use, (name, _, result, said, failed) in pairs:
            if self.author.chance(0.01):
                continue  # still running when the program was killed
            self.wait(2)
            if self.form.is_new and name == "Bash":
                data = {"type": "bash_progress", "output": said, "fullOutput": said, "elapsedTimeSeconds": 2}
                self.write("progress", data=data, toolUseID="bash-progress-1", parentToolUseID=use["id"])
            extra: dict[str, Any] = {"sourceToolAssistantUUID": asking["uuid"]} if self.form.is_new else {}
            self.outcome(use, name, result, said, failed, extra)

    def outcome(
        self, use: dict[str, Any], name: str, result: Any, said: str, failed: bool, extra: dict[str, Any]
    ) -> None:
        """The result as it would be, or what came between: a refusal, a rule, a mistake of the model."""
        fate = self.author.rng.random()
        if fate < 0.03:
            told = f"The user doesn't want to proceed with this tool use. The tool use was rejected. {said}"
            self.refused(use, told, "User rejected tool use", "user-rejected", extra)
            self.interruption()
        elif fate < 0.04 and self.form.is_new:
            told = f"<tool_use_error>Cancelled: parallel tool call errored {said}</tool_use_error>"
            self.refused(use, told, f"Error: {told}", "cancelled", extra)
        elif fate < 0.05 and self.form.is_new:
            told = f"Permission to use {name} with {said} has been denied."
            self.refused(use, told, f"Error: {told}", "permission-rule", extra)
        elif fate < 0.09 and name in ("Edit", "Write", "Read"):
            errors = ("File has not been read yet. Read it first", "String to replace not found in file.", said)
            told = f"<tool_use_error>{self.author.rng.choice(errors)} {self.author.canary}</tool_use_error>"
            self.result(use, told, f"Error: {told}", True, extra)
        else:
            self.result(use, said, result, failed, extra)

    def refused(self, use: dict[str, Any], said: str, result: str, kind: str, extra: dict[str, Any]) -> None:
        denial = {"toolDenialKind": kind} if self.form.is_new else {}
        self.result(use, said, result, True, extra | denial)

    def result(self, use: dict[str, Any], said: str, result: Any, failed: bool, extra: dict[str, Any]) -> None:
        content: Any = [{"type": "text", "text": said}] if self.author.chance(0.2) else said
        block: dict[str, Any] = {"tool_use_id": use["id"], "type": "tool_result", "content": content}
        if failed or self.author.chance(0.3):
            block["is_error"] = failed
        self.write("user", message={"role": "user", "content": [block]}, toolUseResult=result, **extra)

    def sub_agent(self, workflow: str = "") -> None:
        """A tool that is a conversation of its own: its lines stand where this version puts them."""
        rng = self.author.rng
        kind = self.author.name(rng.choice(AGENT_TYPES))
        arguments = {"description": self.author.text(4), "prompt": self.author.text(), "subagent_type": kind}
        name = "Agent" if self.form.is_new else "Task"
        use = {"type": "tool_use", "id": self.author.identifier("toolu_01"), "name": name, "input": arguments}
        asking = self.response([use])
        use_id = str(use["id"])
        outer = self.parent, self.into, self.context, self.idle_since
        self.agent_id = agent_id = f"{rng.getrandbits(28):07x}"
        self.into = {
            "inside": self.into,
            "beside": f"agent-{self.agent_id}.jsonl",
            "below": f"{self.session_id}/subagents/{workflow}agent-{self.agent_id}.jsonl",
        }[self.form.agents]
        self.sidechain, self.parent, self.context = True, None, rng.randrange(4_000, 9_000)
        self.relay_of = use_id if self.form.is_new else ""
        started, tokens = self.clock, 0
        try:
            self.write("user", message={"role": "user", "content": arguments["prompt"]})
            for _ in range(rng.randrange(1, 4)):
                self.use_tools()
            self.response(model=self.form.models[2])
        finally:
            tokens = self.context
            self.parent, self.into, self.context, self.idle_since = outer
            self.sidechain, self.agent_id, self.relay_of = False, "", ""
        answer = self.author.text()
        result = {
            "status": "completed",
            "prompt": arguments["prompt"],
            "agentId": agent_id,
            "content": [{"type": "text", "text": answer}],
            "totalDurationMs": round((self.clock - started).total_seconds() * 1000),
            "totalTokens": tokens,
            "totalToolUseCount": 3,
            "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 11},
        }
        self.result(use, answer, result, False, {"sourceToolAssistantUUID": asking["uuid"]})

    # ---- the whole -------------------------------------------------------------------------------------

    def turn(self) -> None:
        """From a prompt to the end of the answer."""
        started = self.clock
        self.prompt()
        if self.author.chance(0.03):
            self.api_error()
        for _ in range(self.author.rng.randrange(6)):
            self.use_tools()
            if self.author.chance(0.03):
                self.interruption()
                return
        if self.author.chance(0.12):
            workflow = self.author.identifier("workflows/wf_") + "/"
            self.sub_agent(workflow if self.form.is_new and self.author.chance(0.3) else "")
        self.response()
        if self.form.is_new:
            elapsed = round((self.clock - started).total_seconds() * 1000)
            hooks = {"hookCount": 1, "hookInfos": [{"command": self.author.text(3)}], "hookErrors": []}
            self.write("system", subtype="stop_hook_summary", level="suggestion", **hooks)
            self.write("system", subtype="turn_duration", durationMs=elapsed, isMeta=False)

    def run(self, turns: int) -> None:
        """The whole session, as far as there is time."""
        chance = self.author.chance
        snapshot = {"messageId": self.author.uuid(), "trackedFileBackups": {}, "timestamp": timestamp(self.clock)}
        self.write_plain(type="file-history-snapshot", messageId=snapshot["messageId"], snapshot=snapshot)
        try:
            for _ in range(turns):
                if chance(0.1):
                    self.note()
                    self.command()
                if chance(0.06):
                    self.compaction()
                self.turn()
                if chance(0.05):
                    operation = {"operation": "enqueue", "content": self.author.text(), "sessionId": self.session_id}
                    self.write_plain(type="queue-operation", timestamp=timestamp(self.clock), **operation)
                self.wait(self.author.rng.choice((20, 60, 400)))
        except NowIsReachedError:
            pass
        if self.form.is_new and chance(0.3):
            url = f"https://github.com/{self.author.name('dev')}/shop/pull/7"
            link = {"prNumber": 7, "prUrl": url, "prRepository": self.author.name("dev/shop")}
            moment = timestamp(min(self.clock, self.until))
            self.write_plain(type="pr-link", sessionId=self.session_id, timestamp=moment, **link)
        self.write_plain(type="summary", summary=self.author.text(8), leafUuid=self.parent)
        if self.form.is_new:
            self.write_plain(type="custom-title", customTitle=self.author.text(5), sessionId=self.session_id)

    def copied(self, author: Author) -> Conversation:
        """The session as its resumption (1.x) or fork repeats it in a file of its own, with something new at the end."""
        main = f"{self.session_id}.jsonl"
        copy = Conversation(author, self.form, self.cwd, self.clock, self.until, self.disputed)
        copy.branch, copy.parent, copy.context = self.branch, self.parent, self.context
        copied = copy.files.setdefault(copy.into, [])
        for line in self.files[main]:
            repeated = line.replace(f'"sessionId":"{self.session_id}"', f'"sessionId":"{copy.session_id}"')
            if self.form.agents != "inside" and (found := line.find('"uuid":"')) >= 0:
                origin = {"sessionId": self.session_id, "messageUuid": line[found + 8 : found + 44]}
                repeated = repeated[:-1] + ',"forkedFrom":' + compact(origin) + "}"
            copied.append(repeated)
        return copy


def odd_lines(conversation: Conversation) -> list[str]:
    """Whole lines with values that no version should have written, and that ccusage has its own mind about."""
    author = conversation.author
    moment = timestamp(conversation.clock)
    usage = {"input_tokens": 11, "output_tokens": 13, "cache_read_input_tokens": 17, "cache_creation_input_tokens": 0}
    common = {"cwd": conversation.cwd, "sessionId": conversation.session_id, "version": "2.0.14", "timestamp": moment}

    def response(line: dict[str, Any] | None = None, **message: Any) -> str:
        asked: dict[str, Any] = {
            "id": author.identifier("msg_01"),
            "role": "assistant",
            "model": conversation.form.models[0],
        }
        asked |= {"usage": usage, "content": [{"type": "text", "text": author.text()}]}
        identity = {"type": "assistant", "uuid": author.uuid(), "requestId": author.identifier("req_011")}
        return compact(common | identity | {"message": asked | message} | (line or {}))

    def nested(depth: int) -> str:
        return response({"deep": 0}).replace('"deep":0', '"deep":' + "[" * depth + "]" * depth)

    return [
        response(model=None),
        response(id=None),
        response(content=None),
        response({"requestId": None}),
        response({"version": "next"}),
        response({"timestamp": moment.replace("T", " ")}),
        response({"timestamp": moment[:19] + "+02:00"}),
        response({"timestamp": moment[:19] + "Z"}),
        response({"sessionId": ""}),
        response(usage=usage | {"speed": None}),
        response(usage=usage | {"input_tokens": "12"}),
        response(usage=usage | {"input_tokens": -4}),
        response(usage={"input_tokens": 5}),
        response(usage=usage | {"cache_read_input_tokens": None}),
        response(
            content=[{"type": "tool_use", "id": author.identifier("toolu_01"), "name": "Bash", "input": {"cwd": None}}]
        ),
        response({"isSidechain": True}),
        response().replace('"usage":{', '"usage": {'),
        nested(50),
        *([nested(1500)] if conversation.disputed else []),
    ]


def break_lines(author: Author, lines: list[str]) -> list[bytes]:
    """The lines with some that were cut, torn or written over by something else among them."""
    broken: list[bytes] = []
    for line in lines:
        data = line.encode()
        broken.append(data + (b"\r" if author.chance(BROKEN_SHARE) else b""))
        if author.chance(BROKEN_SHARE):
            middle = author.rng.randrange(1, len(data))
            torn = (
                data[:middle],
                data[:middle] + b"\0" + data[middle:],
                data[:30] + b'","x":"\xff\xfe"' + data[30:],
                b"",
                b"null",
                b"[1,2]",
                b'"usage":{',
            )
            broken.append(author.rng.choice(torn))
    return broken


def hostile_lines(conversation: Conversation) -> list[str]:
    """Lines whose fields that are stored, as a rule, hold a text: nothing of them may be taken as it is."""
    author = conversation.author
    anything = f"/home/{author.canary} {author.text(4)}"
    common = {
        "cwd": anything,
        "sessionId": conversation.session_id,
        "version": "2.1.5",
        "timestamp": timestamp(conversation.clock),
        "gitBranch": anything,
        "agentId": anything,
        "effort": anything,
        "isSidechain": True,
    }
    usage: dict[str, Any] = {"input_tokens": 1, "output_tokens": 1, "speed": "standard", "service_tier": anything}
    use = {
        "type": "tool_use",
        "id": f"{anything} {author.uuid()}",
        "name": anything,
        "input": {"subagent_type": anything, "file_path": anything},
    }
    agent = {
        "type": "tool_use",
        "id": author.identifier("toolu_"),
        "name": "Task",
        "input": {"subagent_type": anything},
    }
    write = {
        "type": "tool_use",
        "id": author.identifier("toolu_"),
        "name": "Write",
        "input": {"file_path": f"/x.{author.canary}"},
    }
    bash = {"type": "tool_use", "id": author.identifier("toolu_"), "name": "Bash", "input": {"command": author.canary}}
    message: dict[str, Any] = {
        "id": f"{anything} {author.uuid()}",
        "model": conversation.form.models[0],
        "role": "assistant",
        "stop_reason": anything,
    }
    message |= {"usage": usage, "content": [use, agent, write, bash, {"type": anything, "text": anything}]}
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "is_error": index % 2 == 0, "content": anything}
        for index, block in enumerate((use, agent, write, bash))
    ]
    outcome = {"agentId": anything, "type": anything, "filePath": anything, "status": anything, "durationMs": anything}
    lines: list[dict[str, Any]] = [
        {
            "type": "assistant",
            "uuid": author.uuid(),
            "requestId": author.identifier("req_"),
            "message": message | {"id": author.identifier("msg_"), "model": anything, "content": []},
        },
        {"type": "assistant", "uuid": anything, "requestId": anything, "message": message},
        *(
            {
                "type": "user",
                "uuid": author.uuid(),
                "message": {"role": "user", "content": [block]},
                "toolUseResult": outcome,
            }
            for block in results
        ),
        {"type": "user", "uuid": author.uuid(), "message": {"role": anything, "content": anything}, "origin": anything},
        {"type": "user", "uuid": author.uuid(), "message": {"content": [results[0]]}, "toolDenialKind": anything},
        {
            "type": "system",
            "subtype": "compact_boundary",
            "uuid": author.uuid(),
            "compactMetadata": {"trigger": anything},
        },
        {"type": "system", "subtype": "api_error", "uuid": author.uuid(), "error": {"status": anything}},
        {"type": "system", "subtype": anything, "uuid": author.uuid(), "content": anything},
        {"type": anything, "uuid": author.uuid(), "content": anything},
        {"type": "user", "uuid": author.uuid(), "version": anything, "message": {"content": anything}},
        {"type": "pr-link", "prNumber": anything, "prUrl": anything, "prRepository": anything},
    ]
    return [compact(common | line) for line in lines]


def write_conversations(
    home: Path,
    *,
    days: int = 46,
    sessions_per_day: float = 2,
    turns: int = 8,
    seed: int = 7,
    until: datetime | None = None,
    disputed: bool = True,
    broken: bool = False,
    canary: str = "",
    forms: tuple[Form, ...] = FORMS,
) -> None:
    """Write `days` days of conversations that end at `until` (now by default) to the logs under `home`.

    The versions follow each other over the days. `disputed`: with what ccusage's own reports disagree about, messages of
    sub-agents that the session's file repeats (2.1) and responses without a request's id. `broken`: with broken lines
    and odd values.
    """
    until = until or datetime.now(timezone.utc)
    author = Author(random.Random(seed), canary)
    for day in range(days, -1, -1):
        count = int(sessions_per_day) + (author.rng.random() < sessions_per_day % 1)
        for _ in range(max(count, day == 0)):
            start = until - timedelta(days=day, hours=author.rng.uniform(0, 12))
            if day == 0:
                start = until - timedelta(minutes=author.rng.uniform(5, 100))
            age = min(len(forms) - 1, int((days - day) * len(forms) / max(days, 1)))
            cwd = author.path(author.rng.choice(PROJECTS))
            folder = home / ".claude" / "projects" / claude_folder(cwd)
            conversation = Conversation(author, forms[age], cwd, start, until, disputed)
            conversation.run(author.rng.randrange(1, 2 * turns))
            if broken and author.chance(0.3):
                conversation.files[conversation.into] += odd_lines(conversation)
            if canary:
                conversation.files[conversation.into] += hostile_lines(conversation)
            written = [conversation]
            if author.chance(0.12):
                copy = conversation.copied(author)
                copy.run(2)
                written.append(copy)
            for one in written:
                for path, lines in one.files.items():
                    store(author, folder / path, lines, start, broken)


def store(author: Author, path: Path, lines: list[str], start: datetime, broken: bool) -> None:
    if not broken:
        write_lines(path, lines, start)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(line + b"\n" for line in break_lines(author, lines))
    path.write_bytes(data[:-40] if author.chance(0.1) else data)  # the last line is still being written


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write conversations as Claude Code logs them.")
    parser.add_argument("directory", type=Path, help="the home to write under")
    parser.add_argument("--days", type=int, default=46, help="days of logs (default %(default)s)")
    parser.add_argument("--sessions", type=float, default=2, help="sessions a day (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="other seed, other logs (default %(default)s)")
    parser.add_argument("--broken", action="store_true", help="broken lines and odd values among the others")
    parser.add_argument("--canary", default="", help="mark every text, path, branch, command and name with this word")
    options = parser.parse_args(argv)
    write_conversations(
        options.directory,
        days=options.days,
        sessions_per_day=options.sessions,
        seed=options.seed,
        broken=options.broken,
        canary=options.canary,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
