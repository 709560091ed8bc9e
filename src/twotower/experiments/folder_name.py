"""Folder names that say what was typed."""

import hashlib
import re
from collections.abc import Sequence

MAX_NAME = 120
ODD = re.compile(r"[^A-Za-z0-9._=,+\-\[\]]+")


def folder_name(texts: Sequence[str]) -> str:
    """Return a folder name for overrides; different ones never share one, nor do null and 'null'."""
    whole = ",".join(texts)
    name = ODD.sub("-", whole.replace("'", "").replace('"', ""))
    if name == whole and len(name) <= MAX_NAME and not name.startswith("."):
        return name
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name[:MAX_NAME].strip('.-')}-{digest}"
