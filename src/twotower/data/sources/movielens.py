"""MovieLens 1M and 100K: ratings of movies."""

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge, Le

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.data.download import Archive, data_folder_problem, fetch
from twotower.data.sources.source import Source
from twotower.data.tables import Tables
from twotower.files.plain_values import fingerprint_values

BASE_URL = "https://files.grouplens.org/datasets/movielens"
ARCHIVES = {
    "1m": Archive(
        name="ml-1m",
        base_url=BASE_URL,
        zip_hash="md5:c4d9eecfca2ab87c1945afe126590906",
        files={
            "ratings.dat": "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
            "users.dat": "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3",
            "movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
        },
    ),
    "100k": Archive(
        name="ml-100k",
        base_url=BASE_URL,
        zip_hash="md5:0e33842e24a9c977be4e0107933c0723",
        files={
            "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
            "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
            "u.item": "c42ecfe065bb86071c7a05e73eb6d4820871e2615559953c9fade51aad8d88a6",
        },
    ),
}
RATED_ITEMS = {"1m": 3_706, "100k": 1_682}
RATING_COLUMNS = ["user_id", "item_id", "rating", "timestamp"]

# fmt: off
# The codes of users.dat, from the README of MovieLens 1M.
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)
# The last columns of u.item, from u.genre of MovieLens 100K.
GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]
# fmt: on


class MovieLens(Source):
    """Ratings of at least `min_rating` are interactions; the catalogue holds their movies.

    With a `label_threshold`, ratings are labels: lower ones are negative.

    Users have `gender`, `age` (in 1M the lower bound of a group), `occupation` and `zip`; items have
    `title`, `year` (missing for one movie of 100K) and `genres` (a list). Ratings of equal times keep the row
    order of the file; in 1M half of all consecutive ratings of a user have equal times.

    Reference: Harper and Konstan, The MovieLens Datasets: History and Context, 2015.
    """

    class Config(Source.Config):
        variant: Literal["1m", "100k"] = "1m"
        min_rating: Annotated[int, Ge(1), Le(5)] = 1
        """Minimum rating; 1 keeps all."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Require that `TWOTOWER_DATA_DIR`, if set, is a folder."""
            problem = data_folder_problem()
            return [("variant", problem)] if problem else []

        def gives_negatives(self) -> bool:
            """Return whether ratings can be below the threshold."""
            return self.label_threshold is not None and self.label_threshold > self.min_rating

        def catalogue_size(self) -> int | None:
            """Return the number of rated movies if all ratings are used."""
            return RATED_ITEMS[self.variant] if self.min_rating == 1 else None

        def columns(self) -> dict[str, set[str]]:
            """Return the columns of the two tables."""
            return {
                "users": {"user_id", "gender", "age", "occupation", "zip"},
                "items": {"item_id", "title", "year", "genres"},
            }

    config: Config

    def load(self) -> Tables:
        """Read the files, from `TWOTOWER_DATA_DIR`, the cache or the network."""
        archive = ARCHIVES[self.config.variant]
        read = read_1m if self.config.variant == "1m" else _read_100k
        ratings, users, movies = read(*fetch(archive).values())
        interactions = ratings.loc[ratings["rating"] >= self.config.min_rating]
        if self.config.label_threshold is None:
            interactions = interactions.drop(columns="rating")
        else:
            interactions = interactions.rename(columns={"rating": "label"})
        rated = movies[movies["item_id"].isin(interactions["item_id"])]
        names = dict(zip(("interactions", "users", "items"), archive.files, strict=True))
        return Tables(
            interactions.reset_index(drop=True), users, rated.reset_index(drop=True), names, "title"
        )

    def files(self) -> list[Path]:
        """Return the published files."""
        return list(fetch(ARCHIVES[self.config.variant]).values())

    def fingerprint(self) -> str:
        """Return a SHA-256 over the settings and the published files, which `load` verifies."""
        return fingerprint_values([self.config.spec(), dict(ARCHIVES[self.config.variant].files)])


def read_1m(ratings: Path, users: Path, movies: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return ratings, users and movies of the `.dat` files of MovieLens 1M."""
    people = _read(users, "\t", ["user_id", "gender", "age", "occupation", "zip"])
    people["occupation"] = [OCCUPATIONS[code] for code in people["occupation"].astype(int)]
    films = _read(movies, "\t", ["item_id", "title", "genres"])
    films["genres"] = films["genres"].str.split("|")
    return _read(ratings, "\t", RATING_COLUMNS), people, _with_year(films)


def _read_100k(ratings: Path, users: Path, movies: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    people = _read(users, "|", ["user_id", "age", "gender", "occupation", "zip"])
    films = _read(movies, "|", ["item_id", "title", "released", "video", "url", *GENRES])
    flags, names = films[GENRES].to_numpy() == 1, np.array(GENRES, dtype=object)
    genres = pd.Series([list(names[row]) for row in flags], dtype=object)
    films = films[["item_id", "title"]].assign(genres=genres)
    return _read(ratings, "\t", RATING_COLUMNS), people, _with_year(films)


def _read(path: Path, separator: str, names: list[str]) -> pd.DataFrame:
    """Read a file; `::`, the separator of 1M, becomes a tab, because one character has the fast parser."""
    return pd.read_csv(
        io.BytesIO(path.read_bytes().replace(b"::", b"\t")),
        sep=separator,
        names=names,
        dtype={"zip": "str", "title": "str"},
        encoding="latin-1",
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
    )


def _with_year(films: pd.DataFrame) -> pd.DataFrame:
    years = films["title"].str.extract(r"\((\d{4})\)(?: \(V\))?\s*$")[0]
    return films.assign(title=films["title"].str.strip(), year=pd.to_numeric(years).astype("Int64"))
