"""What was typed, read back."""


def key_of(override: str) -> str:
    """Return the key that an override is about: `loss.temperature` of `+loss.temperature=1`."""
    return override.lstrip("+~").partition("=")[0]
