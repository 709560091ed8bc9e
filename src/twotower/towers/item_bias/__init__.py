"""Purpose: one number per item that is independent of the user: a column of its embedding.

May import: config, files, data, features.
To add one: a file with a subclass of `item_bias.ItemBias` and a YAML in `conf/item_bias/`.
"""
