"""One line per user, `user item item ...`, in one or two files: the format of LightGCN's benchmarks."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from twotower.data.sources.id_lines import id_lines, path_problem
from twotower.data.sources.source import Source
from twotower.data.tables import ITEM_ID, SPLIT, USER_ID, Tables


class ItemLists(Source):
    """Interactions without times, one line per user.

    Two files define the split: `split=given`. A line may hold a user without items. Ids of users, and of
    items, are whole numbers if all of them are, otherwise text.

    Reference: He et al., LightGCN, SIGIR 2020, which publishes its data in this format.
    """

    class Config(Source.Config):
        """Files and the order of a line."""

        path: str | None = None
        """The file, if it is a single one; also `.gz`."""
        train_path: str | None = None
        """The file of training interactions."""
        test_path: str | None = None
        """The file of test targets."""
        ordered: bool = False
        """Whether the items of a line are in the order of time; if not, a fixed random order is used."""

        def problems(self) -> list[tuple[str, str]]:
            """Require one file or two, which exist."""
            problems = list(super().problems())
            given = {key for key in ("path", "train_path", "test_path") if getattr(self, key) is not None}
            if given not in ({"path"}, {"train_path", "test_path"}):
                keys = f"data.{' and data.'.join(sorted(given))}" if given else "none of them"
                problems.append(("path", f"name one file, or train_path and test_path; set is {keys}"))
            for key in sorted(given):
                problem = path_problem(Path(getattr(self, key)))
                problems += [(key, problem)] if problem else []
            return problems

        def has_times(self) -> bool:
            """False."""
            return False

        def gives_split(self) -> bool:
            """Return whether there are two files."""
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
        frame = pd.concat([_read(path, part, len(paths) > 1) for part, path in paths.items()])
        frame.index.name = "line"
        return Tables(
            frame if self.config.gives_split() else frame.drop(columns=SPLIT),
            source_paths={"interactions": " and ".join(map(str, paths.values()))},
            from_csv=["interactions"],
            has_times=False,
            ordered=self.config.ordered,
        )


def _read(path: Path, part: str, with_name: bool) -> pd.DataFrame:
    """Return one row per item of each line; `with_name` adds the name of the file to the line numbers."""

    def rows() -> Iterator[tuple[int | str, str, str]]:
        for number, (user, *items) in id_lines(path):
            line = f"{path.name}:{number}" if with_name else number
            yield from ((line, user, item) for item in items)

    columns = zip(*rows(), strict=True)
    lines, users, items = tuple(columns) or ((), (), ())
    frame = pd.DataFrame({USER_ID: users, ITEM_ID: items}, index=pd.Index(lines), dtype="str")
    return frame.assign(**{SPLIT: part})
