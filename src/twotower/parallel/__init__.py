"""Processes that train together: start them, and exchange tensors between them."""
