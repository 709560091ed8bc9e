"""The kinds of indexes, one file each.

To add one: one file with a subclass of `Index` (or of `IVF`) and one YAML in conf/index/. `FaissIndex` adds
ids and removal to Faiss classes that lack them.
"""
