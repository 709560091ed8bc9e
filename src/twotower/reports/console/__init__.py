"""Purpose: output of runs and sweeps on the screen, for people and for programs.

May import: what reports may, but nothing heavy.
To add one: a class that extends `Console`, named in `make_console` of `console.py`.
"""
