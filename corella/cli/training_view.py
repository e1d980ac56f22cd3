"""Watches a training job to its end: a live display on a terminal, a line every few seconds elsewhere, across restarts of the trainer."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from corella.cli.dataset_building import Patience
from corella.cli.naming import short
from corella.cli.output import console, duration, enum_word, line
from corella.errors import RpcFailure
from corella.v1 import trainer_pb2, trainer_pb2_grpc

WATCH_SECONDS = 600.0
"""Longest stream; after it a new one goes on where it ended, so that no call is without a deadline."""
LINE_SECONDS = 5.0
"""How often a line is written where nothing can be redrawn."""
LONGEST_SPARKLINE = 60
BARS = "▁▂▃▄▅▆▇█"
ENDED = {
    trainer_pb2.JOB_STATE_SUCCEEDED, trainer_pb2.JOB_STATE_REJECTED, trainer_pb2.JOB_STATE_FAILED, trainer_pb2.JOB_STATE_CANCELLED,
}  # fmt: skip


def follow(
    stub: trainer_pb2_grpc.TrainerServiceStub, name: str, away: Callable[[], None] = lambda: None
) -> Iterator[trainer_pb2.WatchJobResponse]:
    """How the job goes on, until it has ended. A trainer that goes away is waited for, two minutes from its last word.

    No step comes twice. `away` is called whenever the trainer cannot be reached.
    """
    patience = Patience()
    after_step = 0
    while True:
        heard = False
        try:
            for response in stub.WatchJob(trainer_pb2.WatchJobRequest(name=name, after_step=after_step), timeout=WATCH_SECONDS):
                heard = True
                patience.renew()
                after_step = max([after_step, *(step.step for step in response.steps)])
                yield response
                if response.job.state in ENDED:
                    return
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or not heard:
                away()
                patience.wait_or_raise(error)
            continue
        # The trainer ended the stream without an end of the job: it is being stopped.
        time.sleep(1.0)


def watch(stub: trainer_pb2_grpc.TrainerServiceStub, name: str, *, quiet: bool = False) -> trainer_pb2.Job:
    """Shows the job until it has ended, and returns it. Ctrl-C leaves it going, and says how to go on watching and how to cancel."""
    view = None if quiet else JobView()
    job = trainer_pb2.Job(name=name)
    try:
        if view:
            view.start()
        for response in follow(stub, name, view.away if view else lambda: None):
            job = response.job
            if view:
                view.take(response)
    except KeyboardInterrupt:
        if view:
            view.stop()
        console(error=True).print(
            f"The training goes on: `corella jobs watch {short(name)}` shows it, `corella jobs cancel {short(name)}` stops it.",
            soft_wrap=True,
        )
        raise
    finally:
        if view:
            view.stop()
    return job


class JobView:
    """A job on the screen."""

    def __init__(self) -> None:
        # Standard output is for the result.
        self._out = console(error=True)
        self._live: Any = None
        self._job = trainer_pb2.Job()
        self._losses: list[float] = []
        self._away = False
        self._said = ("", "")
        self._said_at = 0.0

    def start(self) -> None:
        """Begins to draw, where there is a terminal."""
        if self._out.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._out, refresh_per_second=4, transient=True, get_renderable=self._drawn)
            self._live.start()

    def stop(self) -> None:
        """Ends drawing; what was drawn disappears."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def take(self, response: trainer_pb2.WatchJobResponse) -> None:
        """Shows what is new."""
        self._away = False
        self._job = response.job
        self._losses += [step.training_loss for step in response.steps]
        self._say()

    def away(self) -> None:
        """The trainer cannot be reached for the moment."""
        self._away = True
        self._say()

    def _say(self) -> None:
        if self._live is not None or self._job.state in ENDED:
            return
        now, key = time.monotonic(), (heading(self._job, self._away), self._job.message)
        if key != self._said or now - self._said_at >= LINE_SECONDS:
            self._said, self._said_at = key, now
            self._out.print("  ".join(part for part in (key[0], *measures(self._job), line(key[1])) if part), soft_wrap=True)

    def _drawn(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 2, 0, 0))
        done, total = reached(self._job)
        cells: list[Any] = [Spinner("dots"), Text(heading(self._job, self._away), style="yellow" if self._away else "bold")]
        if total:
            cells += [ProgressBar(total=total, completed=done, width=30), Text(f"{done:,}/{total:,}")]
        head.add_row(*cells)
        rows: list[Any] = [head]
        parts = measures(self._job, with_count=False)
        if parts:
            rows.append(Text("  " + "  ".join(parts)))
        if len(self._losses) > 1:
            rows.append(Text("  loss " + sparkline(self._losses, min(LONGEST_SPARKLINE, self._out.width - 10)), style="cyan"))
        if self._job.message:
            rows.append(Text("  " + line(self._job.message, self._out.width - 4), style="dim"))
        return Group(*rows)


def heading(job: trainer_pb2.Job, away: bool = False) -> str:
    """What happens, in a few words: `queued, 2 before it`, `training (2nd attempt)`."""
    if away:
        return "trainer away"
    if job.state == trainer_pb2.JOB_STATE_QUEUED:
        return "queued" + (f", {job.queue_position} before it" if job.queue_position else "")
    moving = job.state in {trainer_pb2.JOB_STATE_RUNNING, trainer_pb2.JOB_STATE_EVALUATING}
    word = job.progress.phase if moving and job.progress.phase else enum_word(trainer_pb2.JobState, job.state).lower().replace("_", " ")
    return line(word) + (f" (attempt {job.attempt_count})" if job.attempt_count > 1 else "")


def reached(job: trainer_pb2.Job) -> tuple[int, int]:
    """How much is done, and of how much: steps while it trains, else the items of the phase. (0, 0) where nothing is counted."""
    progress = job.progress
    if progress.phase == "training":
        return progress.step, progress.total_steps
    return progress.done_count, progress.total_count


def measures(job: trainer_pb2.Job, *, with_count: bool = True) -> list[str]:
    """The figures of a job's progress, each with its name."""
    progress = job.progress
    done, total = reached(job)
    training = progress.phase == "training"
    parts = [f"{'step ' if training else ''}{done:,} of {total:,}"] if total and with_count else []
    if training and progress.step:
        parts.append(f"loss {progress.training_loss:.3f}")
    if training and progress.HasField("validation_loss"):
        parts.append(f"validation {progress.validation_loss:.3f}")
    if training and progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.HasField("time_left") and job.state not in ENDED:
        parts.append(f"about {duration(float(progress.time_left.ToMilliseconds() // 1000 or 1))} left".replace(".00", ""))
    return parts


def sparkline(values: list[float], width: int) -> str:
    """The values as bars of a line of text, at most `width` of them: each is the mean of its share of the values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    count = min(width, len(finite))
    cuts = [round(index * len(finite) / count) for index in range(count + 1)]
    means = [sum(finite[start:end]) / (end - start) for start, end in itertools.pairwise(cuts)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def failure_of(job: trainer_pb2.Job) -> str:
    """Why a job failed, on one line; empty when it did not."""
    return line(str(RpcFailure.from_status(job.error))) if job.HasField("error") else ""
