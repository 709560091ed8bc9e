"""Lists that are written as text, as in CSV files."""

import json
import re
from typing import Any

QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
"""Text in single or double quotes; a backslash escapes the next character."""
ESCAPED = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


def list_in_text(text: str) -> list[Any] | None:
    """Return the values of a list written as text, without missing ones; None if it is something else.

    CSV files have such lists where a program wrote a column of lists: JSON, or a list or array of texts as
    Python prints it, `['a', 'b']` or `['a' 'b']`.
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        return [each for each in json.loads(text) if each is not None]
    except (ValueError, RecursionError):
        if re.sub(r"\b(None|nan)\b|[\s,]", "", QUOTED.sub("", text[1:-1])):
            return None
        return [ESCAPED.sub(_unescaped, single or double) for single, double in QUOTED.findall(text)]


def _unescaped(escaped: re.Match[str]) -> str:
    code = escaped[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else CONTROLS.get(code, code)
