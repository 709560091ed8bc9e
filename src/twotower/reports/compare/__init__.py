"""Purpose: compare runs: find and read their folders, test differences on per-user values, show one table.

May import: what `experiments` may; nothing heavy, so that hundreds of runs are shown in a second or two.
To add one: a form of output is a function of a `Report` in a file of its own, called from `command.py`.
"""
