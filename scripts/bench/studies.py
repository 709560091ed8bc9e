"""Tables of several trainings each: weekly warm starts, first looks, and the power of the paired test."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import trainings
from held_out import feature
from numpy.typing import NDArray
from record import OUTPUTS, ROOT, Figures, Line, Row, Table, markdown

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.power import ALPHA, detectable_differences
from twotower.experiments.compare.paired import sign_flips
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES, RESULT
from twotower.files.plain_values import load_json

# Weekly warm starts: Online Retail by its calendar, cut by time with the users and items that it has by then.
BUNDLED = ROOT / "src" / "twotower" / "data" / "bundled" / "online_retail"
BEGIN, WEEK, NUM_WEEKS = pd.Timestamp("2011-09-01", tz="UTC"), pd.Timedelta(days=7), 8
WEEKLY = (
    *("data=table_files", "data.user_column=CustomerID", "data.item_column=StockCode"),
    *(
        "data.item_label=description",
        "data.user_features=[country]",
        "data.item_features=[description,price]",
    ),
    *("features=online_retail", "split.test=7", "split.valid=28", "index=flat_ip"),
)


def week_rows() -> list[Row]:
    """Return a row for each week: its first day is the name, and its number the argument."""
    return [Row(str((BEGIN + n * WEEK).date()), (str(n + 1),), minutes=2) for n in range(NUM_WEEKS)]


def cut(until: pd.Timestamp, folder: Path) -> list[str]:
    """Write the log up to a time, with its users and items; return the settings that name the files."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {"StockCode": "str", "description": "str"}
    tables = {
        name: pd.read_csv(BUNDLED / f"{name}.csv.gz", dtype=text, keep_default_na=False)
        for name in ("interactions", "users", "items")
    }
    log = tables["interactions"]
    tables["interactions"] = log = log[log.timestamp < until.timestamp()]
    for name, key in (("users", "CustomerID"), ("items", "StockCode")):
        tables[name] = tables[name][tables[name][key].isin(log[key])]
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return [f"data.{name}_path={folder / name}.csv" for name in tables]


