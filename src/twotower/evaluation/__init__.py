"""Purpose: evaluate top lists over the whole catalogue: exact search, metrics, slices, intervals, baselines.

May import: config, files, data, features, towers, negatives, losses, metrics, index.
To add one: a slice is a group of `by_slice` in `ranking.py`; a baseline is a file in `baselines/`.
"""
