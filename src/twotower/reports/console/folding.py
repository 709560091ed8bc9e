"""Names and settings in little room: folded where they have joints, or shortened in the middle."""

import re

from rich.cells import cell_len

BEHIND_SETTINGS, IN_SETTINGS = re.compile(r"(?<=,)(?=[\w.]+=)|(?<= )"), re.compile(r"(?<=[=,])")


def folded(text: str, width: int) -> list[str]:
    """Return lines that break between settings, and in a setting that is too long behind its key or a comma.

    Args:
        text: settings with commas or spaces between them; nothing of it is lost.
        width: of a line; what has no joint may be longer.
    """
    lines = [""]
    for setting in BEHIND_SETTINGS.split(text):
        for part in [setting] if _width(setting) <= width else IN_SETTINGS.split(setting):
            if lines[-1] and _width(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return [line.rstrip(" ") for line in lines]


def shortened(text: str, width: int) -> str:
    """Return a text of at most this width: what is too long for it lacks its middle."""
    if len(text) <= width:
        return text
    end = width // 2
    return f"{text[: width - end - 1]}…{text[-end:]}"


def _width(text: str) -> int:
    return cell_len(text.rstrip(" "))
