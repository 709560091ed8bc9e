"""Purpose: what people look up on the page: users, items, reasons, a map.

May import: the retriever and what it is made of; no HTTP.
To add one: a method of `browser.Browser`, and a route in `serving/http/page_routes.py`.
"""
