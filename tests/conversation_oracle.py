"""What conversations hold, read from the logs in plain Python: the tests' second opinion on what the engine reads.

Written from the description of the logs and from what ccusage does, not from the importer's SQL, and itself held against
ccusage (test_conversation_logs.py). Slow and simple: everything is read into memory, line by line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

# A line in which one of these is null is none to ccusage; it looks at the bytes, wherever in the line they are.
UNSUPPORTED_NULL = re.compile(
    rb'"(id|cwd|model|speed|costUSD|version|sessionId|requestId|isApiErrorMessage|cache_read_input_tokens'
    rb'|cache_creation_input_tokens)"[^"]*:null'
)
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{3}))?(Z|[+-]\d\d:\d\d)")
KINDS_OF_TOKENS = ("input", "output", "cache_creation", "cache_read")
TAG = re.compile(r"<(command-name|local-command-stdout|local-command-stderr|bash-input|bash-stdout|bash-stderr)>")


@dataclass(frozen=True)
class Line:
    """A whole line of a log with where it stands; `raw` as it is in the file."""

    path: Path
    number: int
    raw: bytes
    value: dict[str, Any]

    @property
    def project(self) -> str:
        """The folder below `projects`: what ccusage calls the project."""
        return self.below[0]

    @property
    def below(self) -> tuple[str, ...]:
        return self.path.parts[self.path.parts.index("projects") + 1 :]

    @property
    def session_id(self) -> str:
        """ccusage's session: the file beside the others, else the folder of the file or of its `subagents`."""
        if len(self.below) == 2:
            return self.below[1].removesuffix(".jsonl")
        if len(self.below) >= 4 and self.below[-2] == "subagents":
            return self.below[-3]
        return self.below[-2]


@dataclass
class Response:
    """An answer of the API, as ccusage counts it once: of the line that wins over its repetitions."""

    message_id: str | None
    request_id: str | None
    session_id: str
    project: str
    moment: datetime
    is_sidechain: bool
    model: str | None
    input: int
    output: int
    cache_creation: int
    cache_1h: int
    cache_read: int
    has_speed: bool
    said_session_id: str | None
    agent: str

    @property
    def request(self) -> Any:
        """What tells this line from others of its message: the request's id, else the line's own session and time."""
        return self.request_id or (self.said_session_id, self.moment)

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_creation + self.cache_read

    @property
    def weight(self) -> float:
        """What ccusage's cost is shared by within a project's day and a model."""
        written = 1.25 * (self.cache_creation - self.cache_1h) + 2 * self.cache_1h
        return self.input + 5 * self.output + written + 0.1 * self.cache_read


@dataclass
class ToolCall:
    """A tool that a response asked for, with its result where one is told."""

    tool_use_id: str
    tool: str
    asked: datetime
    session_id: str
    project: str
    response: str | None
    model: str | None
    arguments: dict[str, Any]
    is_relayed: bool = False
    answered: datetime | None = None
    is_told: bool = False
    state: str = "running"
    write_type: str = ""
    lines_added: int = 0
    lines_removed: int = 0
    lines_read: int = 0
    user_modified: bool = False

    @property
    def file(self) -> str:
        return str(self.arguments.get("file_path", ""))

    @property
    def extension(self) -> str:
        name = self.file.rpartition("/")[2]
        return name.rpartition(".")[2] if "." in name else ""


@dataclass
class Event:
    """What is neither a response nor a tool: prompt, command, interruption, compaction, api error, turn, pull request."""

    kind: str
    identity: str
    moment: datetime
    session_id: str
    project: str
    is_sidechain: bool
    duration_ms: int = 0
    compaction: str = ""
    compacted_tokens: int = 0
    api_status: int = 0


