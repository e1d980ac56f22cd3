"""Calls that may be repeated under a request id (AIP-155): what is kept of one, and whether a repeat is the same call."""

from __future__ import annotations

import hashlib
import json

from services.chassis import identity
from services.retriever.domain import RequestIdReused


class Request:
    """A call that may be repeated: its method, its id, and what identifies its content.

    Of the content a hash is kept, so that nothing of a document stays behind here when it is deleted. Ids of two tenants never meet.
    """

    def __init__(self, method: str, request_id: str, content: str) -> None:
        self.method = method
        self.id = request_id
        self.content = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        caller = identity.current_or_none()
        self._tenant = caller.tenant if caller else identity.DEFAULT_TENANT

    def key(self, prefix: str) -> str:
        """Where its answer is kept; empty for a call without an id."""
        return f"{prefix}request:{self._tenant}:{self.method}:{self.id}" if self.id else ""

    def record(self, answer: str) -> str:
        """What is kept."""
        return json.dumps([self.content, answer])

    def answer(self, record: str) -> str:
        """The answer in what was kept. Raises `RequestIdReused` when it was for other content."""
        content, answer = json.loads(record)
        if content != self.content:
            raise RequestIdReused(self.id)
        return str(answer)
