"""Purpose: fused kernels that never hold the whole [positives, candidates] matrix.

May import: nothing of ours.
To add one: a file with a function on tensors, tested against the plain formula and by gradcheck.
"""
