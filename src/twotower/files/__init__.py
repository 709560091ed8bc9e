"""Purpose: atomic writes, locks, fingerprints of code, plain values from untrusted files.

May import: config.
To add one: a file named for its content; it imports nothing about runs, data or towers.
"""
