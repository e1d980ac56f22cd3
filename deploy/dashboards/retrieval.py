"""Dashboard "Retrieval quality": what was found, and what became of it."""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, latency, number
from deploy.dashboards.promql import INSTANCE, equals, mean, quantile, rate, share, total
from deploy.dashboards.questions import ANSWERS, REFUSED

_SEARCHES = "corella_search_duration_seconds"
_CITATIONS = "corella_generator_citations_total"
_LOOKUPS = "corella_cache_lookups_total"
_HIT = equals("corella_cache_result", "hit")
_FEEDBACK = "corella_generator_feedback_total"

_FOUND = Section(
    "What was found",
    (
        number(
            "Best score, median",
            "When it falls, questions ask for what no document holds, or an index was built by another model: check the last reindexing.",
            "percentunit",
            Query(quantile(0.5, "corella_search_top_score", INSTANCE)),
        ),
        number(
            "Found by both searches",
            "Near 0: keywords and vectors disagree. Check the language of the corpus (analyzer) and the "
            "embedding model before tuning the fusion.",
            "percentunit",
            Query(mean("corella_search_overlap", INSTANCE)),
        ),
        number(
            "Passages per search",
            "Below the limit that clients ask for: the corpus is small, or access lists hide most of it from those who ask. Check both.",
            "short",
            Query(mean("corella_search_passages", INSTANCE)),
        ),
        number(
            "Refused",
            "Look at “Refusals by reason” to see whether passages are missing, weak, or not used by the model, and act on the largest.",
            "percentunit",
            Query(share(rate(ANSWERS, REFUSED), rate(ANSWERS))),
            warn=0.3,
            alarm=0.6,
        ),
        number(
            "Citations dropped",
            "Above 20 %: the model cites what passages do not say. Compare adapters, roll back the last one, or shorten the prompt.",
            "percentunit",
            Query(share(rate(_CITATIONS, 'result="dropped"'), rate(_CITATIONS))),
            warn=0.1,
            alarm=0.2,
        ),
        number(
            "Slowest 5 % of searches",
            "When it rises, look at “Duration of searches by mode, slowest 5 %”: vectors go with the embedder, keywords with Milvus. "
            "Check that one first.",
            "s",
            Query(quantile(0.95, _SEARCHES, INSTANCE)),
            warn=0.5,
            alarm=2,
        ),
    ),
)

_QUALITY = Section(
    "Quality",
    (
        graph(
            "Best score of a search",
            "If only p10 falls, some questions have no document: read their refusals. "
            "If all fall at once, compare the time with the last reindexing.",
            "percentunit",
            *(Query(quantile(q, "corella_search_top_score", INSTANCE), f"p{q * 100:.0f}") for q in (0.1, 0.5, 0.9)),
            most=1,
        ),
        graph(
            "Share of passages found by both searches",
            "If it drops after a change of model or analyzer, evaluate with `corella evaluate` before you keep the change.",
            "percentunit",
            *(Query(quantile(q, "corella_search_overlap", INSTANCE), f"p{q * 100:.0f}") for q in (0.1, 0.5, 0.9)),
            most=1,
        ),
        graph(
            "Passages per search",
            "If p10 falls to 0, searches come back empty: check filters that clients send, access lists, and "
            "that the corpus is not being rebuilt.",
            "short",
            *(Query(quantile(q, "corella_search_passages", INSTANCE), f"p{q * 100:.0f}") for q in (0.1, 0.5, 0.9)),
        ),
        graph(
            "Refusals by reason",
            "no_passages: add documents. weak_evidence: look for pages that are out of date. "
            "model_declined, unsupported: evaluate the model or the adapter.",
            "short",
            Query(rate("corella_generator_refusals_total", by="reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Citations kept and dropped",
            "If “dropped” grows after a promotion, roll the adapter back with `corella adapters rollback` and read its evaluation again.",
            "short",
            Query(rate(_CITATIONS, by="result"), "{{result}}"),
            stacked=True,
        ),
        graph(
            "Sentences taken out of answers",
            "If it grows, the model says more than the passages do: evaluate it, or give more passages per question.",
            "short",
            Query(rate("corella_generator_sentences_dropped_total"), "sentences per second"),
        ),
    ),
)

_SPEED = Section(
    "Speed and caches",
    (
        graph(
            "Duration of searches",
            "Click a point to open its trace. If the embedding is the long bar, look at the embedder's queue; if "
            "Milvus is, check its memory.",
            "s",
            *latency(_SEARCHES, INSTANCE),
        ),
        graph(
            "Duration of searches by mode, slowest 5 %",
            "If HYBRID is much slower than KEYWORD, the embedder holds it up: add embedders. If both rose, look at Milvus.",
            "s",
            Query(quantile(0.95, _SEARCHES, INSTANCE, by="corella_search_mode"), "{{corella_search_mode}}"),
        ),
        graph(
            "Searches per second by mode",
            "If VECTOR or KEYWORD appears where clients use HYBRID, someone set the mode: check the clients' retrieval options.",
            "short",
            Query(rate(f"{_SEARCHES}_count", INSTANCE, by="corella_search_mode"), "{{corella_search_mode}}"),
            stacked=True,
        ),
        graph(
            "Cache hits",
            "A cache that falls to 0 was just restarted or is too small: compare with the restarts first, then give it more room.",
            "percentunit",
            Query(
                f"{rate(_LOOKUPS, _HIT, by='corella_cache')} / {rate(_LOOKUPS, by='corella_cache')}",
                "{{corella_cache}}",
            ),
            most=1,
        ),
        graph(
            "Embedder: tokens waiting",
            "If it stays above zero, questions wait behind documents: add embedders, or let fewer documents be embedded at once.",
            "short",
            Query(total("corella_embedder_queue_tokens"), "tokens"),
        ),
        graph(
            "Feedback by rating",
            "If bad ratings grow, read those answers with `corella feedback list`; if it stops, see whether clients still send it.",
            "short",
            Query(rate(_FEEDBACK, by="corella_feedback_rating"), "{{corella_feedback_rating}}"),
            stacked=True,
        ),
    ),
)

BOARD = Board(
    name="retrieval-quality",
    title="Retrieval quality",
    purpose="Do searches find what answers need, and do answers rest on it?",
    sections=(_FOUND, _QUALITY, _SPEED),
    instances_of="corella_search_duration_seconds_count",
    range_start="now-6h",
)
