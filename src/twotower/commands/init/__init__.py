"""Purpose: `twotower init`: from files never seen to settings of data and features, saying what it goes by.

May import: every other package.
To add one: a role is a line in `roles.WORDS` and a rule beside it; a kind of feature is a rule in `kinds.py`.
"""
