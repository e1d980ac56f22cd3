from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.domain import DONT_KNOW, Example, ExamplesInvalid, Message, Passage, StyleCheck
from services.trainer.example_reader import ExampleReader
from services.trainer.examples import fingerprint, from_json, from_lines, to_json, to_lines
from services.trainer.settings import LimitSettings
from services.trainer.strict_json import LineInvalid

PROMPT = {"prompt": "Say hello.", "response": "Hello!"}
QUESTION = {"question": "How long is the warranty?", "answer": "36 months", "context": ["The warranty is 36 months."]}


def read(*objects: object) -> list[Example]:
    reader = ExampleReader(LimitSettings())
    reader.feed("".join(json.dumps(each) + "\n" for each in objects).encode())
    return reader.finish()


def test_a_prompt_with_its_response_is_a_chat_of_one_message() -> None:
    [example] = read(PROMPT)
    assert example.messages == (Message("user", "Say hello."),)
    assert (example.answer, example.is_question, len(example.id)) == ("Hello!", False, 16)


def test_the_last_message_of_the_assistant_is_the_answer() -> None:
    chat = [("system", "Be brief."), ("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", "2")]
    [example] = read({"messages": [{"role": role, "content": content} for role, content in chat]})
    assert [message.role for message in example.messages] == ["system", "user", "assistant", "user"]
    assert example.answer == "2"


def test_a_question_has_passages_of_text_or_of_objects() -> None:
    passage = {"text": "It is 36 months.", "title": "Warranty", "uri": "https://x/w#a", "heading_path": ["W", "P"], "name": "corpora/x/c/1"}
    [example] = read({**QUESTION, "context": ["Plain.", passage], "corpus": "corpora/docs", "answers": ["three years"]})
    assert example.passages == (Passage("Plain."), Passage("It is 36 months.", "Warranty", "https://x/w#a", ("W", "P"), "corpora/x/c/1"))
    assert (example.corpus, example.answers) == ("corpora/docs", ("three years",))


def test_a_question_that_cannot_be_answered_needs_no_answer() -> None:
    [example] = read({"question": "Why?", "corpus": "corpora/docs", "answerable": False})
    assert (example.answer, example.answerable) == (DONT_KNOW, False)


def test_the_common_fields_are_taken() -> None:
    given = {
        "id": "a1", "group": "g", "concept": "c", "corner_case": True, "held_back": True, "score": 0.5, "trace_id": "t",
        "style": {"required_phrases": ["Kind regards"], "forbidden_phrases": ["!"], "max_words": 20},
    }  # fmt: skip
    [example] = read({**PROMPT, **given})
    assert (example.id, example.group, example.concept, example.score, example.trace_id) == ("a1", "g", "c", 0.5, "t")
    assert example.corner_case
    assert example.held_back
    assert example.style == StyleCheck(("Kind regards",), ("!",), 20)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1]", "must be a JSON object"),
        ('{"prompt": "a"', "is not JSON"),
        ('{"prompt": "a", "response": "b", "score": NaN}', "`NaN` is not a number"),
        ('{"prompt": "a", "response": "b", "score": 1e999}', "a number is too large"),
        ('{"prompt": "a", "response": "b", "score": ' + "9" * 5000 + "}", "a number is too long"),
        ('{"prompt": "a", "prompt": "b", "response": "c"}', "`prompt` stands there twice"),
        ('{"prompt": "a", "response": "b", "score": 1.5}', "`score` must be a number from 0 to 1"),
        ('{"prompt": "a", "response": "b", "score": true}', "`score` must be a number from 0 to 1"),
        ('{"prompt": "a"}', "`response` is missing"),
        ('{"prompt": " ", "response": "b"}', "`prompt` must not be empty"),
        ('{"prompt": 1, "response": "b"}', "`prompt` must be a text"),
        ('{"prompt": "a", "response": "\\ud800"}', "half of a character"),
        ('{"prompt": "a", "response": "b", "colour": 1}', "`colour` is not known"),
        ('{"prompt": "a", "response": "b", "sources": []}', "`sources` does not go with `prompt`"),
        ('{"prompt": "a", "question": "b"}', "exactly one of"),
        ("{}", "exactly one of"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "must end with a message of the `user`"),
        ('{"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "b"}]}', "`messages[0].role` must be one of"),
        (
            '{"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}]}',
            "`messages[0].content` must be a text",
        ),
        ('{"messages": "hello"}', "`messages` must be a list"),
        ('{"question": "a", "answer": "b"}', "needs `context`"),
        ('{"question": "a", "answer": "b", "context": []}', "needs `context`"),
        ('{"question": "a", "context": ["b"]}', "`answer` is missing"),
        ('{"question": "a", "answer": "b", "context": ["1","2","3","4","5","6"]}', "at most 5 entries"),
        ('{"question": "a", "answer": "b", "context": [{"txt": "c"}]}', "`context[0].text` is missing"),
        ('{"question": "a", "answer": "b", "context": [[]]}', "`context[0]` must be an object"),
        ('{"question": "a", "answer": "b", "corpus": "docs"}', "must be `corpora/{corpus}`"),
        ('{"question": "a", "answer": "b", "context": ["c"], "history": []}', "stands alone"),
        ('{"question": "a", "answer": "b", "context": ["c"], "answerable": "no"}', "`answerable` must be true or false"),
        ('{"question": "' + "a" * 4001 + '", "answer": "b", "context": ["c"]}', "at most 4,000 characters"),
        ('{"prompt": "a", "response": "b", "style": {"max_words": 0}}', "`style.max_words` must be a whole number"),
        ('{"prompt": "a", "response": "b", "style": {"mood": "calm"}}', "`style` has a key that is not known"),
        ('{"prompt": "a", "response": "b", "id": "x\\ny"}', "`id` must be one line"),
        ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_a_line_that_is_no_example_says_why(line: str, problem: str) -> None:
    with pytest.raises(LineInvalid) as caught:
        from_json(line)
    assert problem in str(caught.value)


