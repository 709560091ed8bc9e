"""The default `scripts/train.py` against another checkout's, in turn; two minutes a pair.

python scripts/bench/default_run.py --against ../before            three pairs
python scripts/bench/default_run.py --against ../before --pairs 1 trainer.max_epochs=2
"""

import argparse
from pathlib import Path

from commands import HERE, in_turn, train
from record import write


def main() -> None:
    """Time both and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    sides = {
        "here": lambda: train(HERE, arguments.overrides),
        "there": lambda: train(arguments.against, arguments.overrides),
    }
    figures = in_turn(sides, arguments.pairs)
    print(write("default_run", {**figures, "overrides": arguments.overrides}))


if __name__ == "__main__":
    main()
