"""Measures answers: asks every question of a set and judges text, citations and refusals against gold."""

from __future__ import annotations

import time
import uuid
from typing import Any

from corella.evaluation.answer_metrics import Judged, contains_gold, token_f1
from corella.evaluation.questions import Question
from corella.v1 import generator_pb2


def ask(stub: Any, corpus: str, question: Question, *, timeout_seconds: float = 120.0) -> tuple[generator_pb2.Answer, Judged]:
    """Asks one question, its history first in the same conversation, and judges the answer."""
    conversation = f"conversations/eval-{uuid.uuid4().hex[:16]}" if question.history else ""
    for earlier in question.history:
        request = generator_pb2.AskRequest(question=earlier, corpus=f"corpora/{corpus}", conversation=conversation)
        for _event in stub.Ask(request, timeout=timeout_seconds):
            pass
    request = generator_pb2.AskRequest(
        question=question.text, corpus=f"corpora/{corpus}", conversation=conversation, skip_memory=not conversation
    )
    started = time.perf_counter()
    first_text = total = 0.0
    passages: list[str] = []
    answer = generator_pb2.Answer()
    for event in stub.Ask(request, timeout=timeout_seconds):
        now = time.perf_counter() - started
        match event.WhichOneof("event"):
            case "passages":
                passages = [passage.uri for passage in event.passages.passages]
            case "delta":
                first_text = first_text or now
            case "citations":
                answer = event.citations.answer
            case "completion":
                # What comes after is memory, which nobody waits for.
                total = now
    return answer, judge(question, answer, passages, first_text, total)


def judge(question: Question, answer: generator_pb2.Answer, passages: list[str], first_text: float, total: float) -> Judged:
    """Compares an answer with the question's gold."""
    cited = tuple(citation.uri for citation in answer.citations)
    return Judged(
        answerable=question.answerable,
        refused=answer.refused,
        f1=0.0 if answer.refused else token_f1(answer.text, question.answers),
        contains=not answer.refused and contains_gold(answer.text, question.answers),
        cited=cited,
        right=tuple(any(source.is_cited_by(uri) for source in question.sources) for uri in cited),
        found=any(source.is_cited_by(uri) for source in question.sources for uri in passages),
        first_text_seconds=first_text,
        total_seconds=total,
    )
