"""What questions cost on this deployment: the figures of the last gate that measured them, the questions asked so far, and the prices."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from corella.v1 import trainer_pb2 as pb
from services.chassis import identity
from services.chassis.errors import CorellaError
from services.trainer.costing import Prices, cost
from services.trainer.domain import Evaluation, NothingMeasured
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.redis_records import RedisRecords
from services.trainer.settings import PriceSettings

_LOOK_BACK = 200


class CostKeeping:
    """Reports costs. `count_answers` tells how many questions were answered with retrieval so far."""

    def __init__(
        self, records: RedisRecords, shelf: FsspecShelf, prices: PriceSettings, count_answers: Callable[[], Awaitable[int]]
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._prices = prices
        self._count_answers = count_answers

    async def report(self, question_count: int) -> pb.GetCostResponse:
        """The costs. Raises `NothingMeasured`."""
        evaluation = await self._evaluation()
        notes: list[str] = []
        if question_count <= 0:
            try:
                question_count = await self._count_answers()
            except CorellaError:
                notes.append("The generator could not say how many questions were asked; training is spread over one.")
        prices = Prices.of(self._prices, os.cpu_count() or 1, evaluation.usage.worker_count)
        found = cost(evaluation.ways, evaluation.usage, prices, question_count)
        return pb.GetCostResponse(
            ways=[
                pb.CostPerQuestion(
                    way=row.measured.way,
                    prompt_tokens=row.measured.prompt_tokens,
                    completion_tokens=row.measured.completion_tokens,
                    retrieval_seconds=row.measured.retrieval_seconds,
                    engine_seconds=row.measured.engine_seconds,
                    running_cost=row.running_cost,
                    training_cost=row.training_cost,
                    total_cost=row.total_cost,
                    answer_f1=row.measured.answer_f1,
                )
                for row in found.rows
            ],
            currency=prices.currency,
            training_cost=found.training_cost,
            break_even_questions_tuned=found.break_even_tuned,
            break_even_questions_both=found.break_even_both,
            question_count=found.question_count,
            prices=prices.by_name(),
            evaluation=f"evaluations/{evaluation.id}",
            notes=[*notes, *found.notes],
        )

    async def _evaluation(self) -> Evaluation:
        """That of the adapter that serves; else the last one that measured costs."""
        serving = (await self._shelf.serving()).adapter
        recent, _ = await self._records.page_evaluations(_LOOK_BACK, "", identity.current().tenant)
        measured = [each for each in recent if each.ways]
        if not measured:
            raise NothingMeasured(
                "No candidate has been judged on questions yet, so nothing is known of costs; `corella train` measures them."
            )
        return next((each for each in measured if serving and each.adapter == serving), measured[0])
