"""Records of finished trainings, so that later runs reuse their towers."""

import json
import os
from pathlib import Path

from twotower.files.atomic import file_sha256, write_text_atomically

CHECKPOINTS = "checkpoints"


def remember(root: Path, fingerprint: str, run: Path) -> None:
    """Record that a run finished the training with this fingerprint; its towers are in `checkpoints/`."""
    paths = sorted(path for path in (run / CHECKPOINTS).rglob("*") if path.is_file())
    files = {path.relative_to(run).as_posix(): file_sha256(path) for path in paths}
    entry = {"run": os.path.relpath(run, root), "files": files}
    write_text_atomically(_entry(root, fingerprint), json.dumps(entry, indent=2))


def find(root: Path, fingerprint: str) -> Path | None:
    """Return the run that finished this training if its checkpoints are unchanged, else None."""
    try:
        entry = json.loads(_entry(root, fingerprint).read_text(encoding="utf-8"))
        run = Path(os.path.normpath(root / entry["run"]))
        same = all(file_sha256(run / name) == digest for name, digest in entry["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged
        return None
    return run if same and entry["files"] else None


def _entry(root: Path, fingerprint: str) -> Path:
    return root / ".cache" / "trainings" / f"{fingerprint}.json"
