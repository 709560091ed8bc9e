"""Purpose: which interactions train, which are histories and which are targets.

May import: config, files, other files of data.
To add one: a file with a subclass of `split.Split`, and a YAML in `conf/split/` that names it.
"""
