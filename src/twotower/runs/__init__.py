"""Purpose: run folders, `result.json`, fingerprints and provenance of runs.

May import: data, metrics, evaluation, bundle and the packages before them.
To add one: a file named for the part of a run that it stores. Code that only reads runs belongs to `reports`.
"""
