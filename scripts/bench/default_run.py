"""The default `scripts/train.py` against another checkout's, in turn; two minutes a pair.

python scripts/bench/default_run.py --against ../before            three pairs
python scripts/bench/default_run.py --against ../before --pairs 1 trainer.max_epochs=2
"""

from commands import HERE, compare_trainings

if __name__ == "__main__":
    compare_trainings(
        "default_run", __doc__, "--against", lambda other: {"here": (HERE, []), "there": (other, [])}
    )
