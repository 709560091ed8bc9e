"""Purpose: answer requests from a bundle, and take live changes of its catalogue.

May import: config, files, data, features, towers, index, bundle; never Lightning or Hydra.
To add one: a new kind of request is a method of `retriever.Retriever`, checked in `requests.py`.
"""
