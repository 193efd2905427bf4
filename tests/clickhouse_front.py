"""A small HTTP front for chDB: the part of ClickHouse's HTTP interface that its clients use, and its faults.

    python tests/clickhouse_front.py --path DIR [--config FILE] | --upstream URL [--port N] [--cert FILE --key FILE]
        [--user NAME:PASSWORD[:readonly]]

Speaks: a query in the body, in `query=` or in a form; settings and `param_*` in the URL or a form;
`INSERT ... FORMAT Native` and other formats with their data behind the statement; request bodies compressed
with gzip, lz4 or zstd; users and passwords in headers, Basic authentication or the URL; exception codes.
A few statements at a time, as many as there are sessions. Listens on 127.0.0.1 alone, and ends
when its standard input does, so it cannot outlive the test that started it.

With --config the engine is opened with this configuration of ClickHouse; its users_config says what the user
`default` (without a password) may do. Here INSERT with data needs
READ ON FILE and CREATE TEMPORARY TABLE, and every statement to see its database.

A fault is set with POST /fault and JSON: {"kind": ..., "match": pattern in the statement, "skip": how many
matching statements pass first, "times": how many then fail}. Kinds: `hang` (seconds), `drop_before` and
`drop_after` (close the connection without executing, or after), `status` (answer with this HTTP status),
`exception` (answer with this code and name), `die` (end the process before executing), `die_after`.
GET /fault tells how often each has happened, GET /statements how many statements of each kind were executed.
"""

from __future__ import annotations

import argparse
import base64
import email
import email.policy
import importlib
import json
import os
import queue
import re
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import chdb
from chdb import session as chdb_session

PROTOCOL_PARAMETERS = {
    "query", "database", "default_format", "user", "password", "query_id", "session_id", "session_timeout",
    "session_check", "compress", "decompress", "enable_http_compression", "wait_end_of_query",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "client_protocol_version", "role",
}  # fmt: skip
SESSIONS = 1 if chdb.chdb_version[0] == "3" else 3  # version 3 has but one
WRITES = re.compile(r"\s*(INSERT|DELETE|ALTER|CREATE|DROP|TRUNCATE|RENAME|OPTIMIZE|GRANT|REVOKE)\b", re.IGNORECASE)


class Engine:
    """chDB in a few sessions: each takes one statement with its settings and parameters at a time."""

    def __init__(self, path: str, config: Path | None = None) -> None:
        self.idle: queue.SimpleQueue[chdb_session.Session] = queue.SimpleQueue()
        for _ in range(SESSIONS):
            self.idle.put(chdb_session.Session(f"{path}?config-file={config}" if config else path))
        self.statements: Counter[str] = Counter()
        self.counting = threading.Lock()

    def execute(
        self, sql: str, data: bytes, database: str, settings: dict[str, str], output_format: str
    ) -> tuple[bytes, str]:
        """Run one statement; returns its output and the name of its format. RuntimeError as chDB raises it."""
        with self.counting:
            self.statements[sql.split(None, 1)[0].upper() if sql.split() else ""] += 1
        session = self.idle.get()
        try:
            session.query(f"USE `{database or 'default'}`")
            for name, value in settings.items():
                session.query(f"SET {name} = {quoted(value)}")
            if data:
                return self._insert(session, sql, data), output_format
            explicit = re.search(r"\bFORMAT\s+(\w+)\s*;?\s*$", sql)
            if explicit:
                sql, output_format = sql[: explicit.start()], explicit[1]
            result = session.query(sql, output_format)
            return (result.bytes() or b"" if result is not None else b""), output_format
        finally:
            for name in settings:
                if not name.startswith("param_"):
                    session.query(f"SET {name} = DEFAULT")
            self.idle.put(session)

    def _insert(self, session: chdb_session.Session, sql: str, data: bytes) -> bytes:
        """INSERT INTO ... FORMAT X with its data behind it: chDB takes text alone, so through a file."""
        statement = re.match(r"(.*?)\s+FORMAT\s+(\w+)\s*$", sql, re.DOTALL | re.IGNORECASE)
        if statement is None:
            raise RuntimeError("Code: 62. DB::Exception: Syntax error: data without FORMAT. (SYNTAX_ERROR)")
        with tempfile.NamedTemporaryFile(suffix=".data") as file:
            file.write(data)
            file.flush()
            session.query(f"{statement[1]} SELECT * FROM file({quoted(file.name)}, '{statement[2]}')")
        return b""


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


