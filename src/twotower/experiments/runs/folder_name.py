"""Names of run folders, built from the overrides, and checks of their paths."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem
from twotower.experiments.runs.fingerprint import override_key
from twotower.files.plain_values import fingerprint_values

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

MAX_JOINED = 9
"""Maximum number of characters of a choice without its underscores; of a longer one, initials are shown."""

UNCHANGED = "unchanged"
"""Name of a job without an override of its own."""

NUM_DIGITS = 8
UNSAFE = re.compile(r"[^A-Za-z0-9._=,+\-\[\]]+")
NUMBERS = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e-?\d{1,3})?|\[[0-9.,-]*\]", re.ASCII)
WORD = re.compile(r"(?!(true|false|null)$)[A-Za-z]\w*")
TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d{6}"
HASH = re.compile(r"-[0-9a-f]{8}$")
SEED = re.compile(r"(^|(?<=[,/]))seed=?-?\d+(,|$|(?=[/_-]))")


def folder_name(texts: Sequence[str]) -> str:
    """Return a folder name of at most `MAX_NAME` characters for overrides.

    It has the overrides in short words, and a hash if not all fit or a path cannot contain one of them.
    """
    words = _words(texts)
    is_unsafe = UNSAFE.search("".join(text.removeprefix("~") for text in texts))
    name = ",".join(words)
    return _name_with_hash(texts, words) if len(name) > MAX_NAME or is_unsafe or HASH.search(name) else name


def job_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return folder names of the jobs of a sweep: one style, unique, at most `MAX_NAME` characters.

    It is the first of these styles that fits all jobs: words as in `folder_name`; short choices (`ibs` for
    `in_batch_softmax`); short keys, too; a hash after the short words that fit.
    """
    texts = dict.fromkeys(text for job in jobs for text in job)
    keys = list(dict.fromkeys(map(override_key, texts)))
    names = short_keys(keys)
    full: dict[str, str] = {}
    short: dict[str, str] = {}
    shortest: dict[str, str] = {}
    for key, name, prefix in zip(keys, names, _prefixes(names), strict=True):
        own = [text for text in texts if override_key(text) == key]
        choices = _short_choices([_value(text) for text in own if _is_choice(text)])
        for text in own:
            full[text] = _word(text, name)
            short[text] = choices.get(_value(text), full[text])
            shortest[text] = choices.get(_value(text)) or _word(_rounded(text), prefix)
    distinct = list(dict.fromkeys(map(tuple, jobs)))
    is_safe = not any(UNSAFE.search(text.removeprefix("~")) for text in texts)
    for words in (full, short, shortest):
        named = {job: ",".join(words[text] for text in job) or UNCHANGED for job in distinct}
        fits = all(len(name) <= MAX_NAME and not HASH.search(name) for name in named.values())
        if is_safe and fits and len(set(named.values())) == len(distinct):
            break
    else:
        named = {job: _name_with_hash(job, [shortest[text] for text in job]) for job in distinct}
    return [named[tuple(job)] for job in jobs]


def _prefixes(names: Sequence[str]) -> list[str]:
    """Return the first two or more characters of each name, as many as distinguish it from the others."""
    lengths = range(2, max(map(len, names), default=0) + 1)
    shared = Counter(name[:length] for name in names for length in lengths)
    return [
        name if name == "seed" else next((name[:at] for at in lengths if shared[name[:at]] == 1), name)
        for name in names
    ]


def _short_choices(values: Sequence[str]) -> dict[str, str]:
    """Return a short form of each choice: without underscores, or its initials, unless two would be equal."""
    for short in (_initials, lambda value: value.replace("_", "")):
        forms = {value: short(value) for value in values}
        if len(set(forms.values())) == len(forms):
            return forms
    return {value: value for value in values}


def _initials(value: str) -> str:
    joined = value.replace("_", "")
    is_long = "_" in value and len(joined) > MAX_JOINED
    return "".join(part[:1] for part in value.split("_")) if is_long else joined


def _name_with_hash(texts: Sequence[str], words: Sequence[str]) -> str:
    digest = fingerprint_values(list(texts))[:NUM_DIGITS]
    return f"{_fitting(words, MAX_NAME - NUM_DIGITS - 1)}-{digest}"


def trial_name(number: int, texts: Sequence[str]) -> str:
    """Return the folder name of a trial: its number, and the words that fit, choices first."""
    pairs = sorted(zip(texts, short_words(texts), strict=True), key=lambda pair: not _is_choice(pair[0]))
    words = [_initials(word) if _is_choice(text) else word for text, word in pairs]
    return UNSAFE.sub("-", whole_words([f"{number:04d}", *words], MAX_LABEL, "_"))


def whole_words(words: Sequence[str], max_length: int, separator: str = ",") -> str:
    """Join words to a text of at most `max_length` characters; words that do not fit are left out."""
    text = ""
    for word in words:
        longer = f"{text}{separator}{word}" if text else word
        text = longer if len(longer) <= max_length else text
    return text


def short_words(texts: Sequence[str]) -> list[str]:
    """Return overrides in short words, with fractions of three digits."""
    return _words(list(map(_rounded, texts)))


def _rounded(text: str) -> str:
    key, equals, value = text.partition("=")
    return f"{key}{equals}{rounded(value)}"


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


def short_name(texts: Sequence[str]) -> str:
    """Return as many overrides in short words as fit, and the seed; others may have the same text."""
    return _fitting(_words(texts), MAX_NAME)


def _fitting(texts: Sequence[str], max_length: int) -> str:
    """Return the words that fit, and the seed; the beginning of the first one if none fits."""
    words = [UNSAFE.sub("-", word).strip(",.-") for word in texts]
    seeds = [word for word in words if SEED.fullmatch(word)]
    others = [word for word in words if word and word not in seeds]
    room = max_length - sum(len(seed) + 1 for seed in seeds)
    text = whole_words(others, room) or "".join(others[:1])[:room]
    return ",".join(filter(None, [text, *seeds]))


def run_label(name: str) -> str:
    """Return the words of a run's folder that fit into `MAX_LABEL`, without time, hash and seed."""
    label = without_seed(HASH.sub("", re.sub(rf"(^|_){TIME}$", "", name)))
    return whole_words(re.split(r",(?![^\[]*\])", label), MAX_LABEL)


def without_seed(name: str) -> str:
    """Return a run's name without its seed, such as `seed1,dim32`, `dim32/seed1` or `seed=1`."""
    rest = SEED.sub("", name)
    # The hash includes the seed.
    return name if rest == name else HASH.sub("", rest).strip(",/")


def _words(texts: Sequence[str]) -> list[str]:
    return [_word(*each) for each in zip(texts, short_keys(list(map(override_key, texts))), strict=True)]


def _value(text: str) -> str:
    return re.sub("['\"]", "", text.partition("=")[2])


def _is_choice(text: str) -> bool:
    """Return whether an override chooses a variant of a group."""
    key = override_key(text)
    return "." not in key and key != "rerun" and bool(WORD.fullmatch(_value(text)))


def _word(text: str, shown: str) -> str:
    value = _value(text)
    if not value:
        return f"no_{shown}" if text.startswith("~") else shown
    if _is_choice(text):
        return value
    if NUMBERS.fullmatch(value) and not shown[-1:].isdigit():
        return shown + re.sub(r"^(-?)0\.", r"\1.", value)  # .05 for 0.05
    return f"{shown}={value}"


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
