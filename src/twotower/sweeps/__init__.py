"""Purpose: many jobs from one command: which ones, in which order, which are done, and how they compare.

May import: runs, reports, launchers, and the packages before them.
To add one: a file with a class that extends `Sweep`, and a YAML in conf/sweep.
"""