class Upstream:
    """A real server instead of chDB: statements go on to it, so that faults can be put before it, too."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        login = f"{unquote(parts.username or 'default')}:{unquote(parts.password or '')}"
        self.headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self.statements: Counter[str] = Counter()

    def execute(
        self, sql: str, data: bytes, database: str, settings: dict[str, str], output_format: str
    ) -> tuple[bytes, str]:
        self.statements[sql.split(None, 1)[0].upper() if sql.split() else ""] += 1
        parameters = {name: value for name, value in settings.items() if not name.startswith("param_")}
        parameters |= {"default_format": output_format, "database": database or "default"}
        form = {name: value for name, value in settings.items() if name.startswith("param_")}
        if data:
            parameters["query"], body, headers = sql, data, self.headers
        else:
            boundary = f"----{os.urandom(16).hex()}"
            parts = {"query": sql, **form}.items()
            body = b"".join(
                f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in parts
            )
            body += f"--{boundary}--\r\n".encode()
            headers = self.headers | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"{self.url}/?{urlencode(parameters)}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                return response.read(), response.headers.get("X-ClickHouse-Format") or output_format
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode("utf-8", "replace")) from error


class Fault:
    def __init__(self, kind: str, match: str = "", skip: int = 0, times: int = 1, **details: Any) -> None:
        self.kind, self.match, self.skip, self.times, self.details = kind, match, skip, times, details
        self.happened = 0


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, engine: Engine | Upstream, users: dict[str, tuple[str, bool]]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = engine
        self.users = users
        self.faults: list[Fault] = []
        self.fault_lock = threading.Lock()

    def next_fault(self, sql: str) -> Fault | None:
        plain = re.sub(r"`|\w+`?\.(?=`?ccusage_)", "", sql)  # clients differ in how they quote a table's name
        with self.fault_lock:
            for fault in self.faults:
                if re.search(fault.match, plain) and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    fault.happened += 1
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for an acknowledgement
    server: Front

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/ping":
            self.answer(200, b"Ok.\n")
        elif path == "/statements":
            self.answer(200, json.dumps(self.server.engine.statements).encode())
        elif path == "/fault":
            self.answer(200, json.dumps([fault.happened for fault in self.server.faults]).encode())
        else:
            self.do_POST()

    def do_POST(self) -> None:
        body = self.body()
        if urlsplit(self.path).path == "/fault":
            with self.server.fault_lock:
                self.server.faults = [Fault(**fault) for fault in json.loads(body)]
            self.answer(200, b"")
            return
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        content_type = self.headers.get("Content-Type", "")
        if content_type.startswith("multipart/form-data"):
            message = email.message_from_bytes(
                b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
            )
            for part in message.walk():
                name, payload = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
                if name is not None and isinstance(payload, bytes):
                    parameters[str(name)] = payload.decode()
            body = b""
        statement = parameters.get("query", "").encode()
        statement = b"\n".join(part for part in (statement, body) if part)
        insert = re.match(rb"\s*INSERT\s.*?\sFORMAT\s+\w+[ \t]*\r?\n", statement, re.DOTALL | re.IGNORECASE)
        data = statement[insert.end() :] if insert else b""
        sql = (statement[: insert.end()] if insert else statement).decode().strip().rstrip(";")
        self.respond(sql, data, parameters)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(chunks)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        modules = {"gzip": "gzip", "lz4": "lz4.frame", "zstd": "backports.zstd"}  # the driver brings the last two
        encoding = self.headers.get("Content-Encoding", "")
        if encoding not in modules:
            return body
        module = importlib.import_module(modules[encoding])
        if encoding != "lz4":
            return bytes(module.decompress(body))
        parts = []
        while body:  # a frame for each block of rows, of which lz4's own decompress reads the first
            frame = module.LZ4FrameDecompressor()
            parts.append(frame.decompress(body))
            body = frame.unused_data or b""
        return b"".join(parts)

    def user(self, parameters: dict[str, str]) -> tuple[str, str]:
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            name, _, password = base64.b64decode(basic[6:]).decode().partition(":")
            return name, password
        name = str(self.headers.get("X-ClickHouse-User") or parameters.get("user", "default"))
        return name, self.headers.get("X-ClickHouse-Key") or parameters.get("password", "")

    def respond(self, sql: str, data: bytes, parameters: dict[str, str]) -> None:
        name, password = self.user(parameters)
        wanted, read_only = self.server.users.get(name, (None, False))
        if wanted is None or wanted != password:
            self.exception(516, f"{name}: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)", 403)
            return
        if read_only and WRITES.match(sql):
            self.exception(164, f"{name}: Cannot execute query in readonly mode. (READONLY)")
            return
        fault = self.server.next_fault(sql)
        kind = fault.kind if fault else ""
        if fault is not None:
            if kind == "hang":
                time.sleep(fault.details["seconds"])
            elif kind == "status":
                self.answer(fault.details["status"], b"the proxy says no")
                return
            elif kind == "exception":
                self.exception(fault.details["code"], fault.details["text"])
                return
            elif kind == "drop_before":
                self.drop()
                return
            elif kind == "die":
                os._exit(9)
        settings = {key: value for key, value in parameters.items() if key not in PROTOCOL_PARAMETERS}
        try:
            output, output_format = self.server.engine.execute(
                sql,
                data,
                str(parameters.get("database") or self.headers.get("X-ClickHouse-Database") or ""),
                settings,
                str(parameters.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"),
            )
        except Exception as error:
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            self.exception(int(code[1]) if code else 1002, text.partition("DB::Exception: ")[2] or text)
            return
        if kind == "drop_after":
            self.drop()
        elif kind == "die_after":
            os._exit(9)
        else:
            summary = '{"read_rows":"0","read_bytes":"0","written_rows":"0","written_bytes":"0"}'
            headers = {"X-ClickHouse-Summary": summary, "X-ClickHouse-Format": output_format}
            self.answer(200, output, headers)

    def exception(self, code: int, text: str, status: int = 500) -> None:
        body = f"Code: {code}. DB::Exception: {text}".encode()
        self.answer(status, body, {"X-ClickHouse-Exception-Code": str(code)})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"X-ClickHouse-Timezone": "UTC", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--path", help="folder of the embedded engine")
    parser.add_argument("--config", type=Path, help="configuration of the embedded engine, for users and grants")
    where.add_argument("--upstream", metavar="URL", help="a real server to pass statements on to")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD[:readonly]")
    options = parser.parse_args()
    users: dict[str, tuple[str, bool]] = {} if options.user else {"default": ("", False)}
    for user in options.user:
        name, password, *rights = user.split(":")
        users[name] = (password, rights == ["readonly"])
    engine = Upstream(options.upstream) if options.upstream else Engine(options.path, options.config)
    front = Front(options.port, engine, users)
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        front.socket = context.wrap_socket(front.socket, server_side=True)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    print(json.dumps({"port": front.server_address[1]}), flush=True)
    sys.stdin.read()  # until the one who started us is gone
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
