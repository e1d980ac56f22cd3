"""Shows one answer: text as it comes, then what counts, then its citations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from corella.cli.naming import short
from corella.cli.output import clean, console, duration, enum_word, line, link, place, write_json
from corella.v1 import generator_pb2, generator_pb2_grpc

TIMEOUT_SECONDS = 120.0

REFUSALS = {
    generator_pb2.REFUSAL_REASON_NO_PASSAGES: "Nothing was found in the documents.",
    generator_pb2.REFUSAL_REASON_WEAK_EVIDENCE: "What was found most likely does not hold the answer; the model was not asked.",
    generator_pb2.REFUSAL_REASON_MODEL_DECLINED: "The model found no answer in the passages.",
    generator_pb2.REFUSAL_REASON_UNSUPPORTED: "The model answered, but nothing in the documents supports what it said.",
}


def ask_once(
    stub: generator_pb2_grpc.GeneratorServiceStub, request: generator_pb2.AskRequest, *, show_passages: bool, as_json: bool
) -> None:
    """Asks one question and shows the answer."""
    began = time.monotonic()
    events = stub.Ask(request, timeout=TIMEOUT_SECONDS)
    if as_json:
        for event in events:
            write_json(event)
        return
    view = AnswerView(began, show_passages=show_passages)
    try:
        for event in view.follow(events):
            view.take(event)
    finally:
        # Leaving early, with Ctrl-C too, stops the model within a second.
        events.cancel()


class AnswerView:
    """One answer on the screen. On a terminal the text grows as it comes; elsewhere only what counts is written."""

    def __init__(self, began: float, *, show_passages: bool) -> None:
        self._out = console()
        self._began = began
        self._show_passages = show_passages
        self._name = ""
        self._trace_id = ""
        self._text = ""
        self._first_text_after: float | None = None
        self._answer: generator_pb2.Answer | None = None
        self._dropped_sentences = 0
        self._live: Any = None

    def follow(self, events: Iterator[generator_pb2.AskResponse]) -> Iterator[generator_pb2.AskResponse]:
        """The events, with the growing text on the screen between the first and the answer that counts."""
        if not self._out.is_terminal:
            yield from events
            return
        from rich.live import Live

        try:
            for event in events:
                if event.WhichOneof("event") == "started" and self._live is None:
                    self._live = Live(console=self._out, refresh_per_second=12, transient=True, get_renderable=self._growing)
                    self._live.start()
                yield event
        finally:
            self._end_live()

    def take(self, event: generator_pb2.AskResponse) -> None:
        """Shows what an event brings."""
        kind = event.WhichOneof("event")
        if kind == "passages":
            self._passages(event.passages)
        elif kind == "delta":
            if self._first_text_after is None:
                self._first_text_after = time.monotonic() - self._began
            self._text += event.delta.text
        elif kind == "citations":
            self._end_live()
            self._answer = event.citations.answer
            self._dropped_sentences = event.citations.dropped_sentence_count
            self._show_answer(event.citations.answer)
        elif kind == "completion":
            self._show_completion(event.completion)
        elif kind == "started":
            self._name = event.started.answer
            self._trace_id = event.started.trace_id
            if event.started.memory_state == generator_pb2.MEMORY_STATE_DEGRADED:
                self._note("The conversation store cannot be reached: this answer does not know of earlier turns.")

    def _growing(self) -> Any:
        from rich.spinner import Spinner
        from rich.text import Text

        # Until there is text, a sign that something is going on; longer texts scroll out of the live area, so only their end is drawn.
        lines = clean(self._text).split("\n")
        return Text("\n".join(lines[-max(4, self._out.height - 4) :])) if self._text.strip() else Spinner("dots")

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show_answer(self, answer: generator_pb2.Answer) -> None:
        self._out.print(clean(answer.text).strip(), soft_wrap=not self._out.is_terminal)
        if answer.refused:
            self._note(REFUSALS.get(answer.refusal_reason, ""))
        if answer.citations:
            self._out.print()
        for citation in answer.citations:
            where = link(place(citation.title, citation.heading_path), citation.uri)
            self._out.print(f"[{citation.number}]", where, "—", line(citation.uri), soft_wrap=True)

    def _passages(self, found: generator_pb2.PassagesFound) -> None:
        if not self._show_passages:
            return
        from corella.cli.search import provenance

        for number, passage in enumerate(found.passages, 1):
            self._out.print(f"({number})", link(place(passage.title, passage.heading_path), passage.uri), provenance(passage.provenance))
            self._out.print(clean(passage.text), style="dim")
        self._note(f"Probability that these hold the answer: {found.answerability:.2f}")

    def _show_completion(self, completion: generator_pb2.Completion) -> None:
        parts = []
        if self._first_text_after is not None:
            parts.append(f"first words after {duration(self._first_text_after)}")
        parts.append(f"{duration(time.monotonic() - self._began)} in all")
        if completion.usage.completion_tokens:
            parts.append(f"{completion.usage.completion_tokens} tokens")
        if completion.finish_reason == generator_pb2.FINISH_REASON_LENGTH:
            parts.append("cut off at the longest length allowed")
        if self._dropped_sentences:
            parts.append(f"{self._dropped_sentences} unsupported sentence{'s' if self._dropped_sentences > 1 else ''} taken out")
        parts.append(line(completion.model) + (f" + {line(short(completion.adapter))}" if completion.adapter else ""))
        # By this name the answer can be given feedback.
        parts.append(line(self._name))
        # By this one `corella trace` shows where its time went.
        parts.append(f"trace {line(self._trace_id)}" if self._trace_id else "")
        self._note(" · ".join(part for part in parts if part))

    def _note(self, text: str) -> None:
        if text:
            self._out.print(text, style="dim", soft_wrap=True)


def memory_notes(memory: generator_pb2.Memory) -> list[str]:
    """What a person should know about the memory of a conversation, in sentences."""
    notes = []
    if memory.state == generator_pb2.MEMORY_STATE_DEGRADED:
        notes.append("The conversation store cannot be reached: this turn may not be remembered.")
    if memory.topic_changed:
        notes.append("That was another topic; /new begins a conversation of its own.")
    if memory.budget.exhausted:
        notes.append(f"This conversation is long ({memory.budget.turn_count} turns); /new would serve better.")
    return notes


def state_word(state: int) -> str:
    """A memory state as people say it."""
    return enum_word(generator_pb2.MemoryState, state).lower()
