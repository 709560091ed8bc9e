"""One command a file.

The docstring of a file is its help. `task` receives the checked settings of its YAML and the overrides, and
returns the exit status. A command without a YAML has `answer`, which receives words.

It imports other packages in functions only: a list of all commands must be cheap.
To add one: a file with `task`, its name in `COMMAND_NAMES`, a script in `scripts/`; with settings,
`command_keys.COMMANDS`.
"""

COMMAND_NAMES = (
    *("demo", "init", "train", "reindex", "evaluate", "compare", "clean"),
    *("export", "serve", "recommend", "embed", "build_index", "index_lab", "export_live", "nightly"),
)
"""The modules of this package, in the order in which `twotower --help` lists them."""
