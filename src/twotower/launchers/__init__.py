"""Purpose: launchers of the jobs of a sweep: local processes, SLURM, Ray.

May import: config, files, parallel.launched.
To add one: a file with a class that extends `Launcher`, and a YAML in conf/launcher.
"""
