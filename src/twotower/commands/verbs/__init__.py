"""Purpose: one command a file, as it is typed behind `twotower`: its docstring is its help, `run` runs it.

May import: every other room, in functions only: a list of all commands must be cheap.
To add one: a file with `run`, its name in `main.VERBS`, a door in `scripts/`; with settings, `doors.DOORS`.
"""
