"""Purpose: files as evidence: which code a class runs.

May import: errors.
To add one: a file named for what it tells of files; it knows nothing of runs, data or towers.
"""
