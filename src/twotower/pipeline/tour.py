"""The tour at the end of a run, if one is chosen."""

import logging
from collections.abc import Mapping, Sequence

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.trust import targets
from twotower.runs.run import Run
from twotower.serving.tour import Step, Tour

LOG = logging.getLogger("twotower")


def take_tour(
    tour: Tour.Config | None, run: Run, curves: Mapping[str, Sequence[float]], users: pd.DataFrame
) -> list[Step]:
    """Return the steps of the tour, up to a warning where it asks for what is not there.

    Args:
        tour: that was chosen.
        run: whose bundle is written.
        curves: of its training.
        users: their table.
    """
    if tour is None:
        return []
    from twotower.serving.retriever import Retriever

    steps: list[Step] = []
    try:
        retriever = Retriever.open(run.folder / "bundle", list(targets(run.settings)))
        steps.extend(tour.build().steps(retriever, curves, users))
    except InputError as error:
        LOG.warning("warning: tour: %s", error)
    return steps
