"""A line an interaction, `user item`, in order: the layout of the files of SASRec and its followers."""

from pathlib import Path

import pandas as pd

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.data.sources.id_lines import id_lines, path_problem
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, USER_ID, Tables


class Pairs(Source):
    """Interactions without times, each user's from the oldest to the newest.

    Ids of a column are whole numbers if all of them are, otherwise text.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018.
    """

    class Config(Source.Config):
        """Which file."""

        path: str
        """A line an interaction: user and item, whitespace between them. Also `.gz`."""
        ordered: bool = True
        """Whether the lines of a user are in the order of time; if not, one is drawn, always the same."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Tell whether the file is there."""
            problem = path_problem(Path(self.path))
            return [*super().problems(facts), *([("path", problem)] if problem else [])]

        def has_times(self) -> bool:
            """There are none."""
            return False

        def columns(self) -> dict[str, set[str]]:
            """Return the ids, which is all there is."""
            return {"users": {USER_ID}, "items": {ITEM_ID}}

    config: Config

    def load(self) -> Tables:
        """Read the file; an InputError names the line that is no pair."""
        path = Path(self.config.path)
        numbers, users, items = [], [], []
        for number, ids in id_lines(path):
            if len(ids) != 2:
                raise InputError(
                    f"{path}: line {number}: expected a user and an item, found {len(ids)} fields; for lists "
                    "of items use data=item_lists, for more columns data=table_files"
                )
            numbers.append(number)
            users.append(ids[0])
            items.append(ids[1])
        frame = pd.DataFrame(
            {USER_ID: users, ITEM_ID: items}, index=pd.Index(numbers, name="line"), dtype="str"
        )
        return Tables(
            frame,
            source_paths={"interactions": str(path)},
            from_csv=["interactions"],
            has_times=False,
            ordered=self.config.ordered,
        )
