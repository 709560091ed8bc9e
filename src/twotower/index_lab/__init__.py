"""Compare indexes over any vectors, and build the index of files of vectors."""
