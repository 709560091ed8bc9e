"""Purpose: files that are whole or not there, locks, the code that a class runs, plain values of anybody.

May import: config.
To add one: a file named for what it tells of files; it knows nothing of runs, data or towers.
"""
