"""The page at /docs that describes every request, from files of this machine only."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI

from twotower.serving.http.fixed_files import fixed_file

FOLDER = Path(fastapi_offline.__file__).parent / "static"
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


def add_docs(app: FastAPI) -> None:
    """Add the page and its files."""
    router = APIRouter(include_in_schema=False)
    for address, content, kind in (
        ("/docs", PAGE, "text/html"),
        ("/docs/start.js", START, "text/javascript"),
        ("/docs/swagger-ui-bundle.js", (FOLDER / "swagger-ui-bundle.js").read_bytes(), "text/javascript"),
        ("/docs/swagger-ui.css", (FOLDER / "swagger-ui.css").read_bytes(), "text/css"),
    ):
        router.get(address)(fixed_file(content, kind))
    app.include_router(router)
