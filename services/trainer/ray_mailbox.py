"""Where the first training worker leaves what is heard of it, and the driver whether to stop: a small Ray actor between the two."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError


class Mailbox:
    """Runs as an actor. One that was killed comes back empty: what was in it is in the checkpoint as well."""

    def __init__(self) -> None:
        self._letters: list[Any] = []
        self._stop = False

    def post(self, letter: Any) -> None:
        """Leaves a letter."""
        self._letters.append(letter)

    def take(self, stop: bool) -> list[Any]:
        """All letters since the last time, in order; with `stop` the training is to end."""
        self._stop = self._stop or stop
        letters, self._letters = self._letters, []
        return letters

    def stopping(self) -> bool:
        """Whether the training is to end."""
        return self._stop


def open_mailbox() -> Any:
    """A new mailbox in the cluster. It takes no CPU."""
    return ray.remote(Mailbox).options(num_cpus=0, max_restarts=-1, max_task_retries=3).remote()


class Postman:
    """The worker's end: neither telling nor asking ever waits for the actor."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._question: Any = None
        self._stop = False

    def tell(self, event: Any) -> None:
        """Leaves an event."""
        self._mailbox.post.remote(event)

    def hand_over(self, letter: Any, seconds: float = 30.0) -> None:
        """Leaves the last letter and waits until it is there."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            try:
                ray.get(self._mailbox.post.remote(letter), timeout=seconds)
                return
            except RayError:
                time.sleep(0.5)

    def should_stop(self) -> bool:
        """Whether the driver wants an end, as of the last answer that has come."""
        if self._question is not None and ray.wait([self._question], timeout=0)[0]:
            with suppress(RayError):
                self._stop = self._stop or bool(ray.get(self._question))
            self._question = None
        if self._question is None:
            self._question = self._mailbox.stopping.remote()
        return self._stop
