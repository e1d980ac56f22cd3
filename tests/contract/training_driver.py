"""A driver process for the tests of training on Ray: `python training_driver.py PLAN EVENTS ENDPOINT` appends what it hears to EVENTS.

It and its workers send their spans to ENDPOINT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.chassis.settings import TelemetrySettings
from services.chassis.steps import step
from services.chassis.telemetry import setup_telemetry
from services.trainer.plan import Plan
from services.trainer.ray_cluster import train_on_ray
from services.trainer.settings import RaySettings
from services.trainer.training_events import Resumed, Said, Stepped, TrainingEvent, Waiting


def main(plan: Path, events: Path, endpoint: str) -> None:
    """Runs the plan on a local cluster of two CPUs."""
    telemetry = TelemetrySettings(otlp_endpoint=endpoint)
    shutdown = setup_telemetry("trainer-driver", telemetry)
    with events.open("a", buffering=1) as file:

        def hear(event: TrainingEvent) -> None:
            match event:
                case Stepped(done, _):
                    said = ["step", done.step]
                case Resumed(number):
                    said = ["resumed", number]
                case Said(text) | Waiting(text):
                    said = ["said", text]
            file.write(json.dumps(said) + "\n")

        with step("train"):
            outcome = train_on_ray(Plan.from_json(plan.read_text()), RaySettings(local_cpus=2), hear, lambda: False, telemetry)
        shutdown()
        losses = [each.training_loss for each in outcome.steps]
        file.write(json.dumps(["ended", outcome.final_validation_loss, losses, outcome.result_url]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
