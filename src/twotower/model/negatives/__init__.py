"""Samplers of negatives, with the probability q of each draw.

To add one: a file with a subclass of `sampler.NegativeSampler` and a YAML in `conf/negatives/`.
"""
