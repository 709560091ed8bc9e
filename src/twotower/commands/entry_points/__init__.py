"""Purpose: one command a file, as it is typed behind `twotower`: its docstring is its help, `run` runs it.

May import: every other package, in functions only: a list of all commands must be cheap.
To add one: a file with `run`, its name in `main.COMMAND_NAMES`, a script in `scripts/`; with settings,
`command_keys.COMMANDS`.
"""
