"""From files to a checked, split, memory-mapped `RetrievalDataset` with an audit.

To add one: a source is a file in `sources/` with a YAML in `conf/data/`; splits are in `splits/`.
"""
