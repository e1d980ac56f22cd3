"""vLLM in this process: the same code on a CPU and on GPUs.

vLLM runs its scheduler and its workers in processes of their own, started with `spawn`: whoever calls `start` needs a guarded
`__main__`. `python -m services.generator` also sees to it that they die with their parent; see `__main__.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from services.chassis.errors import InvalidArgument
from services.chassis.telemetry import get_logger
from services.generator.domain import ContextTooLong, EngineUnavailable, FinishReason, GenerationOptions, Message, TextChunk
from services.generator.hf_chat_tokenizer import HfChatTokenizer
from services.generator.settings import VllmSettings

log = get_logger(__name__)
_WATCH_SECONDS = 1.0
_FEW_CORES = 4
# By now every call has ended or was cut off; nothing is left to be saved.
_SHUTDOWN_SECONDS = 2.0


class VllmEngine:
    """The engine. `start` makes one; `close` ends it and its processes. `llm` and `tokenizer` are open to those who measure."""

    kind = "vllm"
    adapter = ""

    def __init__(self, llm: Any, tokenizer: HfChatTokenizer, settings: VllmSettings, on_death: Callable[[str], None]) -> None:
        self.llm = llm
        self.tokenizer = tokenizer
        self.display_name = settings.model_folder.name
        self.context_tokens = settings.context_tokens
        self.special_tokens = tokenizer.special_tokens
        self._on_death = on_death
        self._watch = asyncio.create_task(self._watch_over())

    @classmethod
    def start(cls, settings: VllmSettings, max_sequences: int, on_death: Callable[[str], None]) -> VllmEngine:
        """Loads the model, which takes half a minute and blocks: nothing can be served before. `on_death` hears when it dies."""
        if not any(settings.model_folder.glob("*.safetensors")):
            raise FileNotFoundError(
                f"{settings.model_folder} holds no model in safetensors form; `corella up` or `make models` prepares it"
            )
        prepare_environment(settings)
        logging.getLogger("vllm").setLevel(logging.WARNING)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        with _interruptible():
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(settings, max_sequences)))
        log.info("engine_ready", model=str(settings.model_folder), context_tokens=settings.context_tokens)
        return cls(llm, HfChatTokenizer(settings.model_folder), settings, on_death)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.tokenizer.render(messages))

    async def generate(self, messages: Sequence[Message], options: GenerationOptions) -> AsyncIterator[TextChunk]:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        ids = self.tokenizer.render(messages)
        if len(ids) + options.max_tokens > self.context_tokens:
            raise ContextTooLong(len(ids), options.max_tokens, self.context_tokens)
        params = SamplingParams(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            output_kind=RequestOutputKind.DELTA,
        )
        completion_tokens = 0
        try:
            async with aclosing(self.llm.generate(tokens_input(ids), params, request_id=uuid.uuid4().hex)) as outputs:
                async for output in outputs:
                    piece = output.outputs[0]
                    completion_tokens += len(piece.token_ids)
                    finish = _finish_reason(piece.finish_reason)
                    yield TextChunk(piece.text, len(ids), output.num_cached_tokens or 0, completion_tokens, finish)
        except VLLMValidationError as error:
            raise InvalidArgument(str(error)) from error
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineUnavailable("The engine stopped while it wrote.") from error

    async def close(self) -> None:
        """Ends the engine's processes."""
        self._watch.cancel()
        await asyncio.to_thread(self.llm.shutdown, _SHUTDOWN_SECONDS)

    async def _watch_over(self) -> None:
        # vLLM tells nobody when it dies; it only sets a flag.
        while not self.llm.errored:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_SECONDS)
        self._on_death("the engine's process ended")


def prepare_environment(settings: VllmSettings) -> None:
    """What vLLM takes from the environment only: no reports to its makers, no model hub, log lines in our form, its share of the cores."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    reserved = settings.reserved_cpu_cores
    if reserved is None:
        # vLLM keeps one core free for its scheduler, which of two cores is half of the model's speed.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        reserved = 0 if cores <= _FEW_CORES else 1
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", str(reserved))


def engine_arguments(settings: VllmSettings, max_sequences: int) -> dict[str, Any]:
    """vLLM's engine arguments, also for those who run vLLM beside the service to compare."""
    arguments: dict[str, Any] = {
        "model": str(settings.model_folder),
        "dtype": settings.dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "max_model_len": settings.context_tokens,
        "max_num_seqs": max_sequences,
        "enforce_eager": settings.eager,
        "enable_prefix_caching": True,
        "block_size": settings.cache_block_tokens,
        "gpu_memory_utilization": settings.gpu_memory_fraction,
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    if settings.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * 2**30)
    if settings.lora:
        arguments |= {"enable_lora": True, "max_lora_rank": settings.max_lora_rank, "max_loras": 2}
    return arguments


def _finish_reason(reason: str | None) -> FinishReason | None:
    if reason is None:
        return None
    return FinishReason.LENGTH if reason == "length" else FinishReason.STOP


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGINT end the process at once while the event loop, which handles them otherwise, is blocked."""
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
