"""Dashboard "Generation and GPU": vLLM, and the GPU below it where NVIDIA's DCGM exporter runs."""

from __future__ import annotations

from deploy.dashboards.board import Board, Section
from deploy.dashboards.panels import Query, graph, latency, number
from deploy.dashboards.promql import INSTANCE, mean, or_zero, processes, quantile, rate, select, share, total

_CACHE_HITS = share(rate("vllm:prefix_cache_hits_total", INSTANCE), rate("vllm:prefix_cache_queries_total", INSTANCE))

_OVERVIEW = Section(
    "Engine",
    (
        number(
            "Running",
            "At the limit of sequences (`max_sequences`) with others waiting: add a generator. "
            "Far below it while some wait: the KV cache is full.",
            "short",
            Query(total("vllm:num_requests_running", INSTANCE)),
        ),
        number(
            "Waiting",
            "Above 0 for minutes: add generators (KEDA does so by itself where it is on), or accept the wait; "
            "generator-waiting.md has the steps.",
            "short",
            Query(total("vllm:num_requests_waiting", INSTANCE)),
            warn=1,
            alarm=8,
        ),
        number(
            "KV cache in use",
            "Near 100 %: texts are preempted and computed again. Give the cache more memory, shorten prompts, or add a generator.",
            "percentunit",
            Query(f"max({select('vllm:kv_cache_usage_perc', INSTANCE)})"),
            warn=0.8,
            alarm=0.95,
        ),
        number(
            "Prefix cache hits",
            "A fall after a release means that prompts no longer begin alike: check what changed in the "
            "instruction or the order of passages.",
            "percentunit",
            Query(_CACHE_HITS),
        ),
        number(
            "Tokens written per second",
            "If it falls while texts wait, the engine got slower: look at preemptions here and at the GPU's clock and temperature below.",
            "short",
            Query(rate("vllm:generation_tokens_total", INSTANCE)),
        ),
        number(
            "Generators",
            "Fewer than you deployed: see which pod is not ready and why; a model that loads for minutes is normal after a start.",
            "short",
            Query(processes("corella-generator")),
        ),
    ),
)

