"""Purpose: experiment trackers, which receive the metrics of a run in addition to TensorBoard.

May import: what training may.
To add one: a file with a subclass of `tracker.Tracker`, and a YAML in `conf/tracker/`.
"""
