"""Purpose: what is kept of a run and how runs are told apart: record, fingerprint, TensorBoard, console.

May import: errors, spec, data, features, towers, negatives, losses, metrics, index, evaluation, bundle.
To add one: a file named for what it records, called from `assemble.py`.
"""
