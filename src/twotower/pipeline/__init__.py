"""Purpose: the jobs, each as its steps: train, reindex, evaluate, rerun.

May import: every package but `commands`.
To add one: a file named for the verb, whose function returns the exit status, and a script in `scripts/`.
"""
