"""Optimizers and learning-rate schedules.

To add one: a file with a subclass of `optimizer.OptimizerChoice` and a YAML in `conf/optimizer/`.
"""
