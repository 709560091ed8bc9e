"""Names of the files of a bundle."""

FORMAT_VERSION = 4
BUNDLE, EXPORTED = "bundle", "exported"
"""Folders of a run: its bundle, and its towers as ONNX models."""
MANIFEST = "manifest.json"
CONFIG = "config.yaml"
TOWERS = "towers.safetensors"
FEATURES = "features.json"
ENCODED = "features.safetensors"
"""Encoded features of all users and items, so that opening a bundle does not tokenize text."""
USERS = "users.parquet"
ITEMS = "items.parquet"
ITEM_EMBEDDINGS = "item_embeddings.npy"
HISTORY_OFFSETS = "history_offsets.npy"
HISTORY_ITEMS = "history_items.npy"
HISTORY_TIMES = "history_times.npy"
HISTORY_EVENTS = "history_events.npy"
"""Event type of each history item, if the data have event types: position in `event_types`, from 1."""
HISTORY_ROLES = "history_roles.npy"
"""Role of each history item, if the data have roles other than `positive`."""
INDEX = "index.faiss"
USER_TOWER = "user_tower.onnx"
ITEM_TOWER = "item_tower.onnx"
HISTORY = (HISTORY_OFFSETS, HISTORY_ITEMS, HISTORY_TIMES)
FILES = (CONFIG, TOWERS, FEATURES, ENCODED, USERS, ITEMS, ITEM_EMBEDDINGS, *HISTORY, INDEX)
"""Files of every bundle, except the manifest."""
POSSIBLE_FILES = (HISTORY_EVENTS, HISTORY_ROLES)
"""Files of bundles whose data have event types or roles."""
