"""Purpose: live changes: stored on disk, applied to the current bundle, and applied again to the next one.

May import: the retriever and what it needs; no HTTP. SQLite is only here.
To add one: a class in `changes.py`, where it is checked and applied, and its row in `change_store.py`.
"""
