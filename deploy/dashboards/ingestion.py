"""Dashboard "Ingestion": documents on their way in."""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, latency, number
from deploy.dashboards.promql import INSTANCE, equals, growth, or_zero, processes, quantile, rate, reported, select, share

_DEPTH = "corella_queue_depth"
_AGE = "corella_queue_oldest_age_seconds"
_DOCUMENTS = "corella_documents"
_ENDED = "corella_ingest_documents_total"
_FAILED = 'corella_document_state="FAILED"'
_INGEST_QUEUE = 'corella_queue="ingest"'
_STATE = "corella_document_state"
_TAKEN_UP = "corella_ingest_document_duration_seconds"

_OVERVIEW = Section(
    "Is it keeping up?",
    (
        number(
            "Waiting",
            "If it grows for an hour, add workers (KEDA does so by itself where it is on) or look at “Documents "
            "per second” for what holds them up.",
            "short",
            Query(reported(_DEPTH, "corella_queue", _INGEST_QUEUE)),
        ),
        number(
            "Oldest waiting",
            "Above a quarter of an hour: follow the page queue-old.md of the runbooks. Check first that workers are there at all.",
            "s",
            Query(f"max({select(_AGE, _INGEST_QUEUE)})"),
            warn=300,
            alarm=900,
        ),
        number(
            "Documents per second",
            "If documents wait and this is 0, workers are away or wait for the embedder or Milvus: read a worker's log.",
            "short",
            Query(rate(_ENDED)),
        ),
        number(
            "Failed in this range",
            "Read the reasons with `corella documents list --state failed`; the page ingestion-fails.md says what to do about each.",
            "short",
            Query(or_zero(growth(_ENDED, _FAILED))),
            warn=1,
        ),
        number(
            "Worker processes",
            "0: nothing is read, nothing is lost; start workers and see what ended them (the page worker-missing.md).",
            "short",
            Query(processes("corella-retriever-worker")),
        ),
        number(
            "Searchable documents",
            "If it falls and nobody deleted anything, look at the sources' last syncs and at the audit before anything else.",
            "short",
            Query(reported(_DOCUMENTS, _STATE, equals(_STATE, "ACTIVE"))),
        ),
    ),
)

_DOCUMENT = Section(
    "Documents",
    (
        graph(
            "Documents by state",
            "If PROCESSING stays while nothing becomes ACTIVE, a document holds a worker up: find it with "
            "`corella documents list --state processing`.",
            "short",
            Query(reported(_DOCUMENTS, _STATE, by=_STATE), "{{corella_document_state}}"),
            stacked=True,
        ),
        graph(
            "Documents per second by outcome",
            "If FAILED grows beside ACTIVE, read the reasons; if both fall while documents wait, look at the embedder and at Milvus.",
            "short",
            Query(rate(_ENDED, INSTANCE, by="corella_document_state"), "{{corella_document_state}}"),
            stacked=True,
        ),
        graph(
            "From taken up to searchable or failed",
            "Click a point to open its trace; the long bar says whether reading, embedding or writing takes the time. Act on that one.",
            "s",
            *latency(_TAKEN_UP, INSTANCE),
        ),
        graph(
            "Share that fails",
            "Above 5 %: one kind of document is the usual cause. Group the reasons by file type, then convert or exclude that type.",
            "percentunit",
            Query(share(rate(_ENDED, _FAILED), rate(_ENDED)), "failed"),
            most=1,
        ),
        graph(
            "Chunks per second by where their vectors came from",
            "If everything is “computed” after small changes, chunk boundaries moved: check whether the settings of chunking were changed.",
            "short",
            Query(rate("corella_ingest_chunks_total", INSTANCE, by="corella_vector"), "{{corella_vector}}"),
            stacked=True,
        ),
        graph(
            "Reading processes ended",
            "Ends by memory or time: a document is too large for the sandbox. "
            "Raise its limits only for files you trust, else exclude the file.",
            "short",
            Query(rate("corella_parsing_children_total", INSTANCE, by="corella_parsing_end"), "{{corella_parsing_end}}"),
            stacked=True,
        ),
    ),
)

_BACKGROUND = Section(
    "Queues, syncs, reindexing",
    (
        graph(
            "Waiting by queue",
            "A queue that only grows has too few workers or none: compare with “Worker processes”, then add workers.",
            "short",
            Query(reported(_DEPTH, "corella_queue", by="corella_queue"), "{{corella_queue}}"),
        ),
        graph(
            "Oldest waiting by queue",
            "An age that rises as fast as the clock means that nothing is taken from that queue: check its workers and its beat.",
            "s",
            Query(f"max by (corella_queue) ({select(_AGE)})", "{{corella_queue}}"),
        ),
        graph(
            "Beats",
            "Below 1: schedules and syncs no longer begin by themselves and these gauges stand still. "
            "Start the beat again (beat-missing.md).",
            "short",
            Query(processes("corella-(retriever|trainer)-beat", by="service_name"), "{{service_name}}"),
        ),
        graph(
            "Sources by state",
            "FAILED or WAITING_FOR_CONFIRMATION: read why with `corella sources show`, and confirm removals only when they are meant.",
            "short",
            Query(reported("corella_sources", "corella_source_state", by="corella_source_state"), "{{corella_source_state}}"),
            stacked=True,
        ),
        graph(
            "Syncs by how they ended",
            "If “failed” repeats, the place cannot be reached or its credentials ran out: `corella sources show` has the reason; fix that.",
            "short",
            Query(rate("corella_syncs_total", INSTANCE, by="corella_sync_ended"), "{{corella_sync_ended}}"),
            stacked=True,
        ),
        graph(
            "Reindexing: documents per second",
            "If it stops before the switch, look for FAILED here and for its reason with `corella corpora "
            "indexes`; roll back if it cannot end.",
            "short",
            Query(rate("corella_reindex_documents_total", INSTANCE, by="corella_document_state"), "{{corella_document_state}}"),
            stacked=True,
        ),
        graph(
            "Embedder: texts per second",
            "If it is flat while documents wait, the embedder is the narrow place: add embedders before you add workers.",
            "short",
            Query(rate("corella_embedder_texts_total"), "texts"),
            width=12,
        ),
        graph(
            "Embedder: time of a batch",
            "If it rises at the same number of tokens, the machine is short of processors: check its limits and its neighbours.",
            "s",
            *(Query(quantile(q, "corella_embedder_batch_duration_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
            width=12,
        ),
    ),
)

BOARD = Board(
    name="ingestion",
    title="Ingestion",
    purpose="Do documents become searchable, how soon, and which do not?",
    sections=(_OVERVIEW, _DOCUMENT, _BACKGROUND),
    instances_of="corella_ingest_documents_total",
    range_start="now-6h",
)
