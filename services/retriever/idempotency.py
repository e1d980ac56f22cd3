"""Calls that may be repeated under a request id (AIP-155): what is kept of one, and whether a repeat is the same call."""

from __future__ import annotations

import json

from services.retriever.domain import RequestIdReused


class Request:
    """A call that may be repeated: its method, its id, and what identifies its content."""

    def __init__(self, method: str, request_id: str, content: str) -> None:
        self.method = method
        self.id = request_id
        self.content = content

    def key(self, prefix: str) -> str:
        """Where its answer is kept; empty for a call without an id."""
        return f"{prefix}request:{self.method}:{self.id}" if self.id else ""

    def record(self, answer: str) -> str:
        """What is kept."""
        return json.dumps([self.content, answer])

    def answer(self, record: str) -> str:
        """The answer in what was kept. Raises `RequestIdReused` when it was for other content."""
        content, answer = json.loads(record)
        if content != self.content:
            raise RequestIdReused(self.id)
        return str(answer)
