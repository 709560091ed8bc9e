"""Which interactions train, which are histories and which are targets.

To add one: a file with a subclass of `split.Split`, and a YAML in `conf/split/` that names it.
"""
