"""Purpose: the deliverable folder: everything that serves, written whole and verified before it is read.

May import: config, files, data, features, towers, index (and what stands between them and this package).
To add one: a file of the bundle is a name in `layout.py`, its writer in `write.py`, its reader in `read.py`.
"""
