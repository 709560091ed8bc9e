"""Export the towers of a run as ONNX, compare them with the trained ones, and write a bundle with both.

  twotower export run=outputs/default/<time>
  twotower export run=outputs/default/<time>/bundle

The new folder, exported/ beside bundle/, holds the same files, user_tower.onnx, item_tower.onnx and
history_vectors.npy; its manifest says how the towers were compared. An export that is there, as
after `serve`, is told of and stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Export, and say how the towers were compared."""
    from twotower.bundle.export import exported_beside, told
    from twotower.config.exits import DONE

    print(told(exported_beside(Path(settings["run"]), settings["trusted_packages"])))
    return DONE


def run() -> None:
    """Run this command and leave with its exit status."""
    from twotower.commands.door import run_door

    run_door("export", task, __doc__ or "")
