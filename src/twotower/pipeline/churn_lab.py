"""Indexes while items come and go, measured side by side."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from twotower.config.exits import DONE
from twotower.files.part_files import check_new
from twotower.index.churn import exact_states, measure_churn
from twotower.index.ground_truth import as_vectors
from twotower.index.index import Index
from twotower.index.runbook import Runbook
from twotower.pipeline.index_lab import PAGE, Vectors, measure_cases, write_lab
from twotower.reports.churn_report import churn_report


def follow_runbook(
    configs: Mapping[str, Index.Config],
    vectors: Vectors,
    target_recall: float,
    out: Path,
    runbook: Runbook.Config,
) -> int:
    """Lead an index of each settings through a runbook; see `compare_indexes`.

    Raises:
        InputError: as `compare_indexes`, or the runbook changes more items than there are.
    """
    check_new(out)
    steps = runbook.build()
    items, queries = vectors.read()
    items = as_vectors(items, "item vectors")
    queries = as_vectors(queries, "queries", items.shape[1])
    versions, states = steps.run(items, queries)
    exact = exact_states(versions, states)
    rows, skipped = measure_cases(
        configs,
        lambda name, config: measure_churn(name, config, versions, states, exact, target_recall),
    )
    content = vectors.described(items, queries) | {
        "target_recall": target_recall,
        "runbook": runbook.plain(),
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
    }
    title = (
        f"{states[0].end:,} of {len(items):,} vectors of {items.shape[1]} dimensions at the start,"
        f" {len(runbook.steps)} steps, {len(queries):,} queries"
    )
    write_lab(out, content, churn_report(rows, title))
    print(f"ok  {len(configs) - len(skipped)} indexes  {out / PAGE}")
    return DONE
