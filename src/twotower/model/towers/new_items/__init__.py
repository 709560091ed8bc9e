"""Embeddings of items without training interactions, from their features.

To add one: a file with a subclass of `new_items.NewItems` and a YAML in `conf/new_items/`.
"""
