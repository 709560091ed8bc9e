"""The working folder as a place of modules: a package of the user's own lies there, without PYTHONPATH."""

import os
import sys


def import_from_working_folder() -> None:
    """Let Python look for modules in the working folder too; last of all, so that no file hides a library."""
    here = os.getcwd()  # noqa: PTH109 - pathlib takes a while to import
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
