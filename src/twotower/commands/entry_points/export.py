"""Export the towers of a run as ONNX, compare them with the trained ones, and write a bundle with both.

  twotower export run=outputs/default/<time>
  twotower export run=outputs/default/<time>/bundle

The new folder, exported/ next to bundle/, holds the same files, user_tower.onnx and item_tower.onnx; its
manifest records how the towers were compared. An existing export, such as one that `serve` made, is kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Export, and say how the towers were compared."""
    from twotower.bundle.manifest import bundle_in, read_manifest
    from twotower.config.exits import DONE

    folder = Path(settings["run"])
    read_manifest(bundle_in(folder))  # reports a wrong folder before torch is imported
    from twotower.bundle.onnx_export import describe_export, ensure_exported, is_exported

    was_there = is_exported(folder)
    exported = ensure_exported(folder, settings["trusted_packages"])
    print(f"{'already there: ' if was_there else ''}{describe_export(exported)}")
    return DONE


def run() -> None:
    """Run this command and leave with its exit status."""
    from twotower.commands.run_command import run_command

    run_command("export", task, __doc__ or "")
