"""Towers that compute embeddings from features, and the score, their dot product.

To add one: a file with a subclass of `tower.Tower` (or `history.history_encoder.HistoryEncoder`) and a YAML
in `conf/user_tower/` and `conf/item_tower/` (or `conf/history/`).
"""
