"""Any server that speaks the OpenAI chat completions interface, as a teacher, as far as the deployment allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.chassis.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from services.trainer.domain import Message
from services.trainer.repeating import DEFAULT_SECONDS, Repeating
from services.trainer.settings import TeacherSettings

if TYPE_CHECKING:
    from openai import OpenAIError

_NO_KEY = "none"


class OpenAiTeacher:
    """Writes with `model` of the server at `url`, one of `settings.allowed_urls`. `close` ends its connections.

    Redirects are not followed and proxies of the environment are not used: texts of documents and the key go where the deployment
    allows, and nowhere else.
    """

    def __init__(self, settings: TeacherSettings, url: str, model: str, *, patience_seconds: float = DEFAULT_SECONDS) -> None:
        """Raises `InvalidArgument` for a URL that is not allowed or a model without a name."""
        check_teacher(settings, url, model)
        # Imported here: it takes a second, which a trainer without such a teacher need not spend.
        import openai

        self._openai = openai
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=settings.api_key_file.read_text().strip() if settings.api_key_file else _NO_KEY,
            timeout=settings.timeout_seconds,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False),
        )
        self._model = model
        self._timeout_seconds = settings.timeout_seconds
        self._repeating = Repeating(patience_seconds)
        self.name = f"{model} at {url}"

    async def write(self, messages: Sequence[Message], max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        """A continuation of the chat, of at most `max_tokens` tokens.

        Raises `DeadlineExceeded`, `Unavailable` or `ResourceExhausted` when patience is at its end, `FailedPrecondition` when the
        server refuses.
        """
        return await self._repeating.run(lambda: self._once(messages, max_tokens, temperature, seed))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _once(self, messages: Sequence[Message], max_tokens: int, temperature: float, seed: int) -> str:
        try:
            # The client's own time-out is for the next piece; a server that trickles would never meet it.
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": each.role, "content": each.text} for each in messages],  # type: ignore[misc]
                    max_tokens=max_tokens,
                    temperature=temperature,
                    seed=seed,
                )
        except TimeoutError as error:
            raise self._too_late() from error
        except self._openai.OpenAIError as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise _unreadable() from error
        try:
            # The library does not check what it was sent.
            return (answer.choices[0].message.content or "").strip()
        except (AttributeError, IndexError, TypeError) as error:
            raise _unreadable() from error

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"The teacher did not answer within {self._timeout_seconds:g} s.")

    def _translated(self, error: OpenAIError) -> Exception:
        openai = self._openai
        match error:
            case openai.APITimeoutError():
                return self._too_late()
            case openai.RateLimitError():
                return ResourceExhausted("The teacher takes no more texts at the moment.", reason="TEACHER_BUSY")
            case openai.APIConnectionError() | openai.InternalServerError():
                return Unavailable("The teacher cannot be reached.", reason="TEACHER_UNAVAILABLE")
            case openai.APIStatusError():
                return FailedPrecondition(f"The teacher refuses: it answered with HTTP {error.status_code}.", reason="TEACHER_FAILED")
            case _:
                return _unreadable()


def _unreadable() -> FailedPrecondition:
    return FailedPrecondition("The teacher's answer cannot be read.", reason="TEACHER_FAILED")


def check_teacher(settings: TeacherSettings, url: str, model: str) -> None:
    """Raises `InvalidArgument` for a URL that the deployment does not allow, and for a model without a name."""
    violations = []
    if url.rstrip("/") not in {each.rstrip("/") for each in settings.allowed_urls}:
        violations.append(("teacher.base_url", "is not one of those the deployment allows (CORELLA_TRAINER_TEACHER__ALLOWED_URLS)"))
    if not model.strip():
        violations.append(("teacher.model", "must not be empty"))
    if violations:
        raise InvalidArgument.of(violations)
