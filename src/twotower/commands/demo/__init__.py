"""Purpose: what `twotower demo` shows once towers are trained: a day of a bundle, and of the service.

May import: every other room.
To add one: a function of a run's folder, called by `commands/verbs/demo.py`.
"""
