"""Asking held-out examples, with a generator that says what it is told, and the canary."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.chassis.errors import InvalidArgument, Unavailable, Unimplemented
from services.trainer import patience
from services.trainer.asked import judge, says_dont_know, style_share
from services.trainer.asking import AskingSettings, AskingStopped, Version, WrongAdapter, ask_held_out, choose, versions
from services.trainer.canary import FIXED_TEXTS, LEAST_SHIFT, canary_shift
from services.trainer.domain import Example, Message, Passage, StyleCheck
from services.trainer.ports import AskedAnswer, CitedText, RenderedPrompt, ServedModel, Written

CANDIDATE = "adapters/default/versions/2"
SERVING = "adapters/default/versions/1"


class FakeGenerator:
    """Answers `<adapter>: …`, cites what stands in the first passage, and notes who was asked what."""

    def __init__(self, *, answerability: float = 0.9, answers_with: str | None = None, shift: float = 0.3, scores: bool = True) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.answerability = answerability
        self.answers_with = answers_with
        self.shift = shift
        self.scores = scores
        self.failures: list[Exception] = []
        self.invalid: set[tuple[str, str]] = set()
        self.now = self.most = 0

    async def _work(self, method: str, adapter: str, what: str) -> str:
        self.calls.append((method, adapter, what))
        if self.failures:
            raise self.failures.pop(0)
        if (adapter, what) in self.invalid:
            raise InvalidArgument("It does not fit.")
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        name = adapter if self.answers_with is None else self.answers_with
        return "" if name == "base" else name

    async def model(self) -> ServedModel:
        raise NotImplementedError

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        messages = (Message("system", passages[0].text), Message("user", question))
        return RenderedPrompt(messages, (), len(passages), self.answerability, 0.35)

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        raise NotImplementedError

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        return CitedText(f"{text} [1]", False, ((1, passages[0].uri, passages[0].name),))

    async def ask(self, question: str, corpus: str, adapter: str = "") -> AskedAnswer:
        name = await self._work("ask", adapter, question)
        cited = CitedText("36 months [1].", False, ((1, "https://docs.example/warranty.md#periods", ""),))
        return AskedAnswer(Written("36 months", name, 500, 7, 0.2, 0.9), cited, (), 0.1, 1.2)

    async def complete(self, messages: Sequence[Message], adapter: str = "", max_tokens: int = 96) -> Written:
        name = await self._work("complete", adapter, messages[-1].text)
        return Written("36 months", name, 40, 5, 0.1, 0.5)

    async def score(self, messages: Sequence[Message], text: str, adapter: str = "") -> tuple[float, int]:
        if not self.scores:
            raise Unimplemented("This engine cannot.")
        self.calls.append(("score", adapter, text))
        return (-10.0 if adapter == "base" else -10.0 + 5 * self.shift), 5

    def feedback(self, since: float = 0.0):
        raise NotImplementedError


def question(id: str = "q", **changes: object) -> Example:
    fields: dict[str, object] = {"question": f"How long, {id}?", "answer": "36 months", "corpus": "corpora/docs"} | changes
    return Example(id=id, **fields)  # type: ignore[arg-type]


def prompt(id: str = "p", **changes: object) -> Example:
    fields: dict[str, object] = {"messages": (Message("user", f"Write {id}."),), "answer": "36 months"} | changes
    return Example(id=id, **fields)  # type: ignore[arg-type]


PASSAGE = Passage("The warranty is 36 months.", uri="https://docs.example/warranty.md", name="c1")


async def test_a_question_about_a_corpus_goes_the_whole_way_for_every_version():
    generator = FakeGenerator()
    answers = await ask_held_out([question(sources=("warranty.md#periods",))], versions(generator, CANDIDATE, SERVING))
    assert {each.version for each in answers.served} == {"base", "serving", "candidate"}
    assert [call[1] for call in generator.calls if call[0] == "ask"] == ["base", SERVING, CANDIDATE]
    first = answers.served[0]
    assert (first.f1, first.citations_right, first.citations_total, first.seconds, first.retrieval_seconds) == (1.0, 1, 1, 1.2, 0.1)


async def test_what_serves_is_asked_once_when_it_is_the_base_model():
    for serving in ("", "base"):
        assert [version.label for version in versions(FakeGenerator(), CANDIDATE, serving)] == ["base", "candidate"]


async def test_versions_take_turns_at_being_first():
    generator = FakeGenerator()
    examples = [question(f"q{i}", answerable=False) for i in range(3)]
    await ask_held_out(examples, versions(generator, CANDIDATE, SERVING), AskingSettings(at_once=1))
    asked = [call[1] for call in generator.calls]
    assert [asked[i] for i in (0, 3, 6)] == ["base", SERVING, CANDIDATE]


async def test_own_passages_are_composed_and_cited_as_they_are_served():
    generator = FakeGenerator()
    answers = await ask_held_out([question(corpus="", passages=(PASSAGE,))], versions(generator, CANDIDATE))
    assert [each.text for each in answers.served] == ["36 months [1]"] * 2
    assert answers.served[0].citations_right == 1, "without gold sources a citation that was let stand is right"


async def test_weak_evidence_is_refused_without_the_model():
    generator = FakeGenerator(answerability=0.1)
    answers = await ask_held_out(
        [question(corpus="", passages=(PASSAGE,), answerable=False)], versions(generator, CANDIDATE), AskingSettings(scored_examples=0)
    )
    assert all(each.refused and each.completion_tokens == 0 for each in answers.served)
    assert generator.calls == []


async def test_a_prompt_is_continued_and_its_gold_scored():
    generator = FakeGenerator()
    answers = await ask_held_out([prompt()], versions(generator, CANDIDATE))
    assert {each.version: each.log_likelihood for each in answers.served} == {"base": -10.0, "candidate": -8.5}
    assert answers.served[0].response_tokens == 5


async def test_the_gold_of_a_question_is_scored_with_the_markers_it_would_have():
    generator = FakeGenerator()
    await ask_held_out([question(corpus="", passages=(PASSAGE,))], versions(generator, CANDIDATE))
    assert {call[2] for call in generator.calls if call[0] == "score"} == {"36 months [1]"}


async def test_an_engine_that_cannot_score_is_not_asked_again():
    answers = await ask_held_out([prompt("a"), prompt("b")], versions(FakeGenerator(scores=False), CANDIDATE))
    assert len(answers.served) == 4
    assert all(each.log_likelihood is None for each in answers.served)


async def test_the_first_questions_are_asked_alone_and_without_passages_too():
    generator = FakeGenerator()
    examples = [question("u", answerable=False), prompt(), *(question(f"q{i}") for i in range(4))]
    answers = await ask_held_out(examples, versions(generator, CANDIDATE), AskingSettings(cost_questions=2))
    assert {each.example_id for each in answers.asked if each.alone} == {"q0", "q1"}
    assert [(each.example_id, each.version, each.prompt_tokens) for each in answers.tuned] == [
        ("q0", "candidate", 40),
        ("q1", "candidate", 40),
    ]
    assert ("complete", CANDIDATE, "How long, q0?") in generator.calls


async def test_no_more_than_allowed_are_asked_side_by_side():
    generator = FakeGenerator()
    examples = [prompt(f"p{i}") for i in range(20)]
    await ask_held_out(examples, versions(generator, CANDIDATE), AskingSettings(at_once=3, cost_questions=0))
    assert generator.most == 3


async def test_an_answer_of_another_adapter_is_an_error():
    with pytest.raises(WrongAdapter, match="answered with `base`"):
        await ask_held_out([prompt()], versions(FakeGenerator(answers_with="base"), CANDIDATE))


async def test_an_example_one_version_cannot_be_asked_counts_for_none():
    generator = FakeGenerator()
    generator.invalid = {(CANDIDATE, "Write b.")}
    answers = await ask_held_out([prompt("a"), prompt("b")], versions(generator, CANDIDATE))
    assert {each.example_id for each in answers.asked} == {"a"}
    assert answers.skipped == (("b", "It does not fit."),)


async def test_a_generator_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "_MAX_WAIT_SECONDS", 0.0)
    generator = FakeGenerator()
    generator.failures = [Unavailable("Away."), Unavailable("Away.")]
    assert len((await ask_held_out([prompt()], versions(generator, CANDIDATE))).served) == 2


async def test_asking_stops_when_told_and_tells_how_far_it_is():
    told: list[tuple[int, int]] = []
    with pytest.raises(AskingStopped):
        await ask_held_out(
            [prompt(f"p{i}") for i in range(9)],
            versions(FakeGenerator(), CANDIDATE),
            AskingSettings(at_once=1),
            on_progress=lambda done, total: told.append((done, total)),
            should_stop=lambda: len(told) >= 3,
        )
    assert told == [(1, 9), (2, 9), (3, 9)]


async def test_a_whole_model_is_asked_as_the_base_of_its_own_generator():
    base, whole = FakeGenerator(), FakeGenerator()
    answers = await ask_held_out([prompt()], (Version("base", "base", base), Version("candidate", "base", whole)))
    assert len(answers.served) == 2
    assert [call[1] for call in whole.calls if call[0] == "complete"] == ["base"]


def test_the_choice_of_examples_stays_when_others_come():
    examples = [question(f"q{i}") for i in range(50)]
    some = choose(examples, 10)
    assert len(some) == 10
    assert [each for each in examples if each in some] == list(some), "in their order"
    assert choose(list(reversed(examples)), 10) == tuple(reversed(some))
    assert len(set(choose([*examples, question("new")], 10)) & set(some)) >= 9


def test_a_refusal_scores_nothing_and_styles_are_counted_by_demand():
    assert judge(question(answer="I do not know how long"), "base", "served", CitedText("I do not know.", True)).f1 == 0
    style = StyleCheck(required_phrases=("Thank you", "regards"), forbidden_phrases=("hey",), max_words=3)
    assert style_share("THANK YOU, sir", style) == 0.75
    assert style_share("anything", StyleCheck()) is None
    assert style_share("anything", None) is None


@pytest.mark.parametrize(("text", "refuses"), [("I do not know.", True), ("", True), ("i do not know that", True), ("36 months", False)])
def test_a_refusal_is_known_by_its_words(text: str, refuses: bool):
    assert says_dont_know(text) is refuses


# The canary


async def test_the_canary_tells_the_largest_shift_of_a_token():
    generator = FakeGenerator(shift=0.3)
    assert await canary_shift(generator, generator, CANDIDATE, [question()]) == pytest.approx(0.3)
    assert len([call for call in generator.calls if call[1] == CANDIDATE]) == len(FIXED_TEXTS) + 1


async def test_an_adapter_without_effect_does_not_move_the_canary():
    generator = FakeGenerator(shift=0.0)
    assert (await canary_shift(generator, generator, CANDIDATE)) < LEAST_SHIFT


async def test_without_scores_there_is_no_proof():
    generator = FakeGenerator(scores=False)
    assert await canary_shift(generator, generator, CANDIDATE) is None
