"""One line per user, `user item item ...`, in one or two files: the format of LightGCN's benchmarks."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from twotower.data.sources.id_lines import id_lines, path_problem
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, SPLIT, USER_ID, Tables

PLACE = "line"


class ItemLists(Source):
    """Interactions without times, one line per user.

    Two files define the split: `split=given`. A line may hold a user without items. Ids of users, and of
    items, are whole numbers if all of them are, otherwise text.

    Reference: He et al., LightGCN, SIGIR 2020, whose data are such files.
    """

    class Config(Source.Config):
        """Files and the order of a line."""

        path: str | None = None
        """The file, if there is one; also `.gz`."""
        train_path: str | None = None
        """The file of training interactions."""
        test_path: str | None = None
        """The file of test targets."""
        ordered: bool = False
        """Whether the items of a line are in the order of time; if not, a fixed random order is used."""

        def problems(self) -> list[tuple[str, str]]:
            """Require one file or two, which exist."""
            found = list(super().problems())
            given = {key for key in ("path", "train_path", "test_path") if getattr(self, key) is not None}
            if given not in ({"path"}, {"train_path", "test_path"}):
                named = f"data.{' and data.'.join(sorted(given))}" if given else "none of them"
                found.append(("path", f"name one file, or train_path and test_path; set is {named}"))
            for key in sorted(given):
                problem = path_problem(Path(getattr(self, key)))
                found += [(key, problem)] if problem else []
            return found

        def has_times(self) -> bool:
            """False."""
            return False

        def gives_split(self) -> bool:
            """Tell whether there are two files."""
            return self.train_path is not None

        def columns(self) -> dict[str, set[str]]:
            """Return the id columns."""
            return {"users": {USER_ID}, "items": {ITEM_ID}}

        def paths(self) -> dict[str, Path]:
            """Return "all", or "train" and "test" -> the file."""
            paths = {"all": self.path, "train": self.train_path, "test": self.test_path}
            return {name: Path(path) for name, path in paths.items() if path is not None}

    config: Config

    def load(self) -> Tables:
        """Read the files, training interactions first."""
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
    """Return one row per item of each line; with two files the index holds the file name too."""

    def rows() -> Iterator[tuple[int | str, str, str]]:
        for number, (user, *items) in id_lines(path):
            place = f"{path.name}:{number}" if is_named else number
            yield from ((place, user, item) for item in items)

    found = list(rows())
    places, users, items = zip(*found, strict=True) if found else ((), (), ())
    frame = pd.DataFrame({USER_ID: users, ITEM_ID: items}, index=pd.Index(places), dtype="str")
    return frame.assign(**{SPLIT: part})
