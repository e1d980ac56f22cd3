"""What happened, as messages of the contract."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from services.generator import domain, events
from services.generator.citing import CitedAnswer
from services.generator.ports import Engine
from services.generator.rendering import Rendered


def ask(event: events.Event) -> pb.AskResponse:
    """One event of the stream of `Ask`."""
    match event:
        case events.Started():
            started = pb.AnswerStarted(
                answer=f"answers/{event.answer_id}",
                conversation=f"conversations/{event.conversation_id}" if event.conversation_id else "",
                standalone_question=event.standalone_question,
                memory_state=_memory_state(event.memory_state),
                trace_id=event.trace_id,
            )
            return pb.AskResponse(started=started)
        case events.Found():
            evidence = retriever_pb2.SearchEvidence(
                top_vector_score=event.evidence.top_vector_score,
                top_term_coverage=event.evidence.top_term_coverage,
                overlap_count=event.evidence.overlap_count,
            )
            passages = [passage(each) for each in event.passages]
            return pb.AskResponse(passages=pb.PassagesFound(passages=passages, answerability=event.answerability, evidence=evidence))
        case events.Delta():
            return pb.AskResponse(delta=pb.TextDelta(text=event.text))
        case events.Cited():
            cited = pb.CitationsResolved(
                answer=answer(event.answer),
                dropped_citation_count=event.dropped_citation_count,
                dropped_sentence_count=event.dropped_sentence_count,
            )
            return pb.AskResponse(citations=cited)
        case events.Completed():
            return pb.AskResponse(completion=completion(event))
        case events.Remembered():
            memory = pb.Memory(
                summary_token=event.summary_token or b"",
                summary_token_expire_time=None if event.summary_token_expire_time is None else timestamp(event.summary_token_expire_time),
                state=_memory_state(event.state),
                topic_changed=event.topic_changed,
                budget=budget(event.budget),
            )
            return pb.AskResponse(memory=memory)


def complete(event: events.Delta | events.Completed) -> pb.CompleteResponse:
    """One event of the stream of `Complete`."""
    if isinstance(event, events.Delta):
        return pb.CompleteResponse(delta=pb.TextDelta(text=event.text))
    return pb.CompleteResponse(completion=completion(event))


def model(engine: Engine, serving: domain.Adapter) -> pb.GenerationModel:
    """The model that answers."""
    return pb.GenerationModel(
        display_name=engine.display_name,
        context_tokens=engine.context_tokens,
        adapter=serving.name,
        engine=engine.kind,
        fingerprint=engine.fingerprint,
        max_adapter_rank=engine.max_adapter_rank,
    )


def score(given: domain.TextScore, adapter: str) -> pb.ScoreTextResponse:
    """How likely a text is."""
    return pb.ScoreTextResponse(token_count=given.token_count, log_likelihood=given.log_likelihood, adapter=adapter)


def passage(given: domain.Passage) -> retriever_pb2.Passage:
    """A passage as the retriever sent it."""
    origin = given.provenance
    return retriever_pb2.Passage(
        name=given.name,
        document=given.document,
        title=given.title,
        uri=given.uri,
        heading_path=given.heading_path,
        text=given.text,
        metadata=dict(given.metadata),
        index=given.index,
        score=given.score,
        provenance=retriever_pb2.Provenance(
            keyword_rank=origin.keyword_rank,
            keyword_score=origin.keyword_score,
            vector_rank=origin.vector_rank,
            vector_score=origin.vector_score,
            fused_score=origin.fused_score,
            rerank_score=origin.rerank_score,
            embedded_now=origin.embedded_now,
        ),
    )


def answer(given: domain.Answer) -> pb.Answer:
    """An answer with its citations."""
    citations = [
        pb.Citation(
            number=each.number,
            uri=each.uri,
            title=each.title,
            heading_path=each.heading_path,
            quote=each.quote,
            passage=each.passage,
            spans=[pb.TextSpan(start=span.start, end=span.end) for span in each.spans],
            from_model=each.from_model,
            support=each.support,
        )
        for each in given.citations
    ]
    reason = "UNSPECIFIED" if given.refusal_reason is None else given.refusal_reason.name
    return pb.Answer(
        name=f"answers/{given.id}" if given.id else "",
        text=given.text,
        citations=citations,
        refused=given.refused,
        refusal_reason=f"REFUSAL_REASON_{reason}",
    )


def cited(given: CitedAnswer) -> pb.CiteTextResponse:
    """What counts of a text. It is not kept, so it has no name."""
    return pb.CiteTextResponse(
        answer=answer(domain.Answer("", given.text, given.citations, given.refusal_reason)),
        dropped_citation_count=given.dropped_citation_count,
        dropped_sentence_count=given.dropped_sentence_count,
    )


def rendered(given: Rendered) -> pb.RenderPromptResponse:
    """A prompt as it would be served."""
    return pb.RenderPromptResponse(
        messages=[pb.ChatMessage(role=f"CHAT_ROLE_{each.role.upper()}", text=each.text) for each in given.messages],
        token_ids=given.token_ids,
        passage_count=given.passage_count,
        answerability=given.answerability,
        refusal_threshold=given.refusal_threshold,
    )


def usage_totals(given: domain.UsageTotals) -> pb.GetUsageResponse:
    """What texts have cost in all."""
    totals = [pb.UsageTotal(**asdict(each)) for each in given.totals]
    return pb.GetUsageResponse(totals=totals, since=None if given.since is None else timestamp(given.since))


def completion(given: events.Completed) -> pb.Completion:
    """What a text cost and why it ended."""
    return pb.Completion(
        usage=usage(given.usage), finish_reason=f"FINISH_REASON_{given.finish_reason.name}", model=given.model, adapter=given.adapter
    )


def usage(given: domain.Usage) -> pb.Usage:
    """Tokens and durations."""
    return pb.Usage(
        prompt_tokens=given.prompt_tokens,
        cached_prompt_tokens=given.cached_prompt_tokens,
        completion_tokens=given.completion_tokens,
        recall_duration=_duration(given.recall_seconds),
        retrieval_duration=_duration(given.retrieval_seconds),
        time_to_first_token=_duration(given.first_token_seconds),
        generation_duration=_duration(given.generation_seconds),
        total_duration=_duration(given.total_seconds),
    )


def traces(given: domain.Traces) -> list[retriever_pb2.Trace]:
    """How much there is in each place, in a fixed order."""
    places = {
        "turns of conversations": given.turns,
        "summaries of conversations": given.summaries,
        "answers kept for feedback": given.answers,
        "feedback": given.feedback,
    }
    return [retriever_pb2.Trace(place=place, count=count) for place, count in places.items()]


def conversation(given: domain.Conversation, kept: domain.ConversationBudget) -> pb.Conversation:
    """A conversation as it is remembered."""
    return pb.Conversation(
        name=f"conversations/{given.id}",
        summary=given.summary.text,
        turns=[
            pb.Turn(
                question=turn.question,
                answer=turn.answer,
                standalone_question=turn.standalone_question,
                create_time=timestamp(turn.create_time),
            )
            for turn in given.turns
        ],
        budget=budget(kept),
        create_time=timestamp(given.create_time),
        update_time=timestamp(given.update_time),
        expire_time=timestamp(given.expire_time),
    )


def budget(given: domain.ConversationBudget) -> pb.ConversationBudget:
    """How full a conversation is."""
    return pb.ConversationBudget(
        turn_count=given.turn_count,
        max_turns=given.max_turns,
        summary_tokens=given.summary_tokens,
        max_summary_tokens=given.max_summary_tokens,
        exhausted=given.exhausted,
    )


def feedback(given: domain.Feedback) -> pb.Feedback:
    """Feedback as stored."""
    return pb.Feedback(
        name=f"answers/{given.answer_id}/feedback",
        rating=f"RATING_{given.rating.name}",
        corrected_text=given.corrected_text,
        comment=given.comment,
        create_time=timestamp(given.create_time),
    )


def feedback_record(given: domain.Feedback, record: domain.AnswerRecord) -> pb.FeedbackRecord:
    """Feedback with what it is about."""
    return pb.FeedbackRecord(
        feedback=feedback(given),
        question=record.question,
        standalone_question=record.standalone_question,
        answer=answer(record.answer),
        passages=record.passages,
        corpus=record.corpus,
        adapter=record.adapter,
        trace_id=record.trace_id,
    )


def timestamp(moment: datetime) -> Timestamp:
    """A moment on the wire."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def _memory_state(state: domain.MemoryState) -> str:
    return f"MEMORY_STATE_{state.name}"
