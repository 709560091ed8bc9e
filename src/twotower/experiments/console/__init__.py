"""Output of runs and sweeps on the screen, for people and for programs.

It imports nothing that is slow to load.
To add one: a class that extends `Console`, named in `make_console` of `rich.py`.
"""
