"""Purpose: where data comes from; each file knows one format and returns `Tables`.

May import: errors, spec, other files of data.
To add one: a file with a subclass of `source.Source`, and a YAML in `conf/data/` that names it.
"""
