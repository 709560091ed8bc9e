"""Experiment trackers, which receive the metrics of a run in addition to TensorBoard.

To add one: a file with a subclass of `tracker.Tracker`, and a YAML in `conf/tracker/`.
"""
