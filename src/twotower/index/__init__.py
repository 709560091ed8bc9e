"""Build, search, change, save and load an inner-product index; choose its search arguments; measure it.

Only this package imports Faiss, and it does without torch.
To add one: one file with a subclass of `Index` (or of `IVF`) and one YAML in conf/index/. `FaissIndex` adds
ids and removal to Faiss classes that lack them.
"""
