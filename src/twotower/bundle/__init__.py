"""The bundle, a folder with everything for serving; written atomically, verified before reading.

To add one: a file of the bundle is a name in `layout.py`, its writer in `write.py`, its reader in `read.py`.
"""
