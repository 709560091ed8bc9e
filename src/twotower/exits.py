"""How a command ends: the exit status, and one message for what went wrong."""

import os
import sys
import traceback
from collections.abc import Callable

from twotower.errors import InputError

DONE, FAILED, USER_INPUT, INDEX_REJECTED = 0, 1, 2, 3
"""Exit status of every door."""


def exit_status(call: Callable[[], int], debug: bool, remedy: str = "debug=true shows where") -> int:
    """Call, and turn what it raises into the exit status and one message on standard error.

    Args:
        call: returns the exit status where nothing went wrong.
        debug: print the traceback too.
        remedy: what to add to a failure that is not the user's.
    """
    try:
        return call()
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return USER_INPUT
    except KeyboardInterrupt:
        print(
            "interrupted; the same sweep started again, or resume=<the run folder>, goes on", file=sys.stderr
        )
        return FAILED
    except BrokenPipeError:  # the reader, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"failed: {type(error).__name__}: {error} ({remedy})", file=sys.stderr)
        return FAILED
