"""From a user's earlier items to one vector a position.

To add one: a file with a subclass of `history_encoder.HistoryEncoder` and a YAML in `conf/history/`.
"""
