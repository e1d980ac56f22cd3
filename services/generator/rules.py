"""Who may call what."""

from __future__ import annotations

from services.chassis.roles import Role, rules_of

RULES = rules_of(
    "corella.v1.GeneratorService",
    {
        Role.READER: (
            "Ask Complete Summarize GetConversation ListConversations DeleteConversation CreateFeedback GetGenerationModel"
            " RenderPrompt CiteText"
        ),
        Role.WRITER: "ForgetDocument",
        # What others asked and thought; and what shows how a model was trained.
        Role.TRAINER: "ListFeedback GetUsage ScoreText",
        Role.ADMIN: "AuditDocument",
    },
)
