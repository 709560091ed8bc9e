"""Sweeps: choose the jobs of one command, run or resume them, and summarize their results.

To add one: a file with a class that extends `Sweep`, and a YAML in conf/sweep.
"""
