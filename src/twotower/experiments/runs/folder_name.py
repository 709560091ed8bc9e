"""Names of run folders and of choices: the words that are typed; and checks of the paths of run folders."""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem
from twotower.config.spec import TARGET
from twotower.experiments.runs.fingerprint import flatten, override_key
from twotower.files.plain_values import fingerprint_values, load_yaml

CONF = Path(__file__).parents[2] / "conf"

SHORT = {
    "embedding_dim": "dim",
    "index.num_subquantizers": "pq",
    "index.target_recall": "recall",
    "item_bias.half_life_days": "bias",
    "loss.temperature": "temp",
    "objective.batch_size": "batch",
    "objective.recency_half_life_days": "recency",
    "optimizer.learning_rate": "lr",
    "optimizer.weight_decay": "wd",
    "seed": "seed",
    "trainer.max_epochs": "epochs",
    "user_tower.dropout": "dropout",
    "user_tower.widths": "widths",
}
"""Short names of keys that often vary. Other keys have their last part, or more parts if it is ambiguous."""

MAX_NAME = 30
"""Maximum number of characters of the name of a job or trial; TensorBoard shows this many."""

MAX_LABEL = 26
"""Maximum number of characters of the name of a trial, and of a job in HPARAMS before its fingerprint."""

NUM_DIGITS = 8
UNSAFE = re.compile(r"[^A-Za-z0-9._=,+\-\[\]]+")
NUMBERS = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e-?\d{1,3})?|\[[0-9.,-]*\]", re.ASCII)
WORD = re.compile(r"(?!(true|false|null)$)[A-Za-z]\w*")
TIME = re.compile(r"(^|_)\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}$")
HASH = re.compile(r"-[0-9a-f]{8}$")
SEED = re.compile(r"(^|(?<=[,/]))seed=?-?\d+(,|$|(?=[/_-]))")


def folder_name(texts: Sequence[str]) -> str:
    """Return a folder name for overrides, as `job_names`; empty without overrides."""
    return job_names([texts])[0] if texts else ""


def job_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return folder names of the jobs of a sweep: unique, at most `MAX_NAME` characters.

    They are the overrides in words: choices as typed, values after short keys. Where they do not fit, a path
    cannot contain them, or another job has the same ones, they are the words that fit, the seed and a hash.
    """
    distinct = list(dict.fromkeys(map(tuple, jobs)))
    texts = list(dict.fromkeys(text for job in distinct for text in job))
    words = dict(zip(texts, _words(texts), strict=True))
    names = {job: ",".join(words[text] for text in job) or "unchanged" for job in distinct}
    shared = Counter(names.values())
    for job, name in names.items():
        is_unsafe = UNSAFE.search("".join(text.removeprefix("~") for text in job)) or HASH.search(name)
        if len(name) > MAX_NAME or is_unsafe or shared[name] > 1:
            safe = [UNSAFE.sub("-", words[text]).strip(",.-") for text in job]
            seeds = [word for word in safe if SEED.fullmatch(word)]
            others = [word for word in safe if word and word not in seeds]
            room = MAX_NAME - NUM_DIGITS - 1 - sum(len(seed) + 1 for seed in seeds)
            fitting = whole_words(others, room) or "".join(others[:1])[:room]
            shown = ",".join(filter(None, [fitting, *seeds]))
            names[job] = f"{shown}-{fingerprint_values(list(job))[:NUM_DIGITS]}"
    return [names[tuple(job)] for job in jobs]


def trial_name(number: int, texts: Sequence[str]) -> str:
    """Return the folder name of a trial: its number, and the words that fit."""
    return UNSAFE.sub("-", whole_words([f"{number:04d}", *short_words(texts)], MAX_LABEL, "_"))


def whole_words(words: Sequence[str], max_length: int, separator: str = ",") -> str:
    """Join words to a text of at most `max_length` characters; words that do not fit are left out."""
    text = ""
    for word in words:
        longer = f"{text}{separator}{word}" if text else word
        text = longer if len(longer) <= max_length else text
    return text


def short_words(texts: Sequence[str]) -> list[str]:
    """Return overrides in short words, with fractions of three digits."""
    parts = (text.partition("=") for text in texts)
    return _words([f"{key}{equals}{rounded(value)}" for key, equals, value in parts])


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return key -> short name, with more of its parts if two would be equal."""
    names = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[at:]) for at in reversed(range(len(parts)))]
        names[key] = [SHORT.get(key, parts[-1]), *endings]
    shared = Counter(name for each in names.values() for name in set(each))
    return {
        key: next(name for name in each if shared[name] == 1 or name == key) for key, each in names.items()
    }


