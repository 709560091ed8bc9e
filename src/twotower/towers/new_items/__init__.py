"""Purpose: the embedding of an item that training never saw, of which there is only what it says of itself.

May import: config, files, data, features.
To add one: a file with a subclass of `new_items.NewItems` and a YAML in `conf/new_items/`.
"""
