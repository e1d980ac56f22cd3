"""Composes the prompt: what the model is told, in an order that lets an engine reuse what it has computed.

    system            the task, the deployment's instruction, the add-ons of style    the same for every question of a deployment
    user, assistant   an example, from which a small model learns the form            always the same
    user              the passages, numbered from 1                                    the same for a question asked again
                      the key sentences, the summary of earlier turns, the question    last, because they are new each time

The key sentences are those of the passages that come nearest to the question. They tell a large model nothing new; a small one finds
the fact with them that it overlooks without: see docs/decisions/0009-citations.md.

What people and documents wrote is data: it can neither become a control token of a chat template nor look like a passage's number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.generator.domain import DONT_KNOW, Message, Passage, Style
from services.generator.reading import KeySentence, key_sentences
from services.generator.sentences import split

DEFAULT_PASSAGES = 4
MAX_PASSAGES = 5

TASK = (
    "Answer with the key sentence that answers the question, in its own words, and the number of its passage in brackets. "
    f'If the passages do not hold the answer, say "{DONT_KNOW}"'
)
EXAMPLE = (
    Message(
        "user",
        "[1] Lamp K3 > Battery\nIt charges in 3 hours. The battery lasts 14 hours.\n\n"
        "Key sentence:\n[1] Lamp K3 > Battery: The battery lasts 14 hours.\n\nQuestion: How long does the battery of the Lamp K3 last?",
    ),
    Message("assistant", "The battery of the Lamp K3 lasts 14 hours [1]."),
)
KEY_SENTENCES = 1
_MIN_NEARNESS = 0.2

# Tokens of the chat templates in use, whatever the model: <|im_start|>, <s>, </s>, [INST], <<SYS>>, <start_of_turn>, <bos>, <think>.
_CONTROL = re.compile(
    r"<\|[^<>|\n]{0,64}\|>|<｜[^<>｜\n]{0,64}｜>|</?(?:s|bos|eos|pad|unk|mask|think|tool_call|tool_response|start_of_turn|end_of_turn)>"
    r"|</?(?:system|user|assistant)>|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
    re.IGNORECASE,
)
_SEPARATOR_TOKENS = 2
_HALF = re.compile(r"<(?=[|｜])|(?<=[|｜])>")
# What looks like a citation marker, "[1]" or "[2, 3]", and lines that look like a part of this prompt.
_MARKER = re.compile(r"[\[【](\s*(?:passage\s*)?\d+(?:\s*[,;]\s*\d+)*\s*)[\]】]", re.IGNORECASE)
_FRAME = re.compile(
    r"^[ \t]*(?=(?:passages?|key sentences?|question|answer|summary|earlier|system|user|assistant)\b[^\n:]{0,20}:)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Prompt:
    """A prompt. `passages` are those the model sees, in the order of their numbers from 1; `tokens` counts its texts piece by piece."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]
    tokens: int


