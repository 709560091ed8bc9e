"""Purpose: the service over HTTP: typed requests and answers, keys, limits, metrics.

May import: the rest of `serving`; the only place for FastAPI, uvicorn and what comes with them.
To add one: an endpoint is a function in `routes.py` whose request and answer are models in `models.py`.
"""
