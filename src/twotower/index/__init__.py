"""Faiss indexes over item embeddings, how they are tuned, and the check that they deserve trust.

Purpose: build, search, change, save and load an inner-product index; choose its search arguments; measure it.
May import: config, files (numpy and faiss only, no torch).
To add one: one file with a subclass of `Index` (or of `IVF`) and one YAML in conf/index/. It need not
take ids nor remove: `FaissIndex` makes up for both.
"""
