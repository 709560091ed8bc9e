"""Purpose: from the command line to checked settings, and what `--help` prints; the only package that imports
Hydra.

May import: every other package.
To add one: a YAML in `conf/` and a script in `scripts/` that calls `run_command.run_command`.
"""
