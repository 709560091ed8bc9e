"""Purpose: embeddings of items without training interactions, from their features.

May import: config, files, data, features.
To add one: a file with a subclass of `new_items.NewItems` and a YAML in `conf/new_items/`.
"""
