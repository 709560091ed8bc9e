"""Encoders of sequences that `conf/history/` names."""

import yaml

from twotower.commands.conf import CONF
from twotower.config.spec import locate_class
from twotower.towers.history.causal_encoder import CausalEncoder
from twotower.towers.history.history_encoder import HistoryEncoder


def causal_encoders() -> list[type[CausalEncoder]]:
    """All that are there."""
    specs = [yaml.safe_load(path.read_text()) for path in sorted((CONF / "history").glob("*.yaml"))]
    kinds = [locate_class(spec, HistoryEncoder) for spec in specs]
    found = [kind for kind in kinds if issubclass(kind, CausalEncoder)]
    assert found
    return found
