"""Purpose: where candidates come from and with what probability q each was drawn.

May import: config, files, data.
To add one: a file with a subclass of `negatives.Negatives` and a YAML in `conf/negatives/`.
"""
