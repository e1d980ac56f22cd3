"""What texts cost, as metrics: the sums that `GetUsage` tells of each tenant, of all tenants together, for a dashboard to put prices on."""

from __future__ import annotations

from services.chassis.telemetry import meter
from services.generator.domain import Usage, UsageTotals
from services.generator.ports import UsageStore

_seconds = meter.create_counter("corella.usage.seconds", unit="s", description="Time that retrieval and the engine spent on texts.")
_context = meter.create_counter("corella.usage.context_tokens", unit="{token}", description="Tokens of prompts.")
_output = meter.create_counter("corella.usage.output_tokens", unit="{token}", description="Tokens written.")
_questions = meter.create_counter("corella.usage.questions", unit="{question}", description="Questions answered or refused.")


class MeasuredUsage:
    """A `UsageStore` that also counts what is added to it."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    def add(self, purpose: str, adapted: bool, usage: Usage) -> None:
        """Adds one text written for `purpose`. Never waits and never fails."""
        self._store.add(purpose, adapted, usage)
        what_for = {"corella.purpose": purpose}
        _seconds.add(usage.retrieval_seconds, {**what_for, "corella.component": "retrieval"})
        _seconds.add(usage.generation_seconds, {**what_for, "corella.component": "engine"})
        _context.add(usage.prompt_tokens, what_for)
        _output.add(usage.completion_tokens, what_for)
        if purpose == "answer":
            _questions.add(1)

    async def totals(self) -> UsageTotals:
        """All totals. Raises `MemoryUnavailable` when the store cannot be reached."""
        return await self._store.totals()
