"""Write docs/reference.md, the page of every key, from the code.

python scripts/write_reference.py
"""

from pathlib import Path

from twotower.commands.conf import CONF
from twotower.commands.help import reference_page

GUIDE = Path(__file__).parents[1] / "docs" / "reference.md"


def page() -> str:
    """Return the page, without the user's own choices."""
    return reference_page(lambda group: {path.stem: path for path in (CONF / group).glob("*.yaml")})


if __name__ == "__main__":
    GUIDE.write_text(page(), encoding="utf-8")
