"""Lightning callbacks: checkpoints, curves, console lines, hard negatives.

To add one: a file with a Lightning callback, listed in `training/fit.py`.
"""
