"""Purpose: Lightning callbacks: checkpoints, index, curves, console lines.

May import: what training may.
To add one: a file with a Lightning callback, listed in `training/fit.py`.
"""
