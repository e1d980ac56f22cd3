"""What the chart is rendered with: every profile with every switch that changes what is made, and single cases beside them."""

from __future__ import annotations

from typing import Any

from rendering import PROFILES, ValueSet

CERT_MANAGER, KEDA, KUBE_RAY = "cert-manager.io/v1", "keda.sh/v1alpha1", "ray.io/v1"
MONITORING = "monitoring.coreos.com/v1"
SERVICES = ("embedder", "retriever", "generator", "trainer")
COMPONENTS = (*SERVICES, "worker", "retrieverBeat", "trainerWorker", "trainerBeat")

GPU = {
    "enabled": True,
    "count": 2,
    "runtimeClassName": "nvidia",
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
}
SCALED_BY_CPU = {
    name: {"autoscaling": {"kind": "cpu", "minReplicas": 2, "maxReplicas": 6}}
    for name in ("embedder", "retriever", "worker", "generator", "trainer")
}
S3 = {"blobs": {"url": "s3://corella/blobs"}, "shelf": {"url": "s3://corella/shelf"}, "credentialsSecret": "object-storage"}
HUB = {
    "embedding": {"name": "bge-small", "source": "hf:example/bge-small@main"},
    "generation": {"name": "large", "source": "hf:example/large@main"},
}
TLS_SECRETS = {"mode": "existingSecrets", "existingSecrets": {name: f"{name}-certificate" for name in (*SERVICES, "client")}}

# Each with every profile. The second part is what the cluster is said to know.
SWITCHES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "as-it-is": ({}, ()),
    "redis-elsewhere": ({"valkey": {"enabled": False}}, ()),
    "milvus-standalone": ({"milvus": {"mode": "standalone"}}, ()),
    "milvus-elsewhere": ({"milvus": {"mode": "external", "uri": "http://milvus.example:19530"}}, ()),
    "scaled-by-cpu": (SCALED_BY_CPU, ()),
    "scaled-by-keda": (
        {
            "keda": {"prometheusAddress": "http://prometheus.monitoring:9090"},
            "worker": {"autoscaling": {"kind": "keda"}},
            "generator": {"autoscaling": {"kind": "keda"}},
        },
        (KEDA,),
    ),
    "tls-by-cert-manager": ({"tls": {"mode": "certManager"}}, (CERT_MANAGER,)),
    "tls-by-secrets": ({"tls": TLS_SECRETS}, ()),
    "oidc": ({"auth": {"oidc": {"issuer": "https://issuer.example", "audience": "corella", "settings": {"user_claim": "email"}}}}, ()),
    "ray-by-operator": (
        {"training": {"enabled": True}, "ray": {"enabled": True, "kubeRay": "always", "worker": {"replicas": 3}}},
        (KUBE_RAY,),
    ),
    "ray-without-operator": ({"training": {"enabled": True}, "ray": {"enabled": True, "kubeRay": "never"}}, ()),
    "gpu": ({"embedder": {"gpu": GPU}, "generator": {"gpu": GPU}, "trainerWorker": {"gpu": GPU}}, ()),
    "watched": (
        {
            "telemetry": {
                "otlpEndpoint": "http://collector.monitoring:4317",
                "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            },
            "dashboards": {"enabled": True},
            "alerts": {"enabled": True},
        },
        (MONITORING,),
    ),
    "data-elsewhere": ({"storage": S3, "models": HUB}, ()),
}

# Once each, on the chart's own values.
SINGLE: dict[str, dict[str, Any]] = {
    "no-policies": {"networkPolicy": {"enabled": False}},
    "clients": {"networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "portal"}}}]}},
    "no-training": {"training": {"enabled": False}},
    "no-lora": {"generator": {"lora": {"enabled": False}}},
    "generation-elsewhere": {
        "generator": {"openai": {"baseUrl": "http://vllm.models:8000/v1", "model": "large", "apiKeySecretKey": "openai-key"}}
    },
    "teachers": {"training": {"teacherUrls": ["https://teacher.example/v1"], "teacherKeySecretKey": "teacher-key"}},
    "ray-elsewhere": {"ray": {"address": "ray://ray.example:10001"}},
    "models-per-pod": {"models": {"volume": {"kind": "emptyDir"}}},
    "models-lie-there": {"models": {"volume": {"existingClaim": "models"}, "embedding": {"source": ""}, "generation": {"source": ""}}},
    "reranking": {"models": {"reranking": {"name": "reranker", "source": "s3://models/reranker"}}},
    "claims-of-ones-own": {
        "storage": {"blobs": {"existingClaim": "documents"}, "shelf": {"existingClaim": "shelf", "accessModes": ["ReadWriteMany"]}}
    },
    "sources": {
        "sources": {
            "directories": [{"name": "handbook", "existingClaim": "handbook"}],
            "existingSecret": "source-tokens",
            "web": {"enabled": True, "allowedHosts": ["wiki.example"]},
        }
    },
    "priorities-of-ones-own": {"priorityClasses": {"create": False, "serving": "high", "training": "low"}},
    "named": {"nameOverride": "answers"},
    "named-in-full": {"fullnameOverride": "hr-answers"},
    "other-ports": {"portBase": 30050, "listenHost": "::", "clusterDomain": "k8s.example"},
    "by-digest": {
        "image": {"registry": "registry.example/corella", "digests": {"embedder": "sha256:" + "a" * 64}, "pullSecrets": [{"name": "pull"}]}
    },
    "settings": {"generator": {"settings": {"vllm.context_tokens": 8192}}, "retriever": {"settings": {"search.keyword_limit": 50}}},
    "many-replicas": {name: {"replicas": 5} for name in (*SERVICES, "worker")},
    "own-volumes": {
        name: {
            "extraVolumes": [{"name": "extra", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
            "extraEnv": [{"name": "TZ", "value": "UTC"}],
            "podLabels": {"team": "search"},
            "podAnnotations": {"example.com/note": "x"},
        }
        for name in COMPONENTS
    },
}

VALUE_SETS = [
    ValueSet("default"),
    *(
        ValueSet(f"{profile}-{switch}", profile, values, api_versions=known)
        for profile in PROFILES
        for switch, (values, known) in SWITCHES.items()
    ),
    *(ValueSet(name, values=values) for name, values in SINGLE.items()),
    ValueSet("other-namespace", release="answers", namespace="people-and-culture"),
    ValueSet("long-name", release="answers-of-the-department-of-people-and-culture-eu", namespace="n" * 63),
    ValueSet(
        "long-name-cluster",
        "cluster",
        release="answers-of-the-department-of-people-and-culture-eu",
        api_versions=(KUBE_RAY, KEDA, CERT_MANAGER, MONITORING),
    ),
    ValueSet("oldest-kubernetes", kube_version="1.30"),
    ValueSet("newest-kubernetes", kube_version="1.37"),
    ValueSet("knows-everything", api_versions=(KUBE_RAY, KEDA, CERT_MANAGER, MONITORING)),
]
