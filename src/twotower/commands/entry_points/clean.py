"""Free disk space: checkpoints of ended runs, caches that no run uses, failed runs.

  twotower clean                                    what would be deleted below outputs/; nothing is deleted
  twotower clean apply=true                         delete it
  twotower clean kinds=[checkpoints] keep=[latest]  of all runs but the newest
  twotower clean folder=outputs/default

Bundles, results, what TensorBoard reads, and runs that have not ended stay. A run without checkpoints can be
served, compared, indexed and evaluated again; `warm_start=` and `rebuild_bundle=` refuse it, and the next run
with the same settings trains again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Show what can be deleted, and delete it where that is asked for."""
    from twotower.commands.latest import output_root
    from twotower.config.exits import DONE, FAILED, stoppable
    from twotower.pipeline.cleanup import delete, plan
    from twotower.runs.run_files import resolve_latest

    root = Path(settings["folder"] or output_root())
    keep = [Path(resolve_latest(text, root, with_bundle=False)) for text in settings["keep"]]
    found, refused = plan(root, settings["kinds"], keep), None
    for line in found.lines(settings["kinds"]):
        print(line)
    if settings["apply"]:
        with stoppable(lambda: "the same command deletes the rest"):
            refused = delete(found.removals, root)
        for path, reason in refused.items():
            print(f"not deleted: {path}: {reason}")
    print(found.summary(root, refused))
    return FAILED if refused else DONE
