"""Twelve indexes over one model against one run, in turn; three minutes a pair.

python scripts/bench/twelve_indexes.py                      three pairs
python scripts/bench/twelve_indexes.py --checkout ../before --pairs 1
"""

from commands import HERE, compare_trainings

SWEEP = ["sweep=indexes", "launcher=serial"]

if __name__ == "__main__":
    compare_trainings(
        "twelve_indexes",
        __doc__,
        "--checkout",
        lambda checkout: {"twelve": (checkout, SWEEP), "one": (checkout, [])},
        default=HERE,
    )
