"""Build, search, change, save and load an inner-product index; choose its search arguments; measure it.

Only this package imports Faiss, and it does without torch. `index.kinds` says how to add an index.
"""
