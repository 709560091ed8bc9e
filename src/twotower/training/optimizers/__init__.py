"""Purpose: optimizers and learning-rate schedules.

May import: config.
To add one: a file with a subclass of `optimizer.OptimizerChoice` and a YAML in `conf/optimizer/`.
"""
