"""vLLM in this process: the same code on a CPU and on GPUs.

vLLM runs its scheduler and its workers in processes of their own, started with `spawn`: whoever calls `start` needs a guarded
`__main__`. `python -m services.generator` also sees to it that they die with their parent; see `__main__.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from services.chassis import identity
from services.chassis.errors import InvalidArgument
from services.chassis.model_fingerprint import base_fingerprint
from services.chassis.telemetry import get_logger
from services.chassis.watched_files import FilesRefused
from services.generator import engine_logs
from services.generator.adapter_checks import MODULES
from services.generator.domain import (
    BASE,
    Adapter,
    AdapterRefused,
    ContextTooLong,
    EngineTimes,
    EngineUnavailable,
    FinishReason,
    GenerationOptions,
    Message,
    TextChunk,
    TextScore,
)
from services.generator.hf_chat_tokenizer import HfChatTokenizer
from services.generator.settings import VllmSettings

log = get_logger(__name__)
_WATCH_SECONDS = 1.0
_FEW_CORES = 4
# By now every call has ended or was cut off; nothing is left to be saved.
_SHUTDOWN_SECONDS = 2.0
# vLLM's own warm-up uses the first ones.
_FIRST_ADAPTER_ID = 1001


class VllmEngine:
    """The engine. `start` makes one; `close` ends it and its processes. `llm` and `tokenizer` are open to those who measure."""

    kind = "vllm"
    server: Mapping[str, str | int] = {}

    def __init__(
        self, llm: Any, tokenizer: HfChatTokenizer, settings: VllmSettings, on_death: Callable[[str], None], adapter_slots: int = 0
    ) -> None:
        self.llm = llm
        self.tokenizer = tokenizer
        self.display_name = settings.model_folder.name
        self.context_tokens = settings.context_tokens
        self.special_tokens = tokenizer.special_tokens
        self.fingerprint = base_fingerprint(settings.model_folder)
        self.max_adapter_rank: int = settings.max_lora_rank if adapter_slots else 0
        self._adapters: dict[Adapter, Any] = {}
        self._adapter_ids = count(_FIRST_ADAPTER_ID)
        self._on_death = on_death
        self._watch = asyncio.create_task(self._watch_over())

    @classmethod
    def start(cls, settings: VllmSettings, max_sequences: int, on_death: Callable[[str], None], adapter_slots: int = 0) -> VllmEngine:
        """Loads the model, which takes half a minute and blocks: nothing can be served before. `on_death` hears when it dies.

        `adapter_slots` is how many adapters can be loaded at the same time; 0 makes a faster engine that can load none.
        """
        if not any(settings.model_folder.glob("*.safetensors")):
            raise FilesRefused(f"{settings.model_folder} holds no model in safetensors form; `corella up` or `make models` prepares it")
        prepare_environment(settings)
        engine_logs.prepare()
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        from services.generator.vllm_metrics import VllmMetrics

        with _interruptible():
            arguments = engine_arguments(settings, max_sequences, adapter_slots, on_cpu=current_platform.is_cpu())
            if arguments["enforce_eager"]:
                # vLLM's own `enforce_eager` leaves out the model's compilation, not that of smaller things, such as what ranks a scored
                # text's tokens: where there is no C++ compiler, as in the image, the first of them would end the engine.
                os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[VllmMetrics])
        log.info("engine_ready", model=str(settings.model_folder), context_tokens=settings.context_tokens)
        return cls(llm, HfChatTokenizer(settings.model_folder), settings, on_death, adapter_slots)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.render(messages))

    def render(self, messages: Sequence[Message]) -> list[int]:
        return self.tokenizer.render(messages)

    async def generate(self, messages: Sequence[Message], options: GenerationOptions, adapter: Adapter = BASE) -> AsyncIterator[TextChunk]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

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
        # vLLM's processes take times by the clock that counts from the machine's start, which all processes on it share.
        machine_start_ns = time.time_ns() - time.monotonic_ns()
        async with aclosing(self._outputs(ids, params, adapter)) as outputs:  # type: ignore[type-var]
            async for output in outputs:
                piece = output.outputs[0]
                completion_tokens += len(piece.token_ids)
                finish, times = _finish_reason(piece.finish_reason), engine_times(output.metrics, machine_start_ns)
                yield TextChunk(piece.text, len(ids), output.num_cached_tokens or 0, completion_tokens, finish, times)

    async def score(self, messages: Sequence[Message], text: str, adapter: Adapter = BASE) -> TextScore:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prompt = self.tokenizer.render(messages)
        scored = [*self.tokenizer.encode(text), self.tokenizer.end_of_turn_id]
        # vLLM tells of a prompt's tokens only on its way to a text, the shortest of which has one.
        if len(prompt) + len(scored) + 1 > self.context_tokens:
            raise ContextTooLong(len(prompt), len(scored) + 1, self.context_tokens)
        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY)
        told: Sequence[Any] = ()
        async with aclosing(self._outputs([*prompt, *scored], params, adapter)) as outputs:  # type: ignore[type-var]
            async for output in outputs:
                told = output.prompt_logprobs or told
        found = [each[token].logprob for each, token in zip(told[len(prompt) :], scored, strict=True)]
        return TextScore(len(scored), float(sum(found)))

    async def load_adapter(self, adapter: Adapter, folder: Path) -> None:
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.exceptions import EngineDeadError

        # Name and path are what the prefix cache tells adapters apart by, the number is what the workers do: none is ever used again.
        request = LoRARequest(f"{adapter.name}@{adapter.digest}", next(self._adapter_ids), str(folder))
        try:
            await self.llm.add_lora(request)
        except EngineDeadError as error:
            raise EngineUnavailable("The engine stopped.") from error
        except Exception as error:
            # vLLM hands on whatever went wrong in its worker as a plain Exception.
            log.warning("adapter_not_loaded", adapter=adapter.name, error=str(error))
            raise AdapterRefused(adapter.name, "the engine cannot load it") from error
        self._adapters[adapter] = request

    async def unload_adapter(self, adapter: Adapter) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        request = self._adapters.pop(adapter)
        try:
            await self.llm.remove_lora(request.lora_int_id)
        except EngineDeadError as error:
            raise EngineUnavailable("The engine stopped.") from error

    async def _outputs(self, ids: list[int], params: Any, adapter: Adapter) -> AsyncIterator[Any]:
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        lora = None if adapter == BASE else self._adapters[adapter]
        try:
            stream = self.llm.generate(tokens_input(ids, cache_salt=cache_salt()), params, request_id=uuid.uuid4().hex, lora_request=lora)
            async with aclosing(stream) as outputs:
                async for output in outputs:
                    yield output
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


def cache_salt() -> str | None:
    """What keeps prompts of different tenants apart in the prefix cache: whoever shared it could tell from the time to the first token what
    others have asked about. None in work for nobody."""
    caller = identity.current_or_none()
    return None if caller is None else f"tenant {caller.tenant}"


def prepare_environment(settings: VllmSettings) -> None:
    """What vLLM takes from the environment only: no reports to its makers, no model hub, how processes start, its share of the cores."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # On GPUs vLLM would fork, out of a process with threads of gRPC's and, where anything has asked for a GPU, with a CUDA that no fork
    # can use; nor would its processes end with this one (`__main__.py`).
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    reserved = settings.reserved_cpu_cores
    if reserved is None:
        # vLLM keeps one core free for its scheduler, which of two cores is half of the model's speed.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        reserved = 0 if cores <= _FEW_CORES else 1
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", str(reserved))