def compose(
    question: str,
    passages: Sequence[Passage],
    *,
    summary: str,
    style: Style,
    deployment_instruction: str,
    budget_tokens: int,
    count_tokens: Callable[[str], int],
    special_tokens: Iterable[str] = (),
) -> Prompt:
    """Compose the prompt for `question` from `passages`, best first, within `budget_tokens`.

    `count_tokens` counts with the model's tokenizer; `special_tokens` are its control tokens, which are broken wherever a text holds
    one (those of common chat templates always are). Passages that do not fit are left out from the last; the first is cut at the end
    of a sentence if it does not fit alone. The question is never cut: check its length before.
    """

    def clean(text: str) -> str:
        return neutralise(text, special_tokens)

    system = Message("system", "\n".join([TASK, *_instructions(style, deployment_instruction, clean)]))
    fixed = (system, *EXAMPLE)
    candidates = passages[:MAX_PASSAGES]
    keys = [key for key in key_sentences(question, candidates, KEY_SENTENCES) if key.score >= _MIN_NEARNESS]
    ending = _ending(question, candidates, keys, summary, clean)
    spent = sum(count_tokens(message.text) for message in fixed) + count_tokens(ending)
    blocks: list[str] = []
    for number, passage in enumerate(candidates, start=1):
        block = _block(number, passage, clean)
        cost = count_tokens(block) + _SEPARATOR_TOKENS
        if spent + cost > budget_tokens and not blocks:
            block = _cut(block, budget_tokens - spent - _SEPARATOR_TOKENS, count_tokens)
            cost = count_tokens(block) + _SEPARATOR_TOKENS
        if spent + cost > budget_tokens or not block:
            break
        spent += cost
        blocks.append(block)
    shown = [key for key in keys if key.number <= len(blocks)]
    if shown != keys:
        ending = _ending(question, candidates, shown, summary, clean)
    user = Message("user", "\n\n".join([*blocks, ending]))
    return Prompt((*fixed, user), tuple(candidates[: len(blocks)]), spent)


def neutralise(text: str, special_tokens: Iterable[str] = ()) -> str:
    """Return `text` as data: without control characters, control tokens, citation markers, and lines that look like the prompt's own."""
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    while True:
        before = text
        for token in special_tokens:
            if len(token.strip()) > 1 and token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        text = _CONTROL.sub(lambda match: match.group().replace("<", "(").replace(">", ")").replace("[", "(").replace("]", ")"), text)
        text = _HALF.sub(" ", text)
        if text == before:
            break
    text = _MARKER.sub(r"(\1)", text)
    return _FRAME.sub("- ", text).strip()


def _instructions(style: Style, deployment_instruction: str, clean: Callable[[str], str]) -> list[str]:
    """Return the lines after the task: the deployment's own first, then what the request asks for."""
    wishes = (
        ("Style", style.style),
        ("Tone", style.tone),
        ("Write so that it can be read by", style.readability),
        ("Length", style.verbosity),
        ("You speak as", style.persona),
    )
    lines = [clean(deployment_instruction)] if deployment_instruction.strip() else []
    lines += [f"{name}: {_one_line(clean(value)).rstrip('.')}." for name, value in wishes if value.strip()]
    if style.instructions.strip():
        lines.append(_one_line(clean(style.instructions)))
    return lines


def _place(passage: Passage, clean: Callable[[str], str]) -> str:
    """Return where a passage stands: its title and headings."""
    place = [passage.title, *(heading for heading in passage.heading_path if heading != passage.title)]
    return " > ".join(_one_line(clean(part)) for part in place if part.strip())


def _block(number: int, passage: Passage, clean: Callable[[str], str]) -> str:
    """Return a passage as the model sees it: its number, where it stands, its text."""
    return f"[{number}] {_place(passage, clean)}\n{clean(passage.text)}"


def _ending(question: str, passages: Sequence[Passage], keys: Sequence[KeySentence], summary: str, clean: Callable[[str], str]) -> str:
    """Return what follows the passages."""
    lines = [f"[{key.number}] {_place(passages[key.number - 1], clean)}: {_one_line(clean(key.unit.readable))}" for key in keys]
    parts = ["\n".join(["Key sentence:", *lines])] if lines else []
    parts += [f"Earlier in this conversation: {_one_line(clean(summary))}"] if summary.strip() else []
    return "\n\n".join([*parts, f"Question: {_one_line(clean(question))}"])


def _cut(block: str, limit: int, count_tokens: Callable[[str], int]) -> str:
    """Return as many whole sentences of `block` as fit; empty when not even its heading and one sentence do."""
    heading, _, text = block.partition("\n")
    kept = ""
    for sentence in split(text):
        longer = f"{heading}\n{text[: sentence.end]}"
        if count_tokens(longer) > limit:
            break
        kept = longer
    return kept


def _one_line(text: str) -> str:
    return " ".join(text.split())
