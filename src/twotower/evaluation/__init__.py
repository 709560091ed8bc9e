"""Evaluate top lists over the whole catalogue: exact search, metrics, slices, intervals, baselines.

To add one: a slice is a group of `by_slice` in `ranking.py`; a baseline is a file in `baselines/`.
"""
