"""What stands between the fields of a CSV file, as a setting names it."""

from collections.abc import Sequence

NONE = '"\r\n\0'
"""Characters that mean something else in CSV."""
USUAL = "\t;|,"


def separator_of(setting: str) -> str:
    r"""Return the character a setting means; `\t`, two characters, is how a command line writes a tab."""
    return "\t" if setting == r"\t" else setting


def separator_problem(setting: str) -> str | None:
    """Return what is wrong with a setting, or None."""
    mark = separator_of(setting)
    if len(mark) == 1 and mark.isascii() and mark not in NONE:
        return None
    return rf"expected one ASCII character (\t for a tab), got {setting!r}"


def separator_hint(names: Sequence[str]) -> str:
    """Return what to say of a header with a single name that seems to be several."""
    mark = next((mark for mark in USUAL if mark in names[0]), None) if len(names) == 1 else None
    return "" if mark is None else f"; if {mark!r} stands between its fields, set data.separator={mark!r}"
