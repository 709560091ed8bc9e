"""One line per interaction, `user item`, in order: the format of SASRec's files."""

from pathlib import Path

import pandas as pd

from twotower.config.errors import InputError
from twotower.data.sources.id_lines import id_lines, path_problem
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, USER_ID, Tables


class Pairs(Source):
    """Interactions without times, by default from the oldest to the newest.

    Ids of a column are whole numbers if all of them are, otherwise text.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018.
    """

    class Config(Source.Config):
        """Settings of the file."""

        path: str
        """One line per interaction: user and item, separated by whitespace; also `.gz`."""
        ordered: bool = True
        """Whether the lines of a user are in the order of time; if not, a fixed random order is used."""

        def problems(self) -> list[tuple[str, str]]:
            """Require the file."""
            problem = path_problem(Path(self.path))
            return [*super().problems(), *([("path", problem)] if problem else [])]

        def has_times(self) -> bool:
            """False."""
            return False

        def columns(self) -> dict[str, set[str]]:
            """Return the id columns."""
            return {"users": {USER_ID}, "items": {ITEM_ID}}

    config: Config

    def load(self) -> Tables:
        """Read the file; raises InputError with the first line that is not a pair."""
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
