"""Purpose: from the command line to checked settings, and what `--help` prints; the only room of Hydra.

May import: every other room.
To add one: a YAML in `conf/` and a door in `scripts/` that calls `door.run_door`.
"""