@dataclass
class Conversations:
    """All that the logs under a home hold."""

    zone: ZoneInfo
    responses: list[Response] = field(default_factory=list)
    calls: dict[str, ToolCall] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)

    def day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def tokens_by(self, *names: str) -> dict[Any, tuple[int, int, int, int]]:
        """The four kinds of tokens by day, project, session_id, model, or several of them."""
        sums: defaultdict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for response in self.responses:
            values = tuple(self.day(response.moment) if name == "day" else getattr(response, name) for name in names)
            total = sums[values if len(names) > 1 else values[0]]
            for position, kind in enumerate(KINDS_OF_TOKENS):
                total[position] += getattr(response, kind)
        return {key: (total[0], total[1], total[2], total[3]) for key, total in sums.items()}

    def blocks(self) -> list[tuple[datetime, int, int]]:
        """ccusage's 5-hour blocks: start, messages, tokens. A block begins at its first message's full hour."""
        length = timedelta(hours=5)
        blocks: list[tuple[datetime, int, int]] = []
        last = None
        for response in sorted(self.responses, key=lambda response: response.moment):
            moment = response.moment
            if last is None or moment - blocks[-1][0] > length or moment - last > length:
                blocks.append((moment.replace(minute=0, second=0, microsecond=0), 0, 0))
            start, entries, tokens = blocks[-1]
            blocks[-1] = (start, entries + 1, tokens + response.total)
            last = moment
        return blocks


def private_id(name: str, digits: int = 8) -> str:
    """How a project's name is stored without a key."""
    return hashlib.sha256(name.encode()).hexdigest()[:digits]


def read_moment(text: object) -> datetime | None:
    """A timestamp of the usual form; None for any other."""
    match = TIMESTAMP.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1] + (match[3] if match[3] != "Z" else "+00:00"))
    except ValueError:
        return None
    return moment.astimezone(timezone.utc) + timedelta(milliseconds=int(match[2] or 0))


def read_lines(home: Path) -> Iterator[Line]:
    """Every whole line below `home`'s logs, files in the order of their paths as ccusage has them."""
    folders = (home / ".config" / "claude" / "projects", home / ".claude" / "projects")
    paths = [path for folder in folders for path in folder.rglob("*.jsonl") if path.is_file() and not path.is_symlink()]
    for path in sorted(paths, key=str):
        for number, raw in enumerate(path.read_bytes().split(b"\n")):
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield Line(path, number, raw, value)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def has_type(value: object, kind: type) -> bool:
    """Whether an optional field is what ccusage can read: absent, or of this type."""
    return value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool)))


