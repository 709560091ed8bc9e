"""Show the life of a model on the bundled data: train, index, check, recommend, take in a new item.

  twotower demo                     about a minute of training, then recommendations of the bundle
  twotower demo embedding_dim=32    with anything that `twotower train` takes
The run goes to outputs/demo/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twotower.pipeline.run_config import RunConfig


def task(config: "RunConfig", overrides: Sequence[str]) -> int:
    """Train, then show the bundle."""
    from twotower.config.exits import DONE, stoppable
    from twotower.pipeline.train_run import train_in_new_folder

    run, status = train_in_new_folder(config)
    if status != DONE:
        return status
    from twotower.commands.run_demo import show_bundle
    from twotower.serving.retriever import Retriever

    with stoppable(lambda: f"the run is in {run}"):
        show_bundle(Retriever.open(run / "bundle"))
    print("\n--- next")
    print(f"  serve it, with a page        twotower serve bundle={run}")
    print(f"  look at the run              tensorboard --logdir {Path(config.output_root)}")
    print("  change something             twotower train embedding_dim=128 loss.temperature=0.1")
    print(f"  another index, no training   twotower reindex run={run} index=ivf_flat")
    print("  your own data                twotower init log.csv --name shop")
    return DONE