_ENGINE = Section(
    "Load and latency",
    (
        graph(
            "Requests in the engine",
            "If “waiting” stays above 0, add generators; if “running” is uneven between instances, check that clients balance their calls.",
            "short",
            Query(total("vllm:num_requests_running", INSTANCE, by="instance"), "running {{instance}}"),
            Query(total("vllm:num_requests_waiting", INSTANCE, by="instance"), "waiting {{instance}}"),
        ),
        graph(
            "KV cache in use",
            "If one instance is full and others are not, calls are not balanced: check the client's service config before you buy memory.",
            "percentunit",
            Query(select("vllm:kv_cache_usage_perc", INSTANCE), "{{instance}}"),
            most=1,
        ),
        graph(
            "Preemptions per second",
            "Above 0: the KV cache is too small for the load, and work is done twice. Give it more memory or lower `max_sequences`.",
            "short",
            Query(rate("vllm:num_preemptions_total", INSTANCE, by="instance"), "{{instance}}"),
        ),
        graph(
            "Tokens per second",
            "If “read” grows and “written” does not, prompts got longer: check how many passages clients ask for.",
            "short",
            Query(rate("vllm:prompt_tokens_total", INSTANCE), "read"),
            Query(rate("vllm:generation_tokens_total", INSTANCE), "written"),
        ),
        graph(
            "Time to first token",
            "Click a point to open its trace. Compare it with the queue beside it: what is not waiting is the prefill of long prompts.",
            "s",
            *latency("gen_ai_server_time_to_first_token_seconds", INSTANCE),
        ),
        graph(
            "Time per token after the first",
            "If it rises with the number running, the batch is large: lower `max_sequences` for speed, leave it for throughput.",
            "s",
            *latency("gen_ai_server_time_per_output_token_seconds", INSTANCE),
        ),
        graph(
            "Wait before prefill",
            "If it rises, texts wait for room in the batch or in the KV cache: look at which of the two is full, then enlarge that one.",
            "s",
            *(Query(quantile(q, "vllm:request_queue_time_seconds", INSTANCE), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
        ),
        graph(
            "Texts by purpose",
            "If summaries take a large part, compare their tokens with the answers' and switch summaries off where nobody converses.",
            "short",
            Query(rate("gen_ai_server_request_duration_seconds_count", INSTANCE, by="corella_purpose"), "{{corella_purpose}}"),
            stacked=True,
        ),
        graph(
            "Tokens of a text, mean",
            "If “input” jumps, see what clients ask for (passages, style); if “output” reaches the limit, "
            "answers are cut: raise `max_tokens`.",
            "short",
            Query(mean("gen_ai_client_token_usage", INSTANCE, by="gen_ai_token_type"), "{{gen_ai_token_type}}"),
        ),
    ),
)

_ADAPTERS = Section(
    "Adapters",
    (
        graph(
            "Answers by what wrote them",
            "If “base” appears while an adapter should serve, a replica could not load it: look at “Adapters "
            "refused”, then at that pod's log.",
            "short",
            Query(rate("corella_generator_answers_total", INSTANCE, by="corella_adapter_serving"), "{{corella_adapter_serving}}"),
            stacked=True,
        ),
        graph(
            "Switches of what serves",
            "More switches than promotions: replicas go back and forth. Check that all see the same shelf and that its clock is right.",
            "short",
            Query(or_zero(rate("corella_generator_adapter_switched_total", INSTANCE, by="instance")), "{{instance}}"),
        ),
        graph(
            "Adapters refused",
            "Any: the version on the shelf is damaged or does not fit the model. Roll back, then follow the page adapter-refused.md.",
            "short",
            Query(rate("corella_generator_adapter_refused_total", INSTANCE, by="reason"), "{{reason}}"),
        ),
    ),
)

_NEEDS_DCGM = " Needs NVIDIA's DCGM exporter; empty without it."
# Its series bear the namespace of the exporter, not ours: what counts is the node.
_GPU = Section(
    "GPU (needs NVIDIA's DCGM exporter)",
    (
        graph(
            "GPU busy",
            f"Low while texts wait: the processor or the network holds the engine up. Check the pod's CPU limit first.{_NEEDS_DCGM}",
            "percent",
            Query("avg by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}"),
            most=100,
        ),
        graph(
            "GPU memory in use",
            f"Near 100 % is normal: vLLM takes its share at the start. If others need the card, lower vLLM's share.{_NEEDS_DCGM}",
            "percentunit",
            Query("DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)", "{{Hostname}} {{gpu}}"),
            most=1,
        ),
        graph(
            "Tensor cores busy",
            f"Below 10 % under load: batches are too small to use the card. Raise `max_sequences` or use fewer cards.{_NEEDS_DCGM}",
            "percentunit",
            Query("avg by (Hostname, gpu) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE)", "{{Hostname}} {{gpu}}"),
            most=1,
        ),
        graph(
            "GPU temperature",
            f"Above 85 °C the card slows itself down: check the cooling of that node and move the pod away meanwhile.{_NEEDS_DCGM}",
            "celsius",
            Query("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP)", "{{Hostname}} {{gpu}}"),
        ),
        graph(
            "GPU power",
            f"If it falls at the same load, the card is throttled: compare with its temperature and check the power limit.{_NEEDS_DCGM}",
            "watt",
            Query("sum by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE)", "{{Hostname}} {{gpu}}"),
        ),
        graph(
            "GPU errors (XID)",
            f"Any number above 0 is the code of the last error: look it up in NVIDIA's list and drain the node if it repeats.{_NEEDS_DCGM}",
            "short",
            Query("max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS)", "{{Hostname}} {{gpu}}"),
        ),
    ),
)

BOARD = Board(
    name="generation",
    title="Generation and GPU",
    purpose="Is the engine full, how fast does it write, what serves, and what does the GPU do?",
    sections=(_OVERVIEW, _ENGINE, _ADAPTERS, _GPU),
    instances_of="vllm:num_requests_running",
)
