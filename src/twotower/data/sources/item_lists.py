"""A line a user, `user item item ...`, in one file or in two: the layout of LightGCN's benchmarks."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from twotower.config.facts import Facts
from twotower.data.sources.id_lines import id_lines, path_problem
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, SPLIT, USER_ID, Tables

PLACE = "line"


class ItemLists(Source):
    """Interactions without times, each user's on a line, perhaps in order.

    Two files give the split: `split=given`. A line may be a user alone, who then has nothing there. Ids of
    users, and of items, are whole numbers if all of them are, otherwise text.

    Reference: He et al., LightGCN, SIGIR 2020, whose data are such files.
    """

    class Config(Source.Config):
        """Which files, and whether a line has an order."""

        path: str | None = None
        """The one file; or the next two. Also `.gz`."""
        train_path: str | None = None
        """What trains."""
        test_path: str | None = None
        """What is predicted."""
        ordered: bool = False
        """Whether items of a line stand in the order in which the user took them. If not, an order is drawn,
        always the same."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Tell whether files are named, and there."""
            found = list(super().problems(facts))
            given = {key for key in ("path", "train_path", "test_path") if getattr(self, key) is not None}
            if given not in ({"path"}, {"train_path", "test_path"}):
                named = f"data.{' and data.'.join(sorted(given))}" if given else "none of them"
                found.append(("path", f"name one file, or train_path and test_path; set is {named}"))
            for key in sorted(given):
                problem = path_problem(Path(getattr(self, key)))
                found += [(key, problem)] if problem else []
            return found

        def has_times(self) -> bool:
            """There are none."""
            return False

        def gives_split(self) -> bool:
            """Tell whether there are two files."""
            return self.train_path is not None

        def columns(self) -> dict[str, set[str]]:
            """Return the ids, which is all there is."""
            return {"users": {USER_ID}, "items": {ITEM_ID}}

        def paths(self) -> dict[str, Path]:
            """Return "all", or "train" and "test" -> the file."""
            paths = {"all": self.path, "train": self.train_path, "test": self.test_path}
            return {name: Path(path) for name, path in paths.items() if path is not None}

    config: Config

    def load(self) -> Tables:
        """Read the files, what trains first."""
        paths = self.config.paths()
        frames = [_frame(path, name, len(paths) > 1) for name, path in paths.items()]
        log = pd.concat(frames)
        log.index.name = PLACE
        return Tables(
            log if self.config.gives_split() else log.drop(columns=SPLIT),
            source_paths={"interactions": " and ".join(map(str, paths.values()))},
            from_csv=["interactions"],
            has_times=False,
            ordered=self.config.ordered,
        )


def _frame(path: Path, part: str, is_named: bool) -> pd.DataFrame:
    """Return a row an item of each line; its place names the file where there are several."""

    def rows() -> Iterator[tuple[int | str, str, str]]:
        for number, (user, *items) in id_lines(path):
            place = f"{path.name}:{number}" if is_named else number
            yield from ((place, user, item) for item in items)

    found = list(rows())
    places, users, items = zip(*found, strict=True) if found else ((), (), ())
    frame = pd.DataFrame({USER_ID: users, ITEM_ID: items}, index=pd.Index(places), dtype="str")
    return frame.assign(**{SPLIT: part})
