"""Settings and their validation, errors that the user can correct, exit statuses, progress."""
