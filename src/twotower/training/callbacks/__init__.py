"""Purpose: Lightning callbacks: checkpoints, curves, console lines, hard negatives.

May import: what training may.
To add one: a file with a Lightning callback, listed in `training/fit.py`.
"""
