"""Dashboard "Questions": from the rate of questions down to one trace."""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, latency, number, trace_table, trace_view
from deploy.dashboards.promql import INSTANCE, growth, mean, or_zero, quantile, rate, select, share, total

CALLS = "rpc_server_call_duration_seconds_count"
ASK = 'rpc_method="corella.v1.GeneratorService/Ask"'
FAULT = 'rpc_response_status_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED"'
"""How a call ends that the caller did nothing wrong in. The alerts count the same."""
ANSWERS = "corella_generator_answers_total"
REFUSED = 'corella_answer_outcome="refused"'
WRITTEN = 'corella_answer_outcome=~"answered|refused"'
"""Answers that came to their end. Others took as long as it took to fail or to leave."""
_ANSWER_SPAN = 'resource.service.name = "corella-generator" && name = "corella.v1.GeneratorService/Ask"'

_OVERVIEW = Section(
    "Rate, errors, duration",
    (
        number(
            "Questions per second",
            "When it falls to nothing while people are at work, look at the errors beside it and at what stands before the service.",
            "reqps",
            Query(rate(CALLS, ASK, INSTANCE)),
        ),
        number(
            "Failed",
            "Above 1 %: open “Calls by outcome” for the code, then “Failed answers” for a trace; its red span "
            "names the service to look at.",
            "percentunit",
            Query(share(rate(CALLS, ASK, FAULT, INSTANCE), rate(CALLS, ASK, INSTANCE))),
            warn=0.005,
            alarm=0.02,
        ),
        number(
            "Slowest 5 %",
            "When it rises, look at “Where the time goes”: the part that grew says which dashboard to open next.",
            "s",
            Query(quantile(0.95, "corella_generator_answer_duration_seconds", WRITTEN, INSTANCE)),
            warn=5,
            alarm=10,
        ),
        number(
            "Time to first token, median",
            "When it rises alone, prompts wait or grew: look at the queue in “Generation and GPU” and at the prefix cache's hits.",
            "s",
            Query(quantile(0.5, "gen_ai_server_time_to_first_token_seconds", 'corella_purpose="answer"', INSTANCE)),
            warn=2.5,
            alarm=5,
        ),
        number(
            "Refused",
            "A jump means that documents are missing or search has got worse: open “Retrieval quality” and compare the reasons there.",
            "percentunit",
            Query(share(rate(ANSWERS, REFUSED, INSTANCE), rate(ANSWERS, INSTANCE))),
            warn=0.3,
            alarm=0.6,
        ),
        number(
            "Questions in this range",
            "Compare it with the same range last week before you believe any share on this page; a few questions say little.",
            "short",
            Query(growth(CALLS, ASK, INSTANCE)),
        ),
    ),
)

_COURSE = Section(
    "How it goes",
    (
        graph(
            "Calls by outcome",
            "UNAVAILABLE: a service below is away. DEADLINE_EXCEEDED: too slow. RESOURCE_EXHAUSTED: add generators. "
            "INTERNAL: a bug; look at its trace.",
            "reqps",
            Query(rate(CALLS, ASK, INSTANCE, by="rpc_response_status_code"), "{{rpc_response_status_code}}"),
            stacked=True,
        ),
        graph(
            "Duration of an answer",
            "Click a point to open its trace. If p99 leaves p95 behind, a few long texts wait for each other; if "
            "all rise, the engine is full.",
            "s",
            *latency("corella_generator_answer_duration_seconds", WRITTEN, INSTANCE),
        ),
        graph(
            "Time to first token",
            "Click a point to open its trace. If it rises with the load, add generators; if it rises alone, look for longer prompts.",
            "s",
            *latency("gen_ai_server_time_to_first_token_seconds", 'corella_purpose="answer"', INSTANCE),
        ),
        graph(
            "Where the time goes",
            "Look at the part that grew: retrieval → “Retrieval quality”; queue → add generators; prefill → "
            "prompts grew; decode → answers grew or the engine is full.",
            "s",
            Query(mean("corella_generator_retrieval_duration_seconds", INSTANCE), "retrieval"),
            Query(mean("vllm:request_queue_time_seconds", INSTANCE), "queue"),
            Query(mean("vllm:request_prefill_time_seconds", INSTANCE), "prefill"),
            Query(mean("vllm:request_decode_time_seconds", INSTANCE), "decode"),
            stacked=True,
        ),
        graph(
            "Answers",
            "When “refused” grows beside “answered”, open “Retrieval quality”; when “failed” grows, open a trace "
            "from the table of failed answers.",
            "short",
            Query(rate(ANSWERS, INSTANCE, by="corella_answer_outcome"), "{{corella_answer_outcome}}"),
            stacked=True,
        ),
        graph(
            "Calls under way and turned away",
            "If calls are turned away, the queue is full: add generators, or raise the limits of the queue if the wait is acceptable.",
            "short",
            Query(total("corella_generator_calls_active", INSTANCE), "under way"),
            Query(or_zero(rate("corella_generator_calls_rejected_total", INSTANCE)), "turned away per second"),
        ),
        graph(
            "All services: duration of calls, slowest 5 %",
            "Find the method that rose first: services below (embedder, retriever) make those above slow, not the other way round.",
            "s",
            Query(quantile(0.95, "rpc_server_call_duration_seconds", by="rpc_method"), "{{rpc_method}}"),
            width=12,
        ),
        graph(
            "All services: calls that failed",
            "Start with the lowest service that shows failures (embedder before retriever before generator); the others only pass them on.",
            "reqps",
            Query(rate(CALLS, FAULT, by="rpc_method, rpc_response_status_code"), "{{rpc_method}} {{rpc_response_status_code}}"),
            width=8,
        ),
        graph(
            "Conversation store",
            "0 means that answers go on without their conversation: check Redis, and follow the page memory-down.md of the runbooks.",
            "short",
            Query(f"min({select('corella_generator_memory_up', INSTANCE)})", "reachable"),
            width=4,
        ),
    ),
)

_TRACES = Section(
    "Down to one trace",
    (
        trace_table(
            "Slow answers",
            "Click a trace to see it below; the longest bar without children is where the time went. Set the limit in “Slower than”.",
            f"{{ {_ANSWER_SPAN} && duration > ${{slow}} }}",
        ),
        trace_table(
            "Failed answers",
            "Click a trace to see it below; start at the deepest red span, its status says what failed, and which service.",
            f"{{ {_ANSWER_SPAN} && status = error }}",
        ),
        trace_table(
            "Refused answers",
            "Click a trace and read its refusal reason: no_passages asks for documents, weak_evidence for better "
            "ones, unsupported for a better model.",
            f'{{ {_ANSWER_SPAN} && span.corella.answer.outcome = "refused" }}',
        ),
        trace_table(
            "Answers by an adapter",
            "Compare a trace with one of the base model when answers got worse after a promotion; the link leads "
            "to the run that trained it.",
            f'{{ {_ANSWER_SPAN} && span.corella.adapter.name =~ "${{adapter}}" }}',
        ),
        trace_view(
            "One trace",
            "Choose a trace above or paste an id into “Trace”. If spans are missing, check that every service sends to the same collector.",
            "${trace}",
        ),
    ),
)

BOARD = Board(
    name="questions",
    title="Questions",
    purpose="Do people get answers, how soon, and where does the time go? From the rate of questions down to one trace.",
    sections=(_OVERVIEW, _COURSE, _TRACES),
    instances_of="corella_generator_answers_total",
    text_boxes=(("slow", "Slower than", "5s"), ("adapter", "Adapter", ".+"), ("trace", "Trace", "")),
)
