"""Who may call what: the embedder serves the other services."""

from __future__ import annotations

from services.chassis.roles import Role, rules_of

RULES = rules_of(
    "corella.v1.EmbedderService",
    {
        Role.READER: "GetModel",
        Role.SERVICE: "Embed EmbedStream Rerank CountTokens",
    },
)
