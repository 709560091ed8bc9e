"""Purpose: simple recommenders that every run is compared with.

May import: config, files, data, features, towers, negatives, losses, metrics, index, evaluation.
To add one: a file with a subclass of `baseline.Baseline` and a line in a YAML of `conf/baselines/`.
"""
