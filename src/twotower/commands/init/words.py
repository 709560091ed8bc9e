"""The words of `words.yaml`."""

from importlib.resources import files

import yaml

_LISTS = yaml.safe_load((files("twotower.commands.init") / "words.yaml").read_text(encoding="utf-8"))
WORDS = {kind: frozenset(words.split()) for kind, words in _LISTS["columns"].items()}
"""Kind of column, or of a part of its name -> words."""
EVENT_WORDS = {role: frozenset(words.split()) for role, words in _LISTS["events"].items()}
"""Role -> event types that have it."""
