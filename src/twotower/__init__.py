"""Two-tower retrieval: YAML in; trained towers, a checked index, a comparable run and a bundle out."""

import os

# Read by the OpenMP runtimes of torch and Faiss when they load: on a busy machine waiting threads that spin
# make both several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
