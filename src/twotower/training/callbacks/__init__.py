"""Purpose: what happens around a training: index, console lines, the run's record.

May import: what training may.
To add one: a file with a Lightning callback, listed in `training/fit.py`.
"""
