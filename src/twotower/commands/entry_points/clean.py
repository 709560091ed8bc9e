"""List what can be deleted to free disk space, with its size; delete= deletes it.

  twotower clean                              only lists
  twotower clean delete=[failed,rejected]     deletes runs that failed or were rejected
  twotower clean output_root=/data/outputs delete=[checkpoints]

Runs that a process uses are never touched, nor anything outside the output folder. See docs/runs.md.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_LISTED = 20
"""Paths that are listed per category."""


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """List or delete files of an output folder."""
    from twotower.config.exits import DONE
    from twotower.experiments.runs.disk_space import CATEGORIES, removable, remove

    root, chosen, left = Path(settings["output_root"]), settings["delete"], []
    for category, description in CATEGORIES.items():
        entries = [each for each in removable(root) if each.category == category]
        num_megabytes = sum(each.num_bytes for each in entries) / 1e6
        state = "deleted" if category in chosen else "found"
        print(f"{category:<12}{len(entries):>5,} {state:<8}{num_megabytes:>10,.1f} MB   {description}")
        if category in chosen:
            remove(entries)
        elif entries:
            left.append(category)
            for each in entries[:MAX_LISTED]:
                print(f"  {each.path}")
            if len(entries) > MAX_LISTED:
                print(f"  and {len(entries) - MAX_LISTED} more")
    if left:
        root_override = [text for text in overrides if text.startswith("output_root=")]
        words = ["twotower", "clean", *root_override, f"delete=[{','.join(left)}]"]
        print(f"to delete: {shlex.join(words)}")
    return DONE
