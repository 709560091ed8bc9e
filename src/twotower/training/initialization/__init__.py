"""Purpose: the weights before training.

May import: config, data, features, towers, evaluation.
To add one: a file with a subclass of `initialization.Initialization`, and a YAML in `conf/initialization/`.
"""
