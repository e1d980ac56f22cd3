"""Settings of the retriever and of its worker, from `CORELLA_RETRIEVER_…`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.chassis.settings import ClientSettings, Group, ServerSettings, ServiceSettings, service_config


class LimitSettings(Group):
    """How much a caller may send."""

    document_max_bytes: int = Field(50 * 2**20, gt=0, description="Largest document taken.")
    stream_max_documents: int = Field(10_000, gt=0, description="Documents in one stream or import.")


class SearchSettings(Group):
    """How passages are found."""

    keyword_limit: int = Field(100, gt=0, le=1000, description="Length of the keyword list when the caller does not say.")
    vector_limit: int = Field(100, gt=0, le=1000, description="Length of the vector list when the caller does not say.")
    rerank_candidates: int = Field(50, gt=0, le=1000, description="Passages given to the cross-encoder when reranking is asked for.")
    lazy_time_share: float = Field(
        0.5, gt=0, lt=1, description="Share of a search's remaining time that may go into embedding hits without a vector."
    )
    lazy_max_seconds: float = Field(5.0, gt=0, description="Longest that a search embeds hits without a vector.")
    consistency_level: str = Field(
        "Strong",
        pattern="^(Strong|Session|Bounded|Eventually)$",
        description="Milvus consistency of searches. Anything but Strong lets a deleted document be found for a moment.",
    )
    corpus_cache_seconds: float = Field(2.0, ge=0, description="How long the settings of a corpus are remembered.")


class WorkerSettings(Group):
    """How documents are worked on."""

    processes: int = Field(2, gt=0, description="Processes; each works on some documents at a time.")
    niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="How much the worker yields to others on its machine (Unix niceness): the embedder it waits for goes first.",
    )
    batch_documents: int = Field(16, gt=0, description="Documents taken at a time.")
    batch_max_bytes: int = Field(256 * 2**10, gt=0, description="Bytes of documents taken at a time; one document may be larger.")
    embed_texts: int = Field(64, gt=0, le=2048, description="Texts in one call of the embedder; two calls are under way at a time.")
    embed_timeout_seconds: float = Field(
        600.0, gt=0, description="Longest call of the embedder. Long, because giving up on a busy embedder only has it do the work again."
    )
    lease_seconds: float = Field(10.0, gt=1, description="A worker that shows no sign of life for so long has lost its documents.")
    max_losses: int = Field(3, gt=0, description="A document that has lost so many workers is set aside as FAILED.")
    retry_base_seconds: float = Field(2.0, gt=0, description="Wait after a first passing failure; doubles with each further one.")
    retry_max_seconds: float = Field(60.0, gt=0, description="Longest wait after a passing failure.")


class ParsingSettings(Group):
    """What reading one document may take. A child process of the worker reads; a document that takes more is FAILED with the reason."""

    memory_mib: int = Field(1024, ge=64, description="Memory beyond what the reading process has before its first document, in MiB.")
    cpu_seconds: int = Field(60, gt=0, description="Processor time for one document.")
    wall_seconds: float = Field(
        300.0, gt=0, description="Time for one document, waiting included: more than `cpu_seconds`, for busy machines."
    )
    documents_per_child: int = Field(1_000, gt=0, description="Documents after which the reading process is replaced.")
    require_no_network: bool = Field(
        False,
        description="Read nothing where the reading process cannot be cut off from the network. Else the log says so, and reading goes on.",
    )


class SyncSettings(Group):
    """How sources are read."""

    schedule_seconds: float = Field(2.0, gt=0, description="How often the beat has sources looked after.")
    at_once: int = Field(4, gt=0, description="Syncs that one process of the worker has in hand at a time; most of that time is waiting.")
    attempts: int = Field(5, gt=0, description="A sync whose place cannot be reached so many times has failed, until the next one is due.")
    batch_documents: int = Field(100, gt=0, le=1000, description="Documents recorded in one step.")


class FetchSettings(Group):
    """What may be fetched for web, Jira and Confluence sources."""

    allowed_hosts: tuple[str, ...] = Field(
        (), description="Hosts, or host:port, that may be reached although they are not on the public internet: `intranet.example`."
    )


class RetrieverSettings(ServiceSettings):
    """What the retriever and its worker need to know."""

    model_config = service_config("RETRIEVER")

    server: ServerSettings = ServerSettings(port=15052)
    embedder: ClientSettings = ClientSettings(address="127.0.0.1:15051")
    former_embedders: tuple[ClientSettings, ...] = Field(
        (), description="Embedders of former models, as long as an index needs them. New indexes get the model of `embedder`."
    )
    redis_url: str = Field("redis://127.0.0.1:15061/0", description="Redis: catalog of documents, queue, operations.")
    milvus_uri: str = Field("http://127.0.0.1:15060", description="Milvus: chunks and vectors.")
    milvus_token_file: Path | None = Field(None, description="File with the Milvus token (`user:password` or an API key).")
    milvus_timeout_seconds: float = Field(
        20.0, gt=0, description="Longest call of Milvus; less when less of the caller's deadline is left."
    )
    blob_url: str = Field(".corella/blobs", description="Where documents' bytes lie: a path or any fsspec URL. Shared with the worker.")
    secrets_folder: Path | None = Field(None, description="Folder of files with the secrets that sources name. Default: none.")
    import_roots: tuple[Path, ...] = Field((), description="Directories below which documents may be read from disk. Default: none.")
    stall_seconds: float = Field(30.0, gt=0, description="An operation without a sign of life for so long is STALLED.")
    limits: LimitSettings = LimitSettings()
    search: SearchSettings = SearchSettings()
    worker: WorkerSettings = WorkerSettings()
    parsing: ParsingSettings = ParsingSettings()
    sync: SyncSettings = SyncSettings()
    fetch: FetchSettings = FetchSettings()
