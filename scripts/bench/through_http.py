"""Are the metrics in a run's result.json those that clients of the service get?

  python scripts/bench/through_http.py outputs/default/<time>

Serves the run's bundle, asks it for every user of the test split at the time at which the evaluation asked,
and computes the same metrics from the answers. With an exact index (`index=flat_ip`) they must be equal; an
approximate one shows what it costs.
"""

import argparse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.data.sources.source import Source
from twotower.data.splits.split import Split
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.ranking import item_popularity
from twotower.experiments.runs.result import read_result
from twotower.experiments.runs.run import Run

from service import serving  # isort: skip

BATCH = 128
TOLERANCE = 1e-5
"""Two items whose scores are equal to float32 may stand the other way round."""


def ask(url: str, requests: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the ids of the items that each request is answered with, best first."""
    body = orjson.dumps({"requests": requests})
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/recommend/batch", body, headers)) as answer:
        answers = orjson.loads(answer.read())["answers"]
    return [[each["item_id"] for each in found["items"]] for found in answers]


def top_rows(url: str, dataset: RetrievalDataset, evaluator: Evaluator) -> np.ndarray:
    """Return the item rows [Q, max_k] that the service recommends to the users of the test split."""
    k = evaluator.max_k
    users = dataset.users.values[dataset.test.users - 1].tolist()
    requests = [
        {"user_id": user, "k": k, "request_time": time, "exclude_seen": evaluator.config.filter_seen}
        for user, time in zip(users, dataset.test.request_times.tolist(), strict=True)
    ]
    rows = np.zeros((len(requests), k), dtype=np.int64)
    for start in range(0, len(requests), BATCH):
        for place, ids in enumerate(ask(url, requests[start : start + BATCH]), start):
            rows[place, : len(ids)] = dataset.items.rows(ids)
    return rows


def compare(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return a run's test metrics as its result.json has them, and as clients of the service get them."""
    run = Run.open(folder)
    settings, result = run.settings, read_result(run.folder)
    if result is None:
        raise SystemExit(f"{folder}: the run has not ended")
    cache = Path(settings["output_root"]) / ".cache"
    dataset = build_dataset(
        Source.Config.model_validate(settings["data"]).build(),
        Split.Config.model_validate(settings["split"]).build(),
        cache,
    )
    evaluator = Evaluator.Config.model_validate(settings["metrics"]).build()
    with serving(folder, "console=quiet", f"max_batch={BATCH}") as url:
        rows = top_rows(url, dataset, evaluator)
    popularity = item_popularity(dataset.train_and_valid, len(dataset.items))
    means, _ = evaluator.means_and_values(rows, dataset.test, popularity)
    told = {f"test/{key}": value for key, value in means.items()}
    return {key: result.metrics[key] for key in told}, told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    recorded, told = compare(parser.parse_args().run)
    print(f"{'metric':<24} {'result.json':>12} {'HTTP':>12} {'difference':>12}")
    for key, value in told.items():
        print(f"{key:<24} {recorded[key]:>12.8f} {value:>12.8f} {value - recorded[key]:>12.1e}")
    largest = max(abs(value - recorded[key]) for key, value in told.items())
    print(f"{len(told)} metrics, largest difference {largest:.1e}")
    raise SystemExit(largest > TOLERANCE)


if __name__ == "__main__":
    main()
