"""A terminal as far as our output needs one: which lines remain on the screen."""

import re

CONTROL = re.compile(r"(\r|\n|\x1b\[(?:\d*;?)*[A-Za-z]|\x1b\[\?25[lh])")


def remaining_lines(output: str) -> list[str]:
    """Return the lines of the screen after an output; colors are ignored."""
    lines, row = [""], 0
    for part in CONTROL.split(output.replace("\r\n", "\n")):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part and part != "\r" and not part.startswith("\x1b"):
            lines[row] += part
    return [line for line in lines if line]
