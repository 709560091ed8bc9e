"""Purpose: how wrong the scores of a batch are; one loss a file, a function of logits.

May import: config, files, towers, negatives, scoring.
To add one: a file with a subclass of `loss.Loss` and a YAML in `conf/loss/`.
"""
