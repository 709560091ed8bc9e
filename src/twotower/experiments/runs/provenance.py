"""Provenance of a run: code, libraries and machine."""

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.trust import targets
from twotower.files.atomic import file_sha256
from twotower.files.code import code_fingerprint
from twotower.files.plain_values import fingerprint_values

PACKAGE = Path(__file__).parents[2]
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
TRAINING = "twotower.training.train_towers"
"""Module that trains. Its imports and the classes that the settings name are part of the fingerprint."""
EVALUATION = tuple(f"twotower.evaluation.{name}" for name in ("evaluate_towers", "baselines.tuning"))
"""Modules that evaluate towers and baselines. Their imports are part of the fingerprint too."""
EXCLUDED_FROM_TRAINING = ("twotower.index",)
"""Training builds indexes, but they do not change the towers."""


def provenance() -> dict[str, Any]:
    """Return code and machine, which a bit-identical repetition requires besides equal settings and data."""
    return {"code": {"fingerprint": package_fingerprint(), **_commit()}, "machine": machine()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape a run."""
    libraries = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    return {"python": platform.python_version(), **libraries}


def peak_rss_bytes() -> int:
    """Return the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> dict[str, Any]:
    """Return the processor and the number of threads that torch uses."""
    import torch

    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def evaluation_fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a SHA-256 over the evaluation: its settings and its code."""
    evaluation = {key: settings[key] for key in ("metrics", "baselines", "new_items")}
    evaluation["test"] = settings.get("test")
    code = code_fingerprint([*EVALUATION, *_target_modules(evaluation)])
    return fingerprint_values([evaluation, code])


def training_fingerprint(shaping: Mapping[str, Any], data_fingerprint: str) -> str:
    """Return a SHA-256 over settings, data and code of a training; runs with equal ones share towers."""
    code = code_fingerprint([TRAINING, *_target_modules(shaping)], excluded=EXCLUDED_FROM_TRAINING)
    return fingerprint_values([shaping, data_fingerprint, code])


@functools.cache
def package_fingerprint() -> str:
    """Return a SHA-256 over the source files of this package."""
    files = PACKAGE.rglob("*.py")
    return fingerprint_values({path.relative_to(PACKAGE).as_posix(): file_sha256(path) for path in files})


def _target_modules(values: Any) -> list[str]:
    return [name.rpartition(".")[0] for name in targets(values) if isinstance(name, str)]


def _commit() -> dict[str, Any]:
    git = functools.partial(
        subprocess.check_output, cwd=PACKAGE, stderr=subprocess.DEVNULL, text=True, timeout=10
    )
    try:
        commit = git(["git", "rev-parse", "HEAD"])
        status = git(["git", "status", "--porcelain", "--", "."])
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
