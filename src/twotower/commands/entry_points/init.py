"""Make settings of files never seen: twotower init log.csv users.csv items.csv --name shop.

  twotower init log.csv --name shop                        a log: who took what, and when
  twotower init log.csv items.csv users.csv --name shop    and what is known of items and users, in any order
  twotower init log.csv --name shop --user Kunde --time none --separator ';'    what it asks for, or got wrong

Reads names of columns and the first 20,000 rows, prints the role of each column and the reason, builds the
data set, and writes conf/data/shop.yaml, with the split that suits the log, and conf/features/shop.yaml. It
asks for what it cannot infer, and writes nothing if the data is refused. Then it prints the audit and the
command that trains.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def answer(words: Sequence[str]) -> int:
    """Run `twotower init`; returns the exit status. Raises InputError: see `write_settings.init`."""
    from twotower.config.exits import DONE
    from twotower.config.problems import Problem, nearest, raise_problems

    parsed, unknown = _parser().parse_known_intermixed_args(words)
    flags = vars(parsed)
    hint = [
        Problem(each, f"unknown flag; {nearest(each, [f'--{name}' for name in flags])}") for each in unknown
    ]
    raise_problems(hint, "the command; nothing was written")
    from twotower.commands.init.write_settings import init

    init(flags.pop("files"), flags.pop("name"), flags, flags.pop("overwrite"))
    return DONE


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from twotower.config.errors import InputError

        raise InputError(f"{message}; twotower init --help has the flags")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name and name != "none"]


def _separator(text: str) -> str:
    from twotower.data.table_reader import field_separator

    try:
        return field_separator(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {error}") from error


def _events(text: str) -> dict[str, str]:
    from twotower.data.actions import ROLES

    events = dict(each.rpartition("=")[::2] for each in text.split(","))
    for word, role in events.items():
        if role not in ROLES or not word:
            message = f"{word}={role}: expected WORD=ROLE, a role of {', '.join(ROLES)}"
            raise argparse.ArgumentTypeError(message)
    return events


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser("twotower init", description=__doc__, formatter_class=layout, allow_abbrev=False)
    add = parser.add_argument
    add("files", nargs="+", type=Path, help="the log first; CSV or Parquet")
    add("--name", required=True, help="name of the choices, such as shop: data=NAME")
    add("--user", help="column of users' ids, in the log and the file of users")
    add("--item", help="column of items' ids, likewise")
    add("--time", help="column of times; none: rows are in order")
    add("--label", help="column of 1 and 0, or of ratings; none: every row is positive")
    add("--threshold", type=float, help="ratings from here on are positive")
    add("--event", help="column of event types; none: every row is positive")
    add("--events", type=_events, help="WORD=ROLE,...: positive, train, history, negative, ignored")
    add("--context", type=_names, help="COLUMN,...: context of a request; or none")
    add("--separator", type=_separator, help=r"of CSV fields; \t is a tab")
    add("--unordered", action="store_true", help="no times, and rows in no order")
    add("--without", type=_names, help="COLUMN,...: of users, items or context; no features")
    add("--overwrite", action="store_true", help="replace existing YAMLs")
    add("--debug", action="store_true", help="show tracebacks")
    return parser