def rounded(value: str) -> str:
    """Return the text of a number with three significant digits; any other text unchanged."""
    try:
        return min(value, f"{float(value):.3g}", key=len)
    except ValueError:
        return value


def run_label(name: str) -> str:
    """Return the words of a run's folder that fit into `MAX_LABEL`, without time, hash and seed."""
    label = without_seed(HASH.sub("", TIME.sub("", name)))
    return whole_words(re.split(r",(?![^\[]*\])", label), MAX_LABEL)


def without_seed(name: str) -> str:
    """Return a run's name without its seed, such as `seed1,dim32`, `dim32/seed1` or `seed=1`."""
    rest = SEED.sub("", name)
    # The hash includes the seed.
    return name if rest == name else HASH.sub("", rest).strip(",/")


def _words(texts: Sequence[str]) -> list[str]:
    names, words = short_keys(map(override_key, texts)), []
    for text in texts:
        key, value = override_key(text), re.sub("['\"]", "", text.partition("=")[2])
        if not value:
            words.append(f"no_{names[key]}" if text.startswith("~") else names[key])
        elif "." not in key and key != "rerun" and WORD.fullmatch(value):  # a choice of a group
            words.append(value)
        elif NUMBERS.fullmatch(value) and not names[key][-1:].isdigit():
            words.append(names[key] + re.sub(r"^(-?)0\.", r"\1.", value))  # .05 for 0.05
        else:
            words.append(f"{names[key]}={value}")
    return words


def flatten_with_choices(
    settings: Mapping[str, Any], overrides: Iterable[str] = ()
) -> dict[str, bool | int | float | str]:
    """Return settings as `flatten` does, but a choice has the name that was typed.

    A choice that was not typed has the name of the YAML of `conf/` of its class that differs in the fewest
    values; the name of its class if there is none.
    """
    typed = {override_key(text): text.partition("=")[2] for text in overrides}
    names = {
        key: typed[key] if WORD.fullmatch(typed.get(key, "")) else _matching_file(key, value)
        for key, value in settings.items()
        if isinstance(value, Mapping) and TARGET in value
    }
    return flatten(settings) | {key: name for key, name in names.items() if name}


def _matching_file(group: str, settings: Mapping[str, Any]) -> str:
    own, class_name = flatten(settings), settings[TARGET].rpartition(".")[2]
    ranks = {
        name: (
            sum(own.get(key, value) != value for key, value in values.items()),
            name.replace("_", "") != class_name.lower(),
            -len(values),
        )
        for name, values in _choices(group).items()
        if values.get(TARGET) == settings[TARGET]
    }
    return min(ranks, key=ranks.__getitem__, default="")


@functools.cache
def _choices(group: str) -> dict[str, dict[str, Any]]:
    """Return name -> flat values of each choice of a group."""
    return {path.stem: flatten(load_yaml(path) or {}) for path in sorted((CONF / group).glob("*.yaml"))}


ROOM_FOR_FILES = 512
"""Bytes reserved for the path of a file below `<output_root>/<name>`."""


def output_folder_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of `output_root` and `name` as a folder for runs; writes nothing."""
    root, name = settings.get("output_root"), settings.get("name")
    if not isinstance(root, str):
        return
    if "\0" in root:
        yield Problem("output_root", f"{root!r} is not a path: it contains a zero byte")
        return
    folder = Path(root).absolute()
    existing = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        yield Problem("output_root", f"{existing} is not a folder that this user may write to; name another")
        return
    paths = {"output_root": folder}
    if isinstance(name, str):
        if "\0" in name or any(part == "" or part.startswith(".") for part in name.split("/")):
            allowed = (
                "expected a folder below output_root, as in mine or mine/first; no part may begin with a dot"
            )
            yield Problem("name", f"{allowed}, got {name!r}")
        else:
            paths["name"] = folder / name
    max_name, max_path = (os.pathconf(existing, limit) for limit in ("PC_NAME_MAX", "PC_PATH_MAX"))
    for key, path in paths.items():
        part, length = max(map(os.fsencode, path.parts), key=len), len(os.fsencode(path))
        if len(part) > max_name:
            begin = os.fsdecode(part[:20])
            yield Problem(
                key, f"{begin}... has {len(part)} bytes; the name of a folder has at most {max_name}"
            )
            return
        if length > max_path - ROOM_FOR_FILES:
            room = f"{max_path} are allowed, of which files of runs need {ROOM_FOR_FILES}"
            yield Problem(key, f"the path has {length} bytes; {room}")
            return
