"""Two-tower retrieval: YAML in; trained towers, a checked index, a comparable run and a bundle out."""

__version__ = "0.1.0"