def measure_week(row: Row, seed: int) -> Figures:
    """Train up to the end of a week, warm from the run of the week before and from scratch; test the next."""
    number, root = int(row.words[0]), OUTPUTS / "weekly"
    data = [cut(BEGIN + week * WEEK, root / "data" / str(week)) for week in range(1, number + 2)]
    place = [f"output_root={root / 'runs' / f'seed{seed}'}", f"seed={seed}", "console=quiet"]

    def run(name: str, *words: str) -> tuple[Path, Figures]:
        folder = root / "runs" / f"seed{seed}" / name
        known = set(folder.glob(f"*/{RESULT}"))
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        trainings.train([*words, *place, f"name={name}"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (path,) = set(folder.glob(f"*/{RESULT}")) - known
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        result = load_json(path)
        metric = result["metrics"]["test/recall_at_20"]
        grown = {key: value for key, value in (result["ancestry"] or {}).items() if key.startswith("new_")}
        seconds = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(cpu, 1)}
        return path.parent, {"recall_at_20": metric, **seconds, **grown}

    def newest(week: int) -> Path:
        """Return the run that a week is warm-started from."""
        name = f"warm{week}" if week else "first"
        found = sorted((root / "runs" / f"seed{seed}" / name).glob(f"*/{RESULT}"))
        if found:
            return found[-1].parent
        words = [f"warm_start={newest(week - 1)}"] if week else [*WEEKLY]
        return run(name, *words, *data[week])[0]

    _, warm = run(f"warm{number}", f"warm_start={newest(number - 1)}", *data[number])
    _, scratch = run(f"scratch{number}", *WEEKLY, *data[number])
    return {"warm_start": warm, "scratch": scratch}


def show_weeks(lines: Sequence[Line]) -> str:
    """Return the table of all weeks, and how much of scratch warm starts reach in how much of its time."""
    cells, sides = [], ("warm_start", "scratch")
    for line in lines:
        both = [line.figures[side] for side in sides]
        recalls = {side: f"{each['recall_at_20']:.4f}" for side, each in zip(sides, both, strict=True)}
        new = f"{both[0]['new_users']}, {both[0]['new_items']}"
        seconds = ", ".join(f"{each['seconds']:.0f}" for each in both)
        cells.append({"week from": line.row, "new users, items": new, **recalls, "seconds": seconds})
    shares = {
        key: fmean(line.figures["warm_start"][key] for line in lines)
        / fmean(line.figures["scratch"][key] for line in lines)
        for key in ("recall_at_20", "seconds", "cpu_seconds")
        if lines
    }
    return "\n".join([markdown(pd.DataFrame(cells)), "", f"warm_start over scratch: {shares}"])


# First looks: synthetic logs with a planted structure, so that the better kind of recipe is known.
DAY, FIRST_TIME = 86_400, 1_577_836_800  # 2020-01-01
FACETS = {"category": 20, "brand": 40}  # columns of the items, with the number of their values
FIRST_LOOK = (
    "data=table_files",
    *(feature("item", name, "categorical.Categorical", dim=16) for name in FACETS),
    feature("item", "price", "binned.Binned", dim=8),
    feature("user", "segment", "categorical.Categorical", dim=16),
    feature("user", "budget", "binned.Binned", dim=8),
    *("split=leave_one_out", "trainer.refit=false", "trainer.probe_steps=25", "baselines=none"),
    *("index=flat_ip", "metrics.ks=[10,20]", "metrics.num_bootstrap=0", "metrics.importance_repeats=0"),
    *("sweep=first_look", "console=quiet"),
)
KEYS = {"valid": "valid/recall_at_20", "test": "test/recall_at_20"}
Frames = dict[str, pd.DataFrame]


def features_log(seed: int, num_users: int = 1_000, num_items: int = 600) -> Frames:
    """Draw items by the segment's taste for category and brand, and by the distance of price and budget."""
    rng = np.random.default_rng([seed, 0])
    users, items = user_and_item_features(rng, num_users, num_items)
    distance = np.log(users.budget.to_numpy())[:, None] - np.log(items.price.to_numpy())
    weights = rng.gumbel(size=distance.shape) - distance**2
    for name, count in FACETS.items():
        taste = rng.normal(scale=1.3, size=(users.segment.max() + 1, count))
        weights += taste[users.segment][:, items[name]]
    return frames(rng, users, items, np.argsort(-weights, axis=1)[:, :8], shortest=5)


def sequence_log(seed: int, num_users: int = 1_000, num_items: int = 400, num_groups: int = 40) -> Frames:
    """Draw four of ten items from the group after that of the previous item, others from four favorites."""
    rng = np.random.default_rng([seed, 1])
    users, items = user_and_item_features(rng, num_users, num_items)
    group, following = rng.permutation(num_items) % num_groups, rng.permutation(num_groups)
    favorites = rng.integers(num_groups, size=(num_users, 4))
    is_taken = np.zeros((num_users, num_items), dtype=np.bool_)
    chains = np.zeros((num_users, 16), dtype=np.int64)
    for step in range(chains.shape[1]):
        wanted = favorites[np.arange(num_users), rng.integers(4, size=num_users)]
        if step:
            follows = rng.random(num_users) < 0.4
            wanted = np.where(follows, following[group[chains[:, step - 1]]], wanted)
        weights = rng.gumbel(size=is_taken.shape) + 20.0 * (group == wanted[:, None])
        chains[:, step] = np.where(is_taken, -np.inf, weights).argmax(axis=1)
        is_taken[np.arange(num_users), chains[:, step]] = True
    return frames(rng, users, items, chains, shortest=6)


LOGS: dict[str, Callable[[int], Frames]] = {"features": features_log, "sequence": sequence_log}


def user_and_item_features(
    rng: np.random.Generator, num_users: int, num_items: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the features of users and items."""
    segment, budget = rng.integers(15, size=num_users), np.exp(rng.normal(size=num_users))
    users = pd.DataFrame({"user_id": np.arange(num_users), "segment": segment, "budget": budget})
    facets = {name: rng.integers(count, size=num_items) for name, count in FACETS.items()}
    price = np.exp(rng.normal(size=num_items))
    return users, pd.DataFrame({"item_id": np.arange(num_items), **facets, "price": price})


def frames(
    rng: np.random.Generator,
    users: pd.DataFrame,
    items: pd.DataFrame,
    taken: NDArray[np.int64],
    shortest: int,
) -> Frames:
    """Return the tables; a user takes the first items of a row, one a day, from a random day of a year."""
    lengths = rng.integers(shortest, taken.shape[1] + 1, len(users))
    owners, steps = np.nonzero(np.arange(taken.shape[1]) < lengths[:, None])
    times = FIRST_TIME + (steps + rng.integers(365, size=len(users))[owners]) * DAY
    log = pd.DataFrame({"user_id": owners, "item_id": taken[owners, steps], "timestamp": times})
    return {"interactions": log, "users": users, "items": items}


def first_look_rows() -> list[Row]:
    """Return a row for each structure."""
    return [Row(kind, FIRST_LOOK, tuple(range(10)), minutes=3) for kind in LOGS]


def measure_first_look(row: Row, seed: int) -> Figures:
    """Run a first look unless it is complete; return the winner next to the best recipe of another kind."""
    folder = OUTPUTS / "first_look" / f"{row.name}_{seed}"
    if not list(folder.glob("runs/*/*/sweep.json")):
        folder.mkdir(parents=True, exist_ok=True)
        tables = LOGS[row.name](seed)
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        paths = [f"data.{name}_path={folder / name}.csv" for name in tables]
        trainings.train([*row.words, *paths, f"seed={seed}", f"output_root={folder / 'runs'}"])
    path = next(folder.glob("runs/*/*/sweep.json"))
    winner = load_json(path)["first_look"]["best"]["recipe"]
    results = {each.parent.name: load_json(each) for each in path.parent.glob(f"*/{RESULT}")}
    kinds = {name: kind_of(name, result) for name, result in results.items()}
    figures: Figures = {"winner": winner, "right": kinds[winner] == row.name}
    for split, key in KEYS.items():
        recall = {name: result["metrics"][key] for name, result in results.items()}
        other = max((name for name in recall if kinds[name] != kinds[winner]), key=recall.__getitem__)
        figures |= {split: recall[winner], f"{split}: other kind": other, f"{split}: its": recall[other]}
    return figures


def kind_of(recipe: str, result: dict[str, Any]) -> str:
    """Return what a recipe learns from: the order of items, features, or ids alone."""
    if recipe == "sequences":
        return "sequence"
    reads = result["training"]["chosen"].get("user_tower.widths", "") is not None
    return "features" if reads and recipe != "factorization" else "ids"


def show_first_looks(lines: Sequence[Line]) -> str:
    """Return the table, and for each kind of log how often the choice was right."""
    rows = [{"log": line.row, "seed": line.seed, **line.figures} for line in lines]
    table = pd.DataFrame(rows).map(lambda value: f"{value:.4f}" if isinstance(value, float) else value)
    notes = [markdown(table), ""]
    for kind in dict.fromkeys(line.row for line in lines):
        of = [line.figures for line in lines if line.row == kind]
        ratios = {split: [each[split] / each[f"{split}: its"] for each in of] for split in KEYS}
        right, better = sum(each["right"] for each in of), sum(ratio > 1 for ratio in ratios["test"])
        margins = (f"{split} x {fmean(each):.2f}, at worst {min(each):.2f}" for split, each in ratios.items())
        found = f"right on {right} of {len(of)}, better on the test split on {better}"
        notes.append(f"{kind}: {found}; recall@20 over that of the other kinds: {'; '.join(margins)}")
    return "\n".join(notes)


# The power of the paired test of `compare`: rejection rates at zero and at the difference that it can detect.
METRICS, SIMULATIONS, BLOCK = ("recall_at_20", "ndcg_at_20"), 4_000, 500
POWER = [Row("OnlineRetail", ("trainer=smoke",)), Row("MovieLens", ("data=movielens_100k", "trainer=smoke"))]


def differences_of(folder: Path, metric: str) -> Iterator[tuple[str, Floats]]:
    """Yield the two best baselines, and the towers and the best one, with the differences [Q] of users."""
    baselines = pd.read_parquet(folder / PER_USER_BASELINES)
    values = baselines.pivot_table(index="user_id", columns="baseline", values=metric)
    best, second = values.mean().nlargest(2).index
    towers = pd.read_parquet(folder / PER_USER).set_index("user_id")[metric].reindex(values.index)
    yield f"{best} - {second}", (values[best] - values[second]).to_numpy()
    yield f"towers - {best}", (towers - values[best]).to_numpy()


def rejection_rate(sample: Callable[[np.random.Generator], Floats]) -> float:
    """Return the share of samples [BLOCK, users] that the test rejects, in percent."""
    generator, rejected = np.random.default_rng(1), 0
    for block in range(SIMULATIONS // BLOCK):
        rejected += sum(test.p_value() <= ALPHA for test in sign_flips(sample(generator), seed=block))
    return 100 * rejected / SIMULATIONS


def rejection_rates(differences: Floats, effect: float) -> dict[str, float]:
    """Return the rates without an effect, with one for each user, and with one for some users.

    Users are drawn with replacement. The last effect is that some users win instead of losing, so that the
    sizes of all differences stay.
    """
    centered = differences - differences.mean()
    sizes = np.abs(centered)
    shape = BLOCK, len(differences)
    sides = np.where(np.arange(BLOCK) % 2, effect, -effect)[:, None]
    win_rate = (1 + effect / sizes.mean()) / 2

    def some(generator: np.random.Generator) -> Floats:
        return generator.choice(sizes, shape) * np.where(generator.random(shape) < win_rate, 1.0, -1.0)

    return {
        "at 0": rejection_rate(lambda generator: generator.choice(centered, shape)),
        "each user": rejection_rate(lambda generator: generator.choice(centered, shape) + sides),
        "some users": rejection_rate(some),
    }


def measure_power(row: Row, seed: int) -> Figures:
    """Train a run; return the rates of both metrics and pairs."""
    folder = trainings.trained(row.name, row.words, seed, OUTPUTS / "power")
    pairs = []
    for metric in METRICS:
        for name, differences in differences_of(folder, metric):
            (effect,) = detectable_differences(differences[None], len(differences))
            pair = {"metric": metric, "pair": name, "users": len(differences), "difference": float(effect)}
            pairs.append(pair | rejection_rates(differences, effect))
    return {"pairs": pairs}


def show_power(lines: Sequence[Line]) -> str:
    """Return the rates of each pair."""
    table = pd.DataFrame([{"data": line.row, **pair} for line in lines for pair in line.figures["pairs"]])
    return markdown(table.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value))


TABLES = {
    "weekly": Table("benchmarks.md", week_rows, measure_week, show_weeks),
    "first_look": Table(
        "first-look.md", first_look_rows, measure_first_look, show_first_looks, command="twotower train"
    ),
    "power": Table(
        "compare.md",
        lambda: POWER,
        measure_power,
        show_power,
        trainings.training_fingerprint,
        "twotower train",
    ),
}
