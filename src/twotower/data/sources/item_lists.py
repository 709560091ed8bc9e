"""Text files of ids without times, as in research benchmarks: lines `user item item ...`, or `user item`."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.data.sources.source import Source
from twotower.data.table_reader import open_text_file
from twotower.data.tables import ITEM_ID, SPLIT, USER_ID, Tables


class ItemLists(Source):
    """Interactions without times: a line has a user and their items, separated by whitespace.

    Two files define the split: `split=given`. A line may hold a user without items. Ids of users, and of
    items, are whole numbers if all of them are, otherwise text.

    Reference: He et al., LightGCN, SIGIR 2020 (lists); Kang and McAuley, Self-Attentive Sequential
    Recommendation, ICDM 2018 (pairs), which publish their data in these formats.
    """

    class Config(Source.Config):
        path: str | None = None
        """The file, if it is a single one; also `.gz`."""
        train_path: str | None = None
        """The file of training interactions."""
        test_path: str | None = None
        """The file of test targets."""
        pairs: bool = False
        """Whether each line is one interaction: a user and an item. Longer lines are then an error."""
        ordered: bool = False
        """Whether lines, and the items of a line, are in the order of time; if not, a fixed random order is
        used."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Require one file or two, which exist."""
            problems, given = list(super().problems(context)), self.paths()
            if set(given) not in ({"path"}, {"train_path", "test_path"}):
                keys = f"data.{' and data.'.join(sorted(given))}" if given else "none of them"
                problems.append(("path", f"name one file, or train_path and test_path; set is {keys}"))
            missing = [(key, path) for key, path in given.items() if not Path(path).is_file()]
            return problems + [
                (key, f"there is no file {path} (looked in {Path.cwd()})") for key, path in missing
            ]

        def has_times(self) -> bool:
            """False."""
            return False

        def gives_split(self) -> bool:
            """Return whether there are two files."""
            return self.train_path is not None

        def columns(self) -> dict[str, set[str]]:
            """Return the id columns."""
            return {"users": {USER_ID}, "items": {ITEM_ID}}

        def paths(self) -> dict[str, str]:
            """Return setting -> path of the paths that are set, the training path first."""
            paths = {"path": self.path, "train_path": self.train_path, "test_path": self.test_path}
            return {key: path for key, path in paths.items() if path is not None}

    config: Config

    def load(self) -> Tables:
        """Read the files, training interactions first; raises InputError with the first invalid line."""
        paths = {key: Path(path) for key, path in self.config.paths().items()}
        frames = []
        for key, path in paths.items():
            frame = pd.DataFrame(self._rows(path), columns=["line", USER_ID, ITEM_ID], dtype="str")
            frame["line"] = frame["line"].astype(int) if len(paths) == 1 else f"{path.name}:" + frame["line"]
            frames.append(frame.assign(**{SPLIT: key.removesuffix("_path")}))
        interactions = pd.concat(frames).set_index("line")
        return Tables(
            interactions if self.config.gives_split() else interactions.drop(columns=SPLIT),
            source_paths={"interactions": " and ".join(map(str, paths.values()))},
            from_csv=["interactions"],
            has_times=False,
            ordered=self.config.ordered,
        )

    def _rows(self, path: Path) -> Iterator[tuple[str, str, str]]:
        """Yield the line number from 1, user and item of each interaction."""
        number = 0
        try:
            with open_text_file(path) as file:
                for number, line in enumerate(file, start=1):
                    user, *items = line.decode("utf-8-sig" if number == 1 else "utf-8").split() or [""]
                    if self.config.pairs and user and len(items) != 1:
                        raise InputError(
                            f"{path}: line {number}: expected a user and an item, found {len(items) + 1} "
                            "fields; for lists of items use data=item_lists, for other columns table_files"
                        )
                    yield from ((str(number), user, item) for item in items)
        except UnicodeError as error:
            raise InputError(f"{path}: line {number}: {error}; save the file as UTF-8") from error
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
