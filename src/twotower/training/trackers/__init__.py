"""Purpose: where the figures of a run go beside TensorBoard and result.json.

May import: what training may.
To add one: a file with a subclass of `tracker.Tracker`, and a YAML in `conf/tracker/`.
"""
