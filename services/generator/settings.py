"""Settings of the generator, from `CORELLA_GENERATOR_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from services.chassis.settings import ClientSettings, Group, ServerSettings, ServiceSettings, service_config


class EngineSettings(Group):
    """What writes the text."""

    kind: Literal["vllm", "openai"] = Field("vllm", description="`vllm`: in this process. `openai`: a server of that interface.")
    max_sequences: int = Field(16, gt=0, description="Texts written at once; more wait in the queue.")
    max_queued: int = Field(64, ge=0, description="Calls that may wait; beyond them QUEUE_FULL.")


class VllmSettings(Group):
    """vLLM in this process."""

    model_folder: Path = Field(
        Path(".corella/models/SmolLM2-135M-Instruct"), description="Hugging Face folder of an instruct model, safetensors only."
    )
    context_tokens: int = Field(4096, ge=256, description="Longest prompt and answer together.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("bfloat16", description="Precision of weights and computation.")
    kv_cache_gib: float | None = Field(
        1.0, gt=0, description="Memory of the key-value cache. Empty: `gpu_memory_fraction` of the GPU decides; on a CPU vLLM does."
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that hold the model together, each a part of every layer.")
    gpu_memory_fraction: float = Field(0.9, gt=0, le=1, description="Share of a GPU's memory that may be used.")
    cache_block_tokens: int = Field(
        32,
        description="Granularity of the prefix cache. Smaller than vLLM's 128 on CPUs, so that short prompts profit too.",
        multiple_of=16,
    )
    reserved_cpu_cores: int | None = Field(
        None, ge=0, description="On a CPU: cores the model leaves to everything else. Empty: none of up to four, one of more."
    )
    eager: bool | None = Field(
        None, description="Without compilation, which makes the start a minute longer and the writing faster. Empty: on a CPU, not on GPUs."
    )
    lora: bool | None = Field(
        None, description="Be ready to serve adapters; docs/decisions/0011-serving-adapters.md has what it costs. Empty: with a shelf."
    )
    # From the environment it comes as text, which a literal number alone would refuse.
    max_lora_rank: Annotated[Literal[8, 16, 32, 64, 128], BeforeValidator(int)] = Field(16, description="Highest rank an adapter may have.")


class OpenAiSettings(Group):
    """A server that speaks the OpenAI chat completions interface."""

    base_url: str = Field("", description="Such as `http://127.0.0.1:8000/v1`.")
    model: str = Field("", description="Name of the model there.")
    api_key_file: Path | None = Field(None, description="File with the key. Empty: none is sent.")
    context_tokens: int = Field(4096, ge=256, description="Longest prompt and answer together, as that server has it.")
    tokenizer_folder: Path | None = Field(
        None, description="Folder with the model's tokenizer, to count with. Empty: three bytes of UTF-8 are taken as one token."
    )
    timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for the next piece of text.")


class AdapterSettings(Group):
    """Adapters (LoRA) that are served: those on the shelf, as its `serving.json` says."""

    shelf_url: str = Field("", description="A path or any fsspec URL; the trainer's `shelf_url`. Empty: the base model alone serves.")
    cache_folder: Path = Field(Path(".corella/generator/adapters"), description="Local copies of the adapters in use; this replica's own.")
    poll_seconds: float = Field(1.0, gt=0, le=4, description="How often it is looked whether another version is to serve.")
    timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for the shelf to hand over one adapter.")
    max_bytes: int = Field(2**30, gt=0, description="Largest adapter taken, in bytes.")
    max_candidates: int = Field(
        2, ge=1, le=16, description="Versions named by requests that are held ready beside the one that serves; further ones take turns."
    )


class AnswerSettings(Group):
    """How answers are made."""

    instruction: str = Field("", max_length=2000, description="Deployment-wide instruction, in front of what a request asks for.")
    max_prompt_tokens: int = Field(1024, ge=256, description="Longest prompt; passages that do not fit are left out.")
    refusal_threshold: float | None = Field(None, ge=0, le=1, description="Replaces the calibrated threshold.")
    keep_answers_days: float = Field(30.0, gt=0, description="How long an answer can be given feedback on.")


class MemorySettings(Group):
    """How conversations are remembered."""

    conversation_expiry_hours: float = Field(24.0, gt=0, description="A conversation not used for so long is forgotten.")
    token_expiry_hours: float = Field(24.0, gt=0, description="A summary token is good for so long.")
    token_keys_file: Path | None = Field(
        None, description="Fernet keys, one a line, the newest first. Empty on loopback: one is made under `state_folder`."
    )
    max_turns: int = Field(20, gt=0, description="After so many turns a new conversation is advised.")
    kept_turns: int = Field(1000, gt=0, description="Turns kept word for word; older ones survive in the summary only.")
    max_summary_tokens: int = Field(96, ge=16, le=512, description="Longest summary.")
    connect_timeout_seconds: float = Field(0.5, gt=0, description="Longest wait for a connection to the store.")
    timeout_seconds: float = Field(1.0, gt=0, description="Longest wait for an answer of the store.")
    retry_seconds: float = Field(2.0, gt=0, description="After a failure the store is left alone for so long.")


class ForgettingSettings(Group):
    """How what stems from documents that are gone is found and forgotten."""

    sweep_seconds: float = Field(60.0, gt=0, description="How often the retriever is asked whether documents are still there.")
    chunks_per_round: int = Field(20_000, gt=0, description="Chunks it is asked about by one replica at a time.")


class GeneratorSettings(ServiceSettings):
    """What the generator needs to know."""

    model_config = service_config("GENERATOR")

    server: ServerSettings = ServerSettings(port=15053)
    retriever: ClientSettings = ClientSettings(address="127.0.0.1:15052")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:15061/0"), description="Where conversations and answers are kept.")
    state_folder: Path = Field(Path(".corella/generator"), description="For what this service makes itself, such as keys.")
    engine: EngineSettings = EngineSettings()
    vllm: VllmSettings = VllmSettings()
    openai: OpenAiSettings = OpenAiSettings()
    adapters: AdapterSettings = AdapterSettings()
    answer: AnswerSettings = AnswerSettings()
    memory: MemorySettings = MemorySettings()
    forgetting: ForgettingSettings = ForgettingSettings()

    @model_validator(mode="after")
    def _keys_are_shared_where_replicas_are(self) -> GeneratorSettings:
        if self.memory.token_keys_file is None and not self.server.is_loopback:
            raise ValueError("replicas must share their keys: set memory.token_keys_file, or listen on 127.0.0.1")
        return self

    @model_validator(mode="after")
    def _openai_knows_where_and_what(self) -> GeneratorSettings:
        if self.engine.kind == "openai" and not (self.openai.base_url and self.openai.model):
            raise ValueError("engine.kind is openai: set openai.base_url and openai.model")
        return self

    @model_validator(mode="after")
    def _adapters_need_an_engine_that_serves_them(self) -> GeneratorSettings:
        if self.adapters.shelf_url and self.engine.kind == "openai":
            raise ValueError("engine.kind is openai: that server has its own adapters; leave adapters.shelf_url empty")
        if self.adapters.shelf_url and self.vllm.lora is False:
            raise ValueError("adapters.shelf_url is set: vllm.lora must not be false")
        return self

    @property
    def serves_adapters(self) -> bool:
        """Whether the engine must be able to load adapters."""
        return bool(self.adapters.shelf_url) if self.vllm.lora is None else self.vllm.lora
