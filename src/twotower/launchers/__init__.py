"""Purpose: where the jobs of a sweep run: processes here, SLURM, Ray.

May import: experiments and what it may.
To add one: a file with a class that extends `Launcher`, and a YAML in conf/launcher.
"""
