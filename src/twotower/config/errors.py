"""Errors that the user can correct."""


class InputError(ValueError):
    """A mistake in the configuration, the data or a bundle.

    The message names the key, file, column or row, what was expected and what to type. Commands exit with
    status 2, without a traceback unless `debug=true`.
    """


class NothingNewError(InputError):
    """A warm start has no example that its parent was not trained on."""


class DivergenceError(InputError):
    """The loss or the embeddings of a training are not finite, or the loss falls without bound."""
