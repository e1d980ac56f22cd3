"""What vLLM counts by itself, in the process's Prometheus registry: `vllm:*`.

Imports vLLM, so it is imported only where vLLM is started.
"""

from __future__ import annotations

from prometheus_client import REGISTRY
from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import PrometheusStatLogger


class VllmMetrics(PrometheusStatLogger):
    """vLLM's own, without `vllm:lora_requests_info`: its labels list the adapters in use, and each new version would stay as a series."""

    def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
        super().__init__(vllm_config, engine_indexes)
        if self.gauge_lora_info is not None:
            REGISTRY.unregister(self.gauge_lora_info)
            self.gauge_lora_info = None
