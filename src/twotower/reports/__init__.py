"""Purpose: what people see of runs: console, TensorBoard, comparisons. It reads runs and changes nothing.

May import: runs and the packages before it.
To add one: a package named for where it is seen.
"""
