"""Purpose: from a user's earlier items to one vector a position.

May import: config, files, data, features.
To add one: a file with a subclass of `history_encoder.HistoryEncoder` and a YAML in `conf/history/`.
"""
