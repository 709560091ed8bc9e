"""Compare runs: read their folders into one table, test differences on per-user values, show them.

pandas and plotly are imported in functions of `command.py` only.
To add one: a form of output is a function of a `Comparison`, called from `command.py`.
"""
