"""Faiss indexes over item embeddings: building, tuning and checking.

Purpose: build, search, change, save and load an inner-product index; choose its search arguments; measure it.
May import: config, files (numpy and faiss only, no torch).
To add one: one file with a subclass of `Index` (or of `IVF`) and one YAML in conf/index/. `FaissIndex` adds
ids and removal to Faiss classes that lack them.
"""
