"""What is measured of texts being written, as OpenTelemetry's semantic conventions for generative AI name it.

Names, units and bucket boundaries: https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

from collections.abc import Mapping

from services.chassis.telemetry import SECONDS, meter
from services.generator.domain import EngineTimes, Usage

_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_FIRST = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
_PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]
_TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
_duration = meter.create_histogram(
    "gen_ai.server.request.duration", unit="s", description="Time to write a text.", explicit_bucket_boundaries_advisory=_SECONDS
)
_first_token = meter.create_histogram(
    "gen_ai.server.time_to_first_token", unit="s", description="Time to the first token.", explicit_bucket_boundaries_advisory=_FIRST
)
_per_token = meter.create_histogram(
    "gen_ai.server.time_per_output_token",
    unit="s",
    description="Time for each token after the first.",
    explicit_bucket_boundaries_advisory=_PER_TOKEN,
)
_tokens = meter.create_histogram(
    "gen_ai.client.token.usage", unit="{token}", description="Tokens read and written.", explicit_bucket_boundaries_advisory=_TOKENS
)
_queued = meter.create_histogram(
    "corella.generator.queue.duration",
    unit="s",
    description="Time a text waited in the engine before its prompt was read.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_cache = meter.create_counter(
    "corella.cache.lookups", unit="{lookup}", description="Lookups in caches; in the prefix cache, one for each token of a prompt."
)


def measure(common: Mapping[str, str], usage: Usage, times: EngineTimes | None, error: Mapping[str, str]) -> None:
    """Measures one text. `common` says of what kind it is; `error` holds `error.type` when it was not written to its end."""
    _duration.record(usage.generation_seconds, {**common, **error})
    if times is not None:
        _queued.record((times.scheduled - times.queued) / 1e9, {"corella.purpose": common["corella.purpose"]})
    if not usage.completion_tokens:
        return
    _first_token.record(usage.first_token_seconds, common)
    _tokens.record(usage.prompt_tokens, {**common, "gen_ai.token.type": "input"})
    _tokens.record(usage.completion_tokens, {**common, "gen_ai.token.type": "output"})
    if usage.completion_tokens > 1:
        _per_token.record((usage.generation_seconds - usage.first_token_seconds) / (usage.completion_tokens - 1), common)
    for tokens, result in ((usage.cached_prompt_tokens, "hit"), (usage.prompt_tokens - usage.cached_prompt_tokens, "miss")):
        _cache.add(tokens, {"corella.cache": "prefix", "corella.cache.result": result})
