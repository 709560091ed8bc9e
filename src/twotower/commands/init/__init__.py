"""`twotower init`: infers the settings of data and features from files, with reasons.

To add one: a role is a line of `detectors.ROLES`, with its words in `words.yaml`; a kind of feature is a test
in `detectors.KINDS`.
"""
