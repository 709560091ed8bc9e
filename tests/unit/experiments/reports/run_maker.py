"""Run folders without training."""

import json
from pathlib import Path
from typing import Any

import yaml

from twotower.experiments.runs.result import FORMAT_VERSION


def make_run(folder: Path, result: object = None, **settings: Any) -> Path:
    """Write config.yaml, and result.json unless the result is None; return the folder."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 1} | settings), encoding="utf-8")
    if result is not None:
        result = {"format_version": FORMAT_VERSION} | result if isinstance(result, dict) else result
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder
