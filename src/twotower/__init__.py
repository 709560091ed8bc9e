"""Two-tower retrieval: YAML in; trained towers, a checked index, a comparable run and a bundle out."""

import os

# Read by the OpenMP runtimes of torch and Faiss when they load: on a busy machine waiting threads that spin
# make both several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read by torch at its first allocation: blocks from 2 MB on lie in large pages of memory, where the system
# leaves that to programs. Small ones took an eighth of a training step.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Read by ONNX Runtime when it is imported: from version 1.29 on it keeps a telemetry file open and uploads
# what is in it. Calling its `disable_telemetry_events` later leaves the file open.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
