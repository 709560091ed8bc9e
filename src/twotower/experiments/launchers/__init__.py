"""Launchers of the jobs of a sweep: local processes, SLURM, Ray.

To add one: a file with a class that extends `Launcher`, and a YAML in conf/launcher.
"""
