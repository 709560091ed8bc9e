"""What a bundle's folder holds, by name."""

FORMAT_VERSION = 2
BUNDLE, EXPORTED = "bundle", "exported"
"""The folders of a run that hold its bundle, and this with towers in ONNX."""
MANIFEST = "manifest.json"
CONFIG = "config.yaml"
TOWERS = "towers.safetensors"
FEATURES = "features.json"
ENCODED = "features.safetensors"
"""The encoded features of every user and item: opening a bundle then tokenises no text again."""
USERS = "users.parquet"
ITEMS = "items.parquet"
ITEM_EMBEDDINGS = "item_embeddings.npy"
HISTORY_OFFSETS = "history_offsets.npy"
HISTORY_ITEMS = "history_items.npy"
HISTORY_TIMES = "history_times.npy"
HISTORY_EVENTS = "history_events.npy"
"""What was done with each item of histories, where the data say so: its place in `event_types`, from 1."""
HISTORY_ROLES = "history_roles.npy"
"""Which items of the histories were wanted, where some were only looked at."""
INDEX = "index.faiss"
USER_TOWER = "user_tower.onnx"
ITEM_TOWER = "item_tower.onnx"
HISTORY = (HISTORY_OFFSETS, HISTORY_ITEMS, HISTORY_TIMES)
FILES = (CONFIG, TOWERS, FEATURES, ENCODED, USERS, ITEMS, ITEM_EMBEDDINGS, *HISTORY, INDEX)
"""Every file but the manifest, which lists them."""
POSSIBLE_FILES = (HISTORY_EVENTS, HISTORY_ROLES)
"""What a bundle has beside these where the data say more of interactions."""
EXPORT_FILES = (USER_TOWER, ITEM_TOWER)
"""Further files of an exported bundle."""
WEIGHTS = tuple(f"{name}.data" for name in (USER_TOWER, ITEM_TOWER))
"""What it may have: the weights of a tower too large for one ONNX file."""
