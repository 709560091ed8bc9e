"""Twelve indexes over one model against one run, in turn; three minutes a pair.

python scripts/bench/twelve_indexes.py                      three pairs
python scripts/bench/twelve_indexes.py --checkout ../before --pairs 1
"""

import argparse
from pathlib import Path

from commands import HERE, in_turn, train
from record import write

SWEEP = ["sweep=indexes", "launcher=serial"]


def main() -> None:
    """Time both and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=HERE)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    sides = {
        "twelve": lambda: train(arguments.checkout, [*SWEEP, *arguments.overrides]),
        "one": lambda: train(arguments.checkout, arguments.overrides),
    }
    figures = in_turn(sides, arguments.pairs)
    print(write("twelve_indexes", {**figures, "overrides": arguments.overrides}))


if __name__ == "__main__":
    main()
