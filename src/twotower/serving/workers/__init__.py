"""Purpose: several processes that answer for one bundle, of which one writes live changes.

May import: the rest of `serving`, HTTP too; without `workers` in the settings nothing of it is loaded.
To add one: what workers tell one another is a kind of message in `messages.py`.
"""
