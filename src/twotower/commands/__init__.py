"""From the command line to checked settings, and what `--help` prints; only this package imports Hydra.

To add one: a YAML in `conf/` and a script in `scripts/` that calls `run_command.run_command`.
"""