def test_every_bad_line_is_told_by_its_number() -> None:
    reader = ExampleReader(LimitSettings())
    reader.feed(b'{"prompt": "a", "response": "b"}\n\n\xff\n{"prompt": "a"}\n{"x": 1}')
    with pytest.raises(ExamplesInvalid) as caught:
        reader.finish()
    assert [line for line, _ in caught.value.violations] == ["line 3", "line 4", "line 5"]
    assert "line 3: is not UTF-8 at byte 1" in caught.value.message


def test_an_id_may_stand_there_once() -> None:
    with pytest.raises(ExamplesInvalid) as caught:
        read({**PROMPT, "id": "a"}, {"prompt": "x", "response": "y"}, {**QUESTION, "id": "a"})
    assert caught.value.violations == (("line 3", "the id `a` is that of line 1 already"),)


def test_a_line_repeated_without_an_id_is_a_duplicate_and_no_mistake() -> None:
    assert len(read(PROMPT, PROMPT)) == 2


def test_of_many_bad_lines_a_hundred_are_told_and_all_are_counted() -> None:
    reader = ExampleReader(LimitSettings())
    reader.feed(b"no\n" * 250)
    with pytest.raises(ExamplesInvalid) as caught:
        reader.finish()
    assert len(caught.value.violations) == 100
    assert caught.value.metadata["line_count"] == "250"
    assert "and 245 more" in caught.value.message


@given(st.lists(st.integers(0, 400), max_size=8))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int]) -> None:
    content = (
        "\ufeff".encode()
        + "".join(
            json.dumps(each, ensure_ascii=False) + "\r\n" for each in (PROMPT, QUESTION, {"prompt": "ä…🙂", "response": "ö"})
        ).encode()
    )
    whole = ExampleReader(LimitSettings())
    whole.feed(content)
    pieces = ExampleReader(LimitSettings())
    places = sorted(min(cut, len(content)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(content)], strict=True):
        pieces.feed(content[start:end])
    assert pieces.finish() == whole.finish()


def test_a_line_that_is_too_long_is_told_and_never_held_whole() -> None:
    reader = ExampleReader(LimitSettings(line_max_bytes=100))
    for _ in range(1000):
        reader.feed(b"x" * 90)
        assert len(reader._rest) <= 100
    reader.feed(b"\n" + json.dumps(PROMPT).encode())
    with pytest.raises(ExamplesInvalid, match="line 1: has more than 100 bytes"):
        reader.finish()


def test_a_file_with_too_many_bytes_or_examples_is_refused_at_once() -> None:
    reader = ExampleReader(LimitSettings(dataset_max_bytes=50))
    with pytest.raises(ExamplesInvalid, match="more than 50 bytes"):
        reader.feed(b"x" * 51)
    reader = ExampleReader(LimitSettings(dataset_max_examples=1))
    with pytest.raises(ExamplesInvalid, match="more than 1 examples"):
        reader.feed(f"{json.dumps(PROMPT)}\n{json.dumps(QUESTION)}\n".encode())


def test_an_empty_file_is_refused() -> None:
    reader = ExampleReader(LimitSettings())
    reader.feed(b"\n \n")
    with pytest.raises(ExamplesInvalid, match="there are no examples"):
        reader.finish()


text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
phrases = st.lists(text, max_size=2).map(tuple)
common = {
    "id": st.text("abc123", min_size=1, max_size=8), "answer": text, "answers": st.lists(text, max_size=2).map(tuple), "concept": text,
    "corner_case": st.booleans(), "held_back": st.booleans(), "score": st.none() | st.floats(0, 1),
    "style": st.none() | st.builds(StyleCheck, phrases, phrases, st.integers(1, 9)),
    "origin": st.sampled_from(["file", "feedback", "corpus"]), "chunks": st.lists(text, max_size=2).map(tuple),
    "split": st.sampled_from(["", "training", "validation", "held_out"]), "fold": st.none() | st.integers(0, 4),
}  # fmt: skip
passages = st.lists(st.builds(Passage, text, text, text, st.lists(text, max_size=2).map(tuple), st.text("abc/", max_size=5)), max_size=5)
prompts = st.builds(Example, messages=st.just((Message("system", "Be kind."), Message("user", "Hi"))), **common)
questions = st.builds(Example, question=text, passages=passages.map(tuple), corpus=st.just("corpora/docs"), **common)


@given(st.lists(prompts | questions, max_size=4))
def test_what_is_written_is_read_back(examples: list[Example]) -> None:
    assert from_lines(to_lines(examples)) == examples


def test_the_id_and_the_fingerprint_follow_from_the_content() -> None:
    assert from_json(json.dumps(PROMPT)).id == from_json(json.dumps({**PROMPT, "concept": "greeting"})).id
    assert from_json(json.dumps(PROMPT)).id != from_json(json.dumps({**PROMPT, "response": "Hi!"})).id
    [first, second] = read(PROMPT, QUESTION)
    assert fingerprint([first, second]) != fingerprint([second, first])


def test_a_listed_line_can_be_given_again() -> None:
    [example] = read({**QUESTION, "score": 0.25, "sources": ["a.md#b"]})
    assert read(json.loads(to_json(example))) == [example]