def engine_arguments(settings: VllmSettings, max_sequences: int, adapter_slots: int = 0, *, on_cpu: bool = False) -> dict[str, Any]:
    """vLLM's engine arguments, also for those who run vLLM beside the service to compare."""
    arguments: dict[str, Any] = {
        "model": str(settings.model_folder),
        # What its metrics call the model.
        "served_model_name": settings.model_folder.name,
        "dtype": settings.dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "max_model_len": settings.context_tokens,
        "max_num_seqs": max_sequences,
        "enforce_eager": on_cpu if settings.eager is None else settings.eager,
        "enable_prefix_caching": True,
        "block_size": settings.cache_block_tokens,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_fraction,
        # Its times and its metrics come with it; it logs nothing of them as long as its logger is at WARNING (engine_logs.json).
        "disable_log_stats": False,
        "enable_log_requests": False,
        "use_tqdm_on_load": False,
    }
    if settings.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * 2**30)
    if adapter_slots:
        # All that are loaded are ready to run, so that vLLM never has to read one again in the middle of its work. Embeddings and the
        # output layer are no targets: `adapter_checks` refuses adapters of them, so vLLM need not be ready for any.
        arguments |= {"enable_lora": True, "max_lora_rank": settings.max_lora_rank, "lora_target_modules": list(MODULES)}
        arguments |= {"max_loras": adapter_slots, "max_cpu_loras": adapter_slots}
        if on_cpu:
            arguments["worker_cls"] = "services.generator.vllm_cpu_lora.AdapterCpuWorker"
    return arguments


def engine_times(stats: Any, machine_start_ns: int) -> EngineTimes | None:
    """vLLM's `RequestStateStats` of a text, as times of day; None where it has none, or not all yet."""
    if stats is None:
        return None
    seconds = (stats.queued_ts, stats.scheduled_ts, stats.first_token_ts, stats.last_token_ts)
    return EngineTimes(*(machine_start_ns + int(each * 1e9) for each in seconds)) if all(seconds) else None


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
