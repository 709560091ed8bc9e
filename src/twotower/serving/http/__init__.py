"""The service over HTTP: typed requests and answers, keys, limits, metrics.

Only this package imports FastAPI and uvicorn.
To add one: an endpoint is a function in `routes.py` whose request and answer are models in `models.py`.
"""
