"""Purpose: from files to a checked, split, memory-mapped `RetrievalDataset` with an audit.

May import: config, files.
To add one: a source is a file in `sources/` and a YAML in `conf/data/`; a split is a file in `splits/` and a YAML in `conf/split/`.
"""
