"""`twotower compare`: its arguments, and where each form of output goes."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.experiments.compare.figure_names import DEFAULT
from twotower.experiments.runs.run_files import is_run
from twotower.files.atomic import write_text_atomically

FORMS = ("html", "csv", "json", "markdown")
STDOUT = "-"
KEYS = {
    "metric": f"figure to compare by; rows are sorted by it on the validation split [{DEFAULT}]",
    "columns": "more figures to show, separated by commas [those of the index if it differs, or ndcg@20]",
    "baseline": "run or built-in baseline to compare with [best run by validation]",
    "with_baselines": "true shows the built-in baselines as rows",
    "by": "a row per run, or per configuration for all its seeds [run]",
    "tests": "false shows differences only: quicker with many runs",
    "min_effect": "smallest difference that matters, as 0.01: smaller ones can be equivalent [none]",
    "html": "file for one self-contained page with plots",
    "csv": "file; - for standard output, also in the next two",
    "json": "file",
    "markdown": "file",
    "debug": "true shows where an error comes from",
}


def run_command(arguments: Sequence[str], description: str) -> int:
    """Compare the runs of a command line; return the exit status. Raises InputError: an argument is wrong."""
    if {"--help", "-h"} & set(arguments):
        print(f"{description.strip()}\n\nPaths: runs, sweeps, folders above them, globs in quotes.")
        print("Keys (key=value):")
        for key, text in KEYS.items():
            print(f"  {key:<14}  {text}")
        print("\nExit status: 0 done, 1 failed, 2 invalid input.")
        return DONE
    paths, values = split_arguments(arguments)
    outputs = {name: values[name] for name in FORMS if name in values}
    _check(outputs)
    from twotower.experiments.compare.comparison import compare  # with pandas
    from twotower.experiments.compare.output_forms import as_csv, as_json, as_markdown, show, summary
    from twotower.experiments.compare.page import as_html

    options: dict[str, Any] = {key: text for key, text in values.items() if key not in (*FORMS, "debug")}
    if "columns" in options:
        options["columns"] = options["columns"].split(",")
    try:
        comparison = compare(paths, **options)
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"].removeprefix("Input should be ")
        raise InputError(f"{first['loc'][0]}={first['input']}: expected {expected}") from error
    forms = dict(zip(FORMS, (as_html, as_csv, as_json, as_markdown), strict=True))
    to_stdout = [name for name, path in outputs.items() if path == STDOUT]
    if to_stdout:
        sys.stdout.write(forms[to_stdout[0]](comparison))
        print("\n".join(summary(comparison)), file=sys.stderr)
    else:
        show(comparison)
    for name, path in outputs.items():
        if path != STDOUT:
            try:
                write_text_atomically(Path(path), forms[name](comparison))
            except OSError as error:
                message = f"{name}={path}: cannot be written ({error.strerror}); name another file"
                raise InputError(message) from error
            print(f"written: {path}", file=sys.stderr if to_stdout else sys.stdout)
    return DONE


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the paths of a command line, and its values by key. Raises InputError: unknown keys and flags.

    A folder's name may contain a `=`: a word is a path if it exists, or if a `/` precedes the `=`.
    """
    paths: list[str] = []
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for word in arguments:
        key, equals, text = word.partition("=")
        if word.startswith("-"):
            name = key.lstrip("-").replace("-", "_")
            hint = f"write {name}=..." if name in KEYS else f"unknown flag; {nearest(name, KEYS)}"
            problems.append(Problem(word, hint))
        elif key in KEYS and equals:
            values[key] = text
        elif equals and "/" not in key and not Path(word).exists():
            problems.append(Problem(key, f"unknown key; {nearest(key, KEYS)} (a path: ./{word})"))
        else:
            paths.append(word)
    raise_problems(problems, "the command")
    if not paths:
        raise InputError("name a run, a sweep, a folder above them or a glob in quotes: outputs/default")
    return paths, values


def _check(outputs: Mapping[str, str]) -> None:
    to_stdout = [f"{name}={STDOUT}" for name, path in outputs.items() if path == STDOUT]
    if len(to_stdout) > 1:
        raise InputError(f"{' and '.join(to_stdout)}: only one of them can go to standard output")
    if outputs.get("html") == STDOUT:
        raise InputError("html=-: name a file, as in html=report.html")
    paths = {name: Path(path).resolve() for name, path in outputs.items() if path != STDOUT}
    if len(set(paths.values())) < len(paths):
        raise InputError("two outputs have the same file name; give each its own")
    for name in (name for name, path in paths.items() if is_run(path.parent)):
        text = f"{name}={outputs[name]}"
        raise InputError(f"{text}: a run folder holds only what the run wrote; name a file elsewhere")
    if "html" in outputs and importlib.util.find_spec("plotly") is None:
        raise InputError("html= needs plotly, which is not installed; pip install 'twotower[report]'")
