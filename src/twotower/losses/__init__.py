"""Purpose: how wrong the scores of a batch are; one loss a file, all on the fused blockwise kernel.

May import: config, files, negatives.candidates (a type).
To add one: a file with a subclass of `loss.Loss` and a YAML in `conf/loss/`.
"""
