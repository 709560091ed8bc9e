"""Raw values of users and items -> encoded tensors, and the modules that embed them.

To add one: a file with a subclass of `feature.Feature`, then name it in an entry of a `conf/features/*.yaml`.
"""
