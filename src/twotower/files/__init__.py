"""Purpose: which code a class runs, and files of plain values that anybody may have written.

May import: errors.
To add one: a file named for what it tells of files; it knows nothing of runs, data or towers.
"""
