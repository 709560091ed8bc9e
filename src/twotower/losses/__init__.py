"""Purpose: losses of the logits of a batch; one loss per file.

May import: config, files, towers, negatives, scoring.
To add one: a file with a subclass of `loss.Loss` and a YAML in `conf/loss/`.
"""
