"""How a channel behaves, as gRPC's service config: calls are spread over all replicas of a service, and lost ones are made again.

Spread: over every address of the name, but for replicas that say they go (grpc.health.v1), before they stop.

Made again is only what may be: methods whose contract has an `idempotency_level`, and only when the connection was lost (UNAVAILABLE) or
the server ended under the call (CANCELLED). A call that no server has seen, because it was on its way while one said goodbye, gRPC makes
again by itself, whatever its method. A service that answers UNAVAILABLE in its own words also says that the call is not to be repeated
(`services/chassis/errors.py`): else three services in a row, each with four attempts, would make 64 calls of one.

The format: https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import MethodOptions

ATTEMPTS = 4
"""Of one call, the first included: after 0.1, 0.3 and 0.9 s at most (gRPC waits a random part of it)."""
BUDGET_TOKENS = 100
"""Of all calls to one address: a lost call takes one, and with half of them gone nothing is repeated. So at most 50 repeats at first …"""
BUDGET_REFILL = 0.1
"""… and one for ten calls that succeed after that: repeating never adds more than a tenth to what a struggling service has to bear."""


@cache
def service_config() -> str:
    """The service config of all of Corella's services, JSON."""
    retry = {
        "maxAttempts": ATTEMPTS,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        # Channels watch each replica's health (grpc.health.v1), and send nothing more to one that says it goes.
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [{"name": [{"service": s, "method": m} for s, m in repeatable_methods()], "retryPolicy": retry}],
        "retryThrottling": {"maxTokens": BUDGET_TOKENS, "tokenRatio": BUDGET_REFILL},
    }
    return json.dumps(config, separators=(",", ":"))


def repeatable_methods() -> list[tuple[str, str]]:
    """(service, method) of every method that the contracts call idempotent or free of side effects."""
    # Imported here: whoever imports this module need not have the contracts loaded.
    from corella.v1 import embedder_pb2, generator_pb2, retriever_pb2, source_pb2, trainer_pb2

    files: tuple[Any, ...] = (embedder_pb2, generator_pb2, retriever_pb2, source_pb2, trainer_pb2)
    return [
        (service.full_name, method.name)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    ]


def channel_options() -> list[tuple[str, Any]]:
    """What every channel to a service of Corella has in common, whoever opens it."""
    return [
        ("grpc.service_config", service_config()),
        # A service that was restarted is found again within a second, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # Pods that were replaced have other addresses; gRPC would look them up every half minute at most.
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        # A machine that is gone does not say goodbye: 30 s, then 10 s more, until a call on it is known to be lost.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
