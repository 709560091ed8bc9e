"""The names of the commands."""

COMMAND_NAMES = (
    *("demo", "init", "train", "reindex", "evaluate", "compare", "clean"),
    *("export", "serve", "recommend", "embed", "build_index", "index_lab", "export_live", "nightly"),
    "completion",
)
"""Each is a module of `commands/entry_points/`, in the order in which `twotower --help` lists them."""
