"""How jobs and queues stand, read from the records: over all tenants, and also of jobs whose drivers are long gone.

A job that has ended does not change any more: it is read once and kept as a number. So a look costs what waits and runs, not what there
ever was. Totals are sums over the records, so they go on where they were when a beat is started again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from services.chassis.standing_gauges import Found, StandingGauges
from services.trainer.costing import Prices
from services.trainer.domain import Job, JobState
from services.trainer.record_fields import load_fields
from services.trainer.redis_records import DATASETS, JOBS, PREFIX
from services.trainer.settings import PriceSettings, TrainerSettings

MOST_SHOWN = 8
"""Running jobs that are shown one by one, each in a slot of its own: the number of series stays bounded."""
_AT_ONCE = 500
_FIELDS = ("state", "progress", "usage", "create_time", "start_time", "alive_time")
_RUNNING = {JobState.RUNNING, JobState.EVALUATING, JobState.WAITING_FOR_RESOURCES}
_QUEUES = {JOBS: "training", DATASETS: "datasets"}

Values = dict[str, Any]
"""Some fields of a job, by name."""


class Standing:
    """Reads. Raises `redis.exceptions.RedisError`."""

    def __init__(self, redis: Redis, prices: PriceSettings, stall_seconds: float, core_count: int) -> None:
        self._redis: Any = redis
        self._prices = prices
        self._stall_seconds = stall_seconds
        self._core_count = core_count
        self._open: set[str] = set()
        self._newest = "-inf"
        self._ended: Counter[JobState] = Counter()
        self._ended_seconds = 0.0
        self._workers = 1
        self._slots: dict[str, int] = {}

    def look(self) -> Found:
        """Values by the names of their metrics."""
        now = self._now()
        jobs = self._jobs()
        states = Counter({state: self._ended[state] for state in JobState})
        states.update(self._state(job, now) for job in jobs.values())
        running = {job_id: job for job_id, job in jobs.items() if job["state"] in _RUNNING}
        prices = Prices.of(self._prices, self._core_count, self._workers)
        seconds = self._ended_seconds + sum(job["usage"].training_seconds for job in jobs.values())
        accepted, rejected = self._ended[JobState.SUCCEEDED], self._ended[JobState.REJECTED]
        return {
            "corella.jobs": [(count, {"corella.job.state": state.value}) for state, count in states.items()],
            "corella.job.verdicts": [
                (accepted, {"corella.job.verdict": "accepted"}),
                (rejected, {"corella.job.verdict": "rejected"}),
            ],
            "corella.usage.seconds": [(seconds, {"corella.component": "training"})],
            "corella.price": [(price, {"corella.component": of}) for of, price in prices.by_name().items()],
            **self._progress(running),
            **self._queues(now),
        }

    def _jobs(self) -> dict[str, Values]:
        """The jobs that have not ended; those that have by now are added to what is kept of them."""
        new = self._redis.zrangebyscore(f"{PREFIX}jobs", self._newest, "+inf", withscores=True)
        read = self._read(sorted(self._open | {job_id for job_id, _ in new}))
        # From here on nothing fails: what is kept and what is open change together.
        ended = [job for job in read.values() if job["state"].ended]
        self._ended.update(job["state"] for job in ended)
        self._ended_seconds += sum(job["usage"].training_seconds for job in ended)
        trained = [job for job in ended if job["usage"].training_seconds]
        if trained:
            self._workers = max(trained, key=lambda job: job["create_time"])["usage"].worker_count
        if new:
            self._newest = f"({new[-1][1]:.0f}"
        found = {job_id: job for job_id, job in read.items() if not job["state"].ended}
        self._open = set(found)
        return found

    def _read(self, ids: Sequence[str]) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for part in _parts(ids, _AT_ONCE):
            pipe = self._redis.pipeline(transaction=False)
            for job_id in part:
                pipe.hmget(f"{PREFIX}job:{job_id}", _FIELDS)
            for job_id, texts in zip(part, pipe.execute(), strict=True):
                stored = {name: text for name, text in zip(_FIELDS, texts, strict=True) if text is not None}
                if "state" in stored:
                    found[job_id] = load_fields(Job, stored)
        return found

    def _state(self, job: Values, now: float) -> JobState:
        """As callers are shown it: a job that runs and shows no sign of life is stalled."""
        alive = job["alive_time"] or job["start_time"] or job["create_time"]
        silent = job["state"] in _RUNNING and now - alive > self._stall_seconds
        return JobState.STALLED if silent else job["state"]

    def _progress(self, running: dict[str, Values]) -> Found:
        shown: dict[str, list[tuple[float, dict[str, str | int]]]] = {
            name: [] for name in ("corella.job.step", "corella.job.steps", "corella.job.loss", "corella.job.tokens_per_second")
        }
        for job_id, slot in self._slotted(running).items():
            progress = running[job_id]["progress"]
            which: dict[str, str | int] = {"corella.job.slot": slot}
            shown["corella.job.step"].append((progress.step, which))
            shown["corella.job.steps"].append((progress.total_steps, which))
            if progress.step:
                shown["corella.job.tokens_per_second"].append((progress.tokens_per_second, which))
                shown["corella.job.loss"].append((progress.training_loss, {**which, "corella.loss": "training"}))
            if progress.validation_loss is not None:
                shown["corella.job.loss"].append((progress.validation_loss, {**which, "corella.loss": "validation"}))
        return shown

    def _slotted(self, running: dict[str, Values]) -> dict[str, int]:
        """The jobs that are shown, oldest first, each in the slot it had."""
        self._slots = {job_id: slot for job_id, slot in self._slots.items() if job_id in running}
        free = [slot for slot in range(MOST_SHOWN) if slot not in self._slots.values()]
        for job_id in sorted(running, key=lambda each: running[each]["create_time"]):
            if job_id not in self._slots and free:
                self._slots[job_id] = free.pop(0)
        return self._slots

    def _queues(self, now: float) -> Found:
        depths: list[tuple[float, dict[str, str | int]]] = []
        ages: list[tuple[float, dict[str, str | int]]] = []
        for lane, queue in _QUEUES.items():
            key = f"{PREFIX}queue:{lane}"
            first = self._redis.zrange(key, 0, 0, withscores=True)
            depths.append((self._redis.zcard(key), {"corella.queue": queue}))
            ages.append((max(0.0, now - first[0][1] / 1000) if first else 0.0, {"corella.queue": queue}))
        return {"corella.queue.depth": depths, "corella.queue.oldest_age": ages}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6


def show_standing(settings: TrainerSettings) -> StandingGauges:
    """Gauges of all this, for the beat. Each beat of a deployment reports the whole: of several take the maximum, not the sum."""
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True, socket_connect_timeout=2, socket_timeout=5)
    standing = Standing(redis, settings.prices, settings.running.stall_seconds, os.cpu_count() or 1)
    gauges = StandingGauges(standing.look, "jobs")
    gauges.gauge("corella.jobs", "{job}", "Jobs by state, of all tenants.")
    gauges.gauge("corella.job.step", "{step}", "Steps done by a running job, by slot.")
    gauges.gauge("corella.job.steps", "{step}", "Steps that a running job is to do, by slot.")
    gauges.gauge("corella.job.loss", "", "Loss of a running job, in nats, by slot.")
    gauges.gauge("corella.job.tokens_per_second", "", "Tokens a running job learns from per second, by slot.")
    gauges.counter("corella.job.verdicts", "{job}", "Jobs that the gate has judged, by verdict.")
    gauges.counter("corella.usage.seconds", "s", "Seconds used, by component; of training the sum over its workers.")
    gauges.gauge("corella.price", "", "Prices in the currency of the price list, by what is priced.")
    gauges.gauge("corella.queue.depth", "{entry}", "What waits for a worker, by queue.")
    gauges.gauge("corella.queue.oldest_age", "s", "How long the oldest has waited; 0 when none waits.")
    gauges.start()
    return gauges


def _parts(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))
