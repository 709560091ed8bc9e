"""One number per item that is independent of the user: a column of its embedding.

To add one: a file with a subclass of `item_bias.ItemBias` and a YAML in `conf/item_bias/`.
"""
