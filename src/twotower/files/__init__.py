"""Atomic writes, locks, fingerprints of code, plain values from untrusted files."""
