"""Purpose: what `twotower demo` shows once towers are trained: a day of a bundle, and of the service.

May import: every other package.
To add one: a function of a run's folder, called by `commands/entry_points/demo.py`.
"""
