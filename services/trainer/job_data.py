"""What a job trains on and is judged by: the examples of its dataset, checked once more, as token ids on the shelf.

Data that an earlier attempt prepared is used again, so that a resumed training sees the same; unless a document that it rests on is gone
by now. Then it is prepared anew, without that document, and the training begins anew.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.trainer.domain import Example, JobSpec, NothingToTrainOn
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.hf_response_tokenizer import HfResponseTokenizer
from services.trainer.ports import Generator, Retriever
from services.trainer.preparing import Prepared, prepare
from services.trainer.token_samples import TokenSample, write_samples

_FACTS = "prepared.json"


@dataclass(frozen=True)
class JobData:
    """What the preparation came to. `chunks` are names of all chunks that the data rests on; `revision` changes when it is made anew."""

    url: str
    revision: int
    training_count: int
    validation_count: int
    training_tokens: int
    longest_tokens: int
    response_tokens: int
    chunks: tuple[str, ...]
    gone_count: int
    unsupported_count: int
    kept_unsupported: bool
    answerable_count: int
    too_long_count: int
    missed_count: int
    leak_count: int


class JobDataPreparation:
    """Prepares the data of one job."""

    def __init__(
        self, shelf: FsspecShelf, generator: Generator, retriever: Retriever, tokenizer: HfResponseTokenizer, context_tokens: int
    ) -> None:
        self._shelf = shelf
        self._generator = generator
        self._retriever = retriever
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens

    async def prepare(
        self, job_id: str, spec: JobSpec, examples: Sequence[Example], progress: Callable[[int, int], None]
    ) -> tuple[JobData, bool]:
        """The data and whether it is what an earlier attempt had. Raises `NothingToTrainOn`."""
        earlier = await self._earlier(job_id)
        if earlier is not None:
            there = await self._retriever.existing(earlier.chunks)
            if len(there) == len(earlier.chunks):
                return earlier, True
        seen = [each for each in examples if each.split != "held_out"]

        found = await prepare(seen, self._generator, self._retriever, self._tokenizer, self._context_tokens, progress)
        revision = earlier.revision + 1 if earlier else 1
        data = await self._store(job_id, revision, spec, found, examples)
        return data, False

    async def _earlier(self, job_id: str) -> JobData | None:
        raw = await self._shelf.read(f"jobs/{job_id}/{_FACTS}")
        if raw is None:
            return None
        stored = json.loads(raw)
        return JobData(**{**stored, "chunks": tuple(stored["chunks"])})

    async def _store(self, job_id: str, revision: int, spec: JobSpec, found: Prepared, examples: Sequence[Example]) -> JobData:
        training: list[TokenSample] = []
        validation: list[TokenSample] = []
        for example, sample in found.samples:
            validates = example.fold == spec.fold if example.fold is not None else example.split == "validation"
            (validation if validates else training).append(sample)
        if not training or not validation:
            raise NothingToTrainOn(
                f"{len(training)} examples are left to train on and {len(validation)} to validate on; both must be there."
            )
        path = f"jobs/{job_id}/data-{revision}"
        with tempfile.TemporaryDirectory(prefix="corella-") as folder:
            await asyncio.to_thread(write_samples, Path(folder) / "training.safetensors", training)
            await asyncio.to_thread(write_samples, Path(folder) / "validation.safetensors", validation)
            await self._shelf.put_files(Path(folder), path)
        chunks = {name for example, _ in found.samples for name in example.chunks}
        chunks |= {passage.name for passages in found.passages_by_example.values() for passage in passages if passage.name}
        data = JobData(
            url=f"{self._shelf.url}/{path}",
            revision=revision,
            training_count=len(training),
            validation_count=len(validation),
            training_tokens=sum(sample.length for sample in training),
            longest_tokens=max(sample.length for sample in (*training, *validation)),
            response_tokens=sum(len(sample.response_ids) for sample in training),
            chunks=tuple(sorted(chunks)),
            gone_count=found.dropped_gone,
            unsupported_count=found.unsupported,
            kept_unsupported=found.kept_unsupported,
            answerable_count=sum(each.is_question and each.answerable for each in examples if each.split != "held_out"),
            too_long_count=found.too_long,
            missed_count=found.refused_for_missing_source,
            leak_count=_leaks(examples, spec.fold),
        )
        await self._shelf.write(f"jobs/{job_id}/{_FACTS}", json.dumps(asdict(data)).encode())
        return data


def _leaks(examples: Sequence[Example], fold: int) -> int:
    """Validation and held-out examples that ask for the very same as a training example."""

    def asked(example: Example) -> str:
        return " ".join((example.question or " ".join(message.text for message in example.messages)).casefold().split())

    def trains(example: Example) -> bool:
        return example.fold != fold if example.fold is not None else example.split == "training"

    known = {asked(example) for example in examples if trains(example)}
    return sum(asked(example) in known for example in examples if not trains(example))
