"""Reports on runs: console, TensorBoard, comparisons. They read runs and change nothing.

To add one: a package named for where it is seen.
"""
