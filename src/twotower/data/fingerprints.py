"""Plain values, told apart by a hash."""

import hashlib
import json
from typing import Any


def fingerprint_of(content: Any) -> str:
    """Return the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
