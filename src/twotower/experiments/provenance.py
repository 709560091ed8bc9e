"""Which code, libraries and machine made a run."""

import functools
import hashlib
import importlib.metadata
import inspect
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.spec import TARGET, locate

PACKAGE = Path(__file__).parents[1]
DISTRIBUTIONS = (
    "twotower",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "faiss-cpu",
    "numpy",
    "scipy",
    "pandas",
)
TRAINING_ROOMS = (
    "spec.py",
    "data",
    "features",
    "towers",
    "negatives",
    "losses",
    "metrics",
    "evaluation",
    "training",
)
"""What a change of may change the towers or their figures."""

TRAINING_LIBRARIES = ("torch", "pytorch-lightning", "numpy", "scipy", "pandas")


def provenance() -> dict[str, Any]:
    """Return what must be the same for a run to be repeated bit for bit, beside settings and data."""
    return {"code": {"fingerprint": code_fingerprint(("",)), **_commit()}, "machine": machine()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a run."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in DISTRIBUTIONS},
    }


def peak_rss_bytes() -> int:
    """Return the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> dict[str, Any]:
    """Return the processor, and how many threads torch computes with here."""
    import torch

    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def training_fingerprint(shaping: str, data_fingerprint: str, settings: Mapping[str, Any]) -> str:
    """Return a SHA-256 over all that makes towers: equal means that one training does for both.

    Args:
        shaping: the settings that shape training, as text.
        data_fingerprint: of the data set and its split.
        settings: may name classes outside this package, whose source counts too.
    """
    libraries = [importlib.metadata.version(name) for name in TRAINING_LIBRARIES]
    parts = [shaping, data_fingerprint, code_fingerprint(TRAINING_ROOMS), *libraries]
    parts += [_sha256(Path(path)) for path in sorted(set(_foreign_sources(settings)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def code_fingerprint(rooms: tuple[str, ...]) -> str:
    """Return a SHA-256 over the source of some rooms of this package, as it is on disk."""
    found = hashlib.sha256()
    for room in rooms:
        place = PACKAGE / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            found.update(f"{path.relative_to(PACKAGE).as_posix()} {_sha256(path)}\n".encode())
    return found.hexdigest()


def _foreign_sources(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        target = values.get(TARGET)
        if isinstance(target, str) and not target.startswith("twotower."):
            yield inspect.getsourcefile(locate(target)) or target
        for value in values.values():
            yield from _foreign_sources(value)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _commit() -> dict[str, Any]:
    """Ask git, where the package lies in a checkout."""
    here = ["git", "-C", str(PACKAGE)]
    try:
        commit = subprocess.run([*here, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        status = subprocess.run(
            [*here, "status", "--porcelain", "--", "."], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None}
    if commit.returncode or status.returncode:
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
