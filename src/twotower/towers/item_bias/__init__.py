"""Purpose: how much an item is wanted whoever asks: one number an item, a column of its embedding.

May import: config, files, data, features.
To add one: a file with a subclass of `item_bias.ItemBias` and a YAML in `conf/item_bias/`.
"""
