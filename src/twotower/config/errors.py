"""The one exception that means: the user's input is at fault, and the message says how to mend it."""


class InputError(ValueError):
    """A mistake in the configuration, the data or a bundle.

    Its text names the key, file, column or row, what was expected and what to do. Every command turns it
    into exit status 2 without a traceback (`debug=true` shows it).
    """


class Diverged(InputError):  # noqa: N818  # what happened to a training, as the others' names
    """A training whose loss or embeddings are not finite, or whose loss falls without a floor."""
