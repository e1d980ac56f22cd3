"""All dashboards and the rules that are written from here, with the text of the file that each one becomes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboards import cost, generation, ingestion, objectives, questions, retrieval, training
from deploy.dashboards.board import Board

BOARDS: tuple[Board, ...] = (questions.BOARD, retrieval.BOARD, ingestion.BOARD, generation.BOARD, training.BOARD, cost.BOARD)
_CHART = Path(__file__).parents[1] / "helm/corella"
FOLDER = _CHART / "dashboards"
OBJECTIVES_FILE = _CHART / "alerts/objectives.yaml"


def file_of(board: Board) -> Path:
    """Where the chart expects it."""
    return FOLDER / f"{board.name}.json"


def text_of(board: Board) -> str:
    """What is in that file."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def objectives_text() -> str:
    """What is in the file of the objectives' rules."""
    heading = "# Written by `make dashboards` from deploy/dashboards/objectives.py, where the windows and factors are explained.\n"
    return heading + yaml.safe_dump(objectives.rules(), sort_keys=False, width=150, allow_unicode=True)
