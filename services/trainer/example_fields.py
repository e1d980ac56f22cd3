"""Takes the fields of one example out of its JSON object, each checked; what is wrong is collected, not raised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.trainer.domain import Message, Passage, StyleCheck

Problems = list[str]
"""Clauses that go on after "line 12:"."""

MAX_NAME = 500
"""Characters of an id, a group, a concept, a title, a heading."""
MAX_URI = 4000
MAX_HEADINGS = 20
MAX_PHRASES = 20
_CORPUS = re.compile(r"corpora/[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_HALF = re.compile(r"[\ud800-\udfff]")
_ROLES = ("system", "user", "assistant")
_PASSAGE_KEYS = {"text", "title", "uri", "heading_path", "name"}
_STYLE_KEYS = {"required_phrases", "forbidden_phrases", "max_words"}


class Fields:
    """The fields of `given`. Each method returns the value, or a stand-in after noting in `problems` what is wrong."""

    def __init__(self, given: Mapping[str, Any], problems: Problems, within: str = "") -> None:
        self._given = given
        self._problems = problems
        self._within = within

    def text(self, key: str, limit: int) -> str:
        """A text that must be there and say something."""
        if self._given.get(key) is None:
            self._wrong(key, "is missing")
            return ""
        value = self.optional_text(key, limit)
        if isinstance(self._given[key], str) and not value.strip():
            self._wrong(key, "must not be empty")
        return value

    def optional_text(self, key: str, limit: int) -> str:
        """A text, or nothing."""
        value = self._given.get(key)
        return "" if value is None else self._checked(key, value, limit)

    def name(self, key: str) -> str:
        """A short text on one line, without white space around it."""
        value = self.optional_text(key, MAX_NAME).strip()
        if not value.isprintable():
            self._wrong(key, "must be one line without control characters")
        return value

    def texts(self, key: str, most: int, limit: int) -> tuple[str, ...]:
        """A list of texts that say something."""
        values = self._list(key, most)
        found = tuple(self._checked(f"{key}[{index}]", value, limit) for index, value in enumerate(values))
        for index, (value, text) in enumerate(zip(values, found, strict=True)):
            if isinstance(value, str) and not text.strip():
                self._wrong(f"{key}[{index}]", "must not be empty")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self._given.get(key)
        if value is not None and not isinstance(value, bool):
            self._wrong(key, "must be true or false")
        return value if isinstance(value, bool) else default

    def whole(self, key: str, least: int, most: int) -> int | None:
        """A whole number within bounds, or nothing."""
        value = self._given.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(key, f"must be a whole number from {least:,} to {most:,}")
            return None
        return value

    def score(self, key: str) -> float | None:
        """A number from 0 to 1, or nothing."""
        value = self._given.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self._wrong(key, "must be a number from 0 to 1")
            return None
        return float(value)

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of a few words."""
        value = self._given.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            self._wrong(key, f"must be one of {', '.join(f'`{choice}`' for choice in choices if choice)}")
            return default
        return value

    def corpus(self, key: str) -> str:
        """Name of a corpus, or nothing."""
        value = self.optional_text(key, MAX_NAME)
        if value and not _CORPUS.fullmatch(value):
            self._wrong(key, "must be `corpora/{corpus}`")
        return value

    def prompt(self, key: str, limit: int) -> tuple[Message, ...]:
        """A prompt as a chat of one message."""
        return (Message("user", self.text(key, limit)),)

    def chat(self, key: str, most: int, limit: int, answer_limit: int) -> tuple[tuple[Message, ...], str]:
        """A chat as the messages before the last, which is the answer, and that."""
        messages: list[Message] = []
        for index, value in enumerate(self._list(key, most)):
            inner = self._within_object(f"{key}[{index}]", value, {"role", "content"})
            role = inner.choice("role", _ROLES, "")
            messages.append(Message(role or "user", inner.text("content", limit)))  # type: ignore[arg-type]
            if role == "system" and index:
                self._wrong(key, "may have a `system` message at its beginning only")
            if not role and isinstance(value, Mapping) and value.get("role") is None:
                self._wrong(f"{key}[{index}].role", "is missing")
        if len(messages) < 2 or messages[-1].role != "assistant" or messages[-2].role != "user":
            self._wrong(key, "must end with a message of the `user` and the `assistant`'s answer to it")
            return (), ""
        if len(messages[-1].text) > answer_limit:
            self._wrong(key, f"must end with an answer of at most {answer_limit:,} characters")
        if sum(len(message.text) for message in messages[:-1]) > limit:
            self._wrong(key, f"must have at most {limit:,} characters in all")
        return tuple(messages[:-1]), messages[-1].text

    def passages(self, key: str, most: int, limit: int) -> tuple[Passage, ...]:
        """Passages, each a text or an object."""
        found: list[Passage] = []
        for index, value in enumerate(self._list(key, most)):
            if isinstance(value, str):
                found.append(Passage(Fields({"text": value}, self._problems, f"{self._within}{key}[{index}].").text("text", limit)))
                continue
            inner = self._within_object(f"{key}[{index}]", value, _PASSAGE_KEYS)
            found.append(
                Passage(
                    text=inner.text("text", limit),
                    title=inner.optional_text("title", MAX_URI),
                    uri=inner.optional_text("uri", MAX_URI),
                    heading_path=inner.texts("heading_path", MAX_HEADINGS, MAX_URI),
                    name=inner.name("name"),
                )
            )
        return tuple(found)

    def style(self, key: str) -> StyleCheck | None:
        """What a text of the wanted style has, or nothing."""
        value = self._given.get(key)
        if value is None:
            return None
        inner = self._within_object(key, value, _STYLE_KEYS)
        return StyleCheck(
            required_phrases=inner.texts("required_phrases", MAX_PHRASES, MAX_NAME),
            forbidden_phrases=inner.texts("forbidden_phrases", MAX_PHRASES, MAX_NAME),
            max_words=inner.whole("max_words", 1, 100_000),
        )

    def _within_object(self, key: str, value: Any, keys: set[str]) -> Fields:
        if not isinstance(value, Mapping):
            self._wrong(key, "must be an object")
            # Its missing fields are not worth telling as well.
            return Fields({}, [], "")
        if value.keys() - keys:
            self._wrong(key, f"has a key that is not known; it may have {', '.join(f'`{known}`' for known in sorted(keys))}")
        return Fields(value, self._problems, f"{self._within}{key}.")

    def _list(self, key: str, most: int) -> list[Any]:
        value = self._given.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(key, "must be a list")
            return []
        if len(value) > most:
            self._wrong(key, f"must have at most {most:,} entries, has {len(value):,}")
        return value[:most]

    def _checked(self, key: str, value: Any, limit: int) -> str:
        if not isinstance(value, str):
            self._wrong(key, "must be a text")
            return ""
        if len(value) > limit:
            self._wrong(key, f"must have at most {limit:,} characters, has {len(value):,}")
        # JSON can spell halves of characters ("\ud800"), which are no text.
        if _HALF.search(value):
            self._wrong(key, "holds half of a character, which cannot be written in UTF-8")
            return ""
        return value

    def _wrong(self, key: str, what: str) -> None:
        self._problems.append(f"`{self._within}{key}` {what}")
