"""A whole model as a candidate: it writes here, with transformers, and everything around it is the serving path's own.

The passages are searched for, the prompt is rendered and the text is checked by the very services that answer people; only the engine is
another one. So a model that no generator has loaded yet is judged as it would be served. One text at a time: seconds are this machine's
and say nothing about a serving engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from services.trainer.domain import DONT_KNOW, Message, Passage
from services.trainer.ports import AskedAnswer, CitedText, FeedbackRecord, Generator, RenderedPrompt, Retriever, ServedModel, Written

PASSAGES = 4
"""As many as `Ask` shows the model by default."""


class TransformersGenerator:
    """The generator of one model folder. `adapter` of every call is passed over: there is one model here."""

    def __init__(self, folder: Path, serving: Generator, retriever: Retriever) -> None:
        """Loads the model, which takes seconds; blocking."""
        # Imported here: they take seconds, which a driver that judges adapters need not spend.
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        self._model = model.to(device)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._device = device
        self._serving = serving
        self._retriever = retriever
        self._lock = asyncio.Lock()

    async def model(self) -> ServedModel:
        """The served model's description, for its limits."""
        return await self._serving.model()

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        """As it is served."""
        return await self._serving.render_question(question, passages)

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        """As it is served."""
        return await self._serving.render_chat(messages)

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        """As it is served."""
        return await self._serving.cite(question, passages, text)

    async def ask(self, question: str, corpus: str, adapter: str = "") -> AskedAnswer:
        """The steps of an answer, with this model in the place of the engine."""
        began = time.perf_counter()
        passages = await self._retriever.search(corpus, question, PASSAGES)
        retrieval_seconds = time.perf_counter() - began
        refused = CitedText(DONT_KNOW, True)
        written, cited = Written(DONT_KNOW, adapter), refused
        if passages:
            prompt = await self.render_question(question, passages)
            passages = passages[: prompt.passage_count]
            if prompt.answerability >= prompt.refusal_threshold:
                written = await self._write(prompt.token_ids, 96, adapter)
                cited = await self.cite(question, passages, written.text) if written.text.strip() else refused
        return AskedAnswer(written, cited, passages, retrieval_seconds, time.perf_counter() - began)

    async def complete(self, messages: Sequence[Message], adapter: str = "", max_tokens: int = 96) -> Written:
        """The continuation of a chat, the most likely token each time."""
        return await self._write((await self.render_chat(messages)).token_ids, max_tokens, adapter)

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[float, int]:
        """Log-likelihood of a text after a chat, and its tokens, the one that ends it included."""
        prompt = (await self.render_chat(messages)).token_ids
        response = [*self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), self._tokenizer.eos_token_id]
        async with self._lock:
            return await asyncio.to_thread(self._score_ids, prompt, response), len(response)

    def feedback(self, since: float = 0.0) -> AsyncIterator[FeedbackRecord]:
        """As it is kept."""
        return self._serving.feedback(since)

    async def _write(self, prompt: Sequence[int], max_tokens: int, adapter: str) -> Written:
        async with self._lock:
            began = time.perf_counter()
            ids = await asyncio.to_thread(self._generate_ids, prompt, max_tokens)
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            return Written(text, adapter, len(prompt), len(ids), 0.0, time.perf_counter() - began)

    def _generate_ids(self, prompt: Sequence[int], max_tokens: int) -> list[int]:
        import torch

        with torch.inference_mode():
            given = torch.tensor([list(prompt)], device=self._device)
            ids = self._model.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=self._tokenizer.eos_token_id,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        return [int(token) for token in ids[0, len(prompt) :]]

    def _score_ids(self, prompt: Sequence[int], response: Sequence[int]) -> float:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *response]], device=self._device)
            logits = self._model(ids).logits[0, len(prompt) - 1 : -1].float()
            chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(list(response), device=self._device)[:, None])
        return float(chosen.sum())
