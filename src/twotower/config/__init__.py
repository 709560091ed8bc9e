"""Purpose: what settings are made of, the user's mistakes, and how a command ends.

May import: nothing of ours.
To add one: a file named for what it tells of settings; it knows no component.
"""
