"""Export the towers of a run as ONNX models, after comparing them with the trained towers.

  twotower export run=outputs/default/<time>
  twotower export run=outputs/default/<time>/bundle

Writes user_tower.onnx and item_tower.onnx to exported/ next to bundle/. An existing export is replaced.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Export the towers and print the result of the comparison."""
    from twotower.bundle.manifest import bundle_in, read_manifest
    from twotower.config.exits import DONE

    folder = Path(settings["run"])
    read_manifest(bundle_in(folder))  # reports a wrong folder before torch is imported
    from twotower.bundle.onnx_export import export_towers

    print(export_towers(folder, settings["trusted_packages"]))
    return DONE
