"""The weights before training.

To add one: a file with a subclass of `initialization.Initialization`, and a YAML in `conf/initialization/`.
"""
