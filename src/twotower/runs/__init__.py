"""Purpose: a run's folder, what its `result.json` holds, and where it came from.

May import: what a run is made of: data, metrics, evaluation, bundle and the packages before them.
To add one: a file named for what it keeps of a run; what only reads runs belongs to `reports`.
"""
