"""Write a service's live events, items and users into a new folder, as files next to the files of a run.

  twotower export_live run=outputs/shop/<time> store=live.sqlite out=nights/2026-05-31
  twotower export_live run=outputs/shop/<time> store=live.sqlite interactions=today.csv out=tonight

The service may be running, and its store is unchanged. Events that the log already contains are skipped. The
folder is written completely or not at all, and the run's own files are only read. See docs/nightly.md.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Write the folder of the log and the tables."""
    from twotower.commands.run_settings import path_override
    from twotower.config.exits import DONE, stoppable
    from twotower.experiments.runs.run import Run
    from twotower.files.part_files import check_new

    run, out = Run.open(Path(settings["run"]), settings["trusted_packages"]), Path(settings["out"])
    check_new(out)  # an error before torch is loaded
    from twotower.serving.nightly.live_export import export_live

    paths = {name: settings[name] for name in ("interactions", "items", "users") if settings[name]}
    with stoppable(lambda: "nothing was written; run the same command again"):
        export = export_live(run.settings, Path(settings["store"]), out, paths)
    print(export.message(out))
    read = [path_override(f"data.{name}", paths) for name, paths in export.data.items()]
    words = ["twotower", "train", path_override("warm_start", str(run.folder)), *read]
    print(f"next: {shlex.join(words)}")
    return DONE
