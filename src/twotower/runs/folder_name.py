"""Names of run folders, built from the overrides, and checks of their paths."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem
from twotower.runs.fingerprint import override_key

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
PLAIN = re.compile(r"[a-z_][\w.]*=([\w.+-]+|\[[\w.,+-]*\])", re.ASCII)
BARE = re.compile(rf"(?!({'|'.join(SHORT.values())})([\d.-]|$))[a-z_][\w.]*", re.ASCII)
WORD = re.compile(r"(?!(true|false|null)$)[A-Za-z]\w*")
TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}"
CHOICE = re.compile(r"^[a-z_][\w.]*=(?=[A-Za-z])")
HASH = re.compile(r"-[0-9a-f]{8}$")
SEED = re.compile(r"(^|(?<=[,/]))seed=?-?\d+(,|$|(?=[/_-]))")


def folder_name(texts: Sequence[str]) -> str:
    """Return a folder name of at most `MAX_NAME` characters for overrides, equal only for equal overrides.

    The name is the overrides in short form if they fit and are unambiguous (`null` and `'null'` differ), else
    the words that fit and a hash.
    """
    exact = [_exact(text) for text in texts]
    name = ",".join(word or "" for word in exact)
    if all(exact) and len(name) <= MAX_NAME and not HASH.search(name):
        return name
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:NUM_DIGITS]
    return f"{short_name(texts, MAX_NAME - NUM_DIGITS - 1)}-{digest}"


def job_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return folder names of the jobs of a sweep: short words if unique in the sweep, else `folder_name`.

    `temp.5,recency180,ivf_flat` needs no hash, although another key than `index` could have this value.
    """
    names = [folder_name(texts) for texts in jobs]
    words = {tuple(texts): ",".join(_safe_words(texts)) for texts in jobs}
    num_jobs = Counter(words.values())

    def better(name: str, text: str) -> bool:
        unique = num_jobs[text] == 1 and text not in names
        return unique and 0 < len(text) <= MAX_NAME and bool(HASH.search(name)) and not HASH.search(text)

    pairs = zip(names, (words[tuple(texts)] for texts in jobs), strict=True)
    return [text if better(name, text) else name for name, text in pairs]


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
    keyed = [text.partition("=") for text in texts]
    return _words([f"{key}{equals}{rounded(value)}" for key, equals, value in keyed])


def short_keys(keys: Sequence[str]) -> list[str]:
    """Return short names of keys, with more of their parts if two would be equal."""
    names = []
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[at:]) for at in reversed(range(len(parts)))]
        names.append([SHORT.get(key, parts[-1]), *endings])
    shared = Counter(name for each in names for name in set(each))
    return [next(name for name in each if shared[name] == 1 or name == each[-1]) for each in names]


def rounded(value: str) -> str:
    """Return the text of a number with three significant digits; any other text unchanged."""
    try:
        return min(value, f"{float(value):.3g}", key=len)
    except ValueError:
        return value


def short_name(texts: Sequence[str], max_length: int = MAX_NAME) -> str:
    """Return as many overrides in short words as fit; different overrides may have the same text.

    If no word fits, the first one is shortened to the end of its key with the value, or to its key.
    """
    shown, words = short_keys(list(map(override_key, texts))), _safe_words(texts)
    seeds = [word for word in words if SEED.fullmatch(word)]
    room = max_length - sum(len(seed) + 1 for seed in seeds)
    others = [(word, key) for word, key in zip(words, shown, strict=True) if word and word not in seeds]
    text = whole_words([word for word, _ in others], room)
    if others and not text:
        text = _shortened(*others[0], room)
    return ",".join(filter(None, [text, *seeds]))


def _shortened(word: str, key: str, max_length: int) -> str:
    starts = [0, *(part.end() for part in re.finditer(r"[._]", key) if word.startswith(key))]
    endings = (each[at:] for each in (word, UNSAFE.sub("-", key)) for at in starts)
    return next((each for each in endings if len(each) <= max_length), "")


def run_label(name: str, max_length: int | None = None) -> str:
    """Return the name of a run's folder without time, hash and seed.

    Args:
        name: of the folder.
        max_length: characters; a longer label loses the keys of text values, then the words that do not fit.
    """
    label = without_seed(HASH.sub("", re.sub(rf"^{TIME}_?|_?{TIME}$", "", name)))
    if max_length is None or len(label) <= max_length:
        return label
    return whole_words([CHOICE.sub("", word) for word in re.split(r",(?![^\[]*\])", label)], max_length)


def without_seed(name: str) -> str:
    """Return a run's name without its seed, such as `seed1,dim32`, `dim32/seed1` or `seed=1`."""
    rest = SEED.sub("", name)
    # The hash includes the seed.
    return name if rest == name else HASH.sub("", rest).strip(",/")


def _exact(text: str) -> str | None:
    """Return an unambiguous short form of an override, or None."""
    key, equals, value = text.partition("=")
    if key in SHORT and (not equals or NUMBERS.fullmatch(value)):
        return SHORT[key] + _without_zero(value)
    return text if PLAIN.fullmatch(text) or BARE.fullmatch(text) else None


def _words(texts: Sequence[str]) -> list[str]:
    return [_word(*each) for each in zip(texts, short_keys(list(map(override_key, texts))), strict=True)]


def _safe_words(texts: Sequence[str]) -> list[str]:
    return [UNSAFE.sub("-", word).strip(",.-") for word in _words(texts)]


def _word(text: str, shown: str) -> str:
    key, _, value = text.lstrip("+~").partition("=")
    value = re.sub("['\"]", "", value)
    if not value:
        return f"no_{shown}" if text.startswith("~") else shown
    if "." not in key and key != "rerun" and WORD.fullmatch(value):  # a choice of a group
        return value
    if NUMBERS.fullmatch(value) and not shown[-1:].isdigit():
        return shown + _without_zero(value)
    return f"{shown}={value}"


def _without_zero(number: str) -> str:
    return re.sub(r"^(-?)0\.", r"\1.", number)


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
    limits = os.pathconf(existing, "PC_NAME_MAX"), os.pathconf(existing, "PC_PATH_MAX")
    yield from _too_long("output_root", folder, *limits)
    if not isinstance(name, str):
        return
    if "\0" in name or any(part == "" or part.startswith(".") for part in name.split("/")):
        message = (
            "expected a folder below output_root, as in mine or mine/first; no part may begin with a dot"
        )
        yield Problem("name", f"{message}, got {name!r}")
    else:
        yield from _too_long("name", Path(name), *limits, len(os.fsencode(folder)) + 1)


def _too_long(key: str, path: Path, max_name: int, max_path: int, before: int = 0) -> Iterator[Problem]:
    part = max((os.fsencode(part) for part in path.parts), key=len)
    if len(part) > max_name:
        begin = os.fsdecode(part[:20])
        yield Problem(key, f"{begin}... has {len(part)} bytes; the name of a folder has at most {max_name}")
    elif (length := before + len(os.fsencode(path))) > max_path - ROOM_FOR_FILES:
        room = f"{max_path} are allowed, of which files of runs need {ROOM_FOR_FILES}"
        yield Problem(key, f"the path has {length} bytes; {room}")
