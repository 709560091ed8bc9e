"""The walkthrough at the end of a run, if one is chosen."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.trust import targets
from twotower.runs.run import Run
from twotower.serving.walkthrough import Step, Walkthrough

LOG = logging.getLogger("twotower")


def run_walkthrough(
    walkthrough: Walkthrough.Config | None,
    run: Run,
    curves: Mapping[str, Sequence[float]],
    users: pd.DataFrame,
) -> list[Step]:
    """Return the steps of the walkthrough, up to a warning where it asks for what is not there.

    Args:
        walkthrough: that was chosen.
        run: whose bundle is written.
        curves: of its training.
        users: their table.
    """
    if walkthrough is None:
        return []
    from twotower.serving.retriever import Retriever

    steps: list[Step] = []
    try:
        retriever = Retriever.open(run.folder / "bundle", list(targets(run.settings)))
        steps.extend(walkthrough.build().steps(retriever, curves, users))
    except InputError as error:
        LOG.warning("walkthrough: %s", error)
    return steps
