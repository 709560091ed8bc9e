"""The command line of `twotower init`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from twotower.config.errors import InputError
from twotower.config.exits import DONE
from twotower.data.actions import ROLES as EVENT_ROLES


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; twotower init --help has the flags")


def run_words(words: Sequence[str], description: str) -> int:
    """Run `twotower init`; returns the exit status. Raises InputError: see `write_settings.init`."""
    parser = _parser(description)
    if {"--help", "-h"} & set(words):
        parser.print_help()
        return DONE
    found = vars(parser.parse_args(words))
    from twotower.commands.init.write_settings import init

    files, name, overwrite = (found.pop(key) for key in ("files", "name", "overwrite"))
    if name is None:
        raise InputError(
            f"--name: required; add a name for the data, such as --name {files[0].stem.partition('.')[0]}"
        )
    del found["debug"]
    if found["separator"] == r"\t":
        found["separator"] = "\t"
    init(files, name, found, overwrite)
    return DONE


def _parser(description: str) -> _Parser:
    parser = _Parser("twotower init", description=description, add_help=False, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("files", nargs="+", type=Path, help="the log first; CSV or Parquet")
    parser.add_argument("--name", help="name of the choices: data=NAME")
    for flag, description_of_flag in {
        "user": "column of users' ids, in the log and the file of users",
        "item": "column of items' ids, likewise",
        "time": "column of times; none: rows are in order",
        "unit": "unit of times: s, ms or iso",
        "label": "column of 1 and 0 (or -1), or of ratings; none: every row is positive",
        "event": "column of event types; none: every row is positive",
        "separator": r"between the fields of CSV; \t is a tab",
    }.items():
        parser.add_argument(
            f"--{flag}", help=description_of_flag, choices=("s", "ms", "iso") if flag == "unit" else None
        )
    parser.add_argument("--threshold", type=float, help="ratings from here on are positive")
    parser.add_argument("--events", type=_roles, help=f"WORD=ROLE,...: {', '.join(EVENT_ROLES)}")
    parser.add_argument("--context", type=_names, help="COLUMN,...: context of a request; or none")
    parser.add_argument("--unordered", action="store_true", help="no times, and rows in no order")
    parser.add_argument("--repeats", choices=("drop", "keep"), help="keep: users take items repeatedly")
    parser.add_argument("--without", type=_names, help="COLUMN,...: of users, items or context; no features")
    parser.add_argument("--overwrite", action="store_true", help="replace existing YAMLs")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name and name != "none"]


def _roles(text: str) -> dict[str, Any]:
    found = dict(each.rpartition("=")[::2] for each in text.split(","))
    wrong = [f"{word}={role}" for word, role in found.items() if role not in EVENT_ROLES or not word]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"{wrong[0]}: expected WORD=ROLE, a role of {', '.join(EVENT_ROLES)}"
        )
    return found
