"""Simple recommenders that every run is compared with.

To add one: a file with a subclass of `baseline.Baseline` and a line in a YAML of `conf/baselines/`.
"""
