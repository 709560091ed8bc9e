"""Purpose: reports on runs: console, TensorBoard, comparisons. They read runs and change nothing.

May import: runs and the packages before it.
To add one: a package named for where it is seen.
"""
