"""Text of `twotower clean`: sizes by kind, paths, and consequences."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from twotower.pipeline.cleanup import CleanupPlan, Kind, Removal

TITLES: Mapping[Kind, str] = {
    "checkpoints": "checkpoints of ended runs",
    "caches": "caches that no run uses",
    "failed": "failed runs",
}


def plan_lines(plan: CleanupPlan, kinds: Collection[Kind]) -> Iterator[str]:
    """Yield lines on what can be deleted, what stays, and the consequences."""
    for kind in (kind for kind in TITLES if kind in kinds):
        removals = [each for each in plan.removals if each.kind == kind]
        yield f"{format_size(removals):>10}  {TITLES[kind]} ({len(removals)})"
        for each in sorted(removals, key=lambda each: -each.num_bytes):
            yield f"{format_size([each]):>14}  {each.path}"
    for path, reason in plan.excluded.items():
        yield f"stays: {path}: {reason}"
    if any(each.kind == "checkpoints" for each in plan.removals):
        yield (
            "without checkpoints: warm_start= and rebuild_bundle= refuse these runs, and the next run with "
            "the same settings trains again (keep=[FOLDER] excludes a run)"
        )
    for folder, dependents in plan.dependents.items():
        yield f"without the checkpoints of {folder}: the same for {', '.join(map(str, dependents))}"
    if any(each.kind == "failed" for each in plan.removals):
        yield "without failed runs: resume= cannot continue them"


def format_size(removals: Collection[Removal]) -> str:
    """Return the size of files as text."""
    return f"{sum(each.num_bytes for each in removals) / 1e6:,.1f} MB"


def summary_line(plan: CleanupPlan, root: Path, refused: Mapping[Path, str] | None) -> str:
    """Return the last line.

    Args:
        plan: the plan.
        root: its folder.
        refused: path -> reason why it was not deleted; None before deletion.
    """
    if not plan.removals:
        return f"nothing to delete below {root}"
    if refused is None:
        return f"nothing was deleted; twotower clean apply=true frees {format_size(plan.removals)}"
    return f"deleted: {format_size([each for each in plan.removals if each.path not in refused])}"