def read_usage(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of a line's message, None where ccusage cannot read it."""
    message = entry.get("message")
    usage = message.get("usage") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(usage, dict) or read_moment(entry.get("timestamp")) is None:
        return None
    texts = [
        message.get("id"),
        message.get("model"),
        entry.get("requestId"),
        entry.get("version"),
        entry.get("sessionId"),
    ]
    if not all(has_type(text, str) for text in texts) or not has_type(entry.get("isSidechain"), bool):
        return None
    if "" in texts or not (entry.get("version") is None or re.match(r"[0-9]+\.[0-9]+\.[0-9]", entry["version"])):
        return None
    counts = {name: usage.get(name) for name in ("input_tokens", "output_tokens")}
    counts |= {name: usage.get(name, 0) for name in ("cache_creation_input_tokens", "cache_read_input_tokens")}
    created = usage.get("cache_creation")
    if created is not None:
        if not isinstance(created, dict):
            return None
        counts |= {name: created.get(f"ephemeral_{name}_input_tokens", 0) for name in ("5m", "1h")}
    if not all(map(is_count, counts.values())) or usage.get("speed") not in (None, "standard", "fast"):
        return None
    return counts | {"speed": usage.get("speed")}


def named_model(model: str | None, usage: object) -> str | None:
    """A model as ccusage names it: a fast answer is a model of its own."""
    return f"{model}-fast" if isinstance(usage, dict) and usage.get("speed") == "fast" else model


def read_response(line: Line) -> Response | None:
    """A line as ccusage's daily counts it, or None."""
    if b'"usage":{' not in line.raw or UNSUPPORTED_NULL.search(line.raw):
        return None
    entry, is_relayed = line.value, False
    usage = read_usage(entry)
    if usage is None and not isinstance(entry.get("message"), dict):  # a sub-agent's message, relayed
        data = entry.get("data")
        inner = data.get("message") if isinstance(data, dict) else None
        if not isinstance(inner, dict):
            return None
        names = ("timestamp", "message", "requestId", "isSidechain")
        entry, is_relayed = {name: inner[name] for name in names if name in inner}, True
        usage = read_usage(entry)
    moment = read_moment(entry.get("timestamp"))
    if usage is None or moment is None:
        return None
    message = entry["message"]
    model = message.get("model")
    hour = usage.get("1h", 0)
    return Response(
        message_id=message.get("id"),
        request_id=entry.get("requestId"),
        session_id=line.session_id,
        project=line.project,
        moment=moment,
        is_sidechain=entry.get("isSidechain") is True,
        model=None if model == "<synthetic>" else named_model(model, usage),
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cache_creation=usage["5m"] + hour if "5m" in usage else usage["cache_creation_input_tokens"],
        cache_1h=hour,
        cache_read=usage["cache_read_input_tokens"],
        has_speed=usage["speed"] is not None,
        said_session_id=line.value.get("sessionId"),
        agent=str(line.value.get("data", {}).get("agentId", "") if is_relayed else entry.get("agentId", "")),
    )


def add_response(responses: list[Response], seen: dict[Any, list[int]], found: Response) -> None:
    """Count a response once: by message and request, a sidechain by message and session."""
    if found.message_id is None:
        responses.append(found)
        return
    exact, loose = (found.message_id, found.request), found.message_id

    def is_copy(other: Response) -> bool:
        """A sidechain's lines repeat those of the session that they belong to under requests of their own."""
        return found.said_session_id == other.said_session_id and (found.is_sidechain or other.is_sidechain)

    same = seen.get(exact, []) + [index for index in seen.get(loose, []) if is_copy(responses[index])]
    if not same:
        seen.setdefault(exact, []).append(len(responses))
        seen.setdefault(loose, []).append(len(responses))
        responses.append(found)
        return
    other = responses[same[0]]
    better = (not found.is_sidechain, found.total, found.has_speed)
    if better > (not other.is_sidechain, other.total, other.has_speed):
        responses[same[0]] = found


def read_conversations(home: Path, zone: str = "UTC") -> Conversations:
    """Everything that the logs under `home` hold, days cut in `zone`."""
    found = Conversations(ZoneInfo(zone))
    seen: dict[Any, list[int]] = {}
    for line in read_lines(home):
        response = read_response(line)
        if response is not None:
            add_response(found.responses, seen, response)
        read_tools(line, found.calls)
        event = read_event(line)
        if event is not None:
            found.events.setdefault(event.identity, event)
    return found


def read_tools(line: Line, calls: dict[str, ToolCall]) -> None:
    """What a line says of tools: uses by the model, results by the program, relayed ones of sub-agents, too."""
    entry = line.value
    data = entry.get("data")
    if isinstance(data, dict) and data.get("type") == "agent_progress" and isinstance(data.get("message"), dict):
        entry = data["message"]
    message = entry.get("message")
    moment = read_moment(entry.get("timestamp"))
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(content, list) or moment is None:
        return
    for block in content:
        if not isinstance(block, dict):
            continue
        arguments = block.get("input")
        if block.get("type") == "tool_use" and entry.get("type") == "assistant" and isinstance(arguments, dict):
            call = ToolCall(
                tool_use_id=str(block.get("id")),
                tool=str(block.get("name")),
                asked=moment,
                session_id=line.session_id,
                project=line.project,
                response=message.get("id"),
                model=named_model(message.get("model"), message.get("usage")),
                arguments=arguments,
                is_relayed=entry is not line.value,
            )
            known = calls.setdefault(call.tool_use_id, call)
            known.arguments, known.tool, known.response = arguments, call.tool, call.response
            if known.is_relayed and not call.is_relayed:  # the sub-agent's own log
                known.session_id, known.is_relayed = call.session_id, False
            known.asked = min(known.asked, moment)
        elif block.get("type") == "tool_result" and entry.get("type") == "user":
            identity = str(block.get("tool_use_id"))
            if identity in calls:
                add_result(calls[identity], entry, block, moment)


def add_result(call: ToolCall, entry: dict[str, Any], block: dict[str, Any], moment: datetime) -> None:
    """Pair a result with its use: the first, but that a relayed copy says less than the line itself."""
    result = entry.get("toolUseResult")
    if call.answered is not None and (call.is_told or result is None):
        return
    call.is_told = result is not None
    said = block.get("content")
    text = said if isinstance(said, str) else " ".join(str(part.get("text", "")) for part in said or [])
    call.answered = moment
    denial = entry.get("toolDenialKind")
    if denial in ("user-rejected", "cancelled", "permission-rule"):
        call.state = denial
    elif block.get("is_error") is True:
        call.state = "user-rejected" if text.startswith("The user doesn't want to ") else "error"
    else:
        call.state = "ok"
    if call.state != "ok" or not isinstance(result, dict):
        return
    patches = result.get("structuredPatch") or []
    changed = [text for patch in patches for text in patch["lines"]]
    call.lines_added = sum(text.startswith("+") for text in changed)
    call.lines_removed = sum(text.startswith("-") for text in changed)
    call.user_modified = result.get("userModified") is True
    if call.tool == "Write":
        call.write_type = result.get("type", "")
        if not patches:
            call.lines_added = len(call.arguments["content"].splitlines())
    if call.tool == "Read" and isinstance(result.get("file"), dict):
        call.lines_read = result["file"].get("numLines", 0)


def read_event(line: Line) -> Event | None:
    """What a line says that is neither a response nor a tool; None where it says nothing of the kind."""
    entry = line.value
    moment = read_moment(entry.get("timestamp"))
    identity = entry.get("uuid") or f"{entry.get('type')} {entry.get('prNumber')} {entry.get('timestamp')}"
    if moment is None:
        return None
    kind = kind_of_event(entry)
    if not kind:
        return None
    event = Event(kind, str(identity), moment, line.session_id, line.project, entry.get("isSidechain") is True)
    metadata = entry.get("compactMetadata")
    if kind == "compaction" and isinstance(metadata, dict):
        trigger = metadata.get("trigger")
        event.compaction = trigger if trigger in ("auto", "manual") else "other"
        event.compacted_tokens = metadata.get("preTokens", 0)
    if kind == "turn":
        event.duration_ms = entry["durationMs"]
    if kind == "api error":
        error = entry.get("error")
        told = error.get("status") if isinstance(error, dict) else entry.get("apiErrorStatus")
        event.api_status = told if isinstance(told, int) else 0
    return event


def kind_of_event(entry: dict[str, Any]) -> str:
    """The kind of a line by its type, its marks, and how its text begins."""
    kind, subtype = entry.get("type"), entry.get("subtype")
    if kind == "pr-link":
        return "pull request"
    if kind == "system":
        named = {"compact_boundary": "compaction", "api_error": "api error", "turn_duration": "turn"}
        return named.get(str(subtype), "")
    if kind == "assistant":
        return "api error" if entry.get("isApiErrorMessage") is True else ""
    message = entry.get("message")
    if kind != "user" or not isinstance(message, dict):
        return ""
    content = message.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if any(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks):
        return ""
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    text = texts[0] if texts and isinstance(texts[0], str) else ""
    if text.startswith("[Request interrupted by user"):
        return "interruption"
    if entry.get("isMeta") is True or entry.get("isCompactSummary") is True or entry.get("isSidechain") is True:
        return ""
    tag = TAG.match(text)
    if tag is not None:
        return "command" if tag[1] == "command-name" else ""
    return "prompt"
