"""Files of a page, read once: no path of a request names one that is not there."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

# Nothing from elsewhere and no script or style within the text, so that no value of the data can run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def fixed_file(content: bytes, kind: str) -> Callable[[], Any]:
    """Return the endpoint of a file, whose media type is `kind`."""

    async def read() -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return read
