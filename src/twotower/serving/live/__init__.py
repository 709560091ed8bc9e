"""Purpose: changes that last: kept on the disk, made in the bundle in use, made again in the next one.

May import: the retriever and what it is made of; no HTTP. SQLite is only here.
To add one: a class in `changes.py`, a table in `schema.py`, its rows in `rows.py` and a step in `writer.py`.
"""
