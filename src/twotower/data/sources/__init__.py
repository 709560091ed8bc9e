"""Where data comes from; each file knows one format and returns `Tables`.

To add one: a file with a subclass of `source.Source` (its `load`), and a YAML in `conf/data/` that names it.
"""
