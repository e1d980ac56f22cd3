"""What vLLM is given with each prompt, so that tenants do not share its prefix cache. vLLM itself does not run here."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.chassis.identity import LOCAL, Caller, acting_for
from services.generator.domain import GenerationOptions, Message
from services.generator.vllm_engine import VllmEngine, cache_salt


class NotedLlm:
    """Notes the prompts."""

    def __init__(self) -> None:
        self.prompts: list[Any] = []

    def generate(self, prompt: Any, _params: Any, **_: Any) -> AsyncIterator[Any]:
        self.prompts.append(prompt)

        async def nothing() -> AsyncIterator[Any]:
            return
            yield

        return nothing()


class Tokenizer:
    """Renders everything alike."""

    def render(self, _: object) -> list[int]:
        return [1, 2, 3]


def test_the_salt_is_the_tenant() -> None:
    assert cache_salt() is None
    salts = []
    for caller in (LOCAL, Caller("ann", "acme", "ann"), Caller("bob", "acme", "bob")):
        with acting_for(caller):
            salts.append(cache_salt())
    assert salts == ["tenant default", "tenant acme", "tenant acme"]


async def test_every_prompt_carries_the_salt() -> None:
    pytest.importorskip("vllm")
    engine = object.__new__(VllmEngine)
    engine.llm, engine.tokenizer, engine.context_tokens = NotedLlm(), Tokenizer(), 100  # type: ignore[assignment]
    with acting_for(Caller("ann", "acme", "ann")):
        async for _ in engine.generate([Message("user", "x")], GenerationOptions()):
            pass
    async for _ in engine.generate([Message("user", "x")], GenerationOptions()):
        pass
    assert [prompt.get("cache_salt") for prompt in engine.llm.prompts] == ["tenant acme", None]
    assert [prompt["prompt_token_ids"] for prompt in engine.llm.prompts] == [[1, 2, 3]] * 2


def test_vllm_takes_a_salt_with_a_prompt() -> None:
    inputs = pytest.importorskip("vllm.inputs.engine")
    assert "cache_salt" in inspect.signature(inputs.tokens_input).parameters
