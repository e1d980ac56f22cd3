"""The schema of the chart's values, closed against typing mistakes: `python -m deploy.helm.values_schema` writes values.schema.json.

What the chart knows itself is said here; the keys of each `settings` and their bounds come from the services' own settings classes, so that
`helm install` refuses what a service would refuse when it starts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deploy.helm.settings_schema import settings_of
from services.chassis.settings import OidcSettings
from services.embedder.settings import EmbedderSettings
from services.generator.settings import GeneratorSettings
from services.retriever.settings import RetrieverSettings
from services.trainer.settings import TrainerSettings

FILE = Path(__file__).parent / "corella" / "values.schema.json"
IMAGES = ("embedder", "retriever", "generator-cpu", "generator-gpu", "trainer", "ray-node", "models")
SERVICES = ("embedder", "retriever", "generator", "trainer")

Schema = dict[str, Any]

_SERVER = (
    "server.host", "server.port", "server.health_port", "server.drain_seconds", "server.drain_delay_seconds", "server.tls.", "server.auth.",
    "telemetry.otlp_endpoint", "telemetry.sample_ratio", "telemetry.slow_seconds", "telemetry.metrics_port", "telemetry.metrics_host",
    "telemetry.log_level", "telemetry.capture_text",
)  # fmt: skip
_CLIENT = ("address", "ca_file", "certificate_file", "key_file", "token_file")
CHART_SETS = {
    "embedder": (*_SERVER, "model.folder", "reranker.folder", "compute.device", "compute.threads"),
    "retriever": (
        *_SERVER, *(f"embedder.{key}" for key in _CLIENT), "redis_url", "milvus_uri", "milvus_token_file", "blob_url", "secrets_folder",
        "import_roots", "fetch.allowed_hosts",
    ),
    "generator": (
        *_SERVER, *(f"retriever.{key}" for key in _CLIENT), "redis_url", "state_folder", "engine.kind", "openai.base_url", "openai.model",
        "openai.api_key_file", "vllm.model_folder", "vllm.lora", "vllm.max_lora_rank", "vllm.tensor_parallel_size", "adapters.shelf_url",
        "adapters.cache_folder", "adapters.max_candidates", "memory.token_keys_file",
    ),
    "trainer": (
        *_SERVER, *(f"{service}.{key}" for service in ("generator", "retriever") for key in _CLIENT), "redis_url", "shelf_url",
        "base_model_folder", "ray.address", "ray.local_cpus", "teacher.allowed_urls", "teacher.api_key_file",
    ),
}  # fmt: skip
"""Settings that the chart writes from other values, by service; one that ends with a dot stands for all that begin with it."""


def closed(properties: dict[str, Schema], description: str = "") -> Schema:
    """An object with these keys and no other."""
    made: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"description": description, **made} if description else made


def text(pattern: str = "", description: str = "") -> Schema:
    """A string."""
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **({"description": description} if description else {})}


def one_of(*values: str) -> Schema:
    """One of these strings."""
    return {"enum": list(values)}


def whole(least: int = 0, most: int | None = None) -> Schema:
    """A whole number."""
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def each(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def mapping(values: Schema, names: Schema | None = None) -> Schema:
    """An object with any keys, or those of a kind."""
    return {"type": "object", "additionalProperties": values, **({"propertyNames": names} if names else {})}


BOOLEAN: Schema = {"type": "boolean"}
TEXT = text()
NAME = text(r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$", "Name of a Kubernetes object, or empty.")
KEY = text(r"^[A-Za-z0-9._-]*$", "Key of the Secret, or empty.")
ANYTHING: Schema = {"type": "object", "description": "As Kubernetes has it."}
STRINGS = mapping(TEXT)
QUANTITY: Schema = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}
SIZE = text(r"^[0-9]+(\.[0-9]+)?(Ki|M|Mi|G|Gi|T|Ti)$", "With its unit, such as 10Gi.")
DIGEST = text(r"^(sha256:[0-9a-f]{64})?$")
DURATION = text(r"^([0-9]+(h|m|s))+$")
RESOURCES = closed({"requests": mapping(QUANTITY), "limits": mapping(QUANTITY)})
TOLERATION = closed(
    {
        "key": TEXT,
        "operator": one_of("Exists", "Equal"),
        "value": TEXT,
        "effect": one_of("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
        "tolerationSeconds": whole(),
    }
)
PLACEMENT = {"nodeSelector": STRINGS, "tolerations": each({"$ref": "#/definitions/toleration"}), "affinity": ANYTHING}
GPU = closed(
    {
        "enabled": BOOLEAN,
        "resourceName": text("^[a-z0-9.-]+/[A-Za-z0-9._-]+$"),
        "count": whole(1, 64),
        "runtimeClassName": NAME,
        "nodeSelector": STRINGS,
        "tolerations": each({"$ref": "#/definitions/toleration"}),
    }
)
STRATEGY = closed(
    {
        "type": one_of("RollingUpdate", "Recreate"),
        "rollingUpdate": closed({"maxUnavailable": {"type": ["integer", "string"]}, "maxSurge": {"type": ["integer", "string"]}}),
    }
)
EXTRA_ENVIRONMENT = {
    **closed({"name": {**text("^[A-Za-z_][A-Za-z0-9_]*$"), "not": {"pattern": "^CORELLA_"}}, "value": TEXT, "valueFrom": ANYTHING}),
    "required": ["name"],
    "description": "What libraries read. Corella's own variables are written from `settings` and the other values.",
}
CLAIM = {"size": SIZE, "storageClassName": NAME}
ACCESS_MODES = {**each(one_of("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")), "minItems": 1}
STORAGE = closed({"url": TEXT, "existingClaim": NAME, **CLAIM, "accessModes": ACCESS_MODES})
FOREIGN_IMAGE = closed({"repository": text("^[a-z0-9./:_-]+$"), "tag": text("^[A-Za-z0-9._-]+$"), "digest": DIGEST})
MODEL = closed(
    {
        "name": text("^([A-Za-z0-9][A-Za-z0-9._-]*)?$"),
        "source": text(r"^(|bundled:[A-Za-z0-9._-]+|hf:[A-Za-z0-9._-]+/[A-Za-z0-9._-]+@[A-Za-z0-9._-]+|[a-z0-9+]+://.+)$"),
    }
)
PEERS = each({"type": "object", "minProperties": 1, "description": "A NetworkPolicy peer."})
PORT = closed({"port": {"type": ["integer", "string"]}, "endPort": whole(1, 65535), "protocol": one_of("TCP", "UDP")})
DESTINATION = {**closed({"to": PEERS, "ports": {**each(PORT), "minItems": 1}}), "required": ["to", "ports"]}
DESTINATIONS = (
    "dns", "otlp", "externalRedis", "externalMilvus", "externalRay", "generationServer", "objectStorage", "modelHub", "issuer",
    "teachers", "web",
)  # fmt: skip


def autoscaling(*kinds: str, waiting: bool = False) -> Schema:
    """How a component may be scaled."""
    if kinds == ("none",):
        return closed({"kind": one_of("none")})
    bounds = {"minReplicas": whole(1), "maxReplicas": whole(1), "cpuPercent": whole(1, 100)}
    return closed({"kind": one_of(*kinds), **bounds, **({"waitingPerReplica": whole(1)} if waiting else {})})


def process(**further: Schema) -> Schema:
    """A component that is a Deployment."""
    extra = {"podLabels": STRINGS, "podAnnotations": STRINGS, "extraEnv": each({"$ref": "#/definitions/extraEnvironment"})}
    volumes = {"extraVolumes": each(ANYTHING), "extraVolumeMounts": each(ANYTHING)}
    common = {"startupSeconds": whole(1), "tmpSize": SIZE, "resources": {"$ref": "#/definitions/resources"}, **PLACEMENT}
    return closed({**common, **extra, **volumes, **further})


def replicated(scaling: Schema, **further: Schema) -> Schema:
    """A component of which there may be several."""
    return process(replicas=whole(0), strategy={"$ref": "#/definitions/strategy"}, autoscaling=scaling, **further)


def served(scaling: Schema, service: str, **further: Schema) -> Schema:
    """A gRPC service."""
    seconds = {"drainDelaySeconds": whole(), "drainSeconds": whole()}
    return replicated(scaling, **seconds, settings={"$ref": f"#/definitions/{service}Settings"}, **further)


def store(**further: Schema) -> Schema:
    """A StatefulSet of ours with one pod."""
    common = {
        "image": FOREIGN_IMAGE,
        "startupSeconds": whole(1),
        "persistence": closed(CLAIM),
        "resources": {"$ref": "#/definitions/resources"},
    }
    return closed({**common, **PLACEMENT, **further})


def ray_node(**further: Schema) -> Schema:
    """A kind of node of the Ray cluster."""
    sizes = {"graceSeconds": whole(), "tmpSize": SIZE, "sharedMemorySize": SIZE}
    return closed({**sizes, "gpu": {"$ref": "#/definitions/gpu"}, "resources": {"$ref": "#/definitions/resources"}, **PLACEMENT, **further})


def values_schema() -> Schema:
    """The whole schema."""
    gpu = {"$ref": "#/definitions/gpu"}
    beat = process(graceSeconds=whole())
    classes = {"embedder": EmbedderSettings, "retriever": RetrieverSettings, "generator": GeneratorSettings, "trainer": TrainerSettings}
    properties = {
        "nameOverride": NAME,
        "fullnameOverride": NAME,
        "portBase": whole(1024, 65000),
        "listenHost": one_of("0.0.0.0", "::"),  # noqa: S104 within a pod
        "clusterDomain": text("^[a-z0-9.-]+$"),
        "image": closed(
            {
                "registry": text(r"^[a-z0-9][a-z0-9./:_-]*[a-z0-9]$"),
                "tag": text("^[A-Za-z0-9._-]*$"),
                "pullPolicy": one_of("IfNotPresent", "Always", "Never"),
                "pullSecrets": each({**closed({"name": NAME}), "required": ["name"]}),
                "digests": mapping(DIGEST, one_of(*IMAGES)),
            }
        ),
        "secrets": closed({"existingSecret": text("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")}),
        "auth": closed(
            {
                "oidc": closed(
                    {
                        "issuer": text("^(https://.+)?$"),
                        "audience": TEXT,
                        "settings": settings_of(OidcSettings, ("issuer", "audience", "ca_file")),
                    }
                )
            }
        ),
        "tls": closed(
            {
                "mode": one_of("none", "certManager", "existingSecrets"),
                "clientCertificatesFor": {**each(one_of(*SERVICES)), "uniqueItems": True},
                "certManager": closed(
                    {
                        "issuerRef": {
                            **closed({"name": text("^.+$"), "kind": one_of("Issuer", "ClusterIssuer"), "group": TEXT}),
                            "required": ["name", "kind"],
                        },
                        "duration": DURATION,
                        "renewBefore": DURATION,
                    }
                ),
                "existingSecrets": closed(dict.fromkeys((*SERVICES, "client"), NAME)),
            }
        ),
        "telemetry": closed(
            {
                "otlpEndpoint": text("^(https?://.+)?$"),
                "sampleRatio": {"type": "number", "minimum": 0, "maximum": 1},
                "slowSeconds": {"type": "number", "exclusiveMinimum": 0},
                "logLevel": one_of("debug", "info", "warning", "error"),
                "captureText": BOOLEAN,
                "podMonitor": closed({"enabled": BOOLEAN, "labels": STRINGS, "interval": DURATION}),
            }
        ),
        "dashboards": closed(
            {
                **{"enabled": BOOLEAN, "label": TEXT, "labelValue": TEXT, "folderAnnotation": TEXT, "folder": TEXT, "annotations": STRINGS},
                "datasources": closed(
                    {
                        **{"enabled": BOOLEAN, "label": TEXT, "labelValue": TEXT},
                        **{
                            name: closed({"url": text("^(https?://.+)?$"), "uid": text("^[A-Za-z0-9_-]{1,40}$")})
                            for name in ("prometheus", "tempo")
                        },
                    }
                ),
            }
        ),
        "alerts": closed({"enabled": BOOLEAN, "labels": STRINGS, "runbookBaseUrl": TEXT}),
        "serviceAccount": closed({"name": NAME, "annotations": STRINGS}),
        "podSecurity": closed({"userId": whole(1)}),
        "priorityClasses": closed(
            {
                "create": BOOLEAN,
                "servingValue": {"type": "integer", "maximum": 1_000_000_000},
                "trainingValue": {"type": "integer", "maximum": 1_000_000_000},
                "serving": NAME,
                "training": NAME,
            }
        ),
        "networkPolicy": closed(
            {
                "enabled": BOOLEAN,
                "clients": PEERS,
                "monitoring": PEERS,
                "rayOperator": PEERS,
                "destinations": closed(dict.fromkeys(DESTINATIONS, DESTINATION)),
            }
        ),
        "keda": closed({"prometheusAddress": text("^(https?://.+)?$")}),
        "models": closed(
            {
                "embedding": {**MODEL, "required": ["name"]},
                "reranking": MODEL,
                "generation": {**MODEL, "required": ["name"]},
                "hubTokenSecret": closed({"name": NAME, "key": KEY}),
                "volume": closed({"kind": one_of("claim", "emptyDir"), "existingClaim": NAME, **CLAIM, "accessModes": ACCESS_MODES}),
                "resources": {"$ref": "#/definitions/resources"},
            }
        ),
        "storage": closed({"blobs": STORAGE, "shelf": STORAGE, "credentialsSecret": NAME}),
        "sources": closed(
            {
                "directories": each(
                    {
                        **closed({"name": text("^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$"), "existingClaim": NAME}),
                        "required": ["name", "existingClaim"],
                    }
                ),
                "existingSecret": NAME,
                "web": closed({"enabled": BOOLEAN, "allowedHosts": each(TEXT)}),
            }
        ),
        "valkey": store(enabled=BOOLEAN, maxMemory=text("^[0-9]+(b|kb|mb|gb)$")),
        "milvus": store(mode=one_of("lite", "standalone", "external"), uri=text("^(https?://.+)?$"), authentication=BOOLEAN),
        "embedder": served(autoscaling("none", "cpu"), "embedder", gpu=gpu),
        "retriever": served(autoscaling("none", "cpu"), "retriever"),
        "worker": replicated(autoscaling("none", "cpu", "keda", waiting=True), graceSeconds=whole()),
        "retrieverBeat": beat,
        "generator": served(
            autoscaling("none", "cpu", "keda", waiting=True),
            "generator",
            gpu=gpu,
            sharedMemorySize=SIZE,
            lora=closed({"enabled": BOOLEAN, "maxRank": {"enum": [8, 16, 32, 64, 128]}, "maxCandidates": whole(1, 16)}),
            openai=closed({"baseUrl": text("^(https?://.+)?$"), "model": TEXT, "apiKeySecretKey": KEY}),
        ),
        "training": closed({"enabled": BOOLEAN, "teacherUrls": each(text("^https?://.+$")), "teacherKeySecretKey": KEY}),
        "trainer": served(autoscaling("none", "cpu"), "trainer"),
        "trainerWorker": replicated(autoscaling("none"), graceSeconds=whole(), gpu=gpu, sharedMemorySize=SIZE),
        "trainerBeat": beat,
        "ray": closed(
            {
                "enabled": BOOLEAN,
                "address": text("^(ray://.+:[0-9]+)?$"),
                "kubeRay": one_of("auto", "always", "never"),
                "version": text(r"^[0-9]+\.[0-9]+\.[0-9]+$"),
                "head": ray_node(),
                "worker": ray_node(replicas=whole(0)),
            }
        ),
        # Helm itself adds it for charts within charts.
        "global": {"type": "object"},
    }
    definitions = {
        "resources": RESOURCES,
        "toleration": TOLERATION,
        "gpu": GPU,
        "strategy": STRATEGY,
        "extraEnvironment": EXTRA_ENVIRONMENT,
        **{f"{name}Settings": settings_of(each_class, CHART_SETS[name]) for name, each_class in classes.items()},
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Corella", **closed(properties), "definitions": definitions}


def main() -> int:
    """Writes the schema. Returns the exit status."""
    FILE.write_text(json.dumps(values_schema(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
