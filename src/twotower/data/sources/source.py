"""Where data comes from."""

from abc import ABC, abstractmethod

from twotower.data.tables import Tables


class Source(ABC):
    """A source of interactions and of the tables of users and items.

    A subclass keeps every constructor argument as an attribute of the same name.
    """

    @abstractmethod
    def load(self) -> Tables:
        """Read everything.

        Raises:
            InputError: names file, column and row of what is wrong.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256 over the arguments and the content of the files."""

    def problems(self) -> list[tuple[str, str]]:
        """Return (parameter, message) of what is known to be wrong before data is read; never raises."""
        return []

    def gives_split(self) -> bool:
        """Tell whether the interactions come with a `split` column, for split=given."""
        return False

    def num_items(self) -> int | None:
        """Return the size of the catalogue if it is known without reading, else None."""
        return None

    def columns(self) -> dict[str, set[str]] | None:
        """Return "users" and "items" -> columns, if they are known without reading the data, else None."""
        return None
