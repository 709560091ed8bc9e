"""Purpose: compare runs: read their folders into one table, test differences on per-user values, show them.

May import: what `reports` may; pandas and plotly only inside functions of `command.py`.
To add one: a form of output is a function of a `Comparison`, called from `command.py`.
"""
