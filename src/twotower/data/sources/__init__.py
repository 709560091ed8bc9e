"""Purpose: where data comes from; each file knows one format and returns `Tables`.

May import: config, files, other files of data.
To add one: a file with a subclass of `source.Source` (a `Config` and `load`), and a YAML in `conf/data/` that names it.
"""
