"""Does any table of the user's own make a training fail without a word that mends it?

  python scripts/bench/tables.py --count 1000
  python scripts/bench/tables.py --seed 17 --count 1           one of them again, with what was done to it

Small tables, CSV and Parquet, are changed at random: other values, types, rows and columns, other encodings,
damaged bytes, files that are none. Each is trained for an epoch, bundle and all, in this process. It must be
trained with every row it has, or be refused by a message that names the file or the setting, of readable
length. The last line is JSON; the exit status is 1 if anything else happened.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from tables_mutated import Case, num_rows, write

LONGEST_MESSAGE = 3_000
COUNTED = ("interactions", "users", "items")
NAMED = ("log.", "users.", "items.", "split=", "metrics.", "data.", "features.")
KINDS = "twotower.features"
OVERRIDES = [
    "data=table_files",
    "features=table_files",
    f"features.user.country={{_target_:{KINDS}.categorical.Categorical,column:country,dim:2}}",
    f"features.user.age={{_target_:{KINDS}.numeric.Numeric,column:age}}",
    f"features.item.price={{_target_:{KINDS}.numeric.Numeric,column:price,transform:log1p}}",
    f"features.item.title={{_target_:{KINDS}.text.HashedText,column:title,dim:4,min_count:1}}",
    f"features.item.tags={{_target_:{KINDS}.tags.Tags,column:tags,dim:2}}",
    f"features.item.code={{_target_:{KINDS}.categorical.Categorical,column:code,dim:2}}",
    "data.tag_columns=[tags]",
    "split=leave_one_out",
    "objective=next_item",
    "objective.batch_size=64",
    "embedding_dim=8",
    "user_tower.widths=[8]",
    "item_tower.widths=[8]",
    "trainer=smoke",
    "trainer.monitor=valid/recall_at_2",
    "trainer.max_epochs=1",
    "trainer.progress_bar=false",
    "index=flat_ip",
    "metrics.ks=[1,2]",
    "metrics.num_bootstrap=0",
    "console=quiet",
    "reuse=false",
]


Settings = dict[str, Any]
Take = Callable[[Settings, Path], dict[str, int]]
"""What is done with tables: settings, an empty folder -> the number of interactions, users and items."""


def base_settings() -> Settings:
    """Return the settings that all tables are trained with."""
    from twotower.commands.command_keys import SWEEP_ONLY
    from twotower.commands.compose import compose

    forced = [f"++{text}" if "." in text.partition("=")[0] else text for text in OVERRIDES]
    found = {key: value for key, value in compose("train", forced).items() if key not in SWEEP_ONLY}
    return found | {"baselines": {}}


def settings_of(case: Case, base: Settings) -> Settings:
    """Return the settings of one case; rarely it leaves out the table of users or of items."""
    settings = copy.deepcopy(base)
    data = settings["data"]
    data |= {"interactions_path": str(case.path("log")), "timestamp_unit": case.unit}
    data["separator"] = "\t" if "tsv" in case.formats.values() else ","
    for side in ("users", "items"):
        data[f"{side}_path"] = str(case.path(side))
    if case.rng.random() < 0.1:
        data["users_path"], settings["features"]["user"] = None, {}
    if case.rng.random() < 0.1:
        data |= {"items_path": None, "tag_columns": None}
        settings["features"]["item"] = {"item_id": settings["features"]["item"]["item_id"]}
    return settings


def train(settings: Settings, folder: Path) -> dict[str, int]:
    """Take tables all the way to a bundle."""
    from twotower.pipeline.run_config import RunConfig
    from twotower.pipeline.train_run import train as train_run

    run = folder / "outputs" / "run"
    status = train_run(RunConfig.composed(settings), run)
    assert status in (0, 3), f"exit status {status}"
    assert (run / "bundle" / "manifest.json").is_file()
    return rows_of_files(json.loads((run / "result.json").read_text())["data"]["audit"])


def fit(settings: Settings, folder: Path) -> dict[str, int]:
    """Take tables until their features are fitted."""
    import numpy as np

    from twotower.data.build_dataset import build_dataset
    from twotower.data.sources.source import Source
    from twotower.data.splits.split import Split
    from twotower.pipeline.stages import make_column_check
    from twotower.training.parts import fit_features
    from twotower.training.training_config import FeaturesConfig

    choices = FeaturesConfig.from_settings(settings["features"])
    source, split = (
        Source.Config.model_validate(settings["data"]).build(),
        Split.Config.model_validate(settings["split"]).build(),
    )
    dataset = build_dataset(source, split, folder, needs=make_column_check(choices))
    features = {"user": choices.user, "item": choices.item}
    for side, table, rows in (
        ("user", dataset.user_table, np.flatnonzero(dataset.train.counts())),
        ("item", dataset.item_table, np.unique(dataset.train.items)),
    ):
        source_path = dataset.source_paths.get(f"{side}s", f"{side}s")
        fit_features(features[side], table, rows, source_path, settings["embedding_dim"])
    return rows_of_files(dataset.audit)


def rows_of_files(audit: Mapping[str, Any]) -> dict[str, int]:
    """Return the rows that were taken: users and items that only the log names have none in a file."""
    return {key: int(audit[key]) - int(audit.get(f"{key}_without_row", 0)) for key in COUNTED}


def attempt(case: Case, settings: Settings, take: Take, folder: Path) -> tuple[str, str]:
    """Take the tables of a case; returns "taken", "refused" or "violated", and what is to be said of it."""
    from twotower.config.errors import InputError
    from twotower.pipeline.run_config import checked_run

    try:
        checked_run(settings)
        counts = take(settings, folder)
    except InputError as error:
        wrong = fault_of(str(error))
        return ("violated", f"{wrong}: {error!s:.2000}") if wrong else ("refused", str(error))
    except Exception:
        return "violated", traceback.format_exc()
    data = settings["data"]
    paths = {key: data[f"{key}_path"] for key in COUNTED if data[f"{key}_path"]}
    rows = {key: num_rows(Path(path), data["separator"]) for key, path in paths.items()}
    lost = {key: (counts[key], number) for key, number in rows.items() if counts[key] != number}
    return ("violated", f"rows taken and rows in the file differ: {lost}") if lost else ("taken", "")


def fault_of(message: str) -> str | None:
    """Return what is wrong with a message to the user, or None."""
    if len(message) > LONGEST_MESSAGE:
        return f"a message of {len(message):,} characters"
    if not message.replace("\n", "").isprintable():
        return "a message with characters that cannot be printed"
    lines = message.splitlines()
    for line in lines[1:] if len(lines) > 1 else lines:
        if not any(name in line for name in NAMED):
            return "a message that names neither file nor setting"
    return None


def attack(seeds: Iterable[int], take: Take, told: Callable[[int, Case, str, str], None]) -> Counter[str]:
    """Try the tables of many seeds; `told` hears of each, and the working folder is left as it was."""
    base, outcomes, before = base_settings(), Counter[str](), Path.cwd()
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="tables-"))
        try:
            os.chdir(folder)
            case = write(seed)
            settings = settings_of(case, base) | {"output_root": str(folder / "outputs")}
            with contextlib.redirect_stdout(io.StringIO()):
                outcome, text = attempt(case, settings, take, folder)
        finally:
            os.chdir(before)
            shutil.rmtree(folder, ignore_errors=True)
        outcomes[outcome] += 1
        told(seed, case, outcome, text)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each next one counts up")
    parser.add_argument("--fit", action="store_true", help="only until the features are fitted")
    given = parser.parse_args()
    unhurt = 0

    def told(seed: int, case: Case, outcome: str, text: str) -> None:
        nonlocal unhurt
        unhurt += not case.happened
        if outcome == "violated" or given.count == 1:
            print(f"seed {seed}: {outcome}: {'; '.join(case.happened)}\n{text}", flush=True)
        elif not case.happened and outcome != "taken":
            print(f"seed {seed}: sound tables were refused: {text}", flush=True)
        if (seed + 1 - given.seed) % 100 == 0:
            print(f"{seed + 1 - given.seed} of {given.count}", flush=True)

    seeds = range(given.seed, given.seed + given.count)
    outcomes = attack(seeds, fit if given.fit else train, told)
    print(json.dumps({"cases": given.count, "sound": unhurt, **outcomes}))
    raise SystemExit(outcomes["violated"] > 0)


if __name__ == "__main__":
    main()
