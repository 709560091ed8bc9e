"""Where the contract tests find variants: our own YAMLs, strangers', and anybody's in `TWOTOWER_CONF`.

TWOTOWER_CONF=mine/conf PYTHONPATH=mine pytest tests/contract

Choices in `conf/local/` of a checkout are found too.
"""

from pathlib import Path
from typing import Any

import yaml

from twotower.commands.conf import CONF, places

CONFS = (CONF, Path(__file__).parent / "strangers" / "conf", *(place for place in places() if place != CONF))


def files_of(group: str) -> list[Path]:
    """The YAMLs of a group."""
    return [path for conf in CONFS for path in sorted((conf / group).glob("**/*.yaml"))]


def specs_of(group: str) -> dict[str, dict[str, Any]]:
    """Name -> what the YAMLs of a group say."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in files_of(group)}
