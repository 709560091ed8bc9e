"""Losses of the logits of a batch; one loss per file.

To add one: a file with a subclass of `loss.Loss` and a YAML in `conf/loss/`.
"""
