"""Train two towers, index the catalogue, evaluate on the test split, write a bundle: one run folder a call.

  python scripts/train.py                                  the bundled data set, about a minute
  python scripts/train.py loss=bce negatives=uniform       another choice of a group
  python scripts/train.py embedding_dim=128 user_tower.widths=[256,128] loss.temperature=0.05
  python scripts/train.py experiment=movielens_1m          one published protocol
  python scripts/train.py resume=outputs/default/<time>    go on with a run that was interrupted

A run ends in outputs/<name>/<time>/ with config.yaml, result.json, train.log, tensorboard/, checkpoints/,
per_user.parquet and bundle/. Look at runs with: tensorboard --logdir outputs
"""

from pathlib import Path
from typing import Any

from twotower.config import run_door


def task(settings: dict[str, Any], folder: Path) -> int:
    from twotower.assemble import train

    return train(settings, folder)


def resume(folder: Path) -> int:
    from twotower.assemble import resume

    return resume(folder)


if __name__ == "__main__":
    run_door("train", task, __doc__ or "", resume=resume)
