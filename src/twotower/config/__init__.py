"""Purpose: settings and their validation, errors that the user can correct, exit statuses, progress.

May import: nothing of ours.
To add one: a file named for its content; it imports no component.
"""
