"""Answer requests from a bundle, and take live changes of its catalogue.

It imports neither Lightning nor Hydra.
To add one: a new kind of request is a method of `retriever.Retriever`, checked in `requests.py`.
"""
