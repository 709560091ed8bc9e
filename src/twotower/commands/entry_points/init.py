"""Make settings of files never seen: twotower init log.csv users.csv items.csv --name shop.

  twotower init log.csv --name shop                        a log: who took what, and when
  twotower init log.csv items.csv users.csv --name shop    and what is known of items and users, in any order
  twotower init log.csv --name shop --user Kunde --time none --separator ';'    what it asks for, or got wrong

Reads names of columns and the first 20,000 rows, prints the role of each column and the reason, builds the
data set, and writes conf/data/shop.yaml, with the split that suits the log, and conf/features/shop.yaml. It
asks for what it cannot infer, and writes nothing if the data is refused. Then it prints the audit and the
command that trains.
"""

import sys

from twotower.config.exits import exit_on_signals


def run() -> None:
    """Run this command and leave with its exit status."""
    exit_on_signals()  # first of all: the rest takes a while to import
    from twotower.commands.init.arguments import run_words
    from twotower.config.exits import exit_status

    words = sys.argv[1:]
    raise SystemExit(exit_status(lambda: run_words(words, __doc__ or ""), debug="--debug" in words))
