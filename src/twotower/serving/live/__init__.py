"""Live changes: stored on disk, applied to the current bundle, and applied again to the next one.

Only this package uses SQLite, and none of it knows HTTP.
To add one: a class in `changes.py`, where it is checked and applied, and its row in `change_store.py`.
"""
