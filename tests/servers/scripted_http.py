"""A real HTTP server on loopback whose answers, faults and slowness tests decide while it runs. The two servers beside it build on it.

A server that runs as a process of its own is told the same by `POST /__control__` with `{"call": "fail", "with": {…}}`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

CONTROL = "/__control__"


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True)
class Answer:
    """What the server says to it."""

    code: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def json(value: Any, code: int = 200) -> Answer:
        return Answer(code, json.dumps(value).encode(), {"content-type": "application/json;charset=UTF-8"})


@dataclass
class Fault:
    """What happens to requests whose path (with query) matches, so many times. -1: until `heal`."""

    pattern: str
    code: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    after_seconds: float = 0.0
    drop: bool = False
    """Close the connection without a word."""
    content: str = ""


class ScriptedServer:
    """Serves `answer` from threads. A subclass says what; tests inject faults and look at `requests`."""

    controls: tuple[str, ...] = ("fail", "heal")

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Asked] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        """As an entry of `allowed_hosts`."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it: from now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def fail(self, pattern: str, **how: Any) -> None:
        """Injects a fault; see `Fault`."""
        with self.lock:
            self.faults.append(Fault(pattern, **how))

    def heal(self) -> None:
        """Takes all faults away."""
        with self.lock:
            self.faults.clear()

    def asked(self, pattern: str) -> list[Asked]:
        """The requests so far whose path matches."""
        return [each for each in self.requests if re.search(pattern, each.path)]

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def handle(self, asked: Asked, target: str) -> Answer | None:
        """The answer, or None to hang up."""
        with self.lock:
            self.requests.append(asked)
            fault = next((each for each in self.faults if each.times and re.search(each.pattern, target)), None)
            if fault:
                fault.times -= 1
        if fault is None:
            with self.lock:
                return self.answer(asked)
        time.sleep(fault.after_seconds)
        if fault.drop:
            return None
        if fault.code == 0:  # slow, and then as ever
            with self.lock:
                return self.answer(asked)
        return Answer(fault.code, fault.content.encode(), fault.headers)


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.handle(Asked(unquote(parts.path), dict(parse_qsl(parts.query)), headers), self.path)
            if answer is None:
                self.close_connection = True
                return
            self._send(answer)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path != CONTROL:
                self._send(Answer(405))
                return
            said = json.loads(content)
            if said["call"] not in server.controls:
                self._send(Answer(404))
                return
            getattr(server, said["call"])(**said.get("with", {}))
            self._send(Answer.json({}))

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "content-length" not in answer.headers and "transfer-encoding" not in answer.headers:
                self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            try:
                self.wfile.write(answer.content)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
