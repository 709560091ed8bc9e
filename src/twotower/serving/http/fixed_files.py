"""Files of pages, read once: no path of a request names one that is not there. The page at /docs is one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter
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


SWAGGER = Path(fastapi_offline.__file__).parent / "static"
# Addresses are relative, for a service behind a proxy that adds a prefix.
PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>twotower: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = b"""SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null
});
"""


def fixed_file(content: bytes, kind: str) -> Callable[[], Any]:
    """Return the endpoint of a file, whose media type is `kind`."""

    async def read() -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return read


def add_docs(router: APIRouter) -> None:
    """Add the page at /docs, which describes every request, from files of this machine only."""
    for address, content, kind in (
        ("/docs", PAGE, "text/html"),
        ("/docs/start.js", START, "text/javascript"),
        ("/docs/swagger-ui-bundle.js", (SWAGGER / "swagger-ui-bundle.js").read_bytes(), "text/javascript"),
        ("/docs/swagger-ui.css", (SWAGGER / "swagger-ui.css").read_bytes(), "text/css"),
    ):
        router.get(address)(fixed_file(content, kind))
