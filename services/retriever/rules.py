"""Who may call what. Which corpora and documents a caller sees is another matter: see access.py."""

from __future__ import annotations

from services.chassis.roles import Role, rules_of

RULES = {
    **rules_of(
        "corella.v1.RetrieverService",
        {
            Role.READER: (
                "GetCorpus ListCorpora GetDocument ListDocuments Search ListChunks BatchGetChunks GetOperation ListOperations WaitOperation"
            ),
            Role.WRITER: (
                "CreateCorpus DeleteCorpus IngestDocuments ImportDocuments DeleteDocument UpdateDocumentAccess RetryDocuments"
                " CancelOperation ReindexCorpus RollBackCorpus"
            ),
            Role.ADMIN: "AuditDocument",
        },
    ),
    # A source's settings tell where documents lie, and its failures name them.
    **rules_of(
        "corella.v1.SourceService",
        {Role.WRITER: "CreateSource GetSource ListSources UpdateSource DeleteSource SyncSource PauseSource ResumeSource"},
    ),
}
