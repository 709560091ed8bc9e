"""Import of the user's packages from the working folder, without PYTHONPATH."""

import os
import sys


def import_from_working_folder() -> None:
    """Append the working folder to the import path, last, so that no file hides a library."""
    here = os.getcwd()  # noqa: PTH109 - pathlib takes a while to import
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
