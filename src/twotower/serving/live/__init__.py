"""Purpose: live changes: stored on disk, applied to the current bundle, and applied again to the next one.

May import: the retriever and what it needs; no HTTP. SQLite is only here.
To add one: a class in `changes.py`, its row in `change_store.py` and its check in `writer.py`.
"""
